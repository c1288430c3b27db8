// IEEE half floats. The reference overflows to infinity as every cast does; best stays at the largest finite
// value.

VIVA_LANES_OPEN

struct F16 {
  static constexpr std::string_view kName = "f16";
  static constexpr std::string_view kSummary = "16-bit IEEE floats";
  static constexpr uint32_t kGroup = 1;
  static constexpr bool kAlongRow = true;
  static constexpr int kCodeBits = 16;
  static constexpr DType kCodesType = DType::kF16;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;
  static constexpr int kGgufType = 1;

  struct Fit {};
  static constexpr Fields fields(const Coding&) { return {}; }
  static VIVA_INL Fit reference(const F*, size_t, const Coding&) { return {}; }
  static VIVA_INL Fit best(const F*, size_t, const Coding&) { return {}; }
  static VIVA_INL I code(F x, const Fit&) { return f16_bits(clamp(x, -65504.0f, 65504.0f)); }
  template <DType>
  static VIVA_INL I reference_code(F x, const Fit&) {
    return f16_bits(x);
  }
  static VIVA_INL F value(I code, const Fit&) {
    // Exponent 31 (infinity, NaN) becomes f32's.
    const I top = select((code & I(0x7c00)) == I(0x7c00), I(0x7f800000), I(0));
    return from_bits(bits(f16_value(code)) | top);
  }
  static VIVA_INL void store(const Fit&, const Coding&, I*) {}
  static VIVA_INL Fit load(const I*, const Coding&) { return {}; }
};

using ThisFormat = F16;

VIVA_LANES_CLOSE
