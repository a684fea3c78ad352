// SPDX-License-Identifier: Apache-2.0
// Columns, notes and series. A modelled time is called modelled in every form.
#include "tuner/suite_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "tuner/suite_document.h"
#include "tuner/table.h"

namespace nvfp4 {
namespace {

std::string provenance(const SuiteResults& results) {
  return results.modelled ? "modelled" : "measured";
}

template <class Predicate>
bool any_row(const SuiteResults& results, const Predicate& predicate) {
  return std::any_of(results.rows.begin(), results.rows.end(), predicate);
}

bool has_baseline(const SuiteResults& results) {
  return any_row(results, [](const SuiteRow& row) { return row.us_cublas.has_value(); });
}

// What fits a terminal of 100 columns; configs and the other policy's times are left to the forms
// for machines.
std::vector<Column> columns(const SuiteResults& results) {
  const bool pdl = any_row(results, [](const SuiteRow& row) { return row.pdl.has_value(); });
  const bool fp16 = any_row(results, [](const SuiteRow& r) { return r.act != Activation::bf16; });
  std::vector<Column> columns = {{"n", "N"}, {"k", "K"}, {"m", "M"}};
  if (fp16) columns.push_back({"act", "act"});
  columns.push_back({"us", "us", 2});
  columns.push_back({"gbps", "GB/s", 0});
  columns.push_back({"tflops", "TFLOP/s", 1});
  columns.push_back({"f", "F", 3});
  if (pdl) columns.push_back({"f_no_pdl", "no PDL", 3});
  columns.push_back({"stream_fraction", "% read", 1, 100});
  if (has_baseline(results)) {
    columns.push_back({"us_cublas_bf16", "cuBLAS", 2});
    columns.push_back({"ratio_cublas", "ratio", 2});
  }
  // Measured ones stand under a line that says so.
  if (results.modelled) columns.push_back({"provenance", "times"});
  columns.push_back({"family", "family"});
  columns.push_back({"answer", "answer"});
  return columns;
}

std::string origin(const SuiteResults& results) {
  return fmt::format("driver {}, NVRTC {}, {}, commit {}", results.driver, results.nvrtc,
                     results.date, results.commit);
}

std::vector<std::string> notes(const SuiteResults& results) {
  const SuiteCeilings& ceilings = results.ceilings;
  std::vector<std::string> notes = {
      fmt::format("{}: times are {}", results.card, provenance(results)), origin(results)};
  if (ceilings.read_gbps > 0 && ceilings.tflops() > 0) {
    if (any_row(results, [](const SuiteRow& row) { return row.pdl.has_value(); })) {
      notes.push_back("us, F: graph+pdl; no PDL: F of graph");
    }
    notes.push_back(fmt::format(
        "F = T_roof / T, T_roof = max(one launch that reads the weights, 2 M N K / {:.0f} TFLOP/s)",
        ceilings.tflops()));
    notes.push_back(fmt::format("% read: of a long stream's {:.0f} GB/s, {}", ceilings.read_gbps,
                                provenance(results)));
  }
  if (!ceilings.bf16_source.empty()) notes.push_back(ceilings.bf16_source);
  if (has_baseline(results)) {
    notes.push_back("cuBLAS: us of the bf16 product, cold weights, graph; ratio: over ours");
  }
  if (!results.baseline.empty()) notes.push_back("baseline: " + results.baseline);
  if (!results.complete) notes.push_back("the run was interrupted");
  for (const SuiteRow& row : results.rows) {
    const auto add = [&](const char* policy, const std::string& note) {
      if (note.empty()) return;
      notes.push_back(fmt::format("N={} K={} M={} {} {}", row.n, row.k, row.m, policy, note));
    };
    if (row.pdl) add("graph+pdl", row.pdl->note);
    add("graph", row.graph.note);
  }
  return notes;
}

}  // namespace

Table suite_table(const SuiteResults& results) {
  Table table{.facts = suite_document(results)};
  for (nlohmann::ordered_json& row : table.facts["rows"]) table.rows.push_back(std::move(row));
  table.facts.erase("schema");
  table.facts.erase("rows");
  table.columns = columns(results);
  table.notes = notes(results);
  return table;
}

Plot suite_plot(const SuiteResults& results) {
  const SuiteCeilings& ceilings = results.ceilings;
  Plot plot{.title = fmt::format("NVFP4 W4A16 on {}, {}", results.card,
                                 results.modelled ? "modelled" : "cold weights, measured"),
            .notes = {origin(results), ceilings.bf16_source}};
  std::map<std::tuple<int64_t, int64_t, Activation>, size_t> places;
  for (const SuiteRow& row : results.rows) {
    const auto [place, added] =
        places.emplace(std::tuple(row.n, row.k, row.act), plot.series.size());
    if (added) {
      const auto read = ceilings.read_us.find(packed_bytes(row.n, row.k));
      const double flops_per_token = 2.0 * static_cast<double>(row.n) * static_cast<double>(row.k);
      plot.series.push_back(
          {.name =
               fmt::format("{} x {}{}", row.n, row.k, row.act == Activation::bf16 ? "" : " fp16"),
           .read_us = read == ceilings.read_us.end() ? 0 : read->second,
           .us_per_token = ceilings.tflops() > 0 ? flops_per_token * 1e-6 / ceilings.tflops() : 0});
    }
    plot.series[place->second].points.push_back({.m = static_cast<double>(row.m),
                                                 .us = row.preferred().us.value_or(0),
                                                 .f = figures(ceilings, row).f.value_or(0),
                                                 .us_baseline = row.us_cublas.value_or(0)});
  }
  for (PlotSeries& series : plot.series) {
    std::sort(series.points.begin(), series.points.end(),
              [](const PlotPoint& a, const PlotPoint& b) { return a.m < b.m; });
  }
  return plot;
}

}  // namespace nvfp4
