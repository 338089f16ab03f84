// SPDX-License-Identifier: Apache-2.0
#include "every_header.hpp"

char const* version_seen_by_the_other_unit();

// An inline entity has one address in the whole program.
int main() {
    return cxr::version.data() == version_seen_by_the_other_unit() ? 0 : 1;
}
