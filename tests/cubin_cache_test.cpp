// SPDX-License-Identifier: Apache-2.0
// The cubin cache with the real compiler: keys, damage, unusable disks and several processes.
#include "runtime/cubin_cache.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "runtime/cache_entry.h"
#include "tests/cache_fixture.h"

extern char** environ;

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

// Sanitizers slow the code down too far for a bound on time to mean anything tight.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::chrono::milliseconds kHitBound{50};
#else
constexpr std::chrono::milliseconds kHitBound{1};
#endif

constexpr Arch kArch{9, 0, true};
constexpr char kSource[] = "extern \"C\" __global__ void k(float* p) { p[0] = 7.0f; }";

/// Starts this test program again with one test case that is skipped otherwise.
pid_t start_child(const char* test_case) {
  const std::string filter = std::string("--test-case=") + test_case;
  const char* arguments[] = {"cubin_cache_test", filter.c_str(), "--no-skip", nullptr};
  pid_t child = 0;
  REQUIRE(posix_spawn(&child, "/proc/self/exe", nullptr, nullptr,
                      const_cast<char* const*>(arguments), environ) == 0);
  return child;
}

}  // namespace

TEST_CASE("the key of known fields stays what it is") {
  const std::string options[] = {"--std=c++20", "--gpu-architecture=sm_90a"};
  const KeyFields fields{"source", "templates", kArch, options, "NVRTC 13.0"};
  CHECK(cache_key(fields) == "acecbd894e91d4d503af709b7eb1e7394f6359eb6bce903085706f85a3700190");
}

TEST_CASE("each field changes the key, and no text can pass for two fields") {
  const std::string options[] = {"-I", "-O2"}, joined[] = {"-I-O2"};
  const KeyFields fields{"source", "templates", kArch, options, "13.0"};
  std::set<std::string> keys = {cache_key(fields)};
  const auto with = [&](auto change) {
    KeyFields other = fields;
    change(other);
    keys.insert(cache_key(other));
  };
  with([](KeyFields& f) { f.source = "source "; });
  with([](KeyFields& f) { f.source = "sourcetemplates", f.templates = ""; });
  with([](KeyFields& f) { f.templates = "Templates"; });
  with([](KeyFields& f) { f.arch = {9, 0}; });
  with([](KeyFields& f) { f.arch = {8, 9}; });
  with([&](KeyFields& f) { f.options = joined; });
  with([&](KeyFields& f) { f.options = std::span(options, 1); });
  with([](KeyFields& f) { f.compiler = "13.1"; });
  CHECK(keys.size() == 9);
}

TEST_CASE("folder, home and path are no part of the key") {
  const Compiler compiler = Compiler::open();
  const std::string key = cache_key(compiler, kSource, kArch);
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  const ScopedEnvironment home("HOME", folder.path().c_str());
  const ScopedEnvironment path("PATH", "/nowhere");
  CHECK(cache_key(Compiler::open(), kSource, kArch) == key);
  fs::current_path(before);
}

TEST_CASE("the second request is answered from disk, also by another cache object") {
  CacheFixture f;
  const Compiler compiler = Compiler::open();
  CubinCache first(f.options());
  const Compilation compiled = first.get_or_compile(compiler, kSource, kArch);
  REQUIRE_MESSAGE(compiled.ok, compiled.log);
  CHECK(first.stats().misses == 1);
  CHECK(first.get_or_compile(compiler, kSource, kArch) == compiled);
  CubinCache second(f.options());
  CHECK(second.get_or_compile(compiler, kSource, kArch) == compiled);
  CHECK(second.stats().hits == 1);
  CHECK(second.stats().misses == 0);
  CHECK(f.warnings.empty());
}

TEST_CASE("a failed compilation is not kept") {
  CacheFixture f;
  CubinCache cache(f.options());
  const Compiler compiler = Compiler::open();
  CHECK_FALSE(cache.get_or_compile(compiler, "nope", kArch).ok);
  CHECK_FALSE(cache.get_or_compile(compiler, "nope", kArch).ok);
  CHECK(cache.stats().misses == 2);
}

TEST_CASE("a bad entry is a miss, is set aside, and is told once") {
  CacheFixture f;
  CubinCache cache(f.options());
  cache.store(kKey, "s", sample_compilation());
  const std::string good = read_file(f.entry());
  std::string flipped = good;
  flipped[good.size() / 2] ^= 4;
  for (const std::string& bad : {std::string(), good.substr(0, good.size() / 2), flipped,
                                 encode_entry(key_of(1), "s", sample_compilation()),
                                 "nvfp4 entry 0\n" + good.substr(14), std::string("garbage")}) {
    write_file(f.entry(), bad);
    CHECK_FALSE(cache.find(kKey));
    CHECK_FALSE(fs::exists(f.entry()));
    CHECK(read_file(f.entry().string() + ".bad") == bad);
  }
  CHECK(cache.stats().set_aside == 6);
  CHECK(f.warnings.size() == 1);
  CHECK(f.warnings[0].find(kKey) != std::string::npos);
  cache.store(kKey, "s", sample_compilation());
  CHECK(cache.find(kKey) == sample_compilation());
}

TEST_CASE("a directory that cannot be trusted or made means memory only and one warning") {
  CacheFixture f;
  fs::path directory = f.folder / "cache";
  std::string reason;
  SUBCASE("below a file") {
    write_file(f.folder / "file", "");
    directory = f.folder / "file/cache";
    reason = "cannot make cache directory";
  }
  SUBCASE("others can write to it") {
    fs::create_directory(directory);
    chmod(directory.c_str(), 0770);
    reason = "mode 770 lets others write";
  }
  SUBCASE("others can rename its parent's entries") {
    fs::create_directory(f.folder / "open");
    chmod((f.folder / "open").c_str(), 0777);
    directory = f.folder / "open/cache";
    reason = "open is writable by everyone";
  }
  SUBCASE("a symbolic link") {
    fs::create_directory(f.folder / "target");
    fs::create_symlink(f.folder / "target", directory);
    reason = "cannot open cache directory";
  }
  SUBCASE("another user's") {
    if (geteuid() == 0) {
      fs::create_directory(directory);
      REQUIRE(chown(directory.c_str(), 12345, 12345) == 0);
    } else {
      directory = "/usr/lib";
    }
    reason = "owned by user";
  }
  CubinCache cache(f.options(directory));
  CHECK(cache.directory().empty());
  cache.store(kKey, "s", sample_compilation());
  CHECK(cache.find(kKey) == sample_compilation());
  REQUIRE(f.warnings.size() == 1);
  CHECK(f.warnings[0].find(reason) != std::string::npos);
}

TEST_CASE("a directory without write permission means memory only") {
  CacheFixture f;
  fs::create_directory(f.folder / "cache");
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // root may write anywhere, so the check runs as somebody else
    if (geteuid() == 0 &&
        (chown(f.folder.path().c_str(), 65534, 65534) != 0 ||
         chown((f.folder / "cache").c_str(), 65534, 65534) != 0 || setuid(65534) != 0)) {
      _exit(2);
    }
    chmod((f.folder / "cache").c_str(), 0500);
    CubinCache cache(f.options());
    cache.store(kKey, "s", sample_compilation());
    _exit(cache.directory().empty() && cache.find(kKey) == sample_compilation() &&
                  f.warnings.size() == 1
              ? 0
              : 1);
  }
  CHECK(wait_for(child) == 0);
}

TEST_CASE("a write that fails leaves no file, is told once, and memory answers") {
  CacheFixture f;
  CubinCache cache(f.options());
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {500, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  cache.store(kKey, "s", sample_compilation());
  cache.store(key_of(1), "s", sample_compilation());
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  CHECK(cache.find(kKey) == sample_compilation());
  CHECK(cache.find(key_of(1)) == sample_compilation());
  CHECK(f.warnings.size() == 1);
  CHECK(fs::is_empty(f.folder / "cache"));
}

TEST_CASE("a directory that vanishes costs its entries only") {
  CacheFixture f;
  CubinCache cache(f.options());
  cache.store(kKey, "s", sample_compilation());
  fs::remove_all(f.folder / "cache");
  CHECK_FALSE(cache.find(kKey));
  cache.store(kKey, "s", sample_compilation());
  CHECK(cache.find(kKey) == sample_compilation());
  CHECK(f.warnings.size() == 1);
}

TEST_CASE("a hit on a 200 KB entry takes less than a millisecond") {
  CacheFixture f;
  CubinCache cache(f.options());
  cache.store(kKey, std::string(2000, 's'), sample_compilation(200 << 10));
  auto fastest = std::chrono::nanoseconds::max();
  for (int i = 0; i < 50; ++i) {
    const auto start = std::chrono::steady_clock::now();
    REQUIRE(cache.find(kKey));
    fastest = std::min<std::chrono::nanoseconds>(fastest, std::chrono::steady_clock::now() - start);
  }
  MESSAGE("hit: ", fastest.count() / 1000, " us");
  CHECK(fastest < kHitBound);
}

TEST_CASE("one of several processes asks for the same kernel" * doctest::skip()) {
  CubinCache cache(cache_options_from_environment());
  REQUIRE(cache.get_or_compile(Compiler::open(), kSource, kArch).ok);
  std::ofstream(fs::path(std::getenv("RESULTS")) / std::to_string(getpid()))
      << cache.stats().misses;
}

TEST_CASE("eight processes that want one kernel compile it once") {
  CacheFixture f;
  fs::create_directory(f.folder / "results");
  const ScopedEnvironment directory("NVFP4_CACHE", (f.folder / "cache").c_str());
  const ScopedEnvironment results("RESULTS", (f.folder / "results").c_str());
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(start_child("one of several processes asks for the same kernel"));
  }
  for (pid_t child : children) CHECK(wait_for(child) == 0);
  int processes = 0, compiled = 0;
  for (const auto& file : fs::directory_iterator(f.folder / "results")) {
    ++processes;
    compiled += std::stoi(read_file(file.path()));
  }
  CHECK(processes == 8);
  CHECK(compiled == 1);
}

TEST_CASE("the environment says where entries live") {
  const ScopedEnvironment no_cache("NVFP4_CACHE", nullptr);
  const ScopedEnvironment no_xdg("XDG_CACHE_HOME", nullptr);
  const ScopedEnvironment no_home("HOME", nullptr);
  CHECK(cache_options_from_environment().directory.empty());
  const ScopedEnvironment home("HOME", "/home/u");
  CHECK(cache_options_from_environment().directory == "/home/u/.cache/nvfp4");
  {
    const ScopedEnvironment relative("XDG_CACHE_HOME", "relative");
    CHECK(cache_options_from_environment().directory == "/home/u/.cache/nvfp4");
  }
  const ScopedEnvironment xdg("XDG_CACHE_HOME", "/xdg");
  CHECK(cache_options_from_environment().directory == "/xdg/nvfp4");
  const ScopedEnvironment chosen("NVFP4_CACHE", "/chosen");
  CHECK(cache_options_from_environment().directory == "/chosen");
}

TEST_CASE("the environment says how large the cache may grow") {
  const auto limit = [](const char* text) {
    const ScopedEnvironment size("NVFP4_CACHE_SIZE", text);
    return cache_options_from_environment().size_limit;
  };
  CHECK(limit(nullptr) == int64_t{2} << 30);
  CHECK(limit("1000") == 1000);
  CHECK(limit("512M") == 512 << 20);
  CHECK(limit("3G") == int64_t{3} << 30);
  CHECK(limit("0") == 0);
  for (const char* bad : {"-1", "G", "1T", "1 G", "99999999999G"}) {
    const ScopedEnvironment size("NVFP4_CACHE_SIZE", bad);
    std::vector<std::string> warnings;
    const auto options =
        cache_options_from_environment([&](const std::string& text) { warnings.push_back(text); });
    CHECK(options.size_limit == int64_t{2} << 30);
    CHECK(warnings.size() == 1);
  }
}

}  // namespace nvfp4
