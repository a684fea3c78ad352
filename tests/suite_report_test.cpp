// SPDX-License-Identifier: Apache-2.0
// A suite's table and plot.
#include "tuner/suite_report.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "tests/suite_fixture.h"
#include "tuner/table.h"

using namespace nvfp4;

namespace {

std::string table(const SuiteResults& results) {
  return render(suite_table(results), Format::table);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("suite_report") {
  TEST_CASE("the table shows the time, both F, and the fraction of the stream") {
    const std::string text = table(suite_results());
    CHECK(
        text.starts_with(" N    K  M    us  GB/s  TFLOP/s      F  no PDL  % read  family  answer\n"
                         "64  128  8  4.00     1      0.0  0.500   0.400     0.0  mma     user\n"));
    CHECK(contains(text, "NVIDIA H100 80GB HBM3: times are measured\n"));
    CHECK(
        contains(text, "driver 580.159.03, NVRTC 13.0.88, 2026-11-27T10:00:00Z, commit abc1234\n"));
    CHECK(contains(text, "2 M N K / 700 TFLOP/s"));
    CHECK(contains(text, "baseline: cuBLASLt 13.1.0\n"));
  }

  TEST_CASE("a table with everything fits 100 columns") {
    SuiteResults results = suite_results();
    results.rows = {suite_row(28672, 28672, 4096, 2673.12)};
    results.rows[0].us_cublas = 2711.55;
    results.rows[0].graph.family = results.rows[0].pdl->family = "wgmma";
    std::istringstream lines(table(results));
    for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 100);
  }

  TEST_CASE("modelled times are marked in every line") {
    SuiteResults results = suite_results();
    results.modelled = true;
    results.rows.push_back(suite_row(64, 128, 16, 5));
    std::istringstream lines(table(results));
    std::string line;
    std::getline(lines, line);
    for (int i = 0; i < 2 && std::getline(lines, line); ++i) CHECK(contains(line, "modelled"));
    CHECK(contains(suite_plot(results).title, "modelled"));
  }

  TEST_CASE("the baseline has columns when some row has its time, else a reason") {
    SuiteResults results = suite_results();
    results.baseline = "unavailable: cuBLASLt not found";
    CHECK_FALSE(contains(table(results), "ratio"));
    CHECK(contains(table(results), "baseline: unavailable: cuBLASLt not found"));
    results.rows[0].us_cublas = 6;
    CHECK(contains(table(results), "6.00   1.50"));
  }

  TEST_CASE("cards without dependent launches have no column for them") {
    SuiteResults results = suite_results();
    results.rows[0].pdl.reset();
    CHECK_FALSE(contains(table(results), "PDL"));
    CHECK_FALSE(contains(table(results), "pdl"));
  }

  TEST_CASE("what went wrong is told below, with the policy it happened under") {
    SuiteResults results = suite_results();
    results.rows[0].pdl->us.reset();
    results.rows[0].pdl->note = "wrong: exact data";
    results.complete = false;
    CHECK(contains(table(results), "N=64 K=128 M=8 graph+pdl wrong: exact data\n"));
    CHECK(contains(table(results), "the run was interrupted\n"));
    CHECK(contains(table(results), "64  128  8  -"));
  }

  TEST_CASE("the machine's forms carry every field") {
    const auto json = nlohmann::json::parse(render(suite_table(suite_results()), Format::json));
    CHECK(json["card"] == "NVIDIA H100 80GB HBM3");
    CHECK(json["rows"][0]["config_no_pdl"] == "family=mma,act=bf16");
    CHECK(contains(render(suite_table(suite_results()), Format::csv), "us_no_pdl"));
  }

  TEST_CASE("the plot has a series a shape, sorted by M, with its ceilings") {
    SuiteResults results = suite_results();
    results.rows = {suite_row(64, 128, 8, 4), suite_row(128, 128, 1, 3), suite_row(64, 128, 1, 2)};
    results.rows[0].us_cublas = 6;
    const Plot plot = suite_plot(results);
    REQUIRE(plot.series.size() == 2);
    const PlotSeries& first = plot.series[0];
    CHECK(first.name == "64 x 128");
    CHECK(first.read_us == 2.0);
    CHECK(first.us_per_token == doctest::Approx(2 * 64 * 128 / 700e6));
    REQUIRE(first.points.size() == 2);
    CHECK(first.points[0].m == 1);
    CHECK(first.points[1].us == 4);
    CHECK(first.points[1].f == 0.5);
    CHECK(first.points[1].us_baseline == 6);
    CHECK(plot.series[1].read_us == 0);  // its read was not measured
  }
}
