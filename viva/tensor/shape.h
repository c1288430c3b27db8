#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <span>
#include <string>

#include "viva/base/error.h"

namespace viva {

inline constexpr size_t kMaxRank = 32;

// Up to kMaxRank numbers, one per axis, without the heap: sizes, strides, axes.
class Dims {
 public:
  Dims() noexcept {}
  Dims(std::initializer_list<int64_t> v) : Dims(std::span(v.begin(), v.size())) {}
  explicit Dims(std::span<const int64_t> v) : rank_(check(v.size())) { std::copy(v.begin(), v.end(), v_); }
  Dims(size_t rank, int64_t value) : rank_(check(rank)) { std::fill_n(v_, rank, value); }
  Dims(const Dims& o) noexcept : rank_(o.rank_) { std::copy_n(o.v_, o.rank_, v_); }
  Dims& operator=(const Dims& o) noexcept {
    rank_ = o.rank_;
    std::copy_n(o.v_, o.rank_, v_);
    return *this;
  }

  size_t size() const noexcept { return rank_; }
  bool empty() const noexcept { return rank_ == 0; }
  int64_t& operator[](size_t i) noexcept { return begin()[i]; }
  int64_t operator[](size_t i) const noexcept { return begin()[i]; }
  int64_t* begin() noexcept { return std::launder(&v_[0]); }
  int64_t* end() noexcept { return begin() + rank_; }
  const int64_t* begin() const noexcept { return std::launder(&v_[0]); }  // launder: gcc 12 warns of what lies past rank_
  const int64_t* end() const noexcept { return begin() + rank_; }
  int64_t back() const noexcept { return begin()[rank_ - 1]; }
  void push_back(int64_t v) {
    check(rank_ + 1u);
    v_[rank_++] = v;
  }
  void insert(size_t at, int64_t v) {
    check(rank_ + 1u);
    std::copy_backward(v_ + at, v_ + rank_, v_ + rank_ + 1);
    v_[at] = v;
    ++rank_;
  }
  void erase(size_t at) noexcept {
    std::copy(v_ + at + 1, v_ + rank_, v_ + at);
    --rank_;
  }
  bool operator==(const Dims& o) const noexcept { return rank_ == o.rank_ && std::equal(begin(), end(), o.begin()); }

 private:
  static uint8_t check(size_t rank) {
    if (rank > kMaxRank) throw Error(Code::kUsage, "shape", "more than 32 axes", "join some of them with reshape");
    return static_cast<uint8_t>(rank);
  }

  uint8_t rank_ = 0;
  int64_t v_[kMaxRank];  // the first rank_ of them
};

using Shape = Dims;    // sizes, outermost axis first
using Strides = Dims;  // in elements; 0 along a broadcast axis, negative along a flipped one

// The number of values. Throws kUsage where a size is negative or the product of those that are not 0 does not fit.
int64_t count(const Shape& shape);
// "(2, 3)", as NumPy writes it.
std::string text(const Dims& d);
// Strides of values that lie in order.
Strides row_major(const Shape& shape) noexcept;
// The shape that both are stretched to (NumPy's rule); throws kUsage naming `operation` and both.
Shape broadcast(const Shape& a, const Shape& b, std::string_view operation);
// Axis of a tensor of `rank`, counted from the end where negative; throws kUsage.
size_t axis_of(int64_t axis, size_t rank, std::string_view operation);

}  // namespace viva
