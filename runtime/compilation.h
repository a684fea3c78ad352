// SPDX-License-Identifier: Apache-2.0
// What compiling one kernel gave: machine code or a reason, and what ptxas said the kernel costs. A
// value, because a candidate that does not compile is a result of tuning and no accident.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nvfp4 {

/// What ptxas -v prints of a kernel. Bytes are a thread's, shared memory is the static part of a
/// CTA.
struct KernelResources {
  int registers = 0;
  int stack_bytes = 0;
  int spill_store_bytes = 0;
  int spill_load_bytes = 0;
  int static_smem_bytes = 0;
  int barriers = 0;

  bool spills() const { return spill_store_bytes > 0 || spill_load_bytes > 0; }
  friend bool operator==(const KernelResources&, const KernelResources&) = default;
};

struct Compilation {
  bool ok = false;
  std::string cubin;                  ///< ELF bytes for exactly the arch; empty unless ok
  std::string ptx;                    ///< what the cubin was made from; empty unless ok
  std::string log;                    ///< compiler output, printable, at most kMaxLogBytes
  KernelResources resources;          ///< zero unless ok
  std::vector<std::string> warnings;  ///< the lines of the log that warn

  /// ptxas put waits between wgmma instructions (its messages C75xx): correct, but slow.
  bool serialised_wgmma() const;

  friend bool operator==(const Compilation&, const Compilation&) = default;
};

constexpr size_t kMaxLogBytes = 64 << 10;

/// The largest of each figure over the entry functions that a log of ptxas -v names.
KernelResources parse_resources(std::string_view log);

/// The lines that say "warning" or report a potential performance loss.
std::vector<std::string> parse_warnings(std::string_view log);

/// `log` fit to be shown and stored: control characters but tab and newline become '?', and what is
/// longer than kMaxLogBytes loses its middle, since the first error and the summary matter most.
std::string printable_log(std::string_view log);

}  // namespace nvfp4
