# SPDX-License-Identifier: Apache-2.0
"""DenseNet121 itself, on the sample at 64 pixels: it learns, and to the same bits."""

from _cxr_command import *


class DenseNet121(CommandTest):
    def arguments(self, rows, out):
        with open(os.path.join(SAMPLE, "train.csv")) as file:
            table = self.write(f"{rows}.csv", "".join(file.readlines()[: rows + 1]))
        return ["train", "--train", table, "--valid", table, "--images", os.path.join(SAMPLE, "images"), "--size", "64", "--resize", "area", "--quiet", "--out", self.path(out)]

    def test_it_overfits_32_images_to_an_auroc_of_1(self):
        result = self.good_json(*self.arguments(32, "run"), "--batch", "16", "--epochs", "16", timeout=1200)
        self.assertEqual(result["valid_auroc_mean"], 1.0)
        self.assertLess(result["train_loss"], 0.2)
        log = read_csv(self.path("run", "log.csv"))
        self.assertGreater(float(log[0]["train_loss"]), 1.2)
        # The checkpoint predicts what the training saw.
        table, predictions = self.path("32.csv"), self.path("p.csv")
        self.good("predict", "--model", self.path("run"), "--images", os.path.join(SAMPLE, "images"), "--csv", table, "--out", predictions)
        evaluated = self.good_json("evaluate", "--csv", table, "--predictions", predictions)
        self.assertEqual(evaluated["mean_auroc"], 1.0)
        for c in evaluated["classes"]:
            self.assertEqual(c["auroc"], 1.0 if 0 < c["positives"] < 32 else None)

    def test_20_steps_make_the_same_bits_with_1_thread_2_threads_and_after_resuming(self):
        for backend in ("simd", "onednn"):
            with self.subTest(backend):
                self.same_bits(backend)

    def test_direct_convolutions_differ_from_winograds_by_what_that_states(self):
        self.good(*self.arguments(12, "run"), "--batch", "4", "--steps", "2", timeout=1200)
        probabilities = []
        for options in ((), ("--direct",)):
            self.good("predict", "--model", self.path("run"), "--images", os.path.join(SAMPLE, "images"), "--csv", self.path("12.csv"), "--backend", "simd", *options, "--out", self.path("p.csv"))
            probabilities.append([float(p) for row in read_csv(self.path("p.csv")) for name, p in row.items() if name != "Image"])
        differences = [abs(a - b) for a, b in zip(*probabilities, strict=True)]
        self.assertEqual(len(differences), 12 * 14)
        self.assertGreater(max(differences), 0)
        self.assertLess(max(differences), 1e-5)

    def same_bits(self, backend):
        run = lambda out, *more: self.good(*self.arguments(12, f"{backend}-{out}"), "--batch", "4", "--seed", "1", "--backend", backend, *more, timeout=1200)
        run("one", "--steps", "20", "--threads", "1")
        run("two", "--steps", "20", "--threads", "2")
        run("resumed", "--steps", "10", "--threads", "2")
        self.good("train", "--resume", "--out", self.path(f"{backend}-resumed"), "--steps", "20", "--threads", "1", "--quiet", timeout=1200)
        one = self.read(f"{backend}-one", "last.safetensors")
        self.assertEqual(one, self.read(f"{backend}-two", "last.safetensors"))
        self.assertEqual(one, self.read(f"{backend}-resumed", "last.safetensors"))


if __name__ == "__main__":
    unittest.main()
