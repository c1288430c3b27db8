#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <numeric>

#include "viva/compress/job_worker.h"

// How long a run would take: what it does to a sample of its chunks, and what its disk does with a file of no name.
namespace viva {

namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The sample is at least this long, or this share of the work; neighbours are read in runs of so many bytes, since a run
// from the disk lives by the kernel's reading ahead.
constexpr double kSampleSeconds = 0.3, kSampleShare = 0.02;
constexpr uint64_t kSampleRun = 64 << 20;

struct Disk {
  double copy = 0;   // seconds a byte until write() has returned
  double drain = 0;  // seconds a byte until the disk has it
  double sync = 0;   // seconds of one sync of a small file
};

// Measures in a file that has no name, so nothing is left behind; zeros where the folder has no place for one.
Disk measure(const std::filesystem::path& folder, uint64_t bytes) {
  Disk d;
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return d;
  std::vector<uint8_t> block(kCopy);
  uint64_t state = 1;
  for (uint8_t& b : block) b = static_cast<uint8_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 56);
  const auto start = Clock::now();
  bool good = ::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0;
  uint64_t written = 0;
  for (; good && written < bytes; written += block.size()) {
    good = ::pwrite(fd, block.data(), block.size(), static_cast<off_t>(written)) == static_cast<ssize_t>(block.size());
    ::sync_file_range(fd, static_cast<off_t>(written), static_cast<off_t>(block.size()), SYNC_FILE_RANGE_WRITE);
  }
  const double copied = since(start);
  good = ::fsync(fd) == 0 && good;
  const double drained = since(start);
  const auto small = Clock::now();
  constexpr int kSyncs = 3;
  for (int i = 0; good && i < kSyncs; ++i) {
    good = ::pwrite(fd, block.data(), 4096, static_cast<off_t>(bytes) + 4096 * i) == 4096 && ::fsync(fd) == 0;
  }
  if (good) d = {copied / static_cast<double>(written), drained / static_cast<double>(written), since(small) / kSyncs};
  ::close(fd);
  return d;
}

}  // namespace

double Job::forecast_seconds(const std::filesystem::path& folder) {
  std::vector<size_t> all(plan_.items.size()), shared;
  std::iota(all.begin(), all.end(), size_t{0});
  for (size_t i : all) {
    const Format* f = plan_.items[i].placement.format;
    if (f != nullptr && f->share != nullptr) shared.push_back(i);
  }
  double thread_seconds = 0;
  for (const bool first_pass : {true, false}) {
    const Tasks tasks = tasks_of(first_pass ? shared : all);
    if (tasks.size() == 0) continue;
    // Chunks of one format and type cost the same a byte.
    struct Kind {
      uint64_t bytes = 0, sampled = 0;
      double seconds = 0;
    };
    using Key = std::pair<const Format*, DType>;
    const auto key = [&](size_t item) {
      return Key{plan_.items[item].placement.format, plan_.model.weights()[plan_.items[item].weight].dtype};
    };
    std::map<Key, Kind> kinds;
    for (size_t i : tasks.items) {
      Kind& k = kinds[key(i)];
      for (size_t c = 0; c < chunk_count(i); ++c) k.bytes += source_bytes({i, c});
    }
    // A walk over all runs in steps of about the golden section: every beginning of it is spread evenly.
    const size_t run = std::max<size_t>(1, kSampleRun * tasks.size() / std::max<uint64_t>(1, tasks.bytes));
    const size_t runs = ceil_div(tasks.size(), run);
    size_t step = std::max<size_t>(1, static_cast<size_t>(0.6180339887 * static_cast<double>(runs)));
    while (std::gcd(step, runs) != 1) ++step;
    std::atomic<size_t> next = 0;
    std::atomic<uint64_t> seen = 0;
    std::mutex adding;
    const auto start = Clock::now();
    machine_.parallel_for(workers_.size(), [&](size_t w) {
      for (size_t n = next++; n < runs * run; n = next++) {
        watcher_.check();
        const size_t at = static_cast<size_t>(static_cast<unsigned __int128>(n / run) * step % runs) * run + n % run;
        if (at >= tasks.size()) continue;
        if (since(start) >= kSampleSeconds && static_cast<double>(seen) >= kSampleShare * static_cast<double>(tasks.bytes)) break;
        const Task t = tasks[at];
        Part part;
        const auto began = Clock::now();
        if (first_pass) {
          observe_chunk(*workers_[w], t, part);
        } else {
          code_chunk(*workers_[w], t, part, nullptr, false);
        }
        const double took = since(began);
        seen += source_bytes(t);
        const std::lock_guard lock(adding);
        Kind& k = kinds[key(t.item)];
        k.sampled += source_bytes(t);
        k.seconds += took;
      }
    });
    double known = 0, known_bytes = 0;
    for (const auto& [key, k] : kinds) {
      if (k.sampled == 0) continue;
      known += k.seconds * static_cast<double>(k.bytes) / static_cast<double>(k.sampled);
      known_bytes += static_cast<double>(k.bytes);
    }
    // Kinds too rare for the sample cost what the others do.
    thread_seconds += known_bytes == 0 ? 0 : known * static_cast<double>(tasks.bytes) / known_bytes;
  }
  const uint64_t out = plan_.total_bytes();
  const Disk disk = measure(folder, std::clamp<uint64_t>(out / 16 / kCopy * kCopy, kCopy, 48 << 20));
  const double bytes = static_cast<double>(out);
  const double coding = (thread_seconds + disk.copy * bytes) / static_cast<double>(workers_.size());
  const double syncs = static_cast<double>(plan_.texts.size() + plan_.side_files.size() + plan_.files.size() + 3);
  return std::max(coding, disk.drain * bytes) + syncs * disk.sync;
}

}  // namespace viva
