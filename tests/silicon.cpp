// SPDX-License-Identifier: Apache-2.0
// What only a real GPU can show, in one run: a spread of kernels through the full gate as cubins;
// the compute_80 PTX of the mma family, translated by the driver, through the same gate; and the
// same bits from 100 launches. Ends with "N passed, N failed". `silicon small [TEXT]` keeps to
// problems that end soon under compute-sanitizer, and to configs with TEXT in them.
#include <cstdio>
#include <thread>

#include "tests/honesty.h"
#include "tuner/gate.h"

namespace {

using namespace nvfp4;

struct Case {
  int64_t n, k, m;
  KernelConfig config;
};

KernelConfig wgmma(Activation act, int block_n, int block_m, int block_k, int warps_n, int stages,
                   int cluster_n = 1, int cluster_k = 1,
                   Schedule schedule = Schedule::data_parallel) {
  return {.family = Family::wgmma,
          .act = act,
          .block_n = block_n,
          .block_m = block_m,
          .block_k = block_k,
          .warps_n = warps_n,
          .warps_k = 1,
          .num_stages = stages,
          .schedule = schedule,
          .cluster_n = cluster_n,
          .cluster_k = cluster_k};
}

std::vector<Case> cases(bool small) {
  std::vector<Case> list;
  for (const Activation act : {Activation::bf16, Activation::fp16}) {
    const KernelConfig decode{.act = act, .block_n = 176, .block_m = 8, .warps_k = 8};
    const KernelConfig shared{.act = act, .block_n = 192, .block_m = 16, .warps_n = 2};
    const KernelConfig wide{.act = act, .block_n = 256, .block_m = 64, .warps_n = 4, .warps_k = 2};
    const KernelConfig tall{.act = act, .block_n = 128, .block_m = 128, .warps_n = 4, .warps_k = 2};
    const KernelConfig split{.act = act,
                             .block_n = 64,
                             .block_m = 32,
                             .block_k = 128,
                             .warps_k = 2,
                             .num_stages = 2,
                             .schedule = Schedule::split_k,
                             .split_k = 3};
    const KernelConfig stream{
        .act = act, .block_n = 128, .block_m = 16, .warps_n = 2, .schedule = Schedule::stream_k};
    list.push_back({1003, 4112, 77, stream});
    list.push_back({4001, 1040, 7, split});
    list.push_back({1003, 1040, 61, wgmma(act, 128, 64, 128, 8, 4, 2, 2)});
    list.push_back({2056, 1296, 13, wgmma(act, 64, 16, 64, 4, 6, 1, 3)});
    list.push_back({1000, 528, 250, wgmma(act, 128, 256, 64, 8, 4, 2)});
    list.push_back({9000, 320, 13, wgmma(act, 64, 16, 64, 4, 4, 1, 1, Schedule::stream_k)});
    if (small) continue;
    list.push_back({21504, 5376, 1, decode});
    list.push_back({21504, 5376, 16, shared});
    list.push_back({15360, 3840, 64, wide});
    list.push_back({15360, 3840, 121, tall});
    list.push_back({4096, 4096, 29, split});
    list.push_back({5376, 21504, 16, stream});
    list.push_back({21504, 5376, 32, wgmma(act, 192, 32, 256, 12, 4)});
    list.push_back({15360, 3840, 64, wgmma(act, 128, 64, 256, 8, 4, 4)});
    list.push_back({5376, 21504, 64, wgmma(act, 192, 64, 256, 12, 3, 1, 4)});
    list.push_back({4096, 4096, 64, wgmma(act, 64, 64, 256, 4, 4, 1, 2)});
    list.push_back({15360, 3840, 1024, wgmma(act, 192, 128, 128, 12, 4, 2)});
    list.push_back({28672, 8192, 249, wgmma(act, 128, 256, 64, 8, 5, 1, 1, Schedule::stream_k)});
    list.push_back({15360, 3840, 1000, wgmma(act, 128, 256, 64, 8, 5, 1, 1, Schedule::stream_k)});
    list.push_back({21504, 5376, 64, wgmma(act, 64, 64, 256, 4, 3, 2, 1, Schedule::stream_k)});
    list.push_back({4096, 4096, 777, wgmma(act, 128, 256, 64, 8, 5, 2)});
  }
  return list;
}

// "sm_90a, PDL" or "compute_80 PTX" of one case through the full gate, and repeated.
std::string judge(const Gpu& gpu, const Case& c, const KernelConfig& config,
                  const std::string& image, int launches) {
  const Problem problem{.n = c.n, .k = c.k, .act = config.act, .arch = gpu.facts().arch};
  const Kernel kernel(gpu, image, smem_bytes(config));
  Gate gate(gpu, problem, c.m, 1, 16);
  const GateResult result = gate.run(kernel, config, c.m, GateDepth::full);
  if (result.verdict != Verdict::ok)
    return fmt::format("{}: {}", name(result.verdict), result.text);

  // Random data and dirty partials: only a fixed order of summation gives the same bits every time.
  const GateCase data =
      make_gate_case(GateKind::random, {.n = c.n, .k = c.k, .m = c.m, .act = config.act}, 16);
  std::vector<uint8_t> packed(packed_bytes(c.n, c.k));
  pack(data.codes, data.scales, c.n, c.k, packed, 16, "silicon");
  const LaunchPlan plan = launch_plan(config, problem, c.m, gpu.facts());
  const Stream stream(gpu);
  const auto upload = [&](const auto& values) {
    DeviceBuffer buffer(gpu, values.size() * sizeof(values[0]));
    buffer.upload(bytes_of(values));
    return buffer;
  };
  const DeviceBuffer weights = upload(packed), activations = upload(data.activations);
  const DeviceBuffer scales = upload(data.global_scales);
  const DeviceBuffer workspace(gpu, plan.workspace_bytes);
  if (plan.workspace_bytes > 0) workspace_init(gpu, workspace.address(), plan, stream.get());
  DeviceBuffer out(gpu, c.n * c.m * 4);
  const GemmParams params{.weights = weights.as(),
                          .activations = activations.as(),
                          .out = out.as(),
                          .global_scales = scales.as<float>(),
                          .workspace = workspace.as(),
                          .lda = data.lda,
                          .ldo = c.n,
                          .m = static_cast<int>(c.m),
                          .tiles_m = plan.tiles_m,
                          .out_type = OutputType::fp32,
                          .partials_offset = static_cast<unsigned>(plan.counter_bytes)};
  std::vector<std::byte> first(out.size()), bytes(out.size());
  for (int launch = 0; launch < launches; ++launch) {
    out.fill(std::byte{0xFF}, stream.get());
    kernel.launch(params, plan, Pdl::off, stream.get());
    stream.synchronize();
    out.download(launch == 0 ? first : bytes);
    if (launch > 0 && bytes != first)
      return fmt::format("launch {} differs from launch 1", launch + 1);
  }
  return "passed";
}

}  // namespace

int main(int count, char** words) {
  const bool small = count > 1 && std::string_view(words[1]) == "small";
  const Gpu gpu = open_device("0").gpu;
  const Compiler compiler = Compiler::open(gpu.driver().version());
  std::vector<Case> list = cases(small);
  if (count > 2) {
    std::erase_if(list, [&](const Case& c) {
      return config_text(c.config).find(words[2]) == std::string::npos;
    });
  }
  std::vector<Compilation> native(list.size()), portable(list.size());
  std::vector<std::jthread> pool;
  for (size_t i = 0; i < list.size(); ++i) {
    pool.emplace_back([&, i] {
      KernelConfig config = list[i].config;
      const Problem problem{
          .n = list[i].n, .k = list[i].k, .act = config.act, .arch = {8, 0, false}};
      if (!is_wgmma(config)) {
        portable[i] = compiler.compile(emit_source(config, problem), problem.arch);
      }
      config.pdl = true;
      native[i] = compiler.compile(emit_source(config, problem), gpu.facts().arch);
    });
  }
  pool.clear();
  int passed = 0, failed = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    for (const bool ptx : {false, true}) {
      if (ptx && is_wgmma(list[i].config)) continue;  // wgmma is sm_90a's alone
      KernelConfig config = list[i].config;
      config.pdl = !ptx;
      std::string outcome;
      try {
        outcome =
            judge(gpu, list[i], config, ptx ? portable[i].ptx : native[i].cubin, small ? 3 : 100);
      } catch (const std::exception& error) {
        outcome = error.what();
      }
      (outcome == "passed" ? passed : failed)++;
      fmt::print("{},{} M={} {} {}: {}\n", list[i].n, list[i].k, list[i].m,
                 ptx ? "compute_80 PTX" : sm_name(gpu.facts().arch), config_text(config), outcome);
    }
  }
  fmt::print("{}, driver {}, NVRTC {}\n{} passed, {} failed\n", gpu.facts().name,
             gpu.driver().version(), compiler.version(), passed, failed);
  return failed > 0;
}
