// SPDX-License-Identifier: Apache-2.0
// Rows of shapes. A sum is given only where every part of it is known.
#include "tuner/model_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "generator/config_text.h"
#include "generator/model_bundle.h"
#include "tuner/plan.h"
#include "tuner/progress.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

Json shape_facts(const ModelShape& shape) {
  std::vector<std::string> layers;
  std::set<int64_t> tps;
  for (const ShapeUse& use : shape.uses) {
    tps.insert(use.ranks);
    const bool named = std::count(layers.begin(), layers.end(), use.layer) > 0;
    if (!named) layers.push_back(use.layer);
  }
  return {{"layers", fmt::format("{}", fmt::join(layers, ", "))},
          {"tp", fmt::format("{}", fmt::join(tps, ","))},
          {"n", shape.n},
          {"k", shape.k},
          {"experts", shape.experts == 0 ? Json(nullptr) : Json(shape.experts)},
          {"launches", shape.launches()}};
}

// Columns of shape_facts(); those that say nothing here are left out.
std::vector<Column> shape_columns(bool model, bool experts) {
  std::vector<Column> columns;
  if (model) columns = {{"layers", "layers"}, {"tp", "tp"}};
  columns.push_back({"n", "N"});
  columns.push_back({"k", "K"});
  if (experts) columns.push_back({"experts", "experts"});
  if (model) columns.push_back({"launches", "launches"});
  return columns;
}

Json scope_facts(const ModelScope& scope) {
  Json facts = {{"device", scope.device.name},
                {"emulated", scope.device.emulated},
                {"arch", sm_name(scope.device.arch)},
                {"act", name(scope.request.problem.act)},
                {"model", scope.model.empty() ? Json(nullptr) : Json(scope.model)},
                {"tp", scope.tps},
                {"m", scope.request.tokens}};
  if (scope.shard.count > 1) {
    facts["shard"] = fmt::format("{}/{}", scope.shard.index, scope.shard.count);
  }
  return facts;
}

std::string tokens_text(const std::vector<int64_t>& tokens) {
  if (tokens.size() == 1) return fmt::format("M = {}", tokens.front());
  return fmt::format("{} values of M, {} to {}", tokens.size(), tokens.front(), tokens.back());
}

std::string time_text(double seconds) {
  return duration_text(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3)));
}

struct Step {
  double us = 0;
  int64_t bytes = 0;
  bool complete = true;
};

// Sums over the layers of one rank at one M under one policy.
std::map<std::tuple<int64_t, int64_t, Policy>, Step> step_sums(std::span<const TunedShape> shapes,
                                                               const ModelScope& scope) {
  std::map<std::tuple<int64_t, int64_t, Policy>, Step> steps;
  for (const TunedShape& tuned : shapes) {
    for (const int64_t tp : scope.tps) {
      const int64_t launches = tuned.shape.launches(tp);
      if (launches == 0) continue;
      for (const int64_t m : scope.request.tokens) {
        for (const Policy policy : scope.request.policies) {
          Step& step = steps[{tp, m, policy}];
          const auto found =
              std::find_if(tuned.choices.begin(), tuned.choices.end(), [&](const Choice& choice) {
                return choice.winner.m_tuned == m * tuned.shape.rows_per_token &&
                       choice.winner.policy == policy;
              });
          step.complete = step.complete && found != tuned.choices.end();
          if (found == tuned.choices.end()) continue;
          step.us += found->evidence.timing.median_us * static_cast<double>(launches);
          const TuneRequest one = request_for(scope.request, tuned.shape);
          step.bytes += weight_bytes(one.problem, found->winner.m_tuned) * launches;
        }
      }
    }
  }
  return steps;
}

void add_steps(std::span<const TunedShape> shapes, const ModelScope& scope, Table& table) {
  Json facts = Json::array();
  std::map<std::pair<int64_t, int64_t>, std::vector<std::string>> lines;
  for (const auto& [key, step] : step_sums(shapes, scope)) {
    const auto& [tp, m, policy] = key;
    const Json us = step.complete ? Json(step.us) : Json(nullptr);
    facts.push_back(
        {{"tp", tp}, {"m", m}, {"policy", name(policy)}, {"us", us}, {"weight_bytes", step.bytes}});
    lines[{tp, m}].push_back(step.complete ? fmt::format("{} {:.0f} us", name(policy), step.us)
                                           : fmt::format("{} incomplete", name(policy)));
  }
  table.facts["steps"] = std::move(facts);
  for (const auto& [key, texts] : lines) {
    table.notes.push_back(fmt::format("linear layers of one step, tp {}, M = {}: {}{}", key.first,
                                      key.second, fmt::join(texts, ", "),
                                      scope.device.emulated ? " (modelled)" : ""));
  }
}

}  // namespace

Table plan_table(const ModelPlan& plan, const ModelScope& scope) {
  const TuneRequest& request = scope.request;
  const Plan limits = make_plan(request, scope.device);
  Table table{.facts = scope_facts(scope), .columns = {}, .rows = {}, .notes = {}};
  bool experts = false;
  int wanted = 0;
  int known = 0;
  for (const PlannedShape& planned : plan.shapes) {
    experts = experts || planned.shape.experts > 0;
    wanted += planned.wanted;
    known += planned.known;
    Json row = shape_facts(planned.shape);
    row["winners"] = fmt::format("{}/{}", planned.known, planned.wanted);
    row["wanted"] = planned.wanted;
    row["known"] = planned.known;
    row["seconds"] = planned.seconds;
    row["about"] = planned.seconds > 0 ? time_text(planned.seconds) : "";
    table.rows.push_back(std::move(row));
  }
  table.columns = shape_columns(!scope.model.empty(), experts);
  table.columns.push_back({"winners", "known"});
  table.columns.push_back({"about", "about"});
  table.facts["shapes"] = plan.shapes.size();
  table.facts["all_shapes"] = plan.all_shapes;
  table.facts["wanted"] = wanted;
  table.facts["known"] = known;
  table.facts["candidates"] = limits.candidates;
  table.facts["seconds"] = plan.seconds;
  std::string share;
  if (scope.shard.count > 1) {
    share = fmt::format(" (shard {} of {})", scope.shard.index, scope.shard.count);
  }
  table.notes.push_back(fmt::format("{} of {} shapes{}, {}, {} winners of which {} are known",
                                    plan.shapes.size(), plan.all_shapes, share,
                                    tokens_text(request.tokens), wanted, known));
  table.notes.push_back(fmt::format("up to {} candidates for each M; about {}, an estimate",
                                    limits.candidates, time_text(plan.seconds)));
  return table;
}

Table model_table(std::span<const TunedShape> shapes, const ModelScope& scope) {
  Table table{.facts = scope_facts(scope), .columns = {}, .rows = {}, .notes = {}};
  bool experts = false;
  for (const TunedShape& tuned : shapes) {
    experts = experts || tuned.shape.experts > 0;
    for (const Choice& choice : tuned.choices) {
      const Timing& t = choice.evidence.timing;
      Json row = shape_facts(tuned.shape);
      row["m"] = choice.winner.m_tuned / tuned.shape.rows_per_token;
      row["rows"] = choice.winner.m_tuned;
      row["policy"] = name(choice.winner.policy);
      row["us"] = t.median_us;
      row["us_q1"] = t.q1_us;
      row["us_q3"] = t.q3_us;
      row["samples"] = t.samples;
      row["gbps"] = t.gbps;
      row["pct_ceiling"] = t.pct_ceiling;
      row["tflops"] = t.tflops;
      row["f"] = t.f;
      row["provenance"] = name(choice.evidence.provenance);
      row["m_lo"] = choice.winner.interval.lo;
      row["m_hi"] = choice.winner.interval.hi;
      row["config"] = config_text(choice.winner.config);
      row["answer"] = choice.answer == Answer::database ? "database" : "this run";
      table.rows.push_back(std::move(row));
    }
  }
  table.columns = shape_columns(!scope.model.empty(), experts);
  if (experts) table.notes.push_back("rows: a token of a step goes to several experts");
  for (Column column : std::vector<Column>{{"m", "M"},
                                           {"rows", experts ? "rows" : ""},
                                           {"policy", "policy"},
                                           {"us", "us", 2},
                                           {"gbps", "GB/s", 0},
                                           {"tflops", "TFLOP/s", 1},
                                           {"f", "F", 3},
                                           {"provenance", "provenance"},
                                           {"answer", "answer"},
                                           {"config", "config"}}) {
    if (!column.header.empty()) table.columns.push_back(std::move(column));
  }
  // Of a share of the shapes there is no step.
  if (!scope.model.empty() && scope.shard.count == 1) add_steps(shapes, scope, table);
  return table;
}

Table models_table() {
  Table table;
  for (const ModelFile& file : model_files()) {
    std::vector<ModelShape> shapes;
    add_shapes(shapes, inspect_config(file.text, file.name, {}), 1);
    for (const ModelShape& shape : shapes) {
      Json row = {{"model", file.name}};
      row.update(shape_facts(shape));
      table.rows.push_back(std::move(row));
    }
  }
  table.columns = shape_columns(true, true);
  table.columns[1] = {"n", "N"};  // no tp
  table.columns.erase(table.columns.begin() + 2);
  table.columns.insert(table.columns.begin(), {"model", "model"});
  return table;
}

}  // namespace nvfp4
