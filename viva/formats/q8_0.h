// Q8_0 of ggml: 32 values, one f16 scale, w = q * d with q in -127..127.

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct Q8_0 {
  static constexpr std::string_view kName = "q8_0";
  static constexpr std::string_view kSummary = "8 bits, 32 values share an f16 scale (ggml)";
  static constexpr uint32_t kGroup = 32;
  static constexpr int kCodeBits = 8;
  static constexpr bool kSignedCodes = true;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = true;
  static constexpr int kGgufType = 8;

  struct Fit {
    F scale, inverse;
  };

  // Codes of the largest magnitude that are tried.
  static constexpr float kSteps[16] = {120.0f,  120.66f, 121.33f, 122.0f, 122.66f, 123.33f, 124.0f, 124.66f,
                                       125.33f, 126.0f,  126.66f, 127.0f, 127.66f, 128.33f, 129.0f, 129.66f};

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF16}}; }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding&) {
    F absmax(0.0f);
    for (size_t i = 0; i < n; ++i) absmax = max(absmax, abs(x[i]));
    const F scale = absmax / F(127.0f);
    return {scale, reciprocal(scale)};
  }

  // With 255 levels a group's error hangs on how its values happen to fall: many scales are worth a try,
  // coarser ones than absmax / 127 too. On Gaussian weights 46.508 dB; the exact optimum down to absmax / 90
  // is 46.661.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    const Fit old = reference(x, n, c);
    Fit fit = {stored_scale(DType::kF16, old.scale), old.inverse};
    const F error = squared_error<false>(x, n, [&](F v) VIVA_INL_LAMBDA { return value(code(v, fit), fit); });
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    const M found = search_grid_scale<false>(x, n, old.scale * F(127.0f), kSteps, -127.0f, 127.0f, false,
                                             DType::kF16, Unit(), scaled, error, fit.scale);
    fit.inverse = select(found, reciprocal(fit.scale), fit.inverse);
    return fit;
  }

  static VIVA_INL F code(F x, const Fit& fit) { return clamp(round_away(x * fit.inverse), -127.0f, 127.0f); }
  static VIVA_INL F value(F code, const Fit& fit) { return code * fit.scale; }
  static VIVA_INL void store(const Fit& fit, const Coding&, I* field) { field[0] = f16_bits(fit.scale); }
  static VIVA_INL Fit load(const I* field, const Coding&) { return {f16_value(field[0]), F(0.0f)}; }
};

using ThisFormat = Q8_0;

VIVA_LANES_CLOSE
