// SPDX-License-Identifier: Apache-2.0
// The JSON document of a suite: what it holds, that it comes back as it was, and that a stranger's
// document is believed in nothing.
#include "tuner/suite_document.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/suite_fixture.h"

using namespace nvfp4;
using Json = nlohmann::ordered_json;

namespace {

Json sample() { return suite_document(suite_results()); }

std::string refusal(const std::string& text) {
  try {
    parse_suite_document(text);
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "accepted";
}

// The refusal of the sample with one value replaced.
std::string refusal_of(const std::string& pointer, const Json& value) {
  Json document = sample();
  document[Json::json_pointer(pointer)] = value;
  return refusal(document.dump());
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("suite_document") {
  TEST_CASE("the document says what was measured, with what, and what follows") {
    const Json d = sample();
    CHECK(d["schema"] == 1);
    CHECK(d["card"] == "NVIDIA H100 80GB HBM3");
    CHECK(d["driver"] == "580.159.03");
    CHECK(d["date"] == "2026-11-27T10:00:00Z");
    CHECK(d["commit"] == "abc1234");
    CHECK(d["provenance"] == "measured");
    CHECK(d["ceilings"]["read_gbps"] == 3000.0);
    CHECK(d["ceilings"]["per_launch_read"] == Json::array({{{"bytes", 4608}, {"us", 2.0}}}));
    CHECK(d["ceilings"]["bf16_tflops"] == 700.0);
    const Json& row = d["rows"][0];
    CHECK(row["n"] == 64);
    CHECK(row["k"] == 128);
    CHECK(row["m"] == 8);
    CHECK(row["act"] == "bf16");
    CHECK(row["us"] == 4.0);
    CHECK(row["us_no_pdl"] == 5.0);
    CHECK(row["us_cublas_bf16"].is_null());
    CHECK(row["f"] == 0.5);
    CHECK(row["f_no_pdl"] == 0.4);
    CHECK(row["family"] == "mma");
    CHECK(row["config"] == "family=mma,act=bf16,pdl=1");
    CHECK(row["config_no_pdl"] == "family=mma,act=bf16");
    CHECK(row["provenance"] == "measured");
  }

  TEST_CASE("modelled results are modelled in every place that says it") {
    SuiteResults results = suite_results();
    results.modelled = true;
    results.ceilings.bf16_tflops.reset();
    const Json d = suite_document(results);
    CHECK(d["provenance"] == "modelled");
    CHECK(d["rows"][0]["provenance"] == "modelled");
    CHECK(d["ceilings"]["bf16_tflops"].is_null());
    CHECK(parse_suite_document(d.dump()).modelled);
  }

  TEST_CASE("a document comes back as it was") {
    SuiteResults results = suite_results();
    results.complete = false;
    results.rows.push_back(suite_row(128, 4096, 4096, 60.5));
    results.rows[1].pdl->us.reset();
    results.rows[1].pdl->note = "too_noisy: spread";
    results.rows[1].us_cublas = 70;
    results.rows.push_back(suite_row(64, 128, 1, 3));
    results.rows[2].pdl.reset();
    results.rows[2].act = Activation::fp16;
    const SuiteResults read = parse_suite_document(suite_text(results));
    CHECK(suite_document(read) == suite_document(results));
    CHECK_FALSE(read.rows[2].pdl.has_value());
    results.baseline.clear();
    CHECK(parse_suite_document(suite_text(results)).baseline.empty());
  }

  TEST_CASE("whatever a driver, a compiler or a shell put into a text can be read again") {
    SuiteResults results = suite_results();
    results.command = "nvfp4-tune --save '\xff\xfe'";
    results.rows[0].pdl->note = "line one\nline two\t\x1b[31m \xc2\x9b" + std::string(10'000, 'x');
    results.ceilings.bf16_source = std::string(9'000, '\xff');
    const SuiteResults read = parse_suite_document(suite_text(results));
    CHECK(contains(read.rows[0].pdl->note, "line one line two"));
    CHECK(contains(read.command, "nvfp4-tune --save"));
  }

  TEST_CASE("figures in a file are not believed but derived") {
    Json d = sample();
    d["rows"][0]["f"] = 7.5;
    d["rows"][0]["gbps"] = 1e300;
    d["rows"][0]["tflops"] = "much";
    d["rows"][0].erase("ratio_cublas");
    CHECK(suite_document(parse_suite_document(d.dump())) == sample());
  }

  TEST_CASE("what is not known is left out, not shown") {
    Json d = sample();
    d["evil\x1b[2J"] = "\x1b[2J";
    d["rows"][0]["\x1b[2J"] = Json::array({1, 2});
    const std::string again = suite_text(parse_suite_document(d.dump()));
    CHECK(Json::parse(again) == sample());
  }

  TEST_CASE("what is no document at all is refused") {
    for (const char* text :
         {"", "[]", "null", "42", "{", "{\"schema\": NaN}", "\xff", "{\"schema\": 1e999}", "nan"}) {
      CAPTURE(text);
      CHECK(refusal(text) == "it is no JSON object");
    }
    CHECK(refusal(std::string(1'000'000, '[')) == "it is no JSON object");
    CHECK(refusal("{}") == "the document has no \"schema\"");
    CHECK(refusal("{\"schema\": 2}") == "its schema is 2, not 1");
    CHECK(refusal("{\"schema\": 18446744073709551615}") ==
          "the document: \"schema\" is no integer");
    CHECK(refusal("{\"schema\": \"1\"}") == "the document: \"schema\" is no integer");
  }

  TEST_CASE("a missing key is named, wherever it is missing") {
    for (const char* pointer :
         {"/card", "/driver", "/date", "/commit", "/ceilings", "/rows", "/ceilings/read_gbps",
          "/ceilings/per_launch_read", "/ceilings/bf16_tflops", "/rows/0/n", "/rows/0/m",
          "/rows/0/us", "/rows/0/us_no_pdl", "/rows/0/us_cublas_bf16", "/rows/0/family",
          "/rows/0/config", "/rows/0/act"}) {
      CAPTURE(pointer);
      Json document = sample();
      const Json::json_pointer path(pointer);
      document[path.parent_pointer()].erase(path.back());
      CHECK(contains(refusal(document.dump()), "has no \"" + path.back() + "\""));
    }
  }

  TEST_CASE("values of a wrong type or an absurd size are named and refused") {
    CHECK(refusal_of("/card", 5) == "the document: \"card\" is no text of at most 4096 bytes");
    CHECK(contains(refusal_of("/card", std::string(5000, 'x')), "no text of at most 4096"));
    CHECK(refusal_of("/provenance", "guessed") ==
          "the document: \"provenance\" is not modelled or measured");
    CHECK(contains(refusal_of("/end", "soon"), "\"end\""));
    CHECK(refusal_of("/ceilings", "high") == "the document: \"ceilings\" is no object");
    CHECK(contains(refusal_of("/ceilings/read_gbps", -1), "no plausible number"));
    CHECK(contains(refusal_of("/ceilings/per_launch_read", 3), "no list"));
    CHECK(contains(refusal_of("/ceilings/per_launch_read/0", 3), "no objects"));
    CHECK(contains(refusal_of("/ceilings/per_launch_read/0/bytes", 1e300), "no integer"));
    CHECK(contains(refusal_of("/ceilings/per_launch_read/0/us", nullptr), "no plausible number"));
    CHECK(contains(refusal_of("/rows", Json::object()), "no list of at most 10000"));
    CHECK(contains(refusal_of("/rows", Json::array_t(10'001, 1)), "no list of at most 10000"));
    CHECK(refusal_of("/rows/0", 7) == "row 1 is no object");
    CHECK(refusal_of("/rows/0/us", "4") == "row 1: \"us\" is no plausible number");
    for (const Json& us : {Json(0), Json(-4), Json(1e300), Json(1e-300), Json(true)}) {
      CHECK(contains(refusal_of("/rows/0/us", us), "no plausible number"));
    }
    CHECK(contains(refusal_of("/rows/0/n", 64.5), "\"n\" is no integer"));
    CHECK(contains(refusal_of("/rows/0/n", 18446744073709551615u), "\"n\" is no integer"));
    CHECK(contains(refusal_of("/rows/0/n", int64_t{1} << 40), "row 1: N = 1099511627776 exceeds"));
    CHECK(contains(refusal_of("/rows/0/k", 100), "not a multiple of 16"));
    CHECK(contains(refusal_of("/rows/0/m", 0), "M = 0 is below 1"));
    CHECK(contains(refusal_of("/rows/0/act", "fp8"), "bf16 or fp16"));
    CHECK(contains(refusal_of("/rows/0/policy", "eager"), "graph+pdl or graph"));
  }

  TEST_CASE("texts that a terminal would obey are refused") {
    for (const char* text : {"\x1b[2J", "a\nb", "a\x7f", "a\xc2\x9b 2J", "\t"}) {
      CHECK(contains(refusal_of("/card", text), "\"card\" holds control characters"));
      CHECK(contains(refusal_of("/rows/0/note", text), "row 1: \"note\" holds control"));
      CHECK(contains(refusal_of("/ceilings/bf16_source", text), "control characters"));
    }
    CHECK(refusal_of("/card", "H\xc3\xb6her") == "accepted");
  }
}
