// SPDX-License-Identifier: Apache-2.0
// `cxr predict`: probabilities of images.

#include "predict.hpp"

#include "progress.hpp"

#include "cxr/core/error.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <limits>
#include <memory>
#include <utility>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

bool is_png(fs::path const& p) {
    auto extension = p.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return extension == ".png";
}

// A table without known labels: the loader wants one.
data::label_table unlabelled(std::vector<std::string> images, std::vector<std::string> const& classes) {
    data::label_table t;
    t.path = "the images";
    t.classes = classes;
    t.labels = tensor<std::int8_t, 2>({images.size(), classes.size()}, std::int8_t{-1});
    t.images = std::move(images);
    return t;
}

// Which images, and the folder that their names begin in.
std::pair<std::vector<std::string>, std::string> images_of(predict_options const& o, label_options const& labels) {
    std::error_code ignored;
    bool const folder = o.images.size() == 1 && fs::is_directory(o.images.front(), ignored);
    if (!o.csv.empty()) {
        if (!folder) throw usage_error("--csv needs a folder in --images");
        // The table only says which images; its classes may be others than the model's.
        auto any = labels;
        any.classes.clear();
        return {read_table(o.csv, any).images, o.images.front()};
    }
    std::vector<std::string> names;
    if (folder) {
        for (auto const& entry : fs::directory_iterator(o.images.front(), ignored))
            if (is_png(entry.path())) names.push_back(entry.path().filename().string());
        if (ignored) throw io_error(o.images.front() + ": cannot be listed: " + ignored.message());
        if (names.empty()) throw io_error(o.images.front() + ": no .png file in this folder");
        std::sort(names.begin(), names.end());
        return {names, o.images.front()};
    }
    for (auto const& file : o.images) {
        if (!fs::exists(file, ignored)) throw io_error(file + ": no such file, expected an image or a folder of images");
        if (fs::is_directory(file, ignored)) throw io_error(file + ": is a folder, expected a file beside other files");
        names.push_back(file);
    }
    std::sort(names.begin(), names.end());
    return {names, "."};
}

}  // namespace

predictions run_predict(predict_options const& o, label_options const& labels, global_options const& global, console const& out) {
    require_usage(o.batch >= 1 && o.batch <= 65536, "--batch " + std::to_string(o.batch) + ": expected 1 to 65536");
    find_backend_with_layers(global.backend);
    auto model = open_model(o.model, o.given, labels.classes, global);
    auto [names, folder] = images_of(o, labels);
    auto const table = unlabelled(std::move(names), model.classes);
    data::check_images(table, folder);
    data::loader loader(table, folder, preprocess_for(model.options), loader_options(o.batch, false, 0, static_cast<std::size_t>(global.threads), false));

    predictions p{o.out, model.classes, table.images, tensor<float, 2>({table.rows(), model.classes.size()})};
    progress_bar bar(out.shows_progress());
    data::batch batch;
    std::size_t row = 0, done_batches = 0;
    loader.start(0);
    while (loader.next(batch)) {
        auto const n = batch.images.extent(0);
        model.network->predict(batch.images.view(), p.probabilities.view().slice(0, row, n));
        row += n;
        bar.update("predict", ++done_batches, loader.batches(), n, "");
    }
    bar.finish();

    // --classes chooses among the model's and orders them.
    if (!labels.classes.empty() && labels.classes != model.classes) {
        predictions chosen{p.path, labels.classes, p.images, tensor<float, 2>({table.rows(), labels.classes.size()})};
        for (std::size_t c = 0; c < labels.classes.size(); ++c) {
            auto const found = std::find(model.classes.begin(), model.classes.end(), labels.classes[c]);
            if (found == model.classes.end()) throw usage_error("--classes " + labels.classes[c] + ": not among the classes of " + model.path);
            auto const from = static_cast<std::size_t>(found - model.classes.begin());
            for (std::size_t i = 0; i < table.rows(); ++i) chosen.probabilities(i, c) = p.probabilities(i, from);
        }
        p = std::move(chosen);
    }
    write_text(o.out, to_csv(p));
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
    c->add_option("--batch", o->predict.batch, "images at a time")->capture_default_str();
    add_planned_option(*c, "--weights-layout", "of a weight file");
    add_model_options(*c, o->predict.given);
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global);
    c->callback([o, &chosen] {
        chosen = [o] {
            console const out(o->global);
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
