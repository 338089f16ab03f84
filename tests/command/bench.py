# SPDX-License-Identifier: Apache-2.0
"""cxr bench: what it measures, in what form, and how it refuses. Times themselves are no matter of tests."""

import platform
import re
import shutil
import xml.etree.ElementTree

from _cxr_command import *

FIELDS = {
    "what", "backend", "device", "shape", "dtype", "method", "seconds_median", "seconds_best", "repetitions", "runs_a_repetition", "images_per_second", "gflops", "gb_per_s",
    "fma_peak_gflops", "memory_gb_per_s", "efficiency", "max_error", "check", "transfer_seconds", "transfer",
}  # fmt: skip
LARGEST_ERROR = {"frequencies": 0, "loss": 1e-6, "loss-gradient": 1e-5, "layer": 1e-2, "inference": 1e-2, "training": 0.1}
# Of a parameter's gradient, as a share of its length: rectifiers open or close by what bfloat16 rounds. Nothing at all would be off by 1.
LARGEST_ERROR_OF_BFLOAT16 = {"inference": 1e-2, "training": 0.6}
LARGEST_ERROR_OF_WINOGRAD = 1e-5
TABLES = ["--what", "frequencies,loss", "--sizes", "140,1400", "--repetitions", "2"]


def backends(test):
    """Names of all that are built in."""
    line = next(line for line in test.good("--version").stdout.splitlines() if line.startswith("backends "))
    names, depth = "", 0
    for letter in line[len("backends ") :]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        names += letter if depth == 0 and letter != ")" else ""
    return [name.strip() for name in names.split(",")]


class Bench(CommandTest):
    def check_rows(self, result):
        for row in result["results"]:
            self.assertEqual(set(row), FIELDS)
            where = f"{row['what']} {row['backend']} {row['shape']}"
            half = row["dtype"] == "bfloat16"
            winograd = row["method"] == "winograd"
            if winograd:
                self.assertEqual((row["what"], row["dtype"]), ("inference", "float32"), where)
            else:
                self.assertIsNone(row["method"], where)
            largest = LARGEST_ERROR_OF_WINOGRAD if winograd else (LARGEST_ERROR_OF_BFLOAT16 if half else LARGEST_ERROR)[row["what"]]
            self.assertLessEqual(row["max_error"], largest, where)
            if row["backend"] == "reference":
                self.assertEqual(row["max_error"], 0, where)
            self.assertGreater(row["seconds_best"], 0, where)
            self.assertGreaterEqual(row["seconds_median"], row["seconds_best"], where)
            table = row["what"] in ("frequencies", "loss", "loss-gradient")
            self.assertEqual(len(row["shape"]), 2 if table else 4, where)
            self.assertEqual(row["dtype"], "bfloat16" if half else "int8" if row["what"] == "frequencies" else "float32", where)
            rate, none = ("gb_per_s", "gflops") if table else ("gflops", "gb_per_s")
            self.assertGreater(row[rate], 0, where)
            self.assertIsNone(row[none], where)
            if row["transfer"] == "none":  # a backend of the host
                self.assertEqual(row["transfer_seconds"], 0, where)
                peak = row["memory_gb_per_s"] if table else row["fma_peak_gflops"]
                self.assertAlmostEqual(row["efficiency"], row[rate] / peak, delta=1e-9 * row["efficiency"], msg=where)
            else:
                self.assertGreater(row["transfer_seconds"], 0, where)
            if row["what"] in ("inference", "training"):
                self.assertAlmostEqual(row["images_per_second"] * row["seconds_median"] / row["shape"][0], 1, places=6, msg=where)
            else:
                self.assertIsNone(row["images_per_second"], where)

    def test_tables_on_every_backend(self):
        result = self.good_json("bench", *TABLES)
        self.check_rows(result)
        machine = result["machine"]
        self.assertGreater(machine["fma_peak_gflops"], 0)
        self.assertGreater(machine["memory_gb_per_s"], 0)
        self.assertIn(machine["fma_isa"], ("avx512f", "avx2+fma", "sse2", "portable"))
        works = {row["backend"] for row in result["results"]}
        self.assertLessEqual(works, set(backends(self)))
        self.assertLessEqual({"reference", "simd", "eigen", "xtensor", "onednn"}, works)
        found = {(row["what"], row["backend"], *row["shape"]) for row in result["results"]}
        self.assertEqual(found, {(w, b, n, 14) for w in ("frequencies", "loss", "loss-gradient") for b in works for n in (10, 100)})
        self.assertEqual(result["left_out"], [])

    def test_a_layer_and_networks(self):
        # eigen, of whose code the others are, and simd, which has DenseNet for itself; tests of their own hold them against the reference.
        result = self.good_json("bench", "--what", "layer,inference,training", "--quick", "--repetitions", "1", "--backends", "eigen,simd", timeout=600)
        self.check_rows(result)
        works = [("layer", [2, 64, 14, 14]), ("inference", [1, 3, 64, 64]), ("inference", [2, 3, 64, 64]), ("training", [2, 3, 64, 64])]
        for backend in ("eigen", "simd"):
            plain = [row for row in result["results"] if row["backend"] == backend and row["dtype"] == "float32" and not row["method"]]
            self.assertEqual([(row["what"], row["shape"]) for row in plain], works, backend)
            # A step of training multiplies three times as often as its forward pass, but for the gradient of the images: by 7 × 7 weights of 3 and 64 channels, 32 × 32 pixels, 2 images.
            forward, step = (row["gflops"] * row["seconds_median"] for row in plain[2:])
            self.assertAlmostEqual(step, 3 * forward - 1e-9 * 2 * 7 * 7 * 3 * 64 * 32 * 32 * 2, delta=1e-9 * step)
        self.assertEqual([(row["backend"], row["what"], row["shape"]) for row in result["results"] if row["method"]], [("simd", "inference", [n, 3, 64, 64]) for n in (1, 2)])
        self.assertTrue(all(row["check"] for row in result["results"]))

    def test_rows_of_one_backend_and_shape_are_told_apart(self):
        text = self.good("bench", "--what", "inference", "--quick", "--batches", "1", "--repetitions", "1", "--backends", "eigen,simd", "--json", self.path("bench.json")).stdout
        rows = json.loads(self.read("bench.json"))["results"]
        labels = [(row["backend"], row["dtype"] + (" Winograd" if row["method"] else "")) for row in rows]
        self.assertEqual(re.findall(r"(?m)^inference +(\S+) +(\S+(?: Winograd)?) +1×3×64×64 ", text), labels)
        half = [("simd", "bfloat16")] if ("simd", "bfloat16") in labels else []  # where the processor has it
        self.assertEqual(labels, [("simd", "float32"), ("simd", "float32 Winograd"), *half, ("eigen", "float32")])

    def test_a_table_and_a_sentence_for_people(self):
        text = self.good("bench", *TABLES).stdout
        for word in ("dtype", "median", "max error", "float32", "int8", "frequencies", "loss-gradient", "10×14", "GFLOP/s", "GB/s", "reference", "eigen"):
            self.assertIn(word, text)
        host = self.good("bench", *TABLES, "--backends", "reference,eigen").stdout
        for what in ("frequencies", "loss", "loss-gradient"):
            self.assertRegex(host, f"(?m)^{what}: no device backend (is built in|was measured)$")

    def test_the_comparison_with_a_host_backend_in_the_place_of_a_device(self):
        result = self.good_json("bench", *TABLES, "--backends", "reference,eigen,xtensor", "--device", "xtensor")
        self.assertEqual({row["backend"] for row in result["results"] if row["device"]}, {"xtensor"})
        self.assertEqual([c["what"] for c in result["comparisons"]], ["frequencies", "loss", "loss-gradient"])
        for c in result["comparisons"]:
            self.assertEqual(c["device"], "xtensor")
            self.assertIn(c["cpu"], ("reference", "eigen"))
            self.assertTrue(c["sentence"].startswith(c["what"] + ": "))
            if c["crossing_elements"] is not None:
                self.assertTrue(140 <= c["crossing_elements"] <= 1400)
                self.assertIn("below about", c["sentence"])
            else:
                self.assertIn("wins at", c["sentence"])

    def test_the_folder_holds_json_and_a_chart(self):
        self.good("bench", *TABLES, "--backends", "reference,eigen", "--out", self.path("new", "folder"))
        self.assertEqual(sorted(os.listdir(self.path("new", "folder"))), ["bench.json", "time-against-size.png", "time-against-size.svg"])
        with open(self.path("new", "folder", "bench.json")) as file:
            self.check_rows(json.load(file))
        self.assertTrue(xml.etree.ElementTree.parse(self.path("new", "folder", "time-against-size.svg")).getroot().tag.endswith("svg"))
        self.assertEqual(self.read("new", "folder", "time-against-size.png")[:8], b"\x89PNG\r\n\x1a\n")

    def test_one_backend_by_the_option_that_every_command_has(self):
        result = self.good_json("bench", "--what", "loss-gradient", "--sizes", "140", "--backend", "xtensor", "--repetitions", "1")
        self.assertEqual([(row["what"], row["backend"]) for row in result["results"]], [("loss-gradient", "xtensor")])

    @unittest.skipUnless(platform.machine() == "x86_64" and shutil.which("qemu-x86_64"), "needs qemu-x86_64 on such a machine")
    def test_what_is_to_be_known_of_a_backend_is_said_first(self):
        if sanitized():
            self.skipTest("an emulator does not run a sanitizer")
        bench = [EXECUTABLE, "bench", "--what", "frequencies", "--sizes", "140", "--backends", "simd", "--threads", "1"]
        process = subprocess.Popen(["qemu-x86_64", "-cpu", "Nehalem", *bench], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = process.stderr.readline()  # what an emulator measures takes long and says nothing
        process.kill()
        process.communicate()
        self.assertIn("cxr: warning: this processor has neither AVX2 with FMA nor AVX-512: the backend simd works, but slowly", said)

    def test_rows_that_would_take_too_long_are_left_out_and_named(self):
        result = self.good_json("bench", "--what", "loss", "--sizes", "1400,14000000", "--backends", "xtensor", "--limit", "0.001", "--repetitions", "1")
        self.assertEqual([row["shape"] for row in result["results"]], [[100, 14]] * 2)
        self.assertEqual([(gap["what"], gap["backend"], gap["shape"]) for gap in result["left_out"]], [("loss", "xtensor", [1000000, 14]), ("loss-gradient", "xtensor", [1000000, 14])])
        self.assertEqual([(gap["dtype"], gap["method"]) for gap in result["left_out"]], [("float32", None)] * 2)
        self.assertIn("--limit", result["left_out"][0]["reason"])

    def test_wrong_usage(self):
        with self.unchanged():
            self.bad(2, "bench", "--what", "speed", says=["--what speed", "loss", "frequencies", "layer", "inference", "training"])
            self.bad(2, "bench", "--backends", "eigen,fast", says=["--backends fast", "not built in", "reference", "onednn"])
            self.bad(2, "bench", "--backend", "fast", says=["--backend fast", "not built in"])
            self.bad(2, "bench", "--device", "fast", says=["--device fast", "not built in"])
            self.bad(2, "bench", "--backends", "xtensor", "--what", "inference", "--out", self.path("none"), says=["--backends", "layers"])
            for option, value in (("--sizes", "0"), ("--sizes", "1000,-1"), ("--repetitions", "0"), ("--image-sizes", "31"), ("--batches", "0"), ("--limit", "-1"), ("--limit", "nan")):
                self.bad(2, "bench", option, value, says=[option, "expected"])
            for option in ("--sizes", "--repetitions", "--limit"):
                self.bad(2, "bench", option, "many", says=[option, "many"])

    def test_what_the_world_refuses(self):
        with self.unchanged():
            self.bad(1, "bench", *TABLES, "--sizes", "100000000000", says=["--sizes 100000000000", "GB"])
        taken = self.write("file", "")
        self.bad(1, "bench", *TABLES, "--out", taken, says=[taken, "folder"])
        self.bad(1, "bench", *TABLES, "--out", os.path.join(taken, "below"), says=[taken])
        if os.getuid() == 0:
            locked = self.path("locked")
            os.mkdir(locked, 0o755)
            os.chmod(self.folder, 0o755)
            self.bad(1, "bench", *TABLES, "--out", locked, user=65534, says=[locked])


if __name__ == "__main__":
    unittest.main()
