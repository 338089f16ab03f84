// SPDX-License-Identifier: Apache-2.0
#include "plots.hpp"

#include "cxr/core/error.hpp"
#include "cxr/io/atomic_file.hpp"

#include <cairo-svg.h>
#include <cairo.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <numbers>

namespace cxr::trainer {

namespace {

struct colour {
    double red, green, blue;
};

// Okabe and Ito's palette, which the colour-blind can tell apart.
constexpr colour blue{0.00, 0.45, 0.70}, orange{0.90, 0.62, 0.00}, green{0.00, 0.62, 0.45}, vermilion{0.84, 0.37, 0.00}, gray{0.60, 0.60, 0.60};
constexpr std::array<colour, 7> palette{blue, orange, green, vermilion, colour{0.80, 0.47, 0.65}, colour{0.34, 0.71, 0.91}, colour{0.35, 0.35, 0.35}};

struct point {
    double x, y;
};

/// One picture: the same calls draw it on an SVG and on a PNG surface.
class canvas {
public:
    explicit canvas(cairo_surface_t* surface) : cr_(cairo_create(surface), cairo_destroy) {
        cairo_select_font_face(cr_.get(), "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
        cairo_set_source_rgb(cr_.get(), 1, 1, 1);
        cairo_paint(cr_.get());
    }

    void rectangle(point corner, double width, double height, colour c) {
        use(c);
        cairo_rectangle(cr_.get(), corner.x, corner.y, width, height);
        cairo_fill(cr_.get());
    }

    void line(std::vector<point> const& points, colour c, double width = 1, bool dashed = false) {
        use(c);
        double const dash = 6;
        cairo_set_dash(cr_.get(), &dash, dashed ? 1 : 0, 0);
        cairo_set_line_width(cr_.get(), width);
        cairo_set_line_join(cr_.get(), CAIRO_LINE_JOIN_ROUND);
        for (std::size_t i = 0; i < points.size(); ++i) (i == 0 ? cairo_move_to : cairo_line_to)(cr_.get(), points[i].x, points[i].y);
        cairo_stroke(cr_.get());
    }

    /// `anchor`: the share of the text's width that lies left of the point. `turn` in degrees, clockwise.
    void text(point at, std::string const& words, double size, double anchor = 0, double turn = 0) {
        use({0.13, 0.13, 0.13});
        cairo_set_font_size(cr_.get(), size);
        cairo_text_extents_t extents;
        cairo_text_extents(cr_.get(), words.c_str(), &extents);
        cairo_save(cr_.get());
        cairo_translate(cr_.get(), at.x, at.y);
        cairo_rotate(cr_.get(), turn * std::numbers::pi / 180);
        cairo_move_to(cr_.get(), -anchor * extents.x_advance, 0);
        cairo_show_text(cr_.get(), words.c_str());
        cairo_restore(cr_.get());
    }

private:
    void use(colour c) { cairo_set_source_rgb(cr_.get(), c.red, c.green, c.blue); }

    std::unique_ptr<cairo_t, decltype(&cairo_destroy)> cr_;
};

cairo_status_t append(void* text, unsigned char const* data, unsigned length) {
    static_cast<std::string*>(text)->append(reinterpret_cast<char const*>(data), length);
    return CAIRO_STATUS_SUCCESS;
}

using surface = std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)>;

/// Writes `path`.svg and `path`.png of what `draw` draws.
void write(std::string const& path, double width, double height, std::function<void(canvas&)> const& draw) {
    auto const check = [&](cairo_status_t status) {
        if (status != CAIRO_STATUS_SUCCESS) throw io_error(path + ": the plot cannot be drawn: " + cairo_status_to_string(status));
    };
    std::string svg, png;
    {
        surface const s(cairo_svg_surface_create_for_stream(append, &svg, width, height), cairo_surface_destroy);
        {
            canvas c(s.get());
            draw(c);
        }
        cairo_surface_finish(s.get());
        check(cairo_surface_status(s.get()));
    }
    {
        surface const s(cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width), static_cast<int>(height)), cairo_surface_destroy);
        {
            canvas c(s.get());
            draw(c);
        }
        check(cairo_surface_write_to_png_stream(s.get(), append, &png));
    }
    io::write_atomically(path + ".svg", svg);
    io::write_atomically(path + ".png", png);
}

/// A step for ticks: 1, 2 or 5 times a power of ten, about `ticks` of them over `range`.
double tick_step(double range, double ticks) {
    double const raw = std::max(range, 1e-12) / ticks, power = std::pow(10, std::floor(std::log10(raw)));
    for (double const m : {1.0, 2.0, 5.0})
        if (m * power >= raw) return m * power;
    return 10 * power;
}

/// A rectangle of data coordinates with grid, ticks and labels.
class panel {
public:
    panel(canvas& c, point corner, double width, double height, std::array<double, 2> x, std::array<double, 2> y) : c_(c), corner_(corner), width_(width), height_(height), x_(x), y_(y) {
        if (x_[0] == x_[1]) x_[1] += 1;
        if (y_[0] == y_[1]) y_[1] += 1;
    }

    [[nodiscard]] point at(double x, double y) const {
        return {corner_.x + (x - x_[0]) / (x_[1] - x_[0]) * width_, corner_.y + height_ - (y - y_[0]) / (y_[1] - y_[0]) * height_};
    }

    void title(std::string const& words) { c_.text({corner_.x + width_ / 2, corner_.y - 14}, words, 17, 0.5); }

    void y_axis(std::string const& label) {
        double const step = tick_step(y_[1] - y_[0], 6);
        for (double v = std::ceil(y_[0] / step - 1e-9) * step; v <= y_[1] + step * 1e-9; v += step) {
            c_.line({at(x_[0], v), at(x_[1], v)}, {0.88, 0.88, 0.88});
            c_.text({corner_.x - 8, at(0, v).y + 4}, fmt::format("{:.3g}", std::abs(v) < step / 1000 ? 0.0 : v), 12, 1);
        }
        c_.text({corner_.x - 52, corner_.y + height_ / 2}, label, 13, 0.5, -90);
    }

    void x_axis(std::string const& label) {
        double const step = tick_step(x_[1] - x_[0], 8);
        for (double v = std::ceil(x_[0] / step - 1e-9) * step; v <= x_[1] + step * 1e-9; v += step) {
            c_.line({at(v, y_[0]), at(v, y_[1])}, {0.94, 0.94, 0.94});
            c_.text({at(v, 0).x, corner_.y + height_ + 18}, fmt::format("{:.4g}", std::abs(v) < step / 1000 ? 0.0 : v), 12, 0.5);
        }
        c_.text({corner_.x + width_ / 2, corner_.y + height_ + 42}, label, 13, 0.5);
    }

    void frame() { c_.line({at(x_[0], y_[1]), at(x_[0], y_[0]), at(x_[1], y_[0])}, {0.3, 0.3, 0.3}, 1.2); }

    /// Groups of bars over named places 0, 1, …; the names are turned.
    void bars(std::vector<std::string> const& names, std::vector<std::vector<double> const*> const& series, std::vector<colour> const& colours) {
        double const width = 0.8 / static_cast<double>(series.size());
        for (std::size_t i = 0; i < names.size(); ++i) {
            for (std::size_t s = 0; s < series.size(); ++s) {
                auto const top = at(static_cast<double>(i) - 0.4 + static_cast<double>(s) * width, (*series[s])[i]), foot = at(static_cast<double>(i) - 0.4 + static_cast<double>(s + 1) * width, 0);
                c_.rectangle(top, foot.x - top.x - 1, foot.y - top.y, colours[s]);
            }
            auto name = names[i];
            std::replace(name.begin(), name.end(), '_', ' ');
            c_.text({at(static_cast<double>(i), 0).x + 5, corner_.y + height_ + 16}, name, 12, 1, -40);
        }
    }

    void curve(std::vector<double> const& x, std::vector<double> const& y, colour c, double width = 2, bool dashed = false) {
        std::vector<point> points;
        for (std::size_t i = 0; i < x.size(); ++i)
            if (std::isfinite(y[i])) points.push_back(at(x[i], y[i]));
        c_.line(points, c, width, dashed);
        if (width >= 2 && points.size() <= 60)
            for (auto const& p : points) c_.rectangle({p.x - 2.5, p.y - 2.5}, 5, 5, c);
    }

    /// Entry `row` of a legend whose first row begins at this point.
    void legend(point start, std::size_t row, std::string const& words, colour c, bool dashed = false) {
        double const y = start.y + 19 * static_cast<double>(row);
        c_.line({{start.x, y - 4}, {start.x + 24, y - 4}}, c, 3, dashed);
        c_.text({start.x + 31, y}, words, 12);
    }

private:
    canvas& c_;
    point corner_;
    double width_, height_;
    std::array<double, 2> x_, y_;
};

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
    write(path, width, 560, [&](canvas& c) {
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
    write(path, 2 * each + 220, 560, [&](canvas& c) {
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

void plot_losses(std::string const& path, std::vector<double> const& steps, std::vector<double> const& losses, std::vector<double> const& epoch_ends, std::vector<double> const& train_losses,
                 std::vector<double> const& valid_losses) {
    write(path, 960, 560, [&](canvas& c) {
        panel p(c, {90, 50}, 830, 430, {0, largest({&steps, &epoch_ends})}, {0, 1.05 * largest({&losses, &train_losses, &valid_losses})});
        p.title("Loss");
        p.y_axis("weighted cross-entropy, sum over classes");
        p.x_axis("step");
        p.curve(steps, losses, gray, 1);
        p.curve(epoch_ends, train_losses, blue);
        p.curve(epoch_ends, valid_losses, vermilion);
        p.frame();
        p.legend({700, 75}, 0, "a training batch", gray);
        p.legend({700, 75}, 1, "training, mean of the epoch", blue);
        p.legend({700, 75}, 2, "validation", vermilion);
    });
}

void plot_auroc(std::string const& path, std::vector<double> const& steps, std::vector<double> const& auroc) {
    write(path, 960, 560, [&](canvas& c) {
        double low = 0.5;
        for (double const a : auroc)
            if (std::isfinite(a)) low = std::min(low, a);
        panel p(c, {90, 50}, 830, 430, {0, largest({&steps})}, {std::floor(low * 10) / 10, 1});
        p.title("Mean AUROC on the validation set");
        p.y_axis("AUROC");
        p.x_axis("step");
        p.curve(steps, auroc, blue);
        p.frame();
    });
}

void plot_roc(std::string const& path, std::vector<roc_line> const& lines) {
    double const height = std::max(660.0, 120 + 19 * static_cast<double>(lines.size()));
    write(path, 920, height, [&](canvas& c) {
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
