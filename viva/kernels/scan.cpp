#include "viva/kernels/scan.h"

#include <algorithm>
#include <vector>

namespace viva::kernels {

namespace {

constexpr int64_t kStretch = 64 * 1024;  // values of one row
constexpr int64_t kColumns = 256;

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double,
                                std::conditional_t<std::is_same_v<T, std::complex<float>>, std::complex<double>,
                                                   std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>>>;

template <bool kProduct, class A>
inline A next(A a, A x) noexcept {
  if constexpr (!kProduct) {
    return a + x;
  } else if constexpr (std::is_arithmetic_v<A>) {
    return a * x;
  } else {
    return A(a.real() * x.real() - a.imag() * x.imag(), a.real() * x.imag() + a.imag() * x.real());
  }
}

template <class T, bool kProduct>
void run(const Machine& machine, const T* x, int64_t outer, int64_t n, int64_t inner, T* out, int64_t skip) {
  using A = Wide<T>;
  const A start = kProduct ? A(1) : A(0);
  if (inner == 1) {
    const int64_t parts = (n + kStretch - 1) / kStretch;
    std::vector<A> first(static_cast<size_t>(outer * parts), start);  // what comes before each stretch
    if (parts > 1) {
      machine.parallel_for(first.size(), [&](size_t i) {
        const int64_t o = static_cast<int64_t>(i) / parts, at = static_cast<int64_t>(i) % parts * kStretch, end = std::min(n, at + kStretch);
        constexpr int64_t kLanes = 8;
        A lane[kLanes];
        std::fill_n(lane, kLanes, start);
        int64_t k = at;
        for (; k + kLanes <= end; k += kLanes) {
          for (int64_t j = 0; j < kLanes; ++j) lane[j] = next<kProduct>(lane[j], static_cast<A>(x[o * n + k + j]));
        }
        for (; k < end; ++k) lane[0] = next<kProduct>(lane[0], static_cast<A>(x[o * n + k]));
        for (int64_t j = 1; j < kLanes; ++j) lane[0] = next<kProduct>(lane[0], lane[j]);
        first[i] = lane[0];
      });
      for (int64_t o = 0; o < outer; ++o) {
        A before = start;
        for (int64_t p = 0; p < parts; ++p) std::swap(before, first[static_cast<size_t>(o * parts + p)]), before = next<kProduct>(first[static_cast<size_t>(o * parts + p)], before);
      }
    }
    // Short rows are taken together.
    const int64_t items = outer * parts, each = std::max<int64_t>(1, kStretch / std::max<int64_t>(1, n));
    machine.parallel_for(static_cast<size_t>((items + each - 1) / each), [&](size_t task) {
      const int64_t begin = static_cast<int64_t>(task) * each, end = std::min(items, begin + each);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t o = i / parts, at = i % parts * kStretch, stop = std::min(n, at + kStretch);
        A a = first[static_cast<size_t>(i)];
        const T* from = x + o * n;
        T* to = out + o * (n + skip) + skip;
        for (int64_t k = at; k < stop; ++k) to[k] = static_cast<T>(a = next<kProduct>(a, static_cast<A>(from[k])));
      }
    });
    return;
  }
  const int64_t strips = (inner + kColumns - 1) / kColumns;
  machine.parallel_for(static_cast<size_t>(outer * strips), [&](size_t i) {
    const int64_t o = static_cast<int64_t>(i) / strips, c0 = static_cast<int64_t>(i) % strips * kColumns, cols = std::min(kColumns, inner - c0);
    A acc[kColumns];
    std::fill_n(acc, cols, start);
    for (int64_t k = 0; k < n; ++k) {
      const T* from = x + (o * n + k) * inner + c0;
      T* to = out + (o * (n + skip) + skip + k) * inner + c0;
      for (int64_t c = 0; c < cols; ++c) to[c] = static_cast<T>(acc[c] = next<kProduct>(acc[c], static_cast<A>(from[c])));
    }
  });
}

}  // namespace

void cumulate(const Machine& machine, const Tensor& x, int64_t outer, int64_t n, int64_t inner, bool product, const Tensor& out, int64_t skip) {
  if (outer * n * inner == 0) return;
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) >= 4 && !std::is_same_v<T, int32_t> && !std::is_same_v<T, uint32_t>) {
      const T* from = reinterpret_cast<const T*>(x.raw());
      T* to = reinterpret_cast<T*>(out.raw());
      product ? run<T, true>(machine, from, outer, n, inner, to, skip) : run<T, false>(machine, from, outer, n, inner, to, skip);
    }
  });
}

}  // namespace viva::kernels
