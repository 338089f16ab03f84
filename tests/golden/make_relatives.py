#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes relatives.json: what torchvision's DenseNet-161, -169 and -201 infer with the weights of formula.hpp.

    make_relatives.py        needs torch and torchvision

Two images of 96 x 64 pixels, numbers of the same formula; logits in float64, and beside them how far torch's in float32 are away, as a relative norm.
"""
import json
import pathlib

import numpy as np
import torch
import torchvision

HERE = pathlib.Path(__file__).resolve().parent
WIDE = np.uint64
IMAGES = (2, 96, 64, 3)


def numbers(name, count, scale, offset):
    """offset + scale * (k - 127.5) / 128 in float32, k the highest byte of splitmix64(fnv1a64(name) + i)."""
    start = 0xCBF29CE484222325
    for byte in name.encode():
        start = ((start ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = WIDE(start) + np.arange(count, dtype=WIDE) + WIDE(0x9E3779B97F4A7C15)
        z = (z ^ (z >> WIDE(30))) * WIDE(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> WIDE(27))) * WIDE(0x94D049BB133111EB)
        k = ((z ^ (z >> WIDE(31))) >> WIDE(56)).astype(np.float32)
    return np.float32(offset) + np.float32(scale) * ((k - np.float32(127.5)) / np.float32(128))


def weights(name, shape):
    scale, offset = 0.25, 0
    if name.endswith(("running_mean", "running_var")):
        offset = int(name.endswith("var"))
    elif len(shape) in (2, 4):
        scale = np.sqrt(6 / np.prod(shape[1:]))
    elif name.startswith("classifier"):
        scale, offset = 0.5, -1
    else:
        offset = int(name.endswith("weight"))
    return torch.from_numpy(numbers(name, int(np.prod(shape)), scale, offset).reshape(shape))


def main():
    images = torch.from_numpy(numbers("images", int(np.prod(IMAGES)), 1, 0).reshape(IMAGES)).permute(0, 3, 1, 2)
    result = {"versions": {"torch": torch.__version__, "torchvision": torchvision.__version__}, "images": IMAGES}
    for name in ("densenet161", "densenet169", "densenet201"):
        network = getattr(torchvision.models, name)(num_classes=14).eval()
        state = {n: weights(n, tuple(t.shape)) if t.dim() else t for n, t in network.state_dict().items()}
        network.load_state_dict(state)
        with torch.inference_mode():
            single = network(images).double()
            exact = network.double()(images.double())
        result[name] = {"logits": [[float(f"{z:.13g}") for z in row] for row in exact.tolist()], "noise": float(f"{(single - exact).norm() / exact.norm():.13g}")}
    (HERE / "relatives.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
