#include <fmt/format.h>

#include "viva/kernels/conv.h"
#include "viva/ops/ops.h"
#include "viva/ops/windows.h"

namespace viva {

namespace {

using kernels::ConvShape;

// f(x, y) on contiguous values of the computed type; of s the sizes of x are set here, those of y by `sizes`.
template <class S, class F>
Tensor over_planes(const Tensor& given, size_t directions, std::string_view operation, S sizes, F f) {
  const DType compute = window_type(given, operation);
  const std::string shapes = "x " + text(given.shape());
  const Tensor x = planes(given, directions, operation, shapes);
  ConvShape s{.n = x.shape()[0], .c = x.shape()[1], .h = x.shape()[2], .w = x.shape()[3], .o = x.shape()[1]};
  sizes(s, shapes);
  const Shape shape{s.n, s.c, s.oh, s.ow};
  count(shape);
  const Tensor y(given.machine(), shape, compute);
  if (y.count() != 0) f(s, contiguous(to(x, compute)), y);
  return unplaned(to(y, given.dtype()), given, directions);
}

// As many windows as begin over x or the padding before it, the last of which may be partly outside.
int64_t windows_up(const Axis& a, int64_t size, std::string_view operation, std::string_view shapes) {
  check_axis(a, operation, shapes);
  const int64_t over = size + a.before + a.after - a.reach();  // both small beside 2^63
  if (over + a.stride - 1 < 0) return windows(a, size, operation, shapes);  // tells what is wrong
  const int64_t n = (over + a.stride - 1) / a.stride + 1;
  return (n - 1) * a.stride >= size + a.before ? n - 1 : n;
}

Tensor pool(const Tensor& given, Two kernel, const PoolOptions& o, size_t directions, bool max, std::string_view operation, Tensor* places = nullptr) {
  const auto sizes = [&](ConvShape& s, std::string_view shapes) {
    const Two stride(o.stride.height == 0 ? kernel.height : o.stride.height, o.stride.width == 0 ? kernel.width : o.stride.width),
        dilation = max ? o.dilation : Two(1);
    const auto axis = [&](int64_t k, int64_t step, int64_t apart, int64_t padding, int64_t size) {
      const Axis a{k, step, apart, padding, padding};
      if (size == 0) throw Error(Code::kUsage, operation, fmt::format("no values in {}", shapes), "only the batch may be empty");
      check_axis(a, operation, shapes);
      if (padding > a.reach() / 2) {
        throw Error(Code::kUsage, operation, fmt::format("padding {} of a window of {}, for {}", padding, a.reach(), shapes), "at most half of it");
      }
      return o.ceil_mode ? windows_up(a, size, operation, shapes) : windows(a, size, operation, shapes);
    };
    if (directions == 2) {
      s.kh = kernel.height, s.sh = stride.height, s.dh = dilation.height, s.top = s.bottom = o.padding.height;
      s.oh = axis(s.kh, s.sh, s.dh, s.top, s.h);
    } else {
      s.oh = 1;
    }
    s.kw = kernel.width, s.sw = stride.width, s.dw = dilation.width, s.left = s.right = o.padding.width;
    s.ow = axis(s.kw, s.sw, s.dw, s.left, s.w);
    if (!max && (o.dilation.width != 1 || o.dilation.height != 1))
      throw Error(Code::kUsage, operation, fmt::format("dilation ({}, {}) for {}", o.dilation.height, o.dilation.width, shapes), "1: averages have none");
  };
  const kernels::Pool kind = max ? kernels::Pool::kMax : o.count_include_pad ? kernels::Pool::kAverage : kernels::Pool::kAverageInside;
  const Tensor out = over_planes(given, directions, operation, sizes, [&](const ConvShape& s, const Tensor& x, const Tensor& y) {
    if (places != nullptr) *places = Tensor(given.machine(), y.shape(), DType::kI64);
    kernels::pool(given.machine(), x.dtype(), kind, s, x.raw(), y.raw(), places == nullptr ? nullptr : places->data<int64_t>());
  });
  if (places != nullptr) *places = places->defined() ? reshape(*places, out.shape()) : Tensor(given.machine(), out.shape(), DType::kI64);
  return out;
}

MaxPool with_indices(const Tensor& x, Two kernel, const PoolOptions& o, size_t directions, std::string_view operation) {
  MaxPool p;
  p.values = pool(x, kernel, o, directions, true, operation, &p.indices);
  return p;
}

Tensor adaptive(const Tensor& given, Two size, bool max, std::string_view operation) {
  const auto sizes = [&](ConvShape& s, std::string_view shapes) {
    for (const int64_t d : {size.height, size.width}) {
      if (d < 0 || d > INT32_MAX)
        throw Error(Code::kUsage, operation, fmt::format("a result of ({}, {}) for {}", size.height, size.width, shapes), "0 to 2^31 - 1");
    }
    if (s.h == 0 || s.w == 0) throw Error(Code::kUsage, operation, fmt::format("no values in {}", shapes), "only the batch may be empty");
    s.oh = size.height, s.ow = size.width;
  };
  return over_planes(given, 2, operation, sizes, [&](const ConvShape& s, const Tensor& x, const Tensor& y) {
    kernels::adaptive_pool(given.machine(), x.dtype(), max, s, x.raw(), y.raw());
  });
}

}  // namespace

Tensor max_pool2d(const Tensor& x, Two kernel, const PoolOptions& options) { return pool(x, kernel, options, 2, true, "max_pool2d"); }
Tensor max_pool1d(const Tensor& x, Two kernel, const PoolOptions& options) { return pool(x, kernel, options, 1, true, "max_pool1d"); }
MaxPool max_pool2d_with_indices(const Tensor& x, Two kernel, const PoolOptions& options) { return with_indices(x, kernel, options, 2, "max_pool2d_with_indices"); }
MaxPool max_pool1d_with_indices(const Tensor& x, Two kernel, const PoolOptions& options) { return with_indices(x, kernel, options, 1, "max_pool1d_with_indices"); }
Tensor avg_pool2d(const Tensor& x, Two kernel, const PoolOptions& options) { return pool(x, kernel, options, 2, false, "avg_pool2d"); }
Tensor avg_pool1d(const Tensor& x, Two kernel, const PoolOptions& options) { return pool(x, kernel, options, 1, false, "avg_pool1d"); }
Tensor adaptive_max_pool2d(const Tensor& x, Two size) { return adaptive(x, size, true, "adaptive_max_pool2d"); }
Tensor adaptive_avg_pool2d(const Tensor& x, Two size) { return adaptive(x, size, false, "adaptive_avg_pool2d"); }

Tensor global_avg_pool(const Tensor& x) {
  window_type(x, "global_avg_pool");
  if (x.rank() < 3) {
    throw Error(Code::kUsage, "global_avg_pool", fmt::format("shape {} has nothing to average", text(x.shape())),
                "(batch, channels, height, width), or other axes behind the channels");
  }
  Dims axes;
  for (size_t i = 2; i < x.rank(); ++i) axes.push_back(static_cast<int64_t>(i));
  return mean(x, axes, true);
}

}  // namespace viva
