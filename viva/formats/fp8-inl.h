// What the E4M3 formats share: the scale of a run of values (a row, or a block of 128 x 128), reference and
// best, in the terms of row_codec-inl.h: x points to n vectors, padded with zeros.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Fp8Scale {
  struct Fit {
    F scale, inverse;
    bool as_reference;
  };

  // compressed-tensors: absmax / 448 and the quotients in the weight's own dtype.
  static VIVA_INL Fit reference(const F* x, size_t n, const Coding& c) { return reference(row_absmax(x, n), c); }
  static VIVA_INL Fit reference(F absmax, const Coding& c) {
    const F scale = round_to(c.arithmetic, absmax / F(448.0f));
    return {stored(c, nonzero_scale(c, scale)), F(0.0f), true};
  }
  static VIVA_INL F stored(const Coding& c, F scale) {
    return stored_value(c.scale, stored_bits(c.scale, scale));
  }
  // A scale that the search may store, see `coarse`.
  static VIVA_INL F storable(const Coding& c, F scale) {
    return c.scale == DType::kF32 ? coarse(scale) : stored(c, scale);
  }

  static VIVA_INL I code(F x, const Fit& fit) { return e4m3_bits(x * fit.inverse); }
  template <DType kArithmetic>
  static VIVA_INL I reference_code(F x, const Fit& fit) {
    // Adding zero makes -0.0 positive, as the package's zero point does.
    return e4m3_bits(round_to(kArithmetic, x / fit.scale) + F(0.0f));
  }
  static VIVA_INL F value(I code, const Fit& fit) { return e4m3_value(code) * fit.scale; }

  template <DType kArithmetic>
  static F reference_error(const F* x, size_t n, const Fit& fit) {
    F sum[1];
    row_sums(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
      const F d = x[i] - value(reference_code<kArithmetic>(x[i], fit), fit);
      acc[0] = acc[0] + d * d;
    });
    return sum[0];
  }
  static F reference_error(const F* x, size_t n, const Fit& fit, DType arithmetic) {
    if (arithmetic == DType::kBF16) return reference_error<DType::kBF16>(x, n, fit);
    if (arithmetic == DType::kF16) return reference_error<DType::kF16>(x, n, fit);
    return reference_error<DType::kF32>(x, n, fit);
  }
  static F error(const F* x, size_t n, const Fit& fit) {
    F sum[1];
    row_sums(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
      const F d = abs(x[i]) - e4m3_round(min(abs(x[i]) * fit.inverse, F(448.0f))) * fit.scale;
      acc[0] = acc[0] + d * d;
    });
    return sum[0];
  }

  // E4M3 repeats itself from one power of two to the next, so one octave of scales says all but the clipping
  // and the subnormals: the trials put the largest value on each of the codes of that octave. The winner is
  // then fitted to its codes by least squares. On Gaussian rows of 1024 this leaves 0.2 dB to a search of 600
  // scales.
  static constexpr float kTops[8] = {448, 416, 384, 352, 320, 288, 256, 240};

  static Fit best(const F* x, size_t n, const Coding& c) {
    const Fit first = reference(x, n, c);
    const F absmax = row_absmax(x, n);
    if (none(in_reach(absmax))) return first;
    const F before = reference_error(x, n, first, c.arithmetic);
    F scale = first.scale, lowest(__builtin_inff());
    for (int k = 0; k < 8; k += 4) {
      F trial[4], inverse[4], sum[4];
      for (int j = 0; j < 4; ++j) {
        trial[j] = storable(c, absmax / F(kTops[k + j]));
        inverse[j] = F(1.0f) / trial[j];
      }
      row_sums(n, sum, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
        const F a = abs(x[i]);
        for (int j = 0; j < 4; ++j) {
          const F v = a * inverse[j], d = v - e4m3_round(min(v, F(448.0f)));
          acc[j] = acc[j] + d * d;
        }
      });
      for (int j = 0; j < 4; ++j) {
        const F e = sum[j] * (trial[j] * trial[j]);
        const M better = e < lowest;
        lowest = select(better, e, lowest);
        scale = select(better, trial[j], scale);
      }
    }
    Fit found = {scale, F(1.0f) / scale, false};
    F fit[2];
    row_sums(n, fit, [&](size_t i, F* acc) VIVA_INL_LAMBDA {
      const F a = abs(x[i]), q = e4m3_round(min(a * found.inverse, F(448.0f)));
      acc[0] = acc[0] + a * q;
      acc[1] = acc[1] + q * q;
    });
    const F refined = storable(c, fit[0] / fit[1]);
    const Fit again = {refined, F(1.0f) / refined, false};
    F after = error(x, n, found);
    const F there = error(x, n, again);
    if (!none(there < after)) found = again, after = there;
    return none(beats(after, before)) ? first : found;
  }
};

VIVA_LANES_CLOSE
