#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python that docs/course.md lays beside C++ is Python and does what the page says: every block of every page is compiled; those of the course are run with
the packages that this Python has, NumPy, pandas, or Keras 2 (tf_keras). Names of the classes below choose among them, as ctest does; where nothing of what was chosen could be run, the exit status is 77, and
what is left out is said in any case. With --all, as in scripts/test --thorough, nothing may be left out."""
import contextlib
import csv
import importlib.util
import os
import pathlib
import re
import sys
import tempfile
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COURSE = ROOT / "examples/data/course-csv"
SAMPLE = ROOT / "examples/data/nih-sample"
PAGE = (ROOT / "docs/course.md").read_text()
LABELS = ["Cardiomegaly", "Emphysema", "Effusion", "Hernia", "Infiltration", "Mass", "Nodule", "Atelectasis", "Pneumothorax", "Pleural_Thickening", "Pneumonia", "Fibrosis", "Edema", "Consolidation"]


ALL = "--all" in sys.argv
run_blocks = set()


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.S)


def run(having, **names):
    """What the page's one block with these words leaves behind, given the names that the notebook has by then."""
    (code,) = [b for b in blocks(PAGE) if having in b]
    run_blocks.add(code)
    exec(compile(code, "docs/course.md: " + having, "exec"), names)
    return types.SimpleNamespace(**{k: v for k, v in names.items() if k != "__builtins__"})


def needs(*packages):
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    return unittest.skipIf(missing and not ALL, "this Python has no " + " and no ".join(missing))


def column(table, name):
    with open(COURSE / table, newline="") as file:
        return [int(row[name]) for row in csv.DictReader(file)]


@contextlib.contextmanager
def folder_of_the_course():
    """A working folder in which the notebook's `nih` is the course's tables."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            os.mkdir("nih")
            for table in COURSE.glob("*.csv"):
                os.symlink(table, "nih/" + table.name)
            yield
        finally:
            os.chdir(before)


def check_loss(test, K):
    import numpy as np

    loss = run("def get_weighted_loss", K=K).get_weighted_loss([0.25, 0.25, 0.5], [0.75, 0.75, 0.5], epsilon=1)
    y_true = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    for prediction in (0.7, 0.3):
        test.assertAlmostEqual(float(loss(y_true, np.full((4, 3), prediction))), -0.4956203, delta=5e-7)


class Python(unittest.TestCase):
    def test_every_block_of_every_page_is_python(self):
        count = 0
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
            for code in blocks(page.read_text()):
                compile(code, str(page), "exec")
                count += 1
        self.assertGreaterEqual(count, 10)

    def test_leakage(self):
        leak = run("def check_for_leakage").check_for_leakage
        patients = lambda *ids: {"PatientId": ids}
        self.assertTrue(leak(patients(0, 1, 2), patients(2, 3, 4), "PatientId"))
        self.assertFalse(leak(patients(0, 1, 2), patients(3, 4, 5), "PatientId"))
        train, valid, test = (patients(*column(table, "PatientId")) for table in ("train-small.csv", "valid-small.csv", "test.csv"))
        self.assertEqual([leak(train, valid, "PatientId"), leak(train, test, "PatientId"), leak(valid, test, "PatientId")], [True, False, False])

    def test_contributions_are_equal(self):
        run_ = run("pos_weights = freq_neg", freq_pos=0.02, freq_neg=0.98)
        self.assertEqual(run_.pos_contribution, run_.neg_contribution)


@needs("numpy")
class NumPy(unittest.TestCase):
    def test_frequencies(self):
        import numpy as np

        (listed,) = re.findall(r"The train table gives ((?:\.\d+ ?){14})", PAGE)
        labels = np.array([column("train-small.csv", label) for label in LABELS]).T
        found = run("positive_frequencies = ", np=np, labels=labels)
        np.testing.assert_allclose(found.positive_frequencies, [float(f) for f in listed.split()], rtol=1e-12)
        np.testing.assert_allclose(found.negative_frequencies, 1 - found.positive_frequencies)

    def test_loss(self):
        import numpy as np

        check_loss(self, types.SimpleNamespace(mean=np.mean, log=np.log))


@needs("pandas")
class Pandas(unittest.TestCase):
    def test_loading(self):
        import pandas as pd

        with folder_of_the_course():
            found = run("pd.read_csv", pd=pd)
        self.assertEqual(len(found.train_df), 1000)
        self.assertEqual(found.labels[:4], LABELS[:4])


@needs("tf_keras", "pandas", "PIL")
class Keras(unittest.TestCase):
    def test_images_network_training_and_prediction(self):
        import numpy as np
        import pandas as pd
        from tf_keras import Model, Sequential, backend
        from tf_keras.applications.densenet import DenseNet121
        from tf_keras.layers import Dense, GlobalAveragePooling2D
        from tf_keras.preprocessing.image import ImageDataGenerator

        check_loss(self, backend)
        df, image_dir = pd.read_csv(SAMPLE / "train.csv"), str(SAMPLE / "images")
        df[LABELS] = df[LABELS].astype("float32")  # Keras 2.3, the notebook's, makes floats of targets; tf_keras does not
        train = run("samplewise_center=True", ImageDataGenerator=ImageDataGenerator, df=df, image_dir=image_dir, labels=LABELS).generator
        images, targets = next(train)
        self.assertEqual((images.shape, targets.shape), ((8, 320, 320, 3), (8, 14)))
        np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), 0, atol=1e-4)
        np.testing.assert_allclose(images.std(axis=(1, 2, 3)), 1, atol=1e-4)

        raw = ImageDataGenerator().flow_from_dataframe(dataframe=df, directory=image_dir, x_col="Image", y_col=LABELS, class_mode="raw", batch_size=100, target_size=(320, 320))
        fitted = run("featurewise_center=True", ImageDataGenerator=ImageDataGenerator, raw_train_generator=raw)
        np.testing.assert_allclose(fitted.image_generator.mean.ravel(), fitted.sample.mean(axis=(0, 1, 2)), rtol=1e-4)

        with folder_of_the_course():
            DenseNet121(weights=None, include_top=False).save_weights("nih/densenet.hdf5")
            loss = run("def get_weighted_loss", K=backend).get_weighted_loss
            network = run("base_model = ", DenseNet121=DenseNet121, GlobalAveragePooling2D=GlobalAveragePooling2D, Dense=Dense, Model=Model, labels=LABELS, get_weighted_loss=loss, pos_weights=[0.9] * 14,
                          neg_weights=[0.1] * 14)
        self.assertEqual(network.model.count_params(), 7_051_854)  # with the running statistics, which the page does not count

        # The page trains DenseNet121 for 300 steps; what is tried is whether these calls are right. Keras 2.3's generator begins again where it ends, tf_keras' does not.
        def endless():
            while True:
                yield images, targets

        small = Sequential([GlobalAveragePooling2D(), Dense(14, activation="sigmoid")])
        small.compile(optimizer="adam", loss=loss([0.9] * 14, [0.1] * 14))
        history = run("fit_generator", model=small, train_generator=endless(), valid_generator=endless()).history
        self.assertEqual(len(history.history["val_loss"]), 3)
        util = types.SimpleNamespace(get_roc_curve=lambda labels, predicted, generator: predicted.shape)
        self.assertEqual(run("predict_generator", model=small, test_generator=train, util=util, labels=LABELS).auc_rocs, (len(df), 14))


def tearDownModule():
    if ALL:
        assert run_blocks == set(blocks(PAGE)), "docs/course.md has a block of Python that no test runs"


if __name__ == "__main__":
    result = unittest.main(argv=[a for a in sys.argv if a != "--all"], verbosity=2, exit=False).result
    for why in sorted({why for _, why in result.skipped}):
        print("skipped: " + why)
    sys.exit(1 if not result.wasSuccessful() else 77 if len(result.skipped) == result.testsRun else 0)
