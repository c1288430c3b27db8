// NVFP4 of ggml: blocks of 64, four scale bytes (E4M3 without sign) and four times eight bytes of E2M1 codes,
// the halves of sixteen values in the two nibbles. `Shared::scale` is the tensor's own factor, which GGUF may
// keep in a tensor beside it (`NAME.scale`): files that have one are read with it, but none is written, because not
// every reader applies it (gguf-py does not). Weights of std 0.02 then fall on subnormal scales, as with ggml's encoder.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Nvfp4Gguf {
  static constexpr std::string_view kName = "nvfp4-gguf";
  static constexpr std::string_view kSummary = "E2M1, 16 values share an E4M3 scale, in blocks of 64 (ggml)";
  static constexpr uint32_t kGroup = 16;
  static constexpr size_t kPerBlock = 4;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHalves;
  static constexpr bool kInterleaved = true;
  static constexpr int kGgufType = 40;

  struct Fit {
    F scale;
    I byte;
  };

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF8E4M3}}; }

  static VIVA_INL Fit fit_of(I byte, const Coding& coding) {
    return {select(byte == I(0x7f), F(0.0f), e4m3_scale_value(byte)) * F(coding.shared.scale), byte};
  }

  // ggml's cast of absmax / 6: half of a step rounds up, 256 and more become 448, subnormals end at 7.
  static Fit reference(const F* x, size_t n, const Coding& coding) {
    const F s = absmax_of(x, n) / F(6.0f) / F(coding.shared.scale);
    const I normal = shr<20>(bits(s) + I(1 << 19)) - I(120 << 3);
    const I tiny = to_int(min(F(512.0f) * s + F(0.5f), F(7.0f)));
    return fit_of(select(s < F(0x1p-6f), tiny, select(normal < I(0x78), normal, I(0x7e))), coding);
  }

  static Fit best(const F* x, size_t n, const Coding& coding) {
    const Fit first = reference(x, n, coding);
    const F absmax = absmax_of(x, n);
    const I start = e4m3_bits(absmax / F(6.0f) / F(coding.shared.scale));
    const Fit found = fit_of(search_nvfp4_byte(x, n, absmax, start, F(coding.shared.scale)), coding);
    const M better =
        in_reach(absmax) & beats(error_of<Nvfp4Gguf>(x, n, found), error_of<Nvfp4Gguf>(x, n, first));
    return {select(better, found.scale, first.scale), select(better, found.byte, first.byte)};
  }

  // A tie takes the smaller magnitude; zero never has a sign.
  static VIVA_INL I code(F x, const Fit& fit) {
    const F unit = select(F(0.0f) < fit.scale, fit.scale, F(__builtin_inff()));
    const M negative = x < F(-0.25f) * unit;  // what is nearer to 0.5 than to zero
    return kE2m1Magnitudes.nearest(abs(x), unit) | where(negative, I(8));
  }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kE2m1Values, code) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = fit.byte; }
  static Fit load(const I* field, const Coding& coding) { return fit_of(field[0], coding); }
};

using ThisFormat = Nvfp4Gguf;

VIVA_LANES_CLOSE
