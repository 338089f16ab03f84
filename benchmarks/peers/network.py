#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the network that all contenders run, and what they run it on.

    network.py FOLDER --sizes 224,320 --batch 16 [--seed 1]

torchvision's DenseNet121 with 14 outputs and random weights, its running statistics taken from random images so that answers differ from image to image:
densenet121.safetensors with torchvision's names, densenet121.onnx with the sigmoid; images of each size (N, height, width, 3) and targets (N, 14).
Needs torch, torchvision and onnx.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision

import files


def densenet121(weights=None):
    """DenseNet121 with 14 logits, and the weights of a file unless they are to be random."""
    model = torchvision.models.densenet121(weights=None)
    model.classifier = torch.nn.Linear(model.classifier.in_features, files.CLASSES)
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == files.PARAMETERS, f"{parameters} parameters, expected {files.PARAMETERS}"
    if weights:
        state = {name: torch.from_numpy(values.copy()) for name, values in files.read_safetensors(weights).items()}
        missing = model.load_state_dict(state, strict=False)
        wrong = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")] + missing.unexpected_keys
        assert not wrong, f"{weights}: missing or unexpected {wrong}"
    return model


def take_statistics(model, images):
    """Makes the running statistics those of these images."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = None  # a plain average
    with torch.no_grad():
        model.train()(images)
    for norm in norms:
        norm.momentum = momentum


def write_onnx(model, path):
    graph = torch.nn.Sequential(model, torch.nn.Sigmoid()).eval()
    dynamic = {"images": {0: "n", 2: "h", 3: "w"}, "probabilities": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(graph, torch.zeros(1, 3, 224, 224), path, dynamo=False, opset_version=17, input_names=["images"], output_names=["probabilities"], dynamic_axes=dynamic)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="224", help="pixels of height and width, several with commas (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="images of each size (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    numbers = np.random.default_rng(options.seed)
    model = densenet121()
    take_statistics(model, torch.from_numpy(numbers.standard_normal((4, 3, 64, 64), dtype=np.float32)))
    state = {name: t.numpy() for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    files.write_safetensors(options.folder / files.WEIGHTS, state)
    write_onnx(model, options.folder / files.ONNX)
    for size in map(int, options.sizes.split(",")):
        numbers.standard_normal((options.batch, size, size, 3), dtype=np.float32).tofile(options.folder / files.images_name(size))
    (numbers.random((options.batch, files.CLASSES)) < 0.1).astype("<f4").tofile(options.folder / files.TARGETS)


if __name__ == "__main__":
    main()
