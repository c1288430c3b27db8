#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "viva/machine/machine.h"

namespace viva {

// Large blocks of memory, kept when they are given back.
class BlockStore {
 public:
  using Block = Machine::Block;
  ~BlockStore();

  // At least `bytes`, aligned to a page. `cap`: of all that is taken and kept; 0: what the computer has.
  Block take(uint64_t bytes, uint64_t cap);
  void give(Block block) noexcept;
  uint64_t release() noexcept;

 private:
  std::mutex mutex_;
  std::multimap<uint64_t, uint8_t*> kept_;  // by size
  uint64_t kept_bytes_ = 0, taken_bytes_ = 0, most_kept_ = 0;
};

// Bytes of memory that a process could still get: of the computer, or of its cgroup if that is less.
uint64_t available_memory();

}  // namespace viva
