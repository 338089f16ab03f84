// SPDX-License-Identifier: Apache-2.0
// One frozen model, eight threads that predict with it: each has a context of its own, and all answers are those of a single thread, to the bit.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

int main() {
    std::string const data = CXR_SOURCE_DIR "/examples/data/nih-sample/";
    auto const table = cxr::data::read_label_table(data + "test.csv");
    cxr::data::loader loader(table, data + "images", {.size = 64}, {.batch = 2, .shuffle = false});
    loader.start(0);
    std::vector<cxr::tensor<float, 4>> images(8);
    std::vector<cxr::tensor<float, 4>> probabilities(8, cxr::tensor<float, 4>({2, 1, 1, 14}));
    cxr::data::batch batch;
    for (auto& some : images) {
        if (!loader.next(batch)) return 1;
        some = batch.images;
    }

    cxr::context<cxr::simd_backend> context(1);
    auto const layer = cxr::nn::build<float>(context, cxr::models::densenet121(), {1, 64, 64, 3}, cxr::random(1));
    auto const frozen = freeze(context, layer);

    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 8; ++t)
        threads.emplace_back([&, t] {
            cxr::context<cxr::simd_backend> own(1);  // or a copy of a context
            cxr::nn::no_observer nobody;
            frozen.infer(own, images[t].view(), probabilities[t].view(), nobody, "");
        });
    for (auto& thread : threads) thread.join();

    bool same = true;
    for (std::size_t t = 0; t < 8; ++t) {
        cxr::tensor<float, 4> alone(probabilities[t].extents());
        cxr::nn::no_observer nobody;
        frozen.infer(context, images[t].view(), alone.view(), nobody, "");
        same = same && std::equal(alone.begin(), alone.end(), probabilities[t].begin());
    }
    std::printf("%s\n", same ? "eight threads, the same bits" : "NOT the same bits");
    return same ? 0 : 1;
}
