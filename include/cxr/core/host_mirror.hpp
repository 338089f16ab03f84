// SPDX-License-Identifier: Apache-2.0
#pragma once
// A tensor of any memory as the host sees it: itself where the host may dereference it, else a copy.

#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"

#include <cstddef>

namespace cxr {

/// The elements of a tensor for the host to read and write; `store` brings them back to where the tensor lives.
template <class T, std::size_t Rank, memory Memory>
class host_mirror {
public:
    /// Of `of`, which must outlive the mirror.
    explicit host_mirror(tensor<T, Rank, Memory>& of) : of_(&of) {
        if constexpr (!Memory::host_accessible) copy_ = of.to_host();
    }

    /// The elements, in the host's memory.
    [[nodiscard]] cxr::view<T, Rank> view() {
        if constexpr (Memory::host_accessible)
            return of_->view();
        else
            return copy_.view();
    }

    /// Makes the tensor's elements those of `view()`.
    void store() {
        if constexpr (!Memory::host_accessible) of_->assign(copy_.data());
    }

private:
    tensor<T, Rank, Memory>* of_;
    tensor<T, Rank> copy_;  // empty where the host reaches the tensor itself
};

}  // namespace cxr
