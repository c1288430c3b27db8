// Order operations and running sums against the standard library, over random shapes, views and types.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "viva/ops/ops.h"

namespace viva {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const DType kTypes[] = {DType::kBool, DType::kU8, DType::kI8, DType::kI16, DType::kU16, DType::kI32, DType::kU32, DType::kI64, DType::kU64,
                        DType::kF16, DType::kBF16, DType::kF32, DType::kF64};

Tensor random_tensor(const Machine& machine, const Shape& shape, DType type, uint64_t seed) {
  const Tensor t(machine, shape, type);
  std::mt19937_64 random(seed);
  with_element(type, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < t.count(); ++i) {
      const double v = static_cast<double>(random() % 201) - (is_unsigned_int(type) ? 0 : 100);
      const bool special = is_real_float(type) && random() % 20 == 0;
      reinterpret_cast<T*>(t.raw())[i] = element_cast<double, T>(special ? (random() % 2 == 0 ? kNan : -0.0) : v);
    }
  });
  return t;
}

// NaN last, whichever way.
bool before(double a, double b, bool descending) {
  if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);
  return descending ? a > b : a < b;
}
bool same(double a, double b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

TEST(Sort, RandomShapesTypesAndViews) {
  const Machine machine(Machine::Options{.threads = 4});
  std::mt19937_64 random(7);
  for (int round = 0; round < 40; ++round) {
    for (const DType type : kTypes) {
      const int64_t n = round < 3 ? 2000 : static_cast<int64_t>(random() % 40);
      Tensor x = random_tensor(machine, {n, 3, static_cast<int64_t>(random() % 4)}, type, random());
      if (random() % 2 == 0) x = x.transpose(0, 2);
      if (random() % 2 == 0) x = x.flip({1}).slice(0, {}, {}, 2);
      const int64_t axis = static_cast<int64_t>(random() % 3) - (random() % 2 == 0 ? 3 : 0);
      const bool descending = random() % 2 == 0;
      const Tensor values = sort(x, axis, descending), indices = argsort(x, axis, descending);
      const int64_t k = static_cast<int64_t>(random() % static_cast<uint64_t>(x.size(axis) + 1));
      const TopK top = topk(x, k, axis, descending);
      ASSERT_EQ(values.shape(), x.shape());
      ASSERT_EQ(values.dtype(), type);
      ASSERT_EQ(indices.dtype(), DType::kI64);
      ASSERT_EQ(top.values.size(axis), k);
      // Every run along the axis by itself.
      const auto runs = [&](const Tensor& t) {
        const size_t a = axis_of(axis, 3, "test");
        std::vector<std::vector<double>> list;
        for (int64_t i = 0; i < t.shape()[a == 0 ? 1 : 0]; ++i) {
          for (int64_t j = 0; j < t.shape()[a == 2 ? 1 : 2]; ++j) {
            list.push_back((a == 0 ? t.select(1, i).select(1, j) : a == 1 ? t.select(0, i).select(1, j) : t.select(0, i).select(0, j)).values<double>());
          }
        }
        return list;
      };
      const auto in = runs(x), sorted = runs(values), places = runs(indices), best = runs(top.values), where = runs(top.indices);
      for (size_t r = 0; r < in.size(); ++r) {
        std::vector<int64_t> order(in[r].size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
          return before(in[r][static_cast<size_t>(a)], in[r][static_cast<size_t>(b)], descending);
        });
        for (size_t i = 0; i < order.size(); ++i) {
          ASSERT_EQ(static_cast<int64_t>(places[r][i]), order[i]);
          ASSERT_TRUE(same(sorted[r][i], in[r][static_cast<size_t>(order[i])]));
          if (i >= best[r].size()) continue;
          ASSERT_EQ(static_cast<int64_t>(where[r][i]), order[i]);
          ASSERT_TRUE(same(best[r][i], sorted[r][i]));
        }
      }
    }
  }
}

TEST(Sort, LongRowsOnAnyNumberOfThreads) {
  for (const DType type : {DType::kF32, DType::kI64, DType::kU8}) {
    const Machine one(Machine::Options{.threads = 1}), four(Machine::Options{.threads = 4});
    const Tensor x = random_tensor(one, {1'100'003}, type, 3), y = random_tensor(four, {1'100'003}, type, 3);
    const Tensor a = argsort(x), b = argsort(y);
    ASSERT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
    const Tensor s = sort(x), t = sort(y);
    ASSERT_EQ(std::memcmp(s.raw(), t.raw(), s.bytes()), 0);
    const std::vector<double> v = s.values<double>(), in = x.values<double>();
    const std::vector<int64_t> p = a.values<int64_t>();
    for (size_t i = 0; i < v.size(); ++i) ASSERT_TRUE(same(v[i], in[static_cast<size_t>(p[i])]));
    for (size_t i = 1; i < v.size(); ++i) ASSERT_FALSE(before(v[i], v[i - 1], false));
  }
}

TEST(Sort, EdgesAndErrors) {
  const Machine m;
  EXPECT_EQ(sort(full(m, {}, 3)).item<int>(), 3);
  EXPECT_EQ(argsort(zeros(m, {0})).count(), 0);
  EXPECT_EQ(topk(zeros(m, {4, 0}), 0).values.shape(), (Shape{4, 0}));
  EXPECT_EQ(sort(Tensor::of<int64_t>(m, {INT64_MAX, INT64_MIN, 0}), 0, true).values<int64_t>(), (std::vector<int64_t>{INT64_MAX, 0, INT64_MIN}));
  EXPECT_THROW(sort(zeros(m, {2}), 1), Error);
  EXPECT_THROW(sort(zeros(m, {2}, DType::kC64)), Error);
  EXPECT_THROW(topk(zeros(m, {2}), 3), Error);
  EXPECT_THROW(topk(zeros(m, {2}), -1), Error);
  EXPECT_THROW(sort(Tensor()), Error);
}

TEST(Unique, AllParts) {
  const Machine m;
  const Unique u = unique(Tensor::of<int32_t>(m, {{3, 1, 3}, {2, 1, 3}}));
  EXPECT_EQ(u.values.values<int>(), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(u.indices.values<int>(), (std::vector<int>{1, 3, 0}));
  EXPECT_EQ(u.inverse.values<int>(), (std::vector<int>{2, 0, 2, 1, 0, 2}));
  EXPECT_EQ(u.inverse.shape(), (Shape{2, 3}));
  EXPECT_EQ(u.counts.values<int>(), (std::vector<int>{2, 1, 3}));
  const Unique f = unique(Tensor::of<double>(m, {kNan, -0.0, 0.0, kNan}));
  EXPECT_EQ(f.values.count(), 3);
  EXPECT_EQ(f.counts.values<int>(), (std::vector<int>{2, 1, 1}));
  EXPECT_EQ(unique_values(Tensor::of<int32_t>(m, {{3, 1, 3}, {2, 1, 3}})).values<int32_t>(), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(unique_values(Tensor::of<double>(m, {kNan, -0.0, 0.0, kNan})).count(), 3);
  EXPECT_EQ(unique_values(zeros(m, {0})).count(), 0);
  EXPECT_EQ(unique(zeros(m, {0})).values.count(), 0);
  EXPECT_EQ(unique(full(m, {}, 2)).inverse.shape(), Shape());
}

TEST(Searchsorted, BothSides) {
  const Machine m;
  const Tensor s = Tensor::of<double>(m, {1, 2, 2, 3, kNan}), v = Tensor::of<double>(m, {0, 2, 2.5, 9, kNan});
  EXPECT_EQ(searchsorted(s, v).values<int>(), (std::vector<int>{0, 1, 3, 4, 4}));
  EXPECT_EQ(searchsorted(s, v, true).values<int>(), (std::vector<int>{0, 3, 3, 4, 5}));
  EXPECT_THROW(searchsorted(zeros(m, {2, 2}), v), Error);
}

TEST(Unique, ComplexNumbersByRealPartFirst) {
  const Machine m;
  using C = std::complex<float>;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = Tensor::of<C>(m, {C(2, 1), C(1, 5), C(2, 0), C(1, 5), C(0, -0.0f), C(2, 1), C(nan, 1), C(-0.0f, 0), C(nan, 1), C(1, nan)});
  const Unique u = unique(reshape(x, {5, 2}));
  EXPECT_EQ(u.counts.values<int>(), (std::vector<int>{2, 2, 1, 1, 2, 1, 1}));
  EXPECT_EQ(u.indices.values<int>(), (std::vector<int>{4, 1, 9, 2, 0, 6, 8}));
  EXPECT_EQ(u.inverse.values<int>(), (std::vector<int>{4, 1, 3, 1, 0, 4, 5, 0, 6, 2}));
  EXPECT_EQ(u.inverse.shape(), (Shape{5, 2}));
  const auto values = unique_values(x).values<C>();
  EXPECT_EQ(values.size(), 7u);
  EXPECT_TRUE(values[0] == C(0) && values[1] == C(1, 5) && values[3] == C(2, 0) && values[4] == C(2, 1));
  EXPECT_EQ(unique(zeros(m, {0, 2}, DType::kC128)).values.count(), 0);
}

TEST(Isin, IsEqualityWithOneOfThem) {
  const Machine m;
  const double inf = std::numeric_limits<double>::infinity();
  const Tensor x = Tensor::of<double>(m, {{0.0, -0.0, 1}, {kNan, inf, 4}}), of = Tensor::of<double>(m, {inf, 4, -0.0, kNan, 5});
  EXPECT_EQ(isin(x, of).values<bool>(), (std::vector<bool>{true, true, false, false, true, true}));
  EXPECT_EQ(isin(x.transpose(0, 1), of, true).values<bool>(), (std::vector<bool>{false, true, false, false, true, false}));
  EXPECT_EQ(isin(x, zeros(m, {0, 2})).values<bool>(), std::vector<bool>(6, false));
  EXPECT_EQ(isin(zeros(m, {0}), of).shape(), (Shape{0}));
  EXPECT_TRUE(isin(full(m, {}, 4), Tensor::of<int8_t>(m, {4, 5})).item<bool>());
  EXPECT_EQ(isin(Tensor::of<bool>(m, {true, false}), Tensor::of<bool>(m, {true})).values<bool>(), (std::vector<bool>{true, false}));
  for (const DType type : {DType::kI8, DType::kU64, DType::kF32, DType::kBF16}) {
    const Tensor a = remainder(random_tensor(m, {300}, type, 1), 50), b = remainder(random_tensor(m, {20}, type, 2), 50);
    const Tensor twin = any(equal(a.unsqueeze(1), b.unsqueeze(0)), Axes{1});
    EXPECT_EQ(isin(a, b).values<bool>(), twin.values<bool>());
  }
  EXPECT_THROW(isin(zeros(m, {2}, DType::kC64), of), Error);
}

TEST(Histogram, CountsEveryValueOnce) {
  const Machine m;
  const Histogram h = histogram(Tensor::of<float>(m, {0, 0.5, 1, 1, 2, static_cast<float>(kNan), 3, -1}), 4, std::pair(0.0, 2.0));
  EXPECT_EQ(h.counts.values<int>(), (std::vector<int>{1, 1, 2, 1}));
  EXPECT_EQ(h.edges.values<double>(), (std::vector<double>{0, 0.5, 1, 1.5, 2}));
  std::mt19937_64 random(5);
  std::vector<double> v(1'000'000);
  for (double& x : v) x = static_cast<double>(random() % 100000) / 7;
  const Machine four(Machine::Options{.threads = 4});
  const Histogram g = histogram(Tensor::from<double>(four, {1'000'000}, v), 13);
  const std::vector<double> edges = g.edges.values<double>();
  std::vector<int64_t> want(13);
  for (const double x : v) {
    const auto at = std::upper_bound(edges.begin(), edges.end(), x) - edges.begin() - 1;
    ++want[static_cast<size_t>(std::min<int64_t>(at, 12))];
  }
  EXPECT_EQ(g.counts.values<int64_t>(), want);
  EXPECT_EQ(sum(histogram(full(m, {5}, 2)).counts).item<int>(), 5);
  EXPECT_THROW(histogram(Tensor::of<double>(m, {kNan, 1})), Error);
  EXPECT_THROW(histogram(zeros(m, {1}), 0), Error);
}

TEST(Cumulative, AgainstATwin) {
  const Machine one(Machine::Options{.threads = 1}), four(Machine::Options{.threads = 4});
  for (const DType type : {DType::kI8, DType::kU32, DType::kBF16, DType::kF32, DType::kF64, DType::kBool}) {
    for (const Shape& shape : {Shape{200'003}, Shape{3, 70'001}, Shape{5, 7, 300}, Shape{1}, Shape{0}, Shape{2, 0, 3}}) {
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        const Tensor x = multiply(random_tensor(one, shape, DType::kI8, 9), 1), y = random_tensor(four, shape, DType::kI8, 9);
        const Tensor in = is_bool(type) ? greater(x, 0) : to(abs(x), type), on_four = is_bool(type) ? greater(y, 0) : to(abs(y), type);
        const Tensor c = cumulative_sum(in, static_cast<int64_t>(axis)), d = cumulative_sum(on_four, static_cast<int64_t>(axis));
        ASSERT_EQ(c.dtype(), sum(in).dtype());
        ASSERT_EQ(c.shape(), shape);
        ASSERT_EQ(std::memcmp(c.raw(), d.raw(), c.bytes()), 0);
        if (c.count() == 0) continue;
        // What each step adds, and the last is the sum. Whole numbers, so f32 is exact.
        const Tensor last = c.select(static_cast<int64_t>(axis), -1);
        const std::vector<double> got = last.values<double>(), want = to(sum(to(in, DType::kF64), static_cast<int64_t>(axis)), c.dtype()).values<double>();
        ASSERT_EQ(got, want);
        if (type == DType::kBF16) continue;
        const Tensor with = cumulative_sum(in, static_cast<int64_t>(axis), {}, true);
        ASSERT_EQ(with.size(static_cast<int64_t>(axis)), shape[axis] + 1);
        const Tensor steps = subtract(to(c, DType::kF64), to(with.slice(static_cast<int64_t>(axis), 0, -1), DType::kF64));
        ASSERT_TRUE(all(equal(steps, to(in, DType::kF64))).item<bool>());
      }
    }
  }
  const Machine m;
  EXPECT_EQ(cumulative_prod(Tensor::of<int8_t>(m, {1, 2, 3, 100, 2}), {}, {}, true).values<int>(), (std::vector<int>{1, 1, 2, 6, 600, 1200}));
  EXPECT_EQ(cumulative_sum(Tensor::of<float>(m, {{1, 2}, {3, 4}}).transpose(0, 1), 1).values<int>(), (std::vector<int>{1, 4, 2, 6}));
  EXPECT_THROW(cumulative_sum(zeros(m, {2, 2})), Error);
  EXPECT_THROW(cumulative_sum(zeros(m, {2, 2}), 2), Error);
}

TEST(Cumulative, PastTheCache) {
  const Machine m;
  const int64_t rows = 2100, cols = 2051;
  const Tensor x = to(random_tensor(m, {rows, cols}, DType::kI8, 9), DType::kF32), along = cumulative_sum(x, 1), down = cumulative_sum(x, 0);
  const Tensor flat = cumulative_sum(reshape(x, {-1}), {}, {}, true);
  const float *v = x.data<float>(), *a = along.data<float>(), *d = down.data<float>(), *f = flat.data<float>();
  double sum = 0;
  std::vector<double> column(static_cast<size_t>(cols), 0);
  ASSERT_EQ(f[0], 0);
  for (int64_t r = 0; r < rows; ++r) {
    double row = 0;
    for (int64_t c = 0; c < cols; ++c) {
      const int64_t i = r * cols + c;
      ASSERT_EQ(a[i], static_cast<float>(row += v[i])) << r << ' ' << c;
      ASSERT_EQ(d[i], static_cast<float>(column[static_cast<size_t>(c)] += v[i])) << r << ' ' << c;
      ASSERT_EQ(f[i + 1], static_cast<float>(sum += v[i])) << r << ' ' << c;
    }
  }
}

}  // namespace
}  // namespace viva
