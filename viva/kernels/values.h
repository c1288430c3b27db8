#pragma once

#include <cstddef>
#include <cstdint>

#include "viva/base/dtype.h"
#include "viva/base/target.h"

// Arithmetic on runs of values, the same bits on every SIMD target.
namespace viva::kernels {

// n values of `t` at `raw` (any alignment) -> f32. F64 and integers are rounded to nearest. Returns false for dtypes that have
// no single values (F4 and F6 packs, complex).
bool widen(DType t, const uint8_t* raw, size_t n, float* out, Target target) noexcept;

// Index of the first NaN or infinity, or n.
size_t first_nonfinite(const float* x, size_t n, Target target) noexcept;

// Sums over x and its approximation y; merged in a fixed order.
struct ErrorSums {
  double signal = 0;     // sum x^2
  double noise = 0;      // sum (x - y)^2
  double absolute = 0;   // sum |x - y|
  double max_error = 0;  // max |x - y|
  double max_value = 0;  // max |x|
  double product = 0;    // sum x * y
  double power = 0;      // sum y^2
  uint64_t count = 0;

  void merge(const ErrorSums& o) noexcept;
  double sqnr_db() const noexcept;     // 10 log10(signal / noise); infinity where there is no error
  double mean_error() const noexcept;  // mean |e| / max |x|
  double rmse() const noexcept;
  double cosine() const noexcept;
};
ErrorSums error_sums(const float* x, const float* y, size_t n, Target target) noexcept;

}  // namespace viva::kernels
