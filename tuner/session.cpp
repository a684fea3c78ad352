// SPDX-License-Identifier: Apache-2.0
// Opening, with defaults and warnings.
#include "tuner/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "runtime/installed_files.h"
#include "runtime/quoted_name.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

constexpr size_t kMostShown = 8192;  // bytes of a message: a path is at most half of that
constexpr int64_t kBytesPerCompile = int64_t{700} << 20;  // of one NVRTC process at its largest

// The device once more, for the workers: "auto" must not choose anew there.
std::string worker_device(const CommandLine& line, const Gpu& gpu) {
  if (line.device != "auto") return line.device;
  return gpu.emulated() ? "emulated:h100" : std::to_string(gpu.ordinal());
}

// As many compile processes as cores, leaving one for the GPU worker, and as memory allows: of this
// tuner's share of both.
int default_jobs(bool emulated, int tuners) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / tuners);
  const int64_t memory = int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE) / tuners;
  const auto by_memory = static_cast<int>(std::max<int64_t>(1, memory / kBytesPerCompile));
  return std::max(1, std::min(emulated ? cores : cores - 1, by_memory));
}

}  // namespace

std::string message_line(std::string_view text) {
  std::string line(text);
  for (char& c : line) c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  return fmt::format("nvfp4-tune: {}\n", printable(line, kMostShown));
}

void warn(const Terminal& terminal, std::string_view text) { terminal.write(message_line(text)); }

Gpu open_gpu(const CommandLine& line, const Terminal& terminal) {
  OpenedDevice opened = open_device(line.device);
  if (!opened.notice.empty()) {
    warn(terminal, opened.notice);
  } else if (opened.gpu.emulated()) {
    warn(terminal, fmt::format("using {}: times are modelled", opened.gpu.facts().name));
  }
  return opened.gpu;
}

std::string user_database(const CommandLine& line, const Terminal& terminal) {
  if (line.db) return *line.db;
  const DatabasePath found = default_database_path();
  if (found.path.empty()) warn(terminal, found.reason);
  return found.path;
}

TuningDb open_user_database(const CommandLine& line, const Terminal& terminal) {
  const std::string path = user_database(line, terminal);
  if (!path.empty()) {
    try {
      TuningDb database(path, Access::read_write);
      database.outlive_disk();
      return database;
    } catch (const DatabaseError& error) {
      if (line.db) throw;
      warn(terminal, fmt::format("{}: results stay in memory and are not saved", error.what()));
    }
  }
  return {"", Access::memory};
}

Snapshot open_snapshot(const CommandLine& line, const Device& device, const Terminal& terminal) {
  Warnings warnings;
  Snapshot snapshot =
      load_snapshot(device, user_database(line, terminal), shipped_databases(), warnings);
  for (const std::string& warning : warnings) warn(terminal, warning);
  return snapshot;
}

CacheOptions cache_options(const CommandLine& line, const Terminal& terminal) {
  CacheOptions options = cache_options_from_environment(
      [&terminal](const std::string& text) { warn(terminal, text); });
  if (line.cache) options.directory = *line.cache;
  return options;
}

OpenWorkshop::OpenWorkshop(const CommandLine& line, const Gpu& gpu, const Terminal& terminal)
    : claim_(gpu, {.wait = line.wait,
                   .shared = line.shared,
                   .say = [&terminal](const std::string& text) { warn(terminal, text); },
                   .stopped = terminal.interrupted}),
      compiler_(Compiler::open(gpu.driver().version())),
      options_(cache_options(line, terminal)),
      cache_(options_),
      progress_(terminal.quiet ? nullptr : terminal.write, terminal.rewritable),
      workshop_{.gpu = gpu,
                .device = worker_device(line, gpu),
                .compiler = compiler_,
                .cache = cache_,
                .cache_options = options_,
                .jobs = line.jobs > 0 ? line.jobs : default_jobs(gpu.emulated(), line.tuners),
                .progress = progress_,
                .stopped = terminal.interrupted,
                .disturbance = claim_.disturbance()} {}

}  // namespace nvfp4
