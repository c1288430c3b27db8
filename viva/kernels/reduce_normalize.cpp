// The passes of normalize.h for every SIMD target; among the reduce_* units for their compiler options.
#include <bit>
#include <cmath>
#include <limits>

#include "viva/kernels/normalize.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/reduce_normalize.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

#undef VIVA_F
#define VIVA_F inline __attribute__((always_inline))
#include "viva/kernels/math-inl.h"

template <class T>
void exps(const void* x, size_t n, double center, void* y) noexcept {
  const T* p = static_cast<const T*>(x);
  T* q = static_cast<T*>(y);
  const T c = static_cast<T>(center);
  if constexpr (std::is_same_v<T, float>) {
    in_lanes([c](Floats v) __attribute__((always_inline)) { return exp_fast(v - c); }, {p}, q, n);
  } else {
    for (size_t i = 0; i < n; ++i) q[i] = std::exp(p[i] - c);
  }
}
template <class T>
void scale(const void* x, size_t n, double center, double by, double plus, void* y) noexcept {
  const T* p = static_cast<const T*>(x);
  T* q = static_cast<T*>(y);
  const T c = static_cast<T>(center), a = static_cast<T>(by), b = static_cast<T>(plus);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) q[i] = (p[i] - c) * a + b;
}
template <class T>
void weigh(const void* x, size_t n, double center, double by, const void* weight, const void* bias, void* y) noexcept {
  const T *p = static_cast<const T*>(x), *w = static_cast<const T*>(weight), *b = static_cast<const T*>(bias);
  T* q = static_cast<T*>(y);
  const T c = static_cast<T>(center), a = static_cast<T>(by);
  if (w != nullptr && b != nullptr) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) q[i] = (p[i] - c) * a * w[i] + b[i];
  } else if (w != nullptr) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) q[i] = (p[i] - c) * a * w[i];
  } else if (b != nullptr) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) q[i] = (p[i] - c) * a + b[i];
  } else {
    scale<T>(x, n, center, by, 0, y);
  }
}
template <class T>
constexpr NormalizeCode kCode = {&exps<T>, &scale<T>, &weigh<T>};

}  // namespace

static const NormalizeCode& code_for(bool wide) noexcept { return wide ? kCode<double> : kCode<float>; }

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
const NormalizeCode& normalize_code(DType compute, Target target) noexcept {
  return VIVA_CHOOSE(target, code_for)(compute == DType::kF64);
}
}  // namespace viva::kernels
#endif
