// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/rehearsed.hpp"

#include "cxr/core/error.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <stdexcept>
#include <string>

#include <unistd.h>

using namespace cxr;
using io::keras::rehearsed;

TEST_CASE("keras::rehearsed: what the child survives is done here, and comes to the same") {
    auto const parent = ::getpid();
    bool here = false;
    auto const result = rehearsed("f", "it", [&] {
        here = ::getpid() == parent;
        return std::string(100, 'x');
    });
    CHECK(here);
    CHECK(result == std::string(100, 'x'));
    CHECK_THROWS_AS(rehearsed("f", "it", []() -> int { throw std::invalid_argument("no"); }), std::invalid_argument);
    // A program that has the states of its children thrown away.
    auto const before = std::signal(SIGCHLD, SIG_IGN);
    CHECK(rehearsed("f", "it", [] { return 3; }) == 3);
    std::signal(SIGCHLD, before);
}

TEST_CASE("keras::rehearsed: a child that ends is an error that says how, and nothing is done here") {
    auto const parent = ::getpid();
    bool here = false;
    auto const said = [&](auto const& end) {
        return message_of<io_error>([&] {
            (void)rehearsed("f.h5", "the library", [&] {
                here = here || ::getpid() == parent;
                end();
                return 0;
            });
        });
    };
    CHECK(said([] { ::raise(SIGSEGV); }) == "f.h5: is damaged: reading it, the library ended by signal 11 (Segmentation fault)");
    CHECK(said([] { ::raise(SIGABRT); }) == "f.h5: is damaged: reading it, the library ended by signal 6 (Aborted)");
    CHECK(said([] { ::_exit(3); }) == "f.h5: is damaged: reading it, the library ended with status 3");
    CHECK(said([] { ::raise(SIGXCPU); }) == "f.h5: is damaged: reading it, the library did not come to an end in 60 seconds");
    CHECK_FALSE(here);
}

TEST_CASE("keras::rehearsed: a handler of the program's own is not called by what happens in the child") {
    auto const before = std::signal(SIGSEGV, [](int) { ::_exit(7); });
    auto const said = message_of<io_error>([] {
        (void)rehearsed("f.h5", "the library", [] {
            ::raise(SIGSEGV);
            return 0;
        });
    });
    std::signal(SIGSEGV, before);
    CHECK(said.find("signal 11") != std::string::npos);
}
