// SPDX-License-Identifier: Apache-2.0
// Roles by name.
#include "tuner/worker_roles.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include "tuner/bench.h"
#include "tuner/command_line.h"
#include "tuner/compile_service.h"
#include "tuner/message.h"
#include "tuner/model_devices.h"
#include "tuner/pick.h"
#include "tuner/worker.h"

namespace nvfp4 {
namespace {

constexpr int kCompileNiceness = 5;

}  // namespace

int serve_role(const std::string& role) {
  if (role == "compile") {
    // A compilation may be ahead of need; the GPU worker and the tuner are what is waited for.
    setpriority(PRIO_PROCESS, 0, kCompileNiceness);
    CompileService service;
    return serve_requests([&](const Message& request) { return service.serve(request); });
  }
  if (role == "bench") {
    Bench bench;
    return serve_requests([&](const Message& request) { return bench.serve(request); });
  }
  if (role == "pick") return serve_requests(serve_pick);
  if (role == "tune") {
    ShapeService tuner;
    return serve_requests([&](const Message& request) { return tuner.serve(request); });
  }
  throw UsageError(fmt::format("unknown worker '{}'", role));
}

}  // namespace nvfp4
