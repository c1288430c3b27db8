// Reductions against a slow twin in f64 over random shapes, views and types; the same bits on every SIMD target and any
// number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "viva/kernels/reduce.h"
#include "viva/ops/ops.h"

namespace viva {
namespace {

using kernels::ReduceId;
using Wide = std::complex<double>;
constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

Tensor call(ReduceId id, const Tensor& x, const Axes& axes, std::optional<int64_t> axis, bool keepdims) {
  switch (id) {
#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) \
  case ReduceId::NAME: return NAME(x, axes, keepdims);
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
    case ReduceId::sum: return sum(x, axes, keepdims);
    case ReduceId::prod: return prod(x, axes, keepdims);
    case ReduceId::var: return var(x, axes, 0, keepdims);
    case ReduceId::std: return std(x, axes, 0, keepdims);
    case ReduceId::argmin: return argmin(x, axis, keepdims);
    case ReduceId::argmax: return argmax(x, axis, keepdims);
    case ReduceId::norm_1: return norm(x, 1, axes, keepdims);
    case ReduceId::norm_2: return norm(x, 2, axes, keepdims);
    case ReduceId::norm_max: return norm(x, kInf, axes, keepdims);
    case ReduceId::norm_min: return norm(x, -kInf, axes, keepdims);
    case ReduceId::norm_p: return norm(x, 3, axes, keepdims);
  }
  return {};
}

// What it should be, and how far from it the result may be in parts of the type's precision.
struct Truth {
  Wide value;
  double scale = 0;
};
Truth truth(ReduceId id, const std::vector<Wide>& v) {
  const double n = static_cast<double>(v.size());
  std::complex<long double> sum = 0, product = 1;
  long double squares = 0, sizes = 0, cubes = 0, exps = 0;
  double low = kInf, high = -kInf, largest = 0, smallest = kInf;
  size_t at_low = 0, at_high = 0, nonzero = 0;
  for (size_t i = 0; i < v.size(); ++i) {
    const double x = v[i].real(), size = std::abs(v[i]);
    sum += std::complex<long double>(v[i]);
    product *= std::complex<long double>(v[i]);
    sizes += size;
    squares += static_cast<long double>(size) * size;
    cubes += static_cast<long double>(size) * size * size;
    if (!std::isnan(low) && (std::isnan(x) || x < low)) low = x, at_low = i;
    if (!std::isnan(high) && (std::isnan(x) || x > high)) high = x, at_high = i;
    if (!(size <= largest)) largest = size;
    if (!(size >= smallest)) smallest = size;
    nonzero += v[i] != 0.0;
  }
  const long double mean = sum.real() / n;
  long double apart = 0;
  for (const Wide& x : v) {
    apart += (x.real() - mean) * (x.real() - mean);
    if (std::isfinite(high)) exps += std::exp(static_cast<long double>(x.real()) - high);
  }
  const auto real = [](long double x, long double scale) { return Truth{static_cast<double>(x), static_cast<double>(scale)}; };
  switch (id) {
    case ReduceId::sum: return {Wide(sum), static_cast<double>(sizes)};
    case ReduceId::prod: return {Wide(product), 8 * (n + 1) * static_cast<double>(std::abs(product))};
    case ReduceId::mean: return {Wide(sum) / n, static_cast<double>(sizes) / n};
    case ReduceId::var: return real(apart / n, apart / n + squares / n * 1e-4);
    case ReduceId::std: return real(std::sqrt(apart / n), std::sqrt(apart / n) + std::sqrt(squares / n) * 1e-2);
    case ReduceId::min: return {low};
    case ReduceId::max: return {high};
    case ReduceId::argmin: return {static_cast<double>(at_low)};
    case ReduceId::argmax: return {static_cast<double>(at_high)};
    case ReduceId::any: return {nonzero != 0 ? 1.0 : 0.0};
    case ReduceId::all: return {nonzero == v.size() ? 1.0 : 0.0};
    case ReduceId::count_nonzero: return {static_cast<double>(nonzero)};
    case ReduceId::logsumexp: return std::isfinite(high) ? real(high + std::log(exps), std::fabs(high) + 1) : Truth{high};
    case ReduceId::norm_1: return real(sizes, sizes);
    case ReduceId::norm_2: return real(std::sqrt(squares), std::sqrt(squares));
    case ReduceId::norm_max: return {largest};
    case ReduceId::norm_min: return {smallest};
    case ReduceId::norm_p: return real(std::cbrt(cubes), std::cbrt(cubes));
  }
  return {};
}

double precision(DType t) {
  switch (t) {
    case DType::kF16: return 0x1p-11;
    case DType::kBF16: return 0x1p-8;
    case DType::kF32:
    case DType::kC64: return 0x1p-24;
    default: return 0x1p-53;
  }
}

Tensor random_tensor(const Machine& machine, const Shape& shape, DType type, uint64_t seed) {
  const Tensor t(machine, shape, type);
  std::mt19937_64 random(seed);
  with_element(type, [&](auto zero) {
    using T = decltype(zero);
    T* p = reinterpret_cast<T*>(t.raw());
    for (int64_t i = 0; i < t.count(); ++i) {
      const int64_t whole = static_cast<int64_t>(random() % 7) - (is_unsigned_int(type) ? 0 : 3);
      const double fraction = static_cast<double>(random() % 2001) / 1000 - 1;
      if constexpr (std::is_same_v<T, bool>) {
        p[i] = random() % 3 == 0;
      } else if constexpr (std::is_integral_v<T>) {
        p[i] = static_cast<T>(whole);
      } else {
        p[i] = element_cast<Wide, T>(Wide(fraction, is_complex(type) ? static_cast<double>(random() % 100) / 100 : 0));
      }
    }
  });
  return t;
}

// A view of other strides: permuted, in steps, reversed, stretched.
Tensor random_view(Tensor t, std::mt19937_64& random) {
  for (int round = 0; round < 3; ++round) {
    if (t.rank() == 0) return t;
    const int64_t a = static_cast<int64_t>(random() % t.rank()), b = static_cast<int64_t>(random() % t.rank());
    switch (random() % 6) {
      case 0: t = t.transpose(a, b); break;
      case 1: t = t.slice(a, {}, {}, 2); break;
      case 2: t = t.flip({a}); break;
      case 3: t = t.slice(a, 1, {}); break;
      case 4:
        if (t.rank() < 5) {
          Shape s = t.shape();
          s.insert(0, 3);
          t = t.expand(s).transpose(0, a);
        }
        break;
      default: break;
    }
  }
  return t;
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

std::vector<uint8_t> bits_of(const Tensor& t) {
  const Tensor flat = contiguous(t);
  return {flat.raw(), flat.raw() + flat.bytes()};
}
// The same tensor on another machine.
Tensor on(const Machine& machine, const Tensor& t) {
  return {BufferPtr::wrap(machine, t.buffer()->data(), t.buffer()->bytes(), [] {}), t.raw(), t.dtype(), t.shape(), t.strides()};
}

void check(ReduceId id, const Tensor& x, const Dims& axes, bool keepdims, const std::vector<Machine>& all) {
  const kernels::ReductionInfo& f = kernels::info(id);
  SCOPED_TRACE(std::string(f.name) + " of " + std::string(name(x.dtype())) + " " + text(x.shape()) + " strides " + text(x.strides()) + " axes " + text(axes));
  const bool one = id == ReduceId::argmin || id == ReduceId::argmax;
  const std::optional<int64_t> axis = axes.empty() ? std::nullopt : std::optional(axes[0]);
  if (one && axes.size() > 1) return;
  const Axes named = axes.empty() ? Axes() : Axes(axes);
  const uint32_t gone = named.bits(x.rank(), "test");
  Shape kept, shape;
  Strides kept_strides, gone_strides;
  Shape gone_shape;
  for (size_t a = 0; a < x.rank(); ++a) {
    const bool r = (gone >> a & 1) != 0;
    (r ? gone_shape : kept).push_back(x.shape()[a]);
    (r ? gone_strides : kept_strides).push_back(x.strides()[a]);
    if (!r || keepdims) shape.push_back(r ? 1 : x.shape()[a]);
  }
  const bool empty = count(gone_shape) == 0 && count(kept) != 0;
  if (empty && (one || f.result == kernels::ReduceResult::Value)) {
    EXPECT_THROW(call(id, x, named, axis, keepdims), Error);
    return;
  }
  const Tensor result = call(id, x, named, axis, keepdims);
  ASSERT_EQ(result.shape(), shape);
  for (const Machine& m : all) {
    const Tensor again = call(id, on(m, x), named, axis, keepdims);
    ASSERT_EQ(bits_of(again), bits_of(result)) << name(m.target()) << ", " << m.threads() << " threads";
  }
  const std::vector<Wide> got = result.values<Wide>();
  size_t i = 0;
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* p = reinterpret_cast<const T*>(x.raw());
    for_each_offset(kept, kept_strides, [&](int64_t at) {
      std::vector<Wide> v;
      for_each_offset(gone_shape, gone_strides, [&](int64_t o) { v.push_back(element_cast<T, Wide>(p[at + o])); });
      const Truth want = truth(id, v);
      const Wide g = got.at(i++);
      if (std::isnan(want.value.real()) || std::isinf(want.value.real())) {
        const bool same = std::isnan(want.value.real()) ? std::isnan(g.real()) : g.real() == want.value.real();
        EXPECT_TRUE(same) << g << " is not " << want.value;
        return;
      }
      const double eps = precision(result.dtype());
      const double depth = 8 + std::log2(1.0 + static_cast<double>(v.size()));
      const double allowed = (is_int(result.dtype()) ? 0 : std::abs(want.value) * eps * 1.01 + want.scale * std::min(eps, 0x1p-24) * depth + (result.dtype() == DType::kF16 ? 0x1p-24 : 1e-40));
      if (want.value != g && std::abs(want.value - g) > allowed && !(is_int(result.dtype()) && std::abs(want.value) > 0x1p53)) {
        ADD_FAILURE() << g << " is not " << want.value << " within " << allowed;
      }
    });
  });
}

TEST(Reduce, RandomShapesTypesAndViews) {
  const std::vector<Machine> all = machines();
  const Machine machine;
  std::mt19937_64 random(1);
  const int64_t sizes[] = {0, 1, 2, 3, 5, 7, 8, 16, 17, 31, 64, 67};
  for (int round = 0; round < 150; ++round) {
    for (const DType type : {DType::kBool, DType::kU8, DType::kI8, DType::kI16, DType::kU16, DType::kI32, DType::kU32, DType::kI64, DType::kU64,
                             DType::kF16, DType::kBF16, DType::kF32, DType::kF64, DType::kC64, DType::kC128}) {
      Shape shape;
      const size_t rank = random() % 5;
      for (size_t i = 0; i < rank; ++i) shape.push_back(sizes[random() % std::size(sizes) * (rank > 3 && i > 1 ? 1 : 2) / 2]);
      if (count(shape) > 20000) continue;
      const Tensor x = random_view(random_tensor(machine, shape, type, random()), random);
      if (x.count() > 20000) continue;
      Dims axes;
      for (size_t a = 0; a < x.rank(); ++a) {
        if (random() % 2 == 0) axes.push_back(static_cast<int64_t>(a) - (random() % 2 == 0 ? static_cast<int64_t>(x.rank()) : 0));
      }
      const ReduceId id = static_cast<ReduceId>(random() % kernels::kReductionCount);
      const bool norm = kernels::info(id).name.substr(0, 4) == "norm";
      if (!kernels::allows(kernels::info(id).types, type) && !norm) {
        EXPECT_THROW(call(id, x, axes, 0, false), Error);
        continue;
      }
      if (norm && !is_real_float(type)) continue;
      check(id, x, axes, random() % 2 == 0, all);
      if (testing::Test::HasFailure()) return;
    }
  }
}

// Rows and columns of several blocks and chunks.
TEST(Reduce, LongAxes) {
  const std::vector<Machine> all = machines();
  const Machine machine;
  for (size_t r = 0; r < kernels::kReductionCount; ++r) {
    const ReduceId id = static_cast<ReduceId>(r);
    for (const DType type : {DType::kF32, DType::kBF16, DType::kF64, DType::kI16, DType::kBool, DType::kC64}) {
      const bool norm = kernels::info(id).name.substr(0, 4) == "norm";
      if (!kernels::allows(kernels::info(id).types, type) || (norm && !is_real_float(type)) || id == ReduceId::prod) continue;
      check(id, random_tensor(machine, {300001}, type, r), {}, false, all);
      check(id, random_tensor(machine, {3, 5003}, type, r), {1}, false, all);
      check(id, random_tensor(machine, {9001, 11}, type, r), {0}, true, all);
      check(id, random_tensor(machine, {9001, 3}, type, r), {0}, false, all);
      check(id, random_tensor(machine, {70, 2500}, type, r), {0}, false, all);
      check(id, random_tensor(machine, {4000, 2}, type, r).transpose(0, 1), {1}, false, all);
      if (id != ReduceId::argmin && id != ReduceId::argmax) {
        check(id, random_tensor(machine, {70, 7, 50}, type, r), {0, 2}, false, all);
        check(id, random_tensor(machine, {70, 7, 50}, type, r).slice(2, 3, 40), {0, 2}, false, all);
        check(id, random_tensor(machine, {70, 10, 50}, type, r).permute({2, 0, 1}), {0, 1}, false, all);
      }
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(Reduce, ResultTypes) {
  const Machine m;
  const auto of = [&](DType t) { return ones(m, {3}, t); };
  EXPECT_EQ(sum(of(DType::kI8)).dtype(), DType::kI64);
  EXPECT_EQ(sum(of(DType::kU16)).dtype(), DType::kU64);
  EXPECT_EQ(prod(of(DType::kBool)).dtype(), DType::kI64);
  EXPECT_EQ(sum(of(DType::kBF16)).dtype(), DType::kBF16);
  EXPECT_EQ(sum(of(DType::kC64)).dtype(), DType::kC64);
  EXPECT_EQ(sum(of(DType::kF32), {}, false, DType::kF64).dtype(), DType::kF64);
  EXPECT_EQ(sum(of(DType::kI8), {}, false, DType::kI8).item<int>(), 3);
  EXPECT_EQ(mean(of(DType::kI32)).dtype(), DType::kF32);
  EXPECT_EQ(std(of(DType::kF16)).dtype(), DType::kF16);
  EXPECT_EQ(max(of(DType::kU8)).dtype(), DType::kU8);
  EXPECT_EQ(argmax(of(DType::kF32)).dtype(), DType::kI64);
  EXPECT_EQ(count_nonzero(of(DType::kF32)).dtype(), DType::kI64);
  EXPECT_EQ(all(of(DType::kF32)).dtype(), DType::kBool);
  EXPECT_EQ(norm(of(DType::kC128)).dtype(), DType::kF64);
  EXPECT_EQ(mean(of(DType::kC64)).dtype(), DType::kC64);
}

TEST(Reduce, SpecialValues) {
  const Machine m;
  const Tensor x = Tensor::of<float>(m, {1, static_cast<float>(kNan), -5, static_cast<float>(kNan)});
  EXPECT_TRUE(std::isnan(min(x).item<double>()));
  EXPECT_TRUE(std::isnan(max(x).item<double>()));
  EXPECT_EQ(argmin(x).item<int>(), 1);
  EXPECT_EQ(argmax(x).item<int>(), 1);
  EXPECT_EQ(count_nonzero(x).item<int>(), 4);
  EXPECT_TRUE(std::isnan(norm(x, kInf).item<double>()));
  EXPECT_EQ(argmax(Tensor::of<int32_t>(m, {3, 7, 7, 1})).item<int>(), 1);
  EXPECT_EQ(argmin(Tensor::of<float>(m, {0.0f, -0.0f})).item<int>(), 0);
  EXPECT_EQ(max(Tensor::of<double>(m, {-kInf, -kInf})).item<double>(), -kInf);
  EXPECT_EQ(argmax(Tensor::of<double>(m, {-kInf, -kInf})).item<int>(), 0);
  EXPECT_EQ(logsumexp(Tensor::of<double>(m, {-kInf, -kInf})).item<double>(), -kInf);
  EXPECT_EQ(logsumexp(Tensor::of<double>(m, {kInf, 3})).item<double>(), kInf);
  EXPECT_NEAR(logsumexp(Tensor::of<float>(m, {1000, 1000})).item<double>(), 1000.6931, 1e-3);
  EXPECT_EQ(min(Tensor::of<int64_t>(m, {INT64_MAX, INT64_MIN})).item<int64_t>(), INT64_MIN);
  EXPECT_EQ(sum(Tensor::of<int64_t>(m, {INT64_MAX, 1})).item<int64_t>(), INT64_MIN);
  EXPECT_EQ(norm(Tensor::of<float>(m, {3e30f, 4e30f})).item<float>(), 5e30f);
  // Of all values the place is counted in order, however they lie.
  EXPECT_EQ(argmax(Tensor::of<float>(m, {{1, 2, 3}, {9, 5, 6}}).transpose(0, 1)).item<int>(), 1);
}

TEST(Reduce, NothingToReduce) {
  const Machine m;
  const Tensor none = zeros(m, {2, 0});
  EXPECT_EQ(sum(none, 1).values<double>(), (std::vector<double>{0, 0}));
  EXPECT_EQ(prod(none, 1).values<double>(), (std::vector<double>{1, 1}));
  EXPECT_TRUE(std::isnan(mean(none).item<double>()));
  EXPECT_TRUE(std::isnan(var(none).item<double>()));
  EXPECT_FALSE(any(none).item<bool>());
  EXPECT_TRUE(all(none).item<bool>());
  EXPECT_EQ(logsumexp(none).item<double>(), -kInf);
  EXPECT_EQ(sum(none, 0).shape(), (Shape{0}));
  EXPECT_EQ(max(none, 0).shape(), (Shape{0}));  // no results either
  EXPECT_THROW(max(none, 1), Error);
  EXPECT_THROW(argmin(none), Error);
  const Tensor one = full(m, {}, 3.0f);
  EXPECT_EQ(sum(one).item<double>(), 3);
  EXPECT_EQ(std(one).item<double>(), 0);
  EXPECT_TRUE(std::isnan(var(one, {}, 1).item<double>()));
  EXPECT_EQ(argmax(one).item<int>(), 0);
  // No axes at all: every value by itself.
  EXPECT_EQ(sum(Tensor::of<int32_t>(m, {1, 2}), Axes(Dims())).values<int>(), (std::vector<int>{1, 2}));
}

TEST(Reduce, Correction) {
  const Machine m;
  const Tensor x = Tensor::of<double>(m, {1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(var(x, {}, 1).item<double>(), 5.0 / 3);
  EXPECT_DOUBLE_EQ(var(x, {}, 0).item<double>(), 1.25);
  EXPECT_DOUBLE_EQ(var(x, {}, 0.5).item<double>(), 5 / 3.5);
  // Far from 0 the digits of the distances stay.
  const Tensor far = add(x, 1e9);
  EXPECT_DOUBLE_EQ(var(far).item<double>(), 1.25);
}

TEST(Reduce, Errors) {
  const Machine m;
  const Tensor x = zeros(m, {2, 3});
  EXPECT_THROW(sum(x, 2), Error);
  EXPECT_THROW(sum(x, {0, -2}), Error);
  EXPECT_THROW(sum(Tensor()), Error);
  EXPECT_THROW(argmax(x, 5), Error);
  EXPECT_THROW(norm(x, kNan), Error);
  EXPECT_THROW(sum(x, {}, false, DType::kBool), Error);
  EXPECT_THROW(sum(zeros(m, {2}, DType::kC64), {}, false, DType::kF32), Error);
  EXPECT_THROW(max(zeros(m, {2}, DType::kC64)), Error);
  EXPECT_THROW(var(zeros(m, {2}, DType::kC64)), Error);
  try {
    sum(x, {1, 1});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.operation(), "sum");
    EXPECT_EQ(e.code(), Code::kUsage);
  }
}

}  // namespace
}  // namespace viva
