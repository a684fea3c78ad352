// SPDX-License-Identifier: Apache-2.0
// The commands. Everything that can be refused is refused before anything is compiled or opened for
// writing.
#include "tuner/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "generator/config_text.h"
#include "generator/emit.h"
#include "generator/launch_plan.h"
#include "runtime/code_hash.h"
#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "runtime/gpu.h"
#include "runtime/lookup.h"
#include "tuner/compare_command.h"
#include "tuner/dashboard_command.h"
#include "tuner/db_command.h"
#include "tuner/doctor.h"
#include "tuner/inspect.h"
#include "tuner/model_command.h"
#include "tuner/regret_command.h"
#include "tuner/report.h"
#include "tuner/request.h"
#include "tuner/session.h"
#include "tuner/suite_command.h"
#include "tuner/table.h"
#include "tuner/tune.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

Answered run_tune(const CommandLine& line, const Terminal& terminal) {
  if (is_model_run(line)) return run_model(line, terminal);
  const Gpu gpu = open_gpu(line, terminal);
  const Device& device = gpu.facts();
  const TuneRequest request = tune_request(line, device);
  const OpenWorkshop workshop(line, gpu, terminal);
  TuningDb db = open_user_database(line, terminal);
  const TuneOutcome outcome = tune(request, *workshop, db);
  workshop->progress.clear();
  for (const std::string& warning : db.warnings()) warn(terminal, warning);
  const size_t wanted = request.tokens.size() * request.policies.size();
  Answered answered{.code = exit_code(outcome, wanted),
                    .text = render(tune_table(outcome, request, device), line.format)};
  // The table is right and will not be known tomorrow.
  if (answered.code == ExitCode::ok && !db.saved()) answered.code = ExitCode::failed;
  if (outcome.end == RunEnd::stopped) {
    warn(terminal, fmt::format("interrupted: {} rows are kept, the same command goes on from there",
                               outcome.rows.size()));
  } else if (outcome.choices.size() < wanted) {
    warn(terminal,
         fmt::format("{} of {} winners found: see the verdicts", outcome.choices.size(), wanted));
  }
  return answered;
}

Answered run_lookup(const CommandLine& line, const Terminal& terminal) {
  const Gpu gpu = open_gpu(line, terminal);
  const Device& device = gpu.facts();
  const Snapshot snapshot = open_snapshot(line, device, terminal);
  const Problem problem = problem_of(line, device);
  std::vector<LookupRow> rows;
  for (int64_t m : line.tokens) {
    for (Policy policy : policies_of(line, device)) {
      rows.push_back({.m = m, .policy = policy, .selection = lookup(snapshot, problem, m, policy)});
    }
  }
  const bool missed = std::any_of(rows.begin(), rows.end(), [](const LookupRow& row) {
    return row.selection.match == Match::fallback;
  });
  return {.code = line.strict && missed ? ExitCode::miss : ExitCode::ok,
          .text = render(lookup_table(rows, problem, device), line.format)};
}

// The device whose kernel is printed: one of the named architecture, or the one at hand.
Device emit_device(const CommandLine& line, const Terminal& terminal) {
  if (!line.arch) return open_gpu(line, terminal).facts();
  for (const KnownPart& part : known_parts()) {
    if (part.device.arch.number() == line.arch->number()) {
      Device device = part.device;
      device.arch = target_arch(device.arch.major, device.arch.minor).value_or(device.arch);
      return device;
    }
  }
  throw UsageError(fmt::format("--arch {} is not supported: sm_80, sm_86, sm_89 and sm_90a are",
                               sm_name(*line.arch)));
}

// What would run: the config given, else the database's answer, else the default.
KernelConfig emit_config(const CommandLine& line, const Device& device, const Terminal& terminal) {
  if (!line.configs.empty()) {
    check_configs(line, device, {Policy::graph});
    return line.configs.front();
  }
  const Snapshot snapshot = open_snapshot(line, device, terminal);
  const Policy policy = line.policy.value_or(device_policies(device).back());
  const Selection selection =
      lookup(snapshot, problem_of(line, device), line.tokens.front(), policy);
  warn(terminal, fmt::format("{} ({} layer, {} match)", config_text(selection.config),
                             name(selection.layer), name(selection.match)));
  return selection.config;
}

std::string resource_text(const KernelConfig& config, const Compilation& compilation) {
  const KernelResources& r = compilation.resources;
  return fmt::format(
      "config            {}\n"
      "threads           {}\n"
      "registers         {} of {}\n"
      "stack             {} bytes\n"
      "spill stores      {} bytes\n"
      "spill loads       {} bytes\n"
      "shared memory     {} bytes\n"
      "cubin             {} bytes\n"
      "code hash         {}\n",
      config_text(config), threads(config), r.registers, register_budget(config), r.stack_bytes,
      r.spill_store_bytes, r.spill_load_bytes, smem_bytes(config) + r.static_smem_bytes,
      compilation.cubin.size(), code_hash(compilation.cubin).value_or("unknown"));
}

Answered run_emit(const CommandLine& line, const Terminal& terminal) {
  const Device device = emit_device(line, terminal);
  const Problem problem = problem_of(line, device);
  const KernelConfig config = emit_config(line, device, terminal);
  if (line.as == EmitForm::source) return {.text = emit_standalone(config, problem)};
  const Compiler compiler = Compiler::open();
  CubinCache cache(cache_options(line, terminal));
  const Compilation compilation =
      cache.get_or_compile(compiler, emit_source(config, problem), problem.arch);
  if (!compilation.ok) throw CompilerError(fmt::format("does not compile: {}", compilation.log));
  return {.text = line.as == EmitForm::ptx ? compilation.ptx : resource_text(config, compilation)};
}

}  // namespace

Answered run_command(const CommandLine& line, const Terminal& terminal) {
  switch (line.command) {
    case Command::tune:
      return run_tune(line, terminal);
    case Command::lookup:
      return run_lookup(line, terminal);
    case Command::emit:
      return run_emit(line, terminal);
    case Command::bench:
      return run_bench(line, terminal);
    case Command::regret:
      return run_regret(line, terminal);
    case Command::compare:
      return run_compare(line, terminal);
    case Command::inspect:
      return run_inspect(line, terminal);
    case Command::doctor:
      return run_doctor(line, terminal);
    case Command::dashboard:
      return run_dashboard(line, terminal);
    default:
      return run_db(line, terminal);
  }
}

}  // namespace nvfp4
