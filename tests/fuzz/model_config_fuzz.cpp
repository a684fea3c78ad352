// SPDX-License-Identifier: Apache-2.0
// Any text as config.json: refused in a line, or its GEMMs are ones that kernels run, and its
// patterns match names in no time.
#include <cstdlib>
#include <string>
#include <string_view>

#include "generator/problem.h"
#include "runtime/json_text.h"
#include "runtime/model_config.h"
#include "runtime/quantization_config.h"

using namespace nvfp4;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Call>
void run(const Call& call) {
  try {
    call();
  } catch (const JsonError& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  } catch (const ModelConfigError& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  run([&] {
    const auto config = parse_quantization_config(text, "c");
    if (!config) return;
    static_cast<void>(config->ignores("model.layers.11.self_attn.q_proj"));
    static_cast<void>(config->ignores(std::string(1024, 'a')));
  });
  for (int64_t ranks : {1, 2, 7, 64}) {
    run([&] {
      const ModelConfig config = parse_model_config(text, "c");
      for (Fused fused : {Fused::yes, Fused::no}) {
        for (const ModelGemm& gemm : model_gemms(config, ranks, fused)) {
          require(gemm.count > 0 && !shape_error(gemm.n, gemm.k));
          require(packed_bytes(gemm.n, gemm.k) > 0);
        }
      }
    });
  }
  return 0;
}
