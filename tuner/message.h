// SPDX-License-Identifier: Apache-2.0
// What tuner and workers say to each other: a JSON header for facts and a body of bytes for images.
// On the wire: magic, header length, body length (4 bytes each, little endian), then both. Lengths
// are bounded, so that a worker gone mad cannot make the tuner allocate without end.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nvfp4 {

/// Bytes that are no message: wrong magic, a length over its bound, or a header that is no JSON
/// object.
class MessageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Message {
  nlohmann::json header = nlohmann::json::object();
  std::string body;
};

constexpr size_t kMaxHeaderBytes = 4 << 20;
constexpr size_t kMaxBodyBytes = 256 << 20;

/// The frame. Throws MessageError when a part is over its bound.
std::string encode(const Message& message);

/// Takes the first whole frame off the front of `buffer`; empty while more bytes are needed. Throws
/// MessageError as soon as the bytes cannot become a message.
std::optional<Message> decode(std::string& buffer);

/// What `read` makes of the header of a message whose "kind" is `kind`. Throws MessageError, which
/// names that kind, when it is another or the header lacks what `read` asks for.
template <class Read>
auto decoded(const Message& message, std::string_view kind, const Read& read) {
  try {
    if (message.header.at("kind").get<std::string>() != kind) {
      throw MessageError("message is no " + std::string(kind));
    }
    return read(message.header);
  } catch (const nlohmann::json::exception& error) {
    throw MessageError("malformed " + std::string(kind) + ": " + error.what());
  }
}

}  // namespace nvfp4
