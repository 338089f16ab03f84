// SPDX-License-Identifier: Apache-2.0
// `cxr convert`: weights from one format to another, and what is in a file.

#include "card.hpp"
#include "command.hpp"
#include "console.hpp"
#include "weight_file.hpp"

#include "cxr/core/error.hpp"
#include "cxr/io/densenet_tensors.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace cxr::trainer {

namespace {

struct convert_options {
    std::vector<std::string> files;
    bool list = false;
    bool keep_optimizer = false;
    written_form form;
};

json list_tensors(std::string const& path, console const& out) {
    auto const tensors = format_of(path).list(path);
    std::vector<std::vector<std::string>> rows{{"tensor", "shape", "here"}};
    auto j = json::array();
    std::size_t numbers = 0;
    for (auto const& t : tensors) {
        rows.push_back({one_line(t.name), to_string(t.shape), t.place.empty() ? "-" : t.place});
        j.push_back({{"name", t.name}, {"shape", std::vector<std::size_t>(t.shape.begin(), t.shape.end())}, {"here", t.place}});
        numbers += t.shape.size();
    }
    out.table(rows);
    out.print("{} of {}: {}, {}", counted(tensors.size(), "tensor", "tensors"), path, format_of(path).name, counted(numbers, "number", "numbers"));
    return {{"file", path}, {"format", format_of(path).name}, {"tensors", j}};
}

json convert_file(std::string const& from, std::string const& to, bool keep_optimizer, written_form form, console const& out) {
    auto const& format = format_to_write(to);
    require_usage(!keep_optimizer || format.keeps_optimizer, "--keep-optimizer: " + to + " cannot hold an optimizer's state here, expected a file .safetensors");
    require_usage(format.has_forms || !form.folded, "--fold: only for .onnx, whose files may have batch norms folded into convolutions");
    require_usage(format.has_forms || !form.logits, "--logits: only for .onnx, whose files may end without a sigmoid");
    auto weights = load_weight_file(from);
    if (!keep_optimizer) io::drop_optimizer(weights);
    else require_optimizer(weights, from);
    static_cast<void>(io::densenet_structure_of(weights.state, from));  // whatever the format, it is a network that is written
    auto const& end = weights.activation;
    bool const sigmoid = format.ends_in_sigmoid && !form.logits;
    if (sigmoid && !end.empty() && end != "sigmoid" && end != "linear")
        throw io_error(from + ": its head ends in " + end + ", and a " + format.name + " here in a sigmoid; .safetensors and .weights.h5 hold the weights alone" + (format.has_forms ? ", and --logits ends before it" : ""));
    auto const card = make_card(from, to, weights, out);
    auto left_out = format.write(to, weights, form);
    if (sigmoid && end == "linear") left_out.push_back("ends in a sigmoid, where " + from + " ends in the logits themselves");
    print_coverage(weights, from, out);
    out.print("{}: {}", to, format.name);
    for (auto const& what : left_out) out.print("{}: {}", to, what);
    if (!format.keeps_convention && weights.convention != models::convention::keras)
        out.warn("{}: cannot say that epsilon is torchvision's 1e-5 in these batch norms; Keras' DenseNet has 1.001e-5, which changes outputs by some 1e-6; .keras and .h5 keep it", to);
    auto j = coverage_json(weights, from);
    j["out"] = to;
    j["out_format"] = format.name;
    j["left_out"] = left_out;
    if (card) put_card(*card, to, out);
    j["card"] = card.has_value();
    return j;
}

}  // namespace

void add_convert(CLI::App& app, chosen_command& chosen) {
    struct options {
        convert_options convert;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("convert", "weights from one format to another, or what is in a file");
    c->add_option("files", o->convert.files, "the file to read, and the one to write, beside which model.md and model.json describe the model; its ending says the format: .safetensors (torchvision's names), .h5 or .hdf5 (a whole model of Keras 2),\n"
                                             ".weights.h5 (weights of Keras 3), .keras (a whole model of Keras 3), .onnx (any batch, height and width, with the sigmoid)")
        ->required();
    c->add_flag("--list", o->convert.list, "print the names and shapes of the tensors of a file, and their names here, and write nothing");
    c->add_flag("--keep-optimizer", o->convert.keep_optimizer, "write the state of Adam or AdamW too, for cxr train --keep-optimizer; to .safetensors only");
    c->add_flag("--fold", o->convert.form.folded, "to .onnx: batch norms behind a convolution become part of it");
    c->add_flag("--logits", o->convert.form.logits, "to .onnx: end in the logits, without the sigmoid");
    add_global_options(*c, o->global, backend_use::none);
    c->callback([o, &chosen] {
        chosen = [o] {
            console const out(o->global);
            auto const& files = o->convert.files;
            require_usage(files.size() == (o->convert.list ? 1U : 2U), o->convert.list ? "--list: expected one file, got " + std::to_string(files.size()) : "convert: expected two files, one to read and one to write, got " + std::to_string(files.size()));
            std::vector<named_files> written;
            if (!o->convert.list) {
                auto const folder = std::filesystem::path(files[1]).parent_path();
                written = {{"", files[1], "the converted file"}, {"", (folder / "model.md").string(), "the model card"}, {"", (folder / "model.json").string(), "the model card"}};
            }
            out.expect_result({{"", files[0], "the file to convert"}}, written);
            out.result(o->convert.list ? list_tensors(files[0], out) : convert_file(files[0], files[1], o->convert.keep_optimizer, o->convert.form, out));
            return done;
        };
    });
}

}  // namespace cxr::trainer
