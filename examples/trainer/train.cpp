// SPDX-License-Identifier: Apache-2.0
#include "train.hpp"

#include "data.hpp"
#include "plots.hpp"
#include "progress.hpp"

#include "cxr/core/error.hpp"
#include "cxr/data/leakage.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/optim/schedule.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/train/augmentation.hpp"
#include "cxr/train/scheduled.hpp"
#include "cxr/version.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <tuple>
#include <utility>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

std::string absolute(std::string const& path) { return path.empty() ? path : fs::absolute(path).lexically_normal().string(); }

// Rules that --class-weights names; anything else is a file.
constexpr std::array weight_rules{"train", "inverse", "effective", "pos-weight", "none"};
bool is_weight_rule(std::string const& name) { return std::find(weight_rules.begin(), weight_rules.end(), name) != weight_rules.end(); }
// Who does what backends are not asked for.
constexpr auto no_backend = "no backend, on the processor";

// The options as config.json holds them, under the names of the command line.
json options_json(train_options const& o, label_options const& l, global_options const& g) {
    auto const resolved = engine_options_for(o.model, 1).network;
    return {{"train", absolute(o.train)},       {"valid", absolute(o.valid)},
            {"images", absolute(o.images)},     {"architecture", o.model.architecture},
            {"blocks", resolved.blocks},        {"growth", resolved.growth},
            {"stem", resolved.stem},            {"compression", o.model.compression},
            {"convention", o.model.convention}, {"channels", o.model.channels},
            {"size", size_json(o.model.size)},  {"preprocess", o.model.preprocess},
            {"resize", o.model.resize},         {"weights", absolute(o.weights)},
            {"batch", o.batch},                 {"epochs", o.epochs},
            {"steps", o.steps},                 {"loss", o.loss},
            {"gamma", o.gamma},                 {"alpha", o.alpha},
            {"gamma-positive", o.gamma_positive}, {"gamma-negative", o.gamma_negative},
            {"margin", o.margin},               {"smoothing", o.smoothing},
            {"class-weights", is_weight_rule(o.class_weights) ? o.class_weights : absolute(o.class_weights)},
            {"beta", o.beta},
            {"optimizer", o.optimizer},         {"lr", o.lr},
            {"schedule", o.schedule},           {"warmup", o.warmup},
            {"min-lr", o.min_lr},               {"schedule-epochs", o.schedule_epochs},
            {"schedule-factor", o.schedule_factor}, {"schedule-patience", o.schedule_patience},
            {"precision", o.precision},         {"augment", o.augment},
            {"cache", absolute(o.cache)},       {"patience", o.patience},
            {"classes", l.classes},
            {"image-column", l.image_column},   {"patient-column", l.patient_column},
            {"uncertain", l.uncertain},
            {"backend", g.backend},             {"threads", g.threads},
            {"seed", g.seed}};
}

void take_options(json const& j, train_options& o, label_options& l, global_options& g) {
    auto const take = [&](char const* name, auto& value) { j.at(name).get_to(value); };
    take("train", o.train);
    take("valid", o.valid);
    take("images", o.images);
    take("architecture", o.model.architecture);
    take("blocks", o.model.blocks);
    take("growth", o.model.growth);
    take("stem", o.model.stem);
    take("compression", o.model.compression);
    take("convention", o.model.convention);
    take("channels", o.model.channels);
    o.model.size = size_from(j.at("size"));
    take("preprocess", o.model.preprocess);
    take("resize", o.model.resize);
    take("weights", o.weights);
    take("batch", o.batch);
    take("epochs", o.epochs);
    take("steps", o.steps);
    take("loss", o.loss);
    take("gamma", o.gamma);
    take("alpha", o.alpha);
    take("gamma-positive", o.gamma_positive);
    take("gamma-negative", o.gamma_negative);
    take("margin", o.margin);
    take("smoothing", o.smoothing);
    take("class-weights", o.class_weights);
    take("beta", o.beta);
    take("optimizer", o.optimizer);
    take("lr", o.lr);
    take("schedule", o.schedule);
    take("warmup", o.warmup);
    take("min-lr", o.min_lr);
    take("schedule-epochs", o.schedule_epochs);
    take("schedule-factor", o.schedule_factor);
    take("schedule-patience", o.schedule_patience);
    take("precision", o.precision);
    take("augment", o.augment);
    take("cache", o.cache);
    take("patience", o.patience);
    take("classes", l.classes);
    take("image-column", l.image_column);
    take("patient-column", l.patient_column);
    take("uncertain", l.uncertain);
    take("backend", g.backend);
    take("threads", g.threads);
    take("seed", g.seed);
}

// Options that a checkpoint was made with and that cannot change while a run goes on.
constexpr std::array fixed_options{"architecture", "blocks", "growth", "stem", "compression", "convention", "channels", "size", "preprocess", "resize", "batch", "loss", "gamma", "alpha", "gamma-positive", "gamma-negative", "margin", "smoothing", "class-weights", "beta", "optimizer", "augment", "schedule", "warmup", "min-lr", "schedule-epochs", "schedule-factor", "schedule-patience", "classes", "uncertain", "seed"};

json read_config(std::string const& path) {
    std::ifstream in(path);
    if (!in) throw io_error(path + ": cannot be read, expected the configuration of the run to continue");
    try {
        return json::parse(in);
    } catch (json::exception const&) {
        throw io_error(path + ": is not JSON, expected the configuration of the run to continue");
    }
}

// The options of the run in `o.out`, changed by those that the command line gives.
json resume_options(train_options& o, label_options& l, global_options& g) {
    auto const path = run_folder::file(o.out, "config.json");
    if (!run_folder::holds_run(o.out)) throw io_error(o.out + ": holds no run to continue with --resume");
    require_usage(!o.given.contains("weights"), "--weights: a run that --resume continues has its weights already");
    check_model_options(o.model);
    auto const config = read_config(path);
    try {
        auto options = config.at("options");
        train_options const fresh;  // older configurations lack these
        for (auto const& [name, value] : {std::pair{"gamma", json(fresh.gamma)}, {"alpha", fresh.alpha}, {"gamma-positive", fresh.gamma_positive}, {"gamma-negative", fresh.gamma_negative},
                                          {"margin", fresh.margin}, {"smoothing", fresh.smoothing}, {"beta", fresh.beta}, {"min-lr", fresh.min_lr}, {"schedule-epochs", fresh.schedule_epochs},
                                          {"schedule-factor", fresh.schedule_factor}, {"schedule-patience", fresh.schedule_patience}})
            if (!options.contains(name)) options[name] = value;
        for (auto const* const name : {"uncertain", "cache"}) options.emplace(name, "");  // older runs lack them
        auto const given = options_json(o, l, g);
        for (auto const& name : o.given) {
            if (!options.contains(name)) continue;
            bool const fixed = std::find(fixed_options.begin(), fixed_options.end(), name) != fixed_options.end();
            if (fixed && options.at(name) != given.at(name))
                throw usage_error("--" + name + " " + given.at(name).dump() + " differs from the run's " + options.at(name).dump() + ", which --resume cannot change");
            if ((name == "epochs" || name == "steps") && (options.at("schedule") == "cosine" || options.at("schedule") == "one-cycle") && options.at(name) != given.at(name))
                throw usage_error("--" + name + " " + given.at(name).dump() + " differs from the run's " + options.at(name).dump() + ", over which its schedule " +
                                  options.at("schedule").get<std::string>() + " is laid out, so --resume cannot change it");
            options[name] = given.at(name);
        }
        // Whether a run ends by steps or by epochs is one choice.
        if (o.given.contains("epochs")) options["steps"] = 0;
        take_options(options, o, l, g);
        return config;
    } catch (json::exception const& e) {
        throw io_error(path + ": lacks a field: " + e.what());
    }
}

// The MB that --memory names.
double memory_limit(std::string const& text) {
    double value = 0;
    char unit = 0;
    std::istringstream in(text);
    in >> value >> unit;
    if (in.fail() || !(value > 0) || (unit != 'M' && unit != 'G') || in.peek() != std::istringstream::traits_type::eof())
        throw usage_error("--memory " + text + ": expected a number above 0 and M or G, as 800M or 2G");
    return unit == 'G' ? 1024 * value : value;
}

// The number that --alpha names, if it names one.
std::optional<double> alpha_of(train_options const& o) {
    if (o.alpha == "none") return std::nullopt;
    double value = 0;
    std::istringstream in(o.alpha);
    in >> value;
    require_usage(!in.fail() && in.peek() == std::istringstream::traits_type::eof() && value >= 0 && value <= 1, "--alpha " + o.alpha + ": expected a number from 0 to 1, or none");
    return value;
}

ops::loss_form loss_form_of(train_options const& o) {
    if (o.loss == "focal") return loss::focal{o.gamma, alpha_of(o), o.smoothing}.form();
    if (o.loss == "asymmetric") return loss::asymmetric{o.gamma_positive, o.gamma_negative, o.margin, o.smoothing}.form();
    return loss::bce{o.smoothing}.form();
}

// How the learning rate changes in a run of so many steps. Throws `usage_error` where an option does not fit.
optim::schedule schedule_for(train_options const& o, std::uint64_t steps, optim::schedule_state const& from) {
    using kind = optim::schedule_kind;
    constexpr std::array<std::pair<char const*, kind>, 5> kinds{{{"constant", kind::constant}, {"cosine", kind::cosine}, {"step", kind::step}, {"plateau", kind::plateau}, {"one-cycle", kind::one_cycle}}};
    auto const found = std::find_if(kinds.begin(), kinds.end(), [&](auto const& k) { return k.first == o.schedule; });
    require_usage(found != kinds.end(), "--schedule " + o.schedule + ": expected constant, cosine, step, plateau or one-cycle");
    auto const is = [&](char const* name) { return o.schedule == name; };
    auto const only_for = [&](char const* option, bool right, char const* what) {
        require_usage(right || !o.given.contains(option), std::string("--") + option + ": only for --schedule " + what);
    };
    only_for("min-lr", is("cosine") || is("plateau"), "cosine and plateau");
    only_for("schedule-epochs", is("step"), "step");
    only_for("schedule-factor", is("step") || is("plateau"), "step and plateau");
    only_for("schedule-patience", is("plateau"), "plateau");
    require_usage(std::isfinite(o.min_lr) && o.min_lr >= 0 && o.min_lr <= o.lr, fmt::format("--min-lr {}: expected 0 to --lr, which is {}", o.min_lr, o.lr));
    require_usage(o.schedule_factor > 0 && o.schedule_factor < 1, fmt::format("--schedule-factor {}: expected above 0 and below 1", o.schedule_factor));
    require_usage(!is("step") || o.schedule_epochs != 0, "--schedule step: --schedule-epochs is needed, the epochs between two changes");
    require_usage(!is("one-cycle") || o.warmup == 0, fmt::format("--warmup {}: expected 0 with --schedule one-cycle, which rises by itself", o.warmup));
    require_usage(!is("cosine") || steps > o.warmup, fmt::format("--schedule cosine: {} in all, expected more than --warmup {}", counted(steps, "step", "steps"), o.warmup));
    require_usage(!is("one-cycle") || steps >= 4, fmt::format("--schedule one-cycle: {} in all, expected at least 4", counted(steps, "step", "steps")));
    return optim::schedule({.kind = found->second, .learning_rate = o.lr, .warmup = o.warmup, .steps = steps, .smallest = o.min_lr, .epochs = o.schedule_epochs, .factor = o.schedule_factor,
                            .patience = o.schedule_patience},
                           from);
}

void check_loss_options(train_options const& o) {
    require_usage(o.loss == "weighted-bce" || o.loss == "bce" || o.loss == "focal" || o.loss == "asymmetric", "--loss " + o.loss + ": expected weighted-bce, bce, focal or asymmetric");
    auto const only_for = [&](char const* option, bool right, std::string const& what) { require_usage(right || !o.given.contains(option), std::string("--") + option + ": only for " + what); };
    only_for("gamma", o.loss == "focal", "--loss focal");
    only_for("alpha", o.loss == "focal", "--loss focal");
    only_for("gamma-positive", o.loss == "asymmetric", "--loss asymmetric");
    only_for("gamma-negative", o.loss == "asymmetric", "--loss asymmetric");
    only_for("margin", o.loss == "asymmetric", "--loss asymmetric");
    only_for("class-weights", o.loss != "bce" || o.class_weights == "none", "losses other than bce, which weighs all labels 1");
    only_for("beta", o.class_weights == "effective", "--class-weights effective");
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

void check_train_options(train_options const& o) {
    auto const only = [](std::string const& option, std::string const& value, std::string const& there, std::initializer_list<char const*> planned) {
        if (value == there) return;
        for (auto const* p : planned)
            if (value == p) throw usage_error(option + " " + value + " does not exist yet, expected " + there);
        throw usage_error(option + " " + value + ": expected " + there);
    };
    require_usage(!o.train.empty(), "--train is needed: the table of the training set");
    require_usage(!o.valid.empty(), "--valid is needed: the table of the validation set");
    require_usage(!o.images.empty(), "--images is needed: the folder of the images");
    require_usage(!o.out.empty() || o.dry_run, "--out is needed: the folder of the run");
    require_usage(std::isfinite(o.lr) && o.lr > 0, fmt::format("--lr {}: expected a finite number above 0", o.lr));
    require_usage(o.batch >= 1 && o.batch <= 65536, "--batch " + std::to_string(o.batch) + ": expected 1 to 65536");
    require_usage(o.epochs >= 1 || o.steps != 0, "--epochs 0: expected at least 1");
    check_loss_options(o);
    only("--optimizer", o.optimizer, "adam", {"adamw", "sgd"});
    // How many steps there will be is known when the table has been read; this looks at all else.
    static_cast<void>(schedule_for(o, o.steps != 0 ? o.steps : std::numeric_limits<std::uint64_t>::max(), {}));
    if (o.augment != "none" && o.augment != "flip" && o.augment != "standard") throw usage_error("--augment " + o.augment + ": expected none, flip or standard");
    if (!o.memory.empty()) static_cast<void>(memory_limit(o.memory));
    check_model_options(o.model);
}

stats::class_weights weights_from_file(std::string const& path, std::vector<std::string> const& classes) {
    std::ifstream in(path);
    if (!in) throw io_error(path + ": cannot be read, expected class weights as `cxr stats --json` writes them, or one of the rules train, inverse, effective, pos-weight, none");
    try {
        auto const list = json::parse(in).at("classes");
        stats::class_weights w;
        for (auto const& name : classes) {
            auto const found = std::find_if(list.begin(), list.end(), [&](auto const& c) { return c.at("name") == name; });
            if (found == list.end()) throw io_error(path + ": no weights of class " + name);
            w.positive.push_back(found->at("positive_weight").template get<double>());
            w.negative.push_back(found->at("negative_weight").template get<double>());
            if (!std::isfinite(w.positive.back()) || !std::isfinite(w.negative.back()) || w.positive.back() < 0 || w.negative.back() < 0)
                throw io_error(path + ": weights of class " + name + ", expected finite numbers of at least 0");
        }
        return w;
    } catch (json::exception const& e) {
        throw io_error(path + ": expected class weights as `cxr stats --json` writes them: " + e.what());
    }
}

// What labels weigh, by rule or from a file.
stats::class_weights weights_for(train_options const& o, stats::class_frequencies const& frequencies, std::vector<std::string> const& classes) {
    if (o.loss == "bce" || o.class_weights == "none") return {std::vector<double>(classes.size(), 1.0), std::vector<double>(classes.size(), 1.0)};
    if (o.class_weights == "train") return stats::course_weights(frequencies);
    if (o.class_weights == "inverse") return stats::inverse_frequency_weights(frequencies);
    if (o.class_weights == "effective") return stats::effective_number_weights(frequencies, o.beta);
    if (o.class_weights == "pos-weight") return stats::pos_weight(frequencies);
    return weights_from_file(o.class_weights, classes);
}

json state_json(train::fit_state const& s, optim::schedule_state const& schedule) {
    return {{"schedule", {{"reductions", schedule.reductions}, {"best", schedule.best ? json(*schedule.best) : json()}, {"epochs_since", schedule.epochs_since}}}, {"step", s.step}, {"epoch", s.epoch}, {"batch", s.batch}, {"loss_sum", s.loss_sum}, {"validation_due", s.validation_due}, {"best", s.best ? json(*s.best) : json()},
            {"best_loss", s.best_loss ? json(*s.best_loss) : json()}, {"epochs_since_best", s.epochs_since_best}};
}

// Where a training and its schedule stand.
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

std::string number(std::optional<double> const& value) { return value ? fmt::format("{:.3f}", *value) : std::string("undefined"); }

// Keeps the run's folder and the terminal up to date.
class recorder {
public:
    recorder(run_folder& folder, engine& network, io::checkpoint const& description, optim::schedule const& schedule, train::scheduled<engine> const& scheduled, console const& out)
        : folder_(folder), network_(network), description_(description), schedule_(schedule), scheduled_(scheduled), out_(out), bar_(out.shows_progress()) {}

    void on_step(train::step_report const& r) {
        folder_.keep();
        folder_.add(step_row{r.step, r.loss, rate_ = scheduled_.rate()});
        bar_.update(fmt::format("epoch {}", r.epoch), r.batch, r.batches, r.images, fmt::format("loss {:.4f}", r.epoch_loss));
    }

    void on_epoch(train::epoch_report const& r) {
        bar_.finish();
        folder_.add(log_row{r.epoch, r.step, rate_, r.train_loss, r.valid_loss, r.valid_auroc_mean, r.images_per_second, peak_rss_mb(), r.valid_auroc});
        out_.print("epoch {}{} · step {} · loss {:.4f} · valid loss {:.4f} · valid AUROC {} (mean over {} of {}) · {:.1f} images/s", r.epoch, r.complete ? "" : " (part)", r.step, r.train_loss, r.valid_loss,
                   number(r.valid_auroc_mean), metrics::defined(r.valid_auroc), counted(r.valid_auroc.size(), "class", "classes"), r.images_per_second);
    }

    void on_checkpoint(train::fit_state const& s, bool best) {
        bar_.finish();
        auto checkpoint = description_;
        checkpoint.metadata["cxr.step"] = std::to_string(s.step);
        checkpoint.metadata["cxr.epoch"] = std::to_string(s.epoch);
        checkpoint.metadata["cxr.train"] = state_json(s, schedule_.state()).dump();
        network_.save(checkpoint);
        folder_.flush();
        checkpoint.save(folder_.file("last.safetensors"));
        out_.debug("step {}: {} written{}", s.step, folder_.file("last.safetensors"), best ? ", and best.safetensors" : "");
        if (!best) return;
        // Who predicts needs no moments of the optimizer.
        std::erase_if(checkpoint.tensors, [](auto const& t) { return t.name.starts_with("optimizer."); });
        checkpoint.save(folder_.file("best.safetensors"));
    }

private:
    run_folder& folder_;
    engine& network_;
    io::checkpoint const& description_;
    optim::schedule const& schedule_;
    train::scheduled<engine> const& scheduled_;
    console const& out_;
    double rate_ = 0;  // of the last step
    progress_bar bar_;
};

constexpr double mb = 1024.0 * 1024.0;

// What training needs, in MB, estimated.
struct memory_plan {
    double parameters, activations, loader, checkpoint;

    [[nodiscard]] double all() const { return parameters + activations + loader + checkpoint; }
};

// Weights, gradients, and Adam's two moments, and weights packed both ways where a DenseNet of the backend's own does so; what a step keeps of each image; the loader's four batches
// ahead; a copy of what is saved.
memory_plan plan_memory(train_options const& o, engine_description const& d, backend_entry const& backend, std::size_t batch) {
    auto const megabytes = [](std::size_t numbers) { return 4 * static_cast<double>(numbers) / mb; };
    return {megabytes((backend.whole_densenet ? 6 : 4) * d.parameters + d.statistics), megabytes(d.activations_an_image * batch),
            megabytes(4 * batch * o.model.size.height * o.model.size.width * o.model.channels), megabytes(3 * d.parameters + d.statistics)};
}

void print_plan(train_options const& o, engine& network, backend_entry const& backend, std::size_t batch, std::size_t batches, std::size_t rows, console const& out) {
    auto const d = network.describe();
    auto const steps = o.steps != 0 ? o.steps : o.epochs * batches;
    auto const memory = plan_memory(o, d, backend, batch);
    out.print("plan         {} of {} from {} images of {} × {} × {}", counted(steps, "step", "steps"), counted(batch, "image", "images"), rows, o.model.size.height, o.model.size.width, o.model.channels);
    out.print("parameters   {} trainable, {} running statistics", d.parameters, d.statistics);
    out.print("work         {:.2f} GFLOP an image forward, about three times as much in training", d.flops_an_image / 1e9);
    out.print("memory       about {:.0f} MB: {:.0f} for weights, gradients and Adam, {:.0f} for activations and gradients, {:.0f} for batches read ahead, {:.0f} for a checkpoint being written",
              memory.all(), memory.parameters, memory.activations, memory.loader, memory.checkpoint);
    out.print("             (estimated from the sizes of the tensors that the backend's layers keep; program and scratch memory, some 10 %, come on top)");
}

// One step before the clock runs, one that counts, on made-up images.
double seconds_a_step(train_options const& o, engine& network, std::size_t batch, std::size_t classes) {
    tensor<float, 4> images({batch, o.model.size.height, o.model.size.width, o.model.channels});
    tensor<float, 2> targets({batch, classes});
    random const numbers(1);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(2 * numbers.uniform(i) - 1);
    network.step(images.view(), targets.view());
    auto const begin = std::chrono::steady_clock::now();
    network.step(images.view(), targets.view());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void plot_run(run_folder const& folder, std::vector<std::string> const&) {
    std::vector<double> steps, losses, at, train_loss, valid_loss, auroc_at, auroc;
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
        }
    }
    plot_losses(folder.file("loss"), steps, losses, at, train_loss, valid_loss);
    if (!auroc.empty()) plot_auroc(folder.file("auroc"), auroc_at, auroc);
}

}  // namespace

train_outcome run_training(train_options o, label_options labels, global_options global, console const& out) {
    std::optional<io::checkpoint> from;
    train::fit_state state;
    optim::schedule_state scheduled_so_far;
    json old_config;
    if (o.resume) {
        require_usage(!o.out.empty(), "--out is needed: the folder of the run to continue");
        old_config = resume_options(o, labels, global);
    } else if (!o.out.empty() && run_folder::holds_run(o.out)) {
        throw io_error(o.out + ": already holds a run; continue it with --resume or choose another --out");
    }
    if (o.class_weights.empty()) o.class_weights = o.loss == "weighted-bce" ? "train" : "none";
    check_train_options(o);
    auto const& backend = find_backend_with_layers(global.backend);
    auto const bf16 = wants_bf16(o.precision, backend);
    auto const last_path = run_folder::file(o.out, "last.safetensors");
    if (o.resume) {
        from = load_weight_file(last_path);
        std::tie(state, scheduled_so_far) = state_from(*from, last_path);
        auto const kept = model_options_from(*from, last_path);
        o.model.mean = kept.mean;
        o.model.deviation = kept.deviation;
        labels.classes = classes_of(*from, last_path);
    }

    // Everything that can be wrong with the data is found before anything is written.
    auto const training = read_table(o.train, labels);
    auto const& classes = training.classes;
    auto valid_labels = labels;
    valid_labels.classes = classes;
    auto const validation = read_table(o.valid, valid_labels);
    auto const count = [](data::label_table const& table, std::size_t c, std::int8_t label) {
        std::size_t n = 0;
        for (std::size_t i = 0; i < table.rows(); ++i) n += table.labels(i, c) == label;
        return n;
    };
    auto const any_class = [&](auto const& holds) {
        for (std::size_t c = 0; c < classes.size(); ++c)
            if (holds(c)) return true;
        return false;
    };
    for (auto const* const table : {&training, &validation})
        if (!any_class([&](std::size_t c) { return count(*table, c, 0) + count(*table, c, 1) != 0; })) throw io_error(table->path + ": no known label of any class, expected some 0 or 1");
    data::check_images(training, o.images);
    data::check_images(validation, o.images);
    auto const leak = data::find_leak(training, validation);
    if (!leak.patients_compared) out.warn("no patient column in {}, so a leak between the splits cannot be excluded", training.patients.empty() ? o.train : o.valid);
    if (leak.any())
        out.warn("{} and {} share {} and {}; the validation will look better than it is", o.train, o.valid, counted(leak.patients.size(), "patient", "patients"),
                 counted(leak.images.size(), "image", "images"));

    auto const threads = static_cast<std::size_t>(global.threads);
    auto const frequencies = backend.frequencies(training.labels.view(), threads);
    auto engine_for = engine_options_for(o.model, classes.size());
    engine_for.learning_rate = o.lr;
    engine_for.seed = static_cast<std::uint64_t>(global.seed);
    engine_for.threads = threads;
    engine_for.bf16 = bf16;
    engine_for.weights = weights_for(o, frequencies, classes);
    engine_for.form = loss_form_of(o);

    if (o.model.preprocess == "featurewise" && !o.resume) fit_featurewise(o.model, training, o.images, engine_for.seed);
    auto const preprocess = preprocess_for(o.model);
    bool const drop_last = training.rows() >= o.batch;
    auto training_loading = loader_options(o.batch, true, engine_for.seed, threads, drop_last);
    auto validation_loading = loader_options(o.batch, false, engine_for.seed, threads, false);
    auto const notice = warn_once_a_run(out);
    for (auto* const options : {&training_loading, &validation_loading}) {
        if (!o.dry_run) options->cache_folder = o.cache;
        options->notice = notice;
    }
    if (o.augment != "none")
        training_loading.augment = [&training, change = train::augmenter(o.augment == "flip" ? train::flip_augmentation : train::standard_augmentation, engine_for.seed)](
                                    view<float, 3> samples, float white, std::size_t epoch, std::size_t row) { change(samples, white, epoch, training.images[row]); };
    data::loader train_loader(training, o.images, preprocess, training_loading);
    data::loader valid_loader(validation, o.images, preprocess, validation_loading);
    if (o.resume) check_extent(*from, last_path, engine_for);
    auto schedule = schedule_for(o, o.steps != 0 ? o.steps : o.epochs * train_loader.batches(), scheduled_so_far);
    auto network = backend.make(engine_for);
    if (!o.memory.empty()) {
        auto const limit = memory_limit(o.memory);
        auto const plain = plan_memory(o, network->describe(), backend, std::min(o.batch, training.rows())).all();
        if (plain > limit) {
            network.reset();
            engine_for.recompute = backend.whole_densenet;
            network = backend.make(engine_for);
            auto const least = plan_memory(o, network->describe(), backend, std::min(o.batch, training.rows())).all();
            if (least > limit)
                throw error(fmt::format("--memory {}: training needs about {:.0f} MB here{}, more than the {:.0f} MB allowed; a smaller --batch or --size needs less", o.memory, least,
                                        engine_for.recompute ? ", with bottlenecks computed again" : "", limit));
            out.print("bottlenecks are computed again in backward: about {:.0f} MB instead of {:.0f}", least, plain);
        }
    }

    out.print("backend {}{} · {} classes · {} training and {} validation images · {} batches an epoch", backend.name, backend.library.empty() ? "" : " (" + backend.library + ")", classes.size(),
              training.rows(), validation.rows(), train_loader.batches());
    for (std::size_t c = 0; c < classes.size(); ++c)
        if (count(training, c, 1) == 0) out.warn("class {} has no {} in {}", classes[c], count(training, c, 0) == 0 ? "known label" : "positive", o.train);
    if (!any_class([&](std::size_t c) { return count(validation, c, 0) != 0 && count(validation, c, 1) != 0; }))
        out.warn("no class has both a 0 and a 1 in {}, so its AUROC is undefined: the best checkpoint{} goes by the validation loss", o.valid, o.patience != 0 ? " and --patience" : "");
    if (!backend.warning.empty()) out.warn("{}", backend.warning);
    if (o.batch == 1) out.warn("--batch 1: batch norm has but the pixels of one image for its mean and variance, and running statistics that differ from them; 8 and more train better");
    auto operations = backend.operations;
    operations.emplace_back("reading and preparing images", no_backend);
    operations.emplace_back("AUROC after an epoch", no_backend);
    for (auto const& [server, served] : by_serving_backend(operations)) out.print("by {}: {}", server, served);
    for (auto const& [operation, by] : operations) out.debug("{} on {}", operation, by);

    if (o.resume) {
        network->load(*from, last_path, true);
        if (state.batch > train_loader.batches())
            throw io_error(last_path + ": stands at batch " + std::to_string(state.batch) + " of an epoch, but " + o.train + " makes only " + std::to_string(train_loader.batches()));
        from.reset();
    } else if (!o.weights.empty()) {
        auto const left = network->load_weights(load_weight_file(o.weights), o.weights);
        for (auto const& name : left) out.print("new: {} (not as in {})", name, o.weights);
    }

    if (o.dry_run) {
        auto const batch = std::min(o.batch, training.rows());
        print_plan(o, *network, backend, batch, train_loader.batches(), training.rows(), out);
        auto const seconds = seconds_a_step(o, *network, batch, classes.size());
        auto const steps = o.steps != 0 ? o.steps : o.epochs * train_loader.batches();
        out.print("time         about {:.0f} s of training steps, from one measured step of {:.2f} s; validation comes on top", seconds * static_cast<double>(steps), seconds);
        return {train::fit_end::finished, classes, {}, {}, backend.name};
    }

    io::checkpoint description;
    description.metadata["cxr.version"] = "1";
    description.metadata["cxr.classes"] = json(classes).dump();
    description.metadata["cxr.architecture"] = architecture_json(o.model, classes.size()).dump();
    description.metadata["cxr.preprocess"] = preprocess_json(o.model).dump();
    description.metadata["cxr.random"] = json{{"seed", global.seed}}.dump();

    auto config_labels = labels;
    config_labels.classes = classes;
    json config{{"cxr", std::string(version)},
                {"versions", version_text()},
                {"options", options_json(o, config_labels, global)},
                {"classes", classes},
                {"architecture", architecture_json(o.model, classes.size())},
                {"preprocess", preprocess_json(o.model)},
                {"positive_weights", engine_for.weights.positive},
                {"negative_weights", engine_for.weights.negative},
                {"rows", {{"train", training.rows()}, {"valid", validation.rows()}}},
                {"drop_last", drop_last},
                {"operations", json::object()},
                {"seed", global.seed}};
    for (auto const& [operation, by] : operations) config["operations"][operation] = by;
    if (o.resume) {
        auto history = old_config.value("resumed_at_steps", json::array());
        history.push_back(state.step);
        config["resumed_at_steps"] = history;
    }

    auto folder = o.resume ? run_folder::resume(o.out, classes, state) : run_folder::create(o.out, classes);
    folder.write_config(config.dump(2) + "\n");

    catch_interrupts();
    train::scheduled scheduled(*network, schedule);
    recorder record(folder, *network, description, schedule, scheduled, out);
    train::fit_options const fit_for{.epochs = o.epochs, .steps = o.steps, .patience = o.patience, .stop = &interrupt_requested};
    auto const loss = [&](view<float const, 2> targets, view<float const, 2> probabilities) { return network->loss(targets, probabilities); };
    train_outcome outcome;
    outcome.end = train::fit(*network, train_loader, valid_loader, loss, fit_for, state, record, scheduled);
    plot_run(folder, classes);

    outcome.classes = classes;
    outcome.log = folder.log();
    for (auto const& s : folder.steps()) outcome.losses.push_back(s.loss);
    outcome.backend = backend.name;
    if (outcome.end == train::fit_end::stopped) out.print("stopped after step {}; continue with: cxr train --resume --out {}", state.step, o.out);
    if (outcome.end == train::fit_end::out_of_patience) out.print("no better validation {} for {}", state.best ? "AUROC" : "loss", counted(o.patience, "epoch", "epochs"));
    out.print("run folder {}", o.out);
    return outcome;
}

json to_json(train_outcome const& t) {
    auto const value = [](std::optional<double> const& v) { return v ? json(*v) : json(); };
    json j;
    if (!t.log.empty()) {
        auto const& r = t.log.back();
        j = {{"epoch", r.epoch}, {"step", r.step}, {"lr", r.lr}, {"train_loss", r.train_loss}, {"valid_loss", r.valid_loss}, {"valid_auroc_mean", value(r.valid_auroc_mean)}};
        for (std::size_t c = 0; c < t.classes.size(); ++c) j["valid_auroc_" + t.classes[c]] = value(r.valid_auroc[c]);
        j["auroc_classes"] = metrics::defined(r.valid_auroc);
    }
    j["steps"] = t.losses;
    j["images_per_second"] = t.log.empty() ? json() : json(t.log.back().images_per_second);
    j["peak_rss_mb"] = peak_rss_mb();
    j["backend"] = t.backend;
    return j;
}

void add_train(CLI::App& app, chosen_command& chosen) {
    struct options {
        train_options train;
        label_options labels;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("train", "trains a DenseNet on a table of labels and a folder of images");
    c->add_option("--train", o->train.train, "table of the training set");
    c->add_option("--valid", o->train.valid, "table of the validation set");
    c->add_option("--images", o->train.images, "folder of the images");
    c->add_option("--out", o->train.out, "folder of the run");
    c->add_flag("--resume", o->train.resume, "continue the run in --out; options not given are the run's");
    c->add_flag("--dry-run", o->train.dry_run, "print plan, parameters, memory and time, and train nothing");
    auto const group = "Training";
    constexpr std::uint64_t most = 1'000'000'000;
    expect_whole_number(c->add_option("--batch", o->train.batch, "images of a step")->capture_default_str()->group(group), 1, 65536);
    auto* const epochs = c->add_option("--epochs", o->train.epochs, "ends after this many epochs")->capture_default_str()->group(group);
    expect_whole_number(epochs, 1, most);
    expect_whole_number(c->add_option("--steps", o->train.steps, "ends after this many steps instead")->excludes(epochs)->group(group), 1, most);
    c->add_option("--lr", o->train.lr, "learning rate")->capture_default_str()->group(group);
    c->add_option("--loss", o->train.loss, "weighted-bce, bce (all labels weigh 1), focal or asymmetric")->capture_default_str()->group(group);
    c->add_option("--gamma", o->train.gamma, "focal: focusing parameter, 0 or more")->capture_default_str()->group(group);
    c->add_option("--alpha", o->train.alpha, "focal: weight of positive labels, 0 to 1, beside 1 - alpha of negative ones; or none")->capture_default_str()->group(group);
    c->add_option("--gamma-positive", o->train.gamma_positive, "asymmetric: focusing parameter of positive labels")->capture_default_str()->group(group);
    c->add_option("--gamma-negative", o->train.gamma_negative, "asymmetric: focusing parameter of negative labels")->capture_default_str()->group(group);
    c->add_option("--margin", o->train.margin, "asymmetric: negatives of no larger probability do not count, 0 to below 1; the authors' clip")->capture_default_str()->group(group);
    c->add_option("--smoothing", o->train.smoothing, "label smoothing s of any loss, 0 to below 1: targets become (1 - s) y + s / 2")->capture_default_str()->group(group);
    c->add_option("--class-weights", o->train.class_weights,
                  "rule by which labels of --train weigh: train (the course's: frequency of the other kind), inverse (frequency), effective (number of samples),\n"
                  "pos-weight (negatives / positives for positives, 1 for negatives), none; or a file as cxr stats --json writes it. Default: train for weighted-bce,\n"
                  "none for the others")
        ->group(group);
    c->add_option("--beta", o->train.beta, "of --class-weights effective, 0 to below 1")->capture_default_str()->group(group);
    c->add_option("--weights", o->train.weights, "start from the weights of this .safetensors file; the head may differ")->group(group);
    auto* const patience = c->add_option("--patience", o->train.patience, "ends after this many epochs without a better validation AUROC, or loss where no AUROC is defined; 0: never");
    expect_whole_number(patience->capture_default_str()->group(group), 0, most);
    c->add_option("--optimizer", o->train.optimizer, "adam (adamw and sgd do not exist yet)")->capture_default_str()->group(group);
    c->add_option("--schedule", o->train.schedule, "how --lr changes, as PyTorch's schedulers: constant, cosine (over the whole run), step, plateau (of the validation loss) or one-cycle")
        ->capture_default_str()
        ->group(group);
    expect_whole_number(c->add_option("--warmup", o->train.warmup, "steps in which the learning rate rises to --lr")->capture_default_str()->group(group), 0, most);
    c->add_option("--min-lr", o->train.min_lr, "cosine and plateau: smallest learning rate")->capture_default_str()->group(group);
    expect_whole_number(c->add_option("--schedule-epochs", o->train.schedule_epochs, "step: epochs between two changes")->group(group), 1, most);
    c->add_option("--schedule-factor", o->train.schedule_factor, "step and plateau: what the learning rate is multiplied by")->capture_default_str()->group(group);
    expect_whole_number(c->add_option("--schedule-patience", o->train.schedule_patience, "plateau: epochs without a better validation loss that are borne")->capture_default_str()->group(group), 0, most);
    c->add_option("--memory", o->train.memory, "most that training may need, as 800M or 2G: where keeping all activations needs more, the backend simd computes bottlenecks again, which takes some\n"
                                              "fifth more time; an error where that is not enough")->group(group);
    c->add_option("--precision", o->train.precision, "f32, or bf16: float32 weights, and bfloat16 activations on cuda, bfloat16 factors of convolutions on simd")->capture_default_str()->group(group);
    c->add_option("--augment", o->train.augment, "of the training images, in every epoch in another way, by --seed: none; flip: left and right exchanged or not; standard: that, rotation, translation, scale, brightness, contrast, noise")->capture_default_str()->group(group);
    c->add_option("--cache", o->train.cache, "folder that keeps decoded and resized images for later epochs and runs, several at once if need be; entries are checked by the file's size and time, and by --size, --resize and --channels")->group(group);
    add_model_options(*c, o->train.model);
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global);
    c->footer("The run folder holds config.json, log.csv, steps.csv, last.safetensors, best.safetensors and plots; TensorBoard events do not exist yet.");
    c->callback([o, c, &chosen] {
        o->train.given = given_options(*c);
        chosen = [o] {
            console const out(o->global);
            out.expect_result(o->train.out);
            auto const outcome = run_training(o->train, o->labels, o->global, out);
            out.result(to_json(outcome));
            return outcome.end == train::fit_end::stopped ? interrupted : done;
        };
    });
}

}  // namespace cxr::trainer
