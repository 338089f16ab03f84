// SPDX-License-Identifier: Apache-2.0
// The options of `cxr train`: how they are declared, checked, kept and taken up again.

#include "train_options.hpp"

#include "train_recipe.hpp"

#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/label_table.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <system_error>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

std::string absolute(std::string const& path) { return path.empty() ? path : fs::absolute(path).lexically_normal().string(); }

// Calls f(name, value) for every option that makes a run what it is, by its name on the command line: config.json holds them, and --resume takes them from there.
template <class F>
void for_each_option(train_options& o, label_options& l, global_options& g, F const& f) {
    f("train", o.train);
    f("valid", o.valid);
    f("images", o.images);
    f("architecture", o.model.architecture);
    f("blocks", o.model.blocks);
    f("growth", o.model.growth);
    f("stem", o.model.stem);
    f("compression", o.model.compression);
    f("dropout", o.model.dropout);
    f("convention", o.model.convention);
    f("channels", o.model.channels);
    f("size", o.model.size);
    f("preprocess", o.model.preprocess);
    f("resize", o.model.resize);
    f("weights", o.weights);
    f("new-head", o.new_head);
    f("keep-optimizer", o.keep_optimizer);
    f("batch", o.batch);
    f("epochs", o.epochs);
    f("steps", o.steps);
    f("loss", o.loss);
    f("gamma", o.gamma);
    f("alpha", o.alpha);
    f("gamma-positive", o.gamma_positive);
    f("gamma-negative", o.gamma_negative);
    f("margin", o.margin);
    f("smoothing", o.smoothing);
    f("class-weights", o.class_weights);
    f("beta", o.beta);
    f("optimizer", o.optimizer);
    f("weight-decay", o.weight_decay);
    f("momentum", o.momentum);
    f("nesterov", o.nesterov);
    f("lr", o.lr);
    f("head-lr", o.head_lr);
    f("clip-norm", o.clip_norm);
    f("freeze", o.freeze);
    f("frozen-batch-norm", o.frozen_batch_norm);
    f("schedule", o.schedule);
    f("warmup", o.warmup);
    f("min-lr", o.min_lr);
    f("schedule-epochs", o.schedule_epochs);
    f("schedule-factor", o.schedule_factor);
    f("schedule-patience", o.schedule_patience);
    f("precision", o.precision);
    f("augment", o.augment);
    f("cache", o.cache);
    f("patience", o.patience);
    f("classes", l.classes);
    f("image-column", l.image_column);
    f("patient-column", l.patient_column);
    f("uncertain", l.uncertain);
    f("backend", g.backend);
    f("threads", g.threads);
    f("seed", g.seed);
}

// Options that a checkpoint was made with and that cannot change while a run goes on.
constexpr std::array fixed_options{
    "architecture", "blocks", "growth", "stem", "compression", "dropout", "convention", "channels", "size", "preprocess", "resize", "batch", "loss", "gamma",
    "alpha", "gamma-positive", "gamma-negative", "margin", "smoothing", "class-weights", "beta", "optimizer", "weight-decay", "momentum", "nesterov", "augment", "schedule", "warmup",
    "min-lr", "schedule-epochs", "schedule-factor", "schedule-patience", "classes", "uncertain", "seed"};

// Whether a rate depends on how many steps there are in all.
bool laid_out_over_all_steps(std::string const& schedule) { return schedule == "cosine" || schedule == "one-cycle"; }

json read_config(std::string const& path) {
    std::ifstream in(path);
    if (!in) throw io_error(path + ": cannot be read, expected the configuration of the run to continue");
    try {
        return json::parse(in);
    } catch (json::exception const&) {
        throw io_error(path + ": is not JSON, expected the configuration of the run to continue");
    }
}

}  // namespace

json options_json(train_options o, label_options l, global_options g) {
    for (auto* const path : {&o.train, &o.valid, &o.images, &o.weights, &o.cache}) *path = absolute(*path);
    if (!is_weight_rule(o.class_weights)) o.class_weights = absolute(o.class_weights);
    auto const network = engine_options_for(o.model, 1).network;
    o.model.blocks.assign(network.blocks.begin(), network.blocks.end());
    o.model.growth = network.growth;
    o.model.stem = network.stem;
    json j;
    for_each_option(o, l, g, [&](char const* name, auto const& value) { j[name] = value; });
    return j;
}

json resume_options(train_options& o, label_options& l, global_options& g) {
    auto const path = run_folder::file(o.out, "config.json");
    if (!run_folder::holds_run(o.out)) throw io_error(o.out + ": holds no run to continue with --resume");
    require_usage(!o.given.contains("weights"), "--weights: a run that --resume continues has its weights already");
    for (auto const* const option : {"new-head", "keep-optimizer"}) require_usage(!o.given.contains(option), std::string("--") + option + ": a run that --resume continues has its weights already");
    check_model_options(o.model);
    auto config = read_config(path);
    try {
        auto options = config.at("options");
        train_options fresh;
        label_options any;
        global_options anywhere;
        // What an older version had no option for was as it is by default.
        for_each_option(fresh, any, anywhere, [&](char const* name, auto const& value) { options.emplace(name, value); });
        auto const given = options_json(o, l, g);
        for (auto const& name : o.given) {
            if (!options.contains(name)) continue;
            bool const fixed = std::find(fixed_options.begin(), fixed_options.end(), name) != fixed_options.end();
            if (fixed && options.at(name) != given.at(name))
                throw usage_error("--" + name + " " + given.at(name).dump() + " differs from the run's " + options.at(name).dump() + ", which --resume cannot change");
            if ((name == "epochs" || name == "steps") && laid_out_over_all_steps(options.at("schedule").get<std::string>()) && options.at(name) != given.at(name))
                throw usage_error("--" + name + " " + given.at(name).dump() + " differs from the run's " + options.at(name).dump() + ", over which its schedule " +
                                  options.at("schedule").get<std::string>() + " is laid out, so --resume cannot change it");
            options[name] = given.at(name);
        }
        // Whether a run ends by steps or by epochs is one choice.
        if (o.given.contains("epochs")) options["steps"] = 0;
        for_each_option(o, l, g, [&](char const* name, auto& value) { options.at(name).get_to(value); });
        return config;
    } catch (json::exception const& e) {
        throw io_error(path + ": lacks a field: " + e.what());
    }
}

void check_resumed_rows(train_options const& o, json const& config, std::size_t rows) {
    if (o.steps != 0 || !laid_out_over_all_steps(o.schedule)) return;
    auto const before = config.find("rows");
    if (before == config.end() || !before->contains("train") || !before->at("train").is_number_unsigned())
        throw io_error(run_folder::file(o.out, "config.json") + ": does not say how many rows the training table had, over which the schedule " + o.schedule + " is laid out");
    if (before->at("train") != rows)
        throw usage_error("--train " + o.train + ": " + std::to_string(rows) + " rows differ from the run's " + before->at("train").dump() + ", over which its schedule " + o.schedule +
                          " is laid out, so --resume cannot change them");
}

std::string table_checksum(data::label_table const& table) { return fmt::format("{:016x}", fnv1a(data::format_label_table(table))); }

bool table_changed(json const& config, char const* part, data::label_table const& table) {
    auto const before = config.find("tables");
    return before != config.end() && before->value(part, json()) != table_checksum(table);
}

stats::class_weights weights_of_run(train_options const& o, json const& config, std::size_t classes) {
    auto const path = run_folder::file(o.out, "config.json");
    try {
        stats::class_weights w{config.at("positive_weights").get<std::vector<double>>(), config.at("negative_weights").get<std::vector<double>>()};
        for (auto const* const weights : {&w.positive, &w.negative})
            if (weights->size() != classes || !std::all_of(weights->begin(), weights->end(), [](double x) { return x >= 0; }))
                throw io_error(path + ": expected positive_weights and negative_weights of at least 0 for each of " + counted(classes, "class", "classes"));
        return w;
    } catch (json::exception const& e) {
        throw io_error(path + ": lacks a field: " + e.what());
    }
}

void keep_history(json& config, json const& before, std::uint64_t step) {
    for (auto const* const field : {"weights", "resumed_at_steps", "earlier"})
        if (before.contains(field)) config[field] = before.at(field);
    config["resumed_at_steps"].push_back(step);
    json part;
    for (auto const* const field : {"cxr", "versions", "options", "tables"})
        if (before.contains(field) && before.at(field) != config.at(field)) part[field] = before.at(field);
    if (part.is_null()) return;
    part["until_step"] = step;
    config["earlier"].push_back(part);
}

double memory_limit(std::string const& text) {
    double value = 0;
    char unit = 0;
    std::istringstream in(text);
    in >> value >> unit;
    if (in.fail() || !(value > 0) || (unit != 'M' && unit != 'G') || in.peek() != std::istringstream::traits_type::eof())
        throw usage_error("--memory " + text + ": expected a number above 0 and M or G, as 800M or 2G");
    return unit == 'G' ? 1024 * value : value;
}

void check_train_options(train_options const& o) {
    require_usage(!o.train.empty(), "--train is needed: the table of the training set");
    require_usage(!o.valid.empty(), "--valid is needed: the table of the validation set");
    require_usage(!o.images.empty(), "--images is needed: the folder of the images");
    require_usage(!o.out.empty() || o.dry_run, "--out is needed: the folder of the run");
    require_usage(o.batch >= 1 && o.batch <= 65536, "--batch " + std::to_string(o.batch) + ": expected 1 to 65536");
    require_usage(o.epochs >= 1 || o.steps != 0, "--epochs 0: expected at least 1");
    std::error_code ignored;
    require_usage(o.cache.empty() || !fs::equivalent(o.cache, o.images, ignored), "--cache " + o.cache + ": is the folder of --images " + o.images + ", expected another folder");
    check_recipe(o);
    // How many steps there will be is known when the table has been read; this looks at all else.
    static_cast<void>(schedule_for(o, o.steps != 0 ? o.steps : std::numeric_limits<std::uint64_t>::max(), {}));
    if (o.augment != "none" && o.augment != "flip" && o.augment != "standard") throw usage_error("--augment " + o.augment + ": expected none, flip or standard");
    if (!o.memory.empty()) static_cast<void>(memory_limit(o.memory));
    require_usage(!o.new_head || !o.weights.empty(), "--new-head: needs --weights, the file whose head is left out");
    require_usage(!o.keep_optimizer || !o.weights.empty(), "--keep-optimizer: needs --weights, the file that holds its state");
    require_usage(!o.keep_optimizer || !o.new_head, "--keep-optimizer: not with --new-head, of which the file's optimizer knows nothing");
    check_model_options(o.model);
}

void add_train_options(CLI::App& c, train_options& o) {
    c.add_option("--train", o.train, "table of the training set");
    c.add_option("--valid", o.valid, "table of the validation set");
    c.add_option("--images", o.images, "folder of the images");
    c.add_option("--out", o.out, "folder of the run");
    c.add_flag("--resume", o.resume, "continue the run in --out; options not given are the run's");
    c.add_flag("--dry-run", o.dry_run, "print plan, parameters, memory and time, and train nothing");
    auto const group = "Training";
    constexpr std::uint64_t most = 1'000'000'000;
    expect_whole_number(c.add_option("--batch", o.batch, "images of a step")->capture_default_str()->group(group), 1, 65536);
    auto* const epochs = c.add_option("--epochs", o.epochs, "ends after this many epochs")->capture_default_str()->group(group);
    expect_whole_number(epochs, 1, most);
    expect_whole_number(c.add_option("--steps", o.steps, "ends after this many steps instead")->excludes(epochs)->group(group), 1, most);
    c.add_option("--lr", o.lr, "learning rate")->capture_default_str()->group(group);
    c.add_option("--loss", o.loss, "weighted-bce, bce (all labels weigh 1), focal or asymmetric")->capture_default_str()->group(group);
    c.add_option("--gamma", o.gamma, "focal: focusing parameter, 0 or more")->capture_default_str()->group(group);
    c.add_option("--alpha", o.alpha, "focal: weight of positive labels, 0 to 1, beside 1 - alpha of negative ones; or none")->capture_default_str()->group(group);
    c.add_option("--gamma-positive", o.gamma_positive, "asymmetric: focusing parameter of positive labels")->capture_default_str()->group(group);
    c.add_option("--gamma-negative", o.gamma_negative, "asymmetric: focusing parameter of negative labels")->capture_default_str()->group(group);
    c.add_option("--margin", o.margin, "asymmetric: negatives of no larger probability do not count, 0 to below 1; the authors' clip")->capture_default_str()->group(group);
    c.add_option("--smoothing", o.smoothing, "label smoothing s of any loss, 0 to below 1: targets become (1 - s) y + s / 2")->capture_default_str()->group(group);
    c.add_option("--class-weights", o.class_weights,
                 "rule by which labels of --train weigh: train (the course's: frequency of the other kind), inverse (frequency), effective (number of samples),\n"
                 "pos-weight (negatives / positives for positives, 1 for negatives), none; or a file as cxr stats --json writes it. Default: train for weighted-bce,\n"
                 "none for the others")
        ->group(group);
    c.add_option("--beta", o.beta, "of --class-weights effective, 0 to below 1")->capture_default_str()->group(group);
    c.add_option("--weights", o.weights, "start from the weights of this file: .safetensors, Keras' .h5, .hdf5, .weights.h5 or .keras, .onnx; architecture and --convention are the file's unless given; the head may differ and is then new")->group(group);
    c.add_flag("--new-head", o.new_head, "with --weights: begin the head anew, even where the file's would fit")->group(group);
    c.add_flag("--keep-optimizer", o.keep_optimizer, "with --weights: go on with the state of Adam or AdamW that the file holds, its steps included: a checkpoint, or a whole model of Keras that was compiled")->group(group);
    auto* const patience = c.add_option("--patience", o.patience, "ends after this many epochs without a better validation AUROC, or loss where no AUROC is defined; 0: never");
    expect_whole_number(patience->capture_default_str()->group(group), 0, most);
    c.add_option("--optimizer", o.optimizer, "adam, adamw, or sgd")->capture_default_str()->group(group);
    c.add_option("--weight-decay", o.weight_decay, "adamw: decoupled from the gradient, 0.01 where not given; sgd: added to the gradient, 0 where not given")->group(group);
    c.add_option("--momentum", o.momentum, "sgd: share of the last step that goes into the next, 0 to below 1")->capture_default_str()->group(group);
    c.add_flag("--nesterov", o.nesterov, "sgd: steps that look ahead, as Nesterov's")->group(group);
    c.add_option("--head-lr", o.head_lr, "learning rate of the head where it is another than --lr; --schedule changes both in the same ratio")->group(group);
    c.add_option("--clip-norm", o.clip_norm, "largest norm of the gradient of a step, over all parameters that learn; longer ones are shortened to it")->group(group);
    c.add_option("--freeze", o.freeze, "parameters that do not learn, as patterns of their paths, such as 'features.conv0.*,features.norm0.*,features.denseblock1.*'; none lets a run that --resume continues learn as a whole")->delimiter(',')->group(group);
    c.add_option("--frozen-batch-norm", o.frozen_batch_norm,
                 "what batch norms whose weight and bias --freeze matches normalise by in training: running (statistics, which then stay; as Keras' trainable = False) or batch (and\n"
                 "running statistics go on; as PyTorch's requires_grad = False)")
        ->capture_default_str()
        ->group(group);
    c.add_option("--dropout", o.model.dropout, "share of the pooled features that a step leaves out before the head, 0 to below 1")->capture_default_str()->group(group);
    c.add_option("--schedule", o.schedule, "how --lr changes, as PyTorch's schedulers: constant, cosine (over the whole run), step, plateau (of the validation loss) or one-cycle (of the rate alone: momentum stays)")
        ->capture_default_str()
        ->group(group);
    expect_whole_number(c.add_option("--warmup", o.warmup, "steps in which the learning rate rises to --lr")->capture_default_str()->group(group), 0, most);
    c.add_option("--min-lr", o.min_lr, "cosine and plateau: smallest learning rate")->capture_default_str()->group(group);
    expect_whole_number(c.add_option("--schedule-epochs", o.schedule_epochs, "step: epochs between two changes")->group(group), 1, most);
    c.add_option("--schedule-factor", o.schedule_factor, "step and plateau: what the learning rate is multiplied by")->capture_default_str()->group(group);
    expect_whole_number(c.add_option("--schedule-patience", o.schedule_patience, "plateau: epochs without a better validation loss that are borne")->capture_default_str()->group(group), 0, most);
    c.add_option("--memory", o.memory, "most that training may need, as 800M or 2G: where keeping all activations needs more, the backend simd computes bottlenecks again, which takes some\n"
                                       "fifth more time; an error where that is not enough")
        ->group(group);
    c.add_option("--precision", o.precision, "f32, or bf16: float32 weights, and bfloat16 activations on cuda, bfloat16 factors of convolutions on simd")->capture_default_str()->group(group);
    c.add_option("--augment", o.augment, "of the training images, in every epoch in another way, by --seed: none; flip: left and right exchanged or not; standard: that, rotation, translation, scale, brightness, contrast, noise")->capture_default_str()->group(group);
    c.add_option("--cache", o.cache, "folder that keeps decoded and resized images for later epochs and runs, several at once if need be; entries are checked by the file's size and time, and by --size, --resize and --channels")->group(group);
    add_model_options(c, o.model);
    c.footer("The run folder holds config.json, log.csv, steps.csv, last.safetensors, best.safetensors and plots; TensorBoard events do not exist yet.");
}

}  // namespace cxr::trainer
