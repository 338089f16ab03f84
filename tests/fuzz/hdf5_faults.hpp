// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the sanitizers ask for, where there is one: what the HDF5 library copies or gives back wrongly in its child process is its own fault, and ends that process by a signal; and it allocates whatever a
// damaged file says, and looks at what it gets. For one translation unit of a program. The thread sanitizer, in a process of one thread, ends it for its memory's sake alone.

extern "C" char const* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" char const* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5_serial\n"; }
extern "C" char const* __tsan_default_options() { return "allocator_may_return_null=1:abort_on_error=1"; }
