// SPDX-License-Identifier: Apache-2.0
// Opens devices and reads their physical facts through the driver; what a driver does not say comes
// from the data sheet of the part with this name or, scaled by SMs and clock, of a part of this
// architecture.
#include "runtime/gpu.h"

#include <fmt/format.h>

#include <charconv>

#include "runtime/emulator/emulator.h"

namespace nvfp4 {
namespace {

std::string error_text(const DriverTable& driver, CUresult code, std::string_view call,
                       std::string_view detail) {
  const char* name = nullptr;
  const char* text = nullptr;
  driver.get_error_name(code, &name);
  driver.get_error_string(code, &text);
  std::string message = fmt::format("{} failed: {} {} ({})", call, static_cast<int>(code),
                                    name ? name : "unknown error", text ? text : "no description");
  if (!detail.empty()) message += fmt::format(": {}", detail);
  return message;
}

void check_driver(const DriverTable& driver, CUresult code, std::string_view call) {
  if (code != CUDA_SUCCESS) throw CudaError(driver, code, call);
}

int attribute(const DriverTable& driver, CUdevice device, CUdevice_attribute which) {
  int value = 0;
  check_driver(driver, driver.device_get_attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

/// The known part most like a card of this name and arch; null when none has the arch.
const Device* similar_part(std::string_view name, Arch arch) {
  const bool geforce = name.find("GeForce") != name.npos;
  const Device* similar = nullptr;
  for (const KnownPart& part : known_parts()) {
    const Device& d = part.device;
    if (name.starts_with(d.name)) return &d;
    if (d.arch != arch) continue;
    // GeForce cards run tensor cores with FP32 accumulation at half the rate of their siblings.
    const bool same_kind = (d.name.find("GeForce") != d.name.npos) == geforce;
    if (!similar || same_kind) similar = &d;
  }
  return similar;
}

/// Clock, bandwidth and tensor rate, which a driver says in part or, in some containers, as zero.
void fill_rates(const DriverTable& driver, CUdevice device, Device& facts) {
  const Device* part = similar_part(facts.name, facts.arch);
  facts.clock_hz = 1e3 * attribute(driver, device, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  if (facts.clock_hz == 0 && part) facts.clock_hz = part->clock_hz;

  const double memory_hz = 1e3 * attribute(driver, device, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
  const int bits = attribute(driver, device, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
  facts.memory_bandwidth = 2 * memory_hz * bits / 8;  // two transfers a clock
  if (facts.memory_bandwidth == 0 && part) facts.memory_bandwidth = part->memory_bandwidth;

  if (part) {
    const double flops_per_sm_clock = part->tensor_flops / (part->sm_count * part->clock_hz);
    facts.tensor_flops = flops_per_sm_clock * (facts.sm_count * facts.clock_hz);
  }
}

Device read_facts(const Driver& driver, CUdevice device) {
  char name[256] = {};
  check_driver(driver, driver.device_get_name(name, sizeof(name), device), "cuDeviceGetName");
  const int major = attribute(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  const int minor = attribute(driver, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  const std::optional<Arch> arch = target_arch(major, minor);
  if (!arch) {
    throw DriverError(fmt::format("{} has compute capability {}.{}, supported are 8.0 to 9.0", name,
                                  major, minor));
  }
  Device facts{.name = name, .arch = *arch, .emulated = driver.emulated()};
  const auto fact = [&](CUdevice_attribute which) { return attribute(driver, device, which); };
  facts.sm_count = fact(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  facts.l2_bytes = fact(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  facts.smem_per_block = fact(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  facts.smem_per_sm = fact(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  facts.registers_per_sm = fact(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR);
  facts.threads_per_sm = fact(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
  facts.ctas_per_sm = fact(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR);
  size_t memory = 0;
  check_driver(driver, driver.device_total_mem(&memory, device), "cuDeviceTotalMem");
  facts.memory_bytes = static_cast<int64_t>(memory);
  fill_rates(driver, device, facts);
  return facts;
}

std::string part_names() {
  std::string names;
  for (const KnownPart& part : known_parts()) {
    names += fmt::format("{}emulated:{}", names.empty() ? "" : ", ", part.id);
  }
  return names;
}

Gpu open_emulated(std::string_view part) {
  if (!find_part(part)) {
    throw UnknownDevice(
        fmt::format("unknown device emulated:{}: known are {}", part, part_names()));
  }
  std::shared_ptr<const Driver> driver = Driver::open(DriverSource::emulator);
  const auto device =
      reinterpret_cast<decltype(&nvfp4_emulator_device)>(driver->symbol("nvfp4_emulator_device"));
  if (!device) {
    throw DriverError(fmt::format("{} is no emulator: check NVFP4_EMULATOR", driver->library()));
  }
  return Gpu::open(driver, device(std::string(part).c_str()));
}

int device_count(const Driver& driver) {
  int count = 0;
  check_driver(driver, driver.device_get_count(&count), "cuDeviceGetCount");
  return count;
}

OpenedDevice open_auto() {
  std::string reason = "the driver lists none";
  try {
    std::shared_ptr<const Driver> driver = Driver::open(DriverSource::gpu);
    for (int ordinal = 0; ordinal < device_count(*driver); ++ordinal) {
      try {
        return {Gpu::open(driver, ordinal), {}};
      } catch (const std::runtime_error& error) {
        reason = error.what();
      }
    }
  } catch (const std::runtime_error& error) {
    reason = error.what();
  }
  return {open_emulated("h100"),
          fmt::format("no usable GPU ({}): using emulated:h100, times are modelled", reason)};
}

}  // namespace

CudaError::CudaError(const DriverTable& driver, CUresult code, std::string_view call,
                     std::string_view detail)
    : std::runtime_error(error_text(driver, code, call, detail)), code_(code) {}

bool CudaError::is_sticky() const { return nvfp4::is_sticky(code_); }

bool is_sticky(CUresult code) {
  switch (code) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_UNKNOWN:
      return true;
    default:
      return static_cast<int>(code) == 721;  // CUDA_ERROR_TENSOR_MEMORY_LEAK, new in CUDA 13
  }
}

struct Gpu::State {
  std::shared_ptr<const Driver> driver;
  CUdevice ordinal = 0;
  CUcontext context = nullptr;
  bool owns_primary = false;
  Device facts;

  ~State() {
    if (owns_primary) driver->device_primary_ctx_release(ordinal);
  }
};

Gpu Gpu::open(std::shared_ptr<const Driver> driver, int ordinal) {
  const int count = device_count(*driver);
  if (ordinal < 0 || ordinal >= count) {
    throw UnknownDevice(
        fmt::format("device {} does not exist: {} has {}", ordinal, driver->library(), count));
  }
  auto state = std::make_shared<State>();
  state->driver = driver;
  check_driver(*driver, driver->device_get(&state->ordinal, ordinal), "cuDeviceGet");
  state->facts = read_facts(*driver, state->ordinal);
  check_driver(*driver, driver->device_primary_ctx_retain(&state->context, state->ordinal),
               "cuDevicePrimaryCtxRetain");
  state->owns_primary = true;
  check_driver(*driver, driver->ctx_set_current(state->context), "cuCtxSetCurrent");
  return Gpu(std::move(state));
}

Gpu Gpu::from_current_context(std::shared_ptr<const Driver> driver) {
  auto state = std::make_shared<State>();
  state->driver = driver;
  check_driver(*driver, driver->ctx_get_current(&state->context), "cuCtxGetCurrent");
  if (!state->context) throw DriverError("no CUDA context is current in this thread");
  check_driver(*driver, driver->ctx_get_device(&state->ordinal), "cuCtxGetDevice");
  state->facts = read_facts(*driver, state->ordinal);
  return Gpu(std::move(state));
}

const Driver& Gpu::driver() const { return *state_->driver; }
CUdevice Gpu::ordinal() const { return state_->ordinal; }
CUcontext Gpu::context() const { return state_->context; }
const Device& Gpu::facts() const { return state_->facts; }

std::string Gpu::uuid() const {
  CUuuid uuid{};
  check(driver().device_get_uuid(&uuid, ordinal()), "cuDeviceGetUuid");
  std::string hex;
  for (const char byte : uuid.bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return hex;
}

void Gpu::check(CUresult code, std::string_view call) const { check_driver(driver(), code, call); }

ContextScope::ContextScope(const Gpu& gpu) : gpu_(gpu) {
  CUcontext current = nullptr;
  gpu_.driver().ctx_get_current(&current);
  if (current == gpu_.context()) return;
  gpu_.check(gpu_.driver().ctx_push_current(gpu_.context()), "cuCtxPushCurrent");
  pushed_ = true;
}

ContextScope::~ContextScope() {
  CUcontext popped = nullptr;
  if (pushed_) gpu_.driver().ctx_pop_current(&popped);
}

int gpu_count() { return device_count(*Driver::open(DriverSource::gpu)); }

OpenedDevice open_device(std::string_view spec) {
  constexpr std::string_view kEmulated = "emulated:";
  if (spec == "auto") return open_auto();
  if (spec.starts_with(kEmulated)) return {open_emulated(spec.substr(kEmulated.size())), {}};
  int ordinal = -1;
  const auto [end, error] = std::from_chars(spec.data(), spec.data() + spec.size(), ordinal);
  if (error != std::errc() || end != spec.data() + spec.size() || ordinal < 0) {
    throw UnknownDevice(
        fmt::format("unknown device {}: known are auto, a GPU's number, {}", spec, part_names()));
  }
  return {Gpu::open(Driver::open(DriverSource::gpu), ordinal), {}};
}

}  // namespace nvfp4
