// SPDX-License-Identifier: Apache-2.0
// Rows of shapes. A sum is given only where every part of it is known.
#include "tuner/model_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "generator/config_text.h"
#include "generator/model_bundle.h"
#include "tuner/inspected_model.h"
#include "tuner/plan.h"
#include "tuner/progress.h"
#include "tuner/table.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

Json shape_facts(const ModelShape& shape) {
  std::vector<std::string> models;
  std::vector<std::string> layers;
  std::set<int64_t> tps;
  const auto add = [](std::vector<std::string>& list, const std::string& text) {
    if (std::count(list.begin(), list.end(), text) == 0) list.push_back(text);
  };
  for (const ShapeUse& use : shape.uses) {
    tps.insert(use.ranks);
    add(models, use.model);
    add(layers, use.layer);
  }
  return {{"models", fmt::format("{}", fmt::join(models, ", "))},
          {"layers", fmt::format("{}", fmt::join(layers, ", "))},
          {"tp", fmt::format("{}", fmt::join(tps, ","))},
          {"n", shape.n},
          {"k", shape.k},
          {"experts", shape.experts == 0 ? Json(nullptr) : Json(shape.experts)},
          {"launches", shape.launches()}};
}

// Columns of shape_facts(); those that say nothing here are left out.
std::vector<Column> shape_columns(size_t models, bool experts) {
  std::vector<Column> columns;
  if (models > 1) columns.push_back({"models", "models"});
  if (models > 0) columns.insert(columns.end(), {{"layers", "layers"}, {"tp", "tp"}});
  columns.push_back({"n", "N"});
  columns.push_back({"k", "K"});
  if (experts) columns.push_back({"experts", "experts"});
  if (models > 0) columns.push_back({"launches", "launches"});
  return columns;
}

Json scope_facts(const ModelScope& scope) {
  Json facts = {{"device", scope.device.name},
                {"emulated", scope.device.emulated},
                {"arch", sm_name(scope.device.arch)},
                {"act", name(scope.request.problem.act)},
                {"models", scope.models},
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

/// All launches of one model's layers on one rank, for M tokens under one policy.
struct Step {
  std::string model;
  int64_t tp = 1;
  int64_t m = 0;
  Policy policy = Policy::graph;
  double us = 0;
  int64_t bytes = 0;
  bool complete = true;

  void add(const TunedShape& tuned, const TuneRequest& request) {
    const int64_t launches = tuned.shape.launches(model, tp);
    if (launches == 0) return;
    const auto found =
        std::find_if(tuned.choices.begin(), tuned.choices.end(), [&](const Choice& choice) {
          return choice.winner.m_tuned == m * tuned.shape.rows_per_token &&
                 choice.winner.policy == policy;
        });
    complete = complete && found != tuned.choices.end();
    if (found == tuned.choices.end()) return;
    us += found->evidence.timing.median_us * static_cast<double>(launches);
    bytes +=
        weight_bytes(request_for(request, tuned.shape).problem, found->winner.m_tuned) * launches;
  }
};

// One line for all policies of a step.
std::string step_text(std::span<const Step> policies, const ModelScope& scope) {
  std::vector<std::string> texts;
  for (const Step& step : policies) {
    texts.push_back(step.complete ? fmt::format("{} {:.0f} us", name(step.policy), step.us)
                                  : fmt::format("{} incomplete", name(step.policy)));
  }
  const Step& first = policies.front();
  return fmt::format("linear layers of one step{}, tp {}, M = {}: {}{}",
                     scope.models.size() > 1 ? " of " + first.model : "", first.tp, first.m,
                     fmt::join(texts, ", "), scope.device.emulated ? " (modelled)" : "");
}

void add_steps(std::span<const TunedShape> shapes, const ModelScope& scope,
               const std::string& model, int64_t tp, int64_t m, Table& table) {
  std::vector<Step> steps;
  for (const Policy policy : scope.request.policies) {
    Step step{.model = model, .tp = tp, .m = m, .policy = policy};
    for (const TunedShape& tuned : shapes) step.add(tuned, scope.request);
    table.facts["steps"].push_back({{"model", model},
                                    {"tp", tp},
                                    {"m", m},
                                    {"policy", name(policy)},
                                    {"us", step.complete ? Json(step.us) : Json(nullptr)},
                                    {"weight_bytes", step.bytes}});
    steps.push_back(std::move(step));
  }
  table.notes.push_back(step_text(steps, scope));
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
  table.columns = shape_columns(scope.models.size(), experts);
  table.columns.push_back({"winners", "known"});
  table.columns.push_back({"about", "about"});
  table.facts["shapes"] = plan.shapes.size();
  table.facts["all_shapes"] = plan.all_shapes;
  table.facts["wanted"] = wanted;
  table.facts["known"] = known;
  table.facts["candidates"] = limits.candidates;
  // Devices take whole shapes.
  double longest = 0;
  for (const PlannedShape& planned : plan.shapes) longest = std::max(longest, planned.seconds);
  const double seconds = std::max(longest, plan.seconds / static_cast<double>(scope.devices));
  table.facts["devices"] = scope.devices;
  table.facts["seconds"] = seconds;
  std::string share;
  if (scope.shard.count > 1) {
    share = fmt::format(" (shard {} of {})", scope.shard.index, scope.shard.count);
  }
  table.notes.push_back(fmt::format("{} of {} shapes{}, {}, {} winners of which {} are known",
                                    plan.shapes.size(), plan.all_shapes, share,
                                    tokens_text(request.tokens), wanted, known));
  table.notes.push_back(fmt::format(
      "up to {} candidates for each M; about {}{}, an estimate", limits.candidates,
      time_text(seconds),
      scope.devices > 1 ? fmt::format(" on {} devices", scope.devices) : std::string()));
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
  table.columns = shape_columns(scope.models.size(), experts);
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
  if (scope.models.empty() || scope.shard.count > 1) return table;
  table.facts["steps"] = Json::array();
  for (const std::string& model : scope.models) {
    for (const int64_t tp : scope.tps) {
      for (const int64_t m : scope.request.tokens) add_steps(shapes, scope, model, tp, m, table);
    }
  }
  return table;
}

Table models_table() {
  Table table;
  for (const ModelFile& file : model_files()) {
    std::vector<ModelShape> shapes;
    add_shapes(shapes, file.name, inspect_config(file.text, file.name, {}), 1);
    for (const ModelShape& shape : shapes) {
      table.rows.push_back(shape_facts(shape));
    }
  }
  table.columns = {{"models", "model"}, {"layers", "layers"},   {"n", "N"},
                   {"k", "K"},          {"experts", "experts"}, {"launches", "launches"}};
  return table;
}

}  // namespace nvfp4
