// SPDX-License-Identifier: Apache-2.0
// From a suite's results over the file that keeps them into a history, and nothing is lost or made
// up on the way.
#include "tuner/record.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "generator/config_text.h"
#include "tests/suite_fixture.h"
#include "tests/tuning_db_fixture.h"
#include "tuner/document_reader.h"
#include "tuner/suite_document.h"

using namespace nvfp4;
using Json = nlohmann::ordered_json;

namespace {

SuiteEvidence evidence(double us, bool pdl) {
  KernelConfig config;
  config.pdl = pdl;
  return {.kernel = {.config = config,
                     .source_hash = std::string(64, 'a'),
                     .code_hash = std::string(64, pdl ? 'c' : 'b'),
                     .registers = 96,
                     .smem_bytes = 4096},
          .timing = {.median_us = us,
                     .q1_us = us * 0.99,
                     .q3_us = us * 1.01,
                     .samples = 3,
                     .clock_mhz = 1980,
                     .throttled = pdl,
                     .temperature_c = 41},
          .samples_us = {static_cast<float>(us * 0.99), static_cast<float>(us),
                         static_cast<float>(us * 1.01)}};
}

// The fixture's row with all that stands behind it.
SuiteResults full_results() {
  SuiteResults results = suite_results();
  SuiteRow& row = results.rows[0];
  row.pdl->evidence = evidence(*row.pdl->us, true);
  row.graph.evidence = evidence(*row.graph.us, false);
  row.us_cublas = 6;
  row.cublas_spread = {.q1_us = 5.9, .q3_us = 6.2, .samples = 21};
  results.device = key_of(h100());
  results.toolchain = {.nvrtc = "13.0.88", .driver = "13.0", .template_digest = "0123abcd"};
  results.seed = ~uint64_t{0};
  return results;
}

std::string refusal(const Json& document) {
  try {
    parse_suite_document(document.dump());
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "accepted";
}

Json with(const char* pointer, const Json& value) {
  Json document = Json::parse(suite_text(full_results()));
  document[Json::json_pointer(pointer)] = value;
  return document;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("record") {
  TEST_CASE("a run holds every sample, clock and hash that the card gave") {
    TuningDb db("", Access::memory);
    const int64_t id = record(db, full_results());
    const std::vector<RunRecord> runs = db.runs();
    REQUIRE(runs.size() == 1);
    CHECK(runs[0].id == id);
    CHECK(runs[0].purpose == Purpose::bench);
    CHECK(runs[0].device == key_of(h100()));
    CHECK(runs[0].source_commit == "abc1234");
    CHECK(runs[0].driver_release == "580.159.03");
    CHECK(runs[0].toolchain == Toolchain{"13.0.88", "13.0", "0123abcd"});
    CHECK(runs[0].stream_gbps == 3000);
    CHECK(runs[0].tensor_tflops == 700);
    CHECK(runs[0].seed == ~uint64_t{0});
    const std::vector<Measurement> rows = db.measurements();
    REQUIRE(rows.size() == 2);
    const Measurement& pdl = rows[1];
    CHECK(pdl.policy == Policy::graph_pdl);
    CHECK(pdl.purpose == Purpose::bench);
    CHECK(pdl.provenance == Provenance::measured);
    CHECK(pdl.samples_us.size() == 3);
    CHECK(pdl.kernel.code_hash == std::string(64, 'c'));
    CHECK(pdl.timing.median_us == 4);
    CHECK(pdl.timing.clock_mhz == 1980);
    CHECK(pdl.timing.throttled);
    CHECK(pdl.timing.temperature_c == 41);
    // Derived: one launch takes 2 us of the 4, 4608 bytes in 4 us are 1.152 GB/s.
    CHECK(pdl.timing.launch_us == 2);
    CHECK(pdl.timing.f == doctest::Approx(0.5));
    CHECK(pdl.timing.gbps == doctest::Approx(1.152));
    const std::vector<Rival> rivals = db.rivals();
    REQUIRE(rivals.size() == 1);
    CHECK(rivals[0].name == "cublas_bf16");
    CHECK(rivals[0].median_us == 6);
    CHECK(rivals[0].q3_us == 6.2);
    CHECK(rivals[0].samples == 21);
  }

  TEST_CASE("what went through a file is recorded as if it had not") {
    TuningDb direct("", Access::memory);
    TuningDb by_file("", Access::memory);
    record(direct, full_results());
    record(by_file, parse_suite_document(suite_text(full_results())));
    CHECK(direct.runs() == by_file.runs());
    CHECK(direct.measurements() == by_file.measurements());
    CHECK(direct.rivals() == by_file.rivals());
  }

  TEST_CASE("a file of before has times and nothing behind them") {
    SuiteResults old = parse_suite_document(suite_text(suite_results()));
    CHECK_FALSE(old.device);
    TuningDb db("", Access::memory);
    record(db, old);
    const std::vector<Measurement> rows = db.measurements();
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].timing.samples == 0);
    CHECK(rows[0].samples_us.empty());
    CHECK(rows[0].kernel.code_hash.empty());
    CHECK(rows[0].device == key_of(h100()));
    old.card = "NVIDIA Unheard-of 9000";
    CHECK_THROWS_AS(record(db, old), DocumentError);
    CHECK(db.runs().size() == 1);
  }

  TEST_CASE("a kernel that failed is recorded with its verdict, one that was not tried is not") {
    SuiteResults results = full_results();
    SuiteRow& row = results.rows[0];
    row.pdl->us.reset();
    row.pdl->note = "wrong: at m = 3";
    row.pdl->evidence->verdict = Verdict::wrong;
    row.pdl->evidence->timing = {};
    row.pdl->evidence->samples_us.clear();
    row.graph.us.reset();
    row.graph.evidence.reset();
    row.graph.note = "constraint: too much shared memory";
    const std::vector<Measurement> rows =
        measurements_of(parse_suite_document(suite_text(results)));
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].verdict == Verdict::wrong);
    CHECK(rows[0].text == "wrong: at m = 3");
  }

  TEST_CASE("the same results are known again, others are not") {
    TuningDb db("", Access::memory);
    CHECK(recorded_run(db, full_results()) == 0);
    const int64_t id = record(db, full_results());
    CHECK(recorded_run(db, full_results()) == id);
    SuiteResults later = full_results();
    later.date = "2026-11-28T10:00:00Z";
    CHECK(recorded_run(db, later) == 0);
  }

  TEST_CASE("evidence that comes from anywhere is checked as it is read") {
    CHECK(refusal(with("/seed", 1)) == "accepted");
    CHECK(contains(refusal(with("/evidence", 7)), "\"evidence\" is no object"));
    CHECK(contains(refusal(with("/evidence/device/arch", "sm_1")), "arch"));
    CHECK(contains(refusal(with("/evidence/device/sm_count", 0)), "0 SMs"));
    CHECK(contains(refusal(with("/evidence/seed", -1)), "\"seed\""));
    CHECK(contains(refusal(with("/evidence/times", {1})), "\"times\" 1 is no object"));
    CHECK(contains(refusal(with("/evidence/times/0/n", 65)), "no row has N=65 K=128 M=8"));
    CHECK(contains(refusal(with("/evidence/times/0/verdict", "fine")), "is no verdict"));
    CHECK(contains(refusal(with("/evidence/times/0/verdict", "wrong")), "contradict"));
    CHECK(contains(refusal(with("/evidence/times/0/q1_us", 9)), "out of order"));
    CHECK(contains(refusal(with("/evidence/times/0/samples_us/1", -1)), "no time"));
    CHECK(contains(refusal(with("/evidence/times/0/samples_us", Json::array_t(5000, 1))),
                   "more than 4096"));
    CHECK(contains(refusal(with("/evidence/times/0/registers", 256)), "256, not 0 to 255"));
    CHECK(contains(refusal(with("/evidence/times/0/code_hash", "\x1b[2J")), "control"));
    CHECK(contains(refusal(with("/evidence/cublas_bf16/0/q1_us", 7)), "not around"));
  }
}
