#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "golden.h"
#include "viva/base/attempt.h"
#include "viva/base/checked.h"
#include "viva/base/dtype.h"
#include "viva/base/error.h"
#include "viva/base/float16.h"

namespace viva {
namespace {

// ---- casts, against what torch gives
// -----------------------------------------------------------------------------

template <class T>
std::vector<T> column(const test::Golden& golden, const std::string& name) {
  const auto raw = golden.bytes(name);
  std::vector<T> out(raw.size() / sizeof(T));
  std::memcpy(out.data(), raw.data(), raw.size());
  return out;
}

// True when the two bit patterns are the same, or both a NaN of the type.
template <class T>
bool same(T a, T b, T magnitude_mask, T infinity) {
  const bool nan_a = (a & magnitude_mask) > infinity;
  const bool nan_b = (b & magnitude_mask) > infinity;
  return nan_a || nan_b ? nan_a == nan_b : a == b;
}
bool same_half(uint16_t a, uint16_t b) { return same<uint16_t>(a, b, 0x7fff, 0x7c00); }
bool same_bf16(uint16_t a, uint16_t b) { return same<uint16_t>(a, b, 0x7fff, 0x7f80); }
bool same_e4m3(uint8_t a, uint8_t b) { return same<uint8_t>(a, b, 0x7f, 0x7e); }
bool same_e5m2(uint8_t a, uint8_t b) { return same<uint8_t>(a, b, 0x7f, 0x7c); }
bool same_f32(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? std::isnan(a) && std::isnan(b)
                                        : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

template <class In, class Out, class Cast, class Same>
void expect_column(const std::vector<In>& in, const std::vector<Out>& want, const char* name, Cast cast,
                   Same equal) {
  ASSERT_EQ(in.size(), want.size()) << name;
  ASSERT_FALSE(in.empty()) << name;
  size_t wrong = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const Out got = cast(in[i]);
    if (!equal(got, want[i]) && ++wrong <= 5) {
      ADD_FAILURE() << name << " row " << i << std::hex << ": input " << +in[i] << " gives " << +got
                    << ", torch " << +want[i];
    }
  }
  EXPECT_EQ(wrong, 0u) << name;
}

float as_float(uint32_t bits) { return std::bit_cast<float>(bits); }

TEST(Casts, FromF32AsTorch) {
  SKIP_WITHOUT_GOLDEN();
  const test::Golden golden("casts/casts.safetensors");
  const auto bits = column<uint32_t>(golden, "from_f32/bits");
  const auto to_e4m3 = [](uint32_t u) { return f32_to_e4m3(as_float(u)); };
  const auto to_e5m2 = [](uint32_t u) { return f32_to_e5m2(as_float(u)); };
  const auto to_e5m2_clamped = [](uint32_t u) {
    return f32_to_e5m2(std::clamp(as_float(u), -57344.0f, 57344.0f));
  };
  expect_column(
      bits, column<uint16_t>(golden, "from_f32/f16"), "f16",
      [](uint32_t u) { return f32_to_f16(as_float(u)); }, same_half);
  expect_column(
      bits, column<uint16_t>(golden, "from_f32/bf16"), "bf16",
      [](uint32_t u) { return f32_to_bf16(as_float(u)); }, same_bf16);
  expect_column(bits, column<uint8_t>(golden, "from_f32/e4m3fn_clamped"), "e4m3", to_e4m3, same_e4m3);
  expect_column(bits, column<uint8_t>(golden, "from_f32/e5m2"), "e5m2", to_e5m2, same_e5m2);
  expect_column(bits, column<uint8_t>(golden, "from_f32/e5m2_clamped"), "e5m2 clamped", to_e5m2_clamped,
                same_e5m2);
}

TEST(Casts, FromEveryF16AsTorch) {
  SKIP_WITHOUT_GOLDEN();
  const test::Golden golden("casts/casts.safetensors");
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  const auto to_bf16 = [](uint16_t h) { return f32_to_bf16(f16_to_f32(h)); };
  const auto to_e4m3 = [](uint16_t h) { return f32_to_e4m3(f16_to_f32(h)); };
  const auto to_e5m2 = [](uint16_t h) { return f32_to_e5m2(f16_to_f32(h)); };
  expect_column(halves, column<uint16_t>(golden, "from_f16/bf16"), "bf16", to_bf16, same_bf16);
  expect_column(halves, column<uint8_t>(golden, "from_f16/e4m3fn"), "e4m3", to_e4m3, same_e4m3);
  expect_column(halves, column<uint8_t>(golden, "from_f16/e5m2"), "e5m2", to_e5m2, same_e5m2);
}

TEST(Casts, DecodeEveryByteAsTorch) {
  SKIP_WITHOUT_GOLDEN();
  const test::Golden golden("casts/casts.safetensors");
  const auto e4m3 = golden.floats("decode/e4m3fn");
  const auto e5m2 = golden.floats("decode/e5m2");
  const auto e8m0 = golden.floats("decode/e8m0fnu");
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<uint8_t>(b);
    EXPECT_TRUE(same_f32(e4m3_to_f32(byte), e4m3[b])) << "e4m3 " << b;
    EXPECT_TRUE(same_f32(e5m2_to_f32(byte), e5m2[b])) << "e5m2 " << b;
    EXPECT_TRUE(same_f32(e8m0_to_f32(byte), e8m0[b])) << "e8m0 " << b;
  }
}

// ---- casts, by definition
// ------------------------------------------------------------------------------------------

// An f16 by its definition, through doubles.
double half_by_definition(uint16_t h) {
  const int e = (h >> 10) & 31, m = h & 1023;
  const double v = e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, e - 25);
  return (h & 0x8000) ? -v : v;
}

TEST(Casts, EveryF16DecodesByDefinitionAndComesBack) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto h = static_cast<uint16_t>(i);
    const float f = f16_to_f32(h);
    if ((h & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(f)) << i;
    } else if ((h & 0x7fff) == 0x7c00) {
      EXPECT_TRUE(std::isinf(f) && std::signbit(f) == ((h & 0x8000) != 0)) << i;
    } else {
      ASSERT_EQ(double(f), half_by_definition(h)) << i;
      ASSERT_EQ(std::signbit(f), (h & 0x8000) != 0) << i;
    }
    ASSERT_TRUE(same_half(f32_to_f16(f), h)) << i;
  }
}

TEST(Casts, EveryBf16ComesBack) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const auto h = static_cast<uint16_t>(i);
    ASSERT_TRUE(same_bf16(f32_to_bf16(bf16_to_f32(h)), h)) << i;
  }
}

TEST(Casts, EveryNarrowByteComesBack) {
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<uint8_t>(b);
    EXPECT_TRUE(same_e4m3(f32_to_e4m3(e4m3_to_f32(byte)), byte)) << b;
    EXPECT_TRUE(same_e5m2(f32_to_e5m2(e5m2_to_f32(byte)), byte)) << b;
  }
}

TEST(Casts, Limits) {
  EXPECT_EQ(e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(f32_to_e4m3(464.0f), 0x7e);  // the tie that an unsaturated cast turns into NaN
  EXPECT_EQ(f32_to_e4m3(INFINITY), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-INFINITY), 0xfe);
  EXPECT_EQ(f32_to_e4m3(0x1p-10f), 0x00);  // half of the smallest: ties to even
  EXPECT_EQ(f32_to_e4m3(std::nextafter(0x1p-10f, 1.0f)), 0x01);
  EXPECT_EQ(f32_to_e5m2(61439.0f), 0x7b);
  EXPECT_EQ(f32_to_e5m2(61440.0f), 0x7c);
  EXPECT_EQ(f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0);
  EXPECT_EQ(f32_to_f16(-0x1p-25f), 0x8000);
  EXPECT_EQ(f32_to_f16(std::nextafter(0x1p-25f, 1.0f)), 1);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_bf16(as_float(0x7f800001)),
            0x7fc0);  // a NaN whose high bits are those of infinity stays a NaN
  EXPECT_EQ(e8m0_to_f32(0), 0x1p-127f);
  EXPECT_EQ(e8m0_to_f32(127), 1.0f);
  EXPECT_EQ(e8m0_to_f32(254), 0x1p127f);
  EXPECT_TRUE(std::isnan(e8m0_to_f32(255)));
  EXPECT_TRUE(std::signbit(kE2m1[8]) && kE2m1[8] == 0.0f);
}

// The same mantissa where the narrow types have their values.
float small_of(float x, uint32_t bits) {
  int exponent = 0;
  const float mantissa = std::frexp(x, &exponent);
  return std::ldexp(mantissa, static_cast<int>(bits % 24) - 18);
}

// What is nearest is found by looking at both neighbours; ties must land on an even code.
template <class ToCode, class FromCode>
void expect_nearest(float x, uint32_t top, ToCode to, FromCode from) {
  const uint32_t code = to(std::fabs(x));
  RC_ASSERT(code <= top);
  const double error = std::fabs(double(from(code)) - std::fabs(double(x)));
  for (const int step : {-1, 1}) {
    const int64_t other = int64_t{code} + step;
    if (other < 0 || other > int64_t{top}) continue;
    const double e = std::fabs(double(from(static_cast<uint32_t>(other))) - std::fabs(double(x)));
    RC_ASSERT(error <= e);
    if (error == e) RC_ASSERT(code % 2 == 0);
  }
}

RC_GTEST_PROP(Casts, NarrowingGivesTheNearest, (uint32_t bits)) {
  bits *= 0x9e3779b1u;  // small numbers are generated first: spread them over the range
  const float x = as_float(bits);
  RC_PRE(std::isfinite(x));
  const float small = small_of(x, bits);
  for (const float v : {x, small}) {
    const float a = std::fabs(v);
    if (a <= 65504)
      expect_nearest(
          v, 0x7bff, [](float f) { return f32_to_f16(f); },
          [](uint32_t c) { return f16_to_f32(static_cast<uint16_t>(c)); });
    if (a <= 448)
      expect_nearest(
          v, 0x7e, [](float f) { return f32_to_e4m3(f); },
          [](uint32_t c) { return e4m3_to_f32(static_cast<uint8_t>(c)); });
    if (a <= 57344)
      expect_nearest(
          v, 0x7b, [](float f) { return f32_to_e5m2(f); },
          [](uint32_t c) { return e5m2_to_f32(static_cast<uint8_t>(c)); });
    if (a <= 3e38f)
      expect_nearest(
          v, 0x7f7f, [](float f) { return f32_to_bf16(f); },
          [](uint32_t c) { return bf16_to_f32(static_cast<uint16_t>(c)); });
    RC_ASSERT(f32_to_f16(-a) == (f32_to_f16(a) | 0x8000));
    RC_ASSERT(f32_to_e4m3(-a) == (f32_to_e4m3(a) | 0x80));
  }
}

// ---- errors
// --------------------------------------------------------------------------------------------------------

TEST(Errors, SayWhatWhereAndHint) {
  const Error full(Code::kBadInput, "read", "x: ends at byte 3", "the file is truncated");
  EXPECT_STREQ(full.what(), "read: x: ends at byte 3 (the file is truncated)");
  EXPECT_EQ(full.code(), Code::kBadInput);
  EXPECT_EQ(full.operation(), "read");
  EXPECT_EQ(full.message(), "x: ends at byte 3");
  EXPECT_EQ(full.hint(), "the file is truncated");
  EXPECT_STREQ(Error(Code::kUsage, "", "no").what(), "no");
}

TEST(Errors, AttemptTurnsThrowsIntoValues) {
  EXPECT_EQ(attempt([] { return 3; }).value(), 3);
  EXPECT_TRUE(attempt([] {}).has_value());
  const auto ours = attempt([]() -> int { throw Error(Code::kResource, "write", "full"); });
  ASSERT_FALSE(ours);
  EXPECT_EQ(ours.error().code(), Code::kResource);
  const auto memory = attempt([] { throw std::bad_alloc(); });
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code(), Code::kResource);
  const auto other = attempt([]() -> std::string { throw std::out_of_range("x"); });
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), Code::kInternal);
}

// ---- checked sizes
// -------------------------------------------------------------------------------------------------

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

TEST(Checked, LimitsOfProductsAndSums) {
  EXPECT_EQ(checked_mul(1ull << 32, (1ull << 32) - 1), ((1ull << 32) - 1) << 32);
  EXPECT_FALSE(checked_mul(1ull << 32, 1ull << 32));
  EXPECT_EQ(checked_mul(0, kMax), 0u);
  EXPECT_EQ(checked_add(kMax - 1, 1), kMax);
  EXPECT_FALSE(checked_add(kMax, 1));
  using Dims = std::vector<uint64_t>;
  EXPECT_EQ(checked_product(Dims{}), 1u);
  EXPECT_EQ(checked_product(Dims{3, 0, kMax}), 0u);
  EXPECT_FALSE(checked_product(Dims{kMax, 2, 0}));
  EXPECT_FALSE(checked_product(Dims{1ull << 63}));
  EXPECT_EQ(checked_product(Dims{1ull << 62}), 1ull << 62);
  EXPECT_EQ(ceil_div(0, 8), 0u);
  EXPECT_EQ(ceil_div(9, 8), 2u);
  EXPECT_EQ(round_up(16, 8), 16u);
  EXPECT_EQ(round_up(17, 8), 24u);
}

RC_GTEST_PROP(Checked, AgreesWithWideArithmetic, (uint64_t a, uint64_t b, uint8_t shift)) {
  a >>= shift % 64;
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b,
                          sum = static_cast<unsigned __int128>(a) + b;
  const auto m = checked_mul(a, b), s = checked_add(a, b);
  RC_ASSERT(m.has_value() == (product <= kMax));
  RC_ASSERT(s.has_value() == (sum <= kMax));
  if (m) RC_ASSERT(*m == static_cast<uint64_t>(product));
  if (s) RC_ASSERT(*s == static_cast<uint64_t>(sum));
}

TEST(DTypes, NamesAreThoseOfTheList) {
  for (size_t i = 0; i < kFileDTypes; ++i) {
    const auto t = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name(t)), t);
    EXPECT_EQ(bytes(t), info(t).bits / 8);
  }
  EXPECT_FALSE(dtype_from_name("f32"));
  EXPECT_FALSE(dtype_from_name(""));
}

}  // namespace
}  // namespace viva
