// SPDX-License-Identifier: Apache-2.0
// Tables in their five forms, and the progress line.
#include "tuner/table.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "tuner/progress.h"

using namespace nvfp4;

namespace {

Table sample() {
  return {.facts = {{"device", "card"}},
          .columns = {{"m", "M"}, {"us", "us", 2}, {"config", "config"}},
          .rows = {{{"m", 1}, {"us", 4.736}, {"config", "a,b=1"}, {"hidden", nullptr}},
                   {{"m", 512}, {"us", 20.0}, {"config", "say \"c\""}, {"hidden", true}}},
          .notes = {"a note"}};
}

}  // namespace

TEST_SUITE("table") {
  TEST_CASE("people see aligned, rounded columns and the notes") {
    CHECK(render(sample(), Format::table) ==
          "  M     us  config\n"
          "  1   4.74  a,b=1\n"
          "512  20.00  say \"c\"\n"
          "\n"
          "a note\n");
    CHECK(render(sample(), Format::md) ==
          "|   M |    us | config  |\n"
          "| ---: | ---: | --- |\n"
          "|   1 |  4.74 | a,b=1   |\n"
          "| 512 | 20.00 | say \"c\" |\n"
          "\n"
          "a note\n");
  }

  TEST_CASE("a cell is one line of visible characters, whatever a file put into it") {
    Table table = sample();
    table.rows[0]["config"] = "a\x1b[2J\nb\u202ec";
    CHECK(render(table, Format::table) ==
          "  M     us  config\n"
          "  1   4.74  a\\x1b[2J\\x0ab\\u202ec\n"
          "512  20.00  say \"c\"\n"
          "\n"
          "a note\n");
  }

  TEST_CASE("JSON carries its schema, the facts and every field in full") {
    const auto json = nlohmann::json::parse(render(sample(), Format::json));
    CHECK(json["schema"] == 1);
    CHECK(json["device"] == "card");
    CHECK(json["rows"].size() == 2);
    CHECK(json["rows"][0]["us"] == 4.736);
    CHECK(json["rows"][0]["hidden"].is_null());
  }

  TEST_CASE("every JSON line stands alone") {
    const std::string text = render(sample(), Format::jsonl);
    const size_t end = text.find('\n');
    const auto first = nlohmann::json::parse(text.substr(0, end));
    CHECK(first["schema"] == 1);
    CHECK(first["m"] == 1);
    CHECK(nlohmann::json::parse(text.substr(end + 1))["config"] == "say \"c\"");
  }

  TEST_CASE("CSV quotes what needs it") {
    CHECK(render(sample(), Format::csv) ==
          "m,us,config,hidden\n"
          "1,4.736,\"a,b=1\",\n"
          "512,20.0,\"say \"\"c\"\"\",true\n");
  }

  TEST_CASE("a share is shown as a percentage and kept as a share") {
    const Table table{.columns = {{"share", "% read", 1, 100}}, .rows = {{{"share", 0.9421}}}};
    CHECK(render(table, Format::table) == "% read\n  94.2\n");
    CHECK(nlohmann::json::parse(render(table, Format::json))["rows"][0]["share"] == 0.9421);
  }

  TEST_CASE("a column of numbers stands right even when its first one is missing") {
    const Table table{.columns = {{"us", "microseconds", 1}},
                      .rows = {{{"us", nullptr}}, {{"us", 4.0}}}};
    CHECK(render(table, Format::table) == "microseconds\n           -\n         4.0\n");
  }

  TEST_CASE("a table without rows is still a table") {
    Table empty = sample();
    empty.rows.clear();
    CHECK(render(empty, Format::csv).empty());
    CHECK(nlohmann::json::parse(render(empty, Format::json))["rows"].empty());
    CHECK(render(empty, Format::table).starts_with("M  us  config\n"));
  }
}

TEST_SUITE("progress") {
  TEST_CASE("a terminal's line is rewritten and goes before anything else is printed") {
    std::string out;
    {
      Progress progress([&](std::string_view text) { out += text; }, true);
      progress.step("candidates", 1, 4, "best 5 us");
      CHECK(out.find("candidates 1/4, best 5 us") != std::string::npos);
      CHECK(out.find('\n') == std::string::npos);
      progress.note("said");
      CHECK(out.ends_with("\r\x1b[Ksaid\n"));
      progress.step("finals", 0, 8, "");
    }
    CHECK(out.ends_with("\r\x1b[K"));
  }

  TEST_CASE("a log gets plain lines, few of them") {
    std::string out;
    Progress progress([&](std::string_view text) { out += text; }, false);
    for (size_t i = 0; i < 1000; ++i) progress.step("candidates", i, 1000, "");
    CHECK(out == "candidates 0/1000\n");
    CHECK(out.find('\x1b') == std::string::npos);
  }

  TEST_CASE("the time left never exceeds the limit") {
    std::string out;
    Progress progress([&](std::string_view text) { out += text; }, true);
    progress.step("candidates", 0, 1000, "");
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    progress.step("candidates", 1, 1000, "", std::chrono::seconds(5));
    CHECK(out.find("5s left") != std::string::npos);
  }

  TEST_CASE("times are shown as people say them") {
    using namespace std::chrono_literals;
    CHECK(duration_text(8s) == "8s");
    CHECK(duration_text(65s) == "1m05s");
    CHECK(duration_text(2h + 10min) == "2h10m");
  }
}
