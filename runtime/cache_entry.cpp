// SPDX-License-Identifier: Apache-2.0
// Layout: "nvfp4 entry 1\n", then fields as an 8-byte little-endian length and that many bytes
// (key, source, log, PTX, cubin), then XXH3-128 of all that stands before it. What ptxas said of
// the kernel is read from the log again, so that it cannot disagree with it.
#include "runtime/cache_entry.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <cstdint>

namespace nvfp4 {
namespace {

std::string magic() { return fmt::format("nvfp4 entry {}\n", kCacheFormat); }

std::string checksum(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  return {reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest)};
}

void append_field(std::string& out, std::string_view value) {
  for (int byte = 0; byte < 8; ++byte) out += static_cast<char>(value.size() >> (8 * byte));
  out += value;
}

/// Takes fields off the front of an entry; once one is missing, all that follow are empty.
class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}

  std::string_view next() {
    uint64_t size = 0;
    if (rest_.size() < 8) return fail();
    for (int byte = 7; byte >= 0; --byte)
      size = size << 8 | static_cast<unsigned char>(rest_[byte]);
    rest_.remove_prefix(8);
    if (size > rest_.size()) return fail();
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }

  bool complete() const { return ok_ && rest_.empty(); }

 private:
  std::string_view fail() {
    ok_ = false;
    rest_ = {};
    return {};
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace

std::string encode_entry(std::string_view key, std::string_view source,
                         const Compilation& compilation) {
  std::string out = magic();
  for (std::string_view field :
       {key, source, std::string_view(compilation.log), std::string_view(compilation.ptx),
        std::string_view(compilation.cubin)}) {
    append_field(out, field);
  }
  return out + checksum(out);
}

std::optional<Compilation> decode_entry(std::string_view bytes, std::string_view key) {
  const std::string head = magic();
  if (!bytes.starts_with(head) || bytes.size() < head.size() + sizeof(XXH128_canonical_t)) {
    return std::nullopt;
  }
  const std::string_view body = bytes.substr(0, bytes.size() - sizeof(XXH128_canonical_t));
  if (bytes.substr(body.size()) != checksum(body)) return std::nullopt;

  FieldReader fields(body.substr(head.size()));
  if (fields.next() != key) return std::nullopt;
  fields.next();  // the source is there for people
  Compilation compilation;
  compilation.log = fields.next();
  compilation.ptx = fields.next();
  compilation.cubin = fields.next();
  if (!fields.complete()) return std::nullopt;
  compilation.resources = parse_resources(compilation.log);
  compilation.warnings = parse_warnings(compilation.log);
  compilation.ok = !compilation.cubin.empty() && !compilation.ptx.empty();
  if (!compilation.ok) return std::nullopt;
  return compilation;
}

}  // namespace nvfp4
