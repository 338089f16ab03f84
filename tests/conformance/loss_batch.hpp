// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random targets and predictions for tests of losses.

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"

#include <cstddef>
#include <limits>
#include <vector>

namespace conformance {

enum class targets_kind {
    hard,
    soft,
    unknown,
    masked
};
enum class layout {
    dense,
    columns,
    strided
};

template <class T>
cxr::view<T, 2> laid_out(std::vector<T>& memory, std::size_t rows, std::size_t classes, layout order) {
    auto const r = static_cast<std::ptrdiff_t>(rows), c = static_cast<std::ptrdiff_t>(classes);
    memory.assign(rows * classes * 6 + 11, T(-77));
    if (order == layout::columns) return {memory.data(), {rows, classes}, {1, r}};
    if (order == layout::strided) return {memory.data() + 1, {rows, classes}, {3 * c + 2, 3}};
    return {memory.data(), {rows, classes}};
}

/// Targets y, predictions x, room for a gradient d, and weights of the classes.
template <class T>
struct loss_batch {
    std::vector<T> memory_y, memory_x, memory_d;
    cxr::view<T, 2> y, x, d;
    cxr::tensor<bool, 2> known;
    std::vector<double> positive, negative;

    loss_batch(std::size_t rows, std::size_t classes, targets_kind kind, layout order, bool logits)
        : y(laid_out(memory_y, rows, classes, order)), x(laid_out(memory_x, rows, classes, order)), d(laid_out(memory_d, rows, classes, order)), known({rows, classes}, true) {
        cxr::random const random(rows * 1000 + classes);
        for (std::size_t c = 0; c < classes; ++c) {
            positive.push_back(0.1 + random.stream("positive").uniform(c));
            negative.push_back(0.1 + random.stream("negative").uniform(c));
        }
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t c = 0; c < classes; ++c) {
                auto const k = i * classes + c;
                double const u = random.stream("target").uniform(k), v = random.stream("prediction").uniform(k);
                double target = kind == targets_kind::soft ? u : u < 0.2;
                bool const hidden = random.stream("known").uniform(k) < 0.3;
                if (kind == targets_kind::unknown && hidden) target = std::numeric_limits<double>::quiet_NaN();
                if (kind == targets_kind::masked) known(i, c) = !hidden;
                y(i, c) = static_cast<T>(target);
                // Most probabilities are small, as they are with rare findings.
                x(i, c) = static_cast<T>(logits ? 8 * random.stream("prediction").normal(k) : 1e-4 + 0.9998 * v * v * v);
            }
    }
    loss_batch(loss_batch const&) = delete;
    loss_batch& operator=(loss_batch const&) = delete;
};

}  // namespace conformance
