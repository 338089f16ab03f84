// error: a lazy expression must be evaluated first
// SPDX-License-Identifier: Apache-2.0
// A view of an expression would look at values that nobody keeps.

#include "cxr/interop/eigen.hpp"

auto call(Eigen::MatrixXd const& a) { return cxr::as_view(a + a); }
