// SPDX-License-Identifier: Apache-2.0
// Worker processes that behave, crash, hang, babble and linger. The stubs are shell commands: "cat"
// on the channel answers every request with itself.
#include "tuner/worker.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/temporary_folder.h"

using namespace nvfp4;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> shell(const std::string& script) { return {"/bin/sh", "-c", script}; }

// `cat` writes to standard output, which is not the channel: standard input is, in both directions.
const std::vector<std::string> kEcho = shell("exec cat <&0 >&0");

Message numbered(int n) { return {.header = {{"n", n}}, .body = std::string(100000, 'x')}; }

Completion next(WorkerSet& workers) {
  for (int i = 0; i < 600; ++i) {
    if (std::optional<Completion> completion = workers.wait(100ms)) return std::move(*completion);
  }
  throw std::runtime_error("no completion within a minute");
}

size_t open_files() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

bool alive(pid_t pid) { return kill(pid, 0) == 0; }

pid_t read_pid(const std::filesystem::path& path) {
  pid_t pid = 0;
  for (int i = 0; i < 500 && pid == 0; ++i) {
    std::ifstream(path) >> pid;
    if (pid == 0) std::this_thread::sleep_for(10ms);
  }
  return pid;
}

}  // namespace

TEST_SUITE("worker") {
  TEST_CASE("replies carry the tag of their request, and a process serves many") {
    WorkerSet workers;
    const int role = workers.add_role(kEcho, 2);
    for (int round = 0; round < 5; ++round) {
      workers.submit(role, 10, numbered(1), 10s);
      workers.submit(role, 20, numbered(2), 10s);
      CHECK_FALSE(workers.idle(role));
      CHECK(workers.busy(role) == 2);
      for (int i = 0; i < 2; ++i) {
        const Completion completion = next(workers);
        REQUIRE(completion.reply.has_value());
        CHECK(completion.reply->header["n"] == (completion.tag == 10 ? 1 : 2));
        CHECK(completion.reply->body.size() == 100000);
      }
    }
    CHECK(workers.idle(role));
  }

  TEST_CASE(
      "a worker that dies is reported with how it died, and the next request gets a fresh one") {
    WorkerSet workers;
    const int crash = workers.add_role(shell("head -c 12 >/dev/null; kill -SEGV $$"), 1);
    const int quit = workers.add_role(shell("head -c 12 >/dev/null; exit 7"), 1);
    const int missing = workers.add_role({"/nonexistent/program"}, 1);
    for (int round = 0; round < 3; ++round) {
      workers.submit(crash, 1, numbered(1), 10s);
      Completion completion = next(workers);
      REQUIRE(completion.death.has_value());
      CHECK(completion.death->cause == WorkerDeath::Cause::died);
      CHECK(completion.death->text.find("signal 11") != std::string::npos);
      CHECK_FALSE(completion.reply.has_value());
      workers.submit(quit, 2, numbered(1), 10s);
      CHECK(next(workers).death->text.find("code 7") != std::string::npos);
    }
    workers.submit(missing, 3, Message{}, 10s);
    CHECK(next(workers).death->text.find("code 127") != std::string::npos);
  }

  TEST_CASE("a worker that hangs is killed at its limit") {
    WorkerSet workers;
    const int role = workers.add_role(shell("trap '' TERM INT; while :; do sleep 1; done"), 1);
    const auto begin = std::chrono::steady_clock::now();
    workers.submit(role, 1, Message{}, 300ms);
    const Completion completion = next(workers);
    REQUIRE(completion.death.has_value());
    CHECK(completion.death->cause == WorkerDeath::Cause::hung);
    CHECK(std::chrono::steady_clock::now() - begin < 10s);
    CHECK(workers.idle(role));
  }

  TEST_CASE("a worker that babbles, or promises gigabytes, or stops half-way is cut off") {
    WorkerSet workers;
    const int babble =
        workers.add_role(shell("printf 'hello world, no frame' >&0; exec sleep 100"), 1);
    const int huge = workers.add_role(shell("printf 'NVF4\\377\\377\\377\\177' >&0; "
                                            "head -c 100000000 /dev/zero >&0"),
                                      1);
    const int half =
        workers.add_role(shell("printf 'NVF4\\010\\0\\0\\0\\0\\0\\0\\0{\"a' >&0; exit 0"), 1);
    workers.submit(babble, 1, Message{}, 20s);
    CHECK(next(workers).death->cause == WorkerDeath::Cause::garbage);
    workers.submit(huge, 1, Message{}, 20s);
    CHECK(next(workers).death->cause == WorkerDeath::Cause::garbage);
    workers.submit(half, 1, Message{}, 20s);
    CHECK(next(workers).death->cause == WorkerDeath::Cause::died);
  }

  TEST_CASE("a reply that says it is the last one retires its process without a death") {
    TemporaryFolder folder;
    WorkerSet workers;
    const int role = workers.add_role(
        shell("echo $$ >> " + (folder / "pids").string() + "; exec cat <&0 >&0"), 1);
    const Message last{.header = {{"last", true}}};
    for (int i = 0; i < 2; ++i) {
      workers.submit(role, 1, last, 10s);
      CHECK(next(workers).reply.has_value());
    }
    std::ifstream pids(folder / "pids");
    int first = 0;
    int second = 0;
    pids >> first >> second;
    REQUIRE(second != 0);
    CHECK(first != second);
    CHECK_FALSE(alive(first));
  }

  TEST_CASE("a spare that is warm takes over when a worker dies, at once") {
    TemporaryFolder folder;
    const std::string script =
        // The first request of a process (its warm-up, for a spare) takes a second.
        "echo $$ >> " + (folder / "pids").string() + "; sleep 1; exec cat <&0 >&0";
    WorkerSet workers;
    const int role = workers.add_role(shell(script), 1);
    workers.submit(role, 1, numbered(1), 10s);
    workers.keep_spare(role, numbered(0), 10s);
    workers.keep_spare(role, numbered(0), 10s);  // there is one already
    CHECK(next(workers).reply->header["n"] == 1);
    while (workers.warming(role)) workers.wait(100ms);
    workers.submit(role, 2, Message{.header = {{"last", true}}}, 10s);  // the worker retires
    CHECK(next(workers).reply.has_value());

    const auto begin = std::chrono::steady_clock::now();
    workers.submit(role, 3, numbered(3), 10s);
    CHECK(next(workers).reply->header["n"] == 3);
    CHECK(std::chrono::steady_clock::now() - begin < 500ms);
    std::ifstream pids(folder / "pids");
    int count = 0;
    for (std::string line; std::getline(pids, line);) ++count;
    CHECK(count == 2);
  }

  TEST_CASE("a spare is no second worker: one request of a role is under way at a time") {
    WorkerSet workers;
    const int role = workers.add_role(kEcho, 1);
    workers.submit(role, 1, numbered(1), 10s);
    workers.keep_spare(role, numbered(0), 10s);
    CHECK_FALSE(workers.idle(role));
    CHECK_THROWS_AS(workers.submit(role, 2, numbered(2), 10s), WorkerError);
    CHECK(next(workers).reply->header["n"] == 1);
  }

  TEST_CASE(
      "a spare that dies of its warm-up, or hangs in it, is nobody's fault and not replaced") {
    for (const char* script : {"exit 1", "exec sleep 100"}) {
      CAPTURE(script);
      TemporaryFolder folder;
      const std::string first = (folder / "first").string();
      WorkerSet workers;
      const int role = workers.add_role(
          shell("if mkdir " + first + " 2>/dev/null; then exec cat <&0 >&0; fi; " + script), 1);
      workers.submit(role, 1, numbered(1), 10s);
      CHECK(next(workers).reply.has_value());
      workers.submit(role, 2, numbered(2), 10s);
      workers.keep_spare(role, numbered(0), 300ms);
      CHECK(next(workers).reply->header["n"] == 2);
      while (workers.warming(role)) CHECK_FALSE(workers.wait(1s).has_value());
      workers.submit(role, 3, numbered(3), 10s);
      workers.keep_spare(role, numbered(0), 300ms);
      CHECK_FALSE(workers.warming(role));
      CHECK(next(workers).reply->header["n"] == 3);
    }
  }

  TEST_CASE("a worker ends when its tuner is killed") {
    TemporaryFolder folder;
    const std::string path = (folder / "pid").string();
    const pid_t tuner = fork();
    if (tuner == 0) {
      WorkerSet workers;
      const int role = workers.add_role(shell("echo $$ > " + path + "; exec sleep 100"), 1);
      workers.submit(role, 1, Message{}, 100s);
      pause();
      _exit(0);
    }
    const pid_t worker = read_pid(path);
    REQUIRE(worker > 0);
    REQUIRE(alive(worker));
    kill(tuner, SIGKILL);
    waitpid(tuner, nullptr, 0);
    for (int i = 0; i < 200 && alive(worker); ++i) {
      std::this_thread::sleep_for(10ms);
      // Reparented to this test when nobody else reaps: a zombie counts as ended.
      std::ifstream stat("/proc/" + std::to_string(worker) + "/stat");
      std::string text;
      std::getline(stat, text);
      if (text.empty() || text.find(") Z ") != std::string::npos) break;
    }
    std::ifstream stat("/proc/" + std::to_string(worker) + "/stat");
    std::string text;
    std::getline(stat, text);
    CHECK((text.empty() || text.find(") Z ") != std::string::npos));
  }

  TEST_CASE("two hundred deaths leave no process and no open file behind") {
    const size_t before = open_files();
    {
      WorkerSet workers;
      const int role = workers.add_role(shell("exit 0"), 2);
      for (int i = 0; i < 200; ++i) {
        workers.submit(role, 1, Message{}, 10s);
        CHECK(next(workers).death.has_value());
      }
    }
    CHECK(open_files() == before);
    const bool children_left = waitpid(-1, nullptr, WNOHANG) != -1;
    CHECK_FALSE(children_left);
  }
}
