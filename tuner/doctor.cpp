// SPDX-License-Identifier: Apache-2.0
// One finding a row. A check that cannot be made says so and stops none of the others.
#include "tuner/doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "runtime/cache_directory.h"
#include "runtime/installed_files.h"
#include "tuner/card_claim.h"
#include "tuner/run_facts.h"
#include "tuner/session.h"
#include "tuner/table.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

enum class State { ok, note, problem };

class Findings {
 public:
  void add(State state, const char* subject, const std::string& finding,
           const std::string& advice = "") {
    constexpr const char* kStates[] = {"ok", "note", "problem"};
    if (state == State::problem && code_ == ExitCode::ok) code_ = ExitCode::failed;
    table_.rows.push_back({{"subject", subject},
                           {"state", kStates[static_cast<int>(state)]},
                           {"finding", finding},
                           {"advice", advice}});
  }
  /// A problem without which nothing can be tuned.
  void missing(const char* subject, const std::string& finding, const std::string& advice) {
    add(State::problem, subject, finding, advice);
    code_ = ExitCode::no_device;
  }

  Answered answer(Format format) {
    table_.columns = {{"subject", "subject"},
                      {"state", "state"},
                      {"finding", "finding"},
                      {"advice", "what to do"}};
    return {.code = code_, .text = render(table_, format)};
  }

 private:
  ExitCode code_ = ExitCode::ok;
  Table table_;
};

/// The device that was named; without a name the first GPU, and no other device in its place.
std::optional<Gpu> examine_gpu(const CommandLine& line, Findings& findings) {
  try {
    Gpu gpu = open_device(line.device == "auto" ? "0" : line.device).gpu;
    const Device& device = gpu.facts();
    findings.add(State::ok, "driver",
                 fmt::format("{} from {}", driver_release(gpu.driver()), gpu.driver().library()));
    findings.add(
        State::ok, "GPU",
        fmt::format("{}, {}, {} SMs, {} MiB of L2, {:.0f} GB/s", device.name, sm_name(device.arch),
                    device.sm_count, device.l2_bytes >> 20, device.memory_bandwidth / 1e9));
    return gpu;
  } catch (const UnknownDevice&) {
    throw;
  } catch (const std::runtime_error& error) {
    findings.missing("GPU", error.what(),
                     "--device emulated:h100 does without; its times are modelled");
    return std::nullopt;
  }
}

void examine_compiler(const std::optional<Gpu>& gpu, Findings& findings) {
  const int driver = gpu ? gpu->driver().version() : 0;
  try {
    const Compiler compiler = Compiler::open(driver);
    const std::string beside =
        gpu ? fmt::format(", for a driver of CUDA {}", driver_name(gpu->driver())) : "";
    findings.add(State::ok, "NVRTC",
                 fmt::format("{} from {}{}", compiler.version(), compiler.path(), beside));
  } catch (const CompilerError& error) {
    findings.missing("NVRTC", error.what(),
                     "install one of the driver's CUDA major, or name its file in NVFP4_NVRTC");
  }
}

void examine_card(const Gpu& gpu, Findings& findings) {
  const Card card(gpu);
  if (gpu.emulated()) {
    findings.add(State::ok, "card", "emulated: nobody else uses it");
    return;
  }
  const std::string disturbance = disturbance_of(card.use(), getpid());
  if (!card.known()) {
    findings.add(State::note, "card", "NVML does not tell who else uses it",
                 "see nvidia-smi before a measurement");
  } else if (disturbance.empty()) {
    findings.add(State::ok, "card", "nobody else computes on it; no MIG, no MPS client");
  } else {
    findings.add(State::note, "card", disturbance,
                 "measure on a card of one's own, or say --shared");
  }
  const GpuLock lock(card.uuid());
  if (!lock.usable()) {
    findings.add(State::note, "lock", fmt::format("{} cannot be made", lock.path()),
                 "two tuners on one card would disturb each other");
  } else if (lock.try_acquire()) {
    findings.add(State::ok, "lock", fmt::format("{} is free", lock.path()));
  } else {
    findings.add(State::note, "lock", fmt::format("{} is held by {}", lock.path(), lock.holder()),
                 "a tuner waits for it");
  }
}

/// The nearest folder above `path` that exists.
fs::path existing_above(fs::path path) {
  std::error_code ignored;
  while (!fs::exists(path, ignored) && path.has_parent_path() && path != path.parent_path()) {
    path = path.parent_path();
  }
  return path;
}

bool writable(const fs::path& path) { return access(path.c_str(), W_OK) == 0; }

void examine_corrupt_copies(const fs::path& path, Findings& findings) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path.parent_path(), error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(path.filename().string() + ".corrupt-")) continue;
    findings.add(State::note, "user database", fmt::format("{} was set aside", name),
                 "delete it when nothing in it is missed");
  }
}

void examine_user_database(const CommandLine& line, Findings& findings) {
  constexpr char kSubject[] = "user database";
  const DatabasePath found = default_database_path();
  if (!line.db && found.path.empty()) {
    findings.add(State::problem, kSubject, found.reason, "set HOME or NVFP4_DB");
    return;
  }
  const fs::path path = fs::absolute(line.db.value_or(found.path)).lexically_normal();
  examine_corrupt_copies(path, findings);
  if (const std::string name = network_file_system(path); !name.empty()) {
    findings.add(State::problem, kSubject, fmt::format("{} is on {}", path.string(), name),
                 "file locks cannot be trusted there: name a local file in NVFP4_DB");
    return;
  }
  const fs::path folder = existing_above(path.parent_path());
  const bool can_write =
      fs::is_directory(folder) && writable(folder) && (!fs::exists(path) || writable(path));
  if (!can_write) {
    findings.add(State::problem, kSubject, fmt::format("{} cannot be written", path.string()),
                 "results would not be saved: name another file in NVFP4_DB");
  }
  if (!fs::exists(path)) {
    if (can_write) findings.add(State::ok, kSubject, path.string() + " will be made");
    return;
  }
  try {
    TuningDb database(path, Access::read_only);
    const size_t winners = database.winners().size();
    findings.add(State::ok, kSubject,
                 fmt::format("{}: {} bytes, {} winners, {} rows", path.string(),
                             fs::file_size(path), winners, database.counts().measurements));
    if (!database.warnings().empty()) {
      findings.add(State::problem, kSubject, database.warnings().front(),
                   "db compact drops bad rows; tune their shapes again");
    }
  } catch (const DatabaseError& error) {
    findings.add(State::problem, kSubject, error.what(),
                 "the next tuning sets a corrupt file aside and begins a new one");
  }
}

void examine_shipped(Findings& findings) {
  const std::vector<std::string> paths = shipped_databases();
  for (const std::string& path : paths) {
    try {
      TuningDb database(path, Access::immutable);
      findings.add(State::ok, "shipped database",
                   fmt::format("{}: {} winners", path, database.winners().size()));
    } catch (const DatabaseError& error) {
      findings.add(State::problem, "shipped database", error.what(), "install the product again");
    }
  }
  if (paths.empty()) {
    findings.add(State::note, "shipped database", "none is found beside the program",
                 "the cost model answers for shapes that are not tuned");
  }
}

void examine_cache(const CommandLine& line, const Terminal& terminal, Findings& findings) {
  const CacheOptions options = cache_options(line, terminal);
  const fs::path& path = options.directory;
  if (path.empty()) {
    findings.add(State::note, "kernel cache", "in memory only", "set HOME or NVFP4_CACHE");
    return;
  }
  if (!fs::exists(path)) {
    const bool possible = writable(existing_above(path));
    findings.add(possible ? State::ok : State::problem, "kernel cache",
                 fmt::format("{} {}", path.string(), possible ? "will be made" : "cannot be made"),
                 possible ? "" : "every process compiles anew: name a folder in NVFP4_CACHE");
    return;
  }
  try {
    const CacheDirectory directory(path);  // judges owner and mode
    int64_t files = 0, bytes = 0;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
      if (!entry.is_regular_file(error)) continue;
      ++files;
      bytes += static_cast<int64_t>(entry.file_size(error));
    }
    findings.add(State::ok, "kernel cache",
                 fmt::format("{}: {} files, {} MiB of at most {}", path.string(), files,
                             bytes >> 20, options.size_limit >> 20));
  } catch (const CacheDirectoryError& error) {
    findings.add(State::problem, "kernel cache", error.what(),
                 "every process compiles anew: name a folder of your own in NVFP4_CACHE");
  }
}

}  // namespace

Answered run_doctor(const CommandLine& line, const Terminal& terminal) {
  Findings findings;
  const std::optional<Gpu> gpu = examine_gpu(line, findings);
  examine_compiler(gpu, findings);
  if (gpu) examine_card(*gpu, findings);
  examine_user_database(line, findings);
  examine_shipped(findings);
  examine_cache(line, terminal, findings);
  findings.add(State::ok, "program", fmt::format("version {}, {}", NVFP4_VERSION, build_commit()));
  return findings.answer(line.format);
}

}  // namespace nvfp4
