// SPDX-License-Identifier: Apache-2.0
#pragma once
// What oneDNN's kernels need from call to call: an engine, and the primitives made so far, because making one is slow.

#include "cxr/backend/eigen/tag.hpp"

#include <dnnl.hpp>
#include <omp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cxr::onednn {

struct tag;

/// Tells oneDNN to use the calling thread alone while it lives: oneDNN splits sums by the number of its threads, both when a primitive is made and when
/// it runs, and cxr's own loops are the parallel ones. The thread's own setting comes back afterwards.
class single_threaded {
public:
    single_threaded() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
    single_threaded(single_threaded const&) = delete;
    single_threaded& operator=(single_threaded const&) = delete;
    ~single_threaded() { omp_set_num_threads(before_); }

private:
    int before_;
};

/// Threads, an engine, and a cache of primitives. Copies share threads, engine and the primitives made so far, and have streams of their own.
class context : public eigen::context {
public:
    using backend = tag;                                   ///< whose context this is
    using cache_key = std::array<std::int64_t, 20>;        ///< what kind of primitive, for which shapes

    /// With `threads` workers, the calling one included; 0 means one a hardware thread.
    explicit context(std::size_t threads = 1) : context(std::make_shared<executor>(threads)) {}

    /// On the workers of somebody else. `workers` is not null.
    explicit context(std::shared_ptr<executor> workers) : eigen::context(std::move(workers)), engine_(dnnl::engine::kind::cpu, 0), streams_(fresh_streams()) {}

    /// Shares threads, engine and primitives; streams are new.
    context(context const& other)
        : eigen::context(other), engine_(other.engine_), implementations_(other.implementations_), streams_(fresh_streams()), primitives_(other.primitives_) {}
    /// Leaves nothing to be used behind.
    context(context&&) = default;
    /// As copying or moving.
    context& operator=(context other) noexcept {
        eigen::context::operator=(std::move(other));
        // NOLINTBEGIN(bugprone-use-after-move): the base alone was moved
        std::swap(engine_, other.engine_);
        std::swap(implementations_, other.implementations_);
        std::swap(streams_, other.streams_);
        std::swap(primitives_, other.primitives_);
        // NOLINTEND(bugprone-use-after-move)
        return *this;
    }
    ~context() = default;

    /// The CPU engine.
    [[nodiscard]] dnnl::engine const& engine() const { return engine_; }

    /// The stream of a worker.
    [[nodiscard]] dnnl::stream& stream(std::size_t worker) { return streams_[worker]; }

    /// The object made by `make()` for this key: now, or at an earlier call. `P` is the same for equal keys.
    template <class P, class Make>
    [[nodiscard]] P const& cached(cache_key const& key, Make make) {
        auto& entry = primitives_[key];
        if (!entry) entry = std::make_shared<P>(make());
        return *static_cast<P const*>(entry.get());
    }

    /// What was made so far, as "convolution" or "reorder" and oneDNN's name of the implementation: a `ref` or `simple` convolution is a hundred times slower than the others.
    [[nodiscard]] std::set<std::string> const& implementations() const { return implementations_; }
    /// Notes one of them.
    void made(std::string const& kind, std::string const& implementation) { implementations_.insert(kind + " " + implementation); }

private:
    [[nodiscard]] std::vector<dnnl::stream> fresh_streams() const {
        std::vector<dnnl::stream> streams;
        for (std::size_t w = 0; w < this->workers().size(); ++w) streams.emplace_back(engine_);
        return streams;
    }

    dnnl::engine engine_;
    std::set<std::string> implementations_;
    std::vector<dnnl::stream> streams_;
    std::map<cache_key, std::shared_ptr<void const>> primitives_;
};

}  // namespace cxr::onednn
