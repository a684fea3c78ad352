// SPDX-License-Identifier: Apache-2.0
// Two tables for people; one list with a column for the question, or two objects, for scripts.
#include "tuner/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "generator/config_text.h"
#include "tuner/table.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr Question kQuestions[] = {Question::best_config, Question::same_config};

bool is_modelled(const ComparedPair& pair) {
  return (pair.now ? *pair.now : *pair.base).provenance == Provenance::modelled;
}

Json positive_or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

Json row_json(const ComparedPair& pair) {
  const Comparison& c = pair.result;
  const auto us = [](const std::optional<Measurement>& row) {
    return row ? positive_or_null(row->timing.median_us) : Json(nullptr);
  };
  const auto config = [](const std::optional<Measurement>& row) {
    return row ? config_text(row->kernel.config) : std::string();
  };
  return {{"verdict", name(c.verdict)},
          {"n", c.problem.n},
          {"k", c.problem.k},
          {"m", c.m},
          {"act", name(c.problem.act)},
          {"kind", name(c.problem.kind)},
          {"experts", c.problem.experts},
          {"policy", name(c.policy)},
          {"us_before", us(pair.base)},
          {"us", us(pair.now)},
          {"change", c.ratio > 0 ? Json(c.ratio - 1) : Json(nullptr)},
          {"ratio", positive_or_null(c.ratio)},
          {"ratio_lo", positive_or_null(c.ratio_lo)},
          {"ratio_hi", positive_or_null(c.ratio_hi)},
          {"cycles_ratio", positive_or_null(c.cycles_ratio)},
          {"provenance", is_modelled(pair) ? "modelled" : "measured"},
          {"reason", c.reason},
          {"config_before", config(pair.base)},
          {"config", config(pair.now)},
          {"question", name(c.question)}};
}

Json rows_json(const std::vector<ComparedPair>& pairs, Question question) {
  Json rows = Json::array();
  for (const ComparedPair& pair : pairs) {
    if (pair.result.question == question) rows.push_back(row_json(pair));
  }
  return rows;
}

Json question_json(const std::vector<ComparedPair>& pairs, Question question) {
  const Tally t = tally(pairs, question);
  Json counts;
  for (size_t i = 0; i < t.counts.size(); ++i) {
    counts[std::string(name(static_cast<Change>(i)))] = t.counts[i];
  }
  return {{"counts", std::move(counts)},
          {"compared", t.compared},
          {"geomean_ratio", positive_or_null(t.geomean)},
          {"rows", rows_json(pairs, question)}};
}

// What a person looks for; the rest is counted.
bool worth_a_line(const ComparedPair& pair) {
  switch (pair.result.verdict) {
    case Change::unchanged:
      return !pair.result.reason.empty();
    case Change::same:
    case Change::added:
    case Change::missing:
      return false;
    default:
      return true;
  }
}

Table question_table(const std::vector<ComparedPair>& pairs, Question question) {
  Table table{.columns = {{"verdict", "verdict"},
                          {"n", "N"},
                          {"k", "K"},
                          {"m", "M"},
                          {"policy", "policy"},
                          {"us_before", "us before", 2},
                          {"us", "us", 2},
                          {"change", "change, %", 1, 100},
                          {"provenance", "times"},
                          {"reason", "reason"}}};
  for (const ComparedPair& pair : pairs) {
    if (pair.result.question == question && worth_a_line(pair))
      table.rows.push_back(row_json(pair));
  }
  const bool fp16 = std::any_of(table.rows.begin(), table.rows.end(),
                                [](const Json& row) { return row["act"] != "bf16"; });
  if (fp16) table.columns.insert(table.columns.begin() + 4, {"act", "act"});
  return table;
}

std::string question_text(const std::vector<ComparedPair>& pairs, Question question,
                          Format format) {
  const bool best = question == Question::best_config;
  const std::string title = best ? "What the library runs" : "The same config, measured again";
  std::string text = format == Format::md ? "### " + title + "\n\n" : title + "\n\n";
  const Tally t = tally(pairs, question);
  const Table table = question_table(pairs, question);
  if (!table.rows.empty()) text += render(table, format) + "\n";
  text += tally_text(t) + ".";
  if (t.compared > 0) {
    text += fmt::format(" Geometric mean of the {} cells with a time on both sides: {:+.2f} %.",
                        t.compared, 100 * (t.geomean - 1));
  }
  return text + "\n";
}

}  // namespace

std::string tally_text(const Tally& tally) {
  // In the order of how much one wants to know it.
  constexpr Change kOrder[] = {Change::broken,  Change::slower, Change::faster, Change::ambiguous,
                               Change::missing, Change::added,  Change::same,   Change::unchanged};
  std::string text;
  for (Change change : kOrder) {
    const int64_t count = tally.of(change);
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name(change));
  }
  return text.empty() ? "nothing to compare" : text;
}

std::string compare_text(const std::vector<ComparedPair>& pairs, const ComparedFacts& facts,
                         Format format) {
  if (format == Format::csv || format == Format::jsonl) {
    Table table;
    for (const ComparedPair& pair : pairs) table.rows.push_back(row_json(pair));
    return render(table, format);
  }
  const bool modelled = std::any_of(pairs.begin(), pairs.end(), is_modelled);
  if (format == Format::json) {
    const Json document = {{"schema", kJsonSchema},
                           {"old", facts.old_name},
                           {"new", facts.new_name},
                           {"modelled", modelled},
                           {"noise_pairs", facts.noise_pairs},
                           {"noise_assumed", facts.noise_assumed},
                           {"regressed", regressed(pairs)},
                           {"best_config", question_json(pairs, Question::best_config)},
                           {"same_config", question_json(pairs, Question::same_config)}};
    return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  std::string text = format == Format::md ? "## " : "";
  text += fmt::format("{} -> {}\n\n", facts.old_name, facts.new_name);
  for (Question question : kQuestions) text += question_text(pairs, question, format) + "\n";
  if (modelled) text += "Times are modelled: they compare cost models, not cards.\n";
  text += fmt::format("Noise: the history has {} pairs of equal machine code on this card{}.\n",
                      facts.noise_pairs,
                      facts.noise_assumed ? ", too few to learn from: 1.3 % is assumed" : "");
  return text;
}

}  // namespace nvfp4
