// Small products of real floats for every SIMD target: rows and columns of the result in registers, nothing packed. Each value is
// added up in the order of its terms, by FMA where the target has it; halves become f32 first.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/matmul_small.cpp"
#include <algorithm>

#include "viva/base/element.h"
#include "viva/kernels/loops.h"
#include "viva/kernels/matmul.h"
#include "viva/kernels/tile.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
template <class T>
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<T>()));
constexpr Target kTarget = HWY_LANES(uint8_t) == 64 ? Target::kAvx3 : HWY_LANES(uint8_t) == 32 ? Target::kAvx2 : Target::kSse4;

// kRows x (kVectors vectors) of the result. b lies by rows, `ldb` apart.
template <int kRows, int kVectors, class T>
HWY_INLINE void tile(int64_t k, const T* a, int64_t row, int64_t col, const T* b, int64_t ldb, T* c, int64_t ldc) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
  }
  for (int64_t p = 0; p < k; ++p, a += col, b += ldb) {
    V y[kVectors];
    for (int j = 0; j < kVectors; ++j) y[j] = hn::LoadU(d, b + j * kLanes<T>);
    for (int i = 0; i < kRows; ++i) {
      const V x = hn::Set(d, a[i * row]);
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(x, y[j], sum[i][j]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::StoreU(sum[i][j], d, c + i * ldc + j * kLanes<T>);
  }
}

template <int kVectors, class T>
HWY_INLINE void columns(int64_t m, int64_t k, const T* a, int64_t row, int64_t col, const T* b, int64_t ldb, T* c, int64_t ldc) {
  int64_t i = 0;
  for (; i + 4 <= m; i += 4) tile<4, kVectors>(k, a + i * row, row, col, b, ldb, c + i * ldc, ldc);
  for (; i < m; ++i) tile<1, kVectors>(k, a + i * row, row, col, b, ldb, c + i * ldc, ldc);
}

template <class T>
void product(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* out) noexcept {
  constexpr int64_t kLanes = HWY_NAMESPACE::kLanes<T>;
  const auto* x = reinterpret_cast<const T*>(a.data);
  const auto* y = reinterpret_cast<const T*>(b.data);
  auto* c = static_cast<T*>(out);
  int64_t ldb = b.row_stride, j = 0;
  T dense[kSmallEdge * kSmallEdge];
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
  T last[kSmallEdge * kLanes], made[kSmallEdge * kLanes];
  std::fill_n(last, k * kLanes, T(0));
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t q = 0; q < cols; ++q) last[p * kLanes + q] = y[p * ldb + (j + q) * next];
  }
  columns<1>(m, k, x, a.row_stride, a.col_stride, last, kLanes, made, kLanes);
  for (int64_t i = 0; i < m; ++i) std::copy_n(made + i * kLanes, cols, c + i * n + j);
}

// T: F16 or BF16.
template <class T>
void product_of_halves(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* out) noexcept {
  constexpr int64_t kMost = kSmallEdge * kSmallEdge;
  alignas(64) uint16_t raw[kMost];
  alignas(64) float x[kMost], y[kMost], c[kMost];
  const Convert widen = find_convert(dtype_of<T>, DType::kF32, kTarget), narrow = find_convert(DType::kF32, dtype_of<T>, kTarget);
  const auto load = [&](const Matrices& from, int64_t rows, int64_t cols, float* to) {
    gather(2, from.data, {rows, cols, from.row_stride * 2, from.col_stride * 2}, 0, reinterpret_cast<uint8_t*>(raw));
    widen(raw, to, static_cast<size_t>(rows * cols));
  };
  load(a, m, k, x);
  load(b, k, n, y);
  product<float>(m, n, k, {reinterpret_cast<const uint8_t*>(x), k, 1, {}}, {reinterpret_cast<const uint8_t*>(y), n, 1, {}}, c);
  narrow(c, out, static_cast<size_t>(m * n));
}

}  // namespace

static SmallProduct small(DType t) noexcept {
  switch (t) {
    case DType::kF32: return &product<float>;
    case DType::kF64: return &product<double>;
    case DType::kF16: return &product_of_halves<F16>;
    case DType::kBF16: return &product_of_halves<BF16>;
    default: return nullptr;
  }
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
SmallProduct small_real_product(DType dtype, Target target) noexcept { return VIVA_CHOOSE(target, small)(dtype); }
}  // namespace viva::kernels
#endif
