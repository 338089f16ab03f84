// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/csv.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace {

using rows = std::vector<std::vector<std::string>>;

rows read(std::string_view text) {
    cxr::data::csv_reader reader(text, "t.csv");
    rows all;
    for (std::vector<std::string_view> cells; reader.next(cells);) all.emplace_back(cells.begin(), cells.end());
    return all;
}

std::string failure(std::string_view text) {
    return message_of<cxr::io_error>([&] { read(text); });
}

}  // namespace

TEST_CASE("CSV: plain rows, with and without a last line break, by LF and CRLF, after a byte-order mark") {
    rows const expected{{"a", "b"}, {"1", "2"}};
    CHECK(read("a,b\n1,2\n") == expected);
    CHECK(read("a,b\n1,2") == expected);
    CHECK(read("a,b\r\n1,2\r\n") == expected);
    CHECK(read("\xef\xbb\xbf"
               "a,b\n1,2\n") == expected);
    CHECK(read("").empty());
    CHECK(read("\n\r\n\n").empty());
}

TEST_CASE("CSV: empty cells stay, empty lines go, blanks around unquoted cells go") {
    CHECK(read("a,,\n\n,,b\n") == rows{{"a", "", ""}, {"", "", "b"}});
    CHECK(read(" a ,\tb\n") == rows{{"a", "b"}});
}

TEST_CASE("CSV: quoted cells hold commas, line breaks, blanks and doubled quotes") {
    CHECK(read("\"a,b\",\"c\nd\",\" e \"\nf,g,h\n") == rows{{"a,b", "c\nd", " e "}, {"f", "g", "h"}});
    CHECK(read("\"say \"\"yes\"\"\",\"\"\"\",\"\"\n") == rows{{"say \"yes\"", "\"", ""}});
}

TEST_CASE("CSV: lines are counted over line breaks inside of cells") {
    cxr::data::csv_reader reader("a\n\"b\nc\"\n\nd\n", "t.csv");
    std::vector<std::string_view> cells;
    std::vector<std::size_t> lines;
    while (reader.next(cells)) lines.push_back(reader.line());
    CHECK(lines == std::vector<std::size_t>{1, 2, 5});
}

TEST_CASE("CSV: what is broken is named by its line") {
    CHECK(failure("a\nb,\"c\nd\n") == "t.csv:2: a quoted cell that does not end");
    CHECK(failure("a\n\"b\"c\n") == "t.csv:2: characters after the closing quote of a cell");
    CHECK(failure(std::string_view("a\nb\0c\n", 6)) == "t.csv:2: a NUL byte, so this is not a text file");
}

TEST_CASE("CSV: a cell is written so that reading it gives it back") {
    for (std::string text : {"a", "", "a,b", "a\"b", " a", "a ", "a\nb", "\"", "a\r\nb"}) {
        CAPTURE(text);
        CHECK(read("x," + cxr::data::csv_cell(text) + "\n") == rows{{"x", text}});
    }
    CHECK(cxr::data::csv_cell("Pleural_Thickening") == "Pleural_Thickening");
}
