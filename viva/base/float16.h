#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// The small floats in one place: scalar truth for every cast between f32 and f16, bf16, f8e4m3, f8e5m2, e8m0, e2m1.
// All narrowing is round to nearest, ties to even. Compared value by value with torch (tests/base_test.cpp).
namespace viva {

inline float bf16_to_f32(uint16_t h) noexcept { return std::bit_cast<float>(uint32_t{h} << 16); }

inline uint16_t f32_to_bf16(float f) noexcept {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

inline float f16_to_f32(uint16_t h) noexcept {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t magnitude = h & 0x7fffu;
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
  // Shifted into place the exponent is 112 too small; the product repairs it, for subnormals too, exactly.
  const float f = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(f));
}

inline uint16_t f32_to_f16(float f) noexcept {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (u >> 16) & 0x8000;
  const uint32_t a = u & 0x7fffffff;
  if (a > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (a >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // 65520 and more
  if (a < 0x38800000) {                                              // below 2^-14: multiples of 2^-24
    const float scaled = std::bit_cast<float>(a) + 0.5f;             // the sum rounds to 2^-24, ties to even
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) - 0x3f000000));
  }
  const uint32_t rounded = a + 0xfff + ((a >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

namespace detail {
// One narrow float with `kMan` mantissa bits and exponent bias `kBias`; callers deal with overflow and NaN.
template <int kMan, int kBias>
inline uint32_t narrow(uint32_t magnitude_bits) noexcept {
  constexpr uint32_t kMinNormal = uint32_t{127 + 1 - kBias} << 23;
  if (magnitude_bits < kMinNormal) {
    // Adding this power of two leaves exactly the subnormal's bits at the end of the sum's mantissa.
    constexpr uint32_t kMagic = uint32_t{127 + 1 - kBias + 23 - kMan} << 23;
    const float sum = std::bit_cast<float>(magnitude_bits) + std::bit_cast<float>(kMagic);
    return std::bit_cast<uint32_t>(sum) - kMagic;
  }
  const uint32_t odd = (magnitude_bits >> (23 - kMan)) & 1;
  const uint32_t rounded = magnitude_bits + (1u << (22 - kMan)) - 1 + odd;
  return (rounded - (uint32_t{127 - kBias} << 23)) >> (23 - kMan);
}
}  // namespace detail

// E4M3 "FN": no infinities, 0x7f is NaN, largest 448. Saturates: what rounds above 448, and infinity, become 448.
inline uint8_t f32_to_e4m3(float f) noexcept {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (u >> 24) & 0x80;
  const uint32_t a = u & 0x7fffffff;
  if (a > 0x7f800000) return static_cast<uint8_t>(sign | 0x7f);
  if (a >= 0x43e00000) return static_cast<uint8_t>(sign | 0x7e);  // 448 and more
  return static_cast<uint8_t>(sign | detail::narrow<3, 7>(a));
}

inline float e4m3_to_f32(uint8_t b) noexcept {
  const uint32_t sign = uint32_t{b & 0x80u} << 24;
  const uint32_t m = b & 0x7fu;
  if (m == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000);
  const float f = std::bit_cast<float>(m << 20) * 0x1p120f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(f));
}

// E5M2: as f16 with 2 mantissa bits; 61440 and more become infinity.
inline uint8_t f32_to_e5m2(float f) noexcept {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  const uint32_t sign = (u >> 24) & 0x80;
  const uint32_t a = u & 0x7fffffff;
  if (a > 0x7f800000) return static_cast<uint8_t>(sign | 0x7f);
  if (a >= 0x47700000) return static_cast<uint8_t>(sign | 0x7c);
  return static_cast<uint8_t>(sign | detail::narrow<2, 15>(a));
}

inline float e5m2_to_f32(uint8_t b) noexcept { return f16_to_f32(static_cast<uint16_t>(uint16_t{b} << 8)); }

// E8M0: 2^(byte - 127), 0xff is NaN.
inline float e8m0_to_f32(uint8_t b) noexcept {
  if (b == 0xff) return std::bit_cast<float>(0x7fc00000u);
  return std::bit_cast<float>(b == 0 ? 0x00400000u : uint32_t{b} << 23);
}

// E2M1 (FP4): bit 3 is the sign.
inline constexpr float kE2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

}  // namespace viva
