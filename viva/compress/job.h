#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "viva/compress/checksum.h"
#include "viva/compress/plan.h"
#include "viva/compress/staging.h"
#include "viva/kernels/values.h"

// Carries a plan out: reads, codes, checks and writes chunk by chunk on all threads, in memory that does not
// grow with the model.
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
// Bytes that a run of this plan needs besides them: what is known of the largest tensors' chunks, and the last headers.
uint64_t run_bytes(const Plan& plan, size_t workers);

class Job {
 public:
  Job(const Machine& machine, const Plan& plan, size_t workers, const Watcher& watcher);
  ~Job();

  // Writes the whole result into staging.path(). `old` is an earlier complete result whose tensors may be taken
  // over, or null.
  void run(Staging& staging, const io::Checkpoint* old);
  // Codes the whole source without writing: outcomes() then says what every byte would be.
  void replay();
  // Seconds that run() would take in `folder`: the same arithmetic on a sample of the chunks, and a file without a name
  // that is written there.
  double forecast_seconds(const std::filesystem::path& folder);

  const std::vector<Outcome>& outcomes() const noexcept { return outcomes_; }
  // The most that the process's own memory was at any look, some hundred times a second.
  uint64_t peak_ram() const noexcept { return peak_; }

 private:
  struct Worker;
  struct Old;
  struct Task {
    size_t item, chunk;
  };
  // What a pass learns of one chunk; merged in the order of the chunks, so that threads leave no trace.
  struct Part {
    Hash source, checksum;
    kernels::ErrorSums sums;
    Observed seen;
    bool broken = false;
  };
  // The chunks of some items, in order; nothing is stored per chunk.
  struct Tasks {
    std::vector<size_t> items, ends;
    uint64_t bytes = 0;
    size_t size() const { return ends.empty() ? 0 : ends.back(); }
    Task operator[](size_t i) const;
  };
  using Work = std::function<void(Worker&, const Task&, Part&)>;
  using Done = std::function<void(size_t item, const std::vector<Part>&)>;

  void resume(Staging& staging);
  void observe();
  void observe_chunk(Worker&, const Task&, Part&);
  void code_chunk(Worker&, const Task&, Part&, const Old* old, bool write);
  void take_over(Staging& staging, const io::Checkpoint& old, bool complete);
  void encode(Staging* staging, const std::vector<size_t>& items, const Old* old);
  ItemHashes hashes_of(size_t item, const std::vector<Part>& parts, const std::function<std::string(size_t tensor)>& constant) const;
  io::ReadBytes result(size_t item) const;
  void write_rest(Staging& staging);
  void check_source() const;
  void each_chunk(std::string_view what, const std::vector<size_t>& items, const Work& work, const Done& done);
  Tasks tasks_of(const std::vector<size_t>& items) const;
  uint64_t source_bytes(const Task& task) const;
  size_t chunk_count(size_t item) const;
  std::string identity(size_t item) const;
  std::string key(size_t item) const;
  void look_at_memory();

  const Machine& machine_;
  const Plan& plan_;
  const Watcher& watcher_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<io::OutputFile> files_;
  std::vector<std::string> identities_;  // of the source's files before anything was read
  std::vector<Outcome> outcomes_;
  uint64_t peak_ = 0;
};

}  // namespace viva
