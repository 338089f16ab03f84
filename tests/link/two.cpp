// SPDX-License-Identifier: Apache-2.0
#include "every_header.hpp"

const char* version_seen_by_the_other_unit();

const char* version_seen_by_the_other_unit() {
    return cxr::version.data();
}
