#pragma once

#include <cstddef>
#include <cstdint>

// Numbers for benchmarks: the same for the same (seed, strip) on every machine and thread count, so that a
// table larger than memory can be made strip by strip, and made again.
namespace viva::bench {

// Standard normal values times `std` (Marsaglia and Tsang, The Ziggurat Method, 2000).
void fill_gaussian(float* x, size_t n, float std, uint64_t seed, uint64_t strip);
// Uniform values in [-1, 1).
void fill_uniform(float* x, size_t n, uint64_t seed, uint64_t strip);

}  // namespace viva::bench
