#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "viva/base/target.h"

namespace viva {

// What a caller may use of this computer: a handle that is passed, never global; copies share threads and memory, two
// machines of their own can live in one process.
class Machine {
 public:
  struct Options {
    size_t threads = 0;            // 0: usable_cores()
    std::optional<Target> target;  // empty: the best this processor runs
    uint64_t ram = 0;              // cap of the process's own memory in bytes; 0: none
  };
  // Throws kUsage where the processor does not run the target.
  explicit Machine(const Options& options);
  Machine() : Machine(Options{}) {}

  size_t threads() const noexcept { return threads_; }
  Target target() const noexcept { return target_; }
  uint64_t ram() const noexcept { return ram_; }

  // Calls f(i) for every i in [0, n), on this machine's threads, each item whole on one of them; rethrows the first
  // exception after all running items ended. Which thread takes which item is not fixed.
  void parallel_for(size_t n, const std::function<void(size_t)>& f) const;

  // Large blocks for tensors. One that was given back is kept for the next of about its size: new memory costs more than
  // what is computed in it. Throws kResource, before anything is taken, where the cap or the computer has not that much.
  struct Block {
    uint8_t* data = nullptr;
    uint64_t bytes = 0;
  };
  Block take_block(uint64_t bytes) const;
  void give_block(Block block) const noexcept;
  // Memory for a small tensor, kept like the blocks; null where there is none.
  void* take_piece(uint64_t bytes) const noexcept;
  void give_piece(void* piece, uint64_t bytes) const noexcept;  // as many bytes as were taken
  // Hands the kept blocks back to the system; how many bytes they were.
  uint64_t release_kept_blocks() const noexcept;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  size_t threads_;
  Target target_;
  uint64_t ram_;
};

// Cores that this process may use: affinity and cgroup quota respected; at least 1.
size_t usable_cores();

// Best target that this processor runs, and whether it runs one.
Target best_target() noexcept;
bool runs(Target target) noexcept;
std::string_view name(Target target) noexcept;
std::optional<Target> target_from_name(std::string_view text) noexcept;

// Peak of this process's own memory in bytes (anonymous and shared pages; pages of files that the kernel can drop are not
// counted), as far as the kernel tells: VmHWM less the file-backed share of now.
uint64_t peak_own_memory();
// The same at this moment.
uint64_t own_memory();

}  // namespace viva
