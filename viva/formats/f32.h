// 32-bit floats, for tensors that stay as they are.

VIVA_LANES_OPEN

struct F32 {
  static constexpr std::string_view kName = "f32";
  static constexpr std::string_view kSummary = "32-bit IEEE floats";
  static constexpr uint32_t kGroup = 1;
  static constexpr bool kAlongRow = true;
  static constexpr int kCodeBits = 32;
  static constexpr DType kCodesType = DType::kF32;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;
  static constexpr int kGgufType = 0;

  struct Fit {};
  static constexpr Fields fields(const Coding&) { return {}; }
  static VIVA_INL Fit reference(const F*, size_t, const Coding&) { return {}; }
  static VIVA_INL Fit best(const F*, size_t, const Coding&) { return {}; }
  static VIVA_INL I code(F x, const Fit&) { return bits(x); }
  static VIVA_INL F value(I code, const Fit&) { return from_bits(code); }
  static VIVA_INL void store(const Fit&, const Coding&, I*) {}
  static VIVA_INL Fit load(const I*, const Coding&) { return {}; }
};

using ThisFormat = F32;

VIVA_LANES_CLOSE
