#pragma once

#include <array>
#include <cstdint>

#include "viva/machine/machine.h"
#include "viva/tensor/tensor.h"

// Random numbers as a function of where they stand: Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as
// 1, 2, 3" (SC 2011), so that every machine, target and number of threads gives the same.
namespace viva::kernels {

// Four words for a counter under a key, low words first.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0], b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return c;
}

// The seed is the key; stream and block are the counter's upper and lower half.
struct RandomPlace {
  uint64_t seed, stream, block;
};

struct Draw {
  enum class Kind : uint8_t { kUniform, kNormal, kIntegers, kBernoulli } kind = Kind::kUniform;
  double a = 0, b = 1, top = 1;  // uniform: from, span, largest result; normal: mean, deviation
  int64_t low = 0;               // integers: low + [0, last]
  uint64_t last = 0;
  uint64_t threshold = 0;        // bernoulli: true for words below it
};

// Values of type `t` that one block of four words makes.
uint64_t values_of_block(const Draw& draw, DType t) noexcept;

// Fills `out`, contiguous, with value i from block place.block + i / values_of_block.
void fill_random(const Machine& machine, RandomPlace place, const Draw& draw, const Tensor& out);

// `blocks` times four words.
void random_words(RandomPlace place, size_t blocks, uint32_t* out, Target target) noexcept;

}  // namespace viva::kernels
