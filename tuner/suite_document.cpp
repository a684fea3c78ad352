// SPDX-License-Identifier: Apache-2.0
// Writing, and reading with suspicion.
#include "tuner/suite_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "generator/config_text.h"
#include "tuner/table.h"
#include "tuning_db/records.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostRows = 10'000;
constexpr size_t kMostText = 4096;
// No time in microseconds and no rate lies outside, and every figure made of two stays finite.
constexpr double kLeast = 1e-6;
constexpr double kMost = 1e12;

template <class Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// Whether a terminal would obey what stands at i: C0, DEL, and in UTF-8 C1.
bool is_control(std::string_view text, size_t i) {
  const auto byte = static_cast<unsigned char>(text[i]);
  const bool c1 =
      byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
  return byte < 0x20 || byte == 0x7f || c1;
}

// What is written can be read again, whatever a driver or a compiler put into a message: bytes that
// are no UTF-8 become three each.
Json plain(std::string text) {
  text.resize(std::min(text.size(), kMostText / 3));
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_control(text, i)) text[i] = ' ';
  }
  return text;
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
          {"bf16_source", plain(ceilings.bf16_source)}};
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
          {"note", plain(best.note)},
          {"family_no_pdl", row.graph.family},
          {"answer_no_pdl", row.graph.answer},
          {"config_no_pdl", row.graph.config},
          {"note_no_pdl", plain(row.graph.note)}};
}

// One object of a document, and what to call it in a message.
struct Reader {
  const Json& object;
  std::string where;

  const Json& member(const char* key) const {
    const auto found = object.find(key);
    if (found == object.end()) throw DocumentError(fmt::format("{} has no \"{}\"", where, key));
    return *found;
  }

  [[noreturn]] void refuse(const char* key, std::string_view what) const {
    throw DocumentError(fmt::format("{}: \"{}\" {}", where, key, what));
  }

  Reader inner(const char* key) const {
    const Json& value = member(key);
    if (!value.is_object()) refuse(key, "is no object");
    return {value, fmt::format("\"{}\"", key)};
  }

  const Json& list(const char* key) const {
    const Json& value = member(key);
    if (!value.is_array() || value.size() > kMostRows) {
      refuse(key, fmt::format("is no list of at most {} entries", kMostRows));
    }
    return value;
  }

  int64_t integer(const char* key) const {
    const Json& value = member(key);
    // An unsigned number beyond the range would wrap around.
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
    if (!fits) refuse(key, "is no integer");
    return value.get<int64_t>();
  }

  std::optional<double> number_or_null(const char* key) const {
    const Json& value = member(key);
    if (value.is_null()) return std::nullopt;
    const double number = value.is_number() ? value.get<double>() : 0;
    if (!(number >= kLeast && number <= kMost)) refuse(key, "is no plausible number");
    return number;
  }

  double number(const char* key) const {
    const std::optional<double> value = number_or_null(key);
    if (!value) refuse(key, "is no plausible number");
    return *value;
  }

  std::string text(const char* key) const {
    const Json& value = member(key);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > kMostText) {
      refuse(key, fmt::format("is no text of at most {} bytes", kMostText));
    }
    auto text = value.get<std::string>();
    for (size_t i = 0; i < text.size(); ++i) {
      if (is_control(text, i)) refuse(key, "holds control characters");
    }
    return text;
  }

  std::string text_or_empty(const char* key) const {
    return member(key).is_null() ? std::string() : text(key);
  }

  // One of two words: whether it is the first.
  bool either(const char* key, std::string_view first, std::string_view second) const {
    const std::string word = text(key);
    if (word != first && word != second) refuse(key, fmt::format("is not {} or {}", first, second));
    return word == first;
  }
};

SuiteRow read_row(const Reader& in) {
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

SuiteCeilings read_ceilings(const Reader& in) {
  SuiteCeilings ceilings{.read_gbps = in.number_or_null("read_gbps").value_or(0),
                         .bf16_tflops = in.number_or_null("bf16_tflops"),
                         .assumed_tflops = in.number_or_null("bf16_tflops_assumed").value_or(0),
                         .bf16_source = in.text("bf16_source")};
  for (const Json& read : in.list("per_launch_read")) {
    const Reader entry{read, "\"per_launch_read\""};
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
          {"card", plain(results.card)},
          {"driver", plain(results.driver)},
          {"nvrtc", plain(results.nvrtc)},
          {"date", plain(results.date)},
          {"commit", plain(results.commit)},
          {"command", plain(results.command)},
          {"provenance", provenance(results)},
          {"end", results.complete ? "complete" : "interrupted"},
          {"ceilings", ceilings_json(results.ceilings)},
          {"baseline", results.baseline.empty() ? Json(nullptr) : plain(results.baseline)},
          {"rows", std::move(rows)}};
}

std::string suite_text(const SuiteResults& results) {
  // A command line may hold bytes that are no UTF-8.
  return suite_document(results).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

SuiteResults parse_suite_document(std::string_view text) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) throw DocumentError("it is no JSON object");
  const Reader in{document, "the document"};
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
  return results;
}

}  // namespace nvfp4
