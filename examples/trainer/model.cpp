// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include "weight_file.hpp"

#include "cxr/core/error.hpp"
#include "cxr/io/densenet_tensors.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <string_view>
#include <system_error>
#include <utility>

namespace cxr::trainer {

namespace {

struct named_architecture {
    std::array<std::size_t, 4> blocks;
    std::size_t growth, stem;
};

// Table 1 of the paper; 161 is the wide one of its section on ImageNet.
std::map<std::string, named_architecture> const& architectures() {
    static std::map<std::string, named_architecture> const all{{"densenet121", {{6, 12, 24, 16}, 32, 64}},
                                                               {"densenet161", {{6, 12, 36, 24}, 48, 96}},
                                                               {"densenet169", {{6, 12, 32, 32}, 32, 64}},
                                                               {"densenet201", {{6, 12, 48, 32}, 32, 64}}};
    return all;
}

std::map<std::string, data::normalisation> const& normalisations() {
    using enum data::normalisation;
    static std::map<std::string, data::normalisation> const all{{"samplewise", samplewise}, {"featurewise", featurewise}, {"imagenet", imagenet}, {"xrv", xrv}};
    return all;
}

std::string field(io::checkpoint const& c, std::string const& key, std::string const& path) {
    auto const found = c.metadata.find(key);
    if (found == c.metadata.end())
        throw io_error(path + ": no metadata " + key + ", so it is a weight file and not a checkpoint of cxr; give --architecture, --classes, --size and --preprocess with it");
    return found->second;
}

json parsed(io::checkpoint const& c, std::string const& key, std::string const& path) {
    try {
        return json::parse(field(c, key, path));
    } catch (json::exception const&) {
        throw io_error(path + ": metadata " + key + " is not JSON");
    }
}

constexpr std::size_t least_size = 32, most_size = 4096;

// `320`, `320,256` or `320x256`.
data::image_size parse_size(std::string const& text) {
    auto const number = [&](std::string_view part) {
        std::size_t value = 0;
        auto const [end, code] = std::from_chars(part.data(), part.data() + part.size(), value);
        bool const fits = code == std::errc() && end == part.data() + part.size() && value >= least_size && value <= most_size;
        if (!fits) throw usage_error(fmt::format("--size {}: expected a whole number from {} to {}, or two, height and width, as 320x256", text, least_size, most_size));
        return value;
    };
    auto const at = text.find_first_of(",x");
    std::string_view const all = text;
    return at == std::string::npos ? data::image_size(number(all)) : data::image_size(number(all.substr(0, at)), number(all.substr(at + 1)));
}

}  // namespace

void add_model_options(CLI::App& command, model_options& o) {
    auto const group = "Model";
    command.add_option("--architecture", o.architecture, "densenet121, densenet161, densenet169 or densenet201")->capture_default_str()->group(group);
    expect_whole_number(command.add_option("--blocks", o.blocks, "dense layers of the four blocks, as 6,12,24,16")->delimiter(',')->group(group), 1, 1000);
    expect_whole_number(command.add_option("--growth", o.growth, "channels that a dense layer adds")->group(group), 1, 1000);
    expect_whole_number(command.add_option("--stem", o.stem, "channels after the first convolution")->group(group), 1, 1000);
    command.add_option("--compression", o.compression, "share of the channels that a transition keeps")->capture_default_str()->group(group);
    command.add_option("--convention", o.convention, "torchvision or keras: batch norm's epsilon and momentum, initial weights")->capture_default_str()->group(group);
    expect_whole_number(command.add_option("--channels", o.channels, "of the input, 1 or 3")->capture_default_str()->group(group), 1, 3);
    command.add_option_function<std::string>("--size", [&o](std::string const& text) { o.size = parse_size(text); }, "pixels of height and width, at least 32: 320, or 320,256 or 320x256 for height and width")->default_str(to_string(o.size))->group(group);
    command.add_option("--preprocess", o.preprocess, "samplewise: (x - mean) / (std + 1e-6) of each image; featurewise: of a sample of the training set; imagenet: by torchvision's mean and std of 0…1; xrv: to -1024…1024, as torchxrayvision")->capture_default_str()->group(group);
    command.add_option("--resize", o.resize, "nearest, bilinear or area")->capture_default_str()->group(group);
}

std::set<std::string> given_options(CLI::App const& command) {
    std::set<std::string> names;
    for (auto const* option : command.get_options())
        if (option->count() != 0 && !option->get_lnames().empty()) names.insert(option->get_lnames().front());
    return names;
}

void check_model_options(model_options const& o) {
    require_usage(architectures().contains(o.architecture), "--architecture " + o.architecture + ": expected densenet121, densenet161, densenet169 or densenet201");
    require_usage(o.blocks.empty() || o.blocks.size() == 4, "--blocks: expected 4 numbers, got " + std::to_string(o.blocks.size()));
    for (auto b : o.blocks) require_usage(b >= 1 && b <= 1000, "--blocks: expected numbers from 1 to 1000, got " + std::to_string(b));
    require_usage(o.growth <= 1000, "--growth " + std::to_string(o.growth) + ": expected 1 to 1000");
    require_usage(o.stem <= 1000, "--stem " + std::to_string(o.stem) + ": expected 1 to 1000");
    require_usage(o.dropout >= 0 && o.dropout < 1, fmt::format("--dropout {}: expected at least 0 and less than 1", o.dropout));
    require_usage(o.compression > 0 && o.compression <= 1, fmt::format("--compression {}: expected more than 0 and at most 1", o.compression));
    require_usage(o.convention == "torchvision" || o.convention == "keras", "--convention " + o.convention + ": expected torchvision or keras");
    require_usage(o.channels == 1 || o.channels == 3, "--channels " + std::to_string(o.channels) + ": expected 1 or 3");
    for (auto const side : {o.size.height, o.size.width})
        require_usage(side >= least_size && side <= most_size, fmt::format("--size {}: expected at least {} and at most {} pixels", to_string(o.size), least_size, most_size));
    require_usage(normalisations().contains(o.preprocess), "--preprocess " + o.preprocess + ": expected samplewise, featurewise, imagenet or xrv");
    require_usage(o.preprocess != "imagenet" || o.channels == 3, "--preprocess imagenet: has the mean and deviation of 3 channels, and --channels is " + std::to_string(o.channels));
    require_usage(o.resize == "nearest" || o.resize == "bilinear" || o.resize == "area", "--resize " + o.resize + ": expected nearest, bilinear or area");
    auto const network = engine_options_for(o, 1).network;
    auto channels = static_cast<double>(network.stem);
    for (std::size_t b = 0; b < 3; ++b) {
        channels = std::floor((channels + static_cast<double>(network.blocks[b] * network.growth)) * o.compression);
        require_usage(channels >= 1, fmt::format("--compression {}: a transition would keep no channel", o.compression));
    }
}

engine_options engine_options_for(model_options const& o, std::size_t classes) {
    auto const& known = architectures().at(o.architecture);
    engine_options e;
    e.network.blocks = known.blocks;
    if (!o.blocks.empty()) std::copy_n(o.blocks.begin(), 4, e.network.blocks.begin());
    e.network.growth = o.growth != 0 ? o.growth : known.growth;
    e.network.stem = o.stem != 0 ? o.stem : known.stem;
    e.network.compression = o.compression;
    e.network.classes = classes;
    e.network.dropout = o.dropout;
    e.network.details = o.convention == "keras" ? models::convention::keras : models::convention::torchvision;
    e.channels = o.channels;
    e.size = o.size;
    return e;
}

json architecture_json(model_options const& o, std::size_t classes) {
    auto const n = engine_options_for(o, classes).network;
    return {
        {"name", o.architecture},
        {"blocks", n.blocks},
        {"growth", n.growth},
        {"stem", n.stem},
        {"compression", n.compression},
        {"classes", classes},
        {"convention", o.convention},
        {"channels", o.channels},
        {"dropout", n.dropout},
    };
}

json preprocess_json(model_options const& o) {
    json j{{"size", o.size}, {"channels", o.channels}, {"resize", o.resize}, {"normalise", o.preprocess}};
    if (o.preprocess == "featurewise") {
        j["mean"] = o.mean;
        j["deviation"] = o.deviation;
    }
    return j;
}

model_options model_options_from(io::checkpoint const& c, std::string const& path) {
    try {
        auto const a = parsed(c, "cxr.architecture", path), p = parsed(c, "cxr.preprocess", path);
        model_options o;
        o.architecture = a.at("name").get<std::string>();
        o.blocks = a.at("blocks").get<std::vector<std::size_t>>();
        o.growth = a.at("growth").get<std::size_t>();
        o.stem = a.at("stem").get<std::size_t>();
        o.compression = a.at("compression").get<double>();
        o.dropout = a.value("dropout", 0.0);  // older checkpoints do not say
        o.convention = a.at("convention").get<std::string>();
        o.channels = a.at("channels").get<std::size_t>();
        p.at("size").get_to(o.size);
        o.resize = p.at("resize").get<std::string>();
        o.preprocess = p.at("normalise").get<std::string>();
        if (o.preprocess == "featurewise") {
            o.mean = p.at("mean").get<std::vector<double>>();
            o.deviation = p.at("deviation").get<std::vector<double>>();
        }
        check_model_options(o);
        auto const numbers = [&](std::vector<double> const& values, double least) {
            return o.preprocess != "featurewise" || (values.size() == o.channels && std::all_of(values.begin(), values.end(), [&](double x) { return std::isfinite(x) && x >= least; }));
        };
        if (!numbers(o.mean, -std::numeric_limits<double>::infinity()) || !numbers(o.deviation, 0))
            throw io_error(path + ": metadata cxr.preprocess: expected a finite mean and deviation of each of the " + counted(o.channels, "channel", "channels"));
        return o;
    } catch (json::exception const& e) {
        throw io_error(path + ": its metadata lacks a field: " + e.what());
    } catch (usage_error const& e) {
        throw io_error(path + ": its metadata is out of range: " + e.what());
    }
}

std::vector<std::string> classes_of(io::checkpoint const& c, std::string const& path) {
    if (!c.metadata.contains("cxr.classes")) return {};
    try {
        auto classes = parsed(c, "cxr.classes", path).get<std::vector<std::string>>();
        std::set<std::string> seen;
        for (auto const& name : classes)
            if (!seen.insert(name).second) throw io_error(path + ": metadata cxr.classes has " + name + " twice");
        return classes;
    } catch (json::exception const&) {
        throw io_error(path + ": metadata cxr.classes is not a list of names");
    }
}

data::preprocess preprocess_for(model_options const& o) {
    data::preprocess p;
    p.size = o.size;
    p.channels = o.channels;
    p.resize = o.resize == "nearest" ? data::interpolation::nearest : (o.resize == "bilinear" ? data::interpolation::bilinear : data::interpolation::area);
    p.normalise = normalisations().at(o.preprocess);
    p.mean = o.mean;
    p.deviation = o.deviation;
    return p;
}

void print_operations(std::vector<served_operation> const& operations, console const& out) {
    for (auto const& [server, served] : by_serving_backend(operations)) out.print("by {}: {}", server, served);
    for (auto const& served : operations) out.debug("{} on {}", served.what, served.by);
}

void take_from_file(model_options& o, std::set<std::string> const& names, io::weights const& w, std::string const& path) {
    auto const free = [&](std::initializer_list<char const*> options) { return std::none_of(options.begin(), options.end(), [&](auto const* name) { return names.contains(name); }); };
    if (free({"convention"}) && w.convention) o.convention = *w.convention == models::convention::keras ? "keras" : "torchvision";
    auto const s = io::densenet_structure_of(w.state, path);
    if (free({"size"}) && w.height != 0 && w.width != 0) {
        for (auto const side : {w.height, w.width})
            if (side < least_size || side > most_size) throw io_error(fmt::format("{}: its images are {} × {} pixels, expected at least {} and at most {}; --size says otherwise", path, w.height, w.width, least_size, most_size));
        o.size = {w.height, w.width};
    }
    if (w.state.metadata.contains("cxr.architecture") && w.state.metadata.contains("cxr.preprocess")) {
        auto const own = model_options_from(w.state, path);
        if (free({"preprocess"})) o.preprocess = own.preprocess;
        if (free({"resize"})) o.resize = own.resize;
        if (o.preprocess == "featurewise") {
            o.mean = own.mean;
            o.deviation = own.deviation;
        }
    }
    auto const first = std::find_if(w.state.tensors.begin(), w.state.tensors.end(), [](auto const& t) { return t.name == "features.conv0.weight" && t.shape.rank() == 4; });
    if (free({"channels"}) && first != w.state.tensors.end() && (first->shape[1] == 1 || first->shape[1] == 3)) o.channels = first->shape[1];
    if (!free({"architecture", "blocks", "growth", "stem", "compression"})) return;
    auto const& n = s.options;
    for (auto const& [what, number] : {std::pair("stem", n.stem), std::pair("growth", n.growth), std::pair("first block", n.blocks[0]), std::pair("second block", n.blocks[1]), std::pair("third block", n.blocks[2]), std::pair("fourth block", n.blocks[3])})
        if (number > 1000) throw io_error(fmt::format("{}: the {} of its DenseNet is {}, expected at most 1000", path, what, number));
    if (n.bottleneck != 4) throw io_error(path + ": its bottlenecks are " + std::to_string(n.bottleneck) + " times the growth, expected 4 times");
    for (auto const& [name, known] : architectures())
        if (known.blocks == n.blocks && known.growth == n.growth && known.stem == n.stem) o.architecture = name;
    o.blocks.assign(n.blocks.begin(), n.blocks.end());
    o.growth = n.growth;
    o.stem = n.stem;
    o.compression = n.compression;
}

void check_extent(io::checkpoint const& checkpoint, std::string const& path, engine_options const& o) {
    std::size_t there = 0;
    for (auto const& t : checkpoint.tensors) there += t.values.size();
    auto const refuse = [&](std::string const& needed) {
        throw io_error(path + ": holds " + std::to_string(there) + " numbers, and its architecture needs " + needed);
    };
    auto const costs = [&] {
        try {
            return infer(models::densenet(o.network), shape{1, o.size.height, o.size.width, o.channels});
        } catch (contract_violation const&) {
            refuse("more than can be counted");
            throw;
        }
    }();
    // What is missing or of another shape in a file of about the right size is named tensor by tensor.
    auto const needed = costs.parameters + costs.statistics;
    if (needed / 2 > there) refuse(std::to_string(needed));
}

namespace {

// Options beside a checkpoint that says them itself.
void check_no_contradiction(std::set<std::string> const& names, model_options const& given, model_options const& own, std::string const& path) {
    auto const options = [](model_options const& o) {
        auto const n = engine_options_for(o, 1).network;
        return json{
            {"architecture", o.architecture},
            {"blocks", n.blocks},
            {"growth", n.growth},
            {"stem", n.stem},
            {"compression", o.compression},
            {"convention", o.convention},
            {"channels", o.channels},
            {"size", o.size},
            {"preprocess", o.preprocess},
            {"resize", o.resize},
        };
    };
    check_model_options(given);
    auto const wanted = options(given), there = options(own);
    for (auto const& [name, value] : there.items())
        require_usage(!names.contains(name) || wanted.at(name) == value, "--" + name + " " + wanted.at(name).dump() + ": " + path + " was made with " + value.dump());
}

// A head of another kind or size, said before anything is built.
void check_head(io::weights const& w, std::string const& path, std::size_t classes) {
    auto const& c = w.state;
    auto const head = std::find_if(c.tensors.begin(), c.tensors.end(), [](auto const& t) { return t.name == "classifier.weight"; });
    std::string const remedy = "; only cxr train begins a head anew (--weights, --new-head)";
    if (head == c.tensors.end()) throw io_error(path + ": has no head (classifier.weight is missing), expected one of " + counted(classes, "output", "outputs") + remedy);
    if (head->shape.rank() == 2 && head->shape[0] != classes)
        throw io_error(path + ": its head (classifier.weight) has " + counted(head->shape[0], "output", "outputs") + ", expected " + std::to_string(classes) + ", as many as --classes names" + remedy);
    if (!w.activation.empty() && w.activation != "sigmoid" && w.activation != "linear")
        throw io_error(path + ": its head ends in " + w.activation + ", expected sigmoid, a probability of each class by itself, or linear, its logit");
}

}  // namespace

opened_model open_model(std::string const& path, model_options const& given, std::set<std::string> const& names, std::vector<std::string> const& classes, global_options const& global, bool winograd, bool bf16,
                        console const& out) {
    namespace fs = std::filesystem;
    opened_model m;
    m.path = path;
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
        m.path = (fs::path(path) / "best.safetensors").string();
        if (!fs::exists(m.path, ignored)) m.path = (fs::path(path) / "last.safetensors").string();
        if (!fs::exists(m.path, ignored)) throw io_error(path + ": neither best.safetensors nor last.safetensors, expected the folder of a run");
    }
    auto weights = load_weight_file(m.path);
    auto const& checkpoint = weights.state;
    if (checkpoint.metadata.contains("cxr.architecture")) {
        m.options = model_options_from(checkpoint, m.path);
        check_no_contradiction(names, given, m.options, m.path);
        m.classes = classes_of(checkpoint, m.path);
        if (m.classes.empty()) throw io_error(m.path + ": no metadata cxr.classes, expected a checkpoint of cxr");
    } else {
        require_usage(!classes.empty(), "--classes is needed: " + m.path + " is a weight file that has no class list");
        m.options = given;
        m.classes = classes;
        take_from_file(m.options, names, weights, m.path);
        check_model_options(m.options);
        check_head(weights, m.path, m.classes.size());
        io::match_input_channels(weights, m.options.channels);
        print_coverage(weights, m.path, out);
        std::string assumed;
        for (auto const& [option, value] : {std::pair("size", weights.height != 0 ? "" : to_string(m.options.size)), std::pair("resize", m.options.resize), std::pair("preprocess", m.options.preprocess)})
            if (!value.empty() && !names.contains(option)) assumed += fmt::format("--{} {} ", option, value);
        if (!assumed.empty()) out.warn("{} does not say how its images were prepared: {}is taken for granted, and other images make other probabilities", m.path, assumed);
        require_usage(m.options.preprocess != "featurewise", "--preprocess featurewise: a weight file carries no mean and deviation; only a checkpoint of cxr does");
    }
    auto e = engine_options_for(m.options, m.classes.size());
    e.threads = static_cast<std::size_t>(global.threads);
    e.seed = static_cast<std::uint64_t>(global.seed);
    check_extent(checkpoint, m.path, e);
    auto const said = [&](char const* key) {
        auto const found = checkpoint.metadata.find(key);
        return found == checkpoint.metadata.end() ? std::string() : found->second;
    };
    m.step = said("cxr.step");
    m.epoch = said("cxr.epoch");
    auto const& backend = find_backend_with_layers(global.backend);
    e.winograd = winograd && backend.whole_densenet;
    e.bf16 = bf16;
    e.drawn = false;  // every number is loaded
    m.network = backend.make(e);
    m.network->load(checkpoint, m.path, false);
    return m;
}

}  // namespace cxr::trainer
