// SPDX-License-Identifier: Apache-2.0
#include "generator/digest.h"

#include <fmt/format.h>
#include <llvm/ADT/ArrayRef.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/SHA256.h>

namespace nvfp4 {
namespace {

llvm::ArrayRef<uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// final() returns a StringRef up to LLVM 14 and an array after it; both index as bytes.
template <typename Result>
std::string hex_of(const Result& result) {
  std::string text;
  for (size_t i = 0; i < 32; ++i) text += fmt::format("{:02x}", static_cast<uint8_t>(result[i]));
  return text;
}

}  // namespace

struct Digest::State {
  llvm::SHA256 sha;
};

Digest::Digest(std::string_view domain) : state_(std::make_unique<State>()) {
  field("domain", domain);
}

Digest::~Digest() = default;

Digest& Digest::field(std::string_view tag, std::string_view value) {
  const std::string header = fmt::format("{}:{}:s{}:", tag.size(), tag, value.size());
  state_->sha.update(bytes_of(header));
  state_->sha.update(bytes_of(value));
  return *this;
}

Digest& Digest::field(std::string_view tag, int64_t value) {
  const std::string text = fmt::format("{}:{}:i{};", tag.size(), tag, value);
  state_->sha.update(bytes_of(text));
  return *this;
}

std::string Digest::hex() { return hex_of(state_->sha.final()); }

std::string sha256_hex(std::string_view bytes) {
  llvm::SHA256 sha;
  sha.update(bytes_of(bytes));
  return hex_of(sha.final());
}

}  // namespace nvfp4
