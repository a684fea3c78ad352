// SPDX-License-Identifier: Apache-2.0
// Jobs to JSON and back. Numbers and enums travel as numbers between two copies of one executable.
#include "tuner/jobs.h"

#include <utility>

#include "generator/config_text.h"
#include "tuner/message.h"

namespace nvfp4 {
namespace {

using Json = nlohmann::json;

Json arch_json(Arch arch) { return sm_name(arch); }

Arch arch_of(const Json& json) {
  const std::optional<Arch> arch = parse_arch(json.get<std::string>());
  if (!arch) throw MessageError("malformed architecture");
  return *arch;
}

Json problem_json(const Problem& p) {
  return {{"kind", static_cast<int>(p.kind)},
          {"layout", p.layout},
          {"n", p.n},
          {"k", p.k},
          {"act", static_cast<int>(p.act)},
          {"arch", arch_json(p.arch)},
          {"experts", p.experts}};
}

Problem problem_of(const Json& json) {
  return {.kind = json.at("kind").get<ProblemKind>(),
          .layout = json.at("layout").get<int>(),
          .n = json.at("n").get<int64_t>(),
          .k = json.at("k").get<int64_t>(),
          .act = json.at("act").get<Activation>(),
          .arch = arch_of(json.at("arch")),
          .experts = json.at("experts").get<int64_t>()};
}

KernelConfig config_of(const Json& json) {
  const std::optional<KernelConfig> config = parse_config(json.get<std::string>());
  if (!config) throw MessageError("malformed config");
  return *config;
}

Json times_json(const std::vector<PolicyTimes>& times) {
  Json json = Json::array();
  for (const PolicyTimes& t : times) {
    json.push_back({{"policy", static_cast<int>(t.policy)},
                    {"samples_us", t.samples_us},
                    {"discarded", t.discarded},
                    {"clock_mhz", t.clock_mhz},
                    {"temperature_c", t.temperature_c},
                    {"power_w", t.power_w},
                    {"throttled", t.throttled},
                    {"reasons", t.reasons}});
  }
  return json;
}

std::vector<PolicyTimes> times_of(const Json& json) {
  std::vector<PolicyTimes> times;
  for (const Json& t : json) {
    times.push_back({.policy = t.at("policy").get<Policy>(),
                     .samples_us = t.at("samples_us").get<std::vector<float>>(),
                     .discarded = t.at("discarded").get<int>(),
                     .clock_mhz = t.at("clock_mhz").get<double>(),
                     .temperature_c = t.at("temperature_c").get<double>(),
                     .power_w = t.at("power_w").get<double>(),
                     .throttled = t.at("throttled").get<bool>(),
                     .reasons = t.at("reasons").get<std::string>()});
  }
  return times;
}

// Several byte strings in one body; the header keeps their lengths.
std::string join(const std::vector<std::string>& parts) {
  std::string body;
  for (const std::string& part : parts) body += part;
  return body;
}

std::vector<std::string> split(const Message& message, const Json& lengths) {
  std::vector<std::string> parts;
  size_t offset = 0;
  for (const Json& length : lengths) {
    const size_t bytes = length.get<size_t>();
    if (bytes > message.body.size() - offset) throw MessageError("message body is too short");
    parts.push_back(message.body.substr(offset, bytes));
    offset += bytes;
  }
  return parts;
}

}  // namespace

Message encode(const CompileJob& job) {
  return {.header = {{"kind", "compile"},
                     {"arch", arch_json(job.arch)},
                     {"driver_version", job.driver_version},
                     {"cache_directory", job.cache_directory},
                     {"cache_limit", job.cache_limit}},
          .body = job.source};
}

CompileJob decode_compile_job(const Message& message) {
  return decoded(message, "compile", [&](const Json& json) {
    return CompileJob{.source = message.body,
                      .arch = arch_of(json.at("arch")),
                      .driver_version = json.at("driver_version").get<int>(),
                      .cache_directory = json.at("cache_directory").get<std::string>(),
                      .cache_limit = json.at("cache_limit").get<int64_t>()};
  });
}

Message encode(const Compilation& c) {
  const KernelResources& r = c.resources;
  return {.header = {{"kind", "compilation"},
                     {"ok", c.ok},
                     {"lengths", {c.cubin.size(), c.ptx.size()}},
                     {"log", c.log},
                     {"warnings", c.warnings},
                     {"resources",
                      {r.registers, r.stack_bytes, r.spill_store_bytes, r.spill_load_bytes,
                       r.static_smem_bytes, r.barriers}}},
          .body = join({c.cubin, c.ptx})};
}

Compilation decode_compilation(const Message& message) {
  return decoded(message, "compilation", [&](const Json& json) {
    const std::vector<std::string> parts = split(message, json.at("lengths"));
    const std::vector<int> r = json.at("resources").get<std::vector<int>>();
    if (parts.size() != 2 || r.size() != 6) throw MessageError("malformed compilation");
    return Compilation{.ok = json.at("ok").get<bool>(),
                       .cubin = parts[0],
                       .ptx = parts[1],
                       .log = json.at("log").get<std::string>(),
                       .resources = {.registers = r[0],
                                     .stack_bytes = r[1],
                                     .spill_store_bytes = r[2],
                                     .spill_load_bytes = r[3],
                                     .static_smem_bytes = r[4],
                                     .barriers = r[5]},
                       .warnings = json.at("warnings").get<std::vector<std::string>>()};
  });
}

Message encode(const CanaryJob& job) {
  return {.header = {{"kind", "canary"}, {"device", job.device}, {"free_bytes", job.free_bytes}},
          .body = job.image};
}

CanaryJob decode_canary_job(const Message& message) {
  return decoded(message, "canary", [&](const Json& json) {
    return CanaryJob{.device = json.at("device").get<std::string>(),
                     .free_bytes = json.at("free_bytes").get<int64_t>(),
                     .image = message.body};
  });
}

Message encode(const CanaryResult& result) {
  return {.header = {{"kind", "canary result"},
                     {"free_bytes", result.free_bytes},
                     {"error", result.error}}};
}

CanaryResult decode_canary_result(const Message& message) {
  return decoded(message, "canary result", [&](const Json& json) {
    return CanaryResult{.free_bytes = json.at("free_bytes").get<int64_t>(),
                        .error = json.at("error").get<std::string>()};
  });
}

Message encode(const EvaluateJob& job) {
  return {.header = {{"kind", "evaluate"},
                     {"device", job.device},
                     {"problem", problem_json(job.problem)},
                     {"gate_n", job.gate_n},
                     {"config", config_text(job.config)},
                     {"m", job.m},
                     {"max_m", job.max_m},
                     {"depth", static_cast<int>(job.depth)},
                     {"policies", job.policies},
                     {"seed", job.seed}},
          .body = job.image};
}

EvaluateJob decode_evaluate_job(const Message& message) {
  return decoded(message, "evaluate", [&](const Json& json) {
    return EvaluateJob{.device = json.at("device").get<std::string>(),
                       .problem = problem_of(json.at("problem")),
                       .gate_n = json.at("gate_n").get<int64_t>(),
                       .config = config_of(json.at("config")),
                       .m = json.at("m").get<int64_t>(),
                       .max_m = json.at("max_m").get<int64_t>(),
                       .depth = json.at("depth").get<GateDepth>(),
                       .policies = json.at("policies").get<std::vector<Policy>>(),
                       .seed = json.at("seed").get<uint64_t>(),
                       .image = message.body};
  });
}

Message encode(const Evaluation& e) {
  return {.header = {{"kind", "evaluation"},
                     {"verdict", static_cast<int>(e.verdict)},
                     {"text", e.text},
                     {"registers", e.registers},
                     {"times", times_json(e.times)}}};
}

Evaluation decode_evaluation(const Message& message) {
  return decoded(message, "evaluation", [&](const Json& json) {
    return Evaluation{.verdict = json.at("verdict").get<Verdict>(),
                      .text = json.at("text").get<std::string>(),
                      .registers = json.at("registers").get<int>(),
                      .times = times_of(json.at("times"))};
  });
}

Message encode(const FinalsJob& job) {
  Json configs = Json::array();
  Json lengths = Json::array();
  for (const KernelConfig& config : job.configs) configs.push_back(config_text(config));
  for (const std::string& image : job.images) lengths.push_back(image.size());
  return {.header = {{"kind", "finals"},
                     {"device", job.device},
                     {"problem", problem_json(job.problem)},
                     {"m", job.m},
                     {"policy", static_cast<int>(job.policy)},
                     {"seed", job.seed},
                     {"configs", configs},
                     {"lengths", lengths}},
          .body = join(job.images)};
}

FinalsJob decode_finals_job(const Message& message) {
  return decoded(message, "finals", [&](const Json& json) {
    FinalsJob job{.device = json.at("device").get<std::string>(),
                  .problem = problem_of(json.at("problem")),
                  .m = json.at("m").get<int64_t>(),
                  .policy = json.at("policy").get<Policy>(),
                  .seed = json.at("seed").get<uint64_t>(),
                  .images = split(message, json.at("lengths"))};
    for (const Json& config : json.at("configs")) job.configs.push_back(config_of(config));
    if (job.configs.size() != job.images.size()) throw MessageError("malformed finals");
    return job;
  });
}

Message encode(const FinalsResult& result) {
  return {.header = {{"kind", "finals result"},
                     {"times", times_json(result.times)},
                     {"verdict", static_cast<int>(result.verdict)},
                     {"error", result.error}}};
}

FinalsResult decode_finals_result(const Message& message) {
  return decoded(message, "finals result", [&](const Json& json) {
    return FinalsResult{.times = times_of(json.at("times")),
                        .verdict = json.at("verdict").get<Verdict>(),
                        .error = json.at("error").get<std::string>()};
  });
}

Message encode(const CeilingsJob& job) {
  return {.header = {{"kind", "ceilings"}, {"device", job.device}, {"bytes", job.bytes}},
          .body = job.image};
}

CeilingsJob decode_ceilings_job(const Message& message) {
  return decoded(message, "ceilings", [&](const Json& json) {
    return CeilingsJob{.device = json.at("device").get<std::string>(),
                       .bytes = json.at("bytes").get<int64_t>(),
                       .image = message.body};
  });
}

Message encode(const Ceilings& c) {
  return {.header = {{"kind", "ceilings result"},
                     {"stream_bytes_per_s", c.stream_bytes_per_s},
                     {"launch_seconds", c.launch_seconds},
                     {"tensor_flops", c.tensor_flops},
                     {"modelled", c.modelled}}};
}

Ceilings decode_ceilings(const Message& message) {
  return decoded(message, "ceilings result", [&](const Json& json) {
    return Ceilings{.stream_bytes_per_s = json.at("stream_bytes_per_s").get<double>(),
                    .launch_seconds = json.at("launch_seconds").get<double>(),
                    .tensor_flops = json.at("tensor_flops").get<double>(),
                    .modelled = json.at("modelled").get<bool>()};
  });
}

Message encode(const MatrixJob& job) {
  return {
      .header = {
          {"kind", "matrix"}, {"device", job.device}, {"n", job.n}, {"k", job.k}, {"m", job.m}}};
}

MatrixJob decode_matrix_job(const Message& message) {
  return decoded(message, "matrix", [&](const Json& json) {
    return MatrixJob{.device = json.at("device").get<std::string>(),
                     .n = json.at("n").get<int64_t>(),
                     .k = json.at("k").get<int64_t>(),
                     .m = json.at("m").get<int64_t>()};
  });
}

Message encode(const MatrixResult& result) {
  return {.header = {{"kind", "matrix result"},
                     {"library", result.library},
                     {"error", result.error},
                     {"times", times_json({result.times})}}};
}

MatrixResult decode_matrix_result(const Message& message) {
  return decoded(message, "matrix result", [&](const Json& json) {
    std::vector<PolicyTimes> times = times_of(json.at("times"));
    if (times.size() != 1) throw MessageError("malformed matrix result: not one time");
    return MatrixResult{.library = json.at("library").get<std::string>(),
                        .error = json.at("error").get<std::string>(),
                        .times = std::move(times.front())};
  });
}

}  // namespace nvfp4
