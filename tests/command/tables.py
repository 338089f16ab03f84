# SPDX-License-Identifier: Apache-2.0
"""Label tables: `stats`, `check` and what can be wrong with a table."""

import zlib

from _cxr_command import *

HEAD = "Image,PatientId,A,B\n"


class Stats(CommandTest):
    def test_the_course_example(self):
        rows = ["1,0,0", "0,1,1", "1,0,1", "1,1,1", "1,0,1"]
        table = self.write("five.csv", "Image,A,B,C\n" + "".join(f"{i}.png,{r}\n" for i, r in enumerate(rows)))
        for backend in ("reference", "eigen", "xtensor", "onednn"):
            result = self.good_json("stats", "--csv", table, "--backend", backend)
            self.assertEqual(result["rows"], 5)
            self.assertEqual([c["name"] for c in result["classes"]], ["A", "B", "C"])
            self.assertEqual([c["positive_frequency"] for c in result["classes"]], [0.8, 0.4, 0.8])
            for c, negative in zip(result["classes"], [0.2, 0.6, 0.2]):
                self.assertAlmostEqual(c["negative_frequency"], negative, places=15)
                self.assertEqual(c["positive_weight"], c["negative_frequency"])
                self.assertEqual(c["negative_weight"], c["positive_frequency"])
                self.assertAlmostEqual(c["positive_contribution"], c["negative_contribution"], places=15)
            self.assertEqual(result["co_occurrence"], [[4, 1, 3], [1, 2, 2], [3, 2, 4]])
            self.assertEqual(result["co_occurrence_share"], [[1, 0.25, 0.75], [0.5, 1, 1], [0.75, 0.5, 1]])

    def test_the_course_table(self):
        order = (
            "Cardiomegaly,Emphysema,Effusion,Hernia,Infiltration,Mass,Nodule,Atelectasis,"
            "Pneumothorax,Pleural_Thickening,Pneumonia,Fibrosis,Edema,Consolidation"
        )
        result = self.good_json("stats", "--csv", os.path.join(COURSE, "train-small.csv"), "--classes", order)
        self.assertEqual(result["rows"], 1000)
        self.assertEqual(result["patients"], 928)
        self.assertEqual([c["name"] for c in result["classes"]], order.split(","))
        self.assertEqual([c["positives"] for c in result["classes"]], [20, 13, 128, 2, 175, 45, 54, 106, 38, 21, 10, 14, 16, 33])
        for c in result["classes"]:
            self.assertEqual(c["positives"] + c["negatives"] + c["unknown"], 1000)
            self.assertEqual(c["positive_frequency"], c["positives"] / 1000)
        table = read_csv(os.path.join(COURSE, "train-small.csv"))
        names = order.split(",")
        self.assertEqual(result["co_occurrence"], [[sum(r[a] == "1" and r[b] == "1" for r in table) for b in names] for a in names])
        text = self.good("stats", "--csv", os.path.join(COURSE, "train-small.csv"), "--backend", "onednn").stdout
        self.assertRegex(text, "counted on onednn, by eigen\n")
        wide = self.write("wide.csv", "Image" + "".join(f",F{c}" for c in range(300)) + "\n" + "".join(f"{i}.png" + f",{i % 2}" * 300 + "\n" for i in range(4)))
        self.assertRegex(self.good("stats", "--csv", wide, "--backend", "simd").stdout, "counted on simd, by reference, co-occurrence by simd\n")
        self.assertRegex(text, r"(Effusion, Infiltration|Infiltration, Effusion|Effusion, Atelectasis|Atelectasis, Effusion) +\d+ +0\.\d{4} +0\.\d{4}")

    def test_unknown_labels_are_masked_and_a_class_without_positives_stays_finite(self):
        table = self.write("t.csv", "Image,A,B\n1.png,1,0\n2.png,,0\n3.png,0,0\n")
        result = self.good_json("stats", "--csv", table)
        a, b = result["classes"]
        self.assertEqual((a["positives"], a["negatives"], a["unknown"], a["positive_frequency"]), (1, 1, 1, 0.5))
        self.assertEqual((b["positives"], b["positive_frequency"], b["positive_weight"], b["negative_weight"]), (0, 0, 1, 0))
        text = self.good("stats", "--csv", table).stdout
        self.assertNotIn("nan", text.lower())
        self.assertNotIn("inf", text.lower())

    def test_plots_and_json_files(self):
        self.data_set()
        self.good("stats", "--csv", self.path("train.csv"), "--out", self.path("new", "plots"), "--json", self.path("s.json"))
        self.assertEqual(sorted(os.listdir(self.path("new", "plots"))), ["class-frequency.png", "class-frequency.svg", "co-occurrence.png", "co-occurrence.svg", "contributions.png", "contributions.svg"])
        self.assertTrue(self.read("new", "plots", "class-frequency.png").startswith(b"\x89PNG"))
        self.assertIn(b"<svg", self.read("new", "plots", "contributions.svg"))
        self.assertEqual(json.loads(self.read("s.json"))["rows"], 12)

    def test_quiet_prints_nothing(self):
        self.data_set()
        result = self.good("stats", "--csv", self.path("train.csv"), "--quiet")
        self.assertEqual((result.stdout, result.stderr), ("", ""))

    def test_a_patient_without_a_name_is_nobody(self):
        table = self.write("t.csv", "Image,PatientId,A\n1.png,7,0\n2.png,,1\n3.png,,1\n")
        self.assertEqual(self.good_json("stats", "--csv", table)["patients"], 1)

    def test_patients_are_told_apart_as_by_split_and_check(self):
        names = ["13", "13.0", "00013", "14", "p13", "P13", "13.5", "0", "", "000.0"]  # six patients, and one not known
        table = self.write("t.csv", "Image,PatientId,A\n" + "".join(f"{i}.png,{name},{i % 2}\n" for i, name in enumerate(names)))
        self.assertEqual(self.good_json("stats", "--csv", table)["patients"], 6)
        self.assertIn("10 rows, 6 patients", self.good("stats", "--csv", table).stdout)
        parts = self.good_json("split", "--csv", table, "--fractions", "0.5,0.5", "--out", self.path("parts"))["parts"]
        self.assertEqual(sum(part["patients"] for part in parts), 6)
        self.good("check", "--train", self.path("parts", "train.csv"), "--valid", self.path("parts", "valid.csv"))
        self.assertEqual([self.good_json("stats", "--csv", part["file"])["patients"] for part in parts], [part["patients"] for part in parts])


def picture(pixels, width, depth, colour, sample):
    """A PNG of any kind: `sample` gives the bytes of a gray value."""
    height = len(pixels) // width
    rows = b"".join(b"\0" + b"".join(map(sample, pixels[y * width : (y + 1) * width])) for y in range(height))
    palette = chunk(b"PLTE", bytes(i for i in range(256) for _ in range(3))) if colour == 3 else b""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Check(CommandTest):
    def test_identical_pixels_in_other_formats(self):
        pixels = [i * 7 % 256 for i in range(400)]
        kinds = {
            "gray": (8, 0, lambda v: bytes([v])),
            "gray16": (16, 0, lambda v: bytes([v, v])),
            "rgb": (8, 2, lambda v: bytes([v] * 3)),
            "rgba": (8, 6, lambda v: bytes([v] * 3 + [255])),
            "palette": (8, 3, lambda v: bytes([v])),
        }
        for name, kind in kinds.items():
            self.write(f"images/{name}.png", picture(pixels, 20, *kind))
        self.write("images/other.png", picture(pixels[::-1], 20, *kinds["gray"]))
        train = self.write("a.csv", "Image,PatientId,A\ngray.png,1,0\nother.png,2,1\n")
        valid = self.write("b.csv", "Image,PatientId,A\n" + "".join(f"{name}.png,{10 + i},1\n" for i, name in enumerate(kinds) if name != "gray"))
        result = self.run_cxr("check", "--train", train, "--valid", valid, "--images", self.path("images"), "--json", "-")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(json.loads(result.stdout)["pairs"][0]["identical_pixels"], [["gray.png", name + ".png"] for name in kinds if name != "gray"])

    def test_identical_colours_of_8_and_16_bits(self):
        pixels = [i * 7 % 256 for i in range(400)]
        of = lambda v: [v, 255 - v, v // 3]
        self.write("images/8.png", picture(pixels, 20, 8, 2, lambda v: bytes(of(v))))
        self.write("images/16.png", picture(pixels, 20, 16, 2, lambda v: bytes(b for c in of(v) for b in (c, c))))
        train, valid = (self.write(f"{bits}.csv", f"Image,PatientId,A\n{bits}.png,{bits},1\n") for bits in (8, 16))
        result = self.run_cxr("check", "--train", train, "--valid", valid, "--images", self.path("images"), "--json", "-")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(json.loads(result.stdout)["pairs"][0]["identical_pixels"], [["8.png", "16.png"]])

    def test_a_patients_number_however_it_is_written(self):
        a = self.write("a.csv", "Image,PatientId,A\n1.png,13,0\n2.png,00014,1\n3.png,15,1\n")
        b = self.write("b.csv", "Image,PatientId,A\n4.png,13.0,0\n5.png,14,1\n6.png,150,1\n")
        result = self.run_cxr("check", "--train", a, "--valid", b, "--json", "-")
        self.assertEqual(result.returncode, 3)
        self.assertEqual(json.loads(result.stdout)["pairs"][0]["patients"], ["13", "14"])

    def test_the_course_tables_leak(self):
        files = [os.path.join(COURSE, f) for f in ("train-small.csv", "valid-small.csv", "test.csv")]
        result = self.run_cxr("check", "--train", files[0], "--valid", files[1], "--test", files[2], "--json", "-")
        self.assertEqual(result.returncode, 3)
        pairs = {(p["a"], p["b"]): p for p in json.loads(result.stdout)["pairs"]}
        self.assertEqual(set(pairs), {("train", "valid"), ("train", "test"), ("valid", "test")})
        self.assertEqual(len(pairs["train", "valid"]["patients"]), 197)
        self.assertEqual(len(pairs["train", "valid"]["images"]), 198)
        for other in (("train", "test"), ("valid", "test")):
            self.assertEqual((pairs[other]["patients"], pairs[other]["images"]), ([], []))
        self.assertTrue(all(p["identical_pixels"] == [] and not p["pixels_compared"] for p in pairs.values()))

    def test_the_sample_does_not_leak(self):
        files = [os.path.join(SAMPLE, f) for f in ("train.csv", "valid.csv", "test.csv")]
        result = self.good_json("check", "--train", files[0], "--valid", files[1], "--test", files[2], "--images", os.path.join(SAMPLE, "images"))
        self.assertFalse(result["leak"])
        self.assertEqual([(p["identical_pixels"], p["pixels_compared"]) for p in result["pairs"]], [([], True)] * 3)

    def test_identical_pixels_under_other_names(self):
        self.data_set()
        copy = self.read("images", "train-03.png")
        self.write("images/valid-02.png", copy)
        arguments = ["check", "--train", self.path("train.csv"), "--valid", self.path("valid.csv")]
        self.good(*arguments)
        result = self.run_cxr(*arguments, "--images", self.path("images"), "--json", "-")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertEqual(json.loads(result.stdout)["pairs"][0]["identical_pixels"], [["train-03.png", "valid-02.png"]])

    def test_a_table_without_patients_is_said_not_to_be_compared(self):
        a, b = self.write("a.csv", "Image,A\n1.png,1\n"), self.write("b.csv", "Image,PatientId,A\n2.png,7,1\n")
        result = self.good("check", "--train", a, "--valid", b)
        self.assertIn("patients not compared", result.stdout)
        self.assertIn("a.csv has no patient column", result.stderr)
        pair = self.good_json("check", "--train", a, "--valid", b)["pairs"][0]
        self.assertEqual((pair["patients_compared"], pair["rows_without_patient"]), (False, 1))
        for column, what in (("PatientId", "patients"), ("Image", "images")):
            self.bad(1, "stats", "--csv", b, "--classes", column, says=["b.csv:1", f"the column {column} is that of {what}"])

    def test_rows_without_a_patient_are_counted(self):
        a, b = self.write("a.csv", "Image,PatientId,A\n1.png,,1\n2.png,,0\n3.png,4,0\n"), self.write("b.csv", "Image,PatientId,A\n5.png,7,1\n")
        result = self.good("check", "--train", a, "--valid", b)
        self.assertIn("no leak by image names; patients not compared of 2 images", result.stdout)
        self.assertIn("a.csv: 2 images without a patient", result.stderr)
        pair = self.good_json("check", "--train", a, "--valid", b)["pairs"][0]
        self.assertEqual((pair["patients_compared"], pair["rows_without_patient"]), (False, 2))
        self.assertTrue(self.good_json("check", "--train", b, "--valid", self.write("c.csv", "Image,PatientId,A\n6.png,8,1\n"))["pairs"][0]["patients_compared"])


CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema\n"
    "CheXpert/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,-1.0\n"
    "CheXpert/train/patient00002/study1/view1_frontal.jpg,Male,0,Frontal,PA,,-1.0,1.0\n"
    "CheXpert/train/patient00002/study1/view2_lateral.jpg,Male,0,Lateral,,0.0,-1.0,\n"
    "CheXpert/train/patient00003/study2/view1_frontal.jpg,Female,87,Frontal,AP,,0.0,1.0\n"
)


class CheXpert(CommandTest):
    def test_each_policy(self):
        table = self.write("train.csv", CHEXPERT)
        counts = {}
        for policy in ("ones", "zeros", "ignore"):
            result = self.good_json("stats", "--csv", table, "--uncertain", policy)
            self.assertEqual((result["rows"], result["patients"]), (4, 3))
            self.assertEqual([c["name"] for c in result["classes"]], ["No Finding", "Cardiomegaly", "Edema"])
            counts[policy] = [(c["positives"], c["negatives"], c["unknown"]) for c in result["classes"]]
        self.assertEqual(counts["ones"], [(1, 1, 2), (2, 1, 1), (3, 0, 1)])
        self.assertEqual(counts["zeros"], [(1, 1, 2), (0, 3, 1), (2, 1, 1)])
        self.assertEqual(counts["ignore"], [(1, 1, 2), (0, 1, 3), (2, 0, 2)])

    def test_without_a_policy_the_error_names_the_option(self):
        table = self.write("train.csv", CHEXPERT)
        predictions = self.write("p.csv", "Image,No Finding,Cardiomegaly,Edema\nCheXpert/train/patient00001/study1/view1_frontal.jpg,0.1,0.2,0.3\n")
        says = ["train.csv:2: row 1: column Edema: '-1.0'", "--uncertain", "ones, zeros or ignore"]
        with self.unchanged():
            self.bad(1, "stats", "--csv", table, says=says)
            self.bad(1, "split", "--csv", table, "--out", self.path("out"), says=says)
            self.bad(1, "check", "--train", table, "--valid", table, says=says)
            self.bad(1, "evaluate", "--csv", table, "--predictions", predictions, says=says)
            self.bad(1, "train", "--train", table, "--valid", table, "--images", self.folder, "--out", self.path("run"), says=says)
            self.bad(2, "stats", "--csv", table, "--uncertain", "half", says=["--uncertain", "half", "ones, zeros or ignore"])

    def test_it_is_split_by_the_patients_of_its_paths_and_trained_on(self):
        rows = [f"CheXpert/train/patient{i // 2:05}/study{i % 2}/view1_frontal.jpg,Female,{40 + i},Frontal,AP,{('1.0', '0.0', '-1.0')[i % 3]},{i % 2}.0" for i in range(24)]
        table = self.write("train.csv", "Path,Sex,Age,Frontal/Lateral,AP/PA,Cardiomegaly,Edema\n" + "\n".join(rows) + "\n")
        for i, row in enumerate(rows):
            self.write(row.split(",")[0], jpeg([[20 + i, 150 * (i % 2), 9, 200]] * 4))
        self.good("split", "--csv", table, "--uncertain", "zeros", "--fractions", "0.6,0.4", "--out", self.path("parts"))
        self.assertEqual(sorted(os.listdir(self.path("parts"))), ["train.csv", "valid.csv"])
        files = {name: self.path("parts", name + ".csv") for name in ("train", "valid")}
        patients = {name: {row["PatientId"] for row in read_csv(path)} for name, path in files.items()}
        self.assertEqual(patients["train"] & patients["valid"], set())
        self.assertEqual(len(patients["train"] | patients["valid"]), 12)
        split = ["train", "--train", files["train"], "--valid", files["valid"]]
        self.good(*split, "--images", self.folder, *SMALL, "--batch", "4", "--steps", "2", "--out", self.path("run"))
        # The table itself, by another policy, which --resume keeps.
        whole = ["train", "--train", table, "--valid", table, "--images", self.folder, *SMALL, "--batch", "4", "--steps", "2", "--uncertain", "ones", "--quiet"]
        self.good(*whole, "--out", self.path("whole"))
        self.assertEqual(json.loads(self.read("whole", "config.json"))["options"]["uncertain"], "ones")
        self.bad(2, "train", "--resume", "--out", self.path("whole"), "--uncertain", "zeros", says=["--uncertain", "zeros", "ones"])
        self.good("train", "--resume", "--out", self.path("whole"), "--steps", "4", "--quiet")


class Split(CommandTest):
    def table(self, rows=60):
        lines = [f"{i}.png,{i // 2},{int(i % 5 == 0)},{int(i in (8, 30, 50))},{int(i == 7)}" for i in range(rows)]
        return self.write("all.csv", "Image,PatientId,A,B,C\n" + "\n".join(lines) + "\n")

    def test_parts_share_no_patient_and_have_their_share_of_each_class(self):
        result = self.good_json("split", "--csv", self.table(), "--fractions", "0.8,0.1,0.1", "--out", self.path("new", "parts"))
        self.assertEqual(sorted(os.listdir(self.path("new", "parts"))), ["test.csv", "train.csv", "valid.csv"])
        files = [self.path("new", "parts", f + ".csv") for f in ("train", "valid", "test")]
        rows = [read_csv(f) for f in files]
        self.assertEqual([len(r) for r in rows], [48, 6, 6])
        self.assertEqual(sorted(row["Image"] for r in rows for row in r), sorted(f"{i}.png" for i in range(60)))
        self.assertEqual([[p["name"], p["rows"], p["patients"]] for p in result["parts"]], [["train", 48, 24], ["valid", 6, 3], ["test", 6, 3]])
        for part, r in zip(result["parts"], rows):
            for c in part["classes"]:
                self.assertEqual(c["positives"], sum(row[c["name"]] == "1" for row in r))
        # Three patients have B: one in each part. One has C.
        self.assertEqual([p["classes"][1]["positives"] for p in result["parts"]], [1, 1, 1])
        self.assertEqual(sum(p["classes"][2]["positives"] for p in result["parts"]), 1)
        self.good("check", "--train", files[0], "--valid", files[1], "--test", files[2])

    def test_the_seed_decides(self):
        table = self.table()
        made = []
        for i, seed in enumerate((1, 1, 2)):
            self.good("split", "--csv", table, "--out", self.path(str(i)), "--seed", seed, "--threads", i + 1, "--quiet")
            made.append([self.read(str(i), f) for f in ("train.csv", "valid.csv", "test.csv")])
        self.assertEqual(made[0], made[1])
        self.assertNotEqual(made[0], made[2])

    def test_a_class_too_rare_for_each_part_is_said_and_not_failed(self):
        result = self.good("split", "--csv", self.table(), "--out", self.path("parts"))
        self.assertRegex(result.stderr, r"^cxr: warning: class C is too rare to be in each part: 1 positive of 1 patient in [^\n]*, none of them in valid, test\n$")

    def test_a_class_that_rarer_ones_keep_from_a_part_is_not_called_too_rare(self):
        # C and D are dealt out before B, each to the largest part, and so two of B's three patients are there.
        rows = ["0.png,0,1,1,0", "1.png,1,1,0,1", "2.png,2,1,0,0"] + [f"{i}.png,{i},0,0,0" for i in range(3, 30)]
        table = self.write("few.csv", "Image,PatientId,B,C,D\n" + "\n".join(rows) + "\n")
        said = self.good("split", "--csv", table, "--out", self.path("parts")).stderr.splitlines()
        self.assertEqual(len(said), 3, said)
        self.assertRegex(said[0], r"class B is not in each part, since rarer ones have decided where its patients are: 3 positives of 3 patients in [^\n]*, none of them in (valid|test)$")
        for line, name in zip(said[1:], "CD"):
            self.assertIn(f"class {name} is too rare to be in each part: 1 positive of 1 patient in", line)

    def test_a_class_that_nobody_has_is_said_to_be_one(self):
        self.table()
        head, *rows = self.read("all.csv").decode().splitlines()
        table = self.write("all.csv", "\n".join([head + ",D", *(row + ",0" for row in rows)]) + "\n")
        said = self.good("split", "--csv", table, "--out", self.path("parts")).stderr.splitlines()
        self.assertEqual(len(said), 2, said)
        self.assertIn("class C is too rare", said[0])
        self.assertEqual(said[1], f"cxr: warning: class D has no positive in {table}")

    def test_fractions_that_are_none(self):
        table = self.table()
        with self.unchanged():
            for fractions in ("0.8,0.1,0.2", "0.5,0.4", "1", "0.5,0.2,0.2,0.1", "1,0", "1.5,-0.5", "0.8,nan,0.1", "0.8,0.1,", "a,b,c", "80,10,10"):
                self.bad(2, "split", "--csv", table, "--fractions=" + fractions, "--out", self.path("parts"), says=["--fractions " + fractions, "sum to 1"])
            self.bad(2, "split", "--csv", table, "--fractions", "0.8,0.1,0.100002", "--out", self.path("parts"), says=["the sum is 1.000002"])
        self.good("split", "--csv", table, "--fractions", "0.7,0.2,0.1", "--out", self.path("parts"))

    def test_a_part_of_an_earlier_split_is_not_left_beside_others(self):
        table = os.path.join(SAMPLE, "train.csv")
        self.good("split", "--csv", table, "--fractions", "0.6,0.2,0.2", "--out", self.path("parts"))
        with self.unchanged():
            self.bad(2, "split", "--csv", table, "--fractions", "0.8,0.2", "--seed", "2", "--out", self.path("parts"), says=["test.csv", "earlier split", "another folder"])
        os.remove(self.path("parts", "test.csv"))
        self.good("split", "--csv", table, "--fractions", "0.8,0.2", "--seed", "2", "--out", self.path("parts"))

    def test_its_own_table_and_too_few_patients(self):
        self.table()
        os.rename(self.path("all.csv"), self.path("train.csv"))
        with self.unchanged():
            self.bad(2, "split", "--csv", self.path("train.csv"), "--out", self.folder, says=["--out", "train.csv"])
            self.bad(2, "split", "--csv", "train.csv", "--out", ".", says=["--out .: ./train.csv is the table of --csv, expected another folder"])
            self.bad(2, "split", "--csv", "train.csv", "--out", self.path("parts"), "--json", "train.csv", says=["--json train.csv: is the table of --csv"])
        os.symlink("train.csv", self.path("valid.csv"))
        with self.unchanged():
            self.bad(2, "split", "--csv", "train.csv", "--out", ".", says=["train.csv"])
            self.bad(2, "split", "--csv", "valid.csv", "--out", ".", says=["train.csv"])
        os.remove(self.path("valid.csv"))
        two = self.write("two.csv", "Image,PatientId,A\n1.png,1,0\n2.png,2,1\n3.png,2,1\n")
        with self.unchanged():
            self.bad(1, "split", "--csv", two, "--out", self.path("parts"), says=["two.csv", "2 patients", "3 parts"])

    def test_a_table_without_patients_is_split_by_images_and_warned_of(self):
        table = self.write("t.csv", "Image,A\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(20)))
        result = self.good("split", "--csv", table, "--out", self.path("parts"))
        self.assertIn("t.csv has no patient column", result.stderr)

    def test_a_folder_that_cannot_be_made_leaves_nothing(self):
        table = self.table()
        self.write("file", "")
        with self.unchanged():
            self.bad(1, "split", "--csv", table, "--out", self.path("file"), says=["file", "expected a folder"])
        os.makedirs(self.path("parts", "test.csv"))
        with self.unchanged():
            self.bad(1, "split", "--csv", table, "--out", self.path("parts"), says=["test.csv", "is a folder"])


class BadTables(CommandTest):
    def refused(self, content, *says):
        table = self.write("table.csv", content)
        self.data_set()
        with self.unchanged():
            self.bad(1, "stats", "--csv", table, "--out", self.path("plots"), "--json", self.path("s.json"), says=["table.csv", *says])
            self.bad(1, "check", "--train", table, "--valid", self.path("valid.csv"), says=["table.csv", *says])
            self.bad(
                1, "train", "--train", table, "--valid", self.path("valid.csv"), "--images", self.path("images"),
                *SMALL, "--out", self.path("run"), says=["table.csv", *says],
            )  # fmt: skip

    def test_missing_file(self):
        with self.unchanged():
            self.bad(1, "stats", "--csv", self.path("none.csv"), "--out", self.path("plots"), says=["none.csv"])

    def test_a_directory_for_a_file(self):
        with self.unchanged():
            self.bad(1, "stats", "--csv", self.folder, says=[self.folder, "directory"])

    def test_empty_file(self):
        self.refused("", "header")

    def test_without_header(self):
        self.refused("1.png,7,0,1\n2.png,8,1,0\n", "header")

    def test_without_rows(self):
        self.refused(HEAD, "rows")

    def test_a_label_of_2(self):
        rows = "".join(f"{i}.png,{i},0,1\n" for i in range(1, 20))
        self.refused(HEAD + rows + "x.png,99,0,2\n", "row 20", "column B", "2")

    def test_a_label_of_yes(self):
        rows = "".join(f"{i}.png,{i},0,1\n" for i in range(1, 20))
        self.refused(HEAD + "x.png,99,yes,1\n" + rows, "row 1", "column A", "yes")

    def test_a_row_too_short(self):
        self.refused(HEAD + "1.png,7,0,1\n2.png,8,1\n", "row 2", "3 cells", "4")

    def test_duplicate_images(self):
        self.refused(HEAD + "1.png,7,0,1\n2.png,8,1,0\n1.png,9,1,0\n", "row 3", "1.png")

    def test_a_class_that_is_not_there(self):
        self.data_set()
        self.bad(1, "stats", "--csv", self.path("train.csv"), "--classes", "A,Z", says=["train.csv", "Z"])

    def test_a_class_with_a_line_break(self):
        self.refused('Image,PatientId,"A\nB"\n1.png,7,0\n2.png,8,1\n', "header", "A; B", "line break")

    def test_names_that_are_not_utf_8(self):
        self.refused(b"Image,PatientId,\xff\n1.png,7,0\n2.png,8,1\n", "header", "class", "UTF-8")
        self.refused(b"Image,PatientId,A\n1.png,7,0\n\xe4.png,8,1\n", "row 2", "image", "UTF-8")
        self.refused(b"Image,PatientId,A\n1.png,7\xff,0\n2.png,8,1\n", "row 1", "patient", "UTF-8")

    def test_damaged_gzip(self):
        self.write("t.csv.gz", b"\x1f\x8b\x08\x00garbage that is not deflated")
        self.bad(1, "stats", "--csv", self.path("t.csv.gz"), says=["t.csv.gz"])

    def test_json_and_plots_where_nothing_can_be_written(self):
        self.data_set()
        file = self.write("file", "x")
        with self.unchanged():
            self.bad(1, "stats", "--csv", self.path("train.csv"), "--json", os.path.join(file, "s.json"), says=[file])
            self.bad(1, "stats", "--csv", self.path("train.csv"), "--out", file, says=[file, "folder"])
            self.bad(1, "stats", "--csv", self.path("train.csv"), "--out", self.path("train.csv", "x"), says=["train.csv"])


if __name__ == "__main__":
    unittest.main()
