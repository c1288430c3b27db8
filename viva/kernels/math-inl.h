// F32 functions without branches, calls or fused products, so that the compiler makes vector loops of them and every target
// gives the same bits. The coefficients are least-maximum fits of our own; errors are those that elementwise_test measures.

VIVA_F float power_of_two(int32_t n) { return std::bit_cast<float>((n + 127) << 23); }  // n from -126 to 127

// e^x = 2^n e^r with |r| <= ln(2) / 2; returns n, and e^r - 1 - r in `rest`.
VIVA_F int32_t reduce_exp(float x, float& r, float& rest) {
  const float t = x * 1.44269504f + 0x1.8p23f;  // rounds to a whole number in the last bits
  const float n = t - 0x1.8p23f;
  r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  const float p = ((((0.00019789271755144f * r + 0.0013945753453299403f) * r + 0.00833350419998169f) * r + 0.04166628047823906f) * r +
                   0.1666666567325592f) * r + 0.5f;
  rest = p * r * r;
  return std::bit_cast<int32_t>(t) - std::bit_cast<int32_t>(0x1.8p23f);
}

VIVA_F float exp_fast(float x) {
  float r, rest;
  const float cut = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
  const int32_t n = reduce_exp(cut, r, rest), half = n >> 1;
  const float y = (rest + r) + 1.0f;
  const float result = y * power_of_two(half) * power_of_two(n - half);  // in two steps into the subnormals
  return x != x ? x : result;
}

VIVA_F float expm1_core(float cut) {  // from -18 to 89
  float r, rest;
  const int32_t n = reduce_exp(cut, r, rest), half = n >> 1;
  const float p = rest + r, less = 1.0f - power_of_two(-(n > 30 ? 30 : n));
  return (p + less) * power_of_two(half) * power_of_two(n - half);
}

VIVA_F float expm1_fast(float x) {
  const float y = expm1_core(x > 89.0f ? 89.0f : x < -18.0f ? -18.0f : x);
  return x != x || std::fabs(x) < 0x1p-25f ? x : y;
}

VIVA_F float log_fast(float x) {
  const bool tiny = x < 0x1p-126f;
  const float scaled = tiny ? x * 0x1p23f : x;
  const uint32_t bits = std::bit_cast<uint32_t>(scaled);
  const int32_t e = static_cast<int32_t>(bits - 0x3f3504f3) >> 23;  // the mantissa from sqrt(1/2) to sqrt(2)
  const float f = std::bit_cast<float>(bits - (static_cast<uint32_t>(e) << 23)) - 1.0f;
  const float n = static_cast<float>(tiny ? e - 23 : e), z = f * f;
  float p = (((((((0.06752009689807892f * f - 0.11684957891702652f) * f + 0.11890864372253418f) * f - 0.12404346466064453f) * f +
                 0.14219051599502563f) * f - 0.16668042540550232f) * f + 0.200021430850029f) * f - 0.25000008940696716f) * f +
            0.3333331346511841f;
  p = p * f * z + n * -2.12194440e-4f - 0.5f * z;
  float y = (f + p) + n * 0.693359375f;
  y = x == 0.0f ? -std::numeric_limits<float>::infinity() : y;
  y = x < 0.0f ? std::numeric_limits<float>::quiet_NaN() : y;
  return x == std::numeric_limits<float>::infinity() || x != x ? x : y;
}

VIVA_F float log1p_fast(float x) {
  const float u = 1.0f + x, lost = x - (u - 1.0f);
  const float y = log_fast(u);
  const bool plain = u == 0.0f || !(std::fabs(u) < std::numeric_limits<float>::infinity());
  return u == 1.0f ? x : plain ? y : y + lost / u;
}

VIVA_F float tanh_fast(float x) {
  const float a = std::fabs(x), e = expm1_core(a < 10.0f ? 2.0f * a : 20.0f);
  const float y = std::copysign(e / (e + 2.0f), x);
  return x != x || a < 0x1p-25f ? x : y;
}

// e^(z z) erfc(z) for z >= 0.
VIVA_F float erfcx_fast(float z) {
  const float t = 1.0f / (1.0f + 0.5f * z);
  const float p = (((((((-0.0591784231364727f * t + 0.28510910272598267f) * t - 0.4883057773113251f) * t + 0.27933186292648315f) * t -
                      0.027496248483657837f) * t + 0.2030547708272934f) * t + 0.24301093816757202f) * t + 0.28238803148269653f) * t +
                  0.28208568692207336f;
  return t * p;
}

VIVA_F float erf_fast(float x) {
  const float a = std::fabs(x), u = x * x;
  const float near = ((((-0.0005631414824165404f * u + 0.004917549435049295f) * u - 0.02671130932867527f) * u + 0.11280179768800735f) * u -
                      0.37612324953079224f) * u + 1.1283791065216064f;
  const float cut = a > 10.0f ? 10.0f : a;
  const float far = 1.0f - exp_fast(-(cut * cut)) * erfcx_fast(cut);
  return x != x ? x : a < 1.0f ? x * near : std::copysign(far, x);
}

// 1 - Phi(a) for a >= 0, the upper tail of the normal distribution.
VIVA_F float tail_fast(float a) {
  const float z = a * 0.70710678f;
  return 0.5f * exp_fast(-0.5f * a * a) * erfcx_fast(z);
}

VIVA_F float gelu_fast(float x) {
  const float a = std::fabs(x), tail = tail_fast(a > 20.0f ? 20.0f : a);
  return x * (x > 0.0f ? 1.0f - tail : tail);
}
