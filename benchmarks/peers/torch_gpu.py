#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times PyTorch on DenseNet121 with 14 sigmoid outputs on an NVIDIA GPU, and `cxr bench` in turn with it.

    torch_gpu.py [--batch 256] [--sizes 224,320] [--rounds 3] [--cxr EXECUTABLE] [--json FILE]

Training is one step of forward, weighted cross-entropy, backward and Adam; inference is forward under no_grad. bfloat16 autocast, channels last, eager and
compiled (with CUDA graphs where the compiler can). A round runs every way once and then cxr, A B A B; medians and best of all rounds are printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn


class DenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, parts):
        x = self.conv1(torch.relu(self.norm1(torch.cat(parts, 1))))
        return self.conv2(torch.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    def __init__(self, channels, layers, growth):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(channels + i * growth, growth) for i in range(layers))

    def forward(self, x):
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts))
        return torch.cat(parts, 1)


def densenet121(classes=14, growth=32, stem=64, blocks=(6, 12, 24, 16)):
    parts, channels = [nn.Conv2d(3, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], stem
    for i, layers in enumerate(blocks):
        parts.append(DenseBlock(channels, layers, growth))
        channels += layers * growth
        if i != len(blocks) - 1:
            parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    parts += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    model = nn.Sequential(*parts)
    parameters = sum(p.numel() for p in model.parameters())
    assert classes != 14 or parameters == 6968206, f"{parameters} parameters, expected 6968206"
    return model.cuda().to(memory_format=torch.channels_last)


def timed(step, repetitions):
    """Seconds of each repetition, by events on the GPU."""
    begin, end, times = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True), []
    for _ in range(repetitions):
        begin.record()
        step()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return times


def ways(batch, size):
    """(what, how, step) for each way of doing the work."""
    images = torch.randn(batch, 3, size, size, device="cuda").to(memory_format=torch.channels_last)
    targets = (torch.rand(batch, 14, device="cuda") < 0.1).float()
    positive, negative = torch.full((14,), 0.9, device="cuda"), torch.full((14,), 0.1, device="cuda")
    for how in ("eager", "compiled"):
        model = densenet121()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        forward = torch.compile(model, mode="max-autotune-no-cudagraphs") if how == "compiled" else model

        def train():
            with torch.autocast("cuda", torch.bfloat16):
                logits = forward(images)
            logs = nn.functional.logsigmoid
            logits = logits.float()
            loss = -(positive * targets * logs(logits) + negative * (1 - targets) * logs(-logits)).mean(0).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        frozen = densenet121().eval()
        predict_with = torch.compile(frozen, mode="max-autotune") if how == "compiled" else frozen

        def predict():
            with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
                torch.sigmoid(predict_with(images))

        yield "training", how, train
        yield "inference", how, predict


def cxr_bench(executable, batch, size):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        subprocess.run([executable, "bench", "--what", "training,inference", "--backends", "cuda", "--batches", str(batch), "--image-sizes", str(size), "--json", str(path)],
                       check=True, stdout=subprocess.DEVNULL)
        return json.loads(path.read_text())["results"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--sizes", default="224,320")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--cxr")
    parser.add_argument("--json")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch_gpu.py: PyTorch sees no GPU")
    torch.backends.cudnn.benchmark = True
    results = []
    for size in map(int, options.sizes.split(",")):
        steps, seconds, ours = list(ways(options.batch, size)), {}, []
        for _, _, step in steps:
            timed(step, 5)  # compiles, chooses algorithms
        for _ in range(options.rounds):
            for what, how, step in steps:
                seconds.setdefault((what, how), []).extend(timed(step, options.repetitions))
            if options.cxr:
                ours += cxr_bench(options.cxr, options.batch, size)
        for (what, how), times in seconds.items():
            row = {"what": what, "how": f"torch {torch.__version__} {how} bf16", "size": size, "batch": options.batch, "seconds_median": statistics.median(times), "seconds_best": min(times)}
            row["images_per_second"] = options.batch / row["seconds_median"]
            results.append(row)
            print(f"{what:9} {size} {how:9} {row['images_per_second']:9.0f} images/s (best {options.batch / row['seconds_best']:.0f})")
        for row in ours:
            results.append(row)
            print(f"{row['what']:9} {size} cxr {row.get('dtype', ''):5} {row['images_per_second']:9.0f} images/s")
    if options.json:
        Path(options.json).write_text(json.dumps({"gpu": torch.cuda.get_device_name(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
