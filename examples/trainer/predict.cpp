// SPDX-License-Identifier: Apache-2.0
// `cxr predict`: probabilities of images.

#include "predict.hpp"

#include "progress.hpp"
#include "run_folder.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/data/image_file.hpp"
#include "cxr/io/json.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

// A table without known labels: the loader wants one. `path`: where the names are from.
data::label_table unlabelled(std::string path, std::vector<std::string> images, std::vector<std::string> const& classes) {
    data::label_table t;
    t.path = std::move(path);
    t.classes = classes;
    t.labels = tensor<std::int8_t, 2>({images.size(), classes.size()}, std::int8_t{-1});
    t.images = std::move(images);
    return t;
}

// What a prediction reads.
std::vector<named_files> read_files(predict_options const& o) {
    std::error_code ignored;
    bool const run = fs::is_directory(o.model, ignored);
    std::vector<named_files> all{{"--model", o.model, run ? "a file" : "the file", run ? run_folder::files() : std::vector<std::string>()}, {"--csv", o.csv, "the table"}};
    for (auto const& images : o.images) all.push_back({"--images", images, "an image"});
    return all;
}

// Which images, and the folder that their names begin in, empty where they are paths.
std::pair<std::vector<std::string>, std::string> images_of(predict_options const& o, label_options const& labels) {
    std::error_code ignored;
    bool const folder = o.images.size() == 1 && fs::is_directory(o.images.front(), ignored);
    if (!o.csv.empty()) {
        if (!folder) throw usage_error("--csv needs a folder in --images");
        return {read_images(o.csv, labels.image_column), o.images.front()};
    }
    std::vector<std::string> names;
    if (folder) {
        for (auto const& entry : fs::directory_iterator(o.images.front(), ignored))
            if (data::has_image_name(entry.path()) && !entry.path().filename().string().starts_with('.') && entry.is_regular_file(ignored)) names.push_back(entry.path().filename().string());
        if (ignored) throw io_error(o.images.front() + ": cannot be listed: " + ignored.message());
        if (names.empty()) throw io_error(o.images.front() + ": no .png, .jpg or .jpeg file in this folder");
        std::sort(names.begin(), names.end());
        for (auto const& name : names)
            if (!io::is_utf8(name)) throw io_error(o.images.front() + ": the name of the image '" + name + "' is not UTF-8");
        return {names, o.images.front()};
    }
    std::set<std::string> seen;
    for (auto const& file : o.images) {
        if (!fs::exists(file, ignored)) throw io_error(file + ": no such file, expected an image or a folder of images");
        if (fs::is_directory(file, ignored)) throw io_error(file + ": is a folder, expected a file beside other files");
        require_usage(seen.insert(fs::path(file).lexically_normal().string()).second, "--images: " + file + " is there twice");
        require_usage(io::is_utf8(file), "--images: the name '" + file + "' is not UTF-8");
        names.push_back(file);
    }
    std::sort(names.begin(), names.end());
    return {names, ""};
}

}  // namespace

predictions run_predict(predict_options const& o, label_options const& labels, global_options const& global, console const& out) {
    auto const& backend = find_backend_with_layers(global.backend);
    auto const bf16 = wants_bf16(o.precision, backend);
    check_class_names(labels.classes);
    expect_writable(o.out);
    if (!backend.warning.empty()) out.warn("{}", backend.warning);
    auto model = open_model(o.model, o.given, o.names, labels.classes, global, !o.direct, bf16, out);
    for (auto const& name : labels.classes)
        require_usage(std::find(model.classes.begin(), model.classes.end(), name) != model.classes.end(), "--classes " + name + ": not among the classes of " + model.path);
    auto [names, folder] = images_of(o, labels);
    auto const table = unlabelled(o.csv.empty() ? folder : o.csv, std::move(names), model.classes);
    if (!folder.empty()) data::check_images(table, folder);
    auto loading = loader_options(o.batch, false, 0, static_cast<std::size_t>(global.threads), false);
    loading.notice = warn_once_a_run(out);
    data::loader loader(table, folder, preprocess_for(model.options), loading);

    auto operations = backend.operations;
    std::erase_if(operations, [&](auto const& served) { return served.asked != asked_for::by_layers && !(bf16 && served.asked == asked_for::by_bf16); });
    operations.push_back({"reading and preparing images", no_backend, asked_for::by_layers});
    print_operations(operations, out);
    if (!model.step.empty()) out.print("model {} · step {} · epoch {}", model.path, model.step, model.epoch);
    if (model.step == "0") out.warn("{} was saved before the first step: it predicts with the weights that the training began with", model.path);
    predictions p{o.out, model.classes, table.images, tensor<double, 2>({table.rows(), model.classes.size()})};
    tensor<float, 2> probabilities;
    progress_bar bar(out.shows_progress());
    data::batch batch;
    std::size_t row = 0, done_batches = 0;
    loader.start(0);
    while (loader.next(batch)) {
        auto const n = batch.images.extent(0);
        if (interrupt_requested) throw interruption();
        probabilities.resize({n, model.classes.size()});
        model.network->predict(batch.images.view(), probabilities.view());
        for (std::size_t i = 0; i < n; ++i, ++row)
            for (std::size_t c = 0; c < model.classes.size(); ++c) {
                if (!std::isfinite(probabilities(i, c))) {
                    loader.tell();
                    throw io_error(model.path + ": the probability of " + model.classes[c] + " in " + table.images[row] + " is not finite");
                }
                p.probabilities(row, c) = static_cast<double>(probabilities(i, c));
            }
        bar.update("predict", ++done_batches, loader.batches(), n, "");
    }
    bar.finish();

    // --classes chooses among the model's and orders them.
    if (!labels.classes.empty() && labels.classes != model.classes) {
        predictions chosen{p.path, labels.classes, p.images, tensor<double, 2>({table.rows(), labels.classes.size()})};
        for (std::size_t c = 0; c < labels.classes.size(); ++c) {
            auto const found = std::find(model.classes.begin(), model.classes.end(), labels.classes[c]);
            auto const from = static_cast<std::size_t>(found - model.classes.begin());
            for (std::size_t i = 0; i < table.rows(); ++i) chosen.probabilities(i, c) = p.probabilities(i, from);
        }
        p = std::move(chosen);
    }
    write_atomically(o.out, to_csv(p), atomic_file::when::later);  // predictions can be made again
    out.print("{} of {} on {} in {}", counted(p.images.size(), "prediction", "predictions"), model.path, global.backend, o.out);
    return p;
}

void add_predict(CLI::App& app, chosen_command& chosen) {
    struct options {
        predict_options predict;
        label_options labels;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("predict", "writes the probabilities of images");
    c->add_option("--model", o->predict.model, "run folder, checkpoint or weight file")->required();
    c->add_option("--images", o->predict.images, "folder, or files")->required();
    c->add_option("--csv", o->predict.csv, "label table that says which images of the folder, and their order; default: all, by name");
    c->add_option("--out", o->predict.out, "file for the predictions: Image,<class>,…")->required();
    expect_whole_number(c->add_option("--batch", o->predict.batch, "images at a time")->capture_default_str(), 1, 65536);
    c->add_option("--precision", o->predict.precision, "f32, or bf16: bfloat16 activations, on cuda and simd; probabilities some 1e-3 less exact")->capture_default_str();
    c->add_flag("--direct", o->predict.direct, "convolve without Winograd's filtering, which the backend simd uses: slower, and probabilities some 1e-6 more exact");
    add_planned_option(*c, "--weights-layout", "of a weight file");
    add_model_options(*c, o->predict.given);
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global, backend_use::operations);
    c->callback([o, c, &chosen] {
        o->predict.names = given_options(*c);
        chosen = [o] {
            console const out(o->global);
            out.expect_result(read_files(o->predict), {{"--out", o->predict.out}});
            auto const p = run_predict(o->predict, o->labels, o->global, out);
            json rows = json::array();
            for (std::size_t i = 0; i < p.images.size(); ++i) {
                json row = json::array();
                for (std::size_t k = 0; k < p.classes.size(); ++k) row.push_back(p.probabilities(i, k));
                rows.push_back(row);
            }
            out.result({{"images", p.images}, {"classes", p.classes}, {"probabilities", rows}});
            return done;
        };
    });
}

}  // namespace cxr::trainer
