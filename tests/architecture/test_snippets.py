#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C++ program shown in a page is part of a file in examples/, which is compiled and run; every file that a page links to or names exists, and so does every name of the code in the recipes."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


FILE = re.compile(r"(?<![\w/.<>*-])(?!build/)[\w.-]+(?:/[\w.-]+)*/[\w.-]+\.(?:hpp|cpp|cuh?|py|cmake|md|svg|txt)\b|(?<![\w/.-])scripts/[\w-]+")
RECIPES = ("CONTRIBUTING.md", "docs/extending.md")
NAME = re.compile(r"(?<!\w)(?!cxr_)[A-Za-z]\w*_\w+")  # cxr_…: targets, some of whose names CMake makes


def tree():
    """Paths of the project's files, as text, and every word of its code."""
    folders = ("include", "tests", "examples", "benchmarks", "cmake", "scripts", "docs")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    code = [p for p in files if p.suffix in (".hpp", ".cpp", ".cu", ".py", ".cmake", ".txt", "") and p.stat().st_size < 1_000_000]
    words = {w for p in [*code, ROOT / "CMakeLists.txt"] for w in re.findall(r"\w+", p.read_text(errors="ignore"))}
    return ["/" + str(p.relative_to(ROOT)) for p in files], words


def main():
    examples = {p: p.read_text() for p in (ROOT / "examples").rglob("*.[ch]pp")}
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    files, words = tree()
    problems = []
    for page in pages:
        text = page.read_text()
        name = page.relative_to(ROOT)
        for snippet in re.findall(r"```cpp\n(.*?)```", text, re.S):
            if not any(snippet in code for code in examples.values()):
                problems.append(f"{name}: a program that no example has, beginning {snippet.splitlines()[0]!r}")
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            if not (page.parent / target).exists():
                problems.append(f"{name}: a link to {target}, which is not there")
        for code in re.findall(r"`([^`\n]+)`", prose):
            problems += [f"{name}: {file} is no file" for file in FILE.findall(code) if not any(f.endswith("/" + file) for f in files)]
            if str(name) in RECIPES:
                problems += [f"{name}: `{word}` is in no code" for word in NAME.findall(code) if word not in words]
    print("\n".join(problems) or f"{len(pages)} pages agree with examples/ and the tree")
    return 1 if problems else 0


sys.exit(main())
