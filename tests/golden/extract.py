#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes from the full reference files (keras.json, torch.json) what the golden tests need.

    extract.py REFERENCE_FOLDER

Values are the frameworks' float64 ones. How far their float32 ones are away from them, as relative norms, is kept beside them:
the tests' tolerances are these numbers times a stated factor.
"""
import json
import math
import os
import sys


def distance(a, b):
    norm = math.sqrt(sum(y * y for y in b))
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b))) / norm if norm else 0.0


def flat(rows):
    return [x for row in rows for x in row]


def rounded(x):
    if isinstance(x, float):
        return float(f"{x:.13g}")
    if isinstance(x, list):
        return [rounded(y) for y in x]
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return x


def arrays(single, exact):
    return {name: dict(l2=b["l2"], first=b["first"], l2_noise=abs(single[name]["l2"] / b["l2"] - 1) if b["l2"] else 0.0,
                       first_noise=distance(single[name]["first"], b["first"])) for name, b in exact.items()}


def main():
    folder = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    for framework in ("keras", "torch"):
        with open(os.path.join(folder, framework + ".json")) as file:
            full = json.load(file)
        result = dict(versions=full["versions"], images=full["images"], classes=full["classes"], inference={}, train={})
        key = "probabilities" if framework == "keras" else "logits"
        for size in ("224", "320"):
            exact, single = full["inference"][size + "-float64"], full["inference"][size + "-float32"]
            result["inference"][size] = {key: exact[key], "noise": distance(flat(single[key]), flat(exact[key]))}
            for part in ("input", "stages"):
                if part in exact:
                    result["inference"][size][part] = exact[part]
        train = full["train"]
        exact = train["float64"]["steps"] if framework == "keras" else train["float64-adam"]
        single = train["float32"]["steps"] if framework == "keras" else train["float32-adam"]
        result["train"] = {k: train[k] for k in ("size", "labels", "positive_weights", "negative_weights", "epsilon")}
        result["train"]["losses"] = [s["loss"] for s in exact]
        result["train"]["losses_noise"] = [abs(a["loss"] / b["loss"] - 1) for a, b in zip(single, exact)]
        for part in ("gradients", "after"):
            result["train"][part] = arrays(single[0][part], exact[0][part])
        with open(os.path.join(here, framework + ".json"), "w") as file:
            # One array a line, so that a change can be read.
            text = json.dumps(rounded(result), separators=(",", ":"))
            file.write(text.replace('},"', '},\n"') + "\n")


main()
