// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the address sanitizer is not to report: what the HDF5 library copies wrongly in its child process is its own fault, and ends that process in time. For one translation unit of a program.

// g++ says so by a macro, clang by a feature, of which g++ cannot even be asked.
#if defined(__SANITIZE_ADDRESS__)
#define CXR_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CXR_ADDRESS_SANITIZER
#endif
#endif

#ifdef CXR_ADDRESS_SANITIZER
// It asks for whatever a damaged file says, and looks at what it gets.
extern "C" char const* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" char const* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5_serial\n"; }
#endif
