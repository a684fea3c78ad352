// SPDX-License-Identifier: Apache-2.0
// What a run says of itself.
#include "tuner/run_facts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "tests/emulated_gpu.h"

using namespace nvfp4;

TEST_SUITE("run_facts") {
  TEST_CASE("the time is UTC in ISO 8601, which sorts") {
    const std::string now = utc_now();
    REQUIRE(now.size() == 20);
    const std::string form = "dddd-dd-ddTdd:dd:ddZ";
    for (size_t i = 0; i < form.size(); ++i) {
      CHECK((form[i] == 'd' ? std::isdigit(static_cast<unsigned char>(now[i])) != 0
                            : now[i] == form[i]));
    }
    CHECK(now > "2026");
    CHECK(utc_now() >= now);
  }

  TEST_CASE("an emulated driver is never taken for NVIDIA's") {
    EmulatedGpu device;
    CHECK(driver_name(device.driver()) == "emulator");
    CHECK(driver_release(device.driver()) == "emulator");
  }

  TEST_CASE("the commit is one word") {
    CHECK_FALSE(build_commit().empty());
    CHECK(build_commit().find_first_of(" \n\"'") == std::string::npos);
  }
}
