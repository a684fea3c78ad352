// SPDX-License-Identifier: Apache-2.0
// One table drives printing and parsing; parsing then demands that the text prints back as itself,
// which rules out every second spelling (order, leading zeros, spelled-out defaults) at once.
#include "generator/config_text.h"

#include <fmt/format.h>

#include <charconv>

namespace nvfp4 {
namespace {

struct IntField {
  std::string_view name;
  int KernelConfig::*member;
};

constexpr IntField kTileFields[] = {
    {"block_n", &KernelConfig::block_n}, {"block_m", &KernelConfig::block_m},
    {"block_k", &KernelConfig::block_k}, {"warps_n", &KernelConfig::warps_n},
    {"warps_k", &KernelConfig::warps_k}, {"num_stages", &KernelConfig::num_stages},
};
constexpr IntField kLaunchFields[] = {
    {"split_k", &KernelConfig::split_k},
    {"ctas_per_sm", &KernelConfig::ctas_per_sm},
    {"cluster_n", &KernelConfig::cluster_n},
    {"cluster_k", &KernelConfig::cluster_k},
};

constexpr std::string_view kFamilies[] = {"mma", "wgmma"};
constexpr std::string_view kActivations[] = {"bf16", "fp16"};
constexpr std::string_view kSchedules[] = {"data_parallel", "split_k", "stream_k"};

template <typename Enum, size_t kCount>
bool parse_enum(const std::string_view (&names)[kCount], std::string_view text, Enum& out) {
  for (size_t i = 0; i < kCount; ++i) {
    if (names[i] == text) {
      out = static_cast<Enum>(i);
      return true;
    }
  }
  return false;
}

bool parse_int(std::string_view text, int& out) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, out);
  return error == std::errc() && at == end;
}

bool parse_field(std::string_view key, std::string_view value, KernelConfig& config) {
  if (key == "family") return parse_enum(kFamilies, value, config.family);
  if (key == "act") return parse_enum(kActivations, value, config.act);
  if (key == "schedule") return parse_enum(kSchedules, value, config.schedule);
  if (key == "pdl") return (config.pdl = value == "1");
  for (const IntField& field : kTileFields) {
    if (field.name == key) return parse_int(value, config.*field.member);
  }
  for (const IntField& field : kLaunchFields) {
    if (field.name == key) return parse_int(value, config.*field.member);
  }
  return false;
}

}  // namespace

std::string_view name(Family family) { return kFamilies[static_cast<int>(family)]; }
std::string_view name(Activation act) { return kActivations[static_cast<int>(act)]; }
std::string_view name(Schedule schedule) { return kSchedules[static_cast<int>(schedule)]; }

std::optional<Activation> parse_activation(std::string_view text) {
  Activation act;
  if (!parse_enum(kActivations, text, act)) return std::nullopt;
  return act;
}

std::string config_text(const KernelConfig& config) {
  constexpr KernelConfig kDefault;
  std::string text = fmt::format("family={},act={}", name(config.family), name(config.act));
  const auto print = [&](const IntField& field) {
    if (config.*field.member == kDefault.*field.member) return;
    text += fmt::format(",{}={}", field.name, config.*field.member);
  };
  for (const IntField& field : kTileFields) print(field);
  if (config.schedule != kDefault.schedule)
    text += fmt::format(",schedule={}", name(config.schedule));
  for (const IntField& field : kLaunchFields) print(field);
  if (config.pdl) text += ",pdl=1";
  return text;
}

std::optional<KernelConfig> parse_config(std::string_view text) {
  if (text.size() > 512) return std::nullopt;
  KernelConfig config;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(item.size() == rest.size() ? item.size() : item.size() + 1);
    const size_t equals = item.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    if (!parse_field(item.substr(0, equals), item.substr(equals + 1), config)) return std::nullopt;
  }
  if (config_text(config) != text) return std::nullopt;
  return config;
}

}  // namespace nvfp4
