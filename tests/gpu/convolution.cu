// SPDX-License-Identifier: Apache-2.0
// Convolutions by cuDNN, products by cuBLASLt and those that normalise what they load against plain double loops, on DenseNet121's geometries and on small odd ones. A line a check; exit
// status 0 where all hold, 1 where one does not, 77 where there is no GPU to run on. `--own`: what our own kernel multiplies, alone.

#include "cxr/backend/cuda/convolution_plan.hpp"
#include "cxr/backend/cuda/matrix_product.hpp"
#include "cxr/backend/cuda/normalised_product.hpp"
#include "cxr/core/bf16.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace cxr;
using on_cuda::check;
using on_cuda::convolution_geometry;
using on_cuda::convolution_pass;
using on_cuda::element;

int failures = 0;

/// Prints what came of one check.
void report(std::string const& name, std::string const& why) {
    if (why.empty()) {
        std::printf("ok %s\n", name.c_str());
    } else {
        std::printf("FAILED %s: %s\n", name.c_str(), why.c_str());
        ++failures;
    }
    std::fflush(stdout);
}

/// Runs a check that returns why it failed.
template <class F>
void run(std::string const& name, F f) {
    try {
        report(name, f());
    } catch (std::exception const& e) {
        report(name, e.what());
    }
}

/// Memory on the GPU.
class device_bytes {
public:
    explicit device_bytes(std::size_t bytes) {
        if (bytes > 0) check(cudaMalloc(&data_, bytes), "cudaMalloc", bytes);
    }
    device_bytes(device_bytes const&) = delete;
    device_bytes& operator=(device_bytes const&) = delete;
    ~device_bytes() { static_cast<void>(cudaFree(data_)); }
    [[nodiscard]] void* data() const { return data_; }

private:
    void* data_ = nullptr;
};

/// Numbers of either type, in both memories. `skew` elements lie before the first, so that its address is less aligned.
struct array {
    element type;
    std::vector<float> host;
    std::size_t skew;
    device_bytes memory;

    array(std::size_t size, element t, std::size_t skewed = 0) : type(t), host(size), skew(skewed), memory((size + skewed) * on_cuda::bytes_of(t)) {}

    [[nodiscard]] void* data() const { return static_cast<char*>(memory.data()) + skew * on_cuda::bytes_of(type); }
    [[nodiscard]] std::size_t bytes() const { return host.size() * on_cuda::bytes_of(type); }
    void send() {
        if (type == element::bf16) {
            std::vector<bf16> narrow;
            for (auto& v : host) v = narrow.emplace_back(v);  // the host computes with what the GPU gets
            check(cudaMemcpy(data(), narrow.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
        } else {
            check(cudaMemcpy(data(), host.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
        }
        check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // the stream under test does not wait for the default one
    }
    [[nodiscard]] std::vector<float> fetch() const {
        std::vector<float> values(host.size());
        if (type == element::bf16) {
            std::vector<bf16> narrow(host.size());
            check(cudaMemcpy(narrow.data(), data(), bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
            for (std::size_t i = 0; i < values.size(); ++i) values[i] = narrow[i];
        } else {
            check(cudaMemcpy(values.data(), data(), bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
        }
        return values;
    }
    /// Numbers of both signs between −1 and 1, the same at every run.
    void fill(unsigned seed) {
        auto state = seed * 2654435761U + 1U;
        for (auto& v : host) {
            state = state * 1664525U + 1013904223U;
            v = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
        }
        send();
    }
    void fill_with(float value) {
        for (auto& v : host) v = value;
        send();
    }
};

/// A sum of products and the sum of their absolute values, to which rounding errors are proportional.
struct sum {
    double value = 0, magnitude = 0;
    void add(double a, double b) { value += a * b, magnitude += std::abs(a * b); }
};

/// What the result may be away from the exact sum of `terms` products: every one of `terms` additions rounds (tensor cores cut off, which costs twice),
/// factors of tf32 are cut to 10 bits of fraction, and a bf16 result is rounded to 8 bits in the end.
double tolerance(sum const& s, std::size_t terms, element type, element result) {
    auto const addition = type == element::f32 ? 0x1p-24 : 0x1p-23;
    auto const factors = type == element::tf32 ? 2.01 * 0x1p-10 : 0.0;
    auto const error = s.magnitude * (factors + (static_cast<double>(terms) + 2) * addition) + 1e-30;
    return result == element::bf16 ? error + (std::abs(s.value) + error) * 0x1p-8 : error;
}

/// Rows of `rows` × `columns` in `got`, `stride` apart, against exact sums; what lies between the rows is still `untouched`.
std::string compare(std::vector<float> const& got, std::vector<sum> const& exact, std::size_t columns, std::size_t stride, std::size_t terms, element type, element result,
                    float untouched) {
    for (std::size_t i = 0; i < got.size(); ++i) {
        auto const row = i / stride, column = i % stride;
        if (column >= columns) {
            if (got[i] != untouched) return "element " + std::to_string(column) + " of row " + std::to_string(row) + ", which is another's, became " + std::to_string(got[i]);
            continue;
        }
        auto const& s = exact[row * columns + column];
        if (auto const limit = tolerance(s, terms, type, result); !(std::abs(got[i] - s.value) <= limit))
            return "element " + std::to_string(column) + " of row " + std::to_string(row) + " is " + std::to_string(got[i]) + ", expected " + std::to_string(s.value) + " to within " +
                   std::to_string(limit);
    }
    return {};
}

/// Calls f(index of x, index of w, index of y) for every product of a convolution; x and y in the pixels' own strides, w in (O, size, size, C).
template <class F>
void for_each_product(convolution_geometry const& g, F f) {
    auto const k = g.window.size;
    for (std::size_t n = 0; n < g.n; ++n)
        for (std::size_t oy = 0; oy < g.out_height; ++oy)
            for (std::size_t ox = 0; ox < g.out_width; ++ox)
                for (std::size_t i = 0; i < k; ++i)
                    for (std::size_t j = 0; j < k; ++j) {
                        auto const y = oy * g.window.stride + i, x = ox * g.window.stride + j, p = g.window.padding;
                        if (y < p || y - p >= g.height || x < p || x - p >= g.width) continue;
                        auto const in = ((n * g.height + y - p) * g.width + x - p), out = (n * g.out_height + oy) * g.out_width + ox;
                        for (std::size_t o = 0; o < g.out_channels; ++o)
                            for (std::size_t c = 0; c < g.in_channels; ++c) f(in, c, ((o * k + i) * k + j) * g.in_channels + c, out, o);
                    }
}

constexpr float untouched = 0.5F;  // bf16 holds it exactly

/// One convolution, all three passes.
class convolution_case {
public:
    convolution_case(std::string name, convolution_geometry const& g, std::size_t skew)
        : name_(std::move(name)), g_(g), in_pixels_(g.n * g.height * g.width), out_pixels_(g.n * g.out_height * g.out_width), k_(g.window.size),
          x_(in_pixels_ * g.in_stride, g.type, skew), w_(g.out_channels * k_ * k_ * g.in_channels, g.type), y_(out_pixels_ * g.out_stride, g.type, skew) {}

    void forward(on_cuda::cudnn_handle const& handle, on_cuda::convolution_plans& plans) {
        std::vector<sum> exact(out_pixels_ * g_.out_channels);
        x_.fill(1), w_.fill(2), y_.fill_with(untouched);
        for_each_product(g_, [&](std::size_t in, std::size_t c, std::size_t w, std::size_t out, std::size_t o) {
            exact[out * g_.out_channels + o].add(x_.host[in * g_.in_stride + c], w_.host[w]);
        });
        execute(handle, plans, convolution_pass::forward, x_, w_, y_, exact, g_.out_channels, g_.out_stride, k_ * k_ * g_.in_channels);
    }

    void backward_data(on_cuda::cudnn_handle const& handle, on_cuda::convolution_plans& plans) {
        std::vector<sum> exact(in_pixels_ * g_.in_channels);
        y_.fill(3), w_.fill(4), x_.fill_with(untouched);
        for_each_product(g_, [&](std::size_t in, std::size_t c, std::size_t w, std::size_t out, std::size_t o) {
            exact[in * g_.in_channels + c].add(y_.host[out * g_.out_stride + o], w_.host[w]);
        });
        execute(handle, plans, convolution_pass::backward_data, y_, w_, x_, exact, g_.in_channels, g_.in_stride, k_ * k_ * g_.out_channels);
    }

    void backward_weights(on_cuda::cudnn_handle const& handle, on_cuda::convolution_plans& plans) {
        std::vector<sum> exact(w_.host.size());
        x_.fill(5), y_.fill(6);
        for_each_product(g_, [&](std::size_t in, std::size_t c, std::size_t w, std::size_t out, std::size_t o) {
            exact[w].add(x_.host[in * g_.in_stride + c], y_.host[out * g_.out_stride + o]);
        });
        auto const name = name_ + " " + to_string(convolution_pass::backward_weights);
        auto type = element::f32;
        try {
            if (!plans.plan(handle, g_, convolution_pass::backward_weights, alignment(x_, y_, w_)).weights_gradient_is_f32()) type = element::bf16;
        } catch (std::exception const& e) {
            return report(name, e.what());
        }
        array gradient(w_.host.size(), type);
        gradient.fill_with(untouched);
        execute(handle, plans, convolution_pass::backward_weights, x_, y_, gradient, exact, g_.in_channels, g_.in_channels, out_pixels_);
    }

private:
    [[nodiscard]] static std::size_t alignment(array const& a, array const& b, array const& c) { return on_cuda::alignment_of({a.data(), b.data(), c.data()}); }

    void execute(on_cuda::cudnn_handle const& handle, on_cuda::convolution_plans& plans, convolution_pass pass, array const& first, array const& second, array& result,
                 std::vector<sum> const& exact, std::size_t columns, std::size_t stride, std::size_t terms) {
        auto const name = name_ + " " + to_string(pass);
        std::string engine;
        run(name, [&]() -> std::string {
            auto const& plan = plans.plan(handle, g_, pass, alignment(first, second, result));
            engine = plan.engine_name();
            device_bytes const workspace(plan.workspace_bytes());
            plan.execute(handle, first.data(), second.data(), result.data(), workspace.data());
            check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
            auto const once = result.fetch();
            auto why = compare(once, exact, columns, stride, terms, g_.type, result.type, untouched);
            for (int again = 0; again < 3 && why.empty(); ++again) {
                plan.execute(handle, first.data(), second.data(), result.data(), workspace.data());
                check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
                auto const twice = result.fetch();
                if (std::memcmp(once.data(), twice.data(), once.size() * sizeof(float)) != 0) why = "other bits at another run";
            }
            return why.empty() ? why : why + " [" + engine + "]";
        });
        if (!engine.empty()) std::printf("   by %s\n", engine.c_str());
    }

    std::string name_;
    convolution_geometry g_;
    std::size_t in_pixels_, out_pixels_, k_;
    array x_, w_, y_;
};

/// The product `p` against double loops; `skew` elements before A, B and C make them less aligned.
void product(cudaStream_t s, on_cuda::matrix_products& products, std::string const& name, on_cuda::matrix_product const& p, std::size_t skew, std::size_t workspace_bytes) {
    run(name + ": " + to_string(p), [&]() -> std::string {
        array a((p.transpose_a ? p.k : p.m) * p.lda, p.type, skew), b((p.transpose_b ? p.n : p.k) * p.ldb, p.type, skew), c(p.m * p.ldc, p.result, skew);
        array shift(p.n, p.result);
        a.fill(7), b.fill(8), c.fill_with(untouched), shift.fill(9);
        std::vector<sum> exact(p.m * p.n);
        for (std::size_t i = 0; i < p.m; ++i)
            for (std::size_t j = 0; j < p.n; ++j) {
                auto& e = exact[i * p.n + j];
                if (p.accumulate) e.add(untouched, 1);
                for (std::size_t l = 0; l < p.k; ++l)
                    e.add(a.host[p.transpose_a ? l * p.lda + i : i * p.lda + l], b.host[p.transpose_b ? j * p.ldb + l : l * p.ldb + j]);
                if (p.rectify) e.add(shift.host[j], 1), e.value = std::max(e.value, 0.0);
            }
        device_bytes const workspace(workspace_bytes);
        std::vector<float> once;
        for (int again = 0; again < 4; ++again) {
            c.fill_with(untouched);
            products(s, p, a.data(), b.data(), c.data(), workspace.data(), workspace_bytes, p.rectify ? shift.data() : nullptr);
            check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
            auto const now = c.fetch();
            if (again == 0) {
                once = now;
                if (auto const why = compare(now, exact, p.n, p.ldc, p.k + 1, p.type, p.result, untouched); !why.empty()) return why;
            } else if (std::memcmp(once.data(), now.data(), now.size() * sizeof(float)) != 0) {
                return "other bits at another run";
            }
        }
        return {};
    });
}

/// A geometry with the output that its window gives.
convolution_geometry geometry(std::size_t n, std::size_t h, std::size_t w, std::size_t c, std::size_t in_stride, std::size_t o, std::size_t out_stride, ops::window window,
                              element type) {
    return {n, h, w, c, in_stride, window.output(h), window.output(w), o, out_stride, window, type};
}

void convolutions(on_cuda::cudnn_handle const& handle) {
    on_cuda::convolution_plans plans(std::size_t{1} << 30);
    for (auto const type : {element::f32, element::tf32, element::bf16}) {
        auto const all = [&](std::string const& name, convolution_geometry const& g, std::size_t skew = 0) {
            convolution_case c(name + " " + to_string(type), g, skew);
            c.forward(handle, plans);
            c.backward_data(handle, plans);
            c.backward_weights(handle, plans);
        };
        all("conv0 7x7", geometry(2, 64, 64, 3, 3, 64, 64, {7, 2, 3}, type));
        all("denselayer conv1 1x1 of a slice", geometry(2, 14, 14, 96, 256, 128, 128, {1, 1, 0}, type));
        all("denselayer conv1 1x1 of a slice, block 4", geometry(2, 7, 7, 992, 1024, 128, 128, {1, 1, 0}, type));
        all("denselayer conv2 3x3", geometry(2, 14, 14, 128, 128, 32, 32, {3, 1, 1}, type));
        all("denselayer conv2 3x3 into a slice", geometry(2, 14, 14, 128, 128, 32, 256, {3, 1, 1}, type));
        all("transition 1x1", geometry(1, 14, 14, 256, 256, 128, 128, {1, 1, 0}, type));
        all("odd 3x3 of one 5x7 image", geometry(1, 5, 7, 3, 3, 5, 5, {3, 1, 1}, type));
        all("odd 3x3 stride 2 that leaves a row over", geometry(1, 6, 7, 3, 4, 5, 9, {3, 2, 0}, type));
        all("odd 3x3 at addresses of one element", geometry(1, 5, 7, 3, 5, 5, 7, {3, 1, 1}, type), 1);
        all("3x3 into a slice at addresses of one element", geometry(2, 7, 7, 128, 128, 32, 256, {3, 1, 1}, type), 1);
    }
    auto const known = plans.size();
    run("a plan is made once", [&]() -> std::string {
        auto const g = geometry(1, 5, 7, 3, 3, 5, 5, {3, 1, 1}, element::f32);
        static_cast<void>(plans.plan(handle, g, convolution_pass::forward));
        return plans.size() == known ? "" : "there are " + std::to_string(plans.size()) + " plans, " + std::to_string(known) + " before";
    });
    run("autotune keeps the result", [&]() -> std::string {
        auto const g = geometry(2, 14, 14, 128, 128, 32, 256, {3, 1, 1}, element::bf16);
        std::size_t const most = std::size_t{256} << 20;
        on_cuda::convolution_plan plan(handle, g, convolution_pass::forward, most);
        array x(2 * 14 * 14 * 128, g.type), w(32 * 9 * 128, g.type), y(2 * 14 * 14 * 256, g.type);
        x.fill(1), w.fill(2), y.fill_with(untouched);
        device_bytes const workspace(most);
        plan.execute(handle, x.data(), w.data(), y.data(), workspace.data());
        check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        auto const before = y.fetch();
        plan.autotune(handle, x.data(), w.data(), y.data(), workspace.data());
        plan.execute(handle, x.data(), w.data(), y.data(), workspace.data());
        check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        auto const after = y.fetch();
        std::printf("   by %s\n", plan.engine_name().c_str());
        for (std::size_t i = 0; i < after.size(); ++i)
            if (!(std::abs(after[i] - before[i]) <= 0.02F * std::abs(before[i]) + 0.02F)) return std::to_string(before[i]) + " became " + std::to_string(after[i]);
        return {};
    });
    run("a pointer less aligned than was said is refused", [&]() -> std::string {
        auto const g = geometry(1, 5, 7, 3, 3, 5, 5, {3, 1, 1}, element::f32);
        device_bytes const memory(4096), workspace(plans.plan(handle, g, convolution_pass::forward).workspace_bytes() + 16);
        auto* const p = static_cast<char*>(memory.data());
        try {
            plans.plan(handle, g, convolution_pass::forward).execute(handle, p + 4, p, p, workspace.data());
        } catch (contract_violation const&) {
            return {};
        }
        return "it is not";
    });
}

void products(cudaStream_t s) {
    on_cuda::matrix_products multiply;
    std::size_t const workspace = std::size_t{32} << 20;
    for (auto const type : {element::f32, element::tf32, element::bf16})
        for (auto const& [name, g, skew] : {std::tuple{"conv1 of a slice", on_cuda::pointwise_geometry{392, 96, 256, 128, 128, type}, std::size_t{0}},
                                            std::tuple{"conv1 of block 4", on_cuda::pointwise_geometry{98, 992, 1024, 128, 128, type}, std::size_t{0}},
                                            std::tuple{"transition", on_cuda::pointwise_geometry{392, 256, 256, 128, 512, type}, std::size_t{0}},
                                            std::tuple{"a slice at addresses of one element", on_cuda::pointwise_geometry{98, 64, 256, 128, 160, type}, std::size_t{1}},
                                            std::tuple{"odd", on_cuda::pointwise_geometry{35, 3, 5, 7, 9, type}, std::size_t{0}},
                                            std::tuple{"odd at addresses of one element", on_cuda::pointwise_geometry{35, 3, 5, 7, 9, type}, std::size_t{1}}}) {
            product(s, multiply, std::string(name) + " forward", pointwise_forward(g), skew, workspace);
            auto rectified = pointwise_forward(g);
            rectified.rectify = true;
            product(s, multiply, std::string(name) + " forward", rectified, skew, workspace);
            product(s, multiply, std::string(name) + " derivative by the images", pointwise_backward_data(g, false), skew, workspace);
            product(s, multiply, std::string(name) + " derivative by the images, added", pointwise_backward_data(g, true), skew, workspace);
            product(s, multiply, std::string(name) + " derivative by the weights", pointwise_backward_weights(g), skew, workspace);
            product(s, multiply, std::string(name) + " derivative by the weights, no workspace", pointwise_backward_weights(g), skew, 0);
        }
    for (auto const type : {element::f32, element::bf16})
        run("a rectifier behind a product keeps what is no number, " + std::string(to_string(type)), [&]() -> std::string {
            auto p = pointwise_forward(on_cuda::pointwise_geometry{64, 64, 64, 32, 32, type});
            p.rectify = true;
            array a(p.m * p.lda, type), b(p.n * p.ldb, type), c(p.m * p.ldc, p.result), shift(p.n, p.result);
            a.fill(7), b.fill(8), c.fill_with(0), shift.fill(9);
            a.host[5 * p.lda + 3] = std::numeric_limits<float>::quiet_NaN();
            a.send();
            device_bytes const room(workspace);
            multiply(s, p, a.data(), b.data(), c.data(), room.data(), workspace, shift.data());
            check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
            auto const got = c.fetch();
            for (std::size_t i = 0; i < got.size(); ++i)
                if (std::isnan(got[i]) != (i / p.ldc == 5)) return "element " + std::to_string(i) + " is " + std::to_string(got[i]);
            return {};
        });
    product(s, multiply, "a long sum over pixels", on_cuda::pointwise_backward_weights({12544, 64, 256, 128, 128, element::bf16}), 0, workspace);
    product(s, multiply, "a long sum over pixels", on_cuda::pointwise_backward_weights({12544, 64, 256, 128, 128, element::f32}), 0, workspace);
}

/// Images of which `channels` of `stride` are used.
template <class T>
view<T, 4> images(array const& a, std::size_t pixels, std::size_t channels, std::size_t stride) {
    auto const s = static_cast<std::ptrdiff_t>(stride), all = static_cast<std::ptrdiff_t>(pixels) * s;
    return {static_cast<T*>(a.data()), {1, 1, pixels, channels}, {all, all, s, 1}};
}

/// What a product that normalises is made of.
struct operands {
    array x, w, masters, y, added, scale, shift;

    explicit operands(on_cuda::pointwise_geometry const& g)
        : x(g.pixels * g.in_stride, g.type), w(g.out_channels * g.in_channels, g.type), masters(w.host.size(), element::f32), y(g.pixels * g.out_stride, g.type), added(g.out_channels, g.type),
          scale(g.in_channels, element::f32), shift(g.in_channels, element::f32) {
        x.fill(1), w.fill(2), added.fill(3), scale.fill(4), shift.fill(5);
        masters.host = w.host;
        masters.send();
    }
};

/// Images, normalised and multiplied by `multiply(operands)` again and again, against double loops; with `holes`, some pixels are no numbers.
template <class Multiply>
std::string normalised(on_cuda::pointwise_geometry const& g, bool rectify, bool holes, Multiply multiply) {
    operands all(g);
    auto& [x, w, masters, y, added, scale, shift] = all;
    // So that scale · x + shift is exact, however it is rounded.
    for (auto& v : x.host) v = std::round(128 * v) / 128;
    for (auto* const a : {&scale, &shift})
        for (auto& v : a->host) v = std::round(64 * v) / 64;
    auto const hole = [&](std::size_t pixel) { return holes && pixel % 7 == 3; };
    for (std::size_t p = 0; p < g.pixels; ++p)
        if (hole(p)) x.host[p * g.in_stride + p % g.in_channels] = std::numeric_limits<float>::quiet_NaN();
    x.send(), scale.send(), shift.send();
    std::vector<sum> exact(g.pixels * g.out_channels);
    for (std::size_t p = 0; p < g.pixels; ++p)
        for (std::size_t c = 0; c < g.in_channels; ++c)
            if (float const z = bf16(scale.host[c] * x.host[p * g.in_stride + c] + shift.host[c]); z > 0)
                for (std::size_t o = 0; o < g.out_channels; ++o) exact[p * g.out_channels + o].add(z, w.host[o * g.in_channels + c]);
    if (rectify)
        for (std::size_t i = 0; i < exact.size(); ++i) exact[i].add(added.host[i % g.out_channels], 1), exact[i].value = std::max(exact[i].value, 0.0);
    std::vector<float> once;
    for (int again = 0; again < 4; ++again) {
        y.fill_with(untouched);
        multiply(all);
        check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        auto now = y.fetch();
        if (again > 0 && std::memcmp(once.data(), now.data(), now.size() * sizeof(float)) != 0) return "other bits at another run";
        once = now;
        for (std::size_t i = 0; i < now.size(); ++i)
            if (i % g.out_stride < g.out_channels && hole(i / g.out_stride)) {
                if (!std::isnan(now[i])) return "element " + std::to_string(i) + " is " + std::to_string(now[i]) + ", expected no number";
                now[i] = static_cast<float>(exact[i / g.out_stride * g.out_channels + i % g.out_stride].value);
            }
        if (auto const why = compare(now, exact, g.out_channels, g.out_stride, g.in_channels + 1, g.type, g.type, untouched); !why.empty()) return why;
    }
    return {};
}

/// The kernel itself, with as many blocks as such a GPU has room for.
void normalised_products(on_cuda::context& ctx, on_cuda::product_limits const& whole) {
    using on_cuda::pointwise_geometry;
    auto const with = [&](std::size_t multiprocessors) {
        auto some = whole;
        some.multiprocessors = multiprocessors;
        return some;
    };
    for (auto const& [name, g, limits] :
         {std::tuple{"a slice", pointwise_geometry{392, 96, 256, 128, 128, element::bf16}, whole}, std::tuple{"block 4", pointwise_geometry{98, 992, 1024, 128, 128, element::bf16}, whole},
          std::tuple{"one block, several tiles a warp", pointwise_geometry{1100, 160, 160, 128, 136, element::bf16}, with(1)},
          std::tuple{"one block, several tiles a warp, half as many outputs", pointwise_geometry{1100, 96, 104, 64, 64, element::bf16}, with(1)},
          std::tuple{"three blocks, several tiles a warp", pointwise_geometry{2007, 64, 64, 128, 128, element::bf16}, with(3)},
          std::tuple{"three blocks, several tiles a warp, half as many outputs", pointwise_geometry{3850, 32, 32, 64, 64, element::bf16}, with(3)},
          std::tuple{"three blocks for each of two stretches of outputs, several tiles a warp", pointwise_geometry{1999, 64, 64, 256, 256, element::bf16}, with(7)},
          std::tuple{"two blocks for each of three stretches of outputs into a slice, several tiles a warp", pointwise_geometry{2111, 32, 32, 192, 256, element::bf16}, with(7)},
          std::tuple{"one pixel", pointwise_geometry{1, 32, 32, 256, 256, element::bf16}, whole}}) {
        if (on_cuda::product_tiles(limits, g.in_channels, g.out_channels) == 0) {
            std::printf("left out %s, normalised as it is loaded: %zu channels are more than a block's shared memory has room for\n", name, g.in_channels);
            continue;
        }
        for (bool const rectify : {false, true})
            for (bool const holes : {false, true})
                run(std::string("normalised as they are loaded, ") + name + (rectify ? ", shifted and rectified" : "") + (holes ? ", some no numbers" : "") + ": " + std::to_string(g.pixels) +
                        " x " + std::to_string(g.in_channels) + " to " + std::to_string(g.out_channels),
                    [&, g = g, limits = limits] {
                        return normalised(g, rectify, holes, [&](operands const& o) {
                            on_cuda::enqueue_product(ctx, limits, images<bf16 const>(o.x, g.pixels, g.in_channels, g.in_stride), static_cast<float const*>(o.scale.data()),
                                                     static_cast<float const*>(o.shift.data()), static_cast<bf16 const*>(o.w.data()),
                                                     rectify ? static_cast<bf16 const*>(o.added.data()) : nullptr, images<bf16>(o.y, g.pixels, g.out_channels, g.out_stride));
                        });
                    });
    }
}

/// The way that the backend takes by itself, where the kernel serves and where it does not; run, recorded and replayed.
void normalised_products_as_dispatched(on_cuda::context& ctx, on_cuda::product_limits const& limits, bool of_libraries) {
    auto const enough = limits.multiprocessors * 8 * on_cuda::product_pixels;
    struct way {
        char const* name;
        on_cuda::pointwise_geometry g;
        bool at_once;
    };
    std::size_t key = 0;
    for (auto const& [name, g, at_once] : {way{"many pixels at once", {enough + 5, 64, 96, 128, 128, element::bf16}, true}, way{"too few pixels in two", {enough - 1, 64, 96, 128, 128, element::bf16}, false},
                                           way{"a number of channels in two", {enough + 5, 48, 96, 128, 128, element::bf16}, false},
                                           way{"a number of outputs in two", {enough + 5, 64, 96, 32, 32, element::bf16}, false},
                                           way{"pixels that are not whole vectors in two", {enough + 5, 64, 65, 128, 128, element::bf16}, false}}) {
        if (!at_once && !of_libraries) continue;
        for (bool const rectify : {false, true})
            run(std::string("normalised and multiplied as the backend takes it, ") + name + (rectify ? ", shifted and rectified" : ""), [&, g = g, at_once = at_once]() -> std::string {
                // What cuBLASLt's rectifier makes of what is no number is told above.
                return normalised(g, rectify, at_once || !rectify, [&](operands const& o) {
                    using vector = view<float const, 1>;
                    using weights = std::array<std::size_t, 4>;
                    auto const in = images<bf16 const>(o.x, g.pixels, g.in_channels, g.in_stride);
                    auto const out = images<bf16>(o.y, g.pixels, g.out_channels, g.out_stride);
                    if ((on_cuda::pixels_fill(limits, g.pixels) && on_cuda::product_serves(limits, in, out, {o.w.data(), o.added.data()})) != at_once) throw std::runtime_error("the other way");
                    vector const scale(static_cast<float const*>(o.scale.data()), {g.in_channels}), shift(static_cast<float const*>(o.shift.data()), {g.in_channels});
                    weights const extents{g.out_channels, g.in_channels, 1, 1};
                    ctx.replay(key, [&] {
                        if (rectify)
                            ops::dispatch<cuda_backend>(on_thrust::normalised_product_key{}, ctx, in, scale, shift, view<bf16 const, 4>(static_cast<bf16 const*>(o.w.data()), extents),
                                                        view<bf16 const, 4>(static_cast<bf16 const*>(o.added.data()), {1, 1, 1, g.out_channels}), out);
                        else
                            ops::dispatch<cuda_backend>(on_thrust::normalised_product_key{}, ctx, in, scale, shift, view<float const, 4>(static_cast<float const*>(o.masters.data()), extents),
                                                        out);
                    });
                });
            }),
                ++key;
    }
}

}  // namespace

int main(int count, char** arguments) {
    bool const of_libraries = count < 2 || std::string_view(arguments[1]) != "--own";
    try {
        auto const device = on_thrust::require_device();
        std::printf("%s, compute capability %d.%d\n", device.name.c_str(), device.major, device.minor);
    } catch (cxr::error const& e) {
        std::printf("skipped: %s\n", e.what());
        return 77;
    }
    try {
        if (of_libraries) {
            on_cuda::stream const s;
            on_cuda::cudnn_handle const handle(s);
            convolutions(handle);
            products(s);
        }
        on_cuda::context ctx;
        on_cuda::product_limits const limits(ctx);
        normalised_products(ctx, limits);
        normalised_products_as_dispatched(ctx, limits, of_libraries);
    } catch (std::exception const& e) {
        report("everything", e.what());
    }
    std::printf("%d checks failed\n", failures);
    return failures == 0 ? 0 : 1;
}
