// SPDX-License-Identifier: Apache-2.0
// The part of cuBLASLt's C interface that a plain matrix product needs, declared here so that the
// build asks for no toolkit component beyond NVRTC's. The numbers are cuBLASLt's own and have been
// the same from CUDA 11 to 13.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/driver.h"

namespace nvfp4::cublas {

using Status = int;  ///< 0: success

struct Context;
struct Operation;
struct Layout;
struct Preference;

/// Opaque: how one kernel of the library is to be run.
struct Algorithm {
  uint64_t data[8];
};

struct Proposal {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Proposal) == 96);

inline constexpr int kFloat32 = 0;          // CUDA_R_32F
inline constexpr int kBfloat16 = 14;        // CUDA_R_16BF
inline constexpr int kComputeFloat32 = 68;  // CUBLAS_COMPUTE_32F
inline constexpr int kTranspose = 1;        // CUBLAS_OP_T
inline constexpr int kTransposeA = 3;       // CUBLASLT_MATMUL_DESC_TRANSA
inline constexpr int kMostWorkspace = 1;    // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES

/// The entry points, under their names without "cublasLt". Matrices are column-major; the product
/// is D = alpha op(A) op(B) + beta C.
struct Table {
  size_t (*get_version)() = nullptr;
  Status (*create)(Context**) = nullptr;
  Status (*destroy)(Context*) = nullptr;
  Status (*matmul_desc_create)(Operation**, int compute_type, int scale_type) = nullptr;
  Status (*matmul_desc_destroy)(Operation*) = nullptr;
  Status (*matmul_desc_set_attribute)(Operation*, int attribute, const void*, size_t) = nullptr;
  Status (*matrix_layout_create)(Layout**, int type, uint64_t rows, uint64_t columns,
                                 int64_t pitch) = nullptr;
  Status (*matrix_layout_destroy)(Layout*) = nullptr;
  Status (*matmul_preference_create)(Preference**) = nullptr;
  Status (*matmul_preference_destroy)(Preference*) = nullptr;
  Status (*matmul_preference_set_attribute)(Preference*, int attribute, const void*,
                                            size_t) = nullptr;
  Status (*matmul_algo_get_heuristic)(Context*, Operation*, Layout* a, Layout* b, Layout* c,
                                      Layout* d, Preference*, int wanted, Proposal*,
                                      int* found) = nullptr;
  Status (*matmul)(Context*, Operation*, const void* alpha, const void* a, Layout*, const void* b,
                   Layout*, const void* beta, const void* c, Layout*, void* d, Layout*,
                   const Algorithm*, void* workspace, size_t workspace_bytes, CUstream) = nullptr;
};

/// Calls visit(symbol, pointer) for every entry point of the table.
template <class Visitor>
void visit_entry_points(Table& t, const Visitor& visit) {
  visit("cublasLtGetVersion", t.get_version);
  visit("cublasLtCreate", t.create);
  visit("cublasLtDestroy", t.destroy);
  visit("cublasLtMatmulDescCreate", t.matmul_desc_create);
  visit("cublasLtMatmulDescDestroy", t.matmul_desc_destroy);
  visit("cublasLtMatmulDescSetAttribute", t.matmul_desc_set_attribute);
  visit("cublasLtMatrixLayoutCreate", t.matrix_layout_create);
  visit("cublasLtMatrixLayoutDestroy", t.matrix_layout_destroy);
  visit("cublasLtMatmulPreferenceCreate", t.matmul_preference_create);
  visit("cublasLtMatmulPreferenceDestroy", t.matmul_preference_destroy);
  visit("cublasLtMatmulPreferenceSetAttribute", t.matmul_preference_set_attribute);
  visit("cublasLtMatmulAlgoGetHeuristic", t.matmul_algo_get_heuristic);
  visit("cublasLtMatmul", t.matmul);
}

}  // namespace nvfp4::cublas
