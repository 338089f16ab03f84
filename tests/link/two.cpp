// SPDX-License-Identifier: Apache-2.0
// A program's own types of names by which the library calls what arguments find.
struct fused {};
struct infer {};
struct kernel {};
struct only {};
struct rectified {};
struct root {};
struct store {};
struct swap {};
struct where_equal {};

#include "every_header.hpp"

const char* version_seen_by_the_other_unit();

char const* version_seen_by_the_other_unit() {
    return cxr::version.data();
}
