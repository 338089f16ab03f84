// SPDX-License-Identifier: Apache-2.0
// What the component eigen links is all that it needs: a loss is computed.

#include <cxr/backend/eigen/backend.hpp>
#include <cxr/loss/weighted_loss.hpp>

#include <cmath>
#include <vector>

int main() {
    cxr::context<cxr::eigen_backend> context;
    cxr::weighted_loss<cxr::eigen_backend> loss(context, std::vector<double>{1}, std::vector<double>{1});
    cxr::tensor<float, 2> probability({1, 1}, 0.5F), target({1, 1}, 1.0F);
    return std::abs(loss(target.view(), probability.view()) - std::log(2.0)) < 1e-6 ? 0 : 1;
}
