#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The script that holds the order of the folders finds what it is there to find."""

import unittest

from include_order import check, umbrella


def violations(tree):
    """tree: {header: (component, [includes])}"""
    headers = {name: component for name, (component, _) in tree.items()}
    return list(check(headers, lambda name: "".join(f"#include {i}\n" for i in tree[name][1])))


CORE = {"cxr/core/view.hpp": ("core", ["<span>"]), "cxr/backend/backend.hpp": ("core", ['"cxr/core/view.hpp"'])}


class IncludeOrder(unittest.TestCase):
    def one(self, tree, *words):
        found = violations(CORE | tree)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_the_allowed_direction_passes(self):
        tree = {
            "cxr/ops/pool.hpp": ("core", ['"cxr/backend/backend.hpp"', '"cxr/core/view.hpp"']),
            "cxr/nn/pool.hpp": ("core", ["<cxr/ops/pool.hpp>"]),
            "cxr/backend/reference/pool.hpp": ("core", ['"cxr/ops/pool.hpp"']),
            "cxr/backend/eigen/pool.hpp": ("eigen", ['"cxr/backend/reference/pool.hpp"', "<Eigen/Core>"]),
            "cxr/backend/onednn/pool.hpp": ("onednn", ['"cxr/backend/eigen/pool.hpp"', "<dnnl.hpp>", '"cxr/nn/pool.hpp"']),
        }
        self.assertEqual(violations(CORE | tree), [])

    def test_a_lower_folder_does_not_include_a_higher_one(self):
        self.one(
            {"cxr/ops/pool.hpp": ("core", ['"cxr/nn/pool.hpp"']), "cxr/nn/pool.hpp": ("core", [])},
            "cxr/ops/pool.hpp",
            "ops/ may not include nn/",
        )

    def test_siblings_do_not_include_each_other(self):
        self.one(
            {"cxr/loss/bce.hpp": ("core", ['"cxr/stats/w.hpp"']), "cxr/stats/w.hpp": ("core", [])},
            "loss/ may not include stats/",
        )

    def test_data_includes_only_core(self):
        self.one({"cxr/data/split.hpp": ("core", ['"cxr/ops/x.hpp"']), "cxr/ops/x.hpp": ("core", [])}, "data/")

    def test_only_a_child_includes_a_backend(self):
        backend = {"cxr/backend/reference/pool.hpp": ("core", [])}
        self.one(backend | {"cxr/nn/pool.hpp": ("core", ['"cxr/backend/reference/pool.hpp"'])}, "chooses his backend")
        self.one(
            {
                "cxr/backend/eigen/a.hpp": ("eigen", []),
                "cxr/backend/onednn/a.hpp": ("onednn", ['"cxr/backend/eigen/a.hpp"']),
                "cxr/backend/reference/a.hpp": ("core", []),
                "cxr/backend/eigen/b.hpp": ("eigen", ['"cxr/backend/onednn/a.hpp"', '"cxr/backend/reference/a.hpp"']),
            }
            | {"cxr/backend/onednn/a.hpp": ("eigen", [])},
            "descends from onednn",
        )

    def test_a_backend_does_not_include_what_stands_above_the_models(self):
        self.one(
            {"cxr/backend/reference/a.hpp": ("core", ['"cxr/train/d.hpp"']), "cxr/train/d.hpp": ("core", [])},
            "a backend may not include train/",
        )

    def test_a_third_party_stays_in_its_component(self):
        self.one({"cxr/core/a.hpp": ("core", ["<Eigen/Core>"])}, "component core", "<Eigen/Core>")
        self.one({"cxr/data/a.hpp": ("image", ["<dnnl.hpp>"])}, "component image")

    def test_the_core_does_not_include_a_component(self):
        self.one(
            {"cxr/data/split.hpp": ("core", ['"cxr/data/png.hpp"']), "cxr/data/png.hpp": ("image", ["<png.h>"])},
            "of the component image",
        )

    def test_a_header_outside_the_library_is_named(self):
        self.one({"cxr/core/a.hpp": ("core", ['"cxr/core/none.hpp"'])}, "no header of the library")
        self.one({"cxr/core/a.hpp": ("core", ['"view.hpp"'])}, "named from cxr/")

    def test_a_folder_without_a_place_is_named(self):
        self.one({"cxr/util/a.hpp": ("core", ['"cxr/core/view.hpp"'])}, "util/ has no place")

    def test_a_circle_is_found(self):
        self.one(
            {"cxr/nn/a.hpp": ("core", ['"cxr/nn/b.hpp"']), "cxr/nn/b.hpp": ("core", ['"cxr/nn/a.hpp"'])},
            "a circle",
        )

    def test_the_umbrella_lists_the_core_and_a_backend_by_its_entry(self):
        headers = {
            "cxr/cxr.hpp": "core",
            "cxr/core/view.hpp": "core",
            "cxr/data/png.hpp": "image",
            "cxr/backend/reference/pool.hpp": "core",
            "cxr/backend/reference/backend.hpp": "core",
        }
        self.assertEqual(
            umbrella(headers), '#include "cxr/backend/reference/backend.hpp"\n#include "cxr/core/view.hpp"\n'
        )


if __name__ == "__main__":
    unittest.main()
