// SPDX-License-Identifier: Apache-2.0
// What the component image links is all that it needs: a loader with a cache on disk looks for an image.

#include <cxr/data/loader.hpp>

#include <cxr/core/error.hpp>

#include <string>

int main() {
    try {
        cxr::data::label_table table;
        table.images = {"none.png"};
        table.classes = {"Hernia"};
        table.labels = cxr::tensor<std::int8_t, 2>({1, 1});
        cxr::data::loader loader(table, ".", {.size = 32}, {.batch = 1, .cache_folder = "decoded"});
        cxr::data::batch batch;
        loader.start(0);
        (void)loader.next(batch);
    } catch (cxr::io_error const& e) {
        return std::string(e.what()).find("none.png") != std::string::npos ? 0 : 1;
    }
    return 1;
}
