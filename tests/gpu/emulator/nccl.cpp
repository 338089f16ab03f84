// SPDX-License-Identifier: Apache-2.0
// What this project calls of NCCL, for the emulator: sums over GPUs, each of which a thread of the host works for.

#include "device.hpp"
#include "kernel.h"

#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>
#include <nccl.h>

namespace {

using emulator::enqueue;
using emulator::on_gpu;

/// Where the GPUs of one sum meet.
struct meeting {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t size = 0, joined = 0, arrived = 0, round = 0;
    std::size_t count = 0;
    ncclDataType_t type{};
    std::vector<void*> brought;
};

struct member {
    std::shared_ptr<meeting> place;
    std::size_t rank;
};

template <class T>
void sum(std::vector<void*> const& brought, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        T s = 0;
        for (auto* const p : brought) s += static_cast<T const*>(p)[i];
        for (auto* const p : brought) static_cast<T*>(p)[i] = s;
    }
}

}  // namespace

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    static std::mutex mutex;
    static int last = 0;
    std::lock_guard const lock(mutex);
    *id = {};
    std::snprintf(id->internal, sizeof id->internal, "%d", ++last);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* made, int size, ncclUniqueId id, int rank) {
    static std::mutex mutex;
    static std::map<std::string, std::shared_ptr<meeting>> all;
    std::shared_ptr<meeting> place;
    {
        std::lock_guard const lock(mutex);
        auto& known = all[id.internal];
        if (!known) known = std::make_shared<meeting>();
        place = known;
    }
    std::unique_lock lock(place->mutex);
    place->size = static_cast<std::size_t>(size);
    place->brought.resize(place->size);
    ++place->joined;
    place->changed.notify_all();
    place->changed.wait(lock, [&] { return place->joined >= place->size; });
    *made = reinterpret_cast<ncclComm_t>(new member{place, static_cast<std::size_t>(rank)});
    return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t c) { return delete reinterpret_cast<member*>(c), ncclSuccess; }
ncclResult_t ncclAllReduce(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t operation, ncclComm_t c, cudaStream_t s) {
    if (from != to || operation != ncclSum || (type != ncclFloat && type != ncclDouble) || !on_gpu(to, count * (type == ncclFloat ? 4 : 8))) return ncclInvalidArgument;
    auto const status = enqueue(s, [to, count, type, here = *reinterpret_cast<member*>(c)] {
        auto& place = *here.place;
        std::unique_lock lock(place.mutex);
        if (place.arrived == 0) place.count = count, place.type = type;
        if (place.count != count || place.type != type) gpu_stop("GPUs that sum other numbers than each other");
        place.brought[here.rank] = to;
        auto const round = place.round;
        if (++place.arrived < place.size) {
            place.changed.wait(lock, [&] { return place.round != round; });
            return;
        }
        type == ncclFloat ? sum<float>(place.brought, count) : sum<double>(place.brought, count);
        place.arrived = 0, ++place.round;
        place.changed.notify_all();
    });
    return status == cudaSuccess ? ncclSuccess : ncclInternalError;
}

}  // extern "C"
