// SPDX-License-Identifier: Apache-2.0
// The part of the C interface that moves weights: stacks of checkpoint matrices to the packed form
// and back, on the host and on the device.
#include <cmath>
#include <vector>

#include "generator/problem.h"
#include "runtime/abi/context.h"
#include "runtime/numerics.h"
#include "runtime/pack.h"
#include "runtime/quantize.h"

namespace nvfp4::abi {
namespace {

/// A stack of parts: where each begins in rows of the packed matrix, and what all take.
struct Stack {
  int64_t k = 0;
  std::vector<int64_t> first;  ///< of each part; then where a next one would begin
  int64_t rows = 0;
  size_t bytes = 0;
  size_t scales = 0;
};

Stack stack_of(const std::vector<int64_t>& part_rows, int64_t k) {
  Stack stack{.k = k, .first = {0}, .rows = stack_rows(part_rows, k)};
  for (const int64_t n : part_rows) stack.first.push_back(stack.first.back() + padded_rows(n));
  stack.bytes = static_cast<size_t>(packed_bytes(stack.rows, k));
  stack.scales = static_cast<size_t>(stack.first.back() / kTileRows);
  return stack;
}

void check_size(std::string_view what, size_t size, size_t needed) {
  if (size != needed) refuse(fmt::format("{} = {} where {} are needed", what, size, needed));
}

std::string name_of(const nvfp4_part& part, size_t index) {
  return part.name ? part.name : fmt::format("part {}", index);
}

/// The caller's parts with their strides filled in, checked but for their contents.
std::vector<nvfp4_part> parts_of(const nvfp4_part* parts, size_t count, int64_t k) {
  require_pointer(parts, "parts");
  if (count > NVFP4_MAX_PARTS) {
    refuse(fmt::format("{} parts: a stack has 1 to {}", count, NVFP4_MAX_PARTS));
  }
  // The parts of a later header are larger: the array goes by the size that its first states.
  const auto* bytes = reinterpret_cast<const unsigned char*>(parts);
  const size_t stride = count > 0 ? parts->size : 0;
  std::vector<nvfp4_part> list;
  for (size_t i = 0; i < count; ++i) {
    nvfp4_part part = read_struct(reinterpret_cast<const nvfp4_part*>(bytes + i * stride),
                                  fmt::format("parts[{}]", i));
    if (part.size != stride) {
      refuse(fmt::format("parts[{}]->size is {}, parts[0]'s is {}", i, part.size, stride));
    }
    const std::string name = name_of(part, i);
    require_pointer(part.codes, name + ": codes");
    require_pointer(part.scales, name + ": scales");
    if (part.codes_stride == 0) part.codes_stride = k / 2;
    if (part.scales_stride == 0) part.scales_stride = k / kBlockSize;
    if (part.codes_stride < k / 2 || part.codes_stride > kMaxStride) {
      refuse(
          fmt::format("{}: codes_stride = {} is below K / 2 = {}", name, part.codes_stride, k / 2));
    }
    if (part.scales_stride < k / kBlockSize || part.scales_stride > kMaxStride) {
      refuse(fmt::format("{}: scales_stride = {} is below K / 16 = {}", name, part.scales_stride,
                         k / kBlockSize));
    }
    if (!std::isfinite(part.global_scale) || part.global_scale <= 0) {
      throw StatusError(NVFP4_BAD_DATA,
                        fmt::format("{}: the global scale is {}, not finite and above 0", name,
                                    part.global_scale));
    }
    list.push_back(part);
  }
  return list;
}

Stack stack_of(const std::vector<nvfp4_part>& parts, int64_t k) {
  std::vector<int64_t> rows;
  for (const nvfp4_part& part : parts) rows.push_back(part.n);
  return stack_of(rows, k);
}

/// The bytes of a part in the packed matrix: the last part's rows end with the matrix.
int64_t part_offset(const Stack& stack, size_t part) {
  return packed_bytes(stack.first[part], stack.k);
}

std::vector<float> global_scales_of(const std::vector<nvfp4_part>& parts, const Stack& stack) {
  std::vector<float> scales(stack.scales);
  for (size_t i = 0; i < parts.size(); ++i) {
    std::fill(scales.begin() + stack.first[i] / kTileRows,
              scales.begin() + stack.first[i + 1] / kTileRows, parts[i].global_scale);
  }
  return scales;
}

void check_rows(int64_t rows, int64_t k, size_t bytes, int64_t row, int64_t n) {
  if (const auto error = shape_error(rows, k)) refuse(*error);
  check_size("packed_bytes", bytes, static_cast<size_t>(packed_bytes(rows, k)));
  if (row % kTileRows != 0 || row < 0 || n < 1 || n > rows - row) {
    refuse(
        fmt::format("rows [{}, {} + {}) of {}: a range starts on a multiple of {} and ends "
                    "inside the matrix",
                    row, row, n, rows, kTileRows));
  }
}

void require_aligned(const void* pointer, uintptr_t alignment, std::string_view name) {
  require_pointer(pointer, name);
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
    refuse(fmt::format("{} is not {}-byte aligned", name, alignment));
  }
}

void require_no_capture(const Gpu& gpu, CUstream stream, std::string_view what) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  gpu.check(gpu.driver().stream_is_capturing(stream, &status), "cuStreamIsCapturing");
  if (status != CU_STREAM_CAPTURE_STATUS_NONE) {
    refuse(fmt::format("{} waits for its stream, which is being captured", what));
  }
}

template <class T>
T* writable(const void* pointer) {
  return static_cast<T*>(const_cast<void*>(pointer));
}

WeightType weight_type(nvfp4_dtype type, std::string_view name) {
  if (type < NVFP4_BF16 || type > NVFP4_FP8_E4M3) {
    refuse(fmt::format("{} = {} is no type", name, static_cast<int>(type)));
  }
  return static_cast<WeightType>(type);
}

WeightsParams dequantize_params(const nvfp4_dequantize_args& args) {
  if (const auto error = shape_error(args.n, args.k)) refuse(*error);
  WeightsParams params{.out = args.out,
                       .codes_stride = args.k / 2,
                       .scales_stride = args.k / kBlockSize,
                       .n = static_cast<int>(args.n),
                       .k = static_cast<int>(args.k),
                       .out_type = weight_type(args.out_type, "out_type")};
  require_aligned(args.out, 16, "out");
  if ((args.packed == nullptr) == (args.codes == nullptr)) {
    refuse("exactly one of packed and codes must be given");
  }
  if (args.packed != nullptr) {
    require_aligned(args.packed, 16, "packed");
    require_aligned(args.global_scales, 4, "global_scales");
    params.packed = writable<unsigned char>(args.packed);
    params.global_scales = args.global_scales;
    return params;
  }
  params.scale_type = weight_type(args.scale_type, "scale_type");
  if (args.scale_type != NVFP4_FP8_E4M3 && args.scale_type != NVFP4_FP32) {
    refuse("scale_type is neither NVFP4_FP8_E4M3 nor NVFP4_FP32");
  }
  require_aligned(args.codes, 8, "codes");
  require_aligned(args.scales, args.scale_type == NVFP4_FP32 ? 4 : 1, "scales");
  if (args.scale_type == NVFP4_FP32) params.scales_stride *= 4;
  params.codes = writable<unsigned char>(args.codes);
  params.scales = writable<unsigned char>(args.scales);
  params.global_scale = args.global_scale;
  return params;
}

}  // namespace
}  // namespace nvfp4::abi

using namespace nvfp4;
using namespace nvfp4::abi;

extern "C" {

nvfp4_status nvfp4_packed_size(const int64_t* part_rows, size_t count, int64_t k,
                               nvfp4_packed_info* info) {
  return guarded([&] {
    require_pointer(part_rows, "part_rows");
    if (count > NVFP4_MAX_PARTS) {
      refuse(fmt::format("{} parts: a stack has 1 to {}", count, NVFP4_MAX_PARTS));
    }
    const Stack stack = stack_of(std::vector<int64_t>(part_rows, part_rows + count), k);
    nvfp4_packed_info filled{};
    filled.rows = stack.rows;
    filled.packed_bytes = stack.bytes;
    filled.global_scales = stack.scales;
    write_struct(info, filled, "info");
  });
}

nvfp4_status nvfp4_pack(const nvfp4_part* parts, size_t count, int64_t k, int threads, void* packed,
                        size_t packed_bytes, float* global_scales, size_t scale_count) {
  return guarded([&] {
    const std::vector<nvfp4_part> list = parts_of(parts, count, k);
    const Stack stack = stack_of(list, k);
    require_pointer(packed, "packed");
    require_pointer(global_scales, "global_scales");
    check_size("packed_bytes", packed_bytes, stack.bytes);
    check_size("scale_count", scale_count, stack.scales);
    const std::span<uint8_t> out(static_cast<uint8_t*>(packed), stack.bytes);
    for (size_t i = 0; i < list.size(); ++i) {
      const nvfp4_part& part = list[i];
      const std::string name = name_of(part, i);
      pack({.codes = static_cast<const uint8_t*>(part.codes),
            .scales = static_cast<const uint8_t*>(part.scales),
            .n = part.n,
            .k = k,
            .codes_stride = part.codes_stride,
            .scales_stride = part.scales_stride,
            .name = name},
           out.subspan(part_offset(stack, i), nvfp4::packed_bytes(part.n, k)),
           thread_count(threads));
    }
    const std::vector<float> scales = global_scales_of(list, stack);
    std::copy(scales.begin(), scales.end(), global_scales);
  });
}

nvfp4_status nvfp4_pack_on_device(nvfp4_context context, const nvfp4_part* parts, size_t count,
                                  int64_t k, void* packed, size_t packed_bytes,
                                  float* global_scales, size_t scale_count, nvfp4_stream stream) {
  return guarded_on(context, [&](Context& found) {
    const std::vector<nvfp4_part> list = parts_of(parts, count, k);
    const Stack stack = stack_of(list, k);
    require_aligned(packed, 16, "packed");
    require_aligned(global_scales, 4, "global_scales");
    check_size("packed_bytes", packed_bytes, stack.bytes);
    check_size("scale_count", scale_count, stack.scales);
    const Gpu& gpu = found.gpu();
    const CUstream on = static_cast<CUstream>(stream);
    require_no_capture(gpu, on, "nvfp4_pack_on_device");
    for (size_t i = 0; i < list.size(); ++i) {
      const nvfp4_part& part = list[i];
      const std::string name = name_of(part, i);
      require_aligned(part.codes, 8, name + ": codes");
      if (part.codes_stride % 8 != 0) {
        refuse(fmt::format("{}: codes_stride = {} is no multiple of 8", name, part.codes_stride));
      }
      const std::optional<int64_t> nan = found.weight_kernels().pack(
          {.packed = static_cast<unsigned char*>(packed) + part_offset(stack, i),
           .codes = writable<unsigned char>(part.codes),
           .scales = writable<unsigned char>(part.scales),
           .codes_stride = part.codes_stride,
           .scales_stride = part.scales_stride,
           .n = static_cast<int>(part.n),
           .k = static_cast<int>(k)},
          on);
      if (nan) {
        throw StatusError(NVFP4_BAD_DATA,
                          fmt::format("{}: a block scale of row {} is NaN", name, *nan));
      }
    }
    const std::vector<float> scales = global_scales_of(list, stack);
    gpu.check(gpu.driver().memcpy_h_to_d_async(reinterpret_cast<CUdeviceptr>(global_scales),
                                               scales.data(), scales.size() * sizeof(float), on),
              "cuMemcpyHtoDAsync");
    gpu.check(gpu.driver().stream_synchronize(on), "cuStreamSynchronize");
  });
}

nvfp4_status nvfp4_unpack(const void* packed, size_t packed_bytes, int64_t rows, int64_t k,
                          int64_t row, int64_t n, int threads, void* codes, void* scales) {
  return guarded([&] {
    require_pointer(packed, "packed");
    require_pointer(codes, "codes");
    require_pointer(scales, "scales");
    check_rows(rows, k, packed_bytes, row, n);
    const std::span<const uint8_t> all(static_cast<const uint8_t*>(packed), packed_bytes);
    unpack(all.subspan(nvfp4::packed_bytes(row, k), nvfp4::packed_bytes(n, k)), n, k,
           {static_cast<uint8_t*>(codes), static_cast<size_t>(n * (k / 2))},
           {static_cast<uint8_t*>(scales), static_cast<size_t>(n * (k / kBlockSize))},
           thread_count(threads), "packed weights");
  });
}

nvfp4_status nvfp4_unpack_on_device(nvfp4_context context, const void* packed, size_t packed_bytes,
                                    int64_t rows, int64_t k, int64_t row, int64_t n, void* codes,
                                    void* scales, nvfp4_stream stream) {
  return guarded_on(context, [&](Context& found) {
    require_aligned(packed, 16, "packed");
    require_aligned(codes, 8, "codes");
    require_pointer(scales, "scales");
    check_rows(rows, k, packed_bytes, row, n);
    found.weight_kernels().unpack(
        {.packed = writable<unsigned char>(packed) + nvfp4::packed_bytes(row, k),
         .codes = static_cast<unsigned char*>(codes),
         .scales = static_cast<unsigned char*>(scales),
         .codes_stride = k / 2,
         .scales_stride = k / kBlockSize,
         .n = static_cast<int>(n),
         .k = static_cast<int>(k)},
        static_cast<CUstream>(stream));
  });
}

nvfp4_status nvfp4_quantize(const float* weights, int64_t n, int64_t k, int power_of_two,
                            void* codes, void* scales, float* global_scale) {
  return guarded([&] {
    require_pointer(weights, "weights");
    require_pointer(codes, "codes");
    require_pointer(scales, "scales");
    require_pointer(global_scale, "global_scale");
    if (const auto error = shape_error(n, k)) refuse(*error);
    const QuantizedMatrix matrix =
        quantize({weights, static_cast<size_t>(n * k)}, n, k,
                 power_of_two ? GlobalScale::power_of_two : GlobalScale::exact);
    std::copy(matrix.codes.begin(), matrix.codes.end(), static_cast<uint8_t*>(codes));
    std::copy(matrix.scales.begin(), matrix.scales.end(), static_cast<uint8_t*>(scales));
    *global_scale = matrix.global_scale;
  });
}

nvfp4_status nvfp4_dequantize(nvfp4_context context, const nvfp4_dequantize_args* args,
                              nvfp4_stream stream) {
  return guarded_on(context, [&](Context& found) {
    found.weight_kernels().dequantize(dequantize_params(read_struct(args, "args")),
                                      static_cast<CUstream>(stream));
  });
}
}
