# SPDX-License-Identifier: Apache-2.0
"""The commands of `cxr` that the pages show are run, in their order, on a small part of the shipped X-rays under the names that the pages use; what else they show is there."""

import pathlib
import re
import shlex
import shutil
import sys

from _cxr_command import *

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(SOURCE)) for page in pathlib.Path(SOURCE, "docs").glob("*.md"))]

# What stands in a block of shell beside `cxr` and benchmarks, and the test that runs it or the reason why none does.
ELSEWHERE = {
    "scripts/demo": "tests/command/demo.py",
    "scripts/test": "runs these tests",
    "scripts/gpu-check": "needs a GPU",
    "scripts/install-dependencies": "changes the machine",
    "cmake": "has built what is tested here",
    "export": "is done by these tests",
    "g++": "tests/package, case pkg_config",
}
# Files that take another framework to make, and the test that has it.
FILES_ELSEWHERE = {"compiled.keras": "tests/command/keras.py"}
WEIGHTS = os.path.join(SOURCE, "tests", "data", "weights", "small-whole.keras2.h5")


def commands_of(page):
    """Lines of the page's sh blocks, comments taken off, joined where a backslash ends them."""
    blocks = re.findall(r"```sh\n(.*?)```", pathlib.Path(SOURCE, page).read_text(), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


class Pages(CommandTest):
    def setUp(self):
        super().setUp()
        os.symlink(os.path.join(SAMPLE, "images"), self.path("DIR"))
        rows = []
        for name, count in (("train", 16), ("valid", 8), ("test", 8)):
            with open(os.path.join(SAMPLE, name + ".csv")) as file:
                head, *lines = file.readlines()[: count + 1]
            self.write(name + ".csv", head + "".join(lines))
            rows += lines
        self.write("all.csv", head + "".join(rows))
        shutil.copy(WEIGHTS, self.path("densenet.hdf5"))
        # What a page leaves to its reader.
        self.left_out = {
            "…": ["--train", "train.csv", "--valid", "valid.csv", "--images", "DIR", "--out", "RUN", "--size", "32"],
            "A,B,C": [",".join(column for column in head.strip().split(",") if column not in ("Image", "PatientId"))],
        }

    def is_there(self, words):
        """A command beside `cxr`: a benchmark that there is, or one of ELSEWHERE."""
        if words[0] == "python3":
            help = subprocess.run([sys.executable, "-B", os.path.join(SOURCE, words[1]), "--help"], capture_output=True, text=True)
            self.assertEqual(help.returncode, 0, help.stderr)
            for option in (word for word in words if word.startswith("--")):
                self.assertRegex(help.stdout, re.escape(option) + r"\b(?!-)")
        elif words[0].startswith("build/release/bin/benchmarks/"):
            self.assertTrue(os.path.exists(os.path.join(SOURCE, "benchmarks", os.path.basename(words[0]) + ".cpp")), words[0])
        else:
            self.assertIn(words[0], ELSEWHERE)

    def test_every_command_of_every_page_works(self):
        ran = 0
        for page in PAGES:
            for name in ("plots", "RUN"):  # each page begins anew
                shutil.rmtree(self.path(name), ignore_errors=True)
            for words in commands_of(page):
                with self.subTest(page=page, command=" ".join(words)):
                    if words[0] != "cxr":
                        self.is_there(words)
                        continue
                    if FILES_ELSEWHERE.keys() & set(words):
                        continue
                    arguments = [argument for word in words[1:] for argument in self.left_out.get(word, [word])]
                    if arguments[0] == "bench":  # which measures for minutes
                        arguments = [*arguments, "--quick", "--repetitions", "1", "--backends", "simd"]
                    if arguments[0] == "train" and "--epochs" not in arguments:
                        arguments = [*arguments, "--epochs", "1"]
                    self.good(*arguments, timeout=900)
                    ran += 1
        self.assertGreaterEqual(ran, 16)


if __name__ == "__main__":
    unittest.main()
