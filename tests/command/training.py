# SPDX-License-Identifier: Apache-2.0
"""`train`: the run folder, continuing, stopping, and what can go wrong with checkpoints and disks."""

import fcntl
import math
import platform
import re
import shutil
import time

from _cxr_command import *


class Run(CommandTest):
    def test_a_run_folder(self):
        result = self.good_json(*self.train_arguments(), "--epochs", "2", "--seed", "5")
        self.assertEqual(
            sorted(os.listdir(self.path("run"))),
            sorted(["config.json", "log.csv", "steps.csv", "last.safetensors", "best.safetensors", "loss.svg", "loss.png", "auroc.svg", "auroc.png"]),
        )
        with open(self.path("run", "log.csv")) as file:
            head = file.readline().strip()
        self.assertEqual(head, "epoch,step,lr,train_loss,valid_loss,valid_auroc_mean,images_per_second,peak_rss_mb,valid_auroc_A,valid_auroc_B,auroc_classes")
        log, steps = read_csv(self.path("run", "log.csv")), read_csv(self.path("run", "steps.csv"))
        self.assertEqual([(r["epoch"], r["step"]) for r in log], [("1", "3"), ("2", "6")])
        self.assertEqual([r["step"] for r in steps], ["1", "2", "3", "4", "5", "6"])
        self.assertAlmostEqual(float(log[1]["train_loss"]), sum(float(r["loss"]) for r in steps[3:]) / 3, places=12)
        self.assertEqual(result["steps"], [float(r["loss"]) for r in steps])
        self.assertEqual(result["valid_loss"], float(log[1]["valid_loss"]))
        self.assertEqual(result["valid_auroc_mean"], float(log[1]["valid_auroc_mean"]))
        self.assertAlmostEqual(result["valid_auroc_mean"], (float(log[1]["valid_auroc_A"]) + float(log[1]["valid_auroc_B"])) / 2, places=12)
        self.assertEqual((result["auroc_classes"], log[1]["auroc_classes"]), (2, "2"))
        self.assertEqual(result["backend"], "simd")
        self.assertGreater(result["images_per_second"], 0)
        self.assertGreater(result["peak_rss_mb"], 1)
        config = json.loads(self.read("run", "config.json"))
        self.assertEqual((config["seed"], config["classes"], config["options"]["batch"], config["options"]["size"]), (5, ["A", "B"], 4, 32))
        self.assertEqual(config["operations"]["DenseNet before its head, as one layer"], "simd")
        self.assertEqual(config["operations"]["Adam"], "simd")
        # What no training does, or no backend in it.
        self.assertFalse({"class weights of weighted rows", "co-occurrence", "AUROC in C++", "AUPRC in C++", "confusion counts in C++", "moments of channels in C++", "standardising in C++", "normalising in C++", "augmentation in C++"} & set(config["operations"]))
        self.assertEqual(config["operations"]["class counts"], "simd")
        header, _ = read_safetensors(self.path("run", "last.safetensors"))
        meta = header["__metadata__"]
        self.assertEqual(meta["cxr.version"], "1")
        self.assertEqual(json.loads(meta["cxr.classes"]), ["A", "B"])
        self.assertEqual((meta["cxr.step"], meta["cxr.epoch"]), ("6", "2"))
        self.assertEqual(json.loads(meta["cxr.architecture"])["blocks"], [1, 1, 1, 1])
        self.assertEqual(json.loads(meta["cxr.preprocess"])["size"], 32)
        self.assertIn("features.denseblock1.denselayer1.norm1.weight", header)
        self.assertIn("features.norm5.running_mean", header)
        self.assertEqual(header["classifier.weight"]["shape"][0], 2)
        self.assertIn("optimizer.m.classifier.weight", header)
        best, _ = read_safetensors(self.path("run", "best.safetensors"))
        self.assertEqual({k for k in header if not k.startswith("optimizer.")}, set(best))

    # What a loss, an optimizer or an option alone asks for, and what only several devices or a program do.
    OF_SOME_TRAININGS = {"loss", "focal, asymmetric and smoothed losses", "loss on logits", "focal, asymmetric and smoothed losses on logits", "Adam", "stochastic gradient descent",
                         "clipping by the global norm", "dropout", "counting steps", "scaling gradients"}  # fmt: skip

    def test_operations_are_those_of_the_training(self):
        train = self.train_arguments()
        choices = (
            ([], {"loss", "Adam"}),
            (["--optimizer", "sgd"], {"loss", "stochastic gradient descent"}),
            (["--optimizer", "adamw", "--clip-norm", "1", "--dropout", "0.5"], {"loss", "Adam", "clipping by the global norm", "dropout", "counting steps"}),
            (["--loss", "focal"], {"focal, asymmetric and smoothed losses", "Adam"}),
            (["--smoothing", "0.1"], {"focal, asymmetric and smoothed losses", "Adam"}),
        )
        version = self.good("--version").stdout
        for i, (options, expected) in enumerate(choices):
            text = self.good(*train[:-1], self.path(str(i)), *options, "--steps", "1").stdout
            told = {name for line in re.findall(r"^by .*: (.*)", text, re.M) for name in line.split("; ")}
            self.assertEqual(set(json.loads(self.read(str(i), "config.json"))["operations"]), told)
            self.assertEqual(told & self.OF_SOME_TRAININGS, expected, options)
        for name in self.OF_SOME_TRAININGS:
            self.assertRegex(version, rf"(: |; ){name}(;|\n)")

    def test_schedules_set_the_rate_of_every_step(self):
        data = self.data_set(train=18)  # 4 batches an epoch
        common = ["train", *data, *SMALL, "--batch", "4", "--seed", "3", "--quiet", "--lr", "0.01"]

        def rates(name, *options):
            self.good(*common, *options, "--out", self.path(name))
            return [float(r["lr"]) for r in read_csv(self.path(name, "steps.csv"))]

        def close(found, expected):
            self.assertEqual(len(found), len(expected))
            for a, b in zip(found, expected):
                self.assertAlmostEqual(a, b, delta=1e-12)

        half = [(1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
        close(rates("cosine", "--steps", "8", "--schedule", "cosine", "--warmup", "2", "--min-lr", "0.001"), [0.005, 0.01] + [0.001 + 0.009 * h for h in half])
        close(rates("step", "--epochs", "3", "--schedule", "step", "--schedule-epochs", "2", "--schedule-factor", "0.5"), 8 * [0.01] + 4 * [0.005])
        self.assertEqual([float(r["lr"]) for r in read_csv(self.path("step", "log.csv"))], [0.01, 0.01, 0.005])
        cycle = rates("cycle", "--epochs", "2", "--schedule", "one-cycle")
        self.assertAlmostEqual(cycle[0], 0.0004, delta=1e-12)
        self.assertAlmostEqual(cycle[-1], 4e-8, delta=1e-14)
        falls = rates("plateau", "--epochs", "4", "--schedule", "plateau", "--schedule-patience", "0", "--schedule-factor", "0.1")
        losses = [float(r["valid_loss"]) for r in read_csv(self.path("plateau", "log.csv"))]
        expected, rate, best = [], 0.01, float("inf")
        for loss in losses:
            expected += 4 * [rate]
            if loss < best * (1 - 1e-4):
                best = loss
            else:
                rate *= 0.1
        close(falls, expected)

    def test_a_schedule_goes_on_where_it_stood(self):
        data = self.data_set(train=18)
        for name, options in (("plateau", ["--schedule-patience", "0", "--schedule-factor", "0.3"]), ("step", ["--schedule-epochs", "1"]), ("constant", ["--warmup", "7"])):
            common = ["train", *data, *SMALL, "--batch", "4", "--seed", "3", "--quiet", "--schedule", name, *options]
            self.good(*common, "--epochs", "4", "--out", self.path(name))
            self.good(*common, "--epochs", "2", "--out", self.path(name + "-part"))
            self.good("train", "--resume", "--out", self.path(name + "-part"), "--epochs", "4", "--quiet")
            for file in ("last.safetensors", "steps.csv"):
                self.assertEqual(self.read(name, file), self.read(name + "-part", file), (name, file))
        common = ["train", *data, *SMALL, "--batch", "4", "--quiet", "--schedule", "cosine", "--epochs", "2", "--out", self.path("cosine")]
        self.good(*common)
        self.write("fewer.csv", b"".join(self.read("train.csv").splitlines(keepends=True)[:13]))
        with self.unchanged():
            self.bad(2, "train", "--resume", "--out", self.path("cosine"), "--epochs", "3", says=["--epochs 3", "2", "cosine", "--resume cannot change"])
            self.bad(2, "train", "--resume", "--out", self.path("cosine"), "--warmup", "3", says=["--warmup 3", "--resume cannot change"])
            self.bad(2, "train", "--resume", "--out", self.path("cosine"), "--train", self.path("fewer.csv"), says=["fewer.csv: 12 rows", "the run's 18", "cosine", "--resume cannot change"])

    def test_a_schedule_without_what_it_needs(self):
        data = self.data_set(train=18)
        common = ["train", *data, *SMALL, "--batch", "4", "--out", self.path("run")]
        with self.unchanged():
            self.bad(2, *common, "--schedule", "step", says=["--schedule step", "--schedule-epochs is needed"])
            self.bad(2, *common, "--schedule", "linear", says=["--schedule linear", "constant, cosine, step, plateau or one-cycle"])
            self.bad(2, *common, "--schedule", "cosine", "--steps", "5", "--warmup", "5", says=["--schedule cosine", "5 steps", "--warmup 5"])
            self.bad(2, *common, "--schedule", "cosine", "--epochs", "1", "--warmup", "50", says=["--schedule cosine", "4 steps", "--warmup 50"])
            for name, more in (("constant", []), ("plateau", []), ("step", ["--schedule-epochs", "1"])):
                self.bad(2, *common, "--schedule", name, *more, "--steps", "6", "--warmup", "6", says=["--schedule " + name, "6 steps", "--warmup 6"])
            self.bad(2, *common, "--schedule", "one-cycle", "--steps", "3", says=["--schedule one-cycle", "3 steps", "at least 4"])
            self.bad(2, *common, "--schedule", "one-cycle", "--warmup", "1", says=["--warmup 1", "one-cycle"])
            self.bad(2, *common, "--min-lr", "0.0001", says=["--min-lr", "only for --schedule cosine and plateau"])
            self.bad(2, *common, "--schedule", "cosine", "--min-lr", "1", says=["--min-lr 1", "0 to --lr"])
            self.bad(2, *common, "--schedule", "step", "--schedule-epochs", "1", "--schedule-factor", "1", says=["--schedule-factor 1", "below 1"])

    def test_a_schedule_that_changes_nothing_in_this_run(self):
        data = self.data_set(train=18)  # 4 batches an epoch
        common = ["train", *data, *SMALL, "--batch", "4"]
        idle = lambda text: re.findall(r"cxr: warning: (.*changes nothing.*)", text)
        for options, says in (
            (["--epochs", "1", "--schedule", "step", "--schedule-epochs", "5"], "step: changes nothing in this run of 4 steps, 4 an epoch, for at --schedule-epochs 5 it takes at least --epochs 6 or --steps 21"),
            (["--epochs", "2", "--schedule", "step", "--schedule-epochs", "2"], "step: changes nothing in this run of 8 steps, 4 an epoch, for at --schedule-epochs 2 it takes at least --epochs 3 or --steps 9"),
            (["--steps", "3", "--schedule", "step", "--schedule-epochs", "2"], "step: changes nothing in this run of 3 steps, 4 an epoch, for at --schedule-epochs 2 it takes at least --epochs 3 or --steps 9"),
            (["--steps", "1", "--schedule", "plateau"], "plateau: changes nothing in this run of 1 step, 4 an epoch, for at --schedule-patience 10 it takes at least --epochs 13 or --steps 49"),
            (["--epochs", "12", "--schedule", "plateau"], "plateau: changes nothing in this run of 48 steps, 4 an epoch, for at --schedule-patience 10 it takes at least --epochs 13 or --steps 49"),
            (["--epochs", "40", "--schedule", "plateau", "--min-lr", "0.001"], "plateau: changes nothing in this run, for --min-lr 0.001 is --lr itself, expected less"),
            (["--steps", "3", "--warmup", "2", "--schedule", "cosine"], "cosine: changes nothing in this run of 3 steps, for at --warmup 2 it takes at least --steps 4"),
        ):
            self.assertEqual(idle(self.good(*common, *options, "--dry-run").stderr), ["--schedule " + says])
        for options in (
            ["--steps", "9", "--schedule", "step", "--schedule-epochs", "2"],
            ["--epochs", "13", "--schedule", "plateau"],
            ["--steps", "9", "--schedule", "plateau", "--schedule-patience", "0"],
            ["--steps", "2", "--schedule", "cosine"],
            ["--steps", "4", "--schedule", "one-cycle"],
            ["--steps", "1"],
        ):
            self.assertEqual(idle(self.good(*common, *options, "--dry-run").stderr), [])
        # It is the whole run that counts.
        self.assertEqual(len(idle(self.good(*common, "--epochs", "1", "--schedule", "step", "--schedule-epochs", "1", "--out", self.path("run")).stderr)), 1)
        resumed = self.good("train", "--resume", "--out", self.path("run"), "--epochs", "2")
        self.assertEqual(idle(resumed.stderr), [])
        rates = [float(r["lr"]) for r in read_csv(self.path("run", "steps.csv"))]
        self.assertEqual(rates[:4], 4 * [0.001])
        self.assertAlmostEqual(rates[-1], 0.0001, delta=1e-12)

    def test_the_same_bits_for_any_number_of_threads_and_after_resuming(self):
        data = self.data_set(train=18)
        common = ["train", *data, *SMALL, "--batch", "4", "--seed", "3", "--quiet"]
        self.good(*common, "--steps", "20", "--out", self.path("one"))
        self.good(*common, "--steps", "20", "--out", self.path("two"), "--threads", "2")
        whole = self.read("one", "last.safetensors")
        self.assertEqual(whole, self.read("two", "last.safetensors"))
        for first in (3, 10, 12):
            out = self.path(f"resumed-{first}")
            self.good(*common, "--steps", str(first), "--out", out)
            self.good("train", "--resume", "--out", out, "--steps", "20", "--quiet")
            self.assertEqual(whole, self.read(out, "last.safetensors"))
            self.assertEqual(self.read("one", "steps.csv"), self.read(out, "steps.csv"))
            epochs = [[{k: v for k, v in r.items() if k not in ("images_per_second", "peak_rss_mb")} for r in read_csv(os.path.join(f, "log.csv"))] for f in (self.path("one"), out)]
            self.assertEqual(*epochs)
        self.good(*common, "--steps", "20", "--out", self.path("other"), "--seed", "4")
        self.assertNotEqual(whole, self.read("other", "last.safetensors"))

    def test_every_optimizer_goes_on_where_it_stood(self):
        data = self.data_set(train=18)
        runs = {
            "adamw": (["--optimizer", "adamw", "--weight-decay", "0.05", "--clip-norm", "0.5"], {"m", "v"}),
            "sgd": (["--optimizer", "sgd"], {"u"}),
            "nesterov": (["--optimizer", "sgd", "--momentum", "0.8", "--nesterov", "--weight-decay", "0.01", "--head-lr", "0.01"], {"u"}),
            "dropout": (["--dropout", "0.5", "--head-lr", "0.005"], {"m", "v"}),
        }
        wholes = {}
        for name, (options, slots) in runs.items():
            common = ["train", *data, *SMALL, "--batch", "4", "--seed", "3", "--quiet", *options]
            self.good(*common, "--steps", "9", "--out", self.path(name))
            whole = wholes[name] = self.read(name, "last.safetensors")
            part = self.path(name + "-part")
            self.good(*common, "--steps", "5", "--threads", "2", "--out", part)
            self.good("train", "--resume", "--out", part, "--steps", "9", "--quiet")
            self.assertEqual(whole, self.read(part, "last.safetensors"))
            header, _ = read_safetensors(self.path(name, "last.safetensors"))
            self.assertEqual({k.split(".")[1] for k in header if k.startswith("optimizer.") and "dropout" not in k}, slots)
            self.assertEqual(json.loads(header["__metadata__"]["cxr.optimizer"])["name"], {"nesterov": "sgd", "dropout": "adam"}.get(name, name))
            self.assertEqual("optimizer.dropout.steps" in header, name == "dropout")
            self.assertFalse([k for k in read_safetensors(self.path(name, "best.safetensors"))[0] if "dropout" in k])
            self.good("predict", "--model", self.path(name), "--images", self.path("images"), "--out", self.path("p.csv"))
        self.assertEqual(len(set(wholes.values())), len(runs))
        # Weights of a run with dropout for one without, and the other way.
        for start, options in (("dropout", []), ("sgd", ["--dropout", "0.3"])):
            for file in ("best.safetensors", "last.safetensors"):
                self.good("train", *data, *SMALL, "--batch", "4", "--steps", "1", "--quiet", "--weights", self.path(start, file), *options, "--out", self.path(f"from-{start}-{file}"))
        self.bad(2, "train", "--resume", "--out", self.path("sgd"), "--optimizer", "adam", "--steps", "12", says=["--optimizer", "adam", "sgd", "--resume cannot change"])

    def test_what_is_frozen_stays(self):
        data = self.data_set()
        self.good("train", *data, *SMALL, "--batch", "4", "--steps", "2", "--quiet", "--out", self.path("start"))
        start = self.path("start", "best.safetensors")
        before, old = read_safetensors(start)

        def values(header, body, name):
            begin, end = header[name]["data_offsets"]
            return body[begin:end]

        for mode, statistics_stay in (("running", True), ("batch", False)):
            self.good("train", *data, *SMALL, "--batch", "4", "--steps", "3", "--quiet", "--weights", start, "--freeze", "features.conv0.*,features.norm0.*,*.norm1.*",
                      "--frozen-batch-norm", mode, "--optimizer", "adamw", "--out", self.path(mode))
            after, new = read_safetensors(self.path(mode, "last.safetensors"))
            for name in before:
                if name.startswith("__"):
                    continue
                frozen = name.startswith(("features.conv0.", "features.norm0.")) or ".norm1." in name
                stays = frozen and (statistics_stay or "running" not in name)
                self.assertEqual(values(before, old, name) == values(after, new, name), stays, (mode, name))
        self.assertNotEqual(self.read("running", "last.safetensors"), self.read("batch", "last.safetensors"))
        # A norm of which both parameters are frozen is frozen, and one that learns in part is not, whether or not a pattern matches its statistics.
        self.good("train", *data, *SMALL, "--batch", "4", "--steps", "2", "--quiet", "--weights", start, "--freeze", "features.norm0.weight,features.norm0.bias,features.norm5.*a*",
                  "--out", self.path("both"))
        after, new = read_safetensors(self.path("both", "last.safetensors"))
        for norm, stays in (("norm0", True), ("norm5", False)):
            for name in (f"features.{norm}.running_mean", f"features.{norm}.running_var"):
                self.assertEqual(values(before, old, name) == values(after, new, name), stays, name)
        # A run may go on with everything learning.
        self.good("train", "--resume", "--out", self.path("running"), "--steps", "5", "--freeze", "none", "--quiet")
        thawed, newest = read_safetensors(self.path("running", "last.safetensors"))
        for name in before:
            if not name.startswith("__"):
                self.assertNotEqual(values(before, old, name), values(thawed, newest, name), name)

    def test_a_head_alone_learns_on_every_backend(self):
        data = self.data_set()
        for backend in ("reference", "eigen", "onednn", "simd", "thrust-cpp"):
            for out, options in (("whole", []), ("head", ["--freeze", "features.*", "--frozen-batch-norm", "batch", "--clip-norm", "1e9", "--log-level", "debug"])):
                folder = self.path(f"{out}-{backend}")
                told = self.good("train", *data, *SMALL, "--batch", "4", "--steps", "1", "--seed", "3", "--backend", backend, *options, "--out", folder).stderr
                norms = re.findall(r"cxr: debug: step 1: the norm of the gradient is ([\d.e+-]+) before clipping", told)
                self.assertEqual(len(norms), 1 if options else 0, told)
                self.assertTrue(all(float(n) > 0 for n in norms))
            whole, head = (read_safetensors(self.path(f"{out}-{backend}", "last.safetensors")) for out in ("whole", "head"))
            for name in whole[0]:
                if name.startswith(("features.", "classifier.")):  # the head takes the step that it takes in company; of the rest, statistics alone move
                    same = name.startswith("classifier.") or "running" in name
                    begin, end = whole[0][name]["data_offsets"]
                    other = slice(*head[0][name]["data_offsets"])
                    self.assertEqual(whole[1][begin:end] == head[1][other], same, (backend, name))

    def test_optimizer_options_out_of_range(self):
        arguments = self.train_arguments()
        for options, says in (
            (["--optimizer", "rmsprop"], ["--optimizer rmsprop", "adam, adamw or sgd"]),
            (["--optimizer", "adam", "--weight-decay", "0.1"], ["--weight-decay", "adamw and sgd"]),
            (["--optimizer", "adamw", "--weight-decay", "0"], ["--weight-decay 0", "above 0"]),
            (["--optimizer", "sgd", "--weight-decay", "-1"], ["--weight-decay -1", "at least 0"]),
            (["--optimizer", "sgd", "--weight-decay", "nan"], ["--weight-decay nan"]),
            (["--momentum", "0.5"], ["--momentum", "sgd"]),
            (["--optimizer", "sgd", "--momentum", "1"], ["--momentum 1", "below 1"]),
            (["--nesterov"], ["--nesterov", "sgd"]),
            (["--optimizer", "sgd", "--momentum", "0", "--nesterov"], ["--nesterov", "--momentum above 0"]),
            (["--clip-norm", "0"], ["--clip-norm 0", "above 0"]),
            (["--clip-norm", "inf"], ["--clip-norm inf", "finite"]),
            (["--head-lr", "0"], ["--head-lr 0", "above 0"]),
            (["--lr", "nan"], ["--lr nan"]),
            (["--dropout", "1"], ["--dropout 1", "less than 1"]),
            (["--dropout", "-0.1"], ["--dropout -0.1"]),
            (["--freeze", "features.conv9.*"], ["--freeze features.conv9.*", "matches no parameter", "features.conv0.weight"]),
            (["--freeze", "features.conv0.*,nothing"], ["--freeze nothing"]),
            (["--freeze", "features.norm0.running_mean"], ["--freeze features.norm0.running_mean", "matches no parameter"]),
            (["--freeze", "*"], ["--freeze *", "nothing is left that learns"]),
            (["--frozen-batch-norm", "running"], ["--frozen-batch-norm", "--freeze"]),
            (["--freeze", "features.conv0.*", "--frozen-batch-norm", "neither"], ["--frozen-batch-norm neither", "running or batch"]),
            (["--freeze", "*.norm1.weight,features.norm0.weight,classifier.*", "--frozen-batch-norm", "running"], ["--frozen-batch-norm", "both weight and bias of no batch norm", "features.norm0.*"]),
        ):
            with self.unchanged():
                self.bad(2, *arguments, "--steps", "1", *options, says=says)

    def test_resuming_a_finished_run_by_epochs(self):
        arguments = self.train_arguments()
        self.good(*arguments, "--epochs", "3", "--quiet")
        self.good(*arguments[:-1], self.path("part"), "--epochs", "1", "--quiet")
        self.good("train", "--resume", "--out", self.path("part"), "--epochs", "3", "--quiet")
        self.assertEqual(self.read("run", "last.safetensors"), self.read("part", "last.safetensors"))
        with self.unchanged():
            self.assertIn("3 epochs of 3 already: there is nothing left", self.good("train", "--resume", "--out", self.path("part"), "--epochs", "3").stdout)
            self.assertIn("3 epochs of 2 already", self.good("train", "--resume", "--out", self.path("part"), "--epochs", "2").stdout)
            self.assertIn("9 steps of 4 already", self.good("train", "--resume", "--out", self.path("part"), "--steps", "4").stdout)

    def test_what_resuming_changes_is_kept_beside_what_was_before(self):
        self.good(*self.train_arguments(), "--steps", "2", "--lr", "0.01", "--freeze", "features.conv0.*", "--threads", "1", "--quiet")
        first = json.loads(self.read("run", "config.json"))
        self.assertNotIn("earlier", first)
        self.good("train", "--resume", "--out", self.path("run"), "--steps", "3", "--lr", "0.001", "--freeze", "none", "--backend", "eigen", "--threads", "1", "--quiet")
        self.good("train", "--resume", "--out", self.path("run"), "--steps", "5", "--quiet")
        config = json.loads(self.read("run", "config.json"))
        self.assertEqual(config["resumed_at_steps"], [2, 3])
        self.assertEqual([part["until_step"] for part in config["earlier"]], [2, 3])
        self.assertEqual(config["earlier"][0]["options"], first["options"])
        self.assertEqual([part["options"]["steps"] for part in config["earlier"]] + [config["options"]["steps"]], [2, 3, 5])
        self.assertEqual((config["earlier"][1]["options"]["lr"], config["earlier"][1]["options"]["freeze"], config["earlier"][1]["options"]["backend"]), (0.001, [], "eigen"))
        self.assertEqual([set(part) for part in config["earlier"]], [{"until_step", "options"}] * 2)  # the same version throughout

    def test_all_backends_train_alike(self):
        losses = {}
        data = self.data_set()
        for backend in ("reference", "eigen", "onednn", "simd"):
            result = self.good_json("train", *data, *SMALL, "--batch", "4", "--steps", "2", "--out", self.path(backend), "--backend", backend)
            self.assertEqual(result["backend"], backend)
            losses[backend] = result["steps"]
        for backend in ("eigen", "onednn", "simd"):
            for a, b in zip(losses["reference"], losses[backend]):
                self.assertAlmostEqual(a, b, delta=1e-3 * abs(a))

    def test_a_memory_budget(self):
        data = self.data_set(size=32)
        common = ["train", *data, "--size", "32", "--batch", "4", "--backend", "simd", "--steps", "2"]
        about = lambda text: float(re.search(r"(?m)^memory +about (\d+) MB", text).group(1))
        plain = about(self.good(*common, "--dry-run").stdout)
        for budget in ("10M", f"{plain / 2:.0f}M"):
            self.bad(1, *common, "--memory", budget, "--out", self.path("no"), says=[f"--memory {budget}", "training needs about", "computed again", "a smaller --batch or --size"])
            self.assertFalse(os.path.exists(self.path("no")))
        for text in ("2T", "nan", "-1G", "0M", "M"):
            self.bad(2, *common, "--memory", text, "--out", self.path("no"), says=[f"--memory {text}", "800M or 2G"])
        # Just under what keeping everything needs, bottlenecks are computed again, to the same bits, and the budget holds.
        large = ["train", *data, "--size", "96", "--batch", "8", "--backend", "simd", "--steps", "2", "--seed", "1"]
        budget = about(self.good(*large, "--dry-run").stdout) - 2
        told = self.good(*large, "--memory", f"{budget:.0f}M", "--out", self.path("again")).stdout
        self.assertIn("bottlenecks are computed again", told)
        kept = self.good_json(*large, "--memory", "100G", "--out", self.path("kept"))
        again = self.good_json(*large, "--memory", f"{budget:.0f}M", "--out", self.path("more"))
        self.assertEqual(kept["steps"], again["steps"])
        if not sanitized():
            self.assertLess(again["peak_rss_mb"], budget)

    def test_what_is_unwise_is_said(self):
        data = self.data_set(size=32)
        more = str(os.cpu_count() + 3)
        told = self.good("train", *data, *SMALL[:-2], "--batch", "4", "--steps", "2", "--threads", more, "--out", self.path("more"))
        n = len(os.sched_getaffinity(0))
        self.assertIn(f"cxr: warning: --threads {more}: this process runs {n} at a time, and more would wait for each other; {n} work, which gives the same result\n", told.stderr)
        self.good("train", *data, *SMALL, "--batch", "4", "--steps", "2", "--out", self.path("alone"))
        self.assertEqual(self.read("more", "last.safetensors"), self.read("alone", "last.safetensors"))

    def test_batch_norm_that_has_few_values_is_said_once(self):
        data = self.data_set(size=32)
        self.write("one.csv", b"".join(self.read("train.csv").splitlines(keepends=True)[:2]))
        one = ["--train", self.path("one.csv"), *data[2:]]
        told = lambda *options: re.findall(r"cxr: warning: (.*batch norm.*)", self.good("train", *options, "--dry-run").stderr)
        few = "and a variance of fewer than 16 is off by more than a third as a rule; "
        for table, options, says in (
            (data, ["--batch", "1"], ("--batch 1, --size 32", "1 value", "1 image of 1 × 1 pixels", few + "a larger --batch or --size trains better")),
            (data, ["--batch", "2"], ("--batch 2, --size 32", "2 values", "2 images of 1 × 1 pixels", few + "a larger --batch or --size trains better")),
            (data, ["--batch", "7", "--size", "64x40"], ("--batch 7, --size 64x40", "14 values", "7 images of 2 × 1 pixels", few + "a larger --batch or --size trains better")),
            (data, ["--batch", "16"], (f"--batch 16, --size 32, 12 rows in {data[1]}", "12 values", "12 images of 1 × 1 pixels", few + "more rows or a larger --size train better")),
            (one, ["--batch", "16", "--size", "64"], (f"--batch 16, --size 64, 1 row in {one[1]}", "4 values", "1 image of 2 × 2 pixels", few + "more rows or a larger --size train better")),
            (data, ["--batch", "1", "--size", "128"], ("--batch 1, --size 128", "16 values", "1 image of 4 × 4 pixels", "and running statistics differ from those of one image; --batch 8 and more train better")),
            (one, ["--batch", "2", "--size", "128"], (f"--batch 2, --size 128, 1 row in {one[1]}", "16 values", "1 image of 4 × 4 pixels", "and running statistics differ from those of one image; more rows train better")),
        ):
            given, values, pixels, why = says
            self.assertEqual(told(*table, *SMALL, *options), [f"{given}: batch norm in the last block has mean and variance of {values} a channel ({pixels}), {why}"])
        for options in (["--batch", "4", "--size", "64"], ["--batch", "8", "--size", "64x40"], ["--batch", "2", "--size", "128"]):
            self.assertEqual(told(*data, *SMALL, *options), [])

    @unittest.skipUnless(platform.machine() == "x86_64" and shutil.which("qemu-x86_64"), "needs qemu-x86_64 on such a machine")
    def test_a_processor_without_avx2(self):
        if sanitized():
            self.skipTest("an emulator does not run a sanitizer")
        data = self.data_set(size=32)
        self.good("train", *data, *SMALL, "--batch", "4", "--steps", "1", "--out", self.path("run"))
        probabilities = []
        for emulator in ((), ("qemu-x86_64", "-cpu", "Nehalem")):
            told = self.good("predict", "--model", self.path("run"), *data[data.index("--images") :][:2], "--backend", "simd", "--out", self.path("p.csv"), emulator=emulator).stderr
            probabilities.append([float(p) for row in read_csv(self.path("p.csv")) for name, p in row.items() if name != "Image"])
        self.assertIn("cxr: warning: this processor has neither AVX2 with FMA nor AVX-512: the backend simd works, but slowly", told)
        losses = []
        for out, emulator in (("here", ()), ("there", ("qemu-x86_64", "-cpu", "Nehalem"))):
            result = self.good_json("train", *data, *SMALL, "--batch", "4", "--steps", "1", "--backend", "simd", "--out", self.path(out), emulator=emulator)
            losses += result["steps"]
        self.assertAlmostEqual(losses[0], losses[1], delta=1e-5 * losses[0])
        self.assertEqual([json.loads(self.read(out, "config.json"))["operations"]["Adam"] for out in ("here", "there")], ["simd", "reference"])
        for ours, portable in zip(*probabilities, strict=True):
            self.assertAlmostEqual(ours, portable, delta=1e-5)

    def test_dry_run_writes_nothing(self):
        arguments = self.train_arguments()
        with self.unchanged():
            text = self.good(*arguments, "--dry-run").stdout
        for word in ("plan", "parameters", "memory", "estimated", "time"):
            self.assertIn(word, text)

    def test_dry_run_counts_the_parameters_of_each_architecture(self):
        data = self.data_set(classes=[f"class{i}" for i in range(14)])
        self.assertIn("6968206", self.good("train", *data, "--size", "32", "--batch", "2", "--dry-run").stdout)
        # torchvision's, which have 1,000 outputs: 986 rows of the head and biases more.
        for name, parameters, features in (("densenet121", 7978856, 1024), ("densenet161", 28681000, 2208), ("densenet169", 14149480, 1664), ("densenet201", 20013928, 1920)):
            text = self.good("train", *data, "--architecture", name, "--size", "32", "--batch", "2", "--dry-run").stdout
            self.assertIn(str(parameters - 986 * (features + 1)), text, name)

    def test_patience(self):
        result = self.good_json(*self.train_arguments(), "--epochs", "50", "--patience", "2", "--lr", "1e-12")
        self.assertLess(result["epoch"], 50)

    def test_a_class_without_positives(self):
        arguments = self.train_arguments(train=12)
        table = self.read("train.csv").decode().splitlines()
        self.write("train.csv", "\n".join([table[0]] + [",".join(r.split(",")[:3] + ["0"]) for r in table[1:]]) + "\n")
        table = self.read("valid.csv").decode().splitlines()
        self.write("valid.csv", "\n".join([table[0]] + [",".join(r.split(",")[:3] + ["0"]) for r in table[1:]]) + "\n")
        result = self.good_json(*arguments, "--epochs", "1")
        self.assertIsNone(result["valid_auroc_B"])
        self.assertEqual(result["auroc_classes"], 1)
        self.assertIsNotNone(result["valid_auroc_A"])
        self.assertEqual(result["valid_auroc_mean"], result["valid_auroc_A"])
        row = read_csv(self.path("run", "log.csv"))[0]
        self.assertEqual((row["valid_auroc_B"], row["auroc_classes"]), ("", "1"))
        self.assertIn("(mean over 1 of 2 classes)", self.good("train", "--resume", "--out", self.path("run"), "--epochs", "2").stdout)
        config = json.loads(self.read("run", "config.json"))
        self.assertEqual((config["positive_weights"][1], config["negative_weights"][1]), (1.0, 0.0))

    def test_sigterm_as_ctrl_c_writes_a_checkpoint_and_the_run_goes_on_to_the_same_bits(self):
        arguments = self.train_arguments(train=18)
        self.interrupted_after([*arguments, "--epochs", "100000"], lines=8, pause=0.05, by=signal.SIGTERM)
        header, _ = read_safetensors(self.path("run", "last.safetensors"))
        taken = int(header["__metadata__"]["cxr.step"])
        self.assertEqual(taken, len(read_csv(self.path("run", "steps.csv"))))
        end = taken + 3
        self.good("train", "--resume", "--out", self.path("run"), "--steps", str(end), "--quiet")
        self.good(*arguments[:-1], self.path("whole"), "--steps", str(end), "--quiet")
        self.assertEqual(self.read("run", "last.safetensors"), self.read("whole", "last.safetensors"))


    def test_a_validation_that_ctrl_c_ended_is_made_up_for(self):
        arguments = self.train_arguments(train=18, valid=400)
        self.interrupted_after([*arguments, "--steps", "2"], lines=3, pause=0.01)
        self.assertFalse(os.path.exists(self.path("run", "log.csv")) and read_csv(self.path("run", "log.csv")))
        for _ in range(2):
            self.good("train", "--resume", "--out", self.path("run"), "--quiet")
            log = read_csv(self.path("run", "log.csv"))
            self.assertEqual([(r["epoch"], r["step"]) for r in log], [("1", "2")])
        self.good(*arguments[:-1], self.path("whole"), "--steps", "2", "--quiet")
        self.assertEqual(self.read("run", "last.safetensors"), self.read("whole", "last.safetensors"))

    def interrupted_after(self, arguments, lines, pause, by=signal.SIGINT):
        """Trains, with this signal when steps.csv has so many lines, which is looked for every `pause` seconds, or else after half a minute."""
        process = subprocess.Popen([EXECUTABLE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.folder)
        for _ in range(round(30 / pause)):
            time.sleep(pause)
            if os.path.exists(self.path("run", "steps.csv")) and len(self.read("run", "steps.csv").splitlines()) >= lines:
                break
        process.send_signal(by)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)

    def labels(self, name, *values):
        """Gives a table other labels, each value to all of its rows."""
        table = self.read(name).decode().splitlines()
        self.write(name, "\n".join([table[0]] + [",".join([*r.split(",")[:2], *values]) for r in table[1:]]) + "\n")

    def test_without_any_auroc_the_best_is_by_validation_loss(self):
        arguments = self.train_arguments()
        self.labels("valid.csv", "0", "0")
        result = self.run_cxr(*arguments, "--epochs", "4", "--patience", "1")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr.count("AUROC is undefined"), 1)
        losses = [float(r["valid_loss"]) for r in read_csv(self.path("run", "log.csv"))]
        header, _ = read_safetensors(self.path("run", "best.safetensors"))
        self.assertEqual(int(header["__metadata__"]["cxr.epoch"]), 1 + losses.index(min(losses)))
        worse = [i for i in range(1, len(losses)) if losses[i] >= min(losses[:i])]
        self.assertEqual(len(losses), worse[0] + 1 if worse else 4)

    def test_labels_that_are_all_unknown_or_alike(self):
        arguments = [*self.train_arguments(), "--epochs", "1"]
        self.labels("train.csv", "1", "")
        self.assertIn("class B has no known label", self.good(*arguments, "--dry-run").stderr)
        # Nor is anything learnt of a class whose known labels are all alike: the others' frequency is its weight.
        for label, missing in (("1", "negative"), ("0", "positive")):
            self.labels("train.csv", "", label)
            self.assertIn(f"cxr: warning: class B has no {missing} in {self.path('train.csv')}\n", self.good(*arguments, "--dry-run").stderr)
        for name in ("train.csv", "valid.csv"):
            self.data_set()
            self.labels(name, "", "")
            with self.unchanged():
                self.bad(1, *arguments, says=[name, "no known label"])

    def test_dry_run_of_a_set_smaller_than_the_batch(self):
        text = self.good(*self.train_arguments(), "--batch", "100", "--dry-run").stdout
        self.assertIn("of 12 images from 12 images", text)

    def test_class_weights_from_a_file(self):
        arguments = self.train_arguments()
        stats = self.good_json("stats", "--csv", self.path("train.csv"))
        for c in stats["classes"]:
            c["positive_weight"], c["negative_weight"] = 0.5, 0.25
        weights = self.write("weights.json", json.dumps(stats))
        self.good(*arguments, "--steps", "1", "--class-weights", weights)
        config = json.loads(self.read("run", "config.json"))
        self.assertEqual((config["positive_weights"], config["negative_weights"]), ([0.5, 0.5], [0.25, 0.25]))
        stats["classes"][1]["positive_weight"] = 0.75
        self.write("weights.json", json.dumps(stats))
        self.assertRegex(self.good("train", "--resume", "--out", self.path("run"), "--steps", "2").stderr, r"^cxr: warning: .*weights\.json would weigh labels otherwise by now; the run goes on with the weights that it began with\n")
        config = json.loads(self.read("run", "config.json"))
        self.assertEqual((config["positive_weights"], config["negative_weights"]), ([0.5, 0.5], [0.25, 0.25]))
        bad = self.write("bad.json", "{")
        stats["classes"][0]["negative_weight"] = "heavy"
        text = self.write("text.json", json.dumps(stats))
        with self.unchanged():
            self.bad(1, *arguments[:-1], self.path("other"), "--class-weights", text, says=["text.json", "negative_weight of class A", '"heavy"', "expected a finite number"])
            self.bad(1, *arguments[:-1], self.path("other"), "--class-weights", bad, says=["bad.json", "is not JSON"])
            self.bad(1, *arguments[:-1], self.path("other"), "--class-weights", self.path("none.json"), says=["none.json"])
        for content in ({}, {"classes": ["A", "B"]}, {"positive_weights": [1, 1]}, [1, 2], {"classes": {"A": 1}}):
            other = self.write("other.json", json.dumps(content))
            self.bad(1, *arguments[:-1], self.path("other"), "--class-weights", other, says=["other.json: has no list `classes`", "cxr stats --json"])
        twice = self.write("twice.json", json.dumps({"classes": [{"name": n, "positive_weight": 1, "negative_weight": 1} for n in "ABA"]}))
        self.bad(1, *arguments[:-1], self.path("other"), "--class-weights", twice, says=["twice.json: class A is there twice"])
        self.assertFalse(os.path.exists(self.path("other")))

    def test_class_weights_of_another_table_do_not_change_a_run(self):
        for out, table in (("same", "train.csv"), ("other", "fewer.csv")):
            self.good(*self.train_arguments(out), "--steps", "2", "--threads", "1", "--quiet")
            lines = self.read("train.csv").decode().splitlines(keepends=True)
            self.write("fewer.csv", "".join(line.replace(",1\n", ",0\n") for line in lines[:9]) + "".join(lines[9:]))
            resumed = self.good("train", "--resume", "--out", self.path(out), "--train", self.path(table), "--steps", "3", "--threads", "1")
            self.assertEqual("--class-weights train of" in resumed.stderr, table != "train.csv", resumed.stderr)
        configs = [json.loads(self.read(out, "config.json")) for out in ("same", "other")]
        for field in ("positive_weights", "negative_weights"):
            self.assertEqual(configs[0][field], configs[1][field])

    def test_a_table_that_changed_is_warned_of_when_a_run_goes_on(self):
        self.good(*self.train_arguments("run"), "--steps", "2", "--loss", "bce", "--quiet")
        tables = {name: self.read(name).decode().splitlines() for name in ("train.csv", "valid.csv")}
        before = json.loads(self.read("run", "config.json"))["tables"]
        step = 2
        for name, lines, says in (
            ("train.csv", None, None),
            ("train.csv", [tables["train.csv"][0], *reversed(tables["train.csv"][1:])], "seen twice or not at all"),
            ("valid.csv", tables["valid.csv"][:-1], "figures of different tables"),
        ):
            if lines:
                self.write(name, "\n".join(lines) + "\n")
            step += 1
            result = self.good("train", "--resume", "--out", self.path("run"), "--steps", str(step))
            self.assertEqual([says in line for line in result.stderr.splitlines() if "than when the run began" in line], [True] if says else [], result.stderr)
            self.assertEqual("tables" in json.dumps(json.loads(self.read("run", "config.json")).get("earlier", [])[-1:]), bool(says))
        config = json.loads(self.read("run", "config.json"))
        self.assertNotEqual(config["tables"]["train"], before["train"])
        self.assertNotEqual(config["tables"]["valid"], before["valid"])

    def test_class_weights_by_rule(self):
        data = self.data_set()
        table = self.read("train.csv").decode().splitlines()
        self.write("train.csv", "\n".join([table[0]] + [",".join([*r.split(",")[:2], str(int(i < 5)), str(int(i < 2))]) for i, r in enumerate(table[1:])]) + "\n")
        counts = self.good_json("stats", "--csv", self.path("train.csv"))["classes"]
        pairs = [(c["positives"], c["negatives"]) for c in counts]
        expected = {
            "train": [(n / (p + n), p / (p + n)) for p, n in pairs],
            "inverse": [((p + n) / (2 * p), (p + n) / (2 * n)) for p, n in pairs],
            "pos-weight": [(n / p, 1) for p, n in pairs],
            "none": [(1, 1) for _ in pairs],
        }
        effective = [(0.1 / (1 - 0.9**p), 0.1 / (1 - 0.9**n)) for p, n in pairs]
        expected["effective"] = [(2 * p / (p + n), 2 * n / (p + n)) for p, n in effective]
        for rule, weights in expected.items():
            more = ["--beta", "0.9"] if rule == "effective" else []
            self.good("train", *data, *SMALL, "--batch", "4", "--steps", "1", "--quiet", "--out", self.path(rule), "--class-weights", rule, *more)
            config = json.loads(self.read(rule, "config.json"))
            self.assertEqual(config["options"]["class-weights"], rule)
            for c, (positive, negative) in enumerate(weights):
                self.assertAlmostEqual(config["positive_weights"][c], positive, places=12)
                self.assertAlmostEqual(config["negative_weights"][c], negative, places=12)

    def test_every_loss_trains_and_its_numbers_matter(self):
        data = self.data_set()
        common = ["train", *data, *SMALL, "--batch", "4", "--steps", "3", "--quiet", "--seed", "2"]
        losses = {}
        for name, options in (
            ("weighted", []),
            ("plain", ["--loss", "bce"]),
            ("smoothed", ["--loss", "bce", "--smoothing", "0.1"]),
            ("none", ["--class-weights", "none"]),
            ("focal", ["--loss", "focal"]),
            ("focal-0", ["--loss", "focal", "--gamma", "0", "--alpha", "none"]),
            ("focal-train", ["--loss", "focal", "--gamma", "0", "--alpha", "none", "--class-weights", "train"]),
            ("asymmetric", ["--loss", "asymmetric"]),
            ("asymmetric-0", ["--loss", "asymmetric", "--gamma-positive", "0", "--gamma-negative", "0", "--margin", "0"]),
            ("asymmetric-1", ["--loss", "asymmetric", "--margin", "0.2"]),
        ):
            losses[name] = self.good_json(*common, "--out", self.path(name), *options)["steps"]
        # γ = 0 is the cross-entropy, to the bit.
        self.assertEqual(losses["plain"], losses["none"])
        self.assertEqual(losses["plain"], losses["focal-0"])
        self.assertEqual(losses["plain"], losses["asymmetric-0"])
        self.assertEqual(losses["weighted"], losses["focal-train"])
        self.assertEqual(self.read("plain", "last.safetensors"), self.read("asymmetric-0", "last.safetensors"))
        different = ("weighted", "plain", "smoothed", "focal", "asymmetric", "asymmetric-1")
        self.assertEqual(len({losses[n][0] for n in different}), len(different))

    def test_a_focal_run_goes_on_with_its_numbers(self):
        data = self.data_set(train=18)
        common = ["train", *data, *SMALL, "--batch", "4", "--quiet", "--loss", "focal", "--gamma", "1.5", "--alpha", "0.6", "--smoothing", "0.05", "--class-weights", "inverse"]
        self.good(*common, "--steps", "6", "--out", self.path("whole"))
        self.good(*common, "--steps", "4", "--out", self.path("part"))
        with self.unchanged():
            self.bad(2, "train", "--resume", "--out", self.path("part"), "--gamma", "2", says=["--gamma", "1.5"])
            self.bad(2, "train", "--resume", "--out", self.path("part"), "--loss", "bce", says=["--loss", "focal"])
        self.good("train", "--resume", "--out", self.path("part"), "--steps", "6", "--quiet")
        self.assertEqual(self.read("whole", "last.safetensors"), self.read("part", "last.safetensors"))

    def test_a_run_of_before_there_were_other_losses_goes_on(self):
        arguments = self.train_arguments(train=18)
        self.good(*arguments, "--steps", "6", "--quiet")
        self.good(*arguments[:-1], self.path("part"), "--steps", "4", "--quiet")
        config = json.loads(self.read("part", "config.json"))
        for name in ("gamma", "alpha", "gamma-positive", "gamma-negative", "margin", "smoothing", "beta"):
            del config["options"][name]
        self.write("part/config.json", json.dumps(config))
        self.bad(2, "train", "--resume", "--out", self.path("part"), "--smoothing", "0.1", says=["--smoothing", "--resume"])
        self.good("train", "--resume", "--out", self.path("part"), "--steps", "6", "--quiet")
        self.assertEqual(self.read("run", "last.safetensors"), self.read("part", "last.safetensors"))

    def test_all_backends_train_alike_by_the_asymmetric_loss(self):
        losses = {}
        data = self.data_set()
        for backend in ("reference", "eigen", "onednn", "simd"):
            losses[backend] = self.good_json("train", *data, *SMALL, "--batch", "4", "--steps", "2", "--loss", "asymmetric", "--out", self.path(backend), "--backend", backend)["steps"]
        for backend in ("eigen", "onednn", "simd"):
            for a, b in zip(losses["reference"], losses[backend]):
                self.assertAlmostEqual(a, b, delta=1e-3 * abs(a))

    def test_featurewise_normalisation_of_one_channel_goes_into_the_checkpoint(self):
        self.good(*self.train_arguments(), "--steps", "1", "--preprocess", "featurewise", "--channels", "1")
        header, _ = read_safetensors(self.path("run", "last.safetensors"))
        preprocess = json.loads(header["__metadata__"]["cxr.preprocess"])
        self.assertEqual((len(preprocess["mean"]), len(preprocess["deviation"])), (1, 1))
        self.assertTrue(0 < preprocess["mean"][0] < 255)
        self.assertEqual(header["features.conv0.weight"]["shape"], [8, 1, 7, 7])
        self.good("predict", "--model", self.path("run"), "--images", self.path("images"), "--out", self.path("p.csv"))
        self.good("train", "--resume", "--out", self.path("run"), "--steps", "2")
        again, _ = read_safetensors(self.path("run", "last.safetensors"))
        self.assertEqual(json.loads(again["__metadata__"]["cxr.preprocess"]), preprocess)


class BadRuns(CommandTest):
    def test_a_second_run_into_the_same_folder(self):
        arguments = [*self.train_arguments(), "--steps", "1"]
        self.good(*arguments)
        with self.unchanged():
            self.bad(1, *arguments, says=[self.path("run"), "--resume"])

    def test_a_folder_in_which_another_process_trains(self):
        arguments = [*self.train_arguments(), "--steps", "1"]
        os.makedirs(self.path("run"))
        folder = os.open(self.path("run"), os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        refused = r"cxr: error: [^\n]*/run: another process trains in this folder, expected one at a time\n$"
        with self.unchanged():
            self.assertRegex(self.run_cxr(*arguments).stderr, refused)
        fcntl.flock(folder, fcntl.LOCK_UN)
        self.good(*arguments, "--quiet")
        fcntl.flock(folder, fcntl.LOCK_EX)
        with self.unchanged():
            self.assertRegex(self.run_cxr("train", "--resume", "--out", self.path("run"), "--steps", "2").stderr, refused)
        os.close(folder)

    def test_what_a_killed_process_had_half_written_goes(self):
        self.good(*self.train_arguments(), "--steps", "1", "--quiet")
        left, others = self.write("run/.cxr-partial-1-0", "half"), self.write("run/.cxr-partial-2-0", "in work")
        os.utime(left, (time.time() - 100, time.time() - 100))
        self.good("train", "--resume", "--out", self.path("run"), "--steps", "2", "--quiet")
        self.assertEqual((os.path.exists(left), os.path.exists(others)), (False, True))

    def test_resuming_where_no_run_is(self):
        arguments = self.train_arguments()
        with self.unchanged():
            self.bad(1, *arguments, "--resume", says=["run", "--resume"])

    def test_resuming_with_what_cannot_change(self):
        arguments = self.train_arguments()
        self.good(*arguments, "--steps", "1")
        with self.unchanged():
            self.bad(2, "train", "--resume", "--out", self.path("run"), "--growth", "8", says=["--growth", "8", "4"])
            self.bad(2, "train", "--resume", "--out", self.path("run"), "--batch", "5", says=["--batch"])
            self.bad(2, "train", "--resume", "--out", self.path("run"), "--blocks", "1,2", says=["--blocks", "expected 4 numbers, got 2"])
            self.bad(2, "train", "--resume", "--out", self.path("run"), "--architecture", "foo", says=["--architecture foo", "densenet121", "densenet201"])
            self.bad(2, "train", "--resume", "--out", self.path("run"), "--weights", self.path("w.safetensors"), says=["--weights", "--resume"])

    def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(self):
        arguments = self.train_arguments()
        self.good(*arguments, "--epochs", "1", "--quiet")
        last, best = self.read("run", "last.safetensors"), self.read("run", "best.safetensors")
        message = self.bad(1, "train", "--resume", "--out", self.path("run"), "--epochs", "9", "--lr", "1e39", "--quiet", says=["diverged", "step"])
        self.assertRegex(message, r"step [0-9]+")
        self.assertEqual(last, self.read("run", "last.safetensors"))
        self.assertEqual(best, self.read("run", "best.safetensors"))
        self.good("train", "--resume", "--out", self.path("run"), "--epochs", "2", "--lr", "1e-3", "--quiet")

    def test_a_run_that_diverges_at_once_keeps_its_beginning(self):
        self.bad(1, *self.train_arguments(), "--lr", "1e39", "--epochs", "3", "--quiet", says=["diverged", "step"])
        header, _ = read_safetensors(self.path("run", "last.safetensors"))
        self.assertEqual(header["__metadata__"]["cxr.step"], "0")
        self.assertFalse(os.path.exists(self.path("run", "best.safetensors")))

    def test_a_full_disk_before_training_leaves_nothing(self):
        arguments = self.train_arguments()
        for limit in (0, 100, 20000):
            if limit == 0 and "TSAN_OPTIONS" in os.environ:
                continue  # the thread sanitizer writes a byte of its own before any program begins
            with self.unchanged():
                self.bad(1, *arguments, "--steps", "2", "--quiet", file_limit=limit, says=[self.path("run")])

    def test_a_full_disk_later_keeps_the_last_good_checkpoint(self):
        arguments = self.train_arguments()
        self.good(*arguments, "--epochs", "1", "--quiet")
        last = self.read("run", "last.safetensors")
        self.bad(1, "train", "--resume", "--out", self.path("run"), "--epochs", "2", "--quiet", file_limit=20000, says=["last.safetensors"])
        self.assertEqual(last, self.read("run", "last.safetensors"))
        self.assertEqual([f for f in os.listdir(self.path("run")) if "tmp" in f or f.startswith(".")], [])

    def test_a_folder_for_the_run_that_cannot_be(self):
        arguments = self.train_arguments()
        file = self.write("file", "x")
        with self.unchanged():
            self.bad(1, "train", "--quiet", *arguments[1:-1], file, says=[file])
            self.bad(1, "train", "--quiet", *arguments[1:-1], os.path.join(file, "run"), says=[file])
            self.bad(1, "train", "--quiet", *arguments[1:-1], "/proc/cxr-run", says=["/proc/cxr-run"])

    def test_no_permission_on_the_folder_of_the_run(self):
        arguments = self.train_arguments()
        os.mkdir(self.path("run"))
        os.chmod(self.path("run"), 0o555)
        user = None
        if os.getuid() == 0:
            user = 65534
            os.chmod(self.folder, 0o755)
            for place, _, files in os.walk(self.folder):
                for name in files:
                    os.chmod(os.path.join(place, name), 0o644)
        with self.unchanged():
            self.bad(1, *arguments, "--steps", "1", "--quiet", user=user, says=[self.path("run"), "ermission"])


class Checkpoints(CommandTest):
    """Checkpoints that are not what they should be, given to predict, to train --weights and to train --resume."""

    @classmethod
    def setUpClass(cls):
        cls.maker = CommandTest()
        cls.maker.setUp()
        cls.maker.good(*cls.maker.train_arguments(), "--steps", "1", "--quiet")
        cls.header, cls.data = read_safetensors(cls.maker.path("run", "last.safetensors"))

    @classmethod
    def tearDownClass(cls):
        cls.maker.doCleanups()

    def refused(self, content, *says):
        model = self.write("model.safetensors", content)
        run = self.path("copy")
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.maker.path("run"), run)
        self.write("copy/last.safetensors", content)
        data = self.data_set()
        with self.unchanged():
            self.bad(1, "predict", "--model", model, "--images", self.path("images"), "--out", self.path("p.csv"), "--quiet", says=["model.safetensors", *says])
            self.bad(1, "train", *data, *SMALL, "--weights", model, "--out", self.path("run"), "--steps", "1", "--quiet", says=["model.safetensors", *says])
            self.bad(1, "train", "--resume", "--out", run, "--steps", "2", "--quiet", says=["last.safetensors", *says])

    def test_the_header_is_as_expected_by_these_tests(self):
        self.assertEqual(safetensors(self.header, self.data)[-len(self.data) :], self.data)
        self.write("again.safetensors", safetensors(self.header, self.data))
        self.data_set()
        self.good("predict", "--model", self.path("again.safetensors"), "--images", self.path("images"), "--out", self.path("p.csv"))

    def test_truncated(self):
        whole = safetensors(self.header, self.data)
        for cut in (0, 7, 8, 100, len(whole) - len(self.data), len(whole) // 2, len(whole) - 1):
            with self.subTest(cut=cut):
                self.refused(whole[:cut])

    def test_header_length_of_0(self):
        self.refused(safetensors(b"{}", self.data, length=0))

    def test_header_length_of_2_to_the_63(self):
        self.refused(safetensors(self.header, self.data, length=2**63))

    def test_header_length_beyond_the_file(self):
        self.refused(safetensors(self.header, b"", length=10**6 * 50))

    def test_header_that_is_not_json(self):
        self.refused(safetensors(b'{"a": [', b""))
        self.refused(safetensors(b"[1, 2, 3]", b""))

    def changed(self, name, **fields):
        header = json.loads(json.dumps(self.header))
        header[name].update(fields)
        return safetensors(header, self.data)

    def test_offsets_that_overlap(self):
        name = "classifier.bias"
        begin, end = self.header[name]["data_offsets"]
        length = end - begin
        other = begin - 4 if begin >= 4 else begin + 4
        self.refused(self.changed(name, data_offsets=[other, other + length]))

    def test_offsets_outside(self):
        size = len(self.data)
        self.refused(self.changed("classifier.bias", data_offsets=[size, size + 8]))
        self.refused(self.changed("classifier.bias", data_offsets=[2**63, 2**63 + 8]))
        self.refused(self.changed("classifier.bias", data_offsets=[8, 0]))
        self.refused(self.changed("classifier.bias", data_offsets=[-8, 0]))

    def test_shape_and_length_that_differ(self):
        self.refused(self.changed("classifier.bias", shape=[3]), "classifier.bias")
        self.refused(self.changed("classifier.bias", shape=[2**40, 2**40]), "classifier.bias")

    def test_a_checkpoint_of_a_newer_version(self):
        header = json.loads(json.dumps(self.header))
        header["__metadata__"]["cxr.version"] = "2"
        self.refused(safetensors(header, self.data), "version", "newer")

    def test_a_directory(self):
        os.mkdir(self.path("empty"))
        self.data_set()
        self.bad(1, "predict", "--model", self.path("empty"), "--images", self.path("images"), "--out", self.path("p.csv"), says=["empty"])
        self.bad(1, "predict", "--model", self.path("none"), "--images", self.path("images"), "--out", self.path("p.csv"), says=["none"])

    def test_a_missing_tensor_is_named(self):
        header = {k: v for k, v in self.header.items() if k != "features.norm5.weight"}
        header["features.other.weight"] = self.header["features.norm5.weight"]
        content = safetensors(header, self.data)
        model = self.write("model.safetensors", content)
        self.data_set()
        with self.unchanged():
            self.bad(
                1, "predict", "--model", model, "--images", self.path("images"), "--out", self.path("p.csv"), "--quiet",
                says=["model.safetensors", "features.norm5.weight", "features.other.weight"],
            )  # fmt: skip

    def test_weights_of_another_architecture(self):
        data = self.data_set()
        model = self.maker.path("run", "best.safetensors")
        small = [*SMALL, "--growth", "8"]
        with self.unchanged():
            self.bad(1, "train", *data, *small, "--weights", model, "--out", self.path("run"), "--steps", "1", "--quiet", says=["best.safetensors", "another shape", "features.", "instead of"])

    def test_weights_with_another_head_are_taken_and_the_head_is_said_to_be_new(self):
        data = self.data_set(classes=("A", "B", "C"))
        model = self.maker.path("run", "best.safetensors")
        text = self.good("train", *data, *SMALL, "--weights", model, "--out", self.path("run"), "--steps", "1").stdout
        self.assertIn("new: classifier.weight", text)

    def test_a_weight_file_without_metadata_wants_what_it_cannot_say(self):
        header = {k: v for k, v in self.header.items() if not k.startswith("optimizer.") and k != "__metadata__"}
        at, data = 0, b""
        for entry in header.values():
            begin, end = entry["data_offsets"]
            data += self.data[begin:end]
            entry = entry.update(data_offsets=[at, at + end - begin])
            at = len(data)
        model = self.write("weights.safetensors", safetensors(header, data))
        self.data_set()
        arguments = ["predict", "--model", model, "--images", self.path("images"), "--out", self.path("p.csv")]
        self.bad(2, *arguments, says=["--classes"])
        self.good(*arguments, *SMALL, "--classes", "A,B")
        self.good("predict", "--model", self.maker.path("run", "last.safetensors"), "--images", self.path("images"), "--out", self.path("q.csv"))
        self.assertEqual(self.read("p.csv"), self.read("q.csv"))


if __name__ == "__main__":
    unittest.main()
