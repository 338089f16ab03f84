// SPDX-License-Identifier: Apache-2.0
#include "read_or_refuse.hpp"

#include "cxr/io/keras/read.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__has_feature)
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
// What the HDF5 library copies wrongly in its child process is its own fault, and ends that process in time.
extern "C" char const* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5_serial\n"; }
#endif
#endif

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    cxr::fuzz::read_or_refuse(data, size, [](std::string const& path) { cxr::fuzz::no_finding_in_a_child([&] { (void)cxr::io::keras::read(path); }); });
    return 0;
}
