// SPDX-License-Identifier: Apache-2.0
// A GPU worker that the environment makes fail at one candidate and at no other, on the emulated
// device: NVFP4_TEST_CULPRIT is the candidate's config, NVFP4_TEST_FAULT a script of
// runtime/emulator/emulator.h ("launch:1=700"), or how the process ends: "signal", "exit",
// "garbage", "half". "free:last=700" fails the last call of its kind. NVFP4_TEST_TIMED=1: the
// culprit is timed too.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "generator/config_text.h"
#include "runtime/driver.h"
#include "runtime/emulator/emulator.h"
#include "tuner/bench.h"
#include "tuner/worker.h"

namespace nvfp4 {

inline std::string test_variable(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

// Ends the process as a crash would, before or in the middle of its reply; returns for a script.
inline void die_of(const std::string& fault) {
  constexpr char kBabble[] = "no frame at all";
  constexpr char kHalf[] = "NVF4\x08\0\0\0\0\0\0\0{\"a";
  if (fault == "signal") raise(SIGSEGV);
  if (fault == "exit") _exit(0);
  if (fault == "garbage" && write(STDIN_FILENO, kBabble, sizeof kBabble) > 0) pause();
  if (fault == "half" && write(STDIN_FILENO, kHalf, sizeof kHalf - 1) > 0) _exit(0);
}

class FaultyBench {
 public:
  Message serve(const Message& request) {
    const std::string kind = request.header.value("kind", "");
    if (kind == "finals") return serve_finals(request);
    if (kind != "evaluate") return bench_.serve(request);
    EvaluateJob job = decode_evaluate_job(request);
    if (test_variable("NVFP4_TEST_IN_FINALS") == "1") return bench_.serve(request);
    if (config_text(job.config) != test_variable("NVFP4_TEST_CULPRIT"))
      return bench_.serve(request);
    std::string fault = test_variable("NVFP4_TEST_FAULT");
    die_of(fault);
    if (test_variable("NVFP4_TEST_TIMED") == "1") job.policies = {Policy::graph};
    if (const size_t last = fault.find("last"); last != std::string::npos) {
      const std::string call = fault.substr(0, fault.find(':'));
      bench_.serve(encode(job));  // makes the data that later runs find
      const int64_t before = calls_(call.c_str());
      bench_.serve(encode(job));
      fault.replace(last, 4, std::to_string(calls_(call.c_str()) - before));
    }
    if (inject_(fault.c_str()) != 0) _exit(99);
    return bench_.serve(encode(job));
  }

 private:
  // With NVFP4_TEST_IN_FINALS=1 the culprit fails there and nowhere else.
  Message serve_finals(const Message& request) {
    for (const KernelConfig& config : decode_finals_job(request).configs) {
      if (config_text(config) != test_variable("NVFP4_TEST_CULPRIT")) continue;
      const std::string fault = test_variable("NVFP4_TEST_FAULT");
      die_of(fault);
      if (inject_(fault.c_str()) != 0) _exit(99);
    }
    return bench_.serve(request);
  }

  Bench bench_;
  std::shared_ptr<const Driver> driver_ = Driver::open(DriverSource::emulator);
  decltype(&nvfp4_emulator_inject) inject_ =
      reinterpret_cast<decltype(&nvfp4_emulator_inject)>(driver_->symbol("nvfp4_emulator_inject"));
  decltype(&nvfp4_emulator_calls) calls_ =
      reinterpret_cast<decltype(&nvfp4_emulator_calls)>(driver_->symbol("nvfp4_emulator_calls"));
};

}  // namespace nvfp4
