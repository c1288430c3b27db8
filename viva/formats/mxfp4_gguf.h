// MXFP4 of ggml: blocks of 32, an E8M0 byte and sixteen bytes of E2M1 codes, the two halves of the block in
// the two nibbles.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Mxfp4Gguf {
  static constexpr std::string_view kName = "mxfp4-gguf";
  static constexpr std::string_view kSummary = "E2M1, 32 values share a power of two (ggml)";
  static constexpr uint32_t kGroup = 32;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHalves;
  static constexpr bool kInterleaved = true;
  static constexpr int kGgufType = 39;

  struct Fit {
    I exponent;
    F scale, inverse;
  };

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kU8}}; }
  static VIVA_INL Fit fit_of(I e) { return {e, e8m0_value(e), e8m0_inverse(e)}; }

  // floor(log2(absmax)) - 2. ggml's logarithm is a float: just below a power of two it has already that
  // power's value.
  static Fit reference(const F* x, size_t n, const Coding&) {
    return fit_of(floor_log2_less2(absmax_of(x, n)));
  }
  static VIVA_INL I floor_log2_less2(F absmax) {
    const I u = bits(absmax), up = shr<23>(u + I(64));
    // In the last places below 2^k the logarithm is k - 1.4427 * 2^-24 * places, and rounds to k where floats
    // next to k are at least twice as far apart.
    const I k = up - I(127);
    const F at = select(I(0) < k, to_float(k) - F(0.5f), to_float(I(0) - k));
    const I places = to_int(from_bits(bits(at) & I(0x7f800000)) * F(0.6931472f));
    const I e = shr<23>(select(shl<23>(up) - u < places + I(1), shl<23>(up), u)) - I(2);
    return select(e < I(0), I(0), e);
  }

  // The reference's exponent, or one below or above it: on Gaussian weights as good as any exponent.
  static Fit best(const F* x, size_t n, const Coding& coding) {
    const Fit first = reference(x, n, coding);
    F lowest = error_of<Mxfp4Gguf>(x, n, first);
    I e = first.exponent;
    for (const int k : {-1, 1}) {
      const I near = first.exponent + I(k);
      const Fit trial = fit_of(select(near < I(0), I(0), near));
      const F error = error_of<Mxfp4Gguf>(x, n, trial);
      const M better = beats(error, lowest);
      lowest = select(better, error, lowest);
      e = select(better, trial.exponent, e);
    }
    return fit_of(select(in_reach(absmax_of(x, n)), e, first.exponent));
  }

  // A tie takes the smaller magnitude; zero never has a sign.
  static VIVA_INL I code(F x, const Fit& fit) {
    const I m = kE2m1Magnitudes.nearest(abs(x) * fit.inverse);
    return m | where((x < F(0.0f)) & (I(0) < m), I(8));
  }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kE2m1Values, code) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = fit.exponent; }
  static Fit load(const I* field, const Coding&) { return fit_of(field[0]); }
};

using ThisFormat = Mxfp4Gguf;

VIVA_LANES_CLOSE
