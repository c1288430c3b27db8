#include "viva/compress/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

namespace viva {
namespace {

constexpr uint64_t kRun = 128 * 1024;
// What the program holds besides the workers' buffers.
constexpr uint64_t kSlack = 8 << 20;

// Where the packed chunks of a weight begin.
void add_cuts(const io::Weight& w, std::vector<uint64_t>& cuts) {
  if (w.placement.format == nullptr) return;
  for (const io::Chunk& c : io::chunks_of(w.placement, kRun)) cuts.push_back(c.first_value);
}

}  // namespace

std::vector<Run> runs_of(size_t tensor, const io::Weight& a, const io::Weight* b) {
  const uint64_t count = a.count();
  std::vector<uint64_t> cuts;
  add_cuts(a, cuts);
  if (b != nullptr) add_cuts(*b, cuts);
  if (cuts.empty()) {
    for (uint64_t at = 0; at < count; at += kRun) cuts.push_back(at);
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::vector<Run> runs;
  for (size_t i = 0; i < cuts.size() && cuts[i] < count; ++i) {
    const uint64_t end = i + 1 < cuts.size() ? std::min(cuts[i + 1], count) : count;
    runs.push_back({tensor, cuts[i], end - cuts[i]});
  }
  return runs;
}

uint64_t reading_bytes(const io::Weight& w) {
  if (w.placement.format == nullptr)
    return std::min(kRun, w.count()) * (4 + std::max<uint64_t>(1, bytes(w.dtype))) + 1024;
  uint64_t most = 0;
  const auto chunks = io::chunks_of(w.placement, kRun);
  for (const io::Chunk* c :
       {chunks.empty() ? nullptr : &chunks.front(), chunks.empty() ? nullptr : &chunks.back()}) {
    if (c == nullptr) continue;
    // The values twice (decoded, handed out) and the packed rows twice (gathered, one piece).
    const uint64_t packed = c->rows * w.placement.format->row_bytes(c->cols, w.placement.coding);
    most = std::max(most, 8 * c->rows * c->cols + 2 * packed + 64 * 1024);
  }
  return most;
}

size_t workers_under_cap(const Machine& machine, uint64_t each, std::string_view operation) {
  if (machine.ram() == 0) return machine.threads();
  const uint64_t base = own_memory() + kSlack;
  if (base + each > machine.ram()) {
    throw Error(Code::kResource, operation,
                fmt::format("a cap of {} bytes of memory is too small", machine.ram()),
                fmt::format("the smallest that would do is --ram {}M", (base + each) / 1'000'000 + 1));
  }
  return std::min<uint64_t>(machine.threads(), (machine.ram() - base) / std::max<uint64_t>(1, each));
}

void sweep(const Machine& machine, size_t workers, std::string_view what, const Sweep& plan,
           const Watcher& watcher) {
  std::atomic<uint64_t> done = 0;
  std::mutex reporting;
  auto reported = std::chrono::steady_clock::now();
  std::vector<Run> batch;
  const auto flush = [&] {
    std::atomic<size_t> next = 0;
    std::atomic<bool> failed = false;
    machine.parallel_for(workers, [&](size_t w) {
      try {
        for (size_t i = next++; i < batch.size() && !failed; i = next++) {
          watcher.check();
          plan.work(w, i, batch[i]);
          const uint64_t now_done = done += batch[i].count;
          const std::unique_lock lock(reporting, std::try_to_lock);
          if (!lock.owns_lock() || !watcher.progress) continue;
          const auto now = std::chrono::steady_clock::now();
          if (now - reported < std::chrono::milliseconds(100) && now_done != plan.total) continue;
          reported = now;
          watcher.progress({what, plan.unit * now_done, plan.unit * plan.total});
        }
      } catch (...) {
        failed = true;
        throw;
      }
    });
    for (size_t i = 0; i < batch.size(); ++i) plan.merge(i, batch[i]);
    batch.clear();
  };
  for (size_t t = 0; t < plan.tensors; ++t) {
    for (const Run& run : plan.runs(t)) {
      batch.push_back(run);
      if (batch.size() == kSweepBatch) flush();
    }
  }
  flush();
}

}  // namespace viva
