#include "viva/ops/metrics.h"

#include <fmt/format.h>

#include <cmath>

#include "viva/ops/ops.h"

namespace viva {

namespace {

Tensor checked(const Tensor& x, std::string_view operation) {
  check_defined(x, operation);
  if (is_complex(x.dtype())) throw Error(Code::kUsage, operation, fmt::format("it is not defined on {}", name(x.dtype())), "abs(), real() or imag() of them");
  return to(x, x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32);
}

struct Pair {
  Tensor a, b;
};
Pair checked(const Tensor& a, const Tensor& b, std::string_view operation) {
  check_defined(a, operation);
  check_defined(b, operation);
  if (a.shape() != b.shape()) {
    throw Error(Code::kUsage, operation, fmt::format("shape {} beside {}", text(a.shape()), text(b.shape())), "they must be equal; expand() stretches");
  }
  return {checked(a, operation), checked(b, operation)};
}

// The axes, checked under the name of the operation that the caller knows.
Axes axes_of(const Axes& axes, size_t rank, std::string_view operation) {
  const uint32_t bits = axes.bits(rank, operation);
  Dims list;
  for (size_t a = 0; a < rank; ++a) {
    if ((bits >> a & 1) != 0) list.push_back(static_cast<int64_t>(a));
  }
  return list;
}

Tensor decibels(const Tensor& ratio) { return multiply(log10(ratio), 10.0); }

// x over its largest size, which the cosine does not depend on; 0 stays.
Tensor scaled(const Tensor& x, const Axes& axes) {
  const Tensor most = max(abs(x), axes, true);
  return divide(x, where(equal(most, 0.0), 1.0, most));
}

}  // namespace

Tensor cosine(const Tensor& a, const Tensor& b, const Axes& axes, bool keepdims) {
  const Pair p = checked(a, b, "cosine");
  const Axes over = axes_of(axes, p.a.rank(), "cosine");
  bool none = false;
  for (size_t i = 0; i < p.a.rank(); ++i) none |= p.a.shape()[i] == 0;
  if (none) return mean(p.a, over, keepdims);  // no results, or NaN
  const Tensor x = scaled(p.a, over), y = scaled(p.b, over);
  const Tensor product = sum(x * y, over, keepdims);
  const Tensor both = sqrt(sum(square(x), over, keepdims)) * sqrt(sum(square(y), over, keepdims));
  return clamp(divide(product, where(equal(both, 0.0), 1.0, both)), -1.0, 1.0);
}

Tensor mse(const Tensor& a, const Tensor& b, const Axes& axes, bool keepdims) {
  const Pair p = checked(a, b, "mse");
  return mean(square(p.a - p.b), axes_of(axes, p.a.rank(), "mse"), keepdims);
}

Tensor rmse(const Tensor& a, const Tensor& b, const Axes& axes, bool keepdims) {
  const Pair p = checked(a, b, "rmse");
  return sqrt(mean(square(p.a - p.b), axes_of(axes, p.a.rank(), "rmse"), keepdims));
}

Tensor mae(const Tensor& a, const Tensor& b, const Axes& axes, bool keepdims) {
  const Pair p = checked(a, b, "mae");
  return mean(abs(p.a - p.b), axes_of(axes, p.a.rank(), "mae"), keepdims);
}

Tensor snr_db(const Tensor& signal, const Tensor& noisy, const Axes& axes, bool keepdims) {
  const Pair p = checked(signal, noisy, "snr_db");
  const Axes over = axes_of(axes, p.a.rank(), "snr_db");
  const Tensor power = mean(square(p.a), over, keepdims), noise = mean(square(p.a - p.b), over, keepdims);
  // Nothing without noise is no NaN.
  const double infinity = std::numeric_limits<double>::infinity();
  return where(equal(noise, 0.0), infinity, decibels(divide(power, noise)));
}

Tensor psnr(const Tensor& signal, const Tensor& noisy, double peak, const Axes& axes, bool keepdims) {
  const Pair p = checked(signal, noisy, "psnr");
  if (!(peak > 0) || !std::isfinite(peak)) throw Error(Code::kUsage, "psnr", fmt::format("a peak of {}", peak), "a positive number");
  const Tensor noise = mean(square(p.a - p.b), axes_of(axes, p.a.rank(), "psnr"), keepdims);
  return subtract(20 * std::log10(peak), decibels(noise));
}

Tensor percentile(const Tensor& x, double q, const Axes& axes, bool keepdims) {
  const Tensor in = checked(x, "percentile");
  if (!(q >= 0 && q <= 100)) throw Error(Code::kUsage, "percentile", fmt::format("{} percent", q), "0 to 100");
  const uint32_t bits = axes.bits(in.rank(), "percentile");
  // The axes that go come last, as one.
  Dims order;
  Shape rest, kept;
  int64_t n = 1;
  for (size_t a = 0; a < in.rank(); ++a) {
    const bool goes = (bits >> a & 1) != 0;
    kept.push_back(goes ? 1 : in.shape()[a]);
    if (goes) {
      n *= in.shape()[a];
    } else {
      order.push_back(static_cast<int64_t>(a));
      rest.push_back(in.shape()[a]);
    }
  }
  for (size_t a = 0; a < in.rank(); ++a) {
    if ((bits >> a & 1) != 0) order.push_back(static_cast<int64_t>(a));
  }
  const Shape& result = keepdims ? kept : rest;
  if (n == 0) return full(in.machine(), result, std::numeric_limits<double>::quiet_NaN(), in.dtype());
  Shape rows = rest;
  rows.push_back(n);
  const Tensor sorted = sort(reshape(in.permute(order), rows));  // NaN comes last
  const double at = q / 100 * static_cast<double>(n - 1), below = std::floor(at), part = at - below;
  const int64_t i = static_cast<int64_t>(below);
  const Tensor low = sorted.select(-1, i), high = sorted.select(-1, std::min(i + 1, n - 1)), last = sorted.select(-1, n - 1);
  // From the nearer one, so that neither end is missed; equal ones may be infinite.
  const Tensor apart = high - low;
  const Tensor between = part < 0.5 ? low + apart * part : high - apart * (1 - part);
  const Tensor value = part == 0 ? low : where(equal(low, high), low, between);
  return reshape(where(isnan(last), last, value), result);
}

Tensor outlier_share(const Tensor& x, double times, const Axes& axes, bool keepdims) {
  const Tensor in = checked(x, "outlier_share");
  if (!(times >= 0)) throw Error(Code::kUsage, "outlier_share", fmt::format("{} deviations", times), "0 or more");
  const Axes over = axes_of(axes, in.rank(), "outlier_share");
  const Tensor deviation = std(in, over, 0, true);
  const Tensor share = mean(to(greater(abs(in), deviation * times), in.dtype()), over, true);
  const Tensor all = where(isnan(deviation), deviation, share);
  return keepdims ? all : mean(all, over);  // of one value each
}

Tensor share_above(const Tensor& x, double threshold, const Axes& axes, bool keepdims) {
  const Tensor in = checked(x, "share_above");
  if (std::isnan(threshold)) throw Error(Code::kUsage, "share_above", "the threshold is NaN", "a number");
  return mean(to(greater(abs(in), threshold), in.dtype()), axes_of(axes, in.rank(), "share_above"), keepdims);
}

}  // namespace viva
