// Tiles of f32 and f64 with FMA for every SIMD target that has it: a panel of b stays in the first-level cache, panels of a in the second.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/matmul_panels.cpp"
#include <algorithm>
#include <type_traits>

#include "viva/base/element.h"
#include "viva/kernels/loops.h"
#include "viva/kernels/panels.h"
#include "viva/kernels/tile.h"

#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
struct Panels {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D())), kWidth = static_cast<int64_t>(sizeof(T));
  // As many sums as registers hold beside what is multiplied: 12 x 2 vectors of 32 registers, 4 x 3 of 16.
  static constexpr int kRows = HWY_LANES(uint8_t) >= 64 ? 12 : 4, kVectors = HWY_LANES(uint8_t) >= 64 ? 2 : 3;
  static constexpr int64_t kCols = kVectors * kLanes, kInner = kWidth == 4 ? 256 : 192;
  static constexpr int64_t kFetch = 4;                // tiles that fetch a panel
  static constexpr int64_t kTogether = 8;             // rows of b that are packed together
  static constexpr int64_t kBlock = 16 / kWidth;      // values of 128 bits
  static constexpr int64_t kAhead = 512 / kWidth;     // values that are fetched ahead of a line

  // Where a row of a is: of packed panels kStep is kRows and a term's rows lie side by side; else rows are `line` apart and a row's
  // terms lie side by side. Three rows share a pointer, which is as many as an address can say.
  template <bool kPacked>
  struct Rows {
    static constexpr int kGroups = kPacked ? 1 : (kRows + 2) / 3;
    const T* at[kGroups];
    int64_t line;
    HWY_INLINE Rows(const T* a, int64_t apart) : line(apart) {
      for (int g = 0; g < kGroups; ++g) at[g] = a + 3 * g * line;
    }
    HWY_INLINE T operator[](int i) const { return kPacked ? at[0][i] : at[i / 3][i % 3 * line]; }
    HWY_INLINE void next() {
      for (int g = 0; g < kGroups; ++g) at[g] += kPacked ? kRows : 1;
    }
  };

  // Fetches what comes next meanwhile: the places of the result, and a part of the panel of b that follows.
  template <bool kAccumulate, bool kPacked>
  static HWY_INLINE void tile(int64_t terms, Rows<kPacked> a, const T* HWY_RESTRICT b, const T* next, T* HWY_RESTRICT c, int64_t ldc) {
    const D d;
    V sum[kRows][kVectors];
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d), hwy::Prefetch(c + i * ldc + j * kLanes);
    }
    for (int64_t p = 0; p < terms; ++p, a.next(), b += kCols, next += kCols / kFetch) {
      hwy::Prefetch(next);
      V y[kVectors];
      for (int j = 0; j < kVectors; ++j) y[j] = hn::Load(d, b + j * kLanes);
      for (int i = 0; i < kRows; ++i) {
        const V x = hn::Set(d, a[i]);
        for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(x, y[j], sum[i][j]);
      }
    }
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) {
        T* to = c + i * ldc + j * kLanes;
        hn::StoreU(kAccumulate ? hn::Add(hn::LoadU(d, to), sum[i][j]) : sum[i][j], d, to);
      }
    }
  }

  template <bool kAccumulate, bool kPacked>
  static void multiply_as(int64_t m, int64_t n, int64_t terms, const T* a, int64_t line, const T* b, T* c, int64_t ldc) {
    for (int64_t j = 0; j < n; j += kCols, b += kCols * terms) {
      const int64_t cols = std::min(kCols, n - j);
      const T* x = a;
      for (int64_t i = 0; i < m; i += kRows, x += kPacked ? kRows * terms : kRows * line) {
        const int64_t rows = std::min<int64_t>(kRows, m - i), t = i / kRows;
        T* to = c + i * ldc + j;
        const T* next = t < kFetch ? b + (kFetch + t) * (kCols / kFetch) * terms : x;
        if (rows == kRows && cols == kCols) {
          tile<kAccumulate, kPacked>(terms, {x, line}, b, next, to, ldc);
          continue;
        }
        alignas(64) T edge[kRows * kCols];
        tile<false, kPacked>(terms, {x, line}, b, next, edge, kCols);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t q = 0; q < cols; ++q) to[r * ldc + q] = kAccumulate ? to[r * ldc + q] + edge[r * kCols + q] : edge[r * kCols + q];
        }
      }
    }
  }
  static void multiply(int64_t m, int64_t n, int64_t terms, const uint8_t* a, int64_t line, const uint8_t* b, bool accumulate, void* c, int64_t ldc) noexcept {
    const auto *x = reinterpret_cast<const T*>(a), *y = reinterpret_cast<const T*>(b);
    T* to = static_cast<T*>(c);
    if (line == 0) {
      accumulate ? multiply_as<true, true>(m, n, terms, x, line, y, to, ldc) : multiply_as<false, true>(m, n, terms, x, line, y, to, ldc);
    } else {
      accumulate ? multiply_as<true, false>(m, n, terms, x, line, y, to, ldc) : multiply_as<false, false>(m, n, terms, x, line, y, to, ldc);
    }
  }

  // The blocks of 128 bits of v, `step` values apart.
  static HWY_INLINE void spread(hn::Vec<hn::Full128<T>> v, T* to, int64_t) { hn::StoreU(v, hn::Full128<T>(), to); }
  template <class W>
  static HWY_INLINE void spread(W v, T* to, int64_t step) {
    const hn::Half<hn::DFromV<W>> half;
    spread(hn::LowerHalf(half, v), to, step);
    spread(hn::UpperHalf(half, v), to + static_cast<int64_t>(hn::MaxLanes(half)) / kBlock * step, step);
  }
  // Lines whose terms lie side by side, `stride` apart -> [term][line]. A block of the lines is turned inside of the registers.
  template <int64_t kPanel>
  static HWY_INLINE void turn(const T* from, int64_t stride, int64_t terms, T* to) {
    const D d;
    const hn::Repartition<double, D> pairs;
    int64_t t = 0;
    for (; t + kLanes <= terms; t += kLanes) {
      for (int64_t l = 0; l < kPanel; ++l) hwy::Prefetch(from + l * stride + t + kAhead);
      for (int64_t l = 0; l < kPanel; l += kBlock) {
        const T* p = from + l * stride + t;
        T* q = to + t * kPanel + l;
        const V a = hn::LoadU(d, p), b = hn::LoadU(d, p + stride);
        if constexpr (kBlock == 2) {
          spread(hn::InterleaveLower(d, a, b), q, 2 * kPanel);
          spread(hn::InterleaveUpper(d, a, b), q + kPanel, 2 * kPanel);
        } else {
          const V c = hn::LoadU(d, p + 2 * stride), e = hn::LoadU(d, p + 3 * stride);
          const auto ab0 = hn::BitCast(pairs, hn::InterleaveLower(d, a, b)), ab1 = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
          const auto ce0 = hn::BitCast(pairs, hn::InterleaveLower(d, c, e)), ce1 = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
          spread(hn::BitCast(d, hn::InterleaveLower(pairs, ab0, ce0)), q, 4 * kPanel);
          spread(hn::BitCast(d, hn::InterleaveUpper(pairs, ab0, ce0)), q + kPanel, 4 * kPanel);
          spread(hn::BitCast(d, hn::InterleaveLower(pairs, ab1, ce1)), q + 2 * kPanel, 4 * kPanel);
          spread(hn::BitCast(d, hn::InterleaveUpper(pairs, ab1, ce1)), q + 3 * kPanel, 4 * kPanel);
        }
      }
    }
    for (; t < terms; ++t) {
      for (int64_t l = 0; l < kPanel; ++l) to[t * kPanel + l] = from[l * stride + t];
    }
  }
  // Lines that lie side by side -> [term][line].
  template <int64_t kPanel>
  static HWY_INLINE void copy(const T* from, int64_t stride, int64_t terms, T* to) {
    const hn::CappedTag<T, kPanel % kLanes == 0 ? kLanes : kBlock> d;
    constexpr int64_t kStep = static_cast<int64_t>(hn::MaxLanes(d));
    for (int64_t t = 0; t < terms; ++t, from += stride, to += kPanel) {
      for (int64_t l = 0; l < kPanel; l += kStep) hn::StoreU(hn::LoadU(d, from + l), d, to + l);
    }
  }

  // [term][line of the panel]
  template <int64_t kPanel>
  static void pack(const Lines& x, int64_t first, int64_t lines, int64_t from, int64_t terms, uint8_t* to, uint8_t* scratch, Target target) noexcept {
    const auto width = static_cast<int64_t>(bytes(x.dtype));
    const Convert convert = x.dtype == dtype_of<T> ? nullptr : find_convert(x.dtype, dtype_of<T>, target);
    uint8_t* const other = scratch + kPackScratch / 2;
    int64_t i = 0;
    if (convert == nullptr && x.line_stride == 1) {  // row by row: as memory likes to be read
      i = lines / kPanel * kPanel;
      const T* rows = reinterpret_cast<const T*>(x.data) + first + from * x.term_stride;
      for (int64_t t = 0; t < terms; t += kTogether) {
        for (int64_t l = 0; l < i; l += kPanel) {
          copy<kPanel>(rows + l + t * x.term_stride, x.term_stride, std::min(kTogether, terms - t), reinterpret_cast<T*>(to) + l * terms + t * kPanel);
        }
      }
      to += i * terms * kWidth;
    }
    for (; i < lines; i += kPanel, to += kPanel * terms * kWidth) {
      const int64_t count = std::min(kPanel, lines - i);
      const uint8_t* at = x.data + ((first + i) * x.line_stride + from * x.term_stride) * width;
      const bool whole = count == kPanel;
      T* const dense = reinterpret_cast<T*>(whole ? to : other);  // [term][count]
      const T* values = reinterpret_cast<const T*>(at);
      int64_t line = x.line_stride, term = x.term_stride;
      if (convert != nullptr && term == 1) {
        for (int64_t l = 0; l < count; ++l) convert(at + l * line * width, scratch + l * terms * kWidth, static_cast<size_t>(terms));
        values = reinterpret_cast<const T*>(scratch);
        line = terms;
      } else if (convert != nullptr) {
        gather(static_cast<size_t>(width), at, {terms, count, term * width, line * width}, 0, other);
        convert(other, scratch, static_cast<size_t>(terms * count));
        values = reinterpret_cast<const T*>(scratch);
        line = 1;
        term = count;
      }
      if (whole && term == 1) {
        turn<kPanel>(values, line, terms, dense);
      } else if (whole && line == 1) {
        copy<kPanel>(values, term, terms, dense);
      } else {
        gather(static_cast<size_t>(kWidth), reinterpret_cast<const uint8_t*>(values), {terms, count, term * kWidth, line * kWidth}, 0,
               reinterpret_cast<uint8_t*>(dense));
      }
      if (whole) continue;
      auto* panel = reinterpret_cast<T*>(to);
      for (int64_t t = 0; t < terms; ++t) {
        for (int64_t l = 0; l < kPanel; ++l) panel[t * kPanel + l] = l < count ? dense[t * count + l] : T(0);
      }
    }
  }
};

template <class T>
constexpr PanelCode kCode = {Panels<T>::kRows, Panels<T>::kCols, 1, Panels<T>::kInner, Panels<T>::kWidth, 192, dtype_of<T>, dtype_of<T>,
                             &Panels<T>::template pack<Panels<T>::kRows>, &Panels<T>::template pack<Panels<T>::kCols>, &Panels<T>::multiply};

}  // namespace

static const PanelCode* panels(DType dtype) noexcept {
  if (HWY_LANES(uint8_t) < 32) return nullptr;  // no FMA
  return dtype == DType::kF64 ? &kCode<double> : &kCode<float>;
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
const PanelCode* float_panels(DType compute, Target target) noexcept { return VIVA_CHOOSE(target, panels)(compute); }
}  // namespace viva::kernels
#endif
