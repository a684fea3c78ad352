// SPDX-License-Identifier: Apache-2.0
// The border of the C interface: nothing but a status leaves it. Exceptions become statuses with
// this thread's text; structs are read and written by the size their owner states.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "runtime/include/nvfp4/nvfp4.h"

namespace nvfp4::abi {

/// A failure with a status of its own.
class StatusError : public std::runtime_error {
 public:
  StatusError(nvfp4_status status, const std::string& text)
      : std::runtime_error(text), status_(status) {}
  nvfp4_status status() const { return status_; }

 private:
  nvfp4_status status_;
};

[[noreturn]] inline void refuse(const std::string& text) {
  throw StatusError(NVFP4_INVALID_ARGUMENT, text);
}

/// Throws unless `pointer` is one.
inline void require_pointer(const void* pointer, std::string_view name) {
  if (pointer == nullptr) refuse(fmt::format("{} is null", name));
}

/// The caller's number of threads, 0 being all cores. Throws StatusError.
inline int thread_count(int threads) {
  if (threads < 0) refuse(fmt::format("threads = {} is below 0", threads));
  return threads ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// This thread's text for nvfp4_last_error.
const char* last_error() noexcept;
void set_last_error(std::string_view text) noexcept;

/// Inside a catch block: the status of what was thrown, its text kept as the last error.
nvfp4_status status_of_exception() noexcept;

/// Runs `body`; what it throws is a status.
template <class Body>
nvfp4_status guarded(const Body& body) noexcept {
  try {
    body();
    return NVFP4_OK;
  } catch (...) {
    return status_of_exception();
  }
}

/// The caller's struct as this library knows it. A caller of a later version may have more fields,
/// which must be zero: what they ask for cannot be done here.
template <class T>
T read_struct(const T* from, std::string_view name) {
  require_pointer(from, name);
  if (from->size < sizeof(T)) {
    refuse(fmt::format("{}->size is {}, at least {} is needed", name, from->size, sizeof(T)));
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  if (from->size > 4096 || std::any_of(bytes + sizeof(T), bytes + from->size,
                                       [](unsigned char byte) { return byte != 0; })) {
    refuse(fmt::format("{}->size is {}, and fields beyond the {} bytes this library knows are set",
                       name, from->size, sizeof(T)));
  }
  return *from;
}

/// Fills the caller's struct, whose size stays the caller's.
template <class T>
void write_struct(T* to, const T& value, std::string_view name) {
  require_pointer(to, name);
  if (to->size < sizeof(T)) {
    refuse(fmt::format("{}->size is {}, at least {} is needed", name, to->size, sizeof(T)));
  }
  const size_t size = to->size;
  *to = value;
  to->size = size;
}

}  // namespace nvfp4::abi
