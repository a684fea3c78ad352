// SPDX-License-Identifier: Apache-2.0
// The C interface from many threads at once: first use, streams and graphs with split-K, captures.
#include <doctest/doctest.h>

#include <barrier>
#include <thread>

#include "runtime/emulator/emulator.h"
#include "tests/abi_product.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_db_fixture.h"

using namespace nvfp4;

namespace {

// doctest's assertions belong to one thread; the others leave words here.
struct Words {
  std::mutex mutex;
  std::string text;

  void expect(const std::string& said, const std::string& wanted) {
    if (said == wanted) return;
    const std::lock_guard lock(mutex);
    text += said + "\n";
  }
};

/// Kernels loaded so far; 0 for ever on a real GPU, whose driver does not count.
int64_t loads(const Gpu& gpu) {
  void* const symbol = gpu.driver().symbol("nvfp4_emulator_calls");
  return symbol ? reinterpret_cast<decltype(&nvfp4_emulator_calls)>(symbol)("load") : 0;
}

/// A database in which a split-K config won for the shape of Operands.
std::string split_k_database(const TemporaryFolder& folder, const std::string& part) {
  const std::string path = folder / "user.db";
  const Device device = open_device(test_device(part)).gpu.facts();
  KernelConfig config = config_of(8);
  config.schedule = Schedule::split_k;
  config.split_k = 2;
  Measurement row = measurement_of(config, Operands::kM, 5,
                                   device.emulated ? Provenance::modelled : Provenance::measured);
  row.problem = {.n = Operands::kN, .k = Operands::kK, .arch = device.arch};
  row.policy = Policy::graph;
  TuningDb database(path, Access::read_write);
  add_winner(database, database.add_run(run_on(device)), device, row);
  return path;
}

/// A graph of what `enqueue` puts on the stream, captured in the mode.
CUgraphExec capture_in(const Gpu& gpu, CUstream stream, CUstreamCaptureMode mode,
                       const std::function<void()>& enqueue) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  const Driver& driver = gpu.driver();
  gpu.check(driver.stream_begin_capture(stream, mode), "cuStreamBeginCapture");
  enqueue();
  gpu.check(driver.stream_end_capture(stream, &graph), "cuStreamEndCapture");
  gpu.check(driver.graph_instantiate(&exec, graph, 0), "cuGraphInstantiate");
  gpu.check(driver.graph_destroy(graph), "cuGraphDestroy");
  return exec;
}

}  // namespace

TEST_SUITE("abi_threads") {
  TEST_CASE("64 threads that prepare and launch four shapes first load each kernel once") {
    const AbiContext context;
    const bool counted = context.gpu.emulated();
    constexpr int kThreads = 64, kShapes = 4;
    const auto rows = [](int shape) { return int64_t{64} + 16 * shape; };
    std::vector<std::unique_ptr<Operands>> operands;
    for (int i = 0; i < kThreads; ++i) {
      operands.push_back(std::make_unique<Operands>(context.gpu, 2 + i, rows(i % kShapes), 128));
    }
    // What one thread alone makes of each shape: a load, and what goes with it.
    int64_t alone = 0;
    {
      const AbiContext other;
      const int64_t before = loads(context.gpu);
      std::vector<nvfp4_gemm> gemms(kShapes);
      for (int shape = 0; shape < kShapes; ++shape) {
        const nvfp4_problem problem = problem_of(rows(shape), 128);
        REQUIRE(nvfp4_prepare(other.handle, &problem, 5, 5, &gemms[shape]) == NVFP4_OK);
      }
      alone = loads(context.gpu) - before;
      for (const nvfp4_gemm gemm : gemms) REQUIRE(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
    }
    REQUIRE((alone >= kShapes || !counted));

    Words words;
    std::vector<nvfp4_gemm> gemms(kThreads);
    const int64_t before = loads(context.gpu);
    {
      std::barrier together(kThreads);
      std::vector<std::jthread> threads;
      for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, i] {
          together.arrive_and_wait();
          const nvfp4_problem problem = problem_of(rows(i % kShapes), 128);
          words.expect(said(nvfp4_prepare(context.handle, &problem, 5, 5, &gemms[i])), "NVFP4_OK");
          size_t bytes = 0;
          words.expect(said(nvfp4_workspace_size(gemms[i], &bytes)), "NVFP4_OK");
          const ContextScope scope(context.gpu);
          const Stream stream(context.gpu);
          const DeviceBuffer workspace(context.gpu, bytes);
          words.expect(
              said(nvfp4_workspace_init(context.handle, workspace.as(), bytes, stream.get())),
              "NVFP4_OK");
          nvfp4_launch_args args = operands[i]->args();
          args.workspace = workspace.as();
          args.workspace_bytes = bytes;
          words.expect(said(nvfp4_launch(gemms[i], &args, stream.get())), "NVFP4_OK");
          stream.synchronize();
          words.expect(operands[i]->wrong(), "");
        });
      }
    }
    CHECK(words.text == "");
    CHECK(loads(context.gpu) - before == alone);
    for (const nvfp4_gemm gemm : gemms) CHECK(nvfp4_gemm_destroy(gemm) == NVFP4_OK);
    // Nobody holds the kernels any more: the next one to ask loads again.
    const int64_t after = loads(context.gpu);
    const nvfp4_problem problem = problem_of(rows(0), 128);
    nvfp4_gemm again = 0;
    REQUIRE(nvfp4_prepare(context.handle, &problem, 5, 5, &again) == NVFP4_OK);
    CHECK((loads(context.gpu) > after || !counted));
    CHECK(nvfp4_gemm_destroy(again) == NVFP4_OK);
  }

  TEST_CASE("two streams and two graphs with split-K stay exact over many launches") {
    const TemporaryFolder folder;
    const std::string database = split_k_database(folder, "a100");
    const AbiContext context("a100", database.c_str());
    const nvfp4_problem problem = problem_of(Operands::kN, Operands::kK);
    nvfp4_selection selection{.size = sizeof selection};
    REQUIRE(nvfp4_lookup(context.handle, &problem, Operands::kM, &selection) == NVFP4_OK);
    CAPTURE(selection.config);
    REQUIRE(std::string(selection.config).find("split_k=2") != std::string::npos);
    REQUIRE(selection.match == NVFP4_MATCH_EXACT);

    constexpr int kUsers = 4, kRounds = 100;
    std::vector<std::unique_ptr<Operands>> operands;
    std::vector<std::unique_ptr<PreparedGemm>> gemms;
    for (int i = 0; i < kUsers; ++i) {
      operands.push_back(std::make_unique<Operands>(context.gpu, 2 + i));
      gemms.push_back(std::make_unique<PreparedGemm>(context));
      REQUIRE(gemms.back()->bytes > 0);
    }
    Words words;
    {
      std::barrier together(kUsers);
      std::vector<std::jthread> threads;
      for (int i = 0; i < kUsers; ++i) {
        threads.emplace_back([&, i] {
          const ContextScope scope(context.gpu);
          const Stream stream(context.gpu);
          const nvfp4_launch_args args = gemms[i]->with_workspace(operands[i]->args());
          const auto launch = [&] {
            words.expect(said(nvfp4_launch(gemms[i]->handle, &args, stream.get())), "NVFP4_OK");
          };
          const bool graphs = i % 2 == 1;
          std::optional<GraphExec> graph;
          if (graphs) graph.emplace(capture(context.gpu, stream.get(), launch));
          together.arrive_and_wait();
          for (int round = 0; round < kRounds; ++round) {
            operands[i]->out.fill(std::byte{0xff}, stream.get());
            if (graphs) {
              graph->launch(stream.get());
            } else {
              launch();
            }
            stream.synchronize();
            words.expect(operands[i]->wrong(), "");
          }
        });
      }
    }
    CHECK(words.text == "");
  }

  TEST_CASE("launches record in every capture mode, and beside the captures of another thread") {
    const AbiContext context;
    const Operands first(context.gpu, 2), second(context.gpu, 3);
    const PreparedGemm one(context), two(context);
    for (const CUstreamCaptureMode mode :
         {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
          CU_STREAM_CAPTURE_MODE_RELAXED}) {
      CAPTURE(static_cast<int>(mode));
      Words words;
      std::barrier together(2);
      const auto run = [&](const Operands& operands, const PreparedGemm& gemm, bool record) {
        const ContextScope scope(context.gpu);
        const Stream stream(context.gpu);
        const nvfp4_launch_args args = gemm.with_workspace(operands.args());
        const auto launch = [&] {
          words.expect(said(nvfp4_launch(gemm.handle, &args, stream.get())), "NVFP4_OK");
        };
        CUgraphExec graph = nullptr;
        if (record) {
          graph = capture_in(context.gpu, stream.get(), mode, [&] {
            together.arrive_and_wait();
            launch();
            together.arrive_and_wait();
          });
          // One that launches outright may not wait for it while this thread captures.
          context.gpu.check(context.gpu.driver().graph_launch(graph, stream.get()),
                            "cuGraphLaunch");
        } else {
          together.arrive_and_wait();
          launch();
          nvfp4_selection selection{.size = sizeof selection};
          const nvfp4_problem problem = problem_of(Operands::kN, Operands::kK);
          words.expect(said(nvfp4_lookup(context.handle, &problem, 5, &selection)), "NVFP4_OK");
          together.arrive_and_wait();
        }
        together.arrive_and_wait();
        stream.synchronize();
        words.expect(operands.wrong(), "");
        if (graph) context.gpu.driver().graph_exec_destroy(graph);
      };
      {
        std::jthread a(run, std::cref(first), std::cref(one), true);
        std::jthread b(run, std::cref(second), std::cref(two), false);
      }
      CHECK(words.text == "");
    }
  }

  TEST_CASE("GEMMs may be destroyed and prepared while other threads launch theirs") {
    const AbiContext context;
    const Operands operands(context.gpu);
    const PreparedGemm kept(context);
    const nvfp4_launch_args args = kept.with_workspace(operands.args());
    Words words;
    {
      std::jthread churn([&] {
        for (int i = 0; i < 30; ++i) {
          const nvfp4_problem problem = problem_of(Operands::kN, Operands::kK);
          nvfp4_gemm gemm = 0;
          words.expect(said(nvfp4_prepare(context.handle, &problem, 1, 5, &gemm)), "NVFP4_OK");
          words.expect(said(nvfp4_gemm_destroy(gemm)), "NVFP4_OK");
        }
      });
      for (int i = 0; i < 30; ++i) {
        words.expect(said(nvfp4_launch(kept.handle, &args, nullptr)), "NVFP4_OK");
      }
    }
    CHECK(words.text == "");
    CHECK(operands.wrong() == "");
  }
}
