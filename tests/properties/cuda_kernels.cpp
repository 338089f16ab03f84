// SPDX-License-Identifier: Apache-2.0
// The CUDA backend's own kernels, run on the host, thread for thread and with barriers, as they would be launched: every vector is taken once, and what comes out has the bits of Thrust's functors
// for single elements; sums agree within the error of adding floats.

#include "cxr/backend/thrust/cpp.hpp"

#include "cuda_language.hpp"

#include "cxr/backend/cuda/kernels.hpp"

#include "cxr/core/random.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

using namespace cxr;
namespace kernels = cxr::on_cuda;
using on_thrust::matrix;

namespace {

/// Pixels of which `channels` are used, on 16 bytes.
template <class T>
struct pixels {
    std::size_t count, channels, stride;
    tensor<T, 1> memory;

    pixels(std::size_t n, std::size_t c, std::size_t apart, std::string const& stream) : count(n), channels(c), stride(apart), memory({n * apart}) {
        auto const numbers = cxr::random(n * 1000 + c).stream(stream);
        for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<T>(static_cast<float>(numbers.normal(i)));
    }
    matrix<T> values() { return {memory.data(), static_cast<std::ptrdiff_t>(stride)}; }
    matrix<T const> values() const { return {memory.data(), static_cast<std::ptrdiff_t>(stride)}; }
    on_thrust::images<T const> images(std::size_t images, std::size_t height, std::size_t width) const {
        auto const s = static_cast<std::ptrdiff_t>(stride), row = s * static_cast<std::ptrdiff_t>(width);
        return on_thrust::images<T const>(view<T const, 4>(memory.data(), {images, height, width, channels}, {row * static_cast<std::ptrdiff_t>(height), row, s, 1}));
    }
    [[nodiscard]] bool same_bits(pixels const& other) const { return std::memcmp(memory.data(), other.memory.data(), memory.size() * sizeof(T)) == 0; }
};

/// Numbers one a channel.
template <class W>
std::vector<W> numbers(std::size_t channels, std::uint64_t seed) {
    std::vector<W> all(channels);
    for (std::size_t c = 0; c < channels; ++c) all[c] = static_cast<W>(0.5 + cxr::random(seed).normal(c));
    return all;
}

/// Runs a functor of vectors as the backend launches it; or, where `groups` says so, with more pixels a thread, as the backend does for more pixels.
template <class T, class F>
void run(F const& f, std::size_t pixels, std::size_t channels, std::size_t groups = 0) {
    kernels::vector_launch l(pixels, channels / kernels::vector_elements<T>);
    if (groups != 0) l.groups = static_cast<std::uint32_t>(std::min(groups, pixels));
    cuda_language::launch({l.blocks, 1}, kernels::vector_launch::threads,
                          [&] { kernels::for_each_vector(f, pixels, l.groups, l.vectors_a_pixel, static_cast<std::uint32_t>(kernels::vector_elements<T>)); });
}

/// Runs a functor of elements.
template <class F>
void run_elements(F const& f, std::size_t pixels, std::size_t channels) {
    for (std::size_t p = 0; p < pixels; ++p)
        for (std::size_t c = 0; c < channels; ++c) f(p, c);
}

struct size {
    std::size_t count, channels, stride;
};
constexpr size sizes[]{{1, 8, 8}, {49, 64, 96}, {300, 32, 256}, {9001, 40, 40}, {2, 1024, 1024}};

template <class T, bool Rectify>
void check_normalise() {
    for (auto const [n, c, stride] : sizes)
        for (std::size_t const groups : {0U, 1U, 7U}) {
            INFO(n << " pixels, " << c << " of " << stride << " channels, bytes " << sizeof(T) << ", rectify " << Rectify << ", groups " << groups);
            pixels<T> const x(n, c, stride, "x");
            pixels<T> y(n, c, stride, "y"), z = y;
            auto const scale = numbers<float>(c, 1), shift = numbers<float>(c, 2);
            run<T>(kernels::normalise_vector<T, Rectify>{x.values(), scale.data(), shift.data(), y.values()}, n, c, groups);
            run_elements(on_thrust::apply_affine<T, Rectify>{x.values(), scale.data(), shift.data(), z.values()}, n, c);
            CHECK(y.same_bits(z));
        }
}

template <class T, bool Rectified>
void check_gradient() {
    for (auto const [n, c, stride] : sizes)
        for (bool const accumulate : {false, true}) {
            INFO(n << " pixels, " << c << " of " << stride << " channels, bytes " << sizeof(T) << ", rectified " << Rectified << ", accumulate " << accumulate);
            pixels<T> const x(n, c, stride, "x"), d(n, c, stride, "d");
            pixels<T> y(n, c, stride, "y"), z = y;
            auto const scale = numbers<float>(c, 1), shift = numbers<float>(c, 2), a = numbers<float>(c, 3), b = numbers<float>(c, 4);
            std::vector<on_thrust::norm_coefficients<float>> q(c);
            for (std::size_t k = 0; k < c; ++k) q[k] = {a[k], b[k], scale[k], shift[k]};
            using gradient = on_thrust::gradient_of_norm<T, Rectified>;
            gradient const g{x.values(), {d.values()}, scale.data(), shift.data()};
            run<T>(kernels::norm_gradient_of_vector<gradient>{{g, q.data(), y.values(), accumulate}}, n, c, accumulate ? 5 : 0);
            run_elements(on_thrust::apply_norm_gradient<gradient>{g, q.data(), z.values(), accumulate}, n, c);
            CHECK(y.same_bits(z));
        }
}

/// The two sums of a term over all pixels, as the backend takes them, against sums in double of `alone`, for one pixel at a time.
template <class T, class Term, class Alone>
void check_sums(Term const& term, Alone const& alone, std::size_t n, std::size_t channels) {
    constexpr auto elements = kernels::vector_elements<T>;
    kernels::sum_launch const l(n, channels / elements);
    std::vector<float2> partial(l.blocks_down * channels, float2{std::numeric_limits<float>::quiet_NaN(), 0});
    cuda_language::launch({l.blocks_across, l.blocks_down}, kernels::sum_threads,
                          [&] { kernels::sum_rows<T>(term, n, static_cast<std::uint32_t>(channels), l.across, l.rows_a_block, partial.data()); });
    std::vector<double> first(channels), second(channels), size_first(channels), size_second(channels);
    for (std::size_t c = 0; c < channels; c += elements) {
        auto const terms = alone.channels(c);
        for (std::size_t p = 0; p < n; ++p) {
            float a[elements] = {}, b[elements] = {};
            terms.add(terms.load(p), p, a, b);
            for (std::size_t k = 0; k < elements; ++k) {
                first[c + k] += static_cast<double>(a[k]), size_first[c + k] += std::abs(static_cast<double>(a[k]));
                second[c + k] += static_cast<double>(b[k]), size_second[c + k] += std::abs(static_cast<double>(b[k]));
            }
        }
    }
    // A thread's float takes one rounding for each of its rows, and one for each level of the block's tree.
    double const roundings = static_cast<double>(l.rows_a_block / (kernels::sum_threads / l.across) + 8), error = roundings * 0x1p-24;
    std::vector<on_thrust::two_sums> sums(channels);
    cuda_language::launch({static_cast<std::uint32_t>((channels + kernels::fold_across - 1) / kernels::fold_across), 1}, kernels::fold_across * kernels::fold_depth,
                          [&] { kernels::fold_partial_sums(kernels::add_partial_sums{partial.data(), channels}, l.blocks_down, [&](std::size_t c, on_thrust::two_sums const& sum) { sums[c] = sum; }); });
    for (std::size_t c = 0; c < channels; ++c) {
        auto const& sum = sums[c];
        CHECK(std::abs(sum.first - first[c]) <= error * size_first[c]);
        CHECK(std::abs(sum.second - second[c]) <= error * size_second[c]);
    }
}

template <class T, bool Largest, class Window>
void check_pool(Window w) {
    struct image {
        std::size_t count, height, width, channels, stride;
    };
    for (auto const& i : {image{1, 3, 3, 8, 8}, image{2, 8, 10, 64, 96}, image{3, 7, 5, 16, 16}}) {
        std::size_t const count = i.count, height = i.height, width = i.width, channels = i.channels, stride = i.stride;
        INFO(count << " images of " << height << " x " << width << ", window " << w.size << ", bytes " << sizeof(T));
        pixels<T> x(count * height * width, channels, stride, "x");
        auto const finite = x;
        x.memory[3 * stride + 1] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
        x.memory[4 * stride + 2] = static_cast<T>(-std::numeric_limits<float>::infinity());
        auto const h = ops::window{w.size, w.stride, w.padding}.output(height), v = ops::window{w.size, w.stride, w.padding}.output(width);
        pixels<T> y(count * h * v, channels, stride, "y"), z = y;
        auto const scale = numbers<float>(channels, 1), shift = numbers<float>(channels, 2);
        auto const places = [&](tensor<std::uint8_t, 1>& t) { return Largest ? matrix<std::uint8_t>{t.data(), static_cast<std::ptrdiff_t>(channels)} : matrix<std::uint8_t>{}; };
        tensor<std::uint8_t, 1> chosen({y.count * channels}, 99), chosen_too = chosen;
        auto const elements = [&](pixels<T>& to, tensor<std::uint8_t, 1>& t) {
            return on_thrust::pool_normalised<Largest, T, Window>{w, x.images(count, height, width), scale.data(), shift.data(), h, v, to.values(), places(t)};
        };
        run<T>(kernels::pool_normalised_vector<Largest, T, Window>{elements(y, chosen)}, y.count, channels, Largest ? 3 : 0);
        run_elements(elements(z, chosen_too), y.count, channels);
        CHECK(y.same_bits(z));
        CHECK(std::equal(chosen.begin(), chosen.end(), chosen_too.begin()));
        CHECK((std::count(chosen.begin(), chosen.end(), 99) == 0) == Largest);

        // The way back: the gradient of the pool's input, through the rectifier and the norm.
        using behind = on_thrust::gradient_of_pool<Largest, T, Window>;
        using gradient = on_thrust::gradient_of_norm<T, true, behind>;
        pixels<T> d(y.count, channels, stride, "d");
        on_thrust::images<std::uint8_t const> chosen_images;
        if (Largest) chosen_images = on_thrust::images<std::uint8_t const>(view<std::uint8_t const, 4>(chosen.data(), {count, h, v, channels}));
        gradient const g{std::as_const(x).values(), {w, d.images(count, h, v), height, width, chosen_images}, scale.data(), shift.data()};
        auto const mean = numbers<double>(channels, 5);
        kernels::norm_gradients_of_vector<gradient, false, false> const terms{{{finite.values(), g.behind, scale.data(), shift.data()}, mean.data(), {}}};
        check_sums<T>(terms, terms, x.count, channels);
        auto const a = numbers<float>(channels, 3), b = numbers<float>(channels, 4);
        std::vector<on_thrust::norm_coefficients<float>> q(channels);
        for (std::size_t k = 0; k < channels; ++k) q[k] = {a[k], b[k], scale[k], shift[k]};
        pixels<T> dx(x.count, channels, stride, "dx"), dx_too = dx;
        run<T>(kernels::norm_gradient_of_vector<gradient>{{g, q.data(), dx.values(), Largest}}, x.count, channels);
        run_elements(on_thrust::apply_norm_gradient<gradient>{g, q.data(), dx_too.values(), Largest}, x.count, channels);
        CHECK(dx.same_bits(dx_too));
        CHECK_FALSE(dx.same_bits(pixels<T>(x.count, channels, stride, "dx")));
    }
}

/// Sums of a norm's gradient, and what is done beside them: added to a wider image, normalised for another norm of the first channels.
template <class T, bool Rectified, bool Adding, bool Normalising>
void check_norm_sums(std::size_t n, std::size_t channels, std::size_t stride) {
    INFO("rectified " << Rectified << ", adding " << Adding << ", normalising " << Normalising);
    using gradient = on_thrust::gradient_of_norm<T, Rectified>;
    pixels<T> const x(n, channels, stride, "x"), d(n, channels, channels, "d");
    pixels<T> dx(n, channels, stride, "dx"), normalised(n, channels, channels, "y"), dx_too = dx, normalised_too = normalised;
    auto const scale = numbers<float>(channels, 1), shift = numbers<float>(channels, 2), other_scale = numbers<float>(channels, 4), other_shift = numbers<float>(channels, 5);
    auto const mean = numbers<double>(channels, 3);
    auto const first = Normalising ? std::max(kernels::vector_elements<T>, channels / 2 / kernels::vector_elements<T> * kernels::vector_elements<T>) : 0;
    auto const beside = [&](pixels<T>& into, pixels<T>& y) {
        on_thrust::beside_sums<T> b;
        if (Adding) b.dx = into.values();
        if (Normalising) b = {b.dx, y.values(), first, other_scale.data(), other_shift.data()};
        return b;
    };
    gradient const g{x.values(), {d.values()}, scale.data(), shift.data()};
    check_sums<T>(kernels::norm_gradients_of_vector<gradient, Adding, Normalising>{{g, mean.data(), beside(dx, normalised)}},
                  kernels::norm_gradients_of_vector<gradient, false, false>{{g, mean.data(), {}}}, n, channels);
    on_thrust::sum_norm_gradients<gradient> const elements{g, mean.data(), beside(dx_too, normalised_too)};
    on_thrust::two_sums sums;
    run_elements([&](std::size_t p, std::size_t c) { elements(p, c, sums); }, n, channels);
    CHECK(dx.same_bits(dx_too));
    CHECK(normalised.same_bits(normalised_too));
    CHECK(dx.same_bits(pixels<T>(n, channels, stride, "dx")) != Adding);
    CHECK(normalised.same_bits(pixels<T>(n, channels, channels, "y")) != Normalising);
}

template <class T>
void check_all_sums() {
    for (auto const [n, c, stride] : sizes) {
        INFO(n << " pixels, " << c << " of " << stride << " channels, bytes " << sizeof(T));
        pixels<T> const x(n, c, stride, "x");
        kernels::moments_of_vector<T> const moments{x.values()};
        check_sums<T>(moments, moments, n, c);
        check_norm_sums<T, false, false, false>(n, c, stride);
        check_norm_sums<T, true, false, false>(n, c, stride);
        check_norm_sums<T, true, true, false>(n, c, stride);
        check_norm_sums<T, true, false, true>(n, c, stride);
        check_norm_sums<T, true, true, true>(n, c, stride);
    }
}

}  // namespace

TEST_CASE("CUDA kernels of batch norm have the bits of single elements", "[properties][thrust]") {
    check_normalise<float, true>();
    check_normalise<float, false>();
    check_normalise<bf16, true>();
    check_gradient<float, true>();
    check_gradient<bf16, false>();
    check_gradient<bf16, true>();
}

TEST_CASE("CUDA kernels of pools behind a batch norm have the bits of single elements", "[properties][thrust]") {
    on_thrust::fixed_window<3, 2, 1> const largest;
    on_thrust::fixed_window<2, 2, 0> const mean;
    check_pool<float, true>(largest);
    check_pool<bf16, true>(largest);
    check_pool<bf16, true>(ops::window{3, 2, 1});
    check_pool<float, false>(mean);
    check_pool<bf16, false>(mean);
    check_pool<float, false>(ops::window{3, 1, 0});
}

TEST_CASE("CUDA kernels sum channels within the error of adding floats", "[properties][thrust]") {
    check_all_sums<float>();
    check_all_sums<bf16>();
}

TEST_CASE("CUDA launches have room for every pixel and stay within what a GPU can be given", "[properties][thrust]") {
    for (std::size_t const n : {std::size_t{1}, std::size_t{49}, std::size_t{802816}, std::size_t{256} * 112 * 112, std::size_t{1} << 33U})
        for (std::size_t const vectors : {std::size_t{1}, std::size_t{5}, std::size_t{8}, std::size_t{128}}) {
            INFO(n << " pixels of " << vectors << " vectors");
            kernels::vector_launch const l(n, vectors);
            CHECK(l.groups >= 1);
            CHECK(std::size_t{l.groups} * vectors < std::size_t{1} << 32U);
            CHECK(std::size_t{l.blocks} * kernels::vector_launch::threads >= std::size_t{l.groups} * vectors);
            CHECK(l.blocks < 1U << 31U);
            kernels::sum_launch const s(n, vectors);
            CHECK(std::size_t{s.blocks_across} * s.across >= vectors);
            CHECK(std::size_t{s.blocks_down} * s.rows_a_block >= n);
            CHECK(s.blocks_down <= 65535);
            CHECK(kernels::sum_threads % s.across == 0);
        }
}
