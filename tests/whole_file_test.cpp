// SPDX-License-Identifier: Apache-2.0
// Files written whole or not at all, and what cannot be written, by name.
#include "tuner/whole_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/temporary_folder.h"

using namespace nvfp4;
namespace fs = std::filesystem;

namespace {

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const FileError& error) {
    return error.what();
  }
  return "accepted";
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_SUITE("whole_file") {
  TEST_CASE("a file is written, read back and replaced, and nothing stands beside it") {
    TemporaryFolder folder;
    const std::string path = folder / "a.json";
    replace_file(path, "first");
    CHECK(read_file(path, 100) == "first");
    const std::string text(200'000, 'x');
    replace_file(path, text);
    CHECK(read_file(path, 200'000) == text);
    CHECK(entries(folder.path()) == 1);
  }

  TEST_CASE("a link stays a link, and permissions stay what they were") {
    TemporaryFolder folder;
    const std::string real = folder / "real";
    const std::string link = folder / "link";
    replace_file(real, "old");
    fs::permissions(real, fs::perms::owner_read | fs::perms::owner_write);
    fs::create_symlink(real, link);
    replace_file(link, "new");
    CHECK(fs::is_symlink(link));
    CHECK(read_file(real, 100) == "new");
    CHECK(fs::status(real).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
  }

  TEST_CASE("what cannot be written is named with the reason and left alone") {
    TemporaryFolder folder;
    const std::string missing = folder / "no/such/a.json";
    CHECK(refusal([&] { replace_file(missing, "x"); }) ==
          "cannot write " + missing + ": No such file or directory");
    CHECK(refusal([&] { replace_file(folder.path(), "x"); }) ==
          "cannot write " + folder.path().string() + ": Is a directory");
    CHECK(refusal([] { replace_file("/dev/full", "x"); }) ==
          "cannot write /dev/full: No space left on device");
    CHECK(entries(folder.path()) == 0);
  }

  TEST_CASE("whether a file can be written is known before there is anything to write") {
    TemporaryFolder folder;
    const std::string path = folder / "a.json";
    check_replaceable(path);
    CHECK(entries(folder.path()) == 0);
    replace_file(path, "kept");
    check_replaceable(path);
    CHECK(read_file(path, 100) == "kept");
    check_replaceable("/dev/null");
    const std::string missing = folder / "no/such/a.json";
    CHECK(refusal([&] { check_replaceable(missing); }) ==
          "cannot write " + missing + ": No such file or directory");
    CHECK(refusal([&] { check_replaceable(folder.path()); }) ==
          "cannot write " + folder.path().string() + ": Is a directory");
    CHECK(refusal([] { check_replaceable("/proc/nvfp4.json"); }).starts_with("cannot write /proc"));
  }

  TEST_CASE("a device is written to directly") {
    replace_file("/dev/null", "gone");
    CHECK(fs::is_character_file("/dev/null"));
  }

  TEST_CASE("what cannot be read is named with the reason") {
    TemporaryFolder folder;
    const std::string path = folder / "a.json";
    CHECK(refusal([&] { read_file(path, 9); }) ==
          "cannot read " + path + ": No such file or directory");
    replace_file(path, "0123456789");
    CHECK(refusal([&] { read_file(path, 9); }) == "cannot read " + path + ": it exceeds 9 bytes");
    CHECK(refusal([&] { read_file(folder.path(), 9); }) ==
          "cannot read " + folder.path().string() + ": no regular file");
    // A pipe would be waited for without end.
    const std::string pipe = folder / "pipe";
    REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
    CHECK(refusal([&] { read_file(pipe, 9); }) == "cannot read " + pipe + ": no regular file");
  }
}
