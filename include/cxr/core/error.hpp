// SPDX-License-Identifier: Apache-2.0
#pragma once
// Every exception that cxr throws. A caller's mistake is a `contract_violation`; the world's fault is an `error`.

#include <stdexcept>
#include <string>

namespace cxr {

/// A caller's mistake: shapes that do not fit, an empty batch, a probability that is none. The message states what was given and what was expected.
class contract_violation : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// The world's fault: a file, the data in it, memory, a device. Base of everything that a correct program may still have to catch.
class error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A file that cannot be read or written, or whose content is not what it claims; the message begins with its path.
class io_error : public error {
public:
    using error::error;
};

/// A third party's call that failed; the message names the call and its code.
class backend_error : public error {
public:
    using error::error;
};

/// Throws `contract_violation(message)` unless `holds`.
/// The message is only looked at on failure; where making it costs, test first and throw in a branch.
inline void require(bool holds, char const* message) {
    if (!holds) throw contract_violation(message);
}

}  // namespace cxr
