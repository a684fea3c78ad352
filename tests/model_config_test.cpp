// SPDX-License-Identifier: Apache-2.0
// config.json as GEMM shapes: published models give the shapes that their engines run, and hostile
// or strange configs a line.
#include "runtime/model_config.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>
#include <string>

#include "runtime/json_text.h"

using namespace nvfp4;

namespace {

constexpr char kLlama8b[] =
    R"({"architectures":["LlamaForCausalLM"],"hidden_size":4096,"intermediate_size":14336,)"
    R"("num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,)"
    R"("vocab_size":128256,"torch_dtype":"bfloat16","rope_scaling":{"factor":8.0}})";

std::string shapes(const std::string& text, int64_t ranks = 1, Fused fused = Fused::yes) {
  std::string out;
  for (const ModelGemm& gemm : model_gemms(parse_model_config(text, "c"), ranks, fused)) {
    out += fmt::format("{} {}x{} *{}; ", gemm.kind, gemm.n, gemm.k, gemm.count);
  }
  return out;
}

std::string refusal(const std::string& text, int64_t ranks = 1) {
  try {
    return shapes(text, ranks);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

// Llama's config with one field set.
std::string with(const std::string& field, const std::string& value) {
  std::string text = kLlama8b;
  const size_t at = text.find("\"" + field + "\":");
  if (at == text.npos) return "{\"" + field + "\":" + value + "," + text.substr(1);
  const size_t begin = at + field.size() + 3;
  return text.replace(begin, text.find_first_of(",}", begin) - begin, value);
}

}  // namespace

TEST_SUITE("model_config") {
  TEST_CASE("a dense decoder gives its four GEMMs a layer and the head") {
    CHECK(shapes(kLlama8b) ==
          "qkv_proj 6144x4096 *32; o_proj 4096x4096 *32; gate_up_proj 28672x4096 *32; "
          "down_proj 4096x14336 *32; lm_head 128256x4096 *1; ");
    CHECK(shapes(kLlama8b, 1, Fused::no) ==
          "q_proj 4096x4096 *32; k_proj 1024x4096 *32; v_proj 1024x4096 *32; "
          "o_proj 4096x4096 *32; gate_proj 14336x4096 *32; up_proj 14336x4096 *32; "
          "down_proj 4096x14336 *32; lm_head 128256x4096 *1; ");
  }

  TEST_CASE("ranks split rows of the first GEMMs and k of the second") {
    CHECK(shapes(kLlama8b, 4) ==
          "qkv_proj 1536x4096 *32; o_proj 4096x1024 *32; gate_up_proj 7168x4096 *32; "
          "down_proj 4096x3584 *32; lm_head 32064x4096 *1; ");
    // 16 ranks share eight heads of k and v: each holds one.
    CHECK(shapes(kLlama8b, 16).starts_with("qkv_proj 512x4096 *32; o_proj 4096x256 *32; "));
    CHECK(refusal(kLlama8b, 3) == "num_attention_heads 32 does not divide among 3 ranks");
    CHECK(refusal(with("num_key_value_heads", "6"), 4) ==
          "num_key_value_heads 6 does not divide among 4 ranks");
    CHECK(refusal(with("intermediate_size", "14338"), 4) ==
          "intermediate_size 14338 does not divide among 4 ranks");
    CHECK(refusal(with("intermediate_size", "14368"), 4) ==
          "down_proj: K = 3592 is not a multiple of 16");
  }

  TEST_CASE("heads may be wider or narrower than hidden_size says, and the model nested") {
    CHECK(shapes(with("head_dim", "256")).starts_with("qkv_proj 12288x4096 *32; o_proj 4096x8192"));
    CHECK(shapes(with("num_key_value_heads", "null")).starts_with("qkv_proj 12288x4096"));
    CHECK(shapes(std::string(R"({"vision_config":{"hidden_size":5},"text_config":)") + kLlama8b +
                 "}") == shapes(kLlama8b));
  }

  TEST_CASE("experts are counted once each") {
    const std::string mixtral = with("num_local_experts", "8,\"num_experts_per_tok\":2");
    CHECK(shapes(mixtral) ==
          "qkv_proj 6144x4096 *32; o_proj 4096x4096 *32; experts.gate_up_proj 28672x4096 *256; "
          "experts.down_proj 4096x14336 *256; lm_head 128256x4096 *1; ");
    const std::string qwen =
        with("num_experts",
             R"(128,"num_experts_per_tok":8,"moe_intermediate_size":768,"first_k_dense_replace":1,)"
             R"("shared_expert_intermediate_size":512)");
    CHECK(shapes(qwen) ==
          "qkv_proj 6144x4096 *32; o_proj 4096x4096 *32; gate_up_proj 28672x4096 *1; "
          "down_proj 4096x14336 *1; experts.gate_up_proj 1536x4096 *3968; "
          "experts.down_proj 4096x768 *3968; shared_expert.gate_up_proj 1024x4096 *31; "
          "shared_expert.down_proj 4096x512 *31; lm_head 128256x4096 *1; ");
    CHECK(refusal(with("num_experts", "8")) == "c: num_experts_per_tok is missing");
  }

  TEST_CASE("two kinds of attention are told apart by layer_types") {
    const std::string gemma =
        with("head_dim",
             R"(256,"global_head_dim":512,"num_global_key_value_heads":2,"attention_k_eq_v":true)");
    const std::string mlp =
        "gate_up_proj 28672x4096 *3; down_proj 4096x14336 *3; lm_head 128256x4096 *1; ";
    const auto typed = [&](const std::string& types) {
      std::string text = gemma;
      text.replace(text.find("\"num_hidden_layers\":32"), 22, "\"num_hidden_layers\":3");
      return text.substr(0, text.size() - 1) + ",\"layer_types\":" + types + "}";
    };
    // Where K is V there is no v_proj, and the library does not stack the two that are left.
    CHECK(shapes(typed(R"(["sliding_attention","full_attention","sliding_attention"])")) ==
          "qkv_proj 12288x4096 *2; o_proj 4096x8192 *2; full_attention.q_proj 16384x4096 *1; "
          "full_attention.k_proj 1024x4096 *1; full_attention.o_proj 4096x16384 *1; " +
              mlp);
    CHECK(
        shapes(typed(R"(["full_attention","full_attention","full_attention"])"), 4)
            .starts_with("full_attention.q_proj 4096x4096 *3; full_attention.k_proj 512x4096 *3;"));
    CHECK(refusal(gemma) == "c: layer_types is missing beside global_head_dim");
    CHECK(refusal(typed("[\"full_attention\"]")) == "c: layer_types has 1 entries for 3 layers");
    CHECK(refusal(typed(R"(["full_attention","linear_attention","full_attention"])")) ==
          "c: layer_types holds \"linear_attention\", which is not known here");
    CHECK(refusal(with("layer_types", "7")) == "c: layer_types has 0 entries for 32 layers");
  }

  TEST_CASE("layers that are one mixer each are counted by their letters") {
    const auto pattern = [](const std::string& text) {
      return with("num_hidden_layers",
                  R"(4,"mlp_hidden_act":"relu2","mamba_num_heads":64,"mamba_head_dim":64,)"
                  R"("n_groups":8,"ssm_state_size":128,"n_routed_experts":16,)"
                  R"("num_experts_per_tok":2,"moe_intermediate_size":512,"n_shared_experts":1,)"
                  R"("moe_shared_expert_intermediate_size":1024,"hybrid_override_pattern":")" +
                      text + "\"");
    };
    CHECK(shapes(pattern("MEM*")) ==
          "qkv_proj 6144x4096 *1; o_proj 4096x4096 *1; mamba.in_proj 10304x4096 *2; "
          "mamba.out_proj 4096x4096 *2; experts.up_proj 512x4096 *16; "
          "experts.down_proj 4096x512 *16; shared_expert.up_proj 1024x4096 *1; "
          "shared_expert.down_proj 4096x1024 *1; lm_head 128256x4096 *1; ");
    CHECK(shapes(pattern("MM--"), 2) ==
          "mamba.in_proj 5152x4096 *2; mamba.out_proj 4096x2048 *2; up_proj 7168x4096 *2; "
          "down_proj 4096x7168 *2; lm_head 64128x4096 *1; ");
    const std::string wanted = ", not 4 letters of M, E, * and -";
    CHECK(refusal(pattern("MEMX")) == "c: hybrid_override_pattern is \"MEMX\"" + wanted);
    CHECK(refusal(pattern("MEM")) == "c: hybrid_override_pattern is \"MEM\"" + wanted);
  }

  TEST_CASE("gate and up are stacked on row tiles, as the library packs them") {
    CHECK(shapes(with("intermediate_size", "2880"), 4).find("gate_up_proj 1488x4096 *32") !=
          std::string::npos);  // 720 padded to 768, and 720
    CHECK(shapes(with("intermediate_size", "2880"), 1, Fused::no).find("gate_proj 2880x4096 *32") !=
          std::string::npos);
  }

  TEST_CASE("what is no such model is refused in one line that names the field") {
    struct Case {
      std::string field, value, message;
    };
    const std::string dimension = ", not a number of 1 to 4194304";
    for (const Case& c : std::vector<Case>{
             {"hidden_size", "0", "c: hidden_size is 0" + dimension},
             {"hidden_size", "-4096", "c: hidden_size is -4096" + dimension},
             {"hidden_size", "4096.5", "c: hidden_size is 4096.5" + dimension},
             {"hidden_size", "1e30", "c: hidden_size is 1e+30" + dimension},
             {"hidden_size", "\"4096\"", "c: hidden_size is \"4096\"" + dimension},
             {"hidden_size", "\"\\u001b[2J\"", "c: hidden_size is \"\\u001b[2J\"" + dimension},
             {"hidden_size", "9223372036854775808",
              "c: hidden_size is 9223372036854775808" + dimension},
             {"hidden_size", "18446744073709551615",
              "c: hidden_size is 18446744073709551615" + dimension},
             {"hidden_size", "4194305", "c: hidden_size is 4194305" + dimension},
             {"hidden_size", "null", "c: hidden_size is missing"},
             {"hidden_size", "4100", "c: hidden_size 4100 does not divide among 32 heads"},
             {"num_hidden_layers", "10001",
              "c: num_hidden_layers is 10001, not a number of 1 to 10000"},
             {"num_key_value_heads", "33", "c: num_key_value_heads is 33, not a number of 1 to 32"},
             {"intermediate_size", "null", "c: intermediate_size is missing"},
             {"intermediate_size", "100", "down_proj: K = 100 is not a multiple of 16"},
             {"intermediate_size", "4194304", "gate_up_proj: N = 8388608 exceeds 4194304"},
             {"kv_lora_rank", "512", "c: kv_lora_rank: latent attention is not known here"},
             {"vocab_size", "true", "c: vocab_size is true" + dimension}}) {
      CAPTURE(c.field);
      CAPTURE(c.value);
      CHECK(refusal(with(c.field, c.value)) == c.message);
    }
    CHECK(refusal("[]") == "c: not a JSON object");
    CHECK(refusal("{}") == "c: hidden_size is missing");
    CHECK(refusal("") == "c: byte 1: unexpected end of input; expected '[', '{', or a literal");
    CHECK(refusal(with("vocab_size", "1,\"vocab_size\":2")) == "c: key 'vocab_size' twice");
  }
}
