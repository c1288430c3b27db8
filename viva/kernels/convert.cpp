#include <bit>
#include <cmath>
#include <complex>
#include <limits>

#include "viva/kernels/loops.h"
#include "viva/kernels/values.h"
#include "viva/tensor/tensor.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

// The casts of float16.h without branches.
static void narrow_to_bf16(const void* from, void* to, size_t n) noexcept {
  const float* x = static_cast<const float*>(from);
  uint16_t* y = static_cast<uint16_t*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) {
    const uint32_t u = std::bit_cast<uint32_t>(x[i]), rounded = u + 0x7fff + ((u >> 16) & 1);
    const bool nan = (u & 0x7fffffff) > 0x7f800000;
    y[i] = static_cast<uint16_t>((nan ? u | 0x400000 : rounded) >> 16);
  }
}
static void narrow_to_f16(const void* from, void* to, size_t n) noexcept {
  const float* x = static_cast<const float*>(from);
  uint16_t* y = static_cast<uint16_t*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) {
    const uint32_t u = std::bit_cast<uint32_t>(x[i]), a = u & 0x7fffffff;
    const uint32_t tiny = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0.5f) - 0x3f000000;
    const uint32_t normal = (a + 0xfff + ((a >> 13) & 1) - 0x38000000) >> 13;
    const uint32_t finite = a < 0x38800000 ? tiny : normal;
    const uint32_t special = a > 0x7f800000 ? 0x7e00 : 0x7c00;
    y[i] = static_cast<uint16_t>((a >= 0x477ff000 ? special : finite) | ((u >> 16) & 0x8000));
  }
}

template <class From, class To>
static void convert_often(const void* from, void* to, size_t n) noexcept {
  const From* x = static_cast<const From*>(from);
  To* y = static_cast<To*>(to);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<To>(x[i]);
}
// Those that are asked for often; null: the others are not worth a unit of their own for each target.
static Convert often(DType from, DType to) noexcept {
  if (from == DType::kF32 && to == DType::kF64) return &convert_often<float, double>;
  if (from == DType::kF64 && to == DType::kF32) return &convert_often<double, float>;
  if (from == DType::kI32 && to == DType::kF32) return &convert_often<int32_t, float>;
  if (from == DType::kU8 && to == DType::kF32) return &convert_often<uint8_t, float>;
  return nullptr;
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"

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
  if (from == DType::kF32 && to == DType::kBF16) return VIVA_CHOOSE(target, narrow_to_bf16);
  if (from == DType::kF32 && to == DType::kF16) return VIVA_CHOOSE(target, narrow_to_f16);
  Convert f = VIVA_CHOOSE(target, often)(from, to);
  if (f != nullptr) return f;
  with_element(from, [&](auto a) {
    with_element(to, [&](auto b) { f = &convert<decltype(a), decltype(b)>; });
  });
  return f;
}

}  // namespace viva::kernels
#endif
