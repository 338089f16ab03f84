// SPDX-License-Identifier: Apache-2.0
// `cxr demo`: the whole course on the X-rays that come with cxr.

#include "check.hpp"
#include "command.hpp"
#include "console.hpp"
#include "evaluate.hpp"
#include "predict.hpp"
#include "run_folder.hpp"
#include "stats.hpp"
#include "train.hpp"

#include "cxr/core/error.hpp"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

struct demo_options {
    std::string out;
    std::string data;
    std::size_t epochs = 6;
};

// The folder that holds nih-sample: beside the installed executable, else in the source tree.
std::string find_data(std::string const& given) {
    std::vector<fs::path> places;
    if (!given.empty()) {
        places.emplace_back(given);
    } else {
        std::error_code ignored;
        auto const self = fs::read_symlink("/proc/self/exe", ignored);
        if (!ignored) places.push_back((self.parent_path() / CXR_INSTALLED_DATA).lexically_normal());
        places.emplace_back(CXR_SOURCE_DATA);
    }
    std::string looked;
    for (auto const& place : places)
        for (auto const& folder : {place, place / "nih-sample"}) {
            std::error_code ignored;
            if (fs::exists(folder / "train.csv", ignored) && fs::exists(folder / "images", ignored)) return folder.string();
            looked += (looked.empty() ? "" : ", ") + folder.string();
        }
    throw io_error(looked + ": no train.csv and images there; name the folder of the bundled X-rays with --data");
}

int run_demo(demo_options const& o, global_options const& global) {
    auto const began = std::chrono::steady_clock::now();
    console const out(global);
    find_backend_with_layers(global.backend);
    auto const sample = find_data(o.data);
    auto const in = [&](char const* name) { return (fs::path(sample) / name).string(); };
    auto run = o.out;
    // Without --out every demo has a folder of its own.
    if (run.empty()) {
        run = "cxr-demo";
        for (int n = 2; fs::exists(run); ++n) run = "cxr-demo-" + std::to_string(n);
    }
    auto written = run_folder::files();
    for (auto const& plot : class_plots()) written.push_back(plot);
    written.insert(written.end(), {"roc.svg", "roc.png", "test-predictions.csv"});
    out.expect_result({{"--data", sample, "a table", {"train.csv", "valid.csv", "test.csv"}}, {"--data", in("images"), "an image"}}, {{"--out", run, "a file", written}});
    if (run_folder::holds_run(run)) throw io_error(run + ": already holds a run, choose another --out");
    label_options labels;
    // The course's order.
    labels.classes = {"Cardiomegaly", "Emphysema", "Effusion", "Hernia", "Infiltration", "Mass", "Nodule", "Atelectasis", "Pneumothorax", "Pleural_Thickening", "Pneumonia", "Fibrosis", "Edema", "Consolidation"};
    json result;

    out.print("1. How often is each finding there? ({})\n", in("train.csv"));
    auto const statistics = run_stats({in("train.csv"), ""}, labels, global, out);
    out.print("\nRare findings would hardly count in the loss. Weighted by the frequency of the other kind of label, positive and\n"
              "negative labels of every class contribute the same (contribution + and -).");

    out.print("\n2. Is any patient in more than one split?\n");
    auto const leaks = run_check({in("train.csv"), in("valid.csv"), in("test.csv"), ""}, labels, global, out);
    if (auto const course = fs::path(sample).parent_path() / "course-csv"; fs::exists(course / "train-small.csv")) {
        out.print("\nThe tables of the course, looked at in the same way:\n");
        auto const file = [&](char const* name) { return (course / name).string(); };
        result["course_check"] = run_check({file("train-small.csv"), file("valid-small.csv"), file("test.csv"), ""}, labels, global, out);
    }

    auto const epochs = fmt::format("{} epoch{}", o.epochs, o.epochs == 1 ? "" : "s");
    out.print("\n3. DenseNet121 from random weights, {} at 64 × 64 pixels\n", epochs);
    train_options t;
    t.train = in("train.csv");
    t.valid = in("valid.csv");
    t.images = in("images");
    t.out = run;
    t.batch = 16;
    t.epochs = o.epochs;
    t.model.size = 64;
    t.model.resize = "area";
    auto const trained = run_training(t, labels, global, out);
    auto const stopped = [] { return interrupt_requested.load(); };
    result["stats"] = statistics;
    result["check"] = leaks;
    result["train"] = to_json(trained);
    if (trained.end == train::fit_end::stopped || stopped()) {
        out.result(result);
        return interrupted;
    }
    auto const plots = run_stats({in("train.csv"), run}, labels, global, console([&] {
                                     auto silent = global;
                                     silent.quiet = true;
                                     return silent;
                                 }()));

    out.print("\n4. How good is it on patients that it has never seen?\n");
    predict_options p;
    p.model = run;
    p.images = {in("images")};
    p.csv = in("test.csv");
    p.out = (fs::path(run) / "test-predictions.csv").string();
    run_predict(p, label_options{}, global, out);
    if (stopped()) return interrupted;
    out.print("");
    result["evaluate"] = run_evaluate({in("test.csv"), p.out, run}, labels, out);
    auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    result["run"] = run;
    result["seconds"] = seconds;

    out.print("\nAUROC 0.5 is guessing, 1 is perfect. {} images and {} show that training works, not how good the model can be.", statistics.at("rows").get<std::size_t>(), epochs);
    out.print("Done in {:.0f} s. The run with its plots lies in {}", seconds, fs::absolute(run).lexically_normal().string());
    out.print("  class-frequency.svg   contributions.svg   co-occurrence.svg   loss.svg   auroc.svg   roc.svg   (and .png)");
    if (stopped()) return interrupted;
    out.result(result);
    return done;
}

}  // namespace

void add_demo(CLI::App& app, chosen_command& chosen) {
    struct options {
        demo_options demo;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("demo", "the whole course on the bundled X-rays: stats, check, train, evaluate");
    c->add_option("--out", o->demo.out, "folder of the run; default: cxr-demo, or the next that is free");
    c->add_option("--data", o->demo.data, "folder with train.csv, valid.csv, test.csv and images; default: the X-rays that come with cxr");
    expect_whole_number(c->add_option("--epochs", o->demo.epochs, "of the training")->capture_default_str(), 1, 1000);
    add_global_options(*c, o->global, backend_use::operations);
    c->callback([o, &chosen] { chosen = [o] { return run_demo(o->demo, o->global); }; });
}

}  // namespace cxr::trainer
