// SPDX-License-Identifier: Apache-2.0
// A backend that only writes down where its operands lie shows that public functions hand memory on as it is.

#include "cxr/core/parallel.hpp"
#include "cxr/interop/as_view.hpp"
#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <span>
#include <string_view>
#include <vector>

namespace recording {

struct addresses {
    void const *targets = nullptr, *predictions = nullptr, *known = nullptr, *gradient = nullptr;
};

struct context {
    explicit context(std::size_t = 1) {}
    addresses* seen = nullptr;
};

struct tag {
    static constexpr std::string_view name = "recording";
    using context = recording::context;
};

template <class Target, class T>
double kernel(cxr::ops::weighted_bce, tag, context& context, cxr::ops::bce_weights const&, cxr::view<Target const, 2> const& targets,
              cxr::view<T const, 2> const& predictions, cxr::ops::optional_view<bool const> const& known,
              cxr::ops::optional_view<T> const& gradient) {
    *context.seen = {targets.data(), predictions.data(), known ? known->data() : nullptr, gradient ? gradient->data() : nullptr};
    return 0;
}

template <class Label>
void kernel(cxr::ops::class_counts, tag, context& context, cxr::view<Label const, 2> const& labels,
            cxr::ops::optional_view<bool const> const& known, cxr::ops::class_tally) {
    *context.seen = {labels.data(), nullptr, known ? known->data() : nullptr, nullptr};
}

}  // namespace recording

namespace {

TEST_CASE("the loss and the frequencies hand Eigen, xtensor and plain memory to kernels where they lie") {
    Eigen::MatrixXf eigen = Eigen::MatrixXf::Zero(6, 5);
    Eigen::Array<bool, 4, 3> known;
    xt::xarray<float> array = xt::zeros<float>({4, 6});
    cxr::tensor<float, 2> tensor({4, 3});
    std::vector<float> memory(12);
    auto const plain = cxr::view<float, 2>(memory.data(), {4, 3});

    recording::addresses seen;
    recording::context context;
    context.seen = &seen;
    cxr::weighted_loss<recording::tag> const loss(context, {1, 1, 1}, {1, 1, 1});

    static_cast<void>(loss(eigen.block(1, 2, 4, 3), xt::view(array, xt::all(), xt::range(1, 6, 2))));
    REQUIRE(seen.targets == &eigen(1, 2));
    REQUIRE(seen.predictions == &array(0, 1));
    loss.gradient(plain, tensor, xt::view(array, xt::all(), xt::range(0, 3)), known);
    REQUIRE(seen.targets == memory.data());
    REQUIRE(seen.predictions == tensor.data());
    REQUIRE(seen.gradient == &array(0, 0));
    REQUIRE(seen.known == known.data());

    cxr::stats::class_frequencies frequencies(3);
    frequencies.add<recording::tag>(context, eigen.topRows(4).rightCols(3), known);
    REQUIRE(seen.targets == &eigen(0, 2));
    REQUIRE(seen.known == known.data());
    frequencies.add<recording::tag>(context, xt::view(array, xt::all(), xt::range(3, 6)));
    REQUIRE(seen.targets == &array(0, 3));
}

TEST_CASE("vectors, arrays, spans, tensors and views are looked at where they lie") {
    std::vector<double> vector{1, 2, 3};
    std::array<float, 2> array{4, 5};
    cxr::tensor<int, 3> tensor({2, 3, 4});
    REQUIRE(cxr::as_view(vector).data() == vector.data());
    REQUIRE(cxr::as_view(array).data() == array.data());
    REQUIRE(cxr::as_view(std::span(vector).subspan(1)).data() == &vector[1]);
    REQUIRE(cxr::as_view(tensor).data() == tensor.data());
    REQUIRE(cxr::as_view(tensor.view()).shape() == cxr::shape{2, 3, 4});
    cxr::interop::write<1>(vector)[2] = 7;
    REQUIRE(vector[2] == 7);
    STATIC_REQUIRE_FALSE(cxr::interop::writable<std::vector<double> const, 1>);
    STATIC_REQUIRE_FALSE(cxr::interop::writable<std::span<double const>, 1>);
    STATIC_REQUIRE_FALSE(cxr::interop::readable<std::vector<bool>, 1>);
    STATIC_REQUIRE_FALSE(cxr::interop::readable<cxr::tensor<int, 3>, 2>);
}

}  // namespace
