// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/placement.hpp"

#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/pickle.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr::io;

checkpoint network(densenet_structure const& s) {
    checkpoint c;
    for (auto const& t : densenet_tensors(s)) {
        c.tensors.push_back({t.name, t.shape, std::vector<float>(t.shape.size())});
        for (std::size_t i = 0; i < t.shape.size(); ++i) c.tensors.back().values[i] = static_cast<float>(i % 97) - 40;
    }
    return c;
}

densenet_structure const small{{.blocks = {1, 2, 1, 1}, .growth = 4, .stem = 8, .classes = 3}, 3};

}  // namespace

TEST_CASE("torchvision_name: prefixes of wrappers, older names and heads in a sequence") {
    std::vector<std::pair<std::string, std::string>> const names{
        {"features.conv0.weight", "features.conv0.weight"},
        {"module.features.denseblock1.denselayer1.norm.1.weight", "features.denseblock1.denselayer1.norm1.weight"},
        {"module.densenet121.features.denseblock4.denselayer16.conv.2.weight", "features.denseblock4.denselayer16.conv2.weight"},
        {"model.module.features.denseblock2.denselayer3.norm.2.running_var", "features.denseblock2.denselayer3.norm2.running_var"},
        {"densenet121.classifier.0.bias", "classifier.bias"},
        {"classifier.weight", "classifier.weight"},
        {"features.transition1.norm.weight", "features.transition1.norm.weight"},
        {"optimizer.m.module.x", "optimizer.m.module.x"},
        {"modules.x", "modules.x"},
    };
    for (auto const& [found, name] : names) CHECK(torchvision_name(found) == name);
}

TEST_CASE("place_torch: every tensor is placed or ignored, and the record names it") {
    checkpoint c;
    c.ignored = {"module.features.norm0.num_batches_tracked"};
    c.tensors = {{"module.features.norm0.weight", {2}, {1, 2}}, {"features.norm0.bias", {2}, {3, 4}}, {"op_threshs", {2}, {0.5F, 0.25F}}};
    auto const w = place_torch(c, "f");
    CHECK(w.coverage.read() == 4);
    CHECK(w.coverage.renamed() == 1);
    REQUIRE(w.coverage.placed.size() == 2);
    CHECK(w.coverage.placed[0].found == "module.features.norm0.weight");
    CHECK(w.coverage.placed[0].name == "features.norm0.weight");
    CHECK(w.coverage.ignored == std::vector<std::string>{"module.features.norm0.num_batches_tracked", "op_threshs"});
    CHECK(w.state.metadata.at("xrv.op_threshs") == "0.5,0.25");
    REQUIRE(w.state.tensors.size() == 2);
    CHECK(w.state.tensors[0].name == "features.norm0.weight");
    CHECK(w.state.tensors[0].values == std::vector<float>{1, 2});
}

TEST_CASE("place_torch: two tensors of one name are an error that names both") {
    checkpoint c;
    c.tensors = {{"module.features.norm0.weight", {1}, {1}}, {"features.norm0.weight", {1}, {2}}};
    CHECK(message_of<cxr::io_error>([&] { (void)place_torch(c, "f"); }) ==
          "f: both module.features.norm0.weight and features.norm0.weight are features.norm0.weight here, expected one tensor of that name");
}

TEST_CASE("match_input_channels: gray images keep their outputs, from three channels to one and from one to three") {
    weights w;
    w.state.tensors = {{"features.conv0.weight", {1, 3, 1, 2}, {1, 2, 3, 4, 5, 6}}};
    match_input_channels(w, 3);
    CHECK(w.coverage.notes.empty());
    match_input_channels(w, 1);
    CHECK(w.state.tensors[0].shape == cxr::shape{1, 1, 1, 2});
    CHECK(w.state.tensors[0].values == std::vector<float>{9, 12});
    REQUIRE(w.coverage.notes.size() == 1);
    CHECK(w.coverage.notes[0].find("summed") != std::string::npos);
    match_input_channels(w, 3);
    CHECK(w.state.tensors[0].shape == cxr::shape{1, 3, 1, 2});
    CHECK(w.state.tensors[0].values == std::vector<float>{3, 4, 3, 4, 3, 4});
    CHECK(w.coverage.notes.size() == 2);
    w.state.tensors[0] = {"features.conv0.weight", {1, 2, 1, 1}, {1, 2}};
    match_input_channels(w, 3);
    CHECK(w.state.tensors[0].shape == cxr::shape{1, 2, 1, 1});
}

TEST_CASE("drop_head: the head and nothing else is left out") {
    auto w = place_torch(network(small), "f");
    auto const before = w.state.tensors.size();
    drop_head(w);
    CHECK(w.state.tensors.size() == before - 2);
    CHECK(w.coverage.ignored == std::vector<std::string>{"classifier.weight", "classifier.bias"});
    CHECK(w.coverage.read() == before);
}

TEST_CASE("drop_optimizer: its state and nothing else is left out, and that is noted") {
    auto c = network(small);
    auto const tensors = c.tensors.size();
    c.tensors.push_back({"optimizer.m.features.norm0.bias", {1}, {1}});
    c.metadata = {{"cxr.optimizer", "{}"}, {"cxr.train", "{}"}, {"cxr.classes", "[]"}};
    auto w = place_torch(c, "f");
    drop_optimizer(w);
    CHECK(w.state.tensors.size() == tensors);
    CHECK(w.coverage.placed.size() == tensors);
    CHECK(w.coverage.ignored == std::vector<std::string>{"optimizer.m.features.norm0.bias"});
    CHECK(w.state.metadata == std::map<std::string, std::string>{{"cxr.classes", "[]"}});
    CHECK(w.coverage.notes == std::vector<std::string>{"the optimizer's state is left out: 1 tensor"});
    auto const once = w.coverage.notes;
    drop_optimizer(w);
    CHECK(w.coverage.notes == once);
}

TEST_CASE("densenet_structure_of: tells the network from its tensors") {
    auto const s = densenet_structure_of(network(small), "f");
    CHECK(s.options.blocks == small.options.blocks);
    CHECK(s.options.growth == 4);
    CHECK(s.options.stem == 8);
    CHECK(s.options.bottleneck == 4);
    CHECK(s.options.compression == 0.5);
    CHECK(s.options.classes == 3);
    CHECK(s.channels == 3);
    auto other = small;
    other.options.compression = 1;
    other.options.classes = 0;
    other.channels = 1;
    auto const t = densenet_structure_of(network(other), "f");
    CHECK(t.options.compression == 1);
    CHECK(t.options.classes == 0);
    CHECK(t.channels == 1);
    CHECK(densenet_tensors({{}, 3}).size() == 606);
}

TEST_CASE("densenet_structure_of: finds a share for the widths that any share gives") {
    for (std::size_t percent = 10; percent <= 100; ++percent) {
        auto other = small;
        other.options.growth = 10;
        other.options.stem = 49;
        other.options.compression = static_cast<double>(percent) / 100;
        auto const tensors = densenet_tensors(other), found = densenet_tensors(densenet_structure_of(network(other), "f"));
        INFO(percent);
        CHECK(std::equal(tensors.begin(), tensors.end(), found.begin(), found.end(), [](auto const& x, auto const& y) { return x.name == y.name && x.shape == y.shape; }));
    }
}

TEST_CASE("densenet_structure_of: one tensor missing, too many or of another shape is named") {
    auto const whole = network(small);
    auto const said = [&](auto const& change) {
        auto c = whole;
        change(c);
        return message_of<cxr::io_error>([&] { (void)densenet_structure_of(c, "f"); });
    };
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
        auto const& name = whole.tensors[i].name;
        INFO(name);
        CHECK(said([&](checkpoint& c) { c.tensors.erase(c.tensors.begin() + static_cast<std::ptrdiff_t>(i)); }).starts_with("f: tensors make no DenseNet: "));
        CHECK(said([&](checkpoint& c) { c.tensors[i].shape = {1, 1, 1, 1, 1}; }).starts_with("f: tensors make no DenseNet: "));
    }
    CHECK(said([](checkpoint& c) { c.tensors.push_back({"features.other", {2}, {1, 2}}); }) == "f: tensors make no DenseNet: features.other (2) is not expected");
    CHECK(said([](checkpoint& c) { c.tensors.push_back({"optimizer.m.x", {2}, {1, 2}}); }).empty());
}

TEST_CASE("fingerprint_of: follows the numbers, the names and the shapes, not the order") {
    auto const c = network(small);
    auto const first = fingerprint_of(c);
    CHECK(first.tensors == c.tensors.size());
    CHECK(first.checksum.size() == 16);
    auto turned = c;
    std::swap(turned.tensors.front(), turned.tensors.back());
    turned.tensors.push_back({"optimizer.m.x", {1}, {1}});
    CHECK(fingerprint_of(turned).checksum == first.checksum);
    CHECK(fingerprint_of(turned).parameters == first.parameters);
    auto changed = c;
    changed.tensors[3].values[0] += 1;
    CHECK(fingerprint_of(changed).checksum != first.checksum);
    changed = c;
    changed.tensors[3].name += "x";
    CHECK(fingerprint_of(changed).checksum != first.checksum);
    checkpoint one;
    one.tensors = {{"a", {1}, {1}}};  // words 'a', ' ', '(', '1', ')', 0x3f800000
    CHECK(fingerprint_of(one).checksum == "4be11acc65615c96");
}

TEST_CASE("refuse_pickle: says why and how to convert; other files pass") {
    temporary_folder const folder;
    for (auto const& path : {folder.write("a.pt", "anything"), folder.write("b.pth", ""), folder.write("weights", "\x80\x02}q"), folder.write("c.bin", std::string("PK\3\4") + std::string(26, '\1') + "archive/data.pkl")}) {
        auto const said = message_of<cxr::io_error>([&] { refuse_pickle(path); });
        CHECK(said.starts_with(path + ": a pickled file of PyTorch, which executes the code that it holds"));
        CHECK(said.find("safetensors.torch.save_file") != std::string::npos);
    }
    for (auto const& path : {folder.write("a.safetensors", "\x08"), folder.write("a.keras", std::string("PK\3\4") + std::string(26, '\1') + "metadata.json"), folder / "not-there.pt"})
        CHECK(message_of<cxr::io_error>([&] { refuse_pickle(path); }).empty());
}
