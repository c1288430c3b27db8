// Metrics against f64 twins over random shapes, views and axes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "views.h"
#include "viva/ops/ops.h"

namespace viva {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

using test::error_of;
using test::machine;

using Values = std::vector<double>;

double twin_cosine(const Values& a, const Values& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return aa * bb == 0 ? (a.empty() ? kNan : 0) : ab / std::sqrt(aa * bb);
}
double mean_of(const Values& a, const Values& b, const std::function<double(double, double)>& f) {
  double s = 0;
  for (size_t i = 0; i < a.size(); ++i) s += f(a[i], b[i]);
  return s / static_cast<double>(a.size());
}
double twin_mse(const Values& a, const Values& b) {
  return mean_of(a, b, [](double x, double y) { return (x - y) * (x - y); });
}
double twin_percentile(Values a, double q) {
  if (a.empty()) return kNan;
  std::sort(a.begin(), a.end());
  const double at = q / 100 * static_cast<double>(a.size() - 1);
  const size_t i = static_cast<size_t>(at), j = std::min(i + 1, a.size() - 1);
  return a[i] + (a[j] - a[i]) * (at - static_cast<double>(i));
}
double twin_outliers(const Values& a, double times) {
  double m = 0, v = 0;
  for (const double x : a) m += x / static_cast<double>(a.size());
  for (const double x : a) v += (x - m) * (x - m) / static_cast<double>(a.size());
  return mean_of(a, a, [&](double x, double) { return std::fabs(x) > times * std::sqrt(v); });
}

struct Metric {
  std::string name;
  std::function<Tensor(const Tensor&, const Tensor&, const Axes&, bool)> call;
  std::function<double(const Values&, const Values&)> twin;
};
const std::vector<Metric>& metrics() {
  static const std::vector<Metric> all = {
      {"cosine", [](auto& a, auto& b, auto& x, bool k) { return cosine(a, b, x, k); }, twin_cosine},
      {"mse", [](auto& a, auto& b, auto& x, bool k) { return mse(a, b, x, k); }, twin_mse},
      {"rmse", [](auto& a, auto& b, auto& x, bool k) { return rmse(a, b, x, k); }, [](auto& a, auto& b) { return std::sqrt(twin_mse(a, b)); }},
      {"mae", [](auto& a, auto& b, auto& x, bool k) { return mae(a, b, x, k); },
       [](auto& a, auto& b) { return mean_of(a, b, [](double x, double y) { return std::fabs(x - y); }); }},
      {"snr_db", [](auto& a, auto& b, auto& x, bool k) { return snr_db(a, b, x, k); },
       [](auto& a, auto& b) {
         const double noise = twin_mse(a, b);
         return noise == 0 ? kInf : 10 * std::log10(mean_of(a, a, [](double x, double) { return x * x; }) / noise);
       }},
      {"psnr", [](auto& a, auto& b, auto& x, bool k) { return psnr(a, b, 255, x, k); },
       [](auto& a, auto& b) { return 10 * std::log10(255 * 255 / twin_mse(a, b)); }},
      {"percentile", [](auto& a, auto&, auto& x, bool k) { return percentile(a, 37.5, x, k); }, [](auto& a, auto&) { return twin_percentile(a, 37.5); }},
      {"percentile 99", [](auto& a, auto&, auto& x, bool k) { return percentile(a, 99, x, k); }, [](auto& a, auto&) { return twin_percentile(a, 99); }},
      {"outlier_share", [](auto& a, auto&, auto& x, bool k) { return outlier_share(a, 1.25, x, k); }, [](auto& a, auto&) { return twin_outliers(a, 1.25); }},
      {"share_above", [](auto& a, auto&, auto& x, bool k) { return share_above(a, 0.7, x, k); },
       [](auto& a, auto&) { return mean_of(a, a, [](double x, double) { return std::fabs(x) > 0.7; }); }},
  };
  return all;
}

Tensor values_of(Generator& g, const Shape& shape, DType t) {
  if (is_int(t)) return integers(machine(), g, shape, is_unsigned_int(t) ? 0 : -9, 9, t);
  return is_bool(t) ? bernoulli(machine(), g, shape) : normal(machine(), g, shape, 0.1, 1, t);
}

// Values whose axis bits of `axes` are set, for each of the others in order.
std::vector<Values> groups(const Tensor& x, uint32_t axes) {
  Dims order;
  int64_t n = 1, rows = 1;
  for (const bool last : {false, true}) {
    for (size_t a = 0; a < x.rank(); ++a) {
      if (((axes >> a & 1) != 0) != last) continue;
      order.push_back(static_cast<int64_t>(a));
      (last ? n : rows) *= x.shape()[a];
    }
  }
  const Values all = x.permute(order).values<double>();
  std::vector<Values> out;
  for (int64_t r = 0; r < rows; ++r) out.emplace_back(all.begin() + r * n, all.begin() + (r + 1) * n);
  return out;
}

TEST(Metrics, Twins) {
  Generator g{5};
  const std::vector<Shape> shapes = {{}, {1}, {7}, {0}, {3, 0, 2}, {5, 1, 11}, {13, 17}, {2, 3, 5, 7}};
  for (const Metric& metric : metrics()) {
    for (const DType t : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI16, DType::kU8, DType::kBool}) {
      for (const Shape& shape : shapes) {
        Tensor a = values_of(g, shape, t), b = values_of(g, shape, t);
        if (shape.size() == 2) a = a.transpose(0, 1).flip({0}), b = clone(b.transpose(0, 1));
        if (shape.size() == 4) a = a.slice(3, {}, {}, 3), b = b.narrow(3, 1, 3);
        for (uint32_t axes = 0; axes < 1u << a.rank(); ++axes) {
          if (axes != 0 && axes + 1 != 1u << a.rank() && axes % 3 != 2) continue;
          Dims list;
          for (size_t k = 0; k < a.rank(); ++k) {
            if ((axes >> k & 1) != 0) list.push_back(static_cast<int64_t>(k));
          }
          const Tensor got = metric.call(a, b, list, false), kept = metric.call(a, b, list, true);
          ASSERT_EQ(got.dtype(), t == DType::kF64 ? DType::kF64 : DType::kF32);
          ASSERT_EQ(kept.rank(), a.rank());
          ASSERT_EQ(reshape(kept, got.shape()).shape(), got.shape());
          const std::vector<Values> x = groups(a, axes), y = groups(b, axes);
          const Values v = got.values<double>();
          ASSERT_EQ(v.size(), x.size()) << metric.name << " " << text(shape);
          for (size_t i = 0; i < v.size(); ++i) {
            const double twin = metric.twin(x[i], y[i]), far = t == DType::kF64 ? 1e-13 : 2e-6;
            const std::string where = metric.name + " of " + std::string(name(t)) + text(shape) + " over " + text(list);
            if (std::isnan(twin)) {
              EXPECT_TRUE(std::isnan(v[i])) << where;
            } else if (std::isinf(twin)) {
              EXPECT_EQ(v[i], twin) << where;
            } else {
              EXPECT_NEAR(v[i], twin, far * (std::fabs(twin) + 1) * (metric.name.find("snr") != std::string::npos ? 10 : 1)) << where;
            }
          }
        }
      }
    }
  }
}

TEST(Metrics, SpecialValues) {
  const Machine& m = machine();
  const Tensor x = Tensor::of(m, {1.0f, -2.0f, 3.0f, 0.5f}), n = Tensor::of(m, {1.0f, NAN, 3.0f, 0.5f});
  for (const Metric& metric : metrics()) {
    if (metric.name == "share_above") continue;
    EXPECT_TRUE(std::isnan(metric.call(n, x, {}, false).item<double>())) << metric.name;
  }
  EXPECT_EQ(share_above(n, 0.9).item<double>(), 0.5);
  const Tensor zero = zeros(m, {4});
  EXPECT_EQ(cosine(x, zero).item<double>(), 0);
  EXPECT_NEAR(cosine(x, x).item<double>(), 1, 1e-7);
  EXPECT_NEAR(cosine(x, negative(x)).item<double>(), -1, 1e-7);
  // Squares outside of f32's range.
  for (const double by : {1e30, 1e-30}) EXPECT_NEAR(cosine(x * by, x * by).item<double>(), 1, 1e-6) << by;
  EXPECT_EQ(snr_db(x, x).item<double>(), kInf);
  EXPECT_EQ(snr_db(zero, zero).item<double>(), kInf);
  EXPECT_EQ(snr_db(zero, x).item<double>(), -kInf);
  EXPECT_EQ(psnr(x, x).item<double>(), kInf);
  const Tensor ends = Tensor::of(m, {-kInf, 1.0, 2.0, kInf, kInf});
  EXPECT_EQ(percentile(ends, 0).item<double>(), -kInf);
  EXPECT_EQ(percentile(ends, 25).item<double>(), 1);
  EXPECT_EQ(percentile(ends, 90).item<double>(), kInf);
  EXPECT_EQ(percentile(ends, 100).item<double>(), kInf);
  EXPECT_EQ(percentile(Tensor::of(m, {7.0}), 63).item<double>(), 7);
  EXPECT_EQ(percentile(Tensor::of<int64_t>(m, {4, 1, 3, 2}), 50).item<double>(), 2.5);
  EXPECT_TRUE(std::isnan(outlier_share(ends).item<double>()));
  // What the pairs of a long sum lose is little: 10^7 equal errors.
  EXPECT_NEAR(mse(full(m, {10000000}, 0.1), zeros(m, {10000000})).item<double>(), 0.01, 1e-8);
}

TEST(Metrics, Errors) {
  const Machine& m = machine();
  const Tensor a = zeros(m, {2, 3}), b = zeros(m, {3}), c = zeros(m, {2}, DType::kC64);
  for (const Metric& metric : metrics()) {
    if (metric.name.starts_with("percentile") || metric.name.ends_with("share") || metric.name == "share_above") continue;
    EXPECT_NE(error_of([&] { metric.call(a, b, {}, false); }).find(metric.name + ": shape (2, 3) beside (3,)"), std::string::npos) << metric.name;
    EXPECT_NE(error_of([&] { metric.call(c, c, {}, false); }).find(metric.name + ": it is not defined on C64"), std::string::npos) << metric.name;
    EXPECT_NE(error_of([&] { metric.call(a, a, 2, false); }).find(metric.name), std::string::npos) << metric.name;
  }
  EXPECT_NE(error_of([&] { cosine(zeros(m, {}), zeros(m, {})); }).find("cosine"), std::string::npos) << "no axis -1";
  EXPECT_NE(error_of([&] { percentile(a, 101); }).find("101 percent"), std::string::npos);
  EXPECT_NE(error_of([&] { percentile(a, kNan); }).find("percentile"), std::string::npos);
  EXPECT_NE(error_of([&] { percentile(c, 5); }).find("C64"), std::string::npos);
  EXPECT_NE(error_of([&] { psnr(a, a, 0); }).find("peak of 0"), std::string::npos);
  EXPECT_NE(error_of([&] { outlier_share(a, -1); }).find("-1 deviations"), std::string::npos);
  EXPECT_NE(error_of([&] { share_above(a, kNan); }).find("share_above"), std::string::npos);
}

}  // namespace
}  // namespace viva
