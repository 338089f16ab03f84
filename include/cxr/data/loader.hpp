// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batches of prepared images, decoded by threads ahead of the one who takes them. Which images make up which batch is a
// function of seed and epoch alone; threads only decide who decodes.

#include "cxr/core/error.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/data/labels.hpp"
#include "cxr/data/prepared_images.hpp"
#include "cxr/data/preprocess.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace cxr::data {

/// Images of an epoch after which a loader tells what it has noticed in them: few enough to be soon, and enough to say
/// how many are concerned.
inline constexpr std::size_t images_before_notice = 100;

/// How a loader works.
struct loader_options {
    std::size_t batch = 8;                           ///< images a batch, at least 1
    bool shuffle = true;                             ///< another order each epoch; otherwise that of the table
    std::uint64_t seed = 1;                          ///< of the order
    std::size_t threads = 1;                         ///< that decode; 0: one a hardware thread
    std::size_t ahead = 4;                           ///< batches held ready or in work at most, at least 1
    bool drop_last = false;                          ///< leaves out a last batch that is not full
    bool cache = false;                              ///< keeps images in memory for the next epochs
    std::size_t cache_bytes = std::size_t{1} << 30;  ///< of the cache at most; images beyond are decoded again
    std::string cache_folder{};  ///< keeps resized images in this folder for the next runs; empty: does not
    image_change augment{};      ///< what happens to an image between resizing and normalising; called by every thread
    /// Told at most once about each notice, on the thread that uses the loader: of the cache at once; of images after
    /// `images_before_notice` of an epoch, at its end, by `tell`, where an image cannot be read, or by `start` where that
    /// gives the epoch up, of the first in its order and of how many there are.
    std::function<void(loader_notice, std::string const&)> notice{};
};

/// Images, their targets, and which rows of the table they are.
struct batch {
    tensor<float, 4> images;        ///< N × height × width × channels, prepared
    tensor<float, 2> targets;       ///< N × classes; 0, 1, or NaN where unknown
    std::vector<std::size_t> rows;  ///< N indices into the table
};

/// The order of `rows` images in an epoch: the table's, or a permutation that depends on seed and epoch alone.
[[nodiscard]] inline std::vector<std::size_t> epoch_order(std::size_t rows, bool shuffle, std::uint64_t seed,
                                                          std::size_t epoch) {
    std::vector<std::size_t> order(rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (shuffle) random(seed).stream("cxr::data::loader").stream(epoch).shuffle(std::span(order));
    return order;
}

/// Reads the images of a table batch by batch. One thread uses it at a time; its own threads decode at most `ahead`
/// batches before they are asked for, and memory is bounded by these batches, one image a thread, and the cache.
class loader {
public:
    /// Will read the images that `table` names from `folder`. Call `start` first.
    /// Throws `contract_violation` for a batch of 0, nothing ahead, or a `how` that is not valid; `io_error` where the
    /// folder of the cache cannot be used; `error` where the system does not give so many threads.
    loader(label_table table, std::string folder, preprocess how, loader_options options)
        : table_(std::move(table)), options_(std::move(options)),
          images_(table_.images, std::move(folder), checked(table_, std::move(how), options_)) {
        slots_.resize(options_.ahead);
        told_.fill(!options_.notice);
        auto const threads =
            options_.threads != 0 ? options_.threads : executor::hardware_threads();
        try {
            for (std::size_t t = 0; t < threads; ++t) workers_.emplace_back([this] { work(); });
        } catch (std::system_error const& e) {
            stop();
            throw error("cxr::data::loader: " + std::to_string(threads) + " threads were asked for and the system gave " +
                        std::to_string(workers_.size()) + ": " + e.what());
        } catch (...) {
            stop();
            throw;
        }
    }

    loader(loader const&) = delete;
    loader& operator=(loader const&) = delete;

    /// Waits for the images in work, at most one a thread.
    ~loader() { stop(); }

    /// Batches of an epoch.
    [[nodiscard]] std::size_t batches() const {
        return options_.drop_last ? table_.rows() / options_.batch
                                  : (table_.rows() + options_.batch - 1) / options_.batch;
    }
    /// The table.
    [[nodiscard]] label_table const& table() const { return table_; }
    /// How images are prepared.
    [[nodiscard]] preprocess const& preparation() const { return images_.how(); }
    /// What the cache on disk was good for so far, images that are read ahead included; zeros where there is none.
    [[nodiscard]] cache_counts cached() const { return images_.cached(); }

    /// Begins epoch `epoch` at its batch `first_batch`: the batches that follow are the same as if those before had
    /// been taken. What was under way is given up, and what was noticed in the batches that were taken is told. Throws
    /// `contract_violation` where `first_batch` is past the end.
    void start(std::size_t epoch, std::size_t first_batch = 0) {
        if (first_batch > batches())
            throw contract_violation("cxr::data::loader::start: batch " + std::to_string(first_batch) + " of " +
                                     std::to_string(batches()));
        tell();
        auto order = epoch_order(table_.rows(), options_.shuffle, options_.seed, epoch);
        std::unique_lock lock(mutex_);
        begun_ = end_ = 0;
        idle_.wait(lock, [&] { return in_work_ == 0; });
        order_ = std::move(order);
        epoch_ = epoch;
        taken_ = first_batch;
        begun_ = first_batch;
        read_ = 0;
        noticed_ = {};
        image_ = 0;
        end_ = batches();
        for (auto& slot : slots_) slot.begin(0, {}, preparation(), table_.classes.size());
        lock.unlock();
        wake_.notify_all();
    }

    /// Fills `into` with the next batch, waiting for it; false after the last of the epoch, and before the first
    /// `start`. The memory of `into` is used again. Throws what reading an image threw (`io_error` with its path), of
    /// the first such image in the order of the epoch, when its batch comes up, and at each call until the next
    /// `start`.
    [[nodiscard]] bool next(batch& into) {
        std::unique_lock lock(mutex_);
        if (taken_ >= end_) return false;
        auto& slot = slots_[taken_ % slots_.size()];
        ready_.wait(lock, [&] { return begun_ > taken_ && slot.left == 0; });
        if (slot.failure) {
            auto const failure = slot.failure;
            lock.unlock();
            tell();
            std::rethrow_exception(failure);
        }
        std::swap(into.images, slot.content.images);
        std::swap(into.targets, slot.content.targets);
        std::swap(into.rows, slot.content.rows);
        auto noticed = std::move(slot.noticed);
        bool const last = ++taken_ == end_;
        lock.unlock();
        wake_.notify_all();
        read_ += into.rows.size();
        for (std::size_t n = 0; n < noticed.size(); ++n) {
            if (noticed_[n].images == 0) noticed_[n].first = std::move(noticed[n].first);
            noticed_[n].images += noticed[n].images;
        }
        if (last || read_ >= images_before_notice) tell();
        else tell(loader_notice::cache);
        return true;
    }

    /// Tells now what has been noticed in the epoch so far, for whoever ends within it.
    void tell() {
        for (std::size_t n = 0; n < noticed_.size(); ++n) tell(loader_notice(n));
    }

private:
    // Before anything is begun.
    static data::preparation checked(label_table const& table, preprocess how, loader_options const& o) {
        require(o.batch != 0, "cxr::data::loader: batch of 0 images, expected at least 1");
        require(o.ahead != 0, "cxr::data::loader: 0 batches ahead, expected at least 1");
        require_valid(how);
        if (table.labels.extents() != std::array{table.rows(), table.classes.size()})
            throw contract_violation("cxr::data::loader: labels of shape " + to_string(table.labels.shape()) + ", expected " + to_string(shape{table.rows(), table.classes.size()}));
        return {std::move(how), o.cache, o.cache_bytes, o.cache_folder, o.augment};
    }

    // The images of a batch, or of the epoch so far, that give reason to a notice.
    struct noticed_images {
        std::string first{};     // what there is to tell of the first
        std::size_t at = 0;      // its place in the batch
        std::size_t images = 0;  // how many there are
    };
    using all_noticed = std::array<noticed_images, std::tuple_size_v<image_notices>>;  // by `loader_notice`

    void tell(loader_notice what) {
        auto const n = static_cast<std::size_t>(what);
        if (noticed_[n].images == 0 || std::exchange(told_[n], true)) return;
        auto const how_many = " (such images so far: " + std::to_string(noticed_[n].images) + " of " + std::to_string(read_) + ")";
        options_.notice(what, noticed_[n].first + (what == loader_notice::cache ? "" : how_many));
    }

    struct place {
        batch content;
        std::size_t left = 0;  // images not done yet
        std::exception_ptr failure;
        std::size_t failed_image = 0;
        all_noticed noticed;

        void begin(std::size_t images, std::span<std::size_t const> rows, preprocess const& how, std::size_t classes) {
            left = images;
            failure = nullptr;
            failed_image = images;
            noticed = {};
            if (images == 0) return;
            content.images.resize({images, how.size.height, how.size.width, how.channels});
            content.targets.resize({images, classes});
            content.rows.assign(rows.begin(), rows.end());
        }
    };

    [[nodiscard]] std::size_t size_of(std::size_t batch) const {
        return std::min(options_.batch, table_.rows() - batch * options_.batch);
    }

    // `begun_` - 1 is the batch whose image `image_` is next; a new one may begin while fewer than `ahead` are not
    // taken.
    [[nodiscard]] bool work_left() const {
        if (begun_ > taken_ && image_ != 0 && begun_ <= end_) return true;
        return begun_ < end_ && begun_ - taken_ < slots_.size();
    }

    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return stopping_ || work_left(); });
            if (stopping_) return;
            if (image_ == 0) {
                auto const count = size_of(begun_);
                auto& fresh = slots_[begun_ % slots_.size()];
                try {
                    fresh.begin(count, std::span(order_).subspan(begun_ * options_.batch, count), preparation(),
                                table_.classes.size());
                } catch (...) {
                    // No memory for the batch: it fails as a whole.
                    fresh.begin(0, {}, preparation(), 0);
                    fresh.failure = std::current_exception();
                    ++begun_;
                    ready_.notify_all();
                    continue;
                }
                ++begun_;
            }
            auto const i = image_;
            auto& slot = slots_[(begun_ - 1) % slots_.size()];
            image_ = i + 1 == slot.content.rows.size() ? 0 : i + 1;
            ++in_work_;
            lock.unlock();
            wake_.notify_one();
            std::exception_ptr failure;
            image_notices notices;
            try {
                load(slot.content, i, notices);
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            if (failure && i < slot.failed_image) {
                slot.failure = failure;
                slot.failed_image = i;
            }
            for (std::size_t n = 0; n < notices.size(); ++n) {
                if (notices[n].empty()) continue;
                auto& noticed = slot.noticed[n];
                if (noticed.images++ != 0 && noticed.at < i) continue;
                noticed.first = std::move(notices[n]);
                noticed.at = i;
            }
            if (--slot.left == 0) ready_.notify_all();
            if (--in_work_ == 0) idle_.notify_all();
        }
    }

    void load(batch& into, std::size_t i, image_notices& notices) {
        auto const row = into.rows[i];
        for (std::size_t c = 0; c < table_.classes.size(); ++c) into.targets(i, c) = target_of(table_.labels(row, c));
        auto const [height, width] = preparation().size;
        auto const channels = preparation().channels;
        images_.read(row, epoch_, view<float, 3>(into.images.data() + i * height * width * channels, {height, width, channels}), notices);
    }

    void stop() {
        {
            std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    label_table table_;
    loader_options options_;
    prepared_images images_;
    std::vector<std::size_t> order_;
    std::vector<place> slots_;
    std::array<bool, std::tuple_size_v<image_notices>> told_{};  // by `loader_notice`
    all_noticed noticed_;
    std::size_t read_ = 0;  // images of the epoch

    std::mutex mutex_;
    std::condition_variable wake_, ready_, idle_;
    std::size_t epoch_ = 0;
    std::size_t taken_ = 0, begun_ = 0, end_ = 0;  // batches of the epoch: taken, begun, and one past the last
    std::size_t image_ = 0;                        // next image of batch begun_ - 1; 0 where the next begins a batch
    std::size_t in_work_ = 0;
    bool stopping_ = false;
    std::vector<std::thread> workers_;
};

/// Mean and deviation for featurewise normalisation, of up to `sample` images of a table, drawn without repetition from
/// `seed`; `how` with them filled in and `normalise` set. Source: Keras 2's `ImageDataGenerator.fit` on one batch of
/// 100 images, as in the course. Throws what reading an image throws.
[[nodiscard]] inline preprocess fit_featurewise(label_table const& table, std::string const& folder, preprocess how,
                                                std::size_t sample = 100, std::uint64_t seed = 1) {
    auto rows = epoch_order(table.rows(), true, seed, 0);
    rows.resize(std::min(sample, rows.size()));
    require(!rows.empty(), "cxr::data::fit_featurewise: no image to fit on");
    how.normalise = normalisation::none;
    require_valid(how);
    pixel_statistics statistics(how.channels);
    tensor<float, 3> pixels({how.size.height, how.size.width, how.channels});
    for (auto row : rows) {
        apply(read_image(image_path(folder, table.images[row])), how, pixels);
        statistics.add(pixels);
    }
    how.normalise = normalisation::featurewise;
    how.mean = statistics.mean();
    how.deviation = statistics.deviation();
    return how;
}

}  // namespace cxr::data
