#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <type_traits>
#include <utility>

#include "viva/base/element.h"
#include "viva/machine/machine.h"

// Order among values: keys whose unsigned order is theirs, and sorting by them.
namespace viva::kernels {

inline constexpr int64_t kRadix = 512;            // values from which digits are counted
inline constexpr int64_t kParallel = 256 * 1024;  // of one row, from which it is sorted in parts

// An unsigned number in the order of the values, NaN last both ways. -0 and 0 are equal for of(), neighbours for exact().
template <class T>
struct Key {
  using Bits = std::conditional_t<sizeof(T) == 1, uint8_t, std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;
  static constexpr Bits kTop = static_cast<Bits>(Bits{1} << (8 * sizeof(T) - 1)), kAll = static_cast<Bits>(~Bits{0});
  static constexpr bool kFloat = std::is_same_v<T, F16> || std::is_same_v<T, BF16> || std::is_floating_point_v<T>;
  static constexpr Bits kInfinite = std::is_same_v<T, F16>     ? Bits(0x7c00)
                                    : std::is_same_v<T, BF16>  ? Bits(0x7f80)
                                    : std::is_same_v<T, float> ? static_cast<Bits>(0x7f800000)
                                                               : static_cast<Bits>(0x7ff0000000000000);
  static bool is_zero(T v) noexcept { return (std::bit_cast<Bits>(v) & static_cast<Bits>(~kTop)) == 0; }

  static Bits of(T v, bool descending) noexcept {
    if constexpr (kFloat) {
      if (is_zero(v)) v = std::bit_cast<T>(Bits{0});
    }
    return exact(v, descending);
  }
  static Bits exact(T v, bool descending) noexcept {
    Bits b = std::bit_cast<Bits>(v);
    if constexpr (kFloat) {
      if ((b & static_cast<Bits>(~kTop)) > kInfinite) return kAll;
      b = (b & kTop) != 0 ? static_cast<Bits>(~b) : static_cast<Bits>(b | kTop);
    } else if constexpr (std::is_signed_v<T>) {
      b = static_cast<Bits>(b ^ kTop);
    }
    return descending ? static_cast<Bits>(~b) : b;
  }
  // The value whose exact() it is; NaN for that of any NaN.
  static T value(Bits b, bool descending) noexcept {
    if constexpr (kFloat) {
      if (b == kAll) return std::bit_cast<T>(static_cast<Bits>(kAll & ~kTop));
    }
    if (descending) b = static_cast<Bits>(~b);
    if constexpr (kFloat) {
      b = (b & kTop) != 0 ? static_cast<Bits>(b & ~kTop) : static_cast<Bits>(~b);
    } else if constexpr (std::is_signed_v<T>) {
      b = static_cast<Bits>(b ^ kTop);
    }
    return std::bit_cast<T>(b);
  }
};

template <class K, class I>
struct Entry {
  K key;
  I index;
};

// What is sorted: keys with the places where they were, or keys alone.
template <class K, class I>
K key_of(const Entry<K, I>& e) noexcept { return e.key; }
template <std::unsigned_integral K>
K key_of(K key) noexcept { return key; }
template <class K, class I>
bool in_order(const Entry<K, I>& a, const Entry<K, I>& b) noexcept { return a.key != b.key ? a.key < b.key : a.index < b.index; }
template <std::unsigned_integral K>
bool in_order(K a, K b) noexcept { return a < b; }

// Stable, by counting one byte after the other; bytes that all have in common cost nothing. `other` is of the same size.
template <class E>
void radix_sort(E* e, E* other, size_t n) {
  using K = decltype(key_of(*e));
  if (n < static_cast<size_t>(kRadix)) {
    // Indices are in order: with them the order is total, and nothing is allocated.
    std::sort(e, e + n, [](const E& a, const E& b) { return in_order(a, b); });
    return;
  }
  size_t counts[sizeof(K)][256] = {};
  for (size_t i = 0; i < n; ++i) {
    for (size_t d = 0; d < sizeof(K); ++d) ++counts[d][key_of(e[i]) >> (8 * d) & 255];
  }
  E *from = e, *to = other;
  for (size_t d = 0; d < sizeof(K); ++d) {
    size_t* count = counts[d];
    if (count[key_of(from[0]) >> (8 * d) & 255] == n) continue;
    size_t at = 0;
    for (size_t b = 0; b < 256; ++b) at += std::exchange(count[b], at);
    for (size_t i = 0; i < n; ++i) to[count[key_of(from[i]) >> (8 * d) & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != e) std::copy(from, from + n, e);
}

// How many of the first k of what a and b are merged to come from a; equal ones of a come first.
template <class E>
size_t merged_from_first(const E* a, size_t na, const E* b, size_t nb, size_t k) {
  size_t low = k > nb ? k - nb : 0, high = std::min(k, na);
  while (low < high) {
    const size_t i = low + (high - low) / 2;
    key_of(b[k - i - 1]) < key_of(a[i]) ? high = i : low = i + 1;
  }
  return low;
}

// The same on all threads: parts, then merged in pairs, each pair in as many pieces as there are threads. A stable order
// depends on neither.
template <class E>
void sort_row(const Machine& machine, E* e, E* other, size_t n) {
  size_t parts = 1;
  while (parts < machine.threads() && static_cast<int64_t>(n / (2 * parts)) >= kParallel / 2) parts *= 2;
  const auto at = [&](size_t p) { return n / parts * p + std::min(p, n % parts); };
  if (parts == 1) return radix_sort(e, other, n);
  machine.parallel_for(parts, [&](size_t p) { radix_sort(e + at(p), other + at(p), at(p + 1) - at(p)); });
  E *from = e, *to = other;
  for (size_t step = 1; step < parts; step *= 2, std::swap(from, to)) {
    const size_t pairs = parts / (2 * step), pieces = parts / pairs;
    machine.parallel_for(parts, [&](size_t t) {
      const size_t i = t / pieces, first = at(2 * i * step), second = at((2 * i + 1) * step), end = at((2 * i + 2) * step);
      const E *a = from + first, *b = from + second;
      const size_t na = second - first, nb = end - second, all = na + nb, piece = t % pieces;
      const size_t k0 = all / pieces * piece, k1 = piece + 1 == pieces ? all : k0 + all / pieces;
      const size_t a0 = merged_from_first(a, na, b, nb, k0), a1 = merged_from_first(a, na, b, nb, k1);
      std::merge(a + a0, a + a1, b + (k0 - a0), b + (k1 - a1), to + first + k0, [](const E& x, const E& y) { return key_of(x) < key_of(y); });
    });
  }
  if (from != e) std::copy(from, from + n, e);
}

// f(zero) with the type of real values.
template <class F>
void with_real(DType t, F f) {
  with_element(t, [&](auto zero) {
    if constexpr (sizeof zero <= 8 && !std::is_same_v<decltype(zero), std::complex<float>>) f(zero);
  });
}

}  // namespace viva::kernels
