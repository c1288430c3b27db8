// Softmax and the norms of layers against f64; the same bits on every SIMD target and any number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "viva/ops/ops.h"

namespace viva {
namespace {

Tensor random_tensor(const Machine& machine, const Shape& shape, DType type, uint64_t seed) {
  const Tensor t(machine, shape, DType::kF64);
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < t.count(); ++i) t.data<double>()[i] = static_cast<double>(random() % 20001) / 1000 - 10;
  return to(t, type);
}

std::vector<Machine> machines() {
  std::vector<Machine> list;
  for (const Target t : {Target::kScalar, Target::kSse4, Target::kAvx2, Target::kAvx3}) {
    for (const size_t threads : {1, 4}) {
      if (runs(t)) list.emplace_back(Machine::Options{.threads = threads, .target = t});
    }
  }
  return list;
}

double largest_error(const Tensor& got, const Tensor& want) {
  const std::vector<double> a = got.values<double>(), b = want.values<double>();
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::isnan(a[i] - b[i]) ? INFINITY : std::max(worst, std::fabs(a[i] - b[i]) / (1 + std::fabs(b[i])));
  return worst;
}
double precision(DType t) { return t == DType::kF64 ? 1e-14 : t == DType::kF32 ? 2e-6 : t == DType::kF16 ? 1e-3 : 8e-3; }

// f(x) on every machine, against truth of x in f64.
template <class F, class G>
void check(const Shape& shape, DType type, F f, G truth) {
  SCOPED_TRACE(text(shape) + " " + std::string(name(type)));
  std::vector<double> first;
  for (const Machine& m : machines()) {
    const Tensor x = random_tensor(m, shape, type, 5), got = f(x);
    ASSERT_EQ(got.shape(), shape);
    ASSERT_EQ(got.dtype(), type);
    const std::vector<double> v = got.template values<double>();
    if (first.empty()) {
      EXPECT_LT(largest_error(got, truth(to(x, DType::kF64))), precision(type));
      first = v;
    }
    ASSERT_EQ(std::memcmp(v.data(), first.data(), v.size() * 8), 0) << name(m.target()) << ", " << m.threads();
  }
}

const Shape kShapes[] = {{1, 1}, {3, 5}, {7, 1000}, {130, 67}, {2, 5003}, {0, 3}, {3, 0}};
const DType kTypes[] = {DType::kF16, DType::kBF16, DType::kF32, DType::kF64};

TEST(Normalize, Softmax) {
  for (const DType type : kTypes) {
    for (const Shape& shape : kShapes) {
      for (const int64_t axis : {0, -1}) {
        if (shape == Shape{0, 3} || shape == Shape{3, 0}) {
          EXPECT_EQ(softmax(zeros(Machine(), shape, type), axis).shape(), shape);
          continue;
        }
        check(shape, type, [&](const Tensor& x) { return softmax(x, axis); },
              [&](const Tensor& x) {
                const Tensor e = exp(x - max(x, axis, true));
                return e / sum(e, axis, true);
              });
        check(shape, type, [&](const Tensor& x) { return log_softmax(x, axis); },
              [&](const Tensor& x) {
                const Tensor d = x - max(x, axis, true);
                return d - log(sum(exp(d), axis, true));
              });
      }
    }
  }
  const Machine m;
  const float inf = INFINITY;
  EXPECT_EQ(softmax(Tensor::of<float>(m, {-inf, 0, -inf})).values<double>(), (std::vector<double>{0, 1, 0}));
  EXPECT_TRUE(std::isnan(softmax(Tensor::of<float>(m, {-inf, -inf})).at<float>({0})));
  EXPECT_EQ(softmax(Tensor::of<float>(m, {1e30f, 1e30f})).values<double>(), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(softmax(full(m, {}, 7.0f), 0).item<double>(), 1);
  EXPECT_EQ(softmax(Tensor::of<int32_t>(m, {2, 2})).dtype(), DType::kF32);
  EXPECT_THROW(softmax(zeros(m, {2, 2}), 2), Error);
  EXPECT_THROW(softmax(zeros(m, {2}, DType::kC64)), Error);
}

TEST(Normalize, LayerAndRms) {
  for (const DType type : kTypes) {
    for (const Shape& shape : kShapes) {
      if (count(shape) == 0) continue;
      const auto w = [&](const Tensor& x) { return random_tensor(x.machine(), {shape[1]}, x.dtype(), 8); };
      const auto b = [&](const Tensor& x) { return random_tensor(x.machine(), {shape[1]}, x.dtype(), 9); };
      const auto normal = [](const Tensor& x) { return (x - mean(x, 1, true)) / sqrt(var(x, 1, 0, true) + 1e-5); };
      check(shape, type, [&](const Tensor& x) { return layer_norm(x); }, normal);
      if (type == DType::kF64 || type == DType::kF32) {
        check(shape, type, [&](const Tensor& x) { return layer_norm(x, w(x), b(x)); },
              [&](const Tensor& x) {
                return normal(x) * to(to(w(x), type), DType::kF64) + to(to(b(x), type), DType::kF64);
              });
        check(shape, type, [&](const Tensor& x) { return rms_norm(x, w(x)); },
              [&](const Tensor& x) { return x / sqrt(mean(square(x), 1, true) + 1e-6) * to(to(w(x), type), DType::kF64); });
      }
      check(shape, type, [&](const Tensor& x) { return rms_norm(x); }, [&](const Tensor& x) { return x / sqrt(mean(square(x), 1, true) + 1e-6); });
    }
  }
  const Machine m;
  const Tensor x = random_tensor(m, {4, 3, 5}, DType::kF32, 1);
  const Tensor both = layer_norm(x, {}, {}, 2), flat = reshape(layer_norm(reshape(x, {4, 15})), {4, 3, 5});
  EXPECT_EQ(both.values<float>(), flat.values<float>());
  EXPECT_EQ(layer_norm(x.transpose(0, 1), {}, {}, 1).values<float>(), layer_norm(x).transpose(0, 1).values<float>());
  EXPECT_THROW(layer_norm(x, {}, {}, 4), Error);
  EXPECT_THROW(layer_norm(x, zeros(m, {4})), Error);
}

TEST(Normalize, GroupsAndBatches) {
  for (const DType type : {DType::kF32, DType::kF64}) {
    const auto c = [&](const Tensor& x, uint64_t seed) { return random_tensor(x.machine(), {6}, x.dtype(), seed); };
    const auto wide = [&](const Tensor& t) { return reshape(to(to(t, type), DType::kF64), {6, 1, 1}); };
    check({2, 6, 7, 11}, type, [&](const Tensor& x) { return group_norm(x, 3, c(x, 2), c(x, 3)); },
          [&](const Tensor& x) {
            const Tensor g = reshape(x, {2, 3, 154});
            const Tensor y = (g - mean(g, 2, true)) / sqrt(var(g, 2, 0, true) + 1e-5);
            return reshape(y, {2, 6, 7, 11}) * wide(c(x, 2)) + wide(c(x, 3));
          });
    check({2, 6, 7, 11}, type, [&](const Tensor& x) { return batch_norm(x, c(x, 2), square(c(x, 3)), c(x, 4), c(x, 5)); },
          [&](const Tensor& x) {
            const Tensor s = to(square(to(c(x, 3), type)), DType::kF64);
            return (x - wide(c(x, 2))) / sqrt(reshape(s, {6, 1, 1}) + 1e-5) * wide(c(x, 4)) + wide(c(x, 5));
          });
  }
  const Machine m;
  EXPECT_THROW(group_norm(zeros(m, {2, 6}), 4), Error);
  EXPECT_THROW(group_norm(zeros(m, {2}), 1), Error);
  EXPECT_THROW(batch_norm(zeros(m, {2, 6}), zeros(m, {5}), zeros(m, {6})), Error);
}

}  // namespace
}  // namespace viva
