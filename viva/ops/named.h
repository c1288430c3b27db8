#pragma once

#include <complex>

#include "viva/ops/ops.h"
#include "viva/tensor/axes.h"

// The verbs over names: sum<Time>(x) where ops.h has sum(x, {1}). Each is one call of the verb without names, with the numbers
// of the axes put in by the compiler; that verb checks sizes and types. Operands meet by name: a + b has the axes of a, then
// those that only b has.
// A name costs nothing only where no function is made of it, however large a Shape is.
#define VIVA_INLINE __attribute__((always_inline))

namespace viva {

namespace axes {

template <class X>
concept Number = std::is_arithmetic_v<X> || std::is_same_v<X, std::complex<float>> || std::is_same_v<X, std::complex<double>>;

// What an operand is: its tensor and axes; a number has none.
template <class X>
struct Operand {
  static constexpr bool fits = Number<X>;
  using Axes = List<>;
};
template <class T, class... A>
struct Operand<Named<T, A...>> {
  static constexpr bool fits = true;
  using Axes = List<A...>;
  using Type = T;
};
template <class X, class... More>
struct FirstTensor : FirstTensor<More...> {};
template <class T, class... A, class... More>
struct FirstTensor<Named<T, A...>, More...> {
  using type = T;
};

template <class M, class X>
VIVA_INLINE inline decltype(auto) operand(const X& x) {
  if constexpr (is_named<X>) {
    return aligned<M>(x);
  } else {
    return (x);
  }
}

// f(operands...) over the axes of all of them.
template <class F, class... X>
VIVA_INLINE inline auto together(F f, const X&... x) {
  static_assert((Operand<X>::fits && ...), "viva: a tensor without names beside one with names: named<...>(tensor) gives it some");
  using All = typename UnionOf<typename Operand<X>::Axes...>::type;
  return make<typename FirstTensor<X...>::type, All>([&]() VIVA_INLINE { return f(operand<All>(x)...); });
}

// f(x, axes) without the axes R, or without any where none is named.
template <class... R, class T, class... A, class F>
VIVA_INLINE inline auto folded(const Named<T, A...>& x, F f) {
  static_assert(distinct<R...>, "viva: an axis is named twice");
  if constexpr (sizeof...(R) == 0) {
    return make<T, List<>>([&]() VIVA_INLINE { return f(x.tensor(), viva::Axes()); });
  } else {
    return make<T, Without<List<A...>, R...>>([&]() VIVA_INLINE { return f(x.tensor(), viva::Axes{place<R, List<A...>>()...}); });
  }
}

// f(x, axis) with the same axes.
template <class X, class T, class... A, class F>
VIVA_INLINE inline Named<T, A...> along(const Named<T, A...>& x, F f) {
  return Named<T, A...>(Make{}, [&]() VIVA_INLINE { return f(x.tensor(), place<X, List<A...>>()); });
}

// Axis k in two, and with the next one in one; views where the strides can say it.
inline Tensor split_at(const Tensor& x, int64_t k, int64_t outer) {
  const int64_t n = x.size(k);
  if (outer <= 0 || n % outer != 0) {
    throw Error(Code::kUsage, "split_axis", std::to_string(outer) + " parts of axis " + std::to_string(k) + " of shape " + text(x.shape()), "its size must be a multiple");
  }
  Shape shape = x.shape();
  shape[static_cast<size_t>(k)] = n / outer;
  shape.insert(static_cast<size_t>(k), outer);
  return reshape(x, shape);
}
inline Tensor join_at(const Tensor& x, int64_t k) {
  Shape shape;
  for (size_t i = 0; i < x.rank(); ++i) {
    if (i == static_cast<size_t>(k) + 1) {
      int64_t& n = shape[i - 1];
      if (__builtin_mul_overflow(n, x.shape()[i], &n)) throw Error(Code::kUsage, "join_axes", "the sizes of shape " + text(x.shape()) + " do not fit in one");
    } else {
      shape.push_back(x.shape()[i]);
    }
  }
  return reshape(x, shape);
}

// f(x, axis) without that one.
template <class X, class T, class... A, class F>
VIVA_INLINE inline auto dropped(const Named<T, A...>& x, F f) {
  return make<T, Without<List<A...>, X>>([&]() VIVA_INLINE { return f(x.tensor(), place<X, List<A...>>()); });
}

template <class X, class T, class... A, class... B>
void check_equal(const Named<T, A...>& a, const Named<T, B...>& b, std::string_view operation) {
  if constexpr (in<X, List<B...>>) {
    if (a.template size<X>() != b.template size<X>()) refuse_sizes(operation, name_of<X>(), a.tensor().shape(), b.tensor().shape());
  }
}

template <class R, class K, class A, class B>
struct Contraction;
template <class R, class... K, class... A, class... B>
struct Contraction<R, List<K...>, List<A...>, List<B...>> {
  static constexpr bool batch = ((in<A, List<B...>> && !in<A, List<K...>>) || ...);
  // "abc,dc->abd": a letter for each axis.
  using All = Union<List<A...>, List<B...>>;
  static constexpr std::array<char, sizeof...(A) + sizeof...(B) + R::size + 4> formula = [] {
    std::array<char, sizeof...(A) + sizeof...(B) + R::size + 4> f{};
    size_t n = 0;
    const auto put = [&](int64_t k) { f[n++] = static_cast<char>(k < 26 ? 'a' + k : 'A' + k - 26); };
    (put(find<A, All>), ...);
    f[n++] = ',';
    (put(find<B, All>), ...);
    f[n++] = '-', f[n++] = '>';
    [&]<class... X>(List<X...>) { (put(find<X, All>), ...); }(R{});
    return f;
  }();
};

// The one place that knows how a contraction is computed: sum over the axes K of a b, with the axes R. Without a batch
// tensordot has them in this order.
template <class R, class... K, class T, class... A, class... B>
__attribute__((always_inline)) inline T contracted(List<K...>, const Named<T, A...>& a, const Named<T, B...>& b) {
  using C = Contraction<R, List<K...>, List<A...>, List<B...>>;
  if constexpr (C::batch) {
    (check_equal<A>(a, b, "contract"), ...);  // einsum would stretch sizes of 1
    return einsum(C::formula.data(), {a.tensor(), b.tensor()});
  } else {
    return tensordot(a.tensor(), b.tensor(), {find<K, List<A...>>...}, {find<K, List<B...>>...});
  }
}

}  // namespace axes

// ---- one value at a time: every function of ops.h ----
#define VIVA_NAMED_1(NAME)                                           \
  template <class T, class... A>                                     \
  VIVA_INLINE inline Named<T, A...> NAME(const Named<T, A...>& x) {                     \
    return Named<T, A...>(axes::Make{}, [&]() VIVA_INLINE { return NAME(x.tensor()); }); \
  }
#define VIVA_NAMED_2(NAME)                                           \
  template <class X, class Y>                                        \
    requires(axes::is_named<X> || axes::is_named<Y>)                 \
  VIVA_INLINE inline auto NAME(const X& a, const Y& b) {                                \
    return axes::together([](const auto& s, const auto& t) VIVA_INLINE { return NAME(s, t); }, a, b); \
  }
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) VIVA_NAMED_##OPERANDS(NAME)
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
#undef VIVA_NAMED_1
#undef VIVA_NAMED_2

#define VIVA_NAMED_OPERATOR(SIGN, NAME)              \
  template <class X, class Y>                        \
    requires(axes::is_named<X> || axes::is_named<Y>) \
  VIVA_INLINE inline auto operator SIGN(const X& a, const Y& b) {       \
    return NAME(a, b);                               \
  }
VIVA_NAMED_OPERATOR(+, add)
VIVA_NAMED_OPERATOR(-, subtract)
VIVA_NAMED_OPERATOR(*, multiply)
VIVA_NAMED_OPERATOR(/, divide)
#undef VIVA_NAMED_OPERATOR
template <class T, class... A>
VIVA_INLINE inline Named<T, A...> operator-(const Named<T, A...>& x) {
  return negative(x);
}

template <class C, class X, class Y>
  requires(axes::is_named<C>)
VIVA_INLINE inline auto where(const C& condition, const X& a, const Y& b) {
  return axes::together([](const auto& c, const auto& s, const auto& t) VIVA_INLINE { return where(c, s, t); }, condition, a, b);
}
template <class X, class L, class H>
  requires(axes::is_named<X>)
VIVA_INLINE inline auto clamp(const X& x, const L& low, const H& high) {
  return axes::together([](const auto& v, const auto& l, const auto& h) VIVA_INLINE { return clamp(v, l, h); }, x, low, high);
}
template <class T, class... A>
VIVA_INLINE inline Named<T, A...> to(const Named<T, A...>& x, DType dtype) {
  return Named<T, A...>(axes::Make{}, [&]() VIVA_INLINE { return to(x.tensor(), dtype); });
}
template <class T, class... A>
VIVA_INLINE inline Named<T, A...> contiguous(const Named<T, A...>& x) {
  return Named<T, A...>(axes::Make{}, [&]() VIVA_INLINE { return contiguous(x.tensor()); });
}

// ---- folding: the axes that are named go; none named: all ----
#define VIVA_NAMED_FOLD(NAME)                                                             \
  template <class... R, class T, class... A>                                              \
  VIVA_INLINE inline auto NAME(const Named<T, A...>& x) {                                                    \
    return axes::folded<R...>(x, [](const T& t, const Axes& over) VIVA_INLINE { return NAME(t, over); }); \
  }
VIVA_NAMED_FOLD(sum)
VIVA_NAMED_FOLD(prod)
#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) VIVA_NAMED_FOLD(NAME)
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
#undef VIVA_NAMED_FOLD
template <class... R, class T, class... A>
VIVA_INLINE inline auto var(const Named<T, A...>& x, double correction = 0) {
  return axes::folded<R...>(x, [&](const T& t, const Axes& over) VIVA_INLINE { return var(t, over, correction); });
}
template <class... R, class T, class... A>
VIVA_INLINE inline auto std(const Named<T, A...>& x, double correction = 0) {
  return axes::folded<R...>(x, [&](const T& t, const Axes& over) VIVA_INLINE { return viva::std(t, over, correction); });
}
template <class... R, class T, class... A>
VIVA_INLINE inline auto norm(const Named<T, A...>& x, double ord = 2) {
  return axes::folded<R...>(x, [&](const T& t, const Axes& over) VIVA_INLINE { return norm(t, ord, over); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto argmin(const Named<T, A...>& x) {
  return axes::dropped<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return argmin(t, axis); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto argmax(const Named<T, A...>& x) {
  return axes::dropped<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return argmax(t, axis); });
}

// ---- along one axis ----
template <class X, class T, class... A>
VIVA_INLINE inline auto softmax(const Named<T, A...>& x) {
  return axes::along<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return softmax(t, axis); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto log_softmax(const Named<T, A...>& x) {
  return axes::along<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return log_softmax(t, axis); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto cumulative_sum(const Named<T, A...>& x) {
  return axes::along<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return cumulative_sum(t, axis); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto cumulative_prod(const Named<T, A...>& x) {
  return axes::along<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return cumulative_prod(t, axis); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto sort(const Named<T, A...>& x, bool descending = false) {
  return axes::along<X>(x, [&](const T& t, int64_t axis) VIVA_INLINE { return sort(t, axis, descending); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto argsort(const Named<T, A...>& x, bool descending = false) {
  return axes::along<X>(x, [&](const T& t, int64_t axis) VIVA_INLINE { return argsort(t, axis, descending); });
}

namespace axes {
// f over the last axis, along axis X.
template <class X, class F, class T, class... A>
VIVA_INLINE inline auto at_the_end(const Named<T, A...>& x, F f) {
  return along<X>(x, [&](const T& t, int64_t axis) VIVA_INLINE {
    return axis + 1 == static_cast<int64_t>(sizeof...(A)) ? f(t) : f(t.transpose(axis, -1)).transpose(axis, -1);
  });
}
}  // namespace axes
template <class X, class T, class... A>
VIVA_INLINE inline auto layer_norm(const Named<T, A...>& x, double epsilon = 1e-5) {
  return axes::at_the_end<X>(x, [&](const T& t) VIVA_INLINE { return layer_norm(t, {}, {}, 1, epsilon); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto layer_norm(const Named<T, A...>& x, const Named<T, X>& weight, const Named<T, X>& bias, double epsilon = 1e-5) {
  return axes::at_the_end<X>(x, [&](const T& t) VIVA_INLINE { return layer_norm(t, weight.tensor(), bias.tensor(), 1, epsilon); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto rms_norm(const Named<T, A...>& x, double epsilon = 1e-6) {
  return axes::at_the_end<X>(x, [&](const T& t) VIVA_INLINE { return rms_norm(t, {}, 1, epsilon); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto rms_norm(const Named<T, A...>& x, const Named<T, X>& weight, double epsilon = 1e-6) {
  return axes::at_the_end<X>(x, [&](const T& t) VIVA_INLINE { return rms_norm(t, weight.tensor(), 1, epsilon); });
}

// ---- views ----
// permute<Channel, Batch, Time>(x): every axis once.
template <class... P, class T, class... A>
VIVA_INLINE inline Named<T, P...> permute(const Named<T, A...>& x) {
  static_assert(sizeof...(P) == sizeof...(A) && axes::distinct<P...> && (axes::in<P, axes::List<A...>> && ...),
                "viva: permute must name every axis of the tensor once");
  return Named<T, P...>(axes::Make{}, [&]() VIVA_INLINE { return x.tensor().permute({axes::find<P, axes::List<A...>>...}); });
}
template <class X, class Y, class T, class... A>
VIVA_INLINE inline auto transpose(const Named<T, A...>& x) {
  using L = axes::List<A...>;
  return axes::make<T, typename axes::SwappedList<X, Y, L>::type>([&]() VIVA_INLINE { return x.tensor().transpose(axes::place<X, L>(), axes::place<Y, L>()); });
}
template <class From, class To, class T, class... A>
VIVA_INLINE inline auto rename(const Named<T, A...>& x) {
  static_assert(axes::in<From, axes::List<A...>>, "viva: the tensor has no axis of this name");
  static_assert(!axes::in<To, axes::List<A...>>, "viva: the tensor has an axis of this name already");
  return axes::make<T, axes::Renamed<From, To, axes::List<A...>>>([&]() VIVA_INLINE { return x.tensor(); });
}
// One axis becomes two: split_axis<Channel, Head, Part>(x, 8) of (Batch, Channel) is (Batch, Head, Part) with 8 heads.
template <class From, class Outer, class Inner, class T, class... A>
VIVA_INLINE inline auto split_axis(const Named<T, A...>& x, int64_t outer) {
  using L = axes::List<A...>;
  using Rest = axes::Without<L, From>;
  static_assert(axes::in<From, L>, "viva: the tensor has no axis of this name");
  static_assert(!axes::in<Outer, Rest> && !axes::in<Inner, Rest>, "viva: the tensor has an axis of this name already");
  using To = typename axes::ReplacedList<From, axes::List<Outer, Inner>, L>::type;
  return axes::make<T, To>([&]() VIVA_INLINE { return axes::split_at(x.tensor(), axes::find<From, L>, outer); });
}
// Two neighbours become one: join_axes<Head, Part, Channel>(x) is the way back.
template <class Outer, class Inner, class To, class T, class... A>
VIVA_INLINE inline auto join_axes(const Named<T, A...>& x) {
  using L = axes::List<A...>;
  static_assert(axes::in<Outer, L> && axes::in<Inner, L>, "viva: the tensor has no axis of this name");
  static_assert(axes::find<Inner, L> == axes::find<Outer, L> + 1, "viva: join_axes joins an axis with the one behind it; permute puts it there");
  static_assert(!axes::in<To, axes::Without<L, Outer, Inner>>, "viva: the tensor has an axis of this name already");
  using R = typename axes::ReplacedList<Outer, axes::List<To>, axes::Without<L, Inner>>::type;
  return axes::make<T, R>([&]() VIVA_INLINE { return axes::join_at(x.tensor(), axes::find<Outer, L>); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto select(const Named<T, A...>& x, int64_t index) {
  return axes::dropped<X>(x, [&](const T& t, int64_t axis) VIVA_INLINE { return t.select(axis, index); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto slice(const Named<T, A...>& x, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step = 1) {
  return axes::along<X>(x, [&](const T& t, int64_t axis) VIVA_INLINE { return t.slice(axis, start, stop, step); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto narrow(const Named<T, A...>& x, int64_t start, int64_t length) {
  return axes::along<X>(x, [&](const T& t, int64_t axis) VIVA_INLINE { return t.narrow(axis, start, length); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto flip(const Named<T, A...>& x) {
  return axes::along<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return t.flip({axis}); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto squeeze(const Named<T, A...>& x) {  // of size 1
  return axes::dropped<X>(x, [](const T& t, int64_t axis) VIVA_INLINE { return t.squeeze(axis); });
}
template <class X, class T, class... A>
VIVA_INLINE inline auto unsqueeze(const Named<T, A...>& x) {  // a new axis in front, of size 1
  static_assert(!axes::in<X, axes::List<A...>>, "viva: the tensor has an axis of this name already");
  return Named<T, X, A...>(axes::Make{}, [&]() VIVA_INLINE { return x.tensor().unsqueeze(0); });
}

// ---- several tensors ----
// One behind the other along X, with the axes of the first; all must have the same ones, in any order.
template <class X, class T, class... A, class... More>
VIVA_INLINE inline Named<T, A...> concat(const Named<T, A...>& first, const More&... more) {
  using L = axes::List<A...>;
  static_assert(((axes::Operand<More>::Axes::size == L::size && std::is_same_v<axes::Union<L, typename axes::Operand<More>::Axes>, L>) && ...),
                "viva: concat joins tensors that have the same axes");
  return Named<T, A...>(axes::Make{}, [&]() VIVA_INLINE { return concat({first.tensor(), axes::aligned<L>(more)...}, axes::place<X, L>()); });
}
// Beside each other along a new axis in front.
template <class X, class T, class... A, class... More>
VIVA_INLINE inline Named<T, X, A...> stack(const Named<T, A...>& first, const More&... more) {
  using L = axes::List<A...>;
  static_assert(!axes::in<X, L>, "viva: the tensor has an axis of this name already");
  static_assert(((axes::Operand<More>::Axes::size == L::size && std::is_same_v<axes::Union<L, typename axes::Operand<More>::Axes>, L>) && ...),
                "viva: stack joins tensors that have the same axes");
  return Named<T, X, A...>(axes::Make{}, [&]() VIVA_INLINE { return stack({first.tensor(), axes::aligned<L>(more)...}, 0); });
}

// Sums a b over the axes K, which both have; others that both have are kept side by side, as a batch. The result has the left
// one's axes, then those that only the right one has: contract<Channel>(x, w) of (Batch, Channel), (Channel, Hidden) is
// (Batch, Hidden).
template <class... K, class T, class... A, class... B>
__attribute__((always_inline)) inline auto contract(const Named<T, A...>& a, const Named<T, B...>& b) {
  static_assert(sizeof...(K) > 0 && axes::distinct<K...>, "viva: contract<Axis...> sums over the axes that it names, each once");
  static_assert(((axes::in<K, axes::List<A...>> && axes::in<K, axes::List<B...>>) && ...), "viva: contract sums over axes that both tensors have");
  using R = axes::Without<axes::Union<axes::List<A...>, axes::List<B...>>, K...>;
  return axes::make<T, R>([&]() VIVA_INLINE { return axes::contracted<R>(axes::List<K...>{}, a, b); });
}

// contract over the last axis of the left one.
template <class T, class... A, class... B>
VIVA_INLINE inline auto matmul(const Named<T, A...>& a, const Named<T, B...>& b) {
  using K = axes::Last<axes::List<A...>>;
  static_assert(axes::in<K, axes::List<B...>>, "viva: matmul sums over the left tensor's last axis, which the right one must have");
  return contract<K>(a, b);
}

}  // namespace viva

#undef VIVA_INLINE
