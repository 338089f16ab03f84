# SPDX-License-Identifier: Apache-2.0
"""scripts/gpu-check and scripts/gpu_report.py, as far as they go without a GPU: what stages leave becomes a report that says of every target whether it was met."""

import pathlib
import re
import shutil
import sys

from _cxr_command import *

CHECK = os.path.join(SOURCE, "scripts", "gpu-check")
REPORT = os.path.join(SOURCE, "scripts", "gpu_report.py")
STAGES = ["build", "correct", "sanitize", "train", "bench", "peers"]
LOSSES = {"cpu": (0.50, 0.52, 0.54), "gpu f32": (0.51, 0.52, 0.53), "gpu bf16": (0.58, 0.59, 0.60)}


def bench_row(what, shape, **more):
    images = shape[0] / more["seconds_median"] if what in ("training", "inference") else None
    row = {"what": what, "backend": "cuda", "device": True, "shape": shape, "dtype": "float32", "method": None, "seconds_median": 0.05, "images_per_second": images, "gflops": None, "gb_per_s": None}
    return row | {"memory_gb_per_s": 4000.0, "efficiency": None, "max_error": 1e-7, "transfer": "apart", "transfer_seconds": 0.01} | more


def torch_row(what, way, **more):
    return {"what": what, "how": f"torch 2 {way} bf16", "way": way, "compiled": way.startswith("compiled"), "size": 224, "batch": 256} | more


class GpuReport(CommandTest):
    def run_it(self, *command, status=0):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OUT": self.path("out")})
        self.assertEqual(done.returncode, status, done.stderr + done.stdout)
        return done.stdout + done.stderr

    def add(self, stage, name, figures=None, status=0, log=""):
        path = pathlib.Path(self.path("log"))
        path.write_text(log)
        more = []
        if figures is not None:
            self.write("figures.json", json.dumps(figures))
            more = ["--figures", self.path("figures.json")]
        self.run_it(sys.executable, "-B", REPORT, "add", self.path("out"), stage, name, "a command", str(status), "3", str(path), *more)

    def report(self):
        said = self.run_it(CHECK, "report")
        found = json.loads(pathlib.Path(self.path("out"), "gpu-report.json").read_text())
        text = pathlib.Path(self.path("out"), "gpu-report.md").read_text()
        for t in found["targets"]:
            self.assertRegex(said, re.escape(t["verdict"]) + " +" + re.escape(t["target"]))
            self.assertIn(f"| {t['target']} | {t['verdict']} |", text)
        return found, text

    def verdicts(self):
        return [t["verdict"] for t in self.report()[0]["targets"]]

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("out"))

    def test_nothing_measured(self):
        found, text = self.report()
        self.assertEqual({t["verdict"] for t in found["targets"]}, {"not measured"})
        self.assertEqual(found["stages_not_run"], STAGES)
        self.assertIn("Not run: build, correct,", text)

    def test_what_the_stages_found(self):
        self.add("correct", "networks", log="ok one\nFAILED two: 3, expected 4\nleft out sums over GPUs: no NCCL\n1 checks failed\n", status=1)
        bench = [
            bench_row("training", [256, 3, 224, 224], dtype="bfloat16", seconds_median=0.04),  # 6400 images/s
            bench_row("training", [256, 3, 224, 224], seconds_median=0.01),  # float32 has no target
            bench_row("inference", [256, 3, 224, 224], dtype="bfloat16", seconds_median=0.0128),  # 20000
            bench_row("inference", [16, 3, 224, 224], dtype="bfloat16", seconds_median=0.0001),  # nor has this batch
            bench_row("loss", [7142857, 14], gb_per_s=3600.0, efficiency=0.9),
            bench_row("loss-gradient", [7142857, 14], gb_per_s=3200.0, efficiency=0.8),
            bench_row("frequencies", [714286, 14], gb_per_s=3600.0, efficiency=0.9),  # nor 10⁷ elements
        ]
        gap = {"what": "training", "backend": "simd", "shape": [256, 3, 320, 320], "dtype": "float32", "method": None, "reason": "one run would take about 99 s"}
        self.add("bench", "networks", {"results": bench, "left_out": [gap]})
        peers = [
            torch_row("training", "eager", images_per_second=3000.0),
            torch_row("training", "compiled reduce-overhead", images_per_second=4000.0),
            torch_row("training", "compiled max-autotune", failed="OutOfMemoryError: much"),
            torch_row("inference", "eager", images_per_second=10000.0),
            torch_row("inference", "compiled max-autotune", failed="no time left"),
            bench_row("training", [256, 3, 224, 224], dtype="bfloat16", seconds_median=0.04),
            bench_row("inference", [256, 3, 224, 224], dtype="bfloat16", seconds_median=0.0128),
        ]
        self.add("peers-224", "torch", {"gpu": "G", "torch": "2", "results": peers})
        for kind, means in LOSSES.items():
            for seed, mean in enumerate(means):
                self.add("train", f"{kind} seed {seed}", {"steps": [9.0] * 178 + [mean] * 22})
        said = self.run_it(sys.executable, "-B", REPORT, "losses", self.path("out"), status=1)
        self.assertRegex(said, r"(?m)^ok .*gpu f32.*\n^FAILED .*gpu bf16.*missed")

        found, text = self.report()
        self.assertEqual([t["verdict"] for t in found["targets"]], ["met", "missed", "met", "not measured", "met", "missed", "not measured", "met", "missed"])
        self.assertIn("1.60 × (6,400 images/s; compiled reduce-overhead 4,000); compiled max-autotune not measured: OutOfMemoryError: much", text)
        self.assertIn("80%: 3,200 GB/s of the 4,000", text)
        self.assertIn("mean 0.5900 of 0.5800, 0.5900, 0.6000; CPU 0.5000 to 0.5400", text)
        for line in ("* networks: FAILED two: 3, expected 4", "* networks: left out sums over GPUs: no NCCL", "left out training 256×3×320×320 in float32 on simd: one run would take about 99 s", "| correct | networks | failed (1) | 3 |"):
            self.assertIn(line, text)
        self.assertEqual(found["stages_not_run"], ["build", "sanitize"])
        self.assertEqual([len(found[kind]) for kind in ("bench", "peers")], [len(bench), len(peers)])

        # A way of torch that is not measured cannot help a ratio that is too small already.
        peers[3]["images_per_second"] = 19000.0
        self.add("peers-224", "torch", {"results": peers})
        self.assertEqual(self.verdicts()[3], "missed")

    def test_what_a_command_leaves_is_replaced_by_its_next_run(self):
        self.add("train", "cpu seed 0", {"steps": [1.0]}, status=1)
        self.add("train", "cpu seed 0", {"steps": [2.0]})
        results = self.report()[0]["results"]
        self.assertEqual([(r["name"], r["status"]) for r in results], [("cpu seed 0", 0)])
        self.run_it(sys.executable, "-B", REPORT, "losses", self.path("out"), status=1)  # most are missing

    def test_what_is_left_out_is_in_the_report(self):
        self.run_it(sys.executable, "-B", REPORT, "left-out", self.path("out"), "peers", "torch", "no PyTorch here")
        found, text = self.report()
        self.assertIn("| peers | torch | left out | 0 | no PyTorch here |", text)
        self.assertIn("* torch: left out: no PyTorch here", text)

    def test_a_file_that_a_stage_did_not_finish_is_no_part_of_the_report(self):
        self.write("out/gpu-train.json", '{"stage": "train", "mach')
        self.assertEqual(self.report()[0]["results"], [])

    def test_stages_are_those_of_the_page_and_the_usage(self):
        usage = self.run_it(CHECK, status=2)
        self.assertEqual(usage.strip().removeprefix("usage: scripts/gpu-check ").replace(" [SIZE]", "").split("|"), ["prepare", *STAGES, "report"])
        head = pathlib.Path(CHECK).read_text().split("set -euo")[0]
        page = pathlib.Path(SOURCE, "docs", "gpu.md").read_text()
        for stage in ("prepare", *STAGES, "report"):
            with self.subTest(stage=stage):
                self.assertRegex(head, rf"scripts/gpu-check {stage}\b")
                self.assertTrue(re.search(rf"scripts/gpu-check {stage}\b", page), "docs/gpu.md does not name it")
        self.run_it(CHECK, "correct", "320", status=2)
        if shutil.which("nvidia-smi") is None:
            for stage in STAGES:
                self.assertIn("no NVIDIA GPU answers here", self.run_it(CHECK, stage, status=77))


if __name__ == "__main__":
    unittest.main()
