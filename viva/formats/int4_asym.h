// Asymmetric int4 of compressed-tensors (pack-quantized): w = (code - zero) * scale with code and zero in 0..15, which
// are q + 8 and zero_point + 8 of the package. Stored here with one byte per zero; io packs them eight to a word.

VIVA_LANES_OPEN

struct Int4Asym {
  static constexpr std::string_view kName = "int4-asym";
  static constexpr std::string_view kSummary = "4 bits, groups share a scale and a zero point (compressed-tensors)";
  static constexpr uint32_t kGroup = 128;
  static constexpr uint32_t kGroups[] = {32, 128};
  static constexpr bool kGroupInName = true;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kLowFirst;
  static constexpr bool kInterleaved = false;
  static constexpr size_t kCodesAlign = 4;

  struct Fit {
    F scale, zero;  // zero: as stored, 0..15
  };

  static constexpr Fields fields(const Coding& c) { return {{Role::kScale, c.scale}, {Role::kZero, DType::kU8}}; }

  static VIVA_INL Fit reference(const F* x, size_t n, const Coding& c) {
    F low(0.0f), high(0.0f);
    for (size_t i = 0; i < n; ++i) low = min(low, x[i]), high = max(high, x[i]);
    if (c.arithmetic == DType::kBF16) {  // bf16 instructions take subnormals for zero, the package's results with them
      low = select(F(-0x1p-126f) < low, F(0.0f), low);
      high = select(high < F(0x1p-126f), F(0.0f), high);
    }
    const F range = round_to(c.arithmetic, high - low);
    const F scale = nonzero_scale(c, round_to(c.scale, round_to(c.arithmetic, range / F(15.0f))));
    const F at_low = round_to(c.arithmetic, F(-8.0f) - round_to(c.arithmetic, low / scale));
    return {scale, select(range == F(0.0f), F(0.0f), round(clamp(at_low, -8.0f, 7.0f))) + F(8.0f)};
  }

  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) { return reference(x, n, c); }

  static VIVA_INL F code(F x, const Fit& fit) { return reference_code<DType::kF32>(x, fit); }
  template <DType kArithmetic>
  static VIVA_INL F reference_code(F x, const Fit& fit) {
    const F q = round_to(kArithmetic, round_to(kArithmetic, x / fit.scale) + (fit.zero - F(8.0f)));
    return round(clamp(q, -8.0f, 7.0f)) + F(8.0f);
  }
  static VIVA_INL F value(F code, const Fit& fit) { return (code - fit.zero) * fit.scale; }
  static VIVA_INL void store(const Fit& fit, const Coding& c, I* field) {
    field[0] = stored_bits(c.scale, fit.scale), field[1] = to_int(fit.zero);
  }
  static VIVA_INL Fit load(const I* field, const Coding& c) {
    return {stored_value(c.scale, field[0]), to_float(field[1])};
  }
};

using ThisFormat = Int4Asym;

VIVA_LANES_CLOSE
