// SPDX-License-Identifier: Apache-2.0
// A launch: checks its limits, spreads the clusters over host threads, and gathers counts and the
// fault. Each thread keeps one Cluster and takes clusters from a common list, whose order the seed
// decides. Without clusters each CTA is one of its own.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "runtime/emulator/cluster.h"
#include "runtime/emulator/decoder.h"
#include "runtime/emulator/machine.h"
#include "runtime/emulator/program.h"
#include "runtime/emulator/shuffled.h"

namespace nvfp4::emulator {

Program::Program(std::unique_ptr<const Module> module) : module_(std::move(module)) {}
Program::~Program() = default;

std::shared_ptr<const Program> Program::parse(std::string_view ptx) {
  auto module = std::make_unique<const Module>(decode(parse_ptx(ptx)));
  return std::shared_ptr<const Program>(new Program(std::move(module)));
}

const EntryInfo* Program::find_entry(std::string_view name) const {
  for (const Function& function : module_->functions) {
    if (function.info.name == name) return &function.info;
  }
  return nullptr;
}

const std::vector<ModuleVariable>& Program::variables() const { return module_->variables; }

namespace {

constexpr uint64_t kMaxClusterCtas = 8;  // portable cluster size

std::optional<std::string> refusal(const LaunchRequest& request, const Function* function) {
  if (function == nullptr) return "the module has no such kernel";
  uint64_t threads = 1;
  uint64_t blocks = 1;
  for (int d = 0; d < 3; ++d) {
    if (request.block[d] == 0 || request.grid[d] == 0) return "a dimension of the launch is zero";
    threads *= request.block[d];
    blocks *= request.grid[d];
  }
  const uint64_t most = static_cast<uint64_t>(std::min(1024, function->info.max_threads));
  if (threads > most) return fmt::format("{} threads a block exceed {}", threads, most);
  if (blocks > (uint64_t{1} << 40))
    return fmt::format("{} blocks exceed {}", blocks, uint64_t{1} << 40);
  const auto& cluster = request.cluster;
  for (int d = 0; d < 3; ++d) {
    if (cluster[d] == 0 || request.grid[d] % cluster[d] != 0) {
      return fmt::format("a grid of {} CTAs does not divide into clusters of {}", request.grid[d],
                         cluster[d]);
    }
    if (function->info.cluster[0] != 0 && function->info.cluster[d] != cluster[d])
      return "the cluster is not the one that the kernel requires";
  }
  const uint64_t ctas = uint64_t{cluster[0]} * cluster[1] * cluster[2];
  if (ctas > kMaxClusterCtas)
    return fmt::format("{} CTAs of a cluster exceed {}", ctas, kMaxClusterCtas);
  const int64_t shared = int64_t{request.dynamic_smem} + function->info.static_smem_bytes;
  if (shared > request.smem_limit)
    return fmt::format("shared memory {} exceeds {}", shared, request.smem_limit);
  if (request.params.size() < static_cast<size_t>(function->info.param_bytes)) {
    return fmt::format("{} bytes of parameters are fewer than {}", request.params.size(),
                       function->info.param_bytes);
  }
  const size_t variables = request.program->variables().size();
  if (request.variables.size() < variables) {
    return fmt::format("{} addresses of module variables are fewer than {}",
                       request.variables.size(), variables);
  }
  return std::nullopt;
}

const Function* find_function(const LaunchRequest& request) {
  for (const Function& function : request.program->module().functions) {
    if (function.info.name == request.entry) return &function;
  }
  return nullptr;
}

class GridLaunch final : public PausedLaunch {
 public:
  GridLaunch(const LaunchRequest& request, GlobalMemory& memory) : request_(request) {
    launch_.request = &request_;
    launch_.memory = &memory;
    launch_.function = find_function(request_);
    if (const auto reason = refusal(request_, launch_.function)) {
      launch_.report(
          {FaultKind::invalid_launch, fmt::format("kernel {}: {}", request_.entry, *reason)});
      return;
    }
    const auto& cluster = request_.cluster;
    cluster_ctas_ = int64_t{cluster[0]} * cluster[1] * cluster[2];
    clusters_ = int64_t{request_.grid[0]} * request_.grid[1] * request_.grid[2] / cluster_ctas_;
    if (request_.seed != 0 && clusters_ <= kMaxShuffled) {
      order_.resize(clusters_);
      std::iota(order_.begin(), order_.end(), 0);
      shuffle(order_, request_.seed);
    }
  }

  void run_first_wave() {
    if (launch_.stop || !launch_.function->info.waits_for_grid) return;
    const int64_t ctas = std::min<int64_t>(kMaxResident, request_.resident_ctas);
    const int64_t wave = std::min(clusters_, std::max<int64_t>(1, ctas / cluster_ctas_));
    resident_.resize(wave);
    for_each_index(wave, [this](int64_t i) {
      resident_[i] = std::make_unique<Cluster>(launch_);
      resident_[i]->start(cluster_number(i));
      if (resident_[i]->run(false)) resident_[i].reset();
    });
    started_ = wave;
  }

  LaunchResult finish() {
    for_each_index(static_cast<int64_t>(resident_.size()), [this](int64_t i) {
      if (resident_[i]) resident_[i]->run(true);
      resident_[i].reset();
    });
    run_rest();
    return {launch_.fault, launch_.warp_instructions, launch_.bytes_read, launch_.bytes_written};
  }

 private:
  static constexpr int64_t kMaxShuffled = int64_t{1} << 24;
  // A paused CTA keeps its memory and shadow, about a megabyte; this many already run every path.
  static constexpr int64_t kMaxResident = 64;

  int64_t cluster_number(int64_t turn) const { return order_.empty() ? turn : order_[turn]; }

  int host_threads(int64_t work) const {
    const int wanted = request_.threads > 0 ? request_.threads
                                            : static_cast<int>(std::thread::hardware_concurrency());
    return static_cast<int>(std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, work)));
  }

  // Runs `body()` on each host thread, this one included; the first exception is raised here.
  template <class Body>
  void on_threads(int count, Body body) {
    std::exception_ptr error;
    std::mutex mutex;
    const auto guarded = [&] {
      try {
        body();
      } catch (...) {
        const std::lock_guard lock(mutex);
        error = std::current_exception();
        launch_.stop = true;
      }
    };
    std::vector<std::thread> threads;
    for (int t = 1; t < count; ++t) threads.emplace_back(guarded);
    guarded();
    for (std::thread& thread : threads) thread.join();
    if (error) std::rethrow_exception(error);
  }

  template <class Body>
  void for_each_index(int64_t count, Body body) {
    std::atomic<int64_t> next{0};
    on_threads(host_threads(count), [&] {
      for (int64_t i = next++; i < count && !launch_.stop; i = next++) body(i);
    });
  }

  void run_rest() {
    if (launch_.stop || started_ == clusters_) return;
    std::atomic<int64_t> next{started_};
    on_threads(host_threads(clusters_ - started_), [&] {
      Cluster cluster(launch_);
      for (int64_t i = next++; i < clusters_ && !launch_.stop; i = next++) {
        cluster.start(cluster_number(i));
        cluster.run(true);
      }
    });
    started_ = clusters_;
  }

  LaunchRequest request_;
  Launch launch_;
  int64_t cluster_ctas_ = 1;
  int64_t clusters_ = 0;
  int64_t started_ = 0;
  std::vector<int64_t> order_;  // empty: ascending
  std::vector<std::unique_ptr<Cluster>> resident_;
};

}  // namespace

LaunchResult run(const LaunchRequest& request, GlobalMemory& memory) {
  return GridLaunch(request, memory).finish();
}

std::unique_ptr<PausedLaunch> run_until_wait(const LaunchRequest& request, GlobalMemory& memory) {
  auto launch = std::make_unique<GridLaunch>(request, memory);
  launch->run_first_wave();
  return launch;
}

LaunchResult resume(PausedLaunch& launch) { return static_cast<GridLaunch&>(launch).finish(); }

}  // namespace nvfp4::emulator
