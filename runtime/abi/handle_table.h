// SPDX-License-Identifier: Apache-2.0
// Objects behind 64-bit handles. A handle is never reused, so that one that was destroyed, or never
// existed, is told apart from every live one without touching memory it may point to.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

namespace nvfp4::abi {

template <class T>
class HandleTable {
 public:
  uint64_t insert(std::shared_ptr<T> object) {
    const std::unique_lock lock(mutex_);
    objects_.emplace(++last_, std::move(object));
    return last_;
  }

  /// Null when there is none. The object lives at least as long as what is returned.
  std::shared_ptr<T> find(uint64_t handle) const {
    const std::shared_lock lock(mutex_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }

  /// The object, for its destructor to run outside the lock; null when there is none.
  std::shared_ptr<T> remove(uint64_t handle) {
    const std::unique_lock lock(mutex_);
    const auto found = objects_.find(handle);
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<T> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<T>> objects_;
  uint64_t last_ = 0;
};

}  // namespace nvfp4::abi
