#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs cxr's DenseNet121 and that of other libraries in turn, and says how much faster which is.

    compare.py [--what inference,training] [--sizes 224] [--batches 1,16] [--dtype f32] [--isa best] [--threads N] [--rounds 5] [--seconds 10]
               [--peers torch,compile,onnxruntime,openvino,keras] [--python NAME=PATH]... [--target NAME=RATIO]... [--out FOLDER]

Every turn is a process of its own: ours, torch, compile, ours, torch, ... All have the same weights, images and targets (network.py writes them) and must give the
same answer; training is one step of forward, weighted cross-entropy, backward and Adam. Before each turn an FMA loop measures what the processor can do at that
moment. A contender that cannot run is named with the reason. With --isa avx2 a processor that has
more is used as one that has AVX2, by those that can be told, and the peak is that of AVX2. Build the program first: cmake --build build/release --target cxr_benchmark_peers_ours.
Exit status: 1 where an answer is wrong or ours did not run, else 0, whether or not targets are met.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# Multiplications and additions of a training step by those of its forward pass: at 224 pixels 16.76 and 5.667 · 10⁹ an image.
TRAINING_BY_FORWARD = 16.76 / 5.667


@dataclass(frozen=True)
class Peer:
    modules: tuple
    modes: tuple = ("inference", "training")
    dtypes: tuple = ("f32", "bf16")
    avx2: tuple = ()  # what tells it to keep to AVX2


ONEDNN_AVX2 = ("ONEDNN_MAX_CPU_ISA", "AVX2")
TORCH_AVX2 = (ONEDNN_AVX2, ("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_ENABLE_INSTRUCTIONS", "AVX2"))
PEERS = {
    "torch": Peer(("torch", "torchvision", "numpy"), avx2=TORCH_AVX2),
    "compile": Peer(("torch", "torchvision", "numpy"), avx2=TORCH_AVX2),
    "onnxruntime": Peer(("onnxruntime", "numpy"), modes=("inference",), dtypes=("f32",)),
    "openvino": Peer(("openvino", "numpy"), modes=("inference",), avx2=(ONEDNN_AVX2,)),
    "keras": Peer(("tensorflow", "keras", "numpy"), avx2=(ONEDNN_AVX2,)),
}
# Other ways of ours beside the plain one.
VARIANTS = {"ours-winograd": ("--winograd", "inference", ("f32",)), "ours-recompute": ("--recompute", "training", ("f32", "bf16"))}
NETWORK_MODULES = ("torch", "torchvision", "onnx", "numpy")


@dataclass(frozen=True)
class Target:
    ratio: float
    rivals: tuple  # speed: ours by the fastest of them; memory: the first one's by ours


INFERENCE_RIVALS, TRAINING_RIVALS = ("onnxruntime", "openvino", "torch", "compile"), ("torch", "compile", "keras")
TARGETS = {
    "inference-f32": Target(1.10, INFERENCE_RIVALS),
    "inference-bf16": Target(1.15, INFERENCE_RIVALS),
    "training-f32": Target(1.4, TRAINING_RIVALS),
    "training-bf16": Target(1.5, TRAINING_RIVALS),
    "inference-winograd": Target(1.25, INFERENCE_RIVALS),
    "training-memory": Target(3.0, ("torch",)),
    "training-memory-recompute": Target(6.0, ("torch",)),
}

# The largest deviation from the first contender that counts as the same answer: probabilities of an image, absolute (1e-5 is what Winograd's filtering states); the losses of the first and of the
# third step, relative, as steps amplify what each rounded. bfloat16 rounds both factors of 120 convolutions by at most 2⁻⁹, each independently: 0.03 of what they make.
TOLERANCES = {("inference", "f32"): [1e-5], ("training", "f32"): [1e-5, 1e-2], ("inference", "bf16"): [0.03], ("training", "bf16"): [0.03, 0.1]}


class Unfit(Exception):
    """Why a contender cannot run."""


def environment_of(name, threads, folder, isa="best"):
    """What makes a peer fast on a small machine, or keeps it to some instructions, and must be set before its process begins."""
    settings = dict(PEERS[name].avx2) if isa == "avx2" and name in PEERS else {}
    if name not in ("torch", "compile"):
        return settings
    never = str(1 << 35)  # the allocator keeps what it has
    settings |= {
        "OMP_NUM_THREADS": str(threads),
        "OMP_PROC_BIND": "true",
        "OMP_PLACES": "cores",
        "MALLOC_MMAP_THRESHOLD_": never,
        "MALLOC_TRIM_THRESHOLD_": never,
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # huge pages
    }
    if name == "compile":
        settings["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")  # later turns need not compile again
    return settings


def find_python(modules, given, candidates):
    """The Python that has these modules. Raises `Unfit`."""
    code = "import sys, importlib.util as u; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    lacking = []
    for python in [given] if given else candidates:
        try:
            found = subprocess.run([python, "-c", code, *modules], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            lacking.append(f"{python} does not run ({error})")
            continue
        missing = found.stdout.split()
        if not missing:
            return python
        lacking.append(f"{python} lacks {', '.join(missing)}")
    raise Unfit("; ".join(lacking))


def json_line(command, **settings):
    """What a process prints as its last line. Raises `Unfit` with the last thing it said where it fails."""
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings})
    if ran.returncode != 0:
        said = [line for line in ran.stderr.splitlines() if line.strip()]
        raise Unfit(said[-1].strip() if said else f"exit status {ran.returncode}")
    return json.loads(ran.stdout.splitlines()[-1])


class LeftOut(list):
    """Who takes no part in what, and why."""

    def add(self, name, where, reason):
        self.append({"contender": name, "where": where, "reason": str(reason)})
        print(f"{name} is left out of {where}: {reason}", file=sys.stderr)

    def show(self):
        if self:
            print("\nLeft out")
        for entry in self:
            print(f"{entry['contender']}, of {entry['where']}: {entry['reason']}")

    def markdown(self):
        return "\n## Left out\n\n" + "".join(f"- {e['contender']}, of {e['where']}: {e['reason']}\n" for e in self) if self else ""


def show_table(title, rows, words, sentences):
    """Prints rows, the first of which is the head, in columns: the first `words` of them begin at the left, the others, numbers, end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}")
    for row in rows:
        print("  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())
    for sentence in sentences:
        print(sentence)


def markdown_table(title, rows, words, sentences):
    """The same in Markdown."""
    head, *others = rows
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    text = f"\n## {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *others]) + "\n"
    return text + "\n".join(f"- {s}" for s in sentences) + "\n"


def write_report(folder, name, result, text):
    """NAME.json and NAME.md, where a folder is given."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / f"{name}.md").write_text(text)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.left_out = LeftOut()
        self.probes = []
        self.pythons = {}
        given = options.python
        candidates = list(dict.fromkeys([sys.executable, "python3", *given.values()]))
        for name in options.peers:
            try:
                self.pythons[name] = find_python(PEERS[name].modules, given.get(name), candidates)
            except Unfit as reason:
                self.left_out.add(name, "everything", f"no Python for it (--python {name}=PATH): {reason}")
        try:
            self.network_python = find_python(NETWORK_MODULES, given.get("torch"), candidates)
        except Unfit as reason:
            sys.exit(f"compare.py: --python torch=PATH: expected a Python with {', '.join(NETWORK_MODULES)}, which writes the network: {reason}")

    def write_network(self):
        o = self.options
        command = [self.network_python, HERE / "network.py", o.files, "--sizes", ",".join(map(str, o.sizes)), "--batch", str(max(o.batches))]
        ran = subprocess.run(command, stdout=subprocess.DEVNULL)
        if ran.returncode != 0:
            sys.exit("compare.py: network.py has failed")

    def contenders(self, mode):
        """Who can do this, ours first."""
        able = ["ours", *(name for name, (_, of, dtypes) in VARIANTS.items() if of == mode and self.options.dtype in dtypes)]
        for name in self.pythons:
            if mode not in PEERS[name].modes:
                self.left_out.add(name, mode, f"it has no {mode}")
            elif self.options.dtype not in PEERS[name].dtypes:
                self.left_out.add(name, mode, f"it computes no convolutions in {self.options.dtype} on a CPU")
            elif self.options.isa == "avx2" and not PEERS[name].avx2:
                self.left_out.add(name, mode, "it is not told here to keep to AVX2")
            else:
                able.append(name)
        return able

    def turn(self, name, mode, size, batch):
        o = self.options
        command = [o.ours] if name == "ours" else [o.ours, VARIANTS[name][0]] if name in VARIANTS else [self.pythons[name], HERE / "contender.py", "--peer", name]
        command += ["--mode", mode, "--size", size, "--batch", batch, "--dtype", o.dtype, "--threads", o.threads, "--seconds", o.seconds, "--files", o.files]
        command += ["--avx2"] if o.isa == "avx2" and command[0] == o.ours else []
        return json_line(list(map(str, command)), **environment_of(name, o.threads, o.files, o.isa))

    def probe(self):
        try:
            avx2 = ["--avx2"] if self.options.isa == "avx2" else []
            self.probes.append(json_line([str(self.options.ours), "--probe", "--threads", str(self.options.threads), *avx2]))
        except Unfit as reason:
            sys.exit(f"compare.py: {self.options.ours} --probe has failed: {reason}")
        return self.probes[-1]["fma_gflops"]

    def case(self, mode, size, batch, able):
        """Runs all in turn. Who fails once is left out of the case."""
        where = f"{mode} {size} batch {batch}"
        turns, peaks, failed = {name: [] for name in able}, [], set()
        for round_number in range(1, self.options.rounds + 1):
            for name in able:
                if name in failed:
                    continue
                peaks.append(self.probe())
                try:
                    turns[name].append(self.turn(name, mode, size, batch) | {"fma_gflops_before": peaks[-1]})
                except Unfit as reason:
                    failed.add(name)
                    turns[name].clear()
                    self.left_out.add(name, where, reason)
                    continue
                print(f"{where}, round {round_number}: {name} {turns[name][-1]['images_per_second_median']:.2f} images/s", file=sys.stderr)
        return summary_of(mode, size, batch, self.options, {name: t for name, t in turns.items() if t}, peaks)


def deviation(mode, found, expected):
    """As many numbers as `TOLERANCES` has."""
    if mode == "inference":
        return [max(abs(a - b) for a, b in zip(found, expected, strict=True))]
    return [abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True)]


def summary_of(mode, size, batch, options, turns, peaks):
    peak = max(peaks)  # what disturbs a probe makes it slower
    flop = turns["ours"][0]["forward_flop_per_image"] * (TRAINING_BY_FORWARD if mode == "training" else 1) if "ours" in turns else None
    expected = next((t[0]["check"] for t in turns.values()), None)
    rows = []
    for name, all_of_it in turns.items():
        medians = [t["images_per_second_median"] for t in all_of_it]
        middle = statistics.median(medians)
        errors = [max(column) for column in zip(*(deviation(mode, t["check"], expected) for t in all_of_it), strict=True)]
        row = {
            "contender": name,
            "version": all_of_it[0]["version"],
            "median": middle,
            "best": max(t["images_per_second_best"] for t in all_of_it),
            "spread": (max(medians) - min(medians)) / middle if len(medians) > 1 else None,
            "share_of_peak": middle * flop / 1e9 / peak if flop else None,
            "rss_mb": statistics.median(t["rss_mb"] for t in all_of_it),
            "rss_loaded_mb": statistics.median(t["rss_loaded_mb"] for t in all_of_it),
            "runs": sum(t["runs"] for t in all_of_it),
            "deviation": errors,
            "right": all(e <= most for e, most in zip(errors, TOLERANCES[mode, options.dtype], strict=True)),  # false too where it is not a number
            "settings": environment_of(name, options.threads, options.files, options.isa),
        }
        rows.append(row)
    case = {"what": mode, "size": size, "batch": batch, "dtype": options.dtype, "isa": options.isa, "threads": options.threads, "rounds": options.rounds, "seconds": options.seconds}
    case |= {"fma_gflops": [min(peaks), statistics.median(peaks), peak], "rows": rows, "turns": turns}
    case["targets"] = [t for t in targets_of(mode, options, rows) if t]
    return case


def targets_of(mode, options, rows):
    yield speed_target("ours", f"{mode}-{options.dtype}", options, rows)
    if mode == "inference" and options.dtype == "f32":
        yield speed_target("ours-winograd", "inference-winograd", options, rows)
    if mode == "training":
        yield memory_target("ours", "training-memory", options, rows)
        yield memory_target("ours-recompute", "training-memory-recompute", options, rows)


def speed_target(who, name, options, rows):
    by_name = {r["contender"]: r for r in rows if r["right"]}
    rivals = [by_name[r] for r in TARGETS[name].rivals if r in by_name]
    if who not in by_name or not rivals:
        return None
    ours, fastest, best = by_name[who], max(rivals, key=lambda r: r["median"]), max(r["best"] for r in rivals)
    ratio = ours["median"] / fastest["median"]
    absent = [r for r in TARGETS[name].rivals if r not in by_name]
    judged = {"ratio": ratio, "ratio_of_best": ours["best"] / best, "target": options.targets[name], "met": ratio >= options.targets[name]}
    return {"name": name, "of": "speed", "who": who, "rival": fastest["contender"], "absent": absent} | judged


def memory_target(who, name, options, rows):
    by_name = {r["contender"]: r for r in rows if r["right"]}
    rival = TARGETS[name].rivals[0]
    if who not in by_name or rival not in by_name:
        return None
    ratio = by_name[rival]["rss_mb"] / by_name[who]["rss_mb"]
    return {"name": name, "of": "memory", "who": who, "rival": rival, "absent": [], "ratio": ratio, "target": options.targets[name], "met": ratio >= options.targets[name]}


HEAD = ["contender", "version", "images/s", "best", "spread", "share of peak", "peak MB", "loaded MB", "ours by it", "deviation"]


def cells(case):
    ours = next((r["median"] for r in case["rows"] if r["contender"] == "ours"), None)
    percent = lambda x: "–" if x is None else f"{100 * x:.1f} %"
    for r in case["rows"]:
        speed = [f"{r['median']:.2f}", f"{r['best']:.2f}", percent(r["spread"]), percent(r["share_of_peak"])]
        memory = [f"{r['rss_mb']:.0f}", f"{r['rss_loaded_mb']:.0f}"]
        by_it = "–" if ours is None else f"{ours / r['median']:.2f}"
        yield [r["contender"], r["version"], *speed, *memory, by_it, ", ".join(f"{e:.1e}" for e in r["deviation"]) + ("" if r["right"] else " WRONG")]


def sentences(case):
    least, middle, most = case["fma_gflops"]
    yield f"FMA peak before the turns, GFLOP/s in float32: least {least:.1f}, middle {middle:.1f}, most {most:.1f}; shares are of the most."
    for t in case["targets"]:
        met = "met" if t["met"] else "NOT MET"
        if t["of"] == "memory":
            yield f"Peak memory: {t['rival']} takes {t['ratio']:.2f} times that of {t['who']}; target {t['target']:g}: {met}."
            continue
        absent = f" ({', '.join(t['absent'])} absent)" if t["absent"] else ""
        ratios = f"{t['ratio']:.3f} times the fastest peer, {t['rival']}{absent}; best by best {t['ratio_of_best']:.3f}"
        yield f"Speed: {t['who']} is {ratios}; target {t['target']:g}: {met}."
    if not any(t["of"] == "speed" for t in case["targets"]):
        yield "Speed: no ratio, as ours or every peer of the target is absent or wrong."


def title(case):
    isa = "" if case["isa"] == "best" else f", {case['isa']}"
    return f"{case['what']}, {case['dtype']}{isa}, {case['size']} × {case['size']}, batch {case['batch']}, {case['threads']} threads, {case['rounds']} rounds of {case['seconds']:g} s"


def shown(case):
    return title(case), [HEAD, *cells(case)], 2, sentences(case)


def markdown(result):
    machine = result["machine"]
    text = f"# DenseNet121 by cxr and by others\n\n{machine['processor']}, {machine['isa']}, memory {machine['memory_gb_per_s']:.1f} GB/s; "
    text += "every number was measured in this run.\n"
    return text + "".join(markdown_table(*shown(case)) for case in result["cases"]) + result["left_out"].markdown()


def names_of(allowed):
    def parse(text):
        names = text.split(",")
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{text!r}: expected some of {', '.join(allowed)}, got {name!r}")
        return names

    return parse


def numbers_of(least):
    def parse(text):
        try:
            numbers = [int(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not numbers or min(numbers) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers of at least {least}, separated by commas")
        return numbers

    return parse


def pair_of(allowed, convert, expected):
    def parse(text):
        name, _, value = text.partition("=")
        if name in allowed and value:
            return name, convert(value)
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}, with one of {', '.join(allowed)}")

    return parse


def positive(convert):
    def parse(text):
        try:
            value = convert(text)
        except ValueError:
            value = 0
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number above 0")
        return value

    return parse


def parse_with_shared(parser, peers, targets, rounds, seconds, turn, program, source, files, report):
    """Adds the options that comparisons share, and parses all. `targets`: ratios by name."""
    parser.add_argument("--threads", type=positive(int), default=len(os.sched_getaffinity(0)), help="default: all processors, here %(default)s")
    parser.add_argument("--rounds", type=positive(int), default=rounds, help="turns of each contender (default %(default)s)")
    parser.add_argument("--seconds", type=positive(float), default=seconds, help=f"measured {turn}, and three runs at least (default %(default)s)")
    parser.add_argument("--peers", type=names_of(peers), default=list(peers), help=f"default {','.join(peers)}")
    python, target = pair_of(peers, str, "NAME=PATH"), pair_of(targets, positive(float), "NAME=RATIO")
    parser.add_argument("--python", type=python, action="append", default=[], metavar="NAME=PATH", help="the Python of a peer; others may use it too")
    parser.add_argument("--target", type=target, action="append", default=[], metavar="NAME=RATIO", help="instead of " + ", ".join(f"{n}={t:g}" for n, t in targets.items()))
    parser.add_argument("--ours", type=Path, default=ROOT / "build/release/bin/benchmarks" / program, help=f"the program of {source}")
    parser.add_argument("--files", type=Path, default=ROOT / "build/peers", help=f"folder for {files} (default build/peers)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"where {report}.json and {report}.md go")
    options = parser.parse_args()
    if not options.ours.is_file():
        parser.error(f"--ours {options.ours}: no such program; build it with: cmake --build build/release --target cxr_benchmark_{program}")
    options.python = dict(options.python)
    options.targets = targets | dict(options.target)
    return options


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    modes = ["inference", "training"]
    parser.add_argument("--what", type=names_of(modes), default=modes)
    parser.add_argument("--sizes", type=numbers_of(32), default=[224], help="pixels of height and width (default 224)")
    parser.add_argument("--batches", type=numbers_of(1), default=[1, 16], help="images at a time (default 1,16)")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--isa", choices=["best", "avx2"], default="best", help="instructions to use (default %(default)s)")
    ratios = {name: t.ratio for name, t in TARGETS.items()}
    options = parse_with_shared(parser, PEERS, ratios, 5, 10, "a turn", "peers_ours", "ours.cpp", "the network and its images", "peers")
    if options.isa == "avx2" and options.dtype == "bf16":
        parser.error("--isa avx2 --dtype bf16: AVX2 has no bfloat16")
    return options


def main():
    options = parse_options()
    comparison = Comparison(options)
    comparison.write_network()
    cases = []
    for mode in options.what:
        able = comparison.contenders(mode)
        for size in options.sizes:
            for batch in options.batches:
                cases.append(comparison.case(mode, size, batch, able))
                show_table(*shown(cases[-1]))
    comparison.left_out.show()
    result = {"machine": max(comparison.probes, key=lambda p: p["fma_gflops"]), "cases": cases, "left_out": comparison.left_out}
    write_report(options.out, "peers", result, markdown(result))
    everything_right = all(row["right"] for case in cases for row in case["rows"])
    return 0 if everything_right and not any(entry["contender"] == "ours" for entry in comparison.left_out) else 1


if __name__ == "__main__":
    sys.exit(main())
