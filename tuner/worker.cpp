// SPDX-License-Identifier: Apache-2.0
// Worker processes over socket pairs. The channel is the child's standard input, in both
// directions, so nothing the child prints can reach it; the child's standard output becomes its
// standard error.
#include "tuner/worker.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace nvfp4 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kChannel = STDIN_FILENO;
constexpr int kExecFailed = 127;

// Sends all of `bytes`; false when the other side is gone or takes none of them for 30 s.
bool send_all(int channel, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(channel, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// Between fork and exec: only async-signal-safe calls.
[[noreturn]] void become_worker(int channel, pid_t parent, char* const* argv) {
  dup2(channel, kChannel);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The terminal's Ctrl-C reaches the whole group; the tuner alone decides when a worker ends.
  signal(SIGINT, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (getppid() != parent) _exit(kExecFailed);
  execv(argv[0], argv);
  _exit(kExecFailed);
}

// Waits for a process that is ending; false when it is still there after `patience`.
bool reap(pid_t pid, int& status, std::chrono::milliseconds patience) {
  const Clock::time_point give_up = Clock::now() + patience;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (Clock::now() > give_up) return false;
    usleep(1000);
  }
  return true;
}

std::string exit_text(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("worker killed by signal {} ({})", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
  }
  return fmt::format("worker exited with code {} before its reply", WEXITSTATUS(status));
}

}  // namespace

WorkerSet::~WorkerSet() {
  for (Process& process : processes_) {
    if (process.pid > 0) kill(process.pid, SIGKILL);
  }
  for (Process& process : processes_) {
    if (process.pid > 0) waitpid(process.pid, nullptr, 0);
    if (process.channel >= 0) close(process.channel);
  }
}

int WorkerSet::add_role(std::vector<std::string> command, int count) {
  roles_.push_back({.command = std::move(command), .count = count});
  const int role = static_cast<int>(roles_.size()) - 1;
  for (int i = 0; i < count; ++i) processes_.push_back(Process{.role = role});
  return role;
}

bool WorkerSet::idle(int role) const { return busy(role) < roles_[role].count; }

bool WorkerSet::warming(int role) const {
  return std::any_of(processes_.begin(), processes_.end(),
                     [&](const Process& p) { return p.role == role && p.warming && !p.busy; });
}

int WorkerSet::busy(int role) const {
  return static_cast<int>(
      std::count_if(processes_.begin(), processes_.end(),
                    [&](const Process& p) { return p.role == role && p.busy; }));
}

void WorkerSet::start(Process& process) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw WorkerError(fmt::format("cannot open a channel to a worker: {}", strerror(errno)));
  }
  const timeval patience = {.tv_sec = 30, .tv_usec = 0};
  setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);

  std::vector<char*> argv;
  for (std::string& argument : roles_[process.role].command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become_worker(ends[1], parent, argv.data());
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    throw WorkerError(fmt::format("cannot start a worker process: {}", strerror(errno)));
  }
  process.pid = child;
  process.channel = ends[0];
  process.received.clear();
}

void WorkerSet::keep_spare(int role, const Message& request, std::chrono::milliseconds limit) {
  if (!roles_[role].spare) return;
  Process* empty = nullptr;
  for (Process& process : processes_) {
    if (process.role != role || process.busy) continue;
    if (process.pid > 0) return;
    empty = &process;
  }
  if (empty == nullptr) empty = &processes_.emplace_back(Process{.role = role});
  start(*empty);
  empty->warming = true;
  empty->deadline = Clock::now() + limit;
  // A process that does not even take this shows in wait().
  send_all(empty->channel, encode(request));
}

// Sees a spare through its warm-up, which no request must answer for; it may be gone afterwards.
void WorkerSet::finish_warm_up(Process& process) {
  while (process.pid > 0 && process.warming) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(process.deadline - Clock::now());
    pollfd fd = {.fd = process.channel, .events = POLLIN, .revents = 0};
    poll(&fd, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (fd.revents != 0) {
      receive(process);
    } else if (Clock::now() >= process.deadline) {
      end(process, WorkerDeath::Cause::hung, "no answer within the time limit");
    }
  }
}

void WorkerSet::submit(int role, size_t tag, const Message& request,
                       std::chrono::milliseconds limit) {
  // A process that already knows the work (loaded libraries, data on the device) is preferred, then
  // one that is about to.
  const auto rank = [](const Process& p) { return p.pid < 0 ? 2 : p.warming ? 1 : 0; };
  Process* chosen = nullptr;
  for (Process& process : processes_) {
    if (process.role != role || process.busy) continue;
    if (chosen == nullptr || rank(process) < rank(*chosen)) chosen = &process;
  }
  if (chosen == nullptr || !idle(role)) throw WorkerError("no idle worker for a request");
  finish_warm_up(*chosen);
  const std::string frame = encode(request);
  // An idle worker may have died since its last reply: one fresh process gets a second chance.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (chosen->pid < 0) start(*chosen);
    if (send_all(chosen->channel, frame)) break;
    if (attempt == 0) end(*chosen, WorkerDeath::Cause::died, "");
  }
  chosen->busy = true;
  chosen->tag = tag;
  chosen->deadline = Clock::now() + limit;
}

void WorkerSet::interrupt(int role) {
  for (const Process& process : processes_) {
    if (process.role == role && process.busy) kill(process.pid, SIGTERM);
  }
}

std::optional<Completion> WorkerSet::wait(std::chrono::milliseconds timeout) {
  std::vector<pollfd> fds;
  std::vector<Process*> owners;
  Clock::time_point wake = Clock::now() + timeout;
  for (Process& process : processes_) {
    if (!process.busy && !process.warming) continue;
    fds.push_back({.fd = process.channel, .events = POLLIN, .revents = 0});
    owners.push_back(&process);
    wake = std::min(wake, process.deadline);
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(wake - Clock::now()).count();
  poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(left, 0)));
  for (size_t i = 0; i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    if (std::optional<Completion> completion = receive(*owners[i])) return completion;
  }
  for (Process* process : owners) {
    const bool over = process->pid > 0 && Clock::now() >= process->deadline;
    if (!over) continue;
    const bool asked = process->busy;
    Completion death = end(*process, WorkerDeath::Cause::hung, "no answer within the time limit");
    if (asked) return death;
  }
  return std::nullopt;
}

// Reads what has arrived; a completion when that ends the request, one way or the other.
std::optional<Completion> WorkerSet::receive(Process& process) {
  char chunk[1 << 16];
  const ssize_t got = recv(process.channel, chunk, sizeof chunk, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  const bool asked = process.busy;
  std::optional<Completion> completion;
  if (got <= 0) {
    completion = end(process, WorkerDeath::Cause::died, "");
  } else {
    process.received.append(chunk, static_cast<size_t>(got));
    try {
      completion = take_reply(process);
    } catch (const MessageError& error) {
      completion = end(process, WorkerDeath::Cause::garbage, error.what());
    }
  }
  return asked ? std::move(completion) : std::nullopt;
}

// The reply to the request, once it is whole.
std::optional<Completion> WorkerSet::take_reply(Process& process) {
  std::optional<Message> message = decode(process.received);
  if (!message) return std::nullopt;
  process.busy = false;
  process.warming = false;
  Completion completion{.role = process.role, .tag = process.tag};
  if (message->header.value("last", false)) end(process, WorkerDeath::Cause::died, "");
  completion.reply = std::move(message);
  return completion;
}

// Makes sure that the process is gone and reports the request it had. An empty text means that the
// process ended by itself: its exit status tells the story.
Completion WorkerSet::end(Process& process, WorkerDeath::Cause cause, std::string text) {
  int status = 0;
  // A closed channel: the process is about to end by itself, or lingers for ever.
  const bool ending = cause == WorkerDeath::Cause::died;
  if (!ending || !reap(process.pid, status, std::chrono::seconds(2))) {
    kill(process.pid, SIGKILL);
    if (!reap(process.pid, status, std::chrono::seconds(10))) {
      throw WorkerStuck(
          fmt::format("worker process {} does not end 10 s after it was killed: its GPU is suspect",
                      process.pid));
    }
  }
  close(process.channel);
  if (text.empty()) text = exit_text(status);
  if (process.warming) roles_[process.role].spare = false;
  Completion completion{.role = process.role,
                        .tag = process.tag,
                        .death = WorkerDeath{.cause = cause, .text = std::move(text)}};
  process = Process{.role = process.role};
  return completion;
}

std::vector<std::string> self_command(const std::string& role) {
  return {"/proc/self/exe", "--worker", role};
}

int serve_requests(const std::function<Message(const Message&)>& serve) {
  std::string received;
  char chunk[1 << 16];
  while (true) {
    while (std::optional<Message> request = decode(received)) {
      const Message reply = serve(*request);
      if (!send_all(kChannel, encode(reply))) return 1;
      if (reply.header.value("last", false)) return 0;
    }
    const ssize_t got = read(kChannel, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0 ? 0 : 1;
    received.append(chunk, static_cast<size_t>(got));
  }
}

}  // namespace nvfp4
