#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws DenseNet121's kernels under the roof of one core: what multiply-adds and memory allow at most.

    densenet_kernels --benchmark_format=json > kernels.json
    roofline.py kernels.json --out roofline.svg [--memory GB_PER_S]
    densenet_stages --benchmark_format=json > stages.json
    roofline.py stages.json

Each point is a kernel of a dense block; its arithmetic intensity counts what must come from memory if nothing stays in a cache. The flat roof is the peak that the
program measured; the slope, where --memory says how much one core reads a second. Prints the same as a Markdown table. Of densenet_stages' file it prints the table: milliseconds and the share of all
threads' peak for each stage, beside its multiply-adds and the bytes that it must move if nothing stays in a cache.
"""

import argparse
import json
import math
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 740, 440, 70, 190, 20, 50
COLOURS = {"oneDNN, one by one": "#888", "AVX2": "#b35806", "AVX-512": "#2166ac", "bfloat16": "#1b7837", "bfloat16 by AMX": "#762a83"}
MARKS = ["1x1", "3x3", "3x3 backward", "1x1 backward"]


def points_of(path):
    with open(path) as file:
        runs = json.load(file)["benchmarks"]
    for run in runs:
        kind, block, kernel = run["name"].split("/")
        if "error_occurred" in run:
            raise SystemExit(f"{path}: {run['name']}: {run['error_message']}")
        yield {"kind": kind, "block": int(block.removeprefix("block")), "kernel": kernel, "gflops": run["GFLOP/s"], "gb": run["GB/s"], "share": run["share"], "ms": run["real_time"]}


def table(points):
    kinds = list(dict.fromkeys(p["kind"] for p in points))
    yield "| block | kernel | FLOP a byte, float32 | " + " | ".join(f"{k}: ms, GFLOP/s (share)" for k in kinds) + " |"
    yield "|---|---|---|" + "---|" * len(kinds)
    for block in range(1, 5):
        for kernel in MARKS:
            row = {p["kind"]: p for p in points if p["block"] == block and p["kernel"] == kernel}
            cells = [f"{row[k]['ms']:.2f}, {row[k]['gflops']:.0f} ({row[k]['share']:.2f})" for k in kinds]
            any_of_it = row[kinds[0]]
            yield f"| {block} | {kernel.replace('x', '×')} | {any_of_it['gflops'] / any_of_it['gb']:.0f} | " + " | ".join(cells) + " |"


def number(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def table_of_stages(path):
    with open(path) as file:
        runs = json.load(file)["benchmarks"]
    rows = {}
    for run in runs:
        what, stage, kind = run["name"].removesuffix("/iterations:1/manual_time").split("/")
        rows.setdefault(what, {}).setdefault(stage, {})[kind] = run
    for what, stages in rows.items():
        kinds = list(next(iter(stages.values())))
        cell = lambda run: "–" if run is None else number(run["real_time"]) + (f" ({run['share']:.2f})" if run["share"] > 0 else "")
        yield f"| {what} | GFLOP | GB, simd | " + " | ".join(f"{k}: ms (share)" for k in kinds) + " |"
        yield "|---|---|---|" + "---|" * len(kinds)
        flops, gigabytes = ({stage: next(iter(row.values()))[what] for stage, row in stages.items()} for what in ("GFLOP", "GB"))
        for stage, row in stages.items():
            yield f"| {stage} | {number(flops[stage])} | {number(gigabytes[stage])} | " + " | ".join(cell(row.get(k)) for k in kinds) + " |"
        total = {k: sum(row[k]["real_time"] for row in stages.values() if k in row) for k in kinds}
        peak = next(r["GFLOP/s"] / r["share"] for row in stages.values() for r in row.values() if r["share"] > 0)
        shares = (f"{number(total[k])} ({1e3 * sum(flops.values()) / total[k] / peak:.2f})" for k in kinds)
        yield f"| together | {number(sum(flops.values()))} | {number(sum(gigabytes.values()))} | " + " | ".join(shares) + " |"
        yield ""


def picture(points, memory):
    peak = max(p["gflops"] / p["share"] for p in points)
    low, high = 4.0, 200.0
    least, most = 20.0, 1.2 * max(p["gflops"] for p in points)

    def x(intensity):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(intensity / low) / math.log(high / low)

    def y(gflops):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(max(gflops, least) / least) / math.log(most / least)

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    for value in (5, 10, 20, 50, 100, 200):
        yield f'<line x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/><text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value}</text>'
    for value in (20, 50, 100, 200, 500, 1000, 2000):
        if value <= most:
            yield f'<line x1="{LEFT}" y1="{y(value):.1f}" x2="{WIDTH - RIGHT}" y2="{y(value):.1f}" stroke="#ddd"/><text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">FLOP a byte of memory</text>'
    yield f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">GFLOP/s of one core</text>'
    corner = low if memory is None else max(low, peak / memory)
    if memory is not None and corner > low:
        yield f'<line x1="{x(low):.1f}" y1="{y(low * memory):.1f}" x2="{x(corner):.1f}" y2="{y(peak):.1f}" stroke="#444" stroke-width="2"/>'
    yield f'<line x1="{x(corner):.1f}" y1="{y(peak):.1f}" x2="{x(high):.1f}" y2="{y(peak):.1f}" stroke="#444" stroke-width="2"/>'
    yield f'<text x="{x(corner) + 8:.1f}" y="{y(peak) + 16:.1f}">float32 multiply-adds: {peak:.0f}</text>'
    for p in points:
        at, up, colour = x(p["gflops"] / p["gb"]), y(p["gflops"]), COLOURS[p["kind"]]
        shape = {
            "1x1": f'<circle cx="{at:.1f}" cy="{up:.1f}" r="4" fill="{colour}"/>',
            "3x3": f'<rect x="{at - 4:.1f}" y="{up - 4:.1f}" width="8" height="8" fill="{colour}"/>',
            "3x3 backward": f'<rect x="{at - 4:.1f}" y="{up - 4:.1f}" width="8" height="8" fill="white" stroke="{colour}" stroke-width="2"/>',
            "1x1 backward": f'<circle cx="{at:.1f}" cy="{up:.1f}" r="4" fill="white" stroke="{colour}" stroke-width="2"/>',
        }[p["kernel"]]
        yield f"<g>{shape}<title>{escape(p['kind'])}, block {p['block']}, {escape(p['kernel'])}</title></g>"
    line, column = TOP + 14, WIDTH - RIGHT + 20
    for kind in dict.fromkeys(p["kind"] for p in points):
        yield f'<circle cx="{column}" cy="{line - 4}" r="5" fill="{COLOURS[kind]}"/><text x="{column + 12}" y="{line}">{escape(kind)}</text>'
        line += 20
    for mark, text in (("●", "1×1"), ("■", "3×3"), ("□", "3×3 backward"), ("○", "1×1 backward")):
        yield f'<text x="{column - 5}" y="{line + 8}">{mark}</text><text x="{column + 12}" y="{line + 8}">{text}</text>'
        line += 20
    yield "</svg>"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="what densenet_kernels or densenet_stages --benchmark_format=json printed")
    parser.add_argument("--out", help="the picture of kernels, SVG")
    parser.add_argument("--memory", type=float, help="GB/s that one core reads from memory")
    options = parser.parse_args()
    with open(options.file) as file:
        stages = any(run["name"].startswith(("training/", "inference/")) for run in json.load(file)["benchmarks"])
    if stages:
        print("\n".join(table_of_stages(options.file)))
        return
    if not options.out:
        parser.error("--out: expected the path of the picture")
    points = list(points_of(options.file))
    print("\n".join(table(points)))
    with open(options.out, "w") as file:
        file.write("\n".join(picture(points, options.memory)) + "\n")


if __name__ == "__main__":
    main()
