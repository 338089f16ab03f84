// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the plots are drawn with: a canvas that is an SVG and a PNG picture alike, and panels with axes on it.

#include <cairo.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Red, green and blue in [0, 1].
struct colour {
    double red, green, blue;
};

// Okabe and Ito's palette, which the colour-blind can tell apart.
inline constexpr colour blue{0.00, 0.45, 0.70}, orange{0.90, 0.62, 0.00}, green{0.00, 0.62, 0.45}, vermilion{0.84, 0.37, 0.00}, gray{0.60, 0.60, 0.60};
/// Its colours for several lines.
inline constexpr std::array<colour, 7> palette{blue, orange, green, vermilion, colour{0.80, 0.47, 0.65}, colour{0.34, 0.71, 0.91}, colour{0.35, 0.35, 0.35}};

/// Pixels from the upper left corner.
struct point {
    double x, y;
};

/// One picture: the same calls draw it on an SVG and on a PNG surface.
class canvas {
public:
    /// Draws on `surface`, which is white from now on.
    explicit canvas(cairo_surface_t* surface);

    /// A filled rectangle.
    void rectangle(point corner, double width, double height, colour c);
    /// Lines from point to point.
    void line(std::vector<point> const& points, colour c, double width = 1, bool dashed = false);
    /// `anchor`: the share of the text's width that lies left of the point. `turn` in degrees, clockwise.
    void text(point at, std::string const& words, double size, double anchor = 0, double turn = 0);

private:
    void use(colour c) { cairo_set_source_rgb(cr_.get(), c.red, c.green, c.blue); }

    std::unique_ptr<cairo_t, decltype(&cairo_destroy)> cr_;
};

/// Writes `path`.svg and `path`.png of what `draw` draws. Throws `io_error`.
void write_picture(std::string const& path, double width, double height, std::function<void(canvas&)> const& draw);

/// A rectangle of data coordinates with grid, ticks and labels.
class panel {
public:
    /// From `corner`, with the smallest and largest data coordinates; those of axes of decades are decimal logarithms.
    panel(canvas& c, point corner, double width, double height, std::array<double, 2> x, std::array<double, 2> y);

    /// Where data coordinates lie.
    [[nodiscard]] point at(double x, double y) const;
    /// Words above.
    void title(std::string const& words);
    /// Ticks at round numbers.
    void y_axis(std::string const& label);
    /// Ticks at round numbers.
    void x_axis(std::string const& label);
    /// Ticks at powers of ten; `names` turns an exponent into words.
    void y_decades(std::string const& label, std::function<std::string(int)> const& names);
    /// The same below.
    void x_decades(std::string const& label, std::function<std::string(int)> const& names);
    /// The two axes as lines.
    void frame();
    /// Groups of bars over named places 0, 1, …; the names are turned.
    void bars(std::vector<std::string> const& names, std::vector<std::vector<double> const*> const& series, std::vector<colour> const& colours);
    /// A line with its points marked where there are not many; what is not finite is left out.
    void curve(std::vector<double> const& x, std::vector<double> const& y, colour c, double width = 2, bool dashed = false);
    /// Entry `row` of a legend whose first row begins at this point.
    void legend(point start, std::size_t row, std::string const& words, colour c, bool dashed = false);

private:
    canvas& c_;
    point corner_;
    double width_, height_;
    std::array<double, 2> x_, y_;
};

}  // namespace cxr::trainer
