#define HWY_COMPILE_ONLY_STATIC  // 128 bits do
#include "viva/kernels/tile.h"

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels {

namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Four columns of four 32-bit values -> four rows.
void transpose4(const uint8_t* from, int64_t col_stride, uint8_t* to, int64_t to_stride) {
  const hn::Full128<uint32_t> d;
  const hn::Full128<uint64_t> d2;
  const auto load = [&](int64_t c) { return hn::LoadU(d, reinterpret_cast<const uint32_t*>(from + c * col_stride)); };
  const auto a = load(0), b = load(1), c = load(2), e = load(3);
  const auto ab0 = hn::BitCast(d2, hn::InterleaveLower(d, a, b)), ab1 = hn::BitCast(d2, hn::InterleaveUpper(d, a, b));
  const auto ce0 = hn::BitCast(d2, hn::InterleaveLower(d, c, e)), ce1 = hn::BitCast(d2, hn::InterleaveUpper(d, c, e));
  const auto put = [&](int64_t r, auto v) { hn::StoreU(hn::BitCast(d, v), d, reinterpret_cast<uint32_t*>(to + r * to_stride)); };
  put(0, hn::InterleaveLower(d2, ab0, ce0));
  put(1, hn::InterleaveUpper(d2, ab0, ce0));
  put(2, hn::InterleaveLower(d2, ab1, ce1));
  put(3, hn::InterleaveUpper(d2, ab1, ce1));
}

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
  if (s.col_stride == kUnit) {
    for (int64_t r = 0; r < s.rows; ++r) {
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
  // Columns are runs: four at a time, so that what is read and what is written both come in pieces. No prefetcher of the
  // processor follows so many short runs.
  int64_t c = 0;
  for (; c + 4 <= s.cols; c += 4) {
    for (int64_t k = 0; ahead != 0 && k < 4; ++k) {
      for (int64_t r = 0; r < s.rows; r += 64 / kUnit) __builtin_prefetch(from + (c + k) * s.col_stride + r * kUnit + ahead);
    }
    int64_t r = 0;
    if constexpr (sizeof(T) == 4) {
      for (; r + 4 <= s.rows; r += 4) {
        transpose4(from + c * s.col_stride + r * kUnit, s.col_stride, to + (r * s.cols + c) * kUnit, s.cols * kUnit);
      }
    }
    for (; r < s.rows; ++r) {
      T* row = out + r * s.cols + c;
      row[0] = at(r, c), row[1] = at(r, c + 1), row[2] = at(r, c + 2), row[3] = at(r, c + 3);
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
