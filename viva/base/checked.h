#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace viva {

// Products and sums of untrusted sizes: empty instead of wrapping around.
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) noexcept {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) noexcept {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

// Shapes of untrusted files: the number of values, or empty where it does not fit in 63 bits.
template <class Range>
std::optional<uint64_t> checked_product(const Range& dims) noexcept {
  uint64_t n = 1;
  for (uint64_t d : dims) {
    if (__builtin_mul_overflow(n, d, &n)) return std::nullopt;
  }
  if (n >> 63) return std::nullopt;
  return n;
}

constexpr size_t ceil_div(size_t a, size_t b) noexcept { return a / b + (a % b != 0); }
constexpr size_t round_up(size_t a, size_t b) noexcept { return ceil_div(a, b) * b; }

}  // namespace viva
