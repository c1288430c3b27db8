// The loops of one group of types for every SIMD target. The unit that includes this defines VIVA_LOOP_UNIT (its path),
// VIVA_LOOP_GROUP (a name) and VIVA_LOOP_TYPES(X), X(C++ type). The compiler makes the vectors: nothing is fused or
// reordered, so all targets give the same bits.
#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <limits>
#include <type_traits>

#include "viva/kernels/loops.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE VIVA_LOOP_UNIT
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

#undef VIVA_F
#define VIVA_F inline __attribute__((always_inline))
#include "viva/kernels/functions-inl.h"

template <class F, class T>
constexpr bool kInLanes = std::is_same_v<T, float> && requires { typename F::Lanes; };

template <class F, class T>
constexpr bool kMostUsual = std::is_same_v<T, float> && requires { F::unusual(0.0f, 0.0f); };

// Runs of usual values without a branch; a step of 0 is one value for all. The results may lie where an operand does.
template <class F, size_t kStepA, size_t kStepB>
VIVA_F void in_runs(const float* a, const float* b, float* y, size_t n) {
  constexpr size_t kRun = 256;
  if (n == 0) return;
  const float one_a = *a, one_b = *b;
  const auto left = [=](size_t i) __attribute__((always_inline)) { return kStepA == 0 ? one_a : a[i]; };
  const auto right = [=](size_t i) __attribute__((always_inline)) { return kStepB == 0 ? one_b : b[i]; };
  for (size_t at = 0; at < n; at += kRun) {
    const size_t end = std::min(n, at + kRun);
    int32_t odd = 0;
    for (size_t i = at; i < end; ++i) odd |= F::unusual(left(i), right(i)) ? 1 : 0;
    if (odd != 0) {
      for (size_t i = at; i < end; ++i) y[i] = F{}(left(i), right(i));
    } else {
#pragma GCC ivdep
      for (size_t i = at; i < end; ++i) y[i] = F::usual(left(i), right(i));
    }
  }
}

template <class F, class T>
void loop1(const void* const* in, uint32_t scalars, void* out, size_t n) noexcept {
  using R = decltype(F{}(T{}));
  const T* x = static_cast<const T*>(in[0]);
  R* y = static_cast<R*>(out);
  if (scalars != 0) {
    const R v = F{}(*x);
    for (size_t i = 0; i < n; ++i) y[i] = v;
  } else if constexpr (kInLanes<F, T>) {
    in_lanes(F{}, {x}, y, n);
  } else {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = F{}(x[i]);
  }
}

template <class F, class T>
void loop2(const void* const* in, uint32_t scalars, void* out, size_t n) noexcept {
  using R = decltype(F{}(T{}, T{}));
  const T *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
  R* y = static_cast<R*>(out);
  if (scalars == 3) {
    const R v = F{}(*a, *b);
    for (size_t i = 0; i < n; ++i) y[i] = v;
  } else if constexpr (kInLanes<F, T>) {
    if (scalars == 0) return in_lanes(F{}, {a, b}, y, n);
    const F f;
    const Floats v = *(scalars == 2 ? b : a);
    scalars == 2 ? in_lanes([&](Floats p) __attribute__((always_inline)) { return f(p, v); }, {a}, y, n)
                 : in_lanes([&](Floats p) __attribute__((always_inline)) { return f(v, p); }, {b}, y, n);
  } else if constexpr (kMostUsual<F, T>) {
    scalars == 2 ? in_runs<F, 1, 0>(a, b, y, n) : scalars == 1 ? in_runs<F, 0, 1>(a, b, y, n) : in_runs<F, 1, 1>(a, b, y, n);
  } else if (scalars == 2) {
    const T v = *b;
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = F{}(a[i], v);
  } else if (scalars == 1) {
    const T v = *a;
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = F{}(v, b[i]);
  } else {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) y[i] = F{}(a[i], b[i]);
  }
}

template <LoopId kId, class F, class T>
constexpr Loop choose() {
  if constexpr (!allows(info(kId).types, dtype_of<T>)) {
    return nullptr;
  } else if constexpr (info(kId).operands == 1) {
    return &loop1<F, T>;
  } else {
    return &loop2<F, T>;
  }
}

template <class T>
constexpr LoopRow kRow = {
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) choose<LoopId::NAME, NAME##_f, T>(),
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
};

}  // namespace

static const LoopRow* VIVA_LOOP_GROUP(DType t) noexcept {
#define VIVA_ROW(T) \
  if (t == dtype_of<T>) return &kRow<T>;
  VIVA_LOOP_TYPES(VIVA_ROW)
#undef VIVA_ROW
  return nullptr;
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
const LoopRow* VIVA_LOOP_GROUP(DType t, Target target) noexcept;
const LoopRow* VIVA_LOOP_GROUP(DType t, Target target) noexcept {
  return VIVA_CHOOSE(target, VIVA_LOOP_GROUP)(t);
}
}  // namespace viva::kernels
#endif
