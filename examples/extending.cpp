// SPDX-License-Identifier: Apache-2.0
// A network of layers that cxr has not, on a backend that it has not, learns.

#include "extending.hpp"

#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/linear.hpp"
#include "cxr/nn/pool.hpp"
#include "cxr/train/network.hpp"

#include <cstdio>
#include <string>
#include <vector>

int main() {
    using namespace cxr::nn;
    constexpr auto spec = chain(named("conv", conv<3>{8}), named("scale", mine::channel_scale{}), named("elu", mine::elu{}), named("pool", global_average_pool{}), named("classifier", linear{1}),
                                named("sigmoid", sigmoid{}));
    static_assert(infer(spec, cxr::shape{{8, 16, 16, 1}}).parameters == 8 * 9 + 8 + 9);

    // Bright images are positive, dark ones are not.
    cxr::tensor<float, 4> images({8, 16, 16, 1});
    cxr::tensor<float, 2> targets({8, 1});
    cxr::random const numbers(1);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i)) + (i / 256 % 2 == 0 ? 0.2F : -0.2F);
    for (std::size_t i = 0; i < 8; ++i) targets(i, 0) = i % 2 == 0 ? 1.0F : 0.0F;

    mine::context context(2);
    cxr::train::network network(context, spec, {16, 16, 1}, cxr::weighted_loss<mine::backend>(context, std::vector<double>{0.5}, std::vector<double>{0.5}), {.learning_rate = 0.01}, numbers);
    double const before = network.step(images, targets);
    double after = before;
    for (int step = 0; step < 40; ++step) after = network.step(images, targets);
    network.visit([](std::string const& path, auto const& p) { std::printf("%-18s %3zu numbers\n", path.c_str(), p.values.size()); });
    std::printf("loss %.4f, after 40 steps %.4f\n", before, after);

    // No fallback is silent: who serves an operation with these arguments can be asked.
    using in = cxr::view<float const, 4>;
    using factors = cxr::view<float const, 1>;
    using out = cxr::view<float, 4>;
    constexpr auto forward = cxr::serving<mine::backend, mine::scale_channels_key, mine::context&, in, factors, out>();
    constexpr auto backward = cxr::serving<mine::backend, mine::scale_channels_backward_key, mine::context&, in, factors, in, out, bool, cxr::view<float, 1>>();
    std::printf("scale_channels by %s, its derivative by %s\n", std::string(forward).c_str(), std::string(backward).c_str());
    return after < before / 2 && forward == "mine" && backward == "reference" ? 0 : 1;
}
