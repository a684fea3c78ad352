// SPDX-License-Identifier: Apache-2.0
// Child processes that do what may crash, hang or poison a CUDA context, so that it costs only
// them. A worker is this executable started again in a hidden mode (or any command that speaks
// message.h on standard input); it takes one request at a time. The only place that forks.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tuner/message.h"

namespace nvfp4 {

/// A worker process that cannot be started.
class WorkerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One that does not end: the kernel it started may still run. The card is suspect.
class WorkerStuck : public WorkerError {
 public:
  using WorkerError::WorkerError;
};

/// How a request ended when it did not end with a reply.
struct WorkerDeath {
  enum class Cause { died, hung, garbage };
  Cause cause = Cause::died;
  std::string text;  ///< "worker killed by signal 11 (Segmentation fault)"
};

/// A finished request.
struct Completion {
  int role = 0;
  size_t tag = 0;                    ///< what submit() was given
  std::optional<Message> reply;      ///< empty when the worker died under the request
  std::optional<WorkerDeath> death;  ///< set exactly when reply is empty
};

/// Workers of one or more roles. Each role has its own command and its own number of processes,
/// which start with their first request, live on from request to request, and are replaced when
/// they die: by a spare that is already warm, where one is kept. Destroying the set kills what is
/// left. Not for use by several threads.
class WorkerSet {
 public:
  WorkerSet() = default;
  ~WorkerSet();
  WorkerSet(const WorkerSet&) = delete;
  WorkerSet& operator=(const WorkerSet&) = delete;

  /// Adds a role of `count` processes running `command` and returns its number.
  int add_role(std::vector<std::string> command, int count);

  bool idle(int role) const;  ///< a process of this role can take a request now
  int busy(int role) const;   ///< requests under way

  /// Has one process of the role, beside those at work, started and warmed up with `request`, whose
  /// reply nobody sees. Once a spare died of that, there are none any more.
  void keep_spare(int role, const Message& request, std::chrono::milliseconds limit);
  bool warming(int role) const;  ///< a spare is not yet ready

  /// Starts `request` on an idle process; it is killed when `limit` passes without a whole reply.
  /// Throws WorkerError when no process can be started.
  void submit(int role, size_t tag, const Message& request, std::chrono::milliseconds limit);

  /// Asks the processes of a role that are at work to come to an end (SIGTERM); their requests
  /// still finish, one way or the other.
  void interrupt(int role);

  /// The next finished request, waiting at most `timeout`; empty when none finished or a signal
  /// came.
  std::optional<Completion> wait(std::chrono::milliseconds timeout);

 private:
  struct Process {
    int role = 0;
    pid_t pid = -1;
    int channel = -1;
    bool busy = false;
    bool warming = false;  ///< the next reply is that of keep_spare()
    size_t tag = 0;
    std::chrono::steady_clock::time_point deadline;
    std::string received;
  };

  struct Role {
    std::vector<std::string> command;
    int count = 0;  ///< requests that may be under way
    bool spare = true;
  };

  void start(Process& process);
  void finish_warm_up(Process& process);
  std::optional<Completion> take_reply(Process& process);
  std::optional<Completion> receive(Process& process);
  Completion end(Process& process, WorkerDeath::Cause cause, std::string text);

  std::vector<Role> roles_;
  std::vector<Process> processes_;
};

/// The command that starts this executable again as a worker of the named role.
std::vector<std::string> self_command(const std::string& role);

/// A worker's main loop: answers every request on standard input with `serve`, until the tuner
/// hangs up. An exception in `serve` ends the process; what should live on must be part of the
/// reply.
int serve_requests(const std::function<Message(const Message&)>& serve);

}  // namespace nvfp4
