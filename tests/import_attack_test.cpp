// SPDX-License-Identifier: Apache-2.0
// Hostile files at the door of import: each is refused or its rows are, no winner of one's own
// changes, and none costs more than two seconds of processor time.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <fstream>
#include <iterator>
#include <random>

#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"
#include "tuning_db/import.h"
#include "tuning_db/winners_text.h"

using namespace nvfp4;

namespace {

namespace fs = std::filesystem;

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kMostSeconds = 20;  // of instrumented code
#else
constexpr double kMostSeconds = 2;
#endif

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void fill(TuningDb& database, int rows) {
  const int64_t run = database.add_run(run_on(h100()));
  TuningDb::Batch batch(database);
  for (int64_t m = 1; m <= rows; ++m) {
    add_winner(database, run, h100(), measurement_of(config_of(8), m, 4.5));
  }
  batch.commit();
}

/// A database of one's own, with one winner that must never change.
struct Victim {
  TuningDb database{"", Access::memory};
  Winner winner;

  Victim() {
    winner = add_winner(database, database.add_run(run_on(h100())), h100(),
                        measurement_of(config_of(64), 1, 5));
  }

  /// Imports; the winners taken, or -1 when the file is refused.
  template <class Source>
  int64_t import(Source& source) {
    const double before = processor_seconds();
    int64_t taken = -1;
    try {
      if constexpr (std::is_same_v<Source, const fs::path>) {
        TuningDb from(source, Access::immutable);
        taken = import_winners(database, from).winners;
      } else {
        taken = import_winners(database, source, "sent.csv").winners;
      }
    } catch (const DatabaseError&) {
    }
    CHECK(processor_seconds() - before < kMostSeconds);
    int own = 0;
    for (const Winner& w : database.winners()) {
      if (w.origin == WinnerOrigin::imported) continue;
      ++own;
      CHECK(w == winner);
    }
    CHECK(own == 1);
    return taken;
  }
};

}  // namespace

TEST_SUITE("import attacks") {
  TEST_CASE("a bit flipped in any page of a sent file") {
    const TemporaryFolder folder;
    const fs::path path = folder / "sent.db";
    {
      TuningDb database(path, Access::read_write);
      fill(database, 3);
    }
    const std::string bytes = read_file(path);
    std::mt19937 random(20261128);
    Victim victim;
    int flips = 0;
    for (size_t page = 0; page < bytes.size() / 4096; ++page) {
      for (int i = 0; i < 12; ++i, ++flips) {
        // Both ends of a page are used: its header, and its youngest rows.
        const size_t offset = i % 2 == 0 ? random() % 120 : 4095 - random() % 700;
        std::string damaged = bytes;
        damaged[page * 4096 + offset] ^= static_cast<char>(1 << random() % 8);
        write_file(path, damaged);
        const fs::path& sent = path;
        CHECK(victim.import(sent) <= 3);
      }
    }
    CHECK(flips > 100);
    // Whatever was taken is what was sent, to the bit.
    for (const Winner& w : victim.database.winners()) {
      if (w.origin == WinnerOrigin::tuned) continue;
      CHECK(w.config == config_of(8));
      CHECK(w.expected_us == 4.5);
    }
  }

  TEST_CASE("a text with what does not belong into one") {
    TuningDb source("", Access::memory);
    fill(source, 2);
    const std::string text = winners_text(source);
    const size_t row = text.find("\n4096,") + 1;
    const std::string line = text.substr(row, text.find('\n', row) - row);
    const auto with_line = [&](const std::string& other) { return text + other + "\n"; };
    const auto replaced = [&](const std::string& from, const std::string& to) {
      std::string other = line;
      const size_t at = other.find(from);
      REQUIRE(at != std::string::npos);
      return with_line(other.replace(at, from.size(), to));
    };
    const std::string attacks[] = {
        replaced("13.0,13.0", std::string("13.0\0evil", 9) + ",13.0"),
        replaced("13.0,13.0", std::string(1 << 20, 'x') + ",13.0"),
        replaced("13.0,13.0", "../../../etc/passwd\x1b[31m,13.0"),
        replaced("\"family=mma", "\"../../family=mma"),
        replaced("4.500", "1e-300"),
        replaced("4.500", "-4.5"),
        replaced("4.500", "nan"),
        replaced("4.500", "inf"),
        replaced("4096,4096,", "9223372036854775807,4096,"),
        replaced("4096,4096,", "99999999999999999999,4096,"),
        replaced("\"family=mma", "\"family=mma,block_m=0"),
        with_line(std::string(1 << 20, ',')),
        with_line(std::string(100, '\0')),
        with_line("\xff\xfe\xfd"),
    };
    for (const std::string& attack : attacks) {
      Victim victim;
      const std::string_view sent = attack;
      CHECK(victim.import(sent) == 2);  // the two good lines
    }
    std::string many = text;
    for (int i = 0; i < 200'000; ++i) many += "x\n";
    Victim victim;
    const std::string_view sent = many;
    CHECK(victim.import(sent) == 2);
  }

  TEST_CASE("a text of thousands of shapes costs no more a shape than a short one") {
    TuningDb source("", Access::memory);
    fill(source, 1);
    std::string text = winners_text(source);
    const std::string line = text.substr(text.find("\n4096,") + 1);
    const std::string rest = line.substr(line.find(',', line.find(',') + 1));
    for (int n = 1; n <= 5000; ++n) text += fmt::format("{},256{}", n, rest);
    Victim victim;
    const std::string_view sent = text;
    CHECK(victim.import(sent) == 5001);
  }

  TEST_CASE("a file of many lying rows costs little") {
    const TemporaryFolder folder;
    const fs::path path = folder / "sent.db";
    {
      TuningDb database(path, Access::read_write);
      fill(database, 1);
    }
    execute_sql(path,
                "WITH RECURSIVE c(x) AS (SELECT 10 UNION ALL SELECT x+1 FROM c WHERE x<200000)"
                " INSERT INTO winner SELECT x,device,problem,policy,provenance,m_lo,m_hi,m_tuned,"
                "config,runner_up,regret_bound,evidence,origin,checksum FROM winner, c");
    Victim victim;
    const fs::path& sent = path;
    CHECK(victim.import(sent) == 1);
  }
}
