// SPDX-License-Identifier: Apache-2.0
// Clusters on the emulated device: who is who, the cluster's barrier, each other's shared memory,
// multicasts and remote arrivals, and what happens to those who do not wait for their peers.
#include <doctest/doctest.h>

#include <numeric>

#include "tests/emulator_kernel.h"

namespace nvfp4::emulator {
namespace {

const std::string kStoreR10 =
    "mul.wide.u32 %rd50, %r1, 8;\nadd.s64 %rd51, %rd1, %rd50;\ncvt.u64.u32 %rd52, %r10;\n"
    "st.global.u64 [%rd51], %rd52;\n";
const std::string kSync =
    "barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n";
// %r20 = s, %r21 = the thread's word in it, %r30 = this CTA's rank, %r31 = the other of two, %r32 =
// the thread's word there.
const std::string kPlaces =
    "mov.u32 %r20, s; mad.lo.u32 %r21, %r2, 4, %r20; mov.u32 %r30, %cluster_ctarank;\n"
    "xor.b32 %r31, %r30, 1; mapa.shared::cluster.u32 %r32, %r21, %r31;\n";

KernelRun pair(const std::string& body, unsigned threads = 32) {
  KernelRun kernel;
  kernel.declarations = ".shared .align 128 .b8 s[4096];";
  kernel.blocks = 4;
  kernel.cluster = 2;
  kernel.threads = threads;
  kernel.in.resize(64);
  std::iota(kernel.in.begin(), kernel.in.end(), 1);
  kernel.body = kPlaces + body;
  return kernel;
}
constexpr int kFirst = 2;  // line of `body` in pair

void check_refused(const KernelRun& kernel, FaultKind kind, const std::string& what) {
  const Fault fault = fault_of(kernel);
  INFO(fault.text);
  CHECK(fault.kind == kind);
  CHECK(fault.text.find(what) != std::string::npos);
}

}  // namespace

TEST_CASE("special registers say where a CTA is in its cluster, and a cluster in the grid") {
  KernelRun kernel;
  kernel.declarations = ".reg .pred %q;";
  kernel.threads = 1;
  kernel.blocks = 6;
  kernel.cluster = 3;
  std::string body = "mov.pred %q, %is_explicit_cluster;\nselp.u32 %r10, 1, 0, %q;\n";
  for (const char* name :
       {"cluster_ctarank", "cluster_nctarank", "cluster_ctaid.x", "cluster_nctaid.x",
        "cluster_nctaid.y", "clusterid.x", "nclusterid.x", "nclusterid.y"}) {
    body += fmt::format("mov.u32 %r11, %{};\nmad.lo.u32 %r10, %r10, 10, %r11;\n", name);
  }
  kernel.body = body + kStoreR10;
  const auto out = results(kernel);
  for (unsigned cta = 0; cta < 6; ++cta) {
    CHECK(out[cta] == 100000000 + cta % 3 * 10000000 + 3000000 + cta % 3 * 100000 + 30000 + 1000 +
                          cta / 3 * 100 + 20 + 1);
  }
  kernel.cluster = 1;
  CHECK(results(kernel)[5] == 1011561);  // is_explicit_cluster and the ranks are 0
}

TEST_CASE(
    "CTAs of a cluster read, write and update each other's shared memory behind its barrier") {
  const auto out =
      results(pair("add.u32 %r10, %r2, 100;\nmad.lo.u32 %r10, %r30, 1000, %r10;\n"
                   "st.shared.u32 [%r21], %r10;\n" +
                   kSync +
                   "ld.shared::cluster.u32 %r10, [%r32];\n"
                   "st.shared::cluster.u32 [%r32+1024], %r10;\n"
                   "setp.eq.u32 %p1, %r2, 0;\n@%p1 st.shared.u32 [%r20+2048], 5;\n" +
                   kSync +
                   "mapa.shared::cluster.u32 %r33, %r20, 0;\n"
                   "atom.shared::cluster.add.u32 %r34, [%r33+2048], 1;\n" +
                   kSync +
                   "ld.shared.u32 %r10, [%r21+1024];\n"
                   "ld.shared::cluster.u32 %r35, [%r33+2048];\n"
                   "mad.lo.u32 %r10, %r35, 10000, %r10;\n" +
                   kStoreR10 + kSync));
  // A thread's word went to the peer, which sent it back.
  for (unsigned i = 0; i < 128; ++i)
    CHECK(out[i] == (5 + 64) * 10000 + i / 32 % 2 * 1000 + 100 + i % 32);
}

TEST_CASE("a generic address from mapa reaches the peer too") {
  const auto out = results(
      pair("st.shared.u32 [%r21], %r30;\ncvt.u64.u32 %rd5, %r21;\n"
           "cvta.shared.u64 %rd6, %rd5;\nmapa.u64 %rd7, %rd6, %r31;\n"
           "getctarank.u64 %r40, %rd7;\n" +
           kSync + "ld.u32 %r10, [%rd7];\nmad.lo.u32 %r10, %r40, 10, %r10;\n" + kStoreR10 + kSync));
  for (unsigned i = 0; i < 128; ++i) CHECK(out[i] == (1 - i / 32 % 2) * 11);
}

TEST_CASE("what CTAs of a cluster do in one memory must be ordered by the cluster's barrier") {
  const std::string write = "st.shared.u32 [%r21], %r2;\n";
  const std::string read = "ld.shared::cluster.u32 %r10, [%r32];\n";
  const FaultKind kind = fault_of(pair(write + "bar.sync 0;\n" + read + kSync)).kind;
  CHECK((kind == FaultKind::shared_race || kind == FaultKind::uninitialised_read));
  check_refused(pair(write + kSync + read + write + kSync), FaultKind::shared_race,
                "reads 4 bytes at shared+0x0 that thread 0 of CTA 1 of the cluster writes");
  check_clean(pair(write + kSync + read + kSync + write));
  // A relaxed arrival orders no writes, but the loads before it are over.
  const std::string relaxed =
      "barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;\n";
  check_refused(pair(write + relaxed + read + kSync), FaultKind::shared_race,
                "and nothing orders the write before it");
  check_clean(pair(write + kSync + read + relaxed + write + kSync));
}

TEST_CASE("a CTA must not end before its peers have left its shared memory") {
  const std::string write = "st.shared.u32 [%r21], %r2;\n" + kSync;
  const std::string read = "ld.shared::cluster.u32 %r10, [%r32];\n";
  check_refused(pair(write + read), FaultKind::peer_ended,
                "reaches into the shared memory of CTA 1 of the cluster, which has ended");
  check_clean(pair(write + read + kSync));
  // Whoever happens to come in time is found out when the other one ends.
  check_refused(
      pair(write + "setp.eq.u32 %p1, %r30, 0;\n@%p1 bra END;\n" + read + "END:\n"),
      FaultKind::peer_ended,
      "the CTA ends, and nothing orders that behind the access to its shared memory at PTX "
      "line 27 by thread 0 of CTA 1 of the cluster");
}

TEST_CASE("a multicast copy fills every CTA of its mask and counts at each one's mbarrier") {
  const std::string start =
      "setp.eq.u32 %p1, %r2, 0; add.u32 %r22, %r20, 1024;\n"
      "@%p1 mbarrier.init.shared::cta.b64 [%r20], 1;\n@%p1 fence.mbarrier_init.release.cluster;\n"
      "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 512;\n" +
      kSync;
  const auto copy = [](const char* mask) {
    return fmt::format(
        "mad.lo.u32 %r23, %r30, 256, %r22; mul.wide.u32 %rd3, %r30, 256; add.s64 %rd4, %rd2, "
        "%rd3;\n"
        "mov.u16 %rs1, {};\n"
        "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%r23], [%rd4], 256, [%r20], %rs1;\n"
        "W: mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r20], 0;\n@!%p9 bra W;\n"
        "mad.lo.u32 %r24, %r2, 16, %r22;\nld.shared.u32 %r10, [%r24];\n",
        mask);
  };
  const auto out = results(pair(start + copy("3") + kStoreR10));
  for (unsigned i = 0; i < 128; ++i) CHECK(out[i] == i % 32 * 2 + 1);
  check_refused(
      pair(start + copy("2")), FaultKind::deadlock,
      "CTA 0 warp 0 at line 31 for the mbarrier at shared+0x0 (phase 0: 0 of 1 arrivals and "
      "512 bytes to come)");
  check_refused(pair(start + copy("4")), FaultKind::illegal_address,
                "names CTA 2 of a cluster of 2");
}

TEST_CASE("remote arrivals and st.async complete a peer's phase, in order with what came before") {
  const std::string start =
      "setp.eq.u32 %p1, %r2, 0; mapa.shared::cluster.u32 %r33, %r20, %r31;\n"
      "@%p1 mbarrier.init.shared::cta.b64 [%r20], 33;\n@%p1 fence.mbarrier_init.release.cluster;\n"
      "barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;\n"
      "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 128;\n";
  const std::string send =
      "st.shared::cluster.u32 [%r32+1024], %r2;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r33];\n"
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r32+2048], %r30, [%r33];\n"
      "W: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p9, [%r20], 0;\n@!%p9 bra W;\n"
      "ld.shared.u32 %r10, [%r21+1024];\nld.shared.u32 %r11, [%r21+2048];\n"
      "mad.lo.u32 %r10, %r11, 100, %r10;\n";
  const auto out = results(pair(start + send + kStoreR10 + kSync));
  for (unsigned i = 0; i < 128; ++i) CHECK(out[i] == (1 - i / 32 % 2) * 100 + i % 32);
  check_clean(pair(start + send));  // each CTA has waited for what its peer does to it
  std::string lone = start;
  lone.resize(lone.find("@%p1 mbarrier.arrive.expect_tx"));
  check_refused(pair(lone + "@%p1 mbarrier.arrive.shared::cluster.b64 _, [%r33];\n"),
                FaultKind::peer_ended,
                "reaches into the shared memory of CTA 1 of the cluster, which has ended");
}

TEST_CASE("a bulk copy goes from one CTA's shared memory to another's") {
  const std::string start =
      "setp.eq.u32 %p1, %r2, 0; add.u32 %r22, %r20, 1024; add.u32 %r23, %r21, 1024;\n"
      "mapa.shared::cluster.u32 %r33, %r20, %r31; add.u32 %r34, %r33, 2048;\n"
      "@%p1 mbarrier.init.shared::cta.b64 [%r20], 1;\n@%p1 fence.mbarrier_init.release.cluster;\n"
      "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r20], 128;\n"
      "mad.lo.u32 %r40, %r30, 100, %r2;\nst.shared.u32 [%r23], %r40;\n"
      "fence.proxy.async.shared::cta;\n" +
      kSync +
      "@%p1 cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r34], [%r22], "
      "128, [%r33];\n";
  const std::string wait =
      "W: mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r20], 0;\n@!%p9 bra W;\n"
      "ld.shared.u32 %r10, [%r21+2048];\n";
  const auto out = results(pair(start + wait + kStoreR10));
  for (unsigned i = 0; i < 128; ++i) CHECK(out[i] == (1 - i / 32 % 2) * 100 + i % 32);
  check_refused(pair(start + "@%p1 st.shared.u32 [%r22], 0;\n" + wait), FaultKind::shared_race,
                "writes 4 bytes at shared+0x400 that a bulk copy reads");
  std::string astray = start;
  astray.replace(astray.rfind("[%r33]"), 6, "[%r20]");
  check_refused(pair(astray), FaultKind::mbarrier_misuse, "completes on an mbarrier of CTA");
}

TEST_CASE("the cluster's barrier is met by whole warps, once each, and a lone one is a deadlock") {
  check_fault(pair("setp.lt.u32 %p1, %r2, 8;\n@%p1 barrier.cluster.arrive.aligned;"),
              FaultKind::barrier_divergence, kFirst + 1, 8,
              "the cluster's barrier is reached by a part of the warp");
  check_fault(pair("barrier.cluster.arrive.aligned;\nbarrier.cluster.arrive.aligned;"),
              FaultKind::barrier_divergence, kFirst + 1, 0, "again, without having waited");
  check_fault(pair("barrier.cluster.wait.aligned;"), FaultKind::barrier_divergence, kFirst, 0,
              "without having arrived");
  check_refused(pair("setp.eq.u32 %p1, %r30, 0;\n@%p1 bra S;\nbar.sync 1, 64;\nS:\n" + kSync),
                FaultKind::deadlock,
                "CTA 0 warp 0 at line 27 for the cluster's barrier, CTA 1 warp 0 "
                "at line 24");
  // Those who have ended do not count.
  check_clean(pair("setp.eq.u32 %p1, %r30, 0;\n@%p1 bra END;\n" + kSync + "END:\n"));
}

TEST_CASE("a cluster must divide the grid and have at most eight CTAs") {
  KernelRun kernel = pair("");
  kernel.blocks = 3;
  CHECK(fault_of(kernel).text == "kernel k: a grid of 3 CTAs does not divide into clusters of 2");
  kernel.blocks = kernel.cluster = 16;
  CHECK(fault_of(kernel).text == "kernel k: 16 CTAs of a cluster exceed 8");
}

TEST_CASE("clusters give the same result in any order, on any number of host threads") {
  KernelRun kernel = pair("st.shared.u32 [%r21], %r1;\n" + kSync +
                          "ld.shared::cluster.u32 %r10, [%r32];\n" + kStoreR10 + kSync);
  kernel.blocks = 64;
  kernel.cluster = 2;
  kernel.out_words = 2048;
  const auto expected = results(kernel);
  for (const uint64_t seed : {1, 7}) {
    kernel.seed = seed;
    kernel.host_threads = 3;
    CHECK(results(kernel) == expected);
  }
}

}  // namespace nvfp4::emulator
