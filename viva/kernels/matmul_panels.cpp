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
  static constexpr int64_t kCols = kVectors * kLanes, kInner = 1024 / kWidth;
  static constexpr int64_t kFetch = 4;  // tiles that fetch a panel

  // Fetches what comes next meanwhile: the places of the result, and a part of the panel of b that follows.
  template <bool kAccumulate>
  static HWY_INLINE void tile(int64_t terms, const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, const T* next, T* HWY_RESTRICT c, int64_t ldc) {
    const D d;
    V sum[kRows][kVectors];
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d), hwy::Prefetch(c + i * ldc + j * kLanes);
    }
    for (int64_t p = 0; p < terms; ++p, a += kRows, b += kCols, next += kCols / kFetch) {
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

  template <bool kAccumulate>
  static void multiply_as(int64_t m, int64_t n, int64_t terms, const T* a, const T* b, T* c, int64_t ldc) {
    for (int64_t j = 0; j < n; j += kCols, b += kCols * terms) {
      const int64_t cols = std::min(kCols, n - j);
      const T* x = a;
      for (int64_t i = 0; i < m; i += kRows, x += kRows * terms) {
        const int64_t rows = std::min<int64_t>(kRows, m - i);
        T* to = c + i * ldc + j;
        const int64_t t = i / kRows;
        const T* next = t < kFetch ? b + (kFetch + t) * (kCols / kFetch) * terms : x;
        if (rows == kRows && cols == kCols) {
          tile<kAccumulate>(terms, x, b, next, to, ldc);
          continue;
        }
        alignas(64) T edge[kRows * kCols];
        tile<false>(terms, x, b, next, edge, kCols);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t q = 0; q < cols; ++q) to[r * ldc + q] = kAccumulate ? to[r * ldc + q] + edge[r * kCols + q] : edge[r * kCols + q];
        }
      }
    }
  }
  static void multiply(int64_t m, int64_t n, int64_t terms, const uint8_t* a, const uint8_t* b, bool accumulate, void* c, int64_t ldc) noexcept {
    const auto *x = reinterpret_cast<const T*>(a), *y = reinterpret_cast<const T*>(b);
    accumulate ? multiply_as<true>(m, n, terms, x, y, static_cast<T*>(c), ldc) : multiply_as<false>(m, n, terms, x, y, static_cast<T*>(c), ldc);
  }

  // kPanel lines of terms that lie side by side, from 32-bit values; lines are `stride` apart.
  template <int64_t kPanel>
  static HWY_INLINE void turn(const float* from, int64_t stride, int64_t terms, float* to) {
    const hn::Full128<float> d4;
    const hn::Full128<double> d2;
    for (int64_t l = 0; l < kPanel; l += 4) {
      for (int64_t k = 0; k < 4; ++k) hwy::Prefetch(from + (l + k) * stride + terms);  // what comes next
    }
    int64_t t = 0;
    for (; t + 4 <= terms; t += 4) {
      if (t % 16 == 0) {
        for (int64_t l = 0; l < kPanel; ++l) hwy::Prefetch(from + l * stride + t + 128);
      }
      for (int64_t l = 0; l < kPanel; l += 4) {
        const float* p = from + l * stride + t;
        const auto a = hn::LoadU(d4, p), b = hn::LoadU(d4, p + stride), c = hn::LoadU(d4, p + 2 * stride), e = hn::LoadU(d4, p + 3 * stride);
        const auto ab0 = hn::BitCast(d2, hn::InterleaveLower(d4, a, b)), ab1 = hn::BitCast(d2, hn::InterleaveUpper(d4, a, b));
        const auto ce0 = hn::BitCast(d2, hn::InterleaveLower(d4, c, e)), ce1 = hn::BitCast(d2, hn::InterleaveUpper(d4, c, e));
        float* q = to + t * kPanel + l;
        hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, ab0, ce0)), d4, q);
        hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, ab0, ce0)), d4, q + kPanel);
        hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, ab1, ce1)), d4, q + 2 * kPanel);
        hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, ab1, ce1)), d4, q + 3 * kPanel);
      }
    }
    for (; t < terms; ++t) {
      for (int64_t l = 0; l < kPanel; ++l) to[t * kPanel + l] = from[l * stride + t];
    }
  }

  // [term][line of the panel]
  template <int64_t kPanel>
  static void pack(const Lines& x, int64_t first, int64_t lines, int64_t from, int64_t terms, uint8_t* to, uint8_t* scratch, Target target) noexcept {
    const auto width = static_cast<int64_t>(bytes(x.dtype));
    const Convert convert = x.dtype == dtype_of<T> ? nullptr : find_convert(x.dtype, dtype_of<T>, target);
    uint8_t* const other = scratch + kPackScratch / 2;
    for (int64_t i = 0; i < lines; i += kPanel, to += kPanel * terms * kWidth) {
      const int64_t count = std::min(kPanel, lines - i);
      const uint8_t* at = x.data + ((first + i) * x.line_stride + from * x.term_stride) * width;
      T* const dense = reinterpret_cast<T*>(count == kPanel ? to : other);  // [term][count]
      const bool whole = count == kPanel;
      int64_t stride = x.line_stride;
      if (convert != nullptr && x.term_stride == 1) {
        for (int64_t l = 0; l < count; ++l) convert(at + l * x.line_stride * width, scratch + l * terms * kWidth, static_cast<size_t>(terms));
        at = scratch;
        stride = terms;
      } else if (convert != nullptr) {
        gather(static_cast<size_t>(width), at, {terms, count, x.term_stride * width, x.line_stride * width}, 0, scratch);
        convert(scratch, dense, static_cast<size_t>(terms * count));
      } 
      if (convert == nullptr || x.term_stride == 1) {
        if (std::is_same_v<T, float> && whole && x.term_stride == 1) {
          turn<kPanel>(reinterpret_cast<const float*>(at), stride, terms, reinterpret_cast<float*>(dense));
        } else {
          gather(static_cast<size_t>(kWidth), at, {terms, count, x.term_stride * kWidth, stride * kWidth}, 0, reinterpret_cast<uint8_t*>(dense));
        }
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
constexpr PanelCode kCode = {Panels<T>::kRows, Panels<T>::kCols, 1, Panels<T>::kInner, Panels<T>::kWidth, 192, dtype_of<T>,
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
