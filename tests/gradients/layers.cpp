// SPDX-License-Identifier: Apache-2.0
#include "numeric.hpp"

#include "cxr/models/densenet.hpp"
#include "cxr/nn/dropout.hpp"

using namespace cxr;
using namespace cxr::nn;
using cxr::test::holds;

TEST_CASE("backward of a convolution is the derivative of forward", "[gradients][nn]") {
    holds(conv<1>{5}, {3, 4, 5, 6});
    holds(conv<3>{4}, {2, 5, 7, 3});
    holds(conv<3>{2}, {1, 1, 1, 3});
    holds(conv<7, 2>{4}, {2, 11, 9, 3});
    holds(conv<7, 2>{4}, {1, 12, 8, 2});
    holds(conv<2, 3, 0>{3}, {2, 9, 10, 2});
}

TEST_CASE("backward of batch norm is the derivative of forward, batch statistics included", "[gradients][nn]") {
    holds(batch_norm{}, {3, 4, 5, 6});
    holds(keras_batch_norm, {2, 3, 3, 70});
    holds(batch_norm{}, {4, 1, 1, 3});
}

TEST_CASE("backward of batch norm by running statistics is the derivative of forward", "[gradients][nn]") {
    holds(batch_norm{}, {3, 4, 5, 6}, true);
    holds(keras_batch_norm, {1, 1, 1, 3}, true);
    holds(append(chain(batch_norm{}, relu{}, conv<1>{8}, batch_norm{}, relu{}, conv<3>{2})), {2, 4, 5, 3}, true);
}

TEST_CASE("backward of the elementwise functions is the derivative of forward", "[gradients][nn]") {
    holds(relu{}, {2, 3, 4, 5});
    holds(sigmoid{}, {2, 3, 4, 5});
}

TEST_CASE("backward of dropout is the derivative of forward with the same mask", "[gradients][nn]") {
    holds(dropout{0.4}, {2, 3, 4, 5});
    holds(chain(conv<1>{6}, relu{}, dropout{0.5}, conv<1>{3}), {2, 4, 4, 3});
    holds(chain(dropout{0.2}, global_average_pool{}, dropout{0.5}, linear{4}), {3, 4, 5, 6});
}

TEST_CASE("backward of the pools is the derivative of forward", "[gradients][nn]") {
    holds(max_pool<3, 2, 1>{}, {2, 7, 8, 3});
    holds(max_pool<2>{}, {2, 5, 6, 3});
    holds(average_pool<2>{}, {2, 6, 4, 3});
    holds(average_pool<2>{}, {2, 5, 7, 3});
    holds(average_pool<3, 1>{}, {1, 5, 4, 2});
    holds(global_average_pool{}, {3, 4, 5, 6});
}

TEST_CASE("backward of a linear layer is the derivative of forward", "[gradients][nn]") {
    holds(linear{4}, {5, 1, 1, 7});
    holds(linear{3}, {2, 2, 3, 4});
}

TEST_CASE("backward of a chain is the derivative of forward, in-place parts at either end", "[gradients][nn]") {
    holds(chain(conv<3>{4}, batch_norm{}, relu{}, conv<1>{3}), {2, 5, 5, 3});
    holds(chain(relu{}, conv<1>{3}), {2, 3, 3, 4});
    holds(chain(conv<1>{3}, relu{}, sigmoid{}), {2, 3, 3, 4});
    holds(chain(relu{}, sigmoid{}), {2, 3, 3, 4});
    holds(chain(conv<1>{3}), {2, 3, 3, 4});
}

TEST_CASE("backward of append is the derivative of forward", "[gradients][nn]") {
    auto const layer = append(chain(batch_norm{}, relu{}, conv<1>{8}, batch_norm{}, relu{}, conv<3>{2}));
    holds(layer, {2, 4, 5, 3});
    holds(chain(conv<1>{5}, layer, layer, batch_norm{}), {2, 4, 4, 3});
    holds(append(append(conv<1>{2})), {2, 3, 3, 4});
}

TEST_CASE("backward of repeat is the derivative of forward", "[gradients][nn]") {
    auto const layer = append(chain(batch_norm{}, relu{}, conv<3>{2}));
    holds(repeat("denselayer", 3, layer), {2, 4, 4, 3});
    holds(chain(average_pool<2>{}, repeat("a", 2, layer), conv<1>{3}, repeat("b", 2, layer), relu{}), {2, 6, 6, 3});
}

TEST_CASE("backward of a whole small DenseNet is the derivative of forward", "[gradients][models]") {
    holds(models::densenet({.blocks = {1, 2, 1, 1}, .growth = 4, .stem = 6, .classes = 3}), {2, 64, 64, 3});
    holds(models::densenet({.blocks = {2, 1, 1, 2}, .growth = 3, .stem = 4, .compression = 0.7, .classes = 2, .details = models::convention::keras}), {3, 64, 32, 1});
}
