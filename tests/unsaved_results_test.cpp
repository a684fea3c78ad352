// SPDX-License-Identifier: Apache-2.0
// A tuner that has no place for its results goes on in memory, warns once, prints its table, and
// says by its exit code that nothing was saved.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli_process.h"
#include "tuning_db/tuning_db.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

const std::string kTune =
    "--shape 64,64 --M 1,8 --policy graph --max-candidates 3 --device emulated:h100 --format json";

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// Runs with a home of its own; NVFP4_DB and XDG_DATA_HOME are not set.
CliResult tune(const std::vector<std::string>& more) {
  std::vector<std::string> variables = {"NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/cli_cache",
                                        "NVFP4_DB", "XDG_DATA_HOME"};
  variables.insert(variables.end(), more.begin(), more.end());
  return run_cli(kTune, variables);
}

void check_unsaved(const CliResult& result, const std::string& reason) {
  CHECK_MESSAGE(result.code == 1, result.err);
  REQUIRE_MESSAGE(Json::accept(result.out), result.err);
  CHECK(Json::parse(result.out)["rows"].size() == 2);
  CHECK_MESSAGE(result.err.find(reason) != std::string::npos, result.err);
  CHECK(count(result.err, "in memory") == 1);
}

bool preload_works() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  MESSAGE("not run: a sanitizer's library must be the first that is loaded");
  return false;
#else
  return true;
#endif
}

}  // namespace

TEST_SUITE("unsaved results") {
  TEST_CASE("without a home") {
    check_unsaved(tune({"HOME"}), "neither NVFP4_DB, XDG_DATA_HOME nor HOME is set");
  }

  TEST_CASE("in a home that is no folder, or one that cannot be written") {
    const TemporaryFolder folder;
    std::ofstream(folder / "file") << "";
    check_unsaved(tune({"HOME=" + (folder / "file").string()}), "Not a directory");
    check_unsaved(tune({"HOME=/proc"}), "cannot create directory /proc/.local");
    mkdir((folder / "sealed").c_str(), 0500);
    // Root may write everywhere.
    if (access((folder / "sealed").c_str(), W_OK) != 0) {
      check_unsaved(tune({"HOME=" + (folder / "sealed").string()}), "Permission denied");
    } else {
      MESSAGE("not run: root may write to a sealed folder");
    }
  }

  TEST_CASE("on a network file system, whose locks cannot be trusted") {
    if (!preload_works()) return;
    const TemporaryFolder folder;
    check_unsaved(
        tune({"HOME=" + folder.path().string(), "LD_PRELOAD=" FAULT_FILES, "FAULT_STATFS=6969"}),
        "is on NFS, where file locks cannot be trusted");
    check_unsaved(tune({"HOME=" + folder.path().string(), "LD_PRELOAD=" FAULT_FILES,
                        "FAULT_STATFS=0bd00bd0"}),
                  "is on Lustre");
  }

  TEST_CASE("on a disk that is full from the start, or becomes so at any write") {
    if (!preload_works()) return;
    int unsaved = 0;
    for (const int writes : {0, 7, 30, 45, 61, 90, 131, 200, 300, 3000}) {
      const TemporaryFolder folder;
      const CliResult result = tune({"HOME=" + folder.path().string(), "LD_PRELOAD=" FAULT_FILES,
                                     "FAULT_WRITES=" + std::to_string(writes)});
      if (result.code != 0) {
        ++unsaved;
        check_unsaved(result, "disk full");
      }
      // What had been written before is a sound database.
      const std::string path = folder / ".local/share/nvfp4/tuning.db";
      if (!std::filesystem::exists(path) || std::filesystem::file_size(path) == 0) continue;
      TuningDb database(path, Access::read_only);
      CHECK(database.measurements().size() <= 6);
      CHECK(database.warnings().empty());
      if (result.code == 0) CHECK(database.winners().size() == 2);
    }
    CHECK(unsaved >= 5);
    CHECK(unsaved < 10);
  }

  TEST_CASE("a place that was named must be usable: nothing is tuned for nothing") {
    const CliResult result = tune({"NVFP4_DB=/proc/tuning.db"});
    CHECK(result.code == 1);
    CHECK(result.out.empty());
    CHECK(result.err.find("/proc/tuning.db") != std::string::npos);
  }
}
