// Matrices times vectors: read once, as they are, since memory is what limits them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/matmul_vector.cpp"
#include <algorithm>
#include <bit>
#include <type_traits>

#include "viva/kernels/matmul.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#include <hwy/foreach_target.h>
// clang-format off: after it
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

// T: what is stored (uint16_t: bf16), A: what it is multiplied and added up in.
template <class A, class T>
inline __attribute__((always_inline)) A wide(T v) noexcept {
  if constexpr (std::is_same_v<T, uint16_t>) {
    return std::bit_cast<float>(static_cast<uint32_t>(v) << 16);
  } else {
    return v;
  }
}

template <class A>
constexpr int64_t kLanes = 128 / sizeof(A);

template <class T, class A>
A dot(const T* x, const A* y, int64_t n) noexcept {
  constexpr int64_t kLanes = HWY_NAMESPACE::kLanes<A>;
  alignas(64) A lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma GCC ivdep
    for (int64_t l = 0; l < kLanes; ++l) lane[l] += wide<A>(x[i + l]) * y[i + l];
  }
  for (int64_t l = 0; i < n; ++i, ++l) lane[l] += wide<A>(x[i]) * y[i];
  for (int64_t h = kLanes / 2; h > 0; h /= 2) {
    for (int64_t l = 0; l < h; ++l) lane[l] += lane[l + h];
  }
  return lane[0];
}

// Four rows at a time: y is read once for them, and a core follows several runs of memory faster than one.
template <class T, class A>
void dot4(const T* x, int64_t ld, const A* y, int64_t n, A* sums) noexcept {
  constexpr int64_t kLanes = HWY_NAMESPACE::kLanes<A>;
  alignas(64) A lane[4][kLanes] = {};
  const T *x0 = x, *x1 = x + ld, *x2 = x + 2 * ld, *x3 = x + 3 * ld;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma GCC ivdep
    for (int64_t l = 0; l < kLanes; ++l) {
      const A v = y[i + l];
      lane[0][l] += wide<A>(x0[i + l]) * v;
      lane[1][l] += wide<A>(x1[i + l]) * v;
      lane[2][l] += wide<A>(x2[i + l]) * v;
      lane[3][l] += wide<A>(x3[i + l]) * v;
    }
  }
  for (int r = 0; r < 4; ++r) {
    for (int64_t j = i, l = 0; j < n; ++j, ++l) lane[r][l] += wide<A>(x[r * ld + j]) * y[j];
    for (int64_t h = kLanes / 2; h > 0; h /= 2) {
      for (int64_t l = 0; l < h; ++l) lane[r][l] += lane[r][l + h];
    }
    sums[r] = lane[r][0];
  }
}

// to (n) += the rows of x (rows, n), each times its value of y.
template <class T, class A>
void add_rows(const T* x, int64_t ld, const A* y, int64_t rows, A* to, int64_t n) noexcept {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * ld) {
    const A v0 = y[r], v1 = y[r + 1], v2 = y[r + 2], v3 = y[r + 3];
    const T *x0 = x, *x1 = x + ld, *x2 = x + 2 * ld, *x3 = x + 3 * ld;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      to[i] += (v0 * wide<A>(x0[i]) + v1 * wide<A>(x1[i])) + (v2 * wide<A>(x2[i]) + v3 * wide<A>(x3[i]));
  }
  for (; r < rows; ++r, x += ld) {
    const A v = y[r];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) to[i] += v * wide<A>(x[i]);
  }
}

// One of m and n is 1; the vector is dense.
template <class T, class A>
void times_vector(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                  int64_t ldc) noexcept {
  const Block& matrix = n == 1 ? a : b;
  const A* y = static_cast<const A*>((n == 1 ? b : a).data);
  const T* x = static_cast<const T*>(matrix.data);
  A* out = static_cast<A*>(c);
  const int64_t rows = n == 1 ? m : n, step = n == 1 ? ldc : 1;  // of the result
  if ((matrix.trans == 'N') == (n == 1)) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) {
      A s[4];
      dot4(x + i * matrix.ld, matrix.ld, y, k, s);
      for (int64_t r = 0; r < 4; ++r) out[(i + r) * step] = accumulate ? out[(i + r) * step] + s[r] : s[r];
    }
    for (; i < rows; ++i) {
      const A s = dot(x + i * matrix.ld, y, k);
      out[i * step] = accumulate ? out[i * step] + s : s;
    }
    return;
  }
  constexpr int64_t kRun = 2048;
  A run[kRun];
  for (int64_t i = 0; i < rows; i += kRun) {
    const int64_t count = std::min(kRun, rows - i);
    for (int64_t j = 0; j < count; ++j) run[j] = accumulate ? out[(i + j) * step] : 0;
    add_rows(x + i, matrix.ld, y, k, run, count);
    for (int64_t j = 0; j < count; ++j) out[(i + j) * step] = run[j];
  }
}

}  // namespace

static Gemm vector_product(DType t) noexcept {
  return t == DType::kBF16 ? &times_vector<uint16_t, float> : t == DType::kF64 ? &times_vector<double, double> : &times_vector<float, float>;
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
Gemm matrix_times_vector(DType dtype, Target target) noexcept { return VIVA_CHOOSE(target, vector_product)(dtype); }
}  // namespace viva::kernels
#endif
