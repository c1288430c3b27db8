#include <cmath>
#include <complex>
#include <limits>

#include "viva/kernels/loops.h"
#include "viva/kernels/values.h"
#include "viva/tensor/tensor.h"

namespace viva::kernels {

namespace {

template <class From, class To>
void convert(const void* from, void* to, size_t n) noexcept {
  const From* x = static_cast<const From*>(from);
  To* y = static_cast<To*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) y[i] = element_cast<From, To>(x[i]);
}

template <DType kFrom, Target kTarget>
void widen_half(const void* from, void* to, size_t n) noexcept {
  widen(kFrom, static_cast<const uint8_t*>(from), n, static_cast<float*>(to), kTarget);
}
template <DType kFrom>
Convert widen_for(Target t) {
  return t == Target::kAvx3 ? &widen_half<kFrom, Target::kAvx3> : t == Target::kAvx2 ? &widen_half<kFrom, Target::kAvx2>
                                                                                     : &widen_half<kFrom, Target::kSse4>;
}

}  // namespace

Convert find_convert(DType from, DType to, Target target) noexcept {
  if (to == DType::kF32 && from == DType::kF16) return widen_for<DType::kF16>(target);
  if (to == DType::kF32 && from == DType::kBF16) return widen_for<DType::kBF16>(target);
  Convert f = nullptr;
  with_element(from, [&](auto a) {
    with_element(to, [&](auto b) { f = &convert<decltype(a), decltype(b)>; });
  });
  return f;
}

}  // namespace viva::kernels
