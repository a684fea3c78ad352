// SPDX-License-Identifier: Apache-2.0
// The part of the C interface that reads weights from files: checkpoints as they are published, and
// files in packed form.
#include "runtime/checkpoint.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <variant>

#include "generator/problem.h"
#include "runtime/abi/handle_table.h"
#include "runtime/abi/status.h"
#include "runtime/layer_packing.h"
#include "runtime/packed_file.h"

namespace nvfp4::abi {
namespace {

/// What one handle has open.
class OpenCheckpoint {
 public:
  explicit OpenCheckpoint(const char* path) : source_(open(path)) {}

  size_t stacks() const {
    return std::visit([](const auto& source) { return source->stacks().size(); }, source_);
  }

  std::span<const std::string> problems() const {
    const auto* checkpoint = std::get_if<std::unique_ptr<Checkpoint>>(&source_);
    return checkpoint ? (*checkpoint)->problems() : std::span<const std::string>();
  }

  nvfp4_stack_info stack(size_t index) {
    nvfp4_stack_info info = layout(index);
    if (const auto* file = std::get_if<std::unique_ptr<PackedFile>>(&source_)) {
      const std::lock_guard lock(mutex_);  // the first one maps the file
      info.packed = (*file)->weights((*file)->stacks()[index]).data();
    }
    return info;
  }

  void pack(size_t index, int threads, std::span<uint8_t> packed, std::span<float> scales) {
    const nvfp4_stack_info info = layout(index);
    if (packed.size() != info.packed_bytes || scales.size() != info.global_scales) {
      refuse(fmt::format("packed_bytes = {} and scale_count = {} where {} and {} are needed",
                         packed.size(), scales.size(), info.packed_bytes, info.global_scales));
    }
    std::visit([&](auto& source) { read(*source, index, threads, packed, scales); }, source_);
  }

 private:
  using Source = std::variant<std::unique_ptr<Checkpoint>, std::unique_ptr<PackedFile>>;

  static Source open(const char* path) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) {
      const SafetensorsFile file(path);
      if (file.metadata(kPackedLayoutKey)) return std::make_unique<PackedFile>(path);
    }
    return std::make_unique<Checkpoint>(path);
  }

  void check_index(size_t index) const {
    if (index >= stacks()) refuse(fmt::format("stack {} of {}", index, stacks()));
  }

  static nvfp4_stack_info sized(const std::string& name, std::span<const int64_t> rows, int64_t k) {
    if (rows.size() > NVFP4_MAX_PARTS) {
      throw StatusError(NVFP4_BAD_DATA, fmt::format("{}: {} parts, a stack has up to {}", name,
                                                    rows.size(), NVFP4_MAX_PARTS));
    }
    nvfp4_stack_info info{};
    info.name = name.c_str();
    info.k = k;
    info.rows = stack_rows(rows, k);
    info.packed_bytes = static_cast<size_t>(packed_bytes(info.rows, k));
    info.global_scales = static_cast<size_t>(padded_rows(info.rows) / kTileRows);
    info.part_count = rows.size();
    std::copy(rows.begin(), rows.end(), info.part_rows);
    return info;
  }

  /// All that is known of a stack without a look at its bytes.
  nvfp4_stack_info layout(size_t index) const {
    check_index(index);
    return std::visit([&](const auto& source) { return describe(*source, index); }, source_);
  }

  static nvfp4_stack_info describe(const Checkpoint& checkpoint, size_t index) {
    const LayerStack& stack = checkpoint.stacks()[index];
    std::vector<int64_t> rows;
    for (const int part : stack.parts) rows.push_back(checkpoint.layers()[part].n);
    return sized(stack.name, rows, stack.k);
  }

  static nvfp4_stack_info describe(const PackedFile& file, size_t index) {
    const PackedStack& stack = file.stacks()[index];
    std::vector<int64_t> rows;
    for (const PackedStack::Part& part : stack.parts) rows.push_back(part.rows);
    return sized(stack.name, rows, stack.k);
  }

  static void read(const Checkpoint& checkpoint, size_t index, int threads,
                   std::span<uint8_t> packed, std::span<float> scales) {
    const LayerStack& stack = checkpoint.stacks()[index];
    pack_stack(checkpoint, stack, packed, threads);
    const std::vector<float> tiles = checkpoint.tile_scales(stack);
    std::copy(tiles.begin(), tiles.end(), scales.begin());
  }

  // Not through the mapping: the file may shrink meanwhile, and that is to be a status.
  static void read(const PackedFile& file, size_t index, int, std::span<uint8_t> packed,
                   std::span<float> scales) {
    const PackedStack& stack = file.stacks()[index];
    file.read(stack, packed);
    const std::vector<float> tiles = stack.tile_scales();
    std::copy(tiles.begin(), tiles.end(), scales.begin());
  }

  Source source_;
  std::mutex mutex_;
};

HandleTable<OpenCheckpoint>& checkpoints() {
  static auto& table = *new HandleTable<OpenCheckpoint>;
  return table;
}

std::shared_ptr<OpenCheckpoint> find_checkpoint(nvfp4_checkpoint handle) {
  std::shared_ptr<OpenCheckpoint> checkpoint = checkpoints().find(handle);
  if (!checkpoint) {
    throw StatusError(NVFP4_INVALID_HANDLE, fmt::format("{} is no checkpoint", handle));
  }
  return checkpoint;
}

}  // namespace
}  // namespace nvfp4::abi

using namespace nvfp4;
using namespace nvfp4::abi;

extern "C" {

nvfp4_status nvfp4_checkpoint_open(const char* path, nvfp4_checkpoint* checkpoint) {
  return guarded([&] {
    require_pointer(checkpoint, "checkpoint");
    *checkpoint = 0;
    require_pointer(path, "path");
    *checkpoint = checkpoints().insert(std::make_shared<OpenCheckpoint>(path));
  });
}

nvfp4_status nvfp4_checkpoint_close(nvfp4_checkpoint checkpoint) {
  return guarded([&] {
    if (!checkpoints().remove(checkpoint)) {
      throw StatusError(NVFP4_INVALID_HANDLE, fmt::format("{} is no checkpoint", checkpoint));
    }
  });
}

nvfp4_status nvfp4_checkpoint_count(nvfp4_checkpoint checkpoint, size_t* stacks, size_t* problems) {
  return guarded([&] {
    const std::shared_ptr<OpenCheckpoint> found = find_checkpoint(checkpoint);
    if (stacks != nullptr) *stacks = found->stacks();
    if (problems != nullptr) *problems = found->problems().size();
  });
}

nvfp4_status nvfp4_checkpoint_problem(nvfp4_checkpoint checkpoint, size_t index,
                                      const char** text) {
  return guarded([&] {
    require_pointer(text, "text");
    const std::shared_ptr<OpenCheckpoint> found = find_checkpoint(checkpoint);
    if (index >= found->problems().size()) {
      refuse(fmt::format("problem {} of {}", index, found->problems().size()));
    }
    *text = found->problems()[index].c_str();
  });
}

nvfp4_status nvfp4_checkpoint_stack(nvfp4_checkpoint checkpoint, size_t index,
                                    nvfp4_stack_info* info) {
  return guarded([&] { write_struct(info, find_checkpoint(checkpoint)->stack(index), "info"); });
}

nvfp4_status nvfp4_checkpoint_pack(nvfp4_checkpoint checkpoint, size_t index, int threads,
                                   void* packed, size_t packed_bytes, float* global_scales,
                                   size_t scale_count) {
  return guarded([&] {
    require_pointer(packed, "packed");
    require_pointer(global_scales, "global_scales");
    find_checkpoint(checkpoint)
        ->pack(index, thread_count(threads), {static_cast<uint8_t*>(packed), packed_bytes},
               {global_scales, scale_count});
  });
}
}
