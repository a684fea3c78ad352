// SPDX-License-Identifier: Apache-2.0
// The emulated driver's state and the rules that all of its calls obey.
#include <unistd.h>

#include <algorithm>

#include "runtime/emulator/driver_abi.h"

namespace nvfp4::emulator {
namespace {

bool disturbs(const Capture& capture, CaptureRule rule) {
  if (rule == CaptureRule::waits) return true;
  if (rule == CaptureRule::allowed) return false;
  if (capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL) return true;
  return capture.mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL &&
         capture.thread == std::this_thread::get_id();
}

/// Work on the legacy default stream waits for every blocking stream, so it cannot go on while one
/// records.
CUresult check_implicit_dependency() {
  CUresult result = CUDA_SUCCESS;
  for (const std::weak_ptr<Capture>& weak : state().captures) {
    const std::shared_ptr<Capture> capture = weak.lock();
    if (!capture) continue;
    const StreamState* origin = state().streams.find(capture->origin);
    if (!origin || !origin->blocking) continue;
    capture->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  return result;
}

}  // namespace

DriverState& state() {
  static auto* const driver = new DriverState;
  return *driver;
}

const std::vector<const KnownPart*>& emulated_parts() {
  static const auto* const parts = [] {
    auto* list = new std::vector<const KnownPart*>;
    for (const KnownPart& part : known_parts()) list->push_back(&part);
    std::stable_partition(list->begin(), list->end(),
                          [](const KnownPart* part) { return part->id == "h100"; });
    return list;
  }();
  return *parts;
}

ContextStack& context_stack() {
  thread_local ContextStack stack;
  return stack;
}

bool ends_context(CUresult code) {
  return code == CUDA_ERROR_ECC_UNCORRECTABLE || code == CUDA_ERROR_ILLEGAL_ADDRESS ||
         code == CUDA_ERROR_LAUNCH_TIMEOUT || code == CUDA_ERROR_ASSERT ||
         code == CUDA_ERROR_UNKNOWN ||
         (code >= CUDA_ERROR_HARDWARE_STACK_ERROR && code <= CUDA_ERROR_LAUNCH_FAILED);
}

void DriverState::latch(CUresult code, std::string text) {
  report = std::move(text);
  if (sticky == CUDA_SUCCESS) sticky = code;
}

void DriverState::clear(Context& context) {
  if (!context.device) return;
  context.device->finish();
  if (auto fault = context.device->take_fault()) latch(fault->code, std::move(fault->text));
  retired_seconds += context.device->seconds();
  retired_instructions += context.device->warp_instructions();
  const auto of_context = [&](const auto& object) { return object.context == context.handle; };
  streams.remove_if(of_context);
  events.remove_if(of_context);
  functions.remove_if(of_context);
  modules.remove_if(of_context);
  graphs.remove_if(of_context);
  execs.remove_if(of_context);
  context.device.reset();
  context.retained = 0;
}

CUresult check_captures(CaptureRule rule) {
  CUresult result = CUDA_SUCCESS;
  std::erase_if(state().captures, [](const auto& capture) { return capture.expired(); });
  for (const std::weak_ptr<Capture>& weak : state().captures) {
    const std::shared_ptr<Capture> capture = weak.lock();
    if (!disturbs(*capture, rule)) continue;
    capture->invalidated = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

CUresult apply_effect(const Effect& effect, std::unique_lock<std::mutex>& lock) {
  if (effect.hang) hang(lock);
  if (ends_context(effect.code)) state().latch(effect.code, "scripted fault of a driver call");
  return effect.code;
}

void hang(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  while (true) pause();
}

bool initialised() { return state().owner_pid == getpid(); }

CUresult admission() { return initialised() ? state().sticky : CUDA_ERROR_NOT_INITIALIZED; }

bool is_default_stream(CUstream stream) {
  return stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD;
}

CUresult submit(Context& context, CUstream stream, Work work) {
  if (is_default_stream(stream)) {
    const CUresult refused = check_implicit_dependency();
    return refused != CUDA_SUCCESS ? refused : context.device->enqueue(work, nullptr);
  }
  StreamState* target = state().streams.find(stream);
  if (!target) return CUDA_ERROR_INVALID_HANDLE;
  if (!target->capture) return context.device->enqueue(work, stream);
  if (target->capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  target->capture->work.push_back(std::move(work));
  ++target->capture->streams[stream][stream];
  return CUDA_SUCCESS;
}

}  // namespace nvfp4::emulator
