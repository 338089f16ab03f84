// SPDX-License-Identifier: Apache-2.0
// What the component onednn links is all that it needs: a convolution and a loss are computed.

#include <cxr/backend/onednn/backend.hpp>
#include <cxr/loss/weighted_loss.hpp>
#include <cxr/nn/conv.hpp>
#include <cxr/nn/layer.hpp>

#include <cmath>
#include <vector>

int main() {
    cxr::context<cxr::onednn_backend> context;
    auto layer = cxr::nn::build<float>(context, cxr::nn::conv<1, 1, 0>{.out = 16}, {1, 8, 8, 16}, cxr::random(1));
    decltype(layer)::tape tape;
    cxr::tensor<float, 4> x({1, 8, 8, 16}), y({1, 8, 8, 16}, 1.0F);
    layer.forward(context, x.view(), y.view(), tape);
    cxr::weighted_loss<cxr::onednn_backend> loss(context, std::vector<double>{1}, std::vector<double>{1});
    cxr::tensor<float, 2> probability({1, 1}, 0.5F), target({1, 1}, 1.0F);
    return y[0] == 0 && std::abs(loss(target.view(), probability.view()) - std::log(2.0)) < 1e-6 ? 0 : 1;
}
