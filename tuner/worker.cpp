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
  commands_.push_back(std::move(command));
  const int role = static_cast<int>(commands_.size()) - 1;
  for (int i = 0; i < count; ++i) processes_.push_back(Process{.role = role});
  return role;
}

bool WorkerSet::idle(int role) const {
  return std::any_of(processes_.begin(), processes_.end(),
                     [&](const Process& p) { return p.role == role && !p.busy; });
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
  for (std::string& argument : commands_[process.role]) argv.push_back(argument.data());
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

void WorkerSet::submit(int role, size_t tag, const Message& request,
                       std::chrono::milliseconds limit) {
  // A process that already knows the work (loaded libraries, data on the device) is preferred.
  auto better = [](const Process& a, const Process& b) { return (a.pid > 0) > (b.pid > 0); };
  Process* chosen = nullptr;
  for (Process& process : processes_) {
    if (process.role != role || process.busy) continue;
    if (chosen == nullptr || better(process, *chosen)) chosen = &process;
  }
  if (chosen == nullptr) throw WorkerError("no idle worker for a request");
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

std::optional<Completion> WorkerSet::wait(std::chrono::milliseconds timeout) {
  std::vector<pollfd> fds;
  std::vector<Process*> owners;
  Clock::time_point wake = Clock::now() + timeout;
  for (Process& process : processes_) {
    if (!process.busy) continue;
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
    if (Clock::now() < process->deadline) continue;
    return end(*process, WorkerDeath::Cause::hung, "no answer within the time limit");
  }
  return std::nullopt;
}

// Reads what has arrived; a completion when that ends the request, one way or the other.
std::optional<Completion> WorkerSet::receive(Process& process) {
  char chunk[1 << 16];
  const ssize_t got = recv(process.channel, chunk, sizeof chunk, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (got <= 0) return end(process, WorkerDeath::Cause::died, "");
  process.received.append(chunk, static_cast<size_t>(got));
  try {
    std::optional<Message> message = decode(process.received);
    if (!message) return std::nullopt;
    process.busy = false;
    Completion completion{.role = process.role, .tag = process.tag};
    if (message->header.value("last", false)) end(process, WorkerDeath::Cause::died, "");
    completion.reply = std::move(message);
    return completion;
  } catch (const MessageError& error) {
    return end(process, WorkerDeath::Cause::garbage, error.what());
  }
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
      throw WorkerError(
          fmt::format("worker process {} does not end 10 s after it was killed: its GPU is suspect",
                      process.pid));
    }
  }
  close(process.channel);
  if (text.empty()) text = exit_text(status);
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
