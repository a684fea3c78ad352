// SPDX-License-Identifier: Apache-2.0
// The part of the C interface that runs while tokens are made: prepared GEMMs and their launches.
#include <array>
#include <span>

#include "runtime/abi/context.h"
#include "runtime/abi/handle_table.h"

namespace nvfp4::abi {
namespace {

/// A GEMM keeps its context, so that kernels outlive the context's own handle.
struct PreparedGemm {
  std::shared_ptr<Context> context;
  Gemm gemm;
};

HandleTable<PreparedGemm>& gemms() {
  static auto& table = *new HandleTable<PreparedGemm>;
  return table;
}

std::shared_ptr<PreparedGemm> find_gemm(nvfp4_gemm handle) {
  require_not_forked();
  std::shared_ptr<PreparedGemm> gemm = gemms().find(handle);
  if (!gemm) throw StatusError(NVFP4_INVALID_HANDLE, fmt::format("{} is no GEMM", handle));
  return gemm;
}

CUdeviceptr address(const void* pointer) { return reinterpret_cast<CUdeviceptr>(pointer); }

OutputType output_type(nvfp4_dtype type) {
  switch (type) {
    case NVFP4_BF16:
      return OutputType::bf16;
    case NVFP4_FP16:
      return OutputType::fp16;
    case NVFP4_FP32:
      return OutputType::fp32;
    default:
      refuse(fmt::format("out_type = {} is no output type", static_cast<int>(type)));
  }
}

/// The caller's outputs in the library's terms.
struct PartOutputs {
  std::array<GemmOutput, NVFP4_MAX_PARTS> list;
  size_t count = 0;
};

PartOutputs outputs_of(const nvfp4_launch_args& args) {
  PartOutputs outputs;
  if (args.output_count > NVFP4_MAX_PARTS) {
    refuse(fmt::format("output_count = {} exceeds {}", args.output_count, NVFP4_MAX_PARTS));
  }
  if (args.output_count > 0) require_pointer(args.outputs, "outputs");
  for (; outputs.count < args.output_count; ++outputs.count) {
    const nvfp4_output& output = args.outputs[outputs.count];
    outputs.list[outputs.count] = {address(output.out), output.ldo};
  }
  return outputs;
}

GemmArguments arguments_of(const nvfp4_launch_args& args, const PartOutputs& outputs) {
  return {.weights = address(args.weights),
          .activations = address(args.activations),
          .out = address(args.out),
          .global_scales = address(args.global_scales),
          .bias = address(args.bias),
          .workspace = address(args.workspace),
          .workspace_bytes = static_cast<int64_t>(args.workspace_bytes),
          .m = args.m,
          .lda = args.lda,
          .ldo = args.ldo,
          .out_type = output_type(args.out_type),
          .outputs = std::span(outputs.list).first(outputs.count),
          .expert_offsets = address(args.expert_offsets)};
}

}  // namespace
}  // namespace nvfp4::abi

using namespace nvfp4;
using namespace nvfp4::abi;

extern "C" {

nvfp4_status nvfp4_prepare(nvfp4_context context, const nvfp4_problem* problem, int64_t m_min,
                           int64_t m_max, nvfp4_gemm* gemm) {
  std::shared_ptr<Context> found;
  const nvfp4_status status = guarded([&] {
    require_pointer(gemm, "gemm");
    *gemm = 0;
    found = find_context(context);
  });
  if (status != NVFP4_OK) return status;
  return guarded_on(*found, [&] {
    const nvfp4_problem asked = read_struct(problem, "problem");
    if (asked.part_count > 0) require_pointer(asked.part_rows, "part_rows");
    if (asked.part_count > NVFP4_MAX_PARTS) {
      refuse(fmt::format("part_count = {} exceeds {}", asked.part_count, NVFP4_MAX_PARTS));
    }
    Gemm prepared = found->runtime().prepare(request_of(asked), m_min, m_max,
                                             {asked.part_rows, asked.part_count});
    *gemm =
        gemms().insert(std::make_shared<PreparedGemm>(PreparedGemm{found, std::move(prepared)}));
  });
}

nvfp4_status nvfp4_gemm_destroy(nvfp4_gemm gemm) {
  return guarded([&] {
    require_not_forked();
    if (!gemms().remove(gemm)) {
      throw StatusError(NVFP4_INVALID_HANDLE, fmt::format("{} is no GEMM", gemm));
    }
  });
}

nvfp4_status nvfp4_workspace_size(nvfp4_gemm gemm, size_t* bytes) {
  return guarded([&] {
    require_pointer(bytes, "bytes");
    *bytes = static_cast<size_t>(find_gemm(gemm)->gemm.workspace_bytes());
  });
}

nvfp4_status nvfp4_workspace_init(nvfp4_context context, void* workspace, size_t bytes,
                                  nvfp4_stream stream) {
  return guarded_on(context, [&](Context& found) {
    if (bytes == 0) return;
    require_pointer(workspace, "workspace");
    init_workspace(found.gpu(), address(workspace), static_cast<int64_t>(bytes),
                   static_cast<CUstream>(stream));
  });
}

nvfp4_status nvfp4_launch(nvfp4_gemm gemm, const nvfp4_launch_args* args, nvfp4_stream stream) {
  std::shared_ptr<PreparedGemm> found;
  const nvfp4_status status = guarded([&] { found = find_gemm(gemm); });
  if (status != NVFP4_OK) return status;
  return guarded_on(*found->context, [&] {
    const nvfp4_launch_args given = read_struct(args, "args");
    const PartOutputs outputs = outputs_of(given);
    found->gemm.launch(arguments_of(given, outputs), static_cast<CUstream>(stream));
  });
}
}
