// Convolution and pooling against slow twins in f64 over random shapes, strides and types; the same bits on any number of
// threads; values that PyTorch gave.
#include <cstring>

#include "linear.h"
#include "viva/kernels/conv.h"

namespace viva {
namespace {

using namespace test;

const DType kFloats[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16};

struct Twin {
  Shape shape;
  std::vector<double> value, size;  // and the sum of absolute products, to judge errors
};
size_t at4(const Shape& s, int64_t a, int64_t b, int64_t c, int64_t d) {
  return static_cast<size_t>(((a * s[1] + b) * s[2] + c) * s[3] + d);
}

Twin twin_conv(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias, const ConvOptions& o) {
  const auto vx = x.values<double>(), vw = w.values<double>(), vb = bias ? bias->values<double>() : std::vector<double>();
  const Shape sx = x.shape(), sw = w.shape();
  const auto size = [](int64_t n, int64_t pad, int64_t k, int64_t d, int64_t s) { return (n + pad - (k - 1) * d - 1) / s + 1; };
  Twin t{{sx[0], sw[0], size(sx[2], o.padding.top + o.padding.bottom, sw[2], o.dilation.height, o.stride.height),
          size(sx[3], o.padding.left + o.padding.right, sw[3], o.dilation.width, o.stride.width)}, {}, {}};
  const int64_t out = sw[0] / o.groups;
  for (int64_t n = 0; n < sx[0]; ++n) {
    for (int64_t k = 0; k < sw[0]; ++k) {
      for (int64_t r = 0; r < t.shape[2]; ++r) {
        for (int64_t q = 0; q < t.shape[3]; ++q) {
          double v = bias ? vb[static_cast<size_t>(k)] : 0, size = std::fabs(v);
          for (int64_t c = 0; c < sw[1]; ++c) {
            for (int64_t i = 0; i < sw[2]; ++i) {
              for (int64_t j = 0; j < sw[3]; ++j) {
                const int64_t row = r * o.stride.height + i * o.dilation.height - o.padding.top,
                              col = q * o.stride.width + j * o.dilation.width - o.padding.left;
                if (row < 0 || row >= sx[2] || col < 0 || col >= sx[3]) continue;
                const double p = vx[at4(sx, n, k / out * sw[1] + c, row, col)] * vw[at4(sw, k, c, i, j)];
                v += p;
                size += std::fabs(p);
              }
            }
          }
          t.value.push_back(v);
          t.size.push_back(size);
        }
      }
    }
  }
  return t;
}

Twin twin_transpose(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias, const ConvTransposeOptions& o) {
  const auto vx = x.values<double>(), vw = w.values<double>(), vb = bias ? bias->values<double>() : std::vector<double>();
  const Shape sx = x.shape(), sw = w.shape();
  const int64_t out = sw[1], in = sx[1] / o.groups;
  Twin t{{sx[0], out * o.groups,
          (sx[2] - 1) * o.stride.height - o.padding.top - o.padding.bottom + (sw[2] - 1) * o.dilation.height + o.output_padding.height + 1,
          (sx[3] - 1) * o.stride.width - o.padding.left - o.padding.right + (sw[3] - 1) * o.dilation.width + o.output_padding.width + 1}, {}, {}};
  t.value.assign(static_cast<size_t>(count(t.shape)), 0);
  t.size = t.value;
  for (int64_t n = 0; n < sx[0]; ++n) {
    for (int64_t c = 0; c < sx[1]; ++c) {
      for (int64_t r = 0; r < sx[2]; ++r) {
        for (int64_t q = 0; q < sx[3]; ++q) {
          for (int64_t k = 0; k < out; ++k) {
            for (int64_t i = 0; i < sw[2]; ++i) {
              for (int64_t j = 0; j < sw[3]; ++j) {
                const int64_t row = r * o.stride.height + i * o.dilation.height - o.padding.top,
                              col = q * o.stride.width + j * o.dilation.width - o.padding.left;
                if (row < 0 || row >= t.shape[2] || col < 0 || col >= t.shape[3]) continue;
                const double p = vx[at4(sx, n, c, r, q)] * vw[at4(sw, c, k, i, j)];
                const size_t to = at4(t.shape, n, c / in * out + k, row, col);
                t.value[to] += p;
                t.size[to] += std::fabs(p);
              }
            }
          }
        }
      }
    }
  }
  for (size_t i = 0; bias && i < t.value.size(); ++i) {
    const double b = vb[i / static_cast<size_t>(t.shape[2] * t.shape[3]) % vb.size()];
    t.value[i] += b;
    t.size[i] += std::fabs(b);
  }
  return t;
}

void expect_twin(const Tensor& got, const Twin& t, const std::string& what) {
  ASSERT_EQ(got.shape(), t.shape) << what;
  const auto v = got.values<double>();
  const double small = precision(got.dtype()), wide = got.dtype() == DType::kF64 ? 0x1p-53 : 0x1p-24;
  for (size_t i = 0; i < v.size(); ++i) {
    const double allowed = 2 * small * std::fabs(t.value[i]) + 64 * wide * t.size[i] + (got.dtype() == DType::kF16 ? 1e-7 : 0);
    ASSERT_LE(std::fabs(v[i] - t.value[i]), allowed) << what << " at " << i << ": " << v[i] << " and " << t.value[i];
  }
}

struct Random {
  std::mt19937_64 bits;
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }
  int64_t in(int64_t low, int64_t high) { return low + below(high - low + 1); }
};

// Tensors and options of a convolution that is allowed; now and then one that is large enough for oneDNN.
struct Case {
  Shape x, w;
  ConvOptions o;
};
Case random_case(Random& r) {
  const bool large = r.below(4) == 0;
  const int64_t groups = r.below(3) == 0 ? r.in(2, 5) : 1, depthwise = r.below(5) == 0;
  const int64_t in = depthwise ? 1 : large ? r.in(1, 3) * 8 : r.in(0, 9) == 0 ? 0 : r.in(1, 5), out = depthwise ? r.in(1, 2) : large ? r.in(5, 20) : r.in(0, 5);
  Case c;
  c.o.groups = depthwise ? r.in(2, 17) : groups;
  c.o.stride = {r.in(1, 4), r.in(1, 4)};
  c.o.dilation = {r.in(1, 3), r.in(1, 3)};
  if (large || r.below(2) == 0) c.o.dilation = 1;
  if (large || r.below(2) == 0) c.o.stride = r.in(1, 2);
  c.o.padding = r.below(2) == 0 ? Padding(r.in(0, 3), r.in(0, 3)) : Padding(Two(r.in(0, 2), r.in(0, 3)), Two(r.in(0, 3), r.in(0, 2)));
  const int64_t kh = r.in(1, large ? 3 : 7), kw = r.in(1, large ? 3 : 7);
  const auto size = [&](int64_t k, int64_t d, int64_t pad) { return std::max<int64_t>(pad == 0 ? 1 : 0, (k - 1) * d + 1 - pad) + r.in(0, large ? 30 : 13); };
  c.x = {r.below(8) == 0 ? 0 : large ? r.in(1, 9) : r.in(1, 3), in * c.o.groups, size(kh, c.o.dilation.height, c.o.padding.top + c.o.padding.bottom),
         size(kw, c.o.dilation.width, c.o.padding.left + c.o.padding.right)};
  c.w = {out * c.o.groups, in, kh, kw};
  return c;
}

void expect_same_bits(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  ASSERT_TRUE(a.count() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0) << what;
}

TEST(conv, twin_over_shapes_strides_and_types) {
  const Machine one({.threads = 1}), many({.threads = 5});
  Random r{std::mt19937_64(1)};
  for (int round = 0; round < (VIVA_SANITIZED ? 80 : 600); ++round) {
    const DType type = kFloats[r.below(8) < 5 ? 0 : r.below(4)];
    const Case c = random_case(r);
    const uint64_t seed = r.bits();
    const bool biased = r.below(2) == 0;
    const std::string what = std::to_string(round) + " " + std::string(name(type)) + text(c.x) + text(c.w) + " groups " + std::to_string(c.o.groups);
    std::optional<Tensor> first;
    for (const Machine* m : {&one, &many}) {
      std::mt19937_64 turns(seed);
      const Tensor x = other_strides(random_tensor(*m, c.x, type, seed), turns), w = other_strides(random_tensor(*m, c.w, type, seed + 1), turns);
      const std::optional<Tensor> b = biased ? std::optional(random_tensor(*m, {c.w[0]}, type, seed + 2)) : std::nullopt;
      const Tensor y = conv2d(x, w, b, c.o);
      EXPECT_EQ(y.dtype(), type);
      if (first) {
        expect_same_bits(y, *first, what);
      } else {
        expect_twin(y, twin_conv(x, w, b, c.o), what);
        first = y;
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST(conv, transpose_twin) {
  const Machine one({.threads = 1}), many({.threads = 5});
  Random r{std::mt19937_64(2)};
  for (int round = 0; round < (VIVA_SANITIZED ? 60 : 400); ++round) {
    const DType type = kFloats[r.below(8) < 5 ? 0 : r.below(4)];
    Case c = random_case(r);
    ConvTransposeOptions o{.stride = c.o.stride, .padding = c.o.padding, .dilation = c.o.dilation, .groups = c.o.groups};
    o.output_padding = {r.below(std::max(o.stride.height, o.dilation.height)), r.below(std::max(o.stride.width, o.dilation.width))};
    c.w = {c.x[1], c.w[0] / o.groups, c.w[2], c.w[3]};
    c.x[2] = std::max<int64_t>(1, c.x[2]), c.x[3] = std::max<int64_t>(1, c.x[3]);
    const auto fits = [](int64_t n, int64_t s, int64_t pad, int64_t k, int64_t d) { return (n - 1) * s - pad + (k - 1) * d + 1 >= 1; };
    if (!fits(c.x[2], o.stride.height, o.padding.top + o.padding.bottom, c.w[2], o.dilation.height) ||
        !fits(c.x[3], o.stride.width, o.padding.left + o.padding.right, c.w[3], o.dilation.width))
      continue;
    const uint64_t seed = r.bits();
    const bool biased = r.below(2) == 0;
    const std::string what = std::to_string(round) + " " + std::string(name(type)) + text(c.x) + text(c.w) + " groups " + std::to_string(o.groups);
    std::optional<Tensor> first;
    for (const Machine* m : {&one, &many}) {
      std::mt19937_64 turns(seed);
      const Tensor x = other_strides(random_tensor(*m, c.x, type, seed), turns), w = other_strides(random_tensor(*m, c.w, type, seed + 1), turns);
      const std::optional<Tensor> b = biased ? std::optional(random_tensor(*m, {c.w[1] * o.groups}, type, seed + 2)) : std::nullopt;
      const Tensor y = conv_transpose2d(x, w, b, o);
      if (first) {
        expect_same_bits(y, *first, what);
      } else {
        expect_twin(y, twin_transpose(x, w, b, o), what);
        first = y;
      }
      if (HasFatalFailure()) return;
    }
  }
}

// Of sizes that are cut into tasks of every kind.
TEST(conv, large_ones) {
  const Machine one({.threads = 1}), many({.threads = 4});
  struct Large {
    Shape x, w;
    ConvOptions o;
  };
  const Large cases[] = {{{1, 64, 40, 41}, {72, 64, 3, 3}, {.padding = 1}},  // channels are cut
                         {{2, 96, 40, 40}, {96, 32, 3, 3}, {.groups = 3}},
                         {{9, 3, 37, 50}, {64, 3, 7, 7}, {.stride = 2, .padding = 3}},
                         {{5, 40, 14, 14}, {100, 40, 1, 1}, {}},
                         {{3, 20, 64, 64}, {20, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 20}}};
  for (const DType type : {DType::kF32, DType::kF64}) {
    for (const Large& c : cases) {
      if (VIVA_SANITIZED && type == DType::kF64) continue;
      const std::string what = std::string(name(type)) + text(c.x) + text(c.w);
      const auto run = [&](const Machine& m) {
        return conv2d(random_tensor(m, c.x, type, 1), random_tensor(m, c.w, type, 2), random_tensor(m, {c.w[0]}, type, 3), c.o);
      };
      const Tensor y = run(many);
      expect_same_bits(y, run(one), what);
      expect_twin(y, twin_conv(random_tensor(one, c.x, type, 1), random_tensor(one, c.w, type, 2), random_tensor(one, {c.w[0]}, type, 3), c.o), what);
    }
  }
}

// The library has code for these, which the twins above would not tell from the other way.
TEST(conv, onednn_takes_the_usual_shapes) {
  const Machine m({.threads = 2});
  if (!runs(Target::kSse4)) GTEST_SKIP() << "of x86 only";
  const kernels::ConvShape s{.n = 5, .c = 16, .h = 20, .w = 21, .o = 24, .oh = 20, .ow = 21, .kh = 3, .kw = 3, .top = 1, .bottom = 1, .left = 1, .right = 1};
  for (const bool transpose : {false, true}) {
    const Tensor x = random_tensor(m, {5, 16, 20, 21}, DType::kF32, 1), w = random_tensor(m, transpose ? Shape{16, 24, 3, 3} : Shape{24, 16, 3, 3}, DType::kF32, 2),
                 y = zeros(m, {5, 24, 20, 21});
    ASSERT_TRUE(kernels::conv_onednn(m, s, x.data<float>(), w.data<float>(), nullptr, y.data<float>(), transpose));
    expect_twin(y, transpose ? twin_transpose(x, w, {}, {.padding = 1}) : twin_conv(x, w, {}, {.padding = 1}), "oneDNN");
  }
}

TEST(conv, one_direction_and_no_batch) {
  const Machine m;
  const Tensor x = random_tensor(m, {2, 6, 11}, DType::kF32, 1), w = random_tensor(m, {4, 3, 3}, DType::kF32, 2), b = random_tensor(m, {4}, DType::kF32, 3);
  const Tensor y = conv1d(x, w, b, {.stride = 2, .padding = 2, .dilation = 2, .groups = 2});
  EXPECT_EQ(y.shape(), Shape({2, 4, 6}));
  const Tensor flat = conv2d(x.unsqueeze(2), w.unsqueeze(2), b, {.stride = {1, 2}, .padding = {0, 2}, .dilation = {1, 2}, .groups = 2});
  EXPECT_EQ(y.values<float>(), flat.values<float>());
  EXPECT_EQ(conv1d(x.select(0, 1), w, b, {.groups = 2}).values<float>(), conv1d(x, w, b, {.groups = 2}).select(0, 1).values<float>());
  const Tensor v = random_tensor(m, {6, 2, 3}, DType::kF32, 6), up = conv_transpose1d(x, v, b, {.stride = 3, .padding = 1, .output_padding = 2, .dilation = 2, .groups = 2});
  EXPECT_EQ(up.shape(), Shape({2, 4, 35}));  // (11 - 1) 3 - 2 + 5 + 2
  const Tensor rows = conv_transpose2d(x.unsqueeze(2), v.unsqueeze(2), b, {.stride = {1, 3}, .padding = {0, 1}, .output_padding = {0, 2}, .dilation = {1, 2}, .groups = 2});
  EXPECT_EQ(up.values<float>(), rows.values<float>());
  const Tensor image = random_tensor(m, {3, 8, 9}, DType::kF64, 4), k = random_tensor(m, {2, 3, 4, 3}, DType::kF64, 5);
  const Tensor same = conv2d(image, k, {}, {.padding = same_padding({4, 3})});
  EXPECT_EQ(same.shape(), Shape({2, 8, 9}));
  EXPECT_EQ(conv2d(image, to(k, DType::kF32)).dtype(), DType::kF64);
  EXPECT_EQ(max_pool2d(image, 2).shape(), Shape({3, 4, 4}));
}

// torch 2.13: x = arange(n) / 4 - 3, weights = arange(n) % 5 - 2 (sums are exact).
Tensor ramp(const Machine& m, const Shape& s, double by, double minus) {
  return reshape(arange(m, 0, static_cast<double>(count(s)), 1, DType::kF32), s) * by - minus;
}
Tensor saw(const Machine& m, const Shape& s) {
  return reshape(remainder(arange(m, 0, static_cast<double>(count(s)), 1, DType::kF32), 5.0f), s) - 2;
}

TEST(conv, values_of_torch) {
  const Machine m;
  {
    const Tensor y = conv2d(ramp(m, {1, 2, 4, 5}, 0.25, 3), saw(m, {2, 2, 3, 2}), ramp(m, {2}, 1, 0.5), {.stride = {2, 1}, .padding = {1, 0}, .dilation = {1, 2}});
    EXPECT_EQ(y.shape(), Shape({1, 2, 2, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-7.25f, -7, -6.75f, -3.25f, -4, -4.75f, -1.5f, -2.25f, -3, 0.5f, 0.75f, 1}));
  }
  {
    const Tensor y = conv2d(ramp(m, {1, 2, 4, 5}, 0.25, 3), saw(m, {4, 1, 3, 3}), {}, {.stride = 2, .padding = 1, .groups = 2});
    EXPECT_EQ(y.shape(), Shape({1, 4, 2, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-2, -2.75f, -5.25f, 2.25f, 4, 2.5f, -6.75f, -2.75f, 0.75f, 3.25f, -2.25f, -4.75f, -7.75f, -4, -3.25f, -13.25f, -3.5f, 6.75f, -2.5f, -4, 4, 5.25f, 2.75f, 8.25f}));
  }
  {
    const Tensor y = conv1d(ramp(m, {1, 2, 6}, 0.25, 3), saw(m, {2, 2, 3}), {}, {.stride = 2, .padding = 1});
    EXPECT_EQ(y.shape(), Shape({1, 2, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{2.5f, 6.25f, 5.25f, 1.5f, 0.75f, 0.25f}));
  }
  {
    const Tensor y = conv_transpose2d(ramp(m, {1, 2, 2, 3}, 0.25, 3), saw(m, {2, 1, 3, 2}), ramp(m, {1}, 1, 0.5), {.stride = {2, 1}, .padding = {1, 0}, .output_padding = {1, 0}});
    EXPECT_EQ(y.shape(), Shape({1, 1, 4, 4}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-2, -7.75f, -6.75f, -5, 1.75f, 10.75f, 9, 7.25f, -1.25f, -4.75f, -3.75f, -2.75f, -3.5f, 1.75f, 1, 3.25f}));
  }
  {
    const Tensor y = max_pool2d(saw(m, {1, 1, 5, 7}), {3, 2}, {.stride = {2, 2}, .padding = {1, 0}});
    EXPECT_EQ(y.shape(), Shape({1, 1, 3, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{1, 2, 2, 2, 2, 2, 2, 2, 1}));
  }
  {
    const Tensor y = avg_pool2d(saw(m, {1, 1, 5, 7}), {2, 4}, {.padding = {1, 2}});
    EXPECT_EQ(y.shape(), Shape({1, 1, 3, 2}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-0.375f, 0.125f, 0.125f, 0.125f, 0.25f, -0.25f}));
  }
  {
    const Tensor y = avg_pool2d(saw(m, {1, 1, 4, 6}), 2, {.stride = 2, .padding = 1, .count_include_pad = false});
    EXPECT_EQ(y.shape(), Shape({1, 1, 3, 4}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-2, -0.5f, 1.5f, -2, -0.5f, 1, -0.75f, -0.5f, 1, 0, -0.5f, 1}));
  }
  {
    const Tensor y = max_pool1d(saw(m, {1, 2, 7}), 3, {.stride = 2, .dilation = 2});
    EXPECT_EQ(y.shape(), Shape({1, 2, 2}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{2, 2, 2, 2}));
  }
  {
    const Tensor y = avg_pool1d(saw(m, {1, 2, 8}), 4, {.stride = 2, .padding = 1});
    EXPECT_EQ(y.shape(), Shape({1, 2, 4}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-0.75f, 0.5f, 0, -0.75f, 0.25f, -0.25f, 0.5f, 0.25f}));
  }
  {
    const MaxPool y = max_pool2d_with_indices(saw(m, {1, 1, 5, 7}), 3, {.stride = 2, .padding = 1, .ceil_mode = true});
    EXPECT_EQ(y.indices.shape(), Shape({1, 1, 3, 4}));
    EXPECT_EQ(y.values.values<float>(), (std::vector<float>{1, 2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2}));
    EXPECT_EQ(y.indices.values<int64_t>(), (std::vector<int64_t>{8, 9, 4, 13, 14, 9, 19, 19, 29, 24, 24, 34}));
  }
  {
    const Tensor y = avg_pool2d(saw(m, {1, 1, 5, 7}), {2, 4}, {.stride = 3, .padding = {1, 2}, .ceil_mode = true});
    EXPECT_EQ(y.shape(), Shape({1, 1, 2, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-0.375f, 0.25f, -0.125f, -0.125f, -0.125f, -0.25f}));
  }
  {
    const Tensor y = adaptive_avg_pool2d(saw(m, {1, 1, 6, 5}), {4, 3});
    EXPECT_EQ(y.shape(), Shape({1, 1, 4, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-1.5f, 0, 1.5f, -1.5f, 0, 1.5f, -1.5f, 0, 1.5f, -1.5f, 0, 1.5f}));
  }
  {
    const Tensor y = adaptive_max_pool2d(saw(m, {1, 1, 6, 5}), {4, 3});
    EXPECT_EQ(y.shape(), Shape({1, 1, 4, 3}));
    EXPECT_EQ(y.values<float>(), (std::vector<float>{-1, 1, 2, -1, 1, 2, -1, 1, 2, -1, 1, 2}));
  }
}

// A slow pool of one value at a time.
Tensor twin_pool(const Tensor& x, Two kernel, const PoolOptions& o, bool max, std::vector<int64_t>* places = nullptr) {
  const auto v = x.values<double>();
  const Shape s = x.shape();
  const Two stride = o.stride.width == 0 ? kernel : o.stride, dilation = max ? o.dilation : Two(1);
  const auto size = [&](int64_t n, int64_t pad, int64_t k, int64_t d, int64_t step) {
    int64_t count = 0;
    for (int64_t at = -pad; o.ceil_mode ? at < n && at - step + (k - 1) * d + 1 < n + pad : at + (k - 1) * d < n + pad; at += step) ++count;
    return count;
  };
  const Tensor y(x.machine(), {s[0], s[1], size(s[2], o.padding.height, kernel.height, dilation.height, stride.height),
                               size(s[3], o.padding.width, kernel.width, dilation.width, stride.width)}, DType::kF64);
  double* to = y.data<double>();
  for (int64_t n = 0; n < s[0]; ++n) {
    for (int64_t c = 0; c < s[1]; ++c) {
      for (int64_t r = 0; r < y.shape()[2]; ++r) {
        for (int64_t q = 0; q < y.shape()[3]; ++q) {
          double best = -INFINITY, sum = 0, found = 0, padded = 0;
          int64_t place = -1;
          for (int64_t i = 0; i < kernel.height; ++i) {
            for (int64_t j = 0; j < kernel.width; ++j) {
              const int64_t row = r * stride.height + i * dilation.height - o.padding.height, col = q * stride.width + j * dilation.width - o.padding.width;
              padded += row < s[2] + o.padding.height && col < s[3] + o.padding.width;
              if (row < 0 || row >= s[2] || col < 0 || col >= s[3]) continue;
              const double a = v[at4(s, n, c, row, col)];
              if (place == -1 || a > best || std::isnan(a)) best = a, place = row * s[3] + col;
              sum += a;
              ++found;
            }
          }
          *to++ = max ? best : sum / (o.count_include_pad ? padded : found);
          if (places != nullptr) places->push_back(place);
        }
      }
    }
  }
  return y;
}

void expect_near(const Tensor& got, const Tensor& want, double allowed, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const auto a = got.values<double>(), b = want.values<double>();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    ASSERT_LE(std::fabs(a[i] - b[i]), allowed * (1 + std::fabs(b[i]))) << what << " at " << i;
  }
}

TEST(pool, twin_over_shapes_strides_and_types) {
  std::vector<Machine> machines;
  for (const Target t : {Target::kScalar, Target::kSse4, Target::kAvx2, Target::kAvx3}) {
    if (runs(t)) machines.emplace_back(Machine::Options{.threads = 3, .target = t});
  }
  Random r{std::mt19937_64(3)};
  for (int round = 0; round < 300; ++round) {
    const DType type = kFloats[r.below(4)];
    const Two kernel{r.in(1, 6), r.in(1, 6)};
    PoolOptions o;
    if (r.below(3) != 0) o.stride = Two(r.in(1, 7), r.in(1, 4));
    o.padding = {r.in(0, kernel.height / 2), r.in(0, kernel.width / 2)};
    o.count_include_pad = r.below(2) == 0;
    o.ceil_mode = r.below(2) == 0;
    const Shape shape{r.in(0, 3), r.in(0, 4), kernel.height + r.in(0, 15), kernel.width + r.in(0, 40)};
    const uint64_t seed = r.bits();
    const std::string what = std::to_string(round) + " " + std::string(name(type)) + text(shape);
    std::vector<Tensor> first;
    for (const Machine& m : machines) {
      std::mt19937_64 turns(seed);
      const Tensor x = other_strides(random_tensor(m, shape, type, seed), turns);
      if (x.count() != 0 && round % 3 == 0) assign(x.select(0, 0).select(0, 0).select(0, 0).select(0, 0), round % 2 == 0 ? NAN : -INFINITY);
      PoolOptions dilated = o;
      if (shape[2] > 2 * kernel.height && shape[3] > 2 * kernel.width) dilated.dilation = 2;
      const MaxPool both = max_pool2d_with_indices(x, kernel, dilated);
      const std::vector<Tensor> got = {max_pool2d(x, kernel, dilated), avg_pool2d(x, kernel, o), both.values, both.indices};
      if (first.empty()) {
        std::vector<int64_t> places;
        expect_near(got[0], twin_pool(x, kernel, dilated, true, &places), 0, what);
        expect_near(got[2], got[0], 0, what);
        EXPECT_EQ(got[3].values<int64_t>(), places) << what;
        expect_near(got[1], twin_pool(x, kernel, o, false), 4 * precision(type), what);
        first = got;
      }
      for (size_t i = 0; i < got.size(); ++i) expect_same_bits(got[i], first[i], what);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(pool, adaptive_and_global) {
  const Machine m({.threads = 2});
  Random r{std::mt19937_64(4)};
  for (int round = 0; round < 60; ++round) {
    const DType type = kFloats[r.below(4)];
    const Shape s{r.in(0, 2), r.in(1, 3), r.in(1, 20), r.in(1, 20)};
    const int64_t oh = r.in(0, 9), ow = r.in(1, 25);
    const Tensor x = random_tensor(m, s, type, r.bits()), most = adaptive_max_pool2d(x, {oh, ow}), mid = adaptive_avg_pool2d(x, {oh, ow});
    ASSERT_EQ(most.shape(), Shape({s[0], s[1], oh, ow}));
    for (int64_t i = 0; i < oh && s[0] != 0; ++i) {
      for (int64_t j = 0; j < ow; ++j) {
        const int64_t top = i * s[2] / oh, left = j * s[3] / ow, h = ((i + 1) * s[2] + oh - 1) / oh - top, w = ((j + 1) * s[3] + ow - 1) / ow - left;
        const Tensor window = to(x.narrow(2, top, h).narrow(3, left, w), DType::kF64);
        expect_near(most.select(3, j).select(2, i), max(window, {2, 3}), 0, text(s));
        expect_near(mid.select(3, j).select(2, i), mean(window, {2, 3}), 4 * precision(type), text(s));
      }
    }
    expect_near(global_avg_pool(x), mean(to(x, DType::kF64), {2, 3}, true), 4 * precision(type), text(s));
    expect_near(adaptive_avg_pool2d(x, 1), mean(to(x, DType::kF64), {2, 3}, true), 8 * precision(type), text(s));
  }
  EXPECT_EQ(global_avg_pool(ones(m, {2, 3, 4})).shape(), Shape({2, 3, 1}));
}

TEST(conv, errors_name_shapes) {
  const Machine m;
  const auto f = [&](const Shape& s, DType t = DType::kF32) { return zeros(m, s, t); };
  const Code usage = Code::kUsage;
  expect_error(usage, {"conv2d", "(1, 3, 5, 5)", "(4, 2, 3, 3)", "3 channels"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 2, 3, 3})); });
  expect_error(usage, {"conv2d", "(1, 3, 5, 5)", "(4, 3, 7, 3)", "window of 7 over 5"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 7, 3})); });
  expect_error(usage, {"conv2d", "bias (3,)", "(4,)"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 3, 3}), f({3})); });
  expect_error(usage, {"conv2d", "stride 0"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 3, 3}), {}, {.stride = 0}); });
  expect_error(usage, {"conv2d", "dilation -1"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 3, 3}), {}, {.dilation = -1}); });
  expect_error(usage, {"conv2d", "padding -1"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 3, 3}), {}, {.padding = -1}); });
  expect_error(usage, {"conv2d", "0 groups"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 3, 3}), {}, {.groups = 0}); });
  expect_error(usage, {"conv2d", "3 groups"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 1, 3, 3}), {}, {.groups = 3}); });
  expect_error(usage, {"conv2d"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 3, 3}), {}, {.groups = INT64_MAX}); });
  expect_error(usage, {"conv2d", "kernel size 0"}, [&] { conv2d(f({1, 3, 5, 5}), f({4, 3, 0, 3})); });
  expect_error(usage, {"conv2d", "(3, 5)"}, [&] { conv2d(f({3, 5}), f({4, 3, 3, 3})); });
  expect_error(usage, {"conv2d", "I32"}, [&] { conv2d(f({1, 3, 5, 5}, DType::kI32), f({4, 3, 3, 3})); });
  expect_error(usage, {"conv2d"}, [&] { conv2d(Tensor(), f({4, 3, 3, 3})); });
  expect_error(usage, {"conv1d", "(1, 3, 5)", "(4, 2, 3)"}, [&] { conv1d(f({1, 3, 5}), f({4, 2, 3})); });
  expect_error(usage, {"conv_transpose2d", "(1, 3, 5, 5)", "(4, 3, 3, 3)"}, [&] { conv_transpose2d(f({1, 3, 5, 5}), f({4, 3, 3, 3})); });
  expect_error(usage, {"conv_transpose2d", "output padding 2"}, [&] {
    conv_transpose2d(f({1, 3, 5, 5}), f({3, 3, 3, 3}), {}, {.stride = 2, .output_padding = 2});
  });
  expect_error(usage, {"conv_transpose2d", "size -1"}, [&] { conv_transpose2d(f({1, 3, 1, 1}), f({3, 3, 1, 1}), {}, {.padding = 1}); });
  expect_error(usage, {"max_pool2d", "(1, 3, 5, 5)", "window of 6"}, [&] { max_pool2d(f({1, 3, 5, 5}), 6); });
  expect_error(usage, {"max_pool2d", "padding 2"}, [&] { max_pool2d(f({1, 3, 5, 5}), 3, {.padding = 2}); });
  expect_error(usage, {"avg_pool1d", "stride -2"}, [&] { avg_pool1d(f({1, 3, 5}), 3, {.stride = -2}); });
  expect_error(usage, {"avg_pool2d", "dilation"}, [&] { avg_pool2d(f({1, 3, 5, 5}), 2, {.dilation = 2}); });
  expect_error(usage, {"max_pool2d", "no values"}, [&] { max_pool2d(f({1, 3, 0, 5}), 2, {.padding = 1}); });
  expect_error(usage, {"adaptive_avg_pool2d", "-1"}, [&] { adaptive_avg_pool2d(f({1, 3, 5, 5}), -1); });
  expect_error(usage, {"global_avg_pool", "(2, 3)"}, [&] { global_avg_pool(f({2, 3})); });
  // More than memory holds, of operands that take none.
  const Tensor v = f({1, 1, 1, 1});
  expect_error(usage, {}, [&] { conv2d(v, v, {}, {.padding = int64_t{1} << 30}).count(), conv2d(v.expand({1 << 20, 1, 1, 1}), v, {}, {.padding = 1 << 30}); });
  expect_error(Code::kResource, {}, [&] { conv2d(v.expand({1 << 20, 1, 1, 1}), v.expand({1 << 20, 1, 1, 1})); });
  expect_error(usage, {"conv_transpose2d"}, [&] { conv_transpose2d(v.expand({1, 1, int64_t{1} << 40, 1}), v, {}, {.stride = 1 << 30}); });
  expect_error(usage, {"conv2d", "1 x 3000000000"}, [&] { conv2d(v.expand({1, 1, 1, 3000000000}), v, {}, {.stride = 1 << 30}); });
  EXPECT_EQ(conv2d(f({0, 3, 5, 5}), f({4, 3, 3, 3})).shape(), Shape({0, 4, 3, 3}));
  EXPECT_EQ(max_pool2d(f({0, 3, 5, 5}), 2).shape(), Shape({0, 3, 2, 2}));
  EXPECT_EQ(conv_transpose2d(f({0, 3, 5, 5}), f({3, 4, 3, 3})).shape(), Shape({0, 4, 7, 7}));
}

}  // namespace
}  // namespace viva
