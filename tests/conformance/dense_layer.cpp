// SPDX-License-Identifier: Apache-2.0
// A dense layer that a backend has taken over, against the generic layer of the same backend: outputs, gradients, running statistics, inference.

#include "backends.hpp"

#include "cxr/backend/thrust/cpp.hpp"
#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

using namespace cxr;

namespace {

constexpr auto spec = models::dense_layer({.growth = 8, .bottleneck = 4}, nn::torchvision_batch_norm, nn::initialisation::he_normal);
using spec_type = std::remove_const_t<decltype(spec)>;

/// Everything that a training step makes of a layer, in one list.
template <class Layer, class Backend>
std::vector<float> everything(context<Backend>& ctx, Layer layer, shape const& in, bool wants_input) {
    cxr::random const numbers(5);
    std::uint64_t stream = 0;
    nn::visit(layer, [&](std::string const& path, auto& p) {
        auto const r = numbers.stream(++stream);
        bool const positive = path.ends_with("var");
        auto values = p.values.to_host();
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = (positive ? 1.0F : 0.0F) + 0.3F * static_cast<float>(r.normal(i));
        p.values.assign(values.data());
    });
    tensor<float, 4> x({in[0], in[1], in[2], in[3]}), d_x(x.extents(), 0.5F);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(numbers.stream("x").normal(i));
    auto const out = infer(spec, in).output;
    tensor<float, 4> y({out[0], out[1], out[2], out[3]}), d_y(y.extents());
    for (std::size_t i = 0; i < y.size(); ++i) d_y[i] = static_cast<float>(numbers.stream("d").normal(i));
    tensor<float, 1> gradients({nn::parameter_count(layer)});
    typename Layer::tape tape;
    layer.forward(ctx, x.view(), y.view(), tape);
    auto const before = y;
    layer.backward(ctx, d_y.view(), wants_input ? d_x.view() : view<float, 4>{}, true, tape, gradients.view());
    layer.commit(ctx, tape, nullptr);
    tensor<float, 4> z(y.extents());
    nn::no_observer nobody;
    nn::freeze(ctx, layer).infer(ctx, x.view(), z.view(), nobody, "");
    std::vector<float> all;
    auto const add = [&](auto const& t) { all.insert(all.end(), t.begin(), t.end()); };
    add(before), add(d_x), add(gradients), add(z);
    nn::visit(layer, [&](std::string const&, auto const& p) { add(p.values.to_host()); });
    return all;
}

template <class Backend>
constexpr bool taken_over = !std::is_same_v<nn::layer<Backend, spec_type, float>, nn::generic_layer<Backend, spec_type, float>>;

static_assert(taken_over<thrust_backend<on_thrust::cpp>> && !taken_over<reference_backend>);

}  // namespace

TEMPLATE_TEST_CASE("a dense layer that a backend takes over is the generic one", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    for (auto const& in : {shape{2, 5, 7, 6}, shape{1, 1, 1, 3}, shape{3, 8, 8, 48}})
        for (bool const wants_input : {true, false}) {
            auto ctx = test::with_threads<TestType>(2);
            INFO(to_string(in) << ", gradient of the input " << wants_input);
            cxr::random const numbers(3);
            nn::builder_of<TestType, float> b(numbers), c(numbers);
            nn::layer<TestType, spec_type, float> taken(b, spec, in);
            nn::generic_layer<TestType, spec_type, float> generic(c, spec, in);
            std::vector<std::string> names, generic_names;
            nn::visit(taken, [&](std::string const& path, auto const& p) { names.push_back(path + " " + to_string(p.shape) + " " + std::to_string(p.offset)); });
            nn::visit(generic, [&](std::string const& path, auto const& p) { generic_names.push_back(path + " " + to_string(p.shape) + " " + std::to_string(p.offset)); });
            CHECK(names == generic_names);
            auto const mine = everything<decltype(taken), TestType>(ctx, taken, in, wants_input);
            auto const expected = everything<decltype(generic), TestType>(ctx, generic, in, wants_input);
            REQUIRE(mine.size() == expected.size());
            double difference = 0, norm = 0;
            for (std::size_t i = 0; i < mine.size(); ++i) {
                difference += std::pow(static_cast<double>(mine[i]) - static_cast<double>(expected[i]), 2);
                norm += std::pow(static_cast<double>(expected[i]), 2);
            }
            CHECK(std::sqrt(difference / norm) < 1e-6);  // the same operations but for the place of the rectifier's derivative
        }
}
