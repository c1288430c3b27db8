#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "viva/kernels/order.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

using kernels::Key;
using kernels::with_real;

constexpr int64_t kTask = 16 * 1024;

}  // namespace

Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right) {
  check_ordered(sorted, "searchsorted");
  check_ordered(values, "searchsorted");
  if (sorted.rank() != 1) throw Error(Code::kUsage, "searchsorted", fmt::format("the sorted values have shape {}", text(sorted.shape())), "one axis");
  const DType type = promote(sorted.dtype(), values.dtype(), "searchsorted");
  const Tensor in = contiguous(to(sorted, type)), of = contiguous(to(values, type));
  const Tensor out(values.machine(), values.shape(), DType::kI64);
  with_real(type, [&](auto zero) {
    using T = decltype(zero);
    const T *first = reinterpret_cast<const T*>(in.raw()), *last = first + in.count(), *v = reinterpret_cast<const T*>(of.raw());
    int64_t* to = out.data<int64_t>();
    const int64_t tasks = (of.count() + kTask - 1) / kTask;
    const auto before = [](T a, T b) { return Key<T>::of(a, false) < Key<T>::of(b, false); };
    values.machine().parallel_for(static_cast<size_t>(tasks), [&](size_t t) {
      for (int64_t i = static_cast<int64_t>(t) * kTask, end = std::min(of.count(), i + kTask); i < end; ++i) {
        to[i] = (right ? std::upper_bound(first, last, v[i], before) : std::lower_bound(first, last, v[i], before)) - first;
      }
    });
  });
  return out;
}

Tensor isin(const Tensor& x, const Tensor& of, bool invert) {
  check_ordered(x, "isin");
  check_ordered(of, "isin");
  const DType type = promote(x.dtype(), of.dtype(), "isin");
  if (of.count() == 0) return full(x.machine(), x.shape(), invert);
  // The order of sorted values tells -0 from 0; what is equal decides, so that NaN is in nothing.
  const auto plain = [&](const Tensor& t) { return is_real_float(type) ? add(to(t, type), 0.0) : to(t, type); };
  const Tensor values = plain(x), sorted = sort(reshape(plain(of), {-1}));
  const Tensor place = minimum(searchsorted(sorted, values), of.count() - 1);
  const Tensor nearest = take(sorted, reshape(place, {-1}), 0);
  const Tensor same = equal(reshape(nearest, x.shape()), values);
  return invert ? logical_not(same) : same;
}

Histogram histogram(const Tensor& x, int64_t bins, std::optional<std::pair<double, double>> limits) {
  check_ordered(x, "histogram");
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
  with_real(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* v = reinterpret_cast<const T*>(in.raw());
    const int64_t n = in.count(), parts = std::clamp<int64_t>(n / std::max(kernels::kParallel, 4 * bins), 1, static_cast<int64_t>(x.machine().threads()));
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
  });
  return {counts, edges};
}

}  // namespace viva
