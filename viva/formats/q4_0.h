// Q4_0 of ggml: 32 values, one f16 scale, w = (q - 8) * d with q in 0..15.

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct Q4_0 {
  static constexpr std::string_view kName = "q4_0";
  static constexpr std::string_view kSummary = "4 bits, 32 values share an f16 scale (ggml)";
  static constexpr uint32_t kGroup = 32;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHalves;
  static constexpr bool kInterleaved = true;
  static constexpr bool kSignedScale = true;
  static constexpr int kGgufType = 2;

  struct Fit {
    F scale, inverse;
  };

  // Codes of the largest magnitude that are tried; past 8 it is cut off.
  static constexpr float kSteps[10] = {6.4f, 6.8f, 7.0f, 7.4f, 7.7f, 8.0f, 8.4f, 8.8f, 9.2f, 9.6f};

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF16}}; }

  // ggml: the value with the largest magnitude (the first of equals) becomes code 0.
  static VIVA_INL Fit reference(const F* x, size_t n, const Coding&) {
    F low[2] = {x[0], x[0]}, high[2] = {x[0], x[0]};
    for (size_t i = 0; i + 1 < n; i += 2) {
      for (size_t k = 0; k < 2; ++k) low[k] = min(low[k], x[i + k]), high[k] = max(high[k], x[i + k]);
    }
    const F least = min(min(low[0], low[1]), x[n - 1]), largest = max(max(high[0], high[1]), x[n - 1]);
    F extreme = select(-least < largest, largest, select(least < F(0.0f), least, F(0.0f)));
    // Both signs have the largest magnitude: the first one counts.
    if (!none((-least == largest) & (F(0.0f) < largest))) {
      F magnitude(0.0f);
      for (size_t i = 0; i < n; ++i) {
        const F a = abs(x[i]);
        const M larger = magnitude < a;
        magnitude = select(larger, a, magnitude);
        extreme = select(larger, x[i], extreme);
      }
    }
    const F scale = extreme / F(-8.0f);
    return {scale, reciprocal(scale)};
  }

  // Ten scales of each sign and a refit. On Gaussian weights 21.830 dB where the exact optimum (all break
  // points of the codes, sorted) is 21.836.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    const Fit old = reference(x, n, c);
    Fit fit = {stored_scale(DType::kF16, old.scale), old.inverse};
    const F error = squared_error<false>(x, n, [&](F v) VIVA_INL_LAMBDA { return value(code(v, fit), fit); });
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    const M found = search_grid_scale<false>(x, n, abs(old.scale) * F(8.0f), kSteps, -8.0f, 7.0f,
                                             c.signed_scale, DType::kF16, Unit(), scaled, error, fit.scale);
    fit.inverse = select(found, reciprocal(fit.scale), fit.inverse);
    return fit;
  }

  // The step of values that another file's codes and scales gave (int4 of compressed-tensors).
  static VIVA_INL Fit exact(const F* x, size_t n, const Coding& c) {
    Fit fit = best(x, n, c);
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    const M found = find_grid(x, n, -8.0f, 7.0f, DType::kF16, scaled, fit.scale);
    fit.inverse = select(found, reciprocal(fit.scale), fit.inverse);
    return fit;
  }

  static VIVA_INL F code(F x, const Fit& fit) { return clamp(trunc(x * fit.inverse + F(8.5f)), 0.0f, 15.0f); }
  static VIVA_INL F value(F code, const Fit& fit) { return (code - F(8.0f)) * fit.scale; }
  static VIVA_INL void store(const Fit& fit, const Coding&, I* field) { field[0] = f16_bits(fit.scale); }
  static VIVA_INL Fit load(const I* field, const Coding&) { return {f16_value(field[0]), F(0.0f)}; }
};

using ThisFormat = Q4_0;

VIVA_LANES_CLOSE
