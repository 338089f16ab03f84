// error: constraint.*B::name[^a-z]+(is|would be) invalid
// SPDX-License-Identifier: Apache-2.0
// A tag that does not name itself is not a backend.

#include "cxr/backend/backend.hpp"

struct nameless {
    struct context {};
};

using refused = cxr::context<nameless>;
