// Products of matrices against a slow twin in f64 (integers: modulo 2^64) over random shapes, strides and
// types; the same bits on any number of threads.
#include "viva/kernels/matmul.h"

#include <cstring>

#include "linear.h"

namespace viva {
namespace {

using namespace test;

constexpr DType kTypes[] = {DType::kF32,  DType::kF64, DType::kBF16, DType::kF16, DType::kC64,
                            DType::kC128, DType::kI8,  DType::kU8,   DType::kI16, DType::kU16,
                            DType::kI32,  DType::kU32, DType::kI64,  DType::kU64, DType::kBool};

// `got` is a (batch..., m, k) times b (batch..., k, n).
void expect_product(const Tensor& a, const Tensor& b, const Tensor& got, const std::string& what) {
  const Shape batch = broadcast(Shape(std::span(a.shape().begin(), a.rank() - 2)),
                                Shape(std::span(b.shape().begin(), b.rank() - 2)), "test");
  const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  Shape sa = batch, sb = batch, sc = batch;
  sa.push_back(m), sa.push_back(k), sb.push_back(k), sb.push_back(n), sc.push_back(m), sc.push_back(n);
  ASSERT_EQ(got.shape(), sc) << what;
  const Tensor wa = a.expand(sa), wb = b.expand(sb);
  const int64_t count = viva::count(batch);
  if (is_int(got.dtype())) {
    const auto x = wa.values<uint64_t>(), y = wb.values<uint64_t>(), z = got.values<uint64_t>();
    const uint64_t mask =
        info(got.dtype()).bits == 64 ? ~uint64_t{0} : (uint64_t{1} << info(got.dtype()).bits) - 1;
    for (int64_t q = 0; q < count; ++q) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          uint64_t s = 0;
          for (int64_t p = 0; p < k; ++p)
            s += x[static_cast<size_t>((q * m + i) * k + p)] * y[static_cast<size_t>((q * k + p) * n + j)];
          ASSERT_EQ(z[static_cast<size_t>((q * m + i) * n + j)] & mask, s & mask) << what;
        }
      }
    }
    return;
  }
  const auto x = wa.values<Wide>(), y = wb.values<Wide>(), z = got.values<Wide>();
  const double small = precision(got.dtype()),
               wide = got.dtype() == DType::kF64 || got.dtype() == DType::kC128 ? 0x1p-53 : 0x1p-24;
  for (int64_t q = 0; q < count; ++q) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        Wide s = 0;
        double scale = 0;
        for (int64_t p = 0; p < k; ++p) {
          const Wide t =
              x[static_cast<size_t>((q * m + i) * k + p)] * y[static_cast<size_t>((q * k + p) * n + j)];
          s += t;
          scale += std::abs(t);
        }
        const Wide g = z[static_cast<size_t>((q * m + i) * n + j)];
        if (is_bool(got.dtype())) {
          ASSERT_EQ(g.real() != 0, s.real() != 0) << what;
        } else {
          const double allowed = 2 * small * std::abs(s) +
                                 4 * wide * scale * std::sqrt(static_cast<double>(k) + 1) +
                                 (got.dtype() == DType::kF16 ? 1e-7 : 0);
          ASSERT_LE(std::abs(g - s), allowed)
              << what << " at " << q << ", " << i << ", " << j << ": " << g << " and " << s;
        }
      }
    }
  }
}

int64_t random_size(std::mt19937_64& random, bool large) {
  constexpr int64_t kSmall[] = {0, 1, 1, 2, 3, 5, 7, 13, 16, 17, 31, 32},
                    kLarge[] = {1, 2, 61, 67, 97, 128, 131, 200};
  return large ? kLarge[random() % 8] : kSmall[random() % 12];
}

TEST(matmul, twin_over_shapes_strides_and_types) {
  const Machine machine({.threads = 3});
  std::mt19937_64 random(1);
  for (const DType type : kTypes) {
    for (int round = 0; round < 60; ++round) {
      const bool large = round % 10 == 9;
      const int64_t m = random_size(random, large), k = random_size(random, large),
                    n = random_size(random, large);
      Shape sa, sb;
      const size_t batch = large ? 0 : random() % 3;
      for (size_t i = 0; i < batch; ++i) {
        const int64_t d = static_cast<int64_t>(random() % 4);
        if (random() % 4 != 0 || !sa.empty()) sa.push_back(random() % 3 == 0 ? 1 : d);
        if (random() % 4 != 0 || !sb.empty())
          sb.push_back(random() % 3 == 0 || (sa.size() > 0 && sa.back() != 1) ? 1 : d);
      }
      sa.push_back(m), sa.push_back(k), sb.push_back(k), sb.push_back(n);
      try {
        broadcast(Shape(std::span(sa.begin(), sa.size() - 2)), Shape(std::span(sb.begin(), sb.size() - 2)),
                  "");
      } catch (const Error&) {
        continue;
      }
      const Tensor a = other_strides(random_tensor(machine, sa, type, random()), random),
                   b = other_strides(random_tensor(machine, sb, type, random()), random);
      const std::string what = std::string(name(type)) + " " + text(sa) + " " + text(a.strides()) + " " +
                               text(sb) + " " + text(b.strides());
      const Tensor c = matmul(a, b);
      EXPECT_EQ(c.dtype(), type);
      expect_product(a, b, c, what);
      if (HasFatalFailure()) return;
    }
  }
}

// Where sums are cut, panels are several, tiles have edges.
TEST(matmul, long_sums_and_many_tiles) {
  const Machine machine({.threads = 2});
  std::mt19937_64 random(2);
  constexpr int64_t kShapes[][3] = {{1, 70001, 1},  {3, 40009, 5},  {1, 9001, 67},
                                    {300, 7, 1100}, {2, 513, 1030}, {1000, 33, 3},
                                    {5, 1500, 1},   {1, 1030, 5},   {300, 600, 70},
                                    {16, 700, 200}, {150, 600, 130}, {140, 1024, 130}};
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64, DType::kC64, DType::kI32, DType::kU8}) {
    for (const auto& [m, k, n] : kShapes) {
      for (int turned = 0; turned < 4; ++turned) {
        if (type == DType::kC64 && turned % 2 == 1) continue;
        const Tensor a = turned & 1 ? random_tensor(machine, {k, m}, type, random()).transpose(0, 1)
                                    : random_tensor(machine, {m, k}, type, random());
        const Tensor b = turned & 2 ? random_tensor(machine, {n, k}, type, random()).transpose(0, 1)
                                    : random_tensor(machine, {k, n}, type, random());
        expect_product(a, b, matmul(a, b), std::string(name(type)) + text({m, k, n}));
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Run whether or not this processor has instructions for it.
TEST(matmul, bf16_by_onednn) {
  const Machine machine;
  std::mt19937_64 random(8);
  for (int turned = 0; turned < 4; ++turned) {
    const int64_t m = 17, k = 70, n = 33;
    const Tensor a = turned & 1 ? random_tensor(machine, {k, m}, DType::kBF16, 1).transpose(0, 1)
                                : random_tensor(machine, {m, k}, DType::kBF16, 1);
    const Tensor b = turned & 2 ? random_tensor(machine, {n, k}, DType::kBF16, 2).transpose(0, 1)
                                : random_tensor(machine, {k, n}, DType::kBF16, 2);
    const auto block = [](const Tensor& t) {
      const bool rows = t.strides()[1] == 1;
      return kernels::Block{t.raw(), rows ? 'N' : 'T', t.strides()[rows ? 0 : 1]};
    };
    const Tensor c = zeros(machine, {m, n + 3});
    kernels::bf16_product(m, n, k, block(a), block(b), false, c.raw(), n + 3);
    expect_product(to(a, DType::kF32), to(b, DType::kF32), c.narrow(1, 0, n), "once");
    kernels::bf16_product(m, n, k, block(a), block(b), true, c.raw(), n + 3);
    expect_product(to(a, DType::kF32), to(multiply(b, 2), DType::kF32), c.narrow(1, 0, n), "twice");
    EXPECT_EQ(max(abs(c.narrow(1, n, 3))).item<float>(), 0);
  }
}

TEST(matmul, vectors_have_no_axis_in_the_result) {
  const Machine machine;
  const Tensor v = Tensor::of<float>(machine, {1, 2, 3}),
               a = Tensor::of<float>(machine, {{1, 2, 3}, {4, 5, 6}}),
               stack_of = random_tensor(machine, {4, 2, 3}, DType::kF32, 1);
  EXPECT_EQ(matmul(v, v).shape(), Shape());
  EXPECT_EQ(matmul(v, v).item<float>(), 14);
  EXPECT_EQ(matmul(a, v).values<float>(), (std::vector<float>{14, 32}));
  EXPECT_EQ(matmul(v, a.transpose(0, 1)).values<float>(), (std::vector<float>{14, 32}));
  EXPECT_EQ(matmul(stack_of, v).shape(), Shape({4, 2}));
  EXPECT_EQ(matmul(v, stack_of.transpose(1, 2)).shape(), Shape({4, 2}));
  EXPECT_EQ(matmul(a, Tensor::of<double>(machine, {1, 2, 3})).dtype(), DType::kF64);
}

TEST(matmul, same_bits_on_any_number_of_threads) {
  const Machine one({.threads = 1}), many({.threads = 7});
  constexpr int64_t kShapes[][3] = {{1, 100003, 1}, {300, 300, 300}, {1, 2000, 3001},
                                    {700, 1900, 3}, {64, 9000, 64},  {17, 19, 23}};
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64, DType::kC128, DType::kI16}) {
    for (const auto& [m, k, n] : kShapes) {
      const auto run = [&, m = m, k = k, n = n](const Machine& machine) {
        return matmul(random_tensor(machine, {m, k}, type, 3),
                      random_tensor(machine, {n, k}, type, 4).transpose(0, 1));
      };
      const Tensor x = run(one), y = run(many);
      ASSERT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0) << name(type) << text({m, k, n});
      const auto stacked = [&](const Machine& machine) {
        return matmul(random_tensor(machine, {50, 9, 11}, type, 5),
                      random_tensor(machine, {11, 40}, type, 6));
      };
      const Tensor p = stacked(one), q = stacked(many);
      ASSERT_EQ(std::memcmp(p.raw(), q.raw(), p.bytes()), 0) << name(type);
    }
  }
}

TEST(matmul, nan_and_infinity_go_through) {
  const Machine machine;
  const float nan = std::nanf(""), inf = HUGE_VALF;
  for (const int64_t n : {1, 3, 40, 300}) {
    for (const DType type : {DType::kF32, DType::kBF16, DType::kF64, DType::kC64}) {
      const Tensor a = ones(machine, {n, n}, type), b = zeros(machine, {n, n}, type),
                   v = zeros(machine, {n}, type);
      assign(a.select(0, 0).select(0, n - 1), nan);
      const Tensor c = matmul(a, b), d = matmul(a, v);
      EXPECT_TRUE(all(isnan(c.select(0, 0))).item<bool>()) << n << name(type);
      EXPECT_TRUE(isnan(d.select(0, 0)).item<bool>()) << n << name(type);
      assign(a.select(0, 0).select(0, n - 1), inf);
      EXPECT_TRUE(all(isnan(matmul(a, b).select(0, 0))).item<bool>()) << n << name(type);
    }
  }
}

TEST(matmul, errors_name_both_shapes) {
  const Machine machine;
  const auto f = [&](const Shape& s, DType t = DType::kF32) { return zeros(machine, s, t); };
  expect_error(Code::kUsage, {"matmul", "(2, 3)", "(2, 3)"}, [&] { matmul(f({2, 3}), f({2, 3})); });
  expect_error(Code::kUsage, {"matmul", "()", "(2, 3)"}, [&] { matmul(f({}), f({2, 3})); });
  expect_error(Code::kUsage, {"matmul", "(4,)", "(2, 3)"}, [&] { matmul(f({4}), f({2, 3})); });
  expect_error(Code::kUsage, {"matmul", "(2, 2, 3)", "(3, 3, 2)"}, [&] {
    matmul(f({2, 2, 3}), f({3, 3, 2}));
  });
  expect_error(Code::kUsage, {"matmul", "U64", "I8"}, [&] {
    matmul(f({2, 2}, DType::kU64), f({2, 2}, DType::kI8));
  });
  expect_error(Code::kUsage, {"matmul"}, [&] { matmul(Tensor(), f({2, 2})); });
  // A result that no memory holds, of operands that take none.
  const Tensor line = f({1, 1});
  expect_error(Code::kResource, {}, [&] {
    matmul(line.expand({int64_t{1} << 25, 1}), line.expand({1, int64_t{1} << 25}));
  });
  expect_error(Code::kUsage, {}, [&] {
    matmul(line.expand({int64_t{1} << 40, 1}), line.expand({1, int64_t{1} << 40}));
  });
  // No values: no product, but the sum of none.
  EXPECT_EQ(matmul(f({2, 0}), f({0, 3})).values<float>(), std::vector<float>(6, 0));
  EXPECT_EQ(matmul(f({0, 2}), f({2, 3})).shape(), Shape({0, 3}));
}

}  // namespace
}  // namespace viva
