#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "viva/base/error.h"

namespace viva {

// Where a long operation stands. `what` names the step and stays valid during the call only.
struct Progress {
  std::string_view what;
  uint64_t done = 0;   // bytes
  uint64_t total = 0;  // bytes
};

// How a caller follows a long operation, and stops it: `cancel` may be set from a signal handler.
struct Watcher {
  std::function<void(const Progress&)> progress;  // called from one thread at a time, some ten times a second at most
  const std::atomic<bool>* cancel = nullptr;

  void check() const {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      throw Error(Code::kCancelled, "", "interrupted", "the same command continues where it stopped");
    }
  }
};

}  // namespace viva
