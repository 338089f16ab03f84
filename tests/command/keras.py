# SPDX-License-Identifier: Apache-2.0
"""What `cxr convert` writes is loaded by Keras 3 and Keras 2 and leads to the same probabilities and the same training steps, and what they have trained goes on here with their optimizer's state.
CXR_KERAS_PYTHON names a Python that has keras, tensorflow and tf_keras; it skips without."""

import json
import os
import subprocess
import unittest

from _cxr_command import *

PYTHON = os.environ.get("CXR_KERAS_PYTHON")

PROGRAM = """
import importlib, json, sys
import numpy, keras, tf_keras
folder, out = sys.argv[1:]
images = numpy.array(json.load(open(folder + "/images.json")), dtype="float32")
# Batch norms of a new model have Keras' own epsilon.
def fresh(k):
    base = importlib.import_module(k.__name__ + ".src.applications.densenet").DenseNet([1, 2, 1, 1], include_top=False, weights=None, input_shape=(32, 32, 3))
    return k.Model(base.input, k.layers.Dense(2, activation="sigmoid")(k.layers.GlobalAveragePooling2D()(base.output)))
def filled(k, name):
    model = fresh(k)
    model.load_weights(folder + "/" + name)
    return model
made = {
    "keras 3, load_model of .keras": lambda: keras.models.load_model(folder + "/w.keras"),
    "keras 3, load_weights of .weights.h5": lambda: filled(keras, "w.weights.h5"),
    "keras 3, load_weights of .h5": lambda: filled(keras, "w.h5"),
    "keras 2, load_model of .h5": lambda: tf_keras.models.load_model(folder + "/w.h5"),
    "keras 2, load_weights of .h5": lambda: filled(tf_keras, "w.h5"),
}
result = {}
for name, make in made.items():
    model = make()
    norms = [l.epsilon for l in model.layers if "BatchNormalization" in type(l).__name__]
    result[name] = {"probabilities": numpy.asarray(model(images, training=False)).tolist(), "epsilon": norms[0]}
    if "load_model" in name:  # and what Keras writes of it is read again
        model.save(folder + ("/again.keras" if "keras 3" in name else "/again.h5"))
    elif ".weights.h5" in name:
        model.save_weights(folder + "/again.weights.h5")
json.dump(result, open(out, "w"))
"""

STEPS = """
import json, sys
import numpy, keras, tf_keras, tensorflow as tf
folder, out = sys.argv[1:]
images, labels, positive, negative = (numpy.array(v) for v in json.load(open(folder + "/batch.json")))

def loss(y, p):
    w = lambda v: tf.cast(v, p.dtype)
    y = tf.cast(y, p.dtype)
    return tf.reduce_sum(-w(positive) * y * tf.math.log(p) - w(negative) * (1 - y) * tf.math.log(1 - p), -1)

def steps(k, name, dtype):
    policy = keras.config.set_dtype_policy if k is keras else k.mixed_precision.set_global_policy
    policy("float32")
    weights = k.models.load_model(folder + "/" + name).get_weights()
    policy(dtype)
    k.backend.set_floatx(dtype)
    model = k.models.load_model(folder + "/" + name)
    model.set_weights(weights)
    assert {numpy.dtype(w.dtype).name for w in model.get_weights()} == {dtype}
    model.compile(optimizer=k.optimizers.Adam(1e-3, epsilon=1e-7), loss=loss)
    losses = []
    for step in range(3):
        losses.append(float(numpy.asarray(model.train_on_batch(images.astype(dtype), labels.astype(dtype)))))
        if step == 0 and dtype == "float32":
            for ending in ((".keras", ".h5") if k is keras else (".h5",)):
                model.save(folder + "/" + k.__name__ + "-trained" + ending)
    return losses

result = {}
for k, name in ((keras, "w.keras"), (tf_keras, "w.h5")):
    result[k.__name__] = {dtype: steps(k, name, dtype) for dtype in ("float64", "float32")}
json.dump(result, open(out, "w"))
"""


class Keras(CommandTest):
    def test_keras_loads_what_was_converted(self):
        self.loads("keras", 1.001e-5)

    def test_keras_loads_models_in_torchvisions_convention(self):
        self.loads("torchvision", 1e-5)

    def loads(self, convention, epsilon):
        data = self.data_set(size=32)
        small = ["--blocks", "1,2,1,1", "--size", "32", "--batch", "4", "--steps", "1", "--convention", convention]
        self.good("train", *data, *small, "--out", self.path("run"), "--quiet")
        model = self.path("run", "last.safetensors")
        for name in ("w.keras", "w.weights.h5", "w.h5"):
            self.good("convert", model, self.path(name))
        expected = self.good_json("predict", "--model", model, "--images", self.path("images"), "--out", self.path("p.csv"), "--direct")
        # What the network sees, from the pictures' own pixels.
        self.write("images.json", json.dumps([samplewise(self.read("images", name)) for name in expected["images"]]))
        said = self.run_keras(PROGRAM)
        self.assertEqual(len(said), 5)
        for name, answer in said.items():
            with self.subTest(name):
                if "load_weights" in name and convention != "keras":
                    continue  # into a model of Keras' own convention
                self.assertAlmostEqual(answer["epsilon"], epsilon, places=12)
                worst = max(abs(a - b) for row, there in zip(answer["probabilities"], expected["probabilities"]) for a, b in zip(row, there))
                print(f"{name}: probabilities within {worst:.1e}")
                self.assertLess(worst, 2e-6)  # float32's own error of some 2e-7, and of preparing the images
        fingerprint = self.good_json("convert", model, self.path("x.safetensors"))["fingerprint"]
        for name in ("again.keras", "again.h5", "again.weights.h5"):
            back = self.good_json("convert", self.path(name), self.path("x.safetensors"))
            self.assertEqual(back["fingerprint"], fingerprint)
            self.assertEqual(back["placed"], fingerprint["tensors"])

    def test_training_steps_are_theirs_and_go_on_from_their_optimizer(self):
        rows = 8  # all of them in every batch, so their order is no matter
        data = self.data_set(train=rows, size=32)
        small = ["--batch", str(rows), "--lr", "1e-3", "--quiet"]
        shape = ["--blocks", "1,2,1,1", "--size", "32", "--convention", "keras"]
        self.good("train", *data, *shape, *small, "--steps", "1", "--out", self.path("run"))
        model = self.path("run", "last.safetensors")
        for name in ("w.keras", "w.h5"):
            self.good("convert", model, self.path(name), "--quiet")
        table = read_csv(self.path("train.csv"))
        with open(self.path("run", "config.json")) as file:
            config = json.load(file)
        batch = [[samplewise(self.read("images", row["Image"])) for row in table], [[int(row[c]) for c in "AB"] for row in table], config["positive_weights"], config["negative_weights"]]
        self.write("batch.json", json.dumps(batch))
        said = self.run_keras(STEPS)

        def ours(weights, steps, *more):
            self.runs = getattr(self, "runs", 0) + 1
            return self.good_json("train", *data, *small, "--steps", str(steps), "--weights", weights, "--out", self.path(f"run-{self.runs}"), *more)["steps"]

        for name, losses in said.items():
            exact = losses["float64"]
            # Float32's own error, as theirs. A gradient near 0 whose sign a rounding turns is a whole step of Adam for that weight, the other way, so what follows two steps is a thousandth off at most.
            allowed = [4 * max(abs(a - b), 2e-7 * b) for a, b in zip(losses["float32"], exact[:2])] + [1e-3 * exact[2]]
            for what, here, there in (("from our weights", ours(model, 3), 0), *((f"from what {ending} holds", ours(self.path(name + "-trained" + ending), 2, "--keep-optimizer"), 1) for ending in ((".keras", ".h5") if name == "keras" else (".h5",)))):
                errors = [abs(a - b) for a, b in zip(here, exact[there:])]
                print(f"{name}, {what}: losses {here}, theirs in float64 {exact[there:]}, in float32 {losses['float32'][there:]}")
                self.assertEqual(len(here), 3 - there)
                for error, most in zip(errors, allowed[there:]):
                    self.assertLess(error, most)
        # Without the moments the next step is another one.
        anew = ours(self.path("keras-trained.h5"), 2)
        print(f"without them {anew}")
        self.assertGreater(abs(anew[1] - exact[2]), 10 * allowed[2])

    def run_keras(self, program):
        """What a program writes as JSON; it gets the folder and the file to write."""
        self.write("program.py", program)
        done = subprocess.run([PYTHON, self.path("program.py"), self.folder, self.path("said.json")], capture_output=True, text=True, timeout=900, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        return json.loads(self.read("said.json"))


if __name__ == "__main__":
    if PYTHON is None:
        print("skipped: CXR_KERAS_PYTHON is not set, a Python with keras, tensorflow and tf_keras")
        raise SystemExit(77)
    unittest.main()
