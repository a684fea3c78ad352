// SPDX-License-Identifier: Apache-2.0
// The language of scripted faults.
#include "runtime/emulator/fault_script.h"

#include <doctest/doctest.h>

namespace nvfp4::emulator {
namespace {

TEST_CASE("a rule applies to its one call of its one kind") {
  FaultScript script;
  REQUIRE(script.add("alloc:2=2"));
  CHECK(!script.count(Call::alloc));
  CHECK(!script.count(Call::launch));
  const auto effect = script.count(Call::alloc);
  REQUIRE(effect);
  CHECK(effect->code == CUDA_ERROR_OUT_OF_MEMORY);
  CHECK(!effect->hang);
  CHECK(!script.count(Call::alloc));
  CHECK(script.calls(Call::alloc) == 3);
  CHECK(script.calls(Call::launch) == 1);
}

TEST_CASE("a plus makes a rule apply from its call onwards") {
  FaultScript script;
  REQUIRE(script.add("sync:2+=hang"));
  CHECK(!script.count(Call::sync));
  CHECK(script.count(Call::sync)->hang);
  CHECK(script.count(Call::sync)->hang);
}

TEST_CASE("calls are counted from where the rule was added, and the first rule wins") {
  FaultScript script;
  script.count(Call::copy);
  REQUIRE(script.add("copy:1=700,copy:1+=719"));
  CHECK(script.count(Call::copy)->code == CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK(script.count(Call::copy)->code == CUDA_ERROR_LAUNCH_FAILED);
}

TEST_CASE("text that is no script adds nothing") {
  for (const char* text : {"alloc", "alloc:1", "alloc=2", "alloc:=2", "alloc:0=2", "alloc:-1=2",
                           "alloc:1=", "alloc:1=0", "alloc:1=1000", "alloc:1=x", "alloc:1=hung",
                           "malloc:1=2", "alloc:1=2,,copy:1=2", " alloc:1=2", "alloc:1=2,bad",
                           "alloc:99999999999999999999=2", ":1=2", "=:", ","}) {
    CAPTURE(text);
    FaultScript script;
    CHECK(!script.add(text));
    CHECK(!script.count(Call::alloc));
  }
}

TEST_CASE("every kind of call has a name that finds it") {
  for (size_t i = 0; i < kCallNames.size(); ++i) {
    CHECK(find_call(kCallNames[i]) == static_cast<Call>(i));
  }
  CHECK(!find_call("all"));
}

}  // namespace
}  // namespace nvfp4::emulator
