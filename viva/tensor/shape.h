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

// Up to kMaxRank numbers, one per axis: sizes, strides, axes. Few of them lie in the object, so that a tensor
// is small.
class Dims {
 public:
  Dims() noexcept {}  // not "= default": Dims() would write zeros into what is not used
  Dims(std::initializer_list<int64_t> v) : Dims(std::span(v.begin(), v.size())) {}
  explicit Dims(std::span<const int64_t> v) {
    make_room(v.size());
    copy(v.data(), v.size(), v_);
  }
  Dims(size_t rank, int64_t value) {
    make_room(rank);
    switch (rank) {
      case 4: v_[3] = value; [[fallthrough]];
      case 3: v_[2] = value; [[fallthrough]];
      case 2: v_[1] = value; [[fallthrough]];
      case 1: v_[0] = value; [[fallthrough]];
      case 0: return;
      default: std::fill_n(v_, rank, value);
    }
  }
  Dims(const Dims& o) : Dims(std::span(o.v_, o.rank_)) {}
  Dims(Dims&& o) noexcept { take(o); }
  Dims& operator=(const Dims& o) {
    if (this == &o) return *this;
    make_room(o.rank_);
    copy(o.v_, o.rank_, v_);
    return *this;
  }
  Dims& operator=(Dims&& o) noexcept {
    if (this == &o) return *this;
    release();
    take(o);
    return *this;
  }
  ~Dims() { release(); }

  size_t size() const noexcept { return rank_; }
  bool empty() const noexcept { return rank_ == 0; }
  int64_t& operator[](size_t i) noexcept { return v_[i]; }
  int64_t operator[](size_t i) const noexcept { return std::launder(v_)[i]; }  // launder: gcc 12 warns of what lies past rank_
  int64_t* begin() noexcept { return v_; }
  int64_t* end() noexcept { return v_ + rank_; }
  const int64_t* begin() const noexcept { return v_; }
  const int64_t* end() const noexcept { return v_ + rank_; }
  int64_t back() const noexcept { return v_[rank_ - 1u]; }
  void push_back(int64_t v) { insert(rank_, v); }
  void insert(size_t at, int64_t v) {
    const size_t n = rank_;
    make_room(n + 1);
    for (size_t i = n; i > at; --i) v_[i] = v_[i - 1];
    v_[at] = v;
  }
  void erase(size_t at) noexcept {
    --rank_;
    for (size_t i = at; i < rank_; ++i) v_[i] = v_[i + 1];
  }
  bool operator==(const Dims& o) const noexcept {
    if (rank_ != o.rank_) return false;
    for (size_t i = 0; i < rank_; ++i) {
      if (v_[i] != o.v_[i]) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kNear = 6;

  // As many as rank from now on; those that there are stay.
  void make_room(size_t rank) {
    if (rank > kNear && v_ == near_) grow(rank);
    if (rank > kMaxRank) refuse();
    rank_ = static_cast<uint8_t>(rank);
  }
  void grow(size_t rank);
  [[noreturn]] static void refuse();
  void take(Dims& o) noexcept {
    rank_ = o.rank_;
    if (o.v_ == o.near_) {
      v_ = near_;
      copy(o.near_, rank_, near_);
    } else {
      v_ = o.v_;
      o.v_ = o.near_;
      o.rank_ = 0;
    }
  }
  void release() noexcept {
    if (v_ != near_) delete[] v_;
  }
  // A call of memcpy would cost more than most of these.
  static void copy(const int64_t* from, size_t n, int64_t* to) noexcept {
    switch (n) {
      case 4:
        to[3] = from[3];
        [[fallthrough]];
      case 3:
        to[2] = from[2];
        [[fallthrough]];
      case 2:
        to[1] = from[1];
        [[fallthrough]];
      case 1:
        to[0] = from[0];
        [[fallthrough]];
      case 0:
        return;
      default:
        std::copy_n(from, n, to);
    }
  }

  int64_t* v_ = near_;  // near_, or kMaxRank numbers on the heap
  uint8_t rank_ = 0;
  int64_t near_[kNear];
};

using Shape = Dims;    // sizes, outermost axis first
using Strides = Dims;  // in elements; 0 along a broadcast axis, negative along a flipped one

// The number of values. Throws kUsage where a size is negative or the product of those that are not 0 does
// not fit.
int64_t count(const Shape& shape);
// The same of a shape that was counted before.
inline int64_t known_count(const Shape& shape) noexcept {
  uint64_t n = 1;  // wraps only where a later size is 0
  for (const int64_t d : shape) n *= static_cast<uint64_t>(d);
  return static_cast<int64_t>(n);
}
// "(2, 3)", as NumPy writes it.
std::string text(const Dims& d);
// The same, and the strides of values that lie in order.
int64_t count(const Shape& shape, Strides& row_major);
// Strides of values that lie in order.
Strides row_major(const Shape& shape);
// The shape that both are stretched to (NumPy's rule); throws kUsage naming `operation` and both.
Shape broadcast(const Shape& a, const Shape& b, std::string_view operation);
// Axis of a tensor of `rank`, counted from the end where negative; throws kUsage.
size_t axis_of(int64_t axis, size_t rank, std::string_view operation);

}  // namespace viva
