// SPDX-License-Identifier: Apache-2.0
// On a real GPU the finals measure one config alone; on an emulated device the gate runs and the
// cost model gives the time.
#include "tuner/db_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "generator/config_text.h"
#include "tuner/db_winners.h"
#include "tuner/pipeline.h"
#include "tuner/run_history.h"
#include "tuner/session.h"
#include "tuner/verdict.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

/// What became of one winner now; empty when the user stopped it.
std::optional<Measurement> measured_again(const StoredWinner& stored, const Workshop& workshop,
                                          uint64_t seed) {
  const Winner& w = stored.winner;
  std::vector<Measurement> rows;
  const Listener listener{.started = [](const KernelConfig&) {},
                          .measured =
                              [&](const std::vector<Measurement>& more) {
                                rows.insert(rows.end(), more.begin(), more.end());
                              },
                          .finished = [](const KernelConfig&) {}};
  Pipeline pipeline(workshop, w.problem, {w.policy}, w.m_tuned, seed, listener);
  if (workshop.gpu.emulated()) {
    const std::vector<Task> tasks = {
        {.candidate = {.config = w.config, .origin = Origin::requested}, .tokens = {w.m_tuned}}};
    pipeline.run(tasks, Pipeline::Clock::now() + std::chrono::hours(1));
  } else {
    rows = pipeline.finals(w.m_tuned, w.policy, {w.config});
  }
  return rows.empty() ? std::nullopt : std::optional(rows.back());
}

/// The share of winners that the seed picks, in their order: at least one.
std::vector<StoredWinner> sampled(std::vector<StoredWinner> winners, double share, uint64_t seed) {
  const auto wanted =
      static_cast<size_t>(std::ceil(share * static_cast<double>(winners.size()) - 1e-9));
  std::mt19937_64 random(seed);
  std::vector<StoredWinner> chosen;
  size_t left = winners.size();
  for (StoredWinner& winner : winners) {
    // Each of the rest is as likely as any other to fill the places that are left.
    if (random() % left-- < wanted - chosen.size()) chosen.push_back(std::move(winner));
  }
  return chosen;
}

std::string code_text(const Winner& stored, const Measurement& now) {
  if (stored.code_hash.empty() || now.kernel.code_hash.empty()) return "unknown";
  return stored.code_hash == now.kernel.code_hash ? "same" : "changed";
}

/// How the time stands to the stored one, the same machine code or not; of a kernel that gave none
/// what became of it.
Judgement judged_again(const StoredWinner& stored, const Measurement& now, double noise) {
  return now.verdict == Verdict::ok ? judge_times(stored.evidence, now, noise)
                                    : judge(stored.evidence, now, noise);
}

Json verified_row(const StoredWinner& stored, const Measurement& now, const Judgement& judged) {
  const Winner& w = stored.winner;
  const bool ok = now.verdict == Verdict::ok;
  return {{"n", w.problem.n},
          {"k", w.problem.k},
          {"experts", w.problem.experts},
          {"act", name(w.problem.act)},
          {"policy", name(w.policy)},
          {"m", w.m_tuned},
          {"origin", name(w.origin)},
          {"us_stored", stored.evidence.timing.median_us},
          {"us", ok ? Json(now.timing.median_us) : Json(nullptr)},
          {"ratio", ok ? Json(judged.ratio) : Json(nullptr)},
          {"provenance", name(now.provenance)},
          {"code", code_text(w, now)},
          {"verdict", name(judged.change)},
          {"reason", judged.reason},
          {"config", config_text(w.config)}};
}

ExitCode worse(ExitCode code, Verdict v, Change change) {
  const bool wrong =
      v == Verdict::wrong || v == Verdict::nondeterministic || v == Verdict::out_of_bounds;
  if (wrong || code == ExitCode::wrong) return ExitCode::wrong;
  if (change == Change::slower || code == ExitCode::regression) return ExitCode::regression;
  return v == Verdict::ok ? code : ExitCode::failed;
}

}  // namespace

Answered run_db_verify(const CommandLine& line, const Terminal& terminal) {
  const Gpu gpu = open_gpu(line, terminal);
  TuningDb database(user_database(line, terminal), Access::read_only);
  std::vector<StoredWinner> winners = stored_winners(database, line.db_request);
  const NoiseFloor noise = noise_floor(RunHistory(database), key_of(gpu.facts()));
  for (const std::string& warning : database.warnings()) warn(terminal, warning);
  std::erase_if(winners,
                [&](const StoredWinner& s) { return s.winner.device != key_of(gpu.facts()); });
  if (winners.empty()) {
    throw DatabaseError(
        fmt::format("database {}: no winner for {}", database.path(), gpu.facts().name));
  }
  const size_t all = winners.size();
  winners = sampled(std::move(winners), line.db_request.sample, line.seed);

  const OpenWorkshop workshop(line, gpu, terminal);
  Answered answered;
  Table table;
  table.columns = {{"n", "N"},
                   {"k", "K"},
                   {"experts", "experts"},
                   {"act", "act"},
                   {"policy", "policy"},
                   {"m", "M"},
                   {"us_stored", "us stored", 2},
                   {"us", "now", 2},
                   {"ratio", "ratio", 3},
                   {"provenance", "provenance"},
                   {"code", "machine code"},
                   {"verdict", "verdict"},
                   {"reason", "reason"},
                   {"config", "config"}};
  int changed = 0;
  for (const StoredWinner& stored : winners) {
    const std::optional<Measurement> now = measured_again(stored, *workshop, line.seed);
    if (!now || workshop->stopped()) {
      answered.code = ExitCode::interrupted;
      break;
    }
    const Judgement judged = judged_again(stored, *now, noise.at(now->m));
    table.rows.push_back(verified_row(stored, *now, judged));
    changed += code_text(stored.winner, *now) == "changed";
    answered.code = worse(answered.code, now->verdict, judged.change);
  }
  workshop->progress.clear();
  table.facts["device"] = gpu.facts().name;
  table.facts["emulated"] = gpu.emulated();
  table.facts["winners"] = all;
  table.facts["verified"] = table.rows.size();
  table.notes.push_back(fmt::format("{} of {} winners, {} with other machine code; times are {}",
                                    table.rows.size(), all, changed,
                                    gpu.emulated() ? "modelled" : "measured"));
  answered.text = render(table, line.format);
  return answered;
}

}  // namespace nvfp4
