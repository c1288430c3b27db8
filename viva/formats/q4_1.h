// Q4_1 of ggml: 32 values, f16 scale and minimum, w = q * d + m with q in 0..15.

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
    for (size_t i = 1; i < n; ++i) low = select(x[i] < low, x[i], low), high = select(high < x[i], x[i], high);
    const F scale = (high - low) / F(15.0f);
    return {scale, low, reciprocal(scale)};
  }

  static VIVA_INL Fit best(const F* x, size_t n, const Coding& c) { return reference(x, n, c); }

  static VIVA_INL F code(F x, const Fit& fit) {
    return clamp(trunc((x - fit.minimum) * fit.inverse + F(0.5f)), 0.0f, 15.0f);
  }
  static VIVA_INL F value(F code, const Fit& fit) { return code * fit.scale + fit.minimum; }
  static VIVA_INL void store(const Fit& fit, const Coding&, I* field) {
    field[0] = f16_bits(fit.scale), field[1] = f16_bits(fit.minimum);
  }
  static VIVA_INL Fit load(const I* field, const Coding&) { return {f16_value(field[0]), f16_value(field[1]), F(0.0f)}; }
};

using ThisFormat = Q4_1;

VIVA_LANES_CLOSE
