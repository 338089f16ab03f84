// SPDX-License-Identifier: Apache-2.0
#pragma once
// Maximum, average and global average pooling.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/pool.hpp"

#include <cstdint>

namespace cxr::nn {

/// The largest element of each window; padding is never chosen.
template <std::size_t Size, std::size_t Stride = Size, std::size_t Padding = 0>
struct max_pool {
    static constexpr ops::window window{Size, Stride, Padding};  ///< geometry
};

/// The mean of each window.
template <std::size_t Size, std::size_t Stride = Size>
struct average_pool {
    static constexpr ops::window window{Size, Stride, 0};  ///< geometry
};

/// The mean of each channel over the whole image: (N, H, W, C) → (N, 1, 1, C).
struct global_average_pool {
    static constexpr ops::window window{0, 1, 0};  ///< the whole image
};

/// The shape of the maxima; no parameters, comparisons are not counted.
template <std::size_t Size, std::size_t Stride, std::size_t Padding>
[[nodiscard]] constexpr inference infer(max_pool<Size, Stride, Padding> const& s, shape const& in) {
    return {s.window.output(in, in[3]), 0, 0, 0};
}

/// The shape of the means; no parameters, additions are not counted.
template <std::size_t Size, std::size_t Stride>
[[nodiscard]] constexpr inference infer(average_pool<Size, Stride> const& s, shape const& in) {
    return {s.window.output(in, in[3]), 0, 0, 0};
}

/// (N, H, W, C) → (N, 1, 1, C); no parameters, additions are not counted.
[[nodiscard]] constexpr inference infer(global_average_pool const&, shape const& in) { return {{in[0], 1, 1, in[3]}, 0, 0, 0}; }

/// No parameters.
template <class Backend, std::size_t Size, std::size_t Stride, std::size_t Padding, class T>
class generic_layer<Backend, max_pool<Size, Stride, Padding>, T> : public without_parameters {
public:
    using spec_type = max_pool<Size, Stride, Padding>;  ///< the description
    /// Which element of each window was the largest.
    struct tape {
        tensor<std::uint8_t, 4, memory_of<Backend>> chosen;  ///< row · Size + column in the window, one for each output
    };

    /// Has no parameters. Throws `contract_violation` for an image too small for the window.
    generic_layer(builder_of<Backend, T>&, spec_type const& s, shape const& in) { static_cast<void>(infer(s, in)); }

    /// out = the largest element of each window; the tape keeps which it was.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        t.chosen.resize(out.values.extents());
        ops::max_pool<Backend, T>(ctx, spec_type::window, in.values, out.values, t.chosen.view());
    }

    /// d_in (+)= d_out of the windows that chose the element, 0 where none did.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1>) const {
        if (d_in.data() != nullptr) ops::max_pool_backward<Backend, T>(ctx, spec_type::window, t.chosen.view(), d_out, d_in, accumulate);
    }

    /// The same function, without a record of what was chosen.
    struct frozen {
        /// out = the largest element of each window.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            ops::max_pool<Backend, T>(ctx, spec_type::window, in, out, {});
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {}; }  ///< nothing to keep
};

/// A spec whose layer takes means.
template <class S>
inline constexpr bool averages = std::same_as<S, global_average_pool>;
/// An average pool does.
template <std::size_t Size, std::size_t Stride>
inline constexpr bool averages<average_pool<Size, Stride>> = true;

/// No parameters.
template <class Backend, class Mean, class T>
    requires averages<Mean>
class generic_layer<Backend, Mean, T> : public without_parameters {
public:
    /// Means need no record.
    struct tape {};

    /// Has no parameters. Throws `contract_violation` for an image too small for the window.
    generic_layer(builder_of<Backend, T>&, Mean const& s, shape const& in) { static_cast<void>(infer(s, in)); }

    /// out = the mean of each window, or of the whole image.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape&) const {
        ops::average_pool<Backend, T>(ctx, Mean::window, in.values, out.values);
    }

    /// d_in (+)= d_out / pixels of the window, from each window that the element is in.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape&, view<master_t<T>, 1>) const {
        if (d_in.data() != nullptr) ops::average_pool_backward<Backend, T>(ctx, Mean::window, d_out, d_in, accumulate);
    }

    /// The same function.
    struct frozen {
        /// out = the mean of each window, or of the whole image.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            ops::average_pool<Backend, T>(ctx, Mean::window, in, out);
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {}; }  ///< nothing to keep
};

}  // namespace cxr::nn
