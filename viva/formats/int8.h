// LLM.int8 rows of bitsandbytes: w = q * SCB / 127 with q in -127..127; SCB is the row's largest magnitude.
// The reference sees the weight through a cast to f16.

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct Int8 {
  static constexpr std::string_view kName = "int8";
  static constexpr std::string_view kSummary = "8 bits, the row shares an f32 scale (bitsandbytes LLM.int8)";
  static constexpr uint32_t kGroup = 0;
  static constexpr bool kAlongRow = true;
  static constexpr int kCodeBits = 8;
  static constexpr bool kSignedCodes = true;
  static constexpr DType kCodesType = DType::kI8;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;

  struct Fit {
    F scale, inverse;  // SCB, and codes per unit
    bool as_reference;
  };

  // Codes of the largest magnitude that are tried.
  static constexpr float kSteps[12] = {124.0f, 124.5f, 125.0f, 125.5f, 126.0f, 126.5f,
                                       127.0f, 127.4f, 127.8f, 128.2f, 128.6f, 129.0f};

  static constexpr float kPerCode = 7.874015718698502e-3f;  // bitsandbytes' 1 / 127

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF32}}; }

  // Values that f16 cannot hold count as its largest.
  static VIVA_INL F cast(F x) { return f16_round(clamp(x, -65504.0f, 65504.0f)); }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding&) {
    const F scale =
        cast(row_absmax(x, n));  // casting keeps order: the cast of the largest is the largest cast
    return {scale, reciprocal(scale) * F(127.0f), true};
  }

  // The weight itself is coded, not its cast. On Gaussian rows of 1024 42.178 dB; the exact optimum
  // is 42.187.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    Fit fit = reference(x, n, c);
    const F error = squared_error<true>(
        x, n, [&](F v) VIVA_INL_LAMBDA { return value(round(cast(v) * fit.inverse), fit); });
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale * F(kPerCode); };
    const M found = search_grid_scale<true>(x, n, row_absmax(x, n), kSteps, -127.0f, 127.0f, false,
                                            DType::kF32, Unit{127.0f, kPerCode}, scaled, error, fit.scale);
    fit.as_reference = none(found);
    if (!fit.as_reference) fit.inverse = reciprocal(fit.scale * F(kPerCode));
    return fit;
  }

  static VIVA_INL F code(F x, const Fit& fit) { return round(clamp(x * fit.inverse, -127.0f, 127.0f)); }
  template <DType>
  static VIVA_INL F reference_code(F x, const Fit& fit) {
    return round(cast(x) * fit.inverse);
  }
  static VIVA_INL F value(F code, const Fit& fit) { return code * fit.scale * F(kPerCode); }
  static VIVA_INL void store(const Fit& fit, const Coding&, I* field) { field[0] = bits(fit.scale); }
  static VIVA_INL Fit load(const I* field, const Coding&) { return {from_bits(field[0]), F(0.0f), false}; }
};

using ThisFormat = Int8;

VIVA_LANES_CLOSE
