#include "viva/kernels/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "viva/kernels/loops.h"
#include "viva/machine/stream.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/random.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

#undef VIVA_F
#define VIVA_F inline __attribute__((always_inline))

constexpr size_t kMostLanes = hn::MaxLanes(hn::ScalableTag<uint64_t>());

// A round on as many blocks as there are 64-bit lanes, each word in the lower half of one. What comes into the upper halves
// is never looked at: products take the lower ones. 
template <class D, class V>
VIVA_F void philox_round(D, V& x0, V& x1, V& x2, V& x3, V k0, V k1) {
  const hn::Repartition<uint32_t, D> d32;
  const V a = hn::MulEven(hn::BitCast(d32, x0), hn::Set(d32, 0xD2511F53)), b = hn::MulEven(hn::BitCast(d32, x2), hn::Set(d32, 0xCD9E8D57));
  x0 = hn::Xor(hn::ShiftRight<32>(b), hn::Xor(k0, x1));
  x2 = hn::Xor(hn::ShiftRight<32>(a), hn::Xor(k1, x3));
  x1 = b;
  x3 = a;
}

// put(vector, i) takes words from word i on; the result is the number of blocks that made whole vectors.
template <class Put>
VIVA_F size_t whole_vectors(RandomPlace p, size_t blocks, Put put) {
  const hn::ScalableTag<uint64_t> d;
  const hn::Repartition<uint32_t, decltype(d)> d32;
  const size_t lanes = hn::Lanes(d), step = 2 * lanes;
  // The lanes' blocks stand so that pairs of words, when neighbouring lanes are put together, come out in order.
  alignas(64) uint64_t order[kMostLanes], keys[20 * kMostLanes];
  for (size_t i = 0; i < lanes; ++i) order[i] = i % 2 * (lanes / 2) + i / 2;
  const auto first = hn::Load(d, order);
  uint32_t k0 = static_cast<uint32_t>(p.seed), k1 = static_cast<uint32_t>(p.seed >> 32);
  for (size_t round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
    hn::Store(hn::Set(d, k0), d, keys + 2 * round * lanes);
    hn::Store(hn::Set(d, k1), d, keys + (2 * round + 1) * lanes);
  }
  const auto s0 = hn::Set(d, p.stream & 0xffffffff), s1 = hn::Set(d, p.stream >> 32);
  size_t i = 0;
  for (; i + step <= blocks; i += step) {  // two at a time: a product's result is waited for
    const auto c = hn::Add(hn::Set(d, p.block + i), first), e = hn::Add(hn::Set(d, p.block + i + lanes), first);
    auto x0 = c, x1 = hn::ShiftRight<32>(c), x2 = s0, x3 = s1;
    auto y0 = e, y1 = hn::ShiftRight<32>(e), y2 = s0, y3 = s1;
#pragma GCC unroll 10
    for (size_t round = 0; round < 10; ++round) {
      const auto a = hn::Load(d, keys + 2 * round * lanes), b = hn::Load(d, keys + (2 * round + 1) * lanes);
      philox_round(d, x0, x1, x2, x3, a, b);
      philox_round(d, y0, y1, y2, y3, a, b);
    }
    const auto pair = [&](auto even, auto odd) HWY_ATTR {
      return hn::BitCast(d, hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(odd)), hn::BitCast(d32, even)));
    };
    const auto a = pair(x0, x1), b = pair(x2, x3), f = pair(y0, y1), g = pair(y2, y3);
    put(hn::BitCast(d32, hn::InterleaveLower(d, a, b)), 4 * i);
    put(hn::BitCast(d32, hn::InterleaveUpper(d, a, b)), 4 * i + 2 * lanes);
    put(hn::BitCast(d32, hn::InterleaveLower(d, f, g)), 4 * i + 4 * lanes);
    put(hn::BitCast(d32, hn::InterleaveUpper(d, f, g)), 4 * i + 6 * lanes);
  }
  return i;
}

void words(RandomPlace p, size_t blocks, uint32_t* out) noexcept {
  const hn::ScalableTag<uint32_t> d;
  size_t i = whole_vectors(p, blocks, [&](auto v, size_t at) HWY_ATTR { hn::StoreU(v, d, out + at); });
  for (; i < blocks; ++i) {
    const uint64_t c = p.block + i;
    const auto w = philox({static_cast<uint32_t>(c), static_cast<uint32_t>(c >> 32), static_cast<uint32_t>(p.stream), static_cast<uint32_t>(p.stream >> 32)},
                          {static_cast<uint32_t>(p.seed), static_cast<uint32_t>(p.seed >> 32)});
    std::copy_n(w.data(), 4, out + 4 * i);
  }
}

// ---- values from words ----

constexpr size_t kStrip = 2048;  // words

// Every other word, so that the loops over values become vectors.
struct Halves {
  alignas(64) uint32_t even[kStrip / 2], odd[kStrip / 2];
  VIVA_F Halves(const uint32_t* w, size_t n) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) even[i] = w[2 * i], odd[i] = w[2 * i + 1];
  }
};

void uniform(const uint32_t* w, size_t n, const Draw& r, float* out) {
  const float low = static_cast<float>(r.a), span = static_cast<float>(r.b), top = static_cast<float>(r.top);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) {
    const float v = low + span * (static_cast<float>(static_cast<int32_t>(w[i] >> 8)) * 0x1p-24f);
    out[i] = v < top ? v : top;
  }
}
// The same from the words in registers; what is left is for the function above. `past`: written past the cache.
size_t uniform_whole(RandomPlace p, size_t n, const Draw& r, bool past, float* out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto low = hn::Set(d, static_cast<float>(r.a)), span = hn::Set(d, static_cast<float>(r.b)), top = hn::Set(d, static_cast<float>(r.top)), unit = hn::Set(d, 0x1p-24f);
  const size_t blocks = whole_vectors(p, n / 4, [&](auto w, size_t at) HWY_ATTR {
    const auto v = hn::Add(low, hn::Mul(span, hn::Mul(hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<8>(w))), unit)));
    const auto cut = hn::IfThenElse(hn::Lt(v, top), v, top);
    past ? hn::Stream(cut, d, out + at) : hn::StoreU(cut, d, out + at);
  });
  if (past) hwy::FlushStream();
  return 4 * blocks;
}
void uniform(const uint32_t* w, size_t n, const Draw& r, double* out) {
  const double low = r.a, span = r.b, top = r.top;
  const Halves h(w, n);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) {
    const double high = static_cast<double>(static_cast<int32_t>(h.odd[i] >> 5)), rest = static_cast<double>(static_cast<int32_t>(h.even[i] >> 6));
    const double v = low + span * ((high * 0x1p26 + rest) * 0x1p-53);
    out[i] = v < top ? v : top;
  }
}

// Series instead of the C library's functions, whose last bits differ between machines; good to the type's precision.
template <class T>
VIVA_F T minus_log(T u) {  // of a normal number in (0, 1]
  constexpr bool kSingle = std::is_same_v<T, float>;
  T m, n;
  if constexpr (kSingle) {
    const uint32_t bits = std::bit_cast<uint32_t>(u);
    const int32_t e = static_cast<int32_t>(bits - 0x3f3504f3) >> 23;  // the mantissa from sqrt(1/2) to sqrt(2)
    m = std::bit_cast<float>(bits - (static_cast<uint32_t>(e) << 23));
    n = static_cast<float>(-e);
  } else {
    const uint64_t bits = std::bit_cast<uint64_t>(u);
    const uint64_t e = (bits - 0x3fe6a09e667f3bcd + (uint64_t{1000} << 52)) >> 52;  // 1000 more: vectors shift no signs
    m = std::bit_cast<double>(bits - ((e - 1000) << 52));
    n = 1000.0 - (std::bit_cast<double>(e | 0x4330000000000000) - 0x1p52);
  }
  const T s = (T(1) - m) / (m + T(1)), z = s * s;  // -log m = 2 artanh s
  T p = kSingle ? T(1) / 9 : T(1) / 21;
  if constexpr (!kSingle) {
    p = p * z + T(1) / 19;
    p = p * z + T(1) / 17;
    p = p * z + T(1) / 15;
    p = p * z + T(1) / 13;
    p = p * z + T(1) / 11;
    p = p * z + T(1) / 9;
  }
  p = p * z + T(1) / 7;
  p = p * z + T(1) / 5;
  p = p * z + T(1) / 3;
  const T two_s = s + s;
  return n * T(0.69314718055994530942) + (two_s + two_s * z * p);
}

// Sine and cosine of t quarter turns, |t| <= 1/2.
template <class T>
VIVA_F void sine_cosine(T t, T& sine, T& cosine) {
  constexpr bool kSingle = std::is_same_v<T, float>;
  const T x = t * T(1.57079632679489661923), z = x * x;
  T s = kSingle ? T(1) / 362880 : T(1) / 355687428096000, c = kSingle ? T(-1) / 3628800 : T(1) / 20922789888000;
  if constexpr (!kSingle) {
    s = s * z - T(1) / 1307674368000;
    s = s * z + T(1) / 6227020800;
    s = s * z - T(1) / 39916800;
    s = s * z + T(1) / 362880;
    c = c * z - T(1) / 87178291200;
    c = c * z + T(1) / 479001600;
    c = c * z - T(1) / 3628800;
  }
  s = s * z - T(1) / 5040;
  s = s * z + T(1) / 120;
  s = s * z - T(1) / 6;
  c = c * z + T(1) / 40320;
  c = c * z - T(1) / 720;
  c = c * z + T(1) / 24;
  c = c * z - T(1) / 2;
  sine = x + x * z * s;
  cosine = T(1) + z * c;
}

// Box and Muller's pair: a distance in (0, 1] as its exponential and a turn: a quadrant and a place in it.
template <class T, class Q>
VIVA_F void normal_pair(T u, T t, Q quadrant, T& a, T& b) {
  const T twice = minus_log(u), far = std::sqrt(twice + twice);
  T s, c;
  sine_cosine(t, s, c);
  // A quarter turn: (c, s), (-s, c), (-c, -s), (s, -c).
  const bool odd = (quadrant & 1) != 0;
  const T x = odd ? s : c, y = odd ? c : s;
  a = far * (((quadrant + 1) & 2) != 0 ? -x : x);
  b = far * ((quadrant & 2) != 0 ? -y : y);
}

void normal(const uint32_t* w, size_t n, const Draw& r, float* out) {
  const float mean = static_cast<float>(r.a), deviation = static_cast<float>(r.b);
  alignas(64) float a[kStrip / 2], b[kStrip / 2];
  const size_t pairs = (n + 1) / 2;
  const Halves h(w, pairs);
#pragma GCC ivdep
  for (size_t i = 0; i < pairs; ++i) {
    const float u = (static_cast<float>(static_cast<int32_t>(h.even[i] >> 1)) + 0.5f) * 0x1p-31f;
    const float t = (static_cast<float>(static_cast<int32_t>((h.odd[i] & 0x3fffffff) >> 6) - (1 << 23)) + 0.5f) * 0x1p-24f;
    float x, y;
    normal_pair(u, t, h.odd[i] >> 30, x, y);
    a[i] = mean + deviation * x;
    b[i] = mean + deviation * y;
  }
#pragma GCC ivdep
  for (size_t i = 0; i < n / 2; ++i) out[2 * i] = a[i], out[2 * i + 1] = b[i];
  if (n % 2 != 0) out[n - 1] = a[n / 2];
}
void normal(const uint32_t* w, size_t n, const Draw& r, double* out) {
  const double mean = r.a, deviation = r.b;
  alignas(64) double u[kStrip / 4], t[kStrip / 4], a[kStrip / 4], b[kStrip / 4];
  alignas(64) uint64_t quadrant[kStrip / 4];
  const size_t pairs = (n + 1) / 2;
  const Halves h(w, 2 * pairs), low(h.even, pairs), high(h.odd, pairs);  // word 0 and 2 of each block; 1 and 3
#pragma GCC ivdep
  for (size_t i = 0; i < pairs; ++i) {
    u[i] = (static_cast<double>(static_cast<int32_t>(high.even[i] >> 5)) * 0x1p26 + static_cast<double>(static_cast<int32_t>(low.even[i] >> 6)) + 0.5) * 0x1p-53;
    t[i] = (static_cast<double>(static_cast<int32_t>(high.odd[i] & 0x3fffffff) - (1 << 29)) * 0x1p22 + static_cast<double>(static_cast<int32_t>(low.odd[i] >> 10)) + 0.5) * 0x1p-52;
    quadrant[i] = high.odd[i] >> 30;
  }
#pragma GCC ivdep
  for (size_t i = 0; i < pairs; ++i) {
    double x, y;
    normal_pair(u[i], t[i], quadrant[i], x, y);
    a[i] = mean + deviation * x;
    b[i] = mean + deviation * y;
  }
#pragma GCC ivdep
  for (size_t i = 0; i < n / 2; ++i) out[2 * i] = a[i], out[2 * i + 1] = b[i];
  if (n % 2 != 0) out[n - 1] = a[n / 2];
}

// The upper word of a product of the span with 64 random bits, or with 128 where the span has more than 32: what is drawn
// too often is so by less than 2^-32, or 2^-64, of its share.
template <class T>
void integers(const uint32_t* w, size_t n, const Draw& r, T* out) {
  const uint64_t low = static_cast<uint64_t>(r.low);
  if (r.last < 0xffffffff) {
    const uint32_t span = static_cast<uint32_t>(r.last + 1);
    const Halves h(w, n);
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) {
      out[i] = static_cast<T>(low + ((uint64_t{h.odd[i]} * span + (uint64_t{h.even[i]} * span >> 32)) >> 32));
    }
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    const uint64_t a = w[4 * i] | uint64_t{w[4 * i + 1]} << 32, b = w[4 * i + 2] | uint64_t{w[4 * i + 3]} << 32;
    uint64_t v = b;
    if (r.last != UINT64_MAX) {
      const unsigned __int128 span = static_cast<unsigned __int128>(r.last) + 1;
      v = static_cast<uint64_t>((b * span + (a * span >> 64)) >> 64);
    }
    out[i] = static_cast<T>(low + v);
  }
}

void bernoulli(const uint32_t* w, size_t n, const Draw& r, bool* out) {
  if (r.threshold > 0xffffffff) {
    std::fill_n(out, n, true);
    return;
  }
  // As signed numbers, which all vectors compare.
  const int32_t below = static_cast<int32_t>(static_cast<uint32_t>(r.threshold) ^ 0x80000000);
  uint8_t* to = reinterpret_cast<uint8_t*>(out);
#pragma GCC ivdep
  for (size_t i = 0; i < n; ++i) to[i] = static_cast<int32_t>(w[i] ^ 0x80000000) < below ? 1 : 0;
}

// `convert`: from f32, where the values are smaller.
template <class T>
void run(RandomPlace p, const Draw& r, uint64_t per_block, Convert convert, void (*stream)(uint8_t*, const uint8_t*, size_t) noexcept, uint8_t* out, size_t n) noexcept {
  alignas(64) uint32_t w[kStrip];
  alignas(64) uint8_t made[kStrip * 4];
  constexpr size_t kBlocks = kStrip / 4;
  const size_t strip = kBlocks * per_block;
  if constexpr (std::is_same_v<T, float>) {
    if (r.kind == Draw::Kind::kUniform && convert == nullptr) {
      const size_t done = uniform_whole(p, n, r, stream != nullptr, reinterpret_cast<float*>(out));
      p.block += done / 4;
      n -= done;
      out += done * sizeof(T);
    }
  }
  for (size_t i = 0; i < n; i += strip, p.block += kBlocks) {
    const size_t k = std::min(strip, n - i);
    words(p, (k + per_block - 1) / per_block, w);
    T* to = reinterpret_cast<T*>(convert == nullptr && stream == nullptr ? out + i * sizeof(T) : made);
    if constexpr (std::is_floating_point_v<T>) {
      r.kind == Draw::Kind::kNormal ? normal(w, k, r, to) : uniform(w, k, r, to);
    } else if constexpr (std::is_same_v<T, bool>) {
      bernoulli(w, k, r, to);
    } else {
      integers(w, k, r, to);
    }
    if (convert != nullptr) {
      convert(made, out + i * 2, k);
    } else if (stream != nullptr) {
      const size_t bytes = k * sizeof(T), body = bytes / 64 * 64;
      stream(out + i * sizeof(T), made, body);
      std::memcpy(out + i * sizeof(T) + body, made + body, bytes - body);
    }
  }
}

void run_as(DType t, RandomPlace p, const Draw& r, uint64_t per_block, Convert convert, void (*stream)(uint8_t*, const uint8_t*, size_t) noexcept, uint8_t* out, size_t n) noexcept {
  if (convert != nullptr) return run<float>(p, r, per_block, convert, stream, out, n);
  with_element(t, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) run<T>(p, r, per_block, nullptr, stream, out, n);
  });
}

}  // namespace

static constexpr auto kWords = &words;
static constexpr auto kRun = &run_as;

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {

namespace {

constexpr size_t kTask = 64 * 1024;             // values

}  // namespace

uint64_t values_of_block(const Draw& draw, DType t) noexcept {
  if (draw.kind == Draw::Kind::kBernoulli) return 4;
  if (draw.kind == Draw::Kind::kIntegers) return draw.last < 0xffffffff ? 2 : 1;
  return t == DType::kF64 ? 2 : 4;
}

void fill_random(const Machine& machine, RandomPlace place, const Draw& draw, const Tensor& out) {
  const DType t = out.dtype();
  const Target target = machine.target();
  const size_t n = static_cast<size_t>(out.count()), per_block = values_of_block(draw, t), width = bytes(t);
  const Convert convert = t == DType::kF16 || t == DType::kBF16 ? find_convert(DType::kF32, t, target) : nullptr;
  const auto stream = convert == nullptr && out.bytes() >= kStreamBytes ? stream_code(target).copy : nullptr;
  const auto run = VIVA_CHOOSE(target, kRun);
  const auto part = [&](size_t i) {
    const size_t begin = i * kTask;
    run(t, {place.seed, place.stream, place.block + begin / per_block}, draw, per_block, convert, stream, out.raw() + begin * width, std::min(kTask, n - begin));
  };
  const size_t tasks = (n + kTask - 1) / kTask;
  if (tasks == 1) {
    part(0);
  } else {
    machine.parallel_for(tasks, part);
  }
}

void random_words(RandomPlace place, size_t blocks, uint32_t* out, Target target) noexcept { VIVA_CHOOSE(target, kWords)(place, blocks, out); }

}  // namespace viva::kernels
#endif
