// SPDX-License-Identifier: Apache-2.0
// Figures are derived here and nowhere else; what is unknown is null.
#include "tuner/suite_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "generator/config_text.h"
#include "tuner/rows.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostRows = 10'000;
constexpr size_t kMostText = 4096;

template <class Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json positive_or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

// One line for what kept an answer from its time; empty when nothing did.
std::string failure(const char* policy, const SuiteAnswer& answer) {
  if (answer.verdict == Verdict::ok) return {};
  return fmt::format("{} {}: {}", policy, name(answer.verdict), answer.text);
}

std::string note(const SuiteRow& row) {
  const std::string graph = failure("graph", row.graph);
  const std::string pdl = row.pdl ? failure("graph+pdl", *row.pdl) : "";
  return graph + (graph.empty() || pdl.empty() ? "" : "; ") + pdl;
}

Json row_json(const SuiteRow& row, const SuiteOutcome& outcome, Activation act, double stream) {
  const Problem problem{.n = row.shape.n, .k = row.shape.k, .act = act};
  const double roof_us =
      roofline_time(problem, row.m,
                    {.launch_seconds = row.read_us * 1e-6, .tensor_flops = outcome.flops()}) *
      1e6;
  const auto bytes = static_cast<double>(packed_bytes(problem.n, problem.k));
  const double flops = 2.0 * static_cast<double>(row.m) * static_cast<double>(problem.n) *
                       static_cast<double>(problem.k);
  const std::optional<double> us = row.best();
  const std::optional<double> us_pdl = row.pdl ? row.pdl->us : std::nullopt;
  const auto over = [](double value, const std::optional<double>& by) {
    return by ? Json(value / *by) : Json(nullptr);
  };
  const bool pdl_is_best = row.pdl && (!row.graph.us || (us_pdl && *us_pdl <= *row.graph.us));
  const SuiteAnswer& best = pdl_is_best ? *row.pdl : row.graph;
  return {{"n", row.shape.n},
          {"k", row.shape.k},
          {"m", row.m},
          {"act", name(act)},
          {"us", or_null(us_pdl)},
          {"us_no_pdl", or_null(row.graph.us)},
          {"us_cublas_bf16", or_null(row.us_cublas)},
          {"f", over(roof_us, us)},
          {"f_pdl", over(roof_us, us_pdl)},
          {"f_no_pdl", over(roof_us, row.graph.us)},
          {"stream_fraction", stream > 0 ? over(bytes / stream * 1e6, us) : Json(nullptr)},
          {"gbps", over(bytes * 1e-3, us)},
          {"tflops", over(flops * 1e-6, us)},
          {"ratio_cublas", row.us_cublas ? over(*row.us_cublas, us) : Json(nullptr)},
          {"roof_us", roof_us},
          {"family", name(best.config.family)},
          {"config", row.pdl ? Json(config_text(row.pdl->config)) : Json(nullptr)},
          {"config_no_pdl", config_text(row.graph.config)},
          {"answer", best.answer},
          {"provenance", outcome.modelled ? "modelled" : "measured"},
          {"note", note(row)}};
}

const Json& member(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) throw DocumentError(fmt::format("{} has no \"{}\"", where, key));
  return *found;
}

// A terminal obeys control characters: a stranger's file may not hold any.
void check_text(const Json& object, const char* key, const std::string& where, bool nullable) {
  const Json& value = member(object, key, where);
  if (nullable && value.is_null()) return;
  const bool plain = value.is_string() && value.get_ref<const std::string&>().size() <= kMostText;
  if (!plain) throw DocumentError(fmt::format("{}: \"{}\" is no short text", where, key));
  const auto& text = value.get_ref<const std::string&>();
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    throw DocumentError(fmt::format("{}: \"{}\" holds control characters", where, key));
}

void check_number(const Json& object, const char* key, const std::string& where, bool nullable) {
  const Json& value = member(object, key, where);
  if (nullable && value.is_null()) return;
  const double number = value.is_number() ? value.get<double>() : 0;
  if (!std::isfinite(number) || number <= 0 || number > 1e18) {
    throw DocumentError(fmt::format("{}: \"{}\" is no positive number", where, key));
  }
}

void check_row(const Json& row, const std::string& where) {
  if (!row.is_object()) throw DocumentError(where + " is no object");
  for (const char* key : {"n", "k", "m"}) {
    check_number(row, key, where, false);
    if (!row[key].is_number_integer()) {
      throw DocumentError(fmt::format("{}: \"{}\" is no integer", where, key));
    }
  }
  for (const char* key : {"us", "us_no_pdl", "us_cublas_bf16", "f", "f_pdl", "f_no_pdl",
                          "stream_fraction", "gbps", "tflops", "ratio_cublas", "roof_us"}) {
    check_number(row, key, where, true);
  }
  for (const char* key : {"act", "family", "config_no_pdl", "answer", "provenance", "note"}) {
    check_text(row, key, where, false);
  }
  check_text(row, "config", where, true);
}

// What is no better policy's time: the smaller of two that may be null.
double best_us(const Json& row) {
  const auto value = [&](const char* key) {
    return row[key].is_null() ? HUGE_VAL : row[key].get<double>();
  };
  return std::min(value("us"), value("us_no_pdl"));
}

bool any_of_rows(const Json& document, const char* key) {
  const Json& rows = document["rows"];
  return std::any_of(rows.begin(), rows.end(),
                     [&](const Json& row) { return !row[key].is_null(); });
}

}  // namespace

Json suite_document(const SuiteOutcome& outcome, const SuiteFacts& facts, Activation act) {
  double stream = 0;
  std::map<int64_t, double> reads;
  for (const SuiteRow& row : outcome.rows) {
    // A ceiling is the best that was seen; shapes differ by a few tenths of a percent.
    stream = std::max(stream, row.stream_bytes_per_s);
    reads[packed_bytes(row.shape.n, row.shape.k)] = row.read_us;
  }
  Json per_launch = Json::array();
  for (const auto& [bytes, us] : reads) per_launch.push_back({{"bytes", bytes}, {"us", us}});
  Json rows = Json::array();
  for (const SuiteRow& row : outcome.rows) rows.push_back(row_json(row, outcome, act, stream));
  const std::optional<double> tflops =
      outcome.bf16_flops ? std::optional(*outcome.bf16_flops * 1e-12) : std::nullopt;
  return {{"schema", kJsonSchema},
          {"card", facts.card},
          {"driver", facts.driver},
          {"nvrtc", facts.nvrtc},
          {"date", facts.date},
          {"commit", facts.commit},
          {"command", facts.command},
          {"provenance", outcome.modelled ? "modelled" : "measured"},
          {"end", outcome.end == RunEnd::stopped ? "interrupted" : "complete"},
          {"ceilings",
           {{"read_gbps", positive_or_null(stream * 1e-9)},
            {"per_launch_read", std::move(per_launch)},
            {"bf16_tflops", or_null(tflops)},
            {"bf16_tflops_for_f", positive_or_null(outcome.flops() * 1e-12)},
            {"bf16_source", outcome.rate_source},
            {"provenance", outcome.modelled ? "modelled" : "measured"}}},
          {"baseline", outcome.baseline.empty() ? Json(nullptr) : Json(outcome.baseline)},
          {"rows", std::move(rows)}};
}

Json parse_suite_document(std::string_view text) {
  const std::string top = "the document";
  Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) throw DocumentError("it is no JSON object");
  const Json& schema = member(document, "schema", top);
  if (schema != kJsonSchema) {
    throw DocumentError(fmt::format("its schema is {}, not {}",
                                    schema.is_number_integer() ? schema.dump() : "unknown",
                                    kJsonSchema));
  }
  for (const char* key : {"card", "driver", "nvrtc", "date", "commit", "provenance", "end"}) {
    check_text(document, key, top, false);
  }
  check_text(document, "baseline", top, true);
  const Json& ceilings = member(document, "ceilings", top);
  if (!ceilings.is_object()) throw DocumentError("\"ceilings\" is no object");
  for (const char* key : {"read_gbps", "bf16_tflops", "bf16_tflops_for_f"}) {
    check_number(ceilings, key, "\"ceilings\"", true);
  }
  check_text(ceilings, "bf16_source", "\"ceilings\"", false);
  const Json& reads = member(ceilings, "per_launch_read", "\"ceilings\"");
  if (!reads.is_array() || reads.size() > kMostRows) {
    throw DocumentError("\"per_launch_read\" is no list");
  }
  for (const Json& read : reads) {
    if (!read.is_object()) throw DocumentError("\"per_launch_read\" holds no objects");
    check_number(read, "bytes", "\"per_launch_read\"", false);
    check_number(read, "us", "\"per_launch_read\"", false);
  }
  const Json& rows = member(document, "rows", top);
  if (!rows.is_array() || rows.size() > kMostRows) throw DocumentError("\"rows\" is no list");
  for (size_t i = 0; i < rows.size(); ++i) check_row(rows[i], fmt::format("row {}", i + 1));
  return document;
}

Table suite_table(const Json& document) {
  Table table;
  table.facts = document;
  table.facts.erase("schema");
  table.facts.erase("rows");
  for (const Json& row : document["rows"]) table.rows.push_back(row);
  const bool pdl = any_of_rows(document, "config");
  table.columns = {{"n", "N"}, {"k", "K"}, {"m", "M"}, {"act", "act"}};
  if (pdl) table.columns.push_back({"us", "us (pdl)", 2});
  table.columns.push_back({"us_no_pdl", "us (no pdl)", 2});
  table.columns.push_back({"gbps", "GB/s", 0});
  table.columns.push_back({"tflops", "TFLOP/s", 1});
  if (pdl) table.columns.push_back({"f_pdl", "F pdl", 3});
  table.columns.push_back({"f_no_pdl", "F no pdl", 3});
  table.columns.push_back({"stream_fraction", "% of stream", 1, 100});
  if (!document["baseline"].is_null()) {
    table.columns.push_back({"us_cublas_bf16", "us cublas bf16", 2});
    table.columns.push_back({"ratio_cublas", "times as fast", 2});
  }
  table.columns.push_back({"provenance", "provenance"});
  table.columns.push_back({"answer", "answer"});
  table.columns.push_back({"family", "family"});
  table.columns.push_back({pdl ? "config" : "config_no_pdl", "config"});

  const auto text = [&](const char* key) { return document[key].get<std::string>(); };
  const Json& ceilings = document["ceilings"];
  const bool modelled = text("provenance") == "modelled";
  table.notes.push_back(fmt::format("{}, driver {}, NVRTC {}, {}, commit {}: times are {}",
                                    text("card"), text("driver"), text("nvrtc"), text("date"),
                                    text("commit"), modelled ? "modelled" : "measured"));
  if (!ceilings["read_gbps"].is_null() && !ceilings["bf16_tflops_for_f"].is_null()) {
    table.notes.push_back(fmt::format(
        "F = T_roof / T; a long stream reads at {:.0f} GB/s ({}); {:.0f} bf16 TFLOP/s",
        ceilings["read_gbps"].get<double>(), modelled ? "modelled" : "measured in this run",
        ceilings["bf16_tflops_for_f"].get<double>()));
  }
  table.notes.push_back(ceilings["bf16_source"].get<std::string>());
  if (!document["baseline"].is_null()) table.notes.push_back("baseline: " + text("baseline"));
  if (text("end") != "complete") table.notes.push_back("the run was " + text("end"));
  for (const Json& row : table.rows) {
    if (row["note"] == "") continue;
    table.notes.push_back(fmt::format("N={} K={} M={} {}", row["n"].get<int64_t>(),
                                      row["k"].get<int64_t>(), row["m"].get<int64_t>(),
                                      row["note"].get<std::string>()));
  }
  return table;
}

Plot suite_plot(const Json& document) {
  const Json& ceilings = document["ceilings"];
  const bool modelled = document["provenance"] == "modelled";
  Plot plot{.title = fmt::format("NVFP4 W4A16 on {}, {}", document["card"].get<std::string>(),
                                 modelled ? "modelled" : "cold, measured"),
            .note = fmt::format("{}, commit {}; {}", document["date"].get<std::string>(),
                                document["commit"].get<std::string>(),
                                ceilings["bf16_source"].get<std::string>())};
  std::map<int64_t, double> reads;
  for (const Json& read : ceilings["per_launch_read"]) {
    reads[read["bytes"].get<int64_t>()] = read["us"].get<double>();
  }
  const double tflops =
      ceilings["bf16_tflops_for_f"].is_null() ? 0 : ceilings["bf16_tflops_for_f"].get<double>();
  std::map<std::pair<int64_t, int64_t>, size_t> places;
  for (const Json& row : document["rows"]) {
    const std::pair shape(row["n"].get<int64_t>(), row["k"].get<int64_t>());
    const auto [place, added] = places.emplace(shape, plot.series.size());
    if (added) {
      const double products = static_cast<double>(shape.first) * static_cast<double>(shape.second);
      // A stranger's shape may be one whose packed size overflows; it then has no read ceiling.
      const bool sane = !shape_error(shape.first, shape.second);
      const auto read = sane ? reads.find(packed_bytes(shape.first, shape.second)) : reads.end();
      plot.series.push_back({.name = fmt::format("{} x {}", shape.first, shape.second),
                             .points = {},
                             .read_us = read == reads.end() ? 0 : read->second,
                             .us_per_token = tflops > 0 ? 2 * products / tflops * 1e-6 : 0});
    }
    if (row["us"].is_null() && row["us_no_pdl"].is_null()) continue;
    plot.series[place->second].points.push_back(
        {.m = row["m"].get<double>(),
         .us = best_us(row),
         .f = row["f"].is_null() ? 0 : row["f"].get<double>()});
  }
  for (PlotSeries& series : plot.series) {
    std::sort(series.points.begin(), series.points.end(),
              [](const PlotPoint& a, const PlotPoint& b) { return a.m < b.m; });
  }
  return plot;
}

}  // namespace nvfp4
