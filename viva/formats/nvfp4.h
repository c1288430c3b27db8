// NVFP4 as compressed-tensors stores it: E2M1 codes, an E4M3 scale per 16 values, one f32 scale per tensor
// that the block scales are divided by (`Shared::scale` = weight_global_scale, so w = code * (scale /
// global)).

#include "viva/formats/levels-inl.h"

VIVA_LANES_OPEN

struct Nvfp4 {
  static constexpr std::string_view kName = "nvfp4";
  static constexpr std::string_view kSummary =
      "E2M1, 16 values share an E4M3 scale, f32 scale per tensor (compressed-tensors)";
  static constexpr uint32_t kGroup = 16;
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kLowFirst;
  static constexpr bool kInterleaved = false;

  struct Fit {
    F scale;  // as it multiplies codes: block scale / tensor scale
    I byte;
  };

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF8E4M3}}; }

  // 2688 = 448 * 6 takes the tensor's largest value to the largest block scale.
  static Shared share(const Observed& seen, const Coding& coding) noexcept {
    const float tiny = coding.arithmetic == DType::kF16 ? 0x1p-14f : 0x1p-126f;
    float g = 2688.0f / (seen.absmax < tiny ? tiny : seen.absmax);
    if (coding.arithmetic == DType::kBF16) g = bf16_to_f32(f32_to_bf16(g));
    if (coding.arithmetic == DType::kF16) g = f16_to_f32(f32_to_f16(g));
    return {.scale = std::isfinite(g) ? g : 1.0f};
  }

  static VIVA_INL Fit fit_of(I byte, const Coding& coding) {
    return {e4m3_scale_value(byte) / F(coding.shared.scale), byte};
  }

  static Fit reference(const F* x, size_t n, const Coding& coding) {
    const F sixth = round_to(coding.arithmetic, absmax_of(x, n) / F(6.0f));
    const I byte = e4m3_bits(F(coding.shared.scale) * sixth);
    return fit_of(select(byte == I(0), I(0x20), byte), coding);  // a scale of 0 becomes 0.125
  }

  static Fit best(const F* x, size_t n, const Coding& coding) {
    const Fit first = reference(x, n, coding);
    const Fit found = fit_of(search_nvfp4_byte(x, n, absmax_of(x, n), first.byte, F(1.0f) / F(coding.shared.scale)), coding);
    const M better =
        in_reach(absmax_of(x, n)) & beats(error_of<Nvfp4>(x, n, found), error_of<Nvfp4>(x, n, first));
    return {select(better, found.scale, first.scale), select(better, found.byte, first.byte)};
  }

  static VIVA_INL I code(F x, const Fit& fit) { return e2m1_code(x / fit.scale); }
  static VIVA_INL F value(I code, const Fit& fit) { return lookup16(kE2m1Values, code) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = fit.byte; }
  static Fit load(const I* field, const Coding& coding) { return fit_of(field[0], coding); }
};

using ThisFormat = Nvfp4;

VIVA_LANES_CLOSE
