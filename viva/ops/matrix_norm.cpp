#include <fmt/format.h>

#include <cmath>

#include "viva/ops/matrices.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

Tensor with_axes(const Tensor& t, bool keepdims) { return keepdims ? t.unsqueeze(-1).unsqueeze(-1) : t; }

// Which singular values count: those above rtol times the largest of their matrix.
Tensor above(const Tensor& s, const Matrix& a, std::optional<double> rtol) {
  const double part = rtol.value_or(epsilon(a.result) * static_cast<double>(std::max(a.m, a.n)));
  return greater(s, multiply(max(s, -1, true), part));
}

void check_rtol(std::optional<double> rtol, std::string_view operation) {
  if (rtol && !(*rtol >= 0))
    throw Error(Code::kUsage, operation, fmt::format("rtol is {}", *rtol), "0 or more");
}

}  // namespace

Tensor pinv(const Tensor& x, std::optional<double> rtol) {
  const Matrix a = matrix_of(x, "pinv", false);
  check_rtol(rtol, "pinv");
  check_finite(a, x, "pinv");
  if (a.t.count() == 0) return zeros(x.machine(), a.shape({a.n, a.m}), a.result);
  const SVD f = svd(a.t, false);
  const Tensor inverse = where(above(f.s, a, rtol), reciprocal(f.s), 0.0);
  const Tensor v = conj(f.vh).transpose(-1, -2), uh = conj(f.u).transpose(-1, -2);
  return to(matmul(multiply(v, inverse.unsqueeze(-2)), uh), a.result);
}

Tensor matrix_rank(const Tensor& x, std::optional<double> rtol) {
  const Matrix a = matrix_of(x, "matrix_rank", false);
  check_rtol(rtol, "matrix_rank");
  check_finite(a, x, "matrix_rank");
  if (a.t.count() == 0) return zeros(x.machine(), a.batch, DType::kI64);
  return count_nonzero(above(svdvals(a.t), a, rtol), -1);
}

Tensor matrix_norm(const Tensor& x, std::string_view ord, bool keepdims) {
  const Matrix a = matrix_of(x, "matrix_norm", false);
  if (ord == "fro") return norm(x, 2, Axes{-2, -1}, keepdims);
  if (ord != "nuc")
    throw Error(Code::kUsage, "matrix_norm", fmt::format("\"{}\"", ord),
                "\"fro\", \"nuc\", or 1, 2, infinity and their negatives");
  const Tensor s = sum(svdvals(a.t), -1);
  return to(with_axes(s, keepdims), is_complex(a.result) ? s.dtype() : a.result);
}

Tensor matrix_norm(const Tensor& x, double ord, bool keepdims) {
  const Matrix a = matrix_of(x, "matrix_norm", false);
  const double kind = std::fabs(ord);
  if (kind != 1 && kind != 2 && !std::isinf(kind)) {
    throw Error(Code::kUsage, "matrix_norm", fmt::format("order {}", ord),
                "\"fro\", \"nuc\", or 1, 2, infinity and their negatives");
  }
  // Of sums over one axis the largest or the smallest; no values: 0 as the largest, none as the smallest.
  const Tensor sizes = kind == 2 ? svdvals(a.t) : sum(abs(a.t), kind == 1 ? -2 : -1);
  const Tensor found = ord > 0 && sizes.size(-1) == 0 ? zeros(x.machine(), a.batch, sizes.dtype())
                       : ord > 0                      ? max(sizes, -1)
                                                      : min(sizes, -1);
  return to(with_axes(found, keepdims), is_complex(a.result) ? found.dtype() : a.result);
}

Tensor vector_norm(const Tensor& x, double ord, const Axes& axes, bool keepdims) {
  return norm(x, ord, axes, keepdims);
}

}  // namespace viva
