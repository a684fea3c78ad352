// SPDX-License-Identifier: Apache-2.0
// The templates through the real NVRTC for every architecture they claim, without a GPU.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "generator/candidate_space.h"
#include "generator/config_text.h"
#include "generator/emit.h"
#include "generator/occupancy.h"
#include "runtime/compiler.h"

using namespace nvfp4;

namespace {

const Compiler& nvrtc() {
  static const Compiler compiler = Compiler::open();
  return compiler;
}

}  // namespace

TEST_SUITE("templates") {
  TEST_CASE("every template compiles alone") {
    for (const TemplateFile& file : template_files()) {
      CAPTURE(file.name);
      const Compilation c =
          nvrtc().compile(fmt::format("#include \"{}\"\n", file.name), {8, 0, false});
      CAPTURE(c.log);
      CHECK(c.ok);
    }
  }

  TEST_CASE("a spread of candidates compiles for sm_80, 86, 89 and 90a without spills") {
    const struct {
      const char* part;
      int64_t n, k, m;
      Activation act;
    } rows[] = {
        {"a100", 4096, 4096, 1, Activation::bf16},   {"a10g", 14336, 4096, 16, Activation::fp16},
        {"l40s", 5376, 21504, 32, Activation::bf16}, {"rtx4090", 4096, 14336, 64, Activation::fp16},
        {"h100", 21504, 5376, 8, Activation::fp16},  {"h100", 1000, 4176, 64, Activation::bf16},
    };
    for (const auto& row : rows) {
      const Device& device = find_part(row.part)->device;
      const Problem problem{.n = row.n, .k = row.k, .act = row.act, .arch = device.arch};
      const auto list = candidates(problem, row.m, device);
      // The model's favourite and three from further down, odd tiles and other schedules among
      // them.
      for (const size_t index : {size_t{0}, list.size() / 7, list.size() / 3, list.size() - 1}) {
        const KernelConfig& config = list[index];
        CAPTURE(row.part);
        CAPTURE(config_text(config));
        const Compilation c = nvrtc().compile(emit_source(config, problem), device.arch);
        CAPTURE(c.log);
        REQUIRE(c.ok);
        CHECK_FALSE(c.resources.spills());
        CHECK(c.resources.stack_bytes == 0);
        CHECK(c.resources.registers <= register_budget(config));
      }
    }
  }

  TEST_CASE("wgmma candidates compile without spills, and ptxas serialises no wgmma") {
    const Device& device = find_part("h100")->device;
    for (const auto& [n, k, m] : {std::tuple{15360, 3840, 64}, {4096, 4176, 16}, {1000, 4096, 200}}) {
      const Problem problem{.n = n, .k = k, .arch = device.arch};
      std::vector<KernelConfig> list;
      for (const KernelConfig& config : candidates(problem, m, device)) {
        if (is_wgmma(config)) list.push_back(config);
      }
      REQUIRE(list.size() > 3);
      for (const size_t index : {size_t{0}, list.size() / 2, list.size() - 1}) {
        const KernelConfig& config = list[index];
        CAPTURE(config_text(config));
        const Compilation c = nvrtc().compile(emit_source(config, problem), device.arch);
        CAPTURE(c.log);
        REQUIRE(c.ok);
        CHECK_FALSE(c.resources.spills());
        CHECK(c.resources.stack_bytes == 0);
        CHECK(c.resources.registers <= register_budget(config));
        // C75xx: "Potential Performance Loss: wgmma.mma_async instructions are serialized due to ...".
        CHECK(c.log.find("C75") == std::string::npos);
      }
    }
  }

  TEST_CASE("what an untuned problem runs compiles without spills on every architecture") {
    for (const char* part : {"a100", "a10g", "l40s", "h100"}) {
      const Device& device = find_part(part)->device;
      for (const auto& [n, k] : {std::pair{4096, 4096}, {28672, 8192}, {1000, 528}}) {
        for (const int m : {16, 64, 256}) {
          const Problem problem{.n = n, .k = k, .arch = device.arch};
          const KernelConfig config = default_config(problem, m, device);
          CAPTURE(part);
          CAPTURE(config_text(config));
          const Compilation c = nvrtc().compile(emit_source(config, problem), device.arch);
          REQUIRE(c.ok);
          CHECK_FALSE(c.resources.spills());
        }
      }
    }
  }

  TEST_CASE("the standalone file compiles like the bundle") {
    const Problem problem{.n = 4096, .k = 1024, .arch = {8, 0, false}};
    const Compilation whole = nvrtc().compile(emit_standalone({}, problem), problem.arch, {});
    CAPTURE(whole.log);
    REQUIRE(whole.ok);
    CHECK(whole.resources == nvrtc().compile(emit_source({}, problem), problem.arch).resources);
  }

  TEST_CASE("a shared-memory formula that differs between host and device does not compile") {
    const Problem problem{.n = 4096, .k = 1024, .arch = {8, 0, false}};
    std::string source = emit_source({}, problem);
    const size_t at = source.find("== ");
    source.insert(at + 3, "1");
    const Compilation c = nvrtc().compile(source, problem.arch);
    CHECK_FALSE(c.ok);
    CHECK(c.log.find("host and device disagree") != std::string::npos);
  }
}
