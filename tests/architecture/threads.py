#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/threads.md says of every public class what threads may do with it: each class of the headers is named there. Of all structs it says one thing, that they are safe to read: none has a
mutable member."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def public_classes(header):
    """Names of the classes of a header, in any namespace but `detail`; private ones inside a class are somebody's own business."""
    text = re.sub(r"namespace ((?:\w+::)*detail) \{.*?\n\}  // namespace \1\n", "", header, flags=re.S)
    names = re.findall(r"^class (?:\[\[[^\]]*\]\] )?(\w+)", text, flags=re.M)
    before_private = "\n".join(part.split("private:")[0] for part in re.split(r"^(?=class )", text, flags=re.M))
    return set(names) | set(re.findall(r"^    class (\w+) \{", before_private, flags=re.M))


def problems_of(headers, page):
    """What is missing on the page; `headers` maps paths to text."""
    named = set(re.findall(r"`(\w+)`", page))
    return [f"{path}: class {name} is not named in docs/threads.md" for path, text in sorted(headers.items()) for name in sorted(public_classes(text) - named)]


def structs_with_mutable_members(header):
    """Names of the structs of which a line of the body, as it is indented in this project, begins with `mutable`."""
    found = re.finditer(r"^( *)struct (?:\[\[[^\]]*\]\] )?(\w+)[^;{\n]*\{\n(.*?)^\1\};", header, flags=re.M | re.S)
    return {m[2] for m in found if re.search(rf"^{m[1]}    mutable ", m[3], flags=re.M)}


def check_the_check():
    header = "class here {\npublic:\n    class inner {};\nprivate:\n    class own {};\n};\nnamespace detail {\nclass hidden {};\n}  // namespace detail\nnamespace a::detail {\nclass hidden_too {};\n}  // namespace a::detail\n"
    assert public_classes(header) == {"here", "inner"}, public_classes(header)
    assert structs_with_mutable_members("class a {\n    mutable int i;\n    struct b {\n        int i;\n    };\n    struct c {\n        mutable int i;\n    };\n};\nstruct d : a {\n    mutable int j;\n};\n") == {"d", "c"}
    assert problems_of({"a.hpp": header}, "`here`") == ["a.hpp: class inner is not named in docs/threads.md"]


def main():
    check_the_check()
    headers = {str(p.relative_to(ROOT)): p.read_text() for p in (ROOT / "include").rglob("*.hpp")}
    problems = problems_of(headers, (ROOT / "docs/threads.md").read_text())
    problems += [f"{path}: struct {name} has a mutable member; docs/threads.md says that structs are safe to read" for path, text in sorted(headers.items()) for name in sorted(structs_with_mutable_members(text))]
    print("\n".join(problems) or f"every class of {len(headers)} headers is named in docs/threads.md")
    return 1 if problems else 0


sys.exit(main())
