// SPDX-License-Identifier: Apache-2.0
// Real faults on real silicon: variants of the templates that write out of bounds, trap, spin or
// lie go through the normal pipeline, each between two sound candidates. Prints the class of each
// and whether the run went on, then what the worker process costs against the same work in this
// one. Ends with "N passed, N failed". `silicon_faults [DEVICE]`; no spin lasts longer than two
// seconds.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "generator/emit.h"
#include "runtime/compiler.h"
#include "tests/three_candidates.h"
#include "tuner/bench.h"
#include "tuner/tune.h"
#include "tuner/worker.h"
#include "tuner/worker_roles.h"

namespace {

using namespace nvfp4;
using Clock = std::chrono::steady_clock;

constexpr char kVariable[] = "NVFP4_TEST_VARIANT";
constexpr int kRuns = 40;  // of the overhead's measurement
constexpr double kMostOverhead = 1.5;

struct Variant {
  const char* name;
  const char* verdict;
  const char* file;
  const char* from;
  const char* to;
};

// Before the sums of a CTA are stored, and the stores themselves.
constexpr char kEnd[] = "  cta_sync();  // all groups have left their stages";
constexpr char kStore[] =
    "sums.x[i] = params.bias ? __fmaf_rn(sums.x[i], factor, bias) : sums.x[i] * factor;";

const Variant kVariants[] = {
    {"none", "ok", "gemm_mma.cuh", kEnd, kEnd},
    {"write far out of bounds", "fault", "gemm_mma.cuh", kEnd,
     "  *reinterpret_cast<volatile u32*>(reinterpret_cast<u64>(params.out) + (u64{1} << 44)) = "
     "1u;\n"
     "  cta_sync();  // all groups have left their stages"},
    {"read far out of bounds", "fault", "gemm_mma.cuh", kEnd,
     "  if (*reinterpret_cast<volatile u32*>(reinterpret_cast<u64>(params.out) + (u64{1} << 44)) "
     "== 7u)\n"
     "    return;\n  cta_sync();  // all groups have left their stages"},
    {"write just before the output", "out_of_bounds", "gemm_mma.cuh", kEnd,
     "  if (threadIdx.x == 0) *(static_cast<volatile u32*>(params.out) - 4) = 7u;\n"
     "  cta_sync();  // all groups have left their stages"},
    {"misaligned write", "fault", "gemm_mma.cuh", kEnd,
     "  *reinterpret_cast<volatile u32*>(reinterpret_cast<u64>(params.out) + 1) = 1u;\n"
     "  cta_sync();  // all groups have left their stages"},
    {"write to a null pointer", "fault", "gemm_mma.cuh", kEnd,
     "  *reinterpret_cast<volatile u32*>(u64{8}) = 1u;\n"
     "  cta_sync();  // all groups have left their stages"},
    {"trap", "fault", "gemm_mma.cuh", kEnd,
     "  if (threadIdx.x == 0) __trap();\n  cta_sync();  // all groups have left their stages"},
    {"spin for two seconds", "hang", "gemm_mma.cuh", kEnd,
     "  for (long long begin = clock64(); clock64() - begin < 4000000000ll;) {\n  }\n"
     "  cta_sync();  // all groups have left their stages"},
    {"half of the tiles is missing", "wrong", "gemm_mma.cuh", kEnd,
     "  if (blockIdx.x % 2 == 1) return;\n  cta_sync();  // all groups have left their stages"},
    {"a factor is wrong", "wrong", "epilogue.cuh", kStore,
     "sums.x[i] = sums.x[i] * factor * 1.5f;"},
    {"NaN", "wrong", "epilogue.cuh", kStore, "sums.x[i] = __uint_as_float(0x7fc00000u);"},
    {"no source", "compile_error", "epilogue.cuh", kStore, "this is no source;"},
};

// The embedded templates with the variant's change, which must hit exactly one place.
std::vector<TemplateFile> changed(const Variant& variant, std::string& storage) {
  std::vector<TemplateFile> files(template_files().begin(), template_files().end());
  for (TemplateFile& file : files) {
    if (file.name != variant.file) continue;
    storage = file.text;
    const size_t at = storage.find(variant.from);
    if (at == storage.npos || storage.find(variant.from, at + 1) != storage.npos) break;
    storage.replace(at, std::string_view(variant.from).size(), variant.to);
    file.text = storage;
    return files;
  }
  throw std::runtime_error(
      fmt::format("{}: the text to change is not in {} exactly once", variant.name, variant.file));
}

// The compile worker: the culprit's source meets the variant's templates.
Message compile(const Message& request) {
  const CompileJob job = decode_compile_job(request);
  const Compiler compiler = Compiler::open(job.driver_version);
  const Variant& variant = kVariants[std::atoi(std::getenv(kVariable))];
  const bool culprit = job.source.find(kCulprit) != job.source.npos;
  std::string storage;
  return encode(culprit ? compiler.compile(job.source, job.arch, changed(variant, storage))
                        : compiler.compile(job.source, job.arch));
}

struct Shop {
  explicit Shop(std::string spec) : device(std::move(spec)) {}

  std::string device;
  Gpu gpu = open_device(device).gpu;
  Compiler compiler = Compiler::open(gpu.driver().version());
  CubinCache cache{{}};  // in memory: no variant is to be found later
  Progress silent{{}, false};
  Problem problem{.n = 512, .k = 512, .arch = gpu.facts().arch};

  Workshop workshop() {
    Workshop shop{.gpu = gpu,
                  .device = device,
                  .compiler = compiler,
                  .cache = cache,
                  .cache_options = {},
                  .jobs = 3,
                  .progress = silent,
                  .stopped = [] { return false; }};
    // Less than half of the spin. The emulated device counts instructions instead.
    if (!gpu.emulated()) shop.bench_limit = std::chrono::milliseconds(800);
    return shop;
  }
};

bool try_variant(Shop& shop, const Variant& variant) {
  setenv(kVariable, std::to_string(&variant - kVariants).c_str(), 1);
  const Clock::time_point begin = Clock::now();
  const ThreeOutcomes outcome = try_three(shop.workshop(), shop.problem, 8, {Policy::graph});
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const bool went_on = outcome.error.empty() && outcome.end == RunEnd::complete &&
                       outcome.verdict(kBefore) == "ok" && outcome.verdict(kAfter) == "ok";
  const std::string verdict = outcome.verdict(kCulprit);
  const bool passed = went_on && verdict == variant.verdict;
  const std::string text = outcome.error.empty() ? outcome.text(kCulprit) : outcome.error;
  fmt::print("{:<6} {:<30} {:<14} {:<8} {:5.1f} s  {}\n", passed ? "passed" : "FAILED",
             variant.name, verdict, went_on ? "went on" : "ended", seconds, text.substr(0, 110));
  std::fflush(stdout);
  return passed;
}

// Seconds of one evaluation, gate and coarse times, the best of kRuns.
template <class Ask>
double seconds_of(const Ask& ask) {
  double least = 1e9;
  for (int i = 0; i < kRuns; ++i) {
    const Clock::time_point begin = Clock::now();
    ask();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return least;
}

bool measure_overhead(Shop& shop) {
  const KernelConfig config = *parse_config(kAfter);
  const Compilation kernel =
      shop.compiler.compile(emit_source(config, shop.problem), shop.problem.arch);
  const bool emulated = shop.gpu.emulated();
  const Message request = encode(
      EvaluateJob{.device = shop.device,
                  .problem = shop.problem,
                  .gate_n = shop.problem.n,
                  .config = config,
                  .m = 8,
                  .max_m = 8,
                  .policies = emulated ? std::vector<Policy>{} : std::vector<Policy>{Policy::graph},
                  .image = emulated ? kernel.ptx : kernel.cubin});
  Bench bench;
  const double inside = seconds_of([&] { bench.serve(request); });
  WorkerSet workers;
  const int role = workers.add_role(self_command("bench"), 1);
  const double outside = seconds_of([&] {
    workers.submit(role, 0, request, std::chrono::minutes(2));
    while (!workers.wait(std::chrono::seconds(1))) {
    }
  });
  const double ratio = outside / inside;
  // Where kernels run on the same cores as everything else, the ratio is their scheduler's.
  const bool passed = emulated || ratio <= kMostOverhead;
  fmt::print(
      "{:<6} a worker process takes {:.2f} times as long as this one: {:.2f} and {:.2f} ms{}\n",
      passed ? "passed" : "FAILED", ratio, outside * 1e3, inside * 1e3,
      emulated ? " (not judged: the device is emulated)" : "");
  return passed;
}

}  // namespace

int main(int count, char** words) {
  const std::string role = count == 3 && std::string(words[1]) == "--worker" ? words[2] : "";
  if (role == "compile") return serve_requests(compile);
  if (!role.empty()) return serve_role(role);
  Shop shop(count > 1 ? words[1] : "0");
  int passed = 0;
  int failed = 0;
  for (const Variant& variant : kVariants) (try_variant(shop, variant) ? passed : failed)++;
  (measure_overhead(shop) ? passed : failed)++;
  fmt::print("{}, driver {}, NVRTC {}\n{} passed, {} failed\n", shop.gpu.facts().name,
             shop.gpu.driver().version(), shop.compiler.version(), passed, failed);
  return failed > 0;
}
