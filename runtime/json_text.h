// SPDX-License-Identifier: Apache-2.0
// JSON that somebody else wrote, within limits: size, depth, no key twice in an object, no NaN.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nvfp4 {

/// Text that is no JSON within the limits; the message names its file and the place.
class JsonError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr size_t kMaxJsonBytes = size_t{64} << 20;  ///< the index of 190,000 tensors has 22 MB
constexpr int kMaxJsonDepth = 32;
constexpr int64_t kMaxJsonValues = 1 << 20;

/// The document. `file` is for messages. Throws JsonError.
nlohmann::json parse_json(std::string_view text, std::string_view file);

/// "ill-formed UTF-8 byte" out of what the parser wrote, without the text it was reading.
std::string json_reason(std::string_view what);

}  // namespace nvfp4
