// FP8 (E4M3), one scale per output channel, as compressed-tensors' float-quantized layout stores it.

#include "viva/formats/fp8-inl.h"

VIVA_LANES_OPEN

struct Fp8 : Fp8Scale {
  static constexpr std::string_view kName = "fp8";
  static constexpr std::string_view kSummary =
      "E4M3, the row shares a scale in the model's dtype (compressed-tensors)";
  static constexpr uint32_t kGroup = 0;
  static constexpr bool kAlongRow = true;
  static constexpr int kCodeBits = 8;
  static constexpr DType kCodesType = DType::kF8E4M3;
  static constexpr Order kOrder = Order::kBytes;
  static constexpr bool kInterleaved = false;

  static constexpr Fields fields(const Coding& c) { return {{Role::kScale, c.scale}}; }
  static VIVA_INL void store(const Fit& fit, const Coding& c, I* field) {
    field[0] = stored_bits(c.scale, fit.scale);
  }
  static VIVA_INL Fit load(const I* field, const Coding& c) {
    return {stored_value(c.scale, field[0]), F(0.0f), false};
  }
};

using ThisFormat = Fp8;

VIVA_LANES_CLOSE
