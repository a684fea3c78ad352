// SPDX-License-Identifier: Apache-2.0
// Writing, and reading with suspicion.
#include "tuner/suite_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "generator/config_text.h"
#include "tuner/suite_evidence.h"
#include "tuner/table.h"
#include "tuning_db/records.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

template <class Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json positive_or_null(double value) { return value > 0 ? Json(value) : Json(nullptr); }

std::string provenance(const SuiteResults& results) {
  return results.modelled ? "modelled" : "measured";
}

Json ceilings_json(const SuiteCeilings& ceilings) {
  Json reads = Json::array();
  for (const auto& [bytes, us] : ceilings.read_us) reads.push_back({{"bytes", bytes}, {"us", us}});
  return {{"read_gbps", positive_or_null(ceilings.read_gbps)},
          {"per_launch_read", std::move(reads)},
          {"bf16_tflops", or_null(ceilings.bf16_tflops)},
          {"bf16_tflops_assumed", positive_or_null(ceilings.assumed_tflops)},
          {"bf16_source", plain_text(ceilings.bf16_source)}};
}

Json row_json(const SuiteResults& results, const SuiteRow& row) {
  const SuiteFigures f = figures(results.ceilings, row);
  const SuiteAnswer& best = row.preferred();
  return {{"n", row.n},
          {"k", row.k},
          {"m", row.m},
          {"act", name(row.act)},
          {"policy", name(row.pdl ? Policy::graph_pdl : Policy::graph)},
          {"us", or_null(best.us)},
          {"us_no_pdl", or_null(row.graph.us)},
          {"us_cublas_bf16", or_null(row.us_cublas)},
          {"f", or_null(f.f)},
          {"f_no_pdl", or_null(f.f_no_pdl)},
          {"gbps", or_null(f.gbps)},
          {"tflops", or_null(f.tflops)},
          {"stream_fraction", or_null(f.stream_fraction)},
          {"ratio_cublas", or_null(f.ratio_cublas)},
          {"roof_us", or_null(f.roof_us)},
          {"provenance", provenance(results)},
          {"family", best.family},
          {"answer", best.answer},
          {"config", best.config},
          {"note", plain_text(best.note)},
          {"family_no_pdl", row.graph.family},
          {"answer_no_pdl", row.graph.answer},
          {"config_no_pdl", row.graph.config},
          {"note_no_pdl", plain_text(row.graph.note)}};
}

SuiteRow read_row(const DocumentReader& in) {
  if (!in.object.is_object()) throw DocumentError(in.where + " is no object");
  SuiteRow row{.n = in.integer("n"), .k = in.integer("k"), .m = in.integer("m")};
  if (const auto why = shape_error(row.n, row.k)) throw DocumentError(in.where + ": " + *why);
  if (const auto why = tokens_error(row.m)) throw DocumentError(in.where + ": " + *why);
  const std::optional<Activation> act = parse_activation(in.text("act"));
  if (!act) in.refuse("act", "is not bf16 or fp16");
  row.act = *act;
  row.us_cublas = in.number_or_null("us_cublas_bf16");
  const bool pdl = in.either("policy", name(Policy::graph_pdl), name(Policy::graph));
  const SuiteAnswer preferred{.us = in.number_or_null("us"),
                              .family = in.text("family"),
                              .config = in.text("config"),
                              .answer = in.text("answer"),
                              .note = in.text("note")};
  row.graph = {.us = in.number_or_null("us_no_pdl"),
               .family = in.text("family_no_pdl"),
               .config = in.text("config_no_pdl"),
               .answer = in.text("answer_no_pdl"),
               .note = in.text("note_no_pdl")};
  if (pdl) row.pdl = preferred;
  return row;
}

SuiteCeilings read_ceilings(const DocumentReader& in) {
  SuiteCeilings ceilings{.read_gbps = in.number_or_null("read_gbps").value_or(0),
                         .bf16_tflops = in.number_or_null("bf16_tflops"),
                         .assumed_tflops = in.number_or_null("bf16_tflops_assumed").value_or(0),
                         .bf16_source = in.text("bf16_source")};
  for (const Json& read : in.list("per_launch_read")) {
    const DocumentReader entry{read, "\"per_launch_read\""};
    if (!read.is_object()) throw DocumentError("\"per_launch_read\" holds no objects");
    ceilings.read_us[entry.integer("bytes")] = entry.number("us");
  }
  return ceilings;
}

}  // namespace

Json suite_document(const SuiteResults& results) {
  Json rows = Json::array();
  for (const SuiteRow& row : results.rows) rows.push_back(row_json(results, row));
  return {{"schema", kJsonSchema},
          {"card", plain_text(results.card)},
          {"driver", plain_text(results.driver)},
          {"nvrtc", plain_text(results.nvrtc)},
          {"date", plain_text(results.date)},
          {"commit", plain_text(results.commit)},
          {"command", plain_text(results.command)},
          {"provenance", provenance(results)},
          {"end", results.complete ? "complete" : "interrupted"},
          {"ceilings", ceilings_json(results.ceilings)},
          {"baseline", results.baseline.empty() ? Json(nullptr) : Json(plain_text(results.baseline))},
          {"rows", std::move(rows)}};
}

std::string suite_text(const SuiteResults& results) {
  Json document = suite_document(results);
  if (Json evidence = evidence_json(results); !evidence.is_null()) {
    document["evidence"] = std::move(evidence);
  }
  // A command line may hold bytes that are no UTF-8.
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

SuiteResults parse_suite_document(std::string_view text) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) throw DocumentError("it is no JSON object");
  const DocumentReader in{document, "the document"};
  if (in.integer("schema") != kJsonSchema) {
    throw DocumentError(fmt::format("its schema is {}, not {}", in.integer("schema"), kJsonSchema));
  }
  SuiteResults results{.card = in.text("card"),
                       .driver = in.text("driver"),
                       .nvrtc = in.text("nvrtc"),
                       .date = in.text("date"),
                       .commit = in.text("commit"),
                       .command = in.text("command"),
                       .modelled = in.either("provenance", "modelled", "measured"),
                       .complete = in.either("end", "complete", "interrupted"),
                       .baseline = in.text_or_empty("baseline"),
                       .ceilings = read_ceilings(in.inner("ceilings"))};
  for (const Json& row : in.list("rows")) {
    results.rows.push_back(read_row({row, fmt::format("row {}", results.rows.size() + 1)}));
  }
  if (in.has("evidence")) read_evidence(in.inner("evidence"), results);
  return results;
}

}  // namespace nvfp4
