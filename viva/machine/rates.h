#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "viva/machine/machine.h"

// Measured rates of this machine's memory and disks, in GB/s (10^9 bytes). All of it takes time and memory
// only when it is called, and nothing prints.
namespace viva {

// One measurement in GB/s: by the clock, and by the processor time of this process, which says what its
// threads would have reached if no other process had taken their processors. On a quiet computer the two
// agree.
struct Speed {
  double clock = 0, alone = 0;
};

// Times the work between construction and speed().
class Stopwatch {
 public:
  Stopwatch();
  double seconds() const;
  Speed speed(double bytes, size_t threads) const;

 private:
  double clock_, processor_;
};

// Several runs of one measurement.
struct Rate {
  double median = 0, lowest = 0, best = 0;  // by the clock
  double alone = 0;                         // median by processor time; 0 where that says nothing (disks)
  size_t runs = 0;
};
Rate rate_of(const std::vector<Speed>& runs);

// Two arrays far larger than the caches, and one pass over them a call, so that a benchmark can measure the
// memory between its own runs, under the same noise.
class MemoryMeter {
 public:
  // `bytes` for each of the two arrays; 0: eight times the last-level cache and at least 512 MiB, but never
  // more than a sixteenth of the free memory. Pages are touched here first. Throws kResource.
  explicit MemoryMeter(const Machine& machine, uint64_t bytes = 0);
  ~MemoryMeter();
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  uint64_t bytes() const noexcept;
  // GB/s of one pass with one thread, or with all threads of the machine. A copy counts bytes read plus bytes
  // written.
  Speed read(bool all_threads);
  Speed write(bool all_threads);
  Speed copy(bool all_threads);

 private:
  struct Arrays;
  Speed pass(bool all_threads, double counted, const std::function<void(size_t from, size_t n)>& f);

  const Machine& machine_;
  std::unique_ptr<Arrays> arrays_;
};

struct MemoryRates {
  uint64_t bytes = 0;  // of one array
  size_t threads = 0;  // of the figures named "all"
  Rate read_one, write_one, copy_one;
  Rate read_all, write_all, copy_all;
};
struct MemoryOptions {
  uint64_t bytes = 0;  // as in MemoryMeter
  size_t runs = 7;
  double seconds = 5.0;  // no further run is begun after this time; three are always made
};
MemoryRates measure_memory(const Machine& machine, const MemoryOptions& options = {});

// Share of the computer's processor time that others took between two looks: a measurement made beside them
// says so.
class Neighbours {
 public:
  Neighbours();
  double share() const;  // since construction; 0 where the system does not tell
 private:
  double busy_, own_, wall_;
};

struct DiskRates {
  std::filesystem::path folder;
  uint64_t bytes = 0;
  bool direct =
      false;  // false: the file system refuses O_DIRECT, and the page cache may have helped the reads
  bool in_memory = false;  // tmpfs or ramfs: there is no disk behind the folder
  Rate write;              // one thread, 4 MiB a write, until fsync has returned
  Rate read;               // one thread, 4 MiB a read
  Rate read_many;          // eight reads in flight
};
struct DiskOptions {
  uint64_t bytes = 512 << 20;
  size_t runs = 5;
  double seconds = 10.0;  // no further run is begun after this time; one is always made
};
// Writes and reads a file in `folder` that has no name once it is open, so nothing is left behind. Throws
// kResource.
DiskRates measure_disk(const std::filesystem::path& folder, const DiskOptions& options = {});

}  // namespace viva
