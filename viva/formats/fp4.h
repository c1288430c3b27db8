// FP4 as bitsandbytes stores it: its own eight magnitudes (not E2M1), f32 absmax per block.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Fp4 {
  static constexpr std::string_view kName = "fp4";
  static constexpr std::string_view kSummary = "4-bit float, 64 values share an f32 scale (bitsandbytes)";
  static constexpr uint32_t kGroup = 64;
  static constexpr uint32_t kGroups[] = {32, 64, 128, 256, 512, 1024, 2048, 4096};
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHighFirst;
  static constexpr bool kInterleaved = false;

  static constexpr float kTiny = 0.0625f / 12.0f, kSixth = 2.0f / 12.0f, kThird = 4.0f / 12.0f,
                         kTwoThirds = 8.0f / 12.0f;
  static constexpr Levels8 kMagnitudes{{0.0f, kTiny, kSixth, 0.25f, kThird, 0.5f, kTwoThirds, 1.0f}};
  // Both zeros are levels: what is above zero but nearest to it becomes code 8, as bitsandbytes' CPU path has
  // it.
  static constexpr Levels16 kSorted{{-1.0f, -kTwoThirds, -0.5f, -kThird, -0.25f, -kSixth, -kTiny, 0.0f, 0.0f,
                                     kTiny, kSixth, 0.25f, kThird, 0.5f, kTwoThirds, 1.0f}};
  alignas(64) static constexpr float kCodes[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
  alignas(64) static constexpr float kValues[16] = {0.0f,    kTiny, kTwoThirds, 1.0f,   kThird,      0.5f,
                                                    kSixth,  0.25f, 0.0f,       -kTiny, -kTwoThirds, -1.0f,
                                                    -kThird, -0.5f, -kSixth,    -0.25f};

  struct Fit {
    F scale, inverse;
    bool divide = false;  // bitsandbytes divides in a short last block and multiplies elsewhere
  };

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF32}}; }

  static Fit reference(const F* x, size_t n, const Coding& coding) {
    const F absmax = absmax_of(x, n);
    const F safe = max(absmax, F(1e-38f));
    const bool last = n < (coding.group != 0 ? coding.group : kGroup);
    return {last ? safe : absmax, F(1.0f) / safe, last};
  }

  static constexpr std::array<float, 8> kShares = {0.75f, 0.8f, 0.85f, 0.9f, 0.95f, 1.0f, 1.05f, 1.1f};

  // On Gaussian weights 0.01 dB from the best of 160 trials and three refits.
  static Fit best(const F* x, size_t n, const Coding& coding) {
    const Fit first = reference(x, n, coding);
    const F absmax = absmax_of(x, n);
    const auto snap = [](auto& values) VIVA_INL_LAMBDA {
      for (F& v : values) v = copy_sign(lookup8(kMagnitudes.level, kMagnitudes.nearest(abs(v))), v);
    };
    const F scale = search_level_scale(x, n, absmax, kShares, false, 1.2f, snap);
    const Fit found = {scale, F(1.0f) / scale, first.divide};
    const M better = in_reach(absmax) & beats(error_of<Fp4>(x, n, found), error_of<Fp4>(x, n, first));
    return {select(better, found.scale, first.scale), select(better, found.inverse, first.inverse),
            first.divide};
  }

  static VIVA_INL I code(F x, const Fit& fit) {
    return to_int(
        lookup16(kCodes, kSorted.nearest(clamp(fit.divide ? x / fit.scale : x * fit.inverse, -1.0f, 1.0f))));
  }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kValues, code) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = bits(fit.scale); }
  static Fit load(const I* field, const Coding&) { return {from_bits(field[0]), F(0.0f)}; }
};

using ThisFormat = Fp4;

VIVA_LANES_CLOSE
