// SPDX-License-Identifier: Apache-2.0
#pragma once
// The frameworks' numbers and images, and how an array of ours is held against one of theirs.

#include "formula.hpp"

#include "cxr/core/tensor.hpp"
#include "cxr/data/image.hpp"
#include "cxr/data/resize.hpp"
#if !defined(CXR_UNPACKED_IMAGES)
#include "cxr/data/png.hpp"
#endif

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <ios>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cxr::golden {

using nlohmann::json;

/// `keras` or `torch`, as extract.py left them, `relatives`, as make_relatives.py did, or `steps`, as make_steps.py did.
inline json read(std::string const& framework) {
    std::ifstream file(CXR_SOURCE_DIR "/tests/golden/" + framework + ".json");
    if (!file) throw std::runtime_error("tests/golden/" + framework + ".json cannot be read");
    return json::parse(file);
}

/// One of the reference's X-rays. Where there is no libpng it is read as unpack.py left it: CXR_UNPACKED_IMAGES names the folder.
inline data::image picture(std::string const& name) {
#if defined(CXR_UNPACKED_IMAGES)
    std::ifstream file(CXR_UNPACKED_IMAGES + name + ".pgm", std::ios::binary);
    std::string kind;
    std::size_t width = 0, height = 0, most = 0;
    if (!(file >> kind >> width >> height >> most) || kind != "P5" || most != 255 || file.get() != '\n') throw std::runtime_error(name + ".pgm cannot be read");
    data::image gray{tensor<std::uint16_t, 3>({height, width, 1}), 8};
    for (auto& pixel : gray.pixels) pixel = static_cast<std::uint16_t>(file.get());
    if (!file) throw std::runtime_error(name + ".pgm is too short");
    return gray;
#else
    return data::read_png(CXR_SOURCE_DIR "/tests/golden/images/" + name);
#endif
}

/// The reference's images at `size` × `size`, as make_torch.py prepares them: nearest, the mean taken off in float32, divided by (deviation + 1e-6) in
/// double. make_keras.py divides in float32, so its input differs by float32's rounding.
template <class T>
tensor<T, 4> inputs(json const& reference, std::size_t size) {
    auto const& names = reference.at("images");
    tensor<T, 4> x({names.size(), size, size, 3});
    for (std::size_t n = 0; n < names.size(); ++n) {
        auto const original = picture(names[n].get<std::string>());
        tensor<float, 3> gray({size, size, 1});
        data::resize(original.pixels.view(), gray.view(), data::interpolation::nearest);
        auto const pixels = static_cast<double>(gray.size());
        double mean = 0, squares = 0, shifted_mean = 0;
        for (float const v : gray) mean += static_cast<double>(v);
        mean /= pixels;
        for (float& v : gray) shifted_mean += static_cast<double>(v -= static_cast<float>(mean));
        shifted_mean /= pixels;
        for (float const v : gray) squares += (static_cast<double>(v) - shifted_mean) * (static_cast<double>(v) - shifted_mean);
        double const deviation = std::sqrt(squares / pixels) + 1e-6;
        for (std::size_t i = 0; i < gray.size(); ++i)
            for (std::size_t c = 0; c < 3; ++c) x[(n * gray.size() + i) * 3 + c] = static_cast<T>(static_cast<double>(gray[i]) / deviation);
    }
    return x;
}

/// How far two arrays are apart of which the reference keeps the norm and the first elements.
struct distance {
    double l2 = 0;     ///< of the norms, relative
    double first = 0;  ///< norm of the difference of the first elements, relative to the reference's
};

/// The distance of `values` from the reference's array.
template <class T>
distance from(json const& array, T const* values, std::size_t n) {
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    auto const first = array.at("first").get<std::vector<double>>();
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < first.size(); ++i) {
        difference += std::pow(static_cast<double>(values[i]) - first[i], 2);
        norm += first[i] * first[i];
    }
    double const l2 = array.at("l2").get<double>();
    return {std::abs(std::sqrt(squares) / l2 - 1), std::sqrt(difference / norm)};
}

/// Distances over many arrays, ours and the framework's own between float32 and float64.
class comparison {
public:
    void add(std::string const& name, distance const& ours, json const& array) {
        l2_.add(name, ours.l2, array.at("l2_noise").get<double>());
        first_.add(name, ours.first, array.at("first_noise").get<double>());
    }

    struct column {
        std::vector<double> ours, theirs;
        std::string worst;
        void add(std::string const& name, double a, double b) {
            if (ours.empty() || !(a <= *std::max_element(ours.begin(), ours.end()))) worst = name;
            ours.push_back(a);
            theirs.push_back(b);
        }
        static double largest(std::vector<double> v) { return *std::max_element(v.begin(), v.end()); }
        static double median(std::vector<double> v) { return quantile(std::move(v), 0.5); }
        static double quantile(std::vector<double> v, double q) {
            std::sort(v.begin(), v.end());
            return v[static_cast<std::size_t>(q * static_cast<double>(v.size()))];
        }
    };
    [[nodiscard]] column const& l2() const { return l2_; }        ///< of norms
    [[nodiscard]] column const& first() const { return first_; }  ///< of first elements
    [[nodiscard]] std::size_t size() const { return l2_.ours.size(); }

private:
    column l2_, first_;
};

}  // namespace cxr::golden
