// SPDX-License-Identifier: Apache-2.0
// compact() makes a file smaller and changes no answer.
#include <doctest/doctest.h>

#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;

namespace {

Measurement with_samples(const KernelConfig& config, int64_t m, double us, int samples) {
  Measurement row = measurement_of(config, m, us);
  row.timing.samples = samples;
  row.samples_us.assign(1000, static_cast<float>(us));
  return row;
}

}  // namespace

TEST_SUITE("compact") {
  TEST_CASE("replaced rows and raw samples go, winners and the best row of each candidate stay") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    std::vector<Winner> winners;
    {
      TuningDb database(path, Access::read_write);
      const int64_t first = database.add_run(run_on(h100()));
      const int64_t second = database.add_run(run_on(h100()));
      for (int64_t m = 1; m <= 30; ++m) {
        database.add(first, with_samples(config_of(8), m, 4.5, 7));
        database.add(first, with_samples(config_of(16), m, 4.6, 7));
        database.add(first, failed(config_of(32), m, Verdict::spill, "8 bytes"));
        add_winner(database, second, h100(), with_samples(config_of(8), m, 4.4, 15));
        database.add(second, failed(config_of(32), m, Verdict::spill, "8 bytes"));
      }
      winners = database.winners();
    }
    TuningDb database(path, Access::read_write);
    const TuningDb::Compaction result = database.compact();
    CHECK(result.measurements == 60);
    CHECK(result.samples == 30);
    CHECK(result.bad_rows == 0);
    CHECK(result.bytes_after < result.bytes_before * 2 / 3);
    CHECK(static_cast<int64_t>(std::filesystem::file_size(path)) == result.bytes_after);
    CHECK(database.winners() == winners);
    CHECK(database.measurements().size() == 90);
    for (const Measurement& row : database.measurements()) {
      if (row.kernel.config == config_of(8)) CHECK(row.samples_us.size() == 1000);
      if (row.kernel.config == config_of(16)) {
        CHECK(row.samples_us.empty());
        CHECK(row.timing.samples == 7);
      }
    }
    CHECK(database.warnings().empty());
    const TuningDb::Compaction again = database.compact();
    CHECK(again.measurements + again.samples + again.unused == 0);
    CHECK(TuningDb(path, Access::immutable).winners() == winners);
  }

  TEST_CASE("rows of another toolchain, of benchmarks and of comparisons stay") {
    TuningDb database("", Access::memory);
    RunRecord old = run_on(h100());
    old.toolchain.nvrtc = "12.9";
    RunRecord bench = run_on(h100());
    bench.purpose = Purpose::bench;
    const int64_t runs[] = {database.add_run(old), database.add_run(bench),
                            database.add_run(run_on(h100()))};
    int64_t last = 0;
    for (const int64_t run : runs) {
      last = database.add(run, with_samples(config_of(8), 1, 4.5, 7));
      database.add(run, with_samples(config_of(8), 1, 4.5, 7));
    }
    database.add(Comparison{.base_run = runs[1],
                            .run = runs[2],
                            .problem = square_problem(),
                            .m = 1,
                            .measurement = last});
    const TuningDb::Compaction result = database.compact();
    CHECK(result.measurements == 1);  // of the old toolchain: the others are named or a series
    CHECK(database.measurements().size() == 5);
    CHECK(database.runs().size() == 3);
    REQUIRE(database.comparisons().size() == 1);
  }

  TEST_CASE("damaged rows go, and with them what only they used") {
    const TemporaryFolder folder;
    const std::string path = folder / "tuning.db";
    {
      TuningDb database(path, Access::read_write);
      add_winner(database, database.add_run(run_on(h100())), h100(),
                 measurement_of(config_of(8), 1, 4.5));
      Device other = h100();
      other.sm_count = 114;
      database.add(database.add_run(run_on(other)), measurement_of(config_of(16), 1, 4.5));
    }
    execute_sql(path, "UPDATE measurement SET m = 3 WHERE id = 2");
    TuningDb database(path, Access::read_write);
    const TuningDb::Compaction result = database.compact();
    CHECK(result.bad_rows == 1);
    CHECK(result.unused == 3);  // a run, a kernel, a device
    CHECK(database.winners().size() == 1);
    CHECK(database.warnings().empty());
    CHECK_THROWS_AS(TuningDb(path, Access::read_only).compact(), DatabaseError);
  }
}
