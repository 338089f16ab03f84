// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a test case says that nothing of it can run here.

#include <catch2/catch.hpp>

#include <string>

namespace cxr::test {

/// Says why a whole test case is skipped, in the word by which ctest counts it as skipped (SKIP_REGULAR_EXPRESSION). Not for a part of a case, nor behind an assertion: what fails
/// beside that word counts as skipped too.
inline void skipped(std::string const& why) { WARN("SKIPPED: " << why); }

}  // namespace cxr::test
