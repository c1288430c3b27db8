#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "viva/compress/plan.h"
#include "viva/compress/staging.h"
#include "viva/kernels/values.h"

// Carries a plan out: reads, codes, checks and writes chunk by chunk on all threads, in memory that does not grow with the model.
namespace viva {

struct Outcome {
  bool done = false;
  bool reused = false;
  ItemHashes hashes;
  Shared shared;
  kernels::ErrorSums sums;
};

// Bytes of buffers that one worker needs for this plan.
uint64_t worker_bytes(const Plan& plan, Target target);

class Job {
 public:
  Job(const Machine& machine, const Plan& plan, size_t workers, const Watcher& watcher);
  ~Job();

  // Writes the whole result into staging.path(). `old` is an earlier complete result whose tensors may be taken over, or null.
  void run(Staging& staging, const io::Checkpoint* old);
  // Codes the whole source without writing: outcomes() then says what every byte would be.
  void replay();
  // The same arithmetic on a sample of the source, without writing: seconds per source byte and the share of the total it saw.
  double forecast_seconds();

  const std::vector<Outcome>& outcomes() const noexcept { return outcomes_; }
  uint64_t peak_ram() const noexcept { return peak_; }

 private:
  struct Worker;
  struct Task {
    size_t item, chunk;
  };
  enum class Step { kObserve, kHash, kEncode, kCopyOld };

  void resume(Staging& staging);
  void observe(const std::vector<bool>& wanted);
  void take_over(Staging& staging, const io::Checkpoint& old, bool complete);
  void encode(Staging* staging, const std::vector<size_t>& items, const io::Checkpoint* old);
  void finish(Staging& staging, size_t item);
  void write_rest(Staging& staging);
  void each_task(std::string_view what, const std::vector<Task>& tasks, const std::function<void(Worker&, const Task&)>& f);
  uint64_t source_bytes(const Task& task) const;
  std::vector<Task> tasks_of(const std::vector<size_t>& items) const;
  size_t chunk_count(size_t item) const;

  const Machine& machine_;
  const Plan& plan_;
  const Watcher& watcher_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<io::OutputFile> files_;
  std::vector<Outcome> outcomes_;
  uint64_t peak_ = 0;
};

}  // namespace viva
