#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C++ program shown in a page is part of a file in examples/, which is compiled and run; every file that a page links to exists."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    examples = {p: p.read_text() for p in (ROOT / "examples").rglob("*.[ch]pp")}
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    problems = []
    for page in pages:
        text = page.read_text()
        for snippet in re.findall(r"```cpp\n(.*?)```", text, re.S):
            if not any(snippet in code for code in examples.values()):
                problems.append(f"{page.relative_to(ROOT)}: a program that no example has, beginning {snippet.splitlines()[0]!r}")
        for target in re.findall(r"\]\(([^)#:]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
            if not (page.parent / target).exists():
                problems.append(f"{page.relative_to(ROOT)}: a link to {target}, which is not there")
    print("\n".join(problems) or f"{len(pages)} pages agree with examples/")
    return 1 if problems else 0


sys.exit(main())
