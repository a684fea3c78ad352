// SPDX-License-Identifier: Apache-2.0
// Several processes on one database: creators, writers, and writers that die without warning.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <random>
#include <thread>

#include "tests/raw_sqlite.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

namespace nvfp4 {
namespace {

/// Runs `body` in a child that ends with its result, or with 99 when it throws.
pid_t spawn(const std::function<int()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child != 0) return child;
  int status = 99;
  try {
    status = body();
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
  }
  _exit(status);
}

int wait_for(pid_t child) {
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Runs `body` in `count` children that all begin at once; true when each returned 0.
bool swarm(int count, const std::function<int()>& body) {
  int gate[2];
  REQUIRE(pipe(gate) == 0);
  std::vector<pid_t> children;
  for (int i = 0; i < count; ++i) {
    children.push_back(spawn([&] {
      close(gate[1]);
      char go = 0;
      if (::read(gate[0], &go, 1) != 0) return 1;  // end of file: every writer has closed
      return body();
    }));
  }
  close(gate[0]);
  close(gate[1]);
  bool good = true;
  for (const pid_t child : children) good = wait_for(child) == 0 && good;
  return good;
}

/// What a tuner does for one candidate.
void tune_once(TuningDb& database, int64_t run, int64_t m) {
  database.start(run, square_problem(), config_of(8));
  add_winner(database, run, h100(), measurement_of(config_of(8), m, 3));
  database.finish(run, square_problem(), config_of(8));
}

TEST_CASE("sixteen processes that create one database at once all succeed") {
  const TemporaryFolder folder;
  for (int round = 0; round < 5; ++round) {
    const std::filesystem::path path = folder / ("new" + std::to_string(round)) / "tuning.db";
    CHECK(swarm(16, [&] {
      TuningDb database(path, Access::read_write);
      database.add_run(run_on(h100()));
      return database.warnings().empty() ? 0 : 2;
    }));
    CHECK(TuningDb(path, Access::read_only).counts().runs == 16);
    CHECK(!std::filesystem::exists(path.string() + ".corrupt-1"));
  }
}

TEST_CASE("sixteen processes that meet one corrupt file set it aside once") {
  const TemporaryFolder folder;
  for (int round = 0; round < 5; ++round) {
    const std::filesystem::path path = folder / (std::to_string(round) + ".db");
    { TuningDb(path, Access::read_write); }
    std::filesystem::resize_file(path, 5000);
    CHECK(swarm(16, [&] {
      TuningDb(path, Access::read_write).add_run(run_on(h100()));
      return 0;
    }));
    CHECK(TuningDb(path, Access::read_only).counts().runs == 16);
    CHECK(std::filesystem::exists(path.string() + ".corrupt-1"));
    CHECK(!std::filesystem::exists(path.string() + ".corrupt-2"));
  }
}

TEST_CASE("reads of one moment see nothing that a tuner writes meanwhile") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  {
    TuningDb database(path, Access::read_write);
    tune_once(database, database.add_run(run_on(h100())), 1);
  }
  TuningDb reader(path, Access::read_only);
  std::thread tuner;  // in this process: a child would inherit the lock of what is open here
  {
    const TuningDb::Reading reading(reader);
    CHECK(reader.runs().size() == 1);
    tuner = std::thread([&] {
      TuningDb database(path, Access::read_write);
      tune_once(database, database.add_run(run_on(h100())), 2);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    CHECK(reader.measurements().size() == 1);
    CHECK(reader.winners().size() == 1);
  }
  tuner.join();
  CHECK(reader.winners().size() == 2);
}

TEST_CASE("two tuners on one database both keep every row") {
  constexpr int kRows = 40;
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  std::vector<pid_t> children;
  for (int tuner = 0; tuner < 2; ++tuner) {
    children.push_back(spawn([&, tuner] {
      TuningDb database(path, Access::read_write);
      const int64_t run = database.add_run(run_on(h100()));
      for (int i = 0; i < kRows; ++i) tune_once(database, run, 1 + tuner * kRows + i);
      return 0;
    }));
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  TuningDb database(path, Access::read_only);
  CHECK(database.measurements().size() == 2 * kRows);
  CHECK(database.winners().size() == 2 * kRows);
  CHECK(database.suspects(key_of(h100()), square_problem()).empty());
  CHECK(database.warnings().empty());
}

TEST_CASE("a tuner killed at any moment leaves every row it was told was stored") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  { TuningDb(path, Access::read_write); }
  std::mt19937 random(7);
  int64_t acknowledged = 0;
  for (int round = 0; round < 60; ++round) {
    int progress[2];
    REQUIRE(pipe(progress) == 0);
    const pid_t child = spawn([&] {
      close(progress[0]);
      TuningDb database(path, Access::read_write);
      const int64_t run = database.add_run(run_on(h100()));
      for (int64_t m = 1;; ++m) {
        tune_once(database, run, m);
        if (write(progress[1], ".", 1) != 1) return 1;
      }
    });
    close(progress[1]);
    char first = 0;  // the child is past its start, however slow the machine is
    REQUIRE(::read(progress[0], &first, 1) == 1);
    ++acknowledged;
    usleep(random() % 20000);
    kill(child, SIGKILL);
    CHECK(wait_for(child) == -SIGKILL);
    char bytes[4096];
    for (ssize_t got; (got = ::read(progress[0], bytes, sizeof bytes)) > 0;) acknowledged += got;
    close(progress[0]);

    // Read first: a reader must cope with the journal that the dead writer may have left.
    TuningDb database(path, round % 2 == 0 ? Access::read_only : Access::read_write);
    const int64_t stored = static_cast<int64_t>(database.measurements().size());
    CHECK(stored >= acknowledged);
    acknowledged = stored;
    CHECK(database.warnings().empty());
    CHECK(database.winners().size() > 0);
  }
  TuningDb database(path, Access::read_only);
  const auto suspects = database.suspects(key_of(h100()), square_problem());
  CHECK(suspects.size() <= 1);
  CHECK(acknowledged >= 60);
}

TEST_CASE("a reader rolls back the journal of a writer that died inside a commit") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  {
    TuningDb database(path, Access::read_write);
    const int64_t run = database.add_run(run_on(h100()));
    add_winner(database, run, h100(), measurement_of(config_of(8), 1, 3));
  }
  // A cache of one page spills changed pages into the file before the commit; then death.
  const pid_t child = spawn([&] {
    sqlite3* handle = nullptr;
    sqlite3_open(path.c_str(), &handle);
    sqlite3_exec(
        handle,
        "PRAGMA cache_size=1; PRAGMA cache_spill=1; BEGIN IMMEDIATE;"
        "UPDATE winner SET m_hi=99; UPDATE measurement SET m=99; UPDATE run SET seed=0;"
        "UPDATE kernel SET registers=0; UPDATE problem SET n=1; UPDATE device SET arch='x'",
        nullptr, nullptr, nullptr);
    raise(SIGKILL);
    return 0;
  });
  CHECK(wait_for(child) == -SIGKILL);
  REQUIRE(std::filesystem::file_size(path.string() + "-journal") > 512);
  TuningDb database(path, Access::read_only);
  CHECK(database.winners().size() == 1);
  CHECK(database.warnings().empty());
}

TEST_CASE("a user who may not write there is told so, and can still read") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  {
    TuningDb database(path, Access::read_write);
    const int64_t run = database.add_run(run_on(h100()));
    add_winner(database, run, h100(), measurement_of(config_of(8), 1, 3));
  }
  chmod(path.c_str(), 0444);
  chmod(folder.path().c_str(), 0555);
  const pid_t child = spawn([&] {
    if (geteuid() == 0 && setuid(65534) != 0) return 1;  // root may write anywhere
    for (const Access access : {Access::read_only, Access::immutable}) {
      TuningDb database(path, access);
      if (database.winners().size() != 1 || !database.warnings().empty()) return 2;
    }
    for (const std::string& target : {path.string(), (folder / "new.db").string()}) {
      try {
        TuningDb database(target, Access::read_write);
        return 3;
      } catch (const DatabaseError& error) {
        const std::string message = error.what();
        if (message.find(target + ": cannot write to its directory") == std::string::npos) return 4;
      }
    }
    return 0;
  });
  CHECK(wait_for(child) == 0);
  chmod(folder.path().c_str(), 0755);
  const pid_t second = spawn([&] {
    if (geteuid() == 0 && setuid(65534) != 0) return 1;
    try {
      TuningDb database(path, Access::read_write);
    } catch (const DatabaseError&) {
      return 0;
    }
    return 2;
  });
  CHECK(wait_for(second) == 0);
}

TEST_CASE("a full disk is an error that names the file, and what was stored before stays") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "tuning.db";
  { TuningDb(path, Access::read_write); }
  const pid_t child = spawn([&] {
    TuningDb database(path, Access::read_write);
    const int64_t run = database.add_run(run_on(h100()));
    database.add(run, measurement_of(config_of(8), 1, 3));
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{64 * 1024, 64 * 1024};
    setrlimit(RLIMIT_FSIZE, &limit);
    Measurement large = measurement_of(config_of(8), 2, 3);
    large.samples_us.assign(4096, 1.0f);
    for (int i = 0; i < 20; ++i) {
      try {
        database.add(run, large);
      } catch (const DatabaseError& error) {
        const std::string message = error.what();
        return message.find(path.string()) != std::string::npos &&
                       message.find('\n') == std::string::npos
                   ? 0
                   : 2;
      }
    }
    return 1;
  });
  CHECK(wait_for(child) == 0);
  TuningDb database(path, Access::read_write);
  CHECK(database.warnings().empty());
  CHECK(database.measurements().size() >= 1);
  CHECK(database.measurements()[0].m == 1);
}

}  // namespace
}  // namespace nvfp4
