# SPDX-License-Identifier: Apache-2.0
"""`demo`: the whole course, here with one epoch."""

from _cxr_command import *


class Demo(CommandTest):
    def test_the_whole_course(self):
        result = self.good("demo", "--out", self.path("run"), "--epochs", "1", "--json", self.path("demo.json"), timeout=900)
        for words in ("Cardiomegaly", "no leak", "DenseNet121", "AUROC", "mean over", self.path("run")):
            self.assertIn(words, result.stdout)
        for name in ("class-frequency", "contributions", "loss", "auroc", "roc"):
            self.assertTrue(self.read("run", name + ".png").startswith(b"\x89PNG"))
            self.assertIn(b"<svg", self.read("run", name + ".svg"))
        j = json.loads(self.read("demo.json"))
        self.assertFalse(j["check"]["leak"])
        self.assertEqual(len(j["course_check"]["pairs"][0]["patients"]), 197)
        self.assertEqual(len(j["evaluate"]["classes"]), 14)
        self.assertEqual(j["evaluate"]["rows"], 100)
        self.assertEqual(len(read_csv(self.path("run", "test-predictions.csv"))), 100)
        self.bad(1, "demo", "--out", self.path("run"), says=["already holds a run"])

    def test_data_that_is_not_there(self):
        with self.unchanged():
            self.bad(1, "demo", "--data", self.path("nowhere"), "--out", self.path("run"), says=["nowhere", "--data"])
            self.bad(2, "demo", "--epochs", "0", "--out", self.path("run"), says=["--epochs"])
            self.bad(2, "demo", "--backend", "cuda", "--out", self.path("run"), says=["cuda"])


if __name__ == "__main__":
    unittest.main()
