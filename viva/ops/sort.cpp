#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <tuple>

#include "viva/ops/ops.h"

namespace viva {

namespace {

constexpr int64_t kRadix = 512;             // values from which digits are counted
constexpr int64_t kParallel = 256 * 1024;   // of one row, from which it is sorted in parts
constexpr int64_t kTask = 16 * 1024;

// An unsigned number in the order of the values, NaN last both ways. -0 and 0 are equal.
template <class T>
struct Key {
  using Bits = std::conditional_t<sizeof(T) == 1, uint8_t, std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;
  static constexpr Bits kTop = static_cast<Bits>(Bits{1} << (8 * sizeof(T) - 1)), kAll = static_cast<Bits>(~Bits{0});
  static Bits of(T v, bool descending) noexcept {
    Bits b = std::bit_cast<Bits>(v);
    if constexpr (std::is_same_v<T, F16> || std::is_same_v<T, BF16> || std::is_floating_point_v<T>) {
      const Bits infinite = std::is_same_v<T, F16> ? Bits(0x7c00) : std::is_same_v<T, BF16> ? Bits(0x7f80) : std::is_same_v<T, float> ? Bits(0x7f800000) : static_cast<Bits>(0x7ff0000000000000);
      const Bits size = b & static_cast<Bits>(~kTop);
      if (size > infinite) return kAll;
      if (size == 0) b = 0;
      b = (b & kTop) != 0 ? static_cast<Bits>(~b) : static_cast<Bits>(b | kTop);
    } else if constexpr (std::is_signed_v<T>) {
      b = static_cast<Bits>(b ^ kTop);
    }
    return descending ? static_cast<Bits>(~b) : b;
  }
};

template <class K, class I>
struct Entry {
  K key;
  I index;
  bool operator<(const Entry& o) const noexcept { return key < o.key; }
};

// Stable, by counting one byte after the other; bytes that all have in common cost nothing. `other` is of the same size.
template <class K, class I>
void radix_sort(Entry<K, I>* e, Entry<K, I>* other, size_t n) {
  if (n < static_cast<size_t>(kRadix)) {
    // Indices are in order: with them the order is total, and nothing is allocated.
    std::sort(e, e + n, [](const auto& a, const auto& b) { return a.key != b.key ? a.key < b.key : a.index < b.index; });
    return;
  }
  size_t counts[sizeof(K)][256] = {};
  for (size_t i = 0; i < n; ++i) {
    for (size_t d = 0; d < sizeof(K); ++d) ++counts[d][e[i].key >> (8 * d) & 255];
  }
  Entry<K, I>*from = e, *to = other;
  for (size_t d = 0; d < sizeof(K); ++d) {
    size_t* count = counts[d];
    if (count[from[0].key >> (8 * d) & 255] == n) continue;
    size_t at = 0;
    for (size_t b = 0; b < 256; ++b) at += std::exchange(count[b], at);
    for (size_t i = 0; i < n; ++i) to[count[from[i].key >> (8 * d) & 255]++] = from[i];
    std::swap(from, to);
  }
  if (from != e) std::copy(from, from + n, e);
}

// The same on all threads: parts, then merged in pairs. A stable order does not depend on the parts.
template <class E>
void sort_row(const Machine& machine, E* e, E* other, size_t n) {
  size_t parts = 1;
  while (parts < machine.threads() && static_cast<int64_t>(n / (2 * parts)) >= kParallel / 2) parts *= 2;
  const auto at = [&](size_t p) { return n / parts * p + std::min(p, n % parts); };
  if (parts == 1) return radix_sort(e, other, n);
  machine.parallel_for(parts, [&](size_t p) { radix_sort(e + at(p), other + at(p), at(p + 1) - at(p)); });
  E *from = e, *to = other;
  for (size_t step = 1; step < parts; step *= 2, std::swap(from, to)) {
    machine.parallel_for(parts / (2 * step), [&](size_t i) {
      const size_t a = at(2 * i * step), b = at((2 * i + 1) * step), c = at((2 * i + 2) * step);
      std::merge(from + a, from + b, from + b, from + c, to + a);
    });
  }
  if (from != e) std::copy(from, from + n, e);
}

void check_real(const Tensor& x, std::string_view operation) {
  check_defined(x, operation);
  if (is_complex(x.dtype())) throw Error(Code::kUsage, operation, fmt::format("{} values have no order", name(x.dtype())), "sort by abs() or real()");
}

// x with the axis last, row-major.
struct Rows {
  Tensor in;
  size_t axis = 0;
  int64_t rows = 1, n = 1;
};
Rows rows_of(const Tensor& x, int64_t axis, std::string_view operation) {
  check_real(x, operation);
  Rows r;
  if (x.rank() == 0) {
    axis_of(axis, 1, operation);
    r.in = x;
    return r;
  }
  r.axis = axis_of(axis, x.rank(), operation);
  r.n = x.shape()[r.axis];
  Dims order;
  for (size_t a = 0; a < x.rank(); ++a) {
    if (a == r.axis) continue;
    order.push_back(static_cast<int64_t>(a));
    r.rows *= x.shape()[a];
  }
  order.push_back(static_cast<int64_t>(r.axis));
  r.in = contiguous(x.permute(order));
  return r;
}
// A result of shape (..., n) with the last axis back in its place.
Tensor placed(const Tensor& t, size_t axis) {
  Dims order;
  for (size_t a = 0; a + 1 < t.rank(); ++a) order.push_back(static_cast<int64_t>(a));
  if (t.rank() != 0) order.insert(axis, static_cast<int64_t>(t.rank()) - 1);
  return t.permute(order);
}

// f(entries, row) for every row with its sorted entries; `partial`: so many of the first are enough.
template <class T, class I, class F>
void sorted_rows(const Rows& r, bool descending, std::optional<int64_t> partial, F f) {
  using E = Entry<typename Key<T>::Bits, I>;
  const Machine& machine = r.in.machine();
  const T* x = reinterpret_cast<const T*>(r.in.raw());
  const size_t n = static_cast<size_t>(r.n);
  const bool alone = r.n >= kParallel && r.rows < static_cast<int64_t>(machine.threads());
  const int64_t each = alone ? r.rows : std::max<int64_t>(1, kTask / std::max<int64_t>(1, r.n));
  const auto some = [&](int64_t begin, int64_t end) {
    const std::unique_ptr<E[]> e(new E[2 * n]);
    for (int64_t row = begin; row < end; ++row) {
      for (size_t i = 0; i < n; ++i) e[i] = {Key<T>::of(x[row * r.n + static_cast<int64_t>(i)], descending), static_cast<I>(i)};
      if (partial) {
        const auto before = [](const E& a, const E& b) { return a.key != b.key ? a.key < b.key : a.index < b.index; };
        const size_t k = static_cast<size_t>(*partial);
        if (k < n) std::nth_element(e.get(), e.get() + k, e.get() + n, before);
        std::sort(e.get(), e.get() + k, before);
      } else if (alone) {
        sort_row(machine, e.get(), e.get() + n, n);
      } else {
        radix_sort(e.get(), e.get() + n, n);
      }
      f(e.get(), row);
    }
  };
  if (alone) return some(0, r.rows);
  const int64_t tasks = (r.rows + each - 1) / each;
  if (tasks <= 1) return some(0, r.rows);
  machine.parallel_for(static_cast<size_t>(tasks), [&](size_t t) {
    const int64_t begin = static_cast<int64_t>(t) * each;
    some(begin, std::min(r.rows, begin + each));
  });
}
template <class F>
void with_rows(const Rows& r, bool descending, std::optional<int64_t> partial, F f) {
  if (r.rows == 0 || r.n == 0) return;
  with_element(r.in.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) <= 8 && !std::is_same_v<T, std::complex<float>>) {
      const auto g = [&](const auto* e, int64_t row) { f(zero, e, row); };
      r.n <= INT32_MAX ? sorted_rows<T, uint32_t>(r, descending, partial, g) : sorted_rows<T, uint64_t>(r, descending, partial, g);
    }
  });
}

// The first `most` values and indices of the sorted rows; either may be left out.
void take(const Rows& r, bool descending, std::optional<int64_t> partial, const Tensor* values, const Tensor* indices) {
  const int64_t k = partial.value_or(r.n);
  with_rows(r, descending, partial, [&](auto zero, const auto* e, int64_t row) {
    using T = decltype(zero);
    const T* x = reinterpret_cast<const T*>(r.in.raw()) + row * r.n;
    if (values != nullptr) {
      T* to = reinterpret_cast<T*>(values->raw()) + row * k;
      for (int64_t i = 0; i < k; ++i) to[i] = x[e[i].index];
    }
    if (indices != nullptr) {
      int64_t* to = reinterpret_cast<int64_t*>(indices->raw()) + row * k;
      for (int64_t i = 0; i < k; ++i) to[i] = static_cast<int64_t>(e[i].index);
    }
  });
}

}  // namespace

Tensor sort(const Tensor& x, int64_t axis, bool descending) {
  const Rows r = rows_of(x, axis, "sort");
  const Tensor out(x.machine(), r.in.shape(), x.dtype());
  take(r, descending, {}, &out, nullptr);
  return placed(out, r.axis);
}

Tensor argsort(const Tensor& x, int64_t axis, bool descending) {
  const Rows r = rows_of(x, axis, "argsort");
  const Tensor out(x.machine(), r.in.shape(), DType::kI64);
  take(r, descending, {}, nullptr, &out);
  return placed(out, r.axis);
}

TopK topk(const Tensor& x, int64_t k, int64_t axis, bool largest) {
  const Rows r = rows_of(x, axis, "topk");
  if (k < 0 || k > r.n) throw Error(Code::kUsage, "topk", fmt::format("{} values along axis {} of shape {}", k, axis, text(x.shape())));
  Shape shape = r.in.shape();
  if (shape.size() != 0) shape[shape.size() - 1] = k;
  if (shape.size() == 0 && k == 0) throw Error(Code::kUsage, "topk", "0 values of a tensor without axes");
  const Tensor values(x.machine(), shape, x.dtype()), indices(x.machine(), shape, DType::kI64);
  take(r, largest, k, &values, &indices);
  return {placed(values, r.axis), placed(indices, r.axis)};
}

Unique unique(const Tensor& x) {
  check_real(x, "unique");
  const Machine& machine = x.machine();
  const Rows r = rows_of(reshape(x, {x.count()}), 0, "unique");
  const Tensor inverse(machine, x.shape(), DType::kI64);
  std::vector<int64_t> first, counts;
  with_rows(r, false, {}, [&](auto zero, const auto* e, int64_t) {
    using T = decltype(zero);
    const T* v = reinterpret_cast<const T*>(r.in.raw());
    for (int64_t i = 0; i < r.n; ++i) {
      bool fresh = i == 0 || e[i].key != e[i - 1].key;
      if constexpr (!std::is_integral_v<T>) fresh |= std::isnan(element_cast<T, double>(v[e[i].index]));
      if (fresh) {
        first.push_back(static_cast<int64_t>(e[i].index));
        counts.push_back(0);
      }
      ++counts.back();
      inverse.data<int64_t>()[e[i].index] = static_cast<int64_t>(first.size()) - 1;
    }
  });
  const int64_t n = static_cast<int64_t>(first.size());
  const Tensor values(machine, {n}, x.dtype());
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for (size_t i = 0; i < first.size(); ++i) reinterpret_cast<T*>(values.raw())[i] = reinterpret_cast<const T*>(r.in.raw())[first[i]];
  });
  return {values, Tensor::from<int64_t>(machine, {n}, first), inverse, Tensor::from<int64_t>(machine, {n}, counts)};
}

Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right) {
  check_real(sorted, "searchsorted");
  check_real(values, "searchsorted");
  if (sorted.rank() != 1) throw Error(Code::kUsage, "searchsorted", fmt::format("the sorted values have shape {}", text(sorted.shape())), "one axis");
  const DType type = promote(sorted.dtype(), values.dtype(), "searchsorted");
  const Tensor in = contiguous(to(sorted, type)), of = contiguous(to(values, type));
  const Tensor out(values.machine(), values.shape(), DType::kI64);
  with_element(type, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) <= 8 && !std::is_same_v<T, std::complex<float>>) {
      const T *first = reinterpret_cast<const T*>(in.raw()), *last = first + in.count(), *v = reinterpret_cast<const T*>(of.raw());
      int64_t* to = out.data<int64_t>();
      const int64_t tasks = (of.count() + kTask - 1) / kTask;
      const auto before = [](T a, T b) { return Key<T>::of(a, false) < Key<T>::of(b, false); };
      values.machine().parallel_for(static_cast<size_t>(tasks), [&](size_t t) {
        for (int64_t i = static_cast<int64_t>(t) * kTask, end = std::min(of.count(), i + kTask); i < end; ++i) {
          to[i] = (right ? std::upper_bound(first, last, v[i], before) : std::lower_bound(first, last, v[i], before)) - first;
        }
      });
    }
  });
  return out;
}

Histogram histogram(const Tensor& x, int64_t bins, std::optional<std::pair<double, double>> limits) {
  check_real(x, "histogram");
  if (bins < 1 || bins > int64_t{1} << 40) throw Error(Code::kUsage, "histogram", fmt::format("{} bins", bins));
  double low = 0, high = 1;
  if (limits) {
    std::tie(low, high) = *limits;
  } else if (x.count() != 0) {
    const Tensor numbers = is_bool(x.dtype()) ? to(x, DType::kU8) : x;
    low = min(numbers).item<double>(), high = max(numbers).item<double>();
    if (low == high) low -= 0.5, high += 0.5;
  }
  if (!std::isfinite(low) || !std::isfinite(high) || low >= high || !std::isfinite(high - low)) {
    throw Error(Code::kUsage, "histogram", fmt::format("the limits {} and {}", low, high), "finite and in order; name them where values are not finite");
  }
  const Tensor edges = linspace(x.machine(), low, high, bins + 1, DType::kF64);
  const Tensor counts = zeros(x.machine(), {bins}, DType::kI64), in = contiguous(x);
  const double* edge = edges.data<double>();
  int64_t* count = counts.data<int64_t>();
  const double scale = static_cast<double>(bins) / (high - low);
  const auto put = [&](double v, int64_t* to) {
    if (!(v >= low && v <= high)) return;  // NaN neither
    int64_t b = std::min(static_cast<int64_t>((v - low) * scale), bins - 1);
    if (v < edge[b]) --b;  // the product was rounded
    else if (b + 1 < bins && v >= edge[b + 1]) ++b;
    ++to[b];
  };
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if constexpr (sizeof(T) <= 8 && !std::is_same_v<T, std::complex<float>>) {
      const T* v = reinterpret_cast<const T*>(in.raw());
      const int64_t n = in.count(), parts = std::clamp<int64_t>(n / std::max(kParallel, 4 * bins), 1, static_cast<int64_t>(x.machine().threads()));
      if (parts == 1) {
        for (int64_t i = 0; i < n; ++i) put(element_cast<T, double>(v[i]), count);
        return;
      }
      std::vector<std::vector<int64_t>> own(static_cast<size_t>(parts), std::vector<int64_t>(static_cast<size_t>(bins)));
      x.machine().parallel_for(own.size(), [&](size_t p) {
        const int64_t begin = n / parts * static_cast<int64_t>(p), end = p + 1 == own.size() ? n : begin + n / parts;
        for (int64_t i = begin; i < end; ++i) put(element_cast<T, double>(v[i]), own[p].data());
      });
      for (const auto& o : own) {
        for (int64_t b = 0; b < bins; ++b) count[b] += o[static_cast<size_t>(b)];
      }
    }
  });
  return {counts, edges};
}

}  // namespace viva
