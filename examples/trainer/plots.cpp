// SPDX-License-Identifier: Apache-2.0
#include "plots.hpp"

#include "canvas.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

namespace cxr::trainer {

namespace {

double largest(std::initializer_list<std::vector<double> const*> all) {
    double top = 0;
    for (auto const* const v : all)
        for (double const x : *v)
            if (std::isfinite(x)) top = std::max(top, x);
    return top;
}

}  // namespace

void plot_class_frequencies(std::string const& path, std::vector<std::string> const& classes, std::vector<double> const& positive) {
    double const width = std::max(640.0, 150 + 56 * static_cast<double>(classes.size()));
    write_picture(path, width, 560, [&](canvas& c) {
        panel p(c, {90, 50}, width - 120, 370, {-0.6, static_cast<double>(classes.size()) - 0.4}, {0, 1.08 * largest({&positive})});
        p.title("Positive labels of each class");
        p.y_axis("share of the labelled images");
        p.bars(classes, {&positive}, {blue});
        p.frame();
    });
}

void plot_contributions(std::string const& path, std::vector<std::string> const& classes, std::vector<double> const& positive_before, std::vector<double> const& negative_before,
                        std::vector<double> const& positive_after, std::vector<double> const& negative_after) {
    double const each = std::max(480.0, 44 * static_cast<double>(classes.size()));
    write_picture(path, 2 * each + 220, 560, [&](canvas& c) {
        auto const draw = [&](double left, char const* title, std::vector<double> const& positive, std::vector<double> const& negative) {
            panel p(c, {left, 60}, each, 360, {-0.6, static_cast<double>(classes.size()) - 0.4}, {0, 1.08 * largest({&positive, &negative})});
            p.title(title);
            p.y_axis("contribution to the loss");
            p.bars(classes, {&positive, &negative}, {blue, orange});
            p.frame();
            p.legend({left + each - 150, 536}, 0, "positive labels", blue);
            p.legend({left + each - 310, 536}, 0, "negative labels", orange);
        };
        draw(90, "Before weighting", positive_before, negative_before);
        draw(each + 190, "After weighting (another scale)", positive_after, negative_after);
    });
}

void plot_co_occurrence(std::string const& path, std::vector<std::string> const& classes, std::function<std::optional<double>(std::size_t, std::size_t)> const& share) {
    double const cell = 40, left = 190, top = 60, side = cell * static_cast<double>(classes.size());
    write_picture(path, left + side + 50, top + side + 140, [&](canvas& c) {
        c.text({left, 34}, "Of the rows with the finding on the left, how many percent have the one below", 14);
        for (std::size_t a = 0; a < classes.size(); ++a) {
            double const along = cell * static_cast<double>(a);
            auto name = classes[a];
            std::replace(name.begin(), name.end(), '_', ' ');
            c.text({left - 8, top + along + cell / 2 + 4}, name, 12, 1);
            c.text({left + along + cell / 2 + 5, top + side + 16}, name, 12, 1, -40);
            for (std::size_t b = 0; b < classes.size(); ++b) {
                auto const part = share(a, b);
                // White is none, blue is all.
                auto const towards = [&](double full) { return part ? 1 - *part * (1 - full) : 1; };
                point const corner{left + cell * static_cast<double>(b), top + along};
                c.rectangle(corner, cell - 1, cell - 1, a == b ? gray : colour{towards(blue.red), towards(blue.green), towards(blue.blue)});
                if (a != b && part) c.text({corner.x + cell / 2, corner.y + cell / 2 + 4}, fmt::format("{:.0f}", 100 * *part), 12, 0.5);
            }
        }
    });
}

void plot_losses(std::string const& path, std::vector<double> const& steps, std::vector<double> const& losses, std::vector<double> const& epoch_ends, std::vector<double> const& train_losses,
                 std::vector<double> const& valid_losses) {
    write_picture(path, 960, 560, [&](canvas& c) {
        panel p(c, {90, 50}, 830, 430, {0, largest({&steps, &epoch_ends})}, {0, 1.05 * largest({&losses, &train_losses, &valid_losses})});
        p.title("Loss");
        p.y_axis("weighted cross-entropy, sum over classes");
        p.x_axis("step");
        p.curve(steps, losses, gray, 1);
        p.curve(epoch_ends, train_losses, blue);
        p.curve(epoch_ends, valid_losses, vermilion);
        p.frame();
        p.legend({430, 542}, 0, "a training batch", gray);
        p.legend({585, 542}, 0, "training, mean of the epoch", blue);
        p.legend({810, 542}, 0, "validation", vermilion);
    });
}

void plot_auroc(std::string const& path, std::string const& over, std::vector<double> const& steps, std::vector<double> const& auroc) {
    write_picture(path, 960, 560, [&](canvas& c) {
        double low = 0.5;
        for (double const a : auroc)
            if (std::isfinite(a)) low = std::min(low, a);
        panel p(c, {90, 50}, 830, 430, {0, largest({&steps})}, {std::floor(low * 10) / 10, 1});
        p.title("AUROC on the validation set, " + over);
        p.y_axis("AUROC");
        p.x_axis("step");
        p.curve(steps, auroc, blue);
        p.frame();
    });
}

void plot_roc(std::string const& path, std::vector<roc_line> const& lines) {
    double const height = std::max(660.0, 120 + 19 * static_cast<double>(lines.size()));
    write_picture(path, 920, height, [&](canvas& c) {
        panel p(c, {80, 50}, 540, 540, {0, 1}, {0, 1});
        p.title("ROC curves");
        p.y_axis("sensitivity");
        p.x_axis("1 − specificity");
        p.curve({0, 1}, {0, 1}, gray, 1, true);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            auto name = lines[i].name;
            std::replace(name.begin(), name.end(), '_', ' ');
            bool const dashed = i >= palette.size();  // a colour's second line
            p.curve(lines[i].fpr, lines[i].tpr, palette[i % palette.size()], 1.6, dashed);
            p.legend({645, 70}, i, fmt::format("{} {:.3f}", name, lines[i].auroc), palette[i % palette.size()], dashed);
        }
        p.frame();
    });
}

}  // namespace cxr::trainer
