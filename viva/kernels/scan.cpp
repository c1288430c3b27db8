#include "viva/kernels/scan.h"

#include <algorithm>
#include <vector>

#include "viva/machine/stream.h"

namespace viva::kernels {

namespace {

constexpr int64_t kStretch = 16 * 1024;  // values of a row that are summed one after the other
constexpr int64_t kTask = 64 * 1024;     // values that are worth a task
constexpr int64_t kChains = 4;           // stretches at once
constexpr int64_t kPiece = 256;          // values of one that are written at once; columns at once

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
class Scan {
 public:
  Scan(const Machine& machine, const T* x, int64_t outer, int64_t n, int64_t inner, T* out, int64_t skip)
      : machine_(machine), stream_(stream_code(machine.target())), x_(x), outer_(outer), n_(n), inner_(inner), out_(out), skip_(skip),
        past_cache_(static_cast<uint64_t>(outer * n * inner) * sizeof(T) >= kStreamBytes) {}

  void run() const { inner_ == 1 ? rows() : columns(); }

 private:
  using A = Wide<T>;
  static constexpr A kStart = kProduct ? A(1) : A(0);

  void rows() const {
    const int64_t parts = (n_ + kStretch - 1) / kStretch, items = outer_ * parts;
    const std::vector<A> first = parts > 1 ? before(parts) : std::vector<A>();
    // Short rows are taken together.
    const int64_t each = std::max(kChains, kTask / std::min(n_, kStretch));
    machine_.parallel_for(static_cast<size_t>((items + each - 1) / each), [&](size_t task) {
      const int64_t begin = static_cast<int64_t>(task) * each, end = std::min(items, begin + each);
      for (int64_t i = begin; i < end;) {
        const int64_t chains = std::min(kChains, end - i);
        const T* from[kChains];
        T* to[kChains];
        A a[kChains];
        int64_t n[kChains];
        bool even = chains == kChains;
        for (int64_t j = 0; j < chains; ++j) {
          const int64_t o = (i + j) / parts, at = (i + j) % parts * kStretch;
          from[j] = x_ + o * n_ + at;
          to[j] = out_ + o * (n_ + skip_) + skip_ + at;
          a[j] = parts > 1 ? first[static_cast<size_t>(i + j)] : kStart;
          n[j] = std::min(n_ - at, kStretch);
          even &= n[j] == n[0];
        }
        if (even) {
          chain<kChains>(from, n[0], a, to);
        } else {
          for (int64_t j = 0; j < chains; ++j) chain<1>(from + j, n[j], a + j, to + j);
        }
        i += chains;
      }
      if (past_cache_) end_streams();
    });
  }

  // What comes before each stretch of each row.
  std::vector<A> before(int64_t parts) const {
    std::vector<A> first(static_cast<size_t>(outer_ * parts));
    machine_.parallel_for(static_cast<size_t>((outer_ * parts + kChains - 1) / kChains), [&](size_t task) {
      const int64_t begin = static_cast<int64_t>(task) * kChains, last = std::min(outer_ * parts, begin + kChains);
      for (int64_t i = begin; i < last; ++i) {
        const int64_t o = i / parts, at = i % parts * kStretch, end = std::min(n_, at + kStretch);
        constexpr int64_t kLanes = 8;
        A lane[kLanes];
        std::fill_n(lane, kLanes, kStart);
        int64_t k = at;
        for (; k + kLanes <= end; k += kLanes) {
          for (int64_t j = 0; j < kLanes; ++j) lane[j] = next<kProduct>(lane[j], static_cast<A>(x_[o * n_ + k + j]));
        }
        for (; k < end; ++k) lane[0] = next<kProduct>(lane[0], static_cast<A>(x_[o * n_ + k]));
        for (int64_t j = 1; j < kLanes; ++j) lane[0] = next<kProduct>(lane[0], lane[j]);
        first[static_cast<size_t>(i)] = lane[0];
      }
    });
    for (int64_t o = 0; o < outer_; ++o) {
      A sum = kStart;
      for (int64_t p = 0; p < parts; ++p) {
        A& here = first[static_cast<size_t>(o * parts + p)];
        const A part = here;
        here = sum;
        sum = next<kProduct>(part, sum);
      }
    }
    return first;
  }

  // Some runs of n values side by side in time: one addition waits for the one before it, so those of others fill the gap.
  template <int64_t kCount>
  void chain(const T* const* from, int64_t n, const A* start, T* const* to) const {
    alignas(64) T made[kCount][kPiece];
    A a[kCount];
    std::copy_n(start, kCount, a);
    for (int64_t at = 0; at < n; at += kPiece) {
      const int64_t m = std::min(kPiece, n - at);
      for (int64_t k = 0; k < m; ++k) {
        for (int64_t j = 0; j < kCount; ++j) made[j][k] = static_cast<T>(a[j] = next<kProduct>(a[j], static_cast<A>(from[j][at + k])));
      }
      for (int64_t j = 0; j < kCount; ++j) write(made[j], m, to[j] + at);
    }
  }

  void columns() const {
    const int64_t strips = (inner_ + kPiece - 1) / kPiece;
    machine_.parallel_for(static_cast<size_t>(outer_ * strips), [&](size_t i) {
      const int64_t o = static_cast<int64_t>(i) / strips, c0 = static_cast<int64_t>(i) % strips * kPiece, cols = std::min(kPiece, inner_ - c0);
      A acc[kPiece];
      alignas(64) T made[kPiece];
      std::fill_n(acc, cols, kStart);
      for (int64_t k = 0; k < n_; ++k) {
        const T* from = x_ + (o * n_ + k) * inner_ + c0;
        fetch_run(reinterpret_cast<const uint8_t*>(from + 2 * inner_), static_cast<size_t>(cols) * sizeof(T));
        for (int64_t c = 0; c < cols; ++c) made[c] = static_cast<T>(acc[c] = next<kProduct>(acc[c], static_cast<A>(from[c])));
        write(made, cols, out_ + (o * (n_ + skip_) + skip_ + k) * inner_ + c0);
      }
      if (past_cache_) end_streams();
    });
  }

  void write(const T* made, int64_t n, T* to) const {
    const size_t size = static_cast<size_t>(n) * sizeof(T);
    if (!past_cache_) return static_cast<void>(std::copy_n(made, n, to));
    stream_run(stream_, reinterpret_cast<uint8_t*>(to), reinterpret_cast<const uint8_t*>(made), size);
  }

  const Machine& machine_;
  const StreamCode& stream_;
  const T* x_;
  int64_t outer_, n_, inner_;
  T* out_;
  int64_t skip_;
  bool past_cache_;
};

}  // namespace

void cumulate(const Machine& machine, const Tensor& x, int64_t outer, int64_t n, int64_t inner, bool product, const Tensor& out, int64_t skip) {
  if (outer * n * inner == 0) return;
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) >= 4 && !std::is_same_v<T, int32_t> && !std::is_same_v<T, uint32_t>) {
      const T* from = reinterpret_cast<const T*>(x.raw());
      T* to = reinterpret_cast<T*>(out.raw());
      product ? Scan<T, true>(machine, from, outer, n, inner, to, skip).run() : Scan<T, false>(machine, from, outer, n, inner, to, skip).run();
    }
  });
}

}  // namespace viva::kernels
