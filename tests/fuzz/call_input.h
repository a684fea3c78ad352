// SPDX-License-Identifier: Apache-2.0
// A fuzzer's bytes as arguments of calls: dimensions, enumerators and structs, mostly good.
#pragma once

#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace nvfp4 {

inline void require(bool holds) {
  if (!holds) std::abort();
}

/// The input; zeros where it has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool ended() const { return at_ == end_; }
  uint8_t byte() { return at_ == end_ ? 0 : *at_++; }
  bool rarely() { return byte() % 8 == 7; }

  template <class T, size_t count>
  T one_of(const T (&list)[count]) {
    return list[byte() % count];
  }

  /// A dimension that a buffer can be made for.
  int64_t small() { return one_of<int64_t>({16, 64, 80, 128, 32, 48, 1, 7, 63, 65, 100}); }

  /// A number that is right by chance, if at all.
  int64_t any() {
    return one_of<int64_t>({0, 1, -1, 15, 16, 64, 1 << 20, (1 << 20) + 1, 1 << 22, (1 << 22) + 16,
                            INT_MAX, int64_t{1} << 31, int64_t{1} << 36, int64_t{1} << 62,
                            INT64_MAX, INT64_MAX - 15, INT64_MIN, INT64_MIN + 16});
  }
  int64_t mostly_small() { return rarely() ? any() : small(); }

  /// An enumerator, or a number that is none.
  template <class T>
  T enumerator() {
    const int value = rarely() ? static_cast<int>(any()) : byte() % 5;
    T result;
    std::memcpy(&result, &value, sizeof result);
    return result;
  }

  std::vector<uint8_t> bytes(size_t count) {
    std::vector<uint8_t> list(count);
    const uint8_t first = byte(), step = byte();
    for (size_t i = 0; i < count; ++i) list[i] = static_cast<uint8_t>(first + i * step);
    return list;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

/// A struct with room behind it for the fields of a later version.
template <class T>
struct Struct {
  T value{};
  uint64_t later[4] = {};

  explicit Struct(Input& input) {
    value.size = sizeof(T);
    if (!input.rarely()) return;
    value.size =
        input.one_of<size_t>({0, 1, sizeof(T) - 1, sizeof(T) + sizeof later, 4097, SIZE_MAX});
    later[3] = input.byte() % 2;
  }
  T* pointer(Input& input) { return input.rarely() && input.rarely() ? nullptr : &value; }
};

}  // namespace nvfp4
