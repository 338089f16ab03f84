// SPDX-License-Identifier: Apache-2.0
#include "cxr/nn/batch_norm.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/nn/append.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/elementwise.hpp"
#include "cxr/nn/repeat.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <string>
#include <vector>

using namespace cxr;

namespace {

// Channel 0: 1 2 3 6, mean 3, squared deviations 4 1 0 9: population variance 3.5, unbiased 14/3.
struct fixture {
    context<reference_backend> ctx;
    tensor<double, 4> x{std::array<std::size_t, 4>{2, 1, 2, 1}}, y{x.extents()};
    fixture() {
        int i = 0;
        for (double const v : {1.0, 2.0, 3.0, 6.0}) x[static_cast<std::size_t>(i++)] = v;
    }
    std::map<std::string, double> train(nn::batch_norm spec) {
        auto layer = nn::build<double>(ctx, spec, x.shape(), cxr::random(0));
        decltype(layer)::tape tape;
        layer.forward(ctx, x.view(), y.view(), tape);
        std::map<std::string, double> values;
        nn::visit(layer, [&](std::string const& path, auto const& p) { values["before " + path] = p.values[0]; });
        layer.commit(ctx, tape, nullptr);
        nn::visit(layer, [&](std::string const& path, auto const& p) { values[path] = p.values[0]; });
        return values;
    }
};

}  // namespace

TEST_CASE("running statistics follow torchvision's convention: momentum 0.1, unbiased variance", "[nn]") {
    fixture f;
    auto const v = f.train(nn::torchvision_batch_norm);
    CHECK(v.at("running_mean") == Approx(0.3));
    CHECK(v.at("running_var") == Approx(0.9 + 0.1 * 14 / 3));
    CHECK(f.y[3] == Approx(3 / std::sqrt(3.5 + 1e-5)));
}

TEST_CASE("running statistics follow Keras' convention: momentum 0.99, population variance", "[nn]") {
    fixture f;
    auto const v = f.train(nn::keras_batch_norm);
    CHECK(v.at("running_mean") == Approx(0.03));
    CHECK(v.at("running_var") == Approx(0.99 + 0.01 * 3.5));
    CHECK(f.y[3] == Approx(3 / std::sqrt(3.5 + 1.001e-5)));
}

TEST_CASE("running statistics change only when a step is committed", "[nn]") {
    fixture f;
    auto const v = f.train({});
    CHECK(v.at("before running_mean") == 0);
    CHECK(v.at("before running_var") == 1);
}

TEST_CASE("the moments of a channel far from zero keep their digits in float", "[nn]") {
    context<reference_backend> ctx(2);
    tensor<float, 4> x({4, 16, 16, 1});
    cxr::random const numbers(1);
    double mean = 0, variance = 0;
    for (std::size_t i = 0; i < x.size(); ++i) mean += static_cast<double>(x[i] = static_cast<float>(1000 + 0.1 * numbers.normal(i)));
    mean /= static_cast<double>(x.size());
    for (float const v : x) variance += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
    variance /= static_cast<double>(x.size());
    tensor<double, 1> m({1}), v({1});
    ops::batch_moments<reference_backend, float>(ctx, x.view(), m, v);
    CHECK(m[0] == Approx(mean).epsilon(1e-9));
    CHECK(v[0] == Approx(variance).epsilon(1e-5));
}

TEST_CASE("statistics of a block's channels are computed once and shared", "[nn]") {
    context<reference_backend> ctx;
    tensor<float, 4> x({1, 2, 2, 5}, 1.0F);
    nn::statistics_buffer<host_memory> buffer;
    buffer.begin(5);
    auto& s = buffer.statistics;
    s.ensure<reference_backend, float>(ctx, view<float const, 4>(x.view().slice(3, 0, 3)));
    CHECK(s.known == 3);
    CHECK(s.mean[2] == 1);
    for (float& v : x) v = 2;  // what is known is not looked at again
    s.ensure<reference_backend, float>(ctx, view<float const, 4>(x.view()));
    CHECK(s.known == 5);
    CHECK(s.mean[2] == 1);
    CHECK(s.mean[3] == 2);
}

TEST_CASE("training and inference agree when running statistics are those of the batch", "[nn]") {
    using namespace cxr::nn;
    constexpr auto spec = chain(conv<3>{6}, repeat("layer", 2, append(chain(batch_norm{1e-5, 1.0, false}, relu{}, conv<3>{3}))), batch_norm{1e-5, 1.0, false}, relu{});
    context<reference_backend> ctx(2);
    tensor<double, 4> x({3, 6, 5, 2}), y({3, 6, 5, 12}), z(y.extents());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = cxr::random(3).normal(i);
    auto layer = build<double>(ctx, spec, x.shape(), cxr::random(1));
    decltype(layer)::tape tape;
    layer.forward(ctx, x.view(), y.view(), tape);
    layer.commit(ctx, tape, nullptr);
    std::vector<std::string> seen;
    auto const observer = [&](std::string const& path, view<double const, 4> out) { seen.push_back(path + " " + to_string(out.shape())); };
    freeze(ctx, layer).infer(ctx, x.view(), z.view(), observer, "net");
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(z[i] == Approx(y[i]).margin(1e-12));
    CHECK(seen.front() == "net.0 (3, 6, 5, 6)");
    CHECK(std::find(seen.begin(), seen.end(), "net.1.layer2.2 (3, 6, 5, 3)") != seen.end());
    CHECK(seen.back() == "net.3 (3, 6, 5, 12)");
}
