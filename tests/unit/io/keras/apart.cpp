// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/apart.hpp"

#include "cxr/io/keras/arrays.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstddef>
#include <stdexcept>
#include <string>

#include <unistd.h>

using namespace cxr;
using io::keras::apart;

TEST_CASE("keras::apart: the bytes of what a child has done, of any number, and nothing is done here") {
    auto const parent = ::getpid();
    std::string const large(5'000'000, '\0');
    bool here = false;
    CHECK(apart("f", "it", [&] {
              here = ::getpid() == parent;
              return large + "end";
          }) == large + "end");
    CHECK_FALSE(here);
    CHECK(apart("f", "it", [] { return std::string(); }).empty());
    // A program that has the states of its children thrown away.
    auto const before = std::signal(SIGCHLD, SIG_IGN);
    CHECK(apart("f", "it", [] { return std::string("x"); }) == "x");
    std::signal(SIGCHLD, before);
}

TEST_CASE("keras::apart: what is thrown comes with its message, and a child that ends is an error that says how") {
    auto const said = [&](auto const& end) {
        return message_of<io_error>([&] {
            (void)apart("f.h5", "the library", [&] {
                end();
                return std::string();
            });
        });
    };
    CHECK(said([] { throw io_error("f.h5: no"); }) == "f.h5: no");
    CHECK(said([] { throw std::bad_alloc(); }).starts_with("f.h5: "));
    CHECK(said([] { ::raise(SIGSEGV); }) == "f.h5: is damaged: reading it, the library ended by signal 11 (Segmentation fault)");
    CHECK(said([] { ::raise(SIGABRT); }) == "f.h5: is damaged: reading it, the library ended by signal 6 (Aborted)");
    CHECK(said([] { ::_exit(3); }) == "f.h5: is damaged: reading it, the library ended with status 3");
    CHECK(said([] { ::_exit(0); }) == "f.h5: is damaged: reading it, the library ended with status 0");
    CHECK(said([] { ::raise(SIGXCPU); }) == "f.h5: is damaged: reading it, the library did not come to an end in 20 seconds");
    // A handler of the program's own does not hide it.
    auto const before = std::signal(SIGSEGV, [](int) { ::_exit(0); });
    CHECK(said([] { ::raise(SIGSEGV); }).find("signal 11") != std::string::npos);
    std::signal(SIGSEGV, before);
}

TEST_CASE("keras::arrays_of_file: as bytes and back the same, and bytes that make no sense are refused") {
    io::keras::arrays_of_file all;
    all.arrays = {{"conv1_conv", "kernel", {1, 1, 2, 1}, {1.5F, -0.0F}, "a", {}}, {"", "bias", {}, {}, "b", 77}};
    all.optimizer = {"adam", 3, {{"m", {"bn", "gamma", {2}, {1, 2}, "c", {}}}}, {"rate"}};
    all.ignored = {"x", std::string("y\0z", 3)};
    all.format = "Keras";
    all.notes = {"n"};
    all.config = "{}";
    io::keras::detail::to_bytes out;
    io::keras::detail::pass(out, all);
    std::string const path = "f";
    io::keras::arrays_of_file back;
    io::keras::detail::from_bytes in(out.bytes, path);
    io::keras::detail::pass(in, back);
    io::keras::detail::to_bytes again;
    io::keras::detail::pass(again, back);
    CHECK(again.bytes == out.bytes);
    REQUIRE(back.arrays.size() == 2);
    CHECK(back.arrays[0].shape == shape{1, 1, 2, 1});
    CHECK(back.arrays[0].values == all.arrays[0].values);
    CHECK(back.arrays[1].in_file == 77U);
    CHECK(back.optimizer.steps == 3U);
    CHECK(back.ignored == all.ignored);
    for (std::size_t n = 0; n < out.bytes.size(); ++n) {
        auto const cut = out.bytes.substr(0, n);
        io::keras::detail::from_bytes broken(cut, path);
        INFO("cut at " << n);
        CHECK(message_of<io_error>([&] { io::keras::detail::pass(broken, back); }) == "f: is damaged: reading it, the HDF5 library gave no sensible answer");
        auto changed = out.bytes;
        changed[n] = static_cast<char>(0xFF);
        io::keras::detail::from_bytes other(changed, path);
        try {
            io::keras::detail::pass(other, back);
        } catch (io_error const& e) {
            CHECK(std::string(e.what()).starts_with("f: is damaged"));
        }
    }
}
