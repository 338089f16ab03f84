# SPDX-License-Identifier: Apache-2.0
"""What becomes of images on their way to the network: sizes, preprocessings, augmentation, the cache on disk."""

import re
import shutil

from _cxr_command import *


class Sizes(CommandTest):
    def test_height_and_width_may_differ(self):
        data = self.data_set()
        losses = {}
        for backend in ("reference", "eigen", "onednn", "simd", "thrust-cpp"):
            result = self.good_json("train", *data, *SMALL, "--size", "32,48", "--batch", "4", "--steps", "2", "--out", self.path(backend), "--backend", backend)
            losses[backend] = result["steps"]
        for backend, found in losses.items():
            for a, b in zip(losses["reference"], found):
                self.assertAlmostEqual(a, b, delta=1e-3 * abs(a), msg=backend)
        header, _ = read_safetensors(self.path("simd", "last.safetensors"))
        self.assertEqual(json.loads(header["__metadata__"]["cxr.preprocess"])["size"], [32, 48])
        self.assertEqual(json.loads(self.read("simd", "config.json"))["options"]["size"], [32, 48])
        predict = ["predict", "--model", self.path("simd"), "--images", self.path("images"), "--out", self.path("p.csv")]
        probabilities = {b: self.good_json(*predict, "--backend", b)["probabilities"] for b in ("reference", "onednn", "simd")}
        for b in ("onednn", "simd"):
            for x, y in zip(sum(probabilities["reference"], []), sum(probabilities[b], [])):
                self.assertAlmostEqual(x, y, delta=1e-4)
        # Written in either way it is the same; turned round, or a square, it is not.
        self.good(*predict, "--size", "32x48")
        for other in ("48,32", "32", "48"):
            self.bad(2, *predict, "--size", other, says=["--size", "[32,48]"])
        self.good("train", "--resume", "--out", self.path("simd"), "--steps", "3", "--quiet")
        self.bad(2, "train", "--resume", "--out", self.path("simd"), "--size", "48,32", says=["--size", "[48,32]", "[32,48]"])

    def test_a_square_is_one_number_or_two(self):
        data = self.data_set()
        for out, size in (("a", "33"), ("b", "33,33"), ("c", "33x33")):
            self.good("train", *data, *SMALL, "--size", size, "--batch", "4", "--steps", "2", "--out", self.path(out))
        for out in ("b", "c"):
            self.assertEqual(self.read("a", "last.safetensors"), self.read(out, "last.safetensors"))
        self.assertEqual(json.loads(self.read("b", "config.json"))["options"]["size"], 33)

    def test_the_plan_counts_with_both(self):
        data = self.data_set()
        plan = self.good("train", *data, *SMALL, "--size", "32x64", "--batch", "4", "--dry-run").stdout
        self.assertIn("32 × 64 × 3", plan)


class Preprocessings(CommandTest):
    def test_each_is_kept_with_the_model_and_used_to_predict(self):
        data = self.data_set()
        seen = set()
        for how in ("samplewise", "featurewise", "imagenet", "xrv"):
            self.good("train", *data, *SMALL, "--preprocess", how, "--batch", "4", "--steps", "2", "--out", self.path(how), "--quiet")
            header, _ = read_safetensors(self.path(how, "best.safetensors"))
            self.assertEqual(json.loads(header["__metadata__"]["cxr.preprocess"])["normalise"], how)
            result = self.good_json("predict", "--model", self.path(how), "--images", self.path("images"), "--out", self.path("p.csv"))
            seen.add(json.dumps(result["probabilities"]))
            self.assertTrue(all(0 < p < 1 for p in sum(result["probabilities"], [])))
        self.assertEqual(len(seen), 4)

    def test_images_of_one_value_have_no_deviation_to_divide_by(self):
        train = self.train_arguments()
        for name in os.listdir(self.path("images")):
            self.write(f"images/{name}", png(40, 40, [77] * 1600))
        with self.unchanged():
            self.bad(1, *train, "--preprocess", "featurewise", "--steps", "1", says=[train[2], self.path("images"), "--preprocess featurewise", "one value", "expected images that differ"])
        warnings = self.good(*train, "--steps", "1").stderr
        self.assertEqual(warnings.count("all its pixels have one value"), 1, warnings)

    def test_imagenet_has_three_channels(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(2, *train, "--preprocess", "imagenet", "--channels", "1", says=["--preprocess imagenet", "--channels", "1"])
        self.good(*train, "--preprocess", "xrv", "--channels", "1", "--steps", "1", "--quiet")


class Augmentation(CommandTest):
    def test_the_same_bits_for_any_number_of_threads_and_after_resuming(self):
        data = self.data_set(train=18)
        common = ["train", *data, *SMALL, "--batch", "4", "--seed", "3", "--quiet"]
        weights = {}
        for augment in ("none", "flip", "standard"):
            self.good(*common, "--augment", augment, "--steps", "14", "--out", self.path(augment))
            weights[augment] = self.read(augment, "last.safetensors")
            self.good(*common, "--augment", augment, "--steps", "14", "--out", self.path(augment + "-2"), "--threads", "3")
            self.assertEqual(weights[augment], self.read(augment + "-2", "last.safetensors"))
            for first in (2, 6, 9):
                out = self.path(f"{augment}-resumed-{first}")
                self.good(*common, "--augment", augment, "--steps", str(first), "--out", out)
                self.good("train", "--resume", "--out", out, "--steps", "14", "--threads", "2", "--quiet")
                self.assertEqual(weights[augment], self.read(out, "last.safetensors"))
        self.assertEqual(len(set(weights.values())), 3)
        self.good(*common, "--augment", "standard", "--steps", "14", "--out", self.path("seed"), "--seed", "4")
        self.assertNotEqual(weights["standard"], self.read("seed", "last.safetensors"))
        self.bad(2, "train", "--resume", "--out", self.path("flip"), "--augment", "none", says=["--augment", "none", "flip"])

    def test_validation_and_prediction_are_not_augmented(self):
        data = self.data_set()
        # Where nothing but a bias learns, by 1e-30, every validation is the same, and both models predict the same, unless images are changed on the way.
        still = ["--lr", "1e-30", "--freeze", "features.*,classifier.weight", "--epochs", "2", "--batch", "4", "--quiet"]
        seen = {}
        for augment in ("standard", "none"):
            self.good("train", *data, *SMALL, *still, "--augment", augment, "--out", self.path(augment))
            log = read_csv(self.path(augment, "log.csv"))
            self.good("predict", "--model", self.path(augment), "--images", self.path("images"), "--out", self.path("p.csv"))
            seen[augment] = [row["train_loss"] for row in log], {row["valid_loss"] for row in log}, self.read("p.csv")
        self.assertNotEqual(seen["standard"][0], seen["none"][0])
        self.assertEqual(len(seen["none"][1]), 1)
        self.assertEqual(seen["standard"][1:], seen["none"][1:])


class Cache(CommandTest):
    def entries(self, folder="cache"):
        return sorted(os.listdir(self.path(folder)))

    def train(self, out, *options):
        self.good(*self.common, *options, "--out", self.path(out))
        return self.read(out, "last.safetensors")

    def setUp(self):
        super().setUp()
        self.common = ["train", *self.data_set(), *SMALL, "--batch", "4", "--steps", "7", "--quiet"]
        self.cache = ["--cache", self.path("cache")]

    def test_the_same_bits_with_it_and_without(self):
        for i, options in enumerate(([], ["--augment", "standard"], ["--resize", "nearest"], ["--size", "48,32"])):
            with self.subTest(options):
                without = self.train(f"without-{i}", *options)
                self.assertEqual(without, self.train(f"first-{i}", *options, *self.cache))
                self.assertEqual(without, self.train(f"second-{i}", *options, *self.cache, "--threads", "2"))
        # 18 images; augmentation needs no entries of its own.
        self.assertEqual(len(self.entries()), 3 * 18)
        self.assertTrue(all(name.endswith(".cxr-image") for name in self.entries()))

    def test_it_is_used(self):
        without = self.train("without")
        self.train("first", *self.cache)
        # Other content under the same length and time cannot be told from what was there.
        for name in os.listdir(self.path("images")):
            path = self.path("images", name)
            state = os.stat(path)
            with open(path, "r+b") as file:
                file.write(b"x" * state.st_size)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        self.assertEqual(without, self.train("second", *self.cache))
        self.bad(1, *self.common, "--out", self.path("third"), says=[".png"])

    def test_a_cache_from_other_options_is_not_used(self):
        expected = {size: self.train("plain" + size, "--size", size) for size in ("32", "48")}
        self.train("a", "--size", "32", *self.cache)
        self.assertEqual(expected["48"], self.train("b", "--size", "48", *self.cache))
        self.assertEqual(expected["32"], self.train("c", "--size", "32", *self.cache))
        # Not even where an entry has come under another's name.
        names = self.entries()
        content = {name: self.read("cache", name) for name in names}
        for a, b in zip(names, names[1:] + names[:1]):
            self.write("cache/" + a, content[b])
        self.assertEqual(expected["48"], self.train("d", "--size", "48", *self.cache))

    def test_a_file_that_has_changed_is_read_again(self):
        self.train("a", *self.cache)
        self.write("images/train-02.png", png(40, 40, [i * 3 % 256 for i in range(1600)]))
        self.assertEqual(self.train("plain"), self.train("b", *self.cache))

    def test_damaged_entries_are_made_anew(self):
        expected = self.train("a", *self.cache)
        names = self.entries()
        whole = {name: self.read("cache", name) for name in names}
        for i, name in enumerate(names):
            content = bytearray(whole[name])
            if i % 3 == 0:
                content = content[: len(content) // 2]
            elif i % 3 == 1:
                content[-7] ^= 1
            else:
                content = bytearray()
            self.write("cache/" + name, bytes(content))
        self.assertEqual(expected, self.train("b", *self.cache))
        self.assertEqual({name: self.read("cache", name) for name in self.entries()}, whole)

    def test_two_processes_build_it_at_once(self):
        expected = self.train("alone")
        for round in range(3):
            runs = [subprocess.Popen([EXECUTABLE, *self.common, *self.cache, "--threads", "2", "--out", self.path(f"{round}-{i}")]) for i in range(2)]
            self.assertEqual([r.wait(timeout=300) for r in runs], [0, 0])
            for i in range(2):
                self.assertEqual(expected, self.read(f"{round}-{i}", "last.safetensors"))
            self.assertEqual(len(self.entries()), 18)
            shutil.rmtree(self.path("cache"))

    def test_what_it_was_good_for_is_said_once(self):
        common = [a for a in self.common if a != "--quiet"]

        def told(out, *options):
            return re.findall(r"^cache .*$", self.good(*common, *options, "--out", self.path(out)).stdout, re.M)

        name = f"cache {self.path('cache')}: "
        self.assertEqual(told("a", *self.cache), [name + "0 of 18 images found, 18 added"])
        self.assertEqual(told("b", *self.cache, "--threads", "2"), [name + "18 of 18 images found, 0 added"])
        for entry in self.entries()[:5]:
            os.remove(self.path("cache", entry))
        self.assertEqual(told("c", *self.cache), [name + "13 of 18 images found, 5 added"])
        # A part of an epoch: one of training's three batches, and the validation.
        self.assertEqual(len(told("d", *self.cache, "--steps", "1")), 1)
        self.assertEqual(told("e"), [])

    def test_a_folder_that_cannot_be(self):
        self.write("file", "")
        with self.unchanged():
            self.bad(1, *self.common, "--cache", self.path("file"), "--out", self.path("run"), says=[self.path("file")])
        # Its files among the images would be taken for some that somebody put there.
        images = self.path("images")
        os.symlink("images", self.path("link"))
        with self.unchanged():
            for cache in (images, os.path.join(images, "..", "images"), self.path("link")):
                self.bad(2, *self.common, "--cache", cache, "--out", self.path("run"), says=[f"--cache {cache}: is the folder of --images {images}, expected another"])
        with self.unchanged():
            self.good(*self.common, *self.cache, "--dry-run")

    def test_a_full_disk_is_warned_of_once_and_training_goes_on(self):
        common = [a for a in self.common if a != "--quiet"] + ["--size", "321", "--steps", "1"]
        expected = self.train("plain", "--size", "321", "--steps", "1")
        # An image of 321 × 321 numbers of 4 bytes is longer than any file may be, and a checkpoint is not.
        limit = 300000
        self.assertLess(len(expected), limit)
        result = self.good(*common, *self.cache, "--out", self.path("run"), file_limit=limit)
        self.assertEqual(result.stderr.count("the cache of images takes no more"), 1, result.stderr)
        self.assertEqual(expected, self.read("run", "last.safetensors"))
        self.assertEqual(self.entries(), [])

    def test_it_may_change_while_a_run_goes_on(self):
        expected = self.train("whole", "--steps", "7")
        self.good(*self.common[:-2], "3", "--quiet", *self.cache, "--out", self.path("part"))
        shutil.rmtree(self.path("cache"))
        self.good("train", "--resume", "--out", self.path("part"), "--steps", "7", "--cache", self.path("elsewhere"), "--quiet")
        self.assertEqual(expected, self.read("part", "last.safetensors"))
        self.assertEqual(len(self.entries("elsewhere")), 18)


if __name__ == "__main__":
    unittest.main()
