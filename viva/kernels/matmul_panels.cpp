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
  // The sums take 24 of 32 registers, 12 of 16. With three vectors a term few of the loop's steps are other than multiplications,
  // which is worth most where two threads share a core.
  static constexpr int kRows = HWY_LANES(uint8_t) >= 64 ? 8 : 4, kVectors = 3;
  static constexpr int64_t kCols = kVectors * kLanes, kInner = kWidth == 4 ? 256 : 192;
  static constexpr int64_t kUnroll = 4;                       // terms a turn, which fetches one line of what comes next
  static constexpr int64_t kFetched = 64 / kWidth / kUnroll;  // values a term, therefore
  static constexpr int64_t kFetch = kCols / kFetched;         // tiles that fetch a panel
  static constexpr int64_t kTogether = 8;                     // rows of b that are packed together
  static constexpr int64_t kBlock = 16 / kWidth;              // values of 128 bits
  static constexpr int64_t kAhead = 512 / kWidth;             // values that are fetched ahead of a line

  // Where a row of a is: in packed panels a term's rows lie side by side; else rows are `line` apart and a row's terms lie side by
  // side. Three rows share a pointer, which is as many as an address can say.
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

  // kCount vectors of columns. Fetches what comes next meanwhile: the places of the result, and a part of the panel of b that follows.
  template <bool kAccumulate, int kCount, bool kPacked>
  static HWY_INLINE void tile(int64_t terms, Rows<kPacked> a, const T* HWY_RESTRICT b, const T* next, T* HWY_RESTRICT c, int64_t ldc) {
    const D d;
    V sum[kRows][kCount];
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kCount; ++j) sum[i][j] = hn::Zero(d), hwy::Prefetch(c + i * ldc + j * kLanes);
    }
    const auto step = [&]() HWY_ATTR {
      V y[kCount];
      for (int j = 0; j < kCount; ++j) y[j] = hn::Load(d, b + j * kLanes);
      for (int i = 0; i < kRows; ++i) {
        const V x = hn::Set(d, a[i]);
        for (int j = 0; j < kCount; ++j) sum[i][j] = hn::MulAdd(x, y[j], sum[i][j]);
      }
      b += kCols;
      a.next();
    };
    int64_t p = 0;
    for (; p + kUnroll <= terms; p += kUnroll, next += kUnroll * kFetched) {
      hwy::Prefetch(next);
      for (int64_t u = 0; u < kUnroll; ++u) step();
    }
    for (; p < terms; ++p) step();
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kCount; ++j) {
        T* to = c + i * ldc + j * kLanes;
        hn::StoreU(kAccumulate ? hn::Add(hn::LoadU(d, to), sum[i][j]) : sum[i][j], d, to);
      }
    }
  }

  // One panel of b.
  template <bool kAccumulate, int kCount, bool kPacked>
  static void column(int64_t m, int64_t cols, int64_t terms, const T* x, int64_t line, const T* b, T* c, int64_t ldc) {
    for (int64_t i = 0; i < m; i += kRows, x += kPacked ? kRows * terms : kRows * line) {
      const int64_t rows = std::min<int64_t>(kRows, m - i), t = i / kRows;
      T* to = c + i * ldc;
      const T* next = t < kFetch ? b + (kFetch + t) * kFetched * terms : x;
      if (rows == kRows && cols == kCount * kLanes) {
        tile<kAccumulate, kCount, kPacked>(terms, {x, line}, b, next, to, ldc);
        continue;
      }
      alignas(64) T edge[kRows * kCols];
      tile<false, kCount, kPacked>(terms, {x, line}, b, next, edge, kCols);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t q = 0; q < cols; ++q) to[r * ldc + q] = kAccumulate ? to[r * ldc + q] + edge[r * kCols + q] : edge[r * kCols + q];
      }
    }
  }

  template <bool kAccumulate, bool kPacked>
  static void multiply_as(int64_t m, int64_t n, int64_t terms, const T* a, int64_t line, const T* b, T* c, int64_t ldc) {
    for (int64_t j = 0; j < n; j += kCols, b += kCols * terms) {
      const int64_t cols = std::min(kCols, n - j);
      const auto to = cols <= kLanes ? &column<kAccumulate, 1, kPacked> : cols <= 2 * kLanes ? &column<kAccumulate, 2, kPacked> : &column<kAccumulate, kVectors, kPacked>;
      to(m, cols, terms, a, line, b, c + j, ldc);
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
  // `count` lines whose terms lie side by side, `stride` apart -> [term][line]; the last line stands for those that are lacking. A block
  // of the lines is turned inside of the registers.
  template <int64_t kPanel>
  static HWY_INLINE void turn(const T* from, int64_t stride, int64_t count, int64_t terms, T* to) {
    const D d;
    const hn::Repartition<double, D> pairs;
    const auto line = [&](int64_t l) HWY_ATTR { return from + std::min(l, count - 1) * stride; };
    int64_t t = 0;
    for (; t + kLanes <= terms; t += kLanes) {
      for (int64_t l = 0; l < kPanel; ++l) hwy::Prefetch(line(l) + t + kAhead);
      for (int64_t l = 0; l < kPanel; l += kBlock) {
        T* q = to + t * kPanel + l;
        const V a = hn::LoadU(d, line(l) + t), b = hn::LoadU(d, line(l + 1) + t);
        if constexpr (kBlock == 2) {
          spread(hn::InterleaveLower(d, a, b), q, 2 * kPanel);
          spread(hn::InterleaveUpper(d, a, b), q + kPanel, 2 * kPanel);
        } else {
          const V c = hn::LoadU(d, line(l + 2) + t), e = hn::LoadU(d, line(l + 3) + t);
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
      for (int64_t l = 0; l < kPanel; ++l) to[t * kPanel + l] = line(l)[t];
    }
  }
  // `count` lines that lie side by side -> [term][line]; those that are lacking in the last vector are 0.
  template <int64_t kPanel>
  static HWY_INLINE void copy(const T* from, int64_t stride, int64_t count, int64_t terms, T* to) {
    const hn::CappedTag<T, std::min(kLanes, kPanel & -kPanel)> d;
    constexpr int64_t kStep = static_cast<int64_t>(hn::MaxLanes(d));
    const auto rest = static_cast<size_t>(count % kStep);
    for (int64_t t = 0; t < terms; ++t, from += stride, to += kPanel) {
      int64_t l = 0;
      for (; l + kStep <= count; l += kStep) hn::StoreU(hn::LoadU(d, from + l), d, to + l);
      if (rest != 0) hn::StoreU(hn::MaskedLoad(hn::FirstN(d, rest), d, from + l), d, to + l);
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
          copy<kPanel>(rows + l + t * x.term_stride, x.term_stride, kPanel, std::min(kTogether, terms - t), reinterpret_cast<T*>(to) + l * terms + t * kPanel);
        }
      }
      to += i * terms * kWidth;
    }
    for (; i < lines; i += kPanel, to += kPanel * terms * kWidth) {
      const int64_t count = std::min(kPanel, lines - i);
      const uint8_t* at = x.data + ((first + i) * x.line_stride + from * x.term_stride) * width;
      const T* values = reinterpret_cast<const T*>(convert == nullptr ? at : scratch);
      int64_t line = x.line_stride, term = x.term_stride;
      if (convert != nullptr && term == 1) {
        for (int64_t l = 0; l < count; ++l) convert(at + l * line * width, scratch + l * terms * kWidth, static_cast<size_t>(terms));
        line = terms;
      } else if (convert != nullptr || (term != 1 && line != 1)) {
        gather(static_cast<size_t>(width), at, {terms, count, term * width, line * width}, 0, convert == nullptr ? scratch : other);
        if (convert != nullptr) convert(other, scratch, static_cast<size_t>(terms * count));
        values = reinterpret_cast<const T*>(scratch);
        line = 1;
        term = count;
      }
      auto* const panel = reinterpret_cast<T*>(to);
      term == 1 ? turn<kPanel>(values, line, count, terms, panel) : copy<kPanel>(values, term, count, terms, panel);
    }
  }
};

template <class T>
constexpr PanelCode kCode = {Panels<T>::kRows, Panels<T>::kCols, Panels<T>::kLanes, 1, Panels<T>::kInner, Panels<T>::kWidth, 192, dtype_of<T>, dtype_of<T>,
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
