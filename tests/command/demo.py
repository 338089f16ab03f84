# SPDX-License-Identifier: Apache-2.0
"""`demo`: the whole course, here with one epoch."""

from _cxr_command import *


COURSE_CLASSES = (
    "Cardiomegaly,Emphysema,Effusion,Hernia,Infiltration,Mass,Nodule,Atelectasis,Pneumothorax,Pleural_Thickening,Pneumonia,Fibrosis,Edema,Consolidation"
).split(",")


class Demo(CommandTest):
    def test_the_whole_course(self):
        result = self.good("demo", "--out", self.path("run"), "--epochs", "1", "--json", self.path("demo.json"), timeout=900)
        for words in ("Cardiomegaly", "no leak", "DenseNet121", "AUROC", "mean over", self.path("run")):
            self.assertIn(words, result.stdout)
        for name in ("class-frequency", "contributions", "co-occurrence", "loss", "auroc", "roc"):
            self.assertTrue(self.read("run", name + ".png").startswith(b"\x89PNG"))
            self.assertIn(b"<svg", self.read("run", name + ".svg"))
        j = json.loads(self.read("demo.json"))
        self.assertFalse(j["check"]["leak"])
        self.assertEqual(len(j["course_check"]["pairs"][0]["patients"]), 197)
        self.assertEqual(len(j["evaluate"]["classes"]), 14)
        self.assertEqual(j["evaluate"]["rows"], 100)
        self.assertEqual(len(read_csv(self.path("run", "test-predictions.csv"))), 100)
        self.bad(1, "demo", "--out", self.path("run"), says=["already holds a run"])

    def test_ctrl_c_after_the_training(self):
        self.data_set(train=4, valid=4, classes=COURSE_CLASSES)
        for name in ("train.csv", "valid.csv"):  # a label of each kind in every class
            table = self.read(name).decode().splitlines()
            self.write(name, "\n".join([table[0]] + [",".join(r.split(",")[:2] + [str(i % 2)] * 14) for i, r in enumerate(table[1:])]) + "\n")
        images = sorted(os.listdir(self.path("images")))
        head = self.read("valid.csv").decode().splitlines()[0]
        rows = []
        for i in range(300):
            self.write(f"images/test-{i:03}.png", self.read("images", images[0]))
            rows.append(f"test-{i:03}.png,{5000 + i}" + f",{i % 2}" * 14)
        self.write("test.csv", "\n".join([head, *rows]) + "\n")
        process = subprocess.Popen([EXECUTABLE, "demo", "--data", self.folder, "--out", self.path("run"), "--epochs", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stdout:
            if line.startswith("4."):
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
        self.assertEqual(process.returncode, 130)
        self.assertFalse(os.path.exists(self.path("run", "roc.svg")))

    def test_data_that_is_not_there(self):
        with self.unchanged():
            self.bad(1, "demo", "--data", self.path("nowhere"), "--out", self.path("run"), says=["nowhere", "--data"])
            self.bad(2, "demo", "--epochs", "0", "--out", self.path("run"), says=["--epochs"])
            self.bad(2, "demo", "--backend", "gpu", "--out", self.path("run"), says=["gpu"])


if __name__ == "__main__":
    unittest.main()
