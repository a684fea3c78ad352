// SPDX-License-Identifier: Apache-2.0
// Search, loading and the one product.
#include "tuner/cublas.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <type_traits>

#include "runtime/nvrtc_search.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

// Newest first. CUDA 11's has no kernels for sm_90 worth comparing with.
constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

void check(cublas::Status status, std::string_view call) {
  if (status != 0) throw CublasError(fmt::format("{} failed with status {}", call, status));
}

void append(const fs::path& folder, std::vector<std::string>& out) {
  for (const char* name : kNames) {
    std::error_code ignored;
    if (fs::exists(folder / name, ignored)) out.push_back((folder / name).string());
  }
}

}  // namespace

std::vector<std::string> cublas_libraries() {
  if (const char* chosen = std::getenv("NVFP4_CUBLASLT"); chosen && *chosen) return {chosen};
  std::vector<std::string> libraries;
  // Who has NVRTC has cuBLASLt in the same folder (a toolkit, CUDA 13 wheels) or in the next
  // package's (CUDA 12 wheels: nvidia/cuda_nvrtc/lib and nvidia/cublas/lib).
  for (const std::string& nvrtc : nvrtc_libraries()) {
    const fs::path folder = fs::path(nvrtc).parent_path();
    if (!folder.is_absolute()) continue;
    append(folder, libraries);
    append(folder.parent_path().parent_path() / "cublas/lib", libraries);
  }
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* home = std::getenv(name);
    if (home == nullptr || !fs::path(home).is_absolute()) continue;
    append(fs::path(home) / "lib64", libraries);
    append(fs::path(home) / "lib", libraries);
  }
  libraries.insert(libraries.end(), std::begin(kNames), std::end(kNames));
  append("/usr/local/cuda/lib64", libraries);
  append("/usr/local/cuda/lib", libraries);
  return libraries;
}

Cublas::Cublas() {
  // The best library that is there and does not work says more than those that are not there.
  std::string absent;
  std::string broken;
  for (const std::string& path : cublas_libraries()) {
    try {
      load(path);
      return;
    } catch (const CublasError& error) {
      std::error_code ignored;
      std::string& reason = fs::exists(path, ignored) ? broken : absent;
      if (reason.empty()) reason = error.what();
    }
  }
  if (!broken.empty()) throw CublasError(fmt::format("cuBLASLt does not work: {}", broken));
  throw CublasError(fmt::format("cuBLASLt not found: {}", absent));
}

void Cublas::load(const std::string& path) {
  // Never unloaded: the library leaves threads and exit handlers behind.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* error = dlerror();
    throw CublasError(error != nullptr ? error : path);
  }
  cublas::visit_entry_points(table_, [&](const char* name, auto& pointer) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(dlsym(handle, name));
    if (pointer == nullptr) throw CublasError(fmt::format("{} has no {}", path, name));
  });
  check(table_.create(&context_), fmt::format("cublasLtCreate of {}", path));
}

Cublas::~Cublas() { table_.destroy(context_); }

std::string Cublas::name() const {
  const size_t version = table_.get_version();
  return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

// Row-major matrices are column-major ones transposed, so what is computed is
// out^T [n, m] = (weights^T)^T [n, k] x activations^T [k, m].
Bf16Product::Bf16Product(const Cublas& cublas, int64_t m, int64_t n, int64_t k) : cublas_(cublas) {
  const cublas::Table& lt = cublas.table();
  cublas::Preference* preference = nullptr;
  try {
    check(lt.matmul_desc_create(&operation_, cublas::kComputeFloat32, cublas::kFloat32),
          "cublasLtMatmulDescCreate");
    check(lt.matmul_desc_set_attribute(operation_, cublas::kTransposeA, &cublas::kTranspose,
                                       sizeof cublas::kTranspose),
          "cublasLtMatmulDescSetAttribute");
    const auto layout = [&](cublas::Layout** out, int64_t rows, int64_t columns) {
      check(lt.matrix_layout_create(out, cublas::kBfloat16, static_cast<uint64_t>(rows),
                                    static_cast<uint64_t>(columns), rows),
            "cublasLtMatrixLayoutCreate");
    };
    layout(&weights_, k, n);
    layout(&activations_, k, m);
    layout(&out_, n, m);
    check(lt.matmul_preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    const uint64_t most = kWorkspaceBytes;
    check(
        lt.matmul_preference_set_attribute(preference, cublas::kMostWorkspace, &most, sizeof most),
        "cublasLtMatmulPreferenceSetAttribute");
    int found = 0;
    proposals_.resize(kMostAlgorithms);
    check(
        lt.matmul_algo_get_heuristic(cublas.context(), operation_, weights_, activations_, out_,
                                     out_, preference, kMostAlgorithms, proposals_.data(), &found),
        "cublasLtMatmulAlgoGetHeuristic");
    proposals_.resize(static_cast<size_t>(std::clamp(found, 0, kMostAlgorithms)));
    std::erase_if(proposals_, [](const cublas::Proposal& p) { return p.status != 0; });
    if (proposals_.empty()) {
      throw CublasError(fmt::format("cuBLASLt has no algorithm for M={} N={} K={}", m, n, k));
    }
    lt.matmul_preference_destroy(preference);
  } catch (...) {
    if (preference != nullptr) lt.matmul_preference_destroy(preference);
    release();
    throw;
  }
}

Bf16Product::~Bf16Product() { release(); }

void Bf16Product::release() {
  const cublas::Table& lt = cublas_.table();
  for (cublas::Layout* layout : {weights_, activations_, out_}) {
    if (layout != nullptr) lt.matrix_layout_destroy(layout);
  }
  if (operation_ != nullptr) lt.matmul_desc_destroy(operation_);
}

void Bf16Product::enqueue(int algorithm, const Buffers& buffers, CUstream stream) const {
  const float one = 1;
  const float zero = 0;
  const auto pointer = [](CUdeviceptr address) { return reinterpret_cast<void*>(address); };
  check(cublas_.table().matmul(cublas_.context(), operation_, &one, pointer(buffers.weights),
                               weights_, pointer(buffers.activations), activations_, &zero,
                               pointer(buffers.out), out_, pointer(buffers.out), out_,
                               &proposals_[static_cast<size_t>(algorithm)].algorithm,
                               pointer(buffers.workspace), kWorkspaceBytes, stream),
        "cublasLtMatmul");
}

}  // namespace nvfp4
