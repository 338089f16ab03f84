// SPDX-License-Identifier: Apache-2.0
#include "../examples/extending.hpp"
#include "numeric.hpp"

#include "cxr/models/densenet.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

using cxr::test::holds;

// What a parent has taken over stays taken over.
static_assert(std::is_same_v<cxr::nn::layer<mine::backend, decltype(cxr::models::densenet_features()), float>, cxr::simd::densenet<mine::backend>>);

TEST_CASE("backward of the layers of docs/extending.md is the derivative of forward", "[gradients][nn]") {
    holds(mine::channel_scale{}, {3, 4, 5, 6});
    holds(mine::channel_scale{}, {1, 1, 1, 1});
    holds(mine::elu{}, {2, 3, 4, 5});
    holds(cxr::nn::chain(cxr::nn::conv<3>{4}, mine::channel_scale{}, mine::elu{}, cxr::nn::conv<1>{3}), {2, 5, 5, 3});
}

TEST_CASE("the backend of docs/extending.md scales channels as reference does", "[nn]") {
    cxr::random const numbers(5);
    for (cxr::shape const& s : {cxr::shape{3, 7, 5, 19}, cxr::shape{1, 1, 1, 1}, cxr::shape{2, 33, 31, 64}}) {
        cxr::tensor<float, 4> in({s[0], s[1], s[2], s[3]}), expected(in.extents()), found(in.extents());
        std::vector<float> factors(s[3]);
        for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(numbers.normal(i));
        for (std::size_t c = 0; c < factors.size(); ++c) factors[c] = static_cast<float>(numbers.stream("factors").normal(c));
        cxr::view<float const, 1> const by(factors.data(), {factors.size()});
        cxr::context<cxr::reference_backend> plain(2);
        mine::context fast(2);
        mine::scale_channels<cxr::reference_backend, float>(plain, in, by, expected);
        mine::scale_channels<mine::backend, float>(fast, in, by, found);
        CHECK(std::equal(found.begin(), found.end(), expected.begin()));
    }
}
