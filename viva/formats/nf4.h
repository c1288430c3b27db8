// NF4 of QLoRA as bitsandbytes stores it: sixteen quantiles of a normal distribution, f32 absmax per block.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Nf4 {
  static constexpr std::string_view kName = "nf4";
  static constexpr std::string_view kSummary =
      "4-bit normal quantiles, 64 values share an f32 scale (bitsandbytes)";
  static constexpr uint32_t kGroup = 64;
  static constexpr uint32_t kGroups[] = {32, 64, 128, 256, 512, 1024, 2048, 4096};
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHighFirst;
  static constexpr bool kInterleaved = false;
  static constexpr bool kSignedScale = true;

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

  // On Gaussian weights within 0.01 dB of the best scale up to 1.16 absmax, and within 0.04 dB (blocks of 64)
  // or 0.02 dB (128) of the best scale of all, as found by 160 trials and three refits with either sign.
  static Fit best(const F* x, size_t n, const Coding& coding) {
    const Fit first = reference(x, n, coding);
    const F absmax = absmax_of(x, n);
    constexpr std::array<float, 5> kShares = {0.82f, 0.88f, 0.94f, 1.0f, 1.06f};
    const F scale = search_nf4_scale(x, n, absmax, kShares, coding.signed_scale);
    const Fit found = {scale, F(1.0f) / scale, first.divide};
    const M better = in_reach(absmax) & beats(error_of<Nf4>(x, n, found), error_of<Nf4>(x, n, first));
    return {select(better, found.scale, first.scale), select(better, found.inverse, first.inverse),
            first.divide};
  }

  static VIVA_INL I code(F x, const Fit& fit) {
    return kNf4.nearest(fit.divide ? x / fit.scale : x * fit.inverse);  // what lies past an end is nearest to it
  }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kNf4.level, code) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = bits(fit.scale); }
  static Fit load(const I* field, const Coding&) { return {from_bits(field[0]), F(0.0f)}; }
};

using ThisFormat = Nf4;

VIVA_LANES_CLOSE
