#include <fmt/format.h>

#include <limits>
#include <utility>

#include "viva/kernels/conv.h"
#include "viva/ops/ops.h"
#include "viva/ops/windows.h"

namespace viva {

using kernels::ConvShape;

int64_t Axis::reach() const noexcept { return (kernel - 1) * dilation + 1; }

void check_axis(const Axis& a, std::string_view operation, std::string_view shapes) {
  constexpr int64_t kLimit = int64_t{1} << 30;  // sums of some and products of two fit
  const auto refuse = [&](std::string_view what, int64_t v, std::string_view hint) {
    throw Error(Code::kUsage, operation, fmt::format("{} {} for {}", what, v, shapes), hint);
  };
  if (a.kernel < 1 || a.kernel > kLimit) refuse("kernel size", a.kernel, "1 to 2^30");
  if (a.stride < 1 || a.stride > kLimit) refuse("stride", a.stride, "1 to 2^30");
  if (a.dilation < 1 || a.dilation > kLimit) refuse("dilation", a.dilation, "1 to 2^30");
  for (const int64_t p : {a.before, a.after}) {
    if (p < 0 || p > kLimit) refuse("padding", p, "0 to 2^30; slices cut");
  }
}

int64_t windows(const Axis& a, int64_t size, std::string_view operation, std::string_view shapes) {
  check_axis(a, operation, shapes);
  int64_t padded = 0;
  if (__builtin_add_overflow(size, a.before + a.after, &padded)) padded = std::numeric_limits<int64_t>::max();
  if (padded < a.reach()) {
    throw Error(Code::kUsage, operation, fmt::format("a window of {} over {} values with padding, for {}", a.reach(), padded, shapes),
                "the kernel with its dilation must fit into the padded input");
  }
  return (padded - a.reach()) / a.stride + 1;
}

DType window_type(const Tensor& x, std::string_view operation) {
  check_defined(x, operation);
  if (!is_real_float(x.dtype()))
    throw Error(Code::kUsage, operation, fmt::format("it is not defined on {}", name(x.dtype())), "floats; to(dtype) converts");
  return x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
}

Tensor planes(const Tensor& x, size_t directions, std::string_view operation, std::string_view shapes) {
  if (x.rank() != directions + 1 && x.rank() != directions + 2) {
    throw Error(Code::kUsage, operation, fmt::format("x has {} axes, for {}", x.rank(), shapes),
                directions == 2 ? "(batch, channels, height, width), or without the batch" : "(batch, channels, width), or without the batch");
  }
  const Tensor t = x.rank() == directions + 1 ? x.unsqueeze(0) : x;
  return directions == 2 ? t : t.unsqueeze(2);
}

Tensor unplaned(const Tensor& y, const Tensor& x, size_t directions) {
  const Tensor t = directions == 2 ? y : y.squeeze(2);
  return x.rank() == directions + 1 ? t.squeeze(0) : t;
}

namespace {

// What both kinds have: types, axes, groups, bias. The weights come as (first, second, height, width).
struct Checked {
  std::string shapes;
  DType result, compute;
  Tensor x, weights;
  std::optional<Tensor> bias;
  ConvShape s;
};

Checked checked(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, int64_t groups, size_t directions, bool transpose,
                std::string_view operation) {
  Checked c;
  window_type(x, operation);
  window_type(weights, operation);
  c.shapes = fmt::format("x {} and weights {}", text(x.shape()), text(weights.shape()));
  if (bias) {
    window_type(*bias, operation);
    c.shapes += fmt::format(", bias {}", text(bias->shape()));
  }
  const auto refuse = [&](std::string_view what, std::string_view hint) {
    throw Error(Code::kUsage, operation, fmt::format("{}, for {}", what, c.shapes), hint);
  };
  c.result = promote(x.dtype(), weights.dtype(), operation);
  if (bias) c.result = promote(c.result, bias->dtype(), operation);
  c.compute = c.result == DType::kF64 ? DType::kF64 : DType::kF32;
  if (weights.rank() != directions + 2) refuse(fmt::format("weights have {} axes", weights.rank()), fmt::format("{} of them", directions + 2));
  const Tensor in = planes(x, directions, operation, c.shapes), w = directions == 2 ? weights : weights.unsqueeze(2);
  ConvShape& s = c.s;
  s.n = in.shape()[0], s.c = in.shape()[1], s.h = in.shape()[2], s.w = in.shape()[3];
  s.kh = w.shape()[2], s.kw = w.shape()[3], s.groups = groups;
  const int64_t first = w.shape()[0], second = w.shape()[1];
  if (groups < 1) refuse(fmt::format("{} groups", groups), "1 or more");
  if (transpose) {
    if (first != s.c || first % groups != 0)
      refuse(fmt::format("{} channels in {} groups meet weights for {}", s.c, groups, first), "weights (in, out / groups, height, width)");
    if (__builtin_mul_overflow(second, groups, &s.o)) refuse(fmt::format("{} groups", groups), "fewer");
  } else {
    int64_t channels = 0;
    if (__builtin_mul_overflow(second, groups, &channels) || channels != s.c || first % groups != 0) {
      refuse(fmt::format("{} channels in {} groups meet weights for {} of each", s.c, groups, second),
             directions == 2 ? "weights (out, in / groups, height, width), both counts multiples of groups"
                             : "weights (out, in / groups, width), both counts multiples of groups");
    }
    s.o = first;
  }
  if (bias && bias->shape() != Shape{s.o}) refuse("a bias of another length", fmt::format("shape ({},)", s.o));
  c.x = in;
  c.weights = w;
  c.bias = bias;
  return c;
}

// Where the shapes are known to be right.
Tensor compute(Checked& c, const Tensor& given, size_t directions, bool transpose, std::string_view operation) {
  const Shape shape{c.s.n, c.s.o, c.s.oh, c.s.ow};
  count(shape);
  const auto ready = [&](const Tensor& t) { return contiguous(to(t, c.compute)); };
  const Tensor y(given.machine(), shape, c.compute);
  if (y.count() != 0) {
    const ConvShape& s = c.s;
    using Sides = std::pair<int64_t, int64_t>;
    for (const auto& [rows, cols] : {Sides(s.h, s.w), Sides(s.oh, s.ow), Sides(s.in(), s.taps()), Sides(s.out(), s.taps())}) {
      int64_t values = 0;
      if (__builtin_mul_overflow(rows, cols, &values) || values > INT32_MAX)  // what the products count to
        throw Error(Code::kUsage, operation, fmt::format("a plane or a window of {} x {} values, for {}", rows, cols, c.shapes), "at most 2^31 - 1: cut it");
    }
    const Tensor x = ready(c.x), w = ready(c.weights);
    const std::optional<Tensor> b = c.bias ? std::optional(ready(*c.bias)) : std::nullopt;
    const auto run = transpose ? &kernels::conv_transpose : &kernels::conv;
    run(given.machine(), c.compute, c.s, x.raw(), w.raw(), b ? b->raw() : nullptr, y.raw());
  }
  return unplaned(to(y, c.result), given, directions);
}

Tensor conv(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const ConvOptions& o, size_t directions,
            std::string_view operation) {
  Checked c = checked(x, weights, bias, o.groups, directions, false, operation);
  ConvShape& s = c.s;
  if (directions == 2) {
    s.sh = o.stride.height, s.dh = o.dilation.height, s.top = o.padding.top, s.bottom = o.padding.bottom;
  }
  s.sw = o.stride.width, s.dw = o.dilation.width, s.left = o.padding.left, s.right = o.padding.right;
  s.oh = windows({s.kh, s.sh, s.dh, s.top, s.bottom}, s.h, operation, c.shapes);
  s.ow = windows({s.kw, s.sw, s.dw, s.left, s.right}, s.w, operation, c.shapes);
  return compute(c, x, directions, false, operation);
}

Tensor transposed(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const ConvTransposeOptions& o, size_t directions,
                  std::string_view operation) {
  Checked c = checked(x, weights, bias, o.groups, directions, true, operation);
  ConvShape& s = c.s;
  const int64_t added_rows = directions == 2 ? o.output_padding.height : 0;
  if (directions == 2) {
    s.sh = o.stride.height, s.dh = o.dilation.height, s.top = o.padding.top, s.bottom = o.padding.bottom;
  }
  s.sw = o.stride.width, s.dw = o.dilation.width, s.left = o.padding.left, s.right = o.padding.right;
  const auto size = [&](const Axis& a, int64_t in, int64_t added) {
    check_axis(a, operation, c.shapes);
    if (added < 0 || (added >= a.stride && added >= a.dilation)) {
      throw Error(Code::kUsage, operation, fmt::format("output padding {} of stride {} and dilation {}, for {}", added, a.stride, a.dilation, c.shapes),
                  "0 or more, and less than one of them");
    }
    int64_t out = 0;
    if (__builtin_mul_overflow(in - 1, a.stride, &out) || __builtin_add_overflow(out, a.reach() + added - a.before - a.after, &out) ||
        out < 1 || in < 1) {
      throw Error(Code::kUsage, operation, fmt::format("{} values give a result of size {}, for {}", in, out, c.shapes),
                  "less padding, or a smaller stride");
    }
    return out;
  };
  s.oh = size({s.kh, s.sh, s.dh, s.top, s.bottom}, s.h, added_rows);
  s.ow = size({s.kw, s.sw, s.dw, s.left, s.right}, s.w, o.output_padding.width);
  // What is cut off the end follows from the size.
  s.bottom -= added_rows;
  s.right -= o.output_padding.width;
  return compute(c, x, directions, true, operation);
}

}  // namespace

Padding same_padding(Two kernel, Two dilation) {
  check_axis({kernel.height, 1, dilation.height, 0, 0}, "same_padding", "the height");
  check_axis({kernel.width, 1, dilation.width, 0, 0}, "same_padding", "the width");
  const int64_t h = (kernel.height - 1) * dilation.height, w = (kernel.width - 1) * dilation.width;
  return {Two(h / 2, w / 2), Two(h - h / 2, w - w / 2)};
}

Tensor conv2d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const ConvOptions& options) {
  return conv(x, weights, bias, options, 2, "conv2d");
}
Tensor conv1d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const ConvOptions& options) {
  return conv(x, weights, bias, options, 1, "conv1d");
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const ConvTransposeOptions& options) {
  return transposed(x, weights, bias, options, 2, "conv_transpose2d");
}
Tensor conv_transpose1d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const ConvTransposeOptions& options) {
  return transposed(x, weights, bias, options, 1, "conv_transpose1d");
}

}  // namespace viva
