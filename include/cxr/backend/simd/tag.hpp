// SPDX-License-Identifier: Apache-2.0
#pragma once
// The simd backend: DenseNet by kernels of its own, in the best instructions that the processor has. What it does not do itself, `reference` does. It needs no third party.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/backend/simd/instruction_set.hpp"
#include "cxr/core/error.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cxr::simd {

struct tag;

/// The stages of DenseNet's features as `context::set_stage_done` names them: behind the stem, the names of its parts.
inline constexpr std::string_view densenet_stages[] = {"stem", "denseblock1", "transition1", "denseblock2", "transition2", "denseblock3", "transition3", "denseblock4", "norm5"};

/// The most classes of a table whose counts and loss are this backend's own; of more they are `reference`'s.
inline constexpr std::size_t most_classes = 256;

/// Threads, scratch memory, and the instructions to use.
class context : public reference::context {
public:
    using backend = tag;  ///< whose context this is

    /// With `threads` workers, the calling one included; 0 means one a hardware thread. `instructions` may be lower than the processor's best.
    /// Throws `backend_error` where the processor does not have them.
    explicit context(std::size_t threads = 1, instruction_set instructions = best_instruction_set()) : context(std::make_shared<executor>(threads), instructions) {}

    /// On the workers of somebody else. `workers` is not null.
    explicit context(std::shared_ptr<executor> workers, instruction_set instructions = best_instruction_set()) : reference::context(std::move(workers)), instructions_(instructions) {
        if (instructions > best_instruction_set())
            throw backend_error("simd: this processor has " + std::string(to_string(best_instruction_set())) + " and not " + std::string(to_string(instructions)));
    }

    /// What kernels are compiled for.
    [[nodiscard]] instruction_set instructions() const { return instructions_; }

    /// Throws `backend_error` where a context may not multiply bfloat16: that takes AVX512_BF16, and `instructions()` not below AVX-512.
    void require_bf16() const {
        if (instructions_ < instruction_set::avx512 || !has_bf16())
            throw backend_error("simd: bfloat16 needs AVX512_BF16, and this context has " + std::string(to_string(instructions_)) + (instructions_ < instruction_set::avx512 ? "" : " without it"));
    }

    /// Whether what is frozen from now on convolves by Winograd's filtering: faster, with about ten times the rounding error. Off unless asked for.
    [[nodiscard]] bool winograd() const { return winograd_; }
    /// Sets that.
    void set_winograd(bool on) { winograd_ = on; }

    /// Whether training computes bottlenecks again in backward instead of keeping them: the same numbers in less memory and more time. Off unless asked for.
    [[nodiscard]] bool recompute() const { return recompute_; }
    /// Sets that.
    void set_recompute(bool on) { recompute_ = on; }

    /// From now on calls `done(stage)` in the calling thread whenever DenseNet has done a stage of a step of training, forward or backward, or of the inference of one image: "weights" (packed
    /// for a step) or one of `densenet_stages`. Copies of the context call it too. A null `done` ends that. It may not throw.
    void set_stage_done(std::function<void(std::string_view stage)> done) { stage_done_ = std::move(done); }
    /// Tells whoever wants to know.
    void stage_done(std::string_view stage) const {
        if (stage_done_) stage_done_(stage);
    }

private:
    instruction_set instructions_;
    bool winograd_ = false, recompute_ = false;
    std::function<void(std::string_view)> stage_done_;
};

/// The tag; falls back to `reference`.
struct tag : reference::tag {
    static constexpr std::string_view name = "simd";  ///< as the command line spells it
    using parent = reference::tag;                    ///< serves what this backend does not
    using context = simd::context;                    ///< threads and instructions
};

}  // namespace cxr::simd

namespace cxr {
/// Kernels of cxr's own for DenseNet.
using simd_backend = simd::tag;
}  // namespace cxr
