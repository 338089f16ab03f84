// SPDX-License-Identifier: Apache-2.0
#include "cxr/interop/eigen.hpp"

#include <catch2/catch.hpp>

#include <list>
#include <vector>

namespace {

template <class View, class Object>
void same_elements(View const& view, Object& object) {
    REQUIRE(view.extent(0) == static_cast<std::size_t>(object.rows()));
    REQUIRE(view.extent(1) == static_cast<std::size_t>(object.cols()));
    for (Eigen::Index i = 0; i < object.rows(); ++i)
        for (Eigen::Index j = 0; j < object.cols(); ++j) REQUIRE(&view(i, j) == &object.coeffRef(i, j));
}

TEST_CASE("Eigen matrices and arrays of either storage order are looked at where they lie") {
    Eigen::MatrixXd columns = Eigen::MatrixXd::Random(5, 3);
    Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows(4, 7);
    rows.setRandom();
    Eigen::Matrix<int, 3, 2> fixed;
    same_elements(cxr::as_view(columns), columns);
    same_elements(cxr::as_view(rows), rows);
    same_elements(cxr::as_view(fixed), fixed);
}

TEST_CASE("Eigen maps with strides, blocks, transposes and references are looked at where they lie") {
    std::vector<double> memory(200);
    Eigen::Map<Eigen::MatrixXd, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> map(memory.data(), 4, 5, {37, 3});
    same_elements(cxr::as_view(map), map);

    Eigen::MatrixXd matrix = Eigen::MatrixXd::Random(8, 9);
    auto block = matrix.block(1, 2, 5, 4);
    same_elements(cxr::as_view(block), block);
    auto inner = block.topRightCorner(2, 2);
    same_elements(cxr::as_view(inner), inner);
    auto row = matrix.row(3);
    same_elements(cxr::as_view<2>(row), row);
    auto transposed = matrix.transpose();
    same_elements(cxr::as_view(transposed), transposed);
    Eigen::Ref<Eigen::MatrixXd> reference(matrix);
    same_elements(cxr::as_view(reference), reference);
    auto array = matrix.array();
    same_elements(cxr::as_view(array), array);
}

TEST_CASE("Eigen vectors, rows and columns have one dimension, and two where two are asked for") {
    Eigen::MatrixXd matrix = Eigen::MatrixXd::Random(8, 9);
    auto row = matrix.row(3);
    auto const view = cxr::as_view(row);
    REQUIRE(view.extent(0) == 9);
    for (Eigen::Index j = 0; j < 9; ++j) REQUIRE(&view(j) == &matrix(3, j));

    Eigen::VectorXf vector(6);
    REQUIRE(cxr::as_view(vector).data() == vector.data());
    REQUIRE(cxr::as_view<2>(vector).shape() == cxr::shape{6, 1});
    Eigen::RowVectorXf across(6);
    REQUIRE(cxr::as_view<2>(across).shape() == cxr::shape{1, 6});
    same_elements(cxr::as_view<2>(across), across);
}

TEST_CASE("constness of an Eigen object is that of its view") {
    Eigen::MatrixXd matrix(2, 2);
    Eigen::MatrixXd const& constant = matrix;
    STATIC_REQUIRE(std::is_same_v<decltype(cxr::as_view(matrix)), cxr::view<double, 2>>);
    STATIC_REQUIRE(std::is_same_v<decltype(cxr::as_view(constant)), cxr::view<double const, 2>>);
    STATIC_REQUIRE(cxr::interop::writable<Eigen::MatrixXd, 2>);
    STATIC_REQUIRE_FALSE(cxr::interop::writable<Eigen::MatrixXd const, 2>);
    STATIC_REQUIRE_FALSE(cxr::interop::writable<Eigen::Map<Eigen::MatrixXd const>, 2>);
    STATIC_REQUIRE_FALSE(cxr::interop::readable<std::list<double>, 1>);
}

TEST_CASE("a lazy Eigen expression is evaluated exactly once") {
    int calls = 0;
    Eigen::MatrixXd const matrix = Eigen::MatrixXd::Random(3, 4);
    auto const lazy = matrix.unaryExpr([&calls](double x) { return ++calls, 2 * x; });
    STATIC_REQUIRE_FALSE(cxr::interop::borrowable<decltype(lazy), 2>);
    auto const held = cxr::interop::read<2>(lazy);
    auto const view = held.view();
    REQUIRE(calls == 12);
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 4; ++j) REQUIRE(view(i, j) == 2 * matrix(i, j));
    REQUIRE(calls == 12);
}

TEST_CASE("lazy Eigen rows, columns and comparisons are evaluated with their own shape") {
    Eigen::ArrayXXd const array = Eigen::ArrayXXd::Random(5, 2);
    auto const flags = cxr::interop::read<2>(array > 0.25);
    STATIC_REQUIRE(std::is_same_v<cxr::interop::element_t<decltype(array > 0.25), 2>, bool>);
    for (int i = 0; i < 5; ++i)
        for (int j = 0; j < 2; ++j) REQUIRE(flags.view()(i, j) == (array(i, j) > 0.25));
    auto const sums = cxr::interop::read<1>(array.colwise().sum() + 1.0);
    REQUIRE(sums.view().extent(0) == 2);
    REQUIRE(sums.view()[1] == array.col(1).sum() + 1.0);
    auto const reversed = cxr::interop::read<2>(array.reverse());
    REQUIRE(reversed.view()(0, 0) == array(4, 1));
}

TEST_CASE("views, tensors and vectors come back as Eigen maps without copy") {
    cxr::tensor<float, 2> tensor({3, 4});
    for (std::size_t i = 0; i < 12; ++i) tensor[i] = static_cast<float>(i);
    auto map = cxr::as_eigen(tensor);
    REQUIRE(&map(2, 1) == &tensor(2, 1));
    auto const window = tensor.view().slice(1, 1, 2);
    auto part = cxr::as_eigen(window);
    REQUIRE(part.cols() == 2);
    REQUIRE(&part(1, 1) == &tensor(1, 2));
    part.setZero();
    REQUIRE(tensor(1, 2) == 0.F);
    REQUIRE(tensor(1, 3) == 7.F);

    std::vector<double> frequencies{0.8, 0.4};
    REQUIRE(cxr::as_eigen(frequencies).data() == frequencies.data());
    Eigen::ArrayXf const copy = cxr::to_eigen<Eigen::ArrayXf>(frequencies);
    REQUIRE(copy(1) == 0.4F);
    Eigen::MatrixXd const wide = cxr::to_eigen<Eigen::MatrixXd>(tensor);
    REQUIRE(wide(2, 3) == 11.0);
    REQUIRE_THROWS_AS(cxr::as_eigen(cxr::view<float, 1>(tensor.data() + 3, {4}, {-1})), cxr::contract_violation);
}

}  // namespace
