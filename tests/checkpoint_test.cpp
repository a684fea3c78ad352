// SPDX-License-Identifier: Apache-2.0
// Checkpoints in both conventions: what is found, how it stacks, how it packs, and every way in
// which scales, shapes, indices and configs can be wrong.
#include "runtime/checkpoint.h"

#include <doctest/doctest.h>

#include <ctime>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "generator/problem.h"
#include "runtime/json_text.h"
#include "runtime/layer_finder.h"
#include "runtime/layer_packing.h"
#include "runtime/pack.h"
#include "tests/checkpoint_fixture.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;

namespace {

constexpr char kModelopt[] =
    R"({"quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4",)"
    R"("config_groups":{},"ignore":["lm_head","model.layers.0.self_attn*"]}})";
constexpr char kCompressed[] =
    R"({"quantization_config":{"quant_method":"compressed-tensors","format":"nvfp4-pack-quantized",)"
    R"("config_groups":{"group_0":{"weights":{"num_bits":4,"type":"float","group_size":16}}},)"
    R"("ignore":["lm_head","re:.*mlp.gate$","re:^vision[._]tower\\..*"]}})";

const char* config_of(Convention convention) {
  return convention == Convention::modelopt ? kModelopt : kCompressed;
}

std::vector<std::string> problems(const TensorFile& file, const std::string& config = "") {
  TemporaryFolder folder;
  file.write(folder / "model.safetensors");
  if (!config.empty()) write_text(folder / "config.json", config);
  const Checkpoint checkpoint(folder.path());
  return {checkpoint.problems().begin(), checkpoint.problems().end()};
}

std::string only(const std::vector<std::string>& texts) {
  REQUIRE(texts.size() == 1);
  return texts[0];
}

std::string refusal(const std::filesystem::path& path) {
  try {
    Checkpoint{path};
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "accepted";
}

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_SUITE("checkpoint") {
  TEST_CASE("both conventions give the same layers, stacks and global scales") {
    for (const Convention convention : {Convention::modelopt, Convention::compressed_tensors}) {
      TemporaryFolder folder;
      small_model(convention).write(folder / "model.safetensors");
      write_text(folder / "config.json", config_of(convention));
      const Checkpoint checkpoint(folder.path());
      CHECK(checkpoint.problems().empty());
      REQUIRE(checkpoint.layers().size() == 14);
      CHECK(checkpoint.others().size() == 4);
      CHECK(checkpoint.others()[1].tensor->name == "model.embed_tokens.weight");
      REQUIRE(checkpoint.stacks().size() == 8);
      std::vector<std::string> names;
      for (const LayerStack& stack : checkpoint.stacks()) names.push_back(stack.name);
      CHECK(names == std::vector<std::string>{
                         "model.layers.2.mlp.down_proj", "model.layers.2.mlp.gate_up_proj",
                         "model.layers.2.self_attn.o_proj", "model.layers.2.self_attn.qkv_proj",
                         "model.layers.10.mlp.down_proj", "model.layers.10.mlp.gate_up_proj",
                         "model.layers.10.self_attn.o_proj", "model.layers.10.self_attn.qkv_proj"});
      const LayerStack& qkv = checkpoint.stacks()[3];
      CHECK(checkpoint.layers()[qkv.parts[0]].name == "model.layers.2.self_attn.q_proj");
      CHECK(checkpoint.tile_scales(qkv) == std::vector<float>{0.5f, 0.5f, 0.25f, 2.0f});
      const LayerStack& gate_up = checkpoint.stacks()[1];
      CHECK(checkpoint.layers()[gate_up.parts[0]].name == "model.layers.2.mlp.gate_proj");
      CHECK(checkpoint.tile_scales(gate_up) == std::vector<float>{4, 4, 4, 1, 1, 1});
      CHECK(checkpoint.stacked_rows(gate_up) == 368);  // 176 rows padded to 192, and 176
    }
  }

  TEST_CASE("a stack packs to its parts, one after the other, whatever the threads") {
    TemporaryFolder folder;
    const TensorFile file = small_model(Convention::modelopt);
    file.write(folder / "model.safetensors");
    const Checkpoint checkpoint(folder / "model.safetensors");
    for (const LayerStack& stack : checkpoint.stacks()) {
      Bytes expected;
      for (int part : stack.parts) {
        const Nvfp4Layer& layer = checkpoint.layers()[part];
        Bytes packed(packed_bytes(layer.n, layer.k));
        pack(file.bytes(layer.name + ".weight"), file.bytes(layer.name + ".weight_scale"), layer.n,
             layer.k, packed, 1, "w");
        expected.insert(expected.end(), packed.begin(), packed.end());
      }
      REQUIRE(std::ssize(expected) == checkpoint.packed_bytes(stack));
      for (int threads : {1, 2, 7}) {
        Bytes packed(expected.size(), 0xaa);
        pack_stack(checkpoint, stack, packed, threads);
        CHECK(packed == expected);
      }
    }
  }

  TEST_CASE("parts that are too many rows for one GEMM stay apart") {
    const TemporaryFolder folder;
    for (const int64_t rows : {kMaxDimension / 2, kMaxDimension / 2 + 64}) {
      TensorFile()
          .modelopt("mlp.gate_proj", rows, 16, 1)
          .modelopt("mlp.up_proj", kMaxDimension / 2, 16, 1)
          .write(folder / "model.safetensors");
      const Checkpoint checkpoint(folder.path());
      CHECK(checkpoint.problems().empty());
      CHECK(checkpoint.stacks().size() == (rows == kMaxDimension / 2 ? 1 : 2));
    }
  }

  TEST_CASE("a share of a layer packs to its rows and its k, also where k is cut into pieces") {
    constexpr int64_t kN = 130, kK = kPieceK + 160;
    TemporaryFolder folder;
    TensorFile file;
    file.modelopt("w", kN, kK, 1);
    file.write(folder / "model.safetensors");
    const Checkpoint checkpoint(folder.path());
    const Nvfp4Layer& layer = checkpoint.layers()[0];
    const Bytes& codes = file.bytes("w.weight");
    const Bytes& scales = file.bytes("w.weight_scale");
    for (const LayerSlice& slice : {whole_layer(layer), LayerSlice{65, 65, 0, kK},
                                    LayerSlice{0, 130, 48, 96}, LayerSlice{3, 1, 160, kPieceK}}) {
      Bytes part_codes, part_scales;
      for (int64_t row = slice.row; row < slice.row + slice.rows; ++row) {
        const auto copy = [&](const Bytes& from, int64_t per, Bytes& to) {
          const auto begin = from.begin() + (row * kK + slice.k) / per;
          to.insert(to.end(), begin, begin + slice.depth / per);
        };
        copy(codes, 2, part_codes);
        copy(scales, 16, part_scales);
      }
      Bytes expected(packed_bytes(slice.rows, slice.depth)), packed(expected.size());
      pack(part_codes, part_scales, slice.rows, slice.depth, expected, 1, "w");
      pack_layer(layer, slice, packed, 2);
      CHECK(packed == expected);
    }
    Bytes out(packed_bytes(64, 64));
    CHECK(error_of([&] {
            pack_layer(layer, {0, 64, 8, 64}, out, 1);
          }) == "w: rows 0+64 and k 8+64 are no slice of 130 x 65696 in blocks of 16");
    CHECK(error_of([&] {
            pack_layer(layer, {100, 64, 0, 64}, out, 1);
          }) == "w: rows 100+64 and k 0+64 are no slice of 130 x 65696 in blocks of 16");
    CHECK(error_of([&] {
            pack_layer(layer, {0, 64, 0, 128}, out, 1);
          }) == "w: room for 2304 bytes of packed weights where 4608 are needed");
  }

  TEST_CASE("a global scale that cannot be used is a problem with the tensor's name") {
    const float inf = std::numeric_limits<float>::infinity();
    struct Case {
      float value;
      std::string modelopt, compressed;
    };
    const std::vector<Case> cases = {{0, "is 0", "is 0"},
                                     {-0.0f, "is -0", "is -0"},
                                     {-2, "is -2", "is -2"},
                                     {inf, "is inf", "is inf"},
                                     {-inf, "is -inf", "is -inf"},
                                     {std::numeric_limits<float>::quiet_NaN(), "is nan", "is nan"},
                                     {1e-40f, "", "is 1e-40, and its reciprocal inf"}};
    for (const Case& c : cases) {
      CAPTURE(c.value);
      const std::vector<std::string> m = problems(TensorFile().modelopt("a.b", 16, 64, c.value));
      CHECK((m.empty() ? "" : only(m)) ==
            (c.modelopt.empty() ? "" : "a.b.weight_scale_2 " + c.modelopt));
      CHECK(only(problems(TensorFile().compressed("a.b", 16, 64, c.value))) ==
            "a.b.weight_global_scale " + c.compressed);
    }
  }

  TEST_CASE("missing, misplaced and misshapen tensors are problems with the tensor's name") {
    const auto layer = [] { return TensorFile().modelopt("a", 16, 64, 1); };
    const auto packed = [] { return TensorFile().compressed("a", 16, 64, 1); };
    const auto scale_of = [&](Dtype dtype, std::vector<int64_t> shape, int64_t bytes) {
      return only(problems(layer().add("a.weight_scale", dtype, std::move(shape), Bytes(bytes))));
    };
    CHECK(problems(layer()).empty());
    CHECK(problems(packed().add("a.weight_global_scale", Dtype::f32, {}, float_bytes(1))).empty());
    CHECK(problems(layer().add("a.weight_scale_2", Dtype::f32, {1}, float_bytes(1))).empty());
    CHECK(only(problems(layer().remove("a.weight_scale"))) == "a.weight_scale is missing");
    CHECK(only(problems(layer().remove("a.weight_scale_2"))) == "a.weight_scale_2 is missing");
    CHECK(only(problems(packed().remove("a.weight_global_scale"))) ==
          "a.weight_global_scale is missing");
    CHECK(only(problems(layer().remove("a.weight"))) ==
          "a.weight_scale_2 belongs to no NVFP4 weights");
    CHECK(only(problems(layer().add("a.weight_scale_2", Dtype::f32, {2}, Bytes(8)))) ==
          "a.weight_scale_2 is F32 [2], not F32 [] or [1]");
    CHECK(only(problems(layer().add("a.weight_scale_2", Dtype::bf16, {}, Bytes(2)))) ==
          "a.weight_scale_2 is BF16 [], not F32 [] or [1]");
    CHECK(scale_of(Dtype::f8_e4m3, {16, 3}, 48) ==
          "a.weight_scale is F8_E4M3 [16, 3], not F8_E4M3 [16, 4]");
    CHECK(scale_of(Dtype::f8_e4m3, {64}, 64) ==
          "a.weight_scale is F8_E4M3 [64], not F8_E4M3 [16, 4]");
    CHECK(scale_of(Dtype::f8_e5m2, {16, 4}, 64) ==
          "a.weight_scale is F8_E5M2 [16, 4], not F8_E4M3 [16, 4]");
    CHECK(only(problems(layer().add("a.weight", Dtype::u8, {512}, Bytes(512)))) ==
          "a.weight is U8 [512], not U8 [N, K/2]");
    CHECK(only(problems(layer().add("a.weight", Dtype::u8, {16, 33}, Bytes(528)))) ==
          "a.weight: K = 66 is not a multiple of 16");
    CHECK(only(problems(layer().add("a.weight", Dtype::u8, {0, 32}, Bytes(0)))) ==
          "a.weight: N = 0 is below 1");
    CHECK(only(problems(packed().add("a.weight_packed", Dtype::i8, {16, 32}, Bytes(512)))) ==
          "a.weight_packed is I8 [16, 32], not U8 [N, K/2]");
    CHECK(only(problems(layer(), kCompressed)) ==
          "a.weight is modelopt's, but the config says compressed-tensors");
  }

  TEST_CASE("NaN block scales are found by name and place, and never packed") {
    for (const uint8_t nan : {0x7f, 0xff}) {
      TemporaryFolder folder;
      TensorFile file;
      file.modelopt("a.b", 200, 160, 1).modelopt("c", 16, 64, 1);
      Bytes scales = file.bytes("a.b.weight_scale");
      scales[130 * 10 + 7] = scales[131 * 10] = nan;
      file.add("a.b.weight_scale", Dtype::f8_e4m3, {200, 10}, scales);
      file.write(folder / "model.safetensors");
      const Checkpoint checkpoint(folder.path());
      CHECK(checkpoint.problems().empty());
      const std::string message = std::string("a.b.weight_scale: ") +
                                  (nan == 0x7f ? "0x7f" : "0xff") + " at row 130, block 7 is NaN";
      CHECK(only(find_nan_scales(checkpoint, 2)) == message);
      Bytes out(packed_bytes(200, 160));
      const Nvfp4Layer& layer = checkpoint.layers()[0];
      CHECK(error_of([&] { pack_layer(layer, whole_layer(layer), out, 3); }) == message);
      Bytes share(packed_bytes(100, 48));
      CHECK(error_of([&] { pack_layer(layer, {100, 100, 96, 48}, share, 1); }) == message);
    }
  }

  TEST_CASE("shards are found through the index, which must tell the truth") {
    TemporaryFolder folder;
    TensorFile one, two;
    one.modelopt("a", 16, 64, 1).remove("a.weight_scale");
    two.add("a.weight_scale", Dtype::f8_e4m3, {16, 4}, random_scales(64, 1));
    one.write(folder / "1.safetensors");
    two.write(folder / "2.safetensors");
    const auto index = folder / "model.safetensors.index.json";
    const auto write = [&](const std::string& scale_file, const std::string& more = "") {
      write_text(index, R"({"metadata":{"total_size":1},"weight_map":{"a.weight":"1.safetensors",)"
                        R"("a.weight_scale_2":"1.safetensors","a.input_scale":"1.safetensors",)"
                        R"("a.weight_scale":")" +
                            scale_file + "\"" + more + "}}");
    };
    write("2.safetensors");
    const Checkpoint checkpoint(folder.path());
    CHECK(checkpoint.problems().empty());
    CHECK(checkpoint.layers().size() == 1);
    CHECK(checkpoint.files().size() == 2);

    const std::string shown = index.string() + ": ";
    write("1.safetensors");
    CHECK(refusal(folder.path()) == shown + "tensor 'a.weight_scale' is not in '1.safetensors'");
    write("2.safetensors", R"(,"b":"2.safetensors")");
    CHECK(refusal(folder.path()) == shown + "tensor 'b' is not in '2.safetensors'");
    write("3.safetensors");
    CHECK(refusal(folder.path()) ==
          (folder / "3.safetensors").string() + ": No such file or directory");
    for (const std::string name : {"../2.safetensors", "/etc/passwd", "..", ""}) {
      write(name);
      CHECK(refusal(folder.path()) ==
            shown + "tensor 'a.weight_scale' is in \"" + name + "\", which is no plain file name");
    }
    write("2.safetensors", R"(,"a.weight":"2.safetensors")");
    CHECK(refusal(folder.path()) == shown + "key 'a.weight' twice");
    write_text(index, R"({"weight_map":[]})");
    CHECK(refusal(folder.path()) == shown + "'weight_map' is missing");
    two.bf16("extra", {1}).write(folder / "2.safetensors");
    write("2.safetensors");
    CHECK(refusal(folder.path()) == shown + "names 4 tensors, its files hold 5");
    two.remove("extra").add("a.weight", Dtype::u8, {1}, Bytes(1)).write(folder / "2.safetensors");
    CHECK(refusal(folder.path()).starts_with(shown + "names 4 tensors, its files hold 5"));

    std::filesystem::remove(index);
    CHECK(refusal(folder.path()) == folder.path().string() +
                                        ": 2 .safetensors files and no index, where one file is "
                                        "needed");
  }

  TEST_CASE("the config says what is left out, in either spelling") {
    const auto config = [](const char* text) { return *parse_quantization_config(text, "c"); };
    const QuantizationConfig modelopt = config(kModelopt);
    CHECK(modelopt.problems.empty());
    CHECK(modelopt.ignores("lm_head"));
    CHECK(modelopt.ignores("model.layers.0.self_attn.q_proj"));
    CHECK_FALSE(modelopt.ignores("model.layers.1.self_attn.q_proj"));
    CHECK_FALSE(modelopt.ignores("x.lm_head"));
    const QuantizationConfig compressed = config(kCompressed);
    CHECK(compressed.problems.empty());
    CHECK(compressed.convention == Convention::compressed_tensors);
    CHECK(compressed.ignores("model.layers.3.mlp.gate"));
    CHECK_FALSE(compressed.ignores("model.layers.3.mlp.gate_proj"));
    CHECK(compressed.ignores("vision_tower.x"));
    CHECK_FALSE(compressed.ignores("vision_towers.x"));
    const QuantizationConfig own =
        config(R"({"producer":{},"quantization":{"quant_algo":"NVFP4","group_size":16,)"
               R"("exclude_modules":["lm_head"]}})");
    CHECK(own.problems.empty());
    CHECK(own.ignores("lm_head"));
    CHECK_FALSE(parse_quantization_config(R"({"hidden_size":1})", "c").has_value());
  }

  TEST_CASE("no pattern holds the matcher up, and what it does not know matches nothing") {
    const std::string name(5000, 'a');
    std::string evil;
    for (int i = 0; i < 100; ++i) evil += "a*";
    CHECK_FALSE(NamePattern::regex(evil + "b$")->matches(name));
    CHECK(NamePattern::regex(evil + "$")->matches(name));
    CHECK(NamePattern::glob("*a*a*").matches(name));
    std::string longest;
    while (longest.size() < kMaxPatternBytes) longest += "a*";
    const std::optional<NamePattern> pattern = NamePattern::regex(longest + "$");
    const std::clock_t begin = std::clock();
    for (int i = 0; i < 64; ++i) CHECK(pattern->matches(name));
    CHECK(std::clock() - begin < 2 * CLOCKS_PER_SEC);
    CHECK(NamePattern::regex("model\\.layers\\.\\d+\\.x?$")->matches("model.layers.12."));
    CHECK(NamePattern::regex("[a-c]+[^x]$")->matches("abcd"));
    CHECK_FALSE(NamePattern::regex("[a-c]+[^x]$")->matches("abcx"));
    for (const char* text : {"(a|b)", "a{2}", "a|b", "\\w", "[", "*a", "\\", "[\\d]"}) {
      CAPTURE(text);
      CHECK_FALSE(NamePattern::regex(text).has_value());
    }
  }

  TEST_CASE("a config of another format, or that is no config, is refused in a line") {
    const auto first = [](const std::string& section) {
      return only(
          parse_quantization_config("{\"quantization_config\":" + section + "}", "c")->problems);
    };
    CHECK(first(R"({"quant_method":"gptq"})") ==
          "quant_method is 'gptq', not 'modelopt' or 'compressed-tensors'");
    CHECK(first(R"({"quant_method":"modelopt","quant_algo":"FP8"})") ==
          "quant_algo is 'FP8', not 'NVFP4'");
    CHECK(first(R"({"quant_method":"modelopt","quant_algo":"NVFP4","group_size":32})") ==
          "group_size is 32, not 16");
    CHECK(first(R"({"quant_method":"compressed-tensors","format":"pack-quantized"})") ==
          "format is 'pack-quantized', not 'nvfp4-pack-quantized'");
    CHECK(first(R"({"quant_method":"modelopt","quant_algo":"NVFP4","ignore":"lm_head"})") ==
          "'ignore' is no list");
    CHECK(first(R"({"quant_method":"modelopt","quant_algo":"NVFP4","ignore":[1]})") ==
          "'ignore' holds 1");

    const auto error = [](const std::string& text) {
      return error_of([&] { parse_quantization_config(text, "c"); });
    };
    CHECK(error("[]") == "c: not a JSON object");
    CHECK(error("{\"a\":1,\"a\":2}") == "c: key 'a' twice");
    CHECK(error("{\"b\":{\"a\":1,\"a\":2}}") == "c: key 'a' twice");
    CHECK(error("{\"a\":NaN}") == "c: byte 6: invalid literal");
    CHECK(error("{\"a\":1e999}") == "c: a number is out of range");
    CHECK(error(std::string("{}\0", 3)) == "c: byte 2 is NUL");
    CHECK(error("{\"a\":\"\xff\"}") == "c: byte 7: invalid string: ill-formed UTF-8 byte");
    CHECK(error(std::string(10'000, '[')) == "c: nested deeper than 32");
    CHECK(error("{\"a\":" + std::string(10'000, '[')) == "c: nested deeper than 32");
    CHECK(error(std::string(kMaxJsonBytes + 1, ' ')) ==
          "c: 67108865 bytes of JSON exceed 67108864");
    std::string many = "[";
    for (int i = 0; i < 1'100'000; ++i) many += "1,";
    CHECK(error(many) == "c: more than 1048576 values");
    CHECK(error(R"({"quantization_config":1})") == "c: 'quantization_config' is no object");
    CHECK(error(R"({"quantization_config":null})") == "");
  }

  TEST_CASE("names sort by their numbers") {
    CHECK(natural_less("layers.2.a", "layers.10.a"));
    CHECK_FALSE(natural_less("layers.10.a", "layers.2.a"));
    CHECK(natural_less("a", "a.b"));
    CHECK(natural_less("a01", "a1"));
    CHECK_FALSE(natural_less("a1", "a1"));
    CHECK(natural_less("a9", "ab"));
  }
}
