// SPDX-License-Identifier: Apache-2.0
// DenseNet as the simd backend takes it over, against the generic layers in double: outputs, gradients, running statistics, inference; for every instruction set that the
// processor has. The generic layers in float are the measure of what float can give.

#include "instruction_sets.hpp"
#include "relative_error.hpp"
#include "skipped.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

using namespace cxr;

namespace {

using results = std::map<std::string, std::vector<double>>;

/// A network with numbers of `seed` in it, drawn once for all contexts that go through it; some batch norms, in blocks beside others, go by their running statistics where `fixed`.
template <template <class, class, class> class Layer, class T, class Backend, class Spec>
Layer<Backend, Spec, T> drawn(Spec const& spec, shape const& in, std::uint64_t seed, bool fixed = false) {
    cxr::random const numbers(seed);
    nn::builder_of<Backend, T> b(numbers);
    Layer<Backend, Spec, T> layer(b, spec, in);
    nn::visit(layer, [&](std::string const& path, auto& p) {
        if (p.shape.rank() != 1) return;
        auto const in_part = [&](char const* name) { return path.find(name) != std::string::npos; };
        p.fixed = fixed && !p.trainable && (in_part("norm0") || in_part("denselayer1.norm1") || in_part("denselayer2.norm2") || in_part("denseblock3") || in_part("transition2"));
        for (std::size_t i = 0; i < p.values.size(); ++i)
            p.values[i] = static_cast<T>(path.ends_with("var") || path.ends_with("weight") ? 0.5 + numbers.stream(path).uniform(i) : 0.2 * numbers.stream(path).normal(i));
    });
    return layer;
}

/// Everything that a training step and inference make of a network, by name. What is held against the measure is computed in used memory, for images one by one and by Winograd's
/// filtering, too.
template <class T, class Backend, class Layer, class Spec>
results everything(context<Backend>& ctx, Layer layer, Spec const& spec, shape const& in, bool wants_input, std::uint64_t seed) {
    cxr::random const numbers(seed);
    tensor<T, 4> x({in[0], in[1], in[2], in[3]}), d_x(x.extents(), T{0.5});
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(static_cast<float>(numbers.stream("x").normal(i)));
    auto const out = infer(spec, in).output;
    tensor<T, 4> y({out[0], out[1], out[2], out[3]}), d_y(y.extents()), z(y.extents());
    for (std::size_t i = 0; i < y.size(); ++i) d_y[i] = static_cast<T>(static_cast<float>(numbers.stream("d").normal(i)));
    tensor<T, 1> gradients({nn::parameter_count(layer)});
    typename Layer::tape tape;
    results all;
    auto const add = [&](std::string const& name, auto const* from, std::size_t n) { all[name].assign(from, from + n); };
    constexpr bool measure = std::is_same_v<Backend, reference_backend>;
    for (int step = 0; step < (measure ? 1 : 2); ++step) {
        layer.forward(ctx, x.view(), y.view(), tape);
        add("output", y.data(), y.size());
        auto d = d_y;
        std::fill_n(d_x.data(), d_x.size(), T{0.5});
        layer.backward(ctx, d.view(), wants_input ? d_x.view() : view<T, 4>{}, true, tape, gradients.view());
    }
    layer.commit(ctx, tape, nullptr);
    add("gradient of the input", d_x.data(), d_x.size());
    nn::visit(layer, [&](std::string const& path, auto const& p) {
        if (p.trainable)
            add("gradient of " + path, gradients.data() + p.offset, p.values.size());
        else
            add(path, p.values.data(), p.values.size());
    });
    nn::no_observer nobody;
    nn::freeze(ctx, layer).infer(ctx, x.view(), z.view(), nobody, "");
    add("inference", z.data(), z.size());
    if constexpr (measure) return all;
    for (std::size_t i = 0; i < in[0]; ++i)  // an image alone
        nn::freeze(ctx, layer).infer(ctx, view<T const, 4>(x.view().slice(0, i, 1)), y.view().slice(0, i, 1), nobody, "");
    add("inference one by one", y.data(), y.size());
    if constexpr (requires { ctx.set_winograd(true); }) {
        ctx.set_winograd(true);
        nn::freeze(ctx, layer).infer(ctx, x.view(), z.view(), nobody, "");
        add("inference by Winograd's filtering", z.data(), z.size());
        for (std::size_t i = 0; i < in[0]; ++i) nn::freeze(ctx, layer).infer(ctx, view<T const, 4>(x.view().slice(0, i, 1)), y.view().slice(0, i, 1), nobody, "");
        CHECK(all["inference by Winograd's filtering"] == std::vector<double>(y.data(), y.data() + y.size()));
        ctx.set_winograd(false);
    }
    return all;
}

/// Blocks of numbers in bfloat16, two blocks a plane, as the simd backend keeps them; and those of `blocks` blocks again.
std::vector<float> in_planes(std::vector<float> const& v, std::size_t pixels) {
    using simd::width;
    using factor = simd::format<true>;
    auto const blocks = v.size() / (pixels * width);
    std::vector<float> to(factor::planes(blocks) * pixels * width);
    for (std::size_t k = 0; k < blocks; ++k)
        for (std::size_t p = 0; p < pixels; ++p) factor::put(to.data() + factor::at(k, pixels * width) + p * width, simd::lanes_in<4>::load(v.data() + (k * pixels + p) * width));
    return to;
}
std::vector<float> out_of_planes(std::vector<float> const& v, std::size_t blocks, std::size_t pixels) {
    using simd::width;
    using factor = simd::format<true>;
    std::vector<float> to(blocks * pixels * width);
    for (std::size_t k = 0; k < blocks; ++k)
        for (std::size_t p = 0; p < pixels; ++p) store(to.data() + (k * pixels + p) * width, factor::get<simd::lanes_in<4>>(v.data() + factor::at(k, pixels * width) + p * width));
    return to;
}
/// The nearest numbers of bfloat16.
std::vector<float> rounded(std::vector<float> v) {
    for (auto& x : v) x = static_cast<float>(bf16(x));
    return v;
}

}  // namespace

TEST_CASE("DenseNet on the simd backend is the generic one", "[conformance][nn]") {
    struct example {
        models::densenet_options options;
        shape in;
        bool fixed = false;
    };
    std::vector<example> const examples{{{.blocks = {2, 3, 2, 1}, .growth = 8, .stem = 16}, {4, 65, 97, 3}},
                                        {{.blocks = {1, 1, 2, 2}, .growth = 12, .stem = 24, .details = models::convention::keras}, {6, 96, 64, 1}},
                                        {{.blocks = {2, 2, 2, 2}}, {2, 64, 96, 3}},
                                        {{.blocks = {1, 2, 1, 1}, .growth = 16, .stem = 32}, {2, 160, 130, 3}},
                                        {{.blocks = {1, 1, 1, 1}, .growth = 48, .stem = 96}, {5, 64, 70, 1}},
                                        {{.blocks = {2, 3, 2, 1}, .growth = 8, .stem = 16}, {3, 64, 64, 3}, true}};
    for (auto const& e : examples) {
        context<reference_backend> plain(2);
        auto const spec = models::densenet_features(e.options);
        struct measures {
            results exact, single;
            decltype(drawn<nn::layer, float, simd_backend>(spec, e.in, 0)) layer;
        };
        std::map<std::uint64_t, measures> of_seed;  // the same for all instruction sets
        for (auto const s : test::available({simd::instruction_set::portable, simd::instruction_set::avx2, simd::instruction_set::avx512})) {
            context<simd_backend> ctx(2, s);
            // Where a number falls between two roundings of 0, a rectifier lets it through or not, and all gradients before it change. Then other numbers decide, and twice: what is
            // wrong is wrong for all of them. Outputs and running statistics, which hardly change by it, have no such excuse.
            std::string wrong, excused;
            std::size_t right = 0;
            for (std::uint64_t seed = 5; seed < 9 && right < 2; ++seed) {
                if (!of_seed.contains(seed))
                    of_seed.emplace(seed, measures{everything<double, reference_backend>(plain, drawn<nn::generic_layer, double, reference_backend>(spec, e.in, seed, e.fixed), spec, e.in, true, seed),
                                                   everything<float, reference_backend>(plain, drawn<nn::generic_layer, float, reference_backend>(spec, e.in, seed, e.fixed), spec, e.in, true, seed),
                                                   drawn<nn::layer, float, simd_backend>(spec, e.in, seed, e.fixed)});
                auto const& [exact, single, layer] = of_seed.at(seed);
                auto const mine = everything<float, simd_backend>(ctx, layer, spec, e.in, true, seed);
                REQUIRE(mine.size() == exact.size() + 2);
                CHECK(mine.at("inference") == mine.at("inference one by one"));
                context<simd_backend> alone(1, s);
                alone.set_recompute(true);
                CHECK(everything<float, simd_backend>(alone, layer, spec, e.in, true, seed) == mine);  // one thread, bottlenecks computed again
                std::string of_these;
                for (auto const& [name, values] : exact) {
                    auto const own = test::relative_error(single.at(name), values), ours = test::relative_error(mine.at(name), values);
                    if (ours < 1e-6 + 4 * own) continue;
                    (name.starts_with("gradient") ? of_these : wrong) +=
                        name + " is off by " + std::to_string(1e6 * ours) + "e-6, the generic layers in float by " + std::to_string(1e6 * own) + "e-6, seed " + std::to_string(seed) + "\n";
                }
                // Winograd's filtering rounds more: about ten times, as its authors found.
                auto const own = test::relative_error(single.at("inference"), exact.at("inference")), ours = test::relative_error(mine.at("inference by Winograd's filtering"), exact.at("inference"));
                CHECK(ours < 10 * (1e-6 + 4 * own));
                right += of_these.empty() ? 1U : 0U;
                excused += of_these;
            }
            INFO(to_string(s) << ", " << to_string(e.in) << ": " << wrong << excused);
            CHECK(wrong.empty());
            CHECK(right == 2);
        }
    }
}

TEST_CASE("an image that one thread takes band by band is the same shared by any number of threads", "[conformance][nn]") {
    // An image of 56 × 41 pixels behind the pool: several bands, the last not whole, and fewer rows than threads in the last block.
    shape const in{1, 224, 164, 3};
    models::densenet_options const options{.blocks = {2, 1, 1, 2}};
    cxr::random const numbers(11);
    tensor<float, 4> x({in[0], in[1], in[2], in[3]});
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(numbers.stream("x").normal(i));
    nn::no_observer nobody;
    auto const spec = models::densenet_features(options);
    auto const out = infer(spec, in).output;
    auto const features = [&](auto& ctx, auto const& layer) {
        tensor<float, 4> y({out[0], out[1], out[2], out[3]});
        nn::freeze(ctx, layer).infer(ctx, x.view(), y.view(), nobody, "");
        return std::vector<double>(y.data(), y.data() + y.size());
    };
    context<reference_backend> plain(2);
    auto const exact = features(plain, nn::build<float>(plain, spec, in, cxr::random(5)));
    context<simd_backend> any(1);
    auto const wide = nn::build<float>(any, spec, in, cxr::random(5));
    if (!simd::has_bf16()) WARN("this processor has no AVX512_BF16: bfloat16 is skipped");
    for (auto const s : test::available({simd::instruction_set::portable, simd::instruction_set::avx2, simd::instruction_set::avx512, simd::instruction_set::amx})) {
        for (bool const winograd : {false, true})
            for (bool const in_bf16 : {false, true}) {
                if (in_bf16 && (winograd || s < simd::instruction_set::avx512 || !simd::has_bf16())) continue;
                auto const on = [&](std::size_t threads) {
                    context<simd_backend> ctx(threads, s);
                    ctx.set_winograd(winograd);
                    return in_bf16 ? features(ctx, nn::build<float>(ctx, nn::in_bf16(spec), in, cxr::random(5))) : features(ctx, wide);
                };
                auto const alone = on(1);
                INFO(to_string(s) << (winograd ? ", by Winograd's filtering" : (in_bf16 ? ", in bfloat16" : "")));
                CHECK(test::relative_error(alone, exact) < (in_bf16 ? 2e-2 : (winograd ? 2e-5 : 2e-6)));
                for (std::size_t const threads : {2U, 3U, 4U, 7U, 8U, 16U}) {
                    INFO(threads << " threads");
                    CHECK(on(threads) == alone);
                }
            }
    }
}

TEST_CASE("a training step has the same bits for any number of threads, however these share the work", "[conformance][nn]") {
    auto const spec = models::densenet_features({.blocks = {1, 1, 2, 2}});
    auto const narrow = nn::in_bf16(spec);
    shape const in{3, 96, 64, 3};
    auto const layer = drawn<nn::layer, float, simd_backend>(spec, in, 5);
    if (!simd::has_bf16()) WARN("this processor has no AVX512_BF16: bfloat16 is skipped");
    for (auto const s : test::available({simd::instruction_set::portable, simd::instruction_set::avx2, simd::instruction_set::avx512, simd::instruction_set::amx})) {
        for (bool const in_bf16 : {false, true}) {
            if (in_bf16 && (s < simd::instruction_set::avx512 || !simd::has_bf16())) continue;
            auto const on = [&](std::size_t threads) {
                context<simd_backend> ctx(threads, s);
                return in_bf16 ? everything<float, simd_backend>(ctx, drawn<nn::layer, float, simd_backend>(narrow, in, 5), narrow, in, true, 5) : everything<float, simd_backend>(ctx, layer, spec, in, true, 5);
            };
            auto const alone = on(1);
            INFO(to_string(s) << (in_bf16 ? ", in bfloat16" : ""));
            for (std::size_t const threads : {3U, 5U, 8U, 16U}) {
                INFO(threads << " threads");
                CHECK(on(threads) == alone);
            }
        }
    }
}

TEST_CASE("DenseNet in bfloat16 on the simd backend is the generic one but for the rounding of what is multiplied", "[conformance][nn][bf16]") {
    if (!simd::has_bf16()) {
        context<simd_backend> ctx;
        cxr::random const numbers(1);
        nn::builder_of<simd_backend, float> b(numbers);
        using layer = nn::layer<simd_backend, nn::in_bf16_spec<decltype(models::densenet_features())>, float>;
        CHECK_THROWS_WITH(layer(b, nn::in_bf16(models::densenet_features()), shape{1, 64, 64, 3}), Catch::Contains("AVX512_BF16"));
        WARN("this processor has no AVX512_BF16: the rest is skipped");
        return;
    }
    struct example {
        models::densenet_options options;
        shape in;
    };
    // Odd and even widths, growths of one block and of two, layers of one channel in.
    std::vector<example> const examples{
        {{.blocks = {2, 3, 2, 1}, .growth = 8, .stem = 16}, {4, 65, 97, 3}},
        {{.blocks = {1, 2, 1, 2}, .growth = 32, .stem = 64}, {4, 96, 70, 1}},
        {{.blocks = {1, 1, 1, 1}, .growth = 48, .stem = 96}, {4, 100, 64, 3}},
        {{.blocks = {1, 2, 1, 1}, .growth = 10, .stem = 34, .compression = 0.7}, {2, 64, 64, 3}},
    };
    for (auto const& e : examples) {
        context<reference_backend> plain(2);
        auto const spec = models::densenet_features(e.options);
        auto const narrow = nn::in_bf16(spec);
        auto const exact = everything<double, reference_backend>(plain, drawn<nn::generic_layer, double, reference_backend>(spec, e.in, 5), spec, e.in, true, 5);
        auto const layer = drawn<nn::layer, float, simd_backend>(narrow, e.in, 5);
        for (auto const s : test::available({simd::instruction_set::avx512, simd::instruction_set::amx})) {
            context<simd_backend> one(1, s), two(2, s), again(2, s);
            again.set_recompute(true);
            auto const mine = everything<float, simd_backend>(two, layer, narrow, e.in, true, 5);
            CHECK(mine.at("inference") == mine.at("inference one by one"));
            // Factors are off by at most 2⁻⁹ and by a third of the root of that in the mean, in every convolution anew.
            double layers = 3;
            for (auto const n : e.options.blocks) layers += 2 * static_cast<double>(n);
            double const rounding = std::pow(2.0, -9) * std::sqrt(2 * layers);
            for (auto const& [name, values] : exact) {
                INFO(to_string(s) << ", " << to_string(e.in) << ", " << name << ": rounding accounts for " << rounding);
                // On the way back, rectifiers open or close by it, which no bound of rounding knows: the test below holds the kernels of gradients to exact numbers, and this one sees what
                // is missing, doubled or another tensor's, all of which is off by 1 or more.
                CHECK(test::relative_error(mine.at(name), values) < (name.starts_with("gradient") ? 0.8 : 2 * rounding));
            }
            for (auto* const other : {&one, &again}) CHECK(everything<float, simd_backend>(*other, layer, narrow, e.in, true, 5) == mine);
        }
    }
}

TEST_CASE("what is held to fewer instructions multiplies no bfloat16", "[conformance][nn][bf16]") {
    if (!simd::has_bf16()) return test::skipped("this processor has no AVX512_BF16");
    constexpr auto spec = nn::in_bf16(models::densenet_features({.blocks = {1, 1, 1, 1}, .growth = 8, .stem = 16}));
    cxr::random const numbers(1);
    nn::builder_of<simd_backend, float> b(numbers);
    nn::layer<simd_backend, std::remove_const_t<decltype(spec)>, float> const layer(b, spec, shape{1, 64, 64, 3});
    tensor<float, 4> const x({1, 64, 64, 3});
    context<simd_backend> all(1);
    auto const frozen = layer.freeze(all);
    nn::no_observer nobody;
    for (auto const s : {simd::instruction_set::portable, simd::instruction_set::avx2}) {
        context<simd_backend> held(1, s);
        typename std::remove_const_t<decltype(layer)>::tape tape;
        tensor<float, 4> y({1, 2, 2, infer(spec, shape{1, 64, 64, 3}).output[3]});
        CHECK_THROWS_WITH(layer.forward(held, x.view(), y.view(), tape), Catch::Contains("bfloat16 needs AVX512_BF16, and this context has " + std::string(to_string(s))));
        CHECK_THROWS_AS(layer.freeze(held), backend_error);
        CHECK_THROWS_AS(frozen.infer(held, x.view(), y.view(), nobody, ""), backend_error);
    }
}

TEST_CASE("whole numbers come out of the kernels of bfloat16 as of those of float", "[conformance][bf16]") {
    if (!simd::has_bf16()) return test::skipped("this processor has no AVX512_BF16");
    using namespace simd;
    auto const set = GENERATE(instruction_set::avx512, instruction_set::amx);
    if (test::available({set}).empty()) return;
    simd::context ctx(2, set);
    cxr::random const numbers(3);
    // Whole numbers, factors of at most 8 bits and sums of at most 24: nothing is rounded in either format.
    auto const whole = [&](std::string const& name, std::size_t n, int most, int step) {
        std::vector<float> v(n);
        for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<float>(step * (static_cast<int>(numbers.stream(name).below(i, static_cast<std::uint32_t>(2 * most + 1))) - most));
        return v;
    };
    for (grid const g : {grid{3, 6, 7}, grid{2, 5, 16}, grid{1, 4, 2}, grid{2, 9, 33}, grid{1, 30, 30}})
        for (auto const& sizes : {std::pair<std::size_t, std::size_t>{3, 8}, {8, 2}, {1, 1}, {5, 3}}) {
            std::size_t const in = sizes.first, out = sizes.second;  // not bound by name: clang 14 lets no lambda have such names
            auto const pixels = g.pixels(), lanes = std::max(in, out) * width, small = halves(g).out.pixels();
            auto const x = whole("x", in * pixels * width, 2, 4), y = whole("y", out * pixels * width, 3, 1), d = whole("d", out * pixels * width, 3, 1), before = whole("g", in * pixels * width, 3, 1);
            auto const scale = whole("scale", lanes, 2, 1), shift = whole("shift", lanes, 2, 4), mean = whole("mean", lanes, 1, 1), a = whole("a", lanes, 1, 1), b = whole("b", lanes, 1, 1);
            normalisation const norm{scale.data(), shift.data(), mean.data()};
            affine_gradient const dy{a.data(), b.data(), scale.data(), mean.data()};
            auto const run = [&]<bool Half>() {
                std::vector<std::vector<double>> all;
                auto const keep = [&](auto const* from, std::size_t n) { all.emplace_back(from, from + n); };
                // What is between the two convolutions of a dense layer is kept in bfloat16.
                auto const kept = [&](std::vector<float> const& v) {
                    if constexpr (!Half) return v;
                    return in_planes(v, pixels);
                };
                auto const x_kept = kept(x), y_kept = kept(y);
                for (std::size_t const taps : {1U, 9U}) {
                    weight_places const places{out * width, in * width, taps, {out * width, 0}, {in * width, 0}};
                    auto const w = whole("w", out * in * width * width * taps, 1, 1);
                    std::vector<float> packed(places.packed()), turned(places.turned()), z(out * pixels * width), gx(before), gradient(w.size(), std::numeric_limits<float>::quiet_NaN());
                    weight_gradient const d_weights{places, gradient.data()};
                    pack<Half>(ctx.instructions(), places, w.data(), packed.data(), [](std::size_t) { return 1.0F; });
                    pack_turned<Half>(ctx.instructions(), places, w.data(), turned.data());
                    workspace::frame scratch(ctx.scratch());
                    auto const tile = backward_tile_pixels<Half>(pixels), count = taps == 1 ? (pixels + tile - 1) / tile : bands<Half>{g, band_rows<Half>(g, in)}.count();
                    auto const groups = std::min<std::size_t>(2, count);
                    group_sums const sums(scratch, 3, lanes), back(scratch, groups, lanes);
                    if (taps == 1) {
                        simd::pointwise<Half>(ctx, pixels, x.data(), in, norm, packed.data(), out, z.data(), sums, 3);
                        simd::pointwise_backward<Half>(ctx, pixels, x.data(), in, norm, turned.data(), out, d.data(), y_kept.data(), dy, gx.data(), true, back, groups, d_weights);
                        z = Half ? out_of_planes(z, out, pixels) : rounded(z);
                    } else {
                        simd::window<Half>(ctx, g, x_kept.data(), in, norm, packed.data(), out, z.data(), sums, 3);
                        simd::window_backward<Half>(ctx, g, x_kept.data(), in, norm, turned.data(), out, d.data(), y.data(), dy, gx.data(), back, groups, d_weights);
                    }
                    keep(z.data(), z.size()), keep(gx.data(), gx.size()), keep(gradient.data(), gradient.size());
                    keep(sums.first(), out * width), keep(sums.second(), out * width), keep(back.first(), in * width), keep(back.second(), in * width);
                    if (taps != 1) continue;
                    std::fill(gradient.begin(), gradient.end(), std::numeric_limits<float>::quiet_NaN());
                    workspace::frame more(ctx.scratch());
                    auto const halved_groups = std::min<std::size_t>(2, halves(g).count());
                    group_sums const halved(more, 3, lanes), halved_back(more, halved_groups, lanes);
                    simd::transition<Half>(ctx, g, x.data(), in, norm, packed.data(), out, z.data(), halved, 3);
                    simd::transition_backward<Half>(ctx, g, x.data(), in, norm, turned.data(), out, d.data(), y.data(), dy, gx.data(), halved_back, halved_groups, d_weights);
                    keep(z.data(), out * small * width), keep(gx.data(), gx.size()), keep(gradient.data(), gradient.size());
                    keep(halved.first(), out * width), keep(halved_back.second(), in * width);
                }
                return all;
            };
            auto const wide = run.template operator()<false>(), narrow = run.template operator()<true>();
            INFO(to_string(set) << ", " << g.images << " images of " << g.height << " x " << g.rows_width << ", " << in << " blocks to " << out);
            for (std::size_t i = 0; i < wide.size(); ++i) {
                INFO("result " << i);
                CHECK((wide[i] == narrow[i]));
            }
        }
}
