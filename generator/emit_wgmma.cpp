// SPDX-License-Identifier: Apache-2.0
#include "generator/emit_wgmma.h"

#include <fmt/format.h>

namespace nvfp4 {

std::string emit_wgmma_tile(const KernelConfig& config) {
  const int sums = config.block_m / 2;
  const char* type = config.act == Activation::bf16 ? "bf16" : "f16";
  std::string names;
  std::string operands;
  for (int i = 0; i < sums; ++i) {
    const char* line = i % 8 == 7 && i + 1 < sums ? "\"\n        \"" : "";
    names += fmt::format("%{}{}{}", i, i + 1 < sums ? ", " : "", line);
    operands += fmt::format("{}\"+f\"(d[{}])",
                            i == 0       ? ""
                            : i % 8 == 0 ? ",\n          "
                                         : ", ",
                            i);
  }
  return fmt::format(
      "struct WgmmaTile {{\n"
      "  static __device__ __forceinline__ void multiply(float (&d)[{0}], const nvfp4::u32 "
      "(&a)[4],\n"
      "                                                  nvfp4::u64 descriptor) {{\n"
      "    asm volatile(\n"
      "        \"wgmma.mma_async.sync.aligned.m64n{1}k16.f32.{2}.{2} {{\"\n"
      "        \"{3}}}, \"\n"
      "        \"{{%{0}, %{4}, %{5}, %{6}}}, %{7}, 1, 1, 1, 0;\\n\"\n"
      "        : {8}\n"
      "        : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"l\"(descriptor));\n"
      "  }}\n"
      "}};\n",
      sums, config.block_m, type, names, sums + 1, sums + 2, sums + 3, sums + 4, operands);
}

}  // namespace nvfp4
