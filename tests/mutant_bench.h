// SPDX-License-Identifier: Apache-2.0
// Does the gate bite? A mutant is one textual change to the embedded templates, a mistake that one
// could make; the emulated device's checks or the gate's data must condemn it.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <span>
#include <string>
#include <vector>

#include "generator/config_text.h"
#include "generator/emit.h"
#include "generator/legality.h"
#include "runtime/compiler.h"
#include "runtime/driver.h"
#include "runtime/emulator/emulator.h"
#include "runtime/gpu.h"
#include "runtime/kernel.h"
#include "tuner/gate.h"

namespace nvfp4 {

/// A config and a problem. Small ones can still reach every path: ragged N, K and M, odd strips.
struct MutantCase {
  std::string config;
  int64_t n, k, m;
  int64_t experts = 0;  ///< of a grouped problem
};

struct Mutant {
  std::string name;
  const char* file;
  const char* from;
  const char* to;
  MutantCase on;
};

/// The embedded templates with one change in `file`; it must hit exactly one place.
inline std::vector<TemplateFile> mutate(const char* name, const char* from, const char* to,
                                        std::string& storage) {
  std::vector<TemplateFile> files(template_files().begin(), template_files().end());
  for (TemplateFile& file : files) {
    if (file.name != name) continue;
    storage = file.text;
    const size_t at = storage.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, "the text to change is gone: " << from);
    REQUIRE_MESSAGE(storage.find(from, at + 1) == std::string::npos, "found twice: " << from);
    storage.replace(at, std::string_view(from).size(), to);
    file.text = storage;
    return files;
  }
  FAIL("no template named " << name);
  return files;
}

class MutantBench {
 public:
  /// "passed", or what condemned the kernel.
  std::string judge(const MutantCase& on, std::span<const TemplateFile> files) {
    std::string outcome = run(on, files);
    // A fault ends the device's context for good; the next mutant starts on a fresh device.
    char report[4096] = {};
    if (last_report_(report, sizeof report) > 0) outcome += fmt::format(": {}", report);
    reset_();
    return outcome;
  }

 private:
  std::string run(const MutantCase& on, std::span<const TemplateFile> files) {
    const Gpu gpu = open_device("emulated:h100").gpu;
    const std::optional<KernelConfig> config = parse_config(on.config);
    REQUIRE_MESSAGE(config, on.config);
    const Problem problem{.kind = on.experts > 0 ? ProblemKind::grouped : ProblemKind::dense,
                          .n = on.n,
                          .k = on.k,
                          .act = config->act,
                          .arch = gpu.facts().arch,
                          .experts = on.experts};
    const std::optional<std::string> reason = illegal_reason(*config, problem, gpu.facts());
    REQUIRE_MESSAGE(!reason, on.config << ": " << reason.value_or(""));
    const Compilation compilation =
        compiler_.compile(emit_source(*config, problem), problem.arch, files);
    REQUIRE_MESSAGE(compilation.ok, compilation.log);
    try {
      const Kernel kernel(gpu, compilation.ptx, smem_bytes(*config));
      Gate gate(gpu, problem, on.m, 1, 2);
      const GateResult result = gate.run(kernel, *config, on.m, GateDepth::full);
      if (result.verdict == Verdict::ok) return "passed";
      return fmt::format("{}: {}", name(result.verdict), result.text);
    } catch (const CudaError& error) {
      return error.what();
    }
  }

  Compiler compiler_ = Compiler::open();
  std::shared_ptr<const Driver> driver_ = Driver::open(DriverSource::emulator);
  decltype(&nvfp4_emulator_reset) reset_ =
      reinterpret_cast<decltype(&nvfp4_emulator_reset)>(driver_->symbol("nvfp4_emulator_reset"));
  decltype(&nvfp4_emulator_last_report) last_report_ =
      reinterpret_cast<decltype(&nvfp4_emulator_last_report)>(
          driver_->symbol("nvfp4_emulator_last_report"));
};

/// What makes a condemned mutant mean something: without the change the same case passes.
inline void check_unchanged_templates_pass(std::span<const MutantCase> cases) {
  MutantBench bench;
  for (const MutantCase& on : cases) {
    CAPTURE(on.config);
    CHECK(bench.judge(on, template_files()) == "passed");
  }
}

inline void check_no_mutant_lives(std::span<const Mutant> mutants) {
  MutantBench bench;
  for (const Mutant& mutant : mutants) {
    std::string storage;
    const std::string outcome =
        bench.judge(mutant.on, mutate(mutant.file, mutant.from, mutant.to, storage));
    MESSAGE(mutant.name << " -> " << outcome.substr(0, 260));
    CHECK_MESSAGE(outcome != "passed", "lives: " << mutant.name);
  }
}

}  // namespace nvfp4
