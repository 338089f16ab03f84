// SPDX-License-Identifier: Apache-2.0
// DenseNet121 learns from real chest X-rays, each finding weighted by how rare it is: one epoch, batch by batch.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/train/network.hpp"

#include <cstdio>

int main() {
    std::string const data = CXR_SOURCE_DIR "/examples/data/nih-sample/";
    auto const table = cxr::data::read_label_table(data + "train.csv");

    cxr::stats::class_frequencies frequencies(table.classes.size());
    frequencies.add(table.labels);
    auto const weights = cxr::stats::course_weights(frequencies);  // w_pos = freq_neg, w_neg = freq_pos

    cxr::context<cxr::simd_backend> context(2);  // threads
    cxr::weighted_loss<cxr::simd_backend> const loss(context, weights.positive, weights.negative);
    cxr::train::network network(context, cxr::models::densenet121(table.classes.size()), {64, 64, 3}, loss, {}, cxr::random(1));

    cxr::data::loader loader(table, data + "images", {.size = 64}, {.batch = 16});
    loader.start(0);
    for (cxr::data::batch batch; loader.next(batch);) std::printf("loss %.4f\n", network.step(batch.images, batch.targets));
}
