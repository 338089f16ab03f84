// SPDX-License-Identifier: Apache-2.0
// The assignment of week 1 of the course "AI for Medical Diagnosis", under the headings of its notebook, to be laid beside it.
// The course's label tables are here in full; its images are not, so where pixels are needed a small bundled sample stands in.

#include "cxr/backend/onednn/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/leakage.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/data/png.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/stats/contributions.hpp"
#include "cxr/train/network.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace {

using backend = cxr::onednn_backend;
using cxr::data::label_table;
using cxr::stats::class_frequencies;

std::string const course = CXR_SOURCE_DIR "/examples/data/course-csv/", sample = CXR_SOURCE_DIR "/examples/data/nih-sample/";

// The order of the model's outputs, which is not that of the tables' columns.
std::vector<std::string> const labels{
    "Cardiomegaly", "Emphysema", "Effusion", "Hernia", "Infiltration", "Mass", "Nodule",
    "Atelectasis", "Pneumothorax", "Pleural_Thickening", "Pneumonia", "Fibrosis", "Edema", "Consolidation"};

void expect(bool fact, char const* what) {
    if (!fact) throw std::runtime_error(std::string("not as expected: ") + what);
}

label_table read(std::string const& path) { return cxr::data::read_label_table(path, {.classes = labels}); }
void print(char const* name, std::vector<double> const& numbers) {
    std::printf("%-12s", name);
    for (double const x : numbers) std::printf(" %.3f", x);
    std::puts("");
}

void loading(label_table const& train, label_table const& valid, label_table const& test) {
    std::printf("\n2.1 Loading the Data\ntrain %zu rows, valid %zu, test %zu\n", train.rows(), valid.rows(), test.rows());
    for (std::size_t i = 0; i < 5; ++i) {
        std::printf("%s  patient %5s ", train.images[i].c_str(), train.patients[i].c_str());
        for (std::size_t c = 0; c < labels.size(); ++c)
            if (train.labels(i, c) == 1) std::printf(" %s", labels[c].c_str());
        std::puts("");
    }
    expect(train.rows() == 1000 && valid.rows() == 200 && test.rows() == 420, "1000, 200 and 420 rows");
}

void leakage(label_table const& train, label_table const& valid, label_table const& test) {
    std::printf("\n2.2 Preventing Data Leakage\n");
    label_table df1, df2, df3;
    df1.patients = {"0", "1", "2"}, df2.patients = {"2", "3", "4"}, df3.patients = {"3", "4", "5"};
    bool const first = find_leak(df1, df2).any(), second = find_leak(df1, df3).any();
    std::printf("test case 1: %s\ntest case 2: %s\n", first ? "True" : "False", second ? "True" : "False");
    expect(first && !second, "True, then False");

    auto const shared = [](auto const& a, auto const& b) { return find_leak(a, b).patients.size(); };
    std::size_t const tv = shared(train, valid), ts = shared(train, test), vs = shared(valid, test);
    std::printf("shared patients: train and valid %zu, train and test %zu, valid and test %zu\n", tv, ts, vs);
    expect(tv == 197 && ts == 0 && vs == 0, "197 shared patients, 0 and 0");
}

void preparing() {
    std::printf("\n2.3 Preparing Images\n");
    // The course has this image with 1024 x 1024 pixels; its second line there: max 1.7999, min -1.7404.
    auto const picture = cxr::data::read_png(sample + "images/00008270_015.png");
    cxr::data::pixel_statistics raw(1), own(3);
    auto const show = [&](char const* name, cxr::data::preprocess const& how, cxr::data::pixel_statistics& of) {
        cxr::tensor<float, 3> x({how.size.height, how.size.width, how.channels});
        apply(picture, how, x);
        of.add(x);
        auto const [low, high] = std::minmax_element(x.begin(), x.end());
        std::printf("%-23s %s: max %.4f, min %.4f, mean %.4f, std %.4f\n", name, to_string(x.shape()).c_str(),
                    static_cast<double>(*high), static_cast<double>(*low), of.mean()[0], of.deviation()[0]);
    };
    show("raw", {.size = picture.height(), .normalise = cxr::data::normalisation::none, .channels = 1}, raw);
    show("by its own mean and std", {.size = 320}, own);
    expect(std::abs(own.mean()[0]) < 1e-6 && std::abs(own.deviation()[0] - 1) < 1e-6, "mean 0, standard deviation 1");
}

class_frequencies frequencies_of(label_table const& train) {
    std::printf("\n3.1 Addressing Class Imbalance: Class Frequencies\n");
    std::vector<int> const matrix{1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1};
    class_frequencies small(3);
    small.add(cxr::view<int const, 2>(matrix.data(), {5, 3}));
    print("pos freqs", small.positive());
    print("neg freqs", small.negative());
    expect(small.positive() == std::vector{0.8, 0.4, 0.8} && small.negative() == std::vector{0.2, 0.6, 0.2}, "the unit case");

    class_frequencies all(labels.size());
    all.add(train.labels);
    print("train", all.positive());
    expect(all.positive() == std::vector{.020, .013, .128, .002, .175, .045, .054, .106, .038, .021, .010, .014, .016, .033},
           "the frequencies of the train table");
    return all;
}

void contributions_of(class_frequencies const& frequencies) {
    std::printf("\ncontribution to the loss    before: pos    neg     after: pos     neg\n");
    auto const before = contributions_before(frequencies);
    auto const after = contributions_after(frequencies, course_weights(frequencies));
    for (std::size_t c = 0; c < labels.size(); ++c)
        std::printf("%-25s %13.3f %6.3f %14.5f %7.5f\n", labels[c].c_str(), before.positive[c], before.negative[c],
                    after.positive[c], after.negative[c]);
    expect(after.positive == after.negative, "equal contributions");
}

void weighted_loss() {
    std::printf("\n3.1 Addressing Class Imbalance: Weighted Loss\n");
    std::vector<double> const y{1, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1};
    cxr::view<double const, 2> const y_true(y.data(), {4, 3});
    cxr::tensor<double, 2> const y_pred_1({4, 3}, 0.7), y_pred_2({4, 3}, 0.3);
    cxr::weighted_loss<backend> const loss({0.25, 0.25, 0.5}, {0.75, 0.75, 0.5}, 1.0);  // w_pos, w_neg, epsilon
    double const l1 = loss(y_true, y_pred_1), l2 = loss(y_true, y_pred_2);
    std::printf("L(y_pred_1) = %.7f\nL(y_pred_2) = %.7f\ndifference  = %.7f\n", l1, l2, std::abs(l1 - l2));
    expect(std::abs(l1 + 0.4956203) < 5e-8 && std::abs(l1 - l2) < 1e-12, "-0.4956203 both times");
}

// Predicts images it was not trained on; as in the notebook, 100 images of the train table say by what they are normalised.
void evaluate(auto& network, label_table const& train, label_table const& valid, cxr::data::preprocess const& prepare) {
    std::printf("\n5. Prediction and Evaluation\n5.1 ROC Curve and AUROC (of %zu images after little training)\n", valid.rows());
    auto const featurewise = fit_featurewise(train, sample + "images", prepare, 100);
    cxr::data::loader all(valid, sample + "images", featurewise, {.batch = valid.rows(), .shuffle = false});
    all.start(0);
    cxr::data::batch batch;
    if (!all.next(batch)) return expect(false, "images to predict");
    cxr::tensor<float, 2> probabilities({valid.rows(), labels.size()});
    network.predict(batch.images, probabilities);
    auto const areas = cxr::metrics::auroc_per_class(probabilities, valid.labels);
    for (std::size_t c = 0; c < labels.size(); ++c)
        areas[c] ? std::printf("%-20s %.3f\n", labels[c].c_str(), *areas[c])
                 : std::printf("%-20s undefined: no image shows it\n", labels[c].c_str());
    expect(cxr::metrics::defined(areas) == 13 && !areas[3], "an area for all but Hernia, of which these images have none");
}

void densenet() {
    std::printf("\n3.2 DenseNet121\n");
    constexpr auto spec = cxr::models::densenet121();  // with global average pooling and 14 sigmoids
    constexpr auto features = infer(std::get<0>(spec.parts), {1, 320, 320, 3}), whole = infer(spec, {1, 320, 320, 3});
    auto const train = read(sample + "train.csv"), valid = read(sample + "valid.csv");
    class_frequencies frequencies(labels.size());
    frequencies.add(train.labels);
    auto const weights = course_weights(frequencies);

    cxr::context<backend> context(2);  // threads
    cxr::weighted_loss<backend> const loss(context, weights.positive, weights.negative);
    cxr::train::network network(context, spec, {64, 64, 3}, loss, {}, cxr::random(1));  // Adam with Keras' numbers
    int convolutions = 0;
    network.visit([&](std::string const&, auto const& p) { convolutions += p.shape.rank() == 4; });
    std::printf("%d convolutions, %zu parameters\n", convolutions, whole.parameters);
    std::printf("image (1, 320, 320, 3), features %s, probabilities %s\n", to_string(features.output).c_str(),
                to_string(whole.output).c_str());
    expect(convolutions == 120 && whole.parameters == 6'968'206, "120 convolutions and 6,968,206 parameters");

    std::printf("\n4. Training\n");  // in the notebook 3 epochs of 100 batches, 320 x 320 pixels; here of 6 batches, 64 x 64
    std::vector<std::size_t> few(48);
    std::iota(few.begin(), few.end(), std::size_t{0});
    cxr::data::preprocess const prepare{.size = 64};
    cxr::data::loader loader(select_rows(train, few), sample + "images", prepare, {.batch = 8});
    cxr::data::batch batch;  // images (8, 64, 64, 3), targets (8, 14)
    std::array<double, 3> mean{};
    for (std::size_t epoch = 0; epoch < 3; ++epoch) {
        loader.start(epoch);
        while (loader.next(batch)) mean[epoch] += network.step(batch.images, batch.targets) / 6;
        std::printf("epoch %zu/3: loss %.4f\n", epoch + 1, mean[epoch]);
    }
    expect(mean[2] < mean[0], "a loss that goes down");
    evaluate(network, train, valid, prepare);
}

}  // namespace

int main() {
    std::printf("Chest X-Ray Medical Diagnosis with Deep Learning\n");
    auto const train = read(course + "train-small.csv"), valid = read(course + "valid-small.csv");
    auto const test = read(course + "test.csv");
    loading(train, valid, test);
    leakage(train, valid, test);
    preparing();
    contributions_of(frequencies_of(train));
    weighted_loss();
    densenet();
}
