// SPDX-License-Identifier: Apache-2.0
// The built-in models: every one is read by the code that reads any config.json, and has as many
// parameters as its maker says.
#include "generator/model_bundle.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "runtime/model_config.h"
#include "runtime/quantization_config.h"

using namespace nvfp4;

TEST_SUITE("model_bundle") {
  TEST_CASE("parameters add up to what the model's maker says") {
    // In 1e9, with the embedding; as the model cards give them.
    const std::map<std::string_view, double> published = {
        {"gemma-4-12b", 11.95},  {"gemma-4-31b", 30.7},
        {"gpt-oss-120b", 116.8}, {"gpt-oss-20b", 20.9},
        {"llama-3.1-8b", 8.03},  {"llama-3.3-70b", 70.6},
        {"qwen3-8b", 8.2},       {"qwen3-14b", 14.8},
        {"qwen3-32b", 32.8},     {"nemotron-3-nano-30b", 31.6}};
    const auto tied = [](std::string_view name) { return name.starts_with("gemma"); };
    CHECK(model_files().size() == published.size());
    for (const ModelFile& file : model_files()) {
      CAPTURE(file.name);
      REQUIRE(published.contains(file.name));
      double count = 0;
      for (const ModelGemm& gemm :
           model_gemms(parse_model_config(file.text, file.name), 1, Fused::yes)) {
        const double weights = static_cast<double>(gemm.n) * static_cast<double>(gemm.k) *
                               static_cast<double>(gemm.count);
        count += gemm.kind == "lm_head" && !tied(file.name) ? 2 * weights : weights;
      }
      // What is no GEMM (norms, biases, convolutions, routers) is less than a hundredth.
      CHECK(count / 1e9 == doctest::Approx(published.at(file.name)).epsilon(0.01));
    }
  }

  TEST_CASE("each says where it is from, is found by name, and leaves its head out") {
    CHECK(std::is_sorted(model_files().begin(), model_files().end(),
                         [](const ModelFile& a, const ModelFile& b) { return a.name < b.name; }));
    for (const ModelFile& file : model_files()) {
      CAPTURE(file.name);
      CHECK(find_model(file.name) == &file);
      CHECK(file.text.find("\"_source\": \"https://huggingface.co/") != std::string_view::npos);
      const auto quantization = parse_quantization_config(file.text, file.name);
      REQUIRE(quantization);
      CHECK(quantization->problems.empty());
      CHECK(quantization->ignores("lm_head"));
    }
    CHECK(find_model("gemma-4") == nullptr);
  }

  TEST_CASE("the shapes that the suite of bench measures for gemma are among them") {
    const auto has = [](std::string_view name, int64_t n, int64_t k) {
      const ModelConfig config = parse_model_config(find_model(name)->text, name);
      const auto gemms = model_gemms(config, 1, Fused::no);
      return std::any_of(gemms.begin(), gemms.end(),
                         [&](const ModelGemm& g) { return g.n == n && g.k == k; });
    };
    CHECK(has("gemma-4-31b", 21504, 5376));
    CHECK(has("gemma-4-31b", 5376, 21504));
    CHECK(has("gemma-4-12b", 15360, 3840));
    CHECK(has("gemma-4-12b", 3840, 15360));
  }
}
