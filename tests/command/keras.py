# SPDX-License-Identifier: Apache-2.0
"""What `cxr convert` writes is loaded by Keras 3 and Keras 2 and leads to the same probabilities. CXR_KERAS_PYTHON names a Python that has keras, tensorflow and tf_keras; it skips without."""

import json
import os
import struct
import subprocess
import unittest
import zlib

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


@unittest.skipIf(PYTHON is None, "CXR_KERAS_PYTHON is not set, a Python with keras, tensorflow and tf_keras")
class Keras(CommandTest):
    def test_keras_loads_what_was_converted(self):
        data = self.data_set(size=32)
        small = ["--blocks", "1,2,1,1", "--size", "32", "--batch", "4", "--steps", "1", "--convention", "keras"]
        self.good("train", *data, *small, "--out", self.path("run"), "--quiet")
        model = self.path("run", "last.safetensors")
        for name in ("w.keras", "w.weights.h5", "w.h5"):
            self.good("convert", model, self.path(name))
        expected = self.good_json("predict", "--model", model, "--images", self.path("images"), "--out", self.path("p.csv"), "--direct")
        # What the network sees, from the pictures' own pixels.
        self.write("program.py", PROGRAM)
        self.write("images.json", json.dumps([self.samplewise(name) for name in expected["images"]]))
        done = subprocess.run([PYTHON, self.path("program.py"), self.folder, self.path("said.json")], capture_output=True, text=True, timeout=900, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        said = json.loads(self.read("said.json"))
        self.assertEqual(len(said), 5)
        for name, answer in said.items():
            with self.subTest(name):
                self.assertAlmostEqual(answer["epsilon"], 1.001e-5, places=12)
                worst = max(abs(a - b) for row, there in zip(answer["probabilities"], expected["probabilities"]) for a, b in zip(row, there))
                print(f"{name}: probabilities within {worst:.1e}")
                self.assertLess(worst, 2e-6)  # float32's own error of some 2e-7, and of preparing the images
        fingerprint = self.good_json("convert", model, self.path("x.safetensors"))["fingerprint"]
        for name in ("again.keras", "again.h5", "again.weights.h5"):
            back = self.good_json("convert", self.path(name), self.path("x.safetensors"))
            self.assertEqual(back["fingerprint"], fingerprint)
            self.assertEqual(back["placed"], fingerprint["tensors"])

    def samplewise(self, name):
        """The rows of three channels of an image that `data_set` wrote, as --preprocess samplewise makes them."""
        content, at, packed = self.read("images", name), 8, b""
        while at < len(content):
            (n,) = struct.unpack(">I", content[at : at + 4])
            kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + n]
            if kind == b"IHDR":
                width, height = struct.unpack(">II", body[:8])
            if kind == b"IDAT":
                packed += body
            at += 12 + n
        rows = zlib.decompress(packed)
        pixels = [list(rows[y * (width + 1) + 1 : (y + 1) * (width + 1)]) for y in range(height)]
        every = [v for row in pixels for v in row]
        mean = sum(every) / len(every)
        deviation = (sum((v - mean) ** 2 for v in every) / len(every)) ** 0.5
        return [[[(v - mean) / (deviation + 1e-6)] * 3 for v in row] for row in pixels]


if __name__ == "__main__":
    unittest.main()
