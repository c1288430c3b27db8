#include "viva/kernels/values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "viva/base/float16.h"

#ifndef VIVA_KERNELS_VALUES_ONCE
#define VIVA_KERNELS_VALUES_ONCE
namespace viva::kernels {
static void add_exact(double a, double b, ErrorSums& sums) noexcept {
  const double e = a - b;
  sums.signal += a * a;
  sums.noise += e * e;
  sums.absolute += std::fabs(e);
  sums.product += a * b;
  sums.power += b * b;
  sums.max_error = std::max(sums.max_error, std::fabs(e));
  sums.max_value = std::max(sums.max_value, std::fabs(a));
}
}  // namespace viva::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/values.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void widen_bf16(const uint8_t* raw, size_t n, float* out) noexcept {
  const hn::ScalableTag<uint32_t> du;
  const hn::Rebind<uint16_t, decltype(du)> dh;
  const size_t lanes = hn::Lanes(du);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto h = hn::LoadU(dh, reinterpret_cast<const uint16_t*>(raw) + i);
    hn::StoreU(hn::ShiftLeft<16>(hn::PromoteTo(du, h)), du, reinterpret_cast<uint32_t*>(out) + i);
  }
  for (; i < n; ++i) {
    uint16_t h;
    std::memcpy(&h, raw + 2 * i, 2);
    out[i] = bf16_to_f32(h);
  }
}

void widen_f16(const uint8_t* raw, size_t n, float* out) noexcept {
  // By integers: the same on targets with and without conversion instructions, NaN payloads too.
  const hn::ScalableTag<float> df;
  const hn::ScalableTag<uint32_t> du;
  const hn::Rebind<uint16_t, decltype(du)> dh;
  const size_t lanes = hn::Lanes(du);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto h = hn::PromoteTo(du, hn::LoadU(dh, reinterpret_cast<const uint16_t*>(raw) + i));
    const auto magnitude = hn::ShiftLeft<13>(hn::And(h, hn::Set(du, 0x7fff)));
    const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000)));
    const auto scaled = hn::BitCast(du, hn::Mul(hn::BitCast(df, magnitude), hn::Set(df, 0x1p112f)));
    const auto special = hn::Gt(magnitude, hn::Set(du, 0x0f7fffff));
    const auto value = hn::IfThenElse(special, hn::Or(magnitude, hn::Set(du, 0x7f800000)), scaled);
    hn::StoreU(hn::Or(value, sign), du, reinterpret_cast<uint32_t*>(out) + i);
  }
  for (; i < n; ++i) {
    uint16_t h;
    std::memcpy(&h, raw + 2 * i, 2);
    out[i] = f16_to_f32(h);
  }
}

size_t find_nonfinite(const float* x, size_t n) noexcept {
  const hn::ScalableTag<int32_t> di;
  const size_t lanes = hn::Lanes(di);
  const auto limit = hn::Set(di, 0x7f7fffff);
  const auto mask = hn::Set(di, 0x7fffffff);
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    const int32_t* p = reinterpret_cast<const int32_t*>(x) + i;
    const auto a = hn::Max(hn::And(hn::LoadU(di, p), mask), hn::And(hn::LoadU(di, p + lanes), mask));
    const auto b = hn::Max(hn::And(hn::LoadU(di, p + 2 * lanes), mask), hn::And(hn::LoadU(di, p + 3 * lanes), mask));
    if (!hn::AllFalse(di, hn::Gt(hn::Max(a, b), limit))) break;
  }
  for (; i < n; ++i) {
    if (!std::isfinite(x[i])) return i;
  }
  return n;
}

// Sixteen running sums whatever the vector length, carried over to double every 4096 values.
ErrorSums sum_errors(const float* x, const float* y, size_t n) noexcept {
  const hn::CappedTag<float, 16> d;
  using V = hn::Vec<decltype(d)>;
  constexpr size_t kWidth = 16;
  constexpr size_t kParts = kWidth / hn::MaxLanes(d);
  ErrorSums total;
  total.count = n;
  size_t i = 0;
  V max_e = hn::Zero(d), max_x = hn::Zero(d);
  while (i + kWidth <= n) {
    V signal[kParts], noise[kParts], absolute[kParts], product[kParts], power[kParts];
    for (size_t p = 0; p < kParts; ++p) signal[p] = noise[p] = absolute[p] = product[p] = power[p] = hn::Zero(d);
    const size_t end = std::min(i + 4096, n / kWidth * kWidth);
    for (; i < end; i += kWidth) {
      for (size_t p = 0; p < kParts; ++p) {
        const V a = hn::LoadU(d, x + i + p * hn::MaxLanes(d));
        const V b = hn::LoadU(d, y + i + p * hn::MaxLanes(d));
        const V e = hn::Sub(a, b);
        const V abs_e = hn::Abs(e);
        signal[p] = hn::Add(signal[p], hn::Mul(a, a));
        noise[p] = hn::Add(noise[p], hn::Mul(e, e));
        absolute[p] = hn::Add(absolute[p], abs_e);
        product[p] = hn::Add(product[p], hn::Mul(a, b));
        power[p] = hn::Add(power[p], hn::Mul(b, b));
        max_e = hn::Max(max_e, abs_e);
        max_x = hn::Max(max_x, hn::Abs(a));
      }
    }
    const auto carry = [&](const V* v, double& sum) {
      float lane[kWidth];
      for (size_t p = 0; p < kParts; ++p) hn::StoreU(v[p], d, lane + p * hn::MaxLanes(d));
      for (float l : lane) sum += l;
    };
    carry(signal, total.signal);
    carry(noise, total.noise);
    carry(absolute, total.absolute);
    carry(product, total.product);
    carry(power, total.power);
  }
  float lane[kWidth];
  hn::StoreU(max_e, d, lane);
  for (size_t l = 0; l < hn::MaxLanes(d); ++l) total.max_error = std::max<double>(total.max_error, lane[l]);
  hn::StoreU(max_x, d, lane);
  for (size_t l = 0; l < hn::MaxLanes(d); ++l) total.max_value = std::max<double>(total.max_value, lane[l]);
  for (; i < n; ++i) add_exact(x[i], y[i], total);
  return total;
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
namespace {

template <class T>
void convert(const uint8_t* raw, size_t n, float* out) noexcept {
  for (size_t i = 0; i < n; ++i) {
    T v;
    std::memcpy(&v, raw + sizeof(T) * i, sizeof(T));
    out[i] = static_cast<float>(v);
  }
}

// f8 values of the "FNUZ" kind: no negative zero (0x80 is NaN), bias one higher.
float fnuz(uint8_t b, bool e4m3) noexcept {
  if (b == 0x80) return std::numeric_limits<float>::quiet_NaN();
  const int mantissa_bits = e4m3 ? 3 : 2, bias = e4m3 ? 8 : 16;
  const int m = b & ((1 << mantissa_bits) - 1), e = (b & 0x7f) >> mantissa_bits;
  const float v = e == 0 ? std::ldexp(static_cast<float>(m), 1 - bias - mantissa_bits)
                         : std::ldexp(static_cast<float>(m + (1 << mantissa_bits)), e - bias - mantissa_bits);
  return b & 0x80 ? -v : v;
}

}  // namespace

bool widen(DType t, const uint8_t* raw, size_t n, float* out, Target target) noexcept {
  switch (t) {
    case DType::kF32:
      std::memcpy(out, raw, 4 * n);
      return true;
    case DType::kBF16:
      VIVA_CHOOSE(target, widen_bf16)(raw, n, out);
      return true;
    case DType::kF16:
      VIVA_CHOOSE(target, widen_f16)(raw, n, out);
      return true;
    case DType::kF64: convert<double>(raw, n, out); return true;
    case DType::kBool:
    case DType::kU8: convert<uint8_t>(raw, n, out); return true;
    case DType::kI8: convert<int8_t>(raw, n, out); return true;
    case DType::kU16: convert<uint16_t>(raw, n, out); return true;
    case DType::kI16: convert<int16_t>(raw, n, out); return true;
    case DType::kU32: convert<uint32_t>(raw, n, out); return true;
    case DType::kI32: convert<int32_t>(raw, n, out); return true;
    case DType::kU64: convert<uint64_t>(raw, n, out); return true;
    case DType::kI64: convert<int64_t>(raw, n, out); return true;
    case DType::kF8E4M3:
      for (size_t i = 0; i < n; ++i) out[i] = e4m3_to_f32(raw[i]);
      return true;
    case DType::kF8E5M2:
      for (size_t i = 0; i < n; ++i) out[i] = e5m2_to_f32(raw[i]);
      return true;
    case DType::kF8E8M0:
      for (size_t i = 0; i < n; ++i) out[i] = e8m0_to_f32(raw[i]);
      return true;
    case DType::kF8E4M3FNUZ:
    case DType::kF8E5M2FNUZ:
      for (size_t i = 0; i < n; ++i) out[i] = fnuz(raw[i], t == DType::kF8E4M3FNUZ);
      return true;
    default:
      return false;
  }
}

size_t first_nonfinite(const float* x, size_t n, Target target) noexcept { return VIVA_CHOOSE(target, find_nonfinite)(x, n); }

ErrorSums error_sums(const float* x, const float* y, size_t n, Target target) noexcept {
  const ErrorSums fast = VIVA_CHOOSE(target, sum_errors)(x, y, n);
  // Squares of values this large or small leave the range of f32.
  const double reach = std::max(fast.max_value, fast.max_error);
  if (reach == 0 || (reach < 1e15 && reach > 1e-12)) return fast;
  ErrorSums exact;
  exact.count = n;
  for (size_t i = 0; i < n; ++i) add_exact(x[i], y[i], exact);
  return exact;
}

void ErrorSums::merge(const ErrorSums& o) noexcept {
  signal += o.signal;
  noise += o.noise;
  absolute += o.absolute;
  product += o.product;
  power += o.power;
  max_error = std::max(max_error, o.max_error);
  max_value = std::max(max_value, o.max_value);
  count += o.count;
}
double ErrorSums::sqnr_db() const noexcept {
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}
double ErrorSums::mean_error() const noexcept {
  return max_value == 0 || count == 0 ? 0 : absolute / static_cast<double>(count) / max_value;
}
double ErrorSums::rmse() const noexcept { return count == 0 ? 0 : std::sqrt(noise / static_cast<double>(count)); }
double ErrorSums::cosine() const noexcept {
  return signal == 0 || power == 0 ? (signal == power ? 1 : 0) : product / std::sqrt(signal * power);
}

}  // namespace viva::kernels
#endif
