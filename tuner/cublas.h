// SPDX-License-Identifier: Apache-2.0
// cuBLASLt, found at run time if it is there: the bf16 product that our kernels are compared with,
// and the rate that the tensor cores reach in practice.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "tuner/cublas_api.h"

namespace nvfp4 {

/// No cuBLASLt, or a call of it failed.
class CublasError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What to hand to dlopen, best first: beside the NVRTC libraries (a toolkit or Python wheels),
/// under CUDA_HOME, what the loader knows. If NVFP4_CUBLASLT is set it is the only entry.
std::vector<std::string> cublas_libraries();

class Cublas {
 public:
  /// Opens the library for the current context. Throws CublasError "cuBLASLt not found: .."
  /// or "cuBLASLt does not work: ..".
  Cublas();
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  /// "cuBLASLt 13.0.2".
  std::string name() const;

  const cublas::Table& table() const { return table_; }
  cublas::Context* context() const { return context_; }

 private:
  void load(const std::string& path);

  cublas::Table table_;
  cublas::Context* context_ = nullptr;
};

/// out[m, n] = activations[m, k] x weights[n, k]^T: bf16, row-major, FP32 accumulation. Outlived by
/// its Cublas.
class Bf16Product {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;
  static constexpr int kMostAlgorithms = 8;

  /// Throws CublasError when a call fails or the library proposes no algorithm.
  Bf16Product(const Cublas& cublas, int64_t m, int64_t n, int64_t k);
  ~Bf16Product();
  Bf16Product(const Bf16Product&) = delete;
  Bf16Product& operator=(const Bf16Product&) = delete;

  /// What the library proposes, its favourite first; at least one.
  int algorithms() const { return static_cast<int>(proposals_.size()); }

  struct Buffers {
    CUdeviceptr weights = 0;
    CUdeviceptr activations = 0;
    CUdeviceptr out = 0;
    CUdeviceptr workspace = 0;  ///< kWorkspaceBytes
  };
  /// Puts one product on the stream, which may be capturing. Throws CublasError.
  void enqueue(int algorithm, const Buffers& buffers, CUstream stream) const;

 private:
  void release();

  const Cublas& cublas_;
  cublas::Operation* operation_ = nullptr;
  cublas::Layout* weights_ = nullptr;
  cublas::Layout* activations_ = nullptr;
  cublas::Layout* out_ = nullptr;
  std::vector<cublas::Proposal> proposals_;
};

}  // namespace nvfp4
