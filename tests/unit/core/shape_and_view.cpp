// SPDX-License-Identifier: Apache-2.0
#include "cxr/core/bf16.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"
#include "cxr/core/workspace.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>

using cxr::contract_violation;
using cxr::shape;
using cxr::tensor;
using cxr::view;

TEST_CASE("a shape prints itself and is usable at compile time", "[core]") {
    constexpr shape s{8, 14};
    static_assert(s.rank() == 2 && s.size() == 112 && s[1] == 14);
    static_assert(shape{}.size() == 1);
    CHECK(to_string(s) == "(8, 14)");
    CHECK(to_string(shape{}) == "()");
    CHECK(s == shape{8, 14});
    CHECK_FALSE(s == shape{14, 8});
    CHECK_FALSE(s == shape{8, 14, 1});
    CHECK_THROWS_AS((shape{1, 2, 3, 4, 5, 6, 7}), contract_violation);
    CHECK_THROWS_WITH(cxr::require_shape({3, 14}, {8, 14}, "targets"), "targets: shape (3, 14), expected (8, 14)");
}

TEST_CASE("a view walks strides of either sign and slices without copying", "[core]") {
    std::array<int, 12> data{};
    std::iota(data.begin(), data.end(), 0);
    view<int, 2> const rows(data.data(), {3, 4});
    CHECK(rows(1, 2) == 6);
    CHECK(rows.contiguous());
    view<int, 2> const columns(data.data(), {4, 3}, {1, 4});
    CHECK(columns(2, 1) == 6);
    CHECK_FALSE(columns.contiguous());
    view<int, 1> const backwards(data.data() + 11, {12}, {-1});
    CHECK(backwards[0] == 11);
    CHECK(backwards[11] == 0);
    auto const middle = rows.slice(1, 1, 2);
    CHECK(&middle(2, 0) == &data[9]);
    CHECK(middle.shape() == shape{3, 2});
    CHECK_FALSE(middle.contiguous());
    CHECK(rows.slice(0, 3, 0).empty());
    CHECK_THROWS_AS(rows.slice(1, 3, 2), contract_violation);
    CHECK_THROWS_AS(rows.slice(0, 4, 0), contract_violation);
    view<int const, 2> const readable = rows;
    CHECK(readable.data() == rows.data());
    static_assert(!std::is_convertible_v<view<int const, 2>, view<int, 2>>);
}

TEST_CASE("a tensor owns, aligns, copies deeply and keeps its memory when it shrinks", "[core]") {
    tensor<float, 2> a({3, 5}, 2.0F);
    CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % 64 == 0);
    tensor<float, 2> b = a;
    b(1, 1) = 7;
    CHECK(a(1, 1) == 2.0F);
    auto const* const memory = b.data();
    b.resize({2, 5});
    CHECK(b.data() == memory);
    CHECK(b.shape() == shape{2, 5});
    b.resize({3, 5});
    CHECK(b.data() == memory);
    tensor<float, 2> c = std::move(b);
    CHECK(c.data() == memory);
    CHECK(b.empty());
    CHECK(b.data() == nullptr);
    CHECK(tensor<float, 2>{}.empty());
    CHECK_THROWS_AS((tensor<double, 2>({std::numeric_limits<std::size_t>::max() / 2, 16})), std::bad_alloc);
}

TEST_CASE("bf16 rounds to nearest, ties to even, and keeps NaN and infinity", "[core]") {
    using cxr::bf16;
    CHECK(static_cast<float>(bf16(1.0F)) == 1.0F);
    CHECK(bf16(1.0F + 0x1p-8F).bits == bf16(1.0F).bits);              // a tie goes to the even fraction
    CHECK(static_cast<float>(bf16(1.0F + 0x1.8p-7F)) == 1.0F + 0x1p-6F);  // here the even one is above
    CHECK(static_cast<float>(bf16(1.0F + 0x1.02p-8F)) == 1.0F + 0x1p-7F);
    CHECK(std::isnan(static_cast<float>(bf16(std::nanf("")))));
    CHECK(std::isinf(static_cast<float>(bf16(std::numeric_limits<float>::max()))));
    CHECK(static_cast<float>(bf16(-std::numeric_limits<float>::infinity())) == -std::numeric_limits<float>::infinity());
}

TEST_CASE("scratch memory is given back in order and does not grow when used again", "[core]") {
    cxr::workspace w;
    float* first = nullptr;
    {
        cxr::workspace::frame outer(w);
        first = outer.take<float>(1000);
        CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
        {
            cxr::workspace::frame inner(w);
            auto* const large = inner.take<double>(1 << 20);
            large[(1 << 20) - 1] = 1;
        }
        auto* const again = outer.take<float>(10);
        CHECK(again >= first + 1000);
    }
    auto const held = w.capacity();
    for (int i = 0; i < 3; ++i) {
        cxr::workspace::frame f(w);
        CHECK(f.take<float>(1000) == first);
        static_cast<void>(f.take<double>(1 << 20));
        CHECK(w.capacity() == held);
    }
    auto moved = std::move(w);  // whoever remembers addresses may move
    CHECK(moved.capacity() == held);
    CHECK(w.capacity() == 0);
    cxr::workspace::frame f(moved);
    CHECK(f.take<float>(1000) == first);
    cxr::workspace const copy = moved;
    CHECK(copy.capacity() == 0);
}
