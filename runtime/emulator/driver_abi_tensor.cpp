// SPDX-License-Identifier: Apache-2.0
// Exports: tensor maps. The checks are those of the driver's manual ("Tensor Map Object
// Management"); a map that a real driver refuses is refused here.
#include <algorithm>

#include "runtime/emulator/driver_abi.h"
#include "runtime/emulator/tensor_map.h"

using namespace nvfp4;
using namespace nvfp4::emulator;

namespace {

constexpr cuuint64_t kMaxSize = cuuint64_t{1} << 32;
constexpr cuuint64_t kMaxStride = cuuint64_t{1} << 40;
constexpr cuuint32_t kMaxBox = 256;
constexpr cuuint32_t kMaxStep = 8;

int element_bytes(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
      return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
      return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
      return 4;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
      return 8;
    default:
      return 0;
  }
}

bool is_floating(CUtensorMapDataType type) {
  return type >= CU_TENSOR_MAP_DATA_TYPE_FLOAT16 && type <= CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ;
}

/// Bytes of a swizzle row, 0 without one; nothing for a mode that the emulator does not have.
std::optional<int> swizzle_bytes(CUtensorMapSwizzle swizzle) {
  switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_NONE:
      return 0;
    case CU_TENSOR_MAP_SWIZZLE_32B:
      return 32;
    case CU_TENSOR_MAP_SWIZZLE_64B:
      return 64;
    case CU_TENSOR_MAP_SWIZZLE_128B:
      return 128;
    default:
      return std::nullopt;
  }
}

bool dimensions_are_legal(const TensorMap& map, const cuuint64_t* sizes, const cuuint64_t* strides,
                          const cuuint32_t* box, const cuuint32_t* steps) {
  const cuuint64_t stride_unit = map.interleaved ? 32 : 16;
  for (int d = 0; d < map.rank; ++d) {
    if (sizes[d] == 0 || sizes[d] > kMaxSize || box[d] == 0 || box[d] > kMaxBox || steps[d] == 0 ||
        steps[d] > kMaxStep)
      return false;
    if (d + 1 == map.rank) continue;
    if (strides[d] % stride_unit != 0 || strides[d] >= kMaxStride) return false;
  }
  const cuuint64_t inner = cuuint64_t{box[0]} * map.element_bytes;
  if (map.interleaved) return map.rank >= 3;
  return inner % 16 == 0 && (map.swizzle_bytes == 0 || inner <= map.swizzle_bytes);
}

}  // namespace

extern "C" {

CUresult CUDAAPI cuTensorMapEncodeTiled(CUtensorMap* tensor_map, CUtensorMapDataType type,
                                        cuuint32_t rank, void* address, const cuuint64_t* sizes,
                                        const cuuint64_t* strides, const cuuint32_t* box,
                                        const cuuint32_t* steps, CUtensorMapInterleave interleave,
                                        CUtensorMapSwizzle swizzle,
                                        CUtensorMapL2promotion promotion,
                                        CUtensorMapFloatOOBfill fill) {
  static_assert(sizeof(CUtensorMap) == TensorMap::kBytes);
  constexpr uintptr_t kMapAlignment = 64;
  if (!tensor_map || reinterpret_cast<uintptr_t>(tensor_map) % kMapAlignment != 0 || !address ||
      !sizes || !box || !steps || rank == 0 || rank > TensorMap::kMaxRank || (rank > 1 && !strides))
    return CUDA_ERROR_INVALID_VALUE;
  const std::optional<int> row = swizzle_bytes(swizzle);
  if (!row || promotion > CU_TENSOR_MAP_L2_PROMOTION_L2_256B ||
      interleave > CU_TENSOR_MAP_INTERLEAVE_32B ||
      fill > CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA)
    return CUDA_ERROR_INVALID_VALUE;
  TensorMap map;
  map.address = reinterpret_cast<uint64_t>(address);
  map.rank = static_cast<uint8_t>(rank);
  map.element_bytes = static_cast<uint8_t>(element_bytes(type));
  map.swizzle_bytes = static_cast<uint8_t>(*row);
  map.interleaved = interleave != CU_TENSOR_MAP_INTERLEAVE_NONE;
  map.nan_fill = fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  if (map.element_bytes == 0 || (map.nan_fill && !is_floating(type)) ||
      map.address % (interleave == CU_TENSOR_MAP_INTERLEAVE_32B ? 32 : 16) != 0 ||
      !dimensions_are_legal(map, sizes, strides, box, steps))
    return CUDA_ERROR_INVALID_VALUE;
  for (int d = 0; d < map.rank; ++d) {
    map.size[d] = sizes[d];
    map.stride[d] = d == 0 ? map.element_bytes : strides[d - 1];
    map.box[d] = static_cast<uint16_t>(box[d]);
    map.step[d] = static_cast<uint8_t>(steps[d]);
  }
  map.encode(tensor_map);
  return CUDA_SUCCESS;
}

}  // extern "C"
