// SPDX-License-Identifier: Apache-2.0
// Every operation that layers are made of, on each backend that has layers, against the reference backend in double.

#include "backends.hpp"

#include "cxr/backend/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/memory.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/ops/activations.hpp"
#include "cxr/ops/batch_norm.hpp"
#include "cxr/ops/bias.hpp"
#include "cxr/ops/convolution.hpp"
#include "cxr/ops/pool.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

using namespace cxr;

namespace {

// A float32 sum of K random products differs from the exact one by about √K · 2⁻²⁴ of its size; K is at most 14,000 here: 7e-6.
constexpr double tolerance = 7e-6;

/// The same random numbers in `T` and in double, (N, H, W, C), in a buffer that is `wider` channels wider, `wider` of them in front; bfloat16's numbers where `short_numbers`.
template <class T>
struct images_of {
    tensor<T, 4> f;
    tensor<double, 4> d;
    std::size_t first, channels;

    images_of(shape const& s, std::uint64_t stream, std::size_t wider = 0, bool short_numbers = false)
        : f({s[0], s[1], s[2], s[3] + wider}), d(f.extents()), first(wider), channels(s[3]) {
        cxr::random const numbers(11, stream);
        for (std::size_t i = 0; i < f.size(); ++i) {
            auto const number = static_cast<float>(numbers.normal(i));
            f[i] = static_cast<T>(short_numbers ? static_cast<float>(bf16(number)) : number);
        }
        meet();
    }
    /// The numbers in double become those in `T`.
    void meet() {
        for (std::size_t i = 0; i < f.size(); ++i) d[i] = static_cast<double>(f[i]);
    }
    view<T, 4> single() { return f.view().slice(3, first, channels); }
    view<double, 4> exact() { return d.view().slice(3, first, channels); }
    /// ‖float − double‖ / ‖double‖ over the whole buffer: what lies beside the slice must not have changed.
    double deviation() const {
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < f.size(); ++i) {
            difference += std::pow(static_cast<double>(f[i]) - d[i], 2);
            norm += d[i] * d[i];
        }
        return std::sqrt(difference / norm);
    }
    /// The largest |T − double| / max |double| of the slice beyond what rounding to `T` at most adds to an element: `roundoff` of it, and where it was added to `before`, of the summand
    /// too, which some round first. Infinity where something beside the slice is no longer as it was in `before`.
    double unexplained(double roundoff, tensor<double, 4> const& before, bool added = false) const {
        double off = 0, largest = 0;
        for (std::size_t i = 0; i < f.size(); ++i) {
            auto const found = static_cast<double>(f[i]);
            if (i % f.extent(3) < first) {
                if (found != before[i]) return std::numeric_limits<double>::infinity();
                continue;
            }
            auto const beyond = std::abs(found - d[i]) - roundoff * (std::abs(d[i]) + (added ? std::abs(d[i] - before[i]) : 0));
            if (std::isnan(beyond)) return beyond;
            off = std::max(off, beyond);
            largest = std::max(largest, std::abs(d[i]));
        }
        return off / largest;
    }
};
using images = images_of<float>;

struct convolution_case {
    shape in;
    std::size_t outputs;
    ops::window window;
    std::size_t wider;
};

template <class Backend>
void convolution_conforms() {
    // clang-format off
    auto const cases = {
        convolution_case{{1, 1, 1, 1}, 1, {1, 1, 0}, 0},       {{2, 7, 9, 5}, 3, {3, 1, 1}, 0},         {{3, 8, 8, 16}, 32, {3, 1, 1}, 7},
        {{2, 17, 18, 3}, 64, {7, 2, 3}, 0},                    {{5, 9, 9, 6}, 4, {2, 3, 0}, 1},         {{4, 9, 9, 6}, 4, {1, 2, 0}, 1},
        {{4, 10, 10, 6}, 4, {1, 2, 0}, 1},                     // the windows of the one before on a larger image
        {{9, 2, 2, 128}, 32, {3, 1, 1}, 5},                    {{1, 32, 5, 8}, 8, {3, 1, 1}, 0},        {{2, 11, 13, 4}, 6, {5, 2, 0}, 3},
        {{1, 224, 224, 3}, 64, {7, 2, 3}, 0},                  // DenseNet-121 at 224: the stem,
        {{1, 56, 56, 128}, 32, {3, 1, 1}, 64},                 // a dense layer of the first block, written into its block,
        {{2, 56, 56, 96}, 128, {1, 1, 0}, 160},                // its bottleneck, read from its block,
        {{1, 28, 28, 512}, 256, {1, 1, 0}, 0},                 // a transition,
        {{2, 7, 7, 992}, 128, {1, 1, 0}, 32},                  // the last bottleneck
        {{4, 7, 7, 128}, 32, {3, 1, 1}, 992},                  // and the last dense layer.
        {{3, 1, 1, 1024}, 14, {1, 1, 0}, 0},                   // The head.
    };
    // clang-format on
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    for (auto const& c : cases) {
        auto const out = c.window.output(c.in, c.outputs);
        INFO(to_string(c.in) << " to " << to_string(out) << ", window " << c.window.size << " stride " << c.window.stride << " padding " << c.window.padding);
        images x(c.in, 1, c.wider), y(out, 2, c.wider), dx(c.in, 3, c.wider), w({c.outputs, c.in[3], c.window.size, c.window.size}, 4), dw({c.outputs, c.in[3], c.window.size, c.window.size}, 5);
        ops::convolution<Backend, float>(ctx, c.window, x.single(), w.single(), y.single());
        ops::convolution<reference_backend, double>(exact, c.window, x.exact(), w.exact(), y.exact());
        CHECK(y.deviation() < tolerance);
        for (bool const accumulate : {false, true}) {
            ops::convolution_backward_data<Backend, float>(ctx, c.window, y.single(), w.single(), dx.single(), accumulate);
            ops::convolution_backward_data<reference_backend, double>(exact, c.window, y.exact(), w.exact(), dx.exact(), accumulate);
            CHECK(dx.deviation() < tolerance);
        }
        ops::convolution_backward_weights<Backend, float>(ctx, c.window, x.single(), y.single(), dw.single());
        ops::convolution_backward_weights<reference_backend, double>(exact, c.window, x.exact(), y.exact(), dw.exact());
        CHECK(dw.deviation() < tolerance);
    }
}

template <class Backend>
void elementwise_conforms() {
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    for (auto const& s : {shape{1, 1, 1, 1}, shape{3, 5, 7, 13}, shape{2, 28, 28, 96}, shape{1, 56, 56, 256}, shape{2, 7, 7, 1024}, shape{16, 1, 1, 14}}) {
        INFO(to_string(s));
        images x(s, 1, 3), y(s, 2, 5), d(s, 3, 2), dx(s, 4, 3);
        ops::relu<Backend, float>(ctx, x.single(), y.single());
        ops::relu<reference_backend, double>(exact, x.exact(), y.exact());
        CHECK(y.deviation() == 0);
        for (bool const accumulate : {false, true}) {
            ops::relu_backward<Backend, float>(ctx, y.single(), d.single(), dx.single(), accumulate);
            ops::relu_backward<reference_backend, double>(exact, y.exact(), d.exact(), dx.exact(), accumulate);
            CHECK(dx.deviation() < tolerance);
        }
        ops::sigmoid<Backend, float>(ctx, x.single(), y.single());
        ops::sigmoid<reference_backend, double>(exact, x.exact(), y.exact());
        CHECK(y.deviation() < tolerance);
        for (bool const accumulate : {false, true}) {
            ops::sigmoid_backward<Backend, float>(ctx, y.single(), d.single(), dx.single(), accumulate);
            ops::sigmoid_backward<reference_backend, double>(exact, y.exact(), d.exact(), dx.exact(), accumulate);
            CHECK(dx.deviation() < tolerance);
        }
        for (bool const accumulate : {false, true}) {
            ops::copy<Backend, float>(ctx, x.single(), y.single(), accumulate);
            ops::copy<reference_backend, double>(exact, x.exact(), y.exact(), accumulate);
            CHECK(y.deviation() < tolerance);
        }
        images b({1, 1, 1, s[3]}, 6), db({1, 1, 1, s[3]}, 7);
        ops::add_bias<Backend, float>(ctx, view<float const, 1>(b.f.data(), {s[3]}), y.single());
        ops::add_bias<reference_backend, double>(exact, view<double const, 1>(b.d.data(), {s[3]}), y.exact());
        CHECK(y.deviation() < tolerance);
        ops::bias_backward<Backend, float>(ctx, d.single(), view<float, 1>(db.f.data(), {s[3]}));
        ops::bias_backward<reference_backend, double>(exact, d.exact(), view<double, 1>(db.d.data(), {s[3]}));
        CHECK(db.deviation() < tolerance);
    }
}

/// Conversions round each element alone: the reference's bits, on every backend.
template <class Backend>
void conversion_conforms() {
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    for (auto const& s : {shape{1, 1, 1, 1}, shape{3, 5, 7, 13}, shape{2, 28, 28, 96}, shape{1, 56, 56, 256}, shape{2, 7, 7, 1024}}) {
        INFO(to_string(s));
        images x(s, 1, 3), back(s, 2, 2), back_exact(s, 2, 2);
        tensor<bf16, 4> half({s[0], s[1], s[2], s[3] + 1}, bf16(0.75F)), half_exact = half;
        auto const narrow = half.view().slice(3, 1, s[3]), narrow_exact = half_exact.view().slice(3, 1, s[3]);
        auto const same = [](auto const& a, auto const& b) { return std::equal(a.begin(), a.end(), b.begin(), [](auto p, auto q) { return static_cast<float>(p) == static_cast<float>(q); }); };
        for (bool const accumulate : {false, true}) {
            ops::convert<Backend, float, bf16>(ctx, x.single(), narrow, accumulate);
            ops::convert<reference_backend, float, bf16>(exact, x.single(), narrow_exact, accumulate);
            CHECK(same(half, half_exact));
            CHECK(static_cast<float>(half(0, 0, 0, 0)) == 0.75F);
            ops::convert<Backend, bf16, float>(ctx, view<bf16 const, 4>(narrow), back.single(), accumulate);
            ops::convert<reference_backend, bf16, float>(exact, view<bf16 const, 4>(narrow_exact), back_exact.single(), accumulate);
            CHECK(same(back.f, back_exact.f));
        }
        ops::convert<Backend, float, bf16>(ctx, x.single(), narrow);
        CHECK(static_cast<float>(narrow(0, 0, 0, 0)) == static_cast<float>(bf16(x.single()(0, 0, 0, 0))));
    }
}

template <class Backend>
void pools_conform() {
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    struct pool_case {
        shape in;
        ops::window window;
        bool largest;
    };
    for (auto const& c : {pool_case{{2, 9, 8, 5}, {3, 2, 1}, true}, pool_case{{1, 112, 112, 64}, {3, 2, 1}, true}, pool_case{{2, 5, 7, 3}, {2, 2, 0}, false},
                          pool_case{{2, 28, 28, 256}, {2, 2, 0}, false}, pool_case{{3, 7, 7, 1024}, {0, 1, 0}, false}, pool_case{{1, 1, 1, 1}, {1, 1, 0}, true}, pool_case{{1, 1, 1, 1}, {0, 1, 0}, false}, pool_case{{1, 3, 2, 1}, {2, 2, 0}, false}}) {
        auto const out = c.window.size == 0 ? shape{c.in[0], 1, 1, c.in[3]} : c.window.output(c.in, c.in[3]);
        INFO(to_string(c.in) << ", window " << c.window.size);
        images x(c.in, 1, 2), y(out, 2, 3), d(out, 3, 1), dx(c.in, 4, 2);
        std::array<std::size_t, 4> const extents{out[0], out[1], out[2], out[3]};
        tensor<std::uint8_t, 4> at(extents), at_exact(extents);
        if (c.largest) {
            ops::max_pool<Backend, float>(ctx, c.window, x.single(), y.single(), at);
            ops::max_pool<reference_backend, double>(exact, c.window, x.exact(), y.exact(), at_exact);
            CHECK(std::equal(at.begin(), at.end(), at_exact.begin()));
        } else {
            ops::average_pool<Backend, float>(ctx, c.window, x.single(), y.single());
            ops::average_pool<reference_backend, double>(exact, c.window, x.exact(), y.exact());
        }
        CHECK(y.deviation() < tolerance);
        for (bool const accumulate : {false, true}) {
            if (c.largest) {
                ops::max_pool_backward<Backend, float>(ctx, c.window, at.view(), d.single(), dx.single(), accumulate);
                ops::max_pool_backward<reference_backend, double>(exact, c.window, at_exact.view(), d.exact(), dx.exact(), accumulate);
            } else {
                ops::average_pool_backward<Backend, float>(ctx, c.window, d.single(), dx.single(), accumulate);
                ops::average_pool_backward<reference_backend, double>(exact, c.window, d.exact(), dx.exact(), accumulate);
            }
            CHECK(dx.deviation() < tolerance);
        }
    }
}

template <class Backend>
void batch_norm_conforms() {
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    for (auto const& s : {shape{1, 1, 1, 1}, shape{3, 5, 7, 13}, shape{2, 56, 56, 96}, shape{16, 2, 2, 992}}) {
        INFO(to_string(s));
        auto const channels = s[3];
        images x(s, 1, 3), d(s, 3, 2), dx(s, 4, 3), gamma({1, 1, 1, channels}, 5), dgamma({1, 1, 1, channels}, 6), dbeta({1, 1, 1, channels}, 7);
        tensor<double, 1> mean({channels}), variance({channels}), mean_exact({channels}), variance_exact({channels}), inverse({channels});
        ops::batch_moments<Backend, float>(ctx, x.single(), mean, variance);
        ops::batch_moments<reference_backend, double>(exact, x.exact(), mean_exact, variance_exact);
        for (std::size_t c = 0; c < channels; ++c) {
            CHECK(mean[c] == Approx(mean_exact[c]).margin(1e-6));
            CHECK(variance[c] == Approx(variance_exact[c]).epsilon(1e-6));
            inverse[c] = 1 / std::sqrt(variance_exact[c] + 1e-5);
        }
        auto const vector = [&](auto& t) { return cxr::view(t.data(), std::array<std::size_t, 1>{channels}); };
        for (bool const accumulate : {false, true})
            for (bool const of_batch : {true, false}) {
                ops::batch_norm_backward<Backend, float>(ctx, x.single(), mean_exact.view(), inverse.view(), vector(gamma.f), d.single(), dx.single(), accumulate, of_batch, vector(dgamma.f),
                                                         vector(dbeta.f));
                ops::batch_norm_backward<reference_backend, double>(exact, x.exact(), mean_exact.view(), inverse.view(), vector(gamma.d), d.exact(), dx.exact(), accumulate, of_batch,
                                                                    vector(dgamma.d), vector(dbeta.d));
                if (!of_batch || x.d.size() > 4) CHECK(dx.deviation() < tolerance);
                CHECK(dbeta.deviation() < tolerance);
                if (s[0] * s[1] * s[2] > 1) CHECK(dgamma.deviation() < tolerance);
            }
        images scale({1, 1, 1, channels}, 9), shift({1, 1, 1, channels}, 10), r(s, 11, 2), dr(s, 12, 1);
        ops::normalise_rectify<Backend, float>(ctx, x.single(), vector(scale.f), vector(shift.f), r.single());
        ops::normalise_rectify<reference_backend, double>(exact, x.exact(), vector(scale.d), vector(shift.d), r.exact());
        CHECK(r.deviation() < tolerance);
        for (bool const accumulate : {false, true})
            for (bool const of_batch : {true, false}) {
                ops::normalise_rectify_backward<Backend, float>(ctx, x.single(), mean_exact.view(), inverse.view(), vector(gamma.f), vector(scale.f), vector(shift.f), d.single(), dr.single(),
                                                                accumulate, of_batch, vector(dgamma.f), vector(dbeta.f));
                ops::normalise_rectify_backward<reference_backend, double>(exact, x.exact(), mean_exact.view(), inverse.view(), vector(gamma.d), vector(scale.d), vector(shift.d), d.exact(),
                                                                           dr.exact(), accumulate, of_batch, vector(dgamma.d), vector(dbeta.d));
                if (!of_batch || x.d.size() > 4) CHECK(dr.deviation() < tolerance);
                CHECK(dbeta.deviation() < tolerance);
                if (s[0] * s[1] * s[2] > 1) CHECK(dgamma.deviation() < tolerance);
            }
        images y(s, 8, 1);
        ops::scale_shift<Backend, float>(ctx, x.single(), vector(gamma.f), vector(dbeta.f), y.single());
        ops::scale_shift<reference_backend, double>(exact, x.exact(), vector(gamma.d), vector(dbeta.d), y.exact());
        CHECK(y.deviation() < tolerance);
    }
}

/// Whether a backend convolves images of bfloat16, whose weights are float, and whether it normalises them.
template <class Backend>
constexpr bool convolves_bf16 = implements<Backend, ops::convolution_key, context<Backend>&, ops::window, view<bf16 const, 4>, view<float const, 4>, view<bf16, 4>>;
template <class Backend>
constexpr bool normalises_bf16 = implements<Backend, ops::scale_shift_key, context<Backend>&, view<bf16 const, 4>, view<float const, 1>, view<float const, 1>, view<bf16, 4>>;
static_assert(!convolves_bf16<reference_backend> && !normalises_bf16<reference_backend>);

// Operands are bfloat16's numbers, the same in `T` and double, whose products float32 holds exactly; so the sign before a rectifier is the exact one. A result may be off by its rounding to `T`
// (bfloat16: 2⁻⁸ of it), and by sums of K products: √K · 2⁻²⁴ as above, or where tensor cores cut off instead of rounding, 2⁻²³ every 8 products: K is at most 1,600 here, 2.4e-5.
template <class T>
constexpr double roundoff = std::is_same_v<T, bf16> ? 0x1p-8 : 0;
template <class T>
constexpr double of_sums = std::is_same_v<T, bf16> ? 2.5e-5 : tolerance;

/// Convolutions where every pixel begins and ends on 16 bytes, as kernels that load so many at once want it, the images filling their buffer or not; and of images that do not.
template <class Backend, class T>
void whole_vectors_convolve() {
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    for (std::size_t const wider : {0U, 32U})
        for (auto const& c : {convolution_case{{1, 2, 2, 8}, 8, {1, 1, 0}, wider}, convolution_case{{2, 7, 9, 16}, 24, {1, 1, 0}, wider}, convolution_case{{2, 7, 9, 16}, 24, {3, 1, 1}, wider},
                              convolution_case{{2, 14, 14, 64}, 128, {1, 1, 0}, wider}, convolution_case{{2, 14, 14, 128}, 32, {3, 1, 1}, wider}, convolution_case{{2, 28, 28, 64}, 32, {1, 1, 0}, wider},
                              convolution_case{{2, 7, 7, 992}, 128, {1, 1, 0}, wider}, convolution_case{{2, 33, 35, 3}, 64, {7, 2, 3}, wider}}) {
            auto const out = c.window.output(c.in, c.outputs);
            INFO(to_string(c.in) << " to " << to_string(out) << ", window " << c.window.size << " stride " << c.window.stride << ", " << wider << " channels beside them");
            shape const weights{c.outputs, c.in[3], c.window.size, c.window.size};
            images_of<T> x(c.in, 1, wider, true), y(out, 2, wider, true), dx(c.in, 3, wider, true);
            images w(weights, 4, 0, true), dw(weights, 5);
            auto before = y.d;
            ops::convolution<Backend, T>(ctx, c.window, x.single(), w.single(), y.single());
            ops::convolution<reference_backend, double>(exact, c.window, x.exact(), w.exact(), y.exact());
            CHECK(y.unexplained(roundoff<T>, before) < of_sums<T>);
            images_of<T> dy(out, 6, wider, true);
            for (bool const accumulate : {false, true}) {
                dx.meet();
                before = dx.d;
                ops::convolution_backward_data<Backend, T>(ctx, c.window, dy.single(), w.single(), dx.single(), accumulate);
                ops::convolution_backward_data<reference_backend, double>(exact, c.window, dy.exact(), w.exact(), dx.exact(), accumulate);
                CHECK(dx.unexplained(roundoff<T>, before, accumulate) < of_sums<T>);
            }
            before = dw.d;
            ops::convolution_backward_weights<Backend, T>(ctx, c.window, x.single(), dy.single(), dw.single());
            ops::convolution_backward_weights<reference_backend, double>(exact, c.window, x.exact(), dy.exact(), dw.exact());
            // Float whatever `T` is; but a library may have the derivatives of a window's weights in `T` alone.
            CHECK(dw.unexplained(c.window.size == 1 || memory_of<Backend>::host_accessible ? 0 : roundoff<T>, before) < of_sums<T>);
        }
}

/// Batch norms of such images.
template <class Backend, class T>
void whole_vectors_normalise() {
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact(2);
    for (std::size_t const wider : {0U, 32U})
        for (auto const& s : {shape{1, 3, 3, 8}, shape{3, 5, 7, 24}, shape{1, 96, 100, 8}, shape{2, 28, 28, 96}, shape{16, 2, 2, 992}}) {
            INFO(to_string(s) << ", " << wider << " channels beside them");
            auto const channels = s[3];
            shape const one{1, 1, 1, channels};
            images_of<T> x(s, 1, wider, true), y(s, 2, wider, true), d(s, 3, wider, true), dx(s, 4, wider, true);
            images gamma(one, 5, 0, true), dgamma(one, 6), dbeta(one, 7), scale(one, 8, 0, true), shift(one, 9, 0, true);
            tensor<double, 1> mean({channels}), variance({channels}), mean_exact({channels}), variance_exact({channels}), inverse({channels});
            ops::batch_moments<Backend, T>(ctx, x.single(), mean, variance);
            ops::batch_moments<reference_backend, double>(exact, x.exact(), mean_exact, variance_exact);
            for (std::size_t c = 0; c < channels; ++c) {
                // What is summed are differences to the first pixel.
                auto const square = variance_exact[c] + std::pow(mean_exact[c] - x.exact()(0, 0, 0, c), 2);
                CHECK(std::abs(mean[c] - mean_exact[c]) < tolerance * std::sqrt(square));
                CHECK(std::abs(variance[c] - variance_exact[c]) < tolerance * square);
                inverse[c] = 1 / std::sqrt(variance_exact[c] + 1e-5);
            }
            auto const vector = [&](auto& t) { return cxr::view(t.data(), std::array<std::size_t, 1>{channels}); };
            auto const as_before = y.d;
            ops::scale_shift<Backend, T>(ctx, x.single(), vector(scale.f), vector(shift.f), y.single());
            ops::scale_shift<reference_backend, double>(exact, x.exact(), vector(scale.d), vector(shift.d), y.exact());
            CHECK(y.unexplained(roundoff<T>, as_before) < tolerance);
            ops::normalise_rectify<Backend, T>(ctx, x.single(), vector(scale.f), vector(shift.f), y.single());
            ops::normalise_rectify<reference_backend, double>(exact, x.exact(), vector(scale.d), vector(shift.d), y.exact());
            CHECK(y.unexplained(roundoff<T>, as_before) < tolerance);
            for (bool const rectified : {false, true})
                for (bool const accumulate : {false, true})
                    for (bool const of_batch : {true, false}) {
                        INFO("rectified " << rectified << ", accumulate " << accumulate << ", statistics of the batch " << of_batch);
                        dx.meet();
                        auto const before = dx.d;
                        if (rectified) {
                            ops::normalise_rectify_backward<Backend, T>(ctx, x.single(), mean_exact.view(), inverse.view(), vector(gamma.f), vector(scale.f), vector(shift.f), d.single(), dx.single(),
                                                                        accumulate, of_batch, vector(dgamma.f), vector(dbeta.f));
                            ops::normalise_rectify_backward<reference_backend, double>(exact, x.exact(), mean_exact.view(), inverse.view(), vector(gamma.d), vector(scale.d), vector(shift.d), d.exact(),
                                                                                       dx.exact(), accumulate, of_batch, vector(dgamma.d), vector(dbeta.d));
                        } else {
                            ops::batch_norm_backward<Backend, T>(ctx, x.single(), mean_exact.view(), inverse.view(), vector(gamma.f), d.single(), dx.single(), accumulate, of_batch, vector(dgamma.f),
                                                                 vector(dbeta.f));
                            ops::batch_norm_backward<reference_backend, double>(exact, x.exact(), mean_exact.view(), inverse.view(), vector(gamma.d), d.exact(), dx.exact(), accumulate, of_batch,
                                                                                vector(dgamma.d), vector(dbeta.d));
                        }
                        CHECK(dx.unexplained(roundoff<T>, before, accumulate) < tolerance);
                        CHECK(dbeta.deviation() < tolerance);
                        CHECK(dgamma.deviation() < tolerance);
                    }
        }
}

/// The same bits from one thread and from three.
template <class Backend>
void same_bits() {
    auto one = test::with_threads<Backend>(1), three = test::with_threads<Backend>(3);
    for (auto const& [in, outputs, window, wider] : {convolution_case{{7, 14, 14, 64}, 128, {1, 1, 0}, 32}, convolution_case{{7, 14, 14, 128}, 32, {3, 1, 1}, 32},
                                                     convolution_case{{1, 56, 56, 16}, 16, {3, 1, 1}, 0}}) {
        auto const out = window.output(in, outputs);
        images x(in, 1, wider), w({outputs, in[3], window.size, window.size}, 2), y(out, 3, wider), y3(out, 3, wider), dx(in, 4, wider), dx3(in, 4, wider), dw = w, dw3 = w;
        auto const same = [](images const& a, images const& b) { return std::equal(a.f.begin(), a.f.end(), b.f.begin()); };
        ops::convolution<Backend, float>(one, window, x.single(), w.single(), y.single());
        ops::convolution<Backend, float>(three, window, x.single(), w.single(), y3.single());
        CHECK(same(y, y3));
        ops::convolution_backward_data<Backend, float>(one, window, y.single(), w.single(), dx.single(), true);
        ops::convolution_backward_data<Backend, float>(three, window, y.single(), w.single(), dx3.single(), true);
        CHECK(same(dx, dx3));
        ops::convolution_backward_weights<Backend, float>(one, window, x.single(), y.single(), dw.single());
        ops::convolution_backward_weights<Backend, float>(three, window, x.single(), y.single(), dw3.single());
        CHECK(same(dw, dw3));
        tensor<double, 1> mean({in[3]}), variance({in[3]}), mean3({in[3]}), variance3({in[3]});
        ops::batch_moments<Backend, float>(one, x.single(), mean, variance);
        ops::batch_moments<Backend, float>(three, x.single(), mean3, variance3);
        CHECK(std::equal(mean.begin(), mean.end(), mean3.begin()));
        CHECK(std::equal(variance.begin(), variance.end(), variance3.begin()));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("operations of layers agree with the reference in double", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    SECTION("convolution and its derivatives") { convolution_conforms<TestType>(); }
    SECTION("functions of one element, copies and biases") { elementwise_conforms<TestType>(); }
    SECTION("conversions between element types") { conversion_conforms<TestType>(); }
    SECTION("pools and their derivatives") { pools_conform<TestType>(); }
    SECTION("batch norm and its derivative") { batch_norm_conforms<TestType>(); }
    SECTION("convolutions of whole vectors") { whole_vectors_convolve<TestType, float>(); }
    SECTION("batch norms of whole vectors") { whole_vectors_normalise<TestType, float>(); }
    STATIC_REQUIRE((memory_of<TestType>::host_accessible || (convolves_bf16<TestType> && normalises_bf16<TestType>)));
    if constexpr (convolves_bf16<TestType>) {
        SECTION("convolutions of whole vectors of bfloat16") { whole_vectors_convolve<TestType, bf16>(); }
    }
    if constexpr (normalises_bf16<TestType>) {
        SECTION("batch norms of whole vectors of bfloat16") { whole_vectors_normalise<TestType, bf16>(); }
    }
    SECTION("the same bits from any number of threads") { same_bits<TestType>(); }
}

TEST_CASE("shapes that do not fit are a contract violation that states both", "[ops]") {
    context<reference_backend> ctx;
    tensor<float, 4> x({2, 8, 8, 3}), w({4, 3, 3, 3}), y({2, 8, 8, 5});
    CHECK_THROWS_WITH((ops::convolution<reference_backend, float>(ctx, {3, 1, 1}, x.view(), w.view(), y.view())),
                      Catch::Contains("(4, 3, 3, 3)") && Catch::Contains("(5, 3, 3, 3)"));
    tensor<float, 4> small({1, 2, 2, 3}), none({1, 1, 1, 4});
    CHECK_THROWS_AS((ops::convolution<reference_backend, float>(ctx, {5, 1, 0}, small.view(), tensor<float, 4>({4, 3, 5, 5}).view(), none.view())), contract_violation);
    view<float, 4> const transposed(x.data(), {2, 8, 8, 3}, {192, 1, 8, 64});
    CHECK_THROWS_WITH((ops::relu<reference_backend, float>(ctx, transposed, x.view())), Catch::Contains("channels last"));
}
