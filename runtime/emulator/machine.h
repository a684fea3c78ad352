// SPDX-License-Identifier: Apache-2.0
// The emulated device: a parsed PTX module, the device's memory, and launches that run the one on
// the other with every check on. A launch ends with its counts or with the first fault, whose text
// names kernel, PTX line, block and thread. Nothing here knows the driver API; driver_abi.cpp
// builds that on top.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace nvfp4::emulator {

/// The PTX text holds something this machine does not know: an opcode, a modifier, a directive, an
/// operand. The message starts with "PTX line N: ".
struct PtxError : std::runtime_error {
  PtxError(int line, const std::string& what);
  int line;  ///< 1-based
};

/// What a launch must know of one kernel before it runs.
struct EntryInfo {
  std::string name;
  int param_bytes = 0;                ///< size of the parameter buffer
  int static_smem_bytes = 0;          ///< .shared variables with a size
  int max_threads = 1024;             ///< product of .maxntid / .reqntid, else 1024
  bool waits_for_grid = false;        ///< contains griddepcontrol.wait
  int registers = 0;                  ///< a thread's at launch, as far as its directives say
  std::array<unsigned, 3> cluster{};  ///< .reqnctapercluster; zeros: any
};

/// A .global or .const variable of the module.
struct ModuleVariable {
  std::string name;
  size_t bytes = 0;
  std::vector<std::byte> initial;  ///< empty: zero
};

struct Module;  // the decoded code; program.h

/// One parsed module; immutable and shared by threads.
class Program {
 public:
  /// Raises PtxError.
  static std::shared_ptr<const Program> parse(std::string_view ptx);
  ~Program();

  const EntryInfo* find_entry(std::string_view name) const;  ///< null when absent
  const std::vector<ModuleVariable>& variables() const;
  const Module& module() const { return *module_; }

 private:
  explicit Program(std::unique_ptr<const Module> module);
  std::unique_ptr<const Module> module_;
};

/// The device's memory. Allocations are exact to the byte, lie at least 4 KiB apart, and their
/// addresses are never used again; every byte knows whether it was ever written.
class GlobalMemory {
 public:
  explicit GlobalMemory(size_t capacity = size_t{64} << 30);
  GlobalMemory(const GlobalMemory&) = delete;
  GlobalMemory& operator=(const GlobalMemory&) = delete;

  uint64_t allocate(size_t bytes);  ///< 256-byte aligned; 0 for zero bytes or beyond the capacity
  bool free(uint64_t address);      ///< false unless `address` is the start of a live allocation

  /// Host memory behind [address, address + bytes), or null when that is not wholly inside one live
  /// allocation. `write` marks the bytes initialised.
  std::byte* resolve(uint64_t address, size_t bytes, bool write);
  bool initialised(uint64_t address, size_t bytes) const;

  /// Start and size of the live allocation that holds `address`.
  std::optional<std::pair<uint64_t, size_t>> find(uint64_t address) const;

  size_t capacity() const { return capacity_; }
  size_t used() const;

  /// One live allocation: data and, byte for byte, 0xff where initialised.
  struct Block {
    uint64_t address = 0;
    size_t bytes = 0;
    std::byte* data = nullptr;
    std::byte* initialised = nullptr;
  };
  /// The live allocation that holds `address`, or one of zero bytes. Stays valid until it is freed.
  Block block(uint64_t address) const;

 private:
  struct Allocation {
    std::unique_ptr<std::byte[], void (*)(void*)> data;
    std::unique_ptr<std::byte[], void (*)(void*)> initialised;
    size_t bytes;
  };
  mutable std::shared_mutex mutex_;
  std::map<uint64_t, Allocation> allocations_;
  size_t capacity_;
  size_t used_ = 0;
  uint64_t next_address_;
};

/// Allocates and initialises the program's variables; the addresses are in the order of
/// Program::variables() and are handed to each launch. Raises std::bad_alloc beyond the capacity.
std::vector<uint64_t> materialise_variables(const Program& program, GlobalMemory& memory);

struct LaunchRequest {
  std::shared_ptr<const Program> program;
  std::string entry;
  std::array<unsigned, 3> grid{1, 1, 1};
  std::array<unsigned, 3> block{1, 1, 1};
  std::array<unsigned, 3> cluster{1, 1, 1};  ///< in CTAs; divides the grid
  unsigned dynamic_smem = 0;                 ///< bytes
  std::vector<std::byte> params;      ///< the parameter buffer, at least EntryInfo::param_bytes
  std::vector<uint64_t> variables;    ///< from materialise_variables; empty when there are none
  int smem_limit = 232448;            ///< bytes a CTA may use, static and dynamic
  int resident_ctas = 1;              ///< CTAs that run before a PDL wait; at most 64 do
  int sm_count = 132;                 ///< what %nsmid says; %smid is the CTA number modulo this
  int threads = 0;                    ///< host threads; 0: all cores; 1: reproducible runs
  uint64_t seed = 0;                  ///< order of CTAs and of the warps in a CTA; 0: ascending
  int64_t max_warp_instructions = 0;  ///< 0: no limit; beyond it, an instruction_limit fault
};

enum class FaultKind {
  illegal_address,
  misaligned,
  uninitialised_read,
  shared_race,
  async_read_before_wait,
  barrier_divergence,
  deadlock,
  instruction_limit,
  trap,
  invalid_launch,
  write_before_grid_wait,  ///< PDL: a global write before griddepcontrol.wait
  missing_grid_wait,  ///< PDL: a thread ends without griddepcontrol.wait in a kernel that has it
  mbarrier_misuse,
  missing_proxy_fence,  ///< generic access, then one of the async proxy, no fence.proxy.async
  wgmma_misuse,
  peer_ended,     ///< access to the shared memory of a CTA that has ended, or may have
  register_pool,  ///< setmaxnreg
};

/// "kernel nvfp4_gemm, PTX line 812, block (3,0,0) thread (65,0,0): reads 4 bytes at shared+0x1200
/// ..."
struct Fault {
  FaultKind kind;
  std::string text;
};

struct LaunchResult {
  std::optional<Fault> fault;
  int64_t warp_instructions = 0;
  int64_t global_bytes_read = 0;  ///< by active lanes, before any cache
  int64_t global_bytes_written = 0;
};

/// Runs the whole grid. Faults are values; this raises nothing but std::bad_alloc.
LaunchResult run(const LaunchRequest& request, GlobalMemory& memory);

/// A launch whose first wave has reached griddepcontrol.wait (or a fault, which resume reports).
class PausedLaunch {
 public:
  virtual ~PausedLaunch() = default;
};

/// PDL: a launch split in two, so that what the first wave does before griddepcontrol.wait sees
/// memory as it is before the predecessor's writes. A kernel without that instruction starts in
/// resume.
std::unique_ptr<PausedLaunch> run_until_wait(const LaunchRequest& request, GlobalMemory& memory);
LaunchResult resume(PausedLaunch& launch);

}  // namespace nvfp4::emulator
