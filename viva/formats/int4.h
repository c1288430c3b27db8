// Symmetric int4 of compressed-tensors (pack-quantized): w = (code - 8) * scale, codes low nibble first in
// words of eight. The reference rounds absmax / 7.5 and the quotients in the weight's own dtype
// (coding.arithmetic).

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct Int4 {
  static constexpr std::string_view kName = "int4";
  static constexpr std::string_view kSummary =
      "4 bits, groups share a scale in the model's dtype (compressed-tensors)";
  static constexpr uint32_t kGroup = 128;
  static constexpr uint32_t kGroups[] = {32, 128};
  static constexpr bool kGroupInName = true;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kLowFirst;
  static constexpr bool kInterleaved = false;
  static constexpr size_t kCodesAlign = 4;
  static constexpr bool kSignedScale = true;

  struct Fit {
    F scale;
  };

  // Codes of the largest magnitude that are tried; past 8 it is cut off.
  static constexpr float kSteps[10] = {6.4f, 6.8f, 7.0f, 7.4f, 7.7f, 8.0f, 8.4f, 8.8f, 9.2f, 9.8f};

  static constexpr Fields fields(const Coding& c) { return {{Role::kScale, c.scale}}; }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding& c) {
    F absmax(0.0f);
    for (size_t i = 0; i < n; ++i) absmax = max(absmax, abs(x[i]));
    return {nonzero_scale(c, round_to(c.scale, round_to(c.arithmetic, absmax / F(7.5f))))};
  }

  // Ten scales of each sign and a refit. On Gaussian weights 21.830 dB in groups of 32 and 20.258 in groups
  // of 128 where the exact optima (all break points of the codes, sorted) are 21.836 and 20.267. The
  // reference's scale with nearest codes is the least that is accepted.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    Fit fit = reference(x, n, c);
    F absmax(0.0f);
    for (size_t i = 0; i < n; ++i) absmax = max(absmax, abs(x[i]));
    const F error = squared_error<false>(x, n, [&](F v) VIVA_INL_LAMBDA { return value(code(v, fit), fit); });
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    search_grid_scale<false>(x, n, absmax, kSteps, -8.0f, 7.0f, c.signed_scale, c.scale, Unit(), scaled,
                             error, fit.scale);
    return fit;
  }

  // The step of values that another file's codes and scales gave (Q4_0).
  static VIVA_INL Fit exact(const F* x, size_t n, const Coding& c) {
    Fit fit = best(x, n, c);
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    find_grid(x, n, -8.0f, 7.0f, c.scale, scaled, fit.scale);
    return fit;
  }

  static VIVA_INL F code(F x, const Fit& fit) { return round(clamp(x / fit.scale, -8.0f, 7.0f)) + F(8.0f); }
  template <DType kArithmetic>
  static VIVA_INL F reference_code(F x, const Fit& fit) {
    return round(clamp(round_to(kArithmetic, x / fit.scale), -8.0f, 7.0f)) + F(8.0f);
  }
  static VIVA_INL F value(F code, const Fit& fit) { return (code - F(8.0f)) * fit.scale; }
  static VIVA_INL void store(const Fit& fit, const Coding& c, I* field) {
    field[0] = stored_bits(c.scale, fit.scale);
  }
  static VIVA_INL Fit load(const I* field, const Coding& c) { return {stored_value(c.scale, field[0])}; }
};

using ThisFormat = Int4;

VIVA_LANES_CLOSE
