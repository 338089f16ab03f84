// SPDX-License-Identifier: Apache-2.0
#pragma once
// One face for every backend, so that the commands are compiled once and each backend in a translation unit of its own.

#include "workload.hpp"

#include "cxr/core/view.hpp"
#include "cxr/data/image.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/optim/chosen_optimizer.hpp"
#include "cxr/ops/loss_form.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/stats/co_occurrence.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cxr::trainer {

/// What makes a network and its training.
struct engine_options {
    models::densenet_options network;    ///< blocks, growth, stem, compression, classes, convention
    std::size_t channels = 3;            ///< of the input images
    data::image_size size = 320;         ///< pixels of height and width, each at least 32
    optim::chosen_options optimizer;     ///< Adam's epsilon is 1e-7 as in the course
    double head_share = 1;               ///< of the learning rate that the head takes
    double clip_norm = 0;                ///< largest norm of a gradient; 0: any
    std::vector<std::string> frozen;     ///< patterns of the parameters that do not learn
    bool frozen_statistics = true;       ///< whether batch norms whose weight and bias they match normalise by their running statistics, and leave them as they are
    bool frozen_norms_expected = false;  ///< whether it is an error where there is no such batch norm
    stats::class_weights weights;        ///< of the loss; empty where the network only predicts
    ops::loss_form form;                 ///< of the loss; plain as it stands
    std::uint64_t seed = 0;              ///< of the initial weights
    bool drawn = true;                   ///< whether these are needed; without them weights are 0 until they are loaded
    std::size_t threads = 0;             ///< 0: one a hardware thread
    bool bf16 = false;                   ///< bfloat16 activations, or factors of convolutions in training on simd, where the backend has them
    bool winograd = false;               ///< predict by Winograd's filtering, where the backend has it
    bool recompute = false;              ///< train in less memory and more time, where the backend can
};

/// What can be said about a network before it is trained.
struct engine_description {
    std::size_t parameters = 0;             ///< trainable numbers
    std::size_t statistics = 0;             ///< running statistics
    double flops_an_image = 0;              ///< of convolutions and linear layers in the forward pass, a multiply-add counted as 2
    std::size_t activations_an_image = 0;   ///< numbers that a training step keeps for one image, estimated
};

/// The name of an optimizer: adam, adamw or sgd.
std::string optimizer_name(optim::chosen_options const& optimizer);

/// The steps that the optimizer of a checkpoint has taken. Throws `io_error`, also where it is another than `name`.
std::uint64_t optimizer_steps(io::checkpoint const& from, std::string const& path, std::string const& name);

/// Whether one of the patterns, as a shell has them, matches a parameter's path; `*` matches dots too.
bool matches(std::vector<std::string> const& patterns, std::string const& path);

/// Throws `usage_error` where a pattern matches no path of a parameter, where all paths are matched and nothing would learn, or where not `norms_as_expected`: a batch norm was to be
/// frozen, and none is.
void check_frozen(std::vector<std::string> const& patterns, std::vector<std::string> const& paths, bool norms_as_expected);

/// Numbers that a training step keeps of one image, estimated for layers that fuse nothing: in each dense layer its normalised input and the
/// bottleneck before and after its batch norm, each block's buffer, stem and transitions; and the gradients of the largest of these.
std::size_t activations_an_image(engine_options const& options);

/// The same for layers that keep nothing normalised, as those on Thrust's systems and on a GPU: the blocks' buffers, bottlenecks and pooled inputs of transitions; and gradients.
std::size_t fused_activations_an_image(engine_options const& options);

/// The same for layers that keep but the blocks' buffers and the bottlenecks' raw outputs, these too only one at a time where `o.recompute`.
std::size_t block_activations_an_image(engine_options const& o);

/// A network with its optimizer on some backend.
class engine {
public:
    engine() = default;
    engine(engine const&) = delete;
    engine& operator=(engine const&) = delete;
    virtual ~engine() = default;

    /// Names the batch of the next step, images (N, H, W, C) and targets (N, classes), which live until it is done, and begins to bring it where it is needed.
    virtual void prefetch(view<float const, 4> images, view<float const, 2> targets) = 0;
    /// Images or targets brought once and for all to where the backend works, for steps and predictions that are to be timed without their way there. They stay
    /// until the next call for something of the same rank.
    virtual view<float const, 4> bring(view<float const, 4> images) = 0;
    /// The same for targets.
    virtual view<float const, 2> bring(view<float const, 2> targets) = 0;
    /// One optimisation step on the batch that was prefetched; returns its loss. `meanwhile()` is called while the backend works, or at the end.
    /// Throws `train::diverged`, changing nothing.
    virtual double step_prefetched(std::function<void()> const& meanwhile) = 0;
    /// Both at once.
    double step(view<float const, 4> images, view<float const, 2> targets) {
        prefetch(images, targets);
        return step_prefetched([] {});
    }
    /// Sets the optimizer's learning rate for the steps that follow.
    virtual void set_learning_rate(double rate) = 0;
    /// Probabilities (N, classes) of images (N, H, W, C).
    virtual void predict(view<float const, 4> images, view<float, 2> probabilities) = 0;
    /// The training's loss of these probabilities.
    virtual double loss(view<float const, 2> targets, view<float const, 2> probabilities) = 0;
    /// Adds every parameter, running statistic and the optimizer's state to a checkpoint.
    virtual void save(io::checkpoint& into) = 0;
    /// Takes them from a checkpoint that was read from `path`, all or none; the optimizer's state too where `optimizer`.
    /// Throws `io_error` naming each tensor that does not fit.
    virtual void load(io::checkpoint const& from, std::string const& path, bool optimizer) = 0;
    /// Takes the parameters from a weight file; a classifier of another shape is left as it is. Returns the names of what was left.
    virtual std::vector<std::string> load_weights(io::checkpoint const& from, std::string const& path) = 0;
    /// What can be said about the network.
    [[nodiscard]] virtual engine_description describe() = 0;
    /// The norm of the last step's gradient before it was clipped; 0 where it is not.
    [[nodiscard]] virtual double gradient_norm() const = 0;
    /// The gradients of the last step by each trainable parameter, under its path and in the order of the network.
    [[nodiscard]] virtual std::vector<io::named_tensor> gradients() = 0;
};

/// What asks a backend for an operation.
enum class asked_for {
    by_programs,      ///< no training and no prediction, but other commands or programs in C++
    by_layers,        ///< every prediction and every training: layers forward
    by_bf16,          ///< a prediction in bfloat16, and every training
    by_training,      ///< every training
    by_plain_loss,    ///< a training with that loss
    by_focused_loss,  ///< one with a focal, asymmetric or smoothed loss
    by_adam,          ///< one by Adam or AdamW
    by_sgd,           ///< one by stochastic gradient descent
    by_clipping,      ///< one that clips
    by_dropout,       ///< one with dropout
};

/// Who does what backends are not asked for.
inline constexpr auto no_backend = "no backend, on the processor";

/// An operation in words.
struct served_operation {
    std::string what;  ///< the operation
    std::string by;    ///< the name of the backend that serves it
    asked_for asked;   ///< by what
};

/// A backend that is built in.
struct backend_entry {
    std::string name;     ///< as --backend spells it
    std::string library;  ///< the third party and its version, empty where there is none
    bool has_layers;      ///< whether it can train and predict
    bool has_bf16;        ///< whether it has bfloat16
    std::string (*problem)();  ///< why it cannot be used on this machine, empty where it can; null where it always can
    std::unique_ptr<engine> (*make)(engine_options const&);  ///< null without layers
    stats::class_frequencies (*frequencies)(view<std::int8_t const, 2> labels, std::size_t threads);  ///< of a table of labels
    backend_work work = {};  ///< what of it can be timed
    std::string bf16_problem = {};  ///< why `has_bf16` is false where it might be true elsewhere
    std::string warning = {};     ///< what a user should know before he waits, empty where there is nothing
    bool whole_densenet = false;  ///< whether it has a DenseNet of its own, with `winograd` and `recompute`
    stats::co_occurrence (*co_occurrence)(view<std::int8_t const, 2> labels, std::size_t threads) = nullptr;  ///< of a table of labels
    std::vector<served_operation> operations = {};  ///< served by this backend or a parent
    std::size_t most_classes = static_cast<std::size_t>(-1);  ///< of a table whose counts and loss it does itself
    std::string more_classes_by = {};                         ///< who does them for more
};

/// Who serves what of a backend's operations where there are `classes` classes.
std::vector<served_operation> operations_for(backend_entry const& backend, std::size_t classes);

/// The operations of a list, in words, by the backend that serves them: its name, and what it does.
std::vector<std::pair<std::string, std::string>> by_serving_backend(std::vector<served_operation> const& operations);

/// Which backend serves an operation of a list.
std::string const& serving_backend(std::vector<served_operation> const& operations, std::string const& operation);

/// The backends, each from its own translation unit.
backend_entry reference_entry();
/// The one of cxr's own kernels.
backend_entry simd_entry();
/// Its engine in bfloat16, which takes a translation unit of its own to compile.
std::unique_ptr<engine> make_simd_bf16(engine_options const& options);
/// Eigen's.
backend_entry eigen_entry();
/// xtensor's.
backend_entry xtensor_entry();
/// oneDNN's.
backend_entry onednn_entry();
/// Thrust's on plain C++.
backend_entry thrust_cpp_entry();
/// Thrust's on oneTBB.
backend_entry thrust_tbb_entry();
#if defined(CXR_WITH_THRUST_OMP)
/// Thrust's on OpenMP.
backend_entry thrust_omp_entry();
#endif

#if defined(CXR_WITH_CUDA)
/// The one on an NVIDIA GPU.
backend_entry cuda_entry();
#endif

/// All backends that are built in.
std::vector<backend_entry> const& backends();
/// Their names, or those of the ones with layers, separated by commas.
std::string backend_names(bool with_layers);
/// The fastest that is built in, has layers and can be used here.
backend_entry const& default_backend();
/// The backend of this name. Throws `usage_error` where it is not built in, `backend_error` where it cannot be used here.
backend_entry const& find_backend(std::string const& name);
/// The same, with layers. Throws `usage_error` where it has none.
backend_entry const& find_backend_with_layers(std::string const& name);
/// Whether --precision is bf16. Throws `usage_error` where it is neither that nor f32, `backend_error` where the backend has no bfloat16 here.
bool wants_bf16(std::string const& precision, backend_entry const& backend);

}  // namespace cxr::trainer
