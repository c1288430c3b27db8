#pragma once

#include <cmath>

#include "viva/ops/arg.h"

// Random numbers without state that is shared: a Generator is a value, and each verb moves it on. The numbers are a function
// of (seed, stream, counter) alone, in arithmetic that is exact on every machine: the same seed gives the same bits on every
// processor, SIMD target and number of threads (Philox4x32-10, viva/kernels/random.h).
namespace viva {

struct Generator {
  uint64_t seed = 0;
  uint64_t counter = 0;  // blocks of four 32-bit words that were used; a verb begins with a new one
  uint64_t stream = 0;   // 2^64 of them, of 2^64 blocks each

  // Number i of generators that are independent of this one and of each other, whatever this one's counter is.
  Generator split(uint64_t i) const noexcept;
  bool operator==(const Generator&) const = default;
};

// In [low, high), all equally likely (steps of 2^-24 of the width, in f64 of 2^-53); f16, bf16, f32, f64.
Tensor uniform(const Machine& machine, Generator& g, const Shape& shape, double low = 0, double high = 1, DType dtype = kDefaultFloat);
// Normally distributed, by Box and Muller; f16, bf16, f32, f64.
Tensor normal(const Machine& machine, Generator& g, const Shape& shape, double mean = 0, double deviation = 1, DType dtype = kDefaultFloat);
// In [low, high); any integer type that holds them.
Tensor integers(const Machine& machine, Generator& g, const Shape& shape, int64_t low, int64_t high, DType dtype = kDefaultInt);
// true with probability p, in steps of 2^-32.
Tensor bernoulli(const Machine& machine, Generator& g, const Shape& shape, double p = 0.5);
// 0 to n - 1, i64, in an order that is one of n! equally likely ones.
Tensor permutation(const Machine& machine, Generator& g, int64_t n);

// ---- weights to begin with, of shape (out, in, ...): fan_in is the number of values behind one of the first axis, fan_out
// that of the second (a kernel's places count for both) ----

enum class Fan : uint8_t { kIn, kOut };
inline constexpr double kReluGain = 1.41421356237309504880;
// Glorot and Bengio 2010: variance gain^2 2 / (fan_in + fan_out).
Tensor xavier_uniform(const Machine& machine, Generator& g, const Shape& shape, double gain = 1, DType dtype = kDefaultFloat);
Tensor xavier_normal(const Machine& machine, Generator& g, const Shape& shape, double gain = 1, DType dtype = kDefaultFloat);
// He et al. 2015 ("Kaiming"): variance gain^2 / fan.
Tensor he_uniform(const Machine& machine, Generator& g, const Shape& shape, double gain = kReluGain, Fan fan = Fan::kIn, DType dtype = kDefaultFloat);
Tensor he_normal(const Machine& machine, Generator& g, const Shape& shape, double gain = kReluGain, Fan fan = Fan::kIn, DType dtype = kDefaultFloat);
// Saxe et al. 2013: as a matrix (first axis, the others) its rows, or where these are more its columns, are orthogonal and of
// length `gain`; every rotation is equally likely.
Tensor orthogonal(const Machine& machine, Generator& g, const Shape& shape, double gain = 1, DType dtype = kDefaultFloat);

}  // namespace viva
