#include <gtest/gtest.h>
#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <map>
#include <random>

#include "viva/base/attempt.h"
#include "viva/kernels/loops.h"
#include "viva/ops/ops.h"

namespace viva {
namespace {

using kernels::LoopId;
using C = std::complex<double>;
constexpr double kInf = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

// The slow twin of every row of loops.inc, in f64: of reals, and of complex numbers where it is defined on them.
struct Twin {
  std::function<double(double, double)> real;
  std::function<C(C, C)> complex;
};
double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }
double python_mod(double a, double b) {
  const double m = std::fmod(a, b);
  return m != 0 && (m < 0) != (b < 0) ? m + b : std::copysign(m, m == 0 ? b : m);
}
#define R []([[maybe_unused]] double a, [[maybe_unused]] double b) -> double
#define Z []([[maybe_unused]] C a, [[maybe_unused]] C b) -> C
const std::map<std::string_view, Twin> kTwins = {
    {"abs", {R { return std::fabs(a); }, Z { return std::abs(a); }}},
    {"negative", {R { return -a; }, Z { return -a; }}},
    {"positive", {R { return a; }, Z { return a; }}},
    {"square", {R { return a * a; }, Z { return a * a; }}},
    {"sign", {R { return std::isnan(a) ? a : (a > 0) - (a < 0); }, Z { return a == 0.0 ? a : a / std::abs(a); }}},
    {"floor", {R { return std::floor(a); }, {}}},
    {"ceil", {R { return std::ceil(a); }, {}}},
    {"trunc", {R { return std::trunc(a); }, {}}},
    {"round", {R { return std::nearbyint(a); }, Z { return {std::nearbyint(a.real()), std::nearbyint(a.imag())}; }}},
    {"reciprocal", {R { return 1 / a; }, Z { return 1.0 / a; }}},
    {"sqrt", {R { return std::sqrt(a); }, Z { return std::sqrt(a); }}},
    {"rsqrt", {R { return 1 / std::sqrt(a); }, {}}},
    {"exp", {R { return std::exp(a); }, Z { return std::exp(a); }}},
    {"expm1", {R { return std::expm1(a); }, Z { return std::exp(a) - 1.0; }}},
    {"log", {R { return std::log(a); }, Z { return std::log(a); }}},
    {"log1p", {R { return std::log1p(a); }, Z { return std::log(1.0 + a); }}},
    {"log2", {R { return std::log2(a); }, Z { return std::log(a) / std::log(2.0); }}},
    {"log10", {R { return std::log10(a); }, Z { return std::log10(a); }}},
    {"sin", {R { return std::sin(a); }, Z { return std::sin(a); }}},
    {"cos", {R { return std::cos(a); }, Z { return std::cos(a); }}},
    {"tan", {R { return std::tan(a); }, Z { return std::tan(a); }}},
    {"asin", {R { return std::asin(a); }, Z { return std::asin(a); }}},
    {"acos", {R { return std::acos(a); }, Z { return std::acos(a); }}},
    {"atan", {R { return std::atan(a); }, Z { return std::atan(a); }}},
    {"sinh", {R { return std::sinh(a); }, Z { return std::sinh(a); }}},
    {"cosh", {R { return std::cosh(a); }, Z { return std::cosh(a); }}},
    {"tanh", {R { return std::tanh(a); }, Z { return std::tanh(a); }}},
    {"asinh", {R { return std::asinh(a); }, Z { return std::asinh(a); }}},
    {"acosh", {R { return std::acosh(a); }, Z { return std::acosh(a); }}},
    {"atanh", {R { return std::atanh(a); }, Z { return std::atanh(a); }}},
    {"erf", {R { return std::erf(a); }, {}}},
    {"sigmoid", {R { return sigmoid_of(a); }, {}}},
    {"relu", {R { return a > 0 || std::isnan(a) ? a : 0; }, {}}},
    {"gelu", {R { return a * 0.5 * std::erfc(-a / std::sqrt(2.0)); }, {}}},
    {"gelu_tanh", {R { return 0.5 * a * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))); }, {}}},
    {"silu", {R { return a * sigmoid_of(a); }, {}}},
    {"softplus", {R { return a > 30 ? a + std::exp(-a) : std::log1p(std::exp(a)); }, {}}},
    {"isnan", {R { return std::isnan(a); }, Z { return std::isnan(a.real()) || std::isnan(a.imag()); }}},
    {"isinf", {R { return std::isinf(a); }, Z { return std::isinf(a.real()) || std::isinf(a.imag()); }}},
    {"isfinite", {R { return std::isfinite(a); }, Z { return std::isfinite(a.real()) && std::isfinite(a.imag()); }}},
    {"signbit", {R { return std::signbit(a); }, {}}},
    {"logical_not", {R { return a == 0; }, {}}},
    {"bitwise_invert", {R { return -1 - a; }, {}}},
    {"real", {R { return a; }, Z { return a.real(); }}},
    {"imag", {R { return 0; }, Z { return a.imag(); }}},
    {"conj", {R { return a; }, Z { return std::conj(a); }}},
    {"add", {R { return a + b; }, Z { return a + b; }}},
    {"subtract", {R { return a - b; }, Z { return a - b; }}},
    {"multiply", {R { return a * b; }, Z { return a * b; }}},
    {"divide", {R { return a / b; }, Z { return a / b; }}},
    {"floor_divide", {R { return std::floor(a / b); }, {}}},
    {"remainder", {R { return python_mod(a, b); }, {}}},
    {"pow", {R { return std::pow(a, b); }, Z { return std::pow(a, b); }}},
    {"maximum", {R { return std::isnan(a) || std::isnan(b) ? kNan : std::max(a, b); }, {}}},
    {"minimum", {R { return std::isnan(a) || std::isnan(b) ? kNan : std::min(a, b); }, {}}},
    {"atan2", {R { return std::atan2(a, b); }, {}}},
    {"hypot", {R { return std::hypot(a, b); }, {}}},
    {"copysign", {R { return std::copysign(a, b); }, {}}},
    {"nextafter", {{}, {}}},  // depends on the type: a test of its own
    {"logaddexp", {R { return std::max(a, b) == -kInf ? -kInf : std::max(a, b) + std::log1p(std::exp(-std::fabs(a - b))); }, {}}},
    {"leaky_relu", {R { return a > 0 ? a : a * b; }, {}}},
    {"elu", {R { return a > 0 ? a : b * std::expm1(a); }, {}}},
    {"equal", {R { return a == b; }, Z { return a == b; }}},
    {"not_equal", {R { return a != b; }, Z { return a != b; }}},
    {"less", {R { return a < b; }, {}}},
    {"less_equal", {R { return a <= b; }, {}}},
    {"greater", {R { return a > b; }, {}}},
    {"greater_equal", {R { return a >= b; }, {}}},
    {"logical_and", {R { return a != 0 && b != 0; }, {}}},
    {"logical_or", {R { return a != 0 || b != 0; }, {}}},
    {"logical_xor", {R { return (a != 0) != (b != 0); }, {}}},
    {"bitwise_and", {R { return static_cast<double>(static_cast<int64_t>(a) & static_cast<int64_t>(b)); }, {}}},
    {"bitwise_or", {R { return static_cast<double>(static_cast<int64_t>(a) | static_cast<int64_t>(b)); }, {}}},
    {"bitwise_xor", {R { return static_cast<double>(static_cast<int64_t>(a) ^ static_cast<int64_t>(b)); }, {}}},
    {"bitwise_left_shift", {R { return b < 0 || b > 63 ? 0 : static_cast<double>(static_cast<int64_t>(a) << static_cast<int>(b)); }, {}}},
    {"bitwise_right_shift", {R { return std::floor(std::ldexp(a, -static_cast<int>(b < 0 ? 64 : b))); }, {}}},
};
#undef R
#undef Z

using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Arg&, const Arg&);
struct Verb {
  Unary one = nullptr;
  Binary two = nullptr;
  Tensor operator()(const Tensor& a, const Tensor& b) const { return one != nullptr ? one(a) : two(a, b); }
};
#define VERB_1(NAME) Verb{&NAME, nullptr},
#define VERB_2(NAME) Verb{nullptr, &NAME},
const Verb kVerbs[] = {
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) VERB_##OPERANDS(NAME)
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
};

constexpr DType kAll[] = {DType::kBool, DType::kU8, DType::kI8, DType::kI16, DType::kU16, DType::kI32, DType::kU32, DType::kI64,
                          DType::kU64, DType::kF16, DType::kBF16, DType::kF32, DType::kF64, DType::kC64, DType::kC128};

// Units of the last place of f64, as a share of the value, that a type's results may be off.
double tolerance(DType t) {
  switch (t) {
    case DType::kF16: return 0x1p-10;
    case DType::kBF16: return 0x1p-7;
    case DType::kF32:
    case DType::kC64: return 0x1p-20;
    default: return 0x1p-46;
  }
}

class Numbers {
 public:
  explicit Numbers(uint32_t seed) : random_(seed) {}

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

  // Values that every type says exactly; whole, and few of them negative where the type has no sign.
  Tensor values(const Machine& m, const Shape& shape, DType t) {
    Tensor x(m, shape, t);
    const bool fraction = is_real_float(t) || is_complex(t);
    with_element(t, [&](auto zero) {
      using T = decltype(zero);
      T* p = x.data<T>();
      for (int64_t i = 0, n = x.count(); i < n; ++i) {
        const auto one = [&] {
          if (is_bool(t)) return static_cast<double>(below(2));
          if (is_unsigned_int(t)) return static_cast<double>(below(12));
          return fraction ? static_cast<double>(below(129) - 64) / 8 : static_cast<double>(below(19) - 9);
        };
        if constexpr (std::is_same_v<T, std::complex<float>> || std::is_same_v<T, std::complex<double>>) {
          p[i] = T(static_cast<typename T::value_type>(one()), static_cast<typename T::value_type>(one()));
        } else {
          p[i] = element_cast<double, T>(one());
        }
      }
    });
    return x;
  }

  // A shape, and another that stretches to it or with it.
  std::pair<Shape, Shape> shapes() {
    static constexpr int64_t kSizes[] = {0, 1, 1, 2, 3, 5, 7, 13, 31, 64, 67};
    Shape a, b;
    const int64_t rank = below(5);
    int64_t room = 20000;
    for (int64_t i = 0; i < rank; ++i) {
      const int64_t n = std::min(kSizes[below(std::size(kSizes))], room);
      room /= std::max<int64_t>(1, n);
      a.push_back(below(6) == 0 ? 1 : n);
      b.push_back(below(5) == 0 ? 1 : n);
    }
    while (!b.empty() && below(4) == 0) b.erase(0);
    if (below(2) == 0) std::swap(a, b);
    return {a, b};
  }

  // The same values in another order of memory, or with gaps.
  Tensor scrambled(const Tensor& x) {
    if (x.rank() == 0) return x;
    switch (below(4)) {
      case 0: return x;
      case 1: {  // axes stored in another order
        Dims order, back(x.rank(), 0);
        for (size_t i = 0; i < x.rank(); ++i) order.push_back(static_cast<int64_t>(i));
        for (size_t i = x.rank(); i-- > 1;) std::swap(order[i], order[static_cast<size_t>(below(static_cast<int64_t>(i) + 1))]);
        for (size_t i = 0; i < x.rank(); ++i) back[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
        return clone(x.permute(order)).permute(back);
      }
      case 2: {  // backwards
        const int64_t a = below(static_cast<int64_t>(x.rank()));
        return clone(x.flip({a})).flip({a});
      }
      default: {  // every third of a larger one
        const size_t a = static_cast<size_t>(below(static_cast<int64_t>(x.rank())));
        Shape s = x.shape();
        s[a] *= 3;
        const Tensor wide = zeros(x.machine(), s, x.dtype());
        const Tensor place = wide.slice(static_cast<int64_t>(a), 0, {}, 3);
        assign(place, x);
        return place;
      }
    }
  }

 private:
  std::mt19937 random_;
};

std::string bytes_of(const Tensor& x) {
  const Tensor t = contiguous(x);
  return {reinterpret_cast<const char*>(t.raw()), t.bytes()};
}

class EveryFunction : public testing::TestWithParam<size_t> {
 protected:
  const kernels::LoopInfo& f_ = kernels::kLoops[GetParam()];
  const Verb& verb_ = kVerbs[GetParam()];
};
INSTANTIATE_TEST_SUITE_P(Elementwise, EveryFunction, testing::Range<size_t>(0, kernels::kLoopCount),
                         [](const auto& i) { return std::string(kernels::kLoops[i.param].name); });

TEST_P(EveryFunction, IsWhatItsTwinSaysOnEveryTypeAndShape) {
  const Machine machine({.threads = 2});
  ASSERT_TRUE(kTwins.count(f_.name)) << "give " << f_.name << " a row in kTwins";
  const Twin& twin = kTwins.at(f_.name);
  Numbers numbers(static_cast<uint32_t>(GetParam()));
  for (const DType t : kAll) {
    if (!kernels::allows(f_.types, t)) {
      const auto r = attempt([&] { return verb_(ones(machine, {2}, t), ones(machine, {2}, t)); });
      const bool promoted = (is_int(t) || is_bool(t)) && (f_.types == kernels::LoopTypes::Float || f_.types == kernels::LoopTypes::RealFloat);
      ASSERT_EQ(static_cast<bool>(r), promoted) << name(t);
      if (r) {
        EXPECT_EQ(r->dtype(), kernels::result_type(f_.result, DType::kF32));
      }
      continue;
    }
    for (int round = 0; round < 12; ++round) {
      auto [shape_a, shape_b] = numbers.shapes();
      if (f_.operands == 1) shape_b = shape_a;
      const Tensor a = numbers.scrambled(numbers.values(machine, shape_a, t)), b = numbers.scrambled(numbers.values(machine, shape_b, t));
      const Tensor out = verb_(a, b);
      const Shape shape = broadcast(shape_a, shape_b, "test");
      ASSERT_EQ(out.shape(), shape);
      ASSERT_EQ(out.dtype(), kernels::result_type(f_.result, t));
      if (!twin.real) continue;
      const auto x = a.expand(shape).values<C>(), y = b.expand(shape).values<C>(), z = out.values<C>();
      for (size_t i = 0; i < z.size(); ++i) {
        const auto where = [&] { return fmt::format("{} {} of {}+{}i, {}+{}i at {}", f_.name, name(t), x[i].real(), x[i].imag(), y[i].real(), y[i].imag(), i); };
        if (is_complex(t)) {
          const C want = twin.complex(x[i], y[i]);
          if (!std::isfinite(want.real()) || !std::isfinite(want.imag())) continue;  // signs of complex infinities are the C library's
          const double scale = f_.name == "tan" || f_.name == "tanh" ? 16 : 1;  // and near their poles so are its digits
          ASSERT_LE(std::abs(z[i] - want), 4 * scale * tolerance(t) * std::max({1.0, std::abs(want), f_.name == "pow" ? std::abs(want) * 16 : 0})) << where();
          continue;
        }
        double want = twin.real(x[i].real(), y[i].real());
        if ((is_int(t) || is_bool(t)) && !is_bool(out.dtype())) {
          if (y[i].real() == 0 && (f_.name == "floor_divide" || f_.name == "remainder")) want = 0;
          if (f_.name == "pow") want = y[i].real() < 0 && std::fabs(x[i].real()) != 1 ? 0 : want;
          if (f_.name == "pow" && std::fabs(want) >= 0x1p53) continue;  // wraps, in more digits than the twin has
          if (info(t).bits < 64) {
            const double period = std::ldexp(1.0, static_cast<int>(info(t).bits));
            want -= period * std::floor(want / period);
            if (is_signed_int(t) && want >= period / 2) want -= period;
          } else if (is_unsigned_int(t) && want < 0) {
            want = static_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(want)));
          }
          ASSERT_EQ(z[i].real(), want) << where();
          continue;
        }
        if (is_bool(t) && f_.name == "bitwise_invert") want = x[i].real() == 0;
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(z[i].real())) << where();
        } else if (std::isinf(want) || std::fabs(want) > (t == DType::kF16 ? 65504 : 3e38)) {
          ASSERT_EQ(std::isinf(z[i].real()), true) << where();
        } else {
          // These are differences of values of about 1, or powers of a rounded square.
          const bool cancels = f_.name == "logaddexp" || f_.name == "gelu" || f_.name == "gelu_tanh";
          const double least = cancels ? 1 : t == DType::kF16 ? 0x1p-14 : 0x1p-126;
          ASSERT_LE(std::fabs(z[i].real() - want), tolerance(t) * std::max(std::fabs(want), least)) << where();
        }
      }
    }
  }
}

// The page of verbs and the list say the same of it.
TEST_P(EveryFunction, IsOnThePageOfVerbs) {
  std::ifstream page(VIVA_SOURCE "/viva/ops/ops.h");
  const std::string begin = fmt::format("Tensor {}(const ", f_.name), end = fmt::format("// {}", f_.doc);
  bool found = false;
  for (std::string line; std::getline(page, line);) found |= line.starts_with(begin) && line.ends_with(end);
  EXPECT_TRUE(found) << begin << "...  " << end;
}

TEST_P(EveryFunction, GivesTheSameBitsOnEveryTargetThreadCountAndLayout) {
  Numbers numbers(static_cast<uint32_t>(GetParam()) + 1000);
  std::vector<Machine> machines;
  for (const Target target : {Target::kScalar, Target::kSse4, Target::kAvx2, Target::kAvx3}) {
    if (runs(target)) machines.emplace_back(Machine::Options{.threads = 1, .target = target});
  }
  machines.emplace_back(Machine::Options{.threads = 4});
  for (const DType t : kAll) {
    if (!kernels::allows(f_.types, t)) continue;
    const Tensor a = numbers.values(machines[0], {271, 523}, t), b = numbers.values(machines[0], {271, 523}, t);
    const std::string want = bytes_of(verb_(a, b));
    for (const Machine& m : machines) {
      const auto on = [&](const Tensor& x) { return Tensor(BufferPtr::wrap(m, x.raw(), x.bytes(), [keep = x] {}), x.raw(), t, x.shape(), x.strides()); };
      ASSERT_EQ(bytes_of(verb_(on(a), on(b))), want) << f_.name << " " << name(t) << " " << name(m.target()) << " " << m.threads();
    }
    const Tensor mixed = clone(b.transpose(0, 1)).transpose(0, 1);
    ASSERT_EQ(bytes_of(verb_(a, mixed)), want) << f_.name << " " << name(t);
    ASSERT_EQ(bytes_of(verb_(clone(a.transpose(0, 1)).transpose(0, 1), mixed)), want) << f_.name << " " << name(t);
    ASSERT_EQ(bytes_of(verb_(a.narrow(0, 3, 1), b.narrow(0, 3, 1))), want.substr(3 * want.size() / 271, want.size() / 271));
  }
}

const Machine& machine() {
  static const Machine m({.threads = 2});
  return m;
}
std::string message(const std::function<void()>& f) {
  const auto r = attempt([&] {
    f();
    return 0;
  });
  return r ? "" : r.error().what();
}

TEST(Elementwise, SpecialValuesAreThoseOfTheStandard) {
  const auto of = [](std::initializer_list<double> v) { return Tensor::of<double>(machine(), v); };
  const auto same = [](const Tensor& x, std::vector<double> want) {
    const auto got = x.values<double>();
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == want[i] && std::signbit(got[i]) == std::signbit(want[i])) << i << ": " << got[i];
    }
  };
  for (const DType t : {DType::kF64, DType::kF32}) {
    const auto as = [&](std::initializer_list<double> v) { return to(of(v), t); };
    same(exp(as({kNan, 0, -0.0, kInf, -kInf, 800})), {kNan, 1, 1, kInf, 0, kInf});
    same(log(as({kNan, -1, 0, -0.0, 1, kInf})), {kNan, kNan, -kInf, -kInf, 0, kInf});
    same(log1p(as({kNan, -2, -1, 0, -0.0, kInf})), {kNan, kNan, -kInf, 0, -0.0, kInf});
    same(expm1(as({kNan, 0, -0.0, kInf, -kInf})), {kNan, 0, -0.0, kInf, -1});
    same(tanh(as({kNan, 0, -0.0, kInf, -kInf})), {kNan, 0, -0.0, 1, -1});
    same(sqrt(as({kNan, -1, 0, -0.0, kInf})), {kNan, kNan, 0, -0.0, kInf});
    same(sin(as({kNan, 0, -0.0, kInf})), {kNan, 0, -0.0, kNan});
    same(cos(as({kNan, 0, -0.0, kInf})), {kNan, 1, 1, kNan});
    same(erf(as({kNan, 0, -0.0, kInf, -kInf})), {kNan, 0, -0.0, 1, -1});
    same(sigmoid(as({kNan, 0, kInf, -kInf})), {kNan, 0.5, 1, 0});
    same(relu(as({kNan, -0.5, kInf, -kInf})), {kNan, 0, kInf, 0});
    same(floor_divide(as({1, -1, 1, -1, kInf, 0, 5}), as({kInf, kInf, -kInf, -kInf, 2, -3, 0})), {0, -0.0, -0.0, 0, kInf, -0.0, kInf});
    same(remainder(as({5, -5, 5, -5, 0, kInf}), as({3, 3, -3, -3, -2, 2})), {2, 1, -1, -2, -0.0, kNan});
    same(maximum(as({kNan, 1, -kInf}), as({1, kNan, 3})), {kNan, kNan, 3});
    same(logaddexp(as({-kInf, kInf, 0}), as({-kInf, kInf, -kInf})), {-kInf, kInf, 0});
    same(round(as({0.5, 1.5, -0.5, 2.5, kInf})), {0, 2, -0.0, 2, kInf});
    same(sign(as({-0.0, -3, kNan})), {0, -1, kNan});
  }
  EXPECT_EQ(nextafter(Tensor::of<float>(machine(), {1.0f}), 2).item<float>(), std::nextafter(1.0f, 2.0f));
  EXPECT_EQ(floor_divide(Tensor::of<int8_t>(machine(), {-128}), -1).item<int>(), -128);
  EXPECT_EQ(to(of({1e300, -1e300, kNan, 3.9, -3.9}), DType::kI32).values<int64_t>(), (std::vector<int64_t>{INT32_MAX, INT32_MIN, 0, 3, -3}));
  EXPECT_EQ(to(Tensor::of<std::complex<float>>(machine(), {std::complex<float>(0, 1), std::complex<float>(0, 0), std::complex<float>(2, 0)}), DType::kBool).values<bool>(), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(to(of({256, -1}), DType::kU8).values<int>(), (std::vector<int>{255, 0}));
}

// Every finite f32 in steps, against f64 of the C library, in units of the last place.
TEST(Elementwise, F32FunctionsAreRightToAFewUnitsOfTheLastPlace) {
  struct Case {
    Unary f;
    double (*twin)(double);
    double ulps;
  };
  const std::map<std::string, Case> cases = {
      {"exp", {&exp, &std::exp, 1.6}}, {"expm1", {&expm1, &std::expm1, 2.5}}, {"log", {&log, &std::log, 1.6}}, {"log1p", {&log1p, &std::log1p, 2.5}},
      {"tanh", {&tanh, &std::tanh, 3.5}}, {"sqrt", {&sqrt, &std::sqrt, 0.51}}, {"erf", {&erf, &std::erf, 3.5}}, {"sin", {&sin, &std::sin, 1.6}},
      {"cos", {&cos, &std::cos, 1.6}}, {"sigmoid", {&sigmoid, &sigmoid_of, 3}}};
  std::vector<float> v;
  for (uint64_t bits = 0; bits < 0x7f800000; bits += 7919) {
    v.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
    v.push_back(-v.back());
  }
  const Tensor x = Tensor::from(machine(), {static_cast<int64_t>(v.size())}, std::span<const float>(v));
  for (const auto& [what, c] : cases) {
    const auto y = c.f(x).values<float>();
    double worst = 0;
    float at = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      const double want = c.twin(v[i]);
      const float nearest = static_cast<float>(want);
      if (std::isnan(want) || std::isinf(nearest) || std::isinf(y[i])) {
        ASSERT_EQ(std::isnan(want), std::isnan(y[i])) << what << " of " << v[i];
        // The last value before infinity may round either way.
        if (!std::isnan(want)) {
          ASSERT_GE(std::min(std::fabs(want), std::fabs(double{y[i]})), 3.4e38) << what << " of " << v[i];
        }
        continue;
      }
      const double unit = std::max(std::fabs(double{std::nextafter(nearest, INFINITY)} - nearest), 0x1p-149);
      const double off = std::fabs(y[i] - want) / unit;
      if (off > worst) worst = off, at = v[i];
    }
    EXPECT_LE(worst, c.ulps) << what << " of " << fmt::format("{}", at);
  }
}

// Any bits, whole powers of both signs, and a base near 1, beside f64 of the C library.
TEST(Elementwise, F32PowersAreTheNearestOrItsNeighbour) {
  std::mt19937_64 random(3);
  const auto any = [&](double low, double high) { return static_cast<float>(low + (high - low) * static_cast<double>(random() >> 11) * 0x1p-53); };
  for (int kind = 0; kind < 4; ++kind) {
    std::vector<float> a(100003), b(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      if (kind == 0) a[i] = std::bit_cast<float>(static_cast<uint32_t>(random())), b[i] = std::bit_cast<float>(static_cast<uint32_t>(random()));
      if (kind == 1) a[i] = any(-20, 20), b[i] = std::nearbyint(any(-20, 20));
      if (kind == 2) a[i] = any(0, 4), b[i] = any(-50, 50);
      if (kind == 3) a[i] = any(0.99, 1.01), b[i] = any(-4000, 4000);
    }
    a[0] = 0, a[1] = -0.0f, a[2] = 0, a[3] = -0.0f, b[0] = 3, b[1] = -3, b[2] = 0, b[3] = 0.5f;
    const auto whole = [&](const std::vector<float>& v) { return Tensor::from(machine(), {static_cast<int64_t>(v.size())}, std::span<const float>(v)); };
    const auto check = [&](const std::vector<float>& y, auto base, auto power) {
      for (size_t i = 0; i < y.size(); ++i) {
        const double want = std::pow(double{base(i)}, double{power(i)});
        const float nearest = static_cast<float>(want);
        ASSERT_EQ(std::isnan(nearest), std::isnan(y[i])) << base(i) << "^" << power(i);
        if (std::isnan(nearest) || nearest == y[i]) {
          ASSERT_TRUE(std::isnan(nearest) || std::signbit(nearest) == std::signbit(y[i])) << base(i) << "^" << power(i);
          continue;
        }
        ASSERT_TRUE(y[i] == std::nextafter(nearest, HUGE_VALF) || y[i] == std::nextafter(nearest, -HUGE_VALF)) << base(i) << "^" << power(i) << " is " << y[i];
        const double unit = std::max(std::fabs(double{std::nextafter(nearest, HUGE_VALF)} - nearest), 0x1p-149);
        if (std::isfinite(nearest) && std::isfinite(y[i])) {
          ASSERT_LE(std::fabs(y[i] - want), 0.51 * unit) << base(i) << "^" << power(i);
        }
      }
    };
    check(pow(whole(a), whole(b)).values<float>(), [&](size_t i) { return a[i]; }, [&](size_t i) { return b[i]; });
    check(pow(whole(a), 3.0f).values<float>(), [&](size_t i) { return a[i]; }, [](size_t) { return 3.0f; });
    check(pow(2.5f, whole(b)).values<float>(), [](size_t) { return 2.5f; }, [&](size_t i) { return b[i]; });
  }
}

// Results that are written past the cache in tiles, whose rows begin and end within its lines.
TEST(Elementwise, LargeTilesAreWhole) {
  const auto check = [&](DType t, int64_t rows, int64_t cols) {
    const Tensor x = to(remainder(reshape(arange(machine(), 0, static_cast<double>(rows * cols), 1, DType::kI64), {rows, cols}), 251), t), turned = clone(x.transpose(0, 1));
    const Tensor twice = x.transpose(0, 1) + turned;
    const auto *from = x.raw(), *to_ = turned.raw();
    const size_t unit = bytes(t);
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < rows; ++r) {
        ASSERT_EQ(std::memcmp(from + static_cast<size_t>(r * cols + c) * unit, to_ + static_cast<size_t>(c * rows + r) * unit, unit), 0) << name(t) << r << " " << c;
      }
    }
    EXPECT_TRUE(all(equal(twice, turned * 2)).item<bool>()) << name(t);
  };
  check(DType::kF32, 2053, 2111);
  check(DType::kF64, 1031, 2111);
  check(DType::kU16, 4001, 2111);
  check(DType::kU8, 4001, 4211);
  check(DType::kC128, 1031, 1029);
  const Tensor cube = reshape(arange(machine(), 0, 5 * 1013 * 907, 1, DType::kF32), {5, 1013, 907}), back = clone(cube.permute({2, 0, 1}));
  EXPECT_TRUE(all(equal(back.permute({1, 2, 0}), cube)).item<bool>());
}

TEST(Elementwise, HalvesAreTheCastsOfFloat16) {
  std::vector<float> v;
  for (uint64_t bits = 0; bits < 1ull << 32; bits += 3571) v.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  const Tensor x = Tensor::from(machine(), {static_cast<int64_t>(v.size())}, std::span<const float>(v));
  const Tensor h = to(x, DType::kF16), b = to(x, DType::kBF16);
  for (size_t i = 0; i < v.size(); ++i) {
    ASSERT_EQ(h.data<F16>()[i].bits, f32_to_f16(v[i])) << v[i];
    ASSERT_EQ(b.data<BF16>()[i].bits, f32_to_bf16(v[i])) << v[i];
  }
}

TEST(Elementwise, NumbersTakeTheTypeOfTheTensor) {
  const Tensor i = ones(machine(), {3}, DType::kI8), h = ones(machine(), {3}, DType::kBF16), z = ones(machine(), {3}, DType::kC64);
  EXPECT_EQ((i + 5).dtype(), DType::kI8);
  EXPECT_EQ((i + 0.5).dtype(), DType::kF32);
  EXPECT_EQ((h * 2.5).dtype(), DType::kBF16);
  EXPECT_EQ((1 - h).dtype(), DType::kBF16);
  EXPECT_EQ((z * 2.0).dtype(), DType::kC64);
  EXPECT_EQ((h * std::complex<float>(0, 1)).dtype(), DType::kC64);
  EXPECT_EQ((i / i).dtype(), DType::kF32);
  EXPECT_EQ(add(ones(machine(), {3}, DType::kBool), 1).dtype(), kDefaultInt);
  EXPECT_EQ(message([&] { i + 200; }), "add: the number does not fit in I8 (convert the tensor with to(dtype))");
  EXPECT_EQ(message([&] { add(i, ones(machine(), {2}, DType::kI8)); }),
            "add: shapes (3,) and (2,) do not broadcast (sizes must be equal or 1, counted from the last axis)");
  EXPECT_NE(message([&] { add(ones(machine(), {1}, DType::kU64), i); }).find("no integer type"), std::string::npos);
  EXPECT_NE(message([&] { bitwise_and(h, h); }).find("not defined on BF16"), std::string::npos);
  EXPECT_NE(message([&] { add(1, 2); }).find("two plain numbers"), std::string::npos);
  EXPECT_NE(message([&] { negative(Tensor()); }).find("there is no tensor"), std::string::npos);
}

TEST(Elementwise, AssignWritesThroughViewsAndTheirOverlap) {
  const Tensor t = arange(machine(), 0, 12);
  const Tensor grid = reshape(t, {3, 4});
  assign(grid.select(0, 1), Tensor::of<float>(machine(), {9, 8, 7, 6}));
  EXPECT_EQ(t.values<int>(), (std::vector<int>{0, 1, 2, 3, 9, 8, 7, 6, 8, 9, 10, 11}));
  assign(t.narrow(0, 1, 11), t.narrow(0, 0, 11));  // as if all were read before
  EXPECT_EQ(t.values<int>(), (std::vector<int>{0, 0, 1, 2, 3, 9, 8, 7, 6, 8, 9, 10}));
  assign(t, t.flip({0}));
  EXPECT_EQ(t.values<int>(), (std::vector<int>{10, 9, 8, 6, 7, 8, 9, 3, 2, 1, 0, 0}));
  EXPECT_NE(message([&] { assign(t.narrow(0, 0, 1).expand({5}), 1); }).find("one in memory"), std::string::npos);
  EXPECT_NE(message([&] { assign(t, ones(machine(), {2, 12})); }).find("do not fit"), std::string::npos);
}

TEST(Elementwise, WhereTakesEachValueFromItsSide) {
  Numbers numbers(5);
  for (const DType t : kAll) {
    for (int round = 0; round < 8; ++round) {
      const auto [sa, sb] = numbers.shapes();
      const Tensor a = numbers.scrambled(numbers.values(machine(), sa, t)), b = numbers.scrambled(numbers.values(machine(), sb, t));
      const Shape shape = broadcast(sa, sb, "test");
      const Tensor c = numbers.scrambled(numbers.values(machine(), shape, DType::kBool));
      const auto x = a.expand(shape).values<C>(), y = b.expand(shape).values<C>(), z = where(c, a, b).values<C>();
      const auto mask = c.values<bool>();
      for (size_t i = 0; i < z.size(); ++i) ASSERT_EQ(z[i], mask[i] ? x[i] : y[i]);
    }
  }
  EXPECT_EQ(where(Tensor::of<bool>(machine(), {true, false}), 1, 2.5).values<float>(), (std::vector<float>{1, 2.5}));
}

TEST(Making, GivesTheValuesThatWereAskedFor) {
  EXPECT_EQ(arange(machine(), 0, 1, 0.25).values<float>(), (std::vector<float>{0, 0.25, 0.5, 0.75}));
  EXPECT_EQ(arange(machine(), 5, 0, -2).values<int>(), (std::vector<int>{5, 3, 1}));
  EXPECT_EQ(arange(machine(), 0, -1).count(), 0);
  EXPECT_EQ(linspace(machine(), 0, 1, 5).values<float>(), (std::vector<float>{0, 0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(linspace(machine(), 0, 1, 4, DType::kF64, false).values<double>(), (std::vector<double>{0, 0.25, 0.5, 0.75}));
  EXPECT_EQ(linspace(machine(), 3, 9, 1).values<float>(), (std::vector<float>{3}));
  EXPECT_EQ(eye(machine(), 2, 3, 1, DType::kI8).values<int>(), (std::vector<int>{0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(full(machine(), {2}, true).dtype(), DType::kBool);
  EXPECT_EQ(concat({Tensor::of<int8_t>(machine(), {{1, 2}}), Tensor::of<float>(machine(), {{3}})}, 1).values<float>(), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(stack({Tensor::of<int>(machine(), {1, 2}), Tensor::of<int>(machine(), {3, 4})}, -1).values<int>(), (std::vector<int>{1, 3, 2, 4}));
  EXPECT_NE(message([] { arange(machine(), 0, 1, 0); }), "");
  EXPECT_NE(message([] { concat({}, 0); }), "");
}

}  // namespace
}  // namespace viva
