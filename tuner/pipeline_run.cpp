// SPDX-License-Identifier: Apache-2.0
// The loop that keeps all compile workers and the GPU worker busy until every candidate has its
// rows.
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "generator/config_text.h"
#include "tuner/gate.h"
#include "tuner/pipeline.h"
#include "tuner/rows.h"

namespace nvfp4 {

// A candidate on its way. Two kernels when the gate runs on fewer rows: the real one for its facts
// and for serving, the smaller one for the gate.
struct Pipeline::Item {
  Candidate candidate;
  std::vector<int64_t> tokens;
  int64_t gate_n = 0;
  std::optional<Compilation> kernel;
  std::optional<Compilation> gate_kernel;
  size_t next = 0;  // index into tokens
  bool started = false;
};

struct Pipeline::Run {
  enum Part : size_t { whole = 0, gate = 1 };

  Pipeline& pipeline;
  const std::vector<Task>& tasks;
  Clock::time_point deadline;
  Patiences patience;
  std::map<int64_t, Trials> trials;
  size_t first_tag;  // tells this run's compilations from those that an earlier one gave up on
  std::map<int64_t, int> under_way = {};
  std::vector<Item> items = {};
  size_t compiling = 0;  // workers at it
  size_t next_task = 0;
  size_t over = 0;                     // items with all their rows, or dropped
  std::deque<size_t> to_compile = {};  // item * 2 + part
  std::deque<size_t> ready = {};
  std::string best = {};
  double best_us = 0;
  bool any_passed = false;

  bool late() const { return any_passed && Clock::now() > deadline; }
  int wanted(int64_t m) { return trials[m].wanted(patience.at(m)); }

  void admit();
  void feed_compilers();
  void feed_bench();
  void compiled(size_t tag, Compilation compilation, std::optional<CompileFault> fault);
  void evaluated(size_t index, const Completion& completion);
  void drop(Item& item);
  void handle(const Completion& completion);
  void show() const;
};

// Lets the next tasks in, as many as the workers can use and as the Ms still want.
void Pipeline::Run::admit() {
  const size_t room = static_cast<size_t>(pipeline.workshop_.jobs) * 2;
  while (next_task < tasks.size() && to_compile.size() < room && !late()) {
    const Task& task = tasks[next_task];
    Item item{.candidate = task.candidate};
    for (int64_t m : task.tokens) {
      if (task.candidate.due() || wanted(m) > under_way[m]) item.tokens.push_back(m);
    }
    // Candidates in flight may fail and leave a place: wait for them before passing over this one.
    const bool later = item.tokens.empty() && std::any_of(task.tokens.begin(), task.tokens.end(),
                                                          [&](int64_t m) { return wanted(m) > 0; });
    if (later) return;
    ++next_task;
    if (item.tokens.empty()) {
      ++over;
      continue;
    }
    const KernelConfig& config = item.candidate.config;
    item.gate_n =
        gate_rows(config, pipeline.problem_, item.tokens.back(), pipeline.workshop_.gpu.facts());
    for (int64_t m : item.tokens) ++under_way[m];
    const size_t index = items.size();
    to_compile.push_back(index * 2 + whole);
    if (item.gate_n != pipeline.problem_.n) to_compile.push_back(index * 2 + gate);
    items.push_back(std::move(item));
  }
}

void Pipeline::Run::feed_compilers() {
  const Workshop& shop = pipeline.workshop_;
  while (!to_compile.empty() && !late()) {
    const size_t tag = to_compile.front();
    const Item& item = items[tag / 2];
    const int64_t n = tag % 2 == whole ? pipeline.problem_.n : item.gate_n;
    std::string source = pipeline.source_of(item.candidate.config, n);
    if (auto hit = shop.cache.find(cache_key(shop.compiler, source, pipeline.problem_.arch))) {
      to_compile.pop_front();
      std::optional<CompileFault> fault = compile_fault(*hit);
      compiled(tag, std::move(*hit), std::move(fault));
      continue;
    }
    if (!pipeline.workers_.idle(pipeline.compile_role_)) return;
    to_compile.pop_front();
    ++compiling;
    pipeline.workers_.submit(pipeline.compile_role_, first_tag + tag,
                             pipeline.compile_request(std::move(source)), pipeline.compile_limit());
  }
}

void Pipeline::Run::feed_bench() {
  if (ready.empty() || !pipeline.workers_.idle(pipeline.bench_role_)) return;
  Item& item = items[ready.front()];
  if (late()) return;
  pipeline.ready_card();
  if (pipeline.workshop_.stopped()) return;
  EvaluateJob job =
      pipeline.evaluate_job(item.candidate.config, item.tokens[item.next], item.gate_n);
  const bool emulated = pipeline.workshop_.gpu.emulated();
  job.depth = emulated ? GateDepth::full : GateDepth::screen;
  if (!emulated) job.policies = pipeline.policies_;
  job.image = pipeline.image_of(item.gate_kernel ? *item.gate_kernel : *item.kernel);
  if (!item.started) pipeline.listener_.started(item.candidate.config);
  item.started = true;
  pipeline.workers_.submit(pipeline.bench_role_, ready.front(), encode(job),
                           pipeline.bench_limit());
  pipeline.keep_spare();
}

// Ends an item: its rows are all there, or nobody wants them any more.
void Pipeline::Run::drop(Item& item) {
  for (size_t i = item.next; i < item.tokens.size(); ++i) --under_way[item.tokens[i]];
  item.next = item.tokens.size();
  if (item.started) pipeline.listener_.finished(item.candidate.config);
  item.started = false;
  if (item.kernel) {
    pipeline.kernels_.emplace(config_text(item.candidate.config), std::move(*item.kernel));
  }
  item.kernel.reset();
  item.gate_kernel.reset();
  ++over;
}

void Pipeline::Run::compiled(size_t tag, Compilation compilation,
                             std::optional<CompileFault> fault) {
  Item& item = items[tag / 2];
  if (item.next == item.tokens.size()) return;  // its other kernel did not compile
  if (fault) {
    Measurement failure = pipeline.row(item.candidate.config, item.tokens.front(),
                                       pipeline.policies_.front(), compilation);
    failure.verdict = fault->verdict;
    failure.text = fault->text;
    pipeline.listener_.measured({failure});
    drop(item);
    return;
  }
  (tag % 2 == whole ? item.kernel : item.gate_kernel) = std::move(compilation);
  const bool complete = item.kernel && (item.gate_kernel || item.gate_n == pipeline.problem_.n);
  if (complete) ready.push_back(tag / 2);
}

void Pipeline::Run::evaluated(size_t index, const Completion& completion) {
  Item& item = items[index];
  const int64_t m = item.tokens[item.next];
  const bool lost = completion.death || completion.reply->header.value("last", false);
  if (lost) pipeline.doubt_ = config_text(item.candidate.config);
  const Evaluation evaluation =
      completion.reply ? decode_evaluation(*completion.reply) : evaluation_of(*completion.death);
  const std::vector<Measurement> rows =
      pipeline.rows_of(item.candidate.config, m, *item.kernel, evaluation);
  pipeline.listener_.measured(rows);
  --under_way[m];
  ++item.next;
  if (evaluation.verdict == Verdict::ok) {
    any_passed = true;
    trials[m].pass(rows);
    const double us = rows.front().timing.median_us;
    if (best_us == 0 || us < best_us) {
      best_us = us;
      best = fmt::format("best {:.2f} us{} at M = {}", us,
                         pipeline.workshop_.gpu.emulated() ? " modelled" : "", m);
    }
  }
  // A kernel that took its process down, or is wrong, is not given another M to do it again.
  if (evaluation.verdict != Verdict::ok || item.next == item.tokens.size()) {
    ready.pop_front();
    drop(item);
  }
}

void Pipeline::Run::handle(const Completion& completion) {
  if (completion.role == pipeline.bench_role_) {
    evaluated(completion.tag, completion);
    return;
  }
  if (completion.tag < first_tag || completion.tag - first_tag >= items.size() * 2) return;
  const size_t tag = completion.tag - first_tag;
  --compiling;
  if (completion.reply) {
    Compilation compilation = decode_compilation(*completion.reply);
    std::optional<CompileFault> fault = compile_fault(compilation);
    compiled(tag, std::move(compilation), std::move(fault));
    return;
  }
  const bool hung = completion.death->cause == WorkerDeath::Cause::hung;
  compiled(tag, {},
           CompileFault{hung ? Verdict::compile_timeout : Verdict::compile_error,
                        completion.death->text});
}

void Pipeline::Run::show() const {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  // Where a few passes are enough, the rest of the tasks are there in case of failures.
  size_t total = over;
  for (const auto& [m, tried] : trials) total += static_cast<size_t>(tried.wanted(patience.at(m)));
  total = std::min(total, tasks.size());
  pipeline.workshop_.progress.step("candidates", over, total, best, left);
}

RunEnd Pipeline::run(const std::vector<Task>& tasks, Clock::time_point deadline,
                     const Patiences& patience, const std::map<int64_t, Trials>& trials) {
  for (const Task& task : tasks) {
    for (const int64_t m : task.tokens) ceilings(m);  // while the GPU worker has nothing else to do
  }
  Run run{.pipeline = *this,
          .tasks = tasks,
          .deadline = deadline,
          .patience = patience,
          .trials = trials,
          .first_tag = new_tags()};
  while (!workshop_.stopped()) {
    run.admit();
    run.feed_compilers();
    if (run.to_compile.empty()) compile_ahead();
    run.feed_bench();
    run.show();
    const bool benching = workers_.busy(bench_role_) > 0;
    const bool idle =
        !benching &&
        (run.late() || (run.ready.empty() && run.to_compile.empty() && run.compiling == 0));
    // Finished items may have made room for tasks that waited for them.
    if (idle && !run.late() && run.next_task < tasks.size()) {
      run.admit();
      if (!run.to_compile.empty()) continue;
    }
    if (idle) break;
    if (std::optional<Completion> completion = next_completion()) run.handle(*completion);
  }
  for (Item& item : run.items) {
    if (item.started) run.drop(item);
  }
  if (doubt_) ready_card();  // what the last candidate did to the card is no less interesting
  if (workshop_.stopped()) return RunEnd::stopped;
  return run.late() && run.over < tasks.size() ? RunEnd::out_of_time : RunEnd::complete;
}

}  // namespace nvfp4
