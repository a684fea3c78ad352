// SPDX-License-Identifier: Apache-2.0
// Exports: modules, functions and launches. The emulated device loads PTX text only; everything a
// real driver refuses at load or launch (other machine code, too much shared memory, too many
// threads) is refused here with the same code.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "runtime/emulator/driver_abi.h"
#include "runtime/emulator/program.h"
#include "runtime/emulator/ptx_syntax.h"

using namespace nvfp4;
using namespace nvfp4::emulator;

namespace {

constexpr int kDefaultSmem = 48 * 1024;  // a CTA's, static and dynamic, unless the function opts in

/// The text that a caller of cuModuleLoadDataEx wants back, in the buffer it gave.
void write_log(std::string_view text, unsigned count, const CUjit_option* options, void** values) {
  char* buffer = nullptr;
  size_t size = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) buffer = static_cast<char*>(values[i]);
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
      size = reinterpret_cast<size_t>(values[i]);
  }
  if (!buffer || size == 0) return;
  const size_t length = std::min(text.size(), size - 1);
  text.copy(buffer, length);
  buffer[length] = '\0';
}

/// Whether PTX for `.target` runs on a part: an accelerated target on its own capability only, any
/// other on that capability and newer ones.
bool target_runs_on(std::string_view ptx, Arch arch) {
  constexpr std::string_view kTarget = ".target sm_";
  const size_t start = ptx.find(kTarget);
  if (start == ptx.npos) return false;
  const char* digits = ptx.data() + start + kTarget.size();
  int number = 0;
  const char* suffix = std::from_chars(digits, ptx.data() + ptx.size(), number).ptr;
  const bool exact = suffix != ptx.data() + ptx.size() && (*suffix == 'a' || *suffix == 'f');
  return exact ? number == arch.number() : number <= arch.number();
}

/// Where each parameter of each kernel lies in its buffer.
std::map<std::string, std::vector<ParameterSlot>> parameter_slots(std::string_view ptx) {
  std::map<std::string, std::vector<ParameterSlot>> slots;
  for (const Kernel& kernel : parse_ptx(ptx).kernels) {
    size_t end = 0;
    for (const Variable& parameter : kernel.parameters) {
      const size_t offset =
          (end + parameter.alignment - 1) / parameter.alignment * parameter.alignment;
      slots[std::string(kernel.name)].push_back({offset, parameter.bytes});
      end = offset + parameter.bytes;
    }
  }
  return slots;
}

CUresult load(Context& context, const char* image, CUmodule* module, std::string& log) {
  constexpr std::string_view kElf =
      "\x7f"
      "ELF";
  constexpr std::string_view kFatbin = "\x50\xed\x55\xba";
  if (kElf == std::string_view(image, strnlen(image, kElf.size())) ||
      kFatbin == std::string_view(image, strnlen(image, kFatbin.size()))) {
    log = "the emulated device runs PTX, not machine code";
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  const std::string_view ptx(image);
  if (ptx.find(".version") == ptx.npos) {
    log = "image is neither PTX nor a cubin";
    return CUDA_ERROR_INVALID_IMAGE;
  }
  if (!target_runs_on(ptx, context.device->part().arch)) {
    log = "PTX target does not run on " + sm_name(context.device->part().arch);
    return CUDA_ERROR_INVALID_PTX;
  }
  try {
    auto program = Program::parse(ptx);
    auto variables = materialise_variables(*program, context.device->memory());
    *module = state().modules.add(std::make_unique<LoadedModule>(LoadedModule{
        context.handle, std::move(program), std::move(variables), parameter_slots(ptx)}));
    return CUDA_SUCCESS;
  } catch (const PtxError& error) {
    log = error.what();
    return CUDA_ERROR_INVALID_PTX;
  }
}

int local_bytes(const Program& program, const EntryInfo& entry) {
  for (const Function& function : program.module().functions) {
    if (function.info.name == entry.name) return static_cast<int>(function.local_bytes);
  }
  return 0;
}

std::optional<int> function_attribute(const FunctionState& function, CUfunction_attribute which,
                                      const Context& context) {
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return function.entry->max_threads;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      return function.entry->static_smem_bytes;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      return function.max_dynamic_smem;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      return local_bytes(*state().modules.find(function.module)->program, *function.entry);
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      return context.device->part().arch.number();
    // PTX registers are virtual: their number says nothing about the machine's.
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
      return 0;
    default:
      return std::nullopt;
  }
}

/// The parameter buffer from kernelParams or from `extra`; empty when neither gives all of it.
std::optional<std::vector<std::byte>> parameter_buffer(const FunctionState& function, void** params,
                                                       void** extra) {
  std::vector<std::byte> buffer(static_cast<size_t>(function.entry->param_bytes));
  if (params) {
    const auto& slots = state().modules.find(function.module)->parameters[function.entry->name];
    for (size_t i = 0; i < slots.size(); ++i) {
      if (!params[i] || slots[i].offset + slots[i].bytes > buffer.size()) return std::nullopt;
      std::memcpy(buffer.data() + slots[i].offset, params[i], slots[i].bytes);
    }
    return buffer;
  }
  const void* source = nullptr;
  size_t bytes = 0;
  for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) source = extra[1];
    if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) bytes = *static_cast<const size_t*>(extra[1]);
  }
  if (bytes < buffer.size() || (!source && bytes > 0)) return std::nullopt;
  std::copy_n(static_cast<const std::byte*>(source), buffer.size(), buffer.begin());
  return buffer;
}

bool geometry_is_legal(const CUlaunchConfig& c, const FunctionState& function) {
  constexpr unsigned kMaxGridX = 0x7fffffff;
  constexpr unsigned kMaxGridYZ = 65535;
  constexpr unsigned kMaxBlockXY = 1024;
  constexpr unsigned kMaxBlockZ = 64;
  const auto within = [](unsigned value, unsigned limit) { return value >= 1 && value <= limit; };
  const uint64_t threads = uint64_t{1} * c.blockDimX * c.blockDimY * c.blockDimZ;
  return within(c.gridDimX, kMaxGridX) && within(c.gridDimY, kMaxGridYZ) &&
         within(c.gridDimZ, kMaxGridYZ) && within(c.blockDimX, kMaxBlockXY) &&
         within(c.blockDimY, kMaxBlockXY) && within(c.blockDimZ, kMaxBlockZ) &&
         threads <= static_cast<uint64_t>(function.entry->max_threads) &&
         c.sharedMemBytes <= static_cast<unsigned>(function.max_dynamic_smem);
}

/// Reads the launch attributes the emulator has; another one is refused rather than ignored.
CUresult read_attributes(const CUlaunchConfig& config, const Device& part, KernelLaunch& launch) {
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const CUlaunchAttribute& attribute = config.attrs[i];
    if (attribute.id == CU_LAUNCH_ATTRIBUTE_IGNORE) continue;
    if (attribute.id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      const auto& size = attribute.value.clusterDim;
      launch.request.cluster = {size.x, size.y, size.z};
      if (part.arch.major < 9) return CUDA_ERROR_NOT_SUPPORTED;
      continue;
    }
    if (attribute.id != CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) {
      return CUDA_ERROR_NOT_SUPPORTED;
    }
    launch.programmatic = attribute.value.programmaticStreamSerializationAllowed != 0;
    if (launch.programmatic && part.arch.major < 9) return CUDA_ERROR_NOT_SUPPORTED;
  }
  return CUDA_SUCCESS;
}

CUresult check_cluster(const LaunchRequest& request, const EntryInfo& entry) {
  constexpr uint64_t kPortableCtas = 8;
  uint64_t ctas = 1;
  for (int d = 0; d < 3; ++d) {
    const unsigned extent = request.cluster[d];
    if (extent == 0 || request.grid[d] % extent != 0) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    if (entry.cluster[0] != 0 && entry.cluster[d] != extent) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    ctas *= extent;
  }
  return ctas > kPortableCtas ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_SUCCESS;
}

CUresult launch(Context& context, const CUlaunchConfig& config, const FunctionState& function,
                void** params, void** extra) {
  if (!geometry_is_legal(config, function)) return CUDA_ERROR_INVALID_VALUE;
  const auto buffer = parameter_buffer(function, params, extra);
  if (!buffer) return CUDA_ERROR_INVALID_VALUE;
  const Device& part = context.device->part();
  const LoadedModule& module = *state().modules.find(function.module);
  const unsigned threads = config.blockDimX * config.blockDimY * config.blockDimZ;

  KernelLaunch kernel;
  LaunchRequest& request = kernel.request;
  request.program = module.program;
  request.entry = function.entry->name;
  request.grid = {config.gridDimX, config.gridDimY, config.gridDimZ};
  request.block = {config.blockDimX, config.blockDimY, config.blockDimZ};
  request.dynamic_smem = config.sharedMemBytes;
  request.params = *buffer;
  request.variables = module.variables;
  request.smem_limit = part.smem_per_block;
  request.sm_count = part.sm_count;
  const int64_t smem = int64_t{config.sharedMemBytes} + function.entry->static_smem_bytes;
  request.resident_ctas =
      part.sm_count * std::max(1, context.device->resident_ctas(static_cast<int>(threads), smem));
  if (function.entry->cluster[0] != 0) request.cluster = function.entry->cluster;
  CUresult refused = read_attributes(config, part, kernel);
  if (refused == CUDA_SUCCESS) refused = check_cluster(request, *function.entry);
  return refused != CUDA_SUCCESS ? refused : submit(context, config.hStream, std::move(kernel));
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int count,
                                    CUjit_option* options, void** values) {
  if (!module || !image) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::load, CaptureRule::allowed, [&](Context& context) {
    std::string log;
    const CUresult result = load(context, static_cast<const char*>(image), module, log);
    write_log(log, count, options, values);
    return result;
  });
}

CUresult CUDAAPI cuModuleUnload(CUmodule module) {
  return call(Call::load, CaptureRule::unsafe, [&](Context& context) {
    const LoadedModule* found = state().modules.find(module);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    context.device->wait();
    for (const uint64_t variable : found->variables) context.device->memory().free(variable);
    state().functions.remove_if([&](const FunctionState& f) { return f.module == module; });
    state().modules.remove(module);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  if (!function || !name) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::load, CaptureRule::allowed, [&](Context&) {
    const LoadedModule* found = state().modules.find(module);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    const EntryInfo* entry = found->program->find_entry(name);
    if (!entry) return CUDA_ERROR_NOT_FOUND;
    const int dynamic = std::max(0, kDefaultSmem - entry->static_smem_bytes);
    *function = state().functions.add(
        std::make_unique<FunctionState>(FunctionState{found->context, module, entry, dynamic}));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction function) {
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::context, CaptureRule::allowed, [&](Context& context) {
    const FunctionState* found = state().functions.find(function);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    const std::optional<int> attribute = function_attribute(*found, which, context);
    if (!attribute) return CUDA_ERROR_INVALID_VALUE;
    *value = *attribute;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
  return call(Call::context, CaptureRule::allowed, [&](Context& context) {
    FunctionState* found = state().functions.find(function);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
    const int limit = context.device->part().smem_per_block - found->entry->static_smem_bytes;
    if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || value > limit) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    found->max_dynamic_smem = value;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function,
                                                             int block_size, size_t dynamic_smem) {
  if (!blocks || block_size <= 0) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::context, CaptureRule::allowed, [&](Context& context) {
    const FunctionState* found = state().functions.find(function);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    const int64_t smem = static_cast<int64_t>(dynamic_smem) + found->entry->static_smem_bytes;
    *blocks = context.device->resident_ctas(block_size, smem);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuOccupancyMaxActiveClusters(int* clusters, CUfunction function,
                                              const CUlaunchConfig* config) {
  if (!clusters || !config) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::context, CaptureRule::allowed, [&](Context& context) {
    const FunctionState* found = state().functions.find(function);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    const Device& part = context.device->part();
    KernelLaunch launch;
    launch.request.grid = {config->gridDimX, config->gridDimY, config->gridDimZ};
    CUresult refused = read_attributes(*config, part, launch);
    if (refused == CUDA_SUCCESS) refused = check_cluster(launch.request, *found->entry);
    if (refused != CUDA_SUCCESS) return refused;
    const auto& size = launch.request.cluster;
    const unsigned threads = config->blockDimX * config->blockDimY * config->blockDimZ;
    const int64_t smem = int64_t{config->sharedMemBytes} + found->entry->static_smem_bytes;
    *clusters = part.sm_count * context.device->resident_ctas(static_cast<int>(threads), smem) /
                static_cast<int>(size[0] * size[1] * size[2]);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params,
                                  void** extra) {
  if (!config) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::launch, CaptureRule::allowed, [&](Context& context) {
    const FunctionState* found = state().functions.find(function);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    return launch(context, *config, *found, params, extra);
  });
}

}  // extern "C"
