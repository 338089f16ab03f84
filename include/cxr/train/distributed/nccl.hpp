// SPDX-License-Identifier: Apache-2.0
#pragma once
// NVIDIA GPUs of one machine that train one network, through NCCL: one thread, one context and one of these for each GPU.

#include "cxr/core/error.hpp"
#include "cxr/core/view.hpp"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

namespace cxr::train {

/// A context on a GPU: `work()` is its stream. `context<cuda_backend>` is one.
template <class C>
concept gpu_context = requires(C& ctx) {
    { ctx.work() } -> std::convertible_to<cudaStream_t>;
};

/// Throws `backend_error` that names the call and NCCL's words for its code, unless it is success.
inline void check(ncclResult_t status, char const* call) {
    if (status == ncclSuccess || status == ncclInProgress) return;
    throw backend_error(std::string("NCCL: ") + call + ": " + ncclGetErrorString(status) + " (" + std::to_string(static_cast<int>(status)) + "): " + ncclGetLastError(nullptr));
}

/// What the GPUs of one training share to find each other; one of them makes it and the others are given it.
[[nodiscard]] inline ncclUniqueId make_nccl_id() {
    ncclUniqueId id{};
    check(ncclGetUniqueId(&id), "ncclGetUniqueId");
    return id;
}

/// A GPU among `size` that train together; copies are the same one. The same GPUs train one network at a time: two would wait for each other. Its sums lie in the stream of the context they are given, recorded steps included.
class nccl {
public:
    /// Joins as number `rank` of `size`; waits until all have. The GPU is the calling thread's current one, as a context on it makes it.
    /// Throws `backend_error`, and `contract_violation` for a rank past the size.
    nccl(ncclUniqueId const& id, std::size_t rank, std::size_t size) : rank_(rank), size_(size) {
        require(rank < size, "cxr::train::nccl: the rank must be below the number of GPUs");
        ncclComm_t made = nullptr;
        check(ncclCommInitRank(&made, static_cast<int>(size), id, static_cast<int>(rank)), "ncclCommInitRank");
        communicator_.reset(made, [](ncclComm_t c) { static_cast<void>(ncclCommDestroy(c)); });
    }

    [[nodiscard]] std::size_t rank() const { return rank_; }  ///< number of this GPU
    [[nodiscard]] std::size_t size() const { return size_; }  ///< how many there are

    /// Replaces `values` (float or double, dense, on the GPU) by their sum over all GPUs.
    template <gpu_context Context, class T>
    void sum(Context& ctx, view<T, 1> values) {
        static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "cxr::train::nccl: sums of float or double");
        require(values.contiguous(), "cxr::train::nccl: values must be dense");
        reduce(communicator_.get(), ctx.work(), values.data(), values.size());
    }

    /// Makes batch norms of networks on `ctx` and its copies take their statistics over all GPUs, for as long as these contexts live.
    template <gpu_context Context>
    void synchronise_batch_norm(Context& ctx) {
        ctx.sum_across(size_, [shared = communicator_](cudaStream_t work, double* values, std::size_t count) { reduce(shared.get(), work, values, count); });
    }

private:
    template <class T>
    static void reduce(ncclComm_t communicator, cudaStream_t work, T* values, std::size_t count) {
        check(ncclAllReduce(values, values, count, std::is_same_v<T, float> ? ncclFloat : ncclDouble, ncclSum, communicator, work), "ncclAllReduce");
    }

    std::size_t rank_, size_;
    std::shared_ptr<std::remove_pointer_t<ncclComm_t>> communicator_;
};

}  // namespace cxr::train
