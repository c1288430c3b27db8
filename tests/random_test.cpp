// Random numbers: the paper's known answers, the same bits on every target and number of threads, golden values, moments
// and distances of distributions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "views.h"
#include "viva/kernels/random.h"
#include "viva/ops/ops.h"

namespace viva {
namespace {

using test::error_of;
using test::machine;

std::vector<Machine> machines() {
  std::vector<Machine> all;
  for (const Target t : {Target::kScalar, Target::kSse4, Target::kAvx2, Target::kAvx3}) {
    if (!runs(t)) continue;
    for (const size_t threads : {1, 3}) all.emplace_back(Machine::Options{threads, t, 0});
  }
  return all;
}

// Word k of a stream, as the paper's function gives it.
uint32_t word(uint64_t seed, uint64_t stream, uint64_t k) {
  const uint64_t b = k / 4;
  return kernels::philox({static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                         {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)})[k % 4];
}

TEST(Random, KnownAnswersOfThePaper) {
  using W = std::array<uint32_t, 4>;
  EXPECT_EQ(kernels::philox({0, 0, 0, 0}, {0, 0}), (W{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(kernels::philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (W{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(kernels::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (W{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, WordsOfEveryTargetAreTheFunctions) {
  // Counters that pass 2^32 and 2^64, numbers of blocks around every vector's.
  for (const uint64_t block : {uint64_t{0}, uint64_t{0xfffffffe}, UINT64_MAX - 5}) {
    for (const Machine& m : machines()) {
      for (const size_t blocks : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 40}) {
        std::vector<uint32_t> w(4 * blocks);
        kernels::random_words({0x0123456789abcdef, 0xfedcba9876543210, block}, blocks, w.data(), m.target());
        for (size_t i = 0; i < w.size(); ++i) {
          const uint64_t b = block + i / 4;
          const auto twin = kernels::philox({static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), 0x76543210, 0xfedcba98}, {0x89abcdef, 0x01234567});
          ASSERT_EQ(w[i], twin[i % 4]) << name(m.target()) << " " << blocks << " blocks, word " << i;
        }
      }
    }
  }
}

struct Verb {
  std::string name;
  std::function<Tensor(const Machine&, Generator&, int64_t)> call;
};
std::vector<Verb> verbs() {
  std::vector<Verb> all;
  for (const DType t : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    all.push_back({std::string("uniform ") + std::string(name(t)), [t](const Machine& m, Generator& g, int64_t n) { return uniform(m, g, {n}, -1, 3, t); }});
    all.push_back({std::string("normal ") + std::string(name(t)), [t](const Machine& m, Generator& g, int64_t n) { return normal(m, g, {n}, 0.5, 2, t); }});
  }
  for (const DType t : {DType::kI8, DType::kU16, DType::kI32, DType::kU64, DType::kI64}) {
    all.push_back({std::string("integers ") + std::string(name(t)), [t](const Machine& m, Generator& g, int64_t n) { return integers(m, g, {n}, 3, 100, t); }});
  }
  all.push_back({"wide integers", [](const Machine& m, Generator& g, int64_t n) { return integers(m, g, {n}, -(int64_t{1} << 62), int64_t{1} << 61); }});
  all.push_back({"bernoulli", [](const Machine& m, Generator& g, int64_t n) { return bernoulli(m, g, {n}, 0.3); }});
  all.push_back({"permutation", [](const Machine& m, Generator& g, int64_t n) { return permutation(m, g, n); }});
  all.push_back({"orthogonal", [](const Machine& m, Generator& g, int64_t n) { return orthogonal(m, g, {std::min<int64_t>(n, 70), 41}); }});
  return all;
}

TEST(Random, SameBitsOnEveryTargetAndNumberOfThreads) {
  for (const Verb& v : verbs()) {
    for (const int64_t n : {0, 1, 2, 3, 5, 17, 2047, 2049, 150001}) {
      Generator first{7, 3, 9};
      const Tensor twin = v.call(machine(), first, n);
      for (const Machine& m : machines()) {
        Generator g{7, 3, 9};
        const Tensor t = v.call(m, g, n);
        ASSERT_EQ(g, first) << v.name;
        ASSERT_EQ(t.shape(), twin.shape());
        ASSERT_EQ(std::memcmp(t.raw(), twin.raw(), t.bytes()), 0) << v.name << ", " << n << " values on " << name(m.target()) << ", " << m.threads() << " threads";
      }
    }
  }
}

TEST(Random, LargeResultsPastTheCacheAreTheSame) {
  const int64_t n = (int64_t{20} << 20) / 4 + 13;
  Generator a{1}, b{1};
  const Tensor all = uniform(machine(), a, {n});
  for (int64_t at = 0; at < n;) {  // in pieces of whole blocks
    const int64_t k = std::min<int64_t>(n - at, 1 << 20);
    const Tensor part = uniform(machine(), b, {k});
    ASSERT_EQ(std::memcmp(part.raw(), all.data<float>() + at, part.bytes()), 0);
    at += k;
  }
  EXPECT_EQ(a, b);
}

TEST(Random, AnElementDependsOnItsPlaceAlone) {
  for (const Verb& v : verbs()) {
    if (v.name == "permutation" || v.name == "orthogonal") continue;
    Generator a{42}, b{42};
    const Tensor longer = v.call(machine(), a, 3001), shorter = v.call(machine(), b, 1234);
    EXPECT_EQ(std::memcmp(longer.raw(), shorter.raw(), shorter.bytes()), 0) << v.name;
    // The next call goes on where this one ended.
    Generator c{42, b.counter};
    EXPECT_EQ(v.call(machine(), b, 50).values<double>(), v.call(machine(), c, 50).values<double>()) << v.name;
  }
  Generator a{5}, b{5};
  EXPECT_EQ(uniform(machine(), a, {6, 4}).values<float>(), uniform(machine(), b, {24}).values<float>());
}

TEST(Random, UniformTwin) {
  Generator g{99, 10, 4};
  const std::vector<float> f = uniform(machine(), g, {1000}, -2, 6).values<float>();
  EXPECT_EQ(g.counter, 10 + 250u);
  for (size_t i = 0; i < f.size(); ++i) EXPECT_EQ(f[i], -2 + 8 * std::ldexp(static_cast<double>(word(99, 4, 40 + i) >> 8), -24));
  const std::vector<double> d = uniform(machine(), g, {1000}, 0, 1, DType::kF64).values<double>();
  EXPECT_EQ(g.counter, 260 + 500u);
  for (size_t i = 0; i < d.size(); ++i) {
    const uint64_t k = 1040 + 2 * i, bits = (uint64_t{word(99, 4, k + 1)} >> 5 << 26) | word(99, 4, k) >> 6;
    EXPECT_EQ(d[i], std::ldexp(static_cast<double>(bits), -53));
  }
}

TEST(Random, UniformStaysBelowItsEnd) {
  Generator g{3};
  for (const DType t : {DType::kF16, DType::kBF16, DType::kF32, DType::kF64}) {
    for (const auto& [low, high] : {std::pair(0.0, 1.0), std::pair(-1.0, 0.0), std::pair(1.0, 1.0078125), std::pair(-3.0, -1.0), std::pair(0.0, 0.3), std::pair(2.0, 2.0)}) {
      const std::vector<double> v = uniform(machine(), g, {100000}, low, high, t).values<double>();
      const auto [least, most] = std::minmax_element(v.begin(), v.end());
      EXPECT_GE(*least, low) << name(t);
      if (low < high) {
        EXPECT_LT(*most, high) << name(t) << " to " << high;
      } else {
        EXPECT_EQ(*most, low);
      }
    }
  }
}

// Box and Muller's pair in long double.
void expect_pair(double u, double t, uint32_t quadrant, double a, double b, double precision) {
  const long double far = std::sqrt(-2 * std::log(static_cast<long double>(u)));
  const long double turn = (static_cast<long double>(t) + quadrant) * 1.57079632679489661923132169163975144L;
  EXPECT_NEAR(a, static_cast<double>(far * std::cos(turn)), precision * static_cast<double>(far + 0.1L)) << u << " " << t << " " << quadrant;
  EXPECT_NEAR(b, static_cast<double>(far * std::sin(turn)), precision * static_cast<double>(far + 0.1L)) << u << " " << t << " " << quadrant;
}
TEST(Random, NormalTwin) {
  Generator g{17};
  const std::vector<float> f = normal(machine(), g, {100000}).values<float>();
  for (size_t i = 0; i < f.size(); i += 2) {
    const uint32_t w0 = word(17, 0, i), w1 = word(17, 0, i + 1);
    const float u = (static_cast<float>(w0 >> 1) + 0.5f) * 0x1p-31f;
    const double t = (((w1 & 0x3fffffff) >> 6) + 0.5) * 0x1p-24 - 0.5;
    expect_pair(u, t, w1 >> 30, f[i], f[i + 1], 0x1p-22);
  }
  g = {17};
  const std::vector<double> d = normal(machine(), g, {20000}, 0, 1, DType::kF64).values<double>();
  for (size_t i = 0; i < d.size(); i += 2) {
    uint32_t w[4];
    for (size_t k = 0; k < 4; ++k) w[k] = word(17, 0, 2 * i + k);
    const double u = (std::ldexp(static_cast<double>(w[1] >> 5), 26) + (w[0] >> 6) + 0.5) * 0x1p-53;
    const double t = (static_cast<double>(int64_t{w[3] & 0x3fffffff} - (1 << 29)) * 0x1p22 + (w[2] >> 10) + 0.5) * 0x1p-52;
    expect_pair(u, t, w[3] >> 30, d[i], d[i + 1], 0x1p-50);
  }
}

TEST(Random, IntegersTwin) {
  Generator g{5, 0, 1};
  const std::vector<int64_t> small = integers(machine(), g, {1000}, -7, 1000).values<int64_t>();
  for (size_t i = 0; i < small.size(); ++i) {
    const uint64_t bits = word(5, 1, 2 * i) | uint64_t{word(5, 1, 2 * i + 1)} << 32;
    EXPECT_EQ(small[i], -7 + static_cast<int64_t>((static_cast<unsigned __int128>(bits) * 1007) >> 64));
  }
  g = {5};
  const int64_t low = -(int64_t{1} << 62), high = int64_t{3} << 60;
  for (const int64_t v : integers(machine(), g, {10000}, low, high).values<int64_t>()) EXPECT_TRUE(v >= low && v < high);
  for (const int64_t v : integers(machine(), g, {10000}, -128, 128, DType::kI8).values<int64_t>()) EXPECT_TRUE(v >= -128 && v < 128);
  for (const int64_t v : integers(machine(), g, {100}, 6, 7).values<int64_t>()) EXPECT_EQ(v, 6);
  // Every value comes, as often as another: chi squared of 49 degrees is above 94 once in 10,000 times.
  std::vector<double> times(50);
  for (const int64_t v : integers(machine(), g, {100000}, 0, 50).values<int64_t>()) ++times[static_cast<size_t>(v)];
  double chi = 0;
  for (const double t : times) chi += (t - 2000) * (t - 2000) / 2000;
  EXPECT_LT(chi, 94);
}

double phi(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// The largest distance between the values' distribution and f, times the root of their number: above 2.2 once in 8,000 times.
double kolmogorov(std::vector<double> v, const std::function<double(double)>& f) {
  std::sort(v.begin(), v.end());
  const double n = static_cast<double>(v.size());
  double far = 0;
  for (size_t i = 0; i < v.size(); ++i) {
    const double p = f(v[i]);
    far = std::max({far, p - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - p});
  }
  return far * std::sqrt(n);
}

void expect_moments(const std::vector<double>& v, double mean, double variance, double skew, double kurtosis) {
  const double n = static_cast<double>(v.size());
  double m = 0, m2 = 0, m3 = 0, m4 = 0;
  for (const double x : v) m += x / n;
  for (const double x : v) {
    const double d = x - m;
    m2 += d * d / n;
    m3 += d * d * d / n;
    m4 += d * d * d * d / n;
  }
  EXPECT_NEAR(m, mean, 5 * std::sqrt(variance / n));
  EXPECT_NEAR(m2, variance, 5 * variance * std::sqrt((kurtosis - 1) / n));
  EXPECT_NEAR(m3 / std::pow(m2, 1.5), skew, 5 * std::sqrt(6 / n));
  EXPECT_NEAR(m4 / (m2 * m2), kurtosis, 5 * std::sqrt(24 / n));
}

TEST(Random, DistributionsAreWhatTheySay) {
  Generator g{20240607};
  for (const DType t : {DType::kF32, DType::kF64}) {
    const std::vector<double> u = uniform(machine(), g, {1000000}, -1, 3, t).values<double>();
    expect_moments(u, 1, 16.0 / 12, 0, 1.8);
    EXPECT_LT(kolmogorov(u, [](double x) { return (x + 1) / 4; }), 2.2) << name(t);
    const std::vector<double> z = normal(machine(), g, {1000000}, -2, 0.5, t).values<double>();
    expect_moments(z, -2, 0.25, 0, 3);
    EXPECT_LT(kolmogorov(z, [](double x) { return phi((x + 2) / 0.5); }), 2.2) << name(t);
    // Neighbours have nothing to do with each other.
    double product = 0;
    for (size_t i = 1; i < z.size(); ++i) product += (z[i] + 2) * (z[i - 1] + 2) / 0.25;
    EXPECT_LT(std::fabs(product), 5 * std::sqrt(static_cast<double>(z.size())));
  }
  for (const DType t : {DType::kF16, DType::kBF16}) {
    expect_moments(uniform(machine(), g, {100000}, 0, 1, t).values<double>(), 0.5, 1.0 / 12, 0, 1.8);
    expect_moments(normal(machine(), g, {100000}, 0, 1, t).values<double>(), 0, 1, 0, 3);
  }
  for (const double p : {0.0, 1e-3, 0.3, 0.999, 1.0}) {
    const double n = 200000, times = count_nonzero(bernoulli(machine(), g, {200000}, p)).item<double>();
    EXPECT_NEAR(times, n * p, 5 * std::sqrt(n * p * (1 - p))) << p;
  }
}

TEST(Random, PermutationsHoldEveryPlaceOnce) {
  Generator g{8};
  for (const int64_t n : {0, 1, 2, 7, 1000, 32768, 32769, 600000, 2000003}) {
    std::vector<int64_t> v = permutation(machine(), g, n).values<int64_t>(), all(v.size());
    std::iota(all.begin(), all.end(), 0);
    if (n >= 1000) {
      EXPECT_NE(v, all);
    }
    std::sort(v.begin(), v.end());
    EXPECT_EQ(v, all);
  }
  // Also in parts: where a number goes has nothing to do with it, and neighbours come apart.
  const std::vector<double> v = permutation(machine(), g, 300000).values<double>();
  EXPECT_LT(kolmogorov(std::vector<double>(v.begin(), v.begin() + 10000), [](double x) { return x / 300000; }), 2.2);
  double product = 0;
  for (size_t i = 1; i < v.size(); ++i) product += (v[i] / 150000 - 1) * (v[i - 1] / 150000 - 1) * 3;
  EXPECT_LT(std::fabs(product), 5 * std::sqrt(3e5));
  // Each of the 24 orders of four: chi squared of 23 degrees is above 55 once in 5,000 times.
  std::vector<double> times(256);
  for (int i = 0; i < 24000; ++i) {
    const std::vector<int64_t> v = permutation(machine(), g, 4).values<int64_t>();
    ++times[static_cast<size_t>(v[0] * 64 + v[1] * 16 + v[2] * 4 + v[3])];
  }
  double chi = 0;
  for (const double t : times) chi += t == 0 ? 0 : (t - 1000) * (t - 1000) / 1000;
  EXPECT_EQ(std::count(times.begin(), times.end(), 0.0), 256 - 24);
  EXPECT_LT(chi, 55);
}

TEST(Random, SplitsAreIndependent) {
  const Generator root{1};
  Generator used = root;
  uniform(machine(), used, {1000});
  EXPECT_EQ(root.split(3), used.split(3)) << "not a matter of the counter";
  std::vector<std::vector<double>> all;
  for (Generator g : {root, root.split(0), root.split(1), root.split(0).split(0), root.split(1).split(0), Generator{2}, Generator{1, 0, 1}}) {
    all.push_back(normal(machine(), g, {100000}).values<double>());
  }
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_LT(std::fabs(std::inner_product(all[i].begin(), all[i].end(), all[j].begin(), 0.0)), 5 * std::sqrt(1e5)) << i << " and " << j;
    }
  }
}

TEST(Random, FirstWeights) {
  Generator g{11};
  const auto variance = [](const Tensor& t) { return var(to(t, DType::kF64)).item<double>(); };
  const Shape shape = {40, 30, 5, 5};  // fan_in 750, fan_out 1000
  const double near = 5 * std::sqrt(2.0 / 30000);
  EXPECT_NEAR(variance(xavier_uniform(machine(), g, shape)) * 875, 1, near);
  EXPECT_NEAR(variance(xavier_normal(machine(), g, shape, 2)) * 875 / 4, 1, near);
  EXPECT_NEAR(variance(he_uniform(machine(), g, shape)) * 750 / 2, 1, near);
  EXPECT_NEAR(variance(he_normal(machine(), g, shape, 1, Fan::kOut)) * 1000, 1, near);
  EXPECT_LE(max(abs(xavier_uniform(machine(), g, shape))).item<double>(), std::sqrt(3.0 / 875));
  EXPECT_EQ(he_normal(machine(), g, {0, 3}).shape(), (Shape{0, 3}));
  EXPECT_EQ(xavier_uniform(machine(), g, {3, 0}, 1, DType::kBF16).dtype(), DType::kBF16);
}

TEST(Random, OrthogonalRowsOrColumns) {
  Generator g{12};
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 7}, Shape{7, 1}, Shape{33, 33}, Shape{100, 41}, Shape{41, 100}, Shape{6, 2, 3, 2}, Shape{0, 4}, Shape{4, 0}}) {
    const Tensor q = orthogonal(machine(), g, shape, 3, DType::kF64);
    ASSERT_EQ(q.shape(), shape);
    const int64_t rows = shape[0], cols = rows == 0 ? 0 : q.count() / rows;
    if (q.count() == 0) continue;
    const Tensor m = reshape(q, {rows, cols}), lines = rows <= cols ? m : m.transpose(0, 1);
    for (int64_t i = 0; i < lines.size(0); ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        EXPECT_NEAR(sum(lines.select(0, i) * lines.select(0, j)).item<double>(), i == j ? 9 : 0, 1e-13) << text(shape) << " " << i << " " << j;
      }
    }
  }
  // Every rotation: the entries of large ones are as good as normal.
  const std::vector<double> v = orthogonal(machine(), g, {150, 150}, std::sqrt(150.0)).values<double>();
  EXPECT_LT(kolmogorov(v, phi), 2.2);
}

TEST(Random, Errors) {
  Generator g{1};
  const Machine& m = machine();
  EXPECT_NE(error_of([&] { uniform(m, g, {2}, 0, 1, DType::kI32); }).find("uniform: it is not defined on I32"), std::string::npos);
  EXPECT_NE(error_of([&] { uniform(m, g, {2}, 1, 0); }).find("from 1 to 0"), std::string::npos);
  EXPECT_NE(error_of([&] { uniform(m, g, {2}, 0, NAN); }).find("uniform"), std::string::npos);
  EXPECT_NE(error_of([&] { uniform(m, g, {2}, -3e38, 3e38); }).find("uniform"), std::string::npos);
  EXPECT_NE(error_of([&] { uniform(m, g, {2}, 0, 1e5, DType::kF16); }).find("uniform"), std::string::npos);
  EXPECT_NE(error_of([&] { normal(m, g, {2}, 0, -1); }).find("deviation -1"), std::string::npos);
  EXPECT_NE(error_of([&] { normal(m, g, {-2}); }).find("(-2,)"), std::string::npos);
  EXPECT_NE(error_of([&] { integers(m, g, {2}, 3, 3); }).find("low < high"), std::string::npos);
  EXPECT_NE(error_of([&] { integers(m, g, {2}, 0, 257, DType::kU8); }).find("0 to 257 as U8"), std::string::npos);
  EXPECT_NE(error_of([&] { integers(m, g, {2}, -1, 5, DType::kU64); }).find("U64"), std::string::npos);
  EXPECT_NE(error_of([&] { integers(m, g, {2}, 0, 5, DType::kF32); }).find("integers: it is not defined on F32"), std::string::npos);
  EXPECT_NE(error_of([&] { bernoulli(m, g, {2}, 1.5); }).find("1.5"), std::string::npos);
  EXPECT_NE(error_of([&] { permutation(m, g, -1); }).find("-1 values"), std::string::npos);
  EXPECT_NE(error_of([&] { xavier_uniform(m, g, {2}); }).find("shape (2,) has no fans"), std::string::npos);
  EXPECT_NE(error_of([&] { he_normal(m, g, {2, 2}, -1); }).find("gain of -1"), std::string::npos);
  EXPECT_NE(error_of([&] { orthogonal(m, g, {2}); }).find("orthogonal"), std::string::npos);
  EXPECT_EQ(g, Generator{1}) << "what fails draws nothing";
}

// What these verbs gave when they were written, to the bit: seed 42, the first eight values. A difference is one that users
// see in their results.
TEST(Random, GoldenValues) {
  const auto bits = [](const std::function<Tensor(Generator&)>& f) {
    Generator g{42};
    const Tensor t = contiguous(reshape(f(g), {-1}).narrow(0, 0, 8));
    std::string s;
    for (uint64_t i = 0; i < t.bytes(); i += bytes(t.dtype())) {
      if (i != 0) s += " ";
      for (uint64_t k = bytes(t.dtype()); k-- > 0;) {
        char two[3];
        std::snprintf(two, sizeof two, "%02x", t.raw()[i + k]);
        s += two;
      }
    }
    return s;
  };
  const Machine& m = machine();
  EXPECT_EQ(bits([&](Generator& g) { return uniform(m, g, {8}); }),
            "3f1ceaf0 3eefea92 3d95fa80 3eae8566 3f7cdb21 3ea774d8 3f038f5a 3ee89c0c");
  EXPECT_EQ(bits([&](Generator& g) { return uniform(m, g, {8}, -1, 1, DType::kF64); }),
            "bfb0156d98c543f0 bfd45ea61ed40af8 bfd622c980324df0 bfb763f21f1c2970 3fd443aeed36c020 3fe1826954d26b6c 3fd5d786dbac7044 bfcef1980d3c3558");
  EXPECT_EQ(bits([&](Generator& g) { return uniform(m, g, {8}, 0, 1, DType::kBF16); }),
            "3f1d 3ef0 3d96 3eaf 3f7d 3ea7 3f04 3ee9");
  EXPECT_EQ(bits([&](Generator& g) { return normal(m, g, {8}); }),
            "bf0c807e 3f52be8a 3ef93182 400efc1c 3d3f0770 3e19bc46 bf0d311c 3f81bb5b");
  EXPECT_EQ(bits([&](Generator& g) { return normal(m, g, {8}, 0, 1, DType::kF64); }),
            "3fd0c60e5767d024 3ff33fc6e649effe bfe6de158f9cf12d 3ff502ee65bb71a1 bfe168b74c870be4 bfe784d0a322dab6 bf97ba437542273f 3fec98511f6420ae");
  EXPECT_EQ(bits([&](Generator& g) { return normal(m, g, {8}, 1, 2, DType::kF16); }),
            "ae40 414b 3fe5 4578 3c60 3d33 ae99 420e");
  EXPECT_EQ(bits([&](Generator& g) { return integers(m, g, {8}, -100, 100, DType::kI32); }),
            "fffffff9 ffffffe0 ffffffdd fffffff6 0000001f 00000036 00000022 ffffffe7");
  EXPECT_EQ(bits([&](Generator& g) { return integers(m, g, {8}, INT64_MIN, INT64_MAX); }),
            "d742b3d712bf50ad f44e06fb838f5a6d 4609a5599a4d6d98 e10e67f7961e5543 bc58227f529f4963 8a6534070d41b5e2 aeb8a9927aabd4bb ae6b75b7172067aa");
  EXPECT_EQ(bits([&](Generator& g) { return bernoulli(m, g, {8}); }),
            "00 01 01 01 00 01 00 01");
  EXPECT_EQ(bits([&](Generator& g) { return permutation(m, g, 8); }),
            "0000000000000003 0000000000000000 0000000000000001 0000000000000005 0000000000000006 0000000000000007 0000000000000002 0000000000000004");
  EXPECT_EQ(bits([&](Generator& g) { return xavier_uniform(m, g, {2, 4}); }),
            "3e675780 bd80ab70 bf5a8160 bea2f534 3f79b642 beb11650 3ce3d680 bdbb1fa0");
  EXPECT_EQ(bits([&](Generator& g) { return he_normal(m, g, {2, 4}); }),
            "bec6b321 3f1504cb 3eb034d2 3fca3607 3d0713f4 3dd96a2d bec7ace7 3f3777f3");
  EXPECT_EQ(bits([&](Generator& g) { return orthogonal(m, g, {2, 4}, 1, DType::kF64); }),
            "3fc1522156acc2bb 3fe3e0860089eded bfd79d0c1cb6c387 3fe5b2650501b64c bfdbdc17fce29e4b bfe3bec3453626c2 3f797174e3562b19 3fe4fa310c174f77");
  EXPECT_EQ(bits([&](Generator& g) { return normal(m, g = g.split(1), {8}); }),
            "bfc2885b 3edcb4d7 be0b1ecd bf4269bb 3e3723f8 bf1696ee bf0898b8 bf881b0a");
}

}  // namespace
}  // namespace viva
