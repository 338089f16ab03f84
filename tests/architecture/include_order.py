#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the include graph of the library against the order of its folders.

    include_order.py INCLUDE_DIRECTORY HEADERS.TXT     prints each violation, exit 1 if there are any
    include_order.py --write-umbrella INCLUDE_DIRECTORY HEADERS.TXT

HEADERS.TXT is written by the build: one line "<component> <header>" for each header. Below lie the tables that docs/architecture.md explains.
"""

import re
import sys
from pathlib import Path

# One direction only: a folder may include itself, and what its line names.
BASE = {"core", "interop"}
OPS = BASE | {"backend", "ops"}
MATHS = OPS | {"stats", "loss", "nn"}
FOLDERS = {
    "core": set(),
    "interop": {"core"},
    "backend": BASE,  # backend/backend.hpp alone; the folders below it are in BACKENDS
    "ops": BASE | {"backend"},
    "stats": OPS,
    "loss": OPS,
    "nn": OPS,
    "models": MATHS,
    "optim": MATHS | {"models"},
    "data": BASE,
    "io": MATHS | {"models"},
    "metrics": BASE,
    "train": MATHS | {"models", "optim", "data", "io", "metrics"},
}

# A backend's folder includes what a backend implements or takes over, its own files and those of its parent; nothing else includes it.
BACKENDS = {"reference": None, "simd": "reference", "eigen": "reference", "xtensor": "reference", "onednn": "eigen", "thrust": "eigen", "cuda": "thrust"}
BACKEND_MAY = OPS | {"nn", "models"}

# A component's headers include those of the core, of its parents and its own; and these third parties.
COMPONENTS = {"core": None, "eigen": "core", "xtensor": "core", "onednn": "eigen", "image": "core", "table": "core", "keras": "core", "onnx": "core", "thrust": "eigen", "cuda": "thrust"}
THIRD_PARTY = {
    "eigen": r"Eigen/|omp\.h",
    "xtensor": r"(xtensor|xtl)/",
    "onednn": r"(dnnl\w*\.h|oneapi/dnnl/|omp\.h)",
    "image": r"(png|jpeglib|jerror|jpegint|zlib)\.h",
    "thrust": r"thrust/|omp\.h|tbb/|cuda_runtime(_api)?\.h",
    "cuda": r"(cuda_runtime(_api)?|cuda_bf16|cublasLt|cudnn(_\w+)?|nccl|driver_types)\.h",
    "table": r"zlib\.h",
    "keras": r"(hdf5|archive|archive_entry)\.h",
    "onnx": r"(onnx|google/protobuf)/",
}
# The C++ standard library has no dot in its names; these come with the compiler and the C library.
PLATFORM = r"(sys/|linux/|(immintrin|cpuid|arm_neon|unistd|fcntl|sched|pthread|errno|signal|dirent)\.h$)"

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
UMBRELLAS = {"cxr/cxr.hpp"}


def ancestors(name, parents):
    while name is not None:
        yield name
        name = parents.get(name)


def folder(header):
    """(folder, backend or None) of cxr/<folder>/… ; the umbrella and the version stand above the folders."""
    parts = header.split("/")
    if len(parts) == 2:
        return "", None
    return parts[1], parts[2] if parts[1] == "backend" and len(parts) > 3 else None


def direction(header, included):
    """Why `header` may not include `included`, or None."""
    own, own_backend = folder(header)
    other, other_backend = folder(included)
    if header in UMBRELLAS:
        return None
    if included in UMBRELLAS:
        return "the umbrella is for users"
    if own == "":
        return "it stands below every folder"
    if other == "":
        return None
    if own not in FOLDERS or other not in FOLDERS:
        return f"the folder {own if own not in FOLDERS else other}/ has no place in the order"
    if other_backend:
        if own_backend and other_backend in ancestors(own_backend, BACKENDS):
            return None
        return f"only a backend that descends from {other_backend} includes it; the user chooses his backend"
    if own_backend:
        return None if other in BACKEND_MAY else f"a backend may not include {other}/"
    return None if other == own or other in FOLDERS[own] else f"{own}/ may not include {other}/"


def check(headers, text):
    """Violations, as sentences. headers: {name: component}; text: name -> source."""
    for header, component in sorted(headers.items()):
        own_backend = folder(header)[1]
        if own_backend and own_backend not in BACKENDS:
            yield f"{header}: the backend {own_backend} is not in the table of backends"
        for style, included in INCLUDE.findall(text(header)):
            if included.startswith("cxr/"):
                if included not in headers:
                    yield f"{header} includes {included}, which is no header of the library"
                    continue
                reason = direction(header, included)
                if reason:
                    yield f"{header} includes {included}: {reason}"
                if headers[included] not in ancestors(component, COMPONENTS):
                    yield (
                        f"{header} belongs to the component {component} and includes {included}"
                        f" of the component {headers[included]}"
                    )
            elif style == '"':
                yield f"{header} includes \"{included}\": own headers are named from cxr/, others in angle brackets"
            elif "." in included or "/" in included:
                allowed = [THIRD_PARTY[c] for c in ancestors(component, COMPONENTS) if c in THIRD_PARTY] + [PLATFORM]
                if not any(re.match(pattern, included) for pattern in allowed):
                    yield f"{header} belongs to the component {component} and includes the third party's <{included}>"
    yield from cycles(headers, text)


def cycles(headers, text):
    """Headers that include themselves, through others."""
    graph = {h: [i for _, i in INCLUDE.findall(text(h)) if i in headers] for h in headers}
    done, path = set(), []

    def visit(header):
        if header in path:
            yield " includes ".join(path[path.index(header) :] + [header]) + ": a circle"
        elif header not in done:
            path.append(header)
            for included in graph[header]:
                yield from visit(included)
            path.pop()
            done.add(header)

    for header in sorted(headers):
        yield from visit(header)


def umbrella(headers):
    """What cxr.hpp lists: every header of the core but itself, a backend's through its entry header."""
    names = (h for h, component in headers.items() if component == "core" and h not in UMBRELLAS)
    listed = sorted(h for h in names if folder(h)[1] is None or h.endswith("/backend.hpp"))
    return "".join(f'#include "{h}"\n' for h in listed)


def main(arguments):
    write = arguments[:1] == ["--write-umbrella"]
    directory, table = Path(arguments[-2]), Path(arguments[-1])
    headers = {}
    for line in table.read_text().splitlines():
        component, header = line.split(" ", 1)
        headers[header] = component
    umbrella_file = directory / "cxr/cxr.hpp"
    wanted = umbrella(headers)
    if write:
        kept = "".join(l for l in umbrella_file.read_text().splitlines(True) if not l.startswith("#include"))
        umbrella_file.write_text(kept + wanted)
        return 0
    violations = list(check(headers, lambda header: (directory / header).read_text()))
    listed = set(re.findall(r'#include "([^"]+)"', umbrella_file.read_text()))
    expected = set(re.findall(r'#include "([^"]+)"', wanted))
    violations += [f"cxr/cxr.hpp does not list {h} (--write-umbrella mends it)" for h in sorted(expected - listed)]
    violations += [f"cxr/cxr.hpp lists {h}, which is not of the core" for h in sorted(listed - expected)]
    for violation in violations:
        print(violation)
    print(f"{len(headers)} headers, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
