// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolution through oneDNN: matrix products for windows of one pixel, which may read and write a slice of a wider buffer's channels, and
// convolution primitives for the rest, a few images or rows a call, each call on one thread.

#include "cxr/backend/eigen/convolution.hpp"
#include "cxr/backend/onednn/call.hpp"
#include "cxr/backend/onednn/tag.hpp"
#include "cxr/backend/onednn/version_2.hpp"
#include "cxr/backend/onednn/version_3.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace cxr::onednn {

/// Images [image, image + images), and of their output rows [row, row + rows), that one call works on.
struct tile {
    std::size_t image, images, row, rows;
};

/// How a batch is cut for oneDNN: groups of images, or, where images are few, ranges of output rows. Depends on shapes alone.
class tiling {
public:
    /// Tiles of output (N, H, W, C): at most 8 groups of images, of at least 64 pixels each; rows are only split where `split_rows`.
    tiling(shape const& out, bool split_rows)
        : images_(out[0]), rows_(out[1]), groups_(std::clamp<std::size_t>(out[0] * out[1] * out[2] / 64, 1, std::min<std::size_t>(out[0], 8))),
          bands_(split_rows && groups_ == images_ ? std::clamp<std::size_t>(rows_ / 4, 1, std::max<std::size_t>(1, 8 / groups_)) : 1) {}

    [[nodiscard]] std::size_t size() const { return groups_ * bands_; }  ///< number of tiles
    /// Tile `t`.
    [[nodiscard]] tile operator[](std::size_t t) const {
        auto const image = part(images_, groups_, t / bands_), row = part(rows_, bands_, t % bands_);
        return {image.first, image.size(), row.first, row.size()};
    }

private:
    std::size_t images_, rows_, groups_, bands_;
};

/// Dimensions of a primitive for one tile: input rows and padding are those that the tile's output rows need.
struct geometry {
    std::int64_t images, inputs, outputs, in_rows, in_columns, out_rows, out_columns, size, stride, top, bottom, left, right;
    std::size_t first_row;  ///< of the input

    geometry(ops::window w, tile const& t, shape const& in, shape const& out) {
        auto const extent_of = [](std::size_t n) { return static_cast<std::int64_t>(n); };
        images = extent_of(t.images), inputs = extent_of(in[3]), outputs = extent_of(out[3]), in_columns = extent_of(in[2]), out_rows = extent_of(t.rows), out_columns = extent_of(out[2]);
        size = extent_of(w.size), stride = extent_of(w.stride), left = extent_of(w.padding);
        auto const begin = extent_of(t.row * w.stride) - left, end = begin + (out_rows - 1) * stride + size;
        top = std::max<std::int64_t>(0, -begin), bottom = std::max<std::int64_t>(0, end - extent_of(in[1]));
        first_row = static_cast<std::size_t>(begin + top);
        in_rows = end - bottom - begin - top;
        right = (out_columns - 1) * stride + size - in_columns - left;
        // A window that does not reach the image's end leaves pixels over, which is no negative padding but a narrower image.
        if (right < 0) in_columns += right, right = 0;
    }

    /// Key of a primitive of this `kind` for images that lie with these strides.
    [[nodiscard]] context::cache_key key(std::int64_t kind, view<float const, 4>::strides_type const& in, view<float const, 4>::strides_type const& out) const {
        return {kind, images, inputs, outputs, in_rows, in_columns, out_rows, out_columns, size, stride, top, bottom, left, right, in[0], in[1], in[2], out[0], out[1], out[2]};
    }

    using md = dnnl::memory::desc;
    static constexpr auto f32 = dnnl::memory::data_type::f32;
    static constexpr auto any = dnnl::memory::format_tag::any;
    static constexpr auto oihw = dnnl::memory::format_tag::oihw;
    [[nodiscard]] md source(dnnl::memory::format_tag f = any) const { return {{images, inputs, in_rows, in_columns}, f32, f}; }
    [[nodiscard]] md destination(dnnl::memory::format_tag f = any) const { return {{images, outputs, out_rows, out_columns}, f32, f}; }
    [[nodiscard]] md weights(dnnl::memory::format_tag f = any) const { return {{outputs, inputs, size, size}, f32, f}; }
    /// The forward operation; the two derivatives are described by it.
    [[nodiscard]] dnnl::convolution_forward::primitive_desc forward(dnnl::engine const& e) const { return describe_forward(e, description(), scratchpad()); }
    /// A derivative of it.
    template <class Gradient>
    [[nodiscard]] typename Gradient::primitive_desc backward(dnnl::engine const& e) const {
        return describe_backward<Gradient>(e, description(), scratchpad(), forward(e));
    }
    [[nodiscard]] convolution_shape description() const { return {source(), weights(), destination(), {stride, stride}, {top, left}, {bottom, right}}; }
    [[nodiscard]] static dnnl::primitive_attr scratchpad() {
        dnnl::primitive_attr a;
        a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        return a;
    }
};

/// Memory that lies otherwise than a primitive wants it: the layouts on both sides, and the reorder between them where they differ.
struct operand {
    dnnl::memory::desc given, wanted;
    dnnl::reorder reorder;

    /// `outward`: from the primitive to where the data belongs.
    operand(context& ctx, dnnl::memory::desc lies, dnnl::memory::desc wants, bool outward = false) : given(lies), wanted(wants) {
        if (given == wanted) return;
        dnnl::reorder::primitive_desc const d(ctx.engine(), outward ? wanted : given, ctx.engine(), outward ? given : wanted);
        ctx.made("reorder", d.impl_info_str());
        reorder = dnnl::reorder(d);
    }
    [[nodiscard]] bool moves() const { return static_cast<bool>(reorder); }                    ///< whether the layouts differ
    [[nodiscard]] std::size_t bytes() const { return moves() ? wanted.get_size() + 64 : 0; }   ///< of scratch it takes
};

/// A primitive for one tile: first and second source, and the output.
struct prepared {
    dnnl::primitive primitive;
    operand first, second, out;
    std::size_t scratchpad;        ///< bytes
    std::array<int, 3> arguments;  ///< what oneDNN calls first, second and out

    /// Scratch for one call.
    [[nodiscard]] std::size_t bytes() const { return scratchpad + 64 + first.bytes() + second.bytes() + out.bytes(); }
};

/// How a tile's pixels lie, in oneDNN's order of dimensions (N, C, H, W).
[[nodiscard]] inline dnnl::memory::desc lying(view<float const, 4> v, std::int64_t images, std::int64_t rows, std::int64_t columns) {
    return {{images, static_cast<std::int64_t>(v.extent(3)), rows, columns}, geometry::f32, {v.stride(0), 1, v.stride(1), v.stride(2)}};
}

/// Address of the first element that a tile reads or writes.
template <class T>
[[nodiscard]] T* begin(view<T, 4> v, tile const& t, std::size_t row) {
    return v.data() + static_cast<std::ptrdiff_t>(t.image) * v.stride(0) + static_cast<std::ptrdiff_t>(row) * v.stride(1);
}

/// One call of a primitive on a worker's scratch. Sources are brought into the layout that is wanted, the result back to where it belongs.
class execution {
public:
    execution(context& ctx, std::size_t worker, std::byte* scratch) : engine_(ctx.engine()), stream_(ctx.stream(worker)), scratch_(scratch) {}

    /// Runs `p` on data at these addresses.
    void operator()(prepared const& p, float const* first, float const* second, float* out) {
        auto const x = bring(p.first, first);
        auto const y = bring(p.second, second);
        auto z = memory(p.out.wanted, p.out.moves() ? take(p.out.wanted.get_size()) : static_cast<void*>(out));
        auto const pad = memory({{static_cast<std::int64_t>(p.scratchpad)}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::x}, take(p.scratchpad));
        p.primitive.execute(stream_, {{p.arguments[0], x}, {p.arguments[1], y}, {p.arguments[2], z}, {DNNL_ARG_SCRATCHPAD, pad}});
        if (p.out.moves()) {
            auto to = memory(p.out.given, out);
            p.out.reorder.execute(stream_, z, to);
        }
    }

private:
    [[nodiscard]] dnnl::memory memory(dnnl::memory::desc const& d, void const* p) const { return {d, engine_, const_cast<void*>(p)}; }
    [[nodiscard]] void* take(std::size_t bytes) { return std::exchange(scratch_, scratch_ + (bytes + 63) / 64 * 64); }
    [[nodiscard]] dnnl::memory bring(operand const& o, float const* p) {
        auto given = memory(o.given, p);
        if (!o.moves()) return given;
        auto wanted = memory(o.wanted, take(o.wanted.get_size()));
        o.reorder.execute(stream_, given, wanted);
        return wanted;
    }

    dnnl::engine const& engine_;
    dnnl::stream& stream_;
    std::byte* scratch_;
};

/// Which of the three operations a cached primitive is for.
enum class operation : std::int64_t {
    forward,
    backward_data,
    backward_weights
};

/// Calls f(tile number, tile, geometry, prepared, execution) for each tile in parallel; make(geometry) prepares what is not cached yet.
template <class Make, class F>
void for_each_tile(context& ctx, tiling const& tiles, operation kind, ops::window w, shape const& in, shape const& out,
                   view<float const, 4>::strides_type const& first, view<float const, 4>::strides_type const& second, Make make, F f) {
    std::vector<prepared const*> primitives(tiles.size());
    std::size_t bytes = 0;
    call("making a convolution", [&] {
        for (std::size_t t = 0; t < tiles.size(); ++t) {
            geometry const g(w, tiles[t], in, out);
            primitives[t] = &ctx.cached<prepared>(g.key(static_cast<std::int64_t>(kind), first, second), [&] { return make(g); });
            bytes = std::max(bytes, primitives[t]->bytes());
        }
    });
    workspace::frame scratch(ctx.scratch());
    bytes = (bytes + 63) / 64 * 64;
    auto* const memory = scratch.take<std::byte>(bytes * ctx.workers().size());
    ctx.workers()(tiles.size(), [&](std::size_t t, std::size_t worker) {
        call("a convolution", [&] { f(t, tiles[t], geometry(w, tiles[t], in, out), *primitives[t], execution(ctx, worker, memory + worker * bytes)); });
    });
}

/// Calls f(first pixel, pixels) for at most 16 bands of pixels in parallel, each worth about a million multiplications and more.
template <class F>
void for_each_band(context& ctx, std::size_t pixels, std::size_t work_per_pixel, F f) {
    auto const bands = group_count(pixels, std::max<std::size_t>(48, (std::size_t{1} << 20) / work_per_pixel), 16);
    ctx.workers()(bands, [&](std::size_t g, std::size_t) {
        auto const range = part(pixels, bands, g);
        f(range.first, range.size());
    });
}

/// The same for the pixels of each image by itself. A product rounds by its number of rows, which then does not depend on the batch: an image has the same bits in
/// any.
template <class F>
void for_each_band_of_images(context& ctx, shape const& images, std::size_t work_per_pixel, F f) {
    auto const pixels = images[1] * images[2], bands = group_count(pixels, std::max<std::size_t>(64, (std::size_t{1} << 20) / work_per_pixel), 16);
    ctx.workers()(images[0] * bands, [&](std::size_t g, std::size_t) {
        auto const range = part(pixels, bands, g % bands);
        f(g / bands * pixels + range.first, range.size());
    });
}

inline void kernel(ops::convolution_key, tag, context& ctx, ops::window w, view<float const, 4> in, view<float const, 4> weights, view<float, 4> out) {
    if (eigen::pointwise(w)) {
        auto const x = ops::pixels(in);
        auto const y = ops::pixels(out);
        for_each_band_of_images(ctx, out.shape(), x.channels * y.channels, [&](std::size_t p, std::size_t n) {
            gemm(false, true, n, y.channels, x.channels, x.row(p), x.stride, weights.data(), weights.stride(0), 0, y.row(p), y.stride);
        });
        return;
    }
    auto const make = [&](geometry const& g) {
        auto const d = g.forward(ctx.engine());
        ctx.made("convolution", d.impl_info_str());
        return prepared{dnnl::convolution_forward(d),
                        {ctx, lying(in, g.images, g.in_rows, g.in_columns), d.src_desc()},
                        {ctx, g.weights(geometry::oihw), d.weights_desc()},
                        {ctx, lying(out, g.images, g.out_rows, g.out_columns), d.dst_desc(), true},
                        d.scratchpad_desc().get_size(),
                        {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST}};
    };
    for_each_tile(ctx, {out.shape(), true}, operation::forward, w, in.shape(), out.shape(), in.strides(), out.strides(), make,
                  [&](std::size_t, tile const& t, geometry const& g, prepared const& p, execution run) {
                      run(p, begin(in, t, g.first_row), weights.data(), begin(out, t, t.row));
                  });
}

/// Zeros where no window reaches: pixels that a stride leaves over at the right and the bottom, which no primitive writes.
inline void clear_unreached(context& ctx, ops::window w, view<float const, 4> d_out, view<float, 4> d_in) {
    auto const reach = [&](std::size_t d) { return std::min((d_out.extent(d) - 1) * w.stride + w.size - std::min(w.padding, w.size), d_in.extent(d)); };
    auto const rows = reach(1), columns = reach(2);
    if (rows == d_in.extent(1) && columns == d_in.extent(2)) return;
    auto const dx = ops::pixels(d_in);
    reference::for_each_pixel(ctx, dx.pixels, dx.channels, [=](std::size_t p) {
        reference::place const at(p, d_in.extent(1), d_in.extent(2));
        if (at.y >= rows || at.x >= columns) std::fill_n(dx.row(p), dx.channels, 0.0F);
    });
}

inline void kernel(ops::convolution_backward_data_key, tag, context& ctx, ops::window w, view<float const, 4> d_out, view<float const, 4> weights, view<float, 4> d_in,
                   bool accumulate) {
    if (eigen::pointwise(w)) {
        auto const dy = ops::pixels(d_out);
        auto const dx = ops::pixels(d_in);
        for_each_band(ctx, dx.pixels, dx.channels * dy.channels, [&](std::size_t p, std::size_t n) {
            gemm(false, false, n, dx.channels, dy.channels, dy.row(p), dy.stride, weights.data(), weights.stride(0), accumulate ? 1 : 0, dx.row(p), dx.stride);
        });
        return;
    }
    if (accumulate) {  // a convolution's derivative only overwrites
        workspace::frame scratch(ctx.scratch());
        view<float, 4> const fresh(scratch.take<float>(d_in.size()), d_in.extents());
        kernel(ops::convolution_backward_data_key{}, tag{}, ctx, w, d_out, weights, fresh, false);
        ops::copy<tag, float>(ctx, fresh, d_in, true);
        return;
    }
    auto const make = [&](geometry const& g) {
        auto const d = g.backward<dnnl::convolution_backward_data>(ctx.engine());
        ctx.made("convolution", d.impl_info_str());
        return prepared{dnnl::convolution_backward_data(d),
                        {ctx, lying(d_out, g.images, g.out_rows, g.out_columns), d.diff_dst_desc()},
                        {ctx, g.weights(geometry::oihw), d.weights_desc()},
                        {ctx, lying(d_in, g.images, g.in_rows, g.in_columns), d.diff_src_desc(), true},
                        d.scratchpad_desc().get_size(),
                        {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC}};
    };
    clear_unreached(ctx, w, d_out, d_in);
    for_each_tile(ctx, {d_out.shape(), false}, operation::backward_data, w, d_in.shape(), d_out.shape(), d_out.strides(), d_in.strides(), make,
                  [&](std::size_t, tile const& t, geometry const&, prepared const& p, execution run) {
                      run(p, begin(d_out, t, 0), weights.data(), begin(d_in, t, 0));
                  });
}

inline void kernel(ops::convolution_backward_weights_key, tag, context& ctx, ops::window w, view<float const, 4> in, view<float const, 4> d_out,
                   view<float, 4> d_weights) {
    auto const size = d_weights.size();
    auto const add_up = [&](std::size_t groups, float* partial) {
        reduce_tree(groups, [&](std::size_t into, std::size_t from) {
            for (std::size_t i = 0; i < size; ++i) partial[into * size + i] += partial[from * size + i];
        });
        std::copy_n(partial, size, d_weights.data());
    };
    workspace::frame scratch(ctx.scratch());
    if (eigen::pointwise(w)) {
        auto const x = ops::pixels(in);
        auto const dy = ops::pixels(d_out);
        auto const groups = group_count(x.pixels, 512, 8);
        auto* const partial = scratch.take<float>(groups * size);
        ctx.workers()(groups, [&](std::size_t g, std::size_t) {
            auto const r = part(x.pixels, groups, g);
            gemm(true, false, dy.channels, x.channels, r.size(), dy.row(r.first), dy.stride, x.row(r.first), x.stride, 0, partial + g * size,
                 static_cast<std::ptrdiff_t>(x.channels));
        });
        return add_up(groups, partial);
    }
    auto const make = [&](geometry const& g) {
        auto const d = g.backward<dnnl::convolution_backward_weights>(ctx.engine());
        ctx.made("convolution", d.impl_info_str());
        return prepared{dnnl::convolution_backward_weights(d),
                        {ctx, lying(in, g.images, g.in_rows, g.in_columns), d.src_desc()},
                        {ctx, lying(d_out, g.images, g.out_rows, g.out_columns), d.diff_dst_desc()},
                        {ctx, g.weights(geometry::oihw), d.diff_weights_desc(), true},
                        d.scratchpad_desc().get_size(),
                        {DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS}};
    };
    tiling const tiles(d_out.shape(), false);
    auto* const partial = scratch.take<float>(tiles.size() * size);
    for_each_tile(ctx, tiles, operation::backward_weights, w, in.shape(), d_out.shape(), in.strides(), d_out.strides(), make,
                  [&](std::size_t number, tile const& t, geometry const& g, prepared const& p, execution run) {
                      run(p, begin(in, t, g.first_row), begin(d_out, t, 0), partial + number * size);
                  });
    add_up(tiles.size(), partial);
}

}  // namespace cxr::onednn
