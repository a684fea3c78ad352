// SPDX-License-Identifier: Apache-2.0
// Finding and opening a driver library, and naming devices.
#include "runtime/driver.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "runtime/gpu.h"
#include "tests/emulated_gpu.h"

namespace nvfp4 {
namespace {

/// Sets an environment variable for a scope.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (old_) {
      setenv(name_, old_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

std::string open_error(DriverSource source) {
  try {
    Driver::open(source);
  } catch (const DriverError& error) {
    return error.what();
  }
  return "";
}

std::string device_error(std::string_view spec) {
  try {
    open_device(spec);
  } catch (const UnknownDevice& error) {
    return error.what();
  }
  return "";
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

TEST_CASE("the emulator exports every entry point of the table") {
  const auto driver = Driver::open(DriverSource::emulator);
  CHECK(driver->emulated());
  CHECK(driver->version() >= 12000);
  CHECK(contains(driver->library(), "libnvfp4_emulator.so"));
  CHECK(driver->symbol("cuNoSuchFunction") == nullptr);
}

TEST_CASE("a missing driver library names itself and the variable to mend") {
  const Environment path("NVFP4_LIBCUDA", "/nonexistent/libcuda.so.1");
  const std::string error = open_error(DriverSource::gpu);
  CHECK(contains(error, "/nonexistent/libcuda.so.1"));
  CHECK(contains(error, "NVFP4_LIBCUDA"));
  CHECK(!contains(error, "\n"));
}

TEST_CASE("a missing emulator names itself and the variable to mend") {
  const Environment path("NVFP4_EMULATOR", "/nonexistent/emulator.so");
  const std::string error = open_error(DriverSource::emulator);
  CHECK(contains(error, "/nonexistent/emulator.so"));
  CHECK(contains(error, "NVFP4_EMULATOR"));
}

TEST_CASE("a library that is no driver is refused with the first entry point it lacks") {
  const Environment path("NVFP4_LIBCUDA", "libm.so.6");
  CHECK(contains(open_error(DriverSource::gpu), "libm.so.6 has no cuInit: install NVIDIA driver"));
}

TEST_CASE("the emulator under the real driver's variable is still known as emulated") {
  const auto emulator = Driver::open(DriverSource::emulator);
  const Environment path("NVFP4_LIBCUDA", emulator->library());
  CHECK(Driver::open(DriverSource::gpu)->emulated());
  const OpenedDevice opened = open_device("0");
  CHECK(opened.gpu.emulated());
  CHECK(contains(opened.gpu.facts().name, "H100"));
}

TEST_CASE("a driver that fails to initialise is refused with its code") {
  const EmulatedGpu emulated;
  emulated.inject("init:1=100");
  CHECK(contains(open_error(DriverSource::emulator), "failed: 100 CUDA_ERROR_NO_DEVICE"));
}

TEST_CASE("auto falls back to the emulated H100 and says so in one line") {
  const Environment path("NVFP4_LIBCUDA", "/nonexistent/libcuda.so.1");
  const OpenedDevice opened = open_device("auto");
  CHECK(opened.gpu.emulated());
  CHECK(contains(opened.notice, "no usable GPU (/nonexistent/libcuda.so.1"));
  CHECK(contains(opened.notice, "using emulated:h100, times are modelled"));
  CHECK(!contains(opened.notice, "\n"));
}

TEST_CASE("auto takes a GPU that works and has nothing to say") {
  const auto emulator = Driver::open(DriverSource::emulator);
  const Environment path("NVFP4_LIBCUDA", emulator->library());
  CHECK(open_device("auto").notice.empty());
}

TEST_CASE("an unknown device is refused with the list of known ones") {
  for (const char* spec : {"emulated:", "emulated:gtx480", "emulated:H100", "banana", "", "-1",
                           "0x1", "1 ", "99999999999999999999"}) {
    CAPTURE(spec);
    const std::string error = device_error(spec);
    CHECK(contains(error, "unknown device"));
    CHECK(contains(error, "emulated:h100"));
    CHECK(contains(error, "emulated:a10g"));
  }
}

TEST_CASE("an ordinal beyond the last device is refused with both numbers") {
  const auto emulator = Driver::open(DriverSource::emulator);
  const Environment path("NVFP4_LIBCUDA", emulator->library());
  const std::string error = device_error("1000");
  CHECK(contains(error, "device 1000 does not exist"));
  CHECK(contains(error, std::to_string(known_parts().size())));
}

TEST_CASE("every known part opens with the facts of its data sheet") {
  for (const KnownPart& part : known_parts()) {
    CAPTURE(part.id);
    const OpenedDevice opened = open_device("emulated:" + std::string(part.id));
    const Device& facts = opened.gpu.facts();
    const Device& sheet = part.device;
    CHECK(opened.notice.empty());
    CHECK(facts.name == sheet.name + " (emulated)");
    CHECK(facts.arch == sheet.arch);
    CHECK(facts.sm_count == sheet.sm_count);
    CHECK(facts.l2_bytes == sheet.l2_bytes);
    CHECK(facts.memory_bytes == sheet.memory_bytes);
    CHECK(facts.smem_per_block == sheet.smem_per_block);
    CHECK(facts.smem_per_sm == sheet.smem_per_sm);
    CHECK(facts.registers_per_sm == sheet.registers_per_sm);
    CHECK(facts.threads_per_sm == sheet.threads_per_sm);
    CHECK(facts.ctas_per_sm == sheet.ctas_per_sm);
    CHECK(facts.memory_bandwidth == sheet.memory_bandwidth);
    CHECK(facts.clock_hz == sheet.clock_hz);
    CHECK(facts.tensor_flops == doctest::Approx(sheet.tensor_flops).epsilon(1e-12));
    CHECK(facts.emulated);
  }
}

TEST_CASE("each emulated part has an identity of its own") {
  const std::string h100 = open_device("emulated:h100").gpu.uuid();
  CHECK(h100.size() == 32);
  CHECK(h100 == open_device("emulated:h100").gpu.uuid());
  CHECK(h100 != open_device("emulated:h200").gpu.uuid());
}

}  // namespace
}  // namespace nvfp4
