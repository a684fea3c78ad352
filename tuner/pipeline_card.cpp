// SPDX-License-Identifier: Apache-2.0
// The GPU worker's card: a spare process that waits with a context of its own, so that a death
// costs no start, and a look at the card after whatever took a worker down, before anything is
// believed that runs on it.
#include <fmt/format.h>

#include <utility>

#include "tuner/card_claim.h"
#include "tuner/pipeline.h"

namespace nvfp4 {
namespace {

constexpr auto kTick = std::chrono::milliseconds(200);
constexpr int kTries = 2;

}  // namespace

// The next worker gets its context while this one works.
void Pipeline::keep_spare() {
  workers_.keep_spare(bench_role_, encode(CanaryJob{.device = workshop_.device}), bench_limit());
}

// A context that is being made disturbs the clock of what runs beside it.
void Pipeline::let_spare_start() {
  while (workers_.warming(bench_role_) && !workshop_.stopped()) {
    if (std::optional<Completion> done = workers_.wait(kTick)) waiting_.push_back(std::move(*done));
  }
}

Compilation Pipeline::read_kernel() const {
  const Compilation reader = workshop_.cache.get_or_compile(
      workshop_.compiler, "#include \"read_stream.cuh\"\n", problem_.arch);
  if (!reader.ok) throw MeasureError("the read kernel does not compile: " + reader.log);
  return reader;
}

// Takes note of the memory that is free before anything runs; later, after a worker ended, sees to
// it that the card is still what it was.
void Pipeline::ready_card() {
  if (!free_bytes_) {
    std::optional<WorkerDeath> death;
    const std::optional<Message> reply =
        ask_worker(encode(CanaryJob{.device = workshop_.device}), death);
    if (death) throw CardError(fmt::format("the GPU worker cannot start: {}", death->text));
    if (!reply) return;
    free_bytes_ = workshop_.disturbance.empty() ? decode_canary_result(*reply).free_bytes : 0;
  }
  if (doubt_) verify_card(*std::exchange(doubt_, std::nullopt));
}

void Pipeline::verify_card(const std::string& culprit) {
  const std::string image = image_of(read_kernel());
  std::string error;
  for (int i = 0; i < kTries; ++i) {
    std::optional<WorkerDeath> death;
    const std::optional<Message> reply = ask_worker(
        encode(CanaryJob{.device = workshop_.device, .free_bytes = *free_bytes_, .image = image}),
        death);
    if (!reply && !death) return;
    error = death ? death->text : decode_canary_result(*reply).error;
    if (error.empty()) return;
  }
  throw CardError(
      fmt::format("{} is suspect since {} ended its worker: {}, in {} fresh processes; what was "
                  "measured before is kept",
                  workshop_.gpu.facts().name, culprit, error, kTries));
}

}  // namespace nvfp4
