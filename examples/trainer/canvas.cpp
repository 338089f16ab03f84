// SPDX-License-Identifier: Apache-2.0
#include "canvas.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"

#include <cairo-svg.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cxr::trainer {

canvas::canvas(cairo_surface_t* surface) : cr_(cairo_create(surface), cairo_destroy) {
    cairo_select_font_face(cr_.get(), "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_source_rgb(cr_.get(), 1, 1, 1);
    cairo_paint(cr_.get());
}

void canvas::rectangle(point corner, double width, double height, colour c) {
    use(c);
    cairo_rectangle(cr_.get(), corner.x, corner.y, width, height);
    cairo_fill(cr_.get());
}

void canvas::line(std::vector<point> const& points, colour c, double width, bool dashed) {
    use(c);
    double const dash = 6;
    cairo_set_dash(cr_.get(), &dash, dashed ? 1 : 0, 0);
    cairo_set_line_width(cr_.get(), width);
    cairo_set_line_join(cr_.get(), CAIRO_LINE_JOIN_ROUND);
    for (std::size_t i = 0; i < points.size(); ++i) (i == 0 ? cairo_move_to : cairo_line_to)(cr_.get(), points[i].x, points[i].y);
    cairo_stroke(cr_.get());
}

void canvas::text(point at, std::string const& words, double size, double anchor, double turn) {
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

namespace {

cairo_status_t append(void* text, unsigned char const* data, unsigned length) {
    static_cast<std::string*>(text)->append(reinterpret_cast<char const*>(data), length);
    return CAIRO_STATUS_SUCCESS;
}

using surface = std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)>;

/// The multiples of 1, 2 or 5 times a power of ten that lie in a range: about so many.
std::vector<double> ticks(std::array<double, 2> range, double many) {
    double const raw = std::max(range[1] - range[0], 1e-12) / many, power = std::pow(10, std::floor(std::log10(raw)));
    double step = 10 * power;
    for (double const m : {5.0, 2.0, 1.0})
        if (m * power >= raw) step = m * power;
    std::vector<double> all;
    double const first = std::ceil(range[0] / step - 1e-9), last = std::floor(range[1] / step + 1e-9);
    for (int i = 0; i < 2 * many && first + i <= last; ++i) all.push_back((first + i) * step);  // few, even where numbers have no digits left for the step
    return all;
}

}  // namespace

void write_picture(std::string const& path, double width, double height, std::function<void(canvas&)> const& draw) {
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
    write_atomically(path + ".svg", svg);
    write_atomically(path + ".png", png);
}

panel::panel(canvas& c, point corner, double width, double height, std::array<double, 2> x, std::array<double, 2> y) : c_(c), corner_(corner), width_(width), height_(height), x_(x), y_(y) {
    if (x_[0] == x_[1]) x_[1] += 1;
    if (y_[0] == y_[1]) y_[1] += 1;
}

point panel::at(double x, double y) const {
    return {corner_.x + (x - x_[0]) / (x_[1] - x_[0]) * width_, corner_.y + height_ - (y - y_[0]) / (y_[1] - y_[0]) * height_};
}

void panel::title(std::string const& words) { c_.text({corner_.x + width_ / 2, corner_.y - 14}, words, 17, 0.5); }

void panel::y_axis(std::string const& label) {
    for (double const v : ticks(y_, 6)) {
        c_.line({at(x_[0], v), at(x_[1], v)}, {0.88, 0.88, 0.88});
        c_.text({corner_.x - 8, at(0, v).y + 4}, fmt::format("{:.3g}", v), 12, 1);
    }
    c_.text({corner_.x - 52, corner_.y + height_ / 2}, label, 13, 0.5, -90);
}

void panel::x_axis(std::string const& label) {
    for (double const v : ticks(x_, 8)) {
        c_.line({at(v, y_[0]), at(v, y_[1])}, {0.94, 0.94, 0.94});
        c_.text({at(v, 0).x, corner_.y + height_ + 18}, fmt::format("{:.4g}", v), 12, 0.5);
    }
    c_.text({corner_.x + width_ / 2, corner_.y + height_ + 42}, label, 13, 0.5);
}

void panel::y_decades(std::string const& label, std::function<std::string(int)> const& names) {
    for (int e = static_cast<int>(std::ceil(y_[0])); e <= y_[1]; ++e) {
        c_.line({at(x_[0], e), at(x_[1], e)}, {0.88, 0.88, 0.88});
        c_.text({corner_.x - 8, at(0, e).y + 4}, names(e), 12, 1);
    }
    if (!label.empty()) c_.text({corner_.x - 62, corner_.y + height_ / 2}, label, 13, 0.5, -90);
}

void panel::x_decades(std::string const& label, std::function<std::string(int)> const& names) {
    for (int e = static_cast<int>(std::ceil(x_[0])); e <= x_[1]; ++e) {
        c_.line({at(e, y_[0]), at(e, y_[1])}, {0.94, 0.94, 0.94});
        c_.text({at(e, 0).x, corner_.y + height_ + 18}, names(e), 12, 0.5);
    }
    c_.text({corner_.x + width_ / 2, corner_.y + height_ + 42}, label, 13, 0.5);
}

void panel::frame() { c_.line({at(x_[0], y_[1]), at(x_[0], y_[0]), at(x_[1], y_[0])}, {0.3, 0.3, 0.3}, 1.2); }

void panel::bars(std::vector<std::string> const& names, std::vector<std::vector<double> const*> const& series, std::vector<colour> const& colours) {
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

void panel::curve(std::vector<double> const& x, std::vector<double> const& y, colour c, double width, bool dashed) {
    std::vector<point> points;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (std::isfinite(y[i])) points.push_back(at(x[i], y[i]));
    c_.line(points, c, width, dashed);
    if (width >= 2 && points.size() <= 60)
        for (auto const& p : points) c_.rectangle({p.x - 2.5, p.y - 2.5}, 5, 5, c);
}

void panel::legend(point start, std::size_t row, std::string const& words, colour c, bool dashed) {
    double const y = start.y + 19 * static_cast<double>(row);
    c_.line({{start.x, y - 4}, {start.x + 24, y - 4}}, c, 3, dashed);
    c_.text({start.x + 31, y}, words, 12);
}

}  // namespace cxr::trainer
