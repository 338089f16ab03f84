# SPDX-License-Identifier: Apache-2.0
"""`predict` and `evaluate`."""

import gzip
import re
import shutil

from _cxr_command import *


class Predict(CommandTest):
    @classmethod
    def setUpClass(cls):
        cls.maker = CommandTest()
        cls.maker.setUp()
        cls.maker.good(*cls.maker.train_arguments(), "--epochs", "1", "--quiet")
        cls.run_folder = cls.maker.path("run")

    @classmethod
    def tearDownClass(cls):
        cls.maker.doCleanups()

    def test_a_folder_by_name_and_a_table_in_its_order(self):
        images = self.maker.path("images")
        result = self.good_json("predict", "--model", self.run_folder, "--images", images, "--out", self.path("all.csv"))
        rows = read_csv(self.path("all.csv"))
        names = [r["Image"] for r in rows]
        self.assertEqual(names, sorted(os.listdir(images)))
        self.assertEqual(self.read("all.csv").splitlines()[0], b"Image,A,B")
        self.assertEqual((result["images"], result["classes"]), (names, ["A", "B"]))
        for row, values in zip(rows, result["probabilities"]):
            for name, value in zip("AB", values):
                self.assertTrue(0 <= value <= 1)
                # 9 digits tell all floats apart.
                self.assertEqual(struct.pack("f", float(row[name])), struct.pack("f", value))
        table = self.write("order.csv", "Image,A,B\nvalid-03.png,0,1\ntrain-07.png,1,0\n")
        self.good("predict", "--model", self.run_folder, "--images", images, "--csv", table, "--out", self.path("two.csv"))
        two = read_csv(self.path("two.csv"))
        self.assertEqual([r["Image"] for r in two], ["valid-03.png", "train-07.png"])
        by_name = {r["Image"]: r for r in rows}
        for r in two:
            self.assertEqual(r, by_name[r["Image"]])

    def test_files_checkpoint_and_class_order(self):
        file = self.maker.path("images", "train-01.png")
        self.good("predict", "--model", os.path.join(self.run_folder, "last.safetensors"), "--images", file, "--out", self.path("one.csv"), "--classes", "B,A")
        self.assertEqual(self.read("one.csv").splitlines()[0], b"Image,B,A")
        self.bad(2, "predict", "--model", self.run_folder, "--images", file, "--out", self.path("x.csv"), "--classes", "C", says=["C"])
        self.assertFalse(os.path.exists(self.path("x.csv")))

    def predict(self, *more, model=None):
        return ["predict", "--model", model or self.run_folder, "--images", *(more or [self.maker.path("images")]), "--out", self.path("p.csv")]

    def test_the_same_bits_for_any_batch_size_on_every_backend(self):
        version = self.good("--version").stdout
        built_in = re.search(r"^backends (.*)$", version, re.M).group(1)
        without_layers = re.findall(r"^operations with --backend (\S+), which has no layers$", version, re.M)
        self.assertIn("xtensor", without_layers)
        names = [b.split(" ")[0] for b in re.sub(r"\([^)]*\)", "", built_in).split(", ") if b]
        self.assertIn("onednn", names)
        for backend in names:
            if backend in without_layers or backend == "cuda":  # needs a GPU
                continue
            files = {}
            for batch in ("1", "2", "3", "7", "32"):
                self.good(*self.predict(), "--backend", backend, "--batch", batch)
                files[batch] = self.read("p.csv")
            self.assertGreater(len(files["1"].splitlines()), 8)
            for batch, content in files.items():
                self.assertEqual(content, files["1"], f"{backend}, --batch {batch}")

    def test_who_does_each_operation_is_said(self):
        def told(*options):
            text = self.good(*self.predict(), *options).stdout
            return {by: set(operations.split("; ")) for by, operations in re.findall(r"^by (.*?): (.*)$", text, re.M)}

        forward = {"convolution", "batch norm", "relu", "max pool", "affine map of batch norm", "average pool", "bias", "sigmoid"}
        images = {"no backend, on the processor": {"reading and preparing images"}}
        self.assertEqual(told("--backend", "onednn"), {"onednn": {"convolution"}, "reference": forward - {"convolution"}, **images})
        self.assertEqual(told("--backend", "reference"), {"reference": forward, **images})
        # What a backend has taken over as a whole asks for no single operations.
        simd = told("--backend", "simd")
        self.assertIn("DenseNet before its head, as one layer", simd["simd"])
        self.assertEqual(set.union(*simd.values()), {"DenseNet before its head, as one layer", "convolution of the head", "affine map of batch norm", "average pool", "bias", "sigmoid", "reading and preparing images"})
        thrust = told("--backend", "thrust-cpp")
        self.assertEqual(set.union(*thrust.values()), forward - {"batch norm", "relu", "max pool"} | {"dense layer, as one layer", "norm, rectifier and pool, in one pass", "normalise and rectify", "reading and preparing images"})
        self.assertIn("cxr: debug: convolution on onednn", self.good(*self.predict(), "--backend", "onednn", "--log-level", "debug").stderr)
        self.assertEqual(self.good(*self.predict(), "--quiet").stdout, "")

    def test_the_file_of_json_and_out_are_two(self):
        with self.unchanged():
            self.bad(2, *self.predict(), "--json", self.path("p.csv"), says=["--json", "p.csv", "--out"])
            self.bad(2, *self.predict(), "--json", os.path.join(self.folder, "none", "..", "p.csv"), says=["--json", "--out"])
            self.bad(1, *self.predict(), "--json", self.path("none", "x.json"), says=["x.json"])

    def test_an_image_is_called_as_it_was_given(self):
        for name in ("a.png", os.path.join(".", "a.png"), self.path("a.png")):
            self.write("a.png", png(40, 40, 1600 * [7]))
            result = self.good(*self.predict(name), "--json", "j.json")
            self.assertIn(f"cxr: warning: {name}: all its pixels have one value", result.stderr)
            self.assertEqual(json.loads(self.read("j.json"))["images"], [name])
            self.write("a.png", "no image")
            self.assertTrue(self.bad(1, *self.predict(name)).startswith(f"cxr: error: {name}: neither a PNG nor a JPEG"))

    def test_classes_and_images_that_are_there_twice(self):
        file = self.maker.path("images", "train-01.png")
        with self.unchanged():
            self.bad(2, *self.predict(), "--classes", "A,A", says=["--classes", "A", "twice"])
            self.bad(2, *self.predict(file, file), says=["--images", "train-01.png", "twice"])
            self.bad(2, *self.predict(file, self.maker.path("images", ".", "train-01.png")), says=["--images", "twice"])
        header, data = read_safetensors(os.path.join(self.run_folder, "best.safetensors"))
        header["__metadata__"]["cxr.classes"] = '["A","A"]'
        model = self.write("m.safetensors", safetensors(header, data))
        self.bad(1, *self.predict(model=model), says=["m.safetensors", "A twice"])

    def test_a_table_needs_nothing_but_images(self):
        table = self.write("t.csv", "Image\nvalid-03.png\ntrain-07.png\n")
        self.good(*self.predict(), "--csv", table)
        self.assertEqual([r["Image"] for r in read_csv(self.path("p.csv"))], ["valid-03.png", "train-07.png"])
        table = self.write("t.csv", "Path,Hernia,note\nvalid-03.png,-1,x\n")
        self.good(*self.predict(), "--csv", table)
        for content, says in (("A\n1\n", ["header"]), ("Image\n", ["no rows"]), ("Image\na.png\na.png\n", ["two rows"]), (b"Image\n\xff.png\n", ["row 1", "UTF-8"])):
            self.bad(1, *self.predict(), "--csv", self.write("t.csv", content), says=["t.csv", *says])
        self.bad(1, *self.predict(), "--csv", self.write("t.csv", "Image\nnone.png\nvalid-01.png\n"), says=[f"1 of the 2 images of {self.path('t.csv')} are not there: none.png"])

    def test_a_pipe_of_a_table_is_no_image(self):
        os.mkdir(self.path("images"))
        os.mkfifo(self.path("images", "x.png"))
        self.bad(1, *self.predict(self.path("images")), "--csv", self.write("t.csv", "Image\nx.png\n"), says=["1 of the 1 images of", "are not there: x.png"])

    def test_a_folder_among_the_images_is_passed_over(self):
        os.mkdir(self.path("images"))
        os.mkdir(self.path("images", "x.png"))
        os.mkfifo(self.path("images", "y.png"))
        self.write("images/._train-01.png", "macOS keeps attributes so")
        shutil.copy(self.maker.path("images", "train-01.png"), self.path("images"))
        self.good(*self.predict(self.path("images")))
        self.assertEqual([r["Image"] for r in read_csv(self.path("p.csv"))], ["train-01.png"])

    def test_options_that_contradict_the_checkpoint(self):
        with self.unchanged():
            self.bad(2, *self.predict(), "--size", "64", says=["--size 64", "best.safetensors", "32"])
            self.bad(2, *self.predict(), "--preprocess", "featurewise", says=["--preprocess", "samplewise"])
            self.bad(2, *self.predict(), "--blocks", "1,1,1,2", says=["--blocks [1,1,1,2]", "[1,1,1,1]"])
        self.good(*self.predict(), *SMALL)

    def test_which_checkpoint_predicts(self):
        self.assertIn("best.safetensors · step 3 · epoch 1", self.good(*self.predict()).stdout)
        header, data = read_safetensors(os.path.join(self.run_folder, "best.safetensors"))
        header["__metadata__"]["cxr.step"] = "0"
        result = self.good(*self.predict(model=self.write("m.safetensors", safetensors(header, data))))
        self.assertIn("cxr: warning:", result.stderr)
        self.assertIn("before the first step", result.stderr)

    def test_weights_that_are_not_finite(self):
        header, data = read_safetensors(os.path.join(self.run_folder, "best.safetensors"))
        for value in ("nan", "inf"):
            begin, _ = header["features.norm5.weight"]["data_offsets"]
            spoilt = data[:begin] + struct.pack("<f", float(value)) + data[begin + 4 :]
            model = self.write("m.safetensors", safetensors(header, spoilt))
            with self.unchanged():
                self.bad(1, *self.predict(model=model), says=["m.safetensors", "features.norm5.weight", "NaN or infinity"])

    def test_probabilities_that_are_not_finite(self):
        header, data = read_safetensors(os.path.join(self.run_folder, "best.safetensors"))
        for name in ("classifier.weight", "features.norm5.weight"):
            begin, end = header[name]["data_offsets"]
            data = data[:begin] + struct.pack("<ff", 3e38, -3e38) * ((end - begin) // 8) + data[end:]
        model = self.write("m.safetensors", safetensors(header, data))
        with self.unchanged():
            self.bad(1, *self.predict(model=model), "--quiet", says=["m.safetensors", "A in train-00.png", "not finite"])

    def test_an_architecture_that_the_file_cannot_hold(self):
        header, data = read_safetensors(os.path.join(self.run_folder, "best.safetensors"))
        for growth in (4, 1000):
            header["__metadata__"]["cxr.architecture"] = json.dumps({**json.loads(header["__metadata__"]["cxr.architecture"]), "blocks": [1000] * 4, "growth": growth})
            model = self.write("m.safetensors", safetensors(header, data))
            self.bad(1, *self.predict(model=model), says=["m.safetensors", "numbers", "architecture"], timeout=30)

    def test_featurewise_metadata_that_is_not_right(self):
        header, data = read_safetensors(os.path.join(self.run_folder, "best.safetensors"))
        old = json.loads(header["__metadata__"]["cxr.preprocess"])
        for mean, deviation in (([1, 2], [1, 1, 1]), ([1, 2, 3], [1, -1, 1])):
            header["__metadata__"]["cxr.preprocess"] = json.dumps({**old, "normalise": "featurewise", "mean": mean, "deviation": deviation})
            self.bad(1, *self.predict(model=self.write("m.safetensors", safetensors(header, data))), says=["m.safetensors", "cxr.preprocess", "3 channels"])

    def test_weights_that_are_broken_or_pickled(self):
        data = self.maker.data_set()
        for name, content, says in (
            ("a.h5", b"", "is empty"),
            ("a.keras", b"PK\3\4", "zip archive"),
            ("hdf", b"\x89HDF\r\n\x1a\n....", "HDF5"),
            ("a.pt", b"PK\3\4", "safetensors.torch.save_file"),
            ("a.pth", b"x", "executes the code"),
            ("b", b"\x80\x02}", "pickled"),
        ):
            model = self.write(name, content)
            with self.unchanged():
                self.bad(1, *self.predict(model=model), "--classes", "A,B", says=[name, says])
                self.bad(1, "train", *data, *SMALL, "--weights", model, "--out", self.path("run"), says=[name, says])

    def test_nothing_half_written(self):
        images = self.maker.path("images")
        with self.unchanged():
            self.bad(1, "predict", "--model", self.run_folder, "--images", images, "--out", self.path("p.csv"), "--quiet", file_limit=50, says=["p.csv"])
            self.bad(1, "predict", "--model", self.run_folder, "--images", images, "--out", "/proc/p.csv", "--quiet", says=["/proc/p.csv"])
            self.bad(1, "predict", "--model", self.run_folder, "--images", self.path("none"), "--out", self.path("p.csv"), "--quiet", says=["none"])
            self.bad(2, "predict", "--model", self.run_folder, "--images", images, "--batch", "0", "--out", self.path("p.csv"), says=["--batch"])
        bad = self.write("bad.png", b"no image")
        with self.unchanged():
            self.bad(1, "predict", "--model", self.run_folder, "--images", bad, "--out", self.path("p.csv"), "--quiet", says=["bad.png"])

    def test_an_old_file_stays_when_the_disk_is_full(self):
        old = self.write("p.csv", "old\n")
        self.bad(1, "predict", "--model", self.run_folder, "--images", self.maker.path("images"), "--out", old, "--quiet", file_limit=50, says=["p.csv"])
        self.assertEqual(self.read("p.csv"), b"old\n")


class Evaluate(CommandTest):
    def tables(self):
        self.write("labels.csv", "Image,PatientId,A,B,C\n1.png,1,0,0,1\n2.png,2,0,0,\n3.png,3,1,0,0\n4.png,4,1,0,1\n")
        self.write("p.csv", "Image,C,A,B\n4.png,0.9,0.8,0.1\n3.png,0.9,0.35,0.2\n2.png,0.5,0.4,0.3\n1.png,0.2,0.1,0.4\n")

    def test_auroc_by_name_with_ties_unknowns_and_an_undefined_class(self):
        self.tables()
        result = self.good_json("evaluate", "--csv", self.path("labels.csv"), "--predictions", self.path("p.csv"), "--classes", "A,B,C", "--out", self.path("plots"))
        self.assertEqual(result["rows"], 4)
        a, b, c = result["classes"]
        self.assertEqual((a["name"], a["positives"], a["auroc"]), ("A", 2, 0.75))
        self.assertEqual((b["positives"], b["auroc"], b["auprc"]), (0, None, None))
        self.assertEqual((c["positives"], c["auroc"]), (2, 0.25))
        self.assertEqual((result["mean_auroc"], result["mean_over"]), (0.5, 2))
        # scikit-learn 1.9.1's average_precision_score.
        self.assertAlmostEqual(a["auprc"], 0.8333333333333333, delta=1e-15)
        self.assertAlmostEqual(c["auprc"], 0.5833333333333333, delta=1e-15)
        self.assertAlmostEqual(result["mean_auprc"], (0.8333333333333333 + 0.5833333333333333) / 2, delta=1e-15)
        self.assertEqual(sorted(os.listdir(self.path("plots"))), ["roc.png", "roc.svg"])
        for planned in ("auroc_low", "brier", "ece", "tp", "sensitivity"):
            self.assertNotIn(planned, a)
        text = self.good("evaluate", "--csv", self.path("labels.csv"), "--predictions", self.path("p.csv")).stdout
        self.assertIn("undefined", text)
        self.assertIn("mean over 2 of 3 classes", text)
        # Without --classes they come in the order of the table of labels, not of the predictions.
        self.assertEqual([line[0] for line in text.splitlines() if line[1:2] == " " and line[0] in "ABC"], ["A", "B", "C"])

    def test_confusion_at_a_threshold(self):
        self.tables()
        arguments = ["evaluate", "--csv", self.path("labels.csv"), "--predictions", self.path("p.csv"), "--classes", "A,B,C", "--threshold", "0.4"]
        result = self.good_json(*arguments)
        self.assertEqual(result["threshold"], 0.4)
        a, b, c = ([k[n] for n in ("tp", "fp", "tn", "fn", "sensitivity", "specificity", "ppv", "npv", "f1")] for k in result["classes"])
        self.assertEqual(a, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5])  # a score of the threshold itself is called positive
        self.assertEqual(b, [0, 1, 3, 0, None, 0.75, 0.0, 1.0, None])
        self.assertEqual(c, [1, 1, 0, 1, 0.5, 0.0, 0.5, 0.0, 0.5])
        self.assertEqual((result["mean_sensitivity"], result["mean_sensitivity_over"]), (0.5, 2))
        self.assertAlmostEqual(result["mean_specificity"], 1.25 / 3, delta=1e-15)
        self.assertEqual((result["mean_specificity_over"], result["mean_f1"], result["mean_f1_over"]), (3, 0.5, 2))
        text = self.good(*arguments).stdout
        self.assertIn("score at least 0.4", text)
        self.assertRegex(text, r"over classes +2 of 3 +3 of 3 +3 of 3 +3 of 3 +2 of 3")
        self.assertNotIn("score at least", self.good(*arguments[:-2]).stdout)
        self.bad(2, *arguments[:-1], "nan", says=["--threshold", "finite"])
        self.bad(2, *arguments[:-1], "half", says=["--threshold", "half"])

    def test_scores_are_doubles(self):
        self.write("labels.csv", "Image,A\n1.png,1\n2.png,0\n")
        for positive, negative, auroc in (("0.99999999999", "0.99999999998", 1.0), ("0.99999999998", "0.99999999999", 0.0), ("+0.5", "1e-46", 1.0), ("1e-320", "1e-999", 1.0)):
            table = self.write("p.csv", f"Image,A\n1.png,{positive}\n2.png,{negative}\n")
            self.assertEqual(self.good_json("evaluate", "--csv", self.path("labels.csv"), "--predictions", table)["mean_auroc"], auroc)

    def test_prefixed_and_compressed_predictions_and_rows_without(self):
        self.tables()
        with gzip.open(self.path("p.csv.gz"), "wt") as file:
            file.write("Image Index,prob_A\n4.png,0.8\n1.png,0.1\n")
        self.assertIn("p.csv.gz: no predictions of B, C, of which", self.good("evaluate", "--csv", self.path("labels.csv"), "--predictions", self.path("p.csv.gz")).stderr)
        result = self.good_json("evaluate", "--csv", self.path("labels.csv"), "--predictions", self.path("p.csv.gz"))
        self.assertEqual((result["rows"], result["rows_without_prediction"], result["classes"][0]["auroc"]), (2, 2, 1.0))

    def test_published_aurocs(self):
        data = os.environ.get("CXR_DATA_DIR", "")
        predictions = os.path.join(data, "preds", "jrzech_densenet121_preds.csv.gz")
        labels = os.path.join(data, "nih", "labels", "Data_Entry_2017_v2020.csv.gz")
        if not (data and os.path.exists(predictions) and os.path.exists(labels)):
            self.skipTest("CXR_DATA_DIR does not name a folder with NIH's table and the published predictions")
        result = self.good_json("evaluate", "--csv", labels, "--predictions", predictions)
        with open(os.path.join(data, "preds", "jrzech_densenet121_aucs.csv")) as file:
            published = {name: float(value) for name, value in (line.split(",") for line in file.read().splitlines()[1:])}
        self.assertEqual(len(published), 14)
        for c in result["classes"]:
            self.assertAlmostEqual(c["auroc"], published[c["name"]], delta=1e-12)

    def test_bad_predictions(self):
        self.tables()
        labels = self.path("labels.csv")

        def refused(content, *says):
            table = self.write("bad.csv", content)
            with self.unchanged():
                self.bad(1, "evaluate", "--csv", labels, "--predictions", table, "--out", self.path("plots"), says=["bad.csv", *says])

        refused("", "empty")
        refused("Image,A\n", "no row")
        refused("1.png,0.5\n", "Image")
        refused("Image,A\n1.png,half\n", "2", "A", "half")
        refused("Image,A\n1.png,nan\n", "A", "nan")
        refused("Image,A,B\n1.png,0.5\n", "2 cells", "3")
        refused("Image,A\n1.png,0.5\n1.png,0.6\n", "1.png", "two rows")
        refused("Image,A\n1.png,0.5\nx.png,0.6\n", "x.png", "labels.csv")
        refused("Image,Z,A\n1.png,3,0.5\n", "column 'Z'", "no class of", "labels.csv")
        refused("Image,PatientId,A\n1.png,1,0.5\n", "column 'PatientId'", "no class of", "labels.csv")
        refused(",Image,A\n0,1.png,0.5\n", "column ''", "no class of", "labels.csv")
        refused("Image,A\n1.png,1e999\n", "1e999", "finite")
        refused("Image,A\n1.png,+-1\n", "+-1", "finite")
        refused(b"Image,A\n\xff.png,1\n", "row 1", "UTF-8")
        with self.unchanged():
            self.bad(1, "evaluate", "--csv", labels, "--predictions", self.path("none.csv"), says=["none.csv"])
            self.bad(1, "evaluate", "--csv", labels, "--predictions", self.folder, says=["directory"])
        self.bad(1, "evaluate", "--csv", labels, "--predictions", self.write("q.csv", "Image,A\n1.png,0.5\n"), "--classes", "A,B", says=["q.csv", "B"])


if __name__ == "__main__":
    unittest.main()
