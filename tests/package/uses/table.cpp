// SPDX-License-Identifier: Apache-2.0
// What the component table links is all that it needs: a table is looked for.

#include <cxr/data/label_table.hpp>

#include <cxr/core/error.hpp>

#include <string>

int main() {
    try {
        (void)cxr::data::read_label_table("none.csv.gz");
    } catch (cxr::io_error const& e) {
        return std::string(e.what()).find("none.csv.gz") != std::string::npos ? 0 : 1;
    }
    return 1;
}
