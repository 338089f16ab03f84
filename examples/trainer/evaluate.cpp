// SPDX-License-Identifier: Apache-2.0
// `cxr evaluate`: AUROC of predictions.

#include "evaluate.hpp"

#include "data.hpp"
#include "plots.hpp"
#include "stats.hpp"

#include "cxr/core/error.hpp"
#include "cxr/metrics/roc.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

namespace cxr::trainer {

namespace {

template <class T>
view<T const, 1> column(view<T const, 2> all, std::size_t c) {
    auto const part = all.slice(1, c, 1);
    return {part.data(), {all.extent(0)}, {all.stride(0)}};
}

}  // namespace

json run_evaluate(evaluate_options const& o, label_options const& labels, console const& out) {
    auto const p = read_predictions(o.predictions, labels.image_column);
    auto wanted = labels;
    if (wanted.classes.empty()) {
        if (auto const strangers = classes_without_labels(o.csv, p.classes); !strangers.empty())
            throw io_error(p.path + ": column '" + strangers.front() + "' is no class of " + o.csv + ", expected Image,<class>,…; --classes names those to evaluate");
        wanted.classes = p.classes;
    }
    auto const table = read_table(o.csv, wanted);
    auto const joined = join(table, p);
    auto const rows = joined.probabilities.extent(0);
    view<double const, 2> const probabilities = joined.probabilities.view();
    view<std::int8_t const, 2> const known = joined.labels.view();
    auto const auroc = metrics::auroc_per_class(probabilities, known);
    auto const mean = metrics::mean_auroc(auroc);
    auto const defined = metrics::defined(auroc);

    if (joined.without != 0) out.warn("{} of {} without a prediction left out", counted(joined.without, "row", "rows"), o.csv);
    out.print("{} of {} against {}", counted(rows, "row", "rows"), o.predictions, o.csv);
    std::vector<std::vector<std::string>> text{{"class", "positives", "negatives", "AUROC"}};
    json j{{"rows", rows}, {"classes", json::array()}};
    for (std::size_t c = 0; c < table.classes.size(); ++c) {
        std::size_t positives = 0, negatives = 0;
        for (std::size_t i = 0; i < rows; ++i) {
            positives += known(i, c) == 1;
            negatives += known(i, c) == 0;
        }
        text.push_back({table.classes[c], std::to_string(positives), std::to_string(negatives), auroc[c] ? fmt::format("{:.4f}", *auroc[c]) : std::string("undefined")});
        j["classes"].push_back({{"name", table.classes[c]}, {"positives", positives}, {"negatives", negatives}, {"auroc", auroc[c] ? json(*auroc[c]) : json()}});
    }
    j["mean_auroc"] = mean ? json(*mean) : json();
    j["mean_over"] = defined;
    if (joined.without != 0) j["rows_without_prediction"] = joined.without;
    text.push_back({fmt::format("mean over {} of {}", defined, counted(table.classes.size(), "class", "classes")), "", "", mean ? fmt::format("{:.4f}", *mean) : std::string("undefined")});
    out.table(text);

    if (!o.out.empty()) {
        make_folder(o.out);
        std::vector<roc_line> lines;
        for (std::size_t c = 0; c < table.classes.size(); ++c) {
            if (!auroc[c]) continue;
            auto const curve = metrics::roc(column(probabilities, c), column(known, c));
            lines.push_back({table.classes[c], *auroc[c], curve->fpr, curve->tpr});
        }
        plot_roc((std::filesystem::path(o.out) / "roc").string(), lines);
        out.print("plots roc.svg and roc.png in {}", o.out);
    }
    return j;
}

void add_evaluate(CLI::App& app, chosen_command& chosen) {
    struct options {
        evaluate_options evaluate;
        label_options labels;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("evaluate", "AUROC of predictions, class by class");
    c->add_option("--csv", o->evaluate.csv, "label table")->required();
    c->add_option("--predictions", o->evaluate.predictions, "table of predictions, as cxr predict writes it")->required();
    c->add_option("--out", o->evaluate.out, "folder for the plot of the ROC curves");
    add_planned_option(*c, "--bootstrap", "intervals from N resamplings");
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global);
    c->callback([o, &chosen] {
        chosen = [o] {
            console const out(o->global);
            out.expect_result(o->evaluate.out);
            out.result(run_evaluate(o->evaluate, o->labels, out));
            return done;
        };
    });
}

}  // namespace cxr::trainer
