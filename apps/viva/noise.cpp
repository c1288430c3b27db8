#include "apps/viva/noise.h"

#include <array>
#include <cmath>

namespace viva::bench {
namespace {

// splitmix64: the n-th number is a hash of seed + n * constant, so streams need no state from elsewhere.
class Counter {
 public:
  Counter(uint64_t seed, uint64_t strip) : state_(mix(mix(seed) + strip)) {}
  uint64_t next() { return mix(state_ += 0x9e3779b97f4a7c15u); }
  double open_unit() { return (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53; }

 private:
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

// Layers of equal area under exp(-x^2 / 2). Layer 0 is the base strip with the tail.
constexpr int kLayers = 128;
constexpr double kTail = 3.442619855899, kArea = 9.91256303526217e-3;

struct Ziggurat {
  std::array<double, kLayers + 1> edge, height;  // edge[i] falls with i; height[i] = f(edge[i])
  std::array<float, kLayers> width;              // edge[i] / 2^31
  std::array<uint32_t, kLayers> sure;            // below it, edge[i+1] is not passed: accepted at once

  Ziggurat() {
    const auto f = [](double x) { return std::exp(-0.5 * x * x); };
    edge[0] = kArea / f(kTail);  // a rectangle of the base layer's area
    edge[1] = kTail;
    for (int i = 2; i < kLayers; ++i)
      edge[i] = std::sqrt(-2.0 * std::log(kArea / edge[i - 1] + f(edge[i - 1])));
    edge[kLayers] = 0;
    for (int i = 0; i <= kLayers; ++i) height[i] = f(edge[i]);
    for (int i = 0; i < kLayers; ++i) {
      width[i] = static_cast<float>(edge[i] * 0x1p-31);
      sure[i] = static_cast<uint32_t>(edge[i + 1] / edge[i] * 0x1p31);
    }
  }
};

float normal(Counter& random, const Ziggurat& z) {
  for (;;) {
    const uint64_t bits = random.next();
    const auto layer = static_cast<size_t>(bits & (kLayers - 1));
    const float sign = (bits & 0x80) != 0 ? -1.0f : 1.0f;
    const auto u = static_cast<uint32_t>(bits >> 33);  // 31 bits, none shared with layer and sign
    const float x = static_cast<float>(u) * z.width[layer];
    if (u < z.sure[layer]) return sign * x;
    if (layer == 0) {
      double a, b;
      do {
        a = -std::log(random.open_unit()) / kTail;
        b = -std::log(random.open_unit());
      } while (b + b < a * a);
      return sign * static_cast<float>(kTail + a);
    }
    const double y = z.height[layer] + random.open_unit() * (z.height[layer + 1] - z.height[layer]);
    if (y < std::exp(-0.5 * static_cast<double>(x) * x)) return sign * x;
  }
}

}  // namespace

void fill_gaussian(float* x, size_t n, float std, uint64_t seed, uint64_t strip) {
  static const Ziggurat ziggurat;
  Counter random(seed, strip);
  for (size_t i = 0; i < n; ++i) x[i] = std * normal(random, ziggurat);
}

void fill_uniform(float* x, size_t n, uint64_t seed, uint64_t strip) {
  Counter random(seed, strip);
  for (size_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(static_cast<int64_t>(random.next()) >> 40) * 0x1p-23f;
}

}  // namespace viva::bench
