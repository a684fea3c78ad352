// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune dashboard as a user runs it: what it writes, what it refuses, and what it leaves
// alone. The browser's side of it is tested in dashboard/tests.
#include "tuner/dashboard_command.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "tests/cli_process.h"
#include "tests/temporary_folder.h"
#include "tuner/dashboard_page.h"
#include "tuner/whole_file.h"

using namespace nvfp4;
namespace fs = std::filesystem;

namespace {

const std::string kShipped = NVFP4_BINARY_DIR "/share/nvfp4/h100-sxm5.db";
constexpr size_t kLimit = 64 << 20;

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

CliResult dashboard(const fs::path& out, const std::string& options,
                    const std::vector<std::string>& variables = {}) {
  return run_cli("dashboard --out " + out.string() + " " + options, variables);
}

// Each winner of a shipped text comes with one measurement.
size_t shipped_rows(const std::string& card) {
  const std::string text = NVFP4_SOURCE_DIR "/tuning_db/gpus/" + card + ".csv";
  return count(read_file(text, kLimit), "\"family=");
}

bool says_rows(const CliResult& result, size_t rows) {
  return result.err.find(std::to_string(rows) + " measurements of") != std::string::npos;
}

}  // namespace

TEST_SUITE("dashboard_command") {
  TEST_CASE("the page that is carried is the one that is checked in, with its marks once each") {
    const std::string page(dashboard_page());
    CHECK(page == read_file(NVFP4_SOURCE_DIR "/dashboard/dist/index.html", kLimit));
    CHECK(count(page, "<!-- nvfp4-data -->") == 1);
    CHECK(count(page, "<script type=\"application/json\" id=\"nvfp4-models\"></script>") == 1);
    CHECK(is_dashboard_page(page));
    CHECK(page.size() <= 2'500'000);
  }

  TEST_CASE("a database becomes index.html in a folder that is made, and its path is printed") {
    TemporaryFolder folder;
    const fs::path out = folder.path() / "a" / "site";
    const CliResult result = dashboard(out, "--db " + kShipped);
    CHECK(result.code == 0);
    CHECK(result.out == (out / "index.html").string() + "\n");
    CHECK(says_rows(result, shipped_rows("h100-sxm5")));
    const std::string html = read_file(out / "index.html", kLimit);
    CHECK(is_dashboard_page(html));
    CHECK(count(html, "class=\"nvfp4-data\" data-name=\"h100-sxm5.db\">H4sI") == 1);
    CHECK(count(html, "\"name\":\"llama-3.3-70b\"") == 1);
  }

  TEST_CASE("an older page is replaced, somebody's file only with --force") {
    TemporaryFolder folder;
    CHECK(dashboard(folder.path(), "--db " + kShipped).code == 0);
    CHECK(dashboard(folder.path(), "--db " + kShipped).code == 0);
    const fs::path target = folder.path() / "index.html";
    replace_file(target, "my home page\n");
    const CliResult refused = dashboard(folder.path(), "--db " + kShipped);
    CHECK(refused.code == 1);
    CHECK(refused.err ==
          "nvfp4-tune: " + target.string() + " exists and is no dashboard: --force replaces it\n");
    CHECK(read_file(target, kLimit) == "my home page\n");
    CHECK(dashboard(folder.path(), "--force --db " + kShipped).code == 0);
    CHECK(is_dashboard_page(read_file(target, kLimit)));
  }

  TEST_CASE("several databases become one, and rows that both hold are there once") {
    TemporaryFolder folder;
    const CliResult result = dashboard(folder.path(), "--db " + kShipped + " --db " + kShipped);
    CHECK(result.code == 0);
    CHECK(says_rows(result, shipped_rows("h100-sxm5")));
    CHECK(count(read_file(folder.path() / "index.html", kLimit), "data-name=\"2 databases\"") > 0);
  }

  TEST_CASE("without --db the shipped databases are shown") {
    TemporaryFolder folder;
    const CliResult result = dashboard(folder.path() / "site", "",
                                       {"NVFP4_DB", "XDG_DATA_HOME=" + folder.path().string()});
    CHECK(result.code == 0);
    CHECK(says_rows(result, shipped_rows("h100-sxm5") + shipped_rows("h200-sxm")));
  }

  TEST_CASE("what cannot be shown is one line and no page") {
    TemporaryFolder folder;
    const fs::path out = folder.path() / "site";
    const fs::path broken = folder.path() / "broken.db";
    replace_file(broken, "SQLite format 3 and no more");
    for (const std::string& path : {broken.string(), (folder.path() / "none.db").string()}) {
      const CliResult result = dashboard(out, "--db " + path);
      CHECK(result.code == 1);
      CHECK(result.err.find(path) != std::string::npos);
      CHECK(count(result.err, "\n") == 1);
      CHECK_FALSE(fs::exists(out / "index.html"));
    }
    CHECK(read_file(broken, kLimit) == "SQLite format 3 and no more");
    CHECK(run_cli("dashboard").code == 2);
    CHECK(dashboard(out, "--M 4").code == 2);
  }

  TEST_CASE("a name is text and never markup") {
    const std::string html =
        dashboard_page({.data = "x", .name = "<script>\"'&.db", .models = "[]"});
    CHECK(count(html, "data-name=\"&#60;script&#62;&#34;&#39;&#38;.db\"") == 1);
  }
}
