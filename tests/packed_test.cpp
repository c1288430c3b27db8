// Packed matrices: what is packed comes back as its format's own row codec gives it, and products by it are those of the
// decoded matrix.
#include <gtest/gtest.h>

#include <algorithm>

#include "viva/ops/ops.h"

namespace viva {
namespace {

const char* const kNames[] = {"nf4", "nf4-dq", "fp4", "int8", "q8_0", "q4_0", "q4_1", "int4-g32", "int4-g128-asym", "nvfp4", "nvfp4-gguf", "mxfp4",
                              "mxfp4-gguf", "fp8", "fp8-block", "w8a8", "bf16", "f16", "f32"};

Tensor gaussian(const Machine& m, const Shape& shape, uint64_t seed) {
  Generator g{seed};
  return normal(m, g, shape, 0, 0.02);
}

class PackedIn : public testing::TestWithParam<const char*> {};

TEST_P(PackedIn, ComesBackNearAndMultiplies) {
  const Machine one({.threads = 1}), many({.threads = 4});
  for (const Shape& shape : {Shape{256, 512}, Shape{3, 1024}, Shape{129, 256}, Shape{0, 256}}) {
    const Tensor w = gaussian(many, shape, 7);
    const Packed p = pack(w, GetParam());
    EXPECT_EQ(p.name(), GetParam());
    const Tensor back = unpack(p);
    ASSERT_EQ(back.shape(), shape);
    if (w.count() == 0) continue;
    const double db = snr_db(w, back).item<double>();
    EXPECT_GT(db, p.bits_per_value() < 6 ? 17 : 28) << text(shape);
    EXPECT_LT(p.bits_per_value(), 33);
    // The same bytes and values on one thread.
    const Tensor again = unpack(pack(Tensor::from<float>(one, shape, w.values<float>()), GetParam()));
    EXPECT_EQ(again.values<float>(), back.values<float>());
    for (const Shape& lead : {Shape{1}, Shape{5}, Shape{2, 3}, Shape{0}}) {
      Shape xs = lead;
      xs.push_back(shape[1]);
      const Tensor x = gaussian(many, xs, 8), y = linear(x, p), want = matmul(to(x, DType::kF64), to(back, DType::kF64).transpose(0, 1));
      ASSERT_EQ(y.shape(), want.shape());
      if (y.count() == 0) continue;
      EXPECT_LT(max(abs(subtract(y, want))).item<double>(), 1e-5 * max(abs(want)).item<double>());
    }
    const Tensor half = linear(to(gaussian(many, {2, shape[1]}, 9), DType::kBF16), p);
    EXPECT_EQ(half.dtype(), DType::kBF16);
  }
}

TEST_P(PackedIn, SlicesShareTheBytes) {
  const Machine machine;
  const Packed p = pack(gaussian(machine, {256, 256}, 3), GetParam());
  const Packed half = p.narrow(128, 128);
  EXPECT_EQ(half.row(0), p.row(128));
  EXPECT_EQ(unpack(half).values<float>(), contiguous(unpack(p).narrow(0, 128, 128)).values<float>());
}

INSTANTIATE_TEST_SUITE_P(Formats, PackedIn, testing::ValuesIn(kNames), [](const auto& i) {
  std::string s = i.param;
  std::replace(s.begin(), s.end(), '-', '_');
  return s;
});

TEST(Packed, WhatCannotBe) {
  const Machine machine;
  const Tensor w = gaussian(machine, {4, 64}, 1);
  EXPECT_THROW(pack(w, "nf5"), Error);
  EXPECT_THROW(pack(reshape(w, {-1}), "nf4"), Error);
  EXPECT_THROW(pack(to(w, DType::kI32), "nf4"), Error);
  EXPECT_THROW(pack(w / 0.0, "nf4"), Error);
  const Packed p = pack(w, "nf4");
  EXPECT_THROW(linear(zeros(machine, {3, 63}), p), Error);
  EXPECT_THROW(p.narrow(3, 2), Error);
  EXPECT_THROW(p.narrow(-1, 2), Error);
  EXPECT_THROW(pack(gaussian(machine, {256, 128}, 1), "fp8-block").narrow(1, 128), Error);
  EXPECT_THROW(unpack(Packed()), Error);
}

}  // namespace
}  // namespace viva
