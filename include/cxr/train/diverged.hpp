// SPDX-License-Identifier: Apache-2.0
#pragma once
// The end of a training run whose loss is no longer a number.

#include "cxr/core/error.hpp"

#include <cmath>
#include <cstdint>
#include <string>

namespace cxr::train {

/// Training diverged: the loss of a batch, or of the validation set, is not finite.
class diverged : public error {
public:
    /// `what` (as "the loss of the batch") is `loss` at step `step`, counted from 1.
    diverged(std::uint64_t step, double loss, std::string const& what = "the loss")
        : error("training diverged at step " + std::to_string(step) + ": " + what + (std::isnan(loss) ? " is not a number" : " is infinite") +
                ", expected a finite number; a smaller learning rate may help"),
          step_(step) {}

    /// The step at which it showed, counted from 1.
    [[nodiscard]] std::uint64_t step() const { return step_; }

private:
    std::uint64_t step_;
};

}  // namespace cxr::train
