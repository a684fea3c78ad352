// SPDX-License-Identifier: Apache-2.0
// The emulated driver, which this library is linked with, but of a CUDA that is too old for us.
extern "C" __attribute__((visibility("default"))) int cuDriverGetVersion(int* version) {
  *version = 11080;
  return 0;
}
