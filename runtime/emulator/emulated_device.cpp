// SPDX-License-Identifier: Apache-2.0
// Runs enqueued work and advances the modelled clock.
#include "runtime/emulator/emulated_device.h"

#include <algorithm>
#include <utility>

namespace nvfp4::emulator {
namespace {

constexpr int kReservedSmem = 1024;  // bytes of a CTA that sm_80 and newer keep for the system
constexpr int kSchedulersPerSm = 4;  // warp-instructions an SM issues per clock

CUresult fault_code(FaultKind kind) {
  switch (kind) {
    case FaultKind::illegal_address:
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case FaultKind::misaligned:
      return CUDA_ERROR_MISALIGNED_ADDRESS;
    case FaultKind::instruction_limit:
      return CUDA_ERROR_LAUNCH_TIMEOUT;
    default:
      return CUDA_ERROR_LAUNCH_FAILED;
  }
}

int64_t ctas_of(const LaunchRequest& request) {
  return int64_t{1} * request.grid[0] * request.grid[1] * request.grid[2];
}

double kernel_seconds(const Device& part, const LaunchRequest& request,
                      const LaunchResult& result) {
  const double busy_sms = static_cast<double>(std::min<int64_t>(ctas_of(request), part.sm_count));
  const double issue =
      static_cast<double>(result.warp_instructions) / (busy_sms * kSchedulersPerSm * part.clock_hz);
  const double bytes = static_cast<double>(result.global_bytes_read + result.global_bytes_written);
  return std::max(issue, bytes / part.memory_bandwidth);
}

}  // namespace

EmulatedDevice::EmulatedDevice(const Device& part, FaultScript& script,
                               const MachineOptions& options)
    : part_(part),
      script_(script),
      options_(options),
      memory_(static_cast<size_t>(part.memory_bytes)) {}

CUresult EmulatedDevice::enqueue(const Work& work, CUstream stream) {
  if (const auto* memory_work = std::get_if<MemoryWork>(&work)) {
    finish();
    if (hung_ || fault_) return CUDA_SUCCESS;
    return (*memory_work)(memory_);
  }
  InFlight next{std::get<KernelLaunch>(work), stream, nullptr};
  LaunchRequest& request = next.launch.request;
  request.threads = options_.threads;
  request.seed = options_.seed;
  request.max_warp_instructions = options_.max_warp_instructions;
  const bool overlaps = next.launch.programmatic && in_flight_ && in_flight_->stream == stream;
  if (overlaps && !hung_) next.paused = run_until_wait(request, memory_);
  finish();
  in_flight_ = std::move(next);
  return CUDA_SUCCESS;
}

void EmulatedDevice::finish() {
  if (hung_ || !in_flight_) return;
  const InFlight kernel = std::move(*in_flight_);
  in_flight_.reset();
  if (fault_) return;
  if (const std::optional<Effect> effect = script_.count(Call::kernel)) {
    hung_ = effect->hang;
    if (!hung_) fault_ = DeviceFault{effect->code, "scripted fault of a kernel"};
    return;
  }
  account(kernel, kernel.paused ? resume(*kernel.paused) : run(kernel.launch.request, memory_));
}

void EmulatedDevice::account(const InFlight& kernel, const LaunchResult& result) {
  seconds_ += kernel.paused ? kProgrammaticLaunchSeconds : kLaunchSeconds;
  seconds_ += kernel_seconds(part_, kernel.launch.request, result);
  warp_instructions_ += result.warp_instructions;
  if (result.fault) fault_ = DeviceFault{fault_code(result.fault->kind), result.fault->text};
}

void EmulatedDevice::wait() {
  finish();
  if (hung_) throw NeverEnds{};
}

std::optional<DeviceFault> EmulatedDevice::take_fault() { return std::exchange(fault_, {}); }

int EmulatedDevice::resident_ctas(int threads, int64_t smem_bytes) const {
  const int64_t by_threads = part_.threads_per_sm / std::max(threads, 1);
  const int64_t by_smem = part_.smem_per_sm / (smem_bytes + kReservedSmem);
  return static_cast<int>(std::min({by_threads, by_smem, int64_t{part_.ctas_per_sm}}));
}

}  // namespace nvfp4::emulator
