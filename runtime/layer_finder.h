// SPDX-License-Identifier: Apache-2.0
// Finds the NVFP4 layers among the tensors of a checkpoint, and what is wrong with them.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "runtime/checkpoint.h"

namespace nvfp4 {

/// Numbers in names count as numbers: "layers.2" is before "layers.10".
bool natural_less(std::string_view a, std::string_view b);

class LayerFinder {
 public:
  /// Fills layers, stacks, others and problems from the checkpoint's open files.
  explicit LayerFinder(Checkpoint& checkpoint);

 private:
  using Places = std::unordered_map<std::string_view, TensorPlace>;

  void add_layer(std::string name, Convention convention, const TensorPlace& codes);
  /// The global scale as it multiplies; empty, with a problem noted, when it is not usable.
  std::optional<float> read_global_scale(const std::string& name, Convention convention);
  void stack_layers();
  void collect_others();
  const TensorPlace* find(const std::string& name) const;
  void problem(std::string text);

  Checkpoint& checkpoint_;
  Places places_;
  std::unordered_set<const TensorEntry*> used_;
};

}  // namespace nvfp4
