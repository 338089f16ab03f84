// SPDX-License-Identifier: Apache-2.0
#include "train_recipe.hpp"

#include "cxr/core/error.hpp"
#include "cxr/loss/focused_loss.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

namespace cxr::trainer {

namespace {

// A variance of n numbers is off by √(2 / (n − 1)) of itself as a rule: below this by more than a third.
constexpr std::size_t enough_values = 16;

// Refuses an option that was given where nothing goes by it.
void only_for(train_options const& o, char const* option, bool right, std::string const& what) { require_usage(right || !o.given.contains(option), std::string("--") + option + ": only for " + what); }

// The number that --alpha names, if it names one.
std::optional<double> alpha_of(train_options const& o) {
    if (o.alpha == "none") return std::nullopt;
    double value = 0;
    std::istringstream in(o.alpha);
    in >> value;
    require_usage(!in.fail() && in.peek() == std::istringstream::traits_type::eof() && value >= 0 && value <= 1, "--alpha " + o.alpha + ": expected a number from 0 to 1, or none");
    return value;
}

void check_loss_options(train_options const& o) {
    require_usage(o.loss == "weighted-bce" || o.loss == "bce" || o.loss == "focal" || o.loss == "asymmetric", "--loss " + o.loss + ": expected weighted-bce, bce, focal or asymmetric");
    only_for(o, "gamma", o.loss == "focal", "--loss focal");
    only_for(o, "alpha", o.loss == "focal", "--loss focal");
    only_for(o, "gamma-positive", o.loss == "asymmetric", "--loss asymmetric");
    only_for(o, "gamma-negative", o.loss == "asymmetric", "--loss asymmetric");
    only_for(o, "margin", o.loss == "asymmetric", "--loss asymmetric");
    only_for(o, "class-weights", o.loss != "bce" || o.class_weights == "none", "losses other than bce, which weighs all labels 1");
    only_for(o, "beta", o.class_weights == "effective", "--class-weights effective");
    auto const not_negative = [](char const* option, double value) { require_usage(std::isfinite(value) && value >= 0, fmt::format("{} {}: expected a finite number of at least 0", option, value)); };
    not_negative("--gamma", o.gamma);
    not_negative("--gamma-positive", o.gamma_positive);
    not_negative("--gamma-negative", o.gamma_negative);
    auto const below_one = [](char const* option, double value) { require_usage(value >= 0 && value < 1, fmt::format("{} {}: expected at least 0 and less than 1", option, value)); };
    below_one("--margin", o.margin);
    below_one("--smoothing", o.smoothing);
    below_one("--beta", o.beta);
    static_cast<void>(alpha_of(o));
}

void check_optimizer_options(train_options const& o) {
    auto const is = [&](char const* name) { return o.optimizer == name; };
    require_usage(is("adam") || is("adamw") || is("sgd"), "--optimizer " + o.optimizer + ": expected adam, adamw or sgd");
    only_for(o, "weight-decay", is("adamw") || is("sgd"), "--optimizer adamw and sgd");
    only_for(o, "momentum", is("sgd"), "--optimizer sgd");
    only_for(o, "nesterov", is("sgd"), "--optimizer sgd");
    auto const finite = [](char const* option, double value, bool right, char const* expected) {
        require_usage(std::isfinite(value) && right, fmt::format("--{} {}: expected a finite number {}", option, value, expected));
    };
    finite("lr", o.lr, o.lr > 0, "above 0");
    finite("head-lr", o.head_lr, o.head_lr > 0 || !o.given.contains("head-lr"), "above 0");
    finite("weight-decay", o.weight_decay, o.weight_decay > 0 || (!is("adamw") && o.weight_decay == 0), is("adamw") ? "above 0; without it AdamW is --optimizer adam" : "of at least 0");
    finite("momentum", o.momentum, o.momentum >= 0 && o.momentum < 1, "of at least 0 and below 1");
    require_usage(!is("sgd") || !o.nesterov || o.momentum > 0, "--nesterov: needs a --momentum above 0");
    finite("clip-norm", o.clip_norm, o.clip_norm > 0 || !o.given.contains("clip-norm"), "above 0");
    require_usage(o.frozen_batch_norm == "running" || o.frozen_batch_norm == "batch", "--frozen-batch-norm " + o.frozen_batch_norm + ": expected running or batch");
    require_usage(!o.given.contains("frozen-batch-norm") || !o.freeze.empty(), "--frozen-batch-norm: only with --freeze");
}

stats::class_weights weights_from_file(std::string const& path, std::vector<std::string> const& classes) {
    std::ifstream in(path);
    if (!in) throw io_error(path + ": cannot be read, expected class weights as `cxr stats --json` writes them, or one of the rules train, inverse, effective, pos-weight, none");
    try {
        auto const file = json::parse(in);
        auto const list = file.is_object() ? file.value("classes", json()) : json();
        if (!list.is_array() || !std::all_of(list.begin(), list.end(), [](auto const& c) { return c.is_object() && c.contains("name"); }))
            throw io_error(path + ": has no list `classes` of classes with a name and weights, expected class weights as `cxr stats --json` writes them");
        stats::class_weights w;
        for (auto const& name : classes) {
            auto const is_it = [&](auto const& c) { return c.at("name") == name; };
            auto const found = std::find_if(list.begin(), list.end(), is_it);
            if (found == list.end()) throw io_error(path + ": no weights of class " + name);
            if (std::count_if(list.begin(), list.end(), is_it) != 1) throw io_error(path + ": class " + name + " is there twice");
            for (auto const& [field, weights] : {std::pair("positive_weight", &w.positive), std::pair("negative_weight", &w.negative)}) {
                auto const weight = found->find(field);
                if (weight == found->end() || !weight->is_number() || !std::isfinite(weight->template get<double>()) || weight->template get<double>() < 0)
                    throw io_error(path + ": " + field + " of class " + name + " is " + (weight == found->end() ? "not there" : weight->dump()) + ", expected a finite number of at least 0");
                weights->push_back(weight->template get<double>());
            }
        }
        return w;
    } catch (json::parse_error const&) {
        throw io_error(path + ": is not JSON, expected class weights as `cxr stats --json` writes them");
    }
}

}  // namespace

bool is_weight_rule(std::string const& name) {
    constexpr std::array rules{"train", "inverse", "effective", "pos-weight", "none"};
    return std::find(rules.begin(), rules.end(), name) != rules.end();
}

void complete_recipe(train_options& o) {
    if (o.class_weights.empty()) o.class_weights = o.loss == "weighted-bce" ? "train" : "none";
    if (o.weight_decay < 0 && !o.given.contains("weight-decay")) o.weight_decay = o.optimizer == "adamw" ? 0.01 : 0;
    if (o.freeze == std::vector<std::string>{"none"}) o.freeze.clear();  // a run that goes on may let everything learn
}

void check_recipe(train_options const& o) {
    check_loss_options(o);
    check_optimizer_options(o);
}

ops::loss_form loss_form_of(train_options const& o) {
    if (o.loss == "focal") return loss::focal{o.gamma, alpha_of(o), o.smoothing}.form();
    if (o.loss == "asymmetric") return loss::asymmetric{o.gamma_positive, o.gamma_negative, o.margin, o.smoothing}.form();
    return loss::bce{o.smoothing}.form();
}

optim::chosen_options optimizer_of(train_options const& o) {
    if (o.optimizer == "sgd") return optim::sgd_options{.learning_rate = o.lr, .momentum = o.momentum, .weight_decay = o.weight_decay, .nesterov = o.nesterov};
    return optim::adam_options{.learning_rate = o.lr, .weight_decay = o.weight_decay};
}

optim::schedule schedule_for(train_options const& o, std::uint64_t steps, optim::schedule_state const& from) {
    using kind = optim::schedule_kind;
    constexpr std::array<std::pair<char const*, kind>, 5> kinds{{{"constant", kind::constant}, {"cosine", kind::cosine}, {"step", kind::step}, {"plateau", kind::plateau}, {"one-cycle", kind::one_cycle}}};
    auto const found = std::find_if(kinds.begin(), kinds.end(), [&](auto const& k) { return k.first == o.schedule; });
    require_usage(found != kinds.end(), "--schedule " + o.schedule + ": expected constant, cosine, step, plateau or one-cycle");
    auto const is = [&](char const* name) { return o.schedule == name; };
    only_for(o, "min-lr", is("cosine") || is("plateau"), "--schedule cosine and plateau");
    only_for(o, "schedule-epochs", is("step"), "--schedule step");
    only_for(o, "schedule-factor", is("step") || is("plateau"), "--schedule step and plateau");
    only_for(o, "schedule-patience", is("plateau"), "--schedule plateau");
    require_usage(std::isfinite(o.min_lr) && o.min_lr >= 0 && o.min_lr <= o.lr, fmt::format("--min-lr {}: expected 0 to --lr, which is {}", o.min_lr, o.lr));
    require_usage(o.schedule_factor > 0 && o.schedule_factor < 1, fmt::format("--schedule-factor {}: expected above 0 and below 1", o.schedule_factor));
    require_usage(!is("step") || o.schedule_epochs != 0, "--schedule step: --schedule-epochs is needed, the epochs between two changes");
    require_usage(!is("one-cycle") || o.warmup == 0, fmt::format("--warmup {}: expected 0 with --schedule one-cycle, which rises by itself", o.warmup));
    require_usage((!is("cosine") && o.warmup == 0) || steps > o.warmup, fmt::format("--schedule {}: {} in all, expected more than --warmup {}", o.schedule, counted(steps, "step", "steps"), o.warmup));
    require_usage(!is("one-cycle") || steps >= 4, fmt::format("--schedule one-cycle: {} in all, expected at least 4", counted(steps, "step", "steps")));
    return optim::schedule({.kind = found->second, .learning_rate = o.lr, .warmup = o.warmup, .steps = steps, .smallest = o.min_lr, .epochs = o.schedule_epochs, .factor = o.schedule_factor, .patience = o.schedule_patience},
                           from);
}

std::string why_schedule_is_idle(train_options const& o, std::uint64_t steps, std::size_t batches) {
    bool const by_epochs = o.schedule == "step", plateau = o.schedule == "plateau", cosine = o.schedule == "cosine";
    if ((plateau || cosine) && o.min_lr >= o.lr) return fmt::format("--schedule {}: changes nothing in this run, for --min-lr {} is --lr itself, expected less", o.schedule, o.min_lr);
    if (cosine && steps - o.warmup < 2) return fmt::format("--schedule cosine: changes nothing in this run of {}, for at --warmup {} it takes at least --steps {}", counted(steps, "step", "steps"), o.warmup, o.warmup + 2);
    if (!by_epochs && !plateau) return {};
    // Whole epochs before the first step at another rate. A plateau begins with an epoch that the others are held against.
    std::uint64_t const before = by_epochs ? o.schedule_epochs : o.schedule_patience + 2;
    if ((steps - 1) / batches >= before) return {};
    return fmt::format("--schedule {}: changes nothing in this run of {}, {} an epoch, for at --schedule-{} {} it takes at least --epochs {} or --steps {}", o.schedule, counted(steps, "step", "steps"), batches,
                       by_epochs ? "epochs" : "patience", by_epochs ? o.schedule_epochs : o.schedule_patience, before + 1, before * batches + 1);
}

std::string little_to_normalise_by(train_options const& o, engine_options const& e, std::size_t rows) {
    // The last block has the fewest pixels.
    auto const features = infer(models::densenet_features(e.network), shape{1, e.size.height, e.size.width, e.channels}).output;
    auto const images = std::min(o.batch, rows), values = images * features[1] * features[2];
    bool const few = values < enough_values, more_images = o.batch < rows;
    if (!few && images > 1) return {};
    return fmt::format("--batch {}, --size {}{}: batch norm in the last block has mean and variance of {} a channel ({} of {} × {} pixels), {}; {}", o.batch, to_string(e.size),
                       more_images ? std::string() : fmt::format(", {} in {}", counted(rows, "row", "rows"), o.train), counted(values, "value", "values"), counted(images, "image", "images"),
                       features[1], features[2],
                       few ? fmt::format("and a variance of fewer than {} is off by more than a third as a rule", enough_values) : "and running statistics differ from those of one image",
                       few ? (more_images ? "a larger --batch or --size trains better" : "more rows or a larger --size train better")
                           : (more_images ? "--batch 8 and more train better" : "more rows train better"));
}

stats::class_weights weights_for(train_options const& o, stats::class_frequencies const& frequencies, std::vector<std::string> const& classes) {
    if (o.loss == "bce" || o.class_weights == "none") return {std::vector<double>(classes.size(), 1.0), std::vector<double>(classes.size(), 1.0)};
    if (o.class_weights == "train") return stats::course_weights(frequencies);
    if (o.class_weights == "inverse") return stats::inverse_frequency_weights(frequencies);
    if (o.class_weights == "effective") return stats::effective_number_weights(frequencies, o.beta);
    if (o.class_weights == "pos-weight") return stats::pos_weight(frequencies);
    return weights_from_file(o.class_weights, classes);
}

}  // namespace cxr::trainer
