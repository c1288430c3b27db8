#include <fmt/format.h>

#include "viva/ops/ops.h"

namespace viva {

namespace {

[[noreturn]] void refuse(std::string_view operation, const Tensor& a, const Tensor& b,
                         std::string_view hint) {
  throw Error(Code::kUsage, operation, fmt::format("shapes {} and {}", text(a.shape()), text(b.shape())),
              hint);
}

void check_both(const Tensor& a, const Tensor& b, std::string_view operation) {
  check_defined(a, operation);
  check_defined(b, operation);
}

void check_matrices(const Tensor& x, std::string_view operation) {
  check_defined(x, operation);
  if (x.rank() < 2)
    throw Error(Code::kUsage, operation, fmt::format("shape {} is no matrix", text(x.shape())),
                "two axes or more");
}

int64_t product_of(const Shape& shape, size_t first, size_t end) {
  Shape part;
  for (size_t i = first; i < end; ++i) part.push_back(shape[i]);
  return count(part);
}

}  // namespace

Tensor dot(const Tensor& a, const Tensor& b) {
  check_both(a, b, "dot");
  if (a.rank() != 1 || b.rank() != 1 || a.shape() != b.shape())
    refuse("dot", a, b, "two vectors of one length; matmul() takes matrices");
  return matmul(a, b);
}

Tensor vecdot(const Tensor& a, const Tensor& b, int64_t axis) {
  check_both(a, b, "vecdot");
  if (a.rank() == 0 || b.rank() == 0) refuse("vecdot", a, b, "vectors have an axis");
  // A negative axis counts in both from the end, as the standard has it; others from the start of what they
  // broadcast to.
  Tensor x = a, y = b;
  while (axis >= 0 && x.rank() < y.rank()) x = x.unsqueeze(0);
  while (axis >= 0 && y.rank() < x.rank()) y = y.unsqueeze(0);
  const size_t i = axis_of(axis, x.rank(), "vecdot"), j = axis_of(axis, y.rank(), "vecdot");
  if (x.shape()[i] != y.shape()[j])
    refuse("vecdot", a, b, fmt::format("the sizes along axis {} must be equal", axis));
  x = moveaxis(is_complex(a.dtype()) ? conj(x) : x, {static_cast<int64_t>(i)}, {-1});
  y = moveaxis(y, {static_cast<int64_t>(j)}, {-1});
  broadcast(x.shape(), y.shape(), "vecdot");
  return matmul(x.unsqueeze(-2), y.unsqueeze(-1)).select(-1, 0).select(-1, 0);
}

Tensor outer(const Tensor& a, const Tensor& b) {
  check_both(a, b, "outer");
  if (a.rank() != 1 || b.rank() != 1) refuse("outer", a, b, "two vectors");
  return multiply(a.unsqueeze(1), b.unsqueeze(0));
}

Tensor tensordot(const Tensor& a, const Tensor& b, const Dims& axes_a, const Dims& axes_b) {
  check_both(a, b, "tensordot");
  if (axes_a.size() != axes_b.size()) {
    throw Error(Code::kUsage, "tensordot",
                fmt::format("axes {} and {} of shapes {} and {}", text(axes_a), text(axes_b), text(a.shape()),
                            text(b.shape())),
                "as many of both");
  }
  const uint32_t of_a = Axes(axes_a).bits(a.rank(), "tensordot"),
                 of_b = Axes(axes_b).bits(b.rank(), "tensordot");
  Dims order_a, order_b;
  Shape shape;
  for (size_t i = 0; i < a.rank(); ++i) {
    if ((of_a >> i & 1) != 0) continue;
    order_a.push_back(static_cast<int64_t>(i));
    shape.push_back(a.shape()[i]);
  }
  for (size_t i = 0; i < axes_a.size(); ++i) {
    const size_t p = axis_of(axes_a[i], a.rank(), "tensordot"), q = axis_of(axes_b[i], b.rank(), "tensordot");
    if (a.shape()[p] != b.shape()[q]) {
      refuse("tensordot", a, b,
             fmt::format("axis {} of the first and {} of the second have other sizes", axes_a[i], axes_b[i]));
    }
    order_a.push_back(static_cast<int64_t>(p));
    order_b.push_back(static_cast<int64_t>(q));
  }
  for (size_t i = 0; i < b.rank(); ++i) {
    if ((of_b >> i & 1) != 0) continue;
    order_b.push_back(static_cast<int64_t>(i));
    shape.push_back(b.shape()[i]);
  }
  const Tensor x = a.permute(order_a), y = b.permute(order_b);
  const size_t joined = axes_a.size(), own = a.rank() - joined;
  const int64_t k = product_of(x.shape(), own, a.rank());
  const Tensor z = matmul(reshape(x, {product_of(x.shape(), 0, own), k}),
                          reshape(y, {k, product_of(y.shape(), joined, b.rank())}));
  return reshape(z, shape);
}

Tensor tensordot(const Tensor& a, const Tensor& b, int64_t axes) {
  check_both(a, b, "tensordot");
  if (axes < 0 || axes > static_cast<int64_t>(std::min(a.rank(), b.rank()))) {
    refuse("tensordot", a, b, fmt::format("they have no {} axes to contract", axes));
  }
  Dims of_a, of_b;
  for (int64_t i = 0; i < axes; ++i) {
    of_a.push_back(static_cast<int64_t>(a.rank()) - axes + i);
    of_b.push_back(i);
  }
  return tensordot(a, b, of_a, of_b);
}

Tensor kron(const Tensor& a, const Tensor& b) {
  check_both(a, b, "kron");
  Tensor x = a, y = b;
  while (x.rank() < y.rank()) x = x.unsqueeze(0);
  while (y.rank() < x.rank()) y = y.unsqueeze(0);
  Shape shape;
  for (size_t i = 0; i < x.rank(); ++i) {
    int64_t size = 0;
    if (__builtin_mul_overflow(x.shape()[i], y.shape()[i], &size))
      refuse("kron", a, b, "the result has too many values");
    shape.push_back(size);
  }
  const int64_t rank = static_cast<int64_t>(shape.size());
  for (int64_t i = 0; i < rank; ++i) {
    x = x.unsqueeze(2 * i + 1);
    y = y.unsqueeze(2 * i);
  }
  return reshape(multiply(x, y), shape);
}

Tensor cross(const Tensor& a, const Tensor& b, int64_t axis) {
  check_both(a, b, "cross");
  const size_t i = axis_of(axis, a.rank(), "cross"), j = axis_of(axis, b.rank(), "cross");
  if (a.shape()[i] != 3 || b.shape()[j] != 3)
    refuse("cross", a, b, fmt::format("both need three values along axis {}", axis));
  const Tensor x = moveaxis(a, {axis}, {-1}), y = moveaxis(b, {axis}, {-1});
  const auto part = [&](int64_t p, int64_t q) {
    return subtract(multiply(x.select(-1, p), y.select(-1, q)), multiply(x.select(-1, q), y.select(-1, p)));
  };
  const Tensor z = stack({part(1, 2), part(2, 0), part(0, 1)}, -1);
  return moveaxis(z, {-1}, {axis < 0 ? axis : static_cast<int64_t>(axis_of(axis, z.rank(), "cross"))});
}

Tensor matrix_transpose(const Tensor& x) {
  check_matrices(x, "matrix_transpose");
  return x.transpose(-2, -1);
}

Tensor diagonal(const Tensor& x, int64_t offset) {
  check_matrices(x, "diagonal");
  return x.diagonal(offset, -2, -1);
}

Tensor trace(const Tensor& x, int64_t offset, std::optional<DType> dtype) {
  check_matrices(x, "trace");
  return sum(x.diagonal(offset, -2, -1), -1, false, dtype);
}

Tensor matrix_power(const Tensor& given, int64_t n) {
  check_matrices(given, "matrix_power");
  const int64_t size = given.shape().back();
  if (given.size(-2) != size) {
    throw Error(Code::kUsage, "matrix_power", fmt::format("shape {}", text(given.shape())),
                "square matrices have powers");
  }
  Tensor x = n < 0 ? inv(given) : given, power;
  uint64_t left = n < 0 ? uint64_t{0} - static_cast<uint64_t>(n) : static_cast<uint64_t>(n);
  if (left == 0) {
    const Tensor one = zeros(x.machine(), x.shape(), x.dtype());
    if (one.count() != 0) assign(diagonal(one), 1);
    return one;
  }
  for (;; x = matmul(x, x)) {
    if ((left & 1) != 0) power = power.defined() ? matmul(power, x) : x;
    left >>= 1;
    if (left == 0) return n == 1 ? clone(power) : power;
  }
}

}  // namespace viva
