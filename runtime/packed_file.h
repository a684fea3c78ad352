// SPDX-License-Identifier: Apache-2.0
// A checkpoint's NVFP4 layers in packed form as one file, so that the next load maps it: a
// safetensors file with a tensor for each GEMM, U8 [row tiles, k tiles, 2304], in the checkpoint's
// order. Its metadata:
//
//   nvfp4.layout       kLayoutVersion
//   nvfp4.source       digest of what was packed, see source_digest()
//   stack:NAME         "k=4096 rows=4096,1024,1024 global_scales=3e4ccccd,.. xxh3=0123456789abcdef"
//
// rows and global scales (FP32 bits) are the parts'; each part starts on a row tile. The checksum
// is XXH3 over the XXH3s of the tensor's pieces (64 rows x up to 65536 k), so threads can share it.
// It finds accidents; it is no proof against someone who can write the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/checkpoint.h"
#include "runtime/safetensors.h"

namespace nvfp4 {

/// A safetensors file that is no packed file, or one of another layout; the message names it.
class PackedFileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

constexpr char kPackedLayoutKey[] = "nvfp4.layout";

/// The weights of one GEMM.
struct PackedStack {
  struct Part {
    int64_t rows = 0;  ///< without padding
    float global_scale = 0;
  };
  std::string name;
  int64_t k = 0;
  std::vector<Part> parts;
  const TensorEntry* tensor = nullptr;
  uint64_t checksum = 0;

  int64_t stacked_rows() const;            ///< N of the GEMM: each part starts on a row tile
  std::vector<float> tile_scales() const;  ///< the global scale of each 64 packed rows
};

class PackedFile {
 public:
  /// Opens and checks everything but the checksums. Throws SafetensorsError or PackedFileError.
  explicit PackedFile(const std::filesystem::path& path);

  std::span<const PackedStack> stacks() const { return stacks_; }  ///< in the checkpoint's order
  const std::string& source() const { return source_; }

  /// The packed weights of a stack, mapped from the file (see SafetensorsFile::bytes).
  std::span<const uint8_t> weights(const PackedStack& stack) { return file_.bytes(*stack.tensor); }

  /// Copies them, and maps nothing. Throws SafetensorsError.
  void read(const PackedStack& stack, std::span<uint8_t> out) const {
    file_.read(*stack.tensor, 0, out);
  }

  /// Names of the stacks whose bytes are not those that were written. Reads the whole file, and
  /// maps nothing.
  std::vector<std::string> damaged(int threads) const;

 private:
  SafetensorsFile file_;
  std::string source_;
  std::vector<PackedStack> stacks_;
};

/// Identity of a checkpoint's NVFP4 layers: names, shapes, global scales, and the first KiB of each
/// layer's block scales, which any new quantisation changes. 64 hex digits.
std::string source_digest(const Checkpoint& checkpoint);

struct PackOptions {
  int threads = 1;
  std::function<bool()> stopped;  ///< asked before each piece, from any thread; may be empty
};

/// Packs every NVFP4 layer into a new file at `path`, which appears when it is whole. Throws
/// CheckpointError (problems, NaN scales, stopped) or SafetensorsError (files).
void write_packed_file(const Checkpoint& checkpoint, const std::filesystem::path& path,
                       const PackOptions& options);

}  // namespace nvfp4
