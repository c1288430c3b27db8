#pragma once

#include <atomic>
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

// Pieces of the heap, of 1 KiB up to where blocks begin, kept when they are given back: below malloc is as quick by itself, above
// it hands the memory back to the system and gets it anew, page by page.
class PieceStore {
 public:
  ~PieceStore() { release(); }
  void* take(uint64_t bytes) noexcept;
  void give(void* piece, uint64_t bytes) noexcept;
  uint64_t release() noexcept;

 private:
  static constexpr uint64_t kLeast = 1024, kClasses = 8;  // powers of two from here on
  static constexpr size_t kKept = 8;                      // of each
  struct Class {
    void* piece[kKept];
    size_t count = 0;
  };

  // A lock that is only tried: whoever does not get it asks malloc.
  std::atomic<bool> busy_ = false;
  Class classes_[kClasses];
};

// Bytes of memory that a process could still get: of the computer, or of its cgroup if that is less.
uint64_t available_memory();

}  // namespace viva
