// SPDX-License-Identifier: Apache-2.0
// A card of one's own: what a stand-in for NVML says of it, who is waited for, and what is refused;
// by itself and through the real program, on an emulated device that NVFP4_NVML makes physical.
#include "tuner/card_claim.h"

#include <doctest/doctest.h>

#include <memory>
#include <thread>

#include "tests/cli_process.h"
#include "tests/emulated_gpu.h"
#include "tests/temporary_folder.h"

using namespace nvfp4;
using namespace std::chrono_literals;

namespace {

constexpr char kReasonsOfHeatAndPower[] = "0x24";

// "emulated:h100" in the 32 digits of a UUID.
constexpr char kUuid[] = "GPU-656d756c-6174-6564-3a68-313030000000";

struct Claim {
  explicit Claim(const std::string& card) : facts("FAKE_NVML", card.c_str()) {}

  /// What the claim says to the user, or the refusal.
  std::string say(bool wait = true, bool shared = false) {
    std::string said;
    try {
      const CardClaim claim(device.gpu, {.wait = wait,
                                         .shared = shared,
                                         .say = [&](const std::string& text) { said += text; },
                                         .stopped = [] { return false; }});
      if (!claim.disturbance().empty()) said += " [" + claim.disturbance() + "]";
    } catch (const CardError& error) {
      return std::string("refused: ") + error.what();
    }
    return said;
  }

  ScopedEnvironment library{"NVFP4_NVML", FAKE_NVML};
  ScopedEnvironment facts;
  EmulatedGpu device;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> physical(const TemporaryFolder& folder, const std::string& facts) {
  return {"NVFP4_NVML=" FAKE_NVML, "FAKE_NVML=" + facts, "NVFP4_DB=" + (folder / "db").string(),
          "NVFP4_CACHE=" NVFP4_BINARY_DIR "/tests/cli_cache"};
}

const std::string kTune =
    "--device emulated:h100 --shape 64,128 --M 8 --max-candidates 1 --format json ";

}  // namespace

TEST_SUITE("card") {
  TEST_CASE("clock, heat, power and what holds the clock are read") {
    const Claim claim(std::string("mhz=1410;celsius=71;milliwatts=698500;reasons=") +
                      kReasonsOfHeatAndPower);
    const CardReading reading = Card(claim.device.gpu).read();
    CHECK(reading.sm_mhz == 1410);
    CHECK(reading.temperature_c == 71);
    CHECK(reading.power_w == doctest::Approx(698.5));
    CHECK(reading.throttled);
    CHECK_FALSE(reading.power_capped);
    CHECK(reading.reasons == "power cap, heat");
  }

  TEST_CASE("an idle clock is no slowdown, and a power limit alone is told from the rest") {
    CHECK_FALSE(Card(Claim("reasons=1").device.gpu).read().throttled);
    const Claim capped("reasons=4");
    CHECK(Card(capped.device.gpu).read().power_capped);
  }

  TEST_CASE("without NVML, or with one that does not start, nothing is known and nothing fails") {
    const Claim broken("init=9;mhz=1980");
    CHECK_FALSE(Card(broken.device.gpu).known());
    CHECK(Card(broken.device.gpu).read().sm_mhz == 0);
    const ScopedEnvironment missing("NVFP4_NVML", "/nonexistent/libnvidia-ml.so.1");
    const Card card(broken.device.gpu);
    CHECK_FALSE(card.known());
    CHECK(card.uuid() == kUuid);
    CHECK(card.use().processes.empty());
  }

  TEST_CASE("a slice is on a physical card: its lock is that card's") {
    const Claim claim("slice=1");
    const Card card(claim.device.gpu);
    CHECK(card.uuid() == "GPU-of-the-slice");
    CHECK(card.use().mig);
  }
}

TEST_SUITE("disturbance") {
  TEST_CASE("oneself is no stranger") {
    CHECK(disturbance_of({}, 7) == "");
    CHECK(disturbance_of({.processes = {7}}, 7) == "");
    CHECK(contains(disturbance_of({.processes = {9, 7, 8}}, 7), "2 other processes"));
    CHECK(contains(disturbance_of({.processes = {9, 7, 8}}, 7), "9, 8"));
  }

  TEST_CASE("numbers of another namespace are counted, not named") {
    CHECK(disturbance_of({.processes = {4711}}, 7) == "");
    CHECK(disturbance_of({.processes = {4711, 4712}}, 7) == "1 other process computes on it");
  }

  TEST_CASE("MIG and MPS are what the user can change, so they come first") {
    CHECK(contains(disturbance_of({.mig = true, .processes = {1, 2, 3}}, 7), "MIG"));
    CHECK(contains(disturbance_of({.mps = {1}}, 7), "MPS"));
  }
}

TEST_SUITE("claim") {
  TEST_CASE("a card of one's own is claimed without a word") {
    CHECK(Claim("pids=self").say() == "");
    CHECK(Claim("").say() == "");
  }

  TEST_CASE("what others use is refused with the card's name and the way out, or flagged") {
    for (const char* facts : {"mig=1", "mps=41", "pids=self,41"}) {
      CAPTURE(facts);
      const std::string refusal = Claim(facts).say();
      CHECK(contains(refusal, "refused: "));
      CHECK(contains(refusal, kUuid));
      CHECK(contains(refusal, "--shared"));
      const std::string flagged = Claim(facts).say(true, true);
      CHECK(contains(flagged, "every row says so"));
      CHECK(contains(flagged, "["));
    }
  }

  TEST_CASE("a card that another tuner holds is waited for, or refused, by the holder's number") {
    auto other = std::make_unique<GpuLock>(kUuid);
    REQUIRE(other->try_acquire());
    Claim claim("");
    const std::string refusal = claim.say(false);
    CHECK(contains(refusal, "is held by process " + std::to_string(getpid())));
    std::jthread release([&] {
      std::this_thread::sleep_for(300ms);
      other.reset();
    });
    CHECK(contains(claim.say(), "waiting for it"));
  }

  TEST_CASE("an emulated device is nobody's: many tune on it at once") {
    GpuLock other(kUuid);
    REQUIRE(other.try_acquire());
    EmulatedGpu device;
    const CardClaim claim(device.gpu, {.wait = false});
    CHECK(claim.disturbance() == "");
  }

  TEST_CASE("two tuners on one card take turns, and the second one says so") {
    TemporaryFolder folder;
    auto lock = std::make_unique<GpuLock>(kUuid);
    REQUIRE(lock->try_acquire());
    const CliResult refused = run_cli(kTune + "--no-wait", physical(folder, ""));
    CHECK(refused.code == 3);
    CHECK(contains(refused.err, "is held by process"));
    CliProcess waiting(kTune, physical(folder, ""));
    std::this_thread::sleep_for(500ms);
    lock.reset();
    const CliResult done = waiting.wait();
    CHECK(done.code == 0);
    CHECK(contains(done.err, "waiting for it"));
  }

  TEST_CASE("on a shared card a run is refused before it measures, or its rows say so") {
    TemporaryFolder folder;
    const CliResult refused = run_cli(kTune, physical(folder, "mig=1"));
    CHECK(refused.code == 3);
    CHECK(contains(refused.err, "MIG"));
    CHECK(refused.out.empty());
    const CliResult flagged = run_cli(kTune + "--shared", physical(folder, "mig=1"));
    CHECK(flagged.code == 0);
    CHECK(contains(flagged.out, "not alone on the card"));
  }

  TEST_CASE("Ctrl-C ends the wait for a card") {
    TemporaryFolder folder;
    const GpuLock lock(kUuid);
    REQUIRE(lock.try_acquire());
    CliProcess waiting(kTune, physical(folder, ""));
    std::this_thread::sleep_for(500ms);
    waiting.signal(SIGINT);
    CHECK(waiting.wait().code == 130);
  }
}
