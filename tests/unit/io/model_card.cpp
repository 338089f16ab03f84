// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/model_card.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <limits>
#include <optional>
#include <string>

namespace {

using namespace cxr::io;

model_card example() {
    model_card c;
    c.name = "A | model";
    c.model = "model.onnx";
    c.architecture = "DenseNet, blocks 6, 12, 24, 16.";
    c.weights = {242, 606, 7051854, "0123456789abcdef"};
    c.data = "NIH ChestX-ray14.\nSee <its page>.";
    c.splits = {{"train", 1000, 700}, {"test", 420, std::nullopt}};
    c.classes = {"Pleural_Thickening", "Hernia"};
    c.preprocessing = {{"size", "320"}, {"normalise", "samplewise"}};
    c.training = "Adam, 3 epochs, \"seed\" 1.";
    c.evaluated_on = "test";
    c.metrics = {{"AUROC", {0.75, std::nullopt}}, {"AUPRC", {1.0 / 3, 0.5}}};
    return c;
}

}  // namespace

TEST_CASE("model card: the JSON holds everything, as numbers where it is numbers") {
    auto const c = example();
    auto const j = nlohmann::json::parse(model_card_json(c));
    CHECK(j.at("name") == c.name);
    CHECK(j.at("model") == c.model);
    CHECK(j.at("producer") == "cxr " + std::string(cxr::version));
    CHECK(j.at("architecture") == c.architecture);
    CHECK(j.at("weights") == nlohmann::json{{"layers", 242}, {"tensors", 606}, {"parameters", 7051854}, {"checksum", "0123456789abcdef"}});
    CHECK(j.at("data") == c.data);
    CHECK(j.at("splits") == nlohmann::json::parse(R"([{"name":"train","images":1000,"patients":700},{"name":"test","images":420,"patients":null}])"));
    CHECK(j.at("classes") == c.classes);
    CHECK(j.at("preprocessing") == nlohmann::json{{"size", "320"}, {"normalise", "samplewise"}});
    CHECK(j.at("training") == c.training);
    CHECK(j.at("metrics").at("split") == "test");
    CHECK(j.at("metrics").at("classes") == nlohmann::json::parse(R"([{"name":"Pleural_Thickening","AUROC":0.75,"AUPRC":0.3333333333333333},{"name":"Hernia","AUROC":null,"AUPRC":0.5}])"));
    CHECK(j.at("metrics").at("mean").at("AUROC") == 0.75);  // of the class that has one
    CHECK(j.at("metrics").at("mean").at("AUPRC").get<double>() == Approx((1.0 / 3 + 0.5) / 2));
    CHECK(j.at("intended_use") == c.intended_use);
    CHECK(j.at("limits") == c.limits);
    CHECK(j.size() == 13);
}

TEST_CASE("model card: the page has a row a class, and text that is no Markdown") {
    auto const page = model_card_markdown(example());
    for (auto const* const part : {"# A \\| model\n", "Model: model.onnx. DenseNet, blocks 6, 12, 24, 16.\n", "606 tensors, 7051854 numbers, checksum 0123456789abcdef",
                                   "## Intended use\n\nResearch and teaching", "* It is no medical device", "## Data\n\nNIH ChestX-ray14. See \\<its page\\>.\n",
                                   "| train | 1000 | 700 |\n| test | 420 | – |\n", "| size | 320 |\n| normalise | samplewise |\n", "Adam, 3 epochs, \"seed\" 1.\n",
                                   "On: test\n\n| class | AUROC | AUPRC |\n|---|---|---|\n| Pleural_Thickening | 0.750 | 0.333 |\n| Hernia | – | 0.500 |\n| mean | 0.750 | 0.417 |\n"}) {
        INFO(page);
        CHECK(page.find(part) != std::string::npos);
    }
    auto untold = example();
    untold.training = "";
    untold.metrics = {};
    CHECK(model_card_markdown(untold).find("## Training\n\nNot said.\n") != std::string::npos);
    CHECK(model_card_markdown(untold).find("| mean |") == std::string::npos);
}

TEST_CASE("model card: both files are written, or neither where the card is wrong") {
    temporary_folder const folder;
    auto const said = [&](auto const& change) {
        auto c = example();
        change(c);
        return message_of<cxr::contract_violation>([&] { write_model_card(folder.path(), c); });
    };
    CHECK(said([](model_card& c) { c.name = ""; }) == "cxr::io::model_card: no name");
    CHECK(said([](model_card& c) { c.classes = {}; }) == "cxr::io::model_card: no classes");
    CHECK(said([](model_card& c) { c.metrics[1].values.pop_back(); }) == "cxr::io::model_card: 1 values of AUPRC, expected one for each of the 2 classes");
    CHECK(said([](model_card& c) { c.metrics[0].values[0] = std::numeric_limits<double>::quiet_NaN(); }) == "cxr::io::model_card: AUROC is NaN or infinite, expected a number or none");
    CHECK(said([](model_card& c) { c.data = "\xff"; }) == "cxr::io::model_card: a text is not UTF-8");
    CHECK(!std::filesystem::exists(folder / "model.md"));
    CHECK(!std::filesystem::exists(folder / "model.json"));
    write_model_card(folder.path(), example());
    CHECK(content_of(folder / "model.md") == model_card_markdown(example()));
    CHECK(content_of(folder / "model.json") == model_card_json(example()));
    CHECK(message_of<cxr::io_error>([&] { write_model_card(folder / "none", example()); }).starts_with(folder / "none/model.md: "));
}
