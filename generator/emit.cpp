// SPDX-License-Identifier: Apache-2.0
#include "generator/emit.h"

#include <fmt/format.h>
#include <llvm/ADT/StringSet.h>

#include <string_view>

#include "generator/config_text.h"
#include "generator/emit_wgmma.h"
#include "generator/template_bundle.h"

namespace nvfp4 {
namespace {

std::string config_literal(const KernelConfig& c) {
  return fmt::format(
      "nvfp4::KernelConfig{{.family = nvfp4::Family::{}, .act = nvfp4::Activation::{},\n"
      "    .block_n = {}, .block_m = {}, .block_k = {}, .warps_n = {}, .warps_k = {},\n"
      "    .num_stages = {}, .schedule = nvfp4::Schedule::{}, .split_k = {}, .ctas_per_sm = {},\n"
      "    .cluster_n = {}, .cluster_k = {}, .pdl = {}}}",
      name(c.family), name(c.act), c.block_n, c.block_m, c.block_k, c.warps_n, c.warps_k,
      c.num_stages, name(c.schedule), c.split_k, c.ctas_per_sm, c.cluster_n, c.cluster_k, c.pdl);
}

// What a kernel is made of beside its config.
struct Form {
  std::string_view file;      ///< its template
  std::string_view function;  ///< gemm_...
  std::string parameter;      ///< beside GemmParams and the tensor map
  std::string argument;       ///< what the function is called with
};

Form form_of(const KernelConfig& config, const Problem& problem, Outputs outputs) {
  if (problem.kind == ProblemKind::grouped) {
    return {"gemm_grouped.cuh", "mma_grouped", "nvfp4::Groups groups", "groups"};
  }
  const bool split = outputs == Outputs::split;
  return {is_wgmma(config) ? "gemm_wgmma.cuh" : "gemm_mma.cuh", name(config.family),
          split ? "nvfp4::OutputParts parts" : "",
          split ? "nvfp4::SplitOutput{parts}"
                : fmt::format("nvfp4::OneOutput<{}>{{params}}", problem.n)};
}

std::string instantiation(const KernelConfig& config, const Problem& problem, const Form& form) {
  const bool wgmma = is_wgmma(config);
  return fmt::format(
      "// {0}\n"
      "constexpr auto kConfig = {1};\n"
      "static_assert(nvfp4::smem_bytes(kConfig) == {2}, \"host and device disagree\");\n"
      "static_assert(nvfp4::threads(kConfig) == {3}, \"host and device disagree\");\n"
      "{4}"
      "extern \"C\" __global__ void __launch_bounds__(nvfp4::threads(kConfig), "
      "kConfig.ctas_per_sm)\n"
      "{5}(const __grid_constant__ nvfp4::GemmParams params{6}{7}) {{\n"
      "  nvfp4::gemm_{8}<kConfig, {9}, {10}{11}>(params{12}, {13});\n"
      "}}\n",
      config_text(config), config_literal(config), smem_bytes(config), threads(config),
      wgmma ? emit_wgmma_tile(config) : "", kKernelName,
      wgmma ? ",\n           const __grid_constant__ nvfp4::TensorMap activations" : "",
      form.parameter.empty() ? "" : ",\n           const __grid_constant__ " + form.parameter,
      form.function, problem.n, problem.k, wgmma ? ", WgmmaTile" : "", wgmma ? ", activations" : "",
      form.argument);
}

std::string_view text_of(std::string_view name) {
  for (const TemplateFile& file : template_files()) {
    if (file.name == name) return file.text;
  }
  return {};
}

// Appends a template with its includes replaced by their text, each file once.
void inline_template(std::string_view name, llvm::StringSet<>& seen, std::string& out) {
  if (!seen.insert(llvm::StringRef(name.data(), name.size())).second) return;
  std::string_view text = text_of(name);
  constexpr std::string_view kInclude = "#include \"";
  while (!text.empty()) {
    const size_t length = text.find('\n');
    const std::string_view line = text.substr(0, length);
    text.remove_prefix(length == std::string_view::npos ? text.size() : length + 1);
    if (line.starts_with(kInclude)) {
      const std::string_view rest = line.substr(kInclude.size());
      inline_template(rest.substr(0, rest.find('"')), seen, out);
    } else if (line != "#pragma once") {
      out.append(line).push_back('\n');
    }
  }
}

}  // namespace

std::string emit_source(const KernelConfig& config, const Problem& problem, Outputs outputs) {
  const Form form = form_of(config, problem, outputs);
  return fmt::format("#include \"{}\"\n\n", form.file) + instantiation(config, problem, form);
}

std::string emit_standalone(const KernelConfig& config, const Problem& problem) {
  llvm::StringSet<> seen;
  std::string out = fmt::format(
      "// One kernel in one file:\n"
      "//   nvcc  -std=c++20 --expt-relaxed-constexpr -arch={0} -cubin FILE\n"
      "//   NVRTC --std=c++20 --device-as-default-execution-space --gpu-architecture={0}\n",
      sm_name(problem.arch));
  const Form form = form_of(config, problem, Outputs::one);
  inline_template(form.file, seen, out);
  return out + "\n" + instantiation(config, problem, form);
}

}  // namespace nvfp4
