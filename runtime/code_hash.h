// SPDX-License-Identifier: Apache-2.0
// The identity of machine code: what a GPU would execute, without the notes and symbol names that
// change with every toolkit build. Equal hashes mean that a measurement stays valid.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nvfp4 {

/// SHA-256 (hex) over the code, constants, launch facts and resource sizes of a cubin; empty when
/// `cubin` is no well-formed 64-bit ELF with code in it. Reads untrusted bytes safely.
std::optional<std::string> code_hash(std::string_view cubin);

}  // namespace nvfp4
