// SPDX-License-Identifier: Apache-2.0
// One decode step of an MLP as a serving engine would run it: pack the weights once, prepare the
// kernels, capture the step in a CUDA graph, replay it.
//
//   hidden --[gate_up]--> intermediate --[down]--> hidden      (the activation function is left
//   out)
//
// Usage: decode_step [emulated:h100]
#include <cuda.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <nvfp4/nvfp4.hpp>
#include <random>
#include <vector>

namespace {

constexpr int64_t kHidden = 512, kIntermediate = 1024, kTokens = 4;

void check(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  const char* text = "unknown error";
  cuGetErrorString(result, &text);
  throw std::runtime_error(std::string(call) + ": " + text);
}

/// Device memory with a copy of `bytes`.
void* to_device(const void* data, size_t bytes) {
  CUdeviceptr address = 0;
  check(cuMemAlloc(&address, bytes), "cuMemAlloc");
  if (data != nullptr) check(cuMemcpyHtoD(address, data, bytes), "cuMemcpyHtoD");
  return reinterpret_cast<void*>(address);
}

uint16_t bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float number(uint16_t bf16) {
  const uint32_t bits = uint32_t{bf16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// A linear layer: its weights in packed form on the device, and kernels for up to kTokens tokens.
struct Linear {
  Linear(const nvfp4::Context& context, int64_t n, int64_t k, std::mt19937& random)
      : n(n), k(k), gemm(context, problem(n, k), 1, kTokens) {
    std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(k)));
    std::vector<float> numbers(n * k);
    for (float& weight : numbers) weight = normal(random);
    std::vector<uint8_t> codes(n * k / 2), scales(n * k / 16);
    auto part = nvfp4::sized<nvfp4_part>();  // a checkpoint gives codes, scales and global scale
    nvfp4::check(
        nvfp4_quantize(numbers.data(), n, k, 0, codes.data(), scales.data(), &part.global_scale));
    part.n = n;
    part.codes = codes.data();
    part.scales = scales.data();
    const nvfp4::Packed packed = nvfp4::pack({part}, k);
    weights = to_device(packed.bytes.data(), packed.bytes.size());
    global_scales = static_cast<float*>(
        to_device(packed.global_scales.data(), packed.global_scales.size() * sizeof(float)));
  }

  static nvfp4_problem problem(int64_t n, int64_t k) {
    nvfp4_problem problem = nvfp4::problem(n, k);
    problem.flags = NVFP4_PDL;  // both layers are ours, and the weights have long been there
    return problem;
  }

  void launch(void* in, void* out, void* workspace, size_t bytes, CUstream stream) const {
    auto args = nvfp4::sized<nvfp4_launch_args>();
    args.m = kTokens;
    args.weights = weights;
    args.global_scales = global_scales;
    args.activations = in;
    args.out = out;
    args.workspace = workspace;
    args.workspace_bytes = bytes;
    gemm.launch(args, stream);
  }

  int64_t n, k;
  nvfp4::Gemm gemm;
  void* weights = nullptr;
  float* global_scales = nullptr;
};

void run(const char* device) {
  const nvfp4::Context context(device);
  const nvfp4_device_info info = context.device();
  // The library does not change which context is current; here it is the device's primary one.
  CUcontext current = nullptr;
  CUdevice ordinal = 0;
  check(cuInit(0), "cuInit");
  check(cuDeviceGet(&ordinal, 0), "cuDeviceGet");
  check(cuDevicePrimaryCtxRetain(&current, ordinal), "cuDevicePrimaryCtxRetain");
  check(cuCtxSetCurrent(current), "cuCtxSetCurrent");
  CUstream stream = nullptr;
  check(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");

  std::mt19937 random(1);
  const Linear gate_up(context, kIntermediate, kHidden, random);
  const Linear down(context, kHidden, kIntermediate, random);
  std::vector<uint16_t> hidden(kTokens * kHidden, bf16(1.0f));
  void* in = to_device(hidden.data(), hidden.size() * 2);
  void* middle = to_device(nullptr, kTokens * kIntermediate * 2);
  void* out = to_device(nullptr, kTokens * kHidden * 2);

  // One workspace serves layers that run one after another.
  const size_t bytes = std::max(gate_up.gemm.workspace_bytes(), down.gemm.workspace_bytes());
  void* workspace = bytes > 0 ? to_device(nullptr, bytes) : nullptr;
  context.init_workspace(workspace, bytes, stream);

  CUgraph graph = nullptr;
  CUgraphExec step = nullptr;
  check(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "cuStreamBeginCapture");
  gate_up.launch(in, middle, workspace, bytes, stream);
  down.launch(middle, out, workspace, bytes, stream);
  check(cuStreamEndCapture(stream, &graph), "cuStreamEndCapture");
  check(cuGraphInstantiateWithFlags(&step, graph, 0), "cuGraphInstantiateWithFlags");
  for (int i = 0; i < 3; ++i) check(cuGraphLaunch(step, stream), "cuGraphLaunch");
  check(cuStreamSynchronize(stream), "cuStreamSynchronize");

  std::vector<uint16_t> result(kTokens * kHidden);
  check(cuMemcpyDtoH(result.data(), reinterpret_cast<CUdeviceptr>(out), result.size() * 2),
        "cuMemcpyDtoH");
  double sum = 0;
  for (const uint16_t value : result) sum += std::fabs(number(value));
  std::printf("%s%s: 3 decode steps of %lld tokens, mean |out| = %.3f\n", info.name,
              info.emulated ? " (emulated)" : "", static_cast<long long>(kTokens),
              sum / result.size());
}

}  // namespace

int main(int count, char** words) {
  try {
    run(count > 1 ? words[1] : "0");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "decode_step: %s\n", error.what());
    return 1;
  }
}
