// SPDX-License-Identifier: Apache-2.0
#pragma once
// The pictures that commands make, each as `path`.svg and `path`.png. All throw `io_error`.

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Positive frequency of each class, as bars.
void plot_class_frequencies(std::string const& path, std::vector<std::string> const& classes, std::vector<double> const& positive);

/// Contribution of positive and negative labels of each class to the loss, before and after weighting: the notebook's two bar charts.
void plot_contributions(std::string const& path, std::vector<std::string> const& classes, std::vector<double> const& positive_before, std::vector<double> const& negative_before,
                        std::vector<double> const& positive_after, std::vector<double> const& negative_after);

/// A square for each pair of classes: the share of the rows with the one (row) that have the other too (column). `share(row, column)`, nothing where no row tells.
void plot_co_occurrence(std::string const& path, std::vector<std::string> const& classes, std::function<std::optional<double>(std::size_t, std::size_t)> const& share);

/// Loss of every step, and of training and validation at the end of each epoch, over steps.
void plot_losses(std::string const& path, std::vector<double> const& steps, std::vector<double> const& losses, std::vector<double> const& epoch_ends, std::vector<double> const& train_losses,
                 std::vector<double> const& valid_losses);

/// Mean validation AUROC over steps; `over` is what `mean_over` says of it.
void plot_auroc(std::string const& path, std::string const& over, std::vector<double> const& steps, std::vector<double> const& auroc);

/// The ROC curve of a class.
struct roc_line {
    std::string name;         ///< of the class
    double auroc;             ///< area under it
    std::vector<double> fpr;  ///< false positive rates
    std::vector<double> tpr;  ///< true positive rates
};

/// ROC curves of several classes, with their areas in the legend.
void plot_roc(std::string const& path, std::vector<roc_line> const& lines);

}  // namespace cxr::trainer
