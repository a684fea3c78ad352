// SPDX-License-Identifier: Apache-2.0
// Two megabytes of page: an assembler takes a file as it is, a compiler would take minutes.
  .section .rodata.nvfp4_dashboard_page, "a"
  .global nvfp4_dashboard_page_begin
  .global nvfp4_dashboard_page_end
  .hidden nvfp4_dashboard_page_begin
  .hidden nvfp4_dashboard_page_end
nvfp4_dashboard_page_begin:
  .incbin NVFP4_DASHBOARD_PAGE
nvfp4_dashboard_page_end:
  .section .note.GNU-stack, "", %progbits
