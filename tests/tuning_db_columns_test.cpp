// SPDX-License-Identifier: Apache-2.0
// Tables column by column.
#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"
#include "tuning_db/columns.h"

namespace nvfp4 {
namespace {

const TableColumns& named(const std::vector<TableColumns>& tables, const std::string& name) {
  for (const TableColumns& table : tables) {
    if (table.name == name) return table;
  }
  throw std::runtime_error("no table " + name);
}

const ColumnValues* find(const TableColumns& table, const std::string& name) {
  for (const ColumnValues& column : table.columns) {
    if (column.name == name) return &column;
  }
  return nullptr;
}

using Numbers = std::vector<double>;
using Words = std::vector<std::string>;

}  // namespace

TEST_SUITE("tuning_db_columns") {
  TEST_CASE("a database gives every table column by column, without checksums and samples") {
    TuningDb database("", Access::memory);
    const int64_t run = database.add_run(run_on(h100()));
    database.add(run, measurement_of(config_of(8), 1, 3));
    database.add(run, measurement_of(config_of(16), 1, 5));
    const std::vector<TableColumns> tables = database.columns();
    CHECK(tables.size() == 12);
    const TableColumns& measurement = named(tables, "measurement");
    CHECK(measurement.rows == 2);
    CHECK(measurement.columns.front().name == "id");
    CHECK(find(measurement, "id")->numbers == Numbers{1, 2});
    CHECK(find(measurement, "median_us")->numbers == Numbers{3, 5});
    CHECK(find(measurement, "kernel")->numbers == Numbers{1, 2});
    CHECK(find(measurement, "verdict")->numbers == Numbers{0, 0});
    CHECK(find(measurement, "verdict")->words == Words{"ok"});
    CHECK_FALSE(find(measurement, "median_us")->words.has_value());
    CHECK(find(measurement, "samples_us") == nullptr);
    CHECK(find(measurement, "checksum") == nullptr);
    CHECK(find(named(tables, "kernel"), "config")->words->size() == 2);
    CHECK(named(tables, "rival").rows == 0);
  }

  TEST_CASE("NULL is NaN") {
    TuningDb database("", Access::memory);
    const int64_t base = database.add_run(run_on(h100()));
    const int64_t run = database.add_run(run_on(h100()));
    const int64_t measured = database.add(run, measurement_of(config_of(8), 1, 3));
    database.add(Comparison{.base_run = base,
                            .run = run,
                            .problem = square_problem(),
                            .m = 1,
                            .question = Question::best_config,
                            .verdict = Change::added,
                            .measurement = measured});
    const std::vector<TableColumns> tables = database.columns();
    const TableColumns& comparison = named(tables, "comparison");
    CHECK(find(comparison, "measurement")->numbers == Numbers{1});
    CHECK(std::isnan(find(comparison, "base_measurement")->numbers.at(0)));
  }

  TEST_CASE("a damaged row is reported, and its columns lack it alike") {
    const TemporaryFolder folder;
    const std::string path = folder.path() / "a.db";
    {
      TuningDb database(path, Access::read_write);
      const int64_t run = database.add_run(run_on(h100()));
      for (const double us : {3.0, 5.0, 7.0}) {
        database.add(run, measurement_of(config_of(8), 1, us));
      }
    }
    execute_sql(path, "UPDATE measurement SET median_us = 1 WHERE id = 2");
    TuningDb database(path, Access::read_only);
    const std::vector<TableColumns> tables = database.columns();
    const TableColumns& measurement = named(tables, "measurement");
    CHECK(measurement.rows == 2);
    for (const ColumnValues& column : measurement.columns) CHECK(column.numbers.size() == 2);
    CHECK(find(measurement, "median_us")->numbers == Numbers{3, 7});
    REQUIRE(database.warnings().size() == 1);
    CHECK(database.warnings()[0].find("measurement row 2 skipped") != std::string::npos);
  }
}

}  // namespace nvfp4
