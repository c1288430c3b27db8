#pragma once

#include <complex>
#include <cstdint>
#include <type_traits>

#include "viva/base/dtype.h"
#include "viva/base/float16.h"

// The C++ types of tensor elements.
namespace viva {

// IEEE binary16 and bfloat16: storage; arithmetic is done in f32.
struct F16 {
  uint16_t bits = 0;
  F16() = default;
  explicit F16(float f) noexcept : bits(f32_to_f16(f)) {}
  explicit operator float() const noexcept { return f16_to_f32(bits); }
};
struct BF16 {
  uint16_t bits = 0;
  BF16() = default;
  explicit BF16(float f) noexcept : bits(f32_to_bf16(f)) {}
  explicit operator float() const noexcept { return bf16_to_f32(bits); }
};

// X(C++ type, DType) for every type that tensors compute with.
#define VIVA_ELEMENTS(X)          \
  X(bool, kBool)                  \
  X(uint8_t, kU8)                 \
  X(int8_t, kI8)                  \
  X(uint16_t, kU16)               \
  X(int16_t, kI16)                \
  X(uint32_t, kU32)               \
  X(int32_t, kI32)                \
  X(uint64_t, kU64)               \
  X(int64_t, kI64)                \
  X(F16, kF16)                    \
  X(BF16, kBF16)                  \
  X(float, kF32)                  \
  X(double, kF64)                 \
  X(std::complex<float>, kC64)    \
  X(std::complex<double>, kC128)

template <class T>
struct ElementType;
#define VIVA_ELEMENT(T, D)                 \
  template <>                              \
  struct ElementType<T> {                  \
    static constexpr DType kDType = DType::D; \
  };
VIVA_ELEMENTS(VIVA_ELEMENT)
#undef VIVA_ELEMENT
template <class T>
inline constexpr DType dtype_of = ElementType<T>::kDType;

// Calls f(T{}) with the C++ type of `t`; false where tensors do not compute with it (F4 packs, FP8).
template <class F>
constexpr bool with_element(DType t, F&& f) {
  switch (t) {
#define VIVA_ELEMENT(T, D) \
  case DType::D:           \
    f(T{});                \
    return true;
    VIVA_ELEMENTS(VIVA_ELEMENT)
#undef VIVA_ELEMENT
    default:
      return false;
  }
}

constexpr bool is_bool(DType t) noexcept { return t == DType::kBool; }
constexpr bool is_complex(DType t) noexcept { return t == DType::kC64 || t == DType::kC128; }
constexpr bool is_real_float(DType t) noexcept {
  return t == DType::kF16 || t == DType::kBF16 || t == DType::kF32 || t == DType::kF64;
}
constexpr bool is_signed_int(DType t) noexcept {
  return t == DType::kI8 || t == DType::kI16 || t == DType::kI32 || t == DType::kI64;
}
constexpr bool is_unsigned_int(DType t) noexcept {
  return t == DType::kU8 || t == DType::kU16 || t == DType::kU32 || t == DType::kU64;
}
constexpr bool is_int(DType t) noexcept { return is_signed_int(t) || is_unsigned_int(t); }
constexpr bool is_element(DType t) noexcept {
  return is_bool(t) || is_int(t) || is_real_float(t) || is_complex(t);
}

}  // namespace viva
