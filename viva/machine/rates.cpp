#include "viva/machine/rates.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>

#include "viva/base/error.h"
#include "viva/machine/profile.h"
#include "viva/machine/stream.h"

namespace viva {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double processor_seconds() {
  timespec t;
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

constexpr size_t kStrip = 4 << 20;  // what one task of a pass works on, and one disk request

// Zeroed pages, aligned to a huge page, huge where the kernel grants it.
struct Pages {
  static constexpr size_t kHuge = 2 << 20;

  explicit Pages(size_t n) : mapped(n + kHuge) {
    void* p = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
      throw Error(Code::kResource, "measure",
                  fmt::format("no memory for {} bytes: {}", mapped, std::strerror(errno)));
    }
    raw = static_cast<uint8_t*>(p);
    data = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(raw) + kHuge - 1) & ~uintptr_t{kHuge - 1});
    ::madvise(data, n, MADV_HUGEPAGE);
  }
  ~Pages() { ::munmap(raw, mapped); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  size_t mapped;
  uint8_t* raw;
  uint8_t* data;
};

// Numbers that no disk compresses.
void fill_with_noise(uint8_t* p, size_t n, uint64_t state) {
  for (size_t i = 0; i + 8 <= n; i += 8) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    std::memcpy(p + i, &z, 8);
  }
}

}  // namespace

Stopwatch::Stopwatch() : clock_(now()), processor_(processor_seconds()) {}
double Stopwatch::seconds() const { return now() - clock_; }
Speed Stopwatch::speed(double bytes, size_t threads) const {
  const double clock = now() - clock_, processor = processor_seconds() - processor_;
  const auto gbs = [&](double seconds) { return seconds > 0 ? bytes / seconds * 1e-9 : 0.0; };
  return {.clock = gbs(clock), .alone = gbs(processor / static_cast<double>(std::max<size_t>(threads, 1)))};
}

Rate rate_of(const std::vector<Speed>& runs) {
  const size_t n = runs.size();
  if (n == 0) return {};
  std::vector<double> clock, alone;
  for (const Speed& s : runs) clock.push_back(s.clock), alone.push_back(s.alone);
  std::sort(clock.begin(), clock.end());
  std::sort(alone.begin(), alone.end());
  const auto median = [&](const std::vector<double>& v) { return (v[(n - 1) / 2] + v[n / 2]) / 2; };
  return {.median = median(clock),
          .lowest = clock.front(),
          .best = clock.back(),
          .alone = median(alone),
          .runs = n};
}

struct MemoryMeter::Arrays {
  explicit Arrays(size_t n) : bytes(n), from(n), to(n) {}
  size_t bytes;
  Pages from, to;
  std::atomic<uint64_t> seen{0};  // what reads saw goes here, so that they cannot be left out
};

MemoryMeter::MemoryMeter(const Machine& machine, uint64_t bytes) : machine_(machine) {
  if (bytes == 0) {
    bytes = std::max<uint64_t>(8 * last_level_cache(profile()), 512 << 20);
    bytes = std::min(bytes, ram_available() / 16);
  }
  bytes = std::max<uint64_t>(bytes / kStrip, 1) * kStrip;
  arrays_ = std::make_unique<Arrays>(bytes);
  pass(true, 0, [&](size_t at, size_t n) {
    std::memset(arrays_->from.data + at, 1, n);
    std::memset(arrays_->to.data + at, 2, n);
  });
}
MemoryMeter::~MemoryMeter() = default;

uint64_t MemoryMeter::bytes() const noexcept { return arrays_->bytes; }

Speed MemoryMeter::pass(bool all_threads, double counted, const std::function<void(size_t, size_t)>& f) {
  const Stopwatch watch;
  if (all_threads) {
    machine_.parallel_for(arrays_->bytes / kStrip, [&](size_t i) { f(i * kStrip, kStrip); });
  } else {
    f(0, arrays_->bytes);
  }
  return watch.speed(counted, all_threads ? machine_.threads() : 1);
}

Speed MemoryMeter::read(bool all_threads) {
  const auto code = stream_code(machine_.target()).read;
  return pass(all_threads, static_cast<double>(bytes()), [&](size_t at, size_t n) {
    arrays_->seen.fetch_xor(code(arrays_->from.data + at, n), std::memory_order_relaxed);
  });
}

Speed MemoryMeter::write(bool all_threads) {
  const auto code = stream_code(machine_.target()).write;
  const auto value = static_cast<uint8_t>(arrays_->to.data[0] + 1);
  return pass(all_threads, static_cast<double>(bytes()),
              [&](size_t at, size_t n) { code(arrays_->to.data + at, n, value); });
}

Speed MemoryMeter::copy(bool all_threads) {
  const auto code = stream_code(machine_.target()).copy;
  return pass(all_threads, 2.0 * static_cast<double>(bytes()),
              [&](size_t at, size_t n) {
                code(arrays_->to.data + at, arrays_->from.data + at, n);
                end_streams();
              });
}

MemoryRates measure_memory(const Machine& machine, const MemoryOptions& options) {
  MemoryMeter meter(machine, options.bytes);
  std::vector<Speed> rates[6];
  const double end = now() + options.seconds;
  for (size_t run = 0; run < 3 || (run < options.runs && now() < end); ++run) {
    // In turn, so that a disturbance does not fall on one figure alone.
    for (int all = 0; all < 2; ++all) {
      rates[3 * all].push_back(meter.read(all));
      rates[3 * all + 1].push_back(meter.write(all));
      rates[3 * all + 2].push_back(meter.copy(all));
    }
  }
  return {.bytes = meter.bytes(),
          .threads = machine.threads(),
          .read_one = rate_of(rates[0]),
          .write_one = rate_of(rates[1]),
          .copy_one = rate_of(rates[2]),
          .read_all = rate_of(rates[3]),
          .write_all = rate_of(rates[4]),
          .copy_all = rate_of(rates[5])};
}

namespace {

// Seconds in which the processors were busy, over all of them.
double busy_seconds() {
  std::ifstream stat("/proc/stat");
  std::string name;
  double t[8] = {};
  stat >> name;
  for (double& x : t) stat >> x;
  // user nice system idle iowait irq softirq steal
  return stat ? (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / static_cast<double>(::sysconf(_SC_CLK_TCK)) : 0.0;
}

}  // namespace

Neighbours::Neighbours() : busy_(busy_seconds()), own_(processor_seconds()), wall_(now()) {}
double Neighbours::share() const {
  const double wall = (now() - wall_) * static_cast<double>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  const double others = (busy_seconds() - busy_) - (processor_seconds() - own_);
  return wall > 0 ? std::clamp(others / wall, 0.0, 1.0) : 0.0;
}

namespace {

[[noreturn]] void fail(const char* verb, const std::filesystem::path& folder, int error) {
  throw Error(Code::kResource, "measure disk",
              fmt::format("{} in {}: {}", verb, folder.string(), std::strerror(error)),
              error == ENOSPC ? "choose a folder with more free space" : "");
}

// A file that is gone when it is closed.
struct Nameless {
  explicit Nameless(const std::filesystem::path& folder) : folder(folder) {
    std::string name = (folder / ".viva-bench-XXXXXX").string();
    fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) fail("create a file", folder, errno);
    ::unlink(name.c_str());
  }
  ~Nameless() { ::close(fd); }

  bool make_direct() const {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
  }
  void write(uint64_t at, const uint8_t* p, size_t n) const {
    for (size_t done = 0; done < n;) {
      const ssize_t k = ::pwrite(fd, p + done, n - done, static_cast<off_t>(at + done));
      if (k < 0 && errno == EINTR) continue;
      if (k <= 0) fail("write", folder, k == 0 ? EIO : errno);
      done += static_cast<size_t>(k);
    }
  }
  // 0, or the error.
  int read(uint64_t at, uint8_t* p, size_t n) const noexcept {
    for (size_t done = 0; done < n;) {
      const ssize_t k = ::pread(fd, p + done, n - done, static_cast<off_t>(at + done));
      if (k < 0 && errno == EINTR) continue;
      if (k <= 0) return k == 0 ? EIO : errno;
      done += static_cast<size_t>(k);
    }
    return 0;
  }
  void forget() const noexcept { ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); }

  std::filesystem::path folder;
  int fd;
};

}  // namespace

DiskRates measure_disk(const std::filesystem::path& folder, const DiskOptions& options) {
  DiskRates result{.folder = folder, .bytes = std::max<uint64_t>(options.bytes / kStrip, 1) * kStrip};
  struct statvfs space;
  if (::statvfs(folder.c_str(), &space) != 0) fail("look", folder, errno);
  if (static_cast<uint64_t>(space.f_bavail) * space.f_frsize < 2 * result.bytes)
    fail("write", folder, ENOSPC);

  struct statfs kind;
  if (::statfs(folder.c_str(), &kind) == 0)
    result.in_memory = kind.f_type == TMPFS_MAGIC || kind.f_type == RAMFS_MAGIC;

  constexpr size_t kInFlight = 8;
  const Pages buffers(kInFlight * kStrip);
  fill_with_noise(buffers.data, kInFlight * kStrip, 1);
  const size_t strips = result.bytes / kStrip;
  const auto gbs = [&](double start) {
    return Speed{.clock = static_cast<double>(result.bytes) / (now() - start) * 1e-9};
  };

  std::vector<Speed> write, read, read_many;
  const double end = now() + options.seconds;
  for (size_t run = 0; run == 0 || (run < options.runs && now() < end); ++run) {
    const Nameless file(folder);  // a new one each time: overwriting a file is cheaper than making one
    result.direct = file.make_direct();

    double start = now();
    for (size_t i = 0; i < strips; ++i) file.write(i * kStrip, buffers.data + i % kInFlight * kStrip, kStrip);
    if (::fsync(file.fd) != 0) fail("sync", folder, errno);
    write.push_back(gbs(start));

    if (!result.direct) file.forget();
    start = now();
    for (size_t i = 0; i < strips; ++i) {
      if (const int error = file.read(i * kStrip, buffers.data, kStrip); error != 0)
        fail("read", folder, error);
    }
    read.push_back(gbs(start));

    if (!result.direct) file.forget();
    std::atomic<size_t> next{0};
    std::atomic<int> error{0};
    start = now();
    {
      std::vector<std::jthread> threads;
      for (size_t t = 0; t < kInFlight; ++t) {
        threads.emplace_back([&, t] {
          for (size_t i = next++; i < strips && error == 0; i = next++) {
            if (const int e = file.read(i * kStrip, buffers.data + t * kStrip, kStrip); e != 0) error = e;
          }
        });
      }
    }
    if (error != 0) fail("read", folder, error);
    read_many.push_back(gbs(start));
  }
  result.write = rate_of(write);
  result.read = rate_of(read);
  result.read_many = rate_of(read_many);
  return result;
}

}  // namespace viva
