// SPDX-License-Identifier: Apache-2.0
// Clock, driver and commit.
#include "tuner/run_facts.h"

#include <fmt/format.h>

#include <cctype>
#include <ctime>
#include <fstream>

namespace nvfp4 {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%FT%TZ", &parts)};
}

std::string driver_name(const Driver& driver) {
  if (driver.emulated()) return "emulator";
  return fmt::format("{}.{}", driver.version() / 1000, driver.version() % 1000 / 10);
}

std::string driver_release(const Driver& driver) {
  if (driver.emulated()) return driver_name(driver);
  std::string release;
  std::ifstream("/sys/module/nvidia/version") >> release;
  if (release.empty() || release.size() > 32) return driver_name(driver);
  for (unsigned char c : release) {
    if (!std::isdigit(c) && c != '.') return driver_name(driver);
  }
  return release;
}

std::string build_commit() { return NVFP4_COMMIT; }

}  // namespace nvfp4
