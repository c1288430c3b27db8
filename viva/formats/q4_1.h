// Q4_1 of ggml: 32 values, f16 scale and minimum, w = q * d + m with q in 0..15.

#include "viva/formats/fit_grid-inl.h"

VIVA_LANES_OPEN

struct Q4_1 {
  static constexpr std::string_view kName = "q4_1";
  static constexpr std::string_view kSummary = "4 bits, 32 values share an f16 scale and minimum (ggml)";
  static constexpr uint32_t kGroup = 32;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHalves;
  static constexpr bool kInterleaved = true;
  static constexpr int kGgufType = 3;

  struct Fit {
    F scale, minimum, inverse;
  };

  static constexpr Fields fields(const Coding&) {
    return {{Role::kScale, DType::kF16}, {Role::kMinimum, DType::kF16}};
  }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding&) {
    F low(x[0]), high(x[0]);
    for (size_t i = 1; i < n; ++i)
      low = select(x[i] < low, x[i], low), high = select(high < x[i], x[i], high);
    const F scale = (high - low) / F(15.0f);
    return {scale, low, reciprocal(scale)};
  }

  // Shares of the range by which each end is moved inwards in what is tried.
  static constexpr float kCuts[4] = {-0.035f, -0.01f, 0.015f, 0.04f};

  // Scale and minimum of a line through (code, value) by least squares; `mean` is taken off x before summing.
  struct Line {
    F gain, scale, minimum;
  };
  static VIVA_INL void lines_two(const F* x, size_t n, F mean, F t, F u, F low, F below, Line (&out)[2]) {
    F s[6];
    group_sums<false>(n, s, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
      const F v = x[i] - mean;
      const F p = grid_code(x[i] - low, t, F(0.0f), F(15.0f)),
              q = grid_code(x[i] - below, u, F(0.0f), F(15.0f));
      acc[0] = acc[0] + p * v, acc[1] = acc[1] + p * p, acc[2] = acc[2] + p;
      acc[3] = acc[3] + q * v, acc[4] = acc[4] + q * q, acc[5] = acc[5] + q;
    });
    for (size_t k = 0; k < 2; ++k) {
      const F share = s[3 * k + 2] / F(static_cast<float>(n));  // the mean code
      const F spread = s[3 * k + 1] - s[3 * k + 2] * share;
      const F safe = max(spread, F(0x1p-10f));
      const F scale = s[3 * k] / safe;
      out[k] = {select(F(0.01f) < spread, abs(s[3 * k]) / sqrt(safe), F(-1.0f)), scale, mean - scale * share};
    }
  }
  static VIVA_INL F error_of(const F* x, size_t n, const Fit& fit) {
    return squared_error<false>(x, n, [&](F v) VIVA_INL_LAMBDA { return value(code(v, fit), fit); });
  }
  static VIVA_INL Fit stored(F scale, F minimum) {
    const F s = stored_scale(DType::kF16, scale);
    return {s, stored_scale(DType::kF16, minimum), reciprocal(s)};
  }

  // On Gaussian weights within 0.06 dB of a search 70 times as dense (23.26 against 23.32). Sixteen ranges, a
  // line through the best one's codes, and again through its own.
  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) {
    const Fit old = reference(x, n, c);
    const F range = old.scale * F(15.0f);
    Fit fit = {stored_scale(DType::kF16, old.scale), stored_scale(DType::kF16, old.minimum), old.inverse};
    const M ok = grid_searchable(range) & (abs(old.minimum) < F(0x1p60f));
    if (none(ok)) return fit;
    const F unit = F(1.0f) / select(ok, range, F(1.0f));
    F total[1];
    group_sums<false>(n, total, [&](size_t i, F* acc) VIVA_INL_LAMBDA { acc[0] = acc[0] + x[i]; });
    const F mean = total[0] / F(static_cast<float>(n));
    Line leader = {F(-1.0f), F(1.0f), F(0.0f)};
    for (float cut : kCuts) {
      const F low = old.minimum + range * F(cut);
      for (size_t k = 0; k < 4; k += 2) {
        Line two[2];
        lines_two(x, n, mean, unit * F(15.0f / (1.0f - cut - kCuts[k])),
                  unit * F(15.0f / (1.0f - cut - kCuts[k + 1])), low, low, two);
        for (const Line& line : two) {
          const M better = leader.gain < line.gain;
          leader = {select(better, line.gain, leader.gain), select(better, line.scale, leader.scale),
                    select(better, line.minimum, leader.minimum)};
        }
      }
    }
    Line again[2];
    const F t = reciprocal(leader.scale);
    lines_two(x, n, mean, t, unit * F(15.0f), leader.minimum, old.minimum, again);
    // Codes of 1 to 15 may be meant where 0 to 14 were found, or the reverse: the minimum is one step off
    // then. The reference's is exact in groups that span a whole grid already.
    const Fit tried[5] = {stored(again[0].scale, again[0].minimum),
                          stored(again[0].scale, again[0].minimum - again[0].scale),
                          stored(again[0].scale, again[0].minimum + again[0].scale),
                          stored(again[1].scale, again[1].minimum), stored(old.scale, old.minimum)};
    F least = error_of(x, n, fit) * F(kClearly);
    for (const Fit& one : tried) {
      const F error = error_of(x, n, one);
      const M better = (error < least) & ok;
      least = select(better, error, least);
      fit = {select(better, one.scale, fit.scale), select(better, one.minimum, fit.minimum),
             select(better, one.inverse, fit.inverse)};
    }
    return fit;
  }

  static VIVA_INL F code(F x, const Fit& fit) {
    return clamp(trunc((x - fit.minimum) * fit.inverse + F(0.5f)), 0.0f, 15.0f);
  }
  static VIVA_INL F value(F code, const Fit& fit) { return code * fit.scale + fit.minimum; }
  static VIVA_INL void store(const Fit& fit, const Coding&, I* field) {
    field[0] = f16_bits(fit.scale), field[1] = f16_bits(fit.minimum);
  }
  static VIVA_INL Fit load(const I* field, const Coding&) {
    return {f16_value(field[0]), f16_value(field[1]), F(0.0f)};
  }
};

using ThisFormat = Q4_1;

VIVA_LANES_CLOSE
