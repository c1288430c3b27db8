// MXFP4 (OCP Microscaling) as compressed-tensors stores it: E2M1 codes, a power of two per 32 values.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Mxfp4 {
  static constexpr std::string_view kName = "mxfp4";
  static constexpr std::string_view kSummary =
      "E2M1, 32 values share a power of two (OCP, compressed-tensors)";
  static constexpr uint32_t kGroup = 32;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kLowFirst;
  static constexpr bool kInterleaved = false;

  struct Fit {
    I exponent;  // E8M0 byte
    F scale, inverse;
  };

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kU8}}; }
  static VIVA_INL Fit fit_of(I e) { return {e, e8m0_value(e), e8m0_inverse(e)}; }

  // The exponent of the largest magnitude, where 1.75 * 2^k and more count as 2^(k+1), less two.
  static Fit reference(const F* x, size_t n, const Coding& coding) {
    const I top = shr<23>(bits(absmax_of(x, n)) + I(1 << 21)) - I(2);
    I e = select(top < I(0), I(0), top);
    // In f16 a scale below 2^-24 vanishes, and the package then takes 1.
    if (coding.arithmetic == DType::kF16) e = select(e < I(127 - 24), I(127), e);
    return fit_of(e);
  }

  // The reference's exponent, or one below or above it: on Gaussian weights as good as any exponent.
  static Fit best(const F* x, size_t n, const Coding& coding) {
    const Fit first = reference(x, n, coding);
    F lowest = error_of<Mxfp4>(x, n, first);
    I e = first.exponent;
    for (const int k : {-1, 1}) {
      const I near = first.exponent + I(k);
      const Fit trial = fit_of(select(near < I(0), I(0), near));
      const F error = error_of<Mxfp4>(x, n, trial);
      const M better = beats(error, lowest);
      lowest = select(better, error, lowest);
      e = select(better, trial.exponent, e);
    }
    return fit_of(select(in_reach(absmax_of(x, n)), e, first.exponent));
  }

  static VIVA_INL I code(F x, const Fit& fit) { return e2m1_code(x * fit.inverse); }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kE2m1Values, code) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = fit.exponent; }
  static Fit load(const I* field, const Coding&) { return fit_of(field[0]); }
};

using ThisFormat = Mxfp4;

VIVA_LANES_CLOSE
