#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <vector>

#include "viva/formats/format.h"
#include "viva/kernels/values.h"
#include "viva/machine/machine.h"

// A table of rows and what the benchmarks do with it, strip by strip on the machine's threads.
namespace viva::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Memory aligned to a huge page, huge where the kernel grants it, so that page faults and TLB misses stay out
// of the figures.
template <class T>
class Array {
 public:
  Array() = default;
  explicit Array(size_t n) : size_(n) {
    constexpr size_t kHuge = 2 << 20;
    const size_t bytes = (std::max<size_t>(n * sizeof(T), 1) + kHuge - 1) / kHuge * kHuge;
    data_.reset(static_cast<T*>(std::aligned_alloc(kHuge, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    ::madvise(data_.get(), bytes, MADV_HUGEPAGE);
  }
  T* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

// Scratch memory for the tasks of one pass: as many pieces as tasks run at once.
class Scratch {
 public:
  explicit Scratch(size_t floats) : floats_(std::max<size_t>(floats, 1)) {}

  template <class F>
  void with(F f) {
    Array<float> piece;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        piece = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (piece.data() == nullptr) piece = Array<float>(floats_);
    f(piece.data());
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(piece));
  }

 private:
  size_t floats_;
  std::mutex mutex_;
  std::vector<Array<float>> free_;
};

// f32 rows in memory, cut into strips of whole panels (128 rows).
struct Table {
  static constexpr size_t kPanel = 128;

  Table(const Machine& machine, float* x, size_t rows, size_t cols)
      : machine(machine), x(x), rows(rows), cols(cols) {
    constexpr size_t kStripBytes = 2 << 20;
    strip_rows = std::max<size_t>(1, kStripBytes / (cols * sizeof(float) * kPanel)) * kPanel;
  }

  size_t strips() const { return (rows + strip_rows - 1) / strip_rows; }
  // f(strip, first row, rows) on all threads.
  template <class F>
  void each_strip(F f) const {
    machine.parallel_for(
        strips(), [&](size_t s) { f(s, s * strip_rows, std::min(strip_rows, rows - s * strip_rows)); });
  }
  float* row(size_t r) const { return x + r * cols; }

  const Machine& machine;
  float* x;
  size_t rows, cols, strip_rows;
};

// One format with its choices, applied to tables of one width.
class Coder {
 public:
  Coder(const Machine& machine, const Format& format, const Coding& coding, size_t cols)
      : format(format),
        coding(coding),
        cols(cols),
        code_(format.on(machine.target())),
        row_bytes(format.row_bytes(cols, coding)),
        scratch_(code_.scratch(cols, coding)) {}

  // What the whole table shares; strips are merged in their order.
  void observe(const Table& t, Observed& seen) const {
    std::vector<Observed> parts(t.strips());
    t.each_strip(
        [&](size_t s, size_t first, size_t n) { code_.observe(t.row(first), n, t.cols, coding, parts[s]); });
    for (const Observed& o : parts) seen.merge(o);
  }
  void share(const Observed& seen) { coding.shared = format.share(seen, coding); }

  void encode(const Table& t, uint8_t* packed) {
    t.each_strip([&](size_t, size_t first, size_t n) {
      scratch_.with([&](float* work) {
        code_.encode(t.row(first), n, t.cols, coding, packed + first * row_bytes, work);
      });
    });
  }
  void decode(const Table& t, const uint8_t* packed, float* y) {
    t.each_strip([&](size_t, size_t first, size_t n) {
      scratch_.with([&](float* work) {
        code_.decode(packed + first * row_bytes, n, t.cols, coding, y + first * t.cols, work);
      });
    });
  }

  const Format& format;
  Coding coding;
  const size_t cols;

 private:
  const FormatCode& code_;

 public:
  const size_t row_bytes;

 private:
  Scratch scratch_;
};

// Error of y against the table, merged in the order of strips.
inline kernels::ErrorSums errors_of(const Table& t, const float* y) {
  std::vector<kernels::ErrorSums> parts(t.strips());
  t.each_strip([&](size_t s, size_t first, size_t n) {
    parts[s] = kernels::error_sums(t.row(first), y + first * t.cols, n * t.cols, t.machine.target());
  });
  kernels::ErrorSums sums;
  for (const auto& p : parts) sums.merge(p);
  return sums;
}

}  // namespace viva::bench
