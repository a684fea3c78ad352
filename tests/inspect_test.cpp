// SPDX-License-Identifier: Apache-2.0
// nvfp4-tune inspect as a user runs it: what it prints, its memory plan, the packed file it writes,
// and what it says of checkpoints that are not as they should be.
#include "tuner/inspect.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "generator/problem.h"
#include "runtime/packed_file.h"
#include "tests/checkpoint_fixture.h"
#include "tests/cli_process.h"
#include "tuner/memory_plan.h"

using namespace nvfp4;
using Json = nlohmann::json;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

CliResult inspect(const TemporaryFolder& folder, const std::string& options = "") {
  return run_cli("inspect " + folder.path().string() + " " + options);
}

Json json_of(const TemporaryFolder& folder, const std::string& options = "") {
  return Json::parse(inspect(folder, "--format json " + options).out);
}

// The row of that layer, or null.
Json row(const Json& document, const std::string& layer) {
  for (const Json& row : document["rows"]) {
    if (row["layer"] == layer) return row;
  }
  return {};
}

}  // namespace

TEST_SUITE("inspect") {
  TEST_CASE("layers that differ in their number are one row, and fused layers one GEMM") {
    TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    const CliResult result = inspect(folder);
    CHECK(result.code == 0);
    CHECK(result.err.empty());
    CHECK(contains(result.out, "model.layers.*.self_attn.qkv_proj"));
    const Json document = json_of(folder);
    CHECK(document["schema"] == 1);
    CHECK(document["convention"] == "modelopt");
    CHECK(document["nvfp4_layers"] == 14);
    CHECK(document["problems"].empty());
    const Json qkv = row(document, "model.layers.*.self_attn.qkv_proj");
    CHECK(qkv["n"] == 256);
    CHECK(qkv["k"] == 64);
    CHECK(qkv["count"] == 2);
    CHECK(qkv["packed_bytes"] == 2 * packed_bytes(256, 64));
    CHECK(qkv["checkpoint_bytes"] == 2 * (256 * 32 + 256 * 4));
    const Json gate_up = row(document, "model.layers.*.mlp.gate_up_proj");
    CHECK(gate_up["n"] == 368);  // 176 rows padded to 192, and 176
    const Json norm = row(document, "model.layers.*.input_layernorm.weight");
    CHECK(norm["weights"] == "BF16 [64]");
    CHECK(norm["count"] == 2);
    CHECK(norm["n"].is_null());
    CHECK(document["rows"].size() == 7);

    const Json layers = json_of(folder, "--layers");
    CHECK(row(layers, "model.layers.10.mlp.down_proj")["count"] == 1);
    CHECK(layers["rows"].size() == 12);
    for (const char* format : {"csv", "md", "jsonl"}) {
      CHECK(inspect(folder, std::string("--format ") + format).code == 0);
    }
  }

  TEST_CASE("what the config leaves out is marked, and so is what it should have left out") {
    TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    write_text(folder / "hf_quant_config.json",
               R"({"quantization":{"quant_algo":"NVFP4","exclude_modules":["lm_head",)"
               R"("model.layers.2.mlp.down*"]}})");
    const Json document = json_of(folder);
    CHECK(row(document, "lm_head.weight")["remark"] == "left out by the config");
    CHECK(row(document, "model.embed_tokens.weight")["remark"] == "");
    CHECK(row(document, "model.layers.*.mlp.down_proj")["remark"] ==
          "though the config leaves it out");
    CHECK(row(document, "model.layers.*.mlp.down_proj")["count"] == 1);
    CHECK(document["problems"].empty());
    write_text(folder / "hf_quant_config.json", R"({"quantization":{"quant_algo":"FP8"}})");
    CHECK(json_of(folder)["problems"][0] == "quant_algo is 'FP8', not 'NVFP4'");
  }

  TEST_CASE("the memory plan adds up, and is held against the card's memory") {
    TemporaryFolder folder;
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    const Json document =
        json_of(folder, "--memory --batch 4 --tokens 8 --device emulated:a10g --db /nowhere/x.db");
    const Json& memory = document["memory"];
    CHECK(memory["m"] == 32);
    int64_t packed = 0, others = 0;
    for (const Json& row : document["rows"]) {
      (row["packed_bytes"].is_null() ? others : packed) +=
          row[row["packed_bytes"].is_null() ? "checkpoint_bytes" : "packed_bytes"].get<int64_t>();
    }
    CHECK(memory["packed_weights"] == packed);
    CHECK(memory["other_weights"] == others);
    CHECK(memory["activations"] == (368 + 64) * 32 * 2);
    CHECK(memory["total"] == packed + others + memory["workspace"].get<int64_t>() +
                                 memory["activations"].get<int64_t>());
    CHECK(memory["device_memory"] == int64_t{24} << 30);
    const CliResult table = inspect(folder, "--memory --device emulated:a10g");
    CHECK(contains(table.out, "One step of 1 tokens on NVIDIA A10G"));
    CHECK(contains(table.out, "leaves 25.77 GB of 25.77 GB"));
    CHECK(bytes_text(999) == "999 B");
    CHECK(bytes_text(1500) == "1.5 kB");
    CHECK(bytes_text(2'345'678'901) == "2.35 GB");
  }

  TEST_CASE("a model that does not fit is told by how much it exceeds the card") {
    TemporaryFolder folder;
    write_text(folder / "config.json",
               R"({"hidden_size":8192,"intermediate_size":28672,"num_attention_heads":64,)"
               R"("num_key_value_heads":8,"num_hidden_layers":80,"vocab_size":128256})");
    const CliResult one = inspect(folder, "--memory --device emulated:a10g");
    CHECK(one.code == 0);
    CHECK(contains(one.out, "exceeds the card's 25.77 GB by 1"));
    CHECK(contains(inspect(folder, "--memory --device emulated:a10g --tp 2").out, "leaves"));
    const Json document = json_of(folder, "--tp 2");
    CHECK(row(document, "qkv_proj")["n"] == 5120);
    CHECK(row(document, "down_proj")["k"] == 14336);
    CHECK(row(document, "lm_head")["count"] == 1);
    CHECK(inspect(folder, "--pack x").err ==
          "nvfp4-tune: " + folder.path().string() + ": no weights to pack\n");
  }

  TEST_CASE("a rank's share of each layer, and layers that have none, are shown") {
    TemporaryFolder folder;
    small_model(Convention::compressed_tensors).write(folder / "model.safetensors");
    const Json two = json_of(folder, "--tp 2");
    CHECK(two["problems"].size() == 2);  // 176 / 2 is no multiple of 16
    CHECK(two["problems"][0] == "model.layers.2.mlp.down_proj does not divide among 2 ranks");
    CHECK(row(two, "model.layers.*.self_attn.o_proj")["k"] == 64);
    CHECK(inspect(folder, "--tp 1000 --memory --device emulated:a10g").code == 1);
    CHECK(row(two, "model.layers.*.self_attn.qkv_proj")["n"] ==
          160);  // 64, and 32 padded to 64, and 32
  }

  TEST_CASE("problems end in exit code 1, one line each, and nothing is packed") {
    TemporaryFolder folder;
    TensorFile file;
    file.modelopt("a", 16, 64, 0).modelopt("b", 16, 64, 1).remove("b.weight_scale");
    Bytes scales(64, 0x38);
    scales[5] = 0xff;
    file.modelopt("c", 16, 64, 1).add("c.weight_scale", Dtype::f8_e4m3, {16, 4}, scales);
    file.write(folder / "model.safetensors");
    const std::string packed = (folder / "packed").string();
    const CliResult result = inspect(folder, "--pack " + packed);
    CHECK(result.code == 1);
    CHECK(result.err ==
          "nvfp4-tune: a.weight_scale_2 is 0\n"
          "nvfp4-tune: b.weight_scale is missing\n"
          "nvfp4-tune: c.weight_scale: 0xff at row 1, block 1 is NaN\n"
          "nvfp4-tune: not packed: 3 problems\n");
    CHECK(json_of(folder)["problems"].size() == 3);
    CHECK_FALSE(std::filesystem::exists(packed));
  }

  TEST_CASE("--pack writes a file once, and again when the weights have changed") {
    TemporaryFolder folder, out;
    const std::string path = (out / "packed").string();
    small_model(Convention::modelopt).write(folder / "model.safetensors");
    CHECK(contains(inspect(folder, "--pack " + path).err, "nvfp4-tune: packed "));
    CHECK(PackedFile(path).damaged(1).empty());
    CHECK(inspect(folder, "--pack " + path).err ==
          "nvfp4-tune: " + path + " holds these weights already\n");
    CHECK(contains(inspect(folder, "--force --pack " + path).err, "packed "));
    const Json packed = Json::parse(run_cli("inspect " + path + " --format json").out);
    CHECK(packed["convention"] == "packed");
    CHECK(packed["rows"].size() == 4);
    CHECK(row(packed, "model.layers.*.self_attn.qkv_proj")["packed_bytes"] ==
          2 * packed_bytes(256, 64));
    {
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(-1, std::ios::end);
      file.put('\x7f');
    }
    const CliResult damaged = run_cli("inspect " + path);
    CHECK(damaged.code == 1);
    CHECK(damaged.err ==
          "nvfp4-tune: model.layers.10.self_attn.qkv_proj: its bytes are not those that were "
          "written\n");
    CHECK(run_cli("inspect " + path + " --tp 2").code == 2);
    TensorFile().modelopt("a", 16, 64, 1).write(folder / "model.safetensors");
    CHECK(contains(inspect(folder, "--pack " + path).err, "packed "));
    CHECK(PackedFile(path).stacks().size() == 1);
    CHECK(std::distance(std::filesystem::directory_iterator(out.path()), {}) == 1);
    const CliResult nowhere = inspect(folder, "--pack /nowhere/p");
    CHECK(nowhere.code == 1);
    CHECK(contains(nowhere.err, "cannot create /nowhere/p"));
  }

  TEST_CASE("names from a stranger reach the terminal and a spreadsheet as text") {
    TemporaryFolder folder;
    TensorFile()
        .modelopt("x\x1b[31m\n\u202e", 16, 64, 1)
        .bf16("=cmd()|' /C calc'!A0", {4})
        .write(folder / "model.safetensors");
    for (const char* format : {"table", "json", "csv", "md", "jsonl"}) {
      const CliResult result = inspect(folder, std::string("--format ") + format);
      CHECK(result.code == 0);
      CHECK_FALSE(contains(result.out, "\x1b"));
      CHECK_FALSE(contains(result.out, "\u202e"));
      CHECK(contains(result.out, "x1b[31m"));
    }
    CHECK(contains(inspect(folder, "--format csv").out, "\n'=cmd()"));
  }

  TEST_CASE("what cannot be inspected is refused in one line") {
    TemporaryFolder folder;
    const std::string path = folder.path().string();
    CHECK(run_cli("inspect").err == "nvfp4-tune: inspect needs a folder or a .safetensors file\n");
    CHECK(run_cli("inspect").code == 2);
    CHECK(run_cli("inspect /nowhere").err == "nvfp4-tune: /nowhere: no such file or folder\n");
    CHECK(run_cli("inspect /nowhere").code == 1);
    CHECK(inspect(folder, "--tp 0").code == 2);
    CHECK(inspect(folder, "--batch 1000000 --tokens 2").code == 2);
    CHECK(contains(inspect(folder, "--batch 1000000 --tokens 2").err, "M = 2000000 exceeds"));
    CHECK(inspect(folder, "--shape 64,64").code == 2);
    CHECK(run_cli("lookup --shape 64,64 --M 1 --memory").code == 2);
    CHECK(inspect(folder).code == 1);  // an empty folder
    write_text(folder / "model.safetensors", "12345678");
    CHECK(contains(inspect(folder).err,
                   path + "/model.safetensors: header length 4050765991979987505 exceeds"));
    write_text(folder / "config.json", "{");
    CHECK(contains(inspect(folder).err, "config.json: byte 2: unexpected end of input"));
  }
}
