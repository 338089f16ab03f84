#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says what a pixel costs DenseNet121 by cxr at several sizes and batches, and what a second thread gives.

    cost.py [--what inference,training] [--sizes 128,224,320,512] [--batches 8,32,64] [--threads N] [--rounds 5] [--seconds 2] [--out FOLDER]

Sizes are taken in batches of 16, batches at 224 pixels, each a process of its own and all in turn, so that what else the machine does meets them alike. Then 224 pixels in
batches of 16 on one thread and on N in turn, with the multiply-adds that the processor reaches on as many before each. Build the program first: cmake --build build/release
--target cxr_benchmark_peers_ours.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from compare import ROOT, Unfit, json_line, names_of, numbers_of, positive

SIZE, BATCH = 224, 16  # what stays as the other changes


def turn(options, *arguments):
    try:
        return json_line([str(options.ours), *map(str, arguments)])
    except Unfit as reason:
        sys.exit(f"cost.py: {options.ours} {' '.join(map(str, arguments))} has failed: {reason}")


def timed(options, mode, size, batch, threads):
    found = turn(options, "--mode", mode, "--size", size, "--batch", batch, "--threads", threads, "--seconds", options.seconds)
    pixels = 1e-9 * size * size
    return {"median": 1 / (pixels * found["images_per_second_median"]), "best": 1 / (pixels * found["images_per_second_best"])}


def apart(values):
    return max(values) / min(values) - 1


def cost(options, mode):
    """Nanoseconds a pixel of each case, and by how much the dearest is above the cheapest."""
    cases = [(size, BATCH) for size in options.sizes] + [(SIZE, batch) for batch in options.batches if batch != BATCH]
    turns = {case: [] for case in cases}
    for round_number in range(1, options.rounds + 1):
        for case in cases:
            turns[case].append(timed(options, mode, *case, options.threads))
            print(f"{mode}, round {round_number}: {case[0]} pixels, batch {case[1]}: {turns[case][-1]['median']:.0f} ns a pixel", file=sys.stderr)
    rows = [{"size": s, "batch": b, "median": statistics.median(t["median"] for t in all_of_it), "best": min(t["best"] for t in all_of_it)} for (s, b), all_of_it in turns.items()]
    print(f"\n{mode}, nanoseconds a pixel, {options.threads} threads, {options.rounds} rounds of {options.seconds:g} s")
    for row in rows:
        print(f"{row['size']:>4} pixels, batch {row['batch']:>2}: median {row['median']:.0f}, best {row['best']:.0f}")
    print(f"the dearest is above the cheapest by {100 * apart([r['median'] for r in rows]):.1f} % (medians), {100 * apart([r['best'] for r in rows]):.1f} % (best)")
    return rows


def threads(options, mode):
    """How many times as fast all threads are as one, and how many times as many multiply-adds they do."""
    speed, peak = {1: [], options.threads: []}, {1: [], options.threads: []}
    for _ in range(options.rounds):
        for count in speed:
            peak[count].append(turn(options, "--probe", "--threads", count)["fma_gflops"])
            speed[count].append(timed(options, mode, SIZE, BATCH, count))
    one, all_of_them = speed.values()
    result = {"times": statistics.median(t["median"] for t in one) / statistics.median(t["median"] for t in all_of_them)}
    result["times_best"] = min(t["best"] for t in one) / min(t["best"] for t in all_of_them)
    result["times_probe"] = statistics.median(peak[options.threads]) / statistics.median(peak[1])
    print(f"{mode}: {options.threads} threads are {result['times']:.2f} times one by medians, {result['times_best']:.2f} by the best; the probe {result['times_probe']:.2f}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = ["inference", "training"]
    parser.add_argument("--what", type=names_of(modes), default=modes)
    parser.add_argument("--sizes", type=numbers_of(32), default=[128, 224, 320, 512], help="pixels of height and width (default 128,224,320,512)")
    parser.add_argument("--batches", type=numbers_of(1), default=[8, 32, 64], help="images at a time (default 8,32,64)")
    parser.add_argument("--threads", type=positive(int), default=len(os.sched_getaffinity(0)), help="default: all processors, here %(default)s")
    parser.add_argument("--rounds", type=positive(int), default=5, help="turns of each case (default %(default)s)")
    parser.add_argument("--seconds", type=positive(float), default=2, help="measured a turn, and three runs at least (default %(default)s)")
    parser.add_argument("--ours", type=Path, default=ROOT / "build/release/bin/benchmarks/peers_ours", help="the program of ours.cpp")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where cost.json goes")
    options = parser.parse_args()
    if not options.ours.is_file():
        parser.error(f"--ours {options.ours}: no such program; build it with: cmake --build build/release --target cxr_benchmark_peers_ours")
    result = {"machine": turn(options, "--probe", "--threads", options.threads)}
    for mode in options.what:
        result[mode] = {"cost": cost(options, mode)}
        if options.threads > 1:
            result[mode]["threads"] = threads(options, mode)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "cost.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
