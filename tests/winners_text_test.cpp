// SPDX-License-Identifier: Apache-2.0
#include "tuning_db/winners_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

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

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_SUITE("winners_text") {
  TEST_CASE("winners come back from their text as they were, and give the same text") {
    TuningDb original = tuned();
    const std::string text = winners_text(original);
    TuningDb copy = memory();
    CHECK(add_winners_text(copy, text, "card.csv") == 3);
    CHECK(winners_text(copy) == text);
    const auto sorted = [](std::vector<Winner> winners) {
      std::sort(winners.begin(), winners.end(), [](const Winner& a, const Winner& b) {
        return std::pair(a.problem.n, a.m_tuned) < std::pair(b.problem.n, b.m_tuned);
      });
      return winners;
    };
    const auto before = sorted(original.winners()), after = sorted(copy.winners());
    REQUIRE(before.size() == after.size());
    for (size_t i = 0; i < before.size(); ++i) {
      CHECK(after[i].device == before[i].device);
      CHECK(after[i].problem == before[i].problem);
      CHECK(after[i].interval == before[i].interval);
      CHECK(after[i].config == before[i].config);
      CHECK(after[i].code_hash == before[i].code_hash);
      CHECK(after[i].expected_us == before[i].expected_us);
      CHECK(after[i].f == before[i].f);
    }
    CHECK(copy.warnings().empty());
  }

  TEST_CASE("the text is sorted, begins with its version and names nothing of a machine") {
    TuningDb database = tuned();
    const std::string text = winners_text(database);
    CHECK(text.starts_with("# NVFP4 winners, version 1\narch = sm_90a\nsm_count = 132\n"));
    CHECK(text.find("\n1024,4096,") < text.find("\n4096,4096,bf16,graph+pdl,1,"));
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
          "card.csv:3: 'sm_count = ...' is missing");
    CHECK(refusal(with(text, "sm_count = 132", "sm_count = 0")) == "card.csv:6: 0 SMs");
    CHECK(refusal(with(text, "n,k,act", "k,n,act")).starts_with("card.csv:7: the columns are not"));
    CHECK(refusal(with(text, "1024,4096,bf16", "1024,4096,fp8")) ==
          "card.csv:8: 'fp8' is no activation type");
    CHECK(refusal(with(text, "1024,4096,bf16", "x,4096,bf16")) == "card.csv:8: 'x' is no number");
    CHECK(refusal(with(text, "1024,4096,bf16", "0,4096,bf16")).starts_with("card.csv:8: "));
    CHECK(refusal(with(text, "\"family=mma", "\"family=mmma")).starts_with("card.csv:8: 'family="));
    CHECK(refusal(with(text, ",5.750,", ",nan,")).starts_with("card.csv:8: "));
    CHECK(refusal(with(text, ",5.750,", ",5.750,1,")) ==
          "card.csv:8: not 23 fields, the last of them quoted");
    CHECK(refusal(text.substr(0, text.find("\n1024,") + 1)) == "card.csv:7: no winner");
    CHECK(refusal(with(text, "\n1024,", "\n# a remark for people\n\n1024,")) == "accepted");
  }

  TEST_CASE("modelled winners, and those of several cards, are not shipped") {
    TuningDb modelled = memory();
    const int64_t run = modelled.add_run(run_on(h100(true)));
    add_winner(modelled, run, h100(true),
               measurement_of(config_of(8), 1, 4.5, Provenance::modelled));
    CHECK_THROWS_WITH(winners_text(modelled), "no dense winner was measured on a real card");
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
      Warnings warnings;
      const std::vector<std::string> shipped{path};
      const Device card = h100();
      const Snapshot snapshot = load_snapshot(card, "", shipped, warnings);
      CHECK(warnings.empty());
      CHECK(snapshot.size() > 0);
      const Selection found = lookup(snapshot, square_problem(), 16, Policy::graph_pdl);
      CHECK(found.layer == Layer::shipped);
      CHECK(found.provenance == Provenance::measured);
      CHECK(found.match == Match::exact);
      CHECK(lookup(snapshot, square_problem(), 16, Policy::graph).match == Match::policy);
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
