// SPDX-License-Identifier: Apache-2.0
// A program that has what one component gives computed or read, so that all that the component links is needed: compiled with CXR_USES_<component>.

#include <cxr/cxr.hpp>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace {

/// Whether a backend's weighted loss of one probability of 1/2 is ln 2.
template <class Backend>
bool loss_is_right() {
    cxr::context<Backend> context;
    cxr::weighted_loss<Backend> loss(context, std::vector<double>{1}, std::vector<double>{1});
    cxr::tensor<float, 2> targets({1, 1}), probabilities({1, 1});
    targets[0] = 1;
    probabilities[0] = 0.5F;
    return std::abs(loss(targets.view(), probabilities.view()) - std::log(2.0)) < 1e-6;
}

/// Whether f ends in an error that begins with `path`, a file that there is not.
template <class F>
bool fails_for(std::string const& path, F f) {
    try {
        f();
    } catch (cxr::io_error const& e) {
        return std::string(e.what()).find(path) != std::string::npos;
    }
    return false;
}

}  // namespace

#if defined(CXR_USES_eigen)
#include <cxr/backend/eigen/backend.hpp>
bool used() { return loss_is_right<cxr::eigen_backend>(); }
#elif defined(CXR_USES_xtensor)
#include <cxr/backend/xtensor/backend.hpp>
bool used() { return loss_is_right<cxr::xtensor_backend>(); }
#elif defined(CXR_USES_onednn)
#include <cxr/backend/onednn/backend.hpp>
bool used() {
    cxr::context<cxr::onednn_backend> context(2);
    auto layer = cxr::nn::build<float>(context, cxr::nn::conv<1, 1, 0>{.out = 16}, {1, 8, 8, 16}, cxr::random(1));
    typename decltype(layer)::tape tape;
    cxr::tensor<float, 4> x({1, 8, 8, 16}, 0.0F), y({1, 8, 8, 16}, 1.0F);
    layer.forward(context, x.view(), y.view(), tape);
    return y[0] == 0 && loss_is_right<cxr::onednn_backend>();
}
#elif defined(CXR_USES_thrust)
#include <cxr/backend/thrust/cpp.hpp>
bool used() { return loss_is_right<cxr::thrust_backend<cxr::on_thrust::cpp>>(); }
#elif defined(CXR_USES_image)
#include <cxr/data/loader.hpp>
bool used() {
    cxr::data::label_table table;
    table.images = {"none.png"};
    table.classes = {"Hernia"};
    table.labels = cxr::tensor<std::int8_t, 2>({1, 1});
    return fails_for("none.png", [&] {
        cxr::data::loader loader(table, ".", {.size = 32}, {.batch = 1, .cache_folder = "decoded"});
        cxr::data::batch batch;
        loader.start(0);
        (void)loader.next(batch);
    });
}
#elif defined(CXR_USES_table)
#include <cxr/data/label_table.hpp>
bool used() {
    return fails_for("none.csv.gz", [] { (void)cxr::data::read_label_table("none.csv.gz"); });
}
#elif defined(CXR_USES_keras)
#include <cxr/io/keras/read.hpp>
bool used() {
    return fails_for("none.keras", [] { (void)cxr::io::keras::read("none.keras"); });
}
#elif defined(CXR_USES_onnx)
#include <cxr/io/read_onnx.hpp>
#include <cxr/io/write_onnx.hpp>
bool used() {
    return fails_for("none.onnx", [] { (void)cxr::io::read_onnx("none.onnx"); });
}
#endif

int main() {
    bool const right = used();
    std::puts(right ? "used" : "WRONG");
    return right ? 0 : 1;
}
