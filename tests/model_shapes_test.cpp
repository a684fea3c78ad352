// SPDX-License-Identifier: Apache-2.0
// A model as shapes to tune: by name, from a config, from a checkpoint's headers; each shape once.
#include "tuner/model_shapes.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "tests/checkpoint_fixture.h"
#include "tests/temporary_folder.h"
#include "tuner/command_line.h"
#include "tuner/inspected_model.h"

using namespace nvfp4;

namespace {

std::string text_of(const std::vector<ModelShape>& shapes) {
  std::string text;
  for (const ModelShape& shape : shapes) {
    text += fmt::format("{} *{}; ", shape_text(shape), shape.launches());
  }
  return text;
}

std::string refusal(const std::string& where, std::vector<int64_t> ranks = {1}) {
  try {
    return text_of(model_shapes(std::vector{where}, ranks));
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

}  // namespace

TEST_SUITE("model_shapes") {
  TEST_CASE("a built-in model has the shapes of its layers, most launches first") {
    CHECK(refusal("llama-3.1-8b") ==
          "28672 x 4096 *32; 4096 x 14336 *32; 6144 x 4096 *32; 4096 x 4096 *32; ");
    CHECK(refusal("gpt-oss-20b") ==
          "32 x 5760 x 2880 *24; 5120 x 2880 *24; 2880 x 4096 *24; 32 x 2880 x 2880 *24; ");
  }

  TEST_CASE("what several degrees of parallelism share is tuned once") {
    const std::vector<int64_t> ranks = {1, 2};
    const std::vector<std::string> kGemma = {"gemma-4-31b"};
    const auto shapes = model_shapes(kGemma, ranks);
    CHECK(shapes.size() == 11);  // 6 of each, one in common
    int shared = 0;
    for (const ModelShape& shape : shapes) {
      if (shape.launches("gemma-4-31b", 1) == 0 || shape.launches("gemma-4-31b", 2) == 0) continue;
      ++shared;
      CHECK(shape.n == 5376);
      CHECK(shape.k == 8192);
      CHECK(shape.launches("gemma-4-31b", 1) == 50);  // o_proj of the sliding layers
      CHECK(shape.launches("gemma-4-31b", 2) == 10);  // half of that of the others
      CHECK(shape.launches() == 60);
    }
    CHECK(shared == 1);
  }

  TEST_CASE("what several models share is tuned once, for all of their launches") {
    const std::vector<std::string> both = {"qwen3-8b", "llama-3.1-8b"};
    const auto shapes = model_shapes(both, std::vector<int64_t>{1});
    CHECK(text_of(shapes) ==
          "6144 x 4096 *68; 4096 x 4096 *68; 24576 x 4096 *36; 4096 x 12288 *36; "
          "28672 x 4096 *32; 4096 x 14336 *32; ");
    CHECK(shapes.front().launches("qwen3-8b", 1) == 36);
    CHECK(shapes.front().launches("llama-3.1-8b", 1) == 32);
    CHECK(shapes.front().launches("llama-3.1-8b", 2) == 0);
    const std::vector<std::string> wrong = {"qwen3-8b", "gemma-5"};
    CHECK_THROWS_WITH(static_cast<void>(model_shapes(wrong, std::vector<int64_t>{1})),
                      doctest::Contains("gemma-5 at tp 1: --model gemma-5: no such file"));
  }

  TEST_CASE("a config counts wherever it is, and a folder of that name before the built-in model") {
    TemporaryFolder folder;
    const std::string config =
        R"({"hidden_size":64,"intermediate_size":128,"num_attention_heads":2,)"
        R"("num_hidden_layers":3,"vocab_size":256})";
    write_text(folder / "config.json", config);
    // lm_head and gate_up_proj are one shape.
    CHECK(refusal(folder.path().string()) == "256 x 64 *4; 192 x 64 *3; 64 x 128 *3; 64 x 64 *3; ");
    CHECK(refusal((folder / "config.json").string()) == refusal(folder.path().string()));
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::create_directory(folder / "qwen3-8b");
    write_text(folder / "qwen3-8b" / "config.json", config);
    std::filesystem::current_path(folder.path());
    CHECK(refusal("qwen3-8b") == refusal((folder / "config.json").string()));
    std::filesystem::current_path(before);
  }

  TEST_CASE("weights count for more than the config beside them") {
    TemporaryFolder folder;
    write_text(folder / "config.json", "{}");
    TensorFile file;
    for (const char* layer : {"0", "1"}) {
      const std::string prefix = std::string("model.layers.") + layer + ".";
      file.modelopt(prefix + "self_attn.o_proj", 64, 64, 1);
      for (const char* expert : {"0", "1", "2"}) {
        const std::string mlp = prefix + "mlp.experts." + expert + ".";
        file.modelopt(mlp + "gate_proj", 32, 64, 1).modelopt(mlp + "up_proj", 32, 64, 1);
        file.modelopt(mlp + "down_proj", 64, 32, 1);
      }
    }
    file.write(folder / "model.safetensors");
    // Of three experts each: up starts on a row tile behind gate.
    CHECK(refusal(folder.path().string()) == "3 x 96 x 64 *2; 64 x 64 *2; 3 x 64 x 32 *2; ");
    CHECK(refusal(folder.path().string(), {1, 4}).ends_with("does not divide among 4 ranks"));
  }

  TEST_CASE("what is no model is refused in a line that says what there is") {
    CHECK(refusal("gemma-5") ==
          "--model gemma-5: no such file or folder, and no name of gemma-4-12b, gemma-4-31b, "
          "gpt-oss-120b, gpt-oss-20b, llama-3.1-8b, llama-3.3-70b, nemotron-3-nano-30b, qwen3-14b, "
          "qwen3-32b, qwen3-8b");
    CHECK(refusal("gpt-oss-20b", {1, 8}) ==
          "gpt-oss-20b at tp 8: experts.down_proj: K = 360 is not a multiple of 16");
    CHECK(refusal("llama-3.1-8b", {3}) == "num_attention_heads 32 does not divide among 3 ranks");
  }
}
