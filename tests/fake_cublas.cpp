// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcublasLt on the emulated device. It multiplies on the host, once for each
// operation, and puts the result on the stream as a copy. It proposes three algorithms: a slow one,
// one that it then refuses, and a fast one. FAKE_CUBLAS names the call that fails, or "wrong": then
// the product is; "none": no algorithm is proposed. Its declarations are its own, so that they
// agree with ours by the interface and not by copying.
#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kSuccess = 0;
constexpr int kExecutionFailed = 13;
constexpr int kNotSupported = 15;
constexpr uint64_t kSlow = 1;
constexpr uint64_t kRefused = 2;
constexpr int kSlowLaunches = 5;  // of a kernel that only takes its launch's time
constexpr char kNothing[] = R"(
.version 8.3
.target sm_80
.address_size 64
.visible .entry nothing()
{
  ret;
}
)";

struct Context {
  CUfunction nothing = nullptr;
};
struct Operation {
  int transpose_a = 0;
  std::vector<uint16_t> result;
};
struct Layout {
  int type;
  uint64_t rows;
  uint64_t columns;
  int64_t pitch;
};
struct Preference {
  uint64_t workspace_bytes = 0;
};
struct Proposal {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

int live = 0;

bool asked(std::string_view word) {
  const char* text = std::getenv("FAKE_CUBLAS");
  return text != nullptr && word == text;
}

template <class Object>
int make(Object** out, Object object, const char* call) {
  if (asked(call)) return kExecutionFailed;
  *out = new Object(std::move(object));
  ++live;
  return kSuccess;
}

template <class Object>
int destroy(Object* object) {
  delete object;
  --live;
  return kSuccess;
}

template <class Function>
Function* driver(const char* name) {
  static void* const emulator = dlopen("libnvfp4_emulator.so", RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(dlsym(emulator, name));
}

#ifndef FAKE_CUBLAS_WITHOUT_MATMUL
float value_of(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

std::vector<uint16_t> download(const void* address, const Layout& layout) {
  std::vector<uint16_t> values(layout.rows * layout.columns);
  driver<decltype(cuMemcpyDtoH)>("cuMemcpyDtoH_v2")(
      values.data(), reinterpret_cast<CUdeviceptr>(address), values.size() * 2);
  return values;
}

// D = A^T B, column-major.
std::vector<uint16_t> product(const void* a, const Layout& la, const void* b, const Layout& lb) {
  const std::vector<uint16_t> left = download(a, la);
  const std::vector<uint16_t> right = download(b, lb);
  std::vector<uint16_t> out(la.columns * lb.columns);
  for (uint64_t column = 0; column < lb.columns; ++column) {
    for (uint64_t row = 0; row < la.columns; ++row) {
      float sum = asked("wrong") ? 100 : 0;
      for (uint64_t k = 0; k < la.rows; ++k) {
        sum += value_of(left[row * la.rows + k]) * value_of(right[column * la.rows + k]);
      }
      out[column * la.columns + row] = bits_of(sum);
    }
  }
  return out;
}
#endif

}  // namespace

/// Descriptors that were made and not destroyed.
EXPORT int fake_cublas_live() { return live; }

EXPORT size_t cublasLtGetVersion() { return 130102; }
EXPORT int cublasLtCreate(Context** out) {
  Context context;
  CUmodule module = nullptr;
  driver<decltype(cuModuleLoadDataEx)>("cuModuleLoadDataEx")(&module, kNothing, 0, nullptr,
                                                             nullptr);
  driver<decltype(cuModuleGetFunction)>("cuModuleGetFunction")(&context.nothing, module, "nothing");
  return make(out, context, "cublasLtCreate");
}
EXPORT int cublasLtDestroy(Context* context) { return destroy(context); }
EXPORT int cublasLtMatmulDescCreate(Operation** out, int compute, int scale) {
  if (compute != 68 || scale != 0) return kNotSupported;
  return make(out, Operation{}, "cublasLtMatmulDescCreate");
}
EXPORT int cublasLtMatmulDescDestroy(Operation* operation) { return destroy(operation); }
EXPORT int cublasLtMatmulDescSetAttribute(Operation* operation, int attribute, const void* value,
                                          size_t bytes) {
  if (attribute != 3 || bytes != sizeof operation->transpose_a) return kNotSupported;
  std::memcpy(&operation->transpose_a, value, bytes);
  return kSuccess;
}
EXPORT int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t columns,
                                      int64_t pitch) {
  if (type != 14 || pitch != static_cast<int64_t>(rows)) return kNotSupported;
  return make(out, Layout{type, rows, columns, pitch}, "cublasLtMatrixLayoutCreate");
}
EXPORT int cublasLtMatrixLayoutDestroy(Layout* layout) { return destroy(layout); }
EXPORT int cublasLtMatmulPreferenceCreate(Preference** out) {
  return make(out, Preference{}, "cublasLtMatmulPreferenceCreate");
}
EXPORT int cublasLtMatmulPreferenceDestroy(Preference* preference) { return destroy(preference); }
EXPORT int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute,
                                                const void* value, size_t bytes) {
  if (attribute != 1 || bytes != sizeof preference->workspace_bytes) return kNotSupported;
  std::memcpy(&preference->workspace_bytes, value, bytes);
  return kSuccess;
}
EXPORT int cublasLtMatmulAlgoGetHeuristic(Context*, Operation* operation, Layout*, Layout*, Layout*,
                                          Layout*, Preference*, int wanted, Proposal* out,
                                          int* found) {
  if (asked("cublasLtMatmulAlgoGetHeuristic") || operation->transpose_a != 1) return kNotSupported;
  *found = asked("none") ? 0 : std::min(wanted, 3);
  for (int i = 0; i < *found; ++i) out[i] = {.algorithm = {static_cast<uint64_t>(i) + kSlow}};
  return kSuccess;
}
#ifndef FAKE_CUBLAS_WITHOUT_MATMUL
EXPORT int cublasLtMatmul(Context* context, Operation* operation, const void* alpha, const void* a,
                          Layout* la, const void* b, Layout* lb, const void* beta, const void*,
                          Layout*, void* d, Layout* ld, const uint64_t* algorithm, void*, size_t,
                          CUstream stream) {
  const float scales[] = {*static_cast<const float*>(alpha), *static_cast<const float*>(beta)};
  if (asked("cublasLtMatmul") || scales[0] != 1 || scales[1] != 0) return kExecutionFailed;
  if (*algorithm == kRefused) return kNotSupported;
  if (operation->result.empty()) operation->result = product(a, *la, b, *lb);
  // A copy in stream order, so that a graph holds it and its launch writes the result again.
  driver<decltype(cuMemcpyHtoDAsync)>("cuMemcpyHtoDAsync_v2")(reinterpret_cast<CUdeviceptr>(d),
                                                              operation->result.data(),
                                                              ld->rows * ld->columns * 2, stream);
  for (int i = 0; i < (*algorithm == kSlow ? kSlowLaunches : 1); ++i) {
    const CUlaunchConfig config = {.gridDimX = 1,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = 32,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .hStream = stream};
    driver<decltype(cuLaunchKernelEx)>("cuLaunchKernelEx")(&config, context->nothing, nullptr,
                                                           nullptr);
  }
  return kSuccess;
}
#endif
