# SPDX-License-Identifier: Apache-2.0
"""Wrong usage: exit status 2, one line, nothing written."""

import shutil

from _cxr_command import *


class Usage(CommandTest):
    def test_help_and_version(self):
        for arguments in (["--help"], ["stats", "--help"], ["train", "--help"], ["demo", "--help"]):
            result = self.good(*arguments)
            self.assertIn("--help", result.stdout)
            self.assertEqual(result.stderr, "")
        version = self.good("--version").stdout
        for word in ("cxr 0.", "compiler", "reference", "eigen (Eigen ", "xtensor (xtensor ", "onednn (oneDNN ", "libpng", "libjpeg-turbo", "zlib"):
            self.assertIn(word, version)
        # Who does what: no fallback is silent.
        def served(backend):
            lines = version[version.index("operations with --backend " + backend) :].split("operations with")[1].splitlines()
            return {line.split(": ")[0].strip(): line.split(": ")[1].split("; ") for line in lines[1:] if line.startswith("  by ")}

        by = served("onednn")
        self.assertIn("convolution", by["by onednn"])
        self.assertIn("loss", by["by eigen"])
        for operation in ("relu", "AUROC in C++", "Adam", "standardising in C++", "dropout", "running statistics", "bias", "sigmoid, backward"):
            self.assertIn(operation, by["by reference"])
        by = served("simd")
        self.assertIn("loss", by["by simd"])
        self.assertIn("loss of bfloat16 labels in C++", by["by reference"])
        self.assertNotIn("loss of bfloat16 labels in C++", by["by simd"])
        self.assertTrue(any("epsilon below 1e-9" in operation for operation in by["by reference"]), by["by reference"])
        self.assertRegex(version, r"operations with --backend xtensor, which has no layers\n  by xtensor: class counts; class weights of weighted rows; co-occurrence; loss; loss on logits; focal, asymmetric and smoothed losses; focal, asymmetric and smoothed losses on logits; AUROC in C\+\+; AUPRC in C\+\+; confusion counts in C\+\+; moments of channels in C\+\+; standardising in C\+\+; normalising in C\+\+; augmentation in C\+\+\n"
                                  r"  by reference: class counts of bfloat16 labels in C\+\+; co-occurrence of bfloat16 labels in C\+\+; loss of bfloat16 labels in C\+\+\n(?!  by)")

    def test_every_command_has_the_global_options(self):
        for command in ("stats", "check", "split", "train", "predict", "evaluate", "convert", "bench", "demo"):
            text = self.good(command, "--help").stdout
            for option in ("--backend", "--threads", "--seed", "--quiet", "--log-level", "--json"):
                self.assertIn(option, text, command)

    def test_no_command_and_unknown_command(self):
        self.bad(2)
        self.bad(2, "trian", says=["trian"])
        self.bad(2, "stats", "--csv", "x.csv", "--no-such-option", says=["--no-such-option"])

    def test_commands_that_do_not_exist_yet_say_so(self):
        for command in ("explain", "calibrate", "compare", "pack", "report"):
            self.bad(2, command, "--out", "x", says=[command, "does not exist yet"])

    def test_options_that_do_not_exist_yet_say_so(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(2, *train, "--backend", "eigen", "--precision", "bf16", says=["--precision bf16", "eigen", "no bfloat16"])
        self.bad(2, "evaluate", "--csv", "a.csv", "--predictions", "p.csv", "--bootstrap", "100", says=["--bootstrap", "does not exist yet"])

    def test_missing_options_are_named(self):
        self.bad(2, "stats", says=["--csv"])
        self.bad(2, "check", "--train", "a.csv", says=["--valid"])
        self.bad(2, "train", says=["--train"])
        self.bad(2, "predict", "--out", "p.csv", says=["required"])

    def test_values_out_of_range(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(2, *train, "--batch", "0", says=["--batch 0"])
            self.bad(2, *train, "--batch", "-4", says=["--batch"])
            self.bad(2, *train, "--batch", "many", says=["--batch"])
            self.bad(2, *train, "--epochs", "0", says=["--epochs"])
            self.bad(2, *train, "--lr", "nan", says=["--lr", "finite"])
            self.bad(2, *train, "--lr", "inf", says=["--lr", "finite"])
            self.bad(2, *train, "--lr", "-1", says=["--lr"])
            self.bad(2, *train, "--lr", "0", says=["--lr"])
            self.bad(2, *train, "--lr", "abc", says=["--lr = abc: expected a number"])
            self.bad(2, *train, "--steps", "3", "--epochs", "3", says=["--steps", "--epochs"])
            self.bad(2, *train, "--blocks", "1,2", says=["--blocks", "4"])
            self.bad(2, *train, "--class-weights", self.path("none.json"), "--loss", "no", says=["--loss"])
        for option in ("--threads", "--seed"):
            self.bad(2, "stats", "--csv", self.path("train.csv"), option, "-1", says=[option])
            self.bad(2, "stats", "--csv", self.path("train.csv"), option + "=-1", says=[option])
        self.bad(2, "stats", "--csv", self.path("train.csv"), "--log-level", "loud", says=["--log-level", "loud"])

    def test_standard_output_that_takes_nothing_more(self):
        self.data_set()
        for options in ([], ["--json", "-"]):
            with open("/dev/full", "w") as full:
                result = subprocess.run([EXECUTABLE, "stats", "--csv", self.path("train.csv"), *options], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"^cxr: error: standard output: [^\n]*\n$")

    def test_a_size_that_is_too_small_says_the_least(self):
        data = self.data_set()
        with self.unchanged():
            self.bad(2, "train", *data, "--out", self.path("run"), "--size", "16", says=["--size 16", "32"])

    def test_a_backend_that_is_not_built_in(self):
        train = self.train_arguments()
        with self.unchanged():
            for backend in ("vulkan", "fast"):
                self.bad(2, *train, "--backend", backend, says=[backend, "not built in", "onednn"])
                self.bad(2, "stats", "--csv", self.path("train.csv"), "--backend", backend, says=[backend, "not built in"])

    def test_a_backend_without_layers(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(2, *train, "--backend", "xtensor", says=["xtensor", "no layers", "onednn"])

    def test_a_class_asked_for_twice(self):
        self.data_set()
        self.bad(2, "stats", "--csv", self.path("train.csv"), "--classes", "A,A", says=["--classes", "A"])
        self.bad(2, "stats", "--csv", self.path("train.csv"), "--classes", "", says=["--classes", "empty"])

    def test_a_backend_is_looked_at_by_commands_that_do_without(self):
        self.data_set()
        self.bad(2, "check", "--train", self.path("train.csv"), "--valid", self.path("valid.csv"), "--backend", "nonsense", says=["--backend nonsense", "onednn"])
        self.bad(2, "evaluate", "--csv", self.path("train.csv"), "--predictions", self.path("p.csv"), "--backend", "nonsense", says=["--backend nonsense", "onednn"])
        split = ["split", "--csv", self.path("train.csv"), "--fractions", "0.5,0.5", "--out", self.path("parts")]
        self.assertIn("cxr: warning: --backend xtensor: `split` has no operation", self.good(*split, "--backend", "xtensor").stderr)
        self.assertNotIn("--backend", self.good(*split).stderr)
        # Its metrics are among a backend's operations, for programs alone.
        evaluate = ["evaluate", "--csv", self.path("train.csv"), "--predictions", self.write("p.csv", "Image,A\ntrain-00.png,0.5\ntrain-01.png,0.6\n")]
        self.assertIn("cxr: warning: --backend xtensor: `evaluate` computes on the processor, without any backend, so this changes nothing; AUROC", self.good(*evaluate, "--backend", "xtensor").stderr)
        self.assertNotIn("--backend", self.good(*evaluate).stderr)

    def test_whole_numbers_are_decimal_and_in_range(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(2, *train, "--size", "0x40", says=["--size 0x40", "32", "4096"])
            for size in ("32x", "32,31", "4097x32", "32x32x32", "x32", "32, 64"):
                self.bad(2, *train, "--size", size, says=["--size " + size, "32", "4096", "320x256"])
            self.bad(2, *train, "--seed", "99999999999999999999", says=["--seed 99999999999999999999", "9223372036854775807"])
            self.bad(2, *train, "--patience=-1", says=["--patience -1", "0"])
            self.bad(2, *train, "--growth", "0", says=["--growth 0", "1"])
            self.bad(2, *train, "--stem", "1001", says=["--stem 1001", "1000"])
            self.bad(2, *train, "--blocks", "1,1,0,1", says=["--blocks 0", "1"])
            self.bad(2, *train, "--steps", "0", says=["--steps 0", "1"])
            self.bad(2, *train, "--epochs", "1.5", says=["--epochs 1.5"])
            self.bad(2, *train, "--batch", "", says=["--batch"])
            self.bad(2, *train, "--threads", "1025", says=["--threads 1025", "1024"])
            self.assertIn("of 10 images", self.good(*train, "--batch", "010", "--dry-run").stdout)

    def test_a_choice_lists_what_there_is(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(2, *train, "--loss", "x", says=["--loss x", "weighted-bce, bce, focal or asymmetric"])

    def test_numbers_of_losses_are_in_range_and_belong_to_the_loss(self):
        train = self.train_arguments()
        focal, asymmetric = [*train, "--loss", "focal"], [*train, "--loss", "asymmetric"]
        with self.unchanged():
            for value in ("-1", "nan", "inf"):
                self.bad(2, *focal, "--gamma", value, says=["--gamma " + value, "finite number of at least 0"])
                self.bad(2, *asymmetric, "--gamma-negative", value, says=["--gamma-negative " + value, "at least 0"])
                self.bad(2, *asymmetric, "--gamma-positive", value, says=["--gamma-positive " + value, "at least 0"])
            for value in ("-0.1", "1.5", "nan", "some"):
                self.bad(2, *focal, "--alpha", value, says=["--alpha " + value, "from 0 to 1, or none"])
            for value in ("-0.1", "1", "nan"):
                self.bad(2, *asymmetric, "--margin", value, says=["--margin " + value, "less than 1"])
                self.bad(2, *train, "--smoothing", value, says=["--smoothing " + value, "less than 1"])
                self.bad(2, *train, "--class-weights", "effective", "--beta", value, says=["--beta " + value, "less than 1"])
            self.bad(2, *train, "--gamma", "2", says=["--gamma", "--loss focal"])
            self.bad(2, *asymmetric, "--alpha", "0.5", says=["--alpha", "--loss focal"])
            self.bad(2, *focal, "--margin", "0.1", says=["--margin", "--loss asymmetric"])
            self.bad(2, *train, "--beta", "0.9", says=["--beta", "--class-weights effective"])
            self.bad(2, *train, "--loss", "bce", "--class-weights", "inverse", says=["--class-weights", "bce"])
            self.bad(1, *train, "--class-weights", "invers", says=["invers", "inverse, effective, pos-weight, none"])
            self.bad(2, *train, "--augment", "mixup", says=["--augment mixup", "none, flip or standard"])
            self.bad(2, *train, "--preprocess", "minmax", says=["--preprocess minmax", "samplewise, featurewise, imagenet or xrv"])
            self.bad(2, *train, "--uncertain", "maybe", says=["--uncertain", "maybe", "ones, zeros or ignore"])

    def test_log_levels(self):
        arguments = [*self.train_arguments(), "--dry-run"]
        self.assertNotIn("cxr: debug:", self.good(*arguments).stderr)
        text = self.good(*arguments, "--backend", "onednn").stdout
        self.assertRegex(text, r"\nby onednn: .*convolution")
        self.assertRegex(text, r"\nby eigen: .*class counts.*loss")
        self.assertRegex(text, r"\nby reference: .*relu.*Adam")
        self.assertRegex(text, r"\nby no backend, on the processor: .*AUROC after an epoch")
        self.assertIn("cxr: debug: convolution on onednn", self.good(*arguments, "--backend", "onednn", "--log-level", "debug").stderr)
        warning = self.good(*arguments, "--batch", "12", "--size", "64", "--log-level", "warning")  # nothing to warn of
        self.assertEqual((warning.stdout, warning.stderr), ("", ""))

    def test_standard_descriptors_that_are_closed(self):
        arguments = [*self.train_arguments(), "--steps", "2"]
        names = ("config.json", "log.csv", "steps.csv", "last.safetensors", "best.safetensors")
        self.good(*arguments)
        for i, closed in enumerate((">&-", "2>&-", "<&-", "<&- >&- 2>&-")):
            command = ["sh", "-c", f'exec "$0" "$@" {closed}', EXECUTABLE, *arguments[:-3], self.path(f"closed-{i}"), *arguments[-2:]]
            self.assertEqual(subprocess.run(command, stdout=subprocess.DEVNULL, timeout=300).returncode, 0)
            for name in names:
                content = self.read(f"closed-{i}", name)
                self.assertNotIn(b"epoch 1", content, (closed, name))
                if name in ("steps.csv", "last.safetensors"):
                    self.assertEqual(content, self.read("run", name), (closed, name))

    def test_json_into_what_is_no_file(self):
        self.data_set()
        arguments = [EXECUTABLE, "stats", "--csv", self.path("train.csv"), "--json", "/dev/stdout"]
        with open(self.path("all"), "w") as file:
            self.assertEqual(subprocess.run(arguments, stdout=file).returncode, 0)
        text = self.read("all").decode()
        self.assertIn("12 rows", text)
        self.assertEqual(json.loads(text[text.index("{") :])["rows"], 12)
        self.assertIn('"rows": 12', subprocess.run(arguments, stdout=subprocess.PIPE, text=True).stdout)
        self.bad(1, "stats", "--csv", self.path("train.csv"), "--json", "/dev/full", says=["/dev/full"])

    def test_the_file_for_json_is_looked_at_first(self):
        train = self.train_arguments()
        with self.unchanged():
            self.bad(1, *train, "--json", self.path("none", "x.json"), says=[self.path("none", "x.json")])
        self.good(*train, "--steps", "1", "--json", self.path("run", "x.json"))


class Replacing(CommandTest):
    def test_no_result_takes_the_place_of_what_is_read_or_of_another_result(self):
        self.good(*self.train_arguments(), "--steps", "1", "--quiet")
        shutil.copy(self.path("run", "last.safetensors"), self.path("m.safetensors"))
        shutil.copy(self.path("train.csv"), self.path("roc.svg"))
        self.good("stats", "--csv", self.path("train.csv"), "--json", self.path("w.json"))
        self.good("predict", "--model", self.path("run"), "--images", self.path("images"), "--csv", self.path("valid.csv"), "--out", self.path("p.csv"))
        os.symlink("train.csv", self.path("link.csv"))
        train = "train --train train.csv --valid valid.csv --images images --out new --steps 1"
        predict = "predict --model m.safetensors --images images"
        cases = (
            ("stats --csv train.csv --json train.csv", "--json train.csv: is the table of --csv, expected another file"),
            ("stats --csv train.csv --json none/../train.csv", "--json none/../train.csv: is the table of --csv, expected another file"),
            ("stats --csv train.csv --json link.csv", "--json link.csv: is the table of --csv, expected another file"),
            ("stats --csv train.csv --out plots --json plots/co-occurrence.png", "--json plots/co-occurrence.png: is a file of --out, expected another file"),
            ("check --train train.csv --valid valid.csv --json train.csv", "--json train.csv: is the table of --train, expected another file"),
            ("check --train train.csv --valid valid.csv --json valid.csv", "--json valid.csv: is the table of --valid, expected another file"),
            ("check --train train.csv --valid valid.csv --test p.csv --json p.csv", "--json p.csv: is the table of --test, expected another file"),
            ("check --train train.csv --valid valid.csv --images images --json images/train-01.png", "--json images/train-01.png: is an image of --images, expected another file"),
            ("split --csv train.csv --out .", "--out .: ./train.csv is the table of --csv, expected another folder"),
            ("split --csv train.csv --out parts --json train.csv", "--json train.csv: is the table of --csv, expected another file"),
            ("split --csv train.csv --out parts --json parts/train.csv", "--json parts/train.csv: is a file of --out, expected another file"),
            (train + " --json train.csv", "--json train.csv: is the table of --train, expected another file"),
            (train + " --json valid.csv", "--json valid.csv: is the table of --valid, expected another file"),
            (train + " --json images/train-01.png", "--json images/train-01.png: is an image of --images, expected another file"),
            (train + " --weights m.safetensors --json m.safetensors", "--json m.safetensors: is the file of --weights, expected another file"),
            (train + " --class-weights w.json --json w.json", "--json w.json: is the file of --class-weights, expected another file"),
            (train + " --json new/config.json", "--json new/config.json: is a file of --out, expected another file"),
            ("train --resume --out run --epochs 2 --json run/best.safetensors", "--json run/best.safetensors: is a file of --out, expected another file"),
            ("train --resume --out run --epochs 2 --json train.csv", "--json train.csv: is the table of --train, expected another file"),
            (predict + "/train-01.png --out images/train-01.png", "--out images/train-01.png: is an image of --images, expected another file"),
            (predict + "/train-01.png --out new.csv --json images/train-01.png", "--json images/train-01.png: is an image of --images, expected another file"),
            (predict + " --out images/train-01.png", "--out images/train-01.png: is an image of --images, expected another file"),
            (predict + " --out m.safetensors", "--out m.safetensors: is the file of --model, expected another file"),
            (predict + " --csv valid.csv --out valid.csv", "--out valid.csv: is the table of --csv, expected another file"),
            (predict + " --csv valid.csv --out new.csv --json valid.csv", "--json valid.csv: is the table of --csv, expected another file"),
            (predict + " --out p.csv --json p.csv", "--json p.csv: is the file of --out, expected another file"),
            ("predict --model run --images images --out run/best.safetensors", "--out run/best.safetensors: is a file of --model, expected another file"),
            ("evaluate --csv valid.csv --predictions p.csv --json valid.csv", "--json valid.csv: is the table of --csv, expected another file"),
            ("evaluate --csv valid.csv --predictions p.csv --json p.csv", "--json p.csv: is the table of --predictions, expected another file"),
            ("evaluate --csv roc.svg --predictions p.csv --out .", "--out .: ./roc.svg is the table of --csv, expected another folder"),
            ("convert m.safetensors m.safetensors", "m.safetensors: is the file to convert, expected another file"),
            ("convert m.safetensors c.onnx --json m.safetensors", "--json m.safetensors: is the file to convert, expected another file"),
            ("convert m.safetensors c.onnx --json c.onnx", "--json c.onnx: is the converted file, expected another file"),
            ("convert m.safetensors c.onnx --json model.json", "--json model.json: is the model card, expected another file"),
            ("convert --list m.safetensors --json m.safetensors", "--json m.safetensors: is the file to convert, expected another file"),
            ("bench --quick --out new --json new/time-against-size.png", "--json new/time-against-size.png: is a file of --out, expected another file"),
            ("demo --data . --json train.csv", "--json train.csv: is a table of --data, expected another file"),
            ("demo --data . --out new --json new/test-predictions.csv", "--json new/test-predictions.csv: is a file of --out, expected another file"),
        )

        def contents():
            return {name: size is not None and self.read(name) for name, size in self.everything().items()}

        before = contents()
        for command, message in cases:
            with self.subTest(command):
                self.assertEqual(self.bad(2, *command.split()), f"cxr: error: {message}\n")
                self.assertEqual(contents(), before)
        # What takes no file's place.
        for results in ("--out images/new.csv --json images/new.json", "--out /dev/null --json /dev/null", "--out new.csv --json -"):
            for _ in range(2):
                self.good(*predict.split(), *results.split())
        self.good("stats", "--csv", "train.csv", "--out", "plots", "--json", "plots/s.json")


if __name__ == "__main__":
    unittest.main()
