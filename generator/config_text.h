// SPDX-License-Identifier: Apache-2.0
// The one canonical spelling of a KernelConfig: "family=mma,act=bf16,block_n=128,...". Fields stand
// in the struct's order, defaults are omitted (family and act never), and nothing else parses.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "templates/kernel_config.h"

namespace nvfp4 {

std::string config_text(const KernelConfig& config);

/// Empty unless `text` is exactly what config_text prints for some config.
std::optional<KernelConfig> parse_config(std::string_view text);

std::string_view name(Family family);
std::string_view name(Activation act);
std::string_view name(Schedule schedule);
std::optional<Activation> parse_activation(std::string_view text);

}  // namespace nvfp4
