// Products of integers modulo 2^bits: signed and unsigned ones are the same.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/matmul_int.cpp"
#include <algorithm>
#include <type_traits>

#include "viva/base/element.h"
#include "viva/kernels/matmul.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

#undef VIVA_SMALL_INLINE
#define VIVA_SMALL_INLINE inline __attribute__((always_inline))
#include "viva/kernels/matmul_small-inl.h"

// What products are computed in: those of the small types would be signed, which must not overflow.
template <class T>
using Wide = std::conditional_t<(sizeof(T) < 4), uint32_t, T>;

// c += v b[0..4, :]: four rows of b at a time.
template <class T>
void four_rows(int64_t n, const Wide<T> v0, const Wide<T> v1, const Wide<T> v2, const Wide<T> v3, const T* b,
               int64_t ldb, T* c) noexcept {
  const T *b0 = b, *b1 = b + ldb, *b2 = b + 2 * ldb, *b3 = b + 3 * ldb;
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) {
    c[j] = static_cast<T>(c[j] + v0 * b0[j] + v1 * b1[j] + v2 * b2[j] + v3 * b3[j]);
  }
}

template <class T>
T dot(const T* x, const T* y, int64_t n) noexcept {
  Wide<T> s = 0;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) s += Wide<T>(x[i]) * y[i];
  return static_cast<T>(s);
}

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c, int64_t ldc) noexcept {
  const T *x = static_cast<const T*>(a.data), *y = static_cast<const T*>(b.data);
  T* out = static_cast<T*>(c);
  const int64_t row = a.trans == 'N' ? a.ld : 1, col = a.trans == 'N' ? 1 : a.ld;
  if (b.trans == 'T' && a.trans == 'N') {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const T s = dot(x + i * row, y + j * b.ld, k);
        out[i * ldc + j] = accumulate ? static_cast<T>(out[i * ldc + j] + s) : s;
      }
    }
    return;
  }
  if (!accumulate) {
    for (int64_t i = 0; i < m; ++i) std::fill_n(out + i * ldc, n, T(0));
  }
  if (b.trans == 'T') {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        Wide<T> s = out[i * ldc + j];
        for (int64_t p = 0; p < k; ++p) s += Wide<T>(x[i + p * col]) * y[j * b.ld + p];
        out[i * ldc + j] = static_cast<T>(s);
      }
    }
    return;
  }
  // Blocks of b that stay in the first-level cache.
  constexpr int64_t kRows = 16, kCols = static_cast<int64_t>(1024 / sizeof(T));
  for (int64_t p0 = 0; p0 < k; p0 += kRows) {
    const int64_t p1 = std::min(k, p0 + kRows);
    for (int64_t j = 0; j < n; j += kCols) {
      const int64_t cols = std::min(kCols, n - j);
      for (int64_t i = 0; i < m; ++i) {
        const T* v = x + i * row;
        T* to = out + i * ldc + j;
        int64_t p = p0;
        for (; p + 4 <= p1; p += 4) {
          four_rows<T>(cols, v[p * col], v[(p + 1) * col], v[(p + 2) * col], v[(p + 3) * col],
                       y + p * b.ld + j, b.ld, to);
        }
        for (; p < p1; ++p) {
          const Wide<T> one = v[p * col];
          const T* from = y + p * b.ld + j;
#pragma GCC ivdep
          for (int64_t q = 0; q < cols; ++q) to[q] = static_cast<T>(to[q] + one * from[q]);
        }
      }
    }
  }
}

template <class T>
constexpr ProductCode kCode = {&gemm<T>, &small_product<T>, &add_to<T>, 512};

}  // namespace

static const ProductCode* code(DType t) noexcept {
  switch (bytes(t)) {
    case 1:
      return &kCode<uint8_t>;
    case 2:
      return &kCode<uint16_t>;
    case 4:
      return &kCode<uint32_t>;
    default:
      return &kCode<uint64_t>;
  }
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
const ProductCode& int_product(DType dtype, Target target) noexcept {
  return *VIVA_CHOOSE(target, code)(dtype);
}
}  // namespace viva::kernels
#endif
