// FP8 (E4M3), one scale per output channel, as compressed-tensors' float-quantized layout stores it.

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Fp8 {
  static constexpr std::string_view kName = "fp8";
  static constexpr std::string_view kSummary = "E4M3, a scale per row (compressed-tensors)";
  static constexpr uint32_t kGroup = 0;
  static constexpr int kCodeBits = 8;
  static constexpr bool kSignedCodes = false;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;

  struct Fit {
    F scale;
    DType arithmetic = DType::kF32;
  };

  static constexpr Fields fields(const Coding& coding) { return {{Role::kScale, coding.scale}}; }

  // What a scale of 0 becomes: the machine epsilon of the dtype.
  static float epsilon(DType t) { return t == DType::kBF16 ? 0x1p-7f : t == DType::kF16 ? 0x1p-10f : 0x1p-23f; }

  static Fit reference(const F* x, size_t n, const Coding& coding) {
    const F s = round_to(coding.arithmetic, absmax_of(x, n) / F(448.0f));
    const F stored = round_to(coding.scale, select(s == F(0.0f), F(epsilon(coding.arithmetic)), s));
    return {stored, coding.arithmetic};
  }

  static Fit best(const F* x, size_t n, const Coding& coding) { return reference(x, n, coding); }

  static VIVA_INL I code(F x, const Fit& fit) {
    // Adding zero makes -0.0 positive, as the package's zero point does.
    return e4m3_bits(clamp(round_to(fit.arithmetic, x / fit.scale) + F(0.0f), -448.0f, 448.0f));
  }
  static VIVA_INL F value(I code, const Fit& fit) { return e4m3_value(code) * fit.scale; }
  static void store(const Fit& fit, const Coding& coding, I* field) {
    field[0] = coding.scale == DType::kBF16 ? bf16_bits(fit.scale) : coding.scale == DType::kF16 ? f16_bits(fit.scale) : bits(fit.scale);
  }
  static Fit load(const I* field, const Coding& coding) {
    return {coding.scale == DType::kBF16 ? bf16_value(field[0]) : coding.scale == DType::kF16 ? f16_value(field[0]) : from_bits(field[0])};
  }
};

using ThisFormat = Fp8;

VIVA_LANES_CLOSE
