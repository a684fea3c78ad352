// SPDX-License-Identifier: Apache-2.0
// libnvfp4 for C++17: handles that own, statuses as exceptions. Nothing here but nvfp4.h in other
// words; read its comments for what the calls do.
#ifndef NVFP4_NVFP4_HPP
#define NVFP4_NVFP4_HPP

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "nvfp4/nvfp4.h"

namespace nvfp4 {

/// A call that failed; what() is the library's one line.
class Error : public std::runtime_error {
 public:
  explicit Error(nvfp4_status status) : std::runtime_error(nvfp4_last_error()), status_(status) {}
  nvfp4_status status() const noexcept { return status_; }

 private:
  nvfp4_status status_;
};

inline void check(nvfp4_status status) {
  if (status != NVFP4_OK) throw Error(status);
}

/// A zeroed struct of the C interface that states its size.
template <class T>
T sized() {
  T value{};
  value.size = sizeof value;
  return value;
}

/// A device with its tuning database, compiler and kernel cache.
class Context {
 public:
  /// The context that is current, else GPU 0.
  Context() : Context(sized<nvfp4_context_options>()) {}
  /// `device`: "0", "1", ... or "emulated:h100".
  explicit Context(const char* device) : Context(on_device(device)) {}
  explicit Context(const nvfp4_context_options& options) {
    check(nvfp4_context_create(&options, &handle_));
  }
  ~Context() {
    if (handle_ != 0) nvfp4_context_destroy(handle_);
  }
  Context(Context&& other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
  Context& operator=(Context&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  nvfp4_context get() const noexcept { return handle_; }

  nvfp4_device_info device() const {
    auto info = sized<nvfp4_device_info>();
    check(nvfp4_device(handle_, &info));
    return info;
  }

  nvfp4_selection lookup(const nvfp4_problem& problem, int64_t m) const {
    auto selection = sized<nvfp4_selection>();
    check(nvfp4_lookup(handle_, &problem, m, &selection));
    return selection;
  }

  void init_workspace(void* workspace, size_t bytes, nvfp4_stream stream) const {
    check(nvfp4_workspace_init(handle_, workspace, bytes, stream));
  }

  void dequantize(const nvfp4_dequantize_args& args, nvfp4_stream stream) const {
    check(nvfp4_dequantize(handle_, &args, stream));
  }

 private:
  static nvfp4_context_options on_device(const char* device) {
    auto options = sized<nvfp4_context_options>();
    options.device = device;
    return options;
  }

  nvfp4_context handle_ = 0;
};

/// n x k of bf16 activations, unless its fields say otherwise.
inline nvfp4_problem problem(int64_t n, int64_t k) {
  auto problem = sized<nvfp4_problem>();
  problem.n = n;
  problem.k = k;
  return problem;
}

/// The kernels of one problem for a range of M.
class Gemm {
 public:
  Gemm(const Context& context, const nvfp4_problem& problem, int64_t m_min, int64_t m_max) {
    check(nvfp4_prepare(context.get(), &problem, m_min, m_max, &handle_));
  }
  ~Gemm() {
    if (handle_ != 0) nvfp4_gemm_destroy(handle_);
  }
  Gemm(Gemm&& other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
  Gemm& operator=(Gemm&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  nvfp4_gemm get() const noexcept { return handle_; }

  size_t workspace_bytes() const {
    size_t bytes = 0;
    check(nvfp4_workspace_size(handle_, &bytes));
    return bytes;
  }

  void launch(const nvfp4_launch_args& args, nvfp4_stream stream) const {
    check(nvfp4_launch(handle_, &args, stream));
  }

 private:
  nvfp4_gemm handle_ = 0;
};

/// A stack of checkpoint matrices in packed form, on the host.
struct Packed {
  int64_t rows = 0;  ///< N of its problem
  int64_t k = 0;
  std::vector<uint8_t> bytes;
  std::vector<float> global_scales;  ///< one per 64 rows
};

/// Packs with all cores.
inline Packed pack(const std::vector<nvfp4_part>& parts, int64_t k) {
  std::vector<int64_t> rows;
  for (const nvfp4_part& part : parts) rows.push_back(part.n);
  auto info = sized<nvfp4_packed_info>();
  check(nvfp4_packed_size(rows.data(), rows.size(), k, &info));
  Packed packed;
  packed.rows = info.rows;
  packed.k = k;
  packed.bytes.resize(info.packed_bytes);
  packed.global_scales.resize(info.global_scales);
  check(nvfp4_pack(parts.data(), parts.size(), k, 0, packed.bytes.data(), packed.bytes.size(),
                   packed.global_scales.data(), packed.global_scales.size()));
  return packed;
}

/// The NVFP4 layers of a checkpoint's folder or file, or of a packed file.
class Checkpoint {
 public:
  explicit Checkpoint(const char* path) { check(nvfp4_checkpoint_open(path, &handle_)); }
  ~Checkpoint() {
    if (handle_ != 0) nvfp4_checkpoint_close(handle_);
  }
  Checkpoint(Checkpoint&& other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
  Checkpoint& operator=(Checkpoint&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  nvfp4_checkpoint get() const noexcept { return handle_; }

  size_t stacks() const {
    size_t count = 0;
    check(nvfp4_checkpoint_count(handle_, &count, nullptr));
    return count;
  }

  std::vector<std::string> problems() const {
    size_t count = 0;
    check(nvfp4_checkpoint_count(handle_, nullptr, &count));
    std::vector<std::string> list;
    for (size_t i = 0; i < count; ++i) {
      const char* text = nullptr;
      check(nvfp4_checkpoint_problem(handle_, i, &text));
      list.emplace_back(text);
    }
    return list;
  }

  nvfp4_stack_info stack(size_t index) const {
    auto info = sized<nvfp4_stack_info>();
    check(nvfp4_checkpoint_stack(handle_, index, &info));
    return info;
  }

  /// Packs with all cores.
  Packed pack(size_t index) const {
    const nvfp4_stack_info info = stack(index);
    Packed packed;
    packed.rows = info.rows;
    packed.k = info.k;
    packed.bytes.resize(info.packed_bytes);
    packed.global_scales.resize(info.global_scales);
    check(nvfp4_checkpoint_pack(handle_, index, 0, packed.bytes.data(), packed.bytes.size(),
                                packed.global_scales.data(), packed.global_scales.size()));
    return packed;
  }

 private:
  nvfp4_checkpoint handle_ = 0;
};

}  // namespace nvfp4

#endif
