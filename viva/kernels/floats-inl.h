// What math-inl.h computes on: one f32, or as many as two vectors of the SIMD target hold, side by side so that one's operations
// run while the other's wait. The same operations in the same order on both, hence the same bits. Included inside a namespace
// of each target.

inline constexpr size_t kVector = HWY_LANES(float);
typedef float FloatVector __attribute__((vector_size(4 * HWY_LANES(float))));
typedef int32_t IntVector __attribute__((vector_size(4 * HWY_LANES(float))));

struct Ints {
  IntVector a, b;
  VIVA_F Ints(IntVector p, IntVector q) : a(p), b(q) {}
  VIVA_F Ints(int32_t v) : a(v - IntVector{}), b(v - IntVector{}) {}
};
struct Floats {
  FloatVector a, b;
  static constexpr size_t kCount = 2 * kVector;
  Floats() = default;
  VIVA_F Floats(FloatVector p, FloatVector q) : a(p), b(q) {}
  VIVA_F Floats(float v) : a(v - FloatVector{}), b(v - FloatVector{}) {}
  static VIVA_F Floats load(const float* p) {
    Floats v;
    __builtin_memcpy(&v.a, p, sizeof v.a);
    __builtin_memcpy(&v.b, p + kVector, sizeof v.b);
    return v;
  }
  VIVA_F void store(float* p) const {
    __builtin_memcpy(p, &a, sizeof a);
    __builtin_memcpy(p + kVector, &b, sizeof b);
  }
  VIVA_F Floats operator-() const { return {-a, -b}; }
};

#define VIVA_OP(TYPE, RESULT, OP) \
  VIVA_F RESULT operator OP(TYPE x, TYPE y) { return {x.a OP y.a, x.b OP y.b}; }
VIVA_OP(Floats, Floats, +) VIVA_OP(Floats, Floats, -) VIVA_OP(Floats, Floats, *) VIVA_OP(Floats, Floats, /)
VIVA_OP(Floats, Ints, <) VIVA_OP(Floats, Ints, >) VIVA_OP(Floats, Ints, ==) VIVA_OP(Floats, Ints, !=)
VIVA_OP(Ints, Ints, +) VIVA_OP(Ints, Ints, -) VIVA_OP(Ints, Ints, &) VIVA_OP(Ints, Ints, |) VIVA_OP(Ints, Ints, ^)
VIVA_OP(Ints, Ints, >) VIVA_OP(Ints, Ints, ==)
#undef VIVA_OP
VIVA_F Ints operator!(Ints x) { return {~x.a, ~x.b}; }  // of a comparison
VIVA_F Ints operator<<(Ints x, int n) { return {x.a << n, x.b << n}; }
VIVA_F Ints operator>>(Ints x, int n) { return {x.a >> n, x.b >> n}; }

VIVA_F Floats select(Ints m, Floats x, Floats y) { return {m.a ? x.a : y.a, m.b ? x.b : y.b}; }
VIVA_F float select(bool m, float x, float y) { return m ? x : y; }
VIVA_F Ints select(Ints m, Ints x, Ints y) { return {m.a ? x.a : y.a, m.b ? x.b : y.b}; }
VIVA_F int32_t select(bool m, int32_t x, int32_t y) { return m ? x : y; }
VIVA_F Ints bits(Floats x) { return {reinterpret_cast<IntVector>(x.a), reinterpret_cast<IntVector>(x.b)}; }
VIVA_F int32_t bits(float x) { return std::bit_cast<int32_t>(x); }
VIVA_F Floats from_bits(Ints x) { return {reinterpret_cast<FloatVector>(x.a), reinterpret_cast<FloatVector>(x.b)}; }
VIVA_F float from_bits(int32_t x) { return std::bit_cast<float>(x); }
VIVA_F Floats to_float(Ints x) { return {__builtin_convertvector(x.a, FloatVector), __builtin_convertvector(x.b, FloatVector)}; }
VIVA_F float to_float(int32_t x) { return static_cast<float>(x); }
template <class X>
VIVA_F X size_of(X x) { return from_bits(bits(x) & 0x7fffffff); }
template <class X>
VIVA_F X with_sign(X x, X of) { return from_bits((bits(x) & 0x7fffffff) | (bits(of) & std::numeric_limits<int32_t>::min())); }

VIVA_F bool none(bool m) { return !m; }
VIVA_F bool none(Ints m) {
  const hwy::HWY_NAMESPACE::ScalableTag<int32_t> d;
  const IntVector any = m.a | m.b;
  const auto v = hwy::HWY_NAMESPACE::LoadU(d, reinterpret_cast<const int32_t*>(&any));
  return hwy::HWY_NAMESPACE::AllTrue(d, hwy::HWY_NAMESPACE::Eq(v, hwy::HWY_NAMESPACE::Zero(d)));
}

// f(x) where `far`, y elsewhere.
VIVA_F float mend(float y, float x, bool far, float (*f)(float)) { return far ? f(x) : y; }
inline __attribute__((noinline)) Floats mend(Floats y, Floats x, Ints far, float (*f)(float)) {
  alignas(64) float in[Floats::kCount], out[Floats::kCount];
  alignas(64) int32_t is_far[Floats::kCount];
  x.store(in);
  y.store(out);
  __builtin_memcpy(is_far, &far, sizeof is_far);
  for (size_t i = 0; i < Floats::kCount; ++i) {
    if (is_far[i] != 0) out[i] = f(in[i]);
  }
  return Floats::load(out);
}

// c[0] + c[1] x + c[2] x^2 ... by halves, which do not wait for each other.
template <size_t N, class X, class C>
VIVA_F X polynomial(X x, const C (&c)[N]) {
  constexpr size_t kHalf = (N + 1) / 2;
  if constexpr (N == 1) {
    return c[0];
  } else {
    X pair[kHalf] = {};
    for (size_t i = 0; i < N / 2; ++i) pair[i] = x * c[2 * i + 1] + c[2 * i];
    if constexpr (N % 2 != 0) pair[kHalf - 1] = c[N - 1];
    return polynomial(x * x, pair);
  }
}

// f(lanes of every operand) -> y; the last ones in a buffer, so that none is computed otherwise than the rest.
template <class F, size_t kOperands>
VIVA_F void in_lanes(F f, const float* const (&x)[kOperands], float* y, size_t n) {
  constexpr size_t kCount = Floats::kCount;
  const auto step = [&](const float* const (&p)[kOperands], size_t i, float* to) __attribute__((always_inline)) {
    if constexpr (kOperands == 1) {
      f(Floats::load(p[0] + i)).store(to);
    } else {
      f(Floats::load(p[0] + i), Floats::load(p[1] + i)).store(to);
    }
  };
  size_t i = 0;
  for (; i + kCount <= n; i += kCount) step(x, i, y + i);
  if (i == n) return;
  float last[kOperands][kCount] = {}, out[kCount];
  const float* p[kOperands];
  for (size_t k = 0; k < kOperands; ++k) p[k] = last[k], __builtin_memcpy(last[k], x[k] + i, (n - i) * sizeof(float));
  step(p, 0, out);
  __builtin_memcpy(y + i, out, (n - i) * sizeof(float));
}
