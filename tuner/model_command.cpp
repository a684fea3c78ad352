// SPDX-License-Identifier: Apache-2.0
// The plan first, then one shape after the other. Every winner is in the database before the next
// shape begins.
#include "tuner/model_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <utility>

#include "generator/template_bundle.h"
#include "tuner/card_claim.h"
#include "tuner/forecast.h"
#include "tuner/measure.h"
#include "tuner/model_devices.h"
#include "tuner/model_plan.h"
#include "tuner/model_report.h"
#include "tuner/request.h"
#include "tuner/run_facts.h"
#include "tuner/session.h"
#include "tuner/table.h"
#include "tuner/worker.h"

namespace nvfp4 {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

milliseconds time_of(double seconds) { return milliseconds(static_cast<int64_t>(seconds * 1e3)); }

std::vector<ModelShape> shapes_of(const CommandLine& line) {
  if (!line.models.empty()) return model_shapes(line.models, line.tps);
  std::vector<ModelShape> shapes;
  for (const Shape& shape : line.shapes) {
    shapes.push_back(
        {.n = shape.n, .k = shape.k, .experts = line.experts, .uses = {{.launches = 1}}});
  }
  return shapes;
}

// The rows of a grouped launch are a multiple of the step's tokens.
void check_tokens(const CommandLine& line, const std::vector<ModelShape>& shapes) {
  for (const ModelShape& shape : shapes) {
    if (const auto why = tokens_error(line.tokens.back() * shape.rows_per_token)) {
      throw UsageError(
          fmt::format("{} for {} rows a token: {}", shape_text(shape), shape.rows_per_token, *why));
    }
  }
}

// A plan changes nothing: it makes no database, and reads one if it is there.
TuningDb open_database(const CommandLine& line, const Terminal& terminal) {
  const std::string path = user_database(line, terminal);
  std::error_code error;
  if (path.empty() || (line.plan && !std::filesystem::exists(path, error))) {
    return TuningDb(path, Access::memory);
  }
  return TuningDb(path, line.plan ? Access::read_only : Access::read_write);
}

/// How the time that was taken compares to what was estimated.
class Pace {
 public:
  void add(double estimated, Clock::duration taken) {
    estimated_ += estimated;
    taken_ += std::chrono::duration<double>(taken).count();
  }
  double ratio() const { return estimated_ > 0 ? taken_ / estimated_ : 1; }

 private:
  double estimated_ = 0;
  double taken_ = 0;
};

class ModelRun {
 public:
  ModelRun(const TuneRequest& request, const Workshop& workshop, const Terminal& terminal,
           TuningDb& database)
      : request_(request), workshop_(workshop), terminal_(terminal), database_(database) {}

  ExitCode run(const ModelPlan& plan) {
    double left = plan.seconds;
    for (size_t i = 0; i < plan.shapes.size() && !workshop_.stopped(); ++i) {
      const PlannedShape& planned = plan.shapes[i];
      left -= planned.seconds;
      workshop_.progress.begin_part(
          fmt::format("[{}/{}] {}", i + 1, plan.shapes.size(), shape_text(planned.shape)),
          time_of(planned.seconds * pace_.ratio()), time_of(left * pace_.ratio()));
      tuned_.push_back({.shape = planned.shape, .choices = {}});
      Workshop shop = workshop_;
      const auto next = std::find_if(plan.shapes.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                     plan.shapes.end(), has_work);
      std::optional<Forecast> forecast;
      if (next != plan.shapes.end()) {
        forecast.emplace(request_for(request_, next->shape), workshop_.gpu.facts());
        shop.ahead = [&forecast] { return forecast->next(); };
      }
      tune_one(planned, shop);
    }
    workshop_.progress.clear();
    return workshop_.stopped() ? ExitCode::interrupted : worst_;
  }

  const std::vector<TunedShape>& tuned() const { return tuned_; }

 private:
  // What fails at one shape need not fail at the next, unless the card itself is suspect.
  void tune_one(const PlannedShape& planned, const Workshop& shop) {
    const auto fail = [&](const std::exception& error) {
      workshop_.progress.clear();
      warn(terminal_, fmt::format("{}: {}", shape_text(planned.shape), error.what()));
      worst_ = std::max(worst_, ExitCode::failed);
    };
    const Clock::time_point begin = Clock::now();
    try {
      TuneOutcome outcome = tune(request_for(request_, planned.shape), shop, database_);
      if (!outcome.rows.empty()) pace_.add(planned.seconds, Clock::now() - begin);
      const ExitCode code = exit_code(outcome, static_cast<size_t>(planned.wanted));
      if (code != ExitCode::interrupted) worst_ = std::max(worst_, code);
      tuned_.back().choices = std::move(outcome.choices);
    } catch (const CardError&) {
      throw;
    } catch (const WorkerStuck&) {
      throw;
    } catch (const MeasureError& error) {
      fail(error);
    } catch (const WorkerError& error) {
      fail(error);
    }
  }

  const TuneRequest& request_;
  const Workshop& workshop_;
  const Terminal& terminal_;
  TuningDb& database_;
  std::vector<TunedShape> tuned_;
  ExitCode worst_ = ExitCode::ok;
  Pace pace_;
};

}  // namespace

bool is_model_run(const CommandLine& line) {
  const bool devices = line.device == "all" || line.device.find(',') != std::string::npos;
  return !line.models.empty() || line.shapes.size() > 1 || line.plan || line.shard.count > 1 || devices;
}

Answered run_model(CommandLine line, const Terminal& terminal) {
  if (line.models == std::vector<std::string>{"list"}) return {.text = render(models_table(), line.format)};
  const std::vector<ModelShape> shapes = shapes_of(line);
  check_tokens(line, shapes);
  const std::vector<std::string> devices = device_list(line.device);
  if (!devices.empty()) line.device = devices.front();
  std::optional<Gpu> gpu = open_gpu(line, terminal);
  const Device device = gpu->facts();
  const TuneRequest request = tune_request(line, device);
  const Toolchain toolchain{.nvrtc = Compiler::open(gpu->driver().version()).version(),
                            .driver = driver_name(gpu->driver()),
                            .template_digest = template_digest()};
  TuningDb database = open_database(line, terminal);
  const ModelPlan plan = make_model_plan(shapes, request, device, toolchain, database, line.shard);
  const ModelScope scope{.models = line.models,
                         .tps = line.tps,
                         .shard = line.shard,
                         .request = request,
                         .device = device,
                         .devices = std::max<size_t>(1, devices.size())};
  const Table planned = plan_table(plan, scope);
  if (line.plan) return {.text = render(planned, line.format)};
  terminal.write(render(planned, Format::table));
  if (devices.size() > 1) {
    // A context here would be one more process on the first card, which that card's tuner refuses.
    gpu.reset();
    tune_on_devices(line, devices, key_of(device), plan, terminal);
    gpu = open_device(line.device).gpu;
  }
  // After several devices: whatever one of them has left, and the winners that are there now.
  const OpenWorkshop workshop(line, *gpu, terminal);
  ModelRun run(request, *workshop, terminal, database);
  const ExitCode code = run.run(plan);
  for (const std::string& warning : database.warnings()) warn(terminal, warning);
  if (code == ExitCode::interrupted) {
    warn(terminal, "interrupted: every row is kept, the same command goes on from there");
  } else if (code != ExitCode::ok) {
    warn(terminal, "not every winner was found: the same command tries the rest again");
  }
  return {.code = code, .text = render(model_table(run.tuned(), scope), line.format)};
}

}  // namespace nvfp4
