// SPDX-License-Identifier: Apache-2.0
// Exports: streams, events on the modelled clock, capture and graphs. Work runs as it is enqueued,
// so every wait between streams is already satisfied; what is left to get right is which calls are
// legal while a stream records.
#include <algorithm>

#include "runtime/emulator/driver_abi.h"

using namespace nvfp4;
using namespace nvfp4::emulator;

namespace {

/// Runs `body(StreamState*)`, null for a default stream, unless the handle is stale.
template <class Body>
CUresult with_stream(CUstream stream, const Body& body) {
  if (is_default_stream(stream)) return body(static_cast<StreamState*>(nullptr));
  StreamState* found = state().streams.find(stream);
  return found ? body(found) : CUDA_ERROR_INVALID_HANDLE;
}

/// A call that must not touch a recording stream: it ends the capture.
CUresult refuse_capturing(StreamState* stream) {
  if (!stream || !stream->capture) return CUDA_SUCCESS;
  stream->capture->invalidated = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

/// The same for an event that a recording stream recorded; its time is of no use afterwards either.
CUresult refuse_captured(const EventState& event) {
  if (!event.captured) return CUDA_SUCCESS;
  const std::shared_ptr<Capture> capture = event.capture.lock();
  if (!capture) return CUDA_ERROR_INVALID_VALUE;
  capture->invalidated = true;
  return CUDA_ERROR_CAPTURED_EVENT;
}

CUresult record(EventState& event, CUstream handle, Context& context) {
  return with_stream(handle, [&](StreamState* stream) {
    event.captured = stream && stream->capture;
    if (event.captured) {
      event.capture = stream->capture;
      event.frontier = stream->capture->streams[handle];
      return CUDA_SUCCESS;
    }
    context.device->finish();
    event.recorded = true;
    event.seconds = context.device->seconds();
    return CUDA_SUCCESS;
  });
}

/// A stream that waits for a captured event joins the capture.
CUresult join_capture(StreamState* stream, CUstream handle, const EventState& event) {
  const std::shared_ptr<Capture> capture = event.capture.lock();
  if (!capture) return CUDA_ERROR_INVALID_VALUE;
  const bool elsewhere = stream && stream->capture && stream->capture != capture;
  if (!stream || elsewhere) {
    capture->invalidated = true;
    return elsewhere ? CUDA_ERROR_STREAM_CAPTURE_MERGE : CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  stream->capture = capture;
  Frontier& frontier = capture->streams[handle];
  for (const auto& [source, count] : event.frontier) {
    frontier[source] = std::max(frontier[source], count);
  }
  return CUDA_SUCCESS;
}

CUresult wait_event(StreamState* stream, CUstream handle, const EventState& event,
                    Context& context) {
  if (event.captured) return join_capture(stream, handle, event);
  if (!event.recorded) return CUDA_SUCCESS;
  if (stream && stream->capture) {
    stream->capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  context.device->finish();
  return CUDA_SUCCESS;
}

/// Whether the origin depends on everything that was recorded.
bool is_joined(const Capture& capture) {
  const Frontier& origin = capture.streams.at(capture.origin);
  return std::all_of(capture.streams.begin(), capture.streams.end(), [&](const auto& stream) {
    const auto own = stream.second.find(stream.first);
    if (own == stream.second.end()) return true;
    const auto seen = origin.find(stream.first);
    return seen != origin.end() && seen->second >= own->second;
  });
}

CUresult end_capture(StreamState& stream, CUstream handle, CUgraph* graph, Context& context) {
  const std::shared_ptr<Capture> capture = stream.capture;
  if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != handle) {
    capture->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  }
  for (const auto& [member, frontier] : capture->streams) {
    if (StreamState* joined = state().streams.find(member)) joined->capture.reset();
  }
  if (capture->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
      capture->thread != std::this_thread::get_id()) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  if (!is_joined(*capture)) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  *graph = state().graphs.add(
      std::make_unique<GraphState>(GraphState{context.handle, std::move(capture->work)}));
  return CUDA_SUCCESS;
}

/// A copy that fails in a replay has no call to report to: it faults the device.
CUresult launch_graph(const GraphState& graph, CUstream stream, Context& context) {
  context.device->finish();
  for (const Work& work : graph.work) {
    if (submit(context, stream, work) == CUDA_SUCCESS) continue;
    state().latch(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy or memset of a graph leaves its allocation");
  }
  return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned int flags) {
  if (!stream || (flags & ~CU_STREAM_NON_BLOCKING)) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::stream, CaptureRule::allowed, [&](Context& context) {
    const bool blocking = flags != CU_STREAM_NON_BLOCKING;
    *stream = state().streams.add(
        std::make_unique<StreamState>(StreamState{context.handle, blocking, nullptr}));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  return call(Call::stream, CaptureRule::allowed, [&](Context& context) {
    context.device->finish();
    const StreamState* found = state().streams.find(stream);
    if (found && found->capture) found->capture->invalidated = true;
    return state().streams.remove(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle) {
  return call(Call::sync, CaptureRule::unsafe, [&](Context& context) {
    return with_stream(handle, [&](StreamState* stream) {
      const CUresult refused = refuse_capturing(stream);
      if (refused == CUDA_SUCCESS) context.device->wait();
      return refused;
    });
  });
}

CUresult CUDAAPI cuStreamQuery(CUstream handle) {
  return call(Call::stream, CaptureRule::unsafe, [&](Context& context) {
    return with_stream(handle, [&](StreamState* stream) {
      const CUresult refused = refuse_capturing(stream);
      if (refused != CUDA_SUCCESS) return refused;
      context.device->finish();
      return context.device->hung() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
    });
  });
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int) {
  return call(Call::stream, CaptureRule::allowed, [&](Context& context) {
    EventState* found = state().events.find(event);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    return with_stream(
        handle, [&](StreamState* stream) { return wait_event(stream, handle, *found, context); });
  });
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode) {
  return call(Call::capture, CaptureRule::allowed, [&](Context& context) {
    return with_stream(handle, [&](StreamState* stream) {
      if (!stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
      if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
      context.device->finish();
      stream->capture = std::make_shared<Capture>(
          Capture{handle, mode, std::this_thread::get_id(), {}, {{handle, {}}}, false});
      state().captures.push_back(stream->capture);
      return CUDA_SUCCESS;
    });
  });
}

CUresult CUDAAPI cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  if (!graph) return CUDA_ERROR_INVALID_VALUE;
  *graph = nullptr;
  return call(Call::capture, CaptureRule::allowed, [&](Context& context) {
    return with_stream(handle, [&](StreamState* stream) {
      return stream ? end_capture(*stream, handle, graph, context) : CUDA_ERROR_ILLEGAL_STATE;
    });
  });
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  if (!status) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::capture, CaptureRule::allowed, [&](Context&) {
    return with_stream(handle, [&](StreamState* stream) {
      *status = CU_STREAM_CAPTURE_STATUS_NONE;
      if (stream && stream->capture) {
        *status = stream->capture->invalidated ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
      }
      return CUDA_SUCCESS;
    });
  });
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long) {
  if (!exec) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::graph, CaptureRule::unsafe, [&](Context&) {
    const GraphState* found = state().graphs.find(graph);
    if (!found) return CUDA_ERROR_INVALID_VALUE;
    *exec = state().execs.add(std::make_unique<GraphState>(*found));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  return call(Call::graph, CaptureRule::allowed, [&](Context& context) {
    const GraphState* found = state().execs.find(exec);
    if (!found) return CUDA_ERROR_INVALID_VALUE;
    return with_stream(stream, [&](StreamState* target) {
      const CUresult refused = refuse_capturing(target);
      return refused != CUDA_SUCCESS ? refused : launch_graph(*found, stream, context);
    });
  });
}

CUresult CUDAAPI cuGraphDestroy(CUgraph graph) {
  return call(Call::graph, CaptureRule::allowed, [&](Context&) {
    return state().graphs.remove(graph) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec exec) {
  return call(Call::graph, CaptureRule::allowed, [&](Context& context) {
    context.device->finish();
    return state().execs.remove(exec) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult CUDAAPI cuEventCreate(CUevent* event, unsigned int flags) {
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::event, CaptureRule::allowed, [&](Context& context) {
    *event = state().events.add(std::make_unique<EventState>(
        EventState{context.handle, (flags & CU_EVENT_DISABLE_TIMING) == 0}));
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventDestroy(CUevent event) {
  return call(Call::event, CaptureRule::allowed, [&](Context&) {
    return state().events.remove(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) {
  return call(Call::event, CaptureRule::allowed, [&](Context& context) {
    EventState* found = state().events.find(event);
    return found ? record(*found, stream, context) : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult CUDAAPI cuEventSynchronize(CUevent event) {
  return call(Call::sync, CaptureRule::allowed, [&](Context& context) {
    const EventState* found = state().events.find(event);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    CUresult refused = refuse_captured(*found);
    if (refused == CUDA_SUCCESS) refused = check_captures(CaptureRule::unsafe);
    if (refused == CUDA_SUCCESS && found->recorded) context.device->wait();
    return refused;
  });
}

CUresult CUDAAPI cuEventQuery(CUevent event) {
  return call(Call::event, CaptureRule::allowed, [&](Context& context) {
    const EventState* found = state().events.find(event);
    if (!found) return CUDA_ERROR_INVALID_HANDLE;
    CUresult refused = refuse_captured(*found);
    if (refused == CUDA_SUCCESS) refused = check_captures(CaptureRule::unsafe);
    if (refused != CUDA_SUCCESS) return refused;
    const bool pending = found->recorded && context.device->hung();
    return pending ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  if (!milliseconds) return CUDA_ERROR_INVALID_VALUE;
  return call(Call::event, CaptureRule::allowed, [&](Context& context) {
    const EventState* from = state().events.find(start);
    const EventState* to = state().events.find(end);
    if (!from || !to || !from->timed || !to->timed) return CUDA_ERROR_INVALID_HANDLE;
    if (from->captured || to->captured) return CUDA_ERROR_INVALID_VALUE;
    if (!from->recorded || !to->recorded) return CUDA_ERROR_INVALID_HANDLE;
    if (context.device->hung()) return CUDA_ERROR_NOT_READY;
    *milliseconds = static_cast<float>((to->seconds - from->seconds) * 1e3);
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
