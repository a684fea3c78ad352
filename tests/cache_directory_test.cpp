// SPDX-License-Identifier: Apache-2.0
// The cache's directory against planted files, dying processes and its size limit, through the
// cache that uses it where that says more.
#include "runtime/cache_directory.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <random>

#include "runtime/cache_entry.h"
#include "tests/cache_fixture.h"

namespace nvfp4 {
namespace {
namespace fs = std::filesystem;
}  // namespace

TEST_CASE("an entry that others could have planted is not read") {
  CacheFixture f;
  CubinCache cache(f.options());
  const std::string good = encode_entry(kKey, "s", sample_compilation());
  const fs::path elsewhere = f.folder / "elsewhere";
  write_file(elsewhere, good);

  SUBCASE("a symbolic link") { fs::create_symlink(elsewhere, f.entry()); }
  SUBCASE("a file that others can write") {
    write_file(f.entry(), good);
    chmod(f.entry().c_str(), 0666);
  }
  SUBCASE("a pipe") { REQUIRE(mkfifo(f.entry().c_str(), 0600) == 0); }
  SUBCASE("a folder") { fs::create_directory(f.entry()); }
  SUBCASE("a sparse file of 50 GB") {
    write_file(f.entry(), good);
    fs::resize_file(f.entry(), uintmax_t{50} << 30);
  }
  CHECK_FALSE(cache.find(kKey));
  CHECK(f.warnings.size() == 1);
  CHECK(read_file(elsewhere) == good);
  cache.store(kKey, "s", sample_compilation());
  CHECK(cache.find(kKey) == sample_compilation());
  CHECK(read_file(elsewhere) == good);
}

TEST_CASE("directory and files are the user's alone") {
  CacheFixture f;
  const mode_t before = umask(0);
  CubinCache cache(f.options());
  cache.store(kKey, "s", sample_compilation());
  umask(before);
  struct stat status;
  REQUIRE(stat((f.folder / "cache").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
  REQUIRE(stat(f.entry().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0400);
}

TEST_CASE("the longest unused entries go when the limit is passed") {
  CacheFixture f;
  constexpr int64_t kLimit = 1 << 20;
  CubinCache cache(f.options(f.folder / "cache", kLimit));
  write_file(f.folder / "cache" / "notes.txt", std::string(3 << 20, 'x'));
  for (int i = 0; i < 300; ++i) {
    cache.store(key_of(i), "s", sample_compilation(8000));
    cache.find(key_of(0));  // stays in use
  }
  int64_t total = 0;
  for (const auto& file : fs::directory_iterator(f.folder / "cache")) {
    if (file.path().extension() == ".entry") total += static_cast<int64_t>(file.file_size());
  }
  CHECK(total <= kLimit * 11 / 10);
  CHECK(total >= kLimit / 2);
  CHECK(cache.find(key_of(299)));
  CHECK(cache.find(key_of(0)));
  CHECK_FALSE(cache.find(key_of(1)));
  CHECK(fs::exists(f.folder / "cache" / "notes.txt"));
}

TEST_CASE("temporary files of a dead writer are collected") {
  CacheFixture f;
  CubinCache cache(f.options());
  const fs::path old_file = f.folder / "cache" / ".nvfp4-0123",
                 new_file = f.folder / "cache" / ".nvfp4-4567";
  write_file(old_file, "x");
  write_file(new_file, "x");
  fs::last_write_time(old_file, fs::file_time_type::clock::now() - std::chrono::hours(2));
  cache.store(kKey, "s", sample_compilation());
  CHECK_FALSE(fs::exists(old_file));
  CHECK(fs::exists(new_file));
}

TEST_CASE("a killed holder of the lock leaves it to the next") {
  CacheFixture f;
  const CacheDirectory directory(f.folder / "cache");
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const FileDescriptor held = directory.lock(kKey, std::chrono::seconds(1));
    if (write(ready[1], "x", 1) != 1) _exit(1);
    pause();
  }
  char byte;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  CHECK_FALSE(directory.lock(kKey, std::chrono::milliseconds(30)));
  CHECK(directory.lock(key_of(1), std::chrono::milliseconds(30)));
  kill(child, SIGKILL);
  wait_for(child);
  CHECK(directory.lock(kKey, std::chrono::milliseconds(0)));
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("a reader sees one writer's entry whole, however writers die") {
  CacheFixture f;
  CubinCache reader(f.options());
  std::mt19937 random(3);
  int seen = 0;
  for (int round = 0; round < 60; ++round) {
    pid_t writers[2];
    for (int w = 0; w < 2; ++w) {
      writers[w] = fork();
      REQUIRE(writers[w] >= 0);
      if (writers[w] == 0) {
        CubinCache cache({f.folder / "cache", 1 << 30, {}});
        Compilation c = sample_compilation();
        c.cubin = std::string(100000, static_cast<char>('0' + w));
        c.ptx = std::string(1000, static_cast<char>('0' + w));
        for (;;) cache.store(kKey, "s", c);
      }
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 20000);
    do {
      if (const auto c = reader.find(kKey)) {
        ++seen;
        REQUIRE(c->cubin == std::string(100000, c->cubin[0]));
        REQUIRE(c->ptx == std::string(1000, c->cubin[0]));
      }
    } while (std::chrono::steady_clock::now() < end);
    for (pid_t writer : writers) {
      kill(writer, SIGKILL);
      wait_for(writer);
    }
  }
  CHECK(seen > 0);
  CHECK(f.warnings.empty());
}

}  // namespace nvfp4
