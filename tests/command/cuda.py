# SPDX-License-Identifier: Apache-2.0
"""The backend cuda where no GPU can be used, or none is shown to the program: every command that is to compute on it says in one line what was found and what is needed.
It skips where the backend is not built in."""

import re

from _cxr_command import *

os.environ["CUDA_VISIBLE_DEVICES"] = ""
RUNTIME = r"CUDA runtime \d+\.\d+ needs .*"
SENTENCE = "|".join((
    f"no NVIDIA driver was found; {RUNTIME}",
    rf"the NVIDIA driver found serves CUDA \d+\.\d+ only; {RUNTIME}",
    r"no NVIDIA GPU was found \(the driver serves CUDA \d+\.\d+\); one of compute capability \d+\.\d+ or later is needed",
))  # fmt: skip


class WithoutGpu(CommandTest):
    def test_what_was_found_and_what_is_needed_is_said(self):
        train = self.train_arguments()
        self.good(*train, "--steps", "1", "--quiet")
        for command in (
            [*train[:-1], self.path("new")],
            ["train", "--resume", "--out", self.path("run"), "--steps", "2"],
            ["predict", "--model", self.path("run"), "--images", self.path("images"), "--out", self.path("p.csv")],
            ["bench", "--what", "loss", "--sizes", "140", "--out", self.path("new")],
            ["stats", "--csv", self.path("train.csv"), "--out", self.path("new")],
            ["demo", "--out", self.path("new")],
        ):
            with self.subTest(command[0]), self.unchanged():
                self.assertRegex(self.bad(1, *command, "--backend", "cuda"), f"^cxr: error: --backend cuda: ({SENTENCE})\n$")
        self.assertRegex(self.bad(1, "bench", "--what", "loss", "--sizes", "140", "--backends", "simd,cuda"), f"^cxr: error: .*cuda: ({SENTENCE})\n$")

    def test_by_itself_another_backend_is_taken(self):
        self.assertEqual(self.good_json(*self.train_arguments(), "--steps", "1")["backend"], "simd")


if __name__ == "__main__":
    version = subprocess.run([EXECUTABLE, "--version"], capture_output=True, text=True, check=True).stdout
    if re.search(r"^backends .*\bcuda \(CUDA ", version, re.M) is None:
        print("skipped: the backend cuda is not built in")
        raise SystemExit(77)
    unittest.main()
