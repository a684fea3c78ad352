// SPDX-License-Identifier: Apache-2.0
// Several GPUs of one machine: a process for each, which is this program started again, takes the
// next shape when it has done its last. All of them write to one database.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tuner/commands.h"
#include "tuner/model_plan.h"

namespace nvfp4 {

struct Message;  // message.h

/// The devices that `--device` names when it names several: "0,1" or "all". Empty for one. Throws
/// UsageError for a list that makes no sense and DriverError when there is no driver to ask.
std::vector<std::string> device_list(const std::string& text);

/// Tunes what is missing of the plan on all of `devices`, which must be alike; `key` says what they
/// must be. What fails is a warning, and is missing afterwards. Rows are in the database.
void tune_on_devices(const CommandLine& line, std::span<const std::string> devices,
                     const DeviceKey& key, const ModelPlan& plan, const Terminal& terminal);

/// The other side: the worker "tune". It is sent the arguments that the parent was given, so that
/// both go by the same options.
class ShapeService {
 public:
  ShapeService();
  ~ShapeService();

  Message serve(const Message& request);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nvfp4
