// SPDX-License-Identifier: Apache-2.0
// `cxr evaluate`: AUROC, AUPRC and, at a threshold, the confusion of predictions.

#include "evaluate.hpp"

#include "data.hpp"
#include "plots.hpp"
#include "stats.hpp"

#include "cxr/core/error.hpp"
#include "cxr/metrics/confusion.hpp"
#include "cxr/metrics/precision_recall.hpp"
#include "cxr/metrics/roc.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <optional>

namespace cxr::trainer {

namespace {

json optional_json(std::optional<double> const& value) { return value ? json(*value) : json(); }
std::string optional_text(std::optional<double> const& value) { return value ? fmt::format("{:.4f}", *value) : std::string("undefined"); }

// A rate of the confusion at a threshold: how it is headed, how JSON calls it, what it is.
struct rate {
    char const *heading, *name;
    std::optional<double> (metrics::confusion::*value)() const;
};
constexpr std::array rates{rate{"sensitivity", "sensitivity", &metrics::confusion::sensitivity}, rate{"specificity", "specificity", &metrics::confusion::specificity},
                           rate{"PPV", "ppv", &metrics::confusion::ppv}, rate{"NPV", "npv", &metrics::confusion::npv}, rate{"F1", "f1", &metrics::confusion::f1}};

// Prints the confusion of each class, and adds it to the classes of `j`.
void report_confusion(double threshold, std::vector<std::string> const& classes, std::vector<metrics::confusion> const& all, json& j, console const& out) {
    std::vector<std::vector<std::string>> text{{fmt::format("score at least {}", threshold), "TP", "FP", "TN", "FN"}};
    for (auto const& r : rates) text[0].emplace_back(r.heading);
    for (std::size_t c = 0; c < classes.size(); ++c) {
        auto const& n = all[c];
        text.push_back({classes[c], std::to_string(n.true_positives), std::to_string(n.false_positives), std::to_string(n.true_negatives), std::to_string(n.false_negatives)});
        auto& at = j["classes"][c];
        at["tp"] = n.true_positives;
        at["fp"] = n.false_positives;
        at["tn"] = n.true_negatives;
        at["fn"] = n.false_negatives;
        for (auto const& r : rates) {
            text.back().push_back(optional_text((n.*r.value)()));
            at[r.name] = optional_json((n.*r.value)());
        }
    }
    std::vector<std::string> means{"mean", "", "", "", ""}, over{"over classes", "", "", "", ""};
    j["threshold"] = threshold;
    for (auto const& r : rates) {
        auto const average = metrics::macro(all, r.value);
        means.push_back(optional_text(average.mean));
        over.push_back(fmt::format("{} of {}", average.over, average.of));
        j[fmt::format("mean_{}", r.name)] = optional_json(average.mean);
        j[fmt::format("mean_{}_over", r.name)] = average.over;
    }
    text.push_back(means);
    text.push_back(over);
    out.print("");
    out.table(text);
}

}  // namespace

json run_evaluate(evaluate_options const& o, label_options const& labels, console const& out) {
    auto const p = read_predictions(o.predictions, labels.image_column);
    auto table = read_table(o.csv, labels);
    std::vector<std::string> missing;
    if (labels.classes.empty()) {
        auto const in = [](std::vector<std::string> const& names, std::string const& name) { return std::find(names.begin(), names.end(), name) != names.end(); };
        for (auto const& name : p.classes)
            if (!in(table.classes, name)) throw io_error(p.path + ": column '" + name + "' is no class of " + o.csv + ", expected Image,<class>,…; --classes names those to evaluate");
        std::vector<std::string> both;
        for (auto const& name : table.classes) (in(p.classes, name) ? both : missing).push_back(name);
        table = data::select_classes(table, both);
    }
    auto const joined = join(table, p);
    auto const rows = joined.probabilities.extent(0);
    view<double const, 2> const probabilities = joined.probabilities.view();
    view<std::int8_t const, 2> const known = joined.labels.view();
    auto const auroc = metrics::auroc_per_class(probabilities, known);
    auto const auprc = metrics::auprc_per_class(probabilities, known);
    // Both are defined for the same classes, those with both values.
    auto const mean = metrics::average_over_classes(auroc), mean_auprc = metrics::average_over_classes(auprc);

    if (!missing.empty()) out.warn("{}: no predictions of {}, of which {} has labels; means are over the other classes", p.path, data::listed(missing), o.csv);
    if (joined.without != 0) out.warn("{} of {} without a prediction left out", counted(joined.without, "row", "rows"), o.csv);
    out.print("{} of {} against {}", counted(rows, "row", "rows"), o.predictions, o.csv);
    std::vector<std::vector<std::string>> text{{"class", "positives", "negatives", "AUROC", "AUPRC"}};
    json j{{"rows", rows}, {"classes", json::array()}};
    for (std::size_t c = 0; c < table.classes.size(); ++c) {
        std::size_t positives = 0, negatives = 0;
        for (std::size_t i = 0; i < rows; ++i) {
            positives += known(i, c) == 1 ? 1U : 0U;
            negatives += known(i, c) == 0 ? 1U : 0U;
        }
        text.push_back({table.classes[c], std::to_string(positives), std::to_string(negatives), optional_text(auroc[c]), optional_text(auprc[c])});
        j["classes"].push_back({{"name", table.classes[c]}, {"positives", positives}, {"negatives", negatives}, {"auroc", optional_json(auroc[c])}, {"auprc", optional_json(auprc[c])}});
    }
    j["mean_auroc"] = optional_json(mean.mean);
    j["mean_over"] = mean.over;
    j["mean_auprc"] = optional_json(mean_auprc.mean);
    if (joined.without != 0) j["rows_without_prediction"] = joined.without;
    text.push_back({mean_over(mean.over, mean.of), "", "", optional_text(mean.mean), optional_text(mean_auprc.mean)});
    out.table(text);
    if (o.threshold) report_confusion(*o.threshold, table.classes, metrics::confusion_per_class(*o.threshold, probabilities, known), j, out);

    if (!o.out.empty()) {
        make_folder(o.out);
        std::vector<roc_line> lines;
        for (std::size_t c = 0; c < table.classes.size(); ++c) {
            if (!auroc[c]) continue;
            auto const curve = metrics::roc(metrics::column(probabilities, c), metrics::column(known, c));
            lines.push_back({table.classes[c], *auroc[c], curve->fpr, curve->tpr});
        }
        plot_roc((std::filesystem::path(o.out) / "roc").string(), lines);
        out.print("plots roc.svg and roc.png in {}", o.out);
    }
    return j;
}

void add_evaluate(CLI::App& app, chosen_command& chosen) {
    add_table_command<evaluate_options>(
        app, chosen, "evaluate", "AUROC and AUPRC of predictions, class by class", backend_use::metrics,
        [](CLI::App& c, evaluate_options& o) {
            c.add_option("--csv", o.csv, "label table")->required();
            c.add_option("--predictions", o.predictions, "table of predictions, as cxr predict writes it")->required();
            c.add_option("--out", o.out, "folder for the plot of the ROC curves");
            c.add_option("--threshold", o.threshold, "also count what this threshold makes of every class: TP, FP, TN, FN, sensitivity, specificity, PPV, NPV, F1; a score of the threshold itself counts as positive")
                ->group("Thresholds");
            add_planned_option(c, "--bootstrap", "intervals from N resamplings");
        },
        [](evaluate_options const& o, label_options const& labels, global_options const&, console const& out) {
            if (o.threshold) require_usage(std::isfinite(*o.threshold), fmt::format("--threshold {}: expected a finite number", *o.threshold));
            out.expect_result({{"--csv", o.csv, "the table"}, {"--predictions", o.predictions, "the table"}}, {{"--out", o.out, "a file", {"roc.svg", "roc.png"}}});
            out.result(run_evaluate(o, labels, out));
            return done;
        });
}

}  // namespace cxr::trainer
