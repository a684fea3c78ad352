// SPDX-License-Identifier: Apache-2.0
// One request a shape. A device whose process dies is not given another; what it leaves undone is
// there to be done again.
#include "tuner/model_devices.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <optional>
#include <utility>

#include "runtime/gpu.h"
#include "tuner/card_claim.h"
#include "tuner/forecast.h"
#include "tuner/message.h"
#include "tuner/option_values.h"
#include "tuner/progress.h"
#include "tuner/request.h"
#include "tuner/session.h"
#include "tuner/worker.h"

namespace nvfp4 {
namespace {

constexpr auto kTick = std::chrono::milliseconds(200);
// Within it every step has a limit of its own; this one is for a process that has lost its way.
constexpr auto kShapeLimit = std::chrono::hours(24);

std::string key_text(const DeviceKey& key) {
  return fmt::format("{} {} {} {} {}00 GB/s{}", sm_name(key.arch), key.sm_count, key.l2_bytes,
                     key.smem_per_block, key.bandwidth_class, key.emulated ? " emulated" : "");
}

nlohmann::json numbers_of(const ModelShape& shape) {
  return {shape.n, shape.k, shape.experts, shape.rows_per_token};
}

ModelShape shape_of(const nlohmann::json& numbers) {
  return {.n = numbers.at(0),
          .k = numbers.at(1),
          .experts = numbers.at(2),
          .rows_per_token = numbers.at(3)};
}

/// The parent's side of one run.
class DeviceRun {
 public:
  DeviceRun(const CommandLine& line, std::span<const std::string> devices, const DeviceKey& key,
            const ModelPlan& plan, const Terminal& terminal)
      : line_(line),
        key_(key),
        plan_(plan),
        terminal_(terminal),
        progress_(terminal.write, terminal.rewritable) {
    for (const std::string& device : devices) {
      devices_.push_back({.name = device, .role = workers_.add_role(self_command("tune"), 1)});
    }
    for (size_t i = 0; i < plan.shapes.size(); ++i) {
      if (has_work(plan.shapes[i])) queue_.push_back(i);
    }
    total_ = queue_.size();
  }

  void run() {
    bool told = false;
    while (true) {
      const bool stopping = terminal_.interrupted();
      for (Device& device : devices_) {
        if (stopping && !told) workers_.interrupt(device.role);
        const bool free = device.usable && workers_.idle(device.role);
        if (!stopping && free && !queue_.empty()) submit(device);
      }
      told = stopping;
      const bool busy = std::any_of(devices_.begin(), devices_.end(), [&](const Device& device) {
        return workers_.busy(device.role) > 0;
      });
      if (!busy) break;
      show();
      if (std::optional<Completion> completion = workers_.wait(kTick)) finish(*completion);
    }
    progress_.clear();
  }

 private:
  struct Device {
    std::string name;
    int role = 0;
    bool usable = true;
    std::string at;  ///< the shape it is at
  };

  void submit(Device& device) {
    const size_t index = queue_.front();
    queue_.pop_front();
    const ModelShape& shape = plan_.shapes[index].shape;
    device.at = shape_text(shape);
    Message request;
    request.header = {{"arguments", line_.arguments},
                      {"device", device.name},
                      {"tuners", devices_.size()},
                      {"key", key_text(key_)},
                      {"shape", numbers_of(shape)}};
    // Devices take turns: the others take one each before it is this one's turn again.
    if (queue_.size() >= devices_.size()) {
      request.header["next"] = numbers_of(plan_.shapes[queue_[devices_.size() - 1]].shape);
    }
    workers_.submit(device.role, index, request, kShapeLimit);
  }

  void finish(const Completion& completion) {
    Device& device = *std::find_if(devices_.begin(), devices_.end(),
                                   [&](const Device& d) { return d.role == completion.role; });
    ++done_;
    std::string error;
    if (completion.death) {
      error = completion.death->text;
      device.usable = false;
    } else {
      error = completion.reply->header.value("error", "");
      device.usable = !completion.reply->header.value("last", false);
    }
    if (!error.empty()) {
      progress_.clear();
      warn(terminal_, fmt::format("device {}, {}: {}", device.name, device.at, error));
    }
    device.at.clear();
  }

  void show() {
    std::vector<std::string> texts;
    for (const Device& device : devices_) {
      if (!device.at.empty()) texts.push_back(fmt::format("{}: {}", device.name, device.at));
    }
    progress_.step("shapes", done_, total_, fmt::format("{}", fmt::join(texts, "; ")));
  }

  const CommandLine& line_;
  const DeviceKey& key_;
  const ModelPlan& plan_;
  const Terminal& terminal_;
  Progress progress_;
  WorkerSet workers_;
  std::vector<Device> devices_;
  std::deque<size_t> queue_;
  size_t total_ = 0;
  size_t done_ = 0;
};

volatile sig_atomic_t asked_to_stop = 0;

}  // namespace

std::vector<std::string> device_list(const std::string& text) {
  std::vector<std::string> devices;
  if (text == "all") {
    const int count = gpu_count();
    if (count == 0) throw UsageError("--device all: the driver lists no GPU");
    for (int i = 0; i < count; ++i) devices.push_back(std::to_string(i));
    return devices;
  }
  if (text.find(',') == text.npos) return devices;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    devices.push_back(text.substr(begin, end - begin));
    begin = end + 1;
    const bool number = parse_integer(devices.back()).has_value();
    const bool twice = std::count(devices.begin(), devices.end(), devices.back()) > 1;
    if (devices.back().empty() || (number && twice)) {
      throw UsageError(fmt::format("--device '{}' names {}", text,
                                   twice ? fmt::format("{} twice", devices.back()) : "nothing"));
    }
  }
  return devices;
}

void tune_on_devices(const CommandLine& line, std::span<const std::string> devices,
                     const DeviceKey& key, const ModelPlan& plan, const Terminal& terminal) {
  DeviceRun(line, devices, key, plan, terminal).run();
}

struct ShapeService::State {
  explicit State(const nlohmann::json& header)
      : line(parse_command_line(header.at("arguments").get<std::vector<std::string>>())) {
    line.device = header.at("device").get<std::string>();
    line.tuners = header.at("tuners").get<int>();
    gpu.emplace(open_device(line.device).gpu);
    const std::string key = key_text(key_of(gpu->facts()));
    if (key != header.at("key")) {
      throw UsageError(fmt::format("this card ({}) is not like the first ({})", key,
                                   header.at("key").get<std::string>()));
    }
    request = tune_request(line, gpu->facts());
    const std::string path = user_database(line, terminal);
    database.emplace(path, path.empty() ? Access::memory : Access::read_write);
    workshop.emplace(line, *gpu, terminal);
  }

  Terminal terminal{.write =
                        [](std::string_view text) {
                          std::fwrite(text.data(), 1, text.size(), stderr);
                          std::fflush(stderr);
                        },
                    .interrupted = [] { return asked_to_stop != 0; },
                    .quiet = true};
  CommandLine line;
  std::optional<Gpu> gpu;
  TuneRequest request;
  std::optional<TuningDb> database;
  std::optional<OpenWorkshop> workshop;
};

ShapeService::ShapeService() {
  struct sigaction action = {};
  action.sa_handler = [](int) { asked_to_stop = 1; };
  sigaction(SIGTERM, &action, nullptr);
}

ShapeService::~ShapeService() = default;

Message ShapeService::serve(const Message& request) {
  const auto& header = request.header;
  Message reply;
  try {
    if (!state_) state_ = std::make_unique<State>(header);
    Workshop shop = **state_->workshop;
    std::optional<Forecast> forecast;
    if (header.contains("next")) {
      forecast.emplace(request_for(state_->request, shape_of(header["next"])), shop.gpu.facts());
      shop.ahead = [&forecast] { return forecast->next(); };
    }
    const TuneOutcome outcome =
        tune(request_for(state_->request, shape_of(header.at("shape"))), shop, *state_->database);
    reply.header["rows"] = outcome.rows.size();
  } catch (const CardError& error) {
    reply.header["error"] = error.what();
    reply.header["last"] = true;
  } catch (const MeasureError& error) {
    reply.header["error"] = error.what();
  } catch (const std::exception& error) {
    // A database or a device that cannot be used will not be for the next shape.
    reply.header["error"] = error.what();
    reply.header["last"] = true;
  }
  return reply;
}

}  // namespace nvfp4
