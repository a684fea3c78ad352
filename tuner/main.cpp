// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune: reads the command line, calls one function, prints what it returns, and turns what
// can go wrong into one line and an exit code.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "runtime/compiler.h"
#include "runtime/gpu.h"
#include "tuner/card_claim.h"
#include "tuner/command_line.h"
#include "tuner/commands.h"
#include "tuner/session.h"
#include "tuner/worker.h"
#include "tuner/worker_roles.h"

namespace nvfp4 {
namespace {

volatile sig_atomic_t interrupted = 0;

void on_signal(int) {
  // The second Ctrl-C does not wait for anything; the database is consistent at any moment.
  if (interrupted != 0) _exit(static_cast<int>(ExitCode::interrupted));
  interrupted = 1;
}

void catch_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

void say(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

// Data that could not be written is a failure, e.g. on a full disk.
int print(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return 0;
  say("nvfp4-tune: cannot write to standard output\n");
  return static_cast<int>(ExitCode::failed);
}

int run(const std::vector<std::string>& arguments) {
  const CommandLine line = parse_command_line(arguments);
  if (line.command == Command::worker) return serve_role(line.worker_role);
  if (line.command == Command::help) return print(line.text);
  if (line.command == Command::version) return print(line.text + "\n");
  catch_signals();
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  const bool dumb = term == nullptr || std::string_view(term) == "dumb";
  const bool plain = no_color != nullptr && *no_color != '\0';
  const Terminal terminal{.write = say,
                          .rewritable = isatty(STDERR_FILENO) == 1 && !dumb && !plain,
                          .interrupted = [] { return interrupted != 0; }};
  const Answered answered = run_command(line, terminal);
  const int written = print(answered.text);
  return written != 0 ? written : static_cast<int>(answered.code);
}

int fail(ExitCode code, const std::exception& error) {
  say(message_line(error.what()));
  return static_cast<int>(code);
}

}  // namespace
}  // namespace nvfp4

int main(int argc, char** argv) {
  using namespace nvfp4;
  try {
    return run(std::vector<std::string>(argv + (argc > 0), argv + argc));
  } catch (const UsageError& error) {
    return fail(ExitCode::usage, error);
  } catch (const UnknownDevice& error) {
    return fail(ExitCode::usage, error);
  } catch (const DriverError& error) {
    return fail(ExitCode::no_device, error);
  } catch (const CudaError& error) {
    return fail(ExitCode::no_device, error);
  } catch (const CompilerError& error) {
    return fail(ExitCode::no_device, error);
  } catch (const CardError& error) {
    return fail(ExitCode::no_device, error);
  } catch (const WorkerStuck& error) {
    return fail(ExitCode::no_device, error);
  } catch (const std::exception& error) {
    return fail(ExitCode::failed, error);
  }
}
