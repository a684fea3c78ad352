// SPDX-License-Identifier: Apache-2.0
// The type and state-space words of declarations.
#include "runtime/emulator/ptx_syntax.h"

namespace nvfp4::emulator {

std::optional<PtxType> find_ptx_type(std::string_view word) {
  if (word == ".pred") return PtxType{0, 1};
  if (word == ".b8" || word == ".u8" || word == ".s8") return PtxType{1, 0};
  if (word == ".b16" || word == ".u16" || word == ".s16" || word == ".f16") return PtxType{2, 16};
  if (word == ".b32" || word == ".u32" || word == ".s32" || word == ".f32") return PtxType{4, 32};
  if (word == ".b64" || word == ".u64" || word == ".s64" || word == ".f64") return PtxType{8, 64};
  if (word == ".f16x2" || word == ".bf16x2") return PtxType{4, 32};
  return std::nullopt;
}

std::optional<StateSpace> find_state_space(std::string_view word) {
  if (word == ".param") return StateSpace::parameter;
  if (word == ".shared") return StateSpace::shared;
  if (word == ".local") return StateSpace::local;
  if (word == ".global") return StateSpace::global;
  if (word == ".const") return StateSpace::constant;
  return std::nullopt;
}

}  // namespace nvfp4::emulator
