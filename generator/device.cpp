// SPDX-License-Identifier: Apache-2.0
// The parts the product knows without asking a driver, and the spelling of architectures.
#include "generator/device.h"

#include <fmt/format.h>

#include <vector>

namespace nvfp4 {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;

// Shared memory, threads and CTAs per SM: CUDA C++ Programming Guide, table "Technical
// Specifications per Compute Capability". The rest: the document each row names.
Device part(std::string name, Arch arch, int sms, int64_t l2, int64_t memory, double bandwidth,
            double clock, double tensor) {
  Device d{.name = std::move(name),
           .arch = arch,
           .sm_count = sms,
           .l2_bytes = l2,
           .memory_bytes = memory,
           .memory_bandwidth = bandwidth,
           .clock_hz = clock,
           .tensor_flops = tensor,
           .emulated = true};
  const int smem_kib = arch.number() == 90 ? 228 : arch.number() == 80 ? 164 : 100;
  d.smem_per_sm = smem_kib * 1024;
  d.smem_per_block = (smem_kib - 1) * 1024;
  const bool server = arch.number() == 80 || arch.number() == 90;
  d.threads_per_sm = server ? 2048 : 1536;
  d.ctas_per_sm = server ? 32 : arch.number() == 89 ? 24 : 16;
  return d;
}

// Never destroyed: threads, and a program's own destructors, may ask while the process exits.
const std::vector<KnownPart>& parts() {
  static const auto& list = *new std::vector<KnownPart>{
      {"a100",
       part("NVIDIA A100-SXM4-80GB", {8, 0}, 108, 40 * kMiB, 80 * kGiB, 2039e9, 1.41e9, 312e12),
       "NVIDIA A100 80GB datasheet, June 2021; A100 architecture whitepaper"},
      {"a10g", part("NVIDIA A10G", {8, 6}, 80, 6 * kMiB, 24 * kGiB, 600e9, 1.71e9, 70e12),
       "NVIDIA A10G datasheet (AWS G5)"},
      {"l40s", part("NVIDIA L40S", {8, 9}, 142, 96 * kMiB, 48 * kGiB, 864e9, 2.52e9, 362e12),
       "NVIDIA L40S datasheet; Ada architecture whitepaper"},
      {"rtx4090",
       part("NVIDIA GeForce RTX 4090", {8, 9}, 128, 72 * kMiB, 24 * kGiB, 1008e9, 2.52e9, 165.2e12),
       "Ada architecture whitepaper, appendix A"},
      {"rtx3090",
       part("NVIDIA GeForce RTX 3090", {8, 6}, 82, 6 * kMiB, 24 * kGiB, 936e9, 1.695e9, 71e12),
       "GA102 architecture whitepaper, appendix A"},
      {"h100",
       part("NVIDIA H100 80GB HBM3", {9, 0, true}, 132, 50 * kMiB, 80 * kGiB, 3352e9, 1.98e9,
            989.4e12),
       "NVIDIA H100 SXM datasheet; Hopper architecture whitepaper"},
      {"h200",
       part("NVIDIA H200", {9, 0, true}, 132, 60 * kMiB, 141 * kGiB, 4800e9, 1.98e9, 989.4e12),
       "NVIDIA H200 SXM datasheet; L2, which it does not give, as the driver says it (580.159.04)"},
  };
  return list;
}

std::string arch_name(const char* prefix, Arch arch) {
  return fmt::format("{}_{}{}{}", prefix, arch.major, arch.minor, arch.accelerated ? "a" : "");
}

}  // namespace

std::string sm_name(Arch arch) { return arch_name("sm", arch); }
std::string compute_name(Arch arch) { return arch_name("compute", arch); }

std::optional<Arch> parse_arch(std::string_view text) {
  for (int major = 8; major <= 9; ++major) {
    for (int minor = 0; minor <= 9; ++minor) {
      for (const bool accelerated : {false, true}) {
        const Arch arch{major, minor, accelerated};
        if (text != sm_name(arch) && text != compute_name(arch)) continue;
        const std::optional<Arch> target = target_arch(major, minor);
        if (target && (*target == arch || !accelerated)) return arch;
        return std::nullopt;
      }
    }
  }
  return std::nullopt;
}

std::optional<Arch> target_arch(int major, int minor) {
  if (major == 8) return Arch{8, minor, false};
  if (major == 9 && minor == 0) return Arch{9, 0, true};
  return std::nullopt;
}

std::span<const KnownPart> known_parts() { return parts(); }

const KnownPart* find_part(std::string_view id) {
  for (const KnownPart& part : parts()) {
    if (part.id == id) return &part;
  }
  return nullptr;
}

}  // namespace nvfp4
