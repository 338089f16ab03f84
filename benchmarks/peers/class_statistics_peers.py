#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times class frequencies and the weighted cross-entropy of a table in Python: one process, one contender, one line of JSON.

    class_statistics_peers.py --write FOLDER --rows N [--seed 1]
    class_statistics_peers.py --peer numpy|torch|compile --files FOLDER --rows N [--threads N] [--seconds 1]

The first form writes the table, N × 14, that all contenders work on, and what they must find, computed by NumPy in double. Of several ways to write an operation, each
peer takes the fastest one that was found. One run, for the answer, comes before those that count.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

CLASSES, EPSILON, LEAST_RUNS = 14, 1e-7, 3


def write(folder, rows, seed):
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    weights = numbers.uniform(0.01, 0.99, (2, CLASSES))
    weights.tofile(folder / "weights.f64")
    counts, value = np.zeros(CLASSES), 0.0
    with (
        open(folder / f"labels-{rows}.u8", "wb") as labels_file,
        open(folder / f"probabilities-{rows}.f32", "wb") as probabilities_file,
        open(folder / f"gradient-{rows}.f32", "wb") as gradient_file,
    ):
        for first in range(0, rows, 1 << 18):
            shape = (min(rows - first, 1 << 18), CLASSES)
            labels = (numbers.random(shape, np.float32) < 0.05).astype(np.uint8)
            probabilities = np.float32(0.001) + np.float32(0.998) * numbers.random(shape, np.float32)
            positive, p = labels == 1, probabilities.astype(np.float64)
            counts += positive.sum(0)
            value -= (np.where(positive, weights[0], weights[1]) * np.log(np.where(positive, p, 1 - p) + EPSILON)).sum()
            gradient = np.where(positive, -weights[0] / (p + EPSILON), weights[1] / (1 - p + EPSILON)) / rows
            labels.tofile(labels_file)
            probabilities.tofile(probabilities_file)
            gradient.astype(np.float32).tofile(gradient_file)
    (folder / f"expected-{rows}.json").write_text(json.dumps({"frequencies": list(counts / rows), "loss": [value / rows]}) + "\n")


class NumPy:
    def __init__(self, labels, probabilities, weights, _):
        self.version, self.y, self.p = np.__version__, labels, probabilities
        self.positive, self.negative = weights.astype(np.float32)
        self.ones = np.ones(len(labels), np.float32)

    def frequencies(self):
        if self.y.dtype == np.float32:
            return self.ones @ self.y / len(self.y)
        return np.count_nonzero(self.y, axis=0) / len(self.y)

    def loss(self):
        y, p = self.y, self.p
        return -(self.positive * y * np.log(p + np.float32(EPSILON)) + self.negative * (1 - y) * np.log(1 - p + np.float32(EPSILON))).sum() / len(y)

    def gradient(self):
        y, p, rows = self.y, self.p, np.float32(len(self.y))
        self.d = (self.negative * (1 - y) / (1 - p + np.float32(EPSILON)) - self.positive * y / (p + np.float32(EPSILON))) / rows
        return self.loss()

    def last_gradient(self):
        return self.d


class Torch:
    def __init__(self, labels, probabilities, weights, options):
        import torch

        torch.set_num_threads(options.threads)
        self.version, self.y, self.p = torch.__version__, torch.from_numpy(labels), torch.from_numpy(probabilities)
        positive, negative = torch.from_numpy(weights.astype(np.float32))
        ones = torch.ones(len(labels))

        def frequencies(y):
            return (ones @ y if y.dtype == torch.float32 else y.sum(0)) / len(y)

        def loss(y, p):
            return -(positive * y * torch.log(p + EPSILON) + negative * (1 - y) * torch.log(1 - p + EPSILON)).sum() / len(y)

        compiled = torch.compile if options.peer == "compile" else lambda f: f
        self.of_labels, self.of_probabilities = compiled(frequencies), compiled(loss)
        self.to_differentiate = self.p.clone().requires_grad_()

    def frequencies(self):
        return self.of_labels(self.y).numpy()

    def loss(self):
        return self.of_probabilities(self.y, self.p).item()

    def gradient(self):
        self.to_differentiate.grad = None
        value = self.of_probabilities(self.y, self.to_differentiate)
        value.backward()
        return value.item()

    def last_gradient(self):
        return self.to_differentiate.grad.numpy()


PEERS = {"numpy": NumPy, "torch": Torch, "compile": Torch}


def measure(seconds, run):
    times, begin = [], time.perf_counter()
    while len(times) < LEAST_RUNS or time.perf_counter() - begin < seconds:
        turn = time.perf_counter()
        run()
        times.append(time.perf_counter() - turn)
    times.sort()
    return {"runs": len(times), "seconds_best": times[0], "seconds_median": times[len(times) // 2]}


def deviation_of_gradient(found, expected):
    worst = 0.0
    for first in range(0, len(expected), 1 << 18):
        part = slice(first, first + (1 << 18))
        worst = max(worst, float(np.max(np.abs(found[part].astype(np.float64) / expected[part] - 1))))
    return worst if np.isfinite(worst) else 1e300


def run(options):
    rows, results = options.rows, []
    bytes_of_labels = np.fromfile(options.files / f"labels-{rows}.u8", np.uint8).reshape(rows, CLASSES)
    probabilities = np.fromfile(options.files / f"probabilities-{rows}.f32", np.float32).reshape(rows, CLASSES)
    expected = np.fromfile(options.files / f"gradient-{rows}.f32", np.float32).reshape(rows, CLASSES)
    weights = np.fromfile(options.files / "weights.f64").reshape(2, CLASSES)
    for labels in (np.float32, np.uint8):
        contender = PEERS[options.peer](bytes_of_labels.astype(labels), probabilities, weights, options)
        for what, function in (("frequencies", contender.frequencies), ("loss", contender.loss), ("loss, gradient", contender.gradient)):
            found = {"what": what, "labels": np.dtype(labels).name, "check": np.atleast_1d(function()).astype(float).tolist()}
            if what == "loss, gradient":
                found["gradient_deviation"] = [deviation_of_gradient(contender.last_gradient(), expected)]
            results.append(found | measure(options.seconds, function))
    print(json.dumps({"version": contender.version, "results": results}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    parser.add_argument("--files", type=Path, metavar="FOLDER")
    parser.add_argument("--peer", choices=list(PEERS))
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.rows, options.seed)
    else:
        run(options)


if __name__ == "__main__":
    main()
