// The upper half of f32. The reference overflows to infinity as every cast does; best stays at the largest
// finite value.

VIVA_LANES_OPEN

struct BF16 {
  static constexpr std::string_view kName = "bf16";
  static constexpr std::string_view kSummary = "16-bit floats with the exponent of f32";
  static constexpr uint32_t kGroup = 1;
  static constexpr bool kAlongRow = true;
  static constexpr int kCodeBits = 16;
  static constexpr DType kCodesType = DType::kBF16;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;
  static constexpr int kGgufType = 30;

  struct Fit {};
  static constexpr Fields fields(const Coding&) { return {}; }
  static VIVA_INL Fit reference(const F*, size_t, const Coding&) { return {}; }
  static VIVA_INL Fit best(const F*, size_t, const Coding&) { return {}; }
  static VIVA_INL I code(F x, const Fit&) { return bf16_bits(clamp(x, -0x1.fep127f, 0x1.fep127f)); }
  template <DType>
  static VIVA_INL I reference_code(F x, const Fit&) {
    return bf16_bits(x);
  }
  static VIVA_INL F value(I code, const Fit&) { return bf16_value(code); }
  static VIVA_INL void store(const Fit&, const Coding&, I*) {}
  static VIVA_INL Fit load(const I*, const Coding&) { return {}; }
};

using ThisFormat = BF16;

VIVA_LANES_CLOSE
