// SPDX-License-Identifier: Apache-2.0
// Copies of the async proxy on the emulated device: bulk and tensor copies in both directions, and
// for each check a smallest kernel whose report says what, where and who.
#include <doctest/doctest.h>

#include <numeric>

#include "runtime/emulator/tensor_map.h"
#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

// One warp; %p1 is thread 0, %r20 an mbarrier of count 1 at the start of s, %r21 = s + 1024.
KernelRun with_barrier(const std::string& body) {
  KernelRun kernel;
  kernel.declarations = ".shared .align 1024 .b8 s[8192];";
  kernel.in.resize(1024);
  std::iota(kernel.in.begin(), kernel.in.end(), 1);
  kernel.body =
      "mov.u32 %r20, s; add.u32 %r21, %r20, 1024; setp.eq.u32 %p1, %r2, 0;\n"
      "@%p1 mbarrier.init.shared::cta.b64 [%r20], 1;\n"
      "@%p1 fence.mbarrier_init.release.cluster;\nbar.warp.sync -1;\n" +
      body;
  return kernel;
}
constexpr int kFirst = 4;  // line of `body`

std::string expect(int bytes) {
  return fmt::format("@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], {};\n", bytes);
}
const std::string kLoad =
    "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r21], [%rd2], {}, "
    "[%r20];\n";
std::string load(int bytes) { return fmt::format(fmt::runtime(kLoad), bytes); }
const std::string kWait =
    "W: mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r20], 0;\n@!%p9 bra W;\n";
// out[thread] = the 64-bit word of thread at %r21.
const std::string kStoreWord =
    "mad.lo.u32 %r22, %r2, 8, %r21;\nld.shared.u64 %rd10, [%r22];\nmul.wide.u32 %rd11, %r2, 8;\n"
    "add.s64 %rd12, %rd1, %rd11;\nst.global.u64 [%rd12], %rd10;\n";
const std::string kWriteWord =
    "mad.lo.u32 %r22, %r2, 8, %r21;\ncvt.u64.u32 %rd10, %r2;\nst.shared.u64 [%r22], %rd10;\n";
const std::string kStore =
    "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r21], 256;\n"
    "@%p1 cp.async.bulk.commit_group;\n";

// A kernel whose parameter `out_pointer` is used as the tensor map's address: it lies in `in`.
KernelRun with_map(const TensorMap& map, const std::string& body) {
  KernelRun kernel = with_barrier(body);
  map.encode(kernel.in.data() + 512);
  return kernel;
}

}  // namespace

TEST_CASE("a bulk copy lands in shared memory when its mbarrier's phase is over") {
  const auto out = results(with_barrier(expect(256) + load(256) + kWait + kStoreWord));
  for (unsigned t = 0; t < 32; ++t) CHECK(out[t] == t + 1);
}

TEST_CASE("bulk data is read only by threads that have seen the phase") {
  const std::string body = expect(256) + load(256);
  check_fault(with_barrier(body + kStoreWord), FaultKind::async_read_before_wait, kFirst + 3, 0,
              "reads 8 bytes at shared+0x400 that a bulk copy fills, before it has seen phase 0 of "
              "the mbarrier at shared+0x0 complete");
  std::string one = kWait;  // thread 0 waits, for itself alone
  one.replace(one.find("W:"), 2, "@!%p1 bra R;\nW:");
  check_fault(with_barrier(body + one + "R:\n" + kStoreWord), FaultKind::async_read_before_wait,
              kFirst + 7, 1, "before it has seen phase 0");
  check_clean(with_barrier(body + one + "R: bar.warp.sync -1;\n" + kStoreWord));
}

TEST_CASE("a bulk copy over what threads still read or write is reported when it starts") {
  const std::string again =
      "\n@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%r21], [%rd2], 256, [%r20];\n";
  check_fault(with_barrier(expect(256) + load(256) + kWait + kStoreWord + again),
              FaultKind::shared_race, kFirst + 10, 0,
              "starts a bulk copy over 256 bytes at shared+0x400 that thread 1 reads, and nothing "
              "orders the read before it");
  check_fault(with_barrier(expect(256) + kWriteWord + "bar.warp.sync -1;\n" + load(256)),
              FaultKind::missing_proxy_fence, kFirst + 5, 0,
              "that thread 0 has written, without a fence.proxy.async in between");
  check_clean(with_barrier(expect(256) + kWriteWord +
                           "fence.proxy.async.shared::cta;\nbar.warp.sync -1;\n" + load(256) +
                           kWait));
  // By the thread that starts the copy, behind the barrier, it serves as well.
  check_clean(with_barrier(expect(256) + kWriteWord +
                           "bar.warp.sync -1;\n@%p1 fence.proxy.async;\n" + load(256) + kWait));
}

TEST_CASE("sizes and addresses of bulk copies are multiples of 16, inside their memory") {
  check_fault(with_barrier(load(24)), FaultKind::misaligned, kFirst, 0,
              "a bulk copy whose size is 0x18, not a multiple of 16");
  check_fault(with_barrier("add.u32 %r21, %r21, 8;\n" + load(16)), FaultKind::misaligned,
              kFirst + 1, 0, "a bulk copy whose target is 0x408");
  check_fault(with_barrier("add.s64 %rd2, %rd2, 8;\n" + load(16)), FaultKind::misaligned,
              kFirst + 1, 0, "a bulk copy whose source is");
  check_fault(with_barrier("add.u32 %r21, %r21, 7152;\n" + load(32)), FaultKind::illegal_address,
              kFirst + 1, 0, "writes 32 bytes at shared+0x1ff0, beyond its 8192 bytes");
  check_fault(with_barrier("add.s64 %rd2, %rd2, 8176;\n" + load(32)), FaultKind::illegal_address,
              kFirst + 1, 0, "reads 16 bytes at");
}

TEST_CASE("a bulk store writes global memory and reads until its group has been waited for") {
  const std::string wait = "@%p1 cp.async.bulk.wait_group.read 0;\n";
  const std::string ready = kWriteWord + "fence.proxy.async;\nbar.warp.sync -1;\n";
  const auto out = results(with_barrier(ready + kStore + wait));
  for (unsigned t = 0; t < 32; ++t) CHECK(out[t] == t);
  check_clean(with_barrier(ready + kStore + wait + "@%p1 st.shared.u64 [%r21], 0;\n"));
  check_fault(with_barrier(ready + kStore + "@%p1 st.shared.u64 [%r21], 0;\n" + wait),
              FaultKind::shared_race, kFirst + 7, 0,
              "writes 8 bytes at shared+0x400 that a bulk copy of thread 0 reads");
  check_fault(with_barrier(ready + kStore), FaultKind::async_read_before_wait, kFirst + 8, 0,
              "the thread ends before it has waited for its bulk copy of 256 bytes");
  check_fault(with_barrier(kWriteWord + "bar.warp.sync -1;\n" + kStore + wait),
              FaultKind::missing_proxy_fence, kFirst + 4, 0, "starts an asynchronous read of 256");
}

TEST_CASE("cp.async can arrive on an mbarrier when it lands") {
  KernelRun kernel = with_barrier(
      "mad.lo.u32 %r22, %r2, 16, %r21;\nmul.wide.u32 %rd3, %r2, 16;\nadd.s64 %rd4, %rd2, %rd3;\n"
      "cp.async.cg.shared.global [%r22], [%rd4], 16;\n"
      "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r20];\n" +
      kWait + kStoreWord);
  kernel.body.replace(kernel.body.find("[%r20], 1;"), 10, "[%r20], 32;");
  const auto out = results(kernel);
  for (unsigned t = 0; t < 32; ++t) CHECK(out[t] == t + 1);
  kernel.body.replace(kernel.body.find(kWait), kWait.size(), "");
  check_fault(kernel, FaultKind::async_read_before_wait, kFirst + 6, 0,
              "that a cp.async fills, before it has seen phase 0 of the mbarrier");
}

TEST_CASE("a tensor copy brings a box, swizzled, with zeros outside the tensor") {
  // 20 rows of 48 16-bit elements; a box of 64 x 8 from (16, 14) leaves it on both sides.
  for (const int swizzle : {0, 128}) {
    KernelRun kernel = with_barrier(
        expect(1024) +
        "mov.u32 %r30, 16; mov.u32 %r31, 14; add.s64 %rd20, %rd2, 4096;\n"
        "@%p1 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%r21], [%rd20, {%r30, %r31}], [%r20];\n" +
        kWait + kStoreWord +
        "ld.shared.u64 %rd10, [%r22+256];\nst.global.u64 [%rd12+256], %rd10;\n"
        "ld.shared.u64 %rd10, [%r22+512];\nst.global.u64 [%rd12+512], %rd10;\n"
        "ld.shared.u64 %rd10, [%r22+768];\nst.global.u64 [%rd12+768], %rd10;\n");
    for (size_t i = 0; i < 512; ++i) {
      kernel.in[i] = 0;
      for (size_t e = 0; e < 4; ++e) kernel.in[i] |= uint64_t{i * 4 + e + 1} << (16 * e);
    }
    PreparedKernel prepared(kernel);
    TensorMap map;
    map.address = prepared.in;
    map.rank = 2;
    map.element_bytes = 2;
    map.size = {48, 20};
    map.stride = {2, 96};
    map.box = {64, 8};
    map.step = {1, 1};
    map.swizzle_bytes = static_cast<uint8_t>(swizzle);
    map.encode(prepared.memory.resolve(prepared.in + 4096, TensorMap::kBytes, true));
    const LaunchResult result = run(prepared.request, prepared.memory);
    REQUIRE_MESSAGE(!result.fault, result.fault->text);
    int wrong = 0;
    for (int row = 0; row < 8; ++row) {
      for (int x = 0; x < 64; ++x) {
        const int plain = row * 128 + x * 2;
        const int at = swizzle == 0 ? plain : plain ^ (plain >> 3 & 0x70);
        const bool inside = 16 + x < 48 && 14 + row < 20;
        const uint64_t expected = inside ? (14 + row) * 48 + 16 + x + 1 : 0;
        wrong += (prepared.word(at / 8) >> (at % 8 * 8) & 0xffff) != expected;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a tensor store writes what lies inside the tensor") {
  KernelRun kernel = with_barrier(
      kWriteWord +
      "fence.proxy.async;\nbar.warp.sync -1;\nadd.s64 %rd20, %rd2, 4096;\n"
      "@%p1 cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd20, {4, 1}], "
      "[%r21];\n@%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\n");
  PreparedKernel prepared(kernel);
  TensorMap map;
  map.address = prepared.out;
  map.rank = 2;
  map.element_bytes = 8;
  map.size = {6, 3};
  map.stride = {8, 64};
  map.box = {4, 8};
  map.step = {1, 1};
  map.encode(prepared.memory.resolve(prepared.in + 4096, TensorMap::kBytes, true));
  const LaunchResult result = run(prepared.request, prepared.memory);
  REQUIRE_MESSAGE(!result.fault, result.fault->text);
  for (size_t row = 0; row < 3; ++row) {
    for (size_t x = 0; x < 8; ++x) {
      const bool written = row >= 1 && x >= 4 && x < 6;
      CHECK(prepared.memory.initialised(prepared.out + (row * 8 + x) * 8, 8) == written);
      if (written) CHECK(prepared.word(row * 8 + x) == (row - 1) * 4 + x - 4);
    }
  }
}

TEST_CASE("a tensor map must be one, and a swizzled box start on 128 bytes") {
  const std::string copy =
      expect(1024) +
      "@%p1 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r21{}], "
      "[%rd2+4096, {{0, 0}}], [%r20];\n";
  check_fault(with_barrier(fmt::format(fmt::runtime(copy), "")), FaultKind::illegal_address,
              kFirst + 1, 0, "no tensor map lies at address");
  TensorMap map;
  map.rank = 2;
  map.element_bytes = 2;
  map.box = {64, 8};
  map.step = {1, 1};
  map.swizzle_bytes = 128;
  check_fault(with_map(map, fmt::format(fmt::runtime(copy), "+16")), FaultKind::misaligned,
              kFirst + 1, 0, "target is 0x410, not a multiple of 128");
  map.rank = 3;
  check_fault(with_map(map, fmt::format(fmt::runtime(copy), "")), FaultKind::illegal_address,
              kFirst + 1, 0, "a tensor map of a kind that is not run");
}

TEST_CASE("prefetches, cache hints and policies change nothing") {
  check_clean(with_barrier(
      expect(32) +
      "createpolicy.fractional.L2::evict_first.b64 %rd30, 0f3f800000;\n"
      "@%p1 cp.async.bulk.prefetch.L2.global [%rd2], 64;\n@%p1 prefetch.tensormap [%rd2];\n"
      "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%r21], [%rd2], 32, [%r20], %rd30;\n" +
      kWait));
}

}  // namespace nvfp4::emulator
