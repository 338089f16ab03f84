// SPDX-License-Identifier: Apache-2.0
// Weight files of Keras that are broken or made to do harm: each is one error that begins with the path.

#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"
#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace cxr;
using io::keras::layout;

namespace {

// What reading a file of this name complains about, after the path.
std::string complaint(std::string const& path) {
    auto const said = message_of<io_error>([&] { (void)io::keras::read(path); });
    if (said.empty()) return said;
    REQUIRE(said.starts_with(path + ": "));
    return said.substr(path.size() + 2);
}

io::weights tiny_weights() {
    io::weights w;
    w.state = test::tiny_network();
    return w;
}

// A file of Keras 2 with one layer, which `make` adds to.
std::string complaint_about(std::function<void(test::hdf5_builder&)> const& make) {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    {
        test::hdf5_builder file(path);
        make(file);
    }
    return complaint(path);
}

void list(test::hdf5_builder& file) {
    file.group("/bn/bn");
    file.strings("/bn", "weight_names", {"bn/gamma:0"});
    file.strings("/", "layer_names", {"bn"});
}

}  // namespace

TEST_CASE("keras::read: a file that ends early is an error wherever it ends", "[bad files]") {
    temporary_folder const folder;
    for (auto const& [as, name] : std::vector<std::pair<layout, std::string>>{{layout::keras2, "w.h5"}, {layout::keras3, "w.weights.h5"}, {layout::archive, "w.keras"}}) {
        io::keras::write(folder / name, tiny_weights(), as);
        auto const whole = content_of(folder / name);
        REQUIRE(complaint(folder / name).empty());
        std::size_t cuts = 0;
        for (std::size_t n = 0; n < whole.size(); n += 1024, ++cuts) {
            INFO(name << " cut at " << n << " of " << whole.size());
            CHECK_FALSE(complaint(folder.write("cut-" + name, whole.substr(0, n))).empty());
        }
        CHECK(cuts > 20);
    }
}

TEST_CASE("keras::read: an archive's sums find every byte of its weights that is changed", "[bad files]") {
    // HDF5's own structures have no sums, and its library trusts some of them (docs/weights.md).
    temporary_folder const folder;
    io::keras::write(folder / "w.keras", tiny_weights(), layout::archive);
    auto const whole = content_of(folder / "w.keras");
    auto const begin = whole.find("\x89HDF");
    REQUIRE(begin != std::string::npos);
    for (std::size_t n = begin; n < whole.size() - 1024; n += 97) {
        auto changed = whole;
        changed[n] = static_cast<char>(changed[n] ^ static_cast<char>(0xFF));
        INFO("changed at " << n);
        CHECK(complaint(folder.write("changed.keras", changed)).starts_with("its member model.weights.h5 is broken"));
    }
}

TEST_CASE("keras::read: what is no HDF5 file, no file, or no file of Keras", "[bad files]") {
    temporary_folder const folder;
    CHECK(complaint(folder.write("w.h5", "")) == "is empty, expected a weight file of Keras");
    CHECK(complaint(folder.write("w.h5", std::string(5000, 'x'))).starts_with("cannot be opened as HDF5"));
    CHECK(complaint(folder / "none.h5").starts_with("cannot be opened: No such file"));
    CHECK(complaint(folder.path()) == "is not a file, expected a weight file of Keras");
    CHECK(complaint_about([](test::hdf5_builder&) {}) == "no layer with weights, expected a weight file of Keras");
    CHECK(complaint_about([](test::hdf5_builder& f) { f.strings("/", "layer_names", {}); }).starts_with("tensors make no DenseNet: features.conv0.weight is missing"));
}

TEST_CASE("keras::read: layers, lists and arrays that are not as listed are named", "[bad files]") {
    using builder = test::hdf5_builder;
    CHECK(complaint_about([](builder& f) { f.strings("/", "layer_names", {"bn"}); }) == "the layer bn of its list is missing");
    CHECK(complaint_about([](builder& f) { f.group("/bn"), f.strings("/", "layer_names", {"bn"}); }) == "the layer bn has no attribute weight_names");
    CHECK(complaint_about([](builder& f) { list(f); }) == "the weight bn/bn/gamma:0 of its list is missing");
    CHECK(complaint_about([](builder& f) { list(f), f.group("/bn/bn/gamma:0"); }) == "bn/bn/gamma:0 is a group, expected an array");
    CHECK(complaint_about([](builder& f) { list(f), f.floats("/bn/bn/gamma:0", {2, 1, 1, 1, 1}, {1, 2}); }) == "bn/bn/gamma:0 has 5 dimensions, expected at most 4");
    CHECK(complaint_about([](builder& f) { list(f), f.floats("/bn/bn/gamma:0", {2}, {1, 2}); }) == "tensors make no DenseNet: features.conv0.weight is missing");
    CHECK(complaint_about([](builder& f) {
              f.floats("/x/x/kernel:0", {1, 1, 1, 1}, {1});
              f.strings("/x", "weight_names", {"x/kernel:0"});
              f.strings("/", "layer_names", {"x"});
          }) == "x/x/kernel:0 (1, 1, 1, 1) has no place in a DenseNet");
    CHECK(complaint_about([](builder& f) {
              list(f);
              f.floats("/bn/bn/gamma:0", {2}, {1, 2});
              f.floats("/b/bn/gamma:0", {2}, {1, 2});
              f.strings("/b", "weight_names", {"bn/gamma:0"});
              f.strings("/", "layer_names0", {"bn"});
              H5Adelete(f.id(), "layer_names");
              f.strings("/", "layer_names1", {"b"});
          }) == "both bn/bn/gamma:0 and b/bn/gamma:0 are features.norm5.weight here, expected one array of that name");
    CHECK(complaint_about([](builder& f) {
              for (auto const* const name : {"a", "b"}) {
                  f.floats(std::string("/") + name + "/" + name + "/kernel:0", {1, 1}, {1});
                  f.strings(std::string("/") + name, "weight_names", {std::string(name) + "/kernel:0"});
              }
              f.strings("/", "layer_names", {"a", "b"});
          }) == "both a and b may be the head, expected one dense layer");
}

TEST_CASE("keras::read: links out of the file, links to themselves and groups without end are refused", "[bad files]") {
    using builder = test::hdf5_builder;
    CHECK(complaint_about([](builder& f) { list(f), H5Lcreate_external("/etc/passwd", "/x", f.id(), "/bn/bn/gamma:0", H5P_DEFAULT, H5P_DEFAULT); }) ==
          "bn/bn/gamma:0 is an external link, expected the group or array itself");
    CHECK(complaint_about([](builder& f) { list(f), H5Lcreate_soft("/bn/bn/gamma:0", f.id(), "/bn/bn/gamma:0", H5P_DEFAULT, H5P_DEFAULT); }) == "bn/bn/gamma:0 is a soft link, expected the group or array itself");
    CHECK(complaint_about([](builder& f) { f.group("/a"), H5Lcreate_soft("/a", f.id(), "/a/b", H5P_DEFAULT, H5P_DEFAULT); }) == "a/b is a soft link, expected the group or array itself");
    CHECK(complaint_about([](builder& f) {
              f.group("/a");
              for (char const* name : {"/a/a", "/a/b", "/a/c"}) H5Lcreate_hard(f.id(), "/a", f.id(), name, H5P_DEFAULT, H5P_DEFAULT);
          }).find("is nested more than 16 deep") != std::string::npos);
    CHECK(complaint_about([](builder& f) {
              list(f);
              io::keras::hdf5_object const create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
              hsize_t const n = 16;
              io::keras::hdf5_object const space(H5Screate_simple(1, &n, nullptr), H5Sclose);
              H5Pset_external(create.id(), "/etc/passwd", 0, 64);
              io::keras::hdf5_object const data(H5Dcreate2(f.id(), "/bn/bn/gamma:0", H5T_IEEE_F32LE, space.id(), H5P_DEFAULT, create.id(), H5P_DEFAULT), H5Dclose);
              REQUIRE(static_cast<bool>(data));
          }) == "the elements of bn/bn/gamma:0 lie in another array or file, expected them in this one");
    // A view of another file's array, of its own, and of one that is not there.
    for (auto const* const source : {"/tmp/other.h5", ".", "/none"})
        CHECK(complaint_about([&](builder& f) {
                  list(f);
                  hsize_t const n = 2;
                  io::keras::hdf5_object const create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), space(H5Screate_simple(1, &n, nullptr), H5Sclose);
                  H5Pset_virtual(create.id(), space.id(), source, "/bn/bn/gamma:0", space.id());
                  io::keras::hdf5_object const data(H5Dcreate2(f.id(), "/bn/bn/gamma:0", H5T_IEEE_F32LE, space.id(), H5P_DEFAULT, create.id(), H5P_DEFAULT), H5Dclose);
                  REQUIRE(static_cast<bool>(data));
              }) == "the elements of bn/bn/gamma:0 lie in another array or file, expected them in this one");
}

TEST_CASE("keras::read: what was never written, is listed twice, or comes to more numbers than any network has", "[bad files]") {
    using builder = test::hdf5_builder;
    CHECK(complaint_about([](builder& f) { list(f), f.floats("/bn/bn/gamma:0", {2}, {}); }) == "the elements of bn/bn/gamma:0 were never written, or not all");
    CHECK(complaint_about([](builder& f) { list(f), f.floats("/bn/bn/gamma:0", {2}, {}, true); }) == "the elements of bn/bn/gamma:0 were never written, or not all");
    auto const twice = [](builder& f, std::vector<std::string> const& layers, std::vector<std::string> const& weights) {
        f.floats("/bn/bn/gamma:0", {2}, {1, 2});
        f.strings("/bn", "weight_names", weights);
        f.strings("/", "layer_names", layers);
    };
    CHECK(complaint_about([&](builder& f) { f.strings("/", "layer_names", {std::string(1025, 'x')}); }) == "a name in the attribute layer_names has 1025 bytes, expected at most 1024");
    CHECK(complaint_about([&](builder& f) { twice(f, {"bn", "bn"}, {"bn/gamma:0"}); }) == "its list has the layer bn twice");
    CHECK(complaint_about([&](builder& f) { twice(f, {"bn"}, {"bn/gamma:0", "bn/gamma:0"}); }) == "its list has the weight bn/bn/gamma:0 twice");
    // One array of a million numbers under three hundred names.
    CHECK(complaint_about([&](builder& f) {
              f.floats("/a/bn/gamma:0", {1000, 1000}, std::vector<float>(1'000'000, 1));
              std::vector<std::string> weights{"bn/gamma:0"};
              for (int i = 0; i < 300; ++i) {
                  weights.push_back("bn/gamma" + std::to_string(i));
                  H5Lcreate_hard(f.id(), "/a/bn/gamma:0", f.id(), ("/a/" + weights.back()).c_str(), H5P_DEFAULT, H5P_DEFAULT);
              }
              f.strings("/a", "weight_names", weights);
              f.strings("/", "layer_names", {"a"});
          }).find("have more than 134217728 numbers in all, expected a DenseNet") != std::string::npos);
}

TEST_CASE("keras::read: layers of Keras 3 that a DenseNet does not have, and names of some layers alone", "[bad files]") {
    temporary_folder const folder;
    auto const path = folder / "w.weights.h5";
    auto const said = [&](auto const& change) {
        test::write_keras3(path, true);
        {
            io::keras::hdf5_object const opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
            auto file = test::hdf5_builder::of(opened.id());
            change(file);
        }
        return complaint(path);
    };
    CHECK(said([](auto& f) { f.floats("/layers/layer_normalization/vars/0", {3}, {1, 2, 3}); }) == "/layers/layer_normalization/vars/0 of a layer layer_normalization has no place in a DenseNet");
    CHECK(said([](auto& f) { f.floats("/layers/normalization_1/vars/0", {3}, {1, 2, 3}); }) == "/layers/normalization_1/vars/0 of a layer normalization has no place in a DenseNet");
    CHECK(said([](auto& f) { f.group("/layers/dropout/seed_generator/vars"), f.count("/layers/dropout/seed_generator/vars/0", 1); }).empty());
    CHECK(said([](auto& f) { f.group("/metrics/mean/vars"), f.floats("/metrics/mean/vars/0", {}, {1}); }).empty());
    CHECK(said([](auto& f) { H5Adelete_by_name(f.id(), "/layers/conv2d_3/vars", "name", H5P_DEFAULT); }) == "1 of its layers have no names and 28 have, expected names of all, or of none");
    CHECK(said([](auto& f) { H5Adelete_by_name(f.id(), "/layers/dense/vars", "name", H5P_DEFAULT); }).empty());
}

TEST_CASE("keras::read: shapes that no file of this size holds are refused before there is memory for them", "[bad files]") {
    for (std::vector<hsize_t> const& size : {std::vector<hsize_t>{hsize_t{1} << 40}, {hsize_t{1} << 32, hsize_t{1} << 32}, {hsize_t{1} << 62, 8, 8}, {3, hsize_t{1} << 31, 7}}) {
        auto const said = complaint_about([&](test::hdf5_builder& f) {
            list(f);
            // Chunks that were never written take no room.
            io::keras::hdf5_object const create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), space(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), H5Sclose);
            std::vector<hsize_t> const chunk(size.size(), 1);
            H5Pset_chunk(create.id(), static_cast<int>(size.size()), chunk.data());
            io::keras::hdf5_object const data(H5Dcreate2(f.id(), "/bn/bn/gamma:0", H5T_IEEE_F32LE, space.id(), H5P_DEFAULT, create.id(), H5P_DEFAULT), H5Dclose);
            if (!data) f.floats("/bn/bn/gamma:0", {1}, {1});  // the library itself refuses to make some of them
        });
        CHECK((said.starts_with("bn/bn/gamma:0 claims more elements than a file of") || said.starts_with("tensors make no DenseNet")));
        if (size.size() == 1) CHECK(said.starts_with("bn/bn/gamma:0 claims"));
    }
}

TEST_CASE("keras::read: archives whose members are missing, elsewhere, too large or no JSON", "[bad files]") {
    temporary_folder const folder;
    auto const archive = [&](std::vector<std::pair<std::string, std::string_view>> const& members) { return folder.write("w.keras", io::keras::detail::zip_of(members)); };
    CHECK(complaint(archive({{"config.json", "{}"}})) == "has no member model.weights.h5, expected a .keras archive");
    CHECK(complaint(archive({{"../config.json", "{}"}, {"../model.weights.h5", "x"}, {"/etc/config.json", "{}"}})) == "has no member config.json, expected a .keras archive");
    CHECK(complaint(archive({{"config.json", "{}"}, {"model.weights.h5", "no HDF5"}})).starts_with("cannot be opened as HDF5"));
    CHECK(complaint(archive({{"config.json", "{}"}, {"model.weights.h5", ""}})).starts_with("its member model.weights.h5 is empty"));
    io::keras::write(folder / "good.keras", tiny_weights(), layout::archive);
    auto const hdf5 = io::keras::detail::read_archive(folder / "good.keras").weights;
    std::string_view const weights(reinterpret_cast<char const*>(hdf5.data()), hdf5.size());
    CHECK(complaint(archive({{"config.json", "{}"}, {"model.weights.h5", weights}})) == "its configuration: its layers end where a DenseNet has ZeroPadding2D, 3,3,3,3");
    CHECK(complaint(archive({{"config.json", ""}, {"model.weights.h5", weights}})).starts_with("its member config.json is empty"));
    CHECK(complaint(archive({{"config.json", "{}"}, {"model.weights.h5", weights}, {"model.weights.h5", weights}})) == "has the member model.weights.h5 twice");
    CHECK(complaint(archive({{"config.json", std::string((std::size_t{1} << 24) + 1, ' ')}, {"model.weights.h5", weights}})) == "its member config.json has more than 16777216 bytes, expected a DenseNet");
    CHECK(complaint(archive({{"config.json", std::string(50'000, '[')}, {"model.weights.h5", weights}})).starts_with("its configuration at byte 0: expected an object"));
    CHECK(complaint(archive({{"config.json", R"({"a": )" + std::string(50'000, '[')}, {"model.weights.h5", weights}})).find("nested less deep") != std::string::npos);
    // A size of 4 GiB less 16 bytes, in the member's own header and in the directory at the end.
    auto large = content_of(folder / "good.keras");
    std::size_t headers = 0;
    for (auto const& [signature, size, name] : {std::tuple{"PK\3\4", 22, 30}, std::tuple{"PK\1\2", 24, 46}})
        for (auto at = large.find(signature); at != std::string::npos; at = large.find(signature, at + 4))
            if (large.compare(at + static_cast<std::size_t>(name), 16, "model.weights.h5") == 0) {
                large.replace(at + static_cast<std::size_t>(size), 4, "\xF0\xFF\xFF\xFF");
                ++headers;
            }
    REQUIRE(headers == 2);
    CHECK(complaint(folder.write("w.keras", large)) == "its member model.weights.h5 has more than 1073741824 bytes, expected a DenseNet");
}

TEST_CASE("keras::read: the bytes of an archive's weights, and the library's own printing, stay as they were", "[bad files]") {
    temporary_folder const folder;
    io::keras::write(folder / "w.keras", tiny_weights(), layout::archive);
    auto bytes = io::keras::detail::read_archive(folder / "w.keras").weights;
    auto const before = bytes;
    CHECK_FALSE(io::keras::detail::read_hdf5("f", bytes).arrays.empty());
    CHECK(bytes == before);
    H5E_auto2_t print = nullptr;
    void* data = nullptr;
    REQUIRE(H5Eget_auto2(H5E_DEFAULT, &print, &data) >= 0);
    CHECK(print != nullptr);
}
