// SPDX-License-Identifier: Apache-2.0
#include "recorder.hpp"

#include "plots.hpp"

#include "cxr/core/error.hpp"
#include "cxr/metrics/roc.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cxr::trainer {

namespace {

json state_json(train::fit_state const& s, optim::schedule_state const& schedule) {
    auto const number = [](std::optional<double> const& value) { return value ? json(*value) : json(); };
    return {{"step", s.step},
            {"epoch", s.epoch},
            {"batch", s.batch},
            {"loss_sum", s.loss_sum},
            {"validation_due", s.validation_due},
            {"best", number(s.best)},
            {"best_loss", number(s.best_loss)},
            {"epochs_since_best", s.epochs_since_best},
            {"schedule", {{"reductions", schedule.reductions}, {"best", number(schedule.best)}, {"epochs_since", schedule.epochs_since}}}};
}

std::string number(std::optional<double> const& value) { return value ? fmt::format("{:.3f}", *value) : std::string("undefined"); }

}  // namespace

std::pair<train::fit_state, optim::schedule_state> state_from(io::checkpoint const& c, std::string const& path) {
    auto const found = c.metadata.find("cxr.train");
    if (found == c.metadata.end()) throw io_error(path + ": no metadata cxr.train, expected the checkpoint of a training");
    try {
        auto const j = json::parse(found->second);
        train::fit_state s;
        j.at("step").get_to(s.step);
        j.at("epoch").get_to(s.epoch);
        j.at("batch").get_to(s.batch);
        j.at("loss_sum").get_to(s.loss_sum);
        if (!j.at("best").is_null()) s.best = j.at("best").get<double>();
        // Older checkpoints lack these two, and the schedule.
        s.validation_due = j.value("validation_due", false);
        if (j.contains("best_loss") && !j.at("best_loss").is_null()) s.best_loss = j.at("best_loss").get<double>();
        j.at("epochs_since_best").get_to(s.epochs_since_best);
        optim::schedule_state schedule;
        if (j.contains("schedule")) {
            auto const& kept = j.at("schedule");
            kept.at("reductions").get_to(schedule.reductions);
            kept.at("epochs_since").get_to(schedule.epochs_since);
            if (!kept.at("best").is_null()) schedule.best = kept.at("best").get<double>();
        }
        return {s, schedule};
    } catch (json::exception const&) {
        throw io_error(path + ": metadata cxr.train is not the state of a training");
    }
}

void recorder::on_step(train::step_report const& r) {
    folder_.keep();
    folder_.add(step_row{r.step, r.loss, rate_ = scheduled_.rate()});
    if (auto const norm = network_.gradient_norm(); norm != 0) out_.debug("step {}: the norm of the gradient is {:.4g} before clipping", r.step, norm);
    bar_.update(fmt::format("epoch {}", r.epoch), r.batch, r.batches, r.images, fmt::format("loss {:.4f}", r.epoch_loss));
}

void recorder::on_epoch(train::epoch_report const& r) {
    bar_.finish();
    folder_.add(log_row{r.epoch, r.step, rate_, r.train_loss, r.valid_loss, r.valid_auroc_mean, r.images_per_second, peak_rss_mb(), r.valid_auroc});
    out_.print("epoch {}{} · step {} · loss {:.4f} · valid loss {:.4f} · valid AUROC {} ({}) · {:.1f} images/s", r.epoch, r.complete ? "" : " (part)", r.step, r.train_loss, r.valid_loss,
               number(r.valid_auroc_mean), mean_over(metrics::defined(r.valid_auroc), r.valid_auroc.size()), r.images_per_second);
}

void recorder::on_checkpoint(train::fit_state const& s, bool best) {
    bar_.finish();
    auto checkpoint = description_;
    checkpoint.metadata["cxr.step"] = std::to_string(s.step);
    checkpoint.metadata["cxr.epoch"] = std::to_string(s.epoch);
    checkpoint.metadata["cxr.train"] = state_json(s, schedule_.state()).dump();
    network_.save(checkpoint);
    folder_.flush();
    // First the best: where the run ends between the two, it goes on from the checkpoint before and finds the same best again.
    if (best) {
        io::checkpoint network{checkpoint.metadata, {}};  // who predicts needs no optimizer
        network.metadata.erase("cxr.optimizer");
        std::copy_if(checkpoint.tensors.begin(), checkpoint.tensors.end(), std::back_inserter(network.tensors), [](auto const& t) { return !t.name.starts_with("optimizer."); });
        network.save(folder_.file("best.safetensors"));
    }
    checkpoint.save(folder_.file("last.safetensors"));
    out_.debug("step {}: {} written{}", s.step, folder_.file("last.safetensors"), best ? ", and best.safetensors" : "");
}

void image_report::tell() {
    tell_of_cache();
    training_.tell();
    validation_.tell();
}

void image_report::tell_of_cache() {
    auto const t = training_.cached(), v = validation_.cached();
    if (t.asked + v.asked == 0 || std::exchange(told_, true)) return;
    out_.print("cache {}: {} of {} found, {} added", cache_, t.found + v.found, counted(t.asked + v.asked, "image", "images"), t.added + v.added);
}

void plot_run(run_folder const& folder) {
    std::vector<double> steps, losses, at, train_loss, valid_loss, auroc_at, auroc;
    std::string over;  // the validation's labels decide it, so it is the same of every row
    for (auto const& s : folder.steps()) {
        steps.push_back(static_cast<double>(s.step));
        losses.push_back(s.loss);
    }
    for (auto const& r : folder.log()) {
        at.push_back(static_cast<double>(r.step));
        train_loss.push_back(r.train_loss);
        valid_loss.push_back(r.valid_loss);
        if (r.valid_auroc_mean) {
            auroc_at.push_back(static_cast<double>(r.step));
            auroc.push_back(*r.valid_auroc_mean);
            over = mean_over(metrics::defined(r.valid_auroc), r.valid_auroc.size());
        }
    }
    plot_losses(folder.file("loss"), steps, losses, at, train_loss, valid_loss);
    if (!auroc.empty()) plot_auroc(folder.file("auroc"), over, auroc_at, auroc);
}

}  // namespace cxr::trainer
