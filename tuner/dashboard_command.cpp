// SPDX-License-Identifier: Apache-2.0
// What is shown is a merged copy: only rows that were found sound go into it, and raw samples,
// whose quartiles the rows hold, stay behind. So does the lower half of the digits of what follows
// from the times: noise that no compression removes.
#include "tuner/dashboard_command.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "generator/model_bundle.h"
#include "runtime/installed_files.h"
#include "tuner/dashboard_data.h"
#include "tuner/dashboard_page.h"
#include "tuner/inspected_model.h"
#include "tuner/model_shapes.h"
#include "tuner/session.h"
#include "tuner/whole_file.h"
#include "tuning_db/columns.h"
#include "tuning_db/merge.h"
#include "tuning_db/tuning_db.h"

namespace nvfp4 {
namespace {

namespace fs = std::filesystem;

// zlib counts input in 32 bits, and no browser would open a page of more.
constexpr size_t kMostBytes = size_t{1} << 30;

struct Chosen {
  std::string path;
  Access access = Access::read_only;
};

// What --db names, else the user's database and the shipped ones.
std::vector<Chosen> chosen_databases(const CommandLine& line) {
  std::vector<Chosen> chosen;
  for (const std::string& path : line.dashboard.databases) chosen.push_back({path});
  if (!chosen.empty()) return chosen;
  const DatabasePath user = default_database_path();
  if (!user.path.empty() && fs::exists(user.path)) chosen.push_back({user.path});
  for (const std::string& path : shipped_databases()) {
    chosen.push_back({path, Access::immutable});
  }
  if (chosen.empty()) {
    throw DatabaseError(fmt::format("no database to show: {} is not there; --db names another",
                                    user.path.empty() ? "the user's" : user.path));
  }
  return chosen;
}

struct Copied {
  std::string data;
  int64_t runs = 0;
  int64_t measurements = 0;
};

Copied copy_of(const std::vector<Chosen>& chosen, const Terminal& terminal) {
  std::vector<std::unique_ptr<TuningDb>> opened;
  std::vector<TuningDb*> sources;
  for (const Chosen& one : chosen) {
    opened.push_back(std::make_unique<TuningDb>(one.path, one.access));
    sources.push_back(opened.back().get());
  }
  Merger::Rewrite rewrite;
  rewrite.measurement = [](Measurement& row) {
    row.samples_us.clear();
    Timing& t = row.timing;
    for (double* value : {&t.gbps, &t.pct_ceiling, &t.tflops, &t.f, &t.launch_us}) {
      *value = static_cast<float>(*value);
    }
  };
  rewrite.comparison = [](Comparison& row) {
    for (double* value : {&row.ratio, &row.ratio_lo, &row.ratio_hi, &row.cycles_ratio}) {
      *value = static_cast<float>(*value);
    }
  };
  TuningDb copy("", Access::memory);
  const MergeCounts counts = merge(copy, sources, rewrite);
  for (const auto& source : opened) {
    for (const std::string& warning : source->warnings()) warn(terminal, warning);
  }
  Copied copied{dashboard_data(copy.columns()), counts.runs, counts.measurements};
  if (copied.data.size() > kMostBytes) {
    throw FileError(fmt::format("{} measurements are {} bytes of data, and a page holds {}",
                                copied.measurements, copied.data.size(), kMostBytes));
  }
  return copied;
}

// Somebody's file of that name is not replaced by a page.
void check_target(const fs::path& target, bool force) {
  std::error_code error;
  if (force || !fs::exists(target, error)) return;
  const std::string present = read_file(target, kMostBytes);
  if (!is_dashboard_page(present)) {
    throw FileError(
        fmt::format("{} exists and is no dashboard: --force replaces it", target.string()));
  }
}

// The built-in models as one rank runs them, so that the page can filter by them and weigh by them.
std::string models_json() {
  nlohmann::ordered_json models = nlohmann::ordered_json::array();
  for (const ModelFile& file : model_files()) {
    std::vector<ModelShape> shapes;
    add_shapes(shapes, file.name, inspect_config(file.text, file.name, {}), 1);
    sort_by_use(shapes);
    nlohmann::ordered_json gemms = nlohmann::ordered_json::array();
    for (const ModelShape& shape : shapes) {
      gemms.push_back({{"n", shape.n},
                       {"k", shape.k},
                       {"experts", shape.experts},
                       {"count", shape.launches()}});
    }
    models.push_back({{"name", file.name}, {"gemms", std::move(gemms)}});
  }
  return models.dump();
}

std::string name_of(const std::vector<Chosen>& chosen) {
  if (chosen.size() > 1) return fmt::format("{} databases", chosen.size());
  return fs::path(chosen.front().path).filename();
}

}  // namespace

Answered run_dashboard(const CommandLine& line, const Terminal& terminal) {
  const fs::path folder = line.dashboard.out;
  const fs::path target = folder / "index.html";
  check_target(target, line.force);
  const std::vector<Chosen> chosen = chosen_databases(line);
  const Copied copied = copy_of(chosen, terminal);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw FileError(fmt::format("cannot create {}: {}", folder.string(), error.message()));
  }
  const std::string name = name_of(chosen);
  const std::string models = models_json();
  const std::string page = dashboard_page({copied.data, name, models});
  replace_file(target, page);
  warn(terminal, fmt::format("{} measurements of {} runs in {:.1f} MB", copied.measurements,
                             copied.runs, static_cast<double>(page.size()) / 1e6));
  return {.text = target.string() + "\n"};
}

}  // namespace nvfp4
