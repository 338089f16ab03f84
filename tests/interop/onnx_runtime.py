#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exported models in ONNX Runtime, and other exporters' models here.

    onnx_runtime.py PROGRAM        PROGRAM is build/release/tests/cxr_test_interop; needs onnx and onnxruntime, for the second half torch and torchvision

What is written, folded and not, with and without a sigmoid, is accepted by ONNX's checker and gives at two sizes and two batches the
outputs that we compute. torchvision's DenseNet121, exported by both of PyTorch's exporters, is read back and gives what ONNX Runtime
gives; its ResNet18 is refused. Outputs are compared as relative norms: both sides are float32, and each of the 121 layers may add a rounding, 2^-24.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

PROGRAM = os.path.abspath(sys.argv[1])
TOLERANCE = 121 * 2.0**-24


def tensors(blocks, growth, stem, classes):
    """A made-up DenseNet with three channels, by torchvision's names."""
    draw = numpy.random.default_rng(5)
    result = {}

    def norm(name, width):
        for part, low, high in (("weight", 0.5, 1.5), ("bias", -0.25, 0.25), ("running_mean", -0.25, 0.25), ("running_var", 0.5, 1.5)):
            result[f"{name}.{part}"] = draw.uniform(low, high, width)

    def conv(name, out, into, side):
        result[f"{name}.weight"] = draw.uniform(-1, 1, (out, into, side, side)) * (6 / (into * side * side)) ** 0.5

    conv("features.conv0", stem, 3, 7)
    norm("features.norm0", stem)
    width = stem
    for b, layers in enumerate(blocks, 1):
        for l in range(1, layers + 1):
            layer = f"features.denseblock{b}.denselayer{l}"
            norm(layer + ".norm1", width)
            conv(layer + ".conv1", 4 * growth, width, 1)
            norm(layer + ".norm2", 4 * growth)
            conv(layer + ".conv2", growth, 4 * growth, 3)
            width += growth
        if b < 4:
            norm(f"features.transition{b}.norm", width)
            conv(f"features.transition{b}.conv", width // 2, width, 1)
            width //= 2
    norm("features.norm5", width)
    result["classifier.weight"] = draw.uniform(-1, 1, (classes, width)) * (6 / width) ** 0.5
    result["classifier.bias"] = draw.uniform(-1, 0, classes)
    return {name: value.astype(numpy.float32) for name, value in result.items()}


def save(path, arrays, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, value in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + value.nbytes]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def run(*words):
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True)


def cxr(*words):
    done = run(*words)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout.splitlines()


def ours(weights, convention, x, folder):
    """Logits of images (N, C, H, W)."""
    n, _, h, w = x.shape
    x.transpose(0, 2, 3, 1).tofile(os.path.join(folder, "in"))
    cxr("logits", weights, convention, n, h, w, os.path.join(folder, "in"), os.path.join(folder, "out"))
    return numpy.fromfile(os.path.join(folder, "out")).reshape(n, -1)


def runtime(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def images(n, h, w):
    return numpy.random.default_rng(n * h + w).standard_normal((n, 3, h, w)).astype(numpy.float32)


def compare(what, a, b):
    error = numpy.linalg.norm(a - b) / numpy.linalg.norm(b)
    print(f"{what}: relative error {error:.1e}")
    if not error < TOLERANCE:
        sys.exit(f"{what}: expected at most {TOLERANCE:.1e}")


def exported(folder):
    networks = {"blocks 1, 2, 1, 1": tensors((1, 2, 1, 1), 12, 16, 5), "DenseNet121": tensors((6, 12, 24, 16), 32, 64, 14)}
    metadata = {"cxr.classes": '["A", "B"]', "cxr.preprocess": '{"size": 224}'}
    for name, arrays in networks.items():
        path, model = os.path.join(folder, "m.safetensors"), os.path.join(folder, "m.onnx")
        save(path, arrays, metadata)
        for convention in ("torchvision", "keras"):
            for form in ("plain", "folded"):
                for end in ("probabilities", "logits"):
                    cxr("export", path, model, convention, form, end)
                    loaded = onnx.load(model)
                    onnx.checker.check_model(loaded, full_check=True)
                    assert {p.key: p.value for p in loaded.metadata_props}.items() >= metadata.items()
                    assert loaded.producer_name == "cxr" and loaded.ir_version == 8 and loaded.opset_import[0].version == 17
                    if form == "plain":
                        held = {t.name: onnx.numpy_helper.to_array(t) for t in loaded.graph.initializer}
                        assert held.keys() == arrays.keys() and all((held[k] == arrays[k]).all() for k in held)
                    for shape in ((1, 224, 224), (3, 96, 160)):
                        x = images(*shape)
                        z = ours(path, convention, x, folder)
                        compare(f"{name}, {convention}, {form}, {end}, {shape}", runtime(model, x), 1 / (1 + numpy.exp(-z)) if end == "probabilities" else z)


def imported(folder):
    try:
        import torch
        import torchvision
    except ImportError:
        print("torch and torchvision are not both installed: their exporters are not tried")
        return
    torch.manual_seed(3)
    network = torchvision.models.densenet121(num_classes=14)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for parameter, low, high in ((module.weight, 0.5, 1.5), (module.bias, -0.25, 0.25), (module.running_mean, -0.25, 0.25), (module.running_var, 0.5, 1.5)):
                torch.nn.init.uniform_(parameter, low, high)
    network.eval()
    x = images(2, 224, 224)
    model, path = os.path.join(folder, "torch.onnx"), os.path.join(folder, "torch.safetensors")
    for exporter in ("the old exporter", "the new exporter"):
        torch.onnx.export(network, (torch.from_numpy(x),), model, dynamo=exporter == "the new exporter", verbose=False)
        lines = cxr("import", model, path)
        assert lines[0] == "torchvision", lines
        compare(f"torchvision's DenseNet121 by {exporter} ({len(lines) - 1} notes)", ours(path, "torchvision", x, folder), runtime(model, x))
    torch.onnx.export(torchvision.models.resnet18().eval(), (torch.from_numpy(x),), model, dynamo=False)
    refused = run("import", model, path)
    assert refused.returncode == 1 and "(Conv) is no part of a DenseNet here; expected BatchNormalization or Mul for features.denseblock1.denselayer1.norm1" in refused.stderr, refused
    print("torchvision's ResNet18 is refused:", refused.stderr.strip().split(": ", 1)[1])


with tempfile.TemporaryDirectory() as temporary:
    exported(temporary)
    imported(temporary)
print("ONNX Runtime and cxr agree")
