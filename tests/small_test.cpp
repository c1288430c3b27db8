// Calls on few values, which take a path of their own, and tensors of more axes than lie in the object.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "viva/base/attempt.h"
#include "viva/ops/ops.h"

namespace viva {
namespace {

const Machine& machine() {
  static const Machine m({.threads = 2});
  return m;
}

// Small whole numbers from `low` on, which every type holds and computes exactly.
Tensor values(const Shape& shape, DType type, int low, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<double> v(static_cast<size_t>(count(shape)));
  for (double& x : v) x = low + static_cast<int>(random() % 3);
  return to(Tensor::from(machine(), shape, std::span<const double>(v)), type);
}

// The shape that two are stretched to, written down once more; empty where they do not go together.
std::optional<Shape> stretched(const Shape& a, const Shape& b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape s(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t x = i < rank - a.size() ? 1 : a[i - (rank - a.size())], y = i < rank - b.size() ? 1 : b[i - (rank - b.size())];
    if (x != y && x != 1 && y != 1) return std::nullopt;
    s[i] = x == 1 ? y : x;
  }
  return s;
}

// Value i of x stretched to `shape`, in order.
double value_at(const std::vector<double>& x, const Shape& own, const Shape& shape, size_t i) {
  size_t at = 0, step = 1;
  for (size_t k = 1; k <= shape.size(); ++k) {
    const size_t size = static_cast<size_t>(shape[shape.size() - k]), digit = i % size;
    i /= size;
    if (k > own.size()) continue;
    const size_t mine = static_cast<size_t>(own[own.size() - k]);
    at += (mine == 1 ? 0 : digit) * step;
    step *= mine;
  }
  return x[at];
}

struct Verb {
  const char* name;
  Tensor (*verb)(const Arg&, const Arg&);
  double (*twin)(double, double);
};
const Verb kVerbs[] = {{"add", &add, [](double a, double b) { return a + b; }},
                       {"subtract", &subtract, [](double a, double b) { return a - b; }},
                       {"multiply", &multiply, [](double a, double b) { return a * b; }},
                       {"maximum", &maximum, [](double a, double b) { return std::max(a, b); }},
                       {"less", &less, [](double a, double b) { return static_cast<double>(a < b); }},
                       {"not_equal", &not_equal, [](double a, double b) { return static_cast<double>(a != b); }}};

const Shape kShapes[] = {{},     {1},       {1, 1},  {1, 1, 1}, {0},    {3},    {1, 3},       {3, 1},    {1, 3, 1},          {2, 3},
                         {2, 1}, {2, 1, 1}, {5, 0},  {0, 1},    {1, 0}, {4096}, {4097},       {64, 64},  {1, 64, 64},        {1, 4096},
                         {4096, 1}, {2, 2, 1, 3}, Shape(9, 1), {1, 1, 1, 1, 1, 1, 3}, {2, 1, 1, 1, 1, 1, 1, 3}};

TEST(Small, EveryPairOfShapesIsWhatASlowTwinSays) {
  for (const Shape& sa : kShapes) {
    for (const Shape& sb : kShapes) {
      // The left one is nowhere less than the right one: unsigned types do not wrap.
      const Tensor a = values(sa, DType::kF32, 2, 1), b = values(sb, DType::kF32, 0, 2);
      const std::optional<Shape> shape = stretched(sa, sb);
      if (!shape) {
        EXPECT_FALSE(attempt([&] { return a + b; })) << text(sa) << text(sb);
        continue;
      }
      if (count(*shape) > 70000) continue;
      const auto x = a.values<double>(), y = b.values<double>();
      for (const Verb& f : kVerbs) {
        const Tensor out = f.verb(a, b);
        ASSERT_EQ(out.shape(), *shape) << f.name;
        const auto z = out.values<double>();
        for (size_t i = 0; i < z.size(); ++i) {
          ASSERT_EQ(z[i], f.twin(value_at(x, sa, *shape, i), value_at(y, sb, *shape, i))) << f.name << text(sa) << text(sb) << " at " << i;
        }
      }
    }
  }
}

TEST(Small, EveryPairOfTypesIsToo) {
  const DType types[] = {DType::kBool, DType::kI8,  DType::kU8,   DType::kI16, DType::kU16, DType::kI32, DType::kU32, DType::kI64,
                         DType::kU64,  DType::kF16, DType::kBF16, DType::kF32, DType::kF64, DType::kC64, DType::kC128};
  const Shape shapes[] = {{}, {1, 1}, {3}, {2, 3}, {2, 1}, {0, 3}};
  for (const DType ta : types) {
    for (const DType tb : types) {
      const auto type = attempt([&] { return promote(ta, tb); });
      for (const Shape& sa : shapes) {
        for (const Shape& sb : shapes) {
          if (!stretched(sa, sb)) continue;
          const Tensor a = values(sa, ta, 2, 3), b = values(sb, tb, 0, 4);
          const auto x = a.values<std::complex<double>>(), y = b.values<std::complex<double>>();
          for (const Verb& f : kVerbs) {
            const auto out = attempt([&] { return f.verb(a, b); });
            const bool compares = f.verb == &less || f.verb == &not_equal;
            if (!type) {
              EXPECT_FALSE(out);
              continue;
            }
            if (!out) {  // order of complex numbers, differences of bool
              EXPECT_TRUE(is_complex(*type) || *type == DType::kBool) << f.name << name(ta) << name(tb);
              continue;
            }
            ASSERT_EQ(out->dtype(), compares ? DType::kBool : *type) << f.name << name(ta) << name(tb);
            if (*type == DType::kBool) continue;  // arithmetic of logic: elementwise_test has it
            if (ta == DType::kBool && f.verb == &subtract) continue;  // 1 - 2 wraps
            const Shape shape = *stretched(sa, sb);
            const auto z = out->values<std::complex<double>>();
            std::vector<double> re(x.size()), im(y.size());
            for (size_t i = 0; i < x.size(); ++i) re[i] = x[i].real();
            for (size_t i = 0; i < y.size(); ++i) im[i] = y[i].real();
            for (size_t i = 0; i < z.size(); ++i) {
              ASSERT_EQ(z[i], std::complex<double>(f.twin(value_at(re, sa, shape, i), value_at(im, sb, shape, i))))
                  << f.name << name(ta) << text(sa) << name(tb) << text(sb);
            }
          }
        }
      }
    }
  }
}

TEST(Small, NumbersOnEitherSide) {
  for (const Shape& s : kShapes) {
    for (const DType t : {DType::kU8, DType::kI64, DType::kF16, DType::kF32, DType::kF64}) {
      const Tensor a = values(s, t, 1, 5);
      const auto x = a.values<double>(), left = (7 - a).values<double>(), right = (a - 1).values<double>();
      ASSERT_EQ(left.size(), x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(left[i], 7 - x[i]);
        ASSERT_EQ(right[i], x[i] - 1);
      }
      EXPECT_EQ((a * 2).shape(), s);
    }
  }
}

TEST(Small, WhereTakesTensorsAndNumbersOfEveryShape) {
  for (const Shape& sc : kShapes) {
    for (const Shape& sx : kShapes) {
      for (const Shape& sy : {Shape{}, Shape{1, 1}, Shape{3}, Shape{64, 64}, Shape{0}, Shape{2, 1, 1, 1, 1, 1, 1, 1}}) {
        const auto both = stretched(sx, sy);
        const auto shape = both ? stretched(*both, sc) : both;
        const Tensor c = equal(values(sc, DType::kF32, 0, 6), 1), x = values(sx, DType::kF32, 2, 7), y = values(sy, DType::kF32, 9, 8);
        if (!shape) {
          EXPECT_FALSE(attempt([&] { return where(c, x, y); }));
          continue;
        }
        if (count(*shape) > 20000) continue;
        const Shape beside = *stretched(sx, sc), other = *stretched(sy, sc);
        const auto cv = c.values<double>(), xv = x.values<double>(), yv = y.values<double>();
        const Tensor out = where(c, x, y);
        ASSERT_EQ(out.shape(), *shape);
        const auto z = out.values<double>(), zx = where(c, x, 5).values<double>(), zy = where(c, 5, y).values<double>();
        for (size_t i = 0; i < z.size(); ++i) {
          ASSERT_EQ(z[i], value_at(cv, sc, *shape, i) != 0 ? value_at(xv, sx, *shape, i) : value_at(yv, sy, *shape, i)) << text(sc) << text(sx) << text(sy);
        }
        ASSERT_EQ(static_cast<int64_t>(zx.size()), count(beside));
        for (size_t i = 0; i < zx.size(); ++i) ASSERT_EQ(zx[i], value_at(cv, sc, beside, i) != 0 ? value_at(xv, sx, beside, i) : 5);
        ASSERT_EQ(static_cast<int64_t>(zy.size()), count(other));
        for (size_t i = 0; i < zy.size(); ++i) ASSERT_EQ(zy[i], value_at(cv, sc, other, i) != 0 ? 5 : value_at(yv, sy, other, i));
      }
    }
    const Tensor c = equal(values(sc, DType::kF32, 0, 6), 1);
    const auto cv = c.values<double>(), z = where(c, 3, 4).values<double>();
    for (size_t i = 0; i < z.size(); ++i) ASSERT_EQ(z[i], cv[i] != 0 ? 3 : 4);
  }
  const Tensor c = Tensor::of<bool>(machine(), {true, false});
  EXPECT_EQ(where(c, Tensor::of<int8_t>(machine(), {1, 2}), Tensor::of<double>(machine(), {0.5})).values<double>(), (std::vector<double>{1, 0.5}));
  EXPECT_EQ(where(Tensor::of<bool>(machine(), {true}).select(0, 0), 1.5, 2).shape(), Shape());
}

TEST(Small, ResultsMayGoIntoViewsOfTheirOperands) {
  const auto fresh = [] { return arange(machine(), 0, 6); };
  Tensor x = fresh();
  assign(x.narrow(0, 1, 3), x.narrow(0, 0, 3) + x.narrow(0, 2, 3));
  EXPECT_EQ(x.values<int>(), (std::vector<int>{0, 2, 4, 6, 4, 5}));
  x = fresh();
  assign(x, x * x);
  EXPECT_EQ(x.values<int>(), (std::vector<int>{0, 1, 4, 9, 16, 25}));
  x = fresh();
  assign(x, where(less(x, 3), x.flip({0}), x));
  EXPECT_EQ(x.values<int>(), (std::vector<int>{5, 4, 3, 3, 4, 5}));
  x = fresh();
  assign(x, x.select(0, 5) - x);  // one value of x beside all of it
  EXPECT_EQ(x.values<int>(), (std::vector<int>{5, 4, 3, 2, 1, 0}));
  x = fresh();
  const Tensor grid = reshape(x, {2, 3});
  assign(grid.select(0, 1), grid.select(0, 0) + grid.select(0, 0).narrow(0, 2, 1));
  EXPECT_EQ(x.values<int>(), (std::vector<int>{0, 1, 2, 2, 3, 4}));
  const Tensor c = Tensor::of<bool>(machine(), {true, false, true});
  assign(c, where(c, logical_not(c), c.select(0, 0)));
  EXPECT_EQ(c.values<bool>(), (std::vector<bool>{false, true, false}));
}

// ---- many axes ----

// A shape of `rank` axes of which `wide` are 2 or 3, the others 1; `few` has these alone, `where` they are.
struct Many {
  Shape shape, few;
  std::vector<size_t> axes;
  Many(size_t rank, size_t wide, std::mt19937& random) : shape(rank, 1) {
    std::vector<size_t> all(rank);
    for (size_t i = 0; i < rank; ++i) all[i] = i;
    std::shuffle(all.begin(), all.end(), random);
    axes.assign(all.begin(), all.begin() + static_cast<long>(std::min(wide, rank)));
    std::sort(axes.begin(), axes.end());
    for (const size_t a : axes) shape[a] = 2 + random() % 2, few.push_back(shape[a]);
  }
};

class ManyAxes : public testing::TestWithParam<size_t> {
 protected:
  std::mt19937 random_{static_cast<uint32_t>(GetParam())};
};
INSTANTIATE_TEST_SUITE_P(SevenToThirtyTwo, ManyAxes, testing::Range<size_t>(7, kMaxRank + 1));

TEST_P(ManyAxes, PermutedAndBroadcastAsASlowTwinSays) {
  const size_t rank = GetParam();
  const Many many(rank, 9, random_);
  const Tensor x = arange(machine(), 0, count(many.shape)), t = reshape(x, many.shape);
  EXPECT_EQ(t.raw(), x.raw());
  // Each operand has half of the wide axes.
  Shape sa = many.shape, sb = many.shape;
  for (size_t i = 0; i < many.axes.size(); ++i) (i % 2 == 0 ? sa : sb)[many.axes[i]] = 1;
  const Tensor a = values(sa, DType::kF32, 2, 1), b = values(sb, DType::kF64, 0, 2);
  const auto av = a.values<double>(), bv = b.values<double>();
  for (const Verb& f : kVerbs) {
    const auto z = f.verb(a, b).values<double>();
    ASSERT_EQ(static_cast<int64_t>(z.size()), count(many.shape));
    for (size_t i = 0; i < z.size(); ++i) ASSERT_EQ(z[i], f.twin(value_at(av, sa, many.shape, i), value_at(bv, sb, many.shape, i))) << f.name;
  }
  Dims order;
  for (size_t i = 0; i < rank; ++i) order.push_back(static_cast<int64_t>(i));
  std::shuffle(order.begin(), order.end(), random_);
  const Tensor p = t.permute(order), copy = clone(p);
  Shape shape(rank, 0);
  for (size_t i = 0; i < rank; ++i) shape[i] = many.shape[static_cast<size_t>(order[i])];
  ASSERT_EQ(p.shape(), shape);
  const auto got = (p + copy).values<double>();
  for (size_t i = 0; i < got.size(); ++i) {
    // Where value i of the permuted one lies in x.
    size_t rest = i;
    Dims index(rank, 0);
    for (size_t k = rank; k-- > 0;) {
      index[static_cast<size_t>(order[k])] = static_cast<int64_t>(rest % static_cast<size_t>(shape[k]));
      rest /= static_cast<size_t>(shape[k]);
    }
    int64_t at = 0;
    for (size_t k = 0; k < rank; ++k) at = at * many.shape[k] + index[k];
    ASSERT_EQ(got[i], 2.0 * static_cast<double>(at));
  }
  EXPECT_EQ(reshape(p, {-1}).values<double>(), copy.values<double>());
}

// Axes of size 1 change no value: what a verb makes of many axes is what it makes of the wide ones alone.
TEST_P(ManyAxes, EveryKindOfVerbDoesWhatItDoesOnFewAxes) {
  const size_t rank = GetParam();
  const Many many(rank, 4, random_);
  const Tensor few = values(many.few, DType::kF64, 1, 9) * linspace(machine(), 1, 2, many.few.back(), DType::kF64), x = reshape(few, many.shape);
  const auto same = [&](const char* what, const Tensor& of_many, const Tensor& of_few) {
    EXPECT_EQ(of_many.count(), of_few.count()) << what;
    EXPECT_EQ(of_many.values<double>(), of_few.values<double>()) << what;
  };
  using Along = Tensor (*)(const Tensor&, int64_t);
  const std::pair<const char*, Along> along[] = {
      {"sum", [](const Tensor& t, int64_t a) { return sum(t, a); }},
      {"mean", [](const Tensor& t, int64_t a) { return mean(t, a, true); }},
      {"max", [](const Tensor& t, int64_t a) { return max(t, a); }},
      {"var", [](const Tensor& t, int64_t a) { return var(t, a); }},
      {"argmax", [](const Tensor& t, int64_t a) { return argmax(t, a); }},
      {"cumulative_sum", [](const Tensor& t, int64_t a) { return cumulative_sum(t, a); }},
      {"sort", [](const Tensor& t, int64_t a) { return sort(t, a); }},
      {"softmax", [](const Tensor& t, int64_t a) { return softmax(t, a); }},
      {"logsumexp", [](const Tensor& t, int64_t a) { return logsumexp(t, a); }},
      {"flip", [](const Tensor& t, int64_t a) { return t.flip({a}) + t; }},
      {"concat", [](const Tensor& t, int64_t a) { return concat({t, t + 1}, a); }},
      {"roll", [](const Tensor& t, int64_t a) { return roll(t, {1}, {a}); }},
      {"repeat", [](const Tensor& t, int64_t a) { return repeat(t, 2, a); }},
      {"take", [](const Tensor& t, int64_t a) { return take(t, Tensor::of<int64_t>(machine(), {1, 0, 1}), a); }},
      {"slice", [](const Tensor& t, int64_t a) { return t.slice(a, 1, {}) * 2; }},
      {"select", [](const Tensor& t, int64_t a) { return t.select(a, 1) * 2; }},
      {"index", [](const Tensor& t, int64_t a) { return index(t, {a}, {Tensor::of<int64_t>(machine(), {1, 0})}); }},
      {"percentile", [](const Tensor& t, int64_t a) { return percentile(t, 30, a); }},
  };
  for (const auto& [name, f] : along) {
    if (rank == kMaxRank && std::string_view(name) == "repeat") continue;  // needs one axis more
    for (size_t i = 0; i < many.axes.size(); ++i) same(name, f(x, static_cast<int64_t>(many.axes[i])), f(few, static_cast<int64_t>(i)));
    for (const DType t : {DType::kF32, DType::kBF16}) {
      same(name, f(to(x, t), static_cast<int64_t>(many.axes[0])), f(to(few, t), 0));
    }
  }
  same("sum of all", sum(x), sum(few));
  const Dims ends{static_cast<int64_t>(many.axes.front()), static_cast<int64_t>(many.axes.back())};
  same("sum of two", sum(x, ends), sum(few, {0, 3}));
  same("where", where(less(x, 3), x, 7), where(less(few, 3), few, 7));
  same("masked_select", masked_select(x, less(x, 3)), masked_select(few, less(few, 3)));
  same("to", to(x.flip(ends), DType::kF32), to(few.flip({0, 3}), DType::kF32));
  same("exp", exp(x), exp(few));
  if (rank <= 16) {  // it joins two axes for each
    same("tile", tile(x, Dims(rank, 1)), few);
  } else {
    EXPECT_FALSE(attempt([&] { return tile(x, Dims(rank, 1)); }));
  }
  EXPECT_EQ(nonzero(x).size(), rank);
  same("nonzero", nonzero(x)[many.axes[1]], nonzero(few)[1]);
  std::vector<std::pair<int64_t, int64_t>> wide(rank, {0, 0}), narrow(4, {0, 0});
  wide[many.axes[2]] = narrow[2] = {1, 2};
  same("pad", pad(x, wide), pad(few, narrow));
  same("layer_norm", layer_norm(x, {}, {}, static_cast<int64_t>(rank)), layer_norm(few, {}, {}, 4));
  Tensor target = clone(x);
  assign(target.flip(ends), x + 1);
  same("assign", target, (few + 1).flip({0, 3}));
  EXPECT_FALSE(print(x).empty());
  // Products: all but the last two axes are a batch.
  Shape left = many.shape;
  left[rank - 1] = 3, left[rank - 2] = 2;
  const Tensor m = values(left, DType::kF64, 0, 11), n = reshape(m, {-1, 2, 3});
  same("matmul", matmul(m, m.transpose(-1, -2)), matmul(n, n.transpose(-1, -2)));
}

TEST_P(ManyAxes, OneAxisTooManyIsRefused) {
  const Tensor x = ones(machine(), Shape(GetParam(), 1));
  const auto more = attempt([&] { return x.unsqueeze(0); });
  const auto stacked = attempt([&] { return stack({x, x}, -1); });
  EXPECT_EQ(more.has_value(), GetParam() < kMaxRank);
  EXPECT_EQ(stacked.has_value(), GetParam() < kMaxRank);
  if (more) {
    EXPECT_EQ(more->rank(), GetParam() + 1);
  } else {
    EXPECT_EQ(more.error().code(), Code::kUsage);
  }
  if (stacked) {
    EXPECT_EQ(stacked->count(), 2);
  }
}

}  // namespace
}  // namespace viva
