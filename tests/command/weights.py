# SPDX-License-Identifier: Apache-2.0
"""`cxr convert`, and weight files of every format in `cxr predict` and `cxr train --weights`."""

import json
import os
import re
import shutil
import struct
import unittest
import zipfile

from _cxr_command import *

FORMATS = ("w.safetensors", "w.h5", "w.hdf5", "w.weights.h5", "w.keras", "w.onnx")


class Weights(CommandTest):
    @classmethod
    def setUpClass(cls):
        cls.maker = CommandTest()
        cls.maker.setUp()
        cls.maker.good(*cls.maker.train_arguments(), "--steps", "1", "--quiet")
        cls.model = cls.maker.path("run", "last.safetensors")
        cls.images = cls.maker.path("images")

    @classmethod
    def tearDownClass(cls):
        cls.maker.doCleanups()

    def network(self, path):
        """Name, shape and bytes of every tensor of a safetensors file, the optimizer's aside."""
        header, data = read_safetensors(path)
        return {
            name: (entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()
            if name != "__metadata__" and not name.startswith("optimizer.")
        }

    def predict(self, model, *more):
        self.good("predict", "--model", model, "--images", self.images, "--out", self.path("p.csv"), "--threads", "1", *more)
        return self.read("p.csv")

    def test_every_format_and_back_bit_for_bit(self):
        for name in FORMATS:
            with self.subTest(name):
                said = self.good_json("convert", self.model, self.path(name))
                self.assertEqual(said["out"], self.path(name))
                back = self.good_json("convert", self.path(name), self.path("back.safetensors"))
                self.assertEqual(self.network(self.path("back.safetensors")), self.network(self.model))
                self.assertEqual(back["fingerprint"], said["fingerprint"])
                self.assertEqual(back["read"], back["placed"] + len(back["ignored"]))
                for other in FORMATS:  # from each to each
                    self.good("convert", self.path(name), self.path("other." + other), "--quiet", "--log-level", "error")
                    self.good("convert", self.path("other." + other), self.path("back.safetensors"), "--quiet")
                    self.assertEqual(self.network(self.path("back.safetensors")), self.network(self.model))

    def test_predictions_are_the_same_from_every_format(self):
        expected = self.predict(self.model)
        for name in FORMATS:
            with self.subTest(name):
                result = self.good("convert", self.model, self.path(name))
                self.assertEqual("1.001e-5" in result.stderr, name == "w.weights.h5")
                # Only weights of Keras 3 by themselves cannot say which epsilon they were trained with.
                more = ["--convention", "torchvision"] if name == "w.weights.h5" else []
                if name != "w.safetensors":
                    more += ["--size", "32", "--resize", "area", "--classes", "A,B"]
                self.assertEqual(self.predict(self.path(name), *more), expected)
                told = self.good("predict", "--model", self.path(name), "--images", self.images, "--out", self.path("p.csv"), *more).stderr
                self.assertEqual(re.findall("does not say how its images were prepared: (.*) is taken", told), [] if name in ("w.safetensors", "w.onnx") else ["--preprocess samplewise"])
        told = self.good("predict", "--model", self.path("w.weights.h5"), "--images", self.images, "--out", self.path("p.csv"), "--classes", "A,B", "--convention", "torchvision").stderr
        self.assertRegex(told, "w.weights.h5 does not say how its images were prepared: --size 320 --resize nearest --preprocess samplewise is taken for granted")

    def test_training_from_every_format(self):
        data = self.data_set()
        print_of_model = self.good_json("convert", self.model, self.path("w.safetensors"))["fingerprint"]
        small = [*SMALL[SMALL.index("--size") :], "--batch", "4", "--steps", "1", "--convention", "torchvision"]
        losses = set()
        for name in FORMATS:
            with self.subTest(name):
                self.good("convert", self.model, self.path(name))
                run = self.path("run-" + name)
                result = self.good("train", *data, *small, "--weights", self.path(name), "--out", run)
                tensors = len(self.network(self.model))
                self.assertIn(f"{tensors} placed", result.stdout)
                with open(os.path.join(run, "config.json")) as file:
                    config = json.load(file)
                self.assertEqual(config["weights"]["fingerprint"], print_of_model)
                self.assertEqual(config["weights"]["new"], [])
                self.assertEqual(config["architecture"]["blocks"], [1, 1, 1, 1])
                self.assertEqual(config["architecture"]["growth"], 4)
                losses.add(read_csv(os.path.join(run, "steps.csv"))[0]["loss"])
        self.assertEqual(len(losses), 1)

    def test_the_head(self):
        data = self.data_set()
        small = [*SMALL, "--batch", "4", "--steps", "1"]
        self.good("convert", self.model, self.path("w.h5"))
        fits = self.good("train", *data, *small, "--weights", self.path("w.h5"), "--out", self.path("a"))
        self.assertNotIn("new:", fits.stdout)
        anew = self.good("train", *data, *small, "--weights", self.path("w.h5"), "--new-head", "--out", self.path("b"))
        self.assertIn("new: classifier.weight", anew.stdout)
        self.assertIn("classifier.bias (2) is left out: the head begins anew", anew.stdout)
        with open(self.path("b", "config.json")) as file:
            config = json.load(file)
        self.assertTrue(config["options"]["new-head"])
        self.assertEqual(config["weights"]["new"], ["classifier.weight", "classifier.bias"])
        self.good("train", "--resume", "--out", self.path("b"), "--steps", "2", "--quiet")
        with open(self.path("b", "config.json")) as file:
            self.assertEqual(json.load(file)["weights"], config["weights"])
        three = self.data_set(classes=("A", "B", "C"))
        other = self.good("train", *three, *small, "--weights", self.path("w.h5"), "--out", self.path("c"))
        self.assertIn("new: classifier.weight", other.stdout)
        self.assertIn("classifier.weight (2, 8) is left out", other.stdout)
        with open(self.path("c", "config.json")) as file:
            without = json.load(file)["weights"]
        self.assertEqual(sorted(without["ignored"])[-1].rsplit("/", 1)[-1], "kernel:0")
        self.assertEqual(without["placed"], without["fingerprint"]["tensors"])
        with self.unchanged():
            self.bad(2, "train", *data, *small, "--new-head", "--out", self.path("d"), says=["--new-head", "--weights"])
            self.bad(2, "train", "--resume", "--out", self.path("b"), "--new-head", says=["--new-head", "--resume"])
            self.bad(1, "predict", "--model", self.path("w.h5"), "--images", self.images, "--size", "32", "--classes", "A,B,C", "--out", self.path("p.csv"), says=["w.h5", "2 outputs", "expected 3", "--new-head"])
        classes = self.data_set(classes=("A", "D"))
        warned = self.good("train", *classes, *small, "--weights", self.model, "--out", self.path("e"))
        self.assertIn("its head has other classes", warned.stderr)

    def test_a_head_that_is_no_sigmoid(self):
        self.good("convert", self.model, self.path("w.keras"))
        arguments = ["--images", self.images, "--classes", "A,B", "--out", self.path("p.csv"), "--quiet"]
        for activation, fits in (("linear", True), ("softmax", False)):
            other = self.path(activation + ".keras")
            with zipfile.ZipFile(self.path("w.keras")) as old, zipfile.ZipFile(other, "w") as new:
                for member in old.infolist():
                    content = old.read(member)
                    if member.filename == "config.json":
                        self.assertIn(b'"activation": "sigmoid"', content)
                        content = content.replace(b'"activation": "sigmoid"', f'"activation": "{activation}"'.encode())
                    new.writestr(member, content)
            self.good("convert", other, self.path("kept.safetensors"))  # the weights alone, which say how the head ended
            if fits:
                self.good("predict", "--model", other, *arguments)
                self.good("predict", "--model", self.path("kept.safetensors"), "--size", "32", *arguments)
                self.assertIn("ends in a sigmoid", self.good("convert", other, self.path("x.onnx")).stdout)
            else:
                self.bad(1, "predict", "--model", self.path("kept.safetensors"), "--size", "32", *arguments, says=["kept.safetensors", "softmax"])
                with self.unchanged():
                    for name in ("x.keras", "x.h5", "y.onnx"):
                        self.bad(1, "convert", other, self.path(name), says=["softmax.keras", "ends in softmax", "sigmoid"])
                self.good("convert", other, self.path("x.weights.h5"))
                self.good("convert", other, self.path("z.onnx"), "--logits")
                self.bad(1, "predict", "--model", other, *arguments, says=["softmax.keras", "softmax", "expected sigmoid"])
                warned = self.good("train", *self.data_set(), "--size", "32", "--batch", "4", "--steps", "1", "--weights", other, "--out", self.path("run"))
                self.assertIn("ends in softmax", warned.stderr)

    def test_the_optimizer(self):
        data = self.data_set()
        small = ["--batch", "4", "--threads", "1", "--quiet"]
        kept = self.path("kept.safetensors")
        self.good("convert", "--keep-optimizer", self.model, kept)
        self.good("convert", self.model, self.path("plain.safetensors"))
        with open(self.model, "rb") as one, open(kept, "rb") as other:
            self.assertEqual(one.read(), other.read())
        steps = {}
        for name, more in (("kept", ["--keep-optimizer"]), ("kept", []), ("plain", [])):
            run = self.path(f"run{len(steps)}")
            steps[name, *more] = self.good_json("train", *data, *small, "--steps", "2", "--weights", self.path(name + ".safetensors"), "--out", run, *more)["steps"]
            with open(os.path.join(run, "config.json")) as file:
                self.assertEqual(json.load(file)["options"]["keep-optimizer"], bool(more))
            header, _ = read_safetensors(os.path.join(run, "last.safetensors"))
            self.assertEqual(json.loads(header["__metadata__"]["cxr.optimizer"])["step"], 3 if more else 2)
        anew, other, going_on = steps["kept",], steps["plain",], steps["kept", "--keep-optimizer"]
        self.assertEqual(anew, other)
        self.assertEqual(going_on[0], anew[0])
        self.assertNotEqual(going_on[1], anew[1])
        with self.unchanged():
            self.bad(1, "train", *data, *small, "--weights", self.path("plain.safetensors"), "--keep-optimizer", "--out", self.path("x"), says=["plain.safetensors", "no state of an optimizer"])
            self.bad(1, "train", *data, *small, "--weights", kept, "--keep-optimizer", "--optimizer", "sgd", "--out", self.path("x"), says=["kept.safetensors", "adam", "sgd"])
            self.bad(1, "train", *data, *small, "--weights", os.path.join(run, "best.safetensors"), "--keep-optimizer", "--out", self.path("x"), says=["best.safetensors", "no state of an optimizer"])
            self.bad(2, "train", *data, *small, "--keep-optimizer", "--out", self.path("x"), says=["--keep-optimizer", "--weights"])
            self.bad(2, "train", *data, *small, "--weights", kept, "--keep-optimizer", "--new-head", "--out", self.path("x"), says=["--keep-optimizer", "--new-head"])
            self.bad(2, "train", "--resume", "--out", self.path("run0"), "--keep-optimizer", says=["--keep-optimizer", "--resume"])
            self.bad(2, "convert", "--keep-optimizer", kept, self.path("x.keras"), says=["--keep-optimizer", "x.keras", ".safetensors"])
            self.bad(1, "convert", "--keep-optimizer", self.path("plain.safetensors"), self.path("x.safetensors"), says=["plain.safetensors", "no state of an optimizer"])

    def test_half_a_head_and_files_that_are_no_network(self):
        network = self.network(self.model)

        def packed(name, tensors):
            header, data = {}, b""
            for key, (shape, content) in tensors.items():
                header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
                data += content
            return self.write(name, safetensors(header, data))

        half = packed("half.safetensors", {k: v for k, v in network.items() if k != "classifier.bias"})
        other = self.write("other.safetensors", safetensors({"bert.embeddings.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)))
        nan = packed("nan.safetensors", {k: (shape, b"\0\0\xc0\x7f" * (len(content) // 4)) for k, (shape, content) in network.items()})
        os.mkfifo(self.path("pipe.h5"))
        arguments = [*self.data_set(), "--batch", "4", "--steps", "1", "--out", self.path("run")]
        with self.unchanged():
            for more in ([], SMALL):
                self.bad(1, "train", *arguments, *more, "--quiet", "--weights", half, says=["half.safetensors", "classifier.bias", "missing"])
            self.bad(1, "convert", half, self.path("x.keras"), says=["half.safetensors", "classifier.bias", "missing"])
            self.bad(1, "convert", other, self.path("x.safetensors"), says=["other.safetensors", "make no DenseNet", "features.conv0.weight"])
            self.bad(1, "convert", nan, self.path("x.keras"), says=["nan.safetensors", "features.conv0.weight", "NaN"])
            self.bad(1, "convert", "--list", self.path("pipe.h5"), says=["pipe.h5", "is not a file"])
            self.assertEqual(self.good_json("convert", "--list", other)["tensors"][0]["here"], "")

    def test_a_checkpoint_carries_size_and_preprocessing(self):
        data = self.data_set()
        run = self.good("train", *data, "--weights", self.model, "--batch", "4", "--steps", "1", "--out", self.path("next"))
        with open(self.path("next", "config.json")) as file:
            options = json.load(file)["options"]
        self.assertEqual((options["size"], options["resize"], options["preprocess"]), (32, "area", "samplewise"))
        self.good("convert", self.model, self.path("w.keras"))
        with zipfile.ZipFile(self.path("w.keras")) as archive:
            self.assertIn(b"[null, 32, 32, 3]", archive.read("config.json"))
        small = [*SMALL[: SMALL.index("--size")], "--size", "32,64", "--batch", "4", "--steps", "1"]
        self.good("train", *data, *small, "--out", self.path("wide"), "--quiet")
        self.good("convert", self.path("wide", "last.safetensors"), self.path("wide.keras"))
        said = self.good("train", *data, "--weights", self.path("wide.keras"), "--batch", "4", "--dry-run")
        self.assertIn("32 × 64 × 3", said.stdout)

    def test_featurewise_figures_are_fitted_once(self):
        data = self.data_set()
        train = ["train", *data, *SMALL, "--batch", "4", "--steps", "1"]

        def figures(run):
            preprocess = json.loads(read_safetensors(self.path(run, "last.safetensors"))[0]["__metadata__"]["cxr.preprocess"])
            return preprocess["mean"], preprocess["deviation"]

        def text(mean, deviation):
            return f"mean {' '.join(f'{m:.2f}' for m in mean)}, deviation {' '.join(f'{d:.2f}' for d in deviation)}"

        self.assertNotIn("featurewise by", self.good(*train, "--preprocess", "featurewise", "--out", self.path("first")).stdout)
        first, file = figures("first"), self.path("first", "best.safetensors")
        # Fitted anew to the same images they are the same, of which nothing is said.
        self.assertNotIn("featurewise by", self.good(*train, "--weights", file, "--preprocess", "featurewise", "--out", self.path("same")).stdout)
        self.assertEqual(figures("same"), first)
        for i, name in enumerate(sorted(os.listdir(self.path("images")))):
            self.write(f"images/{name}", png(40, 40, [(j * 3 + i) % 256 for j in range(1600)]))
        # The rule of a file comes with its figures.
        said = self.good(*train, "--weights", file, "--out", self.path("inherited")).stdout
        self.assertIn(f"featurewise by the figures of {file}: {text(*first)}; --preprocess featurewise fits them to {self.path('train.csv')}\n", said)
        self.assertEqual(figures("inherited"), first)
        self.good("train", "--resume", "--out", self.path("inherited"), "--steps", "2", "--quiet")
        self.assertEqual(figures("inherited"), first)
        # Who asks for the rule has it fitted, and is told what the file's figures are.
        said = self.good(*train, "--weights", file, "--preprocess", "featurewise", "--out", self.path("anew")).stdout
        anew = figures("anew")
        self.assertNotEqual(anew, first)
        self.assertIn(f"featurewise by figures fitted to {self.path('train.csv')}: {text(*anew)}; {file} has {text(*first)}\n", said)
        # Figures of three channels are none of one.
        said = self.good(*train, "--weights", file, "--channels", "1", "--out", self.path("gray")).stdout
        gray = figures("gray")
        self.assertEqual([len(f) for f in gray], [1, 1])
        self.assertIn(f"{text(*gray)}; {file} has {text(*first)}\n", said)
        # Another rule has no figures, whatever the file's.
        self.assertNotIn("featurewise by", self.good(*train, "--weights", file, "--preprocess", "samplewise", "--out", self.path("other")).stdout)

    def test_folded_and_without_a_sigmoid(self):
        expected = self.predict(self.model)
        self.good("convert", self.model, self.path("w.onnx"), "--fold", "--logits")
        said = self.good_json("convert", self.path("w.onnx"), self.path("back.safetensors"))
        self.assertTrue(any("folded" in note for note in said["notes"]), said["notes"])
        self.assertTrue(any("logits" in note for note in said["notes"]), said["notes"])
        folded = self.predict(self.path("w.onnx"), "--classes", "A,B")
        for a, b in zip(expected.split(b"\n")[1:], folded.split(b"\n")[1:]):
            for x, y in zip(a.split(b",")[1:], b.split(b",")[1:]):
                self.assertAlmostEqual(float(x), float(y), delta=1e-5)  # each convolution is rounded once more
        with self.unchanged():
            self.bad(2, "convert", self.model, self.path("x.keras"), "--fold", says=["--fold", ".onnx"])
            self.bad(2, "convert", self.model, self.path("x.h5"), "--logits", says=["--logits", ".onnx"])

    def test_cards(self):
        for name in ("a.onnx", "b.keras"):
            self.assertTrue(self.good_json("convert", self.model, self.path(name))["card"])
        with open(self.path("model.json")) as file:
            card = json.load(file)
        self.assertEqual(card["model"], "a.onnx, b.keras")
        self.assertEqual(card["classes"], ["A", "B"])
        self.assertEqual(card["weights"]["layers"], 4 * 4 + 3 * 2 + 2 + 2)
        # Weights of others have one too, that says what is known.
        os.mkdir(self.path("other"))
        self.good("convert", os.path.join(SOURCE, "tests", "data", "weights", "small.keras"), self.path("other", "c.onnx"))
        with open(self.path("other", "model.json")) as file:
            card = json.load(file)
        self.assertEqual(card["classes"][13], "output 14")
        self.assertEqual(card["preprocessing"], {"height": "64", "width": "64"})
        warned = self.good("convert", self.model, self.path("other", "d.onnx"))
        self.assertIn("was the card of c.onnx", warned.stderr)
        # Nothing is written where the card cannot be made.
        os.mkdir(self.path("run"))
        with open(self.path("run", "config.json"), "w") as file:
            json.dump({"options": {}, "rows": {}}, file)
        model = shutil.copy(self.model, self.path("run", "last.safetensors"))
        with self.unchanged():
            self.bad(1, "convert", model, self.path("run", "x.onnx"), says=["config.json", "lacks a field"])

    def test_what_went_where(self):
        header, data = read_safetensors(self.model)
        wrapped = {("module." + k if k != "__metadata__" and not k.startswith("optimizer.") else k): v for k, v in header.items() if k != "__metadata__"}
        begin = len(data)
        wrapped["module.features.norm0.num_batches_tracked"] = {"dtype": "I64", "shape": [], "data_offsets": [begin, begin + 8]}
        model = self.write("m.safetensors", safetensors(wrapped, data + struct.pack("<q", 7)))
        result = self.good("predict", "--model", model, "--images", self.images, "--size", "32", "--classes", "A,B", "--out", self.path("p.csv"), "--log-level", "debug")
        tensors = len(self.network(self.model))
        self.assertIn(f"{tensors} of them renamed, 1 ignored", result.stdout)
        self.assertIn("module.features.norm0.weight is features.norm0.weight", result.stderr)
        self.assertIn("module.features.norm0.num_batches_tracked is ignored", result.stderr)

    def test_list(self):
        for name in FORMATS:
            self.good("convert", self.model, self.path(name))
            with self.unchanged():
                said = self.good_json("convert", "--list", self.path(name))
                text = self.good("convert", self.path(name), "--list").stdout
            here = {t["here"] for t in said["tensors"]}
            self.assertTrue(set(self.network(self.model)) <= here | {"classifier.weight", "classifier.bias"})
            self.assertIn("features.denseblock1.denselayer1.conv2.weight", here)
            self.assertIn(said["tensors"][0]["name"], text)
            expected = [8, 3, 7, 7] if name in ("w.safetensors", "w.onnx") else [7, 7, 3, 8]  # as the file has it
            self.assertEqual([t["shape"] for t in said["tensors"] if t["here"] == "features.conv0.weight"], [expected])

    def test_bad_usage_and_bad_files(self):
        self.good("convert", self.model, self.path("w.h5"))
        self.write("broken.h5", self.read("w.h5")[:5000])
        self.write("broken.safetensors", b"x" * 100)
        with self.unchanged():
            self.bad(2, "convert", self.path("w.h5"), says=["two files"])
            self.bad(2, "convert", "--list", self.path("w.h5"), self.path("x.h5"), says=["--list", "one file"])
            self.bad(2, "convert", self.path("w.h5"), self.path("x.bin"), says=["x.bin", ".safetensors", ".weights.h5", ".keras"])
            self.bad(2, "convert", self.path("w.h5"), self.path("w.h5"), says=["w.h5", "expected another"])
            self.bad(1, "convert", self.path("none.h5"), self.path("x.keras"), says=["none.h5"])
            self.bad(1, "convert", self.path("broken.h5"), self.path("x.keras"), says=["broken.h5", "HDF5"])
            self.bad(1, "convert", "--list", self.path("broken.safetensors"), says=["broken.safetensors"])
            self.bad(1, "convert", self.path("w.h5"), self.path("none", "x.keras"), says=["x.keras"])
            self.bad(1, "convert", self.path("w.h5"), self.path("x.keras"), file_limit=1000, says=["x.keras"])

    def test_files_of_other_frameworks(self):
        folder = os.path.join(SOURCE, "tests", "data", "weights")
        classes = ",".join(f"class{i}" for i in range(14))
        data = self.data_set()
        for name in sorted(os.listdir(folder)):
            if not name.startswith("small") or name.endswith(".json"):
                continue
            with self.subTest(name):
                path = os.path.join(folder, name)
                self.good("convert", "--list", path, "--quiet")
                names = ",".join(f"class{i}" for i in range(18)) if "-18" in name else classes
                arguments = ["predict", "--model", path, "--images", self.images, "--size", "64", "--classes", names, "--out", self.path("p.csv")]
                if "notop" in name:
                    self.bad(1, *arguments, "--quiet", says=[name, "no head"])
                else:
                    self.good(*arguments)
                trained = self.good("train", *data, "--size", "32", "--batch", "4", "--steps", "1", "--weights", path, "--out", self.path(name))
                self.assertIn("new: classifier.weight", trained.stdout)
                self.assertIn("placed", trained.stdout)
                shutil.rmtree(self.path(name))


if __name__ == "__main__":
    unittest.main()
