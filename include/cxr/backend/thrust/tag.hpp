// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Thrust backend: one source for every parallel machine. Statistics, loss, metrics, optimizers and every layer but convolutions are functors that
// Thrust runs on a system: plain C++, OpenMP, TBB, CUDA. The namespace is not `cxr::thrust`, which would hide Thrust from whoever writes
// `using namespace cxr`.

#include "cxr/backend/thrust/system.hpp"

#include <string_view>

namespace cxr::on_thrust {

template <system System>
struct tag;

/// A system without its parent.
template <system System>
struct detached {
    static constexpr std::string_view name = System::name;                             ///< as the system's
    static constexpr bool one_element_a_call = System::one_element_a_call;             ///< as the system's
    using memory = typename System::memory;                                            ///< as the system's
    using context_base = typename System::context_base;                                ///< as the system's
    /// As the system's.
    template <class F>
    static void run(context_base& ctx, F f) {
        System::run(ctx, f);
    }
};

/// What the system needs: threads or a stream, and scratch memory.
template <system System>
class context : public System::context_base {
public:
    using backend = tag<System>;  ///< whose context this is

    using System::context_base::context_base;
};

/// The tag on a system without a parent: what it does not do is a compile error.
template <system System>
struct tag {
    static constexpr std::string_view name = System::name;  ///< as the command line spells it
    using context = on_thrust::context<System>;             ///< threads or a stream, and scratch memory
    using memory = typename System::memory;                 ///< where arrays live
    using detached = tag;                                   ///< it has no parent
};

/// The tag on a system with a parent, which serves what Thrust does not.
template <system System>
    requires requires { typename System::parent; }
struct tag<System> : System::parent {
    static constexpr std::string_view name = System::name;  ///< as the command line spells it
    using parent = typename System::parent;                 ///< serves what this backend does not
    using context = on_thrust::context<System>;             ///< threads, and scratch memory
    using memory = typename System::memory;                 ///< where arrays live
    using detached = tag<on_thrust::detached<System>>;      ///< what it does itself
};

}  // namespace cxr::on_thrust

namespace cxr {
/// Thrust's algorithms on `System`: `on_thrust::cpp`, `on_thrust::omp`, `on_thrust::tbb`, `on_thrust::cuda`, each with its header in backend/thrust/.
template <on_thrust::system System>
using thrust_backend = on_thrust::tag<System>;
}  // namespace cxr
