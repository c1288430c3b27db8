#include <fmt/format.h>

#include "viva/kernels/normalize.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

using kernels::Normalize;

// x, or what was made of it: ints become f32, as exp() takes them.
const Tensor& checked(const Tensor& x, std::string_view operation, Tensor& made) {
  check_defined(x, operation);
  if (is_real_float(x.dtype())) return x;
  if (is_int(x.dtype())) return made = to(x, kDefaultFloat);
  throw Error(Code::kUsage, operation, fmt::format("it is not defined on {}", name(x.dtype())), "to(dtype) converts");
}

const Tensor& in_order(const Tensor& x, Tensor& made) {
  if (x.contiguous()) return x;
  return made = clone(x);
}

// `t` as contiguous values of the type that x is computed in.
std::optional<Tensor> weights(const std::optional<Tensor>& t, const Shape& shape, const Tensor& x, std::string_view operation) {
  if (!t) return {};
  check_defined(*t, operation);
  if (t->shape() != shape || !is_real_float(t->dtype())) {
    throw Error(Code::kUsage, operation, fmt::format("weights or statistics of shape {} and type {} for x of shape {}", text(t->shape()), name(t->dtype()), text(x.shape())),
                fmt::format("they must be floats of shape {}", text(shape)));
  }
  return contiguous(to(*t, x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32));
}
const void* raw(const std::optional<Tensor>& t) { return t ? t->raw() : nullptr; }

Tensor soft(Normalize kind, const Tensor& given, int64_t axis, std::string_view operation) {
  Tensor made, ordered;
  const Tensor& x = checked(given, operation, made);
  if (x.rank() == 0) {
    axis_of(axis, 1, operation);
    return reshape(soft(kind, reshape(x, {1}), 0, operation), {});
  }
  const int64_t a = static_cast<int64_t>(axis_of(axis, x.rank(), operation)), last = static_cast<int64_t>(x.rank()) - 1;
  const Tensor& in = in_order(a == last ? x : ordered = x.transpose(a, last), ordered);
  const int64_t n = in.shape().back();
  Tensor out(x.machine(), in.shape(), x.dtype());
  kernels::normalize(x.machine(), in, n == 0 ? 0 : in.count() / n, n, {.kind = kind}, out);
  if (a == last) return out;
  return out.transpose(a, last);
}

Tensor over_last(Normalize kind, const Tensor& given, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, int64_t axes, double epsilon,
                 std::string_view operation) {
  Tensor made, ordered;
  const Tensor& x = in_order(checked(given, operation, made), ordered);
  if (axes < 1 || axes > static_cast<int64_t>(x.rank())) {
    throw Error(Code::kUsage, operation, fmt::format("the last {} axes of shape {}", axes, text(x.shape())), "1 to all of them");
  }
  const Shape tail(std::span(x.shape().end() - axes, static_cast<size_t>(axes)));
  const std::optional<Tensor> w = weights(weight, tail, x, operation), b = weights(bias, tail, x, operation);
  const int64_t n = count(tail);
  Tensor out(x.machine(), x.shape(), x.dtype());
  kernels::normalize(x.machine(), x, n == 0 ? 0 : x.count() / n, n, {.kind = kind, .epsilon = epsilon, .weight = raw(w), .bias = raw(b), .weights = n}, out);
  return out;
}

// The channels, axis 1.
int64_t channels(const Tensor& x, std::string_view operation) {
  if (x.rank() < 2) throw Error(Code::kUsage, operation, fmt::format("shape {} has no channels", text(x.shape())), "shape (batch, channels, ...)");
  return x.shape()[1];
}

}  // namespace

Tensor softmax(const Tensor& x, int64_t axis) { return soft(Normalize::kSoftmax, x, axis, "softmax"); }
Tensor log_softmax(const Tensor& x, int64_t axis) { return soft(Normalize::kLogSoftmax, x, axis, "log_softmax"); }

Tensor layer_norm(const Tensor& x, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, int64_t axes, double epsilon) {
  return over_last(Normalize::kLayer, x, weight, bias, axes, epsilon, "layer_norm");
}
Tensor rms_norm(const Tensor& x, const std::optional<Tensor>& weight, int64_t axes, double epsilon) {
  return over_last(Normalize::kRms, x, weight, {}, axes, epsilon, "rms_norm");
}

Tensor group_norm(const Tensor& given, int64_t groups, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias, double epsilon) {
  Tensor made, ordered;
  const Tensor& x = in_order(checked(given, "group_norm", made), ordered);
  const int64_t c = channels(x, "group_norm");
  if (groups < 1 || c % groups != 0) throw Error(Code::kUsage, "group_norm", fmt::format("{} groups of the channels of shape {}", groups, text(x.shape())), "equal ones");
  const std::optional<Tensor> w = weights(weight, {c}, x, "group_norm"), b = weights(bias, {c}, x, "group_norm");
  const Tensor out(x.machine(), x.shape(), x.dtype());
  const int64_t rows = x.shape()[0] * groups;
  kernels::normalize(x.machine(), x, rows, rows == 0 ? 0 : x.count() / rows,
                     {.kind = Normalize::kLayer, .epsilon = epsilon, .weight = raw(w), .bias = raw(b), .weights = c, .groups = groups}, out);
  return out;
}

Tensor batch_norm(const Tensor& given, const Tensor& mean, const Tensor& variance, const std::optional<Tensor>& weight, const std::optional<Tensor>& bias,
                  double epsilon) {
  Tensor made;
  const Tensor& x = checked(given, "batch_norm", made);
  const int64_t c = channels(x, "batch_norm");
  Shape along(x.rank() - 1, 1);  // broadcast beside the channels
  along[0] = c;
  const auto channel = [&](const std::optional<Tensor>& t) { return weights(t, {c}, x, "batch_norm"); };
  const Tensor m = reshape(*channel(mean), along);
  Tensor by = rsqrt(add(*channel(variance), epsilon));
  if (weight) by = multiply(by, *channel(weight));
  Tensor y = multiply(subtract(x, m), reshape(by, along));
  if (bias) y = add(y, reshape(*channel(bias), along));
  return to(y, x.dtype());
}

}  // namespace viva
