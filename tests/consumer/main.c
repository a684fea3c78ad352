/* SPDX-License-Identifier: Apache-2.0 */
/* A program in C that knows nothing but the installed header and pkg-config. */
#include <nvfp4/nvfp4.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  unsigned char codes[64 * 32], scales[64 * 4], packed[2304];
  float global_scale = 0;
  nvfp4_part part;
  nvfp4_context_options options;
  nvfp4_context context = 0;
  nvfp4_selection selection;
  nvfp4_problem problem;
  memset(codes, 0x21, sizeof codes);
  memset(scales, 0x38, sizeof scales);
  memset(&part, 0, sizeof part);
  part.size = sizeof part;
  part.n = 64;
  part.codes = codes;
  part.scales = scales;
  part.global_scale = 1;
  if (nvfp4_pack(&part, 1, 64, 1, packed, sizeof packed, &global_scale, 1) != NVFP4_OK) {
    printf("pack: %s\n", nvfp4_last_error());
    return 1;
  }
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.device = "emulated:a100";
  options.database = "";
  if (nvfp4_context_create(&options, &context) != NVFP4_OK) {
    printf("context: %s\n", nvfp4_last_error());
    return 1;
  }
  memset(&problem, 0, sizeof problem);
  problem.size = sizeof problem;
  problem.n = problem.k = 4096;
  memset(&selection, 0, sizeof selection);
  selection.size = sizeof selection;
  if (nvfp4_lookup(context, &problem, 16, &selection) != NVFP4_OK) {
    printf("lookup: %s\n", nvfp4_last_error());
    return 1;
  }
  printf("%s %s\n", nvfp4_version(), selection.config);
  return nvfp4_context_destroy(context) == NVFP4_OK ? 0 : 1;
}
