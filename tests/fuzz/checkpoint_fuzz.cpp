// SPDX-License-Identifier: Apache-2.0
// Any bytes as a checkpoint of one file, or as a file of packed weights, through the C interface:
// refused in a line, or each problem is one and each stack has the size that it says, packs, and
// is mapped as it is copied. Buffers have exactly the size that the call is told.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "nvfp4/nvfp4.h"
#include "tests/fuzz/call_input.h"

using namespace nvfp4;

namespace {

void require_line(const char* text) {
  require(text != nullptr && *text != '\0' &&
          std::string_view(text).find('\n') == std::string::npos);
}

/// OK, or that the file is to blame.
bool usable(nvfp4_status status) {
  require(status == NVFP4_OK || status == NVFP4_BAD_DATA);
  if (status != NVFP4_OK) require_line(nvfp4_last_error());
  return status == NVFP4_OK;
}

nvfp4_status open_bytes(const uint8_t* data, size_t size, nvfp4_checkpoint* checkpoint) {
  const int file = memfd_create("sent.safetensors", MFD_CLOEXEC);
  require(file >= 0 && write(file, data, size) == static_cast<ssize_t>(size));
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  const nvfp4_status status = nvfp4_checkpoint_open(path.c_str(), checkpoint);
  close(file);
  return status;
}

void read_stack(nvfp4_checkpoint checkpoint, size_t index) {
  nvfp4_stack_info info{};
  info.size = sizeof info;
  if (!usable(nvfp4_checkpoint_stack(checkpoint, index, &info))) return;
  nvfp4_packed_info packed{};
  packed.size = sizeof packed;
  require(nvfp4_packed_size(info.part_rows, info.part_count, info.k, &packed) == NVFP4_OK);
  require(packed.rows == info.rows && packed.packed_bytes == info.packed_bytes &&
          packed.global_scales == info.global_scales);
  std::vector<uint8_t> bytes(info.packed_bytes);
  std::vector<float> scales(info.global_scales);
  const bool whole = usable(nvfp4_checkpoint_pack(checkpoint, index, 1, bytes.data(), bytes.size(),
                                                  scales.data(), scales.size()));
  if (!whole) return;
  for (const float scale : scales) require(scale > 0);
  if (info.packed) require(std::memcmp(info.packed, bytes.data(), bytes.size()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvfp4_checkpoint checkpoint = 0;
  if (!usable(open_bytes(data, size, &checkpoint))) return 0;
  size_t stacks = 0, problems = 0;
  require(nvfp4_checkpoint_count(checkpoint, &stacks, &problems) == NVFP4_OK);
  for (size_t i = 0; i < problems; ++i) {
    const char* text = nullptr;
    require(nvfp4_checkpoint_problem(checkpoint, i, &text) == NVFP4_OK);
    require_line(text);
  }
  for (size_t i = 0; i < stacks; ++i) read_stack(checkpoint, i);
  require(nvfp4_checkpoint_close(checkpoint) == NVFP4_OK);
  return 0;
}
