// NF4 of QLoRA as bitsandbytes stores it: sixteen quantiles of a normal distribution, f32 absmax per block.

VIVA_LANES_OPEN

struct Nf4 {
  static constexpr std::string_view kName = "nf4";
  static constexpr std::string_view kSummary = "4-bit normal quantiles, 64 values share an f32 scale (bitsandbytes)";
  static constexpr uint32_t kGroup = 64;
  static constexpr uint32_t kGroups[] = {32, 64, 128, 256, 512, 1024, 2048, 4096};
  static constexpr int kCodeBits = 4;
  static constexpr Order kOrder = Order::kHighFirst;
  static constexpr bool kInterleaved = false;
  static constexpr bool kSignedScale = true;

  alignas(64) static constexpr float kLevels[16] = {
      -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
      -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
      0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
  // Code k is taken above threshold k - 1, the midpoint of two levels; a tie takes the lower code.
  static constexpr float kThresholds[15] = {
      -0.8480964004993439f, -0.6106329262256622f, -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
      -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f, 0.2035212516784668f,
      0.2920137718319893f, 0.3893125355243683f, 0.5016634166240692f, 0.6427869200706482f, 0.8614784181118011f};

  struct Fit {
    F scale, inverse;
  };

  static constexpr Fields fields(const Coding&) { return {{Role::kScale, DType::kF32}}; }

  static Fit reference(const F* x, size_t n, const Coding&) {
    F absmax(0.0f);
    for (size_t i = 0; i < n; ++i) absmax = max(absmax, abs(x[i]));
    return {absmax, F(1.0f) / max(absmax, F(1e-38f))};
  }

  static Fit best(const F* x, size_t n, const Coding& c) { return reference(x, n, c); }

  static F code(F x, const Fit& fit) {
    const F v = clamp(x * fit.inverse, -1.0f, 1.0f);
    F c(0.0f);
    for (float t : kThresholds) c = select(F(t) < v, c + F(1.0f), c);
    return c;
  }
  static F value(F code, const Fit& fit) { return lookup16(kLevels, to_int(code)) * fit.scale; }
  static void store(const Fit& fit, const Coding&, I* field) { field[0] = bits(fit.scale); }
  static Fit load(const I* field, const Coding&) { return {from_bits(field[0]), F(0.0f)}; }
};

using ThisFormat = Nf4;

VIVA_LANES_CLOSE
