#define HWY_COMPILE_ONLY_STATIC  // 128 bits do
#include "viva/kernels/tile.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels {

namespace {

namespace hn = hwy::HWY_NAMESPACE;

// A square of columns of T -> rows: as many of both as 128 bits hold. Shuffling the first half of the vectors with the second turns
// it after log2(side) rounds.
template <class T>
struct Square {
  using D = hn::Full128<T>;
  using V = hn::Vec<D>;
  static constexpr int64_t kSide = 16 / static_cast<int64_t>(sizeof(T));
  static HWY_INLINE void shuffle(const V* in, V* out) {
    const D d;
    for (int64_t i = 0; i < kSide / 2; ++i) {
      out[2 * i] = hn::InterleaveLower(d, in[i], in[i + kSide / 2]);
      out[2 * i + 1] = hn::InterleaveUpper(d, in[i], in[i + kSide / 2]);
    }
  }
  static HWY_INLINE void turn(const uint8_t* from, int64_t col_stride, uint8_t* to, int64_t to_stride) {
    const D d;
    V v[kSide], t[kSide];
    for (int64_t c = 0; c < kSide; ++c) v[c] = hn::LoadU(d, reinterpret_cast<const T*>(from + c * col_stride));
    V *in = v, *out = t;
    for (int64_t n = 1; n < kSide; n *= 2) {
      shuffle(in, out);
      std::swap(in, out);
    }
    for (int64_t r = 0; r < kSide; ++r) hn::StoreU(in[r], d, reinterpret_cast<T*>(to + r * to_stride));
  }
};

// n values, `stride` values apart, of which vectors know two kinds: every other one, and all backwards.
template <class T>
void gather_run(const T* from, int64_t stride, int64_t n, T* out) {
  int64_t i = 0;
  constexpr int64_t kAhead = 4096 / static_cast<int64_t>(sizeof(T));
  if constexpr (std::is_same_v<T, uint32_t> || std::is_same_v<T, uint64_t>) {
    const hn::ScalableTag<T> d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    if (stride == -1) {
      for (; i + lanes <= n; i += lanes) {
        __builtin_prefetch(from - i - kAhead);
        hn::StoreU(hn::Reverse(d, hn::LoadU(d, from - i - lanes + 1)), d, out + i);
      }
    } else if (stride == 2) {
      for (; i + lanes < n; i += lanes) {  // what lies behind the last value may belong to nobody
        __builtin_prefetch(from + 2 * i + kAhead);
        hn::StoreU(hn::ConcatEven(d, hn::LoadU(d, from + 2 * i + lanes), hn::LoadU(d, from + 2 * i)), d, out + i);
      }
    }
  }
  for (; i < n; ++i) out[i] = from[i * stride];
}

template <class T>
void gather_as(const uint8_t* from, const TileShape& s, int64_t ahead, uint8_t* to) {
  T* out = reinterpret_cast<T*>(to);
  constexpr int64_t kUnit = static_cast<int64_t>(sizeof(T));
  const auto at = [&](int64_t r, int64_t c) { return *reinterpret_cast<const T*>(from + r * s.row_stride + c * s.col_stride); };
  if (s.col_stride == 0) {
    for (int64_t r = 0; r < s.rows; ++r) std::fill_n(out + r * s.cols, s.cols, at(r, 0));
    return;
  }
  if (s.col_stride == kUnit && s.row_stride == 0) {  // one row again and again: what is there already is doubled
    const int64_t all = s.rows * s.cols;
    std::memcpy(out, from, static_cast<size_t>(s.cols) * sizeof(T));
    for (int64_t have = s.cols; have < all; have *= 2) std::memcpy(out + have, out, static_cast<size_t>(std::min(have, all - have)) * sizeof(T));
    return;
  }
  if (s.col_stride == kUnit) {
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t i = 0; ahead != 0 && i < s.cols; i += 64 / kUnit) __builtin_prefetch(from + r * s.row_stride + i * kUnit + ahead);
      std::memcpy(out + r * s.cols, from + r * s.row_stride, static_cast<size_t>(s.cols) * sizeof(T));
    }
    return;
  }
  if (s.row_stride != kUnit) {
    for (int64_t r = 0; r < s.rows; ++r) {
      gather_run(reinterpret_cast<const T*>(from + r * s.row_stride), s.col_stride / kUnit, s.cols, out + r * s.cols);
    }
    return;
  }
  // Columns are runs: some at a time, so that what is read and what is written both come in pieces. No prefetcher of the
  // processor follows so many short runs.
  constexpr int64_t kSide = sizeof(T) == 16 ? 2 : Square<std::conditional_t<sizeof(T) == 16, uint64_t, T>>::kSide;
  int64_t c = 0;
  for (; c + kSide <= s.cols; c += kSide) {
    for (int64_t k = 0; ahead != 0 && k < kSide; ++k) {
      for (int64_t r = 0; r < s.rows; r += 64 / kUnit) __builtin_prefetch(from + (c + k) * s.col_stride + r * kUnit + ahead);
    }
    int64_t r = 0;
    if constexpr (sizeof(T) != 16) {
      for (; r + kSide <= s.rows; r += kSide) {
        Square<T>::turn(from + c * s.col_stride + r * kUnit, s.col_stride, to + (r * s.cols + c) * kUnit, s.cols * kUnit);
      }
    }
    for (; r < s.rows; ++r) {
      for (int64_t k = 0; k < kSide; ++k) out[r * s.cols + c + k] = at(r, c + k);
    }
  }
  for (; c < s.cols; ++c) {
    for (int64_t r = 0; r < s.rows; ++r) out[r * s.cols + c] = at(r, c);
  }
}

}  // namespace

void gather(size_t width, const uint8_t* from, const TileShape& s, int64_t ahead, uint8_t* to) noexcept {
  with_width(width, [&](auto w) { gather_as<decltype(w)>(from, s, ahead, to); });
}

void scatter(size_t width, const uint8_t* from, const TileShape& s, uint8_t* to) noexcept {
  with_width(width, [&](auto w) {
    using T = decltype(w);
    const T* in = reinterpret_cast<const T*>(from);
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t c = 0; c < s.cols; ++c) *reinterpret_cast<T*>(to + r * s.row_stride + c * s.col_stride) = in[r * s.cols + c];
    }
  });
}

}  // namespace viva::kernels
HWY_AFTER_NAMESPACE();
