// Searching tables of levels, rounding to small floats and choosing scales, over lanes; shared by the table
// and float formats. Like lanes-inl.h it is included once per SIMD target and once for the scalar twin.

#include "viva/formats/nf4_levels.h"

VIVA_LANES_OPEN

// Sixteen ascending levels, searched by halving: four comparisons and two table lookups.
struct Levels16 {
  alignas(64) float level[16];
  alignas(64) float third[8];   // thresholds 1, 5, 9, 13
  alignas(64) float fourth[8];  // thresholds 0, 2, .. 14
  alignas(64) float even[8], odd[8];
  float first, second[2];       // thresholds 7; 3, 11

  // Threshold k is the f32 midpoint of levels k and k + 1.
  constexpr explicit Levels16(const std::array<float, 16>& l)
      : level{}, third{}, fourth{}, even{}, odd{}, first(0), second{} {
    float t[15] = {};
    for (int i = 0; i < 16; ++i) level[i] = l[i];
    for (int i = 0; i < 15; ++i) t[i] = (l[i] + l[i + 1]) * 0.5f;
    for (int i = 0; i < 4; ++i) third[i] = t[4 * i + 1];
    for (int i = 0; i < 8; ++i) fourth[i] = t[2 * i], even[i] = l[2 * i], odd[i] = l[2 * i + 1];
    first = t[7], second[0] = t[3], second[1] = t[11];
  }

  // How many thresholds lie below v: the index of the nearest level, the lower one at a tie.
  VIVA_INL I nearest(F v) const {
    const M above = F(first) < v;
    I c = count(I(0), above);
    c = count(c + c, select(above, F(second[1]), F(second[0])) < v);
    c = count(c + c, lookup8(third, c) < v);
    return count(c + c, lookup8(fourth, c) < v);
  }
  // Replaces each of v by the level nearest to it: several searches side by side, since one is a long chain of
  // instructions that wait for each other.
  template <size_t K>
  VIVA_INL void snap(F (&v)[K]) const {
    M above[K];
    I c[K];
    for (size_t k = 0; k < K; ++k) above[k] = F(first) < v[k];
    for (size_t k = 0; k < K; ++k) c[k] = count(I(0), above[k]);
    for (size_t k = 0; k < K; ++k) c[k] = count(c[k] + c[k], select(above[k], F(second[1]), F(second[0])) < v[k]);
    for (size_t k = 0; k < K; ++k) c[k] = count(c[k] + c[k], lookup8(third, c[k]) < v[k]);
    for (size_t k = 0; k < K; ++k) v[k] = select(lookup8(fourth, c[k]) < v[k], lookup8(odd, c[k]), lookup8(even, c[k]));
  }
};

// Eight ascending magnitudes of a format whose sign is a bit.
struct Levels8 {
  alignas(64) float level[8];
  alignas(64) float third[8];  // thresholds 0, 2, 4, 6
  float first, second[2];      // thresholds 3; 1, 5

  constexpr explicit Levels8(const std::array<float, 8>& l) : level{}, third{}, first(0), second{} {
    float t[7] = {};
    for (int i = 0; i < 8; ++i) level[i] = l[i];
    for (int i = 0; i < 7; ++i) t[i] = (l[i] + l[i + 1]) * 0.5f;
    for (int i = 0; i < 4; ++i) third[i] = t[2 * i];
    first = t[3], second[0] = t[1], second[1] = t[5];
  }

  // How many thresholds times `unit` lie below a.
  VIVA_INL I nearest(F a, F unit) const {
    const M above = F(first) * unit < a;
    I c = count(I(0), above);
    c = count(c + c, select(above, F(second[1]), F(second[0])) * unit < a);
    return count(c + c, lookup8(third, c) * unit < a);
  }
  VIVA_INL I nearest(F a) const {
    const M above = F(first) < a;
    I c = count(I(0), above);
    c = count(c + c, select(above, F(second[1]), F(second[0])) < a);
    return count(c + c, lookup8(third, c) < a);
  }
};

// ---- E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6; bit 3 is the sign ----

inline constexpr Levels8 kE2m1Magnitudes{{0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f}};
alignas(64) inline constexpr float kE2m1Values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                      -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// a in 0..6 rounded to E2M1, ties to the even code.
VIVA_INL F e2m1_round(F a) {
  const F r = rounder<1, 0>(a);
  return (a + r) - r;
}
VIVA_INL I e2m1_code(F v) {
  return small_float_code<1, 0, 3>(min(abs(v), F(6.0f))) | where(v < F(0.0f), I(8));
}

// The squared error of x as E2M1, in units of the scale whose inverse is given.
VIVA_INL F e2m1_error(const F* x, size_t n, F inverse) {
  F sum(0.0f);
  for (size_t i = 0; i < n; ++i) {
    const F a = abs(x[i] * inverse);
    const F d = a - e2m1_round(min(a, F(6.0f)));
    sum = sum + d * d;
  }
  return sum;
}

// ---- E4M3 and E8M0 ----

// a in 0..448 rounded to E4M3, ties to even.
VIVA_INL F e4m3_round(F a) {
  const F r = rounder<3, -6>(a);
  return (a + r) - r;
}
VIVA_INL F e8m0_value(I e) { return from_bits(select(e == I(0), I(0x00400000), shl<23>(e))); }
// The reciprocal of e8m0_value(e), e in 0..254: exact.
VIVA_INL F e8m0_inverse(I e) { return e8m0_value(I(254) - e); }

// ---- choosing scales ----

VIVA_INL F absmax_of(const F* x, size_t n) {
  F a(0.0f), b(0.0f);
  size_t i = 0;
  for (; i + 2 <= n; i += 2) a = max(a, abs(x[i])), b = max(b, abs(x[i + 1]));
  if (i < n) a = max(a, abs(x[i]));
  return max(a, b);
}

// Magnitudes whose squares neither overflow nor vanish; outside of them the search leaves the reference
// alone.
VIVA_INL M in_reach(F absmax) { return (F(0x1p-55f) < absmax) & (absmax < F(0x1p60f)); }

// A scale with 16 significant bits. Scales that the search stores lie on this grid, so that coding the
// decoded values again finds the very same scale; what it costs (2^-17 of the value) is far below the
// format's own error.
VIVA_INL F coarse(F s) { return from_bits((bits(s) + I(0x7f)) & I(~0xff)); }

// The squared error of a group as the format will decode it.
template <class Fmt, class Fit>
VIVA_INL F error_of(const F* x, size_t n, const Fit& fit) {
  F sum(0.0f);
  for (size_t i = 0; i < n; ++i) {
    const F d = x[i] - Fmt::value(Fmt::code(x[i], fit), fit);
    sum = sum + d * d;
  }
  return sum;
}

// The scale, among shares of the largest magnitude and the least-squares fits of their codes, that leaves the
// lowest squared error: with the codes of a trial scale the best scale is A / B (A = sum of x * level, B =
// sum of level^2) and takes A^2 / B off the sum of squares, so one pass scores a trial and refines it. The
// winner is refined once more. `snap` replaces quotients x / scale by the nearest levels. Scales above `cap` times the
// largest magnitude are left out: below it the largest value keeps the outermost level, so that coding the
// decoded values again finds the same scale exactly. x is padded with zeros to an even n.
template <size_t kTrials, class Snap>
VIVA_INL F search_level_scale(const F* x, size_t n, F absmax, const std::array<float, kTrials>& shares,
                              bool both_signs, float cap, Snap snap) {
  const F limit = absmax * F(cap), inverse = F(1.0f) / absmax;
  F scale = absmax, score(0.0f);
  const auto offer = [&](F a, F b) VIVA_INL_LAMBDA {
    const F s = a / b;
    const M better = (score < a * s) & (abs(s) <= limit);
    scale = select(better, s, scale);
    score = select(better, a * s, score);
  };
  const auto sums = [&](F t, F& a, F& b) VIVA_INL_LAMBDA {
    for (size_t i = 0; i < n; i += 2) {
      F v[2] = {x[i] * t, x[i + 1] * t};
      snap(v);
      for (size_t k = 0; k < 2; ++k) a = a + x[i + k] * v[k], b = b + v[k] * v[k];
    }
  };
  for (const float share : shares) {
    const F t = inverse * F(1.0f / share);
    F a(0.0f), b(0.0f);
    sums(t, a, b);
    offer(a, b);
    if (both_signs) {
      a = F(0.0f), b = F(0.0f);
      sums(-t, a, b);
      offer(a, b);
    }
  }
  const F t = F(1.0f) / scale;
  F a(0.0f), b(0.0f);
  sums(t, a, b);
  offer(a, b);
  // Next to the largest magnitude it is that magnitude: values that came from this format are met exactly.
  return select(abs(abs(scale) - absmax) <= absmax * F(0x1p-13f), copy_sign(absmax, scale), scale);
}

// Whether an error found by search beats the reference's, with room for the rounding of f32 sums.
VIVA_INL M beats(F error, F reference) { return error < reference * F(1.0f - 1e-5f); }

// ---- NVFP4 ----

// On Gaussian weights this equals a search of all bytes to 0.001 dB.
// The E4M3 scale byte, from two below `start` (which takes the largest value to 6) to eight above (3), of
// lowest error.
VIVA_INL I search_nvfp4_byte(const F* x, size_t n, F absmax, I start, F tensor_scale) {
  F lowest(__builtin_inff());
  I byte = start;
  for (int k = -2; k <= 8; ++k) {
    I b = start + I(k);
    b = select(b < I(1), I(1), select(I(0x7e) < b, I(0x7e), b));
    const F scale = e4m3_scale_value(b) * tensor_scale;
    const F error = e2m1_error(x, n, F(1.0f) / scale) * (scale * scale);
    // Only where the largest value becomes 3 or more: what was found once is then in reach a second time, also where
    // scales are subnormal and far apart.
    const M better = (error < lowest) & (scale * F(2.5f) < absmax);
    lowest = select(better, error, lowest);
    byte = select(better, b, byte);
  }
  return byte;
}

// ---- NF4, with plain and with double-quantized scales ----

inline constexpr Levels16 kNf4{kNf4Levels};

template <size_t kTrials>
VIVA_INL F search_nf4_scale(const F* x, size_t n, F absmax, const std::array<float, kTrials>& shares, bool both_signs) {
  return search_level_scale(x, n, absmax, shares, both_signs, 1.16f, [](auto& v) VIVA_INL_LAMBDA { kNf4.snap(v); });
}

VIVA_LANES_CLOSE
