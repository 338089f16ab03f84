// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolutions and their derivatives by cuDNN on raw device memory: images channels last, of which the channels may be a slice of a wider buffer.
// Only engines whose bits are the same from run to run are used.

#include "cxr/backend/cuda/handles.hpp"
#include "cxr/ops/window.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cxr::on_cuda {

/// One convolution: images (n, height, width, in_channels) to (n, out_height, out_width, out_channels), pixels `in_stride` and `out_stride` elements apart.
struct convolution_geometry {
    std::size_t n, height, width, in_channels, in_stride, out_height, out_width, out_channels, out_stride;
    ops::window window;
    element type = element::f32;

    friend constexpr bool operator==(convolution_geometry const&, convolution_geometry const&) = default;

    /// All of it as numbers, to be ordered and hashed.
    [[nodiscard]] constexpr std::array<std::size_t, 13> key() const {
        return {n, height, width, in_channels, in_stride, out_height, out_width, out_channels, out_stride, window.size, window.stride, window.padding, static_cast<std::size_t>(type)};
    }

    /// Throws `contract_violation` unless the output follows from the input and pixels do not overlap.
    void require_consistent() const {
        for (std::size_t d : {n, in_channels, out_channels, window.size, window.stride}) require(d > 0, "cxr::on_cuda::convolution: an extent is 0");
        require_shape({n, out_height, out_width, out_channels}, window.output({n, height, width, in_channels}, out_channels), "cxr::on_cuda::convolution: output");
        require(in_stride >= in_channels && out_stride >= out_channels, "cxr::on_cuda::convolution: pixels overlap: a stride is less than the number of channels");
    }
};

/// As messages print it.
[[nodiscard]] inline std::string to_string(convolution_geometry const& g) {
    auto const slice = [](std::size_t c, std::size_t s) { return c == s ? "" : " in pixels " + std::to_string(s) + " apart"; };
    return std::to_string(g.window.size) + "x" + std::to_string(g.window.size) + " stride " + std::to_string(g.window.stride) + " padding " +
           std::to_string(g.window.padding) + ", " + to_string(g.type) + ", " + to_string(shape{g.n, g.height, g.width, g.in_channels}) + slice(g.in_channels, g.in_stride) +
           " to " + to_string(shape{g.n, g.out_height, g.out_width, g.out_channels}) + slice(g.out_channels, g.out_stride);
}

/// The convolution itself, or one of its two derivatives.
enum class convolution_pass {
    forward,
    backward_data,
    backward_weights
};

/// As messages print it.
[[nodiscard]] constexpr char const* to_string(convolution_pass p) {
    return p == convolution_pass::forward ? "convolution" : (p == convolution_pass::backward_data ? "derivative by the input of convolution" : "derivative by the weights of convolution");
}

/// What cuDNN is asked: one operation on three tensors, known to it as 1 (input), 2 (weights) and 3 (output).
[[nodiscard]] inline backend_descriptor convolution_graph(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass, cudnnDataType_t weights_type,
                                                          std::size_t alignment) {
    using quad = std::array<std::int64_t, 4>;
    using pair = std::array<std::int64_t, 2>;
    auto const number = [](std::size_t v) { return static_cast<std::int64_t>(v); };
    auto const type = g.type == element::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    auto const tensor = [&](std::int64_t id, cudnnDataType_t t, quad const& extents, quad const& strides) {
        backend_descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
        d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, t);
        d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, number(std::max<std::size_t>(alignment, t == CUDNN_DATA_BFLOAT16 ? 2 : 4)));
        d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, extents);
        d.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
        d.finalize();
        return d;
    };
    // cuDNN counts (N, C, H, W), whatever order the elements have in memory.
    auto const image = [&](std::int64_t id, std::size_t channels, std::size_t h, std::size_t w, std::size_t stride) {
        return tensor(id, type, {number(g.n), number(channels), number(h), number(w)}, {number(h * w * stride), 1, number(w * stride), number(stride)});
    };
    auto const k = g.window.size, c = g.in_channels;
    auto const in = image(1, c, g.height, g.width, g.in_stride);
    auto const weights = tensor(2, weights_type, {number(g.out_channels), number(c), number(k), number(k)}, {number(k * k * c), 1, number(k * c), number(c)});
    auto const out = image(3, g.out_channels, g.out_height, g.out_width, g.out_stride);

    backend_descriptor window(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    auto const stride = number(g.window.stride), padding = number(g.window.padding);
    window.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    window.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
    window.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
    window.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, pair{1, 1});
    window.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, pair{stride, stride});
    window.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, pair{padding, padding});
    window.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, pair{padding, padding});
    window.finalize();

    struct names {
        cudnnBackendDescriptorType_t operation;
        backend_descriptor::name window, in, weights, out, alpha, beta;
    };
    auto const [operation, window_name, in_name, weights_name, out_name, alpha_name, beta_name] =
        pass == convolution_pass::forward
            ? names{CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}
        : pass == convolution_pass::backward_data
            ? names{CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}
            : names{CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    backend_descriptor convolution(operation);
    convolution.set(window_name, window);
    convolution.set(in_name, in);
    convolution.set(weights_name, weights);
    convolution.set(out_name, out);
    convolution.set(alpha_name, 1.0F);
    convolution.set(beta_name, 0.0F);
    convolution.finalize();

    backend_descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, convolution);
    graph.finalize();
    return graph;
}

/// One way to run a convolution that cuDNN has agreed to.
struct convolution_candidate {
    backend_descriptor configuration;  ///< what the plan was made of, which it may go on reading
    backend_descriptor plan;
    std::size_t workspace;             ///< bytes
    std::string engine;                ///< number of the engine and its knobs, `eng57_k2=12`
    cudnnDataType_t weights_type;      ///< of the weights, or of their gradient
};

/// Whether an engine of these notes may serve `type`: the same bits from run to run, sums of products in float32, factors no coarser than `type` says.
[[nodiscard]] inline bool acceptable(element type, std::vector<cudnnBackendNumericalNote_t> const& notes) {
    return std::none_of(notes.begin(), notes.end(), [&](cudnnBackendNumericalNote_t note) {
        switch (note) {
            case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: return type == element::f32;
            case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS: return type != element::bf16;
            case CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP: return false;
            default: return true;  // nondeterministic, sums of fewer bits, or a transform (Winograd, FFT) whose error is not that of a sum of products
        }
    });
}

/// Number and knobs of the engine in a configuration.
[[nodiscard]] inline std::string engine_text(backend_descriptor const& configuration, backend_descriptor const& engine) {
    auto text = "eng" + std::to_string(engine.values<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1).at(0));
    for (auto const& knob : configuration.descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS))
        text += "_k" + std::to_string(static_cast<int>(knob.values<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, 1).at(0))) + "=" +
                std::to_string(knob.values<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 1).at(0));
    return text;
}

/// The first `most` ways to run a convolution, those that cuDNN believes faster first; none where it has no engine that is `acceptable` and content
/// with `max_workspace_bytes`. `reason`, if not null, becomes why the last one was refused.
[[nodiscard]] inline std::vector<convolution_candidate> convolution_candidates(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass,
                                                                               std::size_t max_workspace_bytes, std::size_t alignment, std::size_t most,
                                                                               std::string* reason = nullptr) {
    g.require_consistent();
    require(alignment > 0 && (alignment & (alignment - 1)) == 0, "cxr::on_cuda::convolution: the alignment is no power of two");
    std::vector<convolution_candidate> found;
    auto const refuse = [&](std::string why) {
        if (reason != nullptr) *reason = std::move(why);
    };
    auto const search = [&](cudnnDataType_t weights_type, cudnnBackendHeurMode_t mode) {
        auto const graph = convolution_graph(handle, g, pass, weights_type, alignment);
        backend_descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
        heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
        heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
        if (!heuristic.try_finalize()) return refuse("no engine was suggested: " + last_cudnn_message());
        for (auto& configuration : heuristic.descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)) {
            if (found.size() == most) return;
            auto const engines = configuration.descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
            auto text = engine_text(configuration, engines.at(0));
            if (!acceptable(g.type, engines[0].values<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT))) {
                refuse(text + " is not deterministic or not precise enough");
                continue;
            }
            backend_descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
            if (!plan.try_finalize()) {
                refuse(text + ": " + last_cudnn_message());
                continue;
            }
            auto const bytes = static_cast<std::size_t>(plan.values<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 1).at(0));
            if (bytes > max_workspace_bytes) {
                refuse(text + " needs " + std::to_string(bytes) + " bytes of workspace");
                continue;
            }
            found.push_back({std::move(configuration), std::move(plan), bytes, std::move(text), weights_type});
        }
    };
    // A gradient of weights is wanted in float32, the type of the master weights; bf16 is better than none.
    auto const bf16 = g.type == element::bf16;
    auto const first = bf16 && pass != convolution_pass::backward_weights ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    auto const second = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    for (auto type = first; found.empty(); type = second) {
        search(type, CUDNN_HEUR_MODE_A);
        if (found.empty()) search(type, CUDNN_HEUR_MODE_FALLBACK);
        if (type == second) break;
    }
    return found;
}

/// cuDNN has no engine for a convolution as it was asked for; the message names geometry, operation and why the last one was refused.
class no_engine : public backend_error {
public:
    using backend_error::backend_error;
};

/// A convolution that is ready to run. The choice of engine depends on geometry, GPU and version of cuDNN alone, unless `autotune` makes another.
class convolution_plan {
public:
    /// Pointers given to `execute` will be multiples of `alignment` bytes. Throws `no_engine` where cuDNN has none that is deterministic, as
    /// precise as `g.type` says and content with `max_workspace_bytes`; `contract_violation` where the geometry contradicts itself.
    convolution_plan(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass, std::size_t max_workspace_bytes, std::size_t alignment = 16)
        : geometry_(g), pass_(pass), max_workspace_(max_workspace_bytes), alignment_(alignment), chosen_(first(handle, g, pass, max_workspace_bytes, alignment)) {}

    [[nodiscard]] convolution_geometry const& geometry() const { return geometry_; }    ///< what it was made for
    [[nodiscard]] convolution_pass pass() const { return pass_; }                       ///< which of the three operations
    [[nodiscard]] std::size_t workspace_bytes() const { return chosen_.workspace; }     ///< scratch that `execute` needs
    [[nodiscard]] std::string const& engine_name() const { return chosen_.engine; }     ///< cuDNN's number of the engine, and its knobs
    /// Whether the gradient of weights is written as float32; for a bf16 geometry it may be bf16.
    [[nodiscard]] bool weights_gradient_is_f32() const { return chosen_.weights_type == CUDNN_DATA_FLOAT; }

    /// Puts the operation into the handle's stream. Which pointers, all to device memory in the geometry's element type:
    /// forward: images, weights → output; backward_data: derivative by the output, weights → derivative by the images;
    /// backward_weights: images, derivative by the output → derivative by the weights (see `weights_gradient_is_f32`).
    /// Weights lie as (O, size, size, C). Every element of the result is overwritten, none between its pixels. `workspace` has `workspace_bytes()`
    /// and may be null where that is 0. Throws `contract_violation` where a pointer is less aligned than was said, `backend_error` where cuDNN fails.
    void execute(cudnnHandle_t handle, void const* first, void const* second, void* result, void* workspace) const { run(handle, chosen_, first, second, result, workspace); }

    /// Replaces the engine by the fastest of the first `most`, timed on these pointers, as in `execute`; `result` is overwritten. `workspace` has the
    /// `max_workspace_bytes` of the constructor. Waits for the GPU. Times vary, so from run to run engines and with them the last bits may.
    void autotune(cudnnHandle_t handle, void const* first, void const* second, void* result, void* workspace, std::size_t most = 8, std::size_t repetitions = 5) {
        cudaStream_t s{};
        check(cudnnGetStream(handle, &s), "cudnnGetStream");
        event const begin(true), end(true);
        auto best = -1.0F;
        for (auto& candidate : convolution_candidates(handle, geometry_, pass_, max_workspace_, alignment_, most)) {
            run(handle, candidate, first, second, result, workspace);  // the first run loads the kernel
            begin.record(s);
            for (std::size_t i = 0; i < repetitions; ++i) run(handle, candidate, first, second, result, workspace);
            end.record(s);
            end.synchronize();
            auto const time = end.milliseconds_since(begin);
            if (best < 0 || time < best) best = time, chosen_ = std::move(candidate);
        }
    }

private:
    [[nodiscard]] static convolution_candidate first(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass, std::size_t max_workspace_bytes,
                                                     std::size_t alignment) {
        std::string reason = "none was suggested";
        auto found = convolution_candidates(handle, g, pass, max_workspace_bytes, alignment, 1, &reason);
        if (!found.empty()) return std::move(found.front());
        throw no_engine("cuDNN " + std::to_string(cudnnGetVersion()) + " has no deterministic engine for the " + to_string(pass) + " " + to_string(g) + ", pointers aligned to " +
                        std::to_string(alignment) + " bytes, within " + std::to_string(max_workspace_bytes) + " bytes of workspace; of the last one: " + reason);
    }

    void run(cudnnHandle_t handle, convolution_candidate const& candidate, void const* first, void const* second, void* result, void* workspace) const {
        require(alignment_of({first, second, result}, alignment_) == alignment_, "cxr::on_cuda::convolution_plan: a pointer is less aligned than the plan was made for");
        require(workspace != nullptr || candidate.workspace == 0, "cxr::on_cuda::convolution_plan: no workspace");
        // cuDNN takes all pointers alike; which of them it writes through follows from the operation.
        auto* const a = const_cast<void*>(first);
        auto* const b = const_cast<void*>(second);
        using pointers = std::array<void*, 3>;
        backend_descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::array<std::int64_t, 3>{1, 2, 3});
        pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, pass_ == convolution_pass::forward         ? pointers{a, b, result}
                                                        : pass_ == convolution_pass::backward_data ? pointers{result, b, a}
                                                                                                   : pointers{a, result, b});
        pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
        pack.finalize();
        check(cudnnBackendExecute(handle, candidate.plan, pack), "cudnnBackendExecute");
    }

    convolution_geometry geometry_;
    convolution_pass pass_;
    std::size_t max_workspace_, alignment_;
    convolution_candidate chosen_;
};

/// Plans made so far, because making one takes milliseconds to seconds. One for each thread that uses it.
class convolution_plans {
public:
    /// No plan will need more than `max_workspace_bytes`.
    explicit convolution_plans(std::size_t max_workspace_bytes) : max_workspace_(max_workspace_bytes) {}

    /// The plan for `g`, made now or at an earlier call; it stays where it is. Throws what `convolution_plan` throws, at every call.
    [[nodiscard]] convolution_plan& plan(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass, std::size_t alignment = 16) {
        auto& e = entry(handle, g, pass, alignment);
        if (!e.plan) throw no_engine(e.refusal);
        return *e.plan;
    }

    /// The same, or null where cuDNN has no engine: for a caller who can bring the data into another layout.
    [[nodiscard]] convolution_plan* find(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass, std::size_t alignment = 16) {
        auto& e = entry(handle, g, pass, alignment);
        return e.plan ? &*e.plan : nullptr;
    }

    [[nodiscard]] std::size_t size() const { return entries_.size(); }                       ///< plans and refusals kept
    [[nodiscard]] std::size_t max_workspace_bytes() const { return max_workspace_; }         ///< enough for each of them

private:
    struct kept {
        std::optional<convolution_plan> plan;
        std::string refusal;
    };
    [[nodiscard]] kept& entry(cudnnHandle_t handle, convolution_geometry const& g, convolution_pass pass, std::size_t alignment) {
        auto const [at, fresh] = entries_.try_emplace({g.key(), pass, alignment});
        if (!fresh) return at->second;
        try {
            at->second.plan.emplace(handle, g, pass, max_workspace_, alignment);
        } catch (no_engine const& refusal) {
            at->second.refusal = refusal.what();
        } catch (...) {
            entries_.erase(at);
            throw;
        }
        return at->second;
    }

    std::size_t max_workspace_;
    std::map<std::tuple<std::array<std::size_t, 13>, convolution_pass, std::size_t>, kept> entries_;
};

}  // namespace cxr::on_cuda
