// SPDX-License-Identifier: Apache-2.0
// What a tuning database remembers, as plain structs: devices, toolchains, kernels, runs,
// measurements, winners, and what runs say when they are compared. Nothing here knows SQLite. Names
// of enumerators are stored as text and never change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generator/device.h"
#include "generator/problem.h"
#include "templates/kernel_config.h"

namespace nvfp4 {

/// How launches follow each other while a kernel is timed, and later while it serves.
enum class Policy : int { graph = 0, graph_pdl = 1, eager = 2 };

/// Whether a time was read from a clock or computed by the cost model. The two never mix.
enum class Provenance : int { measured = 0, modelled = 1 };

/// What became of one candidate. Only `ok` carries a time.
enum class Verdict : int {
  ok = 0,
  constraint,
  compile_error,
  compile_timeout,
  spill,
  load_failed,
  launch_error,
  fault,
  hang,
  wrong,
  nondeterministic,
  out_of_bounds,
  too_noisy,
};

/// What a run was for. The rows of an import were measured elsewhere, by whom is unknown.
enum class Purpose : int { tune = 0, bench, imported };

/// Where a winner comes from. An imported one is a hint: it seeds the search and answers no lookup
/// until it was measured here.
enum class WinnerOrigin : int { tuned = 0, imported = 1 };

/// What two runs are compared by: the same kernel, or whatever was best in each.
enum class Question : int { same_config = 0, best_config = 1 };

/// What a comparison found.
enum class Change : int {
  unchanged = 0,
  same,
  faster,
  slower,
  ambiguous,
  broken,
  added,
  missing,
};

/// "graph", "graph+pdl", "eager"; "tune", "bench", "import"; the enumerator itself for the others.
std::string_view name(Policy policy);
std::string_view name(Provenance provenance);
std::string_view name(Verdict verdict);
std::string_view name(Purpose purpose);
std::string_view name(WinnerOrigin origin);
std::string_view name(Question question);
std::string_view name(Change change);
std::optional<Policy> parse_policy(std::string_view text);
std::optional<Provenance> parse_provenance(std::string_view text);
std::optional<Verdict> parse_verdict(std::string_view text);
std::optional<Purpose> parse_purpose(std::string_view text);
std::optional<WinnerOrigin> parse_origin(std::string_view text);
std::optional<Question> parse_question(std::string_view text);
std::optional<Change> parse_change(std::string_view text);

/// The physical facts that make two cards the same card for tuning. A MIG slice differs by SM
/// count; a marketing name is no part of it.
struct DeviceKey {
  Arch arch;
  int sm_count = 0;
  int64_t l2_bytes = 0;
  int smem_per_block = 0;
  int bandwidth_class = 0;  ///< peak memory bandwidth in units of 100 GB/s, rounded
  bool emulated = false;

  friend bool operator==(const DeviceKey&, const DeviceKey&) = default;
};

DeviceKey key_of(const Device& device);

/// What turned a config into machine code. Kept as evidence; no part of any lookup key.
struct Toolchain {
  std::string nvrtc;            ///< "13.0"
  std::string driver;           ///< "13.0", or the emulator's name
  std::string template_digest;  ///< template_digest()

  friend bool operator==(const Toolchain&, const Toolchain&) = default;
};

/// One compiled kernel. Hashes are empty and facts zero when the compilation failed.
struct KernelRecord {
  KernelConfig config;
  std::string source_hash;
  std::string code_hash;
  int registers = 0;
  int spill_bytes = 0;
  int smem_bytes = 0;

  friend bool operator==(const KernelRecord&, const KernelRecord&) = default;
};

/// The time of one candidate and what it means. A field that is unknown stays zero.
struct Timing {
  double median_us = 0;
  double q1_us = 0;
  double q3_us = 0;
  int samples = 0;
  double gbps = 0;         ///< packed weight bytes over the median, 1e9 bytes/s
  double pct_ceiling = 0;  ///< percent of the long-stream read ceiling of the same run
  double tflops = 0;
  double f = 0;          ///< roofline time (per-launch read ceiling) over the median
  double clock_mhz = 0;  ///< SM clock while timing
  bool throttled = false;
  double launch_us = 0;  ///< one launch that reads the problem's weights, in the same run
  double temperature_c = 0;

  friend bool operator==(const Timing&, const Timing&) = default;
};

/// One candidate at one (problem, m, policy), whatever became of it.
struct Measurement {
  KernelRecord kernel;
  Problem problem;
  int64_t m = 0;
  Policy policy = Policy::graph_pdl;
  Provenance provenance = Provenance::measured;
  Verdict verdict = Verdict::ok;
  std::string text;               ///< why it failed, or what the gate covered; cut at 2048 bytes
  Timing timing;                  ///< meaningful only when verdict is ok
  std::vector<float> samples_us;  ///< at most 4096 are kept

  int64_t id = 0;                   ///< set by the database, monotonic
  int64_t run = 0;                  ///< set by the database
  DeviceKey device;                 ///< of the run, set on reading
  Toolchain toolchain;              ///< of the run, set on reading
  Purpose purpose = Purpose::tune;  ///< of the run, set on reading

  friend bool operator==(const Measurement&, const Measurement&) = default;
};

/// One invocation of the program. The date is a label; nothing is ordered by it.
struct RunRecord {
  DeviceKey device;
  std::string device_name;
  Toolchain toolchain;
  std::string command;  ///< reproduces the run
  std::string date;     ///< UTC, ISO 8601
  uint64_t seed = 0;
  Purpose purpose = Purpose::tune;
  std::string source_commit;   ///< of the program; empty when unknown
  std::string driver_release;  ///< "580.159.04"; empty when unknown
  double stream_gbps = 0;      ///< what one long read reaches; 0 when unknown
  double tensor_tflops = 0;    ///< matrix rate that F assumes; 0 when unknown

  int64_t id = 0;  ///< set by the database, monotonic

  friend bool operator==(const RunRecord&, const RunRecord&) = default;
};

/// Token counts for which one kernel does the same work, both ends included.
struct MInterval {
  int64_t lo = 0;
  int64_t hi = 0;

  bool contains(int64_t m) const { return lo <= m && m <= hi; }
  int64_t width() const { return hi - lo + 1; }
  friend bool operator==(const MInterval&, const MInterval&) = default;
};

/// (m - block_m, m] rounded up to the edges of the config's token tile: 63 and 64 share one.
MInterval tile_interval(const KernelConfig& config, int64_t m);

/// The choice for an interval of M, with the measurement that justifies it.
struct Winner {
  DeviceKey device;
  Problem problem;
  Policy policy = Policy::graph_pdl;
  Provenance provenance = Provenance::measured;
  MInterval interval;
  int64_t m_tuned = 0;
  KernelConfig config;
  std::optional<KernelConfig> runner_up;
  std::optional<double>
      regret_bound;      ///< 0.02: at most 2 % slower than the best inside the interval
  int64_t evidence = 0;  ///< id of a measurement of this config with verdict ok
  WinnerOrigin origin = WinnerOrigin::tuned;

  std::string code_hash;   ///< of the evidence's kernel, set on reading
  double expected_us = 0;  ///< the evidence's median, set on reading
  double f = 0;            ///< the evidence's F, set on reading

  friend bool operator==(const Winner&, const Winner&) = default;
};

/// A candidate that was started and never finished: it was in flight when its tuner died.
struct Suspect {
  KernelConfig config;
  int deaths = 0;  ///< 2 or more: blocked
  bool blocked() const { return deaths >= 2; }
};

/// What one series, (problem, m, policy), says about two runs.
struct Comparison {
  int64_t base_run = 0;
  int64_t run = 0;
  Problem problem;
  int64_t m = 0;
  Policy policy = Policy::graph_pdl;
  Question question = Question::same_config;
  Change verdict = Change::unchanged;
  std::string reason;                       ///< one line; empty when there is nothing to add
  std::optional<int64_t> base_measurement;  ///< ids
  std::optional<int64_t> measurement;
  double ratio = 0;  ///< new median / base median; 0 when there is none
  double ratio_lo = 0;
  double ratio_hi = 0;
  double cycles_ratio = 0;  ///< the same in SM clock cycles; 0 when unknown

  int64_t id = 0;  ///< set by the database, monotonic

  friend bool operator==(const Comparison&, const Comparison&) = default;
};

/// A step in a series.
struct ChangePoint {
  Problem problem;
  int64_t m = 0;
  Policy policy = Policy::graph_pdl;
  Question question = Question::same_config;
  int64_t run = 0;   ///< the first one after the step
  double ratio = 0;  ///< after / before
  double p_value = 1;

  int64_t id = 0;  ///< set by the database, monotonic

  friend bool operator==(const ChangePoint&, const ChangePoint&) = default;
};

/// The time of something else on the same problem in the same run.
struct Rival {
  int64_t run = 0;
  Problem problem;
  int64_t m = 0;
  Policy policy = Policy::graph_pdl;
  std::string name;  ///< "cublas_bf16", "marlin"
  double median_us = 0;
  double q1_us = 0;
  double q3_us = 0;
  int samples = 0;

  int64_t id = 0;  ///< set by the database, monotonic

  friend bool operator==(const Rival&, const Rival&) = default;
};

/// Why a record is not one the product could have written, or empty. The same test guards writing
/// and reading, so a stranger's row meets the rule that ours met.
std::optional<std::string> record_error(const Measurement& measurement);
std::optional<std::string> record_error(const Winner& winner);
std::optional<std::string> record_error(const DeviceKey& device);
std::optional<std::string> record_error(const RunRecord& run);
std::optional<std::string> record_error(const Comparison& comparison);
std::optional<std::string> record_error(const ChangePoint& step);
std::optional<std::string> record_error(const Rival& rival);

}  // namespace nvfp4
