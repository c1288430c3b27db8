// Asymmetric int4 of compressed-tensors (pack-quantized): w = (code - zero) * scale with code and zero in
// 0..15, which are q + 8 and zero_point + 8 of the package. Stored here with one byte per zero; io packs them
// eight to a word.

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct Int4Asym {
  static constexpr std::string_view kName = "int4-asym";
  static constexpr std::string_view kSummary =
      "4 bits, groups share a scale and a zero point (compressed-tensors)";
  static constexpr uint32_t kGroup = 128;
  static constexpr uint32_t kGroups[] = {32, 128};
  static constexpr bool kGroupInName = true;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kLowFirst;
  static constexpr bool kInterleaved = false;
  static constexpr size_t kCodesAlign = 4;

  struct Fit {
    F scale, zero;  // zero: as stored, 0..15
  };

  static constexpr Fields fields(const Coding& c) {
    return {{Role::kScale, c.scale}, {Role::kZero, DType::kU8}};
  }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding& c) {
    F low(0.0f), high(0.0f);
    for (size_t i = 0; i < n; ++i) low = min(low, x[i]), high = max(high, x[i]);
    const F range = round_to(c.arithmetic, high - low);
    const F scale = round_to(c.scale, round_to(c.arithmetic, range / F(15.0f)));
    const F at_low = round_to(c.arithmetic, F(-8.0f) - round_to(c.arithmetic, low / scale));
    // Where the scale is or rounds to zero, the package's quotient is NaN, which becomes 0, or infinite.
    const F flat = select(low == F(0.0f), F(0.0f), F(7.0f));
    const F zero = select(scale == F(0.0f), flat, round(clamp(at_low, -8.0f, 7.0f)));
    return {nonzero_scale(c, scale), zero + F(8.0f)};
  }

  // Codes that the whole range spans in the scales that are tried; past 15 its ends are cut off.
  static constexpr float kSteps[8] = {12.0f, 13.0f, 13.9f, 14.5f, 15.0f, 15.6f, 16.4f, 17.4f};

  // Eight scales with each of three zeros and a refit. On Gaussian weights 22.330 dB in groups of 32
  // and 20.426 in groups of 128 where the exact optima (all break points, seven zeros) are 22.336 and 20.436.
  // Spans of 12 to 15 codes are among the tries, so that groups that have a grid already find it.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    Fit fit = reference(x, n, c);
    F low(0.0f), high(0.0f);
    for (size_t i = 0; i < n; ++i) low = min(low, x[i]), high = max(high, x[i]);
    const F absmax = max(high, -low);
    const M ok = grid_searchable(absmax);
    if (none(ok)) return fit;
    const F error = squared_error<false>(x, n, [&](F v) VIVA_INL_LAMBDA { return value(code(v, fit), fit); });
    const F unit = F(1.0f) / select(ok, high - low, F(1.0f));
    Leader leader = {F(0.0f), F(0.0f)};
    F zero(8.0f);
    const F middle = round(clamp(-low * unit * F(15.0f), 0.0f, 15.0f));
    for (float shift : {0.0f, -1.0f, 1.0f}) {
      const F z = clamp(middle + F(shift), 0.0f, 15.0f);
      for (size_t k = 0; k < 8; k += 2) {
        const M better =
            try_two<false>(x, n, unit * F(kSteps[k]), unit * F(kSteps[k + 1]), -z, F(15.0f) - z, leader);
        zero = select(better, z, zero);
      }
    }
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    F scale = fit.scale;
    const M found =
        settle<false>(x, n, absmax, leader, -zero, F(15.0f) - zero, c.scale, Unit(), scaled, error, scale) &
        ok;
    return {select(found, scale, fit.scale), select(found, zero, fit.zero)};
  }

  static VIVA_INL F code(F x, const Fit& fit) { return reference_code<DType::kF32>(x, fit); }
  template <DType kArithmetic>
  static VIVA_INL F reference_code(F x, const Fit& fit) {
    const F q = round_to(kArithmetic, round_to(kArithmetic, x / fit.scale) + (fit.zero - F(8.0f)));
    return round(clamp(q, -8.0f, 7.0f)) + F(8.0f);
  }
  static VIVA_INL F value(F code, const Fit& fit) { return (code - fit.zero) * fit.scale; }
  static VIVA_INL void store(const Fit& fit, const Coding& c, I* field) {
    field[0] = stored_bits(c.scale, fit.scale), field[1] = to_int(fit.zero);
  }
  static VIVA_INL Fit load(const I* field, const Coding& c) {
    return {stored_value(c.scale, field[0]), to_float(field[1])};
  }
};

using ThisFormat = Int4Asym;

VIVA_LANES_CLOSE
