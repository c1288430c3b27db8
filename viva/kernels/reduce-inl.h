// The reductions of one group of types for every SIMD target. The unit that includes this defines VIVA_REDUCE_UNIT (its
// path), VIVA_REDUCE_GROUP (a name) and VIVA_REDUCE_TYPES(X), X(C++ type). The compiler makes the vectors: lanes are fixed
// and nothing is fused or reordered, so all targets give the same bits.
#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <type_traits>

#include "viva/kernels/reduce.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE VIVA_REDUCE_UNIT
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

#undef VIVA_F
#define VIVA_F inline __attribute__((always_inline))
#undef VIVA_INLINE_CALL
#define VIVA_INLINE_CALL __attribute__((always_inline))
#include "viva/kernels/math-inl.h"

// y[i] = e^(x[i] - c[i])
VIVA_F void exps(const float* x, const float* c, size_t n, float* y) {
  in_lanes([](Floats v, Floats center) VIVA_INLINE_CALL { return exp_fast(v - center); }, {x, c}, y, n);
}
VIVA_F void exps(const double* x, const double* c, size_t n, double* y) {
  for (size_t i = 0; i < n; ++i) y[i] = std::exp(x[i] - c[i]);
}
VIVA_F void exps(const float* x, float c, size_t n, float* y) {
  in_lanes([c](Floats v) VIVA_INLINE_CALL { return exp_fast(v - c); }, {x}, y, n);
}
VIVA_F void exps(const double* x, double c, size_t n, double* y) {
  for (size_t i = 0; i < n; ++i) y[i] = std::exp(x[i] - c);
}

template <class T>
constexpr bool kIsComplex = !std::is_arithmetic_v<T>;
template <class T>
constexpr bool kIsFloat = std::is_floating_point_v<T>;
// What sums of blocks are added up in.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double,
                                std::conditional_t<std::is_same_v<T, std::complex<float>>, std::complex<double>, T>>;
template <class T>
constexpr T kLowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
template <class T>
constexpr T kHighest = std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();

VIVA_F auto times(auto a, decltype(a) b) {
  using T = decltype(a);
  if constexpr (kIsComplex<T>) {
    return T(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
  } else {
    return a * b;
  }
}
// NaN where one is; two choices become two blends.
template <class T>
VIVA_F T smaller(T a, T b) {
  const T m = a < b ? a : b;
  return a != a ? a : m;
}
template <class T>
VIVA_F T larger(T a, T b) {
  const T m = a > b ? a : b;
  return a != a ? a : m;
}
template <class A>
VIVA_F A over(A a, double n) {
  if constexpr (kIsComplex<A>) {
    return A(a.real() / n, a.imag() / n);
  } else {
    return a / n;
  }
}

// Reductions that join mapped values: Lane inside of a block, Acc between blocks.
template <class T>
struct sum_r {
  using In = T;
  using Lane = T;
  using Acc = Wide<T>;
  using Out = T;
  static constexpr bool kDefined = !std::is_integral_v<T> || std::is_same_v<T, uint64_t>;
  static VIVA_F Lane zero() { return Lane(0); }
  static VIVA_F Lane map(T x, double) { return x; }
  static VIVA_F auto join(auto a, decltype(a) b) { return a + b; }
  static VIVA_F Out finish(Acc a, double, double) { return static_cast<Out>(a); }
};
template <class T>
struct prod_r : sum_r<T> {
  using typename sum_r<T>::Lane;
  static VIVA_F Lane zero() { return Lane(1); }
  static VIVA_F auto join(auto a, decltype(a) b) { return times(a, b); }
};
template <class T>
struct mean_r : sum_r<T> {
  static constexpr bool kDefined = !std::is_integral_v<T>;
  static VIVA_F T finish(Wide<T> a, double n, double) {
    if constexpr (std::is_integral_v<T>) {
      return T(0);
    } else {
      return static_cast<T>(over(a, n));
    }
  }
};
template <class T>
struct min_r {
  using In = T;
  using Lane = T;
  using Acc = T;
  using Out = T;
  static constexpr bool kDefined = !kIsComplex<T>;
  static VIVA_F T zero() { return kHighest<T>; }
  static VIVA_F T map(T x, double) { return x; }
  static VIVA_F T join(T a, T b) { return smaller(a, b); }
  static VIVA_F bool better(T a, T than) { return (a < than) | ((a != a) & (than == than)); }
  static VIVA_F T finish(T a, double, double) { return a; }
};
template <class T>
struct max_r : min_r<T> {
  static VIVA_F T zero() { return kLowest<T>; }
  static VIVA_F T join(T a, T b) { return larger(a, b); }
  static VIVA_F bool better(T a, T than) { return (a > than) | ((a != a) & (than == than)); }
};
template <class T>
struct any_r {
  using In = T;
  using Lane = uint8_t;
  using Acc = uint8_t;
  using Out = bool;
  static constexpr bool kDefined = std::is_same_v<T, uint8_t>;  // bool, byte by byte
  static VIVA_F Lane zero() { return 0; }
  static VIVA_F Lane map(T x, double) { return x != T(0); }
  static VIVA_F Lane join(Lane a, Lane b) { return a | b; }
  static VIVA_F bool finish(Lane a, double, double) { return a != 0; }
};
template <class T>
struct all_r : any_r<T> {
  static VIVA_F uint8_t zero() { return 1; }
  static VIVA_F uint8_t join(uint8_t a, uint8_t b) { return a & b; }
};
template <class T>
struct count_nonzero_r {
  using In = T;
  using Lane = uint16_t;  // a block has not more
  using Acc = int64_t;
  using Out = int64_t;
  static constexpr bool kDefined = std::is_same_v<T, uint8_t>;
  static VIVA_F Lane zero() { return 0; }
  static VIVA_F Lane map(T x, double) { return x != T(0); }
  static VIVA_F auto join(auto a, decltype(a) b) { return static_cast<decltype(a)>(a + b); }
  static VIVA_F Out finish(Acc a, double, double) { return a; }
};
template <class T>
struct norm_1_r : sum_r<T> {
  static constexpr bool kDefined = kIsFloat<T>;
  static VIVA_F T map(T x, double) {
    if constexpr (kIsFloat<T>) {
      return std::fabs(x);
    } else {
      return x;
    }
  }
};
template <class T>
struct norm_max_r : norm_1_r<T> {
  using Acc = T;
  static VIVA_F T join(T a, T b) {
    if constexpr (kIsFloat<T>) {
      return larger(a, b);
    } else {
      return a;
    }
  }
  static VIVA_F T finish(T a, double, double) { return a; }
};
template <class T>
struct norm_min_r : norm_max_r<T> {
  static VIVA_F T zero() { return kHighest<T>; }
  static VIVA_F T join(T a, T b) {
    if constexpr (kIsFloat<T>) {
      return smaller(a, b);
    } else {
      return a;
    }
  }
};
template <class T>
struct norm_2_r {
  using In = T;
  using Lane = std::conditional_t<kIsFloat<T>, double, T>;  // squares of f32 do not overflow
  using Acc = Lane;
  using Out = T;
  static constexpr bool kDefined = kIsFloat<T>;
  static VIVA_F Lane zero() { return Lane(0); }
  static VIVA_F Lane map(T x, double) { return times(static_cast<Lane>(x), static_cast<Lane>(x)); }
  static VIVA_F Lane join(Lane a, Lane b) { return a + b; }
  static VIVA_F T finish(Lane a, double, double) { return static_cast<T>(std::sqrt(a)); }
};
template <class T>
struct norm_p_r : norm_2_r<T> {
  using typename norm_2_r<T>::Lane;
  static VIVA_F Lane map(T x, double p) { return std::pow(std::fabs(static_cast<Lane>(x)), p); }
  static VIVA_F T finish(Lane a, double, double p) { return static_cast<T>(std::pow(a, 1 / p)); }
};

// acc[j] over the values j, j + L, ..., four at a time: of long rows one of each quarter, since a core follows several runs of
// memory faster than one; then the lanes in a tree. `f` maps a value.
template <size_t L, class Lane, class T, class F, class J>
VIVA_F Lane fold_lanes(const T* x, size_t n, Lane zero, F f, J join) {
  alignas(64) Lane acc[L];
  for (size_t j = 0; j < L; ++j) acc[j] = zero;
  const size_t fours = n / (4 * L);
  const bool quarters = n >= 16384 / sizeof(T);
  const size_t apart = quarters ? fours * L : L, next = quarters ? L : 4 * L;
  for (size_t k = 0; k < fours; ++k) {
    const T *p0 = x + k * next, *p1 = p0 + apart, *p2 = p1 + apart, *p3 = p2 + apart;
    if (quarters) {  // they are fetched ahead too
      for (const T* p : {p0, p1, p2, p3}) {
        for (size_t j = 0; j < L; j += 64 / sizeof(T)) __builtin_prefetch(p + j + 1024 / sizeof(T));
      }
    }
#pragma GCC ivdep
    for (size_t j = 0; j < L; ++j) acc[j] = join(acc[j], join(join(f(p0[j]), f(p1[j])), join(f(p2[j]), f(p3[j]))));
  }
  size_t i = 4 * L * fours;
  for (; i + L <= n; i += L) {
#pragma GCC ivdep
    for (size_t j = 0; j < L; ++j) acc[j] = join(acc[j], f(x[i + j]));
  }
  for (size_t j = 0; i + j < n; ++j) acc[j] = join(acc[j], f(x[i + j]));
  for (size_t w = L / 2; w > 0; w /= 2) {
    for (size_t j = 0; j < w; ++j) acc[j] = join(acc[j], acc[w + j]);
  }
  return acc[0];
}
template <class Lane, class T, class F, class J>
VIVA_F Lane fold(const T* x, size_t n, Lane zero, F f, J join) {
  constexpr size_t kLanes = 128 / sizeof(Lane);
  if (n < 16) {
    Lane a = zero;
    for (size_t i = 0; i < n; ++i) a = join(a, f(x[i]));
    return a;
  }
  return n < 8 * kLanes ? fold_lanes<8>(x, n, zero, f, join) : fold_lanes<kLanes>(x, n, zero, f, join);
}
template <class P, class T>
VIVA_F typename P::Lane fold_of(const T* x, size_t n, double param) {
  using Lane = typename P::Lane;
  return fold<Lane>(x, n, P::zero(), [param](T v) VIVA_INLINE_CALL { return P::map(v, param); },
                    [](Lane a, Lane b) VIVA_INLINE_CALL { return P::join(a, b); });
}

// The same down every column.
template <class Lane, class T, class F, class J>
VIVA_F void fold_columns(const T* const* x, size_t n, size_t cols, Lane zero, F f, J join, Lane* acc) {
  for (size_t c = 0; c < cols; ++c) acc[c] = zero;
  size_t r = 0;
  for (; r + 4 <= n; r += 4) {
    const T *x0 = x[r], *x1 = x[r + 1], *x2 = x[r + 2], *x3 = x[r + 3];
#pragma GCC ivdep
    for (size_t c = 0; c < cols; ++c) {
      acc[c] = join(acc[c], join(join(f(x0[c], c), f(x1[c], c)), join(f(x2[c], c), f(x3[c], c))));
    }
  }
  for (; r < n; ++r) {
    const T* x0 = x[r];
#pragma GCC ivdep
    for (size_t c = 0; c < cols; ++c) acc[c] = join(acc[c], f(x0[c], c));
  }
}
template <class P, class T>
VIVA_F void fold_columns_of(const T* const* x, size_t n, size_t cols, double param, typename P::Lane* acc) {
  using Lane = typename P::Lane;
  fold_columns<Lane>(x, n, cols, P::zero(), [param](T v, size_t) VIVA_INLINE_CALL { return P::map(v, param); },
                     [](Lane a, Lane b) VIVA_INLINE_CALL { return P::join(a, b); }, acc);
}

template <class T>
VIVA_F const T* row(const void* x, ptrdiff_t stride, size_t r) {
  return reinterpret_cast<const T*>(static_cast<const uint8_t*>(x) + static_cast<ptrdiff_t>(r) * stride);
}

// The code of a reduction that joins mapped values.
template <class P>
struct Joined {
  using T = typename P::In;
  using Acc = typename P::Acc;
  using Out = typename P::Out;
  using Lane = typename P::Lane;
  static constexpr bool kDefined = P::kDefined;
  // Rows of a few values, one after the other: the vectors lie across them.
  template <size_t N>
  static VIVA_F void few(const T* x, size_t rows, double param, Acc* a) {
#pragma GCC ivdep
    for (size_t r = 0; r < rows; ++r) {
      Lane v = P::zero();
      for (size_t i = 0; i < N; ++i) v = P::join(v, P::map(x[N * r + i], param));
      a[r] = static_cast<Acc>(v);
    }
  }
  static void rows(const void* x, ptrdiff_t stride, size_t rows, size_t n, uint64_t, uint64_t have, double param, void* acc) noexcept {
    Acc* a = static_cast<Acc*>(acc);
    if (have == 0 && n <= 4 && stride == static_cast<ptrdiff_t>(n * sizeof(T))) {
      const T* p = static_cast<const T*>(x);
      if (n == 2) return few<2>(p, rows, param, a);
      if (n == 3) return few<3>(p, rows, param, a);
      if (n == 4) return few<4>(p, rows, param, a);
    }
    for (size_t r = 0; r < rows; ++r) {
      const Acc v = static_cast<Acc>(fold_of<P>(row<T>(x, stride, r), n, param));
      a[r] = have == 0 ? v : P::join(a[r], v);
    }
  }
  static void columns(const void* const* x, size_t n, size_t cols, uint64_t, uint64_t have, double param, void* acc) noexcept {
    alignas(64) Lane lane[kReduceColumns];
    fold_columns_of<P>(reinterpret_cast<const T* const*>(x), n, cols, param, lane);
    Acc* a = static_cast<Acc*>(acc);
    if (have == 0) {
      for (size_t c = 0; c < cols; ++c) a[c] = static_cast<Acc>(lane[c]);
    } else {
      for (size_t c = 0; c < cols; ++c) a[c] = P::join(a[c], static_cast<Acc>(lane[c]));
    }
  }
  static void join(void* a, uint64_t, const void* b, uint64_t, size_t n) noexcept {
    Acc* to = static_cast<Acc*>(a);
    const Acc* from = static_cast<const Acc*>(b);
    for (size_t i = 0; i < n; ++i) to[i] = P::join(to[i], from[i]);
  }
  static void finish(const void* acc, size_t n, uint64_t count, double param, void* out) noexcept {
    for (size_t i = 0; i < n; ++i) {
      static_cast<Out*>(out)[i] = P::finish(static_cast<const Acc*>(acc)[i], static_cast<double>(count), param);
    }
  }
};

// Mean and squared distances from it: of a block in two passes, which find it in the cache; of blocks as Chan, Golub and
// LeVeque (1979) add them up.
template <class T, bool kRoot>
struct Moments {
  struct Acc {
    double mean, squares;
  };
  using Out = T;
  static constexpr bool kDefined = kIsFloat<T>;
  static VIVA_F Acc added(Acc a, double na, Acc b, double nb) {
    const double d = b.mean - a.mean, n = na + nb;
    return {a.mean + d * (nb / n), a.squares + b.squares + d * d * (na * nb / n)};
  }
  // Of n values whose distances from `center` have this sum and this sum of squares.
  static VIVA_F Acc block(double center, double sum, double squares, double n) {
    return {center + sum / n, squares - sum * (sum / n)};
  }
  static void rows(const void* x, ptrdiff_t stride, size_t rows, size_t n, uint64_t, uint64_t have, double, void* acc) noexcept {
    Acc* a = static_cast<Acc*>(acc);
    const auto plus = [](T p, T q) VIVA_INLINE_CALL { return p + q; };
    for (size_t r = 0; r < rows; ++r) {
      const T* p = row<T>(x, stride, r);
      const T center = n == 0 ? T(0) : fold_of<sum_r<T>>(p, n, 0) / static_cast<T>(n);
      const T sum = fold<T>(p, n, T(0), [center](T v) VIVA_INLINE_CALL { return v - center; }, plus);
      const T squares = fold<T>(p, n, T(0), [center](T v) VIVA_INLINE_CALL { return (v - center) * (v - center); }, plus);
      const Acc b = block(center, sum, squares, static_cast<double>(n));
      a[r] = have == 0 ? b : added(a[r], static_cast<double>(have), b, static_cast<double>(n));
    }
  }
  static void columns(const void* const* x, size_t n, size_t cols, uint64_t, uint64_t have, double, void* acc) noexcept {
    alignas(64) T center[kReduceColumns], sum[kReduceColumns], squares[kReduceColumns];
    const T* const* p = reinterpret_cast<const T* const*>(x);
    const auto plus = [](T a, T b) VIVA_INLINE_CALL { return a + b; };
    const T count = static_cast<T>(n);
    fold_columns_of<sum_r<T>>(p, n, cols, 0, center);
    for (size_t c = 0; c < cols; ++c) center[c] /= count;
    const T* m = center;
    fold_columns<T>(p, n, cols, T(0), [m](T v, size_t c) VIVA_INLINE_CALL { return v - m[c]; }, plus, sum);
    fold_columns<T>(p, n, cols, T(0), [m](T v, size_t c) VIVA_INLINE_CALL { return (v - m[c]) * (v - m[c]); }, plus, squares);
    Acc* a = static_cast<Acc*>(acc);
    for (size_t c = 0; c < cols; ++c) {
      const Acc b = block(center[c], sum[c], squares[c], static_cast<double>(n));
      a[c] = have == 0 ? b : added(a[c], static_cast<double>(have), b, static_cast<double>(n));
    }
  }
  static void join(void* a, uint64_t na, const void* b, uint64_t nb, size_t n) noexcept {
    Acc* to = static_cast<Acc*>(a);
    for (size_t i = 0; i < n; ++i) to[i] = added(to[i], static_cast<double>(na), static_cast<const Acc*>(b)[i], static_cast<double>(nb));
  }
  static void finish(const void* acc, size_t n, uint64_t count, double correction, void* out) noexcept {
    const double d = std::max(static_cast<double>(count) - correction, 0.0);
    for (size_t i = 0; i < n; ++i) {
      const double v = static_cast<const Acc*>(acc)[i].squares / d;
      static_cast<T*>(out)[i] = static_cast<T>(kRoot ? std::sqrt(v) : v);
    }
  }
};

// Where the best value (by min_r, max_r) is.
template <class P>
struct Where {
  using T = typename P::In;
  struct Acc {
    T value;
    int64_t index;
  };
  using Out = int64_t;
  static constexpr bool kDefined = P::kDefined;
  static VIVA_F size_t find(const T* x, size_t n, T v) {
    constexpr size_t kStep = 64;
    size_t i = 0;
    for (; i + kStep <= n; i += kStep) {  // whether it is here, without branches
      uint8_t here = 0;
      for (size_t j = 0; j < kStep; ++j) here |= static_cast<uint8_t>(x[i + j] == v) | static_cast<uint8_t>(x[i + j] != x[i + j]);
      if (here != 0) break;
    }
    for (; i < n; ++i) {
      if (x[i] == v || x[i] != x[i]) return i;
    }
    return 0;
  }
  static void rows(const void* x, ptrdiff_t stride, size_t rows, size_t n, uint64_t at, uint64_t have, double, void* acc) noexcept {
    Acc* a = static_cast<Acc*>(acc);
    for (size_t r = 0; r < rows; ++r) {
      const T* p = row<T>(x, stride, r);
      const T v = fold_of<P>(p, n, 0);
      if (have == 0 || P::better(v, a[r].value)) a[r] = {v, static_cast<int64_t>(at + find(p, n, v))};
    }
  }
  static VIVA_F void take(T& best, T& index, T v, T at) {
    const T joined = P::join(best, v), changed = joined != best ? at : index;
    index = best != best ? index : changed;
    best = joined;
  }
  static void columns(const void* const* x, size_t n, size_t cols, uint64_t at, uint64_t have, double, void* acc) noexcept {
    alignas(64) T best[kReduceColumns];
    alignas(64) T index[kReduceColumns];  // fewer than kReduceRows: any type holds them
    const T* const* p = reinterpret_cast<const T* const*>(x);
    Acc* a = static_cast<Acc*>(acc);
    std::copy_n(p[0], cols, best);
    std::fill_n(index, cols, T(0));
    size_t r = 1;
    for (; r + 4 <= n; r += 4) {
      const T *q0 = p[r], *q1 = p[r + 1], *q2 = p[r + 2], *q3 = p[r + 3];
      const T i0 = static_cast<T>(r), i1 = static_cast<T>(r + 1), i2 = static_cast<T>(r + 2), i3 = static_cast<T>(r + 3);
#pragma GCC ivdep
      for (size_t c = 0; c < cols; ++c) {
        T v = best[c], i = index[c];
        take(v, i, q0[c], i0);
        take(v, i, q1[c], i1);
        take(v, i, q2[c], i2);
        take(v, i, q3[c], i3);
        best[c] = v;
        index[c] = i;
      }
    }
    for (; r < n; ++r) {
      const T* q = p[r];
      const T here = static_cast<T>(r);
#pragma GCC ivdep
      for (size_t c = 0; c < cols; ++c) take(best[c], index[c], q[c], here);
    }
    for (size_t c = 0; c < cols; ++c) {
      if (have == 0 || P::better(best[c], a[c].value)) a[c] = {best[c], static_cast<int64_t>(at) + static_cast<int64_t>(index[c])};
    }
  }
  static void join(void* a, uint64_t, const void* b, uint64_t, size_t n) noexcept {
    Acc* to = static_cast<Acc*>(a);
    const Acc* from = static_cast<const Acc*>(b);
    for (size_t i = 0; i < n; ++i) {
      if (P::better(from[i].value, to[i].value)) to[i] = from[i];
    }
  }
  static void finish(const void* acc, size_t n, uint64_t, double, void* out) noexcept {
    for (size_t i = 0; i < n; ++i) static_cast<int64_t*>(out)[i] = static_cast<const Acc*>(acc)[i].index;
  }
};

// The largest value and the sum of e^(x - it).
template <class T>
struct LogSum {
  struct Acc {
    double high, sum;
  };
  using Out = T;
  static constexpr bool kDefined = kIsFloat<T>;
  static VIVA_F Acc added(Acc a, Acc b) {
    const double high = max_r<double>::join(a.high, b.high);
    if (!(std::fabs(high) < std::numeric_limits<double>::infinity())) return {high, 0};
    return {high, a.sum * std::exp(a.high - high) + b.sum * std::exp(b.high - high)};
  }
  static VIVA_F T center(T high) { return std::fabs(high) < std::numeric_limits<T>::infinity() ? high : T(0); }
  static void rows(const void* x, ptrdiff_t stride, size_t rows, size_t n, uint64_t, uint64_t have, double, void* acc) noexcept {
    Acc* a = static_cast<Acc*>(acc);
    for (size_t r = 0; r < rows; ++r) {
      const T* p = row<T>(x, stride, r);
      constexpr size_t kPiece = 2048;
      if (have == 0) a[r] = {-std::numeric_limits<double>::infinity(), 0};
      for (size_t i = 0; i < n; i += kPiece) {
        const size_t k = std::min(kPiece, n - i);
        for (size_t j = 0; j < k; j += 64 / sizeof(T)) __builtin_prefetch(p + i + k + j);  // comes while this is computed
        const T high = fold_of<max_r<T>>(p + i, k, 0);
        alignas(64) T e[kPiece];
        exps(p + i, center(high), k, e);
        const T sum = fold_of<sum_r<T>>(static_cast<const T*>(e), k, 0);
        a[r] = have + i == 0 ? Acc{high, sum} : added(a[r], {high, sum});
      }
    }
  }
  static void columns(const void* const* x, size_t n, size_t cols, uint64_t, uint64_t have, double, void* acc) noexcept {
    alignas(64) T high[kReduceColumns], m[kReduceColumns], sum[kReduceColumns];
    const T* const* p = reinterpret_cast<const T* const*>(x);
    fold_columns_of<max_r<T>>(p, n, cols, 0, high);
    for (size_t c = 0; c < cols; ++c) m[c] = center(high[c]);
    alignas(64) T e[kReduceColumns];
    for (size_t c = 0; c < cols; ++c) sum[c] = 0;
    for (size_t r = 0; r < n; ++r) {
      exps(p[r], static_cast<const T*>(m), cols, e);
      for (size_t c = 0; c < cols; ++c) sum[c] += e[c];
    }
    Acc* a = static_cast<Acc*>(acc);
    for (size_t c = 0; c < cols; ++c) a[c] = have == 0 ? Acc{high[c], sum[c]} : added(a[c], {high[c], sum[c]});
  }
  static void join(void* a, uint64_t, const void* b, uint64_t, size_t n) noexcept {
    Acc* to = static_cast<Acc*>(a);
    for (size_t i = 0; i < n; ++i) to[i] = added(to[i], static_cast<const Acc*>(b)[i]);
  }
  static void finish(const void* acc, size_t n, uint64_t, double, void* out) noexcept {
    for (size_t i = 0; i < n; ++i) {
      const Acc a = static_cast<const Acc*>(acc)[i];
      const bool finite = std::fabs(a.high) < std::numeric_limits<double>::infinity();
      static_cast<T*>(out)[i] = static_cast<T>(finite ? a.high + std::log(a.sum) : a.high);
    }
  }
};

template <class T> using sum_c = Joined<sum_r<T>>;
template <class T> using prod_c = Joined<prod_r<T>>;
template <class T> using mean_c = Joined<mean_r<T>>;
template <class T> using var_c = Moments<T, false>;
template <class T> using std_c = Moments<T, true>;
template <class T> using min_c = Joined<min_r<T>>;
template <class T> using max_c = Joined<max_r<T>>;
template <class T> using argmin_c = Where<min_r<T>>;
template <class T> using argmax_c = Where<max_r<T>>;
template <class T> using any_c = Joined<any_r<T>>;
template <class T> using all_c = Joined<all_r<T>>;
template <class T> using count_nonzero_c = Joined<count_nonzero_r<T>>;
template <class T> using logsumexp_c = LogSum<T>;
template <class T> using norm_1_c = Joined<norm_1_r<T>>;
template <class T> using norm_2_c = Joined<norm_2_r<T>>;
template <class T> using norm_max_c = Joined<norm_max_r<T>>;
template <class T> using norm_min_c = Joined<norm_min_r<T>>;
template <class T> using norm_p_c = Joined<norm_p_r<T>>;

template <class C>
constexpr ReduceCode kCode = {sizeof(typename C::Acc), dtype_of<typename C::Out>, &C::rows, &C::columns, &C::join, &C::finish};

template <class C, bool kDefined>
constexpr const ReduceCode* code_if() {
  if constexpr (kDefined) {
    return &kCode<C>;
  } else {
    return nullptr;
  }
}
template <template <class> class C, class T>
constexpr const ReduceCode* choose() {
  if constexpr (kIsComplex<T>) {  // the others are not even defined on it
    constexpr bool kSums = std::is_same_v<C<T>, sum_c<T>> || std::is_same_v<C<T>, prod_c<T>> || std::is_same_v<C<T>, mean_c<T>>;
    return code_if<C<T>, kSums>();
  } else {
    return code_if<C<T>, C<T>::kDefined>();
  }
}

template <class T>
constexpr ReduceRow kRow = {
#define VIVA_REDUCTION_PART(NAME, TYPES, RESULT, DOC) choose<NAME##_c, T>(),
#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) choose<NAME##_c, T>(),
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
};

}  // namespace

static const ReduceRow* VIVA_REDUCE_GROUP(DType t) noexcept {
#define VIVA_ROW(T) \
  if (t == dtype_of<T>) return &kRow<T>;
  VIVA_REDUCE_TYPES(VIVA_ROW)
#undef VIVA_ROW
  return nullptr;
}

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
const ReduceRow* VIVA_REDUCE_GROUP(DType t, Target target) noexcept;
const ReduceRow* VIVA_REDUCE_GROUP(DType t, Target target) noexcept {
  return VIVA_CHOOSE(target, VIVA_REDUCE_GROUP)(t);
}
}  // namespace viva::kernels
#endif
