// SPDX-License-Identifier: Apache-2.0
#include "generator/device.h"

#include <doctest/doctest.h>

using namespace nvfp4;

TEST_SUITE("device") {
  TEST_CASE("an arch prints as NVRTC spells it and parses back") {
    CHECK(sm_name({9, 0, true}) == "sm_90a");
    CHECK(compute_name({8, 0, false}) == "compute_80");
    for (const char* text : {"sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_90a"}) {
      REQUIRE(parse_arch(text));
      CHECK(sm_name(*parse_arch(text)) == text);
    }
    CHECK(parse_arch("compute_90a") == Arch{9, 0, true});
  }

  TEST_CASE("an arch that the product cannot serve does not parse") {
    for (const char* text :
         {"", "sm_75", "sm_100", "sm_80a", "sm_9", "sm_90b", "SM_90", "sm_90 ", "sm_91", "90"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_arch(text));
    }
  }

  TEST_CASE("a capability of 9.0 is compiled for as sm_90a, Blackwell and Turing are refused") {
    CHECK(target_arch(9, 0) == Arch{9, 0, true});
    CHECK(target_arch(8, 9) == Arch{8, 9, false});
    CHECK_FALSE(target_arch(7, 5));
    CHECK_FALSE(target_arch(10, 0));
    CHECK_FALSE(target_arch(12, 0));
  }

  TEST_CASE("every known part has every fact and a source") {
    CHECK(known_parts().size() == 7);
    for (const KnownPart& part : known_parts()) {
      CAPTURE(part.id);
      const Device& d = part.device;
      CHECK(find_part(part.id) == &part);
      CHECK(d.sm_count > 0);
      CHECK(d.l2_bytes > 0);
      CHECK(d.memory_bytes > 0);
      CHECK(d.smem_per_sm == d.smem_per_block + 1024);
      CHECK(d.memory_bandwidth > 5e11);
      CHECK(d.tensor_flops > 1e13);
      CHECK_FALSE(part.source.empty());
    }
    CHECK(find_part("h100")->device.sm_count == 132);
    CHECK(find_part("b200") == nullptr);
  }
}
