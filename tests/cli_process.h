// SPDX-License-Identifier: Apache-2.0
// Runs the real nvfp4-tune as a user would: arguments, a few variables, and what came out of it.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/temporary_folder.h"

namespace nvfp4 {

struct CliResult {
  int code = -1;  ///< exit code, or 128 + the signal that ended it
  std::string out;
  std::string err;
};

/// A program that was started and not yet waited for.
class CliProcess {
 public:
  /// `variables` are NAME=VALUE, or NAME to remove one. `stdout_path`: instead of a file of its
  /// own.
  CliProcess(const std::string& arguments, const std::vector<std::string>& variables = {},
             const std::string& stdout_path = "") {
    std::istringstream stream(arguments);
    std::vector<std::string> words = {NVFP4_BINARY_DIR "/nvfp4-tune"};
    for (std::string word; stream >> word;) words.push_back(word);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string out = stdout_path.empty() ? (folder_ / "out").string() : stdout_path;
    const std::string err = (folder_ / "err").string();
    pid_ = fork();
    if (pid_ != 0) return;
    for (const std::string& variable : variables) {
      const size_t equals = variable.find('=');
      if (equals == std::string::npos) {
        unsetenv(variable.c_str());
      } else {
        setenv(variable.substr(0, equals).c_str(), variable.c_str() + equals + 1, 1);
      }
    }
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(open(out.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600), STDOUT_FILENO);
    dup2(open(err.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~CliProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  CliProcess(const CliProcess&) = delete;
  CliProcess& operator=(const CliProcess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  bool running() const {
    siginfo_t ended{};
    waitid(P_PID, pid_, &ended, WEXITED | WNOHANG | WNOWAIT);
    return ended.si_pid == 0;
  }

  CliResult wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
            .out = text(folder_ / "out"),
            .err = text(folder_ / "err")};
  }

 private:
  static std::string text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryFolder folder_;
  pid_t pid_ = -1;
};

inline CliResult run_cli(const std::string& arguments,
                         const std::vector<std::string>& variables = {},
                         const std::string& stdout_path = "") {
  return CliProcess(arguments, variables, stdout_path).wait();
}

}  // namespace nvfp4
