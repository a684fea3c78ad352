// SPDX-License-Identifier: Apache-2.0
// Emulator honesty: random (config, shape, M) on integer-exact data, run on any device and reduced
// to a digest of the output bytes. Digests recorded on real silicon are replayed on the emulated
// device.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdio>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "generator/digest.h"
#include "generator/emit.h"
#include "generator/launch_plan.h"
#include "runtime/compiler.h"
#include "runtime/cuda.h"
#include "runtime/gpu.h"
#include "runtime/kernel.h"
#include "runtime/pack.h"
#include "tuner/gate_data.h"

namespace nvfp4::honesty {

struct Pair {
  KernelConfig config;
  int64_t n = 0, k = 0, m = 0;
  OutputType out_type = OutputType::bf16;
  bool bias = false;
};

/// "4096,4096,64,bf16,1 family=mma,...": N, K, M, output type, bias, config.
inline std::string text(const Pair& p) {
  constexpr const char* kTypes[] = {"bf16", "fp16", "fp32"};
  return fmt::format("{},{},{},{},{} {}", p.n, p.k, p.m, kTypes[static_cast<int>(p.out_type)],
                     int{p.bias}, config_text(p.config));
}

/// The same `count` pairs everywhere: configs from all over the H100's candidate lists.
inline std::vector<Pair> pairs(int count) {
  const Device& device = find_part("h100")->device;
  std::mt19937 random(20261123);
  const auto pick = [&](int low, int high) {
    return low + static_cast<int>(random() % (high - low + 1));
  };
  std::vector<Pair> list;
  for (int i = 0; i < count; ++i) {
    Pair p{.n = pick(1, 700), .k = 16 * pick(1, 60), .m = pick(1, 80)};
    if (i % 3 == 0) p.n = p.n / 64 * 64 + 64;
    p.out_type = static_cast<OutputType>(pick(0, 2));
    p.bias = pick(0, 1) == 1;
    const Problem problem{
        .n = p.n, .k = p.k, .act = static_cast<Activation>(i % 2), .arch = device.arch};
    const auto all = candidates(problem, p.m, device);
    p.config = all[random() % all.size()];
    list.push_back(p);
  }
  return list;
}

/// The pair that text() printed.
inline std::optional<Pair> parse(const std::string& line) {
  Pair p;
  char type[5] = {}, config[256] = {};
  int bias = 0;
  if (std::sscanf(line.c_str(), "%ld,%ld,%ld,%4[^,],%d %255s", &p.n, &p.k, &p.m, type, &bias,
                  config) != 6) {
    return std::nullopt;
  }
  const std::optional<KernelConfig> parsed = parse_config(config);
  if (!parsed) return std::nullopt;
  p.config = *parsed;
  p.bias = bias == 1;
  p.out_type = type[0] == 'b'   ? OutputType::bf16
               : type[2] == '1' ? OutputType::fp16
                                : OutputType::fp32;
  return p;
}

inline Problem problem_of(const Pair& p, Arch arch) {
  return {.n = p.n, .k = p.k, .act = p.config.act, .arch = arch};
}

/// Compiles every pair on `threads` threads, in order.
inline std::vector<Compilation> compile(const Compiler& compiler, const std::vector<Pair>& pairs,
                                        Arch arch, int threads) {
  std::vector<Compilation> done(pairs.size());
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> pool;
  for (int t = 0; t < threads; ++t) {
    pool.emplace_back([&] {
      for (size_t i = next++; i < pairs.size(); i = next++) {
        done[i] = compiler.compile(emit_source(pairs[i].config, problem_of(pairs[i], arch)), arch);
      }
    });
  }
  pool.clear();
  return done;
}

/// Launches once and returns the SHA-256 of the output; `ok` tells whether it is right too.
inline std::string output_digest(const Gpu& gpu, const Compilation& compiled, const Pair& p,
                                 bool& ok, GateKind kind = GateKind::exact) {
  if (!compiled.ok) return ok = false, "does not compile";
  const Problem problem = problem_of(p, gpu.facts().arch);
  const GateCase data = make_gate_case(
      kind, {.n = p.n, .k = p.k, .m = p.m, .act = p.config.act, .seed = 5, .bias = p.bias}, 2);
  std::vector<uint8_t> packed(packed_bytes(p.n, p.k));
  pack(data.codes, data.scales, p.n, p.k, packed, 2, "honesty");

  const LaunchPlan plan = launch_plan(p.config, problem, p.m, gpu.facts());
  const Kernel kernel(gpu, gpu.emulated() ? compiled.ptx : compiled.cubin, plan.smem_bytes);
  const Stream stream(gpu);
  const auto upload = [&](const auto& values) {
    DeviceBuffer buffer(gpu, values.size() * sizeof(values[0]));
    if (!values.empty()) buffer.upload(bytes_of(values));
    return buffer;
  };
  const DeviceBuffer weights = upload(packed), activations = upload(data.activations);
  const DeviceBuffer scales = upload(data.global_scales), bias = upload(data.bias);
  const DeviceBuffer workspace(gpu, plan.workspace_bytes);
  if (plan.workspace_bytes > 0) workspace_init(gpu, workspace.address(), plan, stream.get());
  std::vector<uint8_t> out(p.n * p.m * (p.out_type == OutputType::fp32 ? 4 : 2), 0xFF);
  DeviceBuffer result = upload(out);
  const GemmParams params{.weights = weights.as(),
                          .activations = activations.as(),
                          .out = result.as(),
                          .bias = p.bias ? bias.as() : nullptr,
                          .global_scales = scales.as<float>(),
                          .workspace = workspace.as(),
                          .lda = data.lda,
                          .ldo = p.n,
                          .m = static_cast<int>(p.m),
                          .tiles_m = plan.tiles_m,
                          .out_type = p.out_type,
                          .partials_offset = static_cast<unsigned>(plan.counter_bytes)};
  kernel.launch(params, plan, Pdl::off, stream.get());
  stream.synchronize();
  result.download(bytes_of(out));
  ok = !check(data, out.data(), p.n, p.out_type);
  return sha256_hex({reinterpret_cast<const char*>(out.data()), out.size()});
}

}  // namespace nvfp4::honesty
