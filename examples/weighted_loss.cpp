// SPDX-License-Identifier: Apache-2.0
// The course's weighted loss from Eigen, xtensor and plain memory, in any mixture; the backend is chosen by name.
// It is the unit case of the notebook: -0.4956203 whether all probabilities are 0.7 or 0.3.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
    Eigen::Array<double, 4, 3> eigen;
    eigen << 1, 1, 1,  //
        1, 1, 0,       //
        0, 1, 0,       //
        1, 0, 1;
    xt::xtensor<double, 2> const xtensor = 0.7 * xt::ones<double>({4, 3});
    std::vector<double> const memory(12, 0.3);
    cxr::view<double const, 2> const plain(memory.data(), {4, 3});

    // Weights of positive and of negative labels, one a class, and epsilon.
    cxr::weighted_loss<cxr::eigen_backend> const loss({0.25, 0.25, 0.5}, {0.75, 0.75, 0.5}, 1.0);
    double const high = loss(eigen, xtensor);       // targets from Eigen, probabilities from xtensor
    double const low = loss(eigen, plain);          // … and from plain memory
    double const lazy = loss(eigen, 1.0 - xtensor); // an expression is evaluated once

    Eigen::MatrixXd gradient(4, 3);  // ∂L/∂p, written where it lies
    loss.gradient(eigen, plain, gradient);

    std::printf("all 0.7: %.7f   all 0.3: %.7f   difference: %.1g   lazy: %.7f\n", high, low, std::abs(high - low), lazy);
    std::printf("gradient of the first row at 0.3: %.5f %.5f %.5f\n", gradient(0, 0), gradient(0, 1), gradient(0, 2));
    return std::abs(high + 0.4956203) < 5e-8 && std::abs(high - low) < 1e-12 && std::abs(lazy - low) < 1e-12 ? 0 : 1;
}
