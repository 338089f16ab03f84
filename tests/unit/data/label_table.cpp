// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/label_table.hpp"

#include "skipped.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

using namespace cxr::data;
using names = std::vector<std::string>;

label_table parse(std::string const& text, label_table_options const& options = {}) {
    return parse_label_table(text, "t.csv", options);
}

std::string failure(std::string const& text, label_table_options const& options = {}) {
    return message_of<cxr::io_error>([&] { (void)parse(text, options); });
}

std::vector<int> labels(label_table const& t) { return {t.labels.begin(), t.labels.end()}; }

std::string course(std::string const& name) {
    return CXR_SOURCE_DIR "/examples/data/course-csv/" + name;
}

}  // namespace

TEST_CASE("label table: the course's three tables") {
    auto const train = read_label_table(course("train-small.csv"));
    CHECK(train.rows() == 1000);
    // The order of the file, PatientId passed over.
    CHECK(train.classes == names{"Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema",
                                 "Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening",
                                 "Pneumonia", "Pneumothorax"});
    CHECK(train.images.front() == "00008270_015.png");
    CHECK(train.patients.front() == "8270");
    names const model_order{"Cardiomegaly", "Emphysema", "Effusion", "Hernia", "Infiltration",
                            "Mass", "Nodule", "Atelectasis", "Pneumothorax", "Pleural_Thickening",
                            "Pneumonia", "Fibrosis", "Edema", "Consolidation"};
    auto const ordered = read_label_table(course("train-small.csv"), {.classes = model_order});
    CHECK(ordered.classes == model_order);
    std::vector<int> positives(14);
    for (std::size_t i = 0; i < ordered.rows(); ++i)
        for (std::size_t c = 0; c < 14; ++c) positives[c] += ordered.labels(i, c) == 1;
    CHECK(positives == std::vector<int>{20, 13, 128, 2, 175, 45, 54, 106, 38, 21, 10, 14, 16, 33});
    CHECK(read_label_table(course("valid-small.csv")).rows() == 200);
    // This one has the columns in another order: by name they are the same.
    auto const test = read_label_table(course("test.csv"));
    CHECK(test.rows() == 420);
    CHECK(test.classes == model_order);
    auto const reordered = select_classes(test, train.classes);
    CHECK(reordered.classes == train.classes);
    CHECK(labels(reordered) == labels(read_label_table(course("test.csv"), {.classes = train.classes})));
}

TEST_CASE("label table: NIH's own table as it is") {
    auto const* const data = std::getenv("CXR_DATA_DIR");
    if (data == nullptr) return cxr::test::skipped("CXR_DATA_DIR is not set, so NIH's Data_Entry_2017_v2020.csv.gz is not here");
    auto const t = read_label_table(std::string(data) + "/nih/labels/Data_Entry_2017_v2020.csv.gz");
    CHECK(t.rows() == 112120);
    CHECK(t.classes == names(nih_findings.begin(), nih_findings.end()));
    std::vector<int> positives(14);
    for (std::size_t i = 0; i < t.rows(); ++i)
        for (std::size_t c = 0; c < 14; ++c) positives[c] += t.labels(i, c);
    // Counted by `zcat … | cut -d, -f2 | tr '|' '\n' | sort | uniq -c`.
    CHECK(positives ==
          std::vector<int>{11559, 2776, 13317, 19894, 5782, 6331, 1431, 5302, 4667, 2303, 2516, 1686, 3385, 227});
}

TEST_CASE("label table: NIH's layout, small") {
    std::string const text = "Image Index,Finding Labels,Follow-up #,Patient ID\n"
                             "a.png,Mass|Hernia,0,1\n"
                             "b.png,No Finding,1,1\n"
                             "c.png,,0,2\n";
    auto const t = parse(text, {.classes = {"Hernia", "Mass", "Edema"}});
    CHECK(t.patients == names{"1", "1", "2"});
    CHECK(labels(t) == std::vector<int>{1, 1, 0, 0, 0, 0, -1, -1, -1});
    CHECK(parse(text).classes.size() == 14);
    CHECK(failure("Image,Finding Labels\na.png,Mass\nb.png,Mass|Fracture\n") ==
          "t.csv:3: row 2: column Finding Labels: 'Fracture' is none of NIH's fourteen findings and not No Finding");
    CHECK(failure("Image,Finding Labels\na.png,Mass|\n") ==
          "t.csv:2: row 1: column Finding Labels: '' is none of NIH's fourteen findings and not No Finding");
    CHECK(failure("Image,Finding Labels\na.png,Mass|No Finding\n") ==
          "t.csv:2: row 1: column Finding Labels: No Finding beside a finding in 'Mass|No Finding'");
    CHECK_THAT(failure(text, {.classes = {"Mass", "Fracture"}}),
               Catch::StartsWith("t.csv: no class Fracture; the table has Atelectasis, Cardiomegaly"));
    // Columns of their own are the more definite.
    CHECK(parse("Image,Finding Labels,Mass\na.png,whatever,1\n").classes == names{"Mass"});
}

TEST_CASE("label table: an empty label is unknown; 0.0 and 1.0 are labels") {
    auto const t = parse("Image,Mass,Other\na.png,,1.0\nb.png,1,0.0\nc.png,0,\n");
    CHECK(t.classes == names{"Mass", "Other"});
    CHECK(labels(t) == std::vector<int>{-1, 1, 1, 0, 0, -1});
    CHECK(std::isnan(target_of(t.labels(0, 0))));
    CHECK(target_of(t.labels(0, 1)) == 1.0F);
}

TEST_CASE("label table: columns of images and patients by their usual names, first come, or as asked") {
    for (std::string name : {"Image", "Image Index", "Path", "filename"}) {
        auto const t = parse(name + ",Mass\nx.png,1\n");
        CHECK(t.images == names{"x.png"});
        CHECK(t.patients.empty());
    }
    for (std::string name : {"PatientId", "Patient ID", "patientid"})
        CHECK(parse("Image," + name + ",Mass\nx.png,0,1\n").patients == names{"0"});
    // `Image` comes before `Path` in the list, wherever it is in the file.
    CHECK(parse("Path,Image,Mass\np.png,i.png,1\n").images == names{"i.png"});
    auto const asked = parse("file,who,Mass\nx.png,7,1\n", {.image_column = "file", .patient_column = "who"});
    CHECK(asked.images == names{"x.png"});
    CHECK(asked.patients == names{"7"});
    CHECK(asked.classes == names{"Mass"});
    CHECK(failure("Image,Mass\nx.png,1\n", {.image_column = "file"}) ==
          "t.csv:1: no column file; the header has Image, Mass");
    CHECK(failure("Image,Mass\nx.png,1\n", {.patient_column = "who"}) ==
          "t.csv:1: no column who; the header has Image, Mass");
}

TEST_CASE("label table: CheXpert's table, -1 by each policy, patients from the paths") {
    // Its header, and rows of its form.
    std::string const text =
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Support Devices\n"
        "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,-1.0,1.0\n"
        "CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Male,0,Frontal,AP,,-1.0,1.0,\n"
        "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Male,1,Lateral,,,0.0,-1.0,-1.0\n";
    auto const read = [&](uncertainty policy) { return parse(text, {.uncertain = policy}); };
    auto const t = read(uncertainty::ignore);
    CHECK(t.classes == names{"No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Support Devices"});
    CHECK(t.patients == names{"patient00001", "patient00002", "patient00002"});
    CHECK(labels(t) == std::vector<int>{1, -1, -1, 1, -1, -1, 1, -1, -1, 0, -1, -1});
    CHECK(labels(read(uncertainty::ones)) == std::vector<int>{1, -1, 1, 1, -1, 1, 1, -1, -1, 0, 1, 1});
    CHECK(labels(read(uncertainty::zeros)) == std::vector<int>{1, -1, 0, 1, -1, 0, 1, -1, -1, 0, 0, 0});
    CHECK(failure(text) == "t.csv:2: row 1: column Cardiomegaly: '-1.0' is an uncertain label, expected 0, 1 or nothing, "
                           "or beside it --uncertain ones, zeros or ignore");
    // A class without an uncertain label needs no policy.
    CHECK(labels(parse(text, {.classes = {"No Finding"}})) == std::vector<int>{1, -1, -1});
    CHECK(failure("Image,Mass\na,0\nb,-2\n", {.uncertain = uncertainty::ones}) ==
          "t.csv:3: row 2: column Mass: '-2' is no label, expected 0, 1, -1 or nothing");
}

TEST_CASE("label table: a patient's folder in a path is one only by its whole name, and a patient column comes first") {
    auto const patients = [](std::string const& rows) { return parse("Path,Mass\n" + rows).patients; };
    CHECK(patients("a/patient7/x.png,1\na/patients/x.png,0\nb/inpatient7/x.png,0\nc/patient7.png,0\n") ==
          names{"patient7", "", "", ""});
    CHECK(patients("patient7.png,1\npatient/x.png,0\npatient7a/x.png,0\n").empty());
    CHECK(parse("Path,PatientId,Mass\npatient7/x.png,9,1\n").patients == names{"9"});
}

TEST_CASE("label table: columns that are something else are passed over") {
    // An index without a name, ages, sexes, a visit number that is often 0 or 1.
    auto const t = parse(",Image,Age,Sex,Visit,Mass\n0,a,57,M,0,1\n1,b,1,F,1,0\n2,c,33,M,2,0\n3,d,40,F,3,0\n4,e,41,M,4,"
                         "0\n5,f,61,M,5,1\n");
    CHECK(t.classes == names{"Mass"});
}

TEST_CASE("label table: a column that is labels but for a few cells is an error at the first of them") {
    CHECK(failure("Image,Edema,Mass\na,0,1\nb,1,2\nc,0,0\n") ==
          "t.csv:3: row 2: column Mass: '2' is no label, expected 0, 1 or nothing");
    CHECK(failure("Image,Edema,Lump\na,0,1\nb,1,yes\nc,0,0\n") ==
          "t.csv:3: row 2: column Lump: 'yes' is no label, expected 0, 1 or nothing");
    CHECK(failure("Image,Lump\na,yes\nb,1\n") ==
          "t.csv:2: row 1: column Lump: 'yes' is no label, expected 0, 1 or nothing");
    CHECK(failure("Image,Lump,Bump\na,0,0\nb,x,1\nc,0,y\nd,1,1\ne,0,z\n") ==
          "t.csv:3: row 2: column Lump: 'x' is no label, expected 0, 1 or nothing");
    CHECK(failure("Image,Lump\na,1\nb,-1\nc,-1\nd,-1\ne,-1\n") ==
          "t.csv:3: row 2: column Lump: '-1' is an uncertain label, expected 0, 1 or nothing, or beside it --uncertain "
          "ones, zeros or ignore");
    // A finding's name makes a column a class, whatever its cells are; so does asking for it.
    CHECK(failure("Image,Mass,Lump\na,YES,1\nb,NO,0\nc,YES,1\n") ==
          "t.csv:2: row 1: column Mass: 'YES' is no label, expected 0, 1 or nothing");
    CHECK(failure("Image,Sex,Lump\na,M,1\nb,F,0\n", {.classes = {"Sex"}}) ==
          "t.csv:2: row 1: column Sex: 'M' is no label, expected 0, 1 or nothing");
    // A hundred cells with ten that are none: still a class. With eleven: something else.
    std::string nine = "Image,Lump,Mass\n", eleven = nine;
    for (int i = 0; i < 100; ++i) {
        nine += std::to_string(i) + (i < 90 ? ",0" : ",7") + ",1\n";
        eleven += std::to_string(i) + (i < 89 ? ",0" : ",7") + ",1\n";
    }
    CHECK(failure(nine) == "t.csv:92: row 91: column Lump: '7' is no label, expected 0, 1 or nothing");
    CHECK(parse(eleven).classes == names{"Mass"});
}

TEST_CASE("label table: a message is one line and not a whole file") {
    CHECK(failure("Image,Mass\na,1\nb,\"no\nor\tyes\"\n") ==
          "t.csv:3: row 2: column Mass: 'no or yes' is no label, expected 0, 1 or nothing");
    auto const message = failure(std::string(99, 'x') + "\u00e4" + std::string(100000, 'y') + "\n1\n");
    CHECK(message.size() < 520);
    CHECK_THAT(message, Catch::EndsWith("yyy…"));
    // Not cut inside of a character.
    auto const umlauts = [] {
        std::string text;
        for (int i = 0; i < 1000; ++i) text += "\u00e4";
        return text;
    }();
    CHECK_THAT(failure(umlauts + "\n1\n"), Catch::EndsWith("\u00e4…"));
    CHECK_THAT(failure("x" + umlauts + "\n1\n"), Catch::EndsWith("\u00e4…"));
}

TEST_CASE("label table: no header, no rows, nothing at all") {
    CHECK(failure("") == "t.csv: empty, expected a table with a header");
    CHECK(failure("\n\n") == "t.csv: empty, expected a table with a header");
    CHECK(failure("Image,Mass\n") == "t.csv: a header but no rows");
    CHECK_THAT(failure("a.png,0,1\nb.png,1,0\n"),
               Catch::StartsWith("t.csv:1: no header with a column Image, Image Index, Path or filename") &&
                   Catch::EndsWith("the first line has a.png, 0, 1"));
    CHECK(failure("Image,Age\na.png,57\nb.png,58\n") ==
          "t.csv:1: no column of labels (0, 1 or empty); the header has Image, Age");
    auto const without = parse("Image,Age\na.png,57\nb.png,58\n", {.need_classes = false});
    CHECK(without.rows() == 2);
    CHECK(without.labels.extents() == std::array<std::size_t, 2>{2, 0});
    CHECK(failure("Image,Mass,Mass\na.png,1,1\n") == "t.csv:1: the header has the column Mass twice");
}

TEST_CASE("label table: rows of another length, without an image, or twice") {
    CHECK(failure("Image,Mass,Edema\na.png,1,0\nb.png,1\n") == "t.csv:3: row 2: 2 cells, expected 3 as in the header");
    CHECK(failure("Image,Mass\na.png,1\nb.png,1,0\n") == "t.csv:3: row 2: 3 cells, expected 2 as in the header");
    CHECK(failure("Image,Mass\n,1\n") == "t.csv:2: row 1: column Image is empty, expected the name of an image");
    CHECK(failure("Image,Mass\na.png,1\nb.png,0\n\na.png,1\n") == "t.csv:5: row 3: image a.png is in row 1 already");
    CHECK(failure(std::string("Image,Mass\na.p\0g,1\n", 19)) == "t.csv:2: a NUL byte, so this is not a text file");
}

TEST_CASE("label table: the one image that is there twice is found among many") {
    std::string text = "Image,Mass\n";
    for (int i = 0; i < 5000; ++i) text += "image-" + std::to_string(i * 37) + ".png,1\n";
    CHECK(parse(text).rows() == 5000);
    CHECK(failure(text + "image-" + std::to_string(4321 * 37) + ".png,0\n") ==
          "t.csv:5002: row 5001: image image-159877.png is in row 4322 already");
}

TEST_CASE("label table: classes that are not there are all named, beside those that are") {
    CHECK(failure("Image,Mass,Edema\na,1,0\n", {.classes = {"Edema", "Lump", "Bump"}}) ==
          "t.csv:1: no class Lump, Bump; the header has Image, Mass, Edema");
    CHECK_THROWS_AS(parse("Image,Mass\na,1\n", {.classes = {"Mass", "Mass"}}), cxr::contract_violation);
    auto const t = parse("Image,Mass,Edema\na,1,0\n");
    CHECK(message_of<cxr::io_error>([&] {
              (void)select_classes(t, names{"Lump", "Mass"});
          }) == "t.csv: no class Lump; the table has Mass, Edema");
    CHECK_THROWS_AS(select_classes(t, names{"Mass", "Mass"}), cxr::contract_violation);
    CHECK_THROWS_AS(select_classes(t, names{}), cxr::contract_violation);
}

TEST_CASE("label table: rows can be selected") {
    auto const t = parse("Image,PatientId,Mass\na,1,1\nb,2,0\nc,3,\n");
    auto const part = select_rows(t, std::vector<std::size_t>{2, 0});
    CHECK(part.images == names{"c", "a"});
    CHECK(part.patients == names{"3", "1"});
    CHECK(labels(part) == std::vector<int>{-1, 1});
    CHECK_THROWS_AS(select_rows(t, std::vector<std::size_t>{3}), cxr::contract_violation);
}

TEST_CASE("label table: what is written reads back the same") {
    temporary_folder const folder;
    auto const t = parse("Image,PatientId,\"Mass, large\",Edema\n\"a,1.png\",p 1,1,\nb.png,p2,0,1\n");
    CHECK(format_label_table(t) == "Image,PatientId,\"Mass, large\",Edema\n\"a,1.png\",p 1,1,\nb.png,p2,0,1\n");
    write_label_table(t, folder / "t.csv");
    auto const again = read_label_table(folder / "t.csv");
    CHECK(again.path == folder / "t.csv");
    CHECK(again.images == t.images);
    CHECK(again.patients == t.patients);
    CHECK(again.classes == t.classes);
    CHECK(labels(again) == labels(t));
    // A table that takes the place of another does not write into it.
    std::filesystem::create_hard_link(folder / "t.csv", folder / "old.csv");
    write_label_table(select_rows(t, std::vector<std::size_t>{1}), folder / "t.csv");
    CHECK(read_label_table(folder / "t.csv").images.size() == 1);
    CHECK(read_label_table(folder / "old.csv").images == t.images);
}

TEST_CASE("label table: a missing file and a directory are named") {
    temporary_folder const folder;
    CHECK(message_of<cxr::io_error>([&] { (void)read_label_table(folder / "none.csv"); }) ==
          (folder / "none.csv") + ": cannot be opened: No such file or directory");
    CHECK(message_of<cxr::io_error>([&] { (void)read_label_table(folder.path()); }) ==
          folder.path() + ": is a directory, expected a file");
}
