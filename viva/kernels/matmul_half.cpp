// bf16 matrices times f32 vectors: read once, as they are, since memory is what limits them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/matmul_half.cpp"
#include <algorithm>
#include <bit>

#include "viva/kernels/matmul.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#include <hwy/foreach_target.h>
// clang-format off: after it
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

inline __attribute__((always_inline)) float wide(uint16_t v) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(v) << 16);
}

constexpr int64_t kLanes = 32;

float dot(const uint16_t* x, const float* y, int64_t n) noexcept {
  alignas(64) float lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma GCC ivdep
    for (int64_t l = 0; l < kLanes; ++l) lane[l] += wide(x[i + l]) * y[i + l];
  }
  for (int64_t l = 0; i < n; ++i, ++l) lane[l] += wide(x[i]) * y[i];
  for (int64_t h = kLanes / 2; h > 0; h /= 2) {
    for (int64_t l = 0; l < h; ++l) lane[l] += lane[l + h];
  }
  return lane[0];
}

// to (n) += the rows of x (rows, n), each times its value of y.
void add_rows(const uint16_t* x, int64_t ld, const float* y, int64_t rows, float* to, int64_t n) noexcept {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * ld) {
    const float v0 = y[r], v1 = y[r + 1], v2 = y[r + 2], v3 = y[r + 3];
    const uint16_t *x0 = x, *x1 = x + ld, *x2 = x + 2 * ld, *x3 = x + 3 * ld;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i)
      to[i] += (v0 * wide(x0[i]) + v1 * wide(x1[i])) + (v2 * wide(x2[i]) + v3 * wide(x3[i]));
  }
  for (; r < rows; ++r, x += ld) {
    const float v = y[r];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) to[i] += v * wide(x[i]);
  }
}

// One of m and n is 1; the vector is dense.
void times_vector(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                  int64_t ldc) noexcept {
  const Block& matrix = n == 1 ? a : b;
  const float* y = static_cast<const float*>((n == 1 ? b : a).data);
  const uint16_t* x = static_cast<const uint16_t*>(matrix.data);
  float* out = static_cast<float*>(c);
  const int64_t rows = n == 1 ? m : n, step = n == 1 ? ldc : 1;  // of the result
  if ((matrix.trans == 'N') == (n == 1)) {
    for (int64_t i = 0; i < rows; ++i) {
      const float s = dot(x + i * matrix.ld, y, k);
      out[i * step] = accumulate ? out[i * step] + s : s;
    }
    return;
  }
  constexpr int64_t kRun = 2048;
  float run[kRun];
  for (int64_t i = 0; i < rows; i += kRun) {
    const int64_t count = std::min(kRun, rows - i);
    for (int64_t j = 0; j < count; ++j) run[j] = accumulate ? out[(i + j) * step] : 0;
    add_rows(x + i, matrix.ld, y, k, run, count);
    for (int64_t j = 0; j < count; ++j) out[(i + j) * step] = run[j];
  }
}

}  // namespace

static Gemm bf16_vector() noexcept { return &times_vector; }

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
Gemm bf16_times_vector(Target target) noexcept { return VIVA_CHOOSE(target, bf16_vector)(); }
}  // namespace viva::kernels
#endif
