#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "viva/kernels/order.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

using kernels::Entry;
using kernels::in_order;
using kernels::Key;
using kernels::radix_sort;
using kernels::sort_row;
using kernels::with_real;

constexpr int64_t kTask = 16 * 1024;

// x with the axis last, row-major.
struct Rows {
  Tensor in;
  size_t axis = 0;
  int64_t rows = 1, n = 1;
};
Rows rows_of(const Tensor& x, int64_t axis, std::string_view operation) {
  check_ordered(x, operation);
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

// f(entries, row) for every row of r with room for 2 n entries; `alone`: rows so long that each is for all threads.
template <class E, class F>
void each_row(const Rows& r, bool alone, F f) {
  const Machine& machine = r.in.machine();
  const int64_t each = alone ? r.rows : std::max<int64_t>(1, kTask / std::max<int64_t>(1, r.n));
  const auto some = [&](int64_t begin, int64_t end) {
    const Tensor room(machine, {2 * r.n, static_cast<int64_t>(sizeof(E))}, DType::kU8);
    for (int64_t row = begin; row < end; ++row) f(reinterpret_cast<E*>(room.raw()), row);
  };
  const int64_t tasks = (r.rows + each - 1) / each;
  if (tasks <= 1) return some(0, r.rows);
  machine.parallel_for(static_cast<size_t>(tasks), [&](size_t t) {
    const int64_t begin = static_cast<int64_t>(t) * each;
    some(begin, std::min(r.rows, begin + each));
  });
}
bool stands_alone(const Rows& r) { return r.n >= kernels::kParallel && r.rows < static_cast<int64_t>(r.in.machine().threads()); }

// f(entries, row) for every row with its sorted entries; `partial`: so many of the first are enough.
template <class T, class I, class F>
void sorted_rows(const Rows& r, bool descending, std::optional<int64_t> partial, F f) {
  using E = Entry<typename Key<T>::Bits, I>;
  const T* x = reinterpret_cast<const T*>(r.in.raw());
  const size_t n = static_cast<size_t>(r.n);
  const bool alone = stands_alone(r);
  each_row<E>(r, alone, [&](E* e, int64_t row) {
    for (size_t i = 0; i < n; ++i) e[i] = {Key<T>::of(x[row * r.n + static_cast<int64_t>(i)], descending), static_cast<I>(i)};
    if (partial) {
      const auto before = [](const E& a, const E& b) { return in_order(a, b); };
      const size_t k = static_cast<size_t>(*partial);
      if (k < n) std::nth_element(e, e + k, e + n, before);
      std::sort(e, e + k, before);
    } else if (alone) {
      sort_row(r.in.machine(), e, e + n, n);
    } else {
      radix_sort(e, e + n, n);
    }
    f(e, row);
  });
}

// The rows in order, without places: half the memory and more than twice as fast.
template <class T>
void sort_values(const Rows& r, bool descending, T* out) {
  using K = typename Key<T>::Bits;
  const T* x = reinterpret_cast<const T*>(r.in.raw());
  const size_t n = static_cast<size_t>(r.n);
  const bool alone = stands_alone(r);
  each_row<K>(r, alone, [&](K* e, int64_t row) {
    const T* from = x + row * r.n;
    T* to = out + row * r.n;
    for (size_t i = 0; i < n; ++i) e[i] = Key<T>::exact(from[i], descending);
    alone ? sort_row(r.in.machine(), e, e + n, n) : radix_sort(e, e + n, n);
    for (size_t i = 0; i < n; ++i) to[i] = Key<T>::value(e[i], descending);
    if constexpr (Key<T>::kFloat) {  // -0 and 0 are equal: they keep their order
      const K low = Key<T>::exact(std::bit_cast<T>(descending ? K{0} : Key<T>::kTop), descending), high = static_cast<K>(low + 1);
      const K* first = std::lower_bound(e, e + n, low);
      const K* last = std::upper_bound(first, static_cast<const K*>(e + n), high);
      if (first != last && *first != last[-1]) {
        T* zero = to + (first - e);
        for (size_t i = 0; i < n; ++i) {
          if (Key<T>::is_zero(from[i])) *zero++ = from[i];
        }
      }
    }
  });
}

template <class F>
void with_rows(const Rows& r, bool descending, std::optional<int64_t> partial, F f) {
  if (r.rows == 0 || r.n == 0) return;
  with_real(r.in.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto g = [&](const auto* e, int64_t row) { f(zero, e, row); };
    r.n <= INT32_MAX ? sorted_rows<T, uint32_t>(r, descending, partial, g) : sorted_rows<T, uint64_t>(r, descending, partial, g);
  });
}

// The first values (unless null) and indices of the sorted rows.
void take(const Rows& r, bool descending, std::optional<int64_t> partial, const Tensor* values, const Tensor& indices) {
  const int64_t k = partial.value_or(r.n);
  with_rows(r, descending, partial, [&](auto zero, const auto* e, int64_t row) {
    using T = decltype(zero);
    const T* x = reinterpret_cast<const T*>(r.in.raw()) + row * r.n;
    if (values != nullptr) {
      T* to = reinterpret_cast<T*>(values->raw()) + row * k;
      for (int64_t i = 0; i < k; ++i) to[i] = x[e[i].index];
    }
    int64_t* to = reinterpret_cast<int64_t*>(indices.raw()) + row * k;
    for (int64_t i = 0; i < k; ++i) to[i] = static_cast<int64_t>(e[i].index);
  });
}

}  // namespace

Tensor sort(const Tensor& x, int64_t axis, bool descending) {
  const Rows r = rows_of(x, axis, "sort");
  const Tensor out(x.machine(), r.in.shape(), x.dtype());
  if (out.count() != 0) with_real(x.dtype(), [&](auto zero) { sort_values(r, descending, reinterpret_cast<decltype(zero)*>(out.raw())); });
  return placed(out, r.axis);
}

Tensor argsort(const Tensor& x, int64_t axis, bool descending) {
  const Rows r = rows_of(x, axis, "argsort");
  const Tensor out(x.machine(), r.in.shape(), DType::kI64);
  take(r, descending, {}, nullptr, out);
  return placed(out, r.axis);
}

TopK topk(const Tensor& x, int64_t k, int64_t axis, bool largest) {
  const Rows r = rows_of(x, axis, "topk");
  if (k < 0 || k > r.n) throw Error(Code::kUsage, "topk", fmt::format("{} values along axis {} of shape {}", k, axis, text(x.shape())));
  Shape shape = r.in.shape();
  if (shape.size() != 0) shape[shape.size() - 1] = k;
  if (shape.size() == 0 && k == 0) throw Error(Code::kUsage, "topk", "0 values of a tensor without axes");
  const Tensor values(x.machine(), shape, x.dtype()), indices(x.machine(), shape, DType::kI64);
  take(r, largest, k, &values, indices);
  return {placed(values, r.axis), placed(indices, r.axis)};
}

Unique unique(const Tensor& x) {
  check_defined(x, "unique");
  const Machine& machine = x.machine();
  const Tensor flat = contiguous(reshape(x, {x.count()}));
  const Tensor inverse(machine, x.shape(), DType::kI64);
  std::vector<int64_t> first, counts;
  const auto next = [&](int64_t at, bool fresh) {
    if (fresh) {
      first.push_back(at);
      counts.push_back(0);
    }
    ++counts.back();
    inverse.data<int64_t>()[at] = static_cast<int64_t>(first.size()) - 1;
  };
  if (is_complex(x.dtype())) {
    const Tensor by_imaginary = argsort(imag(flat), 0);
    const std::vector<int64_t> order = take(by_imaginary, argsort(take(real(flat), by_imaginary, 0), 0), 0).values<int64_t>();
    const std::vector<std::complex<double>> v = flat.values<std::complex<double>>();
    const auto value = [&](size_t i) { return v[static_cast<size_t>(order[i])]; };
    for (size_t i = 0; i < order.size(); ++i) next(order[i], i == 0 || value(i) != value(i - 1));
  } else {
    const Rows r = rows_of(flat, 0, "unique");
    with_rows(r, false, {}, [&](auto zero, const auto* e, int64_t) {
      using T = decltype(zero);
      const T* v = reinterpret_cast<const T*>(r.in.raw());
      for (int64_t i = 0; i < r.n; ++i) {
        bool fresh = i == 0 || e[i].key != e[i - 1].key;
        if constexpr (!std::is_integral_v<T>) fresh |= std::isnan(element_cast<T, double>(v[e[i].index]));
        next(static_cast<int64_t>(e[i].index), fresh);
      }
    });
  }
  const int64_t n = static_cast<int64_t>(first.size());
  const Tensor values(machine, {n}, x.dtype());
  with_element(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for (size_t i = 0; i < first.size(); ++i) reinterpret_cast<T*>(values.raw())[i] = reinterpret_cast<const T*>(flat.raw())[first[i]];
  });
  return {values, Tensor::from<int64_t>(machine, {n}, first), inverse, Tensor::from<int64_t>(machine, {n}, counts)};
}

Tensor unique_values(const Tensor& x) {
  check_defined(x, "unique");
  if (is_complex(x.dtype())) return unique(x).values;
  const Tensor all = sort(reshape(x, {x.count()}), 0);
  int64_t n = 0;
  with_real(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* v = reinterpret_cast<T*>(all.raw());
    for (int64_t i = 0; i < all.count(); ++i) {
      const auto key = Key<T>::of(v[i], false);
      const bool nan = Key<T>::kFloat && key == Key<T>::kAll;
      if (i == 0 || nan || key != Key<T>::of(v[n - 1], false)) v[n++] = v[i];
    }
  });
  return clone(all.narrow(0, 0, n));
}

}  // namespace viva
