// SPDX-License-Identifier: Apache-2.0
#include <onnx/checker.h>  // before the system's macro MAP_TYPE, which it uses as a name

#include "cxr/io/read_onnx.hpp"
#include "cxr/io/write_onnx.hpp"

#include "cxr/io/fingerprint.hpp"
#include "densenet_outputs.hpp"
#include "little_memory.hpp"
#include "skipped.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr;
using namespace cxr::io;
using model = ::onnx::ModelProto;
using node = ::onnx::NodeProto;
using type = ::onnx::TensorProto;

densenet_structure const small{{.blocks = {1, 2, 1, 1}, .growth = 4, .stem = 8, .classes = 3}, 3};

// Numbers between 0.5 and 1.5 for scales and variances, between -0.25 and 0.25 elsewhere.
checkpoint network(densenet_structure const& s = small) {
    checkpoint c;
    std::uint64_t i = 0;
    for (auto const& t : densenet_tensors(s)) {
        bool const positive = t.name.ends_with("running_var") || (t.name.find("norm") != std::string::npos && t.name.ends_with(".weight"));
        c.tensors.push_back({t.name, t.shape, std::vector<float>(t.shape.size())});
        for (auto& v : c.tensors.back().values) {
            auto const uniform = static_cast<float>(fnv1a(std::to_string(i++)) >> 40U) * 0x1p-24F;
            v = positive ? 0.5F + uniform : (uniform - 0.5F) / 2;
        }
    }
    c.metadata = {{"cxr.classes", R"(["A","B","C"])"}, {"cxr.preprocess", R"({"size":64})"}, {"cxr.version", "1"}, {"\xc3\xa9", "quote \" and \xf0\x9f\xab\x81"}};
    return c;
}

/// The written network after `change`, as a file.
std::string changed(temporary_folder const& folder, std::function<void(model&)> const& change, onnx_options const& options = {}) {
    static std::string const plain = [] {
        temporary_folder const own;
        write_onnx(own / "m.onnx", network());
        return content_of(own / "m.onnx");
    }();
    model m;
    if (options.folded || options.logits || options.details == models::convention::keras) {
        write_onnx(folder / "m.onnx", network(), options);
        m = parse_onnx(folder / "m.onnx");
    } else {
        REQUIRE(m.ParseFromString(plain));
    }
    change(m);
    return folder.write("changed.onnx", m.SerializeAsString());
}

/// What reading the changed network complains about, after the path; "" where it does not.
std::string complaint(std::function<void(model&)> const& change, onnx_options const& options = {}) {
    temporary_folder const folder;
    auto const path = changed(folder, change, options);
    auto const said = message_of<io_error>([&] { (void)read_onnx(path); });
    if (said.empty()) return said;
    REQUIRE(said.starts_with(path + ": "));
    return said.substr(path.size() + 2);
}

/// What the changed network is read as.
weights reading(std::function<void(model&)> const& change, onnx_options const& options = {}) {
    temporary_folder const folder;
    return read_onnx(changed(folder, change, options));
}

bool same_tensors(checkpoint const& a, checkpoint const& b) {
    if (a.tensors.size() != b.tensors.size()) return false;
    for (std::size_t i = 0; i < a.tensors.size(); ++i) {
        auto const &x = a.tensors[i], &y = b.tensors[i];
        if (x.name != y.name || x.shape != y.shape || std::memcmp(x.values.data(), y.values.data(), x.values.size() * sizeof(float)) != 0) return false;
    }
    return true;
}

bool noted(weights const& w, std::string const& words) {
    return std::any_of(w.coverage.notes.begin(), w.coverage.notes.end(), [&](auto const& n) { return n.find(words) != std::string::npos; });
}

node& node_of(model& m, std::string const& name) {
    for (auto& n : *m.mutable_graph()->mutable_node())
        if (n.name() == name) return n;
    throw std::logic_error("no node " + name);
}

int index_of(model const& m, std::string const& name) {
    for (int i = 0; i < m.graph().node_size(); ++i)
        if (m.graph().node(i).name() == name) return i;
    throw std::logic_error("no node " + name);
}

type& tensor_of(model& m, std::string const& name) {
    for (auto& t : *m.mutable_graph()->mutable_initializer())
        if (t.name() == name) return t;
    throw std::logic_error("no tensor " + name);
}

::onnx::AttributeProto& attribute_of(node& n, std::string const& name) {
    for (auto& a : *n.mutable_attribute())
        if (a.name() == name) return a;
    auto& a = *n.add_attribute();
    a.set_name(name);
    return a;
}

void set_integer(node& n, std::string const& name, std::int64_t value) {
    auto& a = attribute_of(n, name);
    a.set_type(::onnx::AttributeProto::INT);
    a.set_i(value);
}

/// Puts a node before the one called `before`, which then reads its output instead of what it read.
node& insert_before(model& m, std::string const& before, std::string const& op, std::vector<std::string> const& more_inputs = {}) {
    auto& nodes = *m.mutable_graph()->mutable_node();
    auto const at = index_of(m, before);
    auto& n = *nodes.Add();
    n.set_op_type(op);
    n.set_name("inserted " + op);
    n.add_input(nodes.Get(at).input(0));
    for (auto const& in : more_inputs) n.add_input(in);
    n.add_output("inserted " + op);
    nodes.Mutable(at)->set_input(0, n.output(0));
    for (int i = nodes.size() - 1; i > at; --i) nodes.SwapElements(i, i - 1);
    return *nodes.Mutable(at);
}

/// Takes a node out; what read its output reads its input.
void remove_node(model& m, std::string const& name) {
    auto const n = node_of(m, name);
    m.mutable_graph()->mutable_node()->DeleteSubrange(index_of(m, name), 1);
    for (auto& other : *m.mutable_graph()->mutable_node())
        for (auto& in : *other.mutable_input())
            if (in == n.output(0)) in = n.input(0);
    if (m.graph().output(0).name() == n.output(0)) m.mutable_graph()->mutable_output(0)->set_name(n.input(0));
}

void add_integers(model& m, std::string const& name, std::vector<std::int64_t> const& values) {
    auto& t = *m.mutable_graph()->add_initializer();
    t.set_name(name);
    t.set_data_type(type::INT64);
    t.add_dims(static_cast<std::int64_t>(values.size()));
    for (auto const v : values) t.add_int64_data(v);
}

std::vector<float> floats_of(type const& t) {
    std::vector<float> values(t.raw_data().size() / sizeof(float));
    std::memcpy(values.data(), t.raw_data().data(), t.raw_data().size());
    return values;
}

}  // namespace

TEST_CASE("ONNX: what was written unfolded reads back bit for bit, and saves to the same safetensors file") {
    temporary_folder const folder;
    auto const c = network();
    CHECK(write_onnx(folder / "m.onnx", c).empty());
    auto const w = read_onnx(folder / "m.onnx");
    CHECK(same_tensors(w.state, c));
    CHECK(w.state.metadata == c.metadata);
    CHECK(w.convention == models::convention::torchvision);
    CHECK(w.height == 0);
    CHECK(w.coverage.placed.size() == c.tensors.size());
    CHECK(w.coverage.renamed() == 0);
    CHECK(w.coverage.ignored.empty());
    CHECK(w.coverage.notes == std::vector<std::string>{"input images is (any, 3, any, any)"});
    CHECK(fingerprint_of(w.state).checksum == fingerprint_of(c).checksum);
    c.save(folder / "a.safetensors");
    w.state.save(folder / "b.safetensors");
    CHECK(content_of(folder / "a.safetensors") == content_of(folder / "b.safetensors"));
    write_onnx(folder / "again.onnx", w.state);
    CHECK(content_of(folder / "m.onnx") == content_of(folder / "again.onnx"));
}

TEST_CASE("ONNX: other widths, one channel, Keras' epsilon, logits and DenseNet121 itself are read back") {
    for (auto const& s : {densenet_structure{{.blocks = {2, 1, 3, 2}, .growth = 6, .stem = 10, .bottleneck = 2, .compression = 0.3, .classes = 1}, 1}, densenet_structure{{}, 3}}) {
        temporary_folder const folder;
        auto const c = network(s);
        write_onnx(folder / "m.onnx", c, {.details = models::convention::keras, .logits = true});
        auto const w = read_onnx(folder / "m.onnx");
        CHECK(same_tensors(w.state, c));
        CHECK(w.convention == models::convention::keras);
        CHECK(noted(w, "ends in logits"));
    }
}

TEST_CASE("ONNX: the format's own checker accepts what is written") {
    temporary_folder const folder;
    for (bool const folded : {false, true})
        for (bool const logits : {false, true}) {
            write_onnx(folder / "m.onnx", network(), {.folded = folded, .logits = logits});
            auto const m = parse_onnx(folder / "m.onnx");
            CHECK_NOTHROW(::onnx::checker::check_model(m));
            CHECK(m.ir_version() == 8);
            CHECK(m.opset_import(0).version() == 17);
            CHECK(m.producer_name() == "cxr");
            CHECK(m.producer_version() == version);
            CHECK(m.metadata_props_size() == 4);
            CHECK(m.graph().output(0).name() == (logits ? "logits" : "probabilities"));
            CHECK(m.graph().node().rbegin()->op_type() == (logits ? "Gemm" : "Sigmoid"));
        }
    // It can also say no.
    auto bad = parse_onnx(folder / "m.onnx");
    bad.mutable_graph()->mutable_node(0)->set_input(0, "nobody");
    CHECK_THROWS(::onnx::checker::check_model(bad));
}

TEST_CASE("ONNX: folded batch norms keep the outputs, to float32's error") {
    temporary_folder const folder;
    auto const c = network();
    for (auto const details : {models::convention::torchvision, models::convention::keras}) {
        CHECK(write_onnx(folder / "m.onnx", c, {.details = details, .folded = true}).size() == 1);
        auto const w = read_onnx(folder / "m.onnx");
        CHECK(w.convention == details);
        CHECK(noted(w, "6 batch norms are folded"));
        CHECK(w.coverage.placed.size() == c.tensors.size() - 6 * 3);
        auto const exact = test::logits_of<double>(c, details, test::made_up_images<double>(2, 64).view());
        auto const own = test::relative_error(test::logits_of<float>(c, details, test::made_up_images<float>(2, 64).view()), exact);
        auto const folded = test::relative_error(test::logits_of<float>(w.state, details, test::made_up_images<float>(2, 64).view()), exact);
        INFO("float32's own relative error " << own << ", folded " << folded);
        // Each of the 14 convolutions may add the rounding of its weights.
        CHECK(folded < own + 14 * std::pow(2.0, -24));
        // And written again, folded, the identity norms change nothing.
        write_onnx(folder / "again.onnx", w.state, {.details = details, .folded = true});
        CHECK(same_tensors(read_onnx(folder / "again.onnx").state, w.state));
    }
}

TEST_CASE("ONNX: the optimizer stays behind, and notes say so") {
    temporary_folder const folder;
    auto c = network();
    c.metadata["cxr.optimizer"] = "{}";
    c.tensors.push_back({"optimizer.m.classifier.bias", {3}, {1, 2, 3}});
    c.ignored = {"features.norm0.num_batches_tracked"};
    auto const notes = write_onnx(folder / "m.onnx", c);
    REQUIRE(notes.size() == 2);
    CHECK(notes[0].starts_with("1 tensors of the optimizer"));
    CHECK(notes[1].find("features.norm0.num_batches_tracked") != std::string::npos);
    auto const w = read_onnx(folder / "m.onnx");
    CHECK(same_tensors(w.state, network()));
    CHECK(!w.state.metadata.contains("cxr.optimizer"));
}

TEST_CASE("ONNX: what cannot be written is refused, and what is there stays") {
    temporary_folder const folder;
    auto const path = folder.write("m.onnx", "old");
    auto const said = [&](std::function<void(checkpoint&)> const& change) {
        auto c = network();
        change(c);
        return message_of<std::exception>([&] { write_onnx(path, c); });
    };
    CHECK(said([](checkpoint& c) { c.tensors.erase(c.tensors.begin()); }) == path + ": tensors make no DenseNet: features.conv0.weight is missing");
    CHECK(said([](checkpoint& c) { c.tensors.resize(c.tensors.size() - 2); }) == path + ": tensors make no whole DenseNet: classifier.weight is missing");
    CHECK(said([](checkpoint& c) { c.tensors[3].values[1] = std::numeric_limits<float>::quiet_NaN(); }) == path + ": tensor features.norm0.running_mean has NaN or infinity at element 1, expected finite numbers");
    CHECK(said([](checkpoint& c) { c.tensors[3].values.pop_back(); }).starts_with("cxr::io::write_onnx: 7 values for (8)"));
    CHECK(said([](checkpoint& c) { c.metadata["a"] = "\xff"; }) == "cxr::io::write_onnx: metadata \"a\" is not UTF-8");
    CHECK(content_of(path) == "old");
    CHECK(message_of<io_error>([&] { write_onnx(folder / "no/where.onnx", network()); }).starts_with(folder / "no/where.onnx"));
}

TEST_CASE("ONNX: the same network in other nodes") {
    auto const c = network();
    SECTION("sums of channels one after the other, single ones, identities, in another order of the wiring") {
        auto const w = reading([](model& m) {
            // denseblock2 joins three parts at once: now two, then the third.
            auto& whole = node_of(m, "features.denseblock2");
            REQUIRE(whole.input_size() == 3);
            auto const third = whole.input(2);
            auto& first = insert_before(m, "features.denseblock2", "Concat", {whole.input(1)});
            set_integer(first, "axis", -3);
            auto& rest = node_of(m, "features.denseblock2");
            rest.clear_input();
            rest.add_input("inserted Concat");
            rest.add_input(third);
            insert_before(m, "features.denseblock3.denselayer1.norm1", "Identity").set_name("a");
            node_of(m, "a").set_output(0, "a");
            node_of(m, "features.denseblock3.denselayer1.norm1").set_input(0, "a");
            auto& single = insert_before(m, "features.denseblock4.denselayer1.norm1", "Concat");
            set_integer(single, "axis", 1);
            single.set_name("b");
            single.set_output(0, "b");
            node_of(m, "features.denseblock4.denselayer1.norm1").set_input(0, "b");
        });
        CHECK(same_tensors(w.state, c));
    }
    SECTION("constants as nodes, and shared ones") {
        auto const w = reading([](model& m) {
            auto const t = tensor_of(m, "classifier.bias");
            auto& n = insert_before(m, "features.conv0", "Constant");
            n.clear_input();
            node_of(m, "features.conv0").set_input(0, "images");
            auto& a = attribute_of(n, "value");
            a.set_type(::onnx::AttributeProto::TENSOR);
            *a.mutable_t() = t;
            a.mutable_t()->clear_name();
            node_of(m, "classifier").set_input(2, n.output(0));
            node_of(m, "features.norm0").set_input(3, "features.norm0.bias");
        });
        CHECK(w.coverage.placed.back().found == "inserted Constant");
        CHECK(w.coverage.ignored == std::vector<std::string>{"features.norm0.running_mean", "classifier.bias"});
        CHECK(noted(w, "shares equal tensors: 1 more"));
    }
    SECTION("channels last, borders of their own, a mean over axes, shapes that are computed, a matrix product and a sum") {
        auto const w = reading([](model& m) {
            auto& transpose = insert_before(m, "features.conv0", "Transpose");
            auto& perm = attribute_of(transpose, "perm");
            perm.set_type(::onnx::AttributeProto::INTS);
            for (auto const axis : {0, 3, 1, 2}) perm.add_ints(axis);
            auto& dims = *m.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
            dims.mutable_dim()->SwapElements(1, 3);
            add_integers(m, "border 3", {0, 0, 3, 3, 0, 0, 3, 3});
            add_integers(m, "border 1", {0, 0, 1, 1, 0, 0, 1, 1});
            insert_before(m, "features.conv0", "Pad", {"border 3"});
            auto& second = insert_before(m, "features.pool0", "Pad", {"border 1"});
            second.set_name("second");
            second.set_output(0, "second");
            node_of(m, "features.pool0").set_input(0, "second");
            for (auto const* const name : {"features.conv0", "features.pool0"})
                for (auto& p : *attribute_of(node_of(m, name), "pads").mutable_ints()) p = 0;
            auto& mean = node_of(m, "pool");
            mean.set_op_type("ReduceMean");
            add_integers(m, "axes", {-1, -2});
            mean.add_input("axes");
            set_integer(mean, "keepdims", 0);
            // The batch of the images, then -1.
            add_integers(m, "zero", {0});
            add_integers(m, "minus one", {-1});
            auto& flatten = node_of(m, "flatten");
            flatten.set_op_type("Reshape");
            flatten.clear_attribute();
            flatten.add_input("shape");
            auto& shape = insert_before(m, "flatten", "Shape");
            shape.set_input(0, "images");
            node_of(m, "flatten").set_input(0, "pool");
            insert_before(m, "flatten", "Gather", {"zero"}).set_input(0, "inserted Shape");
            node_of(m, "flatten").set_input(0, "pool");
            auto& join = insert_before(m, "flatten", "Concat", {"minus one"});
            join.set_input(0, "inserted Gather");
            join.set_output(0, "shape");
            set_integer(join, "axis", 0);
            node_of(m, "flatten").set_input(0, "pool");
            auto& product = node_of(m, "classifier");
            product.set_op_type("MatMul");
            product.clear_attribute();
            product.mutable_input()->RemoveLast();
            auto& weight = tensor_of(m, "classifier.weight");
            auto const rows = floats_of(weight);
            auto const width = static_cast<std::size_t>(weight.dims(1));
            std::vector<float> turned(rows.size());
            for (std::size_t o = 0; o < 3; ++o)
                for (std::size_t i = 0; i < width; ++i) turned[i * 3 + o] = rows[o * width + i];
            weight.set_raw_data(turned.data(), turned.size() * sizeof(float));
            weight.mutable_dims()->SwapElements(0, 1);
            auto& sum = insert_before(m, "sigmoid", "Add", {});
            sum.add_input(sum.input(0));
            sum.set_input(0, "classifier.bias");
        });
        CHECK(same_tensors(w.state, c));
        CHECK(noted(w, "input images has its channels last"));
        CHECK(noted(w, "input images is (any, any, any, 3)"));
    }
    SECTION("a batch norm as a scale and a shift keeps the outputs") {
        auto const& norm = c.tensors[1];
        REQUIRE(norm.name == "features.norm0.weight");
        auto const w = reading([&](model& m) {
            auto& n = node_of(m, "features.denseblock1.denselayer1.norm1");
            auto const gamma = floats_of(tensor_of(m, n.input(1))), beta = floats_of(tensor_of(m, n.input(2))), mean = floats_of(tensor_of(m, n.input(3))), variance = floats_of(tensor_of(m, n.input(4)));
            std::vector<float> scale(8), shift(8);
            for (std::size_t i = 0; i < 8; ++i) {
                scale[i] = static_cast<float>(gamma[i] / std::sqrt(variance[i] + 1e-5));
                shift[i] = beta[i] - mean[i] * scale[i];
            }
            for (auto const& [name, values] : {std::pair{"scale", &scale}, std::pair{"shift", &shift}}) {
                auto& t = *m.mutable_graph()->add_initializer();
                t.set_name(name);
                t.set_data_type(type::FLOAT);
                for (auto const extent : {1, 8, 1, 1}) t.add_dims(extent);
                t.set_raw_data(values->data(), 32);
            }
            insert_before(m, n.name(), "Mul", {"scale"});
            auto& add = node_of(m, "features.denseblock1.denselayer1.norm1");
            add.set_op_type("Add");
            add.clear_attribute();
            while (add.input_size() > 1) add.mutable_input()->RemoveLast();
            add.add_input("shift");
        });
        CHECK(noted(w, "1 batch norms are folded"));
        auto const images = test::made_up_images<double>(1, 64);
        // Scale and shift are rounded once each.
        CHECK(test::relative_error(test::logits_of<double>(w.state, *w.convention, images.view()), test::logits_of<double>(c, *w.convention, images.view())) < std::pow(2.0, -23));
    }
    SECTION("without a sigmoid, without a classifier's bias, without a classifier") {
        CHECK(noted(reading([](model& m) { remove_node(m, "sigmoid"); m.mutable_graph()->mutable_output(0)->set_name("classifier"); }), "ends in logits"));
        auto const w = reading([](model& m) { node_of(m, "classifier").mutable_input()->RemoveLast(); });
        CHECK(w.state.tensors.back().values == std::vector<float>{0, 0, 0});
        CHECK(noted(w, "no bias"));
        auto const without = reading([](model& m) {
            m.mutable_graph()->mutable_node()->DeleteSubrange(index_of(m, "pool"), 4);
            m.mutable_graph()->mutable_output(0)->set_name("features.relu5");
        });
        CHECK(densenet_structure_of(without.state, "f").options.classes == 0);
        CHECK(noted(without, "no classifier"));
        CHECK(without.coverage.ignored == std::vector<std::string>{"classifier.weight", "classifier.bias"});
    }
    SECTION("initialisers that are inputs too, a size, an automatic border") {
        auto const w = reading([](model& m) {
            for (auto const& t : m.graph().initializer()) m.mutable_graph()->add_input()->set_name(t.name());
            auto& dims = *m.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
            dims.mutable_dim(0)->set_dim_value(1);
            dims.mutable_dim(2)->set_dim_value(224);
            dims.mutable_dim(3)->set_dim_value(224);
            auto& n = node_of(m, "features.denseblock1.denselayer1.conv2");
            attribute_of(n, "pads").set_name("auto_pad");
            attribute_of(n, "auto_pad").set_type(::onnx::AttributeProto::STRING);
            attribute_of(n, "auto_pad").clear_ints();
            attribute_of(n, "auto_pad").set_s("SAME_UPPER");
        });
        CHECK(same_tensors(w.state, c));
        CHECK(w.height == 224);
        CHECK(noted(w, "for batches of that size alone"));
    }
}

TEST_CASE("ONNX: elements of every floating type, as bytes and as numbers") {
    auto const whole = floats_of([&] {
        temporary_folder const folder;
        write_onnx(folder / "m.onnx", network());
        auto m = parse_onnx(folder / "m.onnx");
        return tensor_of(m, "features.norm0.weight");
    }());
    auto const read = [&](std::function<void(type&)> const& change) {
        auto const w = reading([&](model& m) { change(tensor_of(m, "features.norm0.weight")); });
        return std::pair(w.state.tensors[1].values, noted(w, "1 tensors are of 16 or 64 bits"));
    };
    CHECK(read([&](type& t) { t.clear_raw_data(); for (auto const v : whole) t.add_float_data(v); }) == std::pair(whole, false));
    auto const as_double = [&](bool raw) {
        return read([&](type& t) {
            t.clear_raw_data();
            t.set_data_type(type::DOUBLE);
            std::vector<double> const values(whole.begin(), whole.end());
            if (raw) t.set_raw_data(values.data(), values.size() * 8);
            else
                for (auto const v : values) t.add_double_data(v);
        });
    };
    CHECK(as_double(true) == std::pair(whole, true));
    CHECK(as_double(false) == std::pair(whole, true));
    // 1, -2, 2^-24, the largest float16, and the same bits as bfloat16.
    std::vector<std::uint16_t> const bits{0x3C00, 0xC000, 0x0001, 0x7BFF, 0x0000, 0x8000, 0x3800, 0x3400};
    std::vector<float> const halves{1, -2, 0x1p-24F, 65504, 0, -0.0F, 0.5F, 0.25F};
    for (auto const what : {type::FLOAT16, type::BFLOAT16}) {
        auto const sixteen = [&](bool raw) {
            return read([&](type& t) {
                t.clear_raw_data();
                t.set_data_type(what);
                if (raw) t.set_raw_data(bits.data(), bits.size() * 2);
                else
                    for (auto const b : bits) t.add_int32_data(b);
            });
        };
        CHECK(sixteen(true) == sixteen(false));
        CHECK(sixteen(true).second);
        if (what == type::FLOAT16) CHECK(sixteen(true).first == halves);
        else CHECK(sixteen(true).first[0] == 0x1p-7F);  // 0x3C00
    }
}

TEST_CASE("ONNX: weights in a file beside the model are read, in its folder alone") {
    temporary_folder const folder;
    auto const outside = folder.write("outside.bin", std::string(64, '\0'));
    std::filesystem::create_directories(folder / "inside");
    std::vector<float> const values{1, 2, 3, 4, 5, 6, 7, 8};
    std::string bytes(3, 'x');
    bytes.append(reinterpret_cast<char const*>(values.data()), 32);
    folder.write("inside/w.bin", bytes);
    std::filesystem::create_symlink(outside, folder / "inside/link.bin");
    auto const said = [&](std::vector<std::pair<std::string, std::string>> const& entries, bool keep = false) {
        temporary_folder const own;
        auto const made = changed(own, [&](model& m) {
            auto& t = tensor_of(m, "features.norm0.weight");
            if (!keep) t.clear_raw_data();
            t.set_data_location(type::EXTERNAL);
            for (auto const& [key, value] : entries) {
                auto& e = *t.add_external_data();
                e.set_key(key);
                e.set_value(value);
            }
        });
        auto const path = folder.write("inside/m.onnx", content_of(made));
        std::vector<float> found;
        auto const what = message_of<io_error>([&] { found = read_onnx(path).state.tensors[1].values; });
        CHECK((what.empty() ? found == values : found.empty()));
        REQUIRE((what.empty() || what.starts_with(path + ": ")));
        return what.empty() ? what : what.substr(path.size() + 2);
    };
    CHECK(said({{"location", "w.bin"}, {"offset", "3"}, {"length", "32"}}).empty());
    CHECK(said({{"location", "./w.bin"}, {"offset", "3"}, {"checksum", "?"}}).empty());
    auto const only_inside = [](std::string const& where) { return "tensor features.norm0.weight has external data in " + where + ", expected a file in the model's folder or below it"; };
    CHECK(said({{"location", "../outside.bin"}}) == only_inside("../outside.bin"));
    CHECK(said({{"location", outside}}) == only_inside(outside));
    CHECK(said({{"location", "link.bin"}}) == only_inside("link.bin"));
    CHECK(said({{"offset", "3"}}) == only_inside("no file"));
    CHECK(said({{"location", "none.bin"}}).find("none.bin: cannot be opened") != std::string::npos);
    CHECK(said({{"location", "."}}).find("is not a file, expected its external data") != std::string::npos);
    CHECK(said({{"location", "w.bin"}, {"offset", "4"}}).find("external data from byte 4 on in the 35 bytes of") != std::string::npos);
    CHECK(said({{"location", "w.bin"}, {"offset", "18446744073709551615"}}).find("external data from byte 18446744073709551615") != std::string::npos);
    CHECK(said({{"location", "w.bin"}, {"offset", "-1"}}).find("offset -1, expected a whole number") != std::string::npos);
    CHECK(said({{"location", "w.bin"}, {"length", "31"}}).find("external data of 31 bytes, expected 32 for the shape (8)") != std::string::npos);
    CHECK(said({{"location", "w.bin"}, {"location", "w.bin"}}).find("the key location of its external data twice") != std::string::npos);
    CHECK(said({{"location", "w.bin"}, {"offset", "3"}}, true).find("its data twice") != std::string::npos);
}

TEST_CASE("ONNX: a tensor that is not what it claims is named") {
    auto const said = [](std::function<void(type&)> const& change) { return complaint([&](model& m) { change(tensor_of(m, "features.norm0.weight")); }); };
    auto const has = [](std::string const& what) { return "tensor features.norm0.weight has " + what; };
    CHECK(said([](type& t) { t.mutable_raw_data()->pop_back(); }) == has("31 bytes of data, expected 32 for the shape (8)"));
    CHECK(said([](type& t) { t.set_dims(0, -8); }) == has("an extent of -8, expected 0 or more"));
    CHECK(said([](type& t) { t.set_dims(0, 1LL << 62); }) == has("a shape whose number of elements overflows"));
    CHECK(said([](type& t) { for (int i = 0; i < 4; ++i) t.add_dims(1LL << 20); }) == has("a shape whose number of elements overflows"));
    CHECK(said([](type& t) { for (int i = 0; i < 6; ++i) t.add_dims(1); }) == has("7 dimensions, expected at most 6"));
    CHECK(said([](type& t) { t.set_data_type(type::INT8); }) == has("the type INT8, expected FLOAT, FLOAT16, BFLOAT16 or DOUBLE"));
    CHECK(said([](type& t) { t.set_data_type(99); }) == has("the type 99, expected FLOAT, FLOAT16, BFLOAT16 or DOUBLE"));
    CHECK(said([](type& t) { t.add_float_data(1); }) == has("its data twice, expected them once"));
    CHECK(said([](type& t) { t.clear_raw_data(); t.add_float_data(1); }) == has("1 numbers of data, expected 8 for the shape (8)"));
    CHECK(said([](type& t) { t.mutable_segment(); }) == has("a segment, expected a whole tensor"));
    auto const not_finite = has("NaN, infinity or a number beyond float at element 2, expected finite numbers");
    for (float const v : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()})
        CHECK(said([&](type& t) { std::memcpy(t.mutable_raw_data()->data() + 8, &v, 4); }) == not_finite);
    CHECK(said([](type& t) {
              t.clear_raw_data();
              t.set_data_type(type::DOUBLE);
              for (int i = 0; i < 8; ++i) t.add_double_data(i == 2 ? 1e39 : 1);
          }) == not_finite);
    CHECK(said([](type& t) {
              t.clear_raw_data();
              t.set_data_type(type::FLOAT16);
              for (int i = 0; i < 8; ++i) t.add_int32_data(1 << 16);
          }) == has("the word 65536, expected 16 bits"));
    CHECK(said([](type& t) { t.set_dims(0, 4); t.add_dims(2); }) == "node 1 \"features.norm0\" (BatchNormalization) has features.norm0.weight (4, 2), expected (8) for features.norm0");
    CHECK(complaint([](model& m) { float const v = -1; std::memcpy(tensor_of(m, "features.norm0.running_var").mutable_raw_data()->data(), &v, 4); }) ==
          "node 1 \"features.norm0\" (BatchNormalization) has a negative variance in features.norm0.running_var");
}

TEST_CASE("ONNX: the first node that no DenseNet has there is named") {
    auto const pads = [](model& m, char const* name) -> ::onnx::AttributeProto& { return attribute_of(node_of(m, name), "pads"); };
    std::vector<std::pair<std::function<void(model&)>, std::string>> const cases{
        {[](model& m) { insert_before(m, "features.relu0", "LeakyRelu"); }, "node 2 \"inserted LeakyRelu\" (LeakyRelu) is no part of a DenseNet here; expected Relu for features.relu0"},
        {[](model& m) { insert_before(m, "features.relu0", "Identity").set_domain("com.microsoft"); }, "node 2 \"inserted Identity\" (Identity) is of the domain com.microsoft, expected operators of ONNX itself"},
        {[](model& m) { remove_node(m, "features.pool0"); }, "node 3 \"features.denseblock1.denselayer1.norm1\" (BatchNormalization) is no part of a DenseNet here; expected MaxPool for features.pool0"},
        {[&](model& m) { pads(m, "features.conv0").set_ints(0, 2); }, "node 0 \"features.conv0\" (Conv) has pads (2, 3, 3, 3), expected (3, 3, 3, 3)"},
        {[](model& m) { attribute_of(node_of(m, "features.conv0"), "strides").set_ints(0, 1); }, "node 0 \"features.conv0\" (Conv) has strides (1, 2), expected (2, 2)"},
        {[](model& m) { set_integer(node_of(m, "features.conv0"), "group", 3); }, "node 0 \"features.conv0\" (Conv) has group 3, expected 1"},
        {[](model& m) { set_integer(node_of(m, "features.pool0"), "ceil_mode", 1); }, "node 3 \"features.pool0\" (MaxPool) has ceil_mode 1, expected 0"},
        {[](model& m) { set_integer(node_of(m, "features.relu0"), "alpha", 1); }, "node 2 \"features.relu0\" (Relu) has the attribute alpha, which is not expected"},
        {[](model& m) { attribute_of(node_of(m, "features.norm0"), "epsilon").set_f(1e-3F); }, "node 1 \"features.norm0\" (BatchNormalization) has epsilon 0.001, expected 1e-5, torchvision's, or 1.001e-5, Keras'"},
        {[](model& m) { attribute_of(node_of(m, "features.norm5"), "epsilon").set_f(1.001e-5F); }, "(BatchNormalization) has another epsilon than the batch norms before it"},
        {[](model& m) { set_integer(node_of(m, "features.norm0"), "training_mode", 1); }, "node 1 \"features.norm0\" (BatchNormalization) has training_mode 1, expected 0"},
        {[](model& m) { node_of(m, "features.norm0").add_output("mean"); }, "node 1 \"features.norm0\" (BatchNormalization) has 2 outputs, expected one, as in inference"},
        {[](model& m) { node_of(m, "features.norm0").mutable_input()->RemoveLast(); }, "node 1 \"features.norm0\" (BatchNormalization) has fewer than five inputs"},
        {[](model& m) { node_of(m, "features.norm0").set_input(4, "features.conv0"); }, "node 1 \"features.norm0\" (BatchNormalization) reads features.conv0, which is computed, expected an initialiser"},
        {[](model& m) { node_of(m, "features.denseblock2.denselayer2.concat").mutable_input()->SwapElements(0, 1); }, "(BatchNormalization) reads features.denseblock2.denselayer2.concat as input 0, expected what the nodes before it made"},
        {[](model& m) { set_integer(node_of(m, "features.denseblock1"), "axis", 2); }, "\"features.denseblock1\" (Concat) joins another axis than the channels, expected axis 1"},
        {[](model& m) { auto& n = node_of(m, "features.denseblock1"); n.add_input(n.input(0)); }, "\"features.denseblock1\" (Concat) joins the same channels twice"},
        {[](model& m) { node_of(m, "features.denseblock1.denselayer1.conv2").add_input("classifier.bias"); }, "\"features.denseblock1.denselayer1.conv2\" (Conv) has classifier.bias (3), expected (4) for features.denseblock1.denselayer1.conv2's bias"},
        {[](model& m) { node_of(m, "features.denseblock1.denselayer1.conv2").set_input(1, "features.denseblock1.denselayer1.conv1.weight"); },
         "\"features.denseblock1.denselayer1.conv2\" (Conv) has weights features.denseblock1.denselayer1.conv1.weight (16, 8, 1, 1), expected (outputs, 16, 3, 3) for features.denseblock1.denselayer1.conv2"},
        {[](model& m) { node_of(m, "pool").set_op_type("GlobalMaxPool"); }, "(GlobalMaxPool) is no part of a DenseNet here; expected GlobalAveragePool or ReduceMean for the pooling of the features"},
        {[](model& m) { set_integer(node_of(m, "flatten"), "axis", 0); }, "\"flatten\" (Flatten) has axis 0, expected 1"},
        {[](model& m) { node_of(m, "sigmoid").set_op_type("Softmax"); }, "\"sigmoid\" (Softmax) is no part of a DenseNet here; expected Sigmoid for the probabilities"},
        {[](model& m) { auto& n = *m.mutable_graph()->add_node(); n = node_of(m, "sigmoid"); n.set_output(0, "more"); n.set_input(0, "probabilities"); }, "(Sigmoid) follows the probabilities, expected the end of the graph"},
        {[](model& m) { m.mutable_graph()->mutable_node()->DeleteSubrange(5, m.graph().node_size() - 5); }, "its graph ends after 5 nodes and has no output of its own; expected Relu for features.denseblock1.denselayer1.relu1"},
        {[](model& m) { m.mutable_graph()->mutable_output(0)->set_name("pool"); }, "its output is pool, expected what its last node makes"},
        {[](model& m) { attribute_of(node_of(m, "classifier"), "alpha").set_type(::onnx::AttributeProto::FLOAT); }, "\"classifier\" (Gemm) has alpha 0, expected 1"},
        {[](model& m) { attribute_of(node_of(m, "classifier"), "transB").set_type(::onnx::AttributeProto::FLOAT); }, "\"classifier\" (Gemm) has an attribute transB of another type than expected"},
    };
    for (auto const& [change, expected] : cases) {
        auto const said = complaint(change);
        INFO(expected);
        CHECK(said.find(expected) != std::string::npos);
    }
    CHECK(complaint([](model& m) {
              auto& t = *m.mutable_graph()->add_initializer();
              t = tensor_of(m, "classifier.bias");
              t.set_name("more");
              t.set_dims(0, 16);
              t.set_raw_data(std::string(64, '\x3f'));
              node_of(m, "features.denseblock1.denselayer1.conv1").add_input("more");
          }) == "tensor more is a bias of the convolution before features.denseblock1.denselayer1.norm2, which has none in a DenseNet");
}

TEST_CASE("ONNX: a ResNet is refused at its first node that differs") {
    // Convolution, relu, pool as a DenseNet; then a convolution where a DenseNet normalises.
    CHECK(complaint(
              [](model& m) {
                  remove_node(m, "features.denseblock1.denselayer1.norm1");
                  remove_node(m, "features.denseblock1.denselayer1.relu1");
              },
              {.folded = true}) ==
          "node 3 \"features.denseblock1.denselayer1.conv1\" (Conv) is no part of a DenseNet here; expected BatchNormalization or Mul for features.denseblock1.denselayer1.norm1");
}

TEST_CASE("ONNX: a graph that is none is refused") {
    std::vector<std::pair<std::function<void(model&)>, std::string>> const cases{
        {[](model& m) { node_of(m, "features.relu0").set_input(0, "nobody"); }, "node 2 \"features.relu0\" (Relu) reads nobody, which no node makes and no initialiser is"},
        {[](model& m) { m.mutable_graph()->mutable_initializer()->DeleteSubrange(0, 1); }, "node 0 \"features.conv0\" (Conv) reads features.conv0.weight, which no node makes and no initialiser is"},
        {[](model& m) { m.mutable_graph()->mutable_node()->SwapElements(1, 2); }, "node 1 \"features.relu0\" (Relu) reads features.norm0, which node 2 makes: the graph has a cycle or is not sorted"},
        {[](model& m) { node_of(m, "features.conv0").set_input(0, "features.relu5"); }, "node 0 \"features.conv0\" (Conv) reads features.relu5, which node "},
        {[](model& m) { node_of(m, "features.relu0").set_input(0, "features.relu0"); }, "node 2 \"features.relu0\" (Relu) reads features.relu0, which node 2 makes: the graph has a cycle or is not sorted"},
        {[](model& m) { node_of(m, "features.relu0").set_output(0, "features.norm0"); }, "node 2 \"features.relu0\" (Relu) makes features.norm0, which is there already"},
        {[](model& m) { node_of(m, "features.relu0").clear_output(); }, "node 2 \"features.relu0\" (Relu) has no output"},
        {[](model& m) { *m.mutable_graph()->add_initializer() = m.graph().initializer(3); }, "initialiser features.norm0.running_mean is there twice"},
        {[](model& m) { m.mutable_graph()->mutable_initializer(0)->clear_name(); }, "initialiser has no name"},
        {[](model& m) { m.mutable_graph()->add_input()->set_name("age"); }, "has the inputs images and age, expected one, the images"},
        {[](model& m) { m.mutable_graph()->clear_input(); }, "has no input, expected one, the images"},
        {[](model& m) { m.mutable_graph()->add_output()->set_name("pool"); }, "has 2 outputs, expected one"},
        {[](model& m) { *node_of(m, "features.conv0").add_attribute() = node_of(m, "features.conv0").attribute(0); }, "node 0 \"features.conv0\" (Conv) has the attribute kernel_shape twice"},
        {[](model& m) { m.mutable_graph()->add_sparse_initializer(); }, "has sparse initialisers, expected dense ones"},
        {[](model& m) { m.add_functions()->set_name("f"); }, "defines operators of its own, expected those of ONNX alone"},
        {[](model& m) { m.mutable_opset_import(0)->set_version(6); }, "is of operator set 6, expected 7 or later"},
        {[](model& m) { m.clear_opset_import(); }, "expected an ONNX model: it names no operator set, or is cut off"},
        {[](model& m) { m.clear_graph(); }, "expected an ONNX model: it holds no graph"},
        {[](model& m) { *m.add_metadata_props() = m.metadata_props(0); }, "has the metadata cxr.classes twice"},
        {[](model& m) { m.mutable_metadata_props(0)->set_value("\xff"); }, "metadata \"cxr.classes\" is not UTF-8"},
        {[](model& m) { m.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim(); }, "input images has 5 dimensions, expected the 4 of a batch of images"},
        {[](model& m) { m.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(1)->set_dim_value(1); },
         "node 0 \"features.conv0\" (Conv) has weights features.conv0.weight (8, 3, 7, 7), expected (outputs, 1, 7, 7) for features.conv0"},
        {[](model& m) {  // messages in messages
             auto* n = m.mutable_graph()->add_node();
             for (int depth = 0; depth < 200; ++depth) n = n->add_attribute()->mutable_g()->add_node();
         },
         "bytes are no protobuf, are cut off, or hold messages more than 100 deep"},
    };
    for (auto const& [change, expected] : cases) {
        auto const said = complaint(change);
        INFO(expected);
        CHECK(said.find(expected) != std::string::npos);
    }
}

TEST_CASE("ONNX: a file that is cut off anywhere, empty, or another format is refused by its name") {
    temporary_folder const folder;
    write_onnx(folder / "m.onnx", network());
    auto const whole = content_of(folder / "m.onnx");
    for (std::size_t length = 0; length < whole.size(); length += 1024) {
        auto const path = folder.write("cut.onnx", whole.substr(0, length));
        INFO(length);
        CHECK(message_of<io_error>([&] { (void)read_onnx(path); }).starts_with(path + ": expected an ONNX model: it"));
    }
    for (auto const* const other : {"PK\3\4", "\x89HDF\r\n\x1a\n", "Image,A,B\n", "\x08\x08"}) {
        auto const path = folder.write("other.onnx", other);
        CHECK(message_of<io_error>([&] { (void)read_onnx(path); }).starts_with(path + ": expected an ONNX model: it"));
    }
    CHECK(message_of<io_error>([&] { (void)read_onnx(folder / "none"); }).starts_with(folder / "none: cannot be opened"));
    CHECK(message_of<io_error>([&] { (void)read_onnx(folder.path()); }) == folder.path() + ": is not a file, expected an ONNX file");
    auto const huge = folder.write("huge.onnx", "");
    std::filesystem::resize_file(huge, largest_onnx_file + 1);  // a hole: no disk is filled
    CHECK(message_of<io_error>([&] { (void)read_onnx(huge); }) == huge + ": 2147483648 bytes, expected at most 2147483647 in an ONNX file; larger models keep their weights in files beside it");
}

TEST_CASE("ONNX: where memory ends, the file is named") {
    if (!memory_can_be_limited) return test::skipped("memory cannot be limited here");
    temporary_folder const folder;
    auto const path = changed(folder, [](model& m) {
        auto& t = *m.mutable_graph()->add_initializer();
        t.set_name("large");
        t.mutable_int32_data()->Resize(40 << 20, 1);  // a byte each in the file, four in memory
    });
    CHECK(throws_with_little_memory<io_error>(path + ": no memory for its ", [&] { (void)read_onnx(path); }));
}
