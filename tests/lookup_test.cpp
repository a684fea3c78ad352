// SPDX-License-Identifier: Apache-2.0
// Which row answers for (problem, M) on a device, and what is said about it.
#include "runtime/lookup.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <new>

#include "generator/candidate_space.h"
#include "generator/legality.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

namespace {
int64_t allocations = 0;
}

// Counts what the hot path must not do.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace nvfp4 {
namespace {

using Entry = Snapshot::Entry;

/// A winner of the square problem on `device`.
Entry entry(int block_m, int64_t m, Layer layer = Layer::user, Device device = h100(),
            Provenance provenance = Provenance::measured) {
  return {winner_of(device, measurement_of(config_of(block_m), m, 10.0 + block_m, provenance), 7),
          layer};
}

Selection ask(const std::vector<Entry>& entries, int64_t m, const Device& device = h100(),
              Policy policy = Policy::graph_pdl) {
  return lookup(Snapshot(device, entries), square_problem(), m, policy);
}

TEST_CASE("M = 64 is answered by its winner with its evidence, M = 63 by the same row") {
  const Snapshot snapshot(h100(), std::vector{entry(64, 64)});
  const Selection exact = lookup(snapshot, square_problem(), 64, Policy::graph_pdl);
  CHECK(exact.config == config_of(64));
  CHECK(exact.match == Match::exact);
  CHECK(exact.layer == Layer::user);
  CHECK(exact.provenance == Provenance::measured);
  CHECK(exact.same_device);
  CHECK(exact.expected_us == 74);
  CHECK(exact.f == 0.85);
  CHECK(exact.m_tuned == 64);
  CHECK(exact.evidence == 7);
  CHECK(exact.code_hash == std::string(64, 'b'));
  const Selection inside = lookup(snapshot, square_problem(), 63, Policy::graph_pdl);
  CHECK(inside.config == exact.config);
  CHECK(inside.match == Match::m_interval);
  CHECK(inside.evidence == 7);
}

TEST_CASE("another shape, arch or layout is answered by the default") {
  const Snapshot snapshot(h100(), std::vector{entry(64, 64)});
  const auto is_default = [&](Problem problem) {
    const Selection got = lookup(snapshot, problem, 64, Policy::graph_pdl);
    CHECK(got.match == Match::fallback);
    CHECK(got.layer == Layer::fallback);
    CHECK(got.provenance == Provenance::modelled);
    CHECK(got.evidence == 0);
    CHECK(got.expected_us > 0);
    CHECK(got.config == default_config(problem, 64, h100()));
  };
  is_default(square_problem(8192));
  Problem problem = square_problem();
  problem.arch = {8, 0, false};
  is_default(problem);
  problem = square_problem();
  problem.layout = 2;
  is_default(problem);
}

TEST_CASE("what was measured for another launch policy answers before the cost model") {
  const Snapshot snapshot(h100(), std::vector{entry(64, 64)});
  const Selection got = lookup(snapshot, square_problem(), 64, Policy::eager);
  CHECK(got.match == Match::policy);
  CHECK(name(got.match) == "other_policy");
  CHECK(got.layer == Layer::user);
  CHECK(got.config == config_of(64));
  CHECK(got.expected_us == 0);  // nobody has measured that
  CHECK(got.evidence == 7);

  Entry plain = entry(16, 64);
  plain.winner.policy = Policy::graph;
  plain.winner.config.pdl = false;
  const Selection dependent = ask({plain}, 64);
  CHECK(dependent.match == Match::policy);
  CHECK(dependent.config.pdl);  // or it would not wait for its predecessor

  Entry guess = entry(16, 64, Layer::user, h100(), Provenance::modelled);
  guess.winner.policy = Policy::graph;
  CHECK(ask({guess}, 64).match == Match::fallback);
}

TEST_CASE("what was measured with bf16 activations answers for fp16 before the cost model") {
  Problem fp16 = square_problem();
  fp16.act = Activation::fp16;
  const Snapshot snapshot(h100(), std::vector{entry(64, 64), entry(8, 8)});
  const Selection got = lookup(snapshot, fp16, 63, Policy::graph_pdl);
  CHECK(got.match == Match::activation);
  CHECK(name(got.match) == "other_act");
  KernelConfig config = config_of(64);
  config.act = Activation::fp16;
  CHECK(got.config == config);
  CHECK(got.expected_us == 0);   // nobody has measured that
  CHECK(got.code_hash.empty());  // nor seen its machine code
  CHECK(got.evidence == 7);
  CHECK(lookup(snapshot, fp16, 63, Policy::eager).match == Match::activation);

  const auto edges = snapshot.edges(fp16);
  CHECK(std::count(edges.begin(), edges.end(), 64) > 0);

  // Its own measurement comes first, even of another policy.
  Entry own = entry(64, 64);
  own.winner.problem.act = own.winner.config.act = Activation::fp16;
  own.winner.policy = Policy::graph;
  const Snapshot both(h100(), std::vector{entry(64, 64), own});
  CHECK(lookup(both, fp16, 64, Policy::graph_pdl).match == Match::policy);

  const Snapshot guess(h100(),
                       std::vector{entry(64, 64, Layer::user, h100(), Provenance::modelled)});
  CHECK(lookup(guess, fp16, 64, Policy::graph_pdl).match == Match::fallback);
}

TEST_CASE("outside every interval the nearest larger tuned M answers, but only when it is near") {
  const std::vector<Entry> entries = {entry(16, 64), entry(16, 128), entry(8, 8)};
  CHECK(ask(entries, 40).match == Match::near_m);
  CHECK(ask(entries, 40).m_tuned == 64);
  CHECK(ask(entries, 16).m_tuned == 64);
  CHECK(ask(entries, 15).match == Match::fallback);
  CHECK(ask(entries, 65).m_tuned == 128);
  CHECK(ask(entries, 129).match == Match::fallback);
  CHECK(ask(entries, 3).match == Match::m_interval);
  CHECK(ask(entries, 3).m_tuned == 8);
}

TEST_CASE("of rows that hold M, the one tuned at M wins, then the narrowest") {
  const std::vector<Entry> entries = {entry(64, 64), entry(16, 16), entry(8, 1)};
  CHECK(ask(entries, 16).config == config_of(16));
  CHECK(ask(entries, 12).config == config_of(16));
  CHECK(ask(entries, 8).config == config_of(8));
  CHECK(ask(entries, 17).config == config_of(64));
  // A wide row that was tuned exactly here beats a narrow one that was not.
  CHECK(ask({entry(64, 60), entry(8, 64)}, 60).config == config_of(64));
}

TEST_CASE("among equal rows the user's answers before the shipped one") {
  const std::vector<Entry> entries = {entry(64, 64, Layer::shipped), entry(64, 64, Layer::user)};
  CHECK(ask(entries, 64).layer == Layer::user);
  CHECK(ask({entries[0]}, 64).layer == Layer::shipped);
}

TEST_CASE("tuning one M by hand does not take the others from the shipped database") {
  const std::vector<Entry> entries = {entry(64, 64, Layer::user), entry(8, 1, Layer::shipped)};
  CHECK(ask(entries, 1).layer == Layer::shipped);
  CHECK(ask(entries, 64).layer == Layer::user);
}

TEST_CASE("provenance comes before the layer: measured here, measured on the arch, modelled") {
  Device other = h100();
  other.sm_count = 114;
  const Entry modelled = entry(16, 64, Layer::user, h100(), Provenance::modelled);
  const Entry same_arch = entry(32, 64, Layer::user, other);
  const Entry measured = entry(64, 64, Layer::shipped);
  CHECK(ask({modelled, same_arch, measured}, 64).config == measured.winner.config);
  const Selection arch = ask({modelled, same_arch}, 64);
  CHECK(arch.config == same_arch.winner.config);
  CHECK(!arch.same_device);
  CHECK(arch.expected_us == 0);
  CHECK(ask({modelled}, 64).provenance == Provenance::modelled);
  CHECK(ask({modelled}, 64).match == Match::exact);
}

TEST_CASE("a row of another arch never answers") {
  Device ada = find_part("l40s")->device;
  Entry row = entry(64, 64, Layer::user, ada);
  CHECK(ask({row}, 64).match == Match::fallback);
}

TEST_CASE("an emulated row never answers for a real card, nor the reverse") {
  const Entry emulated = entry(64, 64, Layer::user, h100(true), Provenance::modelled);
  const Entry real = entry(32, 64);
  CHECK(ask({emulated}, 64).match == Match::fallback);
  CHECK(ask({real}, 64, h100(true)).match == Match::fallback);
  CHECK(ask({emulated, real}, 64).config == config_of(32));
  CHECK(ask({emulated, real}, 64, h100(true)).config == config_of(64));
}

TEST_CASE("a row whose config is illegal on the device is not in the snapshot") {
  Entry row = entry(64, 64);
  row.winner.config.num_stages = 64;
  REQUIRE(illegal_reason(row.winner.config, h100()));
  const Snapshot snapshot(h100(), std::vector{row});
  CHECK(snapshot.size() == 0);
}

TEST_CASE("the answer does not depend on the order in which rows were read") {
  std::vector<Entry> entries = {entry(64, 64), entry(32, 64, Layer::shipped), entry(16, 64),
                                entry(8, 61), entry(8, 64, Layer::shipped)};
  for (size_t i = 0; i < entries.size(); ++i) entries[i].winner.evidence = static_cast<int>(i);
  std::vector<size_t> order = {0, 1, 2, 3, 4};
  std::vector<KernelConfig> expected;
  for (int64_t m = 1; m <= 64; ++m) expected.push_back(ask(entries, m).config);
  while (std::next_permutation(order.begin(), order.end())) {
    std::vector<Entry> shuffled;
    for (const size_t i : order) shuffled.push_back(entries[i]);
    const Snapshot snapshot(h100(), shuffled);
    for (int64_t m = 1; m <= 64; ++m) {
      const auto found = snapshot.find(square_problem(), m, Policy::graph_pdl);
      REQUIRE(found);
      CHECK(found->config == expected[m - 1]);
    }
  }
}

TEST_CASE("finding a row allocates nothing and takes well under a microsecond") {
  std::vector<Entry> entries;
  for (int64_t size = 64; size <= 64 * 200; size += 64) {
    for (int64_t m = 1; m <= 1024; m *= 2) {
      entries.push_back(entry(8, m));
      entries.back().winner.problem = square_problem(size);
    }
  }
  const Snapshot snapshot(h100(), entries);
  REQUIRE(snapshot.size() == 2200);
  // The best of many short batches, so that a busy machine or an unoptimised build does not decide.
  constexpr int kBatch = 1024;
  const int64_t before = allocations;
  int64_t found = 0;
  double best_ns = 1e9;
  for (int batch = 0; batch < 50; ++batch) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBatch; ++i) {
      const Problem problem = square_problem(64 * (1 + i % 200));
      found += snapshot.find(problem, 1 + i, Policy::graph_pdl).has_value();
    }
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start;
    best_ns = std::min(best_ns, elapsed.count() / kBatch);
  }
  CHECK(allocations == before);
  CHECK(found == 50 * kBatch);
  MESSAGE("find: ", best_ns, " ns");
  CHECK(best_ns < 5000);
}

TEST_CASE("layers are read from files, and what cannot be read is a warning and an empty layer") {
  const TemporaryFolder folder;
  const std::string user = folder / "user.db";
  const std::string shipped = folder / "shipped.db";
  for (const std::string& path : {user, shipped}) {
    TuningDb database(path, Access::read_write);
    const int64_t run = database.add_run(run_on(h100()));
    const int64_t m = path == user ? 64 : 1;
    add_winner(database, run, h100(), measurement_of(config_of(8), m, 5));
  }
  Warnings warnings;
  const std::vector<std::string> shipped_paths = {shipped, folder / "missing.db"};
  const Snapshot both = load_snapshot(h100(), user, shipped_paths, warnings);
  CHECK(both.find(square_problem(), 64, Policy::graph_pdl)->layer == Layer::user);
  CHECK(both.find(square_problem(), 1, Policy::graph_pdl)->layer == Layer::shipped);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].find("missing.db") != std::string::npos);

  warnings.clear();
  std::filesystem::resize_file(user, 6000);
  const Snapshot damaged =
      load_snapshot(h100(), user, std::span(shipped_paths.data(), 1), warnings);
  CHECK(damaged.size() == 1);
  CHECK(warnings.size() == 1);
  CHECK(std::filesystem::file_size(user) == 6000);

  warnings.clear();
  CHECK(load_snapshot(h100(), folder / "none.db", {}, warnings).size() == 0);
  CHECK(load_snapshot(h100(), "", {}, warnings).size() == 0);
  CHECK(warnings.empty());
}

}  // namespace
}  // namespace nvfp4
