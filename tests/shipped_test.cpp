// SPDX-License-Identifier: Apache-2.0
// What a reviewer of tuning_db/gpus/ relies on: every text makes the database that is shipped, is
// in order, small, and each of its winners carries the whole of its evidence.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "tests/temporary_folder.h"
#include "tuning_db/tuning_db.h"
#include "tuning_db/winners_text.h"

using namespace nvfp4;
namespace fs = std::filesystem;

namespace {

constexpr uintmax_t kMaxShipped = 1 << 20;  // of one card
constexpr int kFewestSamples = 5;           // below that a quartile says nothing

std::vector<fs::path> texts() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(NVFP4_SOURCE_DIR "/tuning_db/gpus")) {
    if (entry.path().extension() == ".csv") paths.push_back(entry.path());
  }
  return paths;
}

std::string read(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  std::stringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  return fields;
}

// Why a text's lines are not in the order in which people look for them, or empty.
std::string order_defect(const std::string& text) {
  using Key = std::tuple<int64_t, int64_t, int64_t, std::string, std::string, int64_t>;
  std::map<std::string, size_t> columns;
  std::optional<Key> last;
  std::stringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("#") || line.find(" = ") != line.npos || line.empty()) continue;
    const std::vector<std::string> fields = split(line);
    if (columns.empty()) {
      for (size_t i = 0; i < fields.size(); ++i) columns[fields[i]] = i;
      continue;
    }
    const auto number = [&](const char* name) -> int64_t {
      return columns.contains(name) ? std::stoll(fields.at(columns[name])) : 0;
    };
    Key key{number("experts"),
            number("n"),
            number("k"),
            fields.at(columns.at("act")),
            fields.at(columns.at("policy")),
            number("m")};
    if (last && !(*last < key)) return "not in order: " + line.substr(0, 60);
    last = std::move(key);
  }
  return last ? "" : "no rows";
}

// What is missing of a winner's evidence, or empty.
std::string evidence_defect(const Winner& winner, const Measurement& row) {
  const Timing& t = row.timing;
  if (row.provenance != Provenance::measured || row.device.emulated) return "not measured";
  if (row.verdict != Verdict::ok) return "not ok";
  if (!(t.q1_us > 0 && t.q1_us <= t.median_us && t.median_us <= t.q3_us)) return "quartiles";
  if (t.samples < kFewestSamples) return fmt::format("{} samples", t.samples);
  if (!(t.f > 0 && t.f < 1.5)) return fmt::format("F = {}", t.f);
  if (!(t.gbps > 0 && t.tflops > 0 && t.pct_ceiling > 0)) return "rates";
  if (!(t.clock_mhz > 100)) return fmt::format("{} MHz", t.clock_mhz);
  if (t.throttled) return "throttled";
  if (row.toolchain.nvrtc.empty() || row.toolchain.driver.empty()) return "toolchain";
  if (row.kernel.code_hash.size() != 64 || row.kernel.registers <= 0) return "machine code";
  if (!(row.kernel.config == winner.config)) return "another config";
  if (!winner.interval.contains(winner.m_tuned)) return "interval";
  return "";
}

}  // namespace

TEST_SUITE("shipped") {
  TEST_CASE("every winner carries its time, quartiles, F, clock, toolchain and machine code") {
    CHECK_FALSE(texts().empty());
    for (const fs::path& path : texts()) {
      CAPTURE(path);
      TuningDb database("", Access::memory);
      REQUIRE(add_winners_text(database, read(path), path.filename().string()) > 0);
      std::map<int64_t, Measurement> rows;
      for (Measurement& row : database.measurements()) rows.emplace(row.id, std::move(row));
      for (const Winner& winner : database.winners()) {
        CAPTURE(winner.problem.n);
        CAPTURE(winner.problem.k);
        CAPTURE(winner.m_tuned);
        REQUIRE(rows.contains(winner.evidence));
        CHECK(evidence_defect(winner, rows.at(winner.evidence)) == "");
      }
      CHECK(order_defect(read(path)) == "");
    }
  }

  TEST_CASE("the build has made a small database of each text, with the same winners") {
    for (const fs::path& path : texts()) {
      CAPTURE(path);
      const fs::path built =
          fs::path(NVFP4_BINARY_DIR "/share/nvfp4") / path.filename().replace_extension(".db");
      REQUIRE(fs::exists(built));
      CHECK(fs::file_size(built) <= kMaxShipped);
      TuningDb shipped(built.string(), Access::immutable);
      TuningDb database("", Access::memory);
      add_winners_text(database, read(path), path.filename().string());
      CHECK(shipped.warnings().empty());
      CHECK(winners_text(shipped) == winners_text(database));
    }
  }

  TEST_CASE("evidence that is not whole, and lines that are out of order, are found") {
    const fs::path path = texts().front();
    TuningDb database("", Access::memory);
    add_winners_text(database, read(path), path.filename().string());
    const Winner winner = database.winners().front();
    Measurement row;
    for (const Measurement& one : database.measurements()) {
      if (one.id == winner.evidence) row = one;
    }
    REQUIRE(evidence_defect(winner, row) == "");
    const auto defect = [&](auto spoil) {
      Measurement bad = row;
      spoil(bad);
      return evidence_defect(winner, bad);
    };
    CHECK(defect([](Measurement& m) { m.timing.clock_mhz = 0; }) == "0 MHz");
    CHECK(defect([](Measurement& m) { m.timing.q3_us = m.timing.q1_us / 2; }) == "quartiles");
    CHECK(defect([](Measurement& m) { m.timing.samples = 1; }) == "1 samples");
    CHECK(defect([](Measurement& m) { m.provenance = Provenance::modelled; }) == "not measured");
    CHECK(defect([](Measurement& m) { m.toolchain.nvrtc = ""; }) == "toolchain");
    CHECK(defect([](Measurement& m) { m.kernel.code_hash = ""; }) == "machine code");
    CHECK(defect([](Measurement& m) { m.timing.f = 0; }) == "F = 0");
    const std::string head = "# NVFP4 winners, version 1\nn,k,act,policy,m\n";
    CHECK(order_defect(head + "64,64,bf16,graph,8\n64,64,bf16,graph,16\n128,64,bf16,graph,8\n") ==
          "");
    CHECK(order_defect(head + "128,64,bf16,graph,8\n64,64,bf16,graph,8\n").starts_with("not in"));
    CHECK(order_defect(head + "64,64,bf16,graph,8\n64,64,bf16,graph,8\n").starts_with("not in"));
    CHECK(order_defect(head) == "no rows");
  }
}
