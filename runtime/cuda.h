// SPDX-License-Identifier: Apache-2.0
// Owners of driver objects: each acquires in its constructor (CudaError on failure), releases in
// its destructor (never throws) and keeps its Gpu alive. The Gpu's context must be current in the
// calling thread (open_device does that once; ContextScope does it elsewhere); destructors see to
// it themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "runtime/gpu.h"

namespace nvfp4 {

class Stream {
 public:
  /// A stream that does not synchronise with the legacy default stream.
  explicit Stream(const Gpu& gpu);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CUstream get() const { return stream_; }
  void synchronize() const;
  /// False while work is pending.
  bool done() const;

 private:
  Gpu gpu_;
  CUstream stream_ = nullptr;
};

class Event {
 public:
  explicit Event(const Gpu& gpu);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  CUevent get() const { return event_; }
  void record(CUstream stream) const;
  void synchronize() const;
  /// Seconds from `start` to this event; both must have completed.
  double seconds_since(const Event& start) const;

 private:
  Gpu gpu_;
  CUevent event_ = nullptr;
};

/// Device memory, not initialised. An empty buffer owns nothing and has address 0.
class DeviceBuffer {
 public:
  DeviceBuffer(const Gpu& gpu, size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;

  CUdeviceptr address() const { return address_; }
  size_t size() const { return size_; }
  /// The device address as a pointer for GemmParams, `offset` bytes in.
  template <class T = void>
  T* as(size_t offset = 0) const {
    return reinterpret_cast<T*>(address_ + offset);
  }

  /// Synchronous copies; the range must lie inside the buffer (std::out_of_range).
  void upload(std::span<const std::byte> bytes, size_t offset = 0);
  void download(std::span<std::byte> bytes, size_t offset = 0) const;
  /// Sets every byte, in stream order.
  void fill(std::byte value, CUstream stream = nullptr);

 private:
  Gpu gpu_;
  CUdeviceptr address_ = 0;
  size_t size_ = 0;
};

/// Page-locked host memory that grows: copies into it run at the speed of the bus and touch no new
/// pages, of which a megabyte costs a fresh vector up to 2.8 ms (measured, virtual machine).
class HostBuffer {
 public:
  explicit HostBuffer(const Gpu& gpu) : gpu_(gpu) {}
  ~HostBuffer();
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  /// The first `bytes` of it. What an earlier call returned is lost when that was less.
  std::span<std::byte> first(size_t bytes);

 private:
  void free();

  Gpu gpu_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

/// A loaded image: a cubin for this GPU, or PTX, which the driver (or the emulated device)
/// translates.
class Module {
 public:
  /// A CudaError carries the driver's JIT log.
  Module(const Gpu& gpu, std::string_view image);
  ~Module();
  Module(Module&& other) noexcept;
  Module& operator=(Module&&) = delete;

  CUfunction function(const char* name) const;

 private:
  Gpu gpu_;
  CUmodule module_ = nullptr;
};

/// An instantiated graph.
class GraphExec {
 public:
  ~GraphExec();
  GraphExec(GraphExec&& other) noexcept;
  GraphExec& operator=(GraphExec&&) = delete;

  void launch(CUstream stream) const;

 private:
  friend GraphExec capture(const Gpu& gpu, CUstream stream, const std::function<void()>& enqueue);
  GraphExec(const Gpu& gpu, CUgraph graph);

  Gpu gpu_;
  CUgraphExec exec_ = nullptr;
};

/// The graph of what `enqueue` puts on `stream`. When enqueue throws, the capture is ended and
/// discarded, and the exception goes on.
GraphExec capture(const Gpu& gpu, CUstream stream, const std::function<void()>& enqueue);

/// The bytes of a contiguous range, for upload and download.
template <class Range>
auto bytes_of(Range& range) {
  if constexpr (std::is_const_v<std::remove_pointer_t<decltype(std::data(range))>>) {
    return std::as_bytes(std::span(range));
  } else {
    return std::as_writable_bytes(std::span(range));
  }
}

}  // namespace nvfp4
