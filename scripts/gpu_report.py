#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What scripts/gpu-check found: a file a stage, and the report that merges them. Python's standard library is all it takes.

    gpu_report.py add FOLDER STAGE NAME COMMAND STATUS SECONDS LOG [--figures FILE]   one command that a stage ran, into gpu-STAGE.json
    gpu_report.py left-out FOLDER STAGE NAME REASON                                   one that it did not run
    gpu_report.py losses FOLDER                                                       the losses of gpu-train.json beside the CPU's; exit status 1 where they are others
    gpu_report.py report FOLDER                                                       gpu-report.json and gpu-report.md of all gpu-STAGE.json
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

STAGES = ("build", "correct", "sanitize", "train", "bench", "peers")
SEEDS, LAST_STEPS = 3, 22  # of each training; steps of its last epoch on the shipped X-rays
BATCH, SIZE, ELEMENTS = 256, 224, 1e8  # for which the targets are stated
IMAGES_PER_SECOND = {"training": 5000, "inference": 25000}
TIMES_TORCH = {"training": 1.5, "inference": 1.2}
SHARE_OF_BANDWIDTH = 0.85
TABLES = ("loss", "loss-gradient", "frequencies")
PRINTED_LINES = 20  # of one command's failures


def write(path, text):
    """Whole or not at all: a stage may be stopped at any moment."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def read(path, otherwise):
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return otherwise


def gpu_here():
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], capture_output=True, text=True)
    except OSError:
        return {}
    lines = asked.stdout.splitlines() if asked.returncode == 0 else []
    return dict(zip(("gpu", "driver", "memory"), lines[0].split(", "))) | {"gpus": len(lines)} if lines else {}


def stage_file(folder, stage):
    return pathlib.Path(folder) / f"gpu-{stage}.json"


def add(folder, stage, entry, figures=None):
    path = stage_file(folder, stage)
    found = read(path, {"stage": stage, "machine": gpu_here(), "results": [], "figures": {}})
    found["results"] = [r for r in found["results"] if r["name"] != entry["name"]] + [entry]
    if figures is not None:
        found["figures"][entry["name"]] = figures
    write(path, json.dumps(found, indent=1) + "\n")
    report(folder)


def add_command(options):
    log = pathlib.Path(options.log)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    entry = {"name": options.name, "command": options.command, "status": options.status, "seconds": options.seconds}
    entry["failed"] = [line.strip() for line in lines if line.startswith("FAILED") or line.endswith(": FAILED:")][:PRINTED_LINES]  # of our programs, of Catch2's
    entry["left_out"] = [line for line in lines if line.startswith("left out")][:PRINTED_LINES]
    entry["last"] = lines[-1][:300] if lines else ""
    add(options.folder, options.stage, entry, read(options.figures, None) if options.figures else None)


# What was measured.


def stages_in(folder):
    """What the stages left in the folder, in their order; a stage with an argument, such as peers-320, comes after its own."""
    found = [read(path, None) for path in pathlib.Path(folder).glob("gpu-*.json") if path.name != "gpu-report.json"]
    found = [s for s in found if isinstance(s, dict) and s.get("stage", "").split("-")[0] in STAGES]
    return sorted(found, key=lambda s: (STAGES.index(s["stage"].split("-")[0]), s["stage"]))


def rows_of(stages, kind):
    """Rows of all tables of a kind of stage, bench or peers."""
    return [row for s in stages if s["stage"].split("-")[0] == kind for table in s["figures"].values() for row in table.get("results", [])]


def in_bf16_on_gpu(row, what, size=SIZE):
    return row.get("backend") == "cuda" and row["what"] == what and row["dtype"] == "bfloat16" and row["shape"] == [BATCH, 3, size, size]


def torch_rows(stages, what, size=SIZE):
    return [r for r in rows_of(stages, "peers") if "torch" in r.get("how", "") and (r["what"], r["size"], r["batch"]) == (what, size, BATCH)]


def losses(stages):
    """Mean losses of the last epoch by kind, a number a seed; None where a training is missing."""
    figures = {name: table for s in stages if s["stage"] == "train" for name, table in s["figures"].items()}
    found = {}
    for kind in ("cpu", "gpu f32", "gpu bf16"):
        steps = [figures.get(f"{kind} seed {seed}", {}).get("steps", []) for seed in range(SEEDS)]
        found[kind] = [statistics.fmean(s[-LAST_STEPS:]) for s in steps] if all(len(s) >= LAST_STEPS for s in steps) else None
    return found


def target(text, found, met):
    return {"target": text, "verdict": "not measured" if met is None else "met" if met else "missed", "found": found}


def speed_target(stages, what):
    rows = [r for r in rows_of(stages, "bench") + rows_of(stages, "peers") if in_bf16_on_gpu(r, what)]
    text = f"{what}, bfloat16, batch {BATCH} at {SIZE}, on an H100: {IMAGES_PER_SECOND[what]:,} images/s"
    if not rows:
        return target(text, "", None)
    speed = statistics.median(r["images_per_second"] for r in rows)
    return target(text, f"{speed:,.0f} images/s, median of {len(rows)} measurement{'s' if len(rows) > 1 else ''}", speed >= IMAGES_PER_SECOND[what])


def torch_target(stages, what):
    """A way of torch that was not measured can only make the ratio smaller."""
    text = f"{what}, bfloat16, batch {BATCH} at {SIZE}: {TIMES_TORCH[what]} × the faster of PyTorch eager and compiled"
    ours = [r["images_per_second"] for r in rows_of(stages, "peers") if in_bf16_on_gpu(r, what)]
    theirs = torch_rows(stages, what)
    measured = [r for r in theirs if "images_per_second" in r]
    missing = "".join(f"; {r['way']} not measured: {r['failed']}" for r in theirs if "failed" in r)
    if not ours or not measured:
        return target(text, missing.removeprefix("; "), None)
    best = max(measured, key=lambda r: r["images_per_second"])
    ratio = statistics.median(ours) / best["images_per_second"]
    found = f"{ratio:.2f} × ({statistics.median(ours):,.0f} images/s; {best['way']} {best['images_per_second']:,.0f})" + missing
    both = any(r["compiled"] for r in measured) and any(not r["compiled"] for r in measured)
    met = False if ratio < TIMES_TORCH[what] else True if both else None
    return target(text, found, met)


def bandwidth_target(stages, what):
    text = f"{what}, 10⁸ elements: {SHARE_OF_BANDWIDTH:.0%} of the memory's bandwidth"
    rows = [r for r in rows_of(stages, "bench") if r.get("backend") == "cuda" and r["what"] == what and abs(r["shape"][0] * r["shape"][1] / ELEMENTS - 1) < 1e-3]
    rows = [r for r in rows if r["efficiency"] is not None]
    if not rows:
        return target(text, "", None)
    best = max(rows, key=lambda r: r["efficiency"])
    return target(text, f"{best['efficiency']:.0%}: {best['gb_per_s']:,.0f} GB/s of the {best['memory_gb_per_s']:,.0f} that the memory was measured to reach in the same run", best["efficiency"] >= SHARE_OF_BANDWIDTH)


def loss_target(stages, kind):
    found = losses(stages)
    text = f"loss of the last epoch of 200 steps on the shipped X-rays, {kind}: within the CPU's over {SEEDS} seeds"
    if not found["cpu"] or not found[kind]:
        return target(text, "", None)
    mean = statistics.fmean(found[kind])
    numbers = ", ".join(f"{x:.4f}" for x in found[kind])
    return target(text, f"mean {mean:.4f} of {numbers}; CPU {min(found['cpu']):.4f} to {max(found['cpu']):.4f}", min(found["cpu"]) <= mean <= max(found["cpu"]))


def targets(stages):
    whats = ("training", "inference")
    return [
        *(speed_target(stages, what) for what in whats),
        *(torch_target(stages, what) for what in whats),
        *(bandwidth_target(stages, what) for what in TABLES),
        *(loss_target(stages, kind) for kind in ("gpu f32", "gpu bf16")),
    ]


# What is printed.


def table(heads, rows):
    cell = lambda x: str(x).replace("|", "\\|").replace("\n", " ")
    return ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(map(cell, row)) + " |" for row in rows)] if rows else []


def measured_rows(stages):
    for row in rows_of(stages, "bench"):
        rate = f"{row['images_per_second']:,.0f} images/s" if row["images_per_second"] else f"{row['gb_per_s']:,.1f} GB/s" if row["gb_per_s"] else f"{row['gflops']:,.0f} GFLOP/s"
        kind = row["dtype"] + (f", {row['method']}" if row["method"] else "")
        moved = f"{1e3 * row['transfer_seconds']:.3g} ms" if row["transfer"] != "none" else ""
        share = "" if row["efficiency"] is None else f"{row['efficiency']:.0%}"
        yield row["what"], row["backend"], kind, "×".join(map(str, row["shape"])), f"{1e3 * row['seconds_median']:.4g} ms", rate, share, f"{row['max_error']:.1e}", moved


def peer_rows(stages):
    for row in rows_of(stages, "peers"):
        ours = "backend" in row
        how = f"cxr {row['backend']} {row['dtype']}" if ours else row["how"]
        size, batch = (row["shape"][2], row["shape"][0]) if ours else (row["size"], row["batch"])
        yield row["what"], how, size, batch, row["failed"] if "failed" in row else f"{row['images_per_second']:,.0f} images/s"


def status_text(result):
    status = result["status"]
    return "left out" if status is None else {0: "ok", 124: "stopped: no time left"}.get(status, f"failed ({status})")


def report(folder):
    folder = pathlib.Path(folder)
    stages = stages_in(folder)
    machines = [dict(m) for m in dict.fromkeys(tuple(sorted(s["machine"].items())) for s in stages)]
    results = [{"stage": s["stage"], **r} for s in stages for r in s["results"]]
    absent = [name for name in STAGES if not any(s["stage"].split("-")[0] == name for s in stages)]
    found = {
        "machines": machines,
        "targets": targets(stages),
        "stages_not_run": absent,
        "results": results,
        "losses": losses(stages),
        "bench": rows_of(stages, "bench"),
        "bench_left_out": [row for s in stages if s["stage"] == "bench" for t in s["figures"].values() for row in t.get("left_out", [])],
        "peers": rows_of(stages, "peers"),
    }
    write(folder / "gpu-report.json", json.dumps(found, indent=1) + "\n")
    text = ["# GPU report"]
    text += table(("GPU", "driver", "memory", "GPUs"), [[m.get(k, "") for k in ("gpu", "driver", "memory", "gpus")] for m in machines])
    text += ["", "## Targets", *table(("target", "", "found"), [(t["target"], t["verdict"], t["found"]) for t in found["targets"]])]
    text += ["", "## What was run"]
    text += table(("stage", "what", "status", "seconds", "last line"), [(r["stage"], r["name"], status_text(r), r["seconds"], r["last"]) for r in results])
    text += ["", "Not run: " + ", ".join(absent) + "."] if absent else []
    lines = [f"* {r['name']}: {line}" for r in results for line in r["failed"] + r["left_out"]]
    lines += [f"* bench: left out {g['what']} {'×'.join(map(str, g['shape']))} in {g['dtype']} on {g['backend']}: {g['reason']}" for g in found["bench_left_out"]]
    text += ["", *lines] if lines else []
    bench, peers = list(measured_rows(stages)), list(peer_rows(stages))
    text += ["", "## cxr bench", *table(("what", "backend", "dtype", "shape", "median", "rate", "of the peak", "largest error", "transfer"), bench)] if bench else []
    text += ["", "## Beside PyTorch", *table(("what", "how", "size", "batch", "rate"), peers)] if peers else []
    write(folder / "gpu-report.md", "\n".join(text) + "\n")
    return found


def check_losses(folder):
    stages = stages_in(folder)
    verdicts = [loss_target(stages, kind) for kind in ("gpu f32", "gpu bf16")]
    for v in verdicts:
        print("ok" if v["verdict"] == "met" else "FAILED", f"{v['target']}: {v['verdict']}", f"({v['found']})" if v["found"] else "")
    return all(v["verdict"] == "met" for v in verdicts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("add")
    for name, kind in (("folder", str), ("stage", str), ("name", str), ("command", str), ("status", int), ("seconds", int), ("log", str)):
        one.add_argument(name, type=kind)
    one.add_argument("--figures")
    none = verbs.add_parser("left-out")
    for name in ("folder", "stage", "name", "reason"):
        none.add_argument(name)
    for verb in ("losses", "report"):
        verbs.add_parser(verb).add_argument("folder")
    options = parser.parse_args()
    if options.verb == "add":
        add_command(options)
    elif options.verb == "left-out":
        add(options.folder, options.stage, {"name": options.name, "command": "", "status": None, "seconds": 0, "failed": [], "left_out": ["left out: " + options.reason], "last": options.reason})
    elif options.verb == "losses":
        return 0 if check_losses(options.folder) else 1
    else:
        for t in report(options.folder)["targets"]:
            print(f"{t['verdict']:13} {t['target']}" + (f": {t['found']}" if t["found"] else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
