# SPDX-License-Identifier: Apache-2.0
"""The files that all contenders work on: weights as safetensors, images and targets as plain little-endian float32."""

import json
from pathlib import Path

import numpy as np

CLASSES = 14
PARAMETERS = 6968206
WEIGHTS, ONNX, TARGETS = "densenet121.safetensors", "densenet121.onnx", "targets.f32"


def images_name(size):
    return f"images-{size}.f32"


def write_safetensors(path, tensors):
    """`tensors`: names and arrays of float32."""
    header, offset = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values, "<f4").tobytes())


def read_safetensors(path):
    content = Path(path).read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:begin]).items():
        first, last = entry["data_offsets"]
        tensors[name] = np.frombuffer(content[begin + first : begin + last], "<f4").reshape(entry["shape"])
    return tensors


def read_array(path, shape):
    """The first numbers of a file, as many as the shape has."""
    count = int(np.prod(shape))
    values = np.fromfile(path, "<f4", count)
    if values.size != count:
        raise SystemExit(f"{path}: {values.size} numbers, expected at least {count}")
    return values.reshape(shape)
