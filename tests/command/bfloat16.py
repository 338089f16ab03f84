# SPDX-License-Identifier: Apache-2.0
"""`--precision bf16` of `train` and `predict` on the backend simd; it skips where the processor has no bfloat16, having seen that the program says so."""

import shutil

from _cxr_command import *


def processor_has_bfloat16():
    try:
        with open("/proc/cpuinfo") as file:
            return "avx512_bf16" in file.read().split()
    except OSError:
        return False


HERE = ["--backend", "simd", "--precision", "bf16"]
SEVERAL = ["--batch", "4", "--seed", "3", "--quiet"]


class Bfloat16(CommandTest):
    def losses(self, out):
        return [float(r["loss"]) for r in read_csv(self.path(out, "steps.csv"))]

    @unittest.skipUnless(processor_has_bfloat16(), "this processor lacks AVX512_BF16")
    def test_a_training_learns_as_in_float32(self):
        data = self.data_set(train=18)
        for out, precision in (("bf16", "bf16"), ("f32", "f32")):
            self.good("train", *data, *SMALL, *SEVERAL, "--backend", "simd", "--precision", precision, "--steps", "6", "--out", self.path(out))
            self.assertEqual(json.loads(self.read(out, "config.json"))["options"]["precision"], precision)
        self.assertNotEqual(self.losses("bf16"), self.losses("f32"))
        for ours, single in zip(self.losses("bf16"), self.losses("f32"), strict=True):
            # Factors have 8 bits: 2^-9 of each in a convolution, and what the batch norms of four values and the steps before make of it.
            self.assertAlmostEqual(ours, single, delta=0.1 * single)
        header, _ = read_safetensors(self.path("bf16", "last.safetensors"))
        self.assertEqual({entry["dtype"] for name, entry in header.items() if name.startswith("features.")}, {"F32"})

    @unittest.skipUnless(processor_has_bfloat16(), "this processor lacks AVX512_BF16")
    def test_the_same_bits_for_any_number_of_threads_and_after_resuming(self):
        data = self.data_set(train=18)
        common = ["train", *data, *SMALL, *SEVERAL, *HERE]
        self.good(*common, "--steps", "10", "--out", self.path("one"))
        self.good(*common, "--steps", "10", "--threads", "2", "--out", self.path("two"))
        self.assertEqual(self.read("one", "last.safetensors"), self.read("two", "last.safetensors"))
        for first in (3, 4, 7):
            out = self.path(f"resumed-{first}")
            self.good(*common, "--steps", str(first), "--out", out)
            self.good("train", "--resume", "--out", out, "--steps", "10", "--quiet")  # in the precision of the run
            for file in ("last.safetensors", "best.safetensors", "steps.csv"):
                self.assertEqual(self.read("one", file), self.read(out, file), (first, file))

    @unittest.skipUnless(processor_has_bfloat16(), "this processor lacks AVX512_BF16")
    def test_predictions_have_the_same_bits_for_any_batch_and_are_near_those_in_float32(self):
        self.good(*self.train_arguments(), "--epochs", "1", "--quiet")
        predict = ["predict", "--model", self.path("run"), "--images", self.path("images"), "--backend", "simd", "--quiet", "--out"]
        files = []
        for i, options in enumerate((["--batch", "1"], ["--batch", "2"], ["--batch", "3"], ["--batch", "7"], ["--batch", "32"], ["--threads", "2"])):
            self.good(*predict, self.path(f"{i}.csv"), "--precision", "bf16", *options)
            files.append(self.read(f"{i}.csv"))
            self.assertEqual(files[-1], files[0], options)
        self.good(*predict, self.path("f32.csv"))
        self.assertNotEqual(files[0], self.read("f32.csv"))
        ours, single = read_csv(self.path("0.csv")), read_csv(self.path("f32.csv"))
        self.assertEqual(len(ours), 18)
        for a, b in zip(ours, single, strict=True):
            for name in "AB":
                self.assertAlmostEqual(float(a[name]), float(b[name]), delta=1e-2)  # some 1e-3, as --help says

    def test_a_processor_without_it_is_refused(self):
        emulator = ("qemu-x86_64", "-cpu", "Nehalem") if processor_has_bfloat16() else ()
        if emulator and (shutil.which(emulator[0]) is None or sanitized()):
            self.skipTest("this processor has AVX512_BF16, and to emulate another takes qemu-x86_64 and a program without a sanitizer")
        train = self.train_arguments()
        self.good(*train, "--steps", "1", "--quiet")
        predict = ["predict", "--model", self.path("run"), "--images", self.path("images"), "--out", self.path("p.csv")]
        with self.unchanged():
            for arguments in ([*train[:-1], self.path("new")], predict):
                self.bad(1, *arguments, *HERE, emulator=emulator, says=["--precision bf16", "simd has no bfloat16 on this processor, which lacks AVX512_BF16", "expected f32"])


if __name__ == "__main__":
    passed = unittest.main(exit=False).result.wasSuccessful()
    if passed and not processor_has_bfloat16():
        print("skipped: this processor lacks AVX512_BF16, as the program says")
        raise SystemExit(77)
    raise SystemExit(not passed)
