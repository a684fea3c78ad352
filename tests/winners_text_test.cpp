// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/winners_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <tuple>

#include "runtime/installed_files.h"
#include "runtime/lookup.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;

namespace {

TuningDb memory() { return TuningDb("", Access::memory); }

/// Two shapes, two Ms, in no order.
TuningDb tuned() {
  TuningDb database = memory();
  const int64_t run = database.add_run(run_on(h100()));
  add_winner(database, run, h100(), measurement_of(config_of(64), 64, 9.25));
  add_winner(database, run, h100(), measurement_of(config_of(8), 1, 4.5));
  Measurement other = measurement_of(config_of(16), 16, 5.75);
  other.problem.n = 1024;
  add_winner(database, run, h100(), other);
  return database;
}

std::string refusal(const std::string& text) {
  TuningDb database = memory();
  try {
    add_winners_text(database, text, "card.csv");
  } catch (const DatabaseError& error) {
    CHECK(database.counts().winners == 0);
    CHECK(database.counts().measurements == 0);
    return error.what();
  }
  return "accepted";
}

constexpr int64_t kExperts = 32;

/// Dense and grouped winners, also of one shape.
TuningDb mixture() {
  TuningDb database = tuned();
  const int64_t run = database.add_run(run_on(h100()));
  for (const int64_t m : {1, 64}) {
    Measurement row = measurement_of(config_of(8), m, 6.105 * static_cast<double>(m));
    row.problem.kind = ProblemKind::grouped;
    row.problem.experts = kExperts;
    add_winner(database, run, h100(), row);
  }
  return database;
}

std::vector<Winner> sorted(std::vector<Winner> winners) {
  std::sort(winners.begin(), winners.end(), [](const Winner& a, const Winner& b) {
    return std::tuple(a.problem.n, a.problem.experts, a.m_tuned) <
           std::tuple(b.problem.n, b.problem.experts, b.m_tuned);
  });
  return winners;
}

/// The text as the first version had it: without the experts of its rows.
std::string without_experts(const std::string& text) {
  std::string old;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line); old += line + "\n") {
    if (line.find(",\"family=") == std::string::npos && !line.starts_with("n,k,")) continue;
    const size_t third = line.find(',', line.find(',') + 1);
    line.erase(third, line.find(',', third + 1) - third);
  }
  return old;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_SUITE("winners_text") {
  TEST_CASE("winners come back from their text as they were, and give the same text") {
    TuningDb original = mixture();
    const std::string text = winners_text(original);
    TuningDb copy = memory();
    CHECK(add_winners_text(copy, text, "card.csv") == 5);
    CHECK(winners_text(copy) == text);
    const auto before = sorted(original.winners()), after = sorted(copy.winners());
    REQUIRE(before.size() == after.size());
    for (size_t i = 0; i < before.size(); ++i) {
      CHECK(after[i].device == before[i].device);
      CHECK(after[i].problem == before[i].problem);
      CHECK(after[i].m_tuned == before[i].m_tuned);
      CHECK(after[i].interval == before[i].interval);
      CHECK(after[i].config == before[i].config);
      CHECK(after[i].code_hash == before[i].code_hash);
      CHECK(after[i].expected_us == before[i].expected_us);
      CHECK(after[i].f == before[i].f);
    }
    CHECK(copy.warnings().empty());
  }

  TEST_CASE("grouped winners stand behind the dense ones, with their experts") {
    TuningDb database = mixture();
    const std::string text = winners_text(database);
    CHECK(text.find("\nn,k,experts,act,") != std::string::npos);
    const size_t dense = text.find("\n4096,4096,0,bf16,graph+pdl,1,64,64,");
    const size_t grouped = text.find("\n4096,4096,32,bf16,graph+pdl,1,8,1,6.105,");
    CHECK(text.find("\n1024,4096,0,bf16,") < dense);
    REQUIRE(dense != std::string::npos);
    REQUIRE(grouped != std::string::npos);
    CHECK(dense < grouped);

    TuningDb copy = memory();
    add_winners_text(copy, text, "card.csv");
    std::vector<Snapshot::Entry> entries;
    for (const Winner& winner : copy.winners()) entries.push_back({winner, Layer::shipped});
    const Snapshot snapshot(h100(), entries);
    Problem problem = square_problem();
    CHECK(lookup(snapshot, problem, 1, Policy::graph_pdl).expected_us == 4.5);
    problem.kind = ProblemKind::grouped;
    problem.experts = kExperts;
    CHECK(lookup(snapshot, problem, 1, Policy::graph_pdl).expected_us == 6.105);
    problem.experts = 64;
    CHECK(lookup(snapshot, problem, 1, Policy::graph_pdl).layer == Layer::fallback);
  }

  TEST_CASE("a text without experts is of dense winners, and columns may stand in any order") {
    TuningDb original = tuned();
    const std::string text = winners_text(original);
    const std::string old = without_experts(text);
    CHECK(old.find("\nn,k,act,policy,") != std::string::npos);
    CHECK(old.find("\n1024,4096,bf16,") != std::string::npos);
    TuningDb read = memory();
    CHECK(add_winners_text(read, old, "old.csv") == 3);
    CHECK(winners_text(read) == text);
    TuningDb turned = memory();
    const std::string swapped = with(with(old, "\nn,k,", "\nk,n,"), "\n1024,4096,", "\n4096,1024,");
    CHECK(add_winners_text(turned, swapped, "turned.csv") == 3);
    CHECK(winners_text(turned) == text);
    // The rows of a grouped text have a field more than an older line of columns.
    TuningDb grouped = mixture();
    CHECK(refusal(with(winners_text(grouped), "n,k,experts,act", "n,k,act")) ==
          "card.csv:9: not 23 fields, the last of them quoted");
  }

  TEST_CASE("a count of experts that no launch has is refused with its place") {
    TuningDb database = mixture();
    const std::string text = winners_text(database);
    const auto of = [&](const std::string& experts) {
      return refusal(with(text, "\n4096,4096,32,", "\n4096,4096," + experts + ","));
    };
    CHECK(of("32") == "accepted");
    CHECK(of("4096") == "accepted");
    CHECK(of("-1") == "card.csv:12: a grouped problem with -1 experts, not 1..4096");
    CHECK(of("4097") == "card.csv:12: a grouped problem with 4097 experts, not 1..4096");
    CHECK(of("99999999999999999999") == "card.csv:12: '99999999999999999999' is no number");
    CHECK(of("") == "card.csv:12: '' is no number");
    CHECK(of("8.5") == "card.csv:12: '8.5' is no number");
  }

  TEST_CASE("a message shows the start of what a stranger wrote, without its control characters") {
    TuningDb database = tuned();
    const std::string text = winners_text(database);
    CHECK(refusal(with(text, "1024,4096,0", "\x1b[2J,4096,0")) ==
          "card.csv:9: '?[2J' is no number");
    const std::string shown = "card.csv:9: '" + std::string(64, 'x') + "...' is no number";
    CHECK(refusal(with(text, "1024,4096,0", std::string(1 << 20, 'x') + ",4096,0")) == shown);
    CHECK(refusal(with(text, "n,k,", std::string(1 << 20, 'x') + ",k,")).size() < 120);
  }

  TEST_CASE("reading ends where too much was refused") {
    TuningDb database = tuned();
    std::string text = winners_text(database);
    for (int i = 0; i < 20'000; ++i) text += "x\n";
    const ParsedWinners parsed = parse_winners_text(text, "card.csv");
    CHECK(parsed.rows.size() == 3);
    CHECK(parsed.defects.size() == 10'000);
    CHECK(parsed.unread == "card.csv:10012: 10000 lines were refused, the rest is not read");
  }

  TEST_CASE("the text is sorted, begins with its version and names nothing of a machine") {
    TuningDb database = tuned();
    const std::string text = winners_text(database);
    CHECK(text.starts_with("# NVFP4 winners, version 1\ncard = NVIDIA H100 80GB HBM3\narch = sm_90a\nsm_count = 132\n"));
    CHECK(text.find("\n1024,4096,") < text.find("\n4096,4096,0,bf16,graph+pdl,1,"));
    CHECK(text.find("4.500,") < text.find("9.250,"));
    CHECK(text.find("nvfp4-tune") == std::string::npos);
  }

  TEST_CASE("what a line has wrong is said with file and line, and nothing is added") {
    TuningDb database = tuned();
    const std::string text = winners_text(database);
    CHECK(refusal("") == "card.csv:0: does not begin with '# NVFP4 winners, version 1'");
    CHECK(refusal(with(text, "version 1", "version 2"))
              .starts_with("card.csv:1: does not begin with"));
    CHECK(refusal(with(text, "sm_count = 132", "sms = 132")) ==
          "card.csv:4: 'sm_count = ...' is missing");
    CHECK(refusal(with(text, "sm_count = 132", "sm_count = 0")) == "card.csv:7: 0 SMs");
    CHECK(refusal(with(text, "n,k,experts", "n,k,colour")) ==
          "card.csv:8: unknown column 'colour'");
    CHECK(refusal(with(text, "n,k,experts", "n,k,n")) == "card.csv:8: column 'n' is there twice");
    CHECK(refusal(with(text, "n,k,experts", "n,experts")) == "card.csv:8: column 'k' is missing");
    CHECK(refusal(with(with(text, ",config\n", "\n"), "n,k,", "config,n,k,")) ==
          "card.csv:8: column 'config' is not the last");
    CHECK(refusal(text.substr(0, text.find("n,k,"))) ==
          "card.csv:7: the line of columns is missing");
    CHECK(refusal(with(text, "1024,4096,0,bf16", "1024,4096,0,fp8")) ==
          "card.csv:9: 'fp8' is no activation type");
    CHECK(refusal(with(text, "1024,4096,0", "x,4096,0")) == "card.csv:9: 'x' is no number");
    CHECK(refusal(with(text, "1024,4096,0", "0,4096,0")).starts_with("card.csv:9: "));
    CHECK(refusal(with(text, "\"family=mma", "\"family=mmma")).starts_with("card.csv:9: 'family="));
    CHECK(refusal(with(text, ",5.750,", ",nan,")).starts_with("card.csv:9: "));
    CHECK(refusal(with(text, ",5.750,", ",5.750,1,")) ==
          "card.csv:9: not 24 fields, the last of them quoted");
    CHECK(refusal(text.substr(0, text.find("\n1024,") + 1)) == "card.csv:8: no winner");
    CHECK(refusal(with(text, "\n1024,", "\n# a remark for people\n\n1024,")) == "accepted");
  }

  TEST_CASE("the card's name goes with its winners, and may be missing") {
    TuningDb database = tuned();
    const std::string text = winners_text(database);
    const auto named = [](const std::string& shipped) {
      TuningDb made = memory();
      add_winners_text(made, shipped, "card.csv");
      return made.runs().front().device_name;
    };
    CHECK(named(text) == "NVIDIA H100 80GB HBM3");
    const std::string unnamed = with(text, "card = NVIDIA H100 80GB HBM3\n", "");
    CHECK(named(unnamed) == "a card that winners were shipped for");
    TuningDb made = memory();
    add_winners_text(made, unnamed, "card.csv");
    CHECK(winners_text(made) == unnamed);
    CHECK(refusal(with(text, "card = NVIDIA", "card = \x1b[2JNVIDIA")) ==
          "card.csv:2: card is too long or not clean");
  }

  TEST_CASE("modelled winners, and those of several cards, are not shipped") {
    TuningDb modelled = memory();
    const int64_t run = modelled.add_run(run_on(h100(true)));
    add_winner(modelled, run, h100(true),
               measurement_of(config_of(8), 1, 4.5, Provenance::modelled));
    CHECK_THROWS_WITH(winners_text(modelled), "no winner was measured on a real card");
    TuningDb two = tuned();
    Device other = h100();
    other.sm_count = 114;
    add_winner(two, two.add_run(run_on(other)), other, measurement_of(config_of(8), 1, 4.5));
    CHECK_THROWS_WITH(winners_text(two), "the winners are of several cards");
  }

  TEST_CASE("every text that is shipped makes a database that answers on its card") {
    int texts = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(NVFP4_SOURCE_DIR "/tuning_db/gpus")) {
      if (entry.path().extension() != ".csv") continue;
      ++texts;
      std::stringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      const TemporaryFolder folder;
      const std::string path = folder / "shipped.db";
      {
        TuningDb database(path, Access::read_write);
        REQUIRE(add_winners_text(database, text.str(), entry.path().filename().string()) > 0);
        CHECK(database.warnings().empty());
      }
      CHECK(std::filesystem::file_size(path) <= 1 << 20);
      const Winner winner = TuningDb(path, Access::read_only).winners().front();
      Device card = find_part(winner.device.l2_bytes == h100().l2_bytes ? "h100" : "h200")->device;
      card.emulated = false;
      REQUIRE(key_of(card) == winner.device);
      Warnings warnings;
      const std::vector<std::string> shipped{path};
      const Snapshot snapshot = load_snapshot(card, "", shipped, warnings);
      CHECK(warnings.empty());
      CHECK(snapshot.size() > 0);
      const int64_t m = winner.m_tuned;
      const Selection found = lookup(snapshot, winner.problem, m, Policy::graph_pdl);
      CHECK(found.layer == Layer::shipped);
      CHECK(found.provenance == Provenance::measured);
      CHECK(found.match == Match::exact);
      CHECK(lookup(snapshot, winner.problem, m, Policy::graph).match == Match::policy);
    }
    CHECK(texts > 0);
  }

  TEST_CASE("shipped databases are found beside the program, or where the environment says") {
    const std::vector<std::string> built = shipped_databases();
    REQUIRE(built.size() >= 1);
    CHECK(built[0] == NVFP4_BINARY_DIR "/share/nvfp4/h100-sxm5.db");
    const TemporaryFolder folder;
    std::ofstream(folder / "b.db");
    std::ofstream(folder / "a.db");
    std::ofstream(folder / "a.txt");
    const std::string path = folder.path();
    const ScopedEnvironment elsewhere("NVFP4_SHIPPED", path.c_str());
    CHECK(shipped_databases() == std::vector<std::string>{folder / "a.db", folder / "b.db"});
    const ScopedEnvironment none("NVFP4_SHIPPED", "");
    CHECK(shipped_databases().empty());
  }
}
