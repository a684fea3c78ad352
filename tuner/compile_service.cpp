// SPDX-License-Identifier: Apache-2.0
// One compiler and one cache, opened with the first job.
#include "tuner/compile_service.h"

#include <optional>

#include "runtime/compiler.h"
#include "runtime/cubin_cache.h"
#include "tuner/message.h"

namespace nvfp4 {

struct CompileService::State {
  std::optional<Compiler> compiler;
  std::optional<CubinCache> cache;
};

CompileService::CompileService() : state_(new State) {}

CompileService::~CompileService() = default;

Message CompileService::serve(const Message& request) {
  const CompileJob job = decode_compile_job(request);
  if (!state_->compiler) {
    state_->compiler.emplace(Compiler::open(job.driver_version));
    state_->cache.emplace(
        CacheOptions{.directory = job.cache_directory, .size_limit = job.cache_limit});
  }
  return encode(state_->cache->get_or_compile(*state_->compiler, job.source, job.arch));
}

}  // namespace nvfp4
