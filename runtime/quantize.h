// SPDX-License-Identifier: Apache-2.0
// The checkpoint form of an NVFP4 matrix, made from FP32 weights and turned back into numbers. Real
// checkpoints come quantised; this is the recipe for tests, demos and whoever has none.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

namespace nvfp4 {

/// The weights or their sizes cannot be quantised; the message names the element or both sizes.
class QuantizeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// W[n, k] = E2M1(codes) * E4M3(scales) * global_scale, in the layout of checkpoints.
struct QuantizedMatrix {
  int64_t n = 0;
  int64_t k = 0;
  std::vector<uint8_t> codes;   ///< [n, k/2], even k in the low nibble
  std::vector<uint8_t> scales;  ///< [n, k/16] E4M3
  float global_scale = 1;
};

/// Which global scale a matrix gets: the one that maps the largest magnitude to 448 * 6, or the
/// least power of two above it, with which every weight is exact in bf16.
enum class GlobalScale { exact, power_of_two };

/// Quantises [n, k] row-major weights: the global scale maps the largest magnitude to 448 * 6, each
/// block of 16 gets amax / 6 in E4M3, codes round to nearest even. An all-zero block has scale 0.
/// Throws QuantizeError on a bad shape, a size mismatch or a weight that is not finite.
QuantizedMatrix quantize(std::span<const float> weights, int64_t n, int64_t k,
                         GlobalScale rule = GlobalScale::exact);

/// The k weights of one row without the global scale: E2M1 * E4M3, exact in float. `codes` and
/// `scales` are the row's k/2 and k/16 bytes. A NaN scale makes its block NaN.
void decode_row(std::span<const uint8_t> codes, std::span<const uint8_t> scales,
                std::span<float> weights);

/// All weights with the global scale, one FP32 rounding each: [n, k] row-major.
std::vector<float> dequantize(const QuantizedMatrix& matrix);

}  // namespace nvfp4
