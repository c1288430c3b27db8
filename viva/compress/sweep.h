#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "viva/base/progress.h"
#include "viva/io/checkpoint.h"
#include "viva/machine/machine.h"

// Looks at all values of many tensors, run by run, on all threads, in memory that does not grow with the
// model.
namespace viva {

// A run of consecutive values of one tensor.
struct Run {
  size_t tensor = 0;  // what the caller numbers
  uint64_t first = 0, count = 0;
};

// The runs of a weight, or of two weights of the same shape (`b` may be null) that are read side by side:
// each lies within one chunk of every packed placement.
std::vector<Run> runs_of(size_t tensor, const io::Weight& a, const io::Weight* b);
// Bytes of buffers that reading the weight's runs takes in one worker, values included.
uint64_t reading_bytes(const io::Weight& w);

// Workers that fit under the machine's cap of memory; throws kResource naming the smallest cap when not even
// one does.
size_t workers_under_cap(const Machine& machine, uint64_t each, std::string_view operation);

// Calls work(worker, i, run) for every run of tensors 0..n-1 on `workers` threads, i being the number of the
// run within its batch, and then merge(i, run) for each run of the batch, in order, on the calling thread.
// `runs` names a tensor's runs.
struct Sweep {
  size_t tensors = 0;
  uint64_t total = 0;  // Run::count of all runs, for progress
  uint64_t unit = 4;   // bytes that one of it stands for
  std::function<std::vector<Run>(size_t tensor)> runs;
  std::function<void(size_t worker, size_t i, const Run& run)> work;
  std::function<void(size_t i, const Run& run)> merge;
};
inline constexpr size_t kSweepBatch = 4096;
void sweep(const Machine& machine, size_t workers, std::string_view what, const Sweep& plan,
           const Watcher& watcher);

}  // namespace viva
