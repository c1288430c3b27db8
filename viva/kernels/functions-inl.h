// The functors of loops.inc on single values; included inside a namespace of each SIMD target, where the compiler makes vector
// loops of them. Where math-inl.h has nothing, values take the C library's functions.
#include "viva/kernels/math-inl.h"

template <class T>
constexpr bool kIsComplex = requires { typename T::value_type; };
template <class T>
constexpr bool kIsFloat = std::is_floating_point_v<T>;

template <class T>
VIVA_F T wrap(auto v) {  // integers wrap around
  return static_cast<T>(v);
}
template <class T>
using Wide = std::make_unsigned_t<std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>>;

struct abs_f {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      return std::abs(x);
    } else if constexpr (kIsFloat<T>) {
      return std::fabs(x);
    } else if constexpr (std::is_unsigned_v<T>) {
      return x;
    } else {
      return x < 0 ? wrap<T>(Wide<T>(0) - static_cast<Wide<T>>(x)) : x;
    }
  }
};
struct negative_f {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (std::is_integral_v<T>) {
      return wrap<T>(Wide<T>(0) - static_cast<Wide<T>>(x));
    } else {
      return -x;
    }
  }
};
struct positive_f {
  VIVA_F auto operator()(auto x) const { return x; }
};
struct conj_f {
  VIVA_F auto operator()(auto x) const {
    if constexpr (kIsComplex<decltype(x)>) {
      return std::conj(x);
    } else {
      return x;
    }
  }
};
struct real_f {
  VIVA_F auto operator()(auto x) const {
    if constexpr (kIsComplex<decltype(x)>) {
      return x.real();
    } else {
      return x;
    }
  }
};
struct imag_f {
  VIVA_F auto operator()(auto x) const {
    if constexpr (kIsComplex<decltype(x)>) {
      return x.imag();
    } else {
      return decltype(x)(0);
    }
  }
};
struct multiply_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if constexpr (std::is_integral_v<T>) {
      // 16-bit operands would become signed ints, whose overflow is undefined.
      return wrap<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    } else if constexpr (kIsComplex<T>) {
      return T(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
    } else {
      return a * b;
    }
  }
};
struct square_f {
  VIVA_F auto operator()(auto x) const { return multiply_f{}(x, x); }
};
struct add_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if constexpr (std::is_integral_v<T>) {
      return wrap<T>(static_cast<Wide<T>>(a) + static_cast<Wide<T>>(b));
    } else {
      return a + b;
    }
  }
};
struct subtract_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if constexpr (std::is_integral_v<T>) {
      return wrap<T>(static_cast<Wide<T>>(a) - static_cast<Wide<T>>(b));
    } else {
      return a - b;
    }
  }
};
struct divide_f {
  VIVA_F auto operator()(auto a, auto b) const { return a / b; }
};
struct reciprocal_f {
  VIVA_F auto operator()(auto x) const { return decltype(x)(1) / x; }
};
struct sign_f {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      return x == T(0) ? T(0) : x / std::abs(x);
    } else if constexpr (kIsFloat<T>) {
      return x > 0 ? T(1) : x < 0 ? T(-1) : x == 0 ? T(0) : x;
    } else {
      return T((x > T(0)) - (x < T(0)));
    }
  }
};
#define VIVA_ROUNDING(NAME, CALL)                                                                   \
  struct NAME##_f {                                                                                 \
    VIVA_F auto operator()(auto x) const {                                                          \
      using T = decltype(x);                                                                        \
      if constexpr (std::is_integral_v<T>) {                                                        \
        return x;                                                                                   \
      } else if constexpr (kIsComplex<T>) {                                                         \
        return T(CALL(x.real()), CALL(x.imag()));                                                   \
      } else {                                                                                      \
        return CALL(x);                                                                             \
      }                                                                                             \
    }                                                                                               \
  };
VIVA_ROUNDING(floor, std::floor)
VIVA_ROUNDING(ceil, std::ceil)
VIVA_ROUNDING(trunc, std::trunc)
VIVA_ROUNDING(round, std::nearbyint)
#undef VIVA_ROUNDING
struct sqrt_f {
  VIVA_F auto operator()(auto x) const { return std::sqrt(x); }
};
struct rsqrt_f {
  VIVA_F auto operator()(auto x) const { return decltype(x)(1) / std::sqrt(x); }
};
#define VIVA_LIBM(NAME) \
  struct NAME##_f {     \
    VIVA_F auto operator()(auto x) const { return std::NAME(x); } \
  };
VIVA_LIBM(asin) VIVA_LIBM(acos) VIVA_LIBM(atan) VIVA_LIBM(sinh) VIVA_LIBM(cosh) VIVA_LIBM(asinh) VIVA_LIBM(acosh) VIVA_LIBM(atanh)
VIVA_LIBM(log10)
#undef VIVA_LIBM
template <class T>
constexpr bool kIsFast = std::is_same_v<T, float> || std::is_same_v<T, Floats>;
// F32 by the functions of math-inl.h, one value or lanes, the rest by the C library's.
#define VIVA_FAST(NAME)                    \
  VIVA_F auto NAME##_of(auto x) {          \
    if constexpr (kIsFast<decltype(x)>) {  \
      return NAME##_fast(x);               \
    } else {                               \
      return std::NAME(x);                 \
    }                                      \
  }
VIVA_FAST(exp) VIVA_FAST(expm1) VIVA_FAST(log) VIVA_FAST(log1p) VIVA_FAST(log2) VIVA_FAST(tanh) VIVA_FAST(erf) VIVA_FAST(sin)
VIVA_FAST(cos) VIVA_FAST(tan)
#undef VIVA_FAST
// Of a functor: f32 are taken as lanes.
struct InLanes {
  using Lanes = Floats;
};
#define VIVA_BY(NAME)          \
  struct NAME##_f : InLanes {  \
    VIVA_F auto operator()(auto x) const { return NAME##_of(x); } \
  };
VIVA_BY(exp) VIVA_BY(log) VIVA_BY(erf) VIVA_BY(sin) VIVA_BY(cos) VIVA_BY(tan)
#undef VIVA_BY
struct tanh_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {  // at infinity the C library takes the sign of 0 from sin(2y), the standard from y
      if (std::isinf(x.real()) && std::isfinite(x.imag())) {
        using R = typename T::value_type;
        return T(std::copysign(R(1), x.real()), std::copysign(R(0), x.imag()));
      }
    }
    return tanh_of(x);
  }
};
struct expm1_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      // e^x cos y - 1 without cancellation near 0.
      using R = typename T::value_type;
      const R a = std::expm1(x.real()), s = std::sin(x.imag() / 2);
      if (x.imag() == 0) return T(a + R(0), x.imag());  // -0 becomes 0, as e^x - 1 is
      if (!std::isfinite(x.real()) || !std::isfinite(x.imag())) return std::exp(x) - T(1);
      return T(a * std::cos(x.imag()) - 2 * s * s, std::exp(x.real()) * std::sin(x.imag()));
    } else {
      return expm1_of(x);
    }
  }
};
struct log1p_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      using R = typename T::value_type;
      const R a = x.real(), b = x.imag();
      if (!std::isfinite(a) || !std::isfinite(b)) return std::log(T(a + 1, b));
      const R far = std::max(std::fabs(a), std::fabs(b));
      const R real = far < R(0.5) ? std::log1p(a * (a + 2) + b * b) / 2 : std::log(std::hypot(a + 1, b));
      return T(real, std::atan2(b, a + 1));
    } else {
      return log1p_of(x);
    }
  }
};
struct log2_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      return std::log(x) / static_cast<typename T::value_type>(0.69314718055994530942);
    } else {
      return log2_of(x);
    }
  }
};
struct sigmoid_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsFast<T>) {
      return sigmoid_fast(x);
    } else {
      const T e = std::exp(-std::fabs(x));
      return (x < T(0) ? e : T(1)) / (T(1) + e);
    }
  }
};
struct relu_f {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    return x > T(0) ? x : x != x ? x : T(0);
  }
};
struct gelu_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsFast<T>) {
      return gelu_fast(x);
    } else {
      return x * T(0.5) * std::erfc(-x * T(0.70710678118654752440));
    }
  }
};
struct gelu_tanh_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsFast<T>) {
      return gelu_tanh_fast(x);
    } else {
      return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286535588) * (x + T(0.044715) * x * x * x)));
    }
  }
};
struct silu_f : InLanes {
  VIVA_F auto operator()(auto x) const { return x * sigmoid_f{}(x); }
};
struct softplus_f : InLanes {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsFast<T>) {
      return softplus_fast(x);
    } else {
      return (x > T(0) || x != x ? x : T(0)) + std::log1p(std::exp(-std::fabs(x)));
    }
  }
};
struct isnan_f {
  VIVA_F bool operator()(auto x) const {
    if constexpr (kIsComplex<decltype(x)>) {
      return x.real() != x.real() || x.imag() != x.imag();
    } else {
      return x != x;
    }
  }
};
struct isinf_f {
  VIVA_F bool operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      return isinf_f{}(x.real()) || isinf_f{}(x.imag());
    } else if constexpr (kIsFloat<T>) {
      return std::fabs(x) == std::numeric_limits<T>::infinity();
    } else {
      return false;
    }
  }
};
struct isfinite_f {
  VIVA_F bool operator()(auto x) const {
    using T = decltype(x);
    if constexpr (kIsComplex<T>) {
      return isfinite_f{}(x.real()) && isfinite_f{}(x.imag());
    } else if constexpr (kIsFloat<T>) {
      return std::fabs(x) <= std::numeric_limits<T>::max();
    } else {
      return true;
    }
  }
};
struct signbit_f {
  VIVA_F bool operator()(auto x) const { return std::signbit(x); }
};
struct logical_not_f {
  VIVA_F bool operator()(bool x) const { return !x; }
};
struct bitwise_invert_f {
  VIVA_F auto operator()(auto x) const {
    using T = decltype(x);
    if constexpr (std::is_same_v<T, bool>) {
      return !x;
    } else {
      return wrap<T>(~x);
    }
  }
};
struct floor_divide_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if constexpr (kIsFloat<T>) {
      // By an infinite divisor the standard wants -0 or 0, not -1.
      const T q = a / b;
      if (!std::isfinite(q) || b == 0 || std::isinf(b)) return q;
      T m = std::fmod(a, b), d = (a - m) / b;
      if (m != 0 && (b < 0) != (m < 0)) d -= T(1);
      if (d == 0) return std::copysign(T(0), q);
      const T f = std::floor(d);
      return d - f > T(0.5) ? f + T(1) : f;
    } else {
      if (b == 0) return T(0);
      if constexpr (std::is_signed_v<T>) {
        if (b == T(-1)) return negative_f{}(a);  // the smallest value has no positive
        const T q = wrap<T>(a / b);
        return wrap<T>(q - ((a % b != 0) && ((a < 0) != (b < 0))));
      } else {
        return wrap<T>(a / b);
      }
    }
  }
};
struct remainder_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if constexpr (kIsFloat<T>) {
      const T m = std::fmod(a, b);
      if (m == 0) return std::copysign(m, b);
      return (b < 0) != (m < 0) ? m + b : m;
    } else {
      if (b == 0) return T(0);
      if constexpr (std::is_signed_v<T>) {
        if (b == T(-1)) return T(0);
        const T m = wrap<T>(a % b);
        return wrap<T>(m != 0 && (m < 0) != (b < 0) ? m + b : m);
      } else {
        return wrap<T>(a % b);
      }
    }
  }
};
struct pow_f {
  // What f32 loops compute without a branch, and what they leave to the C library.
  static VIVA_F float usual(float a, float b) { return pow_fast(a, b); }
  static VIVA_F bool unusual(float a, float b) { return !(std::fabs(a) < kInfinity) | !(std::fabs(b) < kInfinity); }
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if constexpr (std::is_same_v<T, float>) {
      return unusual(a, b) ? std::pow(a, b) : usual(a, b);
    } else if constexpr (std::is_integral_v<T>) {
      if (b < T(0)) return a == T(1) ? T(1) : a == wrap<T>(-1) && std::is_signed_v<T> ? (b % 2 == 0 ? T(1) : wrap<T>(-1)) : T(0);
      T result = T(1);
      for (; b != 0; b = wrap<T>(b / 2)) {
        if (b % 2 != 0) result = multiply_f{}(result, a);
        a = multiply_f{}(a, a);
      }
      return result;
    } else {
      return std::pow(a, b);
    }
  }
};
struct maximum_f {
  VIVA_F auto operator()(auto a, auto b) const { return a > b || a != a ? a : b; }
};
struct minimum_f {
  VIVA_F auto operator()(auto a, auto b) const { return a < b || a != a ? a : b; }
};
struct atan2_f {
  VIVA_F auto operator()(auto a, auto b) const { return std::atan2(a, b); }
};
struct hypot_f {
  VIVA_F auto operator()(auto a, auto b) const { return std::hypot(a, b); }
};
struct copysign_f {
  VIVA_F auto operator()(auto a, auto b) const { return std::copysign(a, b); }
};
struct nextafter_f {
  VIVA_F auto operator()(auto a, auto b) const { return std::nextafter(a, b); }
};
struct logaddexp_f : InLanes {
  VIVA_F auto operator()(auto a, auto b) const {
    if constexpr (kIsFast<decltype(a)>) {
      return logaddexp_fast(a, b);
    } else {
      if (a == b) return a + decltype(a)(0.69314718055994530942);
      return maximum_f{}(a, b) + std::log1p(std::exp(-std::fabs(a - b)));
    }
  }
};
struct leaky_relu_f {
  VIVA_F auto operator()(auto a, auto b) const { return a > 0 ? a : a * b; }
};
struct elu_f : InLanes {
  VIVA_F auto operator()(auto a, auto b) const { 
    if constexpr (kIsFast<decltype(a)>) {
      return elu_fast(a, b);
    } else {
      return a > 0 ? a : b * std::expm1(a);
    }
  }
};
#define VIVA_COMPARE(NAME, OP) \
  struct NAME##_f {            \
    VIVA_F bool operator()(auto a, auto b) const { return a OP b; } \
  };
VIVA_COMPARE(equal, ==) VIVA_COMPARE(not_equal, !=) VIVA_COMPARE(less, <) VIVA_COMPARE(less_equal, <=)
VIVA_COMPARE(greater, >) VIVA_COMPARE(greater_equal, >=)
VIVA_COMPARE(logical_and, &) VIVA_COMPARE(logical_or, |) VIVA_COMPARE(logical_xor, !=)
#undef VIVA_COMPARE
#define VIVA_BITS(NAME, OP) \
  struct NAME##_f {         \
    VIVA_F auto operator()(auto a, auto b) const { return static_cast<decltype(a)>(a OP b); } \
  };
VIVA_BITS(bitwise_and, &) VIVA_BITS(bitwise_or, |) VIVA_BITS(bitwise_xor, ^)
#undef VIVA_BITS
struct bitwise_left_shift_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    return b < T(0) || static_cast<uint64_t>(b) >= 8 * sizeof(T) ? T(0) : wrap<T>(static_cast<Wide<T>>(a) << b);
  }
};
struct bitwise_right_shift_f {
  VIVA_F auto operator()(auto a, auto b) const {
    using T = decltype(a);
    if (b < T(0) || static_cast<uint64_t>(b) >= 8 * sizeof(T)) return a < T(0) ? wrap<T>(-1) : T(0);
    return wrap<T>(a >> b);
  }
};
