#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times PyTorch on DenseNet121 with 14 sigmoid outputs on an NVIDIA GPU, and `cxr bench` in turn with it.

    torch_gpu.py [--batch 256] [--size 224] [--repetitions 20] [--limit 170] [--cxr EXECUTABLE] [--json FILE]

Training is one step of forward, weighted cross-entropy, backward and Adam; inference is forward under no_grad; bfloat16 autocast, channels last. Each way of torch, eager or
compiled, with CUDA graphs and without, is a process of its own, so that it has the whole GPU and its failure is its own: what fails, or takes longer than --limit seconds to
compile and measure, has a row that says so. cxr is measured before the first and after each. FILE is complete after every row.
"""

import argparse
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# The cheap ones first. The last word says of a compiled one what torch.compile calls its mode.
WAYS = ("eager", "eager in a graph", "compiled reduce-overhead", "compiled max-autotune", "compiled max-autotune-no-cudagraphs")
WHATS = ("training", "inference")
WARM_UP = 5


def densenet121(classes=14, growth=32, stem=64, blocks=(6, 12, 24, 16)):
    import torch
    from torch import nn

    class DenseLayer(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 4 * growth, 1, bias=False)
            self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

        def forward(self, parts):
            x = self.conv1(torch.relu(self.norm1(torch.cat(parts, 1))))
            return self.conv2(torch.relu(self.norm2(x)))

    class DenseBlock(nn.Module):
        def __init__(self, channels, layers):
            super().__init__()
            self.layers = nn.ModuleList(DenseLayer(channels + i * growth) for i in range(layers))

        def forward(self, x):
            parts = [x]
            for layer in self.layers:
                parts.append(layer(parts))
            return torch.cat(parts, 1)

    parts, channels = [nn.Conv2d(3, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], stem
    for i, layers in enumerate(blocks):
        parts.append(DenseBlock(channels, layers))
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
    import torch

    begin, end, times = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True), []
    for _ in range(repetitions):
        begin.record()
        step()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return times


def in_a_graph(step, prepare=lambda: None):
    """The replay of a CUDA graph of the step, which has run some times before."""
    import torch

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    prepare()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def step_of(what, way, batch, size):
    """The work of one repetition."""
    import torch
    from torch import nn

    images = torch.randn(batch, 3, size, size, device="cuda").to(memory_format=torch.channels_last)
    targets = (torch.rand(batch, 14, device="cuda") < 0.1).float()
    positive, negative = torch.full((14,), 0.9, device="cuda"), torch.full((14,), 0.1, device="cuda")
    logs = nn.functional.logsigmoid

    class Work(nn.Module):
        """What is compiled: the network and, in training, the loss."""

        def __init__(self):
            super().__init__()
            self.network = densenet121()

        def forward(self, images, targets):
            with torch.autocast("cuda", torch.bfloat16):
                logits = self.network(images)
            if not self.training:
                return torch.sigmoid(logits)
            logits = logits.float()
            return -(positive * targets * logs(logits) + negative * (1 - targets) * logs(-logits)).mean(0).sum()

    work = Work().train(what == "training")
    graph = way == "eager in a graph"
    compiled = way.startswith("compiled")
    forward = torch.compile(work, mode=way.split()[-1]) if compiled else work
    if what == "inference":

        def predict():
            with torch.no_grad():
                if compiled:
                    torch.compiler.cudagraph_mark_step_begin()
                forward(images, targets)

        return in_a_graph(predict) if graph else predict
    optimizer = torch.optim.Adam(work.parameters(), lr=1e-3, fused=True, capturable=graph)

    def train():
        if compiled:
            torch.compiler.cudagraph_mark_step_begin()
        forward(images, targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return in_a_graph(train, lambda: optimizer.zero_grad(set_to_none=True)) if graph else train


def measure(options):
    """In a process of its own: one way, one line of JSON."""
    import torch

    torch.backends.cudnn.benchmark = True
    found = {"torch": torch.__version__}
    try:
        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU")
        found["gpu"] = torch.cuda.get_device_name()
        step = step_of(options.what, options.way, options.batch, options.size)
        timed(step, WARM_UP)  # compiles, chooses algorithms, records graphs
        found["seconds"] = timed(step, options.repetitions)
    except Exception as e:  # whatever it is, the row says it
        found["failed"] = " ".join(f"{type(e).__name__}: {e}".split())[:300]
    print(json.dumps(found), flush=True)


def measured_apart(options, what, way):
    """What `measure` found in another process, or why it found nothing."""
    command = [sys.executable, __file__, "--what", what, "--way", way]
    for name in ("batch", "size", "repetitions"):
        command += [f"--{name}", str(getattr(options, name))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # with the compilers that it starts
    try:
        said, _ = child.communicate(timeout=options.limit)
        lines = said.splitlines()
        return json.loads(lines[-1]) if lines else {"failed": f"ended with status {child.returncode} and said nothing"}
    except subprocess.TimeoutExpired:
        return {"failed": f"not compiled and measured after {options.limit} s"}
    except json.JSONDecodeError:
        return {"failed": f"ended with status {child.returncode}: {lines[-1][:300]}"}
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def cxr_rows(options, what):
    """Whether it worked, and what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        command = [options.cxr, "bench", "--what", what, "--backends", "cuda", "--batches", str(options.batch), "--image-sizes", str(options.size), "--json", str(path)]
        status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if status != 0:
            print(f"FAILED {' '.join(command)}: exit status {status}", flush=True)
        return status == 0, json.loads(path.read_text())["results"] if path.exists() else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224, help="pixels of height and width")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--limit", type=int, default=170, help="seconds that a way of torch may take, compiling included")
    parser.add_argument("--cxr", help="the executable, to be measured in turn")
    parser.add_argument("--json", help="a file for the results")
    parser.add_argument("--what", choices=WHATS, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit("torch_gpu.py: there is no PyTorch here")
    if options.way:
        return measure(options)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(124))  # ends the way that runs, too
    about = {"size": options.size, "batch": options.batch}
    # All that is to be measured has a row from the beginning.
    rows = {(what, way): {"what": what, "how": f"torch {way} bf16", "way": way, "compiled": way.startswith("compiled"), **about, "failed": "no time left"} for way in WAYS for what in WHATS}
    result, ours, all_well = {"gpu": None, "torch": None}, [], True

    def write():
        if options.json:
            unfinished = Path(options.json + ".unfinished")
            unfinished.write_text(json.dumps(result | {"results": [*rows.values(), *ours]}, indent=1) + "\n")
            unfinished.replace(options.json)

    def measure_cxr(what):
        nonlocal all_well
        well, more = cxr_rows(options, what) if options.cxr else (True, [])
        all_well = all_well and well
        for row in more:
            ours.append(row)
            print(f"{what:9} {options.size} cxr {row['dtype']:31} {row['images_per_second']:9.0f} images/s", flush=True)
        write()

    for what in WHATS:
        measure_cxr(what)
    for way in WAYS:
        for what in WHATS:
            row, found = rows[what, way], measured_apart(options, what, way)
            result["gpu"], result["torch"] = found.get("gpu", result["gpu"]), found.get("torch", result["torch"])
            if "failed" in found:
                row["failed"] = found["failed"]
                said = "not measured: " + row["failed"]
            else:
                del row["failed"]
                seconds = found["seconds"]
                row |= {"seconds_median": statistics.median(seconds), "seconds_best": min(seconds), "images_per_second": options.batch / statistics.median(seconds)}
                row["how"] = f"torch {found['torch']} {way} bf16"
                said = f"{row['images_per_second']:9.0f} images/s (best {options.batch / min(seconds):.0f})"
            print(f"{what:9} {options.size} {way:35} {said}", flush=True)
            write()
            measure_cxr(what)
    return 0 if all_well and any("failed" not in row for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
