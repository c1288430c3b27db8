// F32 functions on one value or on lanes (floats-inl.h), without calls or fused products: every target gives the same bits. What
// is common takes a short way, all else the whole one; where both serve they agree. The coefficients are least-maximum fits of
// our own; errors are those that elementwise_test measures.
#include "viva/kernels/floats-inl.h"

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class N>
VIVA_F auto power_of_two(N n) { return from_bits((n + 127) << 23); }  // n from -126 to 127

template <class X>
VIVA_F X cut_to(X x, float low, float high) {  // NaN stays NaN
  const X y = select(X(high) < x, X(high), x);
  return select(X(low) > y, X(low), y);
}

// e^x = 2^n (1 + part) with |x - n ln(2)| <= ln(2) / 2.
template <class X>
VIVA_F auto reduce_exp(X x, X& part) {
  const X t = x * 1.44269504f + 0x1.8p23f;  // rounds to a whole number in the last bits
  const X n = t - 0x1.8p23f;
  const X r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  const X p = polynomial(r, {0.5f, 0.1666666567325592f, 0.04166628047823906f, 0.00833350419998169f, 0.0013945753453299403f, 0.00019789271755144f});
  part = p * (r * r) + r;
  return bits(t) - bits(X(0x1.8p23f));
}

template <class X>
__attribute__((noinline)) X exp_anywhere(X x) {
  X part = x;
  const auto n = reduce_exp(cut_to(x, -104.0f, 89.0f), part);
  const auto half = n >> 1;
  return (part + 1.0f) * power_of_two(half) * power_of_two(n - half);  // in two steps into the subnormals
}
template <class X>
VIVA_F X exp_fast(X x) {
  if (!none(!(size_of(x) < 87.0f))) [[unlikely]] return exp_anywhere(x);
  X part = x;
  const auto n = reduce_exp(x, part);
  return from_bits(bits(part + 1.0f) + (n << 23));
}

template <class X>
__attribute__((noinline)) X expm1_anywhere(X x) {
  X part = x;
  const auto n = reduce_exp(cut_to(x, -18.0f, 89.0f), part);
  const auto half = n >> 1;
  const X less = X(1.0f) - power_of_two(decltype(n)(0) - select(n > 30, decltype(n)(30), n));
  return (part + less) * power_of_two(half) * power_of_two(n - half);
}
template <class X>
VIVA_F X expm1_fast(X x) {
  const X size = size_of(x);
  X y = x;
  if (!none(!(size < 18.0f))) [[unlikely]] {
    y = expm1_anywhere(x);
  } else {
    X part = x;
    const auto n = reduce_exp(x, part);
    y = (part + (X(1.0f) - power_of_two(decltype(n)(0) - n))) * power_of_two(n);
  }
  return select(size < 0x1p-25f, x, y);
}

// Of x that is normal: 2^n (1 + f), 1 + f from sqrt(1/2) to sqrt(2); log(1 + f) = f + rest.
template <class X>
VIVA_F X reduce_log(X x, X& f, X& rest) {
  const auto b = bits(x) & 0x7fffffff, e = (b - 0x3f3504f3) >> 23;
  f = from_bits(b - (e << 23)) - 1.0f;
  const X p = polynomial(f, {0.3333331346511841f, -0.25000008940696716f, 0.200021430850029f, -0.16668042540550232f, 0.14219051599502563f,
                             -0.12404346466064453f, 0.11890864372253418f, -0.11684957891702652f, 0.06752009689807892f});
  rest = p * f * (f * f) - f * f * 0.5f;
  return to_float(e);
}
template <class X>
VIVA_F X natural(X x, X more) {
  X f = x, rest = x;
  const X n = reduce_log(x, f, rest) + more;
  return (f + (rest + n * -2.12194440e-4f)) + n * 0.693359375f;
}
template <class X>
VIVA_F X binary(X x, X more) {
  X f = x, rest = x;
  const X n = reduce_log(x, f, rest) + more;
  // log2(e) in two parts, the product of the first with a part of f is exact.
  const X high = from_bits(bits(f) & ~0xfff), low = (f - high) + rest;
  return ((low * 1.44269504f + high * -1.7605308e-4f) + high * 1.44287109375f) + n;
}
// kCore of normal numbers and what is to be added to their exponents, continued to all others.
template <class X, X (*kCore)(X, X)>
__attribute__((noinline)) X log_anywhere(X x) {
  const auto tiny = x < X(0x1p-126f);
  X y = kCore(select(tiny, x * 0x1p23f, x), select(tiny, X(-23.0f), X(0.0f)));
  y = select(x == X(0.0f), X(-kInfinity), y);
  y = select(x < X(0.0f), X(std::numeric_limits<float>::quiet_NaN()), y);
  return select((size_of(x) < kInfinity) | (x < X(0.0f)), y, x);  // NaN and infinity are their own
}
template <class X, X (*kCore)(X, X)>
VIVA_F X log_by(X x) {
  const auto usual = (x < X(kInfinity)) & !(x < X(0x1p-126f));
  if (!none(!usual)) [[unlikely]] return log_anywhere<X, kCore>(x);
  return kCore(x, X(0.0f));
}
template <class X>
VIVA_F X log_fast(X x) { return log_by<X, natural<X>>(x); }
template <class X>
VIVA_F X log2_fast(X x) { return log_by<X, binary<X>>(x); }

template <class X>
VIVA_F X log1p_fast(X x) {
  const X u = x + 1.0f, lost = x - (u - 1.0f);
  const X y = log_fast(u);
  const auto usual = (size_of(u) < kInfinity) & (u != X(0.0f));
  return select(u == X(1.0f), x, select(usual, y + lost / u, y));
}

template <class X>
VIVA_F X tanh_fast(X x) {
  const X a = size_of(x);
  X part = x;
  const auto n = reduce_exp(cut_to(a + a, 0.0f, 20.0f), part);
  const X e = (part + (X(1.0f) - power_of_two(decltype(n)(0) - n))) * power_of_two(n);  // e^2a - 1
  return select(a < 0x1p-25f, x, with_sign(e / (e + 2.0f), x));
}

// e^(z z) erfc(z) for z >= 0.
template <class X>
VIVA_F X erfcx_fast(X z) {
  const X t = X(1.0f) / (z * 0.5f + 1.0f);
  return t * polynomial(t, {0.28208568692207336f, 0.28238803148269653f, 0.24301093816757202f, 0.2030547708272934f, -0.027496248483657837f,
                            0.27933186292648315f, -0.4883057773113251f, 0.28510910272598267f, -0.0591784231364727f});
}

template <class X>
VIVA_F X erf_fast(X x) {
  const X a = size_of(x);
  const X near = polynomial(x * x, {1.1283791065216064f, -0.37612324953079224f, 0.11280179768800735f, -0.02671130932867527f, 0.004917549435049295f,
                                    -0.0005631414824165404f});
  const X cut = cut_to(a, 0.0f, 6.0f);
  const X far = X(1.0f) - exp_fast(-(cut * cut)) * erfcx_fast(cut);
  return select(a < 1.0f, x * near, with_sign(far, x));
}

template <class X>
VIVA_F X gelu_fast(X x) {
  const X a = cut_to(size_of(x), 0.0f, 20.0f);
  const X tail = exp_fast(a * a * -0.5f) * erfcx_fast(a * 0.70710678f) * 0.5f;  // 1 - Phi(a)
  return x * select(x > X(0.0f), X(1.0f) - tail, tail);
}
template <class X>
VIVA_F X gelu_tanh_fast(X x) {
  return x * 0.5f * (tanh_fast((x * 0.044715f * x * x + x) * 0.79788456080286535588f) + 1.0f);
}
template <class X>
VIVA_F X sigmoid_fast(X x) {
  const X e = exp_fast(-size_of(x));
  return select(x < X(0.0f), e, X(1.0f)) / (e + 1.0f);
}
template <class X>
VIVA_F X silu_fast(X x) { return x * sigmoid_fast(x); }
template <class X>
VIVA_F X softplus_fast(X x) {
  return select(x < X(0.0f), X(0.0f), x) + log1p_fast(exp_fast(-size_of(x)));
}
template <class X>
VIVA_F X elu_fast(X x, X by) { return select(x > X(0.0f), x, by * expm1_fast(x)); }
template <class X>
VIVA_F X logaddexp_fast(X a, X b) {
  const X high = select((a > b) | (a != a), a, b);
  return select(a == b, a + 0.69314718055994530942f, high + log1p_fast(exp_fast(-size_of(a - b))));
}

// x = n pi/2 + r with |r| <= pi/4, for |x| < kFarAngle: pi/2 in three parts, the products with the first two exact.
inline constexpr float kFarAngle = 8192.0f;
template <class X>
VIVA_F auto reduce_angle(X x, X& r) {
  const X t = x * 0.636619772f + 0x1.8p23f, n = t - 0x1.8p23f;
  r = ((x - n * 1.5703125f) - n * 0.00048351287841796875f) - n * 3.1391647e-07f;
  return bits(t);  // n in the last bits
}
// The quarter circle `quarter` on: sine of 0, cosine of 1.
template <class X, class N>
VIVA_F X wave(X r, N quarter) {
  const X z = r * r;
  const X sine = polynomial(z, {-0.16666655242443085f, 0.008332155644893646f, -0.00019514629093464464f}) * (z * r) + r;
  const X cosine = (polynomial(z, {0.04166664555668831f, -0.0013887309469282627f, 2.4432409190922044e-05f}) * (z * z) - z * 0.5f) + 1.0f;
  const X y = select((quarter & 1) == N(1), cosine, sine);
  return from_bits(bits(y) ^ ((quarter & 2) << 30));
}
// y where x is in the range of reduce_angle(), the C library's f elsewhere.
template <class X>
VIVA_F X or_far(X y, X x, float (*f)(float)) {
  const auto far = !(size_of(x) < kFarAngle);
  if (!none(far)) [[unlikely]] return mend(y, x, far, f);
  return y;
}
template <class X>
VIVA_F X sin_fast(X x) {
  X r = x;
  const auto n = reduce_angle(x, r);
  return or_far(select(size_of(x) < 0x1p-13f, x, wave(r, n)), x, [](float v) { return std::sin(v); });
}
template <class X>
VIVA_F X cos_fast(X x) {
  X r = x;
  const auto n = reduce_angle(x, r);
  return or_far(wave(r, n + 1), x, [](float v) { return std::cos(v); });
}
template <class X>
VIVA_F X tan_fast(X x) {
  X r = x;
  const auto n = reduce_angle(x, r);
  return or_far(select(size_of(x) < 0x1p-13f, x, wave(r, n) / wave(r, n + 1)), x, [](float v) { return std::tan(v); });
}

// a^b = 2^(b log2(a)) of finite f32 in f64, where both functions are short series: the result is the nearest f32 or its neighbour.
VIVA_F float pow_fast(float x, float y) {
  const double a = std::fabs(static_cast<double>(x)), b = y;
  // a = 2^e m with m from sqrt(1/2) to sqrt(2); e is read out of the last bits of 2^52 + e.
  constexpr int64_t kHalfRoot = 0x3fe6a09e667f3bcd, kBias = int64_t{1024} << 52, kMagic = 0x4330000000000000;
  const int64_t bits_a = std::bit_cast<int64_t>(a);
  const uint64_t biased = static_cast<uint64_t>(bits_a - kHalfRoot + kBias) >> 52;
  const double e = std::bit_cast<double>(static_cast<int64_t>(biased) | kMagic) - (0x1p52 + 1024), m = std::bit_cast<double>(bits_a - (static_cast<int64_t>(biased - 1024) << 52));
  // log2(m) = 2 / ln(2) atanh(s)
  const double s = (m - 1) / (m + 1), t = s * s, t2 = t * t;
  constexpr double k = 2.8853900817779268;
  const double series = ((k + t * (k / 3)) + t2 * (k / 5 + t * (k / 7))) + t2 * t2 * ((k / 9 + t * (k / 11)) + t2 * (k / 13));
  double p = b * (e + s * series);
  p = p < 300 ? p : 300;
  p = p > -300 ? p : -300;
  const double whole = p + 0x1.8p52, f = (p - (whole - 0x1.8p52)) * 0.69314718055994531, f2 = f * f;
  const double power = ((1 + f) + f2 * (1.0 / 2 + f * (1.0 / 6))) + f2 * f2 * ((1.0 / 24 + f * (1.0 / 120)) + f2 * ((1.0 / 720 + f * (1.0 / 5040)) + f2 * (1.0 / 40320)));
  const double scale = std::bit_cast<double>((std::bit_cast<int64_t>(whole) + 1023) << 52);
  double r = power * scale;
  r = a == 0 ? (b > 0 ? 0.0 : b < 0 ? std::numeric_limits<double>::infinity() : 1.0) : r;
  const bool is_whole = std::trunc(b) == b, odd = is_whole & (std::trunc(b * 0.5) != b * 0.5);
  r = (x < 0) & !is_whole ? std::numeric_limits<double>::quiet_NaN() : r;
  return static_cast<float>((std::bit_cast<int32_t>(x) < 0) & odd ? -r : r);
}
