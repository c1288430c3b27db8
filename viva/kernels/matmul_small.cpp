// Small products of f32 for every SIMD target: rows and columns of the result in registers, nothing packed. Each value is added
// up in the order of its terms, nothing is fused: all targets give the same bits.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/matmul_small.cpp"
#include <algorithm>

#include "viva/kernels/matmul.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D()));

// kRows x (kVectors vectors) of the result. b lies by rows, `ldb` apart.
template <int kRows, int kVectors>
HWY_INLINE void tile(int64_t k, const float* a, int64_t row, int64_t col, const float* b, int64_t ldb, float* c, int64_t ldc) {
  const D d;
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
  }
  for (int64_t p = 0; p < k; ++p, a += col, b += ldb) {
    V y[kVectors];
    for (int j = 0; j < kVectors; ++j) y[j] = hn::LoadU(d, b + j * kLanes);
    for (int i = 0; i < kRows; ++i) {
      const V x = hn::Set(d, a[i * row]);
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Add(sum[i][j], hn::Mul(x, y[j]));
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::StoreU(sum[i][j], d, c + i * ldc + j * kLanes);
  }
}

template <int kVectors>
HWY_INLINE void columns(int64_t m, int64_t k, const float* a, int64_t row, int64_t col, const float* b, int64_t ldb, float* c, int64_t ldc) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) tile<4, kVectors>(k, a + i * row, row, col, b, ldb, c + i * ldc, ldc);
  for (; i < m; ++i) tile<1, kVectors>(k, a + i * row, row, col, b, ldb, c + i * ldc, ldc);
}

void product(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* out) noexcept {
  const auto* x = reinterpret_cast<const float*>(a.data);
  const auto* y = reinterpret_cast<const float*>(b.data);
  auto* c = static_cast<float*>(out);
  int64_t ldb = b.row_stride, j = 0;
  float dense[kSmallEdge * kSmallEdge];
  if (b.col_stride != 1 && n >= kLanes) {
    for (int64_t q = 0; q < n; ++q) {
      for (int64_t p = 0; p < k; ++p) dense[p * n + q] = y[p * b.row_stride + q * b.col_stride];
    }
    y = dense;
    ldb = n;
  }
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) columns<2>(m, k, x, a.row_stride, a.col_stride, y + j, ldb, c + j, n);
  for (; j + kLanes <= n; j += kLanes) columns<1>(m, k, x, a.row_stride, a.col_stride, y + j, ldb, c + j, n);
  if (j == n) return;
  // The last columns, in vectors that are filled up.
  const int64_t cols = n - j, next = y == dense ? 1 : b.col_stride;
  float last[kSmallEdge * kLanes], made[kSmallEdge * kLanes];
  std::fill_n(last, k * kLanes, 0.0f);
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t q = 0; q < cols; ++q) last[p * kLanes + q] = y[p * ldb + (j + q) * next];
  }
  columns<1>(m, k, x, a.row_stride, a.col_stride, last, kLanes, made, kLanes);
  for (int64_t i = 0; i < m; ++i) std::copy_n(made + i * kLanes, cols, c + i * n + j);
}

}  // namespace

static SmallProduct small_f32() noexcept { return &product; }

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
SmallProduct small_f32_product(Target target) noexcept { return VIVA_CHOOSE(target, small_f32)(); }
}  // namespace viva::kernels
#endif
