# SPDX-License-Identifier: Apache-2.0
"""The trainer's backend cuda on an emulated GPU, against the backends of the processor."""

import re

from _cxr_command import *


class OnEmulatedGpu(CommandTest):
    def test_training_and_prediction_are_the_references(self):
        data = self.data_set()
        losses = {
            b: self.good_json("train", *data, *SMALL, "--batch", "4", "--steps", "6", "--out", self.path(b), "--backend", b)["steps"] for b in ("reference", "cuda")
        }
        for a, b in zip(losses["reference"], losses["cuda"], strict=True):
            self.assertAlmostEqual(a, b, delta=1e-3 * abs(a))
        predict = ["predict", "--model", self.path("cuda"), "--images", self.path("images"), "--out", self.path("p.csv")]
        probabilities = {b: sum(self.good_json(*predict, "--backend", b)["probabilities"], []) for b in ("reference", "cuda")}
        for a, b in zip(probabilities["reference"], probabilities["cuda"], strict=True):
            self.assertAlmostEqual(a, b, delta=1e-5)

    def test_bfloat16_begins_with_the_same_loss_and_learns(self):
        train = [*self.data_set(), *SMALL, "--batch", "4", "--steps", "40", "--seed", "1"]
        found = self.good_json("train", *train, "--out", self.path("bf16"), "--backend", "cuda", "--precision", "bf16")["steps"]
        self.assertAlmostEqual(found[0], self.good_json("train", *train, "--out", self.path("f32"), "--backend", "simd")["steps"][0], delta=1e-2)
        self.assertLess(sum(found[-4:]), sum(found[:4]))

    def test_resumed_it_has_the_same_bits(self):
        train = ["train", *self.data_set(), *SMALL, "--batch", "4", "--augment", "standard", "--backend", "cuda", "--quiet", "--out"]
        self.good(*train, self.path("whole"), "--steps", "7")
        self.good(*train, self.path("parts"), "--steps", "3")
        self.good("train", "--resume", "--out", self.path("parts"), "--steps", "7", "--quiet")
        self.assertEqual(self.read("whole", "last.safetensors"), self.read("parts", "last.safetensors"))

    def test_statistics_are_exact(self):
        csv = os.path.join(SAMPLE, "train.csv")
        there, here = (self.good_json("stats", "--csv", csv, "--backend", b) for b in ("cuda", "simd"))
        self.assertEqual(there["classes"], here["classes"])

    def test_where_memory_does_not_suffice_the_batch_that_is_named_does(self):
        sample = ["--train", os.path.join(SAMPLE, "train.csv"), "--valid", os.path.join(SAMPLE, "valid.csv"), "--images", os.path.join(SAMPLE, "images")]
        os.environ["CXR_EMULATOR_MEMORY"] = "360"  # MB, most of it cuDNN's to use
        self.addCleanup(os.environ.pop, "CXR_EMULATOR_MEMORY")
        train = ["train", *sample, "--blocks", "2,1,1,1", "--growth", "8", "--stem", "16", "--size", "96", "--steps", "3", "--backend", "cuda", "--quiet", "--out"]
        said = self.bad(1, *train, self.path("big"), "--batch", "256", says=["no room on the GPU", "a step of 256 images of 96 pixels needs about", "should fit"])
        fits = re.search(r"--batch (\d+) should fit", said)[1]
        self.assertGreater(int(fits), 16)
        self.good(*train, self.path("fits"), "--batch", fits)


if __name__ == "__main__":
    unittest.main()
