// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the address sanitizer, where there is one, asks for: what the HDF5 library copies wrongly in its child process is its own fault, and ends that process in time; and it allocates whatever a damaged
// file says, and looks at what it gets. For one translation unit of a program.

extern "C" char const* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" char const* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5_serial\n"; }
