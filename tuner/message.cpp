// SPDX-License-Identifier: Apache-2.0
// Framing of worker messages.
#include "tuner/message.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstring>

namespace nvfp4 {
namespace {

constexpr uint32_t kMagic =
    0x3446564e;  // "NVF4": a child that prints on its channel is noticed at once
constexpr size_t kPrefixBytes = 12;

void check_lengths(size_t header, size_t body) {
  if (header > kMaxHeaderBytes) {
    throw MessageError(
        fmt::format("message header of {} bytes exceeds {}", header, kMaxHeaderBytes));
  }
  if (body > kMaxBodyBytes) {
    throw MessageError(fmt::format("message body of {} bytes exceeds {}", body, kMaxBodyBytes));
  }
}

}  // namespace

std::string encode(const Message& message) {
  // Logs of a compiler may hold any bytes; replacing what is no UTF-8 keeps the message sendable.
  const std::string header =
      message.header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  check_lengths(header.size(), message.body.size());
  const std::array<uint32_t, 3> prefix = {kMagic, static_cast<uint32_t>(header.size()),
                                          static_cast<uint32_t>(message.body.size())};
  std::string frame(kPrefixBytes, '\0');
  std::memcpy(frame.data(), prefix.data(), kPrefixBytes);
  frame.reserve(kPrefixBytes + header.size() + message.body.size());
  frame += header;
  frame += message.body;
  return frame;
}

std::optional<Message> decode(std::string& buffer) {
  std::array<uint32_t, 3> prefix = {};
  if (buffer.size() >= sizeof(kMagic)) std::memcpy(prefix.data(), buffer.data(), sizeof(kMagic));
  if (buffer.size() >= sizeof(kMagic) && prefix[0] != kMagic) {
    throw MessageError("bytes on the channel are no message");
  }
  if (buffer.size() < kPrefixBytes) return std::nullopt;
  std::memcpy(prefix.data(), buffer.data(), kPrefixBytes);
  const size_t header = prefix[1];
  const size_t body = prefix[2];
  check_lengths(header, body);
  if (buffer.size() < kPrefixBytes + header + body) return std::nullopt;

  Message message;
  message.header = nlohmann::json::parse(buffer.begin() + kPrefixBytes,
                                         buffer.begin() + kPrefixBytes + header, nullptr, false);
  if (!message.header.is_object()) throw MessageError("message header is no JSON object");
  message.body = buffer.substr(kPrefixBytes + header, body);
  buffer.erase(0, kPrefixBytes + header + body);
  return message;
}

}  // namespace nvfp4
