// SPDX-License-Identifier: Apache-2.0
// Candidates through compile workers and the GPU worker: many compile while one runs. Whatever
// happens to a candidate becomes a row; nothing that happens to it reaches the tuner, unless the
// card itself is no longer sane.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/jobs.h"
#include "tuner/patience.h"
#include "tuner/worker.h"
#include "tuner/workshop.h"

namespace nvfp4 {

/// Told as things happen, in the tuner's own thread.
struct Listener {
  std::function<void(const KernelConfig&)> started;               ///< about to run on the GPU
  std::function<void(const std::vector<Measurement>&)> measured;  ///< outcomes, failures too
  std::function<void(const KernelConfig&)> finished;              ///< no longer running
};

class Pipeline {
 public:
  using Clock = std::chrono::steady_clock;

  /// Every call that runs something may throw CardError, once two fresh processes have found that
  /// the card is not what it was before a candidate ended its worker.
  Pipeline(const Workshop& workshop, const Problem& problem, std::vector<Policy> policies,
           int64_t max_m, uint64_t seed, Listener listener);

  /// The ceilings of launches of m tokens: measured on a real GPU, once for each number of bytes
  /// that they read, modelled on an emulated one. Throws MeasureError.
  const Ceilings& ceilings(int64_t m);

  /// Tries every task, in order, until `deadline` (which waits for a first success). At each M,
  /// passes over what is not due once the patience with it is at its end; `trials` have been
  /// before.
  RunEnd run(const std::vector<Task>& tasks, Clock::time_point deadline,
             const Patiences& patience = {}, const std::map<int64_t, Trials>& trials = {});

  /// Times `configs` at (m, policy) against each other on a real GPU, after the full gate. One row
  /// for each, in the same order; those that fail the gate carry its verdict. Empty when stopped.
  std::vector<Measurement> finals(int64_t m, Policy policy,
                                  const std::vector<KernelConfig>& configs);

  /// Compiles kernels that finals() will want, many at once.
  void prepare(const std::vector<KernelConfig>& configs);

  /// code_hash of a kernel that was compiled here; empty when it was not, or does not compile.
  std::string built_code(const KernelConfig& config) const;

  /// Times cuBLASLt's bf16 product on a real GPU, for a shape that need not be the problem's. Empty
  /// when stopped; a product that cannot be timed is a result with an error.
  std::optional<MatrixResult> matrix(int64_t n, int64_t k, int64_t m);

 private:
  struct Item;
  struct Run;
  struct Series;

  std::optional<Completion> next_completion();
  std::optional<Message> ask_bench(std::string_view what, const Message& request,
                                   std::optional<WorkerDeath>& death,
                                   std::chrono::milliseconds extra = {});
  std::optional<Message> ask_worker(const Message& request, std::optional<WorkerDeath>& death,
                                    std::chrono::milliseconds extra = {});
  void keep_spare();
  void let_spare_start();
  void ready_card();
  void verify_card(const std::string& culprit);
  Compilation read_kernel() const;
  std::optional<Compilation> compile_now(const KernelConfig& config);
  bool admit(const std::vector<KernelConfig>& configs, Series& series,
             std::vector<Measurement>& rows);
  bool single_out(Series& series, std::vector<Measurement>& rows);
  std::optional<FinalsResult> time_together(const FinalsJob& job,
                                            std::optional<WorkerDeath>& death);
  std::optional<Evaluation> gate_fully(const KernelConfig& config, int64_t m,
                                       const Compilation& kernel);
  std::string image_of(const Compilation& compilation) const;
  std::string source_of(const KernelConfig& config, int64_t n) const;
  Message compile_request(std::string source) const;
  void compile_ahead();
  size_t new_tags();
  EvaluateJob evaluate_job(const KernelConfig& config, int64_t m, int64_t gate_n) const;
  static Evaluation evaluation_of(const WorkerDeath& death);
  Measurement row(const KernelConfig& config, int64_t m, Policy policy,
                  const Compilation& compilation) const;
  std::vector<Measurement> rows_of(const KernelConfig& config, int64_t m, const Compilation& kernel,
                                   const Evaluation& evaluation);
  std::chrono::milliseconds bench_limit() const;
  std::chrono::milliseconds compile_limit() const;

  Workshop workshop_;
  Problem problem_;
  std::vector<Policy> policies_;
  int64_t max_m_;
  uint64_t seed_;
  Listener listener_;
  std::map<int64_t, Ceilings> ceilings_;                               ///< by bytes read
  std::map<std::string, Compilation> kernels_;                         ///< by config text
  std::map<std::pair<std::string, int64_t>, Evaluation> fully_gated_;  ///< by config text and M
  std::deque<Completion> waiting_;  ///< compilations that ended while something else was waited for
  std::optional<int64_t> free_bytes_;  ///< of the card, before anything ran; 0: unknown
  std::optional<std::string> doubt_;   ///< what ended the last GPU worker
  WorkerSet workers_;
  size_t tag_ranges_ = 0;  ///< handed out by new_tags()
  int compile_role_ = 0;
  int bench_role_ = 0;
};

}  // namespace nvfp4
