// SPDX-License-Identifier: Apache-2.0
// The same tune() as the command's, over a database in memory.
#include "tuner/pick.h"

#include <chrono>
#include <utility>

#include "generator/config_text.h"
#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "runtime/gpu.h"
#include "tuner/message.h"
#include "tuner/tune.h"

namespace nvfp4 {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Pick pick_one(const PickJob& job, const PickTarget& target, const Workshop& workshop) {
  TuningDb database("", Access::memory);
  const Clock::time_point begin = Clock::now();
  const TuneOutcome outcome = tune({.problem = {.n = target.shape.n,
                                                .k = target.shape.k,
                                                .act = job.act,
                                                .arch = workshop.gpu.facts().arch},
                                    .tokens = {target.m},
                                    .policies = {job.policy},
                                    .effort = job.effort,
                                    .seed = job.seed},
                                   workshop, database);
  Pick pick{.seconds = seconds_since(begin)};
  if (!outcome.choices.empty()) pick.config = config_text(outcome.choices.front().winner.config);
  return pick;
}

}  // namespace

Message encode(const PickJob& job) {
  Json targets = Json::array();
  for (const PickTarget& t : job.targets) targets.push_back({t.shape.n, t.shape.k, t.m});
  return {.header = {{"kind", "pick"},
                     {"device", job.device},
                     {"cache_directory", job.cache_directory},
                     {"cache_limit", job.cache_limit},
                     {"jobs", job.jobs},
                     {"act", static_cast<int>(job.act)},
                     {"policy", static_cast<int>(job.policy)},
                     {"effort", static_cast<int>(job.effort)},
                     {"seed", job.seed},
                     {"targets", targets}}};
}

PickJob decode_pick_job(const Message& message) {
  return decoded(message, "pick", [](const Json& json) {
    PickJob job{.device = json.at("device").get<std::string>(),
                .cache_directory = json.at("cache_directory").get<std::string>(),
                .cache_limit = json.at("cache_limit").get<int64_t>(),
                .jobs = json.at("jobs").get<int>(),
                .act = json.at("act").get<Activation>(),
                .policy = json.at("policy").get<Policy>(),
                .effort = json.at("effort").get<Effort>(),
                .seed = json.at("seed").get<uint64_t>()};
    for (const Json& t : json.at("targets")) {
      job.targets.push_back(
          {.shape = {t.at(0).get<int64_t>(), t.at(1).get<int64_t>()}, .m = t.at(2).get<int64_t>()});
    }
    return job;
  });
}

Message encode(const PickResult& result) {
  Json picks = Json::array();
  for (const Pick& pick : result.picks) picks.push_back({pick.config, pick.seconds});
  return {.header = {
              {"kind", "pick result"}, {"start_seconds", result.start_seconds}, {"picks", picks}}};
}

PickResult decode_pick_result(const Message& message) {
  return decoded(message, "pick result", [](const Json& json) {
    PickResult result{.start_seconds = json.at("start_seconds").get<double>()};
    for (const Json& pick : json.at("picks")) {
      result.picks.push_back(
          {.config = pick.at(0).get<std::string>(), .seconds = pick.at(1).get<double>()});
    }
    return result;
  });
}

Message serve_pick(const Message& request) {
  const PickJob job = decode_pick_job(request);
  const Clock::time_point begin = Clock::now();
  const Gpu gpu = open_device(job.device).gpu;
  const Compiler compiler = Compiler::open(gpu.driver().version());
  const CacheOptions options{.directory = job.cache_directory, .size_limit = job.cache_limit};
  CubinCache cache(options);
  Progress silent({}, false);
  const Workshop workshop{.gpu = gpu,
                          .device = job.device,
                          .compiler = compiler,
                          .cache = cache,
                          .cache_options = options,
                          .jobs = job.jobs,
                          .progress = silent,
                          .stopped = [] { return false; }};
  PickResult result{.start_seconds = seconds_since(begin)};
  for (const PickTarget& target : job.targets) {
    result.picks.push_back(pick_one(job, target, workshop));
  }
  Message reply = encode(result);
  reply.header["last"] = true;
  return reply;
}

}  // namespace nvfp4
