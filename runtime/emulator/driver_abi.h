// SPDX-License-Identifier: Apache-2.0
// What the exported functions share: the process-wide state of the emulated driver, its objects,
// and call(), through which every function that needs a context goes. call() takes the lock,
// refuses in the order a real driver does (not initialised, lost context, no context), counts the
// call, applies scripted faults, and afterwards latches a kernel's fault: from then on every call
// returns its code.
#pragma once

// Exported is what is declared here, and only that.
#pragma GCC visibility push(default)
#include <cuda.h>

#include "runtime/emulator/emulator.h"

// cuda.h gives these two a name that depends on its version; callers ask for these.
#undef cuEventElapsedTime
#undef cuDeviceGetUuid
extern "C" {
CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end);
CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device);
}
#pragma GCC visibility pop

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/emulator/emulated_device.h"

namespace nvfp4::emulator {

/// Live objects by handle. Handles are numbers that are never used twice, so a stale one is found
/// out.
template <class Handle, class Object>
class Handles {
 public:
  Handle add(std::unique_ptr<Object> object) {
    const auto handle = reinterpret_cast<Handle>(next_handle());
    objects_.emplace(handle, std::move(object));
    return handle;
  }
  Object* find(Handle handle) const {
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second.get();
  }
  bool remove(Handle handle) { return objects_.erase(handle) > 0; }
  template <class Predicate>
  void remove_if(const Predicate& predicate) {
    std::erase_if(objects_, [&](const auto& entry) { return predicate(*entry.second); });
  }

 private:
  static uintptr_t next_handle() {
    static uintptr_t next = 0x10000;  // above the special stream handles 0, 1 and 2
    return next += 16;
  }
  std::map<Handle, std::unique_ptr<Object>> objects_;
};

/// A primary context. Its handle is for ever; its device, with objects and memory, lives while
/// someone retains it.
struct Context {
  CUcontext handle;
  CUdevice ordinal;
  int retained = 0;
  std::unique_ptr<EmulatedDevice> device;
};

/// How much recorded work of each stream a point in a capture depends on.
using Frontier = std::map<CUstream, size_t>;

/// A stream capture in progress: what it has recorded, in order, and the streams that take part.
struct Capture {
  CUstream origin;
  CUstreamCaptureMode mode;
  std::thread::id thread;
  std::vector<Work> work;
  std::map<CUstream, Frontier> streams;  ///< a stream's own entry counts its recorded work
  bool invalidated = false;
};

struct StreamState {
  CUcontext context;
  bool blocking;  ///< synchronises with the legacy default stream
  std::shared_ptr<Capture> capture;
};

struct EventState {
  CUcontext context;
  bool timed;
  bool recorded = false;
  double seconds = 0;
  bool captured = false;  ///< its last record lies in a capture, which may have ended
  std::weak_ptr<Capture> capture;
  Frontier frontier;  ///< of its stream, when it was recorded there
};

/// A kernel parameter's place in the parameter buffer.
struct ParameterSlot {
  size_t offset;
  size_t bytes;
};

struct LoadedModule {
  CUcontext context;
  std::shared_ptr<const Program> program;
  std::vector<uint64_t> variables;  ///< addresses, in the program's order
  std::map<std::string, std::vector<ParameterSlot>> parameters;  ///< by kernel
};

struct FunctionState {
  CUcontext context;
  CUmodule module;
  const EntryInfo* entry;
  int max_dynamic_smem;
};

/// A captured graph, and an executable one: the same list of work.
struct GraphState {
  CUcontext context;
  std::vector<Work> work;
};

struct DriverState {
  std::mutex mutex;
  int owner_pid = 0;               ///< of the process that initialised; 0 = not initialised
  CUresult sticky = CUDA_SUCCESS;  ///< what every call returns after a fault
  std::string report;              ///< text of the last fault
  FaultScript script;
  MachineOptions options;
  double retired_seconds = 0;  ///< modelled time of contexts that are gone
  int64_t retired_instructions = 0;

  std::map<CUdevice, CUcontext> primary;
  Handles<CUcontext, Context> contexts;
  Handles<CUstream, StreamState> streams;
  Handles<CUevent, EventState> events;
  Handles<CUmodule, LoadedModule> modules;
  Handles<CUfunction, FunctionState> functions;
  Handles<CUgraph, GraphState> graphs;
  Handles<CUgraphExec, GraphState> execs;
  std::map<void*, std::unique_ptr<std::byte[]>> host_memory;
  std::vector<std::weak_ptr<Capture>> captures;

  /// Ends a fault's latency: remembers its text and makes its code sticky.
  void latch(CUresult code, std::string text);
  /// Frees what a context holds.
  void clear(Context& context);
};

/// The state; made once and never destroyed, so that calls during process exit stay defined.
DriverState& state();

/// The parts by ordinal: h100 first, then known_parts() in order.
const std::vector<const KnownPart*>& emulated_parts();

/// A stack of contexts; the current one is the last. It needs no destructor: the program's own
/// may make calls after the thread's have run.
class ContextStack {
 public:
  bool empty() const { return size_ == 0; }
  CUcontext back() const { return contexts_[size_ - 1]; }
  /// False when there is no room.
  bool push_back(CUcontext context) {
    if (size_ == contexts_.size()) return false;
    contexts_[size_++] = context;
    return true;
  }
  void pop_back() { --size_; }

 private:
  std::array<CUcontext, 64> contexts_{};
  size_t size_ = 0;
};

/// The calling thread's.
ContextStack& context_stack();

/// True for codes that end a context.
bool ends_context(CUresult code);

/// What a call does to the streams being captured, which decides whether it is allowed meanwhile.
enum class CaptureRule {
  allowed,  ///< no effect on streams, or records itself
  unsafe,   ///< refused while this thread captures, or any does in global mode
  waits     ///< refused while anything is captured
};

/// Whether a call of this rule may go on; if not, it ends the captures it disturbs.
CUresult check_captures(CaptureRule rule);

/// Applies a scripted effect: hangs for ever or returns its code, sticky or not.
CUresult apply_effect(const Effect& effect, std::unique_lock<std::mutex>& lock);

/// Blocks for ever, without the lock: what a call does that waits for a kernel that never ends.
[[noreturn]] void hang(std::unique_lock<std::mutex>& lock);

/// Whether this process called cuInit; false in a forked child.
bool initialised();

/// Not initialised, or in a forked child, or lost: what most calls return first.
CUresult admission();

/// Runs `body(Context&)` for the current context.
template <class Body>
CUresult call(Call kind, CaptureRule rule, const Body& body) {
  DriverState& driver = state();
  std::unique_lock lock(driver.mutex);
  if (const CUresult refused = admission(); refused != CUDA_SUCCESS) return refused;
  if (const auto effect = driver.script.count(kind)) return apply_effect(*effect, lock);
  if (context_stack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
  Context* context = driver.contexts.find(context_stack().back());
  if (!context || !context->device) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (const CUresult refused = check_captures(rule); refused != CUDA_SUCCESS) return refused;
  CUresult result = CUDA_SUCCESS;
  try {
    result = body(*context);
  } catch (const NeverEnds&) {
    hang(lock);
  } catch (const std::bad_alloc&) {
    result = CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (auto fault = context->device->take_fault()) driver.latch(fault->code, std::move(fault->text));
  return driver.sticky != CUDA_SUCCESS ? driver.sticky : result;
}

/// The default streams (handles 0, 1 and 2) are one stream here, which cannot be captured.
bool is_default_stream(CUstream stream);

/// Runs `work` on `stream`, or records it when the stream is being captured.
CUresult submit(Context& context, CUstream stream, Work work);

}  // namespace nvfp4::emulator
