// SPDX-License-Identifier: Apache-2.0
#pragma once
// Work that is worth timing, in the same form for every backend: what `cxr bench` and the benchmarks run.

#include "cxr/core/shape.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cxr::trainer {

struct backend_entry;
struct engine_options;

/// What is timed.
enum class operation {
    frequencies,    ///< class frequencies of a table of labels
    loss,           ///< value of the weighted loss
    loss_gradient,  ///< value and gradient of the weighted loss
    layer,          ///< forward and backward of a dense layer
    inference,      ///< probabilities of a batch of images by DenseNet121
    training,       ///< one step of training of DenseNet121
};

/// As the command line spells it.
char const* name_of(operation what);
/// Whether it works on a table, rows × classes, and needs no layers.
bool on_table(operation what);

/// Operands of the operations on a table, in the host's memory and shared by all backends; what an operation does not need is empty.
struct table_operands {
    /// Random ones. 5 % of the labels are 1, the others 0.
    table_operands(operation what, std::size_t rows, std::size_t classes, std::uint64_t seed);

    tensor<std::int8_t, 2> labels;      ///< of `frequencies`
    tensor<float, 2> targets;           ///< 0 and 1
    tensor<float, 2> probabilities;     ///< in [0.001, 0.999]
    tensor<float, 2> gradient;          ///< where backends in the host's memory write it
    stats::class_weights weights;       ///< of the loss
};

/// Bytes of the host's memory that a table's operands take for one entry, results to compare with included.
std::size_t bytes_an_entry(operation what);

/// What a run has computed, for comparison: numbers, and arrays that stay valid until the next run.
struct workload_result {
    std::vector<double> numbers;                  ///< counts, or the loss
    std::vector<std::span<float const>> arrays;   ///< gradients, activations, probabilities; of a network's training the gradient by each parameter, but those of the stem's norm
};

/// A result that outlives its work.
struct kept_result {
    std::vector<double> numbers;                ///< as in `workload_result`
    std::vector<std::vector<float>> arrays;     ///< as in `workload_result`
};

/// A copy of it.
kept_result keep(workload_result const& result);

/// Work on some backend that is ready to run again and again.
class workload {
public:
    workload() = default;
    workload(workload const&) = delete;
    workload& operator=(workload const&) = delete;
    virtual ~workload() = default;

    /// Does the work once; it has ended when this returns. Operands lie where the backend works, but for the images of a network.
    virtual void run() = 0;
    /// What the last run has computed, in the host's memory.
    virtual workload_result result() = 0;
};

/// What a machine can do at best.
struct peaks {
    double fma_gflops = 0;          ///< multiply-adds of float32, each counted as 2; 0: unknown
    double bf16_gflops = 0;         ///< the same of bfloat16 factors, added up in float32; 0: unknown, or there are no instructions for it
    double memory_gb_per_s = 0;     ///< bytes read (on a device: or read and written by copies, whichever are more) in 10⁹ a second; 0: unknown
};

/// How a backend makes work; every backend gets it by its entry's template.
struct backend_work {
    bool device = false;                                                                                                 ///< whether its arrays lie in memory of their own
    std::unique_ptr<workload> (*table)(operation, table_operands&, std::size_t threads) = nullptr;                       ///< work on a table
    std::unique_ptr<workload> (*dense_layer)(shape const& images, std::size_t threads, std::uint64_t seed) = nullptr;    ///< DenseNet121's, of images (N, H, W, C); null without layers
    double (*seconds_to_move)(std::size_t there, std::size_t back) = nullptr;                                            ///< takes so many bytes to the backend's memory and back; null on the host
    peaks (*measure_peaks)() = nullptr;                                                                                  ///< of the device; null on the host
    std::size_t (*free_memory)() = nullptr;                                                                              ///< bytes of the device's memory that are free, 0 where it does not tell; null on the host
    std::size_t (*bytes_kept)(engine_options const&) = nullptr;                                                          ///< that a training step keeps of one image, estimated; null without layers
};

/// DenseNet121 on a backend with layers: `inference` or `training`, on random images (N, H, W, 3). `bf16` and `winograd` as in `engine_options`.
std::unique_ptr<workload> network_work(backend_entry const& backend, operation what, shape const& images, std::size_t threads, std::uint64_t seed, bool bf16 = false, bool winograd = false);
/// Multiplications and additions of one run on images (N, H, W, C) by convolutions and linear layers. Backward counts as twice forward, in training without the gradient of the
/// images, which would take the first convolution once more.
double flops_of(operation what, shape const& images);
/// The same operation's bytes read and written at least, of a table with so many entries.
double bytes_of(operation what, std::size_t entries);

/// Bytes of operands that go to a device, and of results that come back; `shape` is rows and classes of a table, else N, C, H, W.
std::pair<std::size_t, std::size_t> traffic(operation what, std::vector<std::size_t> const& shape);

/// Bytes of memory that the work on a network takes, estimated.
struct network_memory {
    double host = 0;    ///< of the host's
    double device = 0;  ///< of the device's; 0 on the host's backends
};

/// Of `network_work` with these.
network_memory memory_of_network(backend_entry const& backend, operation what, shape const& images, bool bf16 = false);

/// Images, and pixels of their height and width, of `step_to_compare`.
inline constexpr std::size_t compared_images = 4, compared_size = 64;
/// Loss and gradients of one step of training of DenseNet121, its batch norms with biases, on a batch so small that `reference` does it in a moment.
kept_result step_to_compare(backend_entry const& backend, std::size_t threads, std::uint64_t seed, bool bf16 = false);

/// How far a result is off, at most.
struct deviations {
    double numbers = 0;  ///< of all numbers, relative to the largest of them
    double arrays = 0;   ///< of each array: relative to its largest magnitude; of probabilities absolute; of a parameter's gradient ‖found − expected‖ / ‖expected‖

    /// The larger.
    [[nodiscard]] double largest() const { return numbers > arrays ? numbers : arrays; }
};

/// How far `found` is off from `expected`, a result of `what`; an array may begin with the expected one. Infinite where sizes differ or a number is not one.
deviations deviation(operation what, workload_result const& found, kept_result const& expected);
/// The largest deviations at which a result counts as right.
deviations tolerance(operation what, bool bf16 = false, bool winograd = false);
/// Why a result that is so far off is wrong; empty where it is right.
std::string wrong(deviations const& found, deviations const& most);

}  // namespace cxr::trainer
