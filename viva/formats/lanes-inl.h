// Lane types: the arithmetic in which formats are written. No include guard: included once per SIMD target by the
// generated unit of a format, and once with VIVA_SCALAR_LANES for the scalar twin.
//
//   F  float lanes     I  int32 lanes     M  one truth value per lane     kLanes  how many
//
// One lane carries one group of weights, so sums run in the order of the values in every target and all targets give
// the same bits. Products and sums are never fused (the build sets -ffp-contract=off).

#undef VIVA_INL
#undef VIVA_INL_LAMBDA
#undef VIVA_LANES_OPEN
#undef VIVA_LANES_CLOSE

// Behind a lambda's parameters: it is inlined as VIVA_INL functions are.
#define VIVA_INL_LAMBDA __attribute__((always_inline))

#if defined(VIVA_SCALAR_LANES)

namespace viva::scalar {

inline constexpr size_t kLanes = 1;

struct M { bool m; };
struct I;

struct F {
  float v;
  F() = default;
  F(float s) : v(s) {}
};
struct I {
  int32_t v;
  I() = default;
  I(int32_t s) : v(s) {}
};

#define VIVA_INL inline
VIVA_INL F operator+(F a, F b) { return a.v + b.v; }
VIVA_INL F operator-(F a, F b) { return a.v - b.v; }
VIVA_INL F operator*(F a, F b) { return a.v * b.v; }
VIVA_INL F operator/(F a, F b) { return a.v / b.v; }
VIVA_INL F operator-(F a) { return -a.v; }
VIVA_INL M operator<(F a, F b) { return {a.v < b.v}; }
VIVA_INL M operator<=(F a, F b) { return {a.v <= b.v}; }
VIVA_INL M operator==(F a, F b) { return {a.v == b.v}; }
VIVA_INL M operator<(I a, I b) { return {a.v < b.v}; }
VIVA_INL M operator==(I a, I b) { return {a.v == b.v}; }
VIVA_INL M operator&(M a, M b) { return {a.m && b.m}; }
VIVA_INL M operator|(M a, M b) { return {a.m || b.m}; }
VIVA_INL M operator!(M a) { return {!a.m}; }
VIVA_INL I operator+(I a, I b) { return static_cast<int32_t>(static_cast<uint32_t>(a.v) + static_cast<uint32_t>(b.v)); }
VIVA_INL I operator-(I a, I b) { return static_cast<int32_t>(static_cast<uint32_t>(a.v) - static_cast<uint32_t>(b.v)); }
VIVA_INL I operator&(I a, I b) { return a.v & b.v; }
VIVA_INL I operator|(I a, I b) { return a.v | b.v; }
VIVA_INL I operator^(I a, I b) { return a.v ^ b.v; }
template <int kBits> VIVA_INL I shl(I a) { return static_cast<int32_t>(static_cast<uint32_t>(a.v) << kBits); }
template <int kBits> VIVA_INL I shr(I a) { return static_cast<int32_t>(static_cast<uint32_t>(a.v) >> kBits); }
VIVA_INL F select(M m, F a, F b) { return m.m ? a : b; }
VIVA_INL I select(M m, I a, I b) { return m.m ? a : b; }
VIVA_INL I where(M m, I a) { return m.m ? a : I(0); }
VIVA_INL F min(F a, F b) { return a.v < b.v ? a : b; }
VIVA_INL F max(F a, F b) { return a.v > b.v ? a : b; }
VIVA_INL F abs(F a) { return std::fabs(a.v); }
VIVA_INL F sqrt(F a) { return std::sqrt(a.v); }
VIVA_INL F round(F a) { return std::nearbyint(a.v); }   // to nearest, ties to even
VIVA_INL F floor(F a) { return std::floor(a.v); }
VIVA_INL F trunc(F a) { return std::trunc(a.v); }
VIVA_INL I to_int(F a) { return static_cast<int32_t>(a.v); }  // truncates; |a| < 2^31
VIVA_INL I to_int(I a) { return a; }
VIVA_INL F to_float(I a) { return static_cast<float>(a.v); }
VIVA_INL I bits(F a) { return std::bit_cast<int32_t>(a.v); }
VIVA_INL F from_bits(I a) { return std::bit_cast<float>(a.v); }
VIVA_INL bool none(M a) { return !a.m; }
// table[i] for i in 0..15.
VIVA_INL F lookup16(const float* table, I i) { return table[i.v]; }
VIVA_INL F lookup8(const float* table, I i) { return table[i.v]; }  // i in 0..7
VIVA_INL I count(I c, M m) { return c.v + (m.m ? 1 : 0); }          // c + 1 where m
VIVA_INL F load(const float* p) { return *p; }
VIVA_INL void store(F a, float* p) { *p = a.v; }
VIVA_INL I load(const int32_t* p) { return *p; }
VIVA_INL void store(I a, int32_t* p) { *p = a.v; }
// The first lane.
VIVA_INL int32_t first(I a) { return a.v; }
// The low one, two or four bytes of every lane, side by side.
template <int kBytes> VIVA_INL void store_low(I a, uint8_t* p) { std::memcpy(p, &a.v, kBytes); }
template <int kBytes> VIVA_INL I load_low(const uint8_t* p) {
  I a(0);
  std::memcpy(&a.v, p, kBytes);
  return a;
}

// rows[l] + 0..3 -> out[0..3], lane l from rows[l].
template <class P>
VIVA_INL void load_transposed4(P rows, size_t at, F* out) {
  for (int k = 0; k < 4; ++k) out[k] = rows[0][at + k];
}
template <class P>
VIVA_INL void store_transposed4(const F* in, P rows, size_t at) {
  for (int k = 0; k < 4; ++k) rows[0][at + k] = in[k].v;
}

template <class P> VIVA_INL void load_words4(P rows, size_t at, I* out) { std::memcpy(out, rows[0] + at, 16); }
template <class P> VIVA_INL void store_words4(const I* in, P rows, size_t at) { std::memcpy(rows[0] + at, in, 16); }
template <int kBytes, class P> VIVA_INL I load_low_blocks(P p) { return load_low<kBytes>(p[0]); }

#define VIVA_LANES_OPEN namespace viva::scalar {
#define VIVA_LANES_CLOSE }

#else

namespace viva::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DI = hn::ScalableTag<int32_t>;
using DU = hn::ScalableTag<uint32_t>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using VM = hn::Mask<DF>;

inline constexpr size_t kLanes = HWY_LANES(float);

#define VIVA_INL HWY_INLINE

struct M { VM m; };
struct F {
  VF v;
  F() = default;
  VIVA_INL F(VF w) : v(w) {}
  VIVA_INL F(float s) : v(hn::Set(DF(), s)) {}
};
struct I {
  VI v;
  I() = default;
  VIVA_INL I(VI w) : v(w) {}
  VIVA_INL I(int32_t s) : v(hn::Set(DI(), s)) {}
};

VIVA_INL F operator+(F a, F b) { return hn::Add(a.v, b.v); }
VIVA_INL F operator-(F a, F b) { return hn::Sub(a.v, b.v); }
VIVA_INL F operator*(F a, F b) { return hn::Mul(a.v, b.v); }
VIVA_INL F operator/(F a, F b) { return hn::Div(a.v, b.v); }
VIVA_INL F operator-(F a) { return hn::Neg(a.v); }
VIVA_INL M operator<(F a, F b) { return {hn::Lt(a.v, b.v)}; }
VIVA_INL M operator<=(F a, F b) { return {hn::Le(a.v, b.v)}; }
VIVA_INL M operator==(F a, F b) { return {hn::Eq(a.v, b.v)}; }
VIVA_INL M operator<(I a, I b) { return {hn::RebindMask(DF(), hn::Lt(a.v, b.v))}; }
VIVA_INL M operator==(I a, I b) { return {hn::RebindMask(DF(), hn::Eq(a.v, b.v))}; }
VIVA_INL M operator&(M a, M b) { return {hn::And(a.m, b.m)}; }
VIVA_INL M operator|(M a, M b) { return {hn::Or(a.m, b.m)}; }
VIVA_INL M operator!(M a) { return {hn::Not(a.m)}; }
VIVA_INL I operator+(I a, I b) { return hn::Add(a.v, b.v); }
VIVA_INL I operator-(I a, I b) { return hn::Sub(a.v, b.v); }
VIVA_INL I operator&(I a, I b) { return hn::And(a.v, b.v); }
VIVA_INL I operator|(I a, I b) { return hn::Or(a.v, b.v); }
VIVA_INL I operator^(I a, I b) { return hn::Xor(a.v, b.v); }
template <int kBits> VIVA_INL I shl(I a) { return hn::ShiftLeft<kBits>(a.v); }
template <int kBits> VIVA_INL I shr(I a) { return hn::BitCast(DI(), hn::ShiftRight<kBits>(hn::BitCast(DU(), a.v))); }
VIVA_INL F select(M m, F a, F b) { return hn::IfThenElse(m.m, a.v, b.v); }
VIVA_INL I select(M m, I a, I b) { return hn::IfThenElse(hn::RebindMask(DI(), m.m), a.v, b.v); }
// a where m, else zero.
VIVA_INL I where(M m, I a) { return hn::IfThenElseZero(hn::RebindMask(DI(), m.m), a.v); }
VIVA_INL F min(F a, F b) { return hn::Min(a.v, b.v); }
VIVA_INL F max(F a, F b) { return hn::Max(a.v, b.v); }
VIVA_INL F abs(F a) { return hn::Abs(a.v); }
VIVA_INL F sqrt(F a) { return hn::Sqrt(a.v); }
VIVA_INL F round(F a) { return hn::Round(a.v); }
VIVA_INL F floor(F a) { return hn::Floor(a.v); }
VIVA_INL F trunc(F a) { return hn::Trunc(a.v); }
VIVA_INL I to_int(F a) { return hn::ConvertTo(DI(), a.v); }
VIVA_INL F to_float(I a) { return hn::ConvertTo(DF(), a.v); }
VIVA_INL I bits(F a) { return hn::BitCast(DI(), a.v); }
VIVA_INL F from_bits(I a) { return hn::BitCast(DF(), a.v); }
VIVA_INL bool none(M a) { return hn::AllFalse(DF(), a.m); }
VIVA_INL F load(const float* p) { return hn::LoadU(DF(), p); }
VIVA_INL void store(F a, float* p) { hn::StoreU(a.v, DF(), p); }
VIVA_INL I load(const int32_t* p) { return hn::LoadU(DI(), p); }
VIVA_INL void store(I a, int32_t* p) { hn::StoreU(a.v, DI(), p); }
VIVA_INL I to_int(I a) { return a; }
VIVA_INL int32_t first(I a) { return hn::GetLane(a.v); }
template <int kBytes> VIVA_INL void store_low(I a, uint8_t* p) {
  const auto u = hn::BitCast(DU(), a.v);
  if constexpr (kBytes == 1) {
    const hn::Rebind<uint8_t, DF> d;
    hn::StoreU(hn::TruncateTo(d, u), d, p);
  } else if constexpr (kBytes == 2) {
    const hn::Rebind<uint16_t, DF> d;
    hn::StoreU(hn::TruncateTo(d, u), d, reinterpret_cast<uint16_t*>(p));
  } else {
    hn::StoreU(u, DU(), reinterpret_cast<uint32_t*>(p));
  }
}
template <int kBytes> VIVA_INL I load_low(const uint8_t* p) {
  if constexpr (kBytes == 1) {
    return hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<uint8_t, DF>(), p));
  } else if constexpr (kBytes == 2) {
    return hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<uint16_t, DF>(), reinterpret_cast<const uint16_t*>(p)));
  } else {
    return hn::LoadU(DI(), reinterpret_cast<const int32_t*>(p));
  }
}

VIVA_INL I count(I c, M m) { return hn::Sub(c.v, hn::VecFromMask(DI(), hn::RebindMask(DI(), m.m))); }

VIVA_INL F lookup8(const float* table, I i) {
  if constexpr (kLanes == 16) {
    const auto half = hn::LoadU(hn::Half<DF>(), table);
    return hn::TableLookupLanes(hn::Combine(DF(), half, half), hn::IndicesFromVec(DF(), i.v));
  } else if constexpr (kLanes == 8) {
    return hn::TableLookupLanes(hn::LoadU(DF(), table), hn::IndicesFromVec(DF(), i.v));
  } else {
    const auto index = hn::IndicesFromVec(DF(), hn::And(i.v, hn::Set(DI(), 3)));
    const VF a = hn::TableLookupLanes(hn::LoadU(DF(), table), index);
    const VF b = hn::TableLookupLanes(hn::LoadU(DF(), table + 4), index);
    return hn::IfThenElse(hn::RebindMask(DF(), hn::Gt(i.v, hn::Set(DI(), 3))), b, a);
  }
}

VIVA_INL F lookup16(const float* table, I i) {
  if constexpr (kLanes == 16) {
    return hn::TableLookupLanes(hn::LoadU(DF(), table), hn::IndicesFromVec(DF(), i.v));
  } else if constexpr (kLanes == 8) {
    const VI low = hn::And(i.v, hn::Set(DI(), 7));
    const auto index = hn::IndicesFromVec(DF(), low);
    const VF a = hn::TableLookupLanes(hn::LoadU(DF(), table), index);
    const VF b = hn::TableLookupLanes(hn::LoadU(DF(), table + 8), index);
    return hn::IfThenElse(hn::RebindMask(DF(), hn::Gt(i.v, hn::Set(DI(), 7))), b, a);
  } else {
    const I low(hn::And(i.v, hn::Set(DI(), 7)));
    return hn::IfThenElse(hn::RebindMask(DF(), hn::Gt(i.v, hn::Set(DI(), 7))), lookup8(table + 8, low).v, lookup8(table, low).v);
  }
}

// Vectors whose 128-bit block b is p[b * 4].
template <class D, class P>
VIVA_INL hn::Vec<D> load_blocks(D d, P p, size_t at) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::LoadU(d, reinterpret_cast<const float*>(p[0] + at));
  } else {
    const hn::Half<D> dh;
    return hn::Combine(d, load_blocks(dh, p + hn::MaxLanes(D()) / 2, at), load_blocks(dh, p, at));
  }
}
template <class D, class P>
VIVA_INL void store_blocks(D d, hn::Vec<D> v, P p, size_t at) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    hn::StoreU(v, d, reinterpret_cast<float*>(p[0] + at));
  } else {
    const hn::Half<D> dh;
    store_blocks(dh, hn::LowerHalf(dh, v), p, at);
    store_blocks(dh, hn::UpperHalf(dh, v), p + hn::MaxLanes(D()) / 2, at);
  }
}

// 4x4 transpose inside every 128-bit block.
VIVA_INL void transpose_blocks4(VF& a, VF& b, VF& c, VF& e) {
  const hn::RepartitionToWide<DF> dw;
  const auto ab_lo = hn::BitCast(dw, hn::InterleaveLower(DF(), a, b));
  const auto ab_hi = hn::BitCast(dw, hn::InterleaveUpper(DF(), a, b));
  const auto ce_lo = hn::BitCast(dw, hn::InterleaveLower(DF(), c, e));
  const auto ce_hi = hn::BitCast(dw, hn::InterleaveUpper(DF(), c, e));
  a = hn::BitCast(DF(), hn::InterleaveLower(dw, ab_lo, ce_lo));
  b = hn::BitCast(DF(), hn::InterleaveUpper(dw, ab_lo, ce_lo));
  c = hn::BitCast(DF(), hn::InterleaveLower(dw, ab_hi, ce_hi));
  e = hn::BitCast(DF(), hn::InterleaveUpper(dw, ab_hi, ce_hi));
}

// P gives kLanes pointers, to floats or to bytes; `at` counts in what they point to.
template <class P>
VIVA_INL void load_transposed4(P rows, size_t at, F* out) {
  VF v[4];
  for (int i = 0; i < 4; ++i) v[i] = load_blocks(DF(), rows + i, at);
  transpose_blocks4(v[0], v[1], v[2], v[3]);
  for (int i = 0; i < 4; ++i) out[i] = v[i];
}
template <class P>
VIVA_INL void store_transposed4(const F* in, P rows, size_t at) {
  VF v[4] = {in[0].v, in[1].v, in[2].v, in[3].v};
  transpose_blocks4(v[0], v[1], v[2], v[3]);
  for (int i = 0; i < 4; ++i) store_blocks(DF(), v[i], rows + i, at);
}

// Sixteen bytes at rows[l] + at <-> four words of lane l.
template <class P>
VIVA_INL void load_words4(P rows, size_t at, I* out) {
  F v[4];
  load_transposed4(rows, at, v);
  for (int i = 0; i < 4; ++i) out[i] = bits(v[i]);
}
template <class P>
VIVA_INL void store_words4(const I* in, P rows, size_t at) {
  const F v[4] = {from_bits(in[0]), from_bits(in[1]), from_bits(in[2]), from_bits(in[3])};
  store_transposed4(v, rows, at);
}

// The eight bytes at rows[l] <-> two words of lane l; the rows of lanes 2 i and 2 i + 1 follow each other.
template <class P>
VIVA_INL void load_words2(P rows, I* out) {
  const VF a = load_blocks(DF(), rows, 0), b = load_blocks(DF(), rows + 2, 0);  // two lanes in each block
  const VF even = hn::InterleaveLower(DF(), a, b), odd = hn::InterleaveUpper(DF(), a, b);
  out[0] = bits(hn::InterleaveLower(DF(), even, odd));
  out[1] = bits(hn::InterleaveUpper(DF(), even, odd));
}
template <class P>
VIVA_INL void store_words2(I a, I b, P rows) {
  const VF x = from_bits(a).v, y = from_bits(b).v;
  store_blocks(DF(), hn::InterleaveLower(DF(), x, y), rows, 0);
  store_blocks(DF(), hn::InterleaveUpper(DF(), x, y), rows + 2, 0);
}

// As load_low, four lanes from each p[l], l a multiple of four.
template <int kBytes, class P, class D = DI>
VIVA_INL hn::Vec<D> load_low_blocks(P p, D d = D()) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    using T = std::conditional_t<kBytes == 1, uint8_t, std::conditional_t<kBytes == 2, uint16_t, int32_t>>;
    if constexpr (kBytes == 4) return hn::LoadU(d, reinterpret_cast<const T*>(p[0]));
    else return hn::PromoteTo(d, hn::LoadU(hn::Rebind<T, D>(), reinterpret_cast<const T*>(p[0])));
  } else {
    const hn::Half<D> dh;
    return hn::Combine(d, load_low_blocks<kBytes>(p + hn::MaxLanes(D()) / 2, dh), load_low_blocks<kBytes>(p, dh));
  }
}

#define VIVA_LANES_OPEN namespace viva::HWY_NAMESPACE {
#define VIVA_LANES_CLOSE }

#endif

// ---- written once for both ----

constexpr float from_power(int e) { return std::bit_cast<float>((127 + e) << 23); }

// Pointers that a function of the lane gives, for the P of the functions above.
template <class At>
struct ByLane {
  At at;
  size_t first = 0;
  VIVA_INL auto operator[](size_t l) const { return at(first + l); }
  VIVA_INL ByLane operator+(size_t l) const { return {at, first + l}; }
};
template <class At>
VIVA_INL ByLane<At> by_lane(At at) {
  return {at};
}

VIVA_INL F clamp(F x, float low, float high) { return min(max(x, F(low)), F(high)); }
VIVA_INL F copy_sign(F magnitude, F sign) {
  return from_bits((bits(magnitude) & I(0x7fffffff)) | (bits(sign) & I(INT32_MIN)));
}

// The integer value of x, |x| < 2^21, in the low 22 bits; the bits above are not cleared.
VIVA_INL I low_bits(F x) { return bits(x + F(12582912.0f)); }
// To nearest, halves away from zero (C's roundf). The addend is the float below a half: a half would carry its
// predecessor up.
VIVA_INL F round_away(F x) { return trunc(x + copy_sign(F(0x1.fffffep-2f), x)); }

// The bits of the bf16, f16 and e4m3 that are nearest (ties to even), as float16.h's scalar casts.
VIVA_INL I bf16_bits(F x) {
  const I u = bits(x);
  return shr<16>(u + I(0x7fff) + (shr<16>(u) & I(1)));
}
VIVA_INL F bf16_value(I b) { return from_bits(shl<16>(b)); }

VIVA_INL I f16_bits(F x) {
#if !defined(VIVA_SCALAR_LANES) && HWY_TARGET <= HWY_AVX2
  const auto half = hn::BitCast(hn::Rebind<uint16_t, DF>(), hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), x.v));
  return hn::PromoteTo(DI(), half);
#else
  const I u = bits(x);
  const I sign = shr<16>(u) & I(0x8000);
  const I a = u & I(0x7fffffff);
  const I small = bits(from_bits(a) + F(0.5f)) - I(0x3f000000);
  const I normal = shr<13>(a + I(0xfff) + (shr<13>(a) & I(1)) - I(0x38000000));
  const I finite = select(a < I(0x38800000), small, normal);
  return sign | select(a < I(0x477ff000), finite, I(0x7c00));
#endif
}
// Finite f16 only.
VIVA_INL F f16_value(I b) {
  const F magnitude = from_bits(shl<13>(b & I(0x7fff))) * F(0x1p112f);
  return from_bits(bits(magnitude) | shl<16>(b & I(0x8000)));
}

// A number whose last mantissa bit is worth the step of a small float at `a`: adding it to `a` rounds to that step, ties
// to even. kMan: the small float's mantissa bits; its lowest normal is 2^kLow; an even kCount is counted in already.
template <int kMan, int kLow, int kCount = 0>
VIVA_INL F rounder(F a) {
  return from_bits((bits(max(a, F(from_power(kLow)))) & I(0x7f800000)) + I(((23 - kMan) << 23) + kCount));
}
// The code of a >= 0, at most the small float's largest, whose codes without sign have kBits bits.
template <int kMan, int kLow, int kBits>
VIVA_INL I small_float_code(F a) {
  // The sum's last bits count steps, and the bits above are the binade. Both together are the code and what the first
  // normal's binade adds, which the steps begin below.
  constexpr int kBegin = -((23 - kMan + 127 + kLow) << kMan) & ((1 << kBits) - 1);
  const I sum = bits(a + rounder<kMan, kLow, kBegin>(a));
  return (sum + shr<23 - kMan>(sum)) & I((1 << kBits) - 1);
}

VIVA_INL I e4m3_bits(F x) {  // saturates at 448
  return small_float_code<3, -6, 7>(min(abs(x), F(448.0f))) | (shr<24>(bits(x)) & I(0x80));
}
VIVA_INL F e4m3_value(I b) {  // not NaN
  const F magnitude = from_bits(shl<20>(b & I(0x7f))) * F(0x1p120f);
  return from_bits(bits(magnitude) | shl<24>(b & I(0x80)));
}
// The same of b without sign, where many are subnormal, as the scales of small weights: processors are slow at
// multiplying a subnormal f32. Read as normal, a number below the lowest normal is twice that less the lowest.
VIVA_INL F e4m3_scale_value(I b) {
  const F normal = from_bits(shl<20>(b) + I(120 << 23));
  return normal + min(normal - F(0x1p-6f), F(0.0f));
}

// x as the nearest f16, infinite past the largest.
VIVA_INL F f16_round(F x) {
#if !defined(VIVA_SCALAR_LANES) && HWY_TARGET <= HWY_AVX2
  return hn::PromoteTo(DF(), hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), x.v));
#else
  const I b = f16_bits(x);
  return select((b & I(0x7fff)) == I(0x7c00), copy_sign(F(__builtin_inff()), x), f16_value(b));
#endif
}

// x rounded as a value of `t` (f32: unchanged).
VIVA_INL F round_to(DType t, F x) {
  if (t == DType::kBF16) return bf16_value(bf16_bits(x));
  if (t == DType::kF16) return f16_round(x);
  return x;
}

// 1 / x; 0 where that would overflow or x is 0.
VIVA_INL F reciprocal(F x) { return select(abs(x) < F(0x1p-126f), F(0.0f), F(1.0f) / x); }

// A scale as its bits of type `t`, and back; f16 and bf16 are rounded, too large f16 stay finite.
VIVA_INL I stored_bits(DType t, F x) {
  if (t == DType::kBF16) return bf16_bits(x);
  if (t == DType::kF16) return f16_bits(clamp(x, -65504.0f, 65504.0f));
  return bits(x);
}
VIVA_INL F stored_value(DType t, I b) {
  if (t == DType::kBF16) return bf16_value(b);
  if (t == DType::kF16) return f16_value(b);
  return from_bits(b);
}

// compressed-tensors: a scale of zero becomes the epsilon of its dtype.
VIVA_INL F nonzero_scale(const Coding& c, F scale) {
  const float epsilon = c.arithmetic == DType::kBF16 ? 0x1p-7f : c.arithmetic == DType::kF16 ? 0x1p-10f : 0x1p-23f;
  return select(scale == F(0.0f), F(epsilon), scale);
}

}  // namespace of this target
