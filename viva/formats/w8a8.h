// The int8 weights of compressed-tensors (int-quantized, one scale a row): w = q * scale with q in -128..127.
// The reference rounds absmax / 127.5 and the quotients in the weight's own dtype (coding.arithmetic).

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct W8a8 {
  static constexpr std::string_view kName = "w8a8";
  static constexpr std::string_view kSummary =
      "8 bits, the row shares a scale in the model's dtype (compressed-tensors)";
  static constexpr uint32_t kGroup = 0;
  static constexpr bool kAlongRow = true;
  static constexpr int kCodeBits = 8;
  static constexpr bool kSignedCodes = true;
  static constexpr DType kCodesType = DType::kI8;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;

  struct Fit {
    F scale, inverse;
    bool as_reference;
  };

  // Codes of the largest magnitude that are tried.
  static constexpr float kSteps[16] = {121.0f, 121.7f, 122.4f, 123.0f, 123.6f, 124.1f, 124.6f, 125.1f,
                                       125.6f, 126.1f, 126.6f, 127.0f, 127.4f, 127.8f, 128.3f, 128.8f};

  static constexpr Fields fields(const Coding& c) { return {{Role::kScale, c.scale}}; }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding& c) {
    const F scale = round_to(c.arithmetic, row_absmax(x, n) / F(127.5f));
    return {nonzero_scale(c, round_to(c.scale, scale)), F(0.0f), true};
  }

  // On Gaussian rows of 1024 42.203 dB with f32 scales; the exact optimum is 42.224.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    Fit fit = reference(x, n, c);
    const F error = squared_error<true>(x, n, [&](F v) VIVA_INL_LAMBDA {
      return round(clamp(round_to(c.arithmetic, v / fit.scale), -128.0f, 127.0f)) * fit.scale;
    });
    const auto scaled = [](F q, F scale) VIVA_INL_LAMBDA { return q * scale; };
    fit.as_reference = none(search_grid_scale<true>(x, n, row_absmax(x, n), kSteps, -128.0f, 127.0f, false,
                                                    c.scale, Unit(), scaled, error, fit.scale));
    fit.inverse = reciprocal(fit.scale);
    return fit;
  }

  static VIVA_INL F code(F x, const Fit& fit) { return round(clamp(x * fit.inverse, -128.0f, 127.0f)); }
  template <DType kArithmetic>
  static VIVA_INL F reference_code(F x, const Fit& fit) {
    return round(clamp(round_to(kArithmetic, x / fit.scale), -128.0f, 127.0f));
  }
  static VIVA_INL F value(F code, const Fit& fit) { return code * fit.scale; }
  static VIVA_INL void store(const Fit& fit, const Coding& c, I* field) {
    field[0] = stored_bits(c.scale, fit.scale);
  }
  static VIVA_INL Fit load(const I* field, const Coding& c) {
    return {stored_value(c.scale, field[0]), F(0.0f), false};
  }
};

using ThisFormat = W8a8;

VIVA_LANES_CLOSE
