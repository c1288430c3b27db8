#pragma once

#include <array>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "viva/tensor/tensor.h"

// Axes with names that the compiler checks. A name is a type of the caller's: struct Time {}; Named<Tensor, Batch, Time> is a
// tensor of two axes and nothing else: which place an axis has is computed when the program is compiled (verbs:
// viva/ops/named.h). What does not fit together does not compile.
namespace viva {

template <class T, class... A>
class Named;

namespace axes {

template <class... A>
struct List {
  static constexpr size_t size = sizeof...(A);
};

template <class X, class... A>
inline constexpr size_t times = (size_t{std::is_same_v<X, A>} + ... + 0);

template <class... A>
inline constexpr bool distinct = ((times<A, A...> == 1) && ...);

template <class X, class L>
inline constexpr bool in = false;
template <class X, class... A>
inline constexpr bool in<X, List<A...>> = times<X, A...> != 0;

// Which axis X is; -1: none of these.
template <class X, class L>
inline constexpr int64_t find = -1;
template <class X, class... A>
inline constexpr int64_t find<X, List<A...>> = [] {
  int64_t k = 0;
  const bool met = ((std::is_same_v<X, A> || (++k, false)) || ...);
  return met ? k : -1;
}();

template <class X, class L>
consteval int64_t place() {
  static_assert(in<X, L>, "viva: the tensor has no axis of this name");
  return find<X, L>;
}

// ---- lists from lists ----

template <class L, class M>
struct JoinList;
template <class... A, class... B>
struct JoinList<List<A...>, List<B...>> {
  using type = List<A..., B...>;
};
template <class... L>
struct Concatenated {
  using type = List<>;
};
template <class L, class... M>
struct Concatenated<L, M...> {
  using type = typename JoinList<L, typename Concatenated<M...>::type>::type;
};

template <class L, class Gone>
struct WithoutList;
template <class... A, class Gone>
struct WithoutList<List<A...>, Gone> {
  using type = typename Concatenated<std::conditional_t<in<A, Gone>, List<>, List<A>>...>::type;
};
template <class L, class... Gone>
using Without = typename WithoutList<L, List<Gone...>>::type;

// The left one's axes, then those that only the right one has.
template <class L, class M>
using Union = typename Concatenated<L, typename WithoutList<M, L>::type>::type;

template <class L, class... M>
struct UnionOf {
  using type = L;
};
template <class L, class M, class... N>
struct UnionOf<L, M, N...> {
  using type = typename UnionOf<Union<L, M>, N...>::type;
};

template <class From, class To, class L>
struct RenamedList;
template <class From, class To, class... A>
struct RenamedList<From, To, List<A...>> {
  using type = List<std::conditional_t<std::is_same_v<A, From>, To, A>...>;
};
template <class From, class To, class L>
using Renamed = typename RenamedList<From, To, L>::type;

// To... in the place of From.
template <class From, class To, class L>
struct ReplacedList;
template <class From, class To, class... A>
struct ReplacedList<From, To, List<A...>> {
  using type = typename Concatenated<std::conditional_t<std::is_same_v<A, From>, To, List<A>>...>::type;
};

template <class X, class Y, class L>
struct SwappedList;
template <class X, class Y, class... A>
struct SwappedList<X, Y, List<A...>> {
  using type = List<std::conditional_t<std::is_same_v<A, X>, Y, std::conditional_t<std::is_same_v<A, Y>, X, A>>...>;
};

template <class L>
struct LastOf {
  static_assert(L::size > 0, "viva: the tensor has no axes");
};
template <class X, class... A>
struct LastOf<List<X, A...>> : LastOf<List<A...>> {};
template <class X>
struct LastOf<List<X>> {
  using type = X;
};
template <class L>
using Last = typename LastOf<L>::type;

template <class T, class L>
struct NamedBy;
template <class T, class... A>
struct NamedBy<T, List<A...>> {
  using type = Named<T, A...>;
};
template <class T, class L>
using NamedOf = typename NamedBy<T, L>::type;

// ---- names for messages ----

// X::name where it has one, else as it is written in the program, without its namespace.
template <class X>
std::string_view name_of() {
  if constexpr (requires { std::string_view(X::name); }) {
    return X::name;
  } else {
    std::string_view s = __PRETTY_FUNCTION__;
    s.remove_prefix(s.find("X = ") + 4);
    s = s.substr(0, s.find_first_of(";]"));
    const size_t colon = s.rfind(':');
    return colon == std::string_view::npos ? s : s.substr(colon + 1);
  }
}
template <class... A>
std::string names(List<A...>) {
  std::string s;
  ((s.append(s.empty() ? "" : ", ").append(name_of<A>())), ...);
  return s;
}

[[noreturn]] void refuse_shape(const Shape& shape, const Shape* sizes, const std::string& names);
[[noreturn]] void refuse_sizes(std::string_view operation, std::string_view axis, const Shape& a, const Shape& b);

struct Make {};

}  // namespace axes

template <class T, class... A>
class Named {
  static_assert(axes::distinct<A...>, "viva: an axis is named twice");

 public:
  using Axes = axes::List<A...>;

  // Throws kUsage where the tensor has not as many axes.
  explicit Named(T tensor) : tensor_(std::move(tensor)) { check(nullptr); }
  // Also where an axis has not this size; -1: any.
  Named(T tensor, const Shape& sizes) : tensor_(std::move(tensor)) { check(&sizes); }
  // What f() returns, of these axes for certain.
  template <class F>
  __attribute__((always_inline)) Named(axes::Make, F&& f) : tensor_(f()) {}

  const T& tensor() const noexcept { return tensor_; }
  static constexpr size_t rank() noexcept { return sizeof...(A); }
  template <class X>
  static consteval int64_t axis() {
    return axes::place<X, Axes>();
  }
  template <class X>
  int64_t size() const noexcept {
    return tensor_.shape()[static_cast<size_t>(axes::place<X, Axes>())];
  }

 private:
  void check(const Shape* sizes) const {
    const Shape& shape = tensor_.shape();
    bool good = shape.size() == sizeof...(A) && (sizes == nullptr || sizes->size() == sizeof...(A));
    for (size_t i = 0; good && sizes != nullptr && i < sizeof...(A); ++i) good = (*sizes)[i] == -1 || (*sizes)[i] == shape[i];
    if (!good) axes::refuse_shape(shape, sizes, axes::names(Axes{}));
  }

  T tensor_;
};

// Names for the axes of a tensor, outermost first: named<Batch, Time>(x).
template <class... A, class T>
Named<T, A...> named(T tensor) {
  return Named<T, A...>(std::move(tensor));
}
template <class... A, class T>
Named<T, A...> named(T tensor, const Shape& sizes) {
  return Named<T, A...>(std::move(tensor), sizes);
}

namespace axes {

template <class X>
inline constexpr bool is_named = false;
template <class T, class... A>
inline constexpr bool is_named<Named<T, A...>> = true;

// Made where it is returned to: nothing is moved.
template <class T, class L, class F>
__attribute__((always_inline)) inline NamedOf<T, L> make(F&& f) {
  return NamedOf<T, L>(Make{}, std::forward<F>(f));
}

// A view with the axes `from`; -1: a new one of size 1.
template <size_t N>
inline Tensor arranged(const Tensor& t, const std::array<int64_t, N>& from) {
  Shape shape(N, 1);
  Strides strides(N, 0);
  for (size_t i = 0; i < N; ++i) {
    if (from[i] < 0) continue;
    shape[i] = t.shape()[static_cast<size_t>(from[i])];
    strides[i] = t.strides()[static_cast<size_t>(from[i])];
  }
  return {t.buffer(), t.raw(), t.dtype(), shape, strides};
}

template <class L, class M>
struct Places;
template <class L, class... M>
struct Places<L, List<M...>> {
  static constexpr std::array<int64_t, sizeof...(M)> from = {find<M, L>...};
  // Whether L is how M ends: then broadcasting puts it right by itself.
  static constexpr bool ending = [] {
    for (size_t i = 0; i < sizeof...(M); ++i) {
      const int64_t k = static_cast<int64_t>(i + L::size) - static_cast<int64_t>(sizeof...(M));
      if (from[i] != (k < 0 ? -1 : k)) return false;
    }
    return true;
  }();
};

// x as an operand that broadcasts with others over the axes M.
template <class M, class T, class... A>
decltype(auto) aligned(const Named<T, A...>& x) {
  using P = Places<List<A...>, M>;
  if constexpr (P::ending) {
    return (x.tensor());
  } else {
    return arranged(x.tensor(), P::from);
  }
}

}  // namespace axes

}  // namespace viva
