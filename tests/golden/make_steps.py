#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes steps.json: loss and gradients of DenseNet121's first step at 224 and 320 pixels, by torch in float64.

    make_steps.py        needs torch, torchvision, numpy and pillow

Images, labels and loss weights are those of torch.json, weights those of formula.hpp. Of each gradient its norm, its first elements, and its projections: sums of its elements with the signs of the formula's
numbers of the names "signs 0", "signs 1", and so on, which see every element's sign and place. Beside them is how far torch's in float32, and in bfloat16 under autocast with float32 weights, are away: relative to
the norm, of the first elements to theirs; of the projections the root of the mean square, whose expectation is the norm of the difference.

In bfloat16 these distances are one draw: another processor rounds other sums, and the worst of the norms was .35 on one with AVX512_BF16 and .21 on one with AMX. The file's are of the former, those of the
projections of the latter.
"""
import functools
import json
import pathlib

import numpy as np
import torch
import torchvision
from make_relatives import numbers, weights
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
SIZES, FIRST, PROJECTIONS = (224, 320), 4, 8


def load(name, size):
    x = np.asarray(Image.open(HERE / "images" / name).convert("RGB").resize((size, size), Image.NEAREST), dtype=np.float32)
    x = x - x.mean(dtype=np.float64).astype(np.float32)
    return (x / (x.std(dtype=np.float64) + 1e-6)).astype(np.float64).transpose(2, 0, 1)


def step(x, train, dtype, autocast):
    model = torchvision.models.densenet121(num_classes=14).train()
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if "num_batches" not in name:
                values.copy_(weights(name, tuple(values.shape)))
    model = model.to(dtype)
    y, positive, negative = (torch.tensor(train[name], dtype=dtype) for name in ("labels", "positive_weights", "negative_weights"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(x.to(dtype))
    p = torch.sigmoid(logits.to(dtype))
    loss = -(positive * y * torch.log(p + train["epsilon"]) + negative * (1 - y) * torch.log(1 - p + train["epsilon"])).mean(0).sum()
    loss.backward()
    return loss.item(), {name: q.grad.double().reshape(-1) for name, q in model.named_parameters()}


@functools.cache
def signs(k, count):
    return torch.from_numpy(np.sign(numbers(f"signs {k}", count, 1, 0)).astype(np.float64))


def projections(gradient):
    return torch.stack([gradient @ signs(k, gradient.numel()) for k in range(PROJECTIONS)])


def away(found, expected):
    norm, first = expected.norm(), expected[:FIRST]
    noise = {"l2_noise": abs(found.norm() / norm - 1), "first_noise": (found[:FIRST] - first).norm() / first.norm()}
    noise["projection_noise"] = (projections(found) - projections(expected)).square().mean().sqrt() / norm
    return {name: float(f"{float(value):.6g}") for name, value in noise.items()}


def main():
    torch_json = json.loads((HERE / "torch.json").read_text())
    train = torch_json["train"]
    result = {"versions": {"torch": torch.__version__, "torchvision": torchvision.__version__}, "sizes": {}}
    for size in SIZES:
        x = torch.from_numpy(np.stack([load(name, size) for name in torch_json["images"]]))
        loss, exact = step(x, train, torch.float64, False)
        of_size = {"loss": loss, "gradients": {name: {"l2": float(f"{g.norm().item():.13g}"), "first": [float(f"{v:.13g}") for v in g[:FIRST].tolist()], "projections": [float(f"{v:.9g}") for v in projections(g).tolist()]} for name, g in exact.items()}}
        for kind, autocast in (("float32", False), ("bfloat16", True)):
            rounded_loss, rounded = step(x, train, torch.float32, autocast)
            of_size[kind] = {"loss_noise": abs(rounded_loss / loss - 1), "gradients": {name: away(g, exact[name]) for name, g in rounded.items()}}
        result["sizes"][str(size)] = of_size
    (HERE / "steps.json").write_text(json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
