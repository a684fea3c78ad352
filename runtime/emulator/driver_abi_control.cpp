// SPDX-License-Identifier: Apache-2.0
// Exports: the emulator's own controls, declared in emulator.h.
#include <algorithm>

#include "runtime/emulator/driver_abi.h"

using namespace nvfp4;
using namespace nvfp4::emulator;

namespace {

template <class Visitor>
void for_each_device(const Visitor& visit) {
  for (const auto& [ordinal, handle] : state().primary) {
    const Context& context = *state().contexts.find(handle);
    if (context.device) visit(*context.device);
  }
}

}  // namespace

extern "C" {

int nvfp4_emulator_device(const char* part) {
  const auto& parts = emulated_parts();
  const auto found = std::find_if(parts.begin(), parts.end(), [&](const KnownPart* known) {
    return part && known->id == part;
  });
  return found == parts.end() ? -1 : static_cast<int>(found - parts.begin());
}

size_t nvfp4_emulator_last_report(char* text, size_t size) {
  const std::lock_guard lock(state().mutex);
  const std::string& report = state().report;
  if (text && size > 0) {
    const size_t length = std::min(report.size(), size - 1);
    report.copy(text, length);
    text[length] = '\0';
  }
  return report.size();
}

int nvfp4_emulator_inject(const char* script) {
  const std::lock_guard lock(state().mutex);
  return script && state().script.add(script) ? 0 : 1;
}

int64_t nvfp4_emulator_calls(const char* operation) {
  const std::lock_guard lock(state().mutex);
  const std::optional<Call> kind = operation ? find_call(operation) : std::nullopt;
  return kind ? state().script.calls(*kind) : -1;
}

void nvfp4_emulator_limit_instructions(int64_t warp_instructions) {
  const std::lock_guard lock(state().mutex);
  state().options.max_warp_instructions = warp_instructions;
}

void nvfp4_emulator_seed(uint64_t seed) {
  const std::lock_guard lock(state().mutex);
  state().options.seed = seed;
}

int64_t nvfp4_emulator_instructions(void) {
  const std::lock_guard lock(state().mutex);
  int64_t sum = state().retired_instructions;
  for_each_device([&](const EmulatedDevice& device) { sum += device.warp_instructions(); });
  return sum;
}

double nvfp4_emulator_seconds(void) {
  const std::lock_guard lock(state().mutex);
  double sum = state().retired_seconds;
  for_each_device([&](const EmulatedDevice& device) { sum += device.seconds(); });
  return sum;
}

void nvfp4_emulator_reset(void) {
  DriverState& driver = state();
  const std::lock_guard lock(driver.mutex);
  for (const auto& [ordinal, handle] : driver.primary) driver.clear(*driver.contexts.find(handle));
  driver.sticky = CUDA_SUCCESS;
  driver.report.clear();
  driver.script = FaultScript();
  driver.options = MachineOptions{.threads = driver.options.threads};
  driver.retired_seconds = 0;
  driver.retired_instructions = 0;
}

}  // extern "C"
