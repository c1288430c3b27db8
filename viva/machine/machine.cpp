#include "viva/machine/machine.h"

#include <fmt/format.h>
#include <sched.h>
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "viva/base/error.h"
#include "viva/machine/blocks.h"

// There where the program is linked with TSan.
extern "C" {
__attribute__((weak)) void __tsan_acquire(void*);
__attribute__((weak)) void __tsan_release(void*);
}

namespace viva {

struct Machine::Shared {
  explicit Shared(int threads) : arena(threads) {
    // More threads than cores, as somebody asked for, are more than the library would start by itself.
    if (threads > tbb::info::default_concurrency()) allowed.emplace(tbb::global_control::max_allowed_parallelism, threads);
  }
  std::optional<tbb::global_control> allowed;
  tbb::task_arena arena;
  BlockStore blocks;
  PieceStore pieces;
};

Machine::Machine(const Options& options)
    : threads_(options.threads != 0 ? options.threads : usable_cores()),
      target_(options.target.value_or(best_target())),
      ram_(options.ram) {
  if (threads_ > 4096) throw Error(Code::kUsage, "machine", fmt::format("{} threads are too many", threads_), "at most 4096");
  if (!runs(target_)) {
    throw Error(Code::kUsage, "machine", fmt::format("this processor does not run {}", name(target_)),
                fmt::format("its best target is {}", name(best_target())));
  }
  shared_ = std::make_shared<Shared>(static_cast<int>(threads_));
}

Machine::Block Machine::take_block(uint64_t bytes) const {
  return shared_->blocks.take(bytes, ram_);
}
void Machine::give_block(Block block) const noexcept { shared_->blocks.give(block); }
void* Machine::take_piece(uint64_t bytes) const noexcept { return shared_->pieces.take(bytes); }
void Machine::give_piece(void* piece, uint64_t bytes) const noexcept { shared_->pieces.give(piece, bytes); }
uint64_t Machine::release_kept_blocks() const noexcept { return shared_->blocks.release() + shared_->pieces.release(); }

namespace {

// The caller's work is seen by the threads that it starts, and theirs by the caller. The library of the tasks keeps that
// promise, but TSan cannot look into it; this file is compiled without TSan and says so in its stead.
void seen_from_here(void* token) {
  if (__tsan_release != nullptr) __tsan_release(token);
}
void sees(void* token) {
  if (__tsan_acquire != nullptr) __tsan_acquire(token);
}
struct AtEnd {
  void (*f)(void*);
  void* token;
  ~AtEnd() { f(token); }
};

}  // namespace

void Machine::parallel_for(size_t n, const std::function<void(size_t)>& f) const {
  char begin = 0, end = 0;
  seen_from_here(&begin);
  const AtEnd collect{sees, &end};
  shared_->arena.execute([&] {
    tbb::parallel_for(tbb::blocked_range<size_t>(0, n, 1),
                      [&](const tbb::blocked_range<size_t>& r) {
                        sees(&begin);
                        const AtEnd done{seen_from_here, &end};
                        for (size_t i = r.begin(); i < r.end(); ++i) f(i);
                      },
                      tbb::simple_partitioner());
  });
}

namespace {

// Cores that the cgroup's quota allows, or infinity.
double cgroup_cores() {
  std::ifstream self("/proc/self/cgroup");
  std::string line, best = "";
  while (std::getline(self, line)) {
    if (line.starts_with("0::")) best = line.substr(3);
  }
  double cores = HUGE_VAL;
  for (std::string group = best;; group = group.substr(0, group.rfind('/'))) {
    std::ifstream file("/sys/fs/cgroup" + group + "/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) cores = std::min(cores, std::stod(quota) / period);
    if (group.empty() || group == "/") break;
  }
  std::ifstream quota_v1("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_v1("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (quota_v1 >> quota && period_v1 >> period && quota > 0 && period > 0) cores = std::min(cores, quota / period);
  return cores;
}

uint64_t status_kib(std::string_view key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

size_t usable_cores() {
  cpu_set_t set;
  size_t n = std::max(1u, std::thread::hardware_concurrency());
  if (::sched_getaffinity(0, sizeof set, &set) == 0) n = std::max(1, CPU_COUNT(&set));
  return std::max<size_t>(1, static_cast<size_t>(std::min<double>(static_cast<double>(n), std::ceil(cgroup_cores()))));
}

bool runs(Target target) noexcept {
#if defined(__x86_64__)
  switch (target) {
    case Target::kAvx3:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && runs(Target::kAvx2);
    case Target::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
             __builtin_cpu_supports("bmi");
    case Target::kSse4:
      return __builtin_cpu_supports("sse4.2");
    case Target::kScalar:
      return true;
  }
#endif
  return target == Target::kScalar;
}

Target best_target() noexcept {
  for (Target t : {Target::kAvx3, Target::kAvx2, Target::kSse4}) {
    if (runs(t)) return t;
  }
  return Target::kScalar;
}

namespace {
constexpr std::string_view kTargetNames[kTargets] = {"avx3", "avx2", "sse4", "scalar"};
}
std::string_view name(Target target) noexcept { return kTargetNames[static_cast<size_t>(target)]; }
std::optional<Target> target_from_name(std::string_view text) noexcept {
  for (size_t i = 0; i < kTargets; ++i) {
    if (kTargetNames[i] == text) return static_cast<Target>(i);
  }
  return std::nullopt;
}

uint64_t own_memory() { return status_kib("RssAnon:") + status_kib("RssShmem:"); }
uint64_t peak_own_memory() {
  const uint64_t peak = status_kib("VmHWM:"), file = status_kib("RssFile:");
  return std::max(own_memory(), peak > file ? peak - file : 0);
}

}  // namespace viva
