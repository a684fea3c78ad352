// SPDX-License-Identifier: Apache-2.0
// Figures by hand, and slices of a suite put together.
#include "tuner/suite_results.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/suite_fixture.h"

using namespace nvfp4;

TEST_SUITE("suite_results") {
  TEST_CASE("figures follow from times and ceilings") {
    SuiteResults r = suite_results();
    r.rows[0].us_cublas = 6.0;
    const SuiteFigures f = figures(r.ceilings, r.rows[0]);
    CHECK(f.roof_us == 2.0);  // the read: the products take 131072 / 700e6 us
    CHECK(f.f == 0.5);
    CHECK(f.f_no_pdl == 0.4);
    CHECK(f.gbps == doctest::Approx(1.152));
    CHECK(f.tflops == doctest::Approx(0.032768));
    CHECK(f.stream_fraction == doctest::Approx(1.152 / 3000));
    CHECK(f.ratio_cublas == 1.5);
  }

  TEST_CASE("many tokens are judged by the tensor cores, at the rate that was measured") {
    SuiteResults r = suite_results();
    r.rows[0].m = 1'000'000;
    const double flops = 2e6 * 64 * 128;
    CHECK(*figures(r.ceilings, r.rows[0]).roof_us == doctest::Approx(flops / 700e6));
    r.ceilings.bf16_tflops.reset();
    CHECK(*figures(r.ceilings, r.rows[0]).roof_us == doctest::Approx(flops / 758e6));
  }

  TEST_CASE("on a card without dependent launches, graph is the policy") {
    SuiteRow row = suite_row(64, 128, 8, 4.0);
    row.pdl.reset();
    CHECK(row.preferred().us == 5.0);
    const SuiteFigures f = figures(suite_results().ceilings, row);
    CHECK(f.f == f.f_no_pdl);
  }

  TEST_CASE("what is unknown stays unknown") {
    SuiteResults r = suite_results();
    r.rows[0].pdl->us.reset();
    SuiteFigures f = figures(r.ceilings, r.rows[0]);
    CHECK_FALSE(f.f);
    CHECK_FALSE(f.gbps);
    CHECK_FALSE(f.ratio_cublas);
    CHECK(f.f_no_pdl == 0.4);
    CHECK_FALSE(r.rows[0].timed());
    r = suite_results();
    r.ceilings.read_us.clear();
    f = figures(r.ceilings, r.rows[0]);
    CHECK_FALSE(f.roof_us);
    CHECK_FALSE(f.f);
    CHECK(f.gbps);
  }

  TEST_CASE("slices make a union, ordered by shape and M; the later row wins") {
    SuiteResults all = suite_results();
    all.rows = {suite_row(64, 128, 8, 4), suite_row(128, 128, 1, 9)};
    SuiteResults later = suite_results();
    later.rows = {suite_row(64, 128, 8, 3), suite_row(64, 128, 16, 5), suite_row(64, 128, 1, 2),
                  suite_row(256, 128, 1, 7)};
    merge(all, later);
    std::vector<std::vector<double>> got;
    for (const SuiteRow& row : all.rows) {
      got.push_back({static_cast<double>(row.n), static_cast<double>(row.m), *row.pdl->us});
    }
    CHECK(got == std::vector<std::vector<double>>{
                     {64, 1, 2}, {64, 8, 3}, {64, 16, 5}, {128, 1, 9}, {256, 1, 7}});
  }

  TEST_CASE("rows of other activations are other rows") {
    SuiteResults all = suite_results();
    SuiteResults later = suite_results();
    later.rows[0].act = Activation::fp16;
    merge(all, later);
    CHECK(all.rows.size() == 2);
    CHECK(all.find(64, 128, 8, Activation::fp16) != nullptr);
    CHECK(all.find(64, 128, 9, Activation::fp16) == nullptr);
  }

  TEST_CASE("of two ceilings the better one stays, and every row is judged by it") {
    SuiteResults all = suite_results();
    SuiteResults later = suite_results();
    later.ceilings = {.read_gbps = 3100,
                      .read_us = {{4608, 1.0}, {9216, 3.0}},
                      .bf16_tflops = 690,
                      .assumed_tflops = 758,
                      .bf16_source = "slower"};
    later.rows.clear();
    merge(all, later);
    CHECK(all.ceilings.read_gbps == 3100);
    CHECK(all.ceilings.read_us == std::map<int64_t, double>{{4608, 1.0}, {9216, 3.0}});
    CHECK(all.ceilings.bf16_tflops == 700);
    CHECK(all.ceilings.bf16_source == "bf16 rate: measured");
    CHECK(figures(all.ceilings, all.rows[0]).f == 0.25);
  }

  TEST_CASE("a measured rate beats one that is assumed, however high") {
    SuiteResults all = suite_results();
    all.ceilings.bf16_tflops.reset();
    all.ceilings.bf16_source = "from the data sheet";
    SuiteResults later = suite_results();
    merge(all, later);
    CHECK(all.ceilings.tflops() == 700);
    CHECK(all.ceilings.bf16_source == "bf16 rate: measured");
  }

  TEST_CASE("the union names every commit and library once, and the last date") {
    SuiteResults all = suite_results();
    SuiteResults later = suite_results();
    later.commit = "def5678";
    later.date = "2026-11-28T10:00:00Z";
    later.complete = false;
    merge(all, later);
    merge(all, later);
    CHECK(all.commit == "abc1234, def5678");
    CHECK(all.baseline == "cuBLASLt 13.1.0");
    CHECK(all.date == "2026-11-28T10:00:00Z");
    CHECK_FALSE(all.complete);
  }

  TEST_CASE("results of another card, driver or provenance do not go together") {
    SuiteResults all = suite_results();
    SuiteResults later = suite_results();
    later.card = "NVIDIA A100";
    CHECK_THROWS_WITH_AS(merge(all, later),
                         "its card is 'NVIDIA A100', not 'NVIDIA H100 80GB HBM3'", MergeError);
    later = suite_results();
    later.driver = "570.1";
    CHECK_THROWS_WITH_AS(merge(all, later), "its driver is '570.1', not '580.159.03'", MergeError);
    later = suite_results();
    later.modelled = true;
    CHECK_THROWS_WITH_AS(merge(all, later), "its provenance is 'modelled', not 'measured'",
                         MergeError);
    CHECK(all.rows.size() == 1);
  }
}
