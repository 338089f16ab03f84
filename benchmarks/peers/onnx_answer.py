#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers one image with ONNX Runtime and writes a CSV as `cxr predict` does: what first_answer.py times beside it.

    onnx_answer.py MODEL.onnx IMAGE.png OUT.csv --classes A,B,... [--size 224] [--threads N]
"""

import argparse
import csv

import numpy as np
import onnxruntime
from PIL import Image


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("out")
    parser.add_argument("--classes", required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=0, help="0: ONNX Runtime's choice")
    options = parser.parse_args()
    pixels = np.asarray(Image.open(options.image).convert("L").resize((options.size, options.size), Image.NEAREST), np.float32)
    normalised = (pixels - pixels.mean()) / (pixels.std() + 1e-6)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(options.model, settings, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"images": np.ascontiguousarray(np.broadcast_to(normalised, (1, 3, *normalised.shape)), np.float32)})
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Image", *options.classes.split(",")])
        writer.writerow([options.image, *map(float, probabilities[0])])


if __name__ == "__main__":
    main()
