// SPDX-License-Identifier: Apache-2.0
#include "cxr/interop/xtensor.hpp"

#include <catch2/catch.hpp>
#include <xtensor/xmanipulation.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xstrided_view.hpp>
#include <xtensor/xvectorize.hpp>

#include <vector>

namespace {

template <class View, class Object>
void same_elements(View const& view, Object& object) {
    REQUIRE(object.dimension() == 2);
    REQUIRE(view.extent(0) == object.shape()[0]);
    REQUIRE(view.extent(1) == object.shape()[1]);
    for (std::size_t i = 0; i < view.extent(0); ++i)
        for (std::size_t j = 0; j < view.extent(1); ++j) REQUIRE(&view(i, j) == &object(i, j));
}

TEST_CASE("xtensor arrays and tensors of either layout are looked at where they lie") {
    xt::xtensor<double, 2> tensor = xt::zeros<double>({5, 3});
    xt::xarray<float> array = xt::zeros<float>({4, 7});
    xt::xtensor<int, 2, xt::layout_type::column_major> columns = xt::zeros<int>({3, 2});
    xt::xtensor_fixed<double, xt::xshape<2, 3>> fixed;
    same_elements(cxr::as_view(tensor), tensor);
    same_elements(cxr::as_view<2>(array), array);
    same_elements(cxr::as_view(columns), columns);
    same_elements(cxr::as_view(fixed), fixed);
}

TEST_CASE("xtensor adaptors, strided views, views of views and transposes are looked at where they lie") {
    std::vector<double> memory(60);
    auto adapted = xt::adapt(memory, std::array<std::size_t, 2>{6, 10});
    same_elements(cxr::as_view(adapted), adapted);
    REQUIRE(cxr::as_view(adapted).data() == memory.data());

    auto view = xt::view(adapted, xt::range(1, 6, 2), xt::range(2, 9));
    same_elements(cxr::as_view<2>(view), view);
    auto inner = xt::view(view, xt::range(1, 3), xt::range(0, 7, 3));
    same_elements(cxr::as_view<2>(inner), inner);
    auto strided = xt::strided_view(adapted, {xt::range(5, 0, -2), xt::all()});
    same_elements(cxr::as_view<2>(strided), strided);
    auto transposed = xt::transpose(adapted);
    same_elements(cxr::as_view<2>(transposed), transposed);

    auto row = xt::view(adapted, 3, xt::all());
    auto const line = cxr::as_view<1>(row);
    REQUIRE(line.extent(0) == 10);
    for (std::size_t j = 0; j < 10; ++j) REQUIRE(&line(j) == &memory[30 + j]);
}

TEST_CASE("constness of an xtensor object is that of its view") {
    xt::xtensor<double, 2> tensor({2, 2});
    xt::xtensor<double, 2> const& constant = tensor;
    STATIC_REQUIRE(std::is_same_v<decltype(cxr::as_view(tensor)), cxr::view<double, 2>>);
    STATIC_REQUIRE(std::is_same_v<decltype(cxr::as_view(constant)), cxr::view<double const, 2>>);
    STATIC_REQUIRE(cxr::interop::writable<decltype(tensor), 2>);
    STATIC_REQUIRE_FALSE(cxr::interop::writable<decltype(tensor) const, 2>);
}

TEST_CASE("a lazy xtensor expression is evaluated exactly once") {
    int calls = 0;
    xt::xtensor<double, 2> const tensor = {{1, 2, 3}, {4, 5, 6}};
    auto const twice = xt::vectorize([&calls](double x) { return ++calls, 2 * x; });
    auto const lazy = twice(tensor);
    STATIC_REQUIRE_FALSE(cxr::interop::borrowable<decltype(lazy), 2>);
    auto const held = cxr::interop::read<2>(lazy);
    REQUIRE(calls == 6);
    REQUIRE(held.view()(1, 2) == 12);
    REQUIRE(held.view()(0, 1) == 4);
    REQUIRE(calls == 6);
}

TEST_CASE("views that pick indices, broadcasts and reshaped expressions have the right values") {
    xt::xarray<double> const array = {{1, 2, 3}, {4, 5, 6}};
    auto const kept = cxr::interop::read<2>(xt::view(array, xt::all(), xt::keep(2, 0)));
    REQUIRE(kept.view()(1, 0) == 6);
    REQUIRE(kept.view()(1, 1) == 4);
    auto const dynamic = cxr::interop::read<2>(xt::dynamic_view(array, {xt::all(), xt::keep(2, 0)}));
    REQUIRE(dynamic.view()(1, 0) == 6);
    REQUIRE(dynamic.view()(1, 1) == 4);
    auto const spread = cxr::interop::read<2>(xt::broadcast(xt::view(array, 1, xt::all()), {4, 3}));
    REQUIRE(spread.view()(3, 1) == 5);
    auto const reshaped = cxr::interop::read<2>(xt::reshape_view(array * 2, {3, 2}));
    REQUIRE(reshaped.view()(2, 1) == 12);
    REQUIRE(reshaped.view()(1, 0) == 6);
}

TEST_CASE("an xtensor array with another number of dimensions is refused with both numbers") {
    xt::xarray<double> const array = xt::zeros<double>({2, 3, 4});
    REQUIRE_THROWS_WITH(cxr::as_view<2>(array), Catch::Contains("3 dimensions, expected 2"));
    REQUIRE_THROWS_WITH(cxr::interop::read<2>(array + 1.0), Catch::Contains("3 dimensions, expected 2"));
}

TEST_CASE("views, tensors and vectors come back as xtensor views without copy") {
    cxr::tensor<float, 2> tensor({3, 4});
    for (std::size_t i = 0; i < 12; ++i) tensor[i] = static_cast<float>(i);
    auto whole = cxr::as_xtensor(tensor);
    REQUIRE(&whole(2, 1) == &tensor(2, 1));
    auto part = cxr::as_xtensor(tensor.view().slice(1, 1, 2));
    REQUIRE(&part(1, 1) == &tensor(1, 2));
    part *= 10.F;
    REQUIRE(tensor(1, 2) == 60.F);
    REQUIRE(tensor(1, 3) == 7.F);
    std::vector<double> const frequencies{0.8, 0.4};
    REQUIRE(cxr::as_xtensor(frequencies).data() == frequencies.data());
}

TEST_CASE("what is assigned to a view that came back lands where the view's strides say") {
    std::vector<double> memory(8, -1.0);
    cxr::view<double, 2> const columns(memory.data(), {2, 3}, {1, 2});
    auto target = cxr::as_xtensor(columns);
    target = xt::xtensor<double, 2>{{1, 2, 3}, {4, 5, 6}};
    REQUIRE(memory == std::vector<double>{1, 4, 2, 5, 3, 6, -1, -1});
    target = target + 1.0;
    REQUIRE(memory == std::vector<double>{2, 5, 3, 6, 4, 7, -1, -1});
    REQUIRE(columns(1, 2) == 7.0);
}

TEST_CASE("a strided row comes back as a view that broadcasts") {
    cxr::tensor<double, 2> tensor({3, 4});
    for (std::size_t i = 0; i < 12; ++i) tensor[i] = static_cast<double>(i);
    auto const row = cxr::as_xtensor(tensor.view().slice(0, 1, 1));
    xt::xtensor<double, 2> const sum = row + xt::zeros<double>({3, 4});
    REQUIRE(sum(2, 3) == 7.0);
    auto const column = cxr::as_xtensor(tensor.view().slice(1, 2, 1));
    xt::xtensor<double, 2> const wide = column + xt::zeros<double>({3, 4});
    REQUIRE(wide(2, 3) == 10.0);
}

}  // namespace
