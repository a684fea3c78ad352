// SPDX-License-Identifier: Apache-2.0
// The mbarriers of one CTA (PTX ISA, "Parallel Synchronization and Communication Instructions:
// mbarrier"). A phase ends when all arrivals have come and the bytes announced (expect_tx) equal
// the bytes that copies brought (complete_tx); threads wait for the phase of a parity.
//
// An mbarrier also carries order: who sees a phase complete comes after those who arrived in it and
// after the copies that counted their bytes into it. That is kept as the knowledge of the agent
// that the mbarrier is (happens_before.h), whose stamps are its phases.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/emulator/happens_before.h"
#include "runtime/emulator/shared_shadow.h"

namespace nvfp4::emulator {

class Block;
class Warp;

struct Mbarrier {
  uint32_t offset = 0;  ///< in the CTA's shared memory
  int agent = 0;
  uint32_t count = 0;    ///< arrivals that a phase takes
  uint32_t pending = 0;  ///< of them, still to come in this phase
  int64_t bytes = 0;     ///< announced and not yet come; negative: come and not yet announced
  uint32_t phase = 0;    ///< the one in progress
  bool watched = true;   ///< someone has seen the latest phase that copies filled complete
  bool filled = false;   ///< a copy has brought bytes in the phase in progress
  bool waited_for_grid = false;        ///< one of those who arrived had
  Access initialised;                  ///< by whom
  std::string initialiser;             ///< the thread
  HappensBefore::Knowledge arriving;   ///< of those who arrived in this phase
  HappensBefore::Knowledge completed;  ///< of all who arrived before
  std::vector<Warp*> waiting;
};

/// "the mbarrier at shared+0x40 (phase 3: 1 of 4 arrivals and 512 bytes to come)"
std::string describe(const Mbarrier& barrier);

/// The instructions act for `lanes` of a warp, of this CTA or of a peer, in the lanes' order.
class Mbarriers {
 public:
  explicit Mbarriers(Block& block) : block_(block) {}

  void clear() { barriers_.clear(); }

  void init(Warp& warp, int lane, uint64_t address, uint32_t count);
  void invalidate(Warp& warp, int lane, uint64_t address);

  /// The mbarrier at `address`; a fault unless there is one and its init comes before.
  Mbarrier& find(Warp& warp, int lane, uint64_t address);
  /// The same, for a copy engine's use on behalf of the thread.
  Mbarrier& find_for_copy(Warp& warp, int lane, uint64_t address);

  void expect(Warp& warp, int lane, Mbarrier& barrier, uint32_t bytes);
  /// `lane` arrives `count` times; what it knows was published (by the caller, once a warp).
  void arrive(Warp& warp, int lane, Mbarrier& barrier, uint32_t count);
  /// A copy started by the thread has brought `bytes`.
  void complete(Warp& warp, int lane, Mbarrier& barrier, uint32_t bytes);

  /// Whether the phase of `parity` before the one in progress is over; checks that the thread could
  /// not have mistaken an older phase for it.
  bool test_parity(Warp& warp, int lane, const Mbarrier& barrier, uint32_t parity) const;
  bool test_phase(Warp& warp, int lane, const Mbarrier& barrier, uint32_t phase) const;
  void observe(Warp& warp, uint32_t lanes, Mbarrier& barrier);

  /// A copy's order: a write in the phase in progress.
  Access copy_access(const Mbarrier& barrier) const;

  /// What is left when the CTA ends: empty, or the complaint.
  std::string complaint_at_end() const;

 private:
  void end_phase_if_complete(Mbarrier& barrier);

  Block& block_;
  std::unordered_map<uint32_t, Mbarrier> barriers_;
};

}  // namespace nvfp4::emulator
