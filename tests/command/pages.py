# SPDX-License-Identifier: Apache-2.0
"""The commands that the pages show are run, in their order, on a small part of the shipped X-rays under the names that the pages use."""

import pathlib
import re
import shlex
import shutil

from _cxr_command import *

PAGES = ["README.md", "docs/getting-started.md", "docs/faq.md", "docs/course.md"]

# What stands in a block of shell beside `cxr`, and the test that runs it or the reason why none does.
ELSEWHERE = {
    "scripts/demo": "tests/command/demo.py",
    "scripts/test": "runs these tests",
    "scripts/install-dependencies": "changes the machine",
    "cmake": "has built what is tested here",
    "export": "is done by these tests",
    "g++": "tests/package, case pkg_config",
}


def commands_of(page):
    """Lines of the page's sh blocks, comments taken off, joined where a backslash ends them."""
    blocks = re.findall(r"```sh\n(.*?)```", pathlib.Path(SOURCE, page).read_text(), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


class Pages(CommandTest):
    def setUp(self):
        super().setUp()
        os.symlink(os.path.join(SAMPLE, "images"), self.path("DIR"))
        rows = []
        for name, count in (("train", 16), ("valid", 8), ("test", 8)):
            with open(os.path.join(SAMPLE, name + ".csv")) as file:
                head, *lines = file.readlines()[: count + 1]
            self.write(name + ".csv", head + "".join(lines))
            rows += lines
        self.write("all.csv", head + "".join(rows))

    def test_every_command_of_every_page_works(self):
        ran = 0
        for page in PAGES:
            for name in ("plots", "RUN"):  # each page begins anew
                shutil.rmtree(self.path(name), ignore_errors=True)
            for words in commands_of(page):
                with self.subTest(page=page, command=" ".join(words)):
                    if words[0] != "cxr":
                        self.assertIn(words[0], ELSEWHERE)
                        continue
                    arguments = words[1:]
                    if arguments[0] == "bench":  # which measures for minutes; bench.py runs it in full
                        arguments = [*arguments, "--help"]
                    if arguments[0] == "train" and "--epochs" not in arguments:
                        arguments = [*arguments, "--epochs", "1"]
                    self.good(*arguments, timeout=900)
                    ran += 1
        self.assertGreaterEqual(ran, 12)


if __name__ == "__main__":
    unittest.main()
