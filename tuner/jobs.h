// SPDX-License-Identifier: Apache-2.0
// The requests that the tuner makes of its workers and the answers, as structs and as messages. A
// config crosses as its canonical text: what a worker runs is what a database row can name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/problem.h"
#include "runtime/compilation.h"
#include "templates/kernel_config.h"
#include "tuning_db/records.h"

namespace nvfp4 {

struct Message;  // message.h

/// Compile one translation unit. The answer is a Compilation.
struct CompileJob {
  std::string source;
  Arch arch;
  int driver_version = 0;       ///< 0: no driver will load the code
  std::string cache_directory;  ///< empty: keep nothing on disk
  int64_t cache_limit = 0;      ///< bytes
};

/// How much of the gate a kernel goes through.
enum class GateDepth {
  screen,  ///< exact data, poison, guards, a second identical run: what every candidate must pass
  full     ///< the rest too: what a winner must pass
};

/// Open the device, and say how much of its memory is free; with an image (of read_stream.cuh), run
/// it on data whose answer is known too, and wait a moment for `free_bytes`: after a kernel that
/// took its worker down, the card must be what it was.
struct CanaryJob {
  std::string device;
  int64_t free_bytes = 0;  ///< that there were before; 0: unknown
  std::string image;
};

struct CanaryResult {
  int64_t free_bytes = 0;
  std::string error;  ///< what is wrong with the card; empty when nothing is
};

/// Gate one kernel at one M, and time it under each policy when it passes (coarsely, to rank it).
struct EvaluateJob {
  std::string device;
  Problem problem;
  int64_t gate_n =
      0;  ///< weight rows of the gated kernel: problem.n, or fewer on an emulated device
  KernelConfig config;
  int64_t m = 0;
  int64_t max_m = 0;  ///< largest M of the run: test data is made once for all
  GateDepth depth = GateDepth::screen;
  std::vector<Policy> policies;  ///< to time; none on an emulated device
  uint64_t seed = 1;
  std::string image;  ///< cubin or PTX of the kernel for gate_n rows
};

/// One kernel's times under one policy.
struct PolicyTimes {
  Policy policy = Policy::graph;
  std::vector<float> samples_us;  ///< those that count
  int discarded = 0;              ///< that do not: the clock was far down
  double clock_mhz = 0;           ///< 0 = unknown, as below
  double temperature_c = 0;
  double power_w = 0;
  bool throttled = false;  ///< power or heat held the clock down while timing
  std::string reasons;     ///< what did: "power cap, heat"
};

struct Evaluation {
  Verdict verdict = Verdict::ok;
  std::string text;  ///< why it failed, or what the gate covered
  int registers = 0;
  std::vector<PolicyTimes> times;  ///< in the order of the job's policies, when the verdict is ok
};

/// Time kernels that passed the gate against each other, in interleaved rounds.
struct FinalsJob {
  std::string device;
  Problem problem;
  int64_t m = 0;
  Policy policy = Policy::graph;
  uint64_t seed = 1;
  std::vector<KernelConfig> configs;
  std::vector<std::string> images;
};

/// Samples of round r of all kernels were taken together: they are pairs.
struct FinalsResult {
  std::vector<PolicyTimes> times;  ///< one a config
  Verdict verdict = Verdict::ok;   ///< of the series: a fault has no name
  std::string error;               ///< why there are no times; empty when there are
};

/// Measure what this card can do with weights of this size.
struct CeilingsJob {
  std::string device;
  int64_t bytes = 0;  ///< packed weights of the problem
  std::string image;  ///< of read_stream.cuh
};

struct Ceilings {
  double stream_bytes_per_s = 0;  ///< one long read
  double launch_seconds = 0;      ///< one launch that reads one cold buffer of the problem's size
  double tensor_flops = 0;        ///< bf16 matrix rate that F assumes
  bool modelled = true;           ///< from data sheets, not from a clock
};

/// Time out[m, n] = activations[m, k] x weights[n, k]^T in bf16 with cuBLASLt, on cold weights.
struct MatrixJob {
  std::string device;
  int64_t n = 0;
  int64_t k = 0;
  int64_t m = 0;
};

struct MatrixResult {
  std::string library;  ///< "cuBLASLt 13.0.2"
  std::string error;    ///< why there is no time; empty when there is
  PolicyTimes times;    ///< of the fastest of the algorithms that the library proposes
};

Message encode(const CompileJob& job);
Message encode(const Compilation& compilation);
Message encode(const CanaryJob& job);
Message encode(const CanaryResult& result);
Message encode(const EvaluateJob& job);
Message encode(const Evaluation& evaluation);
Message encode(const FinalsJob& job);
Message encode(const FinalsResult& result);
Message encode(const CeilingsJob& job);
Message encode(const Ceilings& ceilings);
Message encode(const MatrixJob& job);
Message encode(const MatrixResult& result);

/// Each throws MessageError when the message is not of this kind or lacks a field.
CompileJob decode_compile_job(const Message& message);
Compilation decode_compilation(const Message& message);
CanaryJob decode_canary_job(const Message& message);
CanaryResult decode_canary_result(const Message& message);
EvaluateJob decode_evaluate_job(const Message& message);
Evaluation decode_evaluation(const Message& message);
FinalsJob decode_finals_job(const Message& message);
FinalsResult decode_finals_result(const Message& message);
CeilingsJob decode_ceilings_job(const Message& message);
Ceilings decode_ceilings(const Message& message);
MatrixJob decode_matrix_job(const Message& message);
MatrixResult decode_matrix_result(const Message& message);

}  // namespace nvfp4
