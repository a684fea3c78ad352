// SPDX-License-Identifier: Apache-2.0
// Statistics over picks, and the results as a table and as a file.
#include "tuner/regret.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tuner/table.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kKind[] = "nvfp4-tune regret";

Json number_or_null(bool known, double value) { return known ? Json(value) : Json(nullptr); }

Json cell_json(const RegretCell& cell) {
  Json picks = Json::array();
  for (const Pick& pick : cell.picks) picks.push_back({pick.config, pick.seconds});
  return {{"n", cell.target.shape.n}, {"k", cell.target.shape.k}, {"m", cell.target.m},
          {"picks", picks},           {"swept", cell.swept},      {"best", cell.best}};
}

RegretCell cell_of(const Json& json) {
  RegretCell cell{.target = {.shape = {json.at("n").get<int64_t>(), json.at("k").get<int64_t>()},
                             .m = json.at("m").get<int64_t>()},
                  .swept = json.at("swept").get<int>(),
                  .best = json.at("best").get<std::string>()};
  for (const Json& pick : json.at("picks")) {
    cell.picks.push_back(
        {.config = pick.at(0).get<std::string>(), .seconds = pick.at(1).get<double>()});
  }
  return cell;
}

Json row_of(const RegretCell& cell, const RegretResults& results) {
  const auto [mode, count] = cell.mode();
  const std::vector<double> regrets = cell.regrets();
  const auto fastest = std::min_element(cell.ratio.begin(), cell.ratio.end(),
                                        [](auto& a, auto& b) { return a.second < b.second; });
  const bool judged = !cell.ratio.empty();
  double slowest_pick = 0;
  for (const Pick& pick : cell.picks) slowest_pick = std::max(slowest_pick, pick.seconds);
  const auto us = cell.us.find(mode);
  return {{"n", cell.target.shape.n},
          {"k", cell.target.shape.k},
          {"m", cell.target.m},
          {"policy", results.policy},
          {"swept", cell.swept},
          {"same_pick", fmt::format("{}/{}", count, cell.picks.size())},
          {"pick_us", number_or_null(us != cell.us.end(), us == cell.us.end() ? 0 : us->second)},
          {"best_us", number_or_null(judged, judged ? cell.us.at(fastest->first) : 0)},
          {"regret_median", number_or_null(!regrets.empty(), share_of(regrets, 0.5))},
          {"regret_worst", number_or_null(!regrets.empty(), share_of(regrets, 1))},
          {"seconds_worst", slowest_pick},
          {"provenance", results.modelled ? "modelled" : "measured"},
          {"pick", mode},
          {"best", judged ? Json(fastest->first) : Json(nullptr)}};
}

}  // namespace

std::pair<std::string, int> RegretCell::mode() const {
  std::map<std::string, int> counts;
  for (const Pick& pick : picks) ++counts[pick.config];
  std::pair<std::string, int> most{"", 0};
  for (const auto& [config, count] : counts) {
    if (count > most.second) most = {config, count};
  }
  return most;
}

std::vector<double> RegretCell::regrets() const {
  std::vector<double> all;
  for (const Pick& pick : picks) {
    const auto found = ratio.find(pick.config);
    if (found != ratio.end()) all.push_back(found->second - 1);
  }
  return all;
}

double share_of(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], place - static_cast<double>(below));
}

Table regret_table(const RegretResults& results) {
  Table table;
  std::vector<double> regrets;
  std::vector<double> seconds;
  size_t picks = 0;
  size_t flipped = 0;
  for (const RegretCell& cell : results.cells) {
    table.rows.push_back(row_of(cell, results));
    for (double regret : cell.regrets()) regrets.push_back(regret);
    for (const Pick& pick : cell.picks) seconds.push_back(pick.seconds);
    picks += cell.picks.size();
    flipped += cell.picks.size() - static_cast<size_t>(cell.mode().second);
  }
  const double flips = picks == 0 ? 0 : static_cast<double>(flipped) / static_cast<double>(picks);
  table.facts = {{"device", results.card},
                 {"driver", results.driver},
                 {"nvrtc", results.nvrtc},
                 {"commit", results.commit},
                 {"act", results.act},
                 {"effort", results.effort},
                 {"seed", results.seed},
                 {"processes", results.processes},
                 {"provenance", results.modelled ? "modelled" : "measured"},
                 {"judged", regrets.size()},
                 {"regret_median", share_of(regrets, 0.5)},
                 {"regret_p95", share_of(regrets, 0.95)},
                 {"regret_worst", share_of(regrets, 1)},
                 {"flip_rate", flips},
                 {"seconds_median", share_of(seconds, 0.5)},
                 {"seconds_worst", share_of(seconds, 1)}};
  table.columns = {{"n", "N"},
                   {"k", "K"},
                   {"m", "M"},
                   {"swept", "swept"},
                   {"same_pick", "same pick"},
                   {"pick_us", "pick us", 2},
                   {"best_us", "best us", 2},
                   {"regret_median", "regret %", 2, 100},
                   {"regret_worst", "worst %", 2, 100},
                   {"seconds_worst", "s a pick", 1},
                   {"provenance", "times"},
                   {"pick", "picked by most"}};
  table.notes.push_back(fmt::format(
      "regret over {} of {} picks: median {:.2f} %, 95 % below {:.2f} %, worst {:.2f} %; {:.1f} % "
      "of "
      "them differ from their cell's most frequent one; {:.1f} s a pick (median), {:.1f} at most",
      regrets.size(), picks, share_of(regrets, 0.5) * 100, share_of(regrets, 0.95) * 100,
      share_of(regrets, 1) * 100, flips * 100, share_of(seconds, 0.5), share_of(seconds, 1)));
  if (results.modelled)
    table.notes.push_back("the device is emulated: times are modelled, and so is regret");
  return table;
}

std::string regret_text(const RegretResults& results) {
  Json cells = Json::array();
  for (const RegretCell& cell : results.cells) cells.push_back(cell_json(cell));
  const Json document = {{"kind", kKind},
                         {"schema", kJsonSchema},
                         {"card", results.card},
                         {"driver", results.driver},
                         {"nvrtc", results.nvrtc},
                         {"commit", results.commit},
                         {"act", results.act},
                         {"policy", results.policy},
                         {"effort", results.effort},
                         {"seed", results.seed},
                         {"sweep", results.sweep},
                         {"modelled", results.modelled},
                         {"processes", results.processes},
                         {"cells", cells}};
  return document.dump(1) + "\n";
}

std::optional<RegretResults> parse_regret(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  try {
    if (json.at("kind") != kKind || json.at("schema") != kJsonSchema) return std::nullopt;
    RegretResults results{.card = json.at("card"),
                          .driver = json.at("driver"),
                          .nvrtc = json.at("nvrtc"),
                          .commit = json.at("commit"),
                          .act = json.at("act"),
                          .policy = json.at("policy"),
                          .effort = json.at("effort"),
                          .seed = json.at("seed"),
                          .sweep = json.at("sweep"),
                          .modelled = json.at("modelled"),
                          .processes = json.at("processes")};
    for (const Json& cell : json.at("cells")) results.cells.push_back(cell_of(cell));
    for (const RegretCell& cell : results.cells) {
      if (cell.picks.size() != static_cast<size_t>(results.processes)) return std::nullopt;
    }
    return results;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

bool same_question(const RegretResults& old, const RegretResults& wanted) {
  const auto same = [&](auto member) { return old.*member == wanted.*member; };
  const auto target = [](const RegretCell& a, const RegretCell& b) { return a.target == b.target; };
  return same(&RegretResults::card) && same(&RegretResults::driver) &&
         same(&RegretResults::nvrtc) && same(&RegretResults::commit) && same(&RegretResults::act) &&
         same(&RegretResults::policy) && same(&RegretResults::effort) &&
         same(&RegretResults::seed) && same(&RegretResults::sweep) &&
         same(&RegretResults::modelled) &&
         std::equal(old.cells.begin(), old.cells.end(), wanted.cells.begin(), wanted.cells.end(),
                    target);
}

}  // namespace nvfp4
