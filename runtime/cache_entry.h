// SPDX-License-Identifier: Apache-2.0
// One cache entry as bytes: it names its key, explains itself (source and log stand beside the
// code) and checks itself. The checksum catches accidents; it is no proof against someone who can
// write here.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runtime/compilation.h"

namespace nvfp4 {

/// Part of every key and entry; grows with each change to what an entry holds.
constexpr int kCacheFormat = 1;

std::string encode_entry(std::string_view key, std::string_view source,
                         const Compilation& compilation);

/// Empty unless `bytes` is a whole, unharmed entry of this format for exactly `key`.
std::optional<Compilation> decode_entry(std::string_view bytes, std::string_view key);

}  // namespace nvfp4
