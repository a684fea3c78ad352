// SPDX-License-Identifier: Apache-2.0
// One emulated GPU at work: memory, the kernel that is in flight, and the clock. Work runs on the
// calling thread in the order it is enqueued, which is one of the orders that streams allow; only
// the last kernel is held back, because a programmatic dependent launch may follow and must then
// start before it ends.
//
// The clock is modelled, never measured: a kernel takes the larger of its memory and its
// instruction time at the part's peak rates, and a launch without PDL takes kLaunchSeconds besides.
#pragma once

#include <cuda.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "generator/device.h"
#include "runtime/emulator/fault_script.h"
#include "runtime/emulator/machine.h"

namespace nvfp4::emulator {

/// Start and drain of a grid: on an H100, one launch reads 9.4 MB in 4.7 us where the stream rate
/// says 3.0; a programmatic launch hides most of it.
inline constexpr double kLaunchSeconds = 1.7e-6;
inline constexpr double kProgrammaticLaunchSeconds = 0.3e-6;

struct KernelLaunch {
  LaunchRequest request;
  bool programmatic = false;  ///< may start before its predecessor on the stream ends
};

/// A copy or a memset: its result is that of the enqueueing call or, in a graph, of the launch.
using MemoryWork = std::function<CUresult(GlobalMemory&)>;
using Work = std::variant<KernelLaunch, MemoryWork>;

/// Thrown by wait() when the work never ends.
struct NeverEnds {};

/// A kernel's failure: what the driver reports, and the whole story.
struct DeviceFault {
  CUresult code;
  std::string text;
};

/// What the emulated kernels run with, for the whole process.
struct MachineOptions {
  int threads = 0;                    ///< host threads a kernel uses, 0 = all cores
  uint64_t seed = 0;                  ///< order of blocks
  int64_t max_warp_instructions = 0;  ///< of one kernel, 0 = no limit
};

class EmulatedDevice {
 public:
  /// `part`, `script` and `options` outlive the device.
  EmulatedDevice(const Device& part, FaultScript& script, const MachineOptions& options);

  const Device& part() const { return part_; }
  GlobalMemory& memory() { return memory_; }

  CUresult enqueue(const Work& work, CUstream stream);

  /// Ends what is in flight, as far as it ends.
  void finish();
  /// The same, and throws NeverEnds when a kernel hangs.
  void wait();
  bool hung() const { return hung_; }

  double seconds() const { return seconds_; }
  int64_t warp_instructions() const { return warp_instructions_; }

  /// The first fault since the last call, if any.
  std::optional<DeviceFault> take_fault();

  /// CTAs of one SM, as far as threads and shared memory limit them (registers are not known in
  /// PTX).
  int resident_ctas(int threads, int64_t smem_bytes) const;

 private:
  struct InFlight {
    KernelLaunch launch;
    CUstream stream;
    std::unique_ptr<PausedLaunch> paused;  ///< its part before the grid wait has run
  };
  void account(const InFlight& kernel, const LaunchResult& result);

  const Device& part_;
  FaultScript& script_;
  const MachineOptions& options_;
  GlobalMemory memory_;
  std::optional<InFlight> in_flight_;
  std::optional<DeviceFault> fault_;
  bool hung_ = false;
  double seconds_ = 0;
  int64_t warp_instructions_ = 0;
};

}  // namespace nvfp4::emulator
