#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the first answer: from the start of a process to the probabilities of one X-ray in a CSV file, by `cxr predict` and by Python with ONNX Runtime in turn.

    first_answer.py [--image PNG] [--size 224] [--threads N] [--rounds 11] [--python PATH] [--network-python PATH] [--target 0.333] [--out FOLDER]

Both read the weights of the same DenseNet121 (28 MB, network.py writes it), decode the same image, and must give the same probabilities. One turn of each comes before
those that count, so that files are in the system's memory for both. Build first: cmake --build build/release --target cxr_trainer.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from compare import HERE, NETWORK_MODULES, ROOT, Unfit, find_python, positive

ANSWER_MODULES = ("onnxruntime", "PIL", "numpy")
CLASSES = "Cardiomegaly Emphysema Effusion Hernia Infiltration Mass Nodule Atelectasis Pneumothorax Pleural_Thickening Pneumonia Fibrosis Edema Consolidation".split()
TOLERANCE = 1e-5  # of probabilities, as in compare.py


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, default=ROOT / "examples/data/nih-sample/images/00000001_000.png")
    parser.add_argument("--size", type=positive(int), default=224, help="pixels of height and width that both resize it to (default %(default)s)")
    parser.add_argument("--threads", type=positive(int), default=len(os.sched_getaffinity(0)), help="default: all processors, here %(default)s")
    parser.add_argument("--rounds", type=positive(int), default=11, help="turns of each (default %(default)s)")
    parser.add_argument("--python", default=sys.executable, help=f"one with {', '.join(ANSWER_MODULES)} (default %(default)s)")
    parser.add_argument("--network-python", help=f"one with {', '.join(NETWORK_MODULES)}, which writes the network (default: that of --python)")
    parser.add_argument("--cxr", type=Path, default=ROOT / "build/release/bin/cxr", help="the executable")
    parser.add_argument("--backend", help="of cxr (default: its own choice)")
    parser.add_argument("--target", type=positive(float), default=1 / 3, help="largest ratio of cxr's time to the other's (default 1/3)")
    parser.add_argument("--files", type=Path, default=ROOT / "build/peers", help="folder for the network and the answers (default build/peers)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where first_answer.json goes")
    options = parser.parse_args()
    if not options.cxr.is_file():
        parser.error(f"--cxr {options.cxr}: no such program; build it with: cmake --build build/release --target cxr_trainer")
    if not options.image.is_file():
        parser.error(f"--image {options.image}: no such file")
    for option, python, modules in (("--python", options.python, ANSWER_MODULES), ("--network-python", options.network_python or options.python, NETWORK_MODULES)):
        try:
            find_python(modules, python, [])
        except Unfit as reason:
            parser.error(f"{option} {python}: expected a Python with {', '.join(modules)}: {reason}")
    return options


def probabilities_of(path):
    with open(path, newline="") as file:
        head, row = csv.reader(file)
    assert head[1:] == CLASSES, f"{path}: columns {head}, expected Image and the classes"
    return [float(cell) for cell in row[1:]]


def main():
    options = parse_options()
    subprocess.run([options.network_python or options.python, HERE / "network.py", options.files], check=True, stdout=subprocess.DEVNULL)
    answers = {"cxr": options.files / "answer-cxr.csv", "onnxruntime": options.files / "answer-onnxruntime.csv"}
    shared = ["--classes", ",".join(CLASSES), "--size", str(options.size), "--threads", str(options.threads)]
    commands = {
        "cxr": [options.cxr, "predict", "--model", options.files / "densenet121.safetensors", "--images", options.image, "--out", answers["cxr"], *shared, "--quiet"],
        "onnxruntime": [options.python, HERE / "onnx_answer.py", options.files / "densenet121.onnx", options.image, answers["onnxruntime"], *shared],
    }
    if options.backend:
        commands["cxr"] += ["--backend", options.backend]

    seconds = {name: [] for name in commands}
    for round_number in range(options.rounds + 1):
        for name, command in commands.items():
            answers[name].unlink(missing_ok=True)
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if round_number > 0:
                seconds[name].append(time.perf_counter() - begin)
    found, expected = (probabilities_of(path) for path in answers.values())
    deviation = max(abs(a - b) for a, b in zip(found, expected, strict=True))

    median = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = median["cxr"] / median["onnxruntime"]
    print(f"from start to answer, one image at {options.size} × {options.size}, {options.threads} threads, {options.rounds} rounds in turn")
    for name, times in seconds.items():
        print(f"{name:12} median {median[name]:.3f} s, best {min(times):.3f} s, worst {max(times):.3f} s")
    print(f"ratio of medians {ratio:.3f}, target at most {options.target:.3f}: {'met' if ratio <= options.target else 'NOT MET'}")
    right = deviation <= TOLERANCE
    print(f"largest deviation of the probabilities {deviation:.1e}, at most {TOLERANCE:g} is right{'' if right else ': WRONG'}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        result = {"size": options.size, "threads": options.threads, "seconds": seconds, "ratio": ratio, "target": options.target}
        result |= {"met": ratio <= options.target, "deviation": deviation}
        (options.out / "first_answer.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
