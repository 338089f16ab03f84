// SPDX-License-Identifier: Apache-2.0
#include "train.hpp"

#include "data.hpp"
#include "recorder.hpp"
#include "train_options.hpp"
#include "train_plan.hpp"
#include "train_recipe.hpp"
#include "weight_file.hpp"

#include "cxr/core/error.hpp"
#include "cxr/data/leakage.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/optim/schedule.hpp"
#include "cxr/train/augmentation.hpp"
#include "cxr/train/scheduled.hpp"
#include "cxr/version.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

namespace cxr::trainer {

namespace {

// Whether this training asks its backend for an operation.
bool asks_for(train_options const& o, served_operation const& operation) {
    switch (operation.asked) {
        case asked_for::by_layers:
        case asked_for::by_bf16:
        case asked_for::by_training: return true;
        case asked_for::by_plain_loss: return loss_form_of(o).plain();
        case asked_for::by_focused_loss: return !loss_form_of(o).plain();
        case asked_for::by_adam: return o.optimizer != "sgd";
        case asked_for::by_sgd: return o.optimizer == "sgd";
        case asked_for::by_clipping: return o.clip_norm != 0;
        case asked_for::by_dropout: return o.model.dropout != 0;
        case asked_for::by_programs: break;
    }
    return false;
}

// Featurewise figures, fitted once: those that came with the weights where the rule did too, else anew.
void settle_featurewise(train_options& o, data::label_table const& training, std::uint64_t seed, console const& out) {
    auto const text = [](model_options const& m) { return fmt::format("mean {:.2f}, deviation {:.2f}", fmt::join(m.mean, " "), fmt::join(m.deviation, " ")); };
    auto const stored = o.model;
    if (!o.given.contains("preprocess") && stored.mean.size() == stored.channels) {
        out.print("featurewise by the figures of {}: {}; --preprocess featurewise fits them to {}", o.weights, text(stored), o.train);
        return;
    }
    fit_featurewise(o.model, training, o.images, seed);
    if (!stored.mean.empty() && (stored.mean != o.model.mean || stored.deviation != o.model.deviation))
        out.print("featurewise by figures fitted to {}: {}; {} has {}", o.train, text(o.model), o.weights, text(stored));
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
    } else if (!o.out.empty()) {
        run_folder::require_none(o.out);
    }
    complete_recipe(o);
    check_train_options(o);
    out.expect_result({{"--train", o.train, "the table"}, {"--valid", o.valid, "the table"}, {"--images", o.images, "an image"}, {"--weights", o.weights}, {"--class-weights", is_weight_rule(o.class_weights) ? "" : o.class_weights}},
                      {{"--out", o.out, "a file", run_folder::files()}});
    auto const& backend = find_backend_with_layers(global.backend);
    auto const bf16 = wants_bf16(o.precision, backend);
    auto const last_path = run_folder::file(o.out, "last.safetensors");
    if (o.resume) {
        from = load_weight_file(last_path).state;
        std::tie(state, scheduled_so_far) = state_from(*from, last_path);
        auto const kept = model_options_from(*from, last_path);
        o.model.mean = kept.mean;
        o.model.deviation = kept.deviation;
        labels.classes = classes_of(*from, last_path);
    }
    std::optional<io::weights> weights;
    json weights_json;
    if (!o.resume && !o.weights.empty()) {
        weights = load_weight_file(o.weights);
        if (o.keep_optimizer) require_optimizer(*weights, o.weights);
        else io::drop_optimizer(*weights);
        take_from_file(o.model, o.given, *weights, o.weights);
        check_model_options(o.model);
        io::match_input_channels(*weights, o.model.channels);
        if (o.new_head) io::drop_head(*weights);
        else if (!weights->activation.empty() && weights->activation != "sigmoid" && weights->activation != "linear")
            out.warn("{}: its head ends in {}, and goes on with a sigmoid; --new-head begins it anew", o.weights, weights->activation);
    }

    // Everything that can be wrong with the data is found before anything is written.
    auto const training = read_table(o.train, labels);
    auto const& classes = training.classes;
    auto valid_labels = labels;
    valid_labels.classes = classes;
    auto const validation = read_table(o.valid, valid_labels);
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
    for (auto const* const table : {&training, &validation})
        if (auto const unknown = data::rows_without_patient(*table); unknown != 0)
            out.warn("{}: no patient is known of {}, so a leak between the splits cannot be excluded", table->path, unknown == table->rows() ? "its images" : counted(unknown, "image", "images"));
    if (leak.any())
        out.warn("{} and {} share {} and {}; the validation will look better than it is", o.train, o.valid, counted(leak.patients.size(), "patient", "patients"),
                 counted(leak.images.size(), "image", "images"));

    auto const threads = static_cast<std::size_t>(global.threads);
    auto const frequencies = backend.frequencies(training.labels.view(), threads);
    auto engine_for = engine_options_for(o.model, classes.size());
    engine_for.optimizer = optimizer_of(o);
    if (o.head_lr != 0) engine_for.head_share = o.head_lr / o.lr;
    engine_for.clip_norm = o.clip_norm;
    engine_for.frozen = o.freeze;
    engine_for.frozen_statistics = o.frozen_batch_norm == "running";
    engine_for.frozen_norms_expected = o.given.contains("frozen-batch-norm");
    engine_for.seed = static_cast<std::uint64_t>(global.seed);
    engine_for.threads = threads;
    engine_for.bf16 = bf16;
    engine_for.weights = weights_for(o, frequencies, classes);
    auto const weights_by_now = engine_for.weights;
    if (o.resume) engine_for.weights = weights_of_run(o, old_config, classes.size());
    engine_for.form = loss_form_of(o);

    if (o.model.preprocess == "featurewise" && !o.resume) settle_featurewise(o, training, engine_for.seed, out);
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
    if (o.resume) check_resumed_rows(o, old_config, training.rows());
    std::uint64_t const all_steps = o.steps != 0 ? o.steps : o.epochs * train_loader.batches();
    auto schedule = schedule_for(o, all_steps, scheduled_so_far);
    if (auto const why = why_schedule_is_idle(o, all_steps, train_loader.batches()); !why.empty()) out.warn("{}", why);
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
    for (std::size_t c = 0; c < classes.size(); ++c) {
        bool const positive = count(training, c, 1) != 0, negative = count(training, c, 0) != 0;
        if (!positive || !negative) out.warn("class {} has no {} in {}", classes[c], positive ? "negative" : (negative ? "positive" : "known label"), o.train);
    }
    if (!any_class([&](std::size_t c) { return count(validation, c, 0) != 0 && count(validation, c, 1) != 0; }))
        out.warn("no class has both a 0 and a 1 in {}, so its AUROC is undefined: the best checkpoint{} goes by the validation loss", o.valid, o.patience != 0 ? " and --patience" : "");
    if (weights_by_now != engine_for.weights)
        out.warn("{} would weigh labels otherwise by now; the run goes on with the weights that it began with",
                 is_weight_rule(o.class_weights) ? "--class-weights " + o.class_weights + " of " + o.train : o.class_weights);
    if (o.resume && table_changed(old_config, "train", training))
        out.warn("{} has other images, patients or labels than when the run began, or in another order: of an epoch that was begun, images are seen twice or not at all", o.train);
    if (o.resume && table_changed(old_config, "valid", validation))
        out.warn("{} has other images, patients or labels than when the run began: which checkpoint is the best is decided between figures of different tables", o.valid);
    if (!backend.warning.empty()) out.warn("{}", backend.warning);
    if (auto const little = little_to_normalise_by(o, engine_for, training.rows()); !little.empty()) out.warn("{}", little);
    auto operations = operations_for(backend, classes.size());
    std::erase_if(operations, [&](auto const& served) { return !asks_for(o, served); });
    operations.push_back({"reading and preparing images", no_backend, asked_for::by_training});
    operations.push_back({"AUROC after an epoch", no_backend, asked_for::by_training});
    print_operations(operations, out);

    if (o.resume) {
        network->load(*from, last_path, true);
        if (state.batch > train_loader.batches())
            throw io_error(last_path + ": stands at batch " + std::to_string(state.batch) + " of an epoch, but " + o.train + " makes only " + std::to_string(train_loader.batches()));
        from.reset();
    } else if (weights) {
        auto const head = std::find_if(weights->state.tensors.begin(), weights->state.tensors.end(), [](auto const& t) { return t.name == "classifier.weight"; });
        if (!o.keep_optimizer && head != weights->state.tensors.end() && head->shape[0] != classes.size()) io::drop_head(*weights);
        weights_json = coverage_json(*weights, o.weights);
        std::vector<std::string> left;
        if (o.keep_optimizer) {
            network->load(weights->state, o.weights, true);
            out.print("optimizer {} goes on after {}", o.optimizer, counted(optimizer_steps(weights->state, o.weights, o.optimizer), "step", "steps"));
        } else {
            left = network->load_weights(weights->state, o.weights);
        }
        print_coverage(*weights, o.weights, out);
        for (auto const& name : left) out.print("new: {} (not as in {})", name, o.weights);
        weights_json["new"] = left;
        if (left.empty() && weights->state.metadata.contains("cxr.classes") && classes_of(weights->state, o.weights) != classes)
            out.warn("{}: its head has other classes than {}, or in another order; --new-head begins it anew", o.weights, o.train);
        weights.reset();
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
                {"tables", {{"train", table_checksum(training)}, {"valid", table_checksum(validation)}}},
                {"drop_last", drop_last},
                {"operations", json::object()},
                {"seed", global.seed}};
    for (auto const& served : operations) config["operations"][served.what] = served.by;
    if (!weights_json.is_null()) config["weights"] = weights_json;
    if (o.resume) keep_history(config, old_config, state.step);

    auto folder = o.resume ? run_folder::resume(o.out, classes, state) : run_folder::create(o.out, classes);
    train::fit_options const fit_for{.epochs = o.epochs, .steps = o.steps, .patience = o.patience, .stop = &interrupt_requested};
    if (train::is_finished(state, fit_for, train_loader.batches()))
        out.print("the run has taken {} of {} already: there is nothing left to train", o.steps != 0 ? counted(state.step, "step", "steps") : counted(state.epoch, "epoch", "epochs"), o.steps != 0 ? o.steps : o.epochs);
    else
        folder.write_config(config.dump(2) + "\n");

    catch_interrupts();
    train::scheduled scheduled(*network, schedule);
    recorder record(folder, *network, description, schedule, scheduled, out);
    auto const loss = [&](view<float const, 2> targets, view<float const, 2> probabilities) { return network->loss(targets, probabilities); };
    train_outcome outcome;
    image_report images(o.cache, train_loader, valid_loader, out);
    try {
        outcome.end = train::fit(*network, train_loader, valid_loader, loss, fit_for, state, record, scheduled, images);
    } catch (...) {
        images.tell();  // what was noticed may be why it failed
        throw;
    }
    images.tell();
    plot_run(folder);

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
    add_train_options(*c, o->train);
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global, backend_use::operations);
    c->callback([o, c, &chosen] {
        o->train.given = given_options(*c);
        chosen = [o] {
            console const out(o->global);
            auto const outcome = run_training(o->train, o->labels, o->global, out);
            out.result(to_json(outcome));
            return outcome.end == train::fit_end::stopped ? interrupted : done;
        };
    });
}

}  // namespace cxr::trainer
