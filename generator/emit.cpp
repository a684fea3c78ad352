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

// The template file of a family and form.
std::string_view template_of(Family family, KernelForm form) {
  if (form == KernelForm::grouped) return "gemm_grouped.cuh";
  return family == Family::mma ? "gemm_mma.cuh" : "gemm_wgmma.cuh";
}

// The parameter of a form, and what its kernel is called with.
std::string form_parameter(KernelForm form) {
  switch (form) {
    case KernelForm::dense:
      return "";
    case KernelForm::split_outputs:
      return ",\n           const __grid_constant__ nvfp4::OutputParts parts";
    case KernelForm::grouped:
      return ",\n           const __grid_constant__ nvfp4::Groups groups";
  }
  return "";
}

std::string form_argument(KernelForm form, const Problem& problem) {
  switch (form) {
    case KernelForm::dense:
      return fmt::format("nvfp4::OneOutput<{}>{{params}}", problem.n);
    case KernelForm::split_outputs:
      return "nvfp4::SplitOutput{parts}";
    case KernelForm::grouped:
      return "groups";
  }
  return "";
}

std::string instantiation(const KernelConfig& config, const Problem& problem, KernelForm form) {
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
      form_parameter(form),
      form == KernelForm::grouped ? "mma_grouped" : std::string(name(config.family)), problem.n,
      problem.k, wgmma ? ", WgmmaTile" : "", wgmma ? ", activations" : "",
      form_argument(form, problem));
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

std::string emit_source(const KernelConfig& config, const Problem& problem, KernelForm form) {
  return fmt::format("#include \"{}\"\n\n", template_of(config.family, form)) +
         instantiation(config, problem, form);
}

std::string emit_standalone(const KernelConfig& config, const Problem& problem) {
  llvm::StringSet<> seen;
  std::string out = fmt::format(
      "// One kernel in one file:\n"
      "//   nvcc  -std=c++20 --expt-relaxed-constexpr -arch={0} -cubin FILE\n"
      "//   NVRTC --std=c++20 --device-as-default-execution-space --gpu-architecture={0}\n",
      sm_name(problem.arch));
  inline_template(template_of(config.family, KernelForm::dense), seen, out);
  return out + "\n" + instantiation(config, problem, KernelForm::dense);
}

}  // namespace nvfp4
