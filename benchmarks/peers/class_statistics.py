#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times class frequencies and the weighted cross-entropy, 14 classes, by cxr and by others in turn, and says how much faster which is.

    class_statistics.py [--rows 1000,100000,10000000] [--threads N] [--rounds 3] [--seconds 1] [--peers numpy,torch,compile,eigen,xtensor]
                        [--python NAME=PATH]... [--target NAME=RATIO]... [--out FOLDER]

Every turn is a process of its own that does all operations on one table, labels in float32 and in uint8: ours, numpy, torch, ... All must find the same frequencies,
values and gradients; what is wrong is said to be, and is no rival. Eigen, xtensor and most of NumPy compute on one thread, so give --threads 1 to compare cores. Where a
table is far larger than caches, shares of the bandwidth are of what a plain loop on as many threads reads of the same arrays, between the turns and in the same process:
which pages a process has makes a difference of a half. Bytes of an operation are those of labels, probabilities and gradient, each once. All have their memory in huge
pages. A row takes 126 bytes on disk and some 500 in memory where torch differentiates. Build the program first: cmake --build build/release --target
cxr_benchmark_class_statistics_ours. Exit status: 1 where ours is wrong or did not run, else 0, whether or not targets are met.
"""

import argparse
import json
import statistics
import subprocess
import sys

from compare import HERE, LeftOut, Unfit, environment_of, find_python, json_line, markdown_table, numbers_of, parse_with_shared, show_table, write_report

CLASSES = 14
PEERS = {"numpy": ("numpy",), "torch": ("torch", "numpy"), "compile": ("torch", "numpy"), "eigen": (), "xtensor": ()}
# The largest deviation of the same answer: frequencies absolute, the rest relative. Peers add up in float32.
TOLERANCES = {"frequencies": 1e-6, "loss": 1e-3, "loss, gradient": 1e-3}
GRADIENT_TOLERANCE = 1e-5
TARGETS = {"share-of-bandwidth": 0.8}
HEAD = ["operation", "labels", "contender", "version", "median", "best", "ours by it", "share of bandwidth", "deviation"]


def settings_of(name, options):
    """The same for all: memory in huge pages that processes keep, and as many threads as ours."""
    return environment_of("compile" if name == "compile" else "torch", options.threads, options.files) | {"OPENBLAS_NUM_THREADS": str(options.threads)}


def bytes_of(what, labels, rows):
    label = {"float32": 4, "uint8": 1}[labels]
    return rows * CLASSES * (label + {"frequencies": 0, "loss": 4, "loss, gradient": 8}[what])


class Comparison:
    def __init__(self, options):
        self.options = options
        self.left_out, self.commands = LeftOut(), {"ours": [options.ours, "--peer", "ours"]}
        candidates = list(dict.fromkeys([sys.executable, "python3", *options.python.values()]))
        for name in options.peers:
            if not PEERS[name]:
                self.commands[name] = [options.ours, "--peer", name]
                continue
            try:
                self.commands[name] = [find_python(PEERS[name], options.python.get(name), candidates), HERE / "class_statistics_peers.py", "--peer", name]
            except Unfit as reason:
                self.left_out.add(name, "everything", f"no Python for it (--python {name}=PATH): {reason}")
        try:
            self.writer = find_python(("numpy",), options.python.get("numpy"), candidates)
        except Unfit as reason:
            sys.exit(f"class_statistics.py: --python numpy=PATH: expected a Python with numpy, which writes the tables: {reason}")

    def probe(self):
        try:
            return json_line([str(self.options.ours), "--probe", "--threads", str(self.options.threads)], **settings_of("ours", self.options))
        except Unfit as reason:
            sys.exit(f"class_statistics.py: {self.options.ours} --probe has failed: {reason}")

    def table(self, rows):
        """Runs all in turn on a table. Who fails once is left out of it."""
        o = self.options
        if subprocess.run([self.writer, HERE / "class_statistics_peers.py", "--write", o.files, "--rows", str(rows)]).returncode != 0:
            sys.exit("class_statistics.py: class_statistics_peers.py --write has failed")
        expected = json.loads((o.files / f"expected-{rows}.json").read_text())
        turns = {name: [] for name in self.commands}
        for round_number in range(1, o.rounds + 1):
            for name, command in self.commands.items():
                if name not in turns:
                    continue
                command = [*command, "--rows", rows, "--threads", o.threads, "--seconds", o.seconds, "--files", o.files]
                try:
                    turns[name].append(json_line(list(map(str, command)), **settings_of(name, o)))
                except Unfit as reason:
                    del turns[name]
                    self.left_out.add(name, f"{rows} rows", reason)
                    continue
                print(f"{rows} rows, round {round_number}: {name}", file=sys.stderr)
        rows_of_report = list(rows_of(rows, turns, expected))
        table = {"rows": rows, "threads": o.threads, "rounds": o.rounds, "seconds": o.seconds, "rows_of_report": rows_of_report, "turns": turns}
        table["targets"] = list(targets_of(rows_of_report, o.targets["share-of-bandwidth"]))
        return table


def deviation(what, result, expected):
    if what == "frequencies":
        return max(abs(a - b) for a, b in zip(result["check"], expected["frequencies"], strict=True))
    return abs(result["check"][0] / expected["loss"][0] - 1)


def rows_of(rows, turns, expected):
    """One dictionary for each operation, type of labels and contender."""
    for labels in ("float32", "uint8"):
        for what in TOLERANCES:
            ours = None
            for name, all_of_it in turns.items():
                results = [next(r for r in t["results"] if (r["what"], r["labels"]) == (what, labels)) for t in all_of_it]
                error = max(deviation(what, r, expected) for r in results)
                of_gradient = max((r["gradient_deviation"][0] for r in results if "gradient_deviation" in r), default=0.0)
                median = statistics.median(r["seconds_median"] for r in results)
                row = {"what": what, "labels": labels, "contender": name, "version": all_of_it[0]["version"], "median": median}
                row |= {"best": min(r["seconds_best"] for r in results), "runs": sum(r["runs"] for r in results), "deviation": max(error, of_gradient)}
                row["right"] = error <= TOLERANCES[what] and of_gradient <= GRADIENT_TOLERANCE
                read = [r["gb_read_meanwhile"][0] for r in results if "gb_read_meanwhile" in r]
                row["share_of_bandwidth"] = bytes_of(what, labels, rows) / 1e9 / statistics.median(read) if read else None
                ours = median if name == "ours" else ours
                row["ours_by_it"] = median / ours if ours else None
                yield row


def targets_of(rows_of_report, target):
    for ours in (r for r in rows_of_report if r["contender"] == "ours" and r["right"]):
        case = [r for r in rows_of_report if (r["what"], r["labels"]) == (ours["what"], ours["labels"])]
        rivals = [r for r in case if r["contender"] != "ours" and r["right"]]
        fastest = min(rivals, key=lambda r: r["median"], default=None)
        share = ours["share_of_bandwidth"]
        judged = {"target": target, "met": None if share is None else share >= target}
        yield {
            "what": ours["what"],
            "labels": ours["labels"],
            "rival": fastest and fastest["contender"],
            "ratio": fastest and fastest["median"] / ours["median"],
            "share": share,
            **judged,
        }


def time_of(seconds):
    return next(f"{seconds * scale:.3g} {unit}" for scale, unit in ((1e6, "µs"), (1e3, "ms"), (1, "s")) if seconds * scale < 1000 or unit == "s")


def cells(table):
    for r in table["rows_of_report"]:
        share = "–" if r["share_of_bandwidth"] is None else f"{100 * r['share_of_bandwidth']:.1f} %"
        by_it = "–" if r["ours_by_it"] is None else f"{r['ours_by_it']:.2f}"
        names = [r["what"], r["labels"], r["contender"], r["version"]]
        yield [*names, time_of(r["median"]), time_of(r["best"]), by_it, share, f"{r['deviation']:.1e}{'' if r['right'] else ' WRONG'}"]


def sentences(table):
    for t in table["targets"]:
        rival = f"{t['ratio']:.2f} times the fastest peer, {t['rival']}" if t["rival"] else "no peer"
        share = "" if t["met"] is None else f"; {100 * t['share']:.0f} % of the bandwidth, target {100 * t['target']:g} %: {'met' if t['met'] else 'NOT MET'}"
        yield f"{t['what']}, {t['labels']}: ours is {rival}{share}."


def title(table):
    return f"{table['rows']:,} × {CLASSES}, {table['threads']} threads, {table['rounds']} rounds of {table['seconds']:g} s an operation"


def shown(table):
    return title(table), [HEAD, *cells(table)], 4, sentences(table)


def markdown(result):
    text = f"# Class frequencies and the weighted loss by cxr and by others\n\n{result['processor']}, memory {result['memory_gb_per_s']:.1f} GB/s at the beginning; every number was measured in this run.\n"
    return text + "".join(markdown_table(*shown(table)) for table in result["tables"]) + result["left_out"].markdown()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=numbers_of(1), default=[1000, 100000, 10000000], help="of the tables (default 1000,100000,10000000)")
    return parse_with_shared(parser, PEERS, TARGETS, 3, 1, "an operation", "class_statistics_ours", "class_statistics_ours.cpp", "the tables", "class_statistics")


def main():
    options = parse_options()
    comparison = Comparison(options)
    machine = comparison.probe()
    tables = []
    for rows in options.rows:
        tables.append(comparison.table(rows))
        show_table(*shown(tables[-1]))
    comparison.left_out.show()
    result = {**machine, "tables": tables, "left_out": comparison.left_out}
    write_report(options.out, "class_statistics", result, markdown(result))
    ours = [r for table in tables for r in table["rows_of_report"] if r["contender"] == "ours"]
    complete = len(ours) == len(tables) * 2 * len(TOLERANCES)
    return 0 if complete and all(r["right"] for r in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
