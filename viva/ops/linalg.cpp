#include "viva/ops/linalg.h"

#include <fmt/format.h>

#include "viva/kernels/factor.h"
#include "viva/ops/matrices.h"
#include "viva/ops/ops.h"

namespace viva {

using kernels::Info;

Matrix matrix_of(const Tensor& x, std::string_view operation, bool square) {
  check_defined(x, operation);
  if (x.rank() < 2)
    throw Error(Code::kUsage, operation, fmt::format("shape {} is no matrix", text(x.shape())),
                "two axes or more");
  if (is_bool(x.dtype()))
    throw Error(Code::kUsage, operation, "it is not defined on BOOL", "to(dtype) converts");
  Matrix a;
  a.result = is_int(x.dtype()) ? kDefaultFloat : x.dtype();
  const DType compute = a.result == DType::kF16 || a.result == DType::kBF16 ? DType::kF32 : a.result;
  a.t = to(x, compute);
  a.m = x.size(-2);
  a.n = x.size(-1);
  if (square && a.m != a.n)
    throw Error(Code::kUsage, operation, fmt::format("shape {}", text(x.shape())),
                "the matrices must be square");
  a.batch = Shape(std::span(x.shape().begin(), x.rank() - 2));
  a.count = count(a.batch);
  check_sizes(x, a.m, a.n, operation);
  return a;
}

void check_sizes(const Tensor& x, int64_t m, int64_t n, std::string_view operation) {
  if (m > INT32_MAX || n > INT32_MAX || static_cast<double>(m) * static_cast<double>(n) > 0x1p60) {
    throw Error(Code::kUsage, operation,
                fmt::format("shape {} is too large for LAPACK with integers of 32 bits", text(x.shape())));
  }
}

Shape Matrix::shape(std::initializer_list<int64_t> last) const {
  Shape s = batch;
  for (const int64_t d : last) s.push_back(d);
  return s;
}

std::string which(const Shape& batch, size_t i, const Tensor& x) {
  if (batch.empty()) return fmt::format("the matrix of shape {}", text(x.shape()));
  Dims at = batch;
  for (size_t a = batch.size(); a-- > 0;) {
    at[a] = static_cast<int64_t>(i % static_cast<size_t>(batch[a]));
    i /= static_cast<size_t>(batch[a]);
  }
  return fmt::format("matrix {} of the batch of shape {}", text(at), text(x.shape()));
}

void check_finite(const Matrix& a, const Tensor& x, std::string_view operation) {
  if (a.t.count() == 0) return;
  const Tensor fine = all(isfinite(a.t), Axes{-2, -1});
  if (all(fine).item<bool>()) return;
  const std::vector<bool> each = fine.values<bool>();
  const size_t i = static_cast<size_t>(std::find(each.begin(), each.end(), false) - each.begin());
  throw Error(Code::kBadInput, operation, which(a.batch, i, x) + " has values that are not finite",
              "isfinite() finds them");
}

// A new dense copy, each matrix by columns.
Tensor by_columns(const Tensor& t) { return clone(t.transpose(-1, -2)); }

namespace {

DType real_type(DType t) { return t == DType::kC64 ? DType::kF32 : t == DType::kC128 ? DType::kF64 : t; }

void check_info(const Info& info, const Matrix& a, const Tensor& x, std::string_view operation,
                std::string_view what, std::string_view hint) {
  for (size_t i = 0; i < info.size(); ++i) {
    if (info[i] != 0)
      throw Error(Code::kBadInput, operation, which(a.batch, i, x) + fmt::format(fmt::runtime(what), info[i]),
                  hint);
  }
}

void check_decomposed(const Info& info, const Matrix& a, const Tensor& x, std::string_view operation) {
  check_info(info, a, x, operation, " was not decomposed: LAPACK gave up ({})", "scale its values");
}

// LAPACK asks for scratch of some times the smaller size squared and counts it in 32 bits.
void check_scratch(const Matrix& a, const Tensor& x, std::string_view operation) {
  const double less = static_cast<double>(std::min(a.m, a.n)), more = static_cast<double>(std::max(a.m, a.n));
  if (8 * less * less + 128 * more > 0x7fffffff) {
    throw Error(Code::kUsage, operation,
                fmt::format("shape {} is too large for LAPACK with integers of 32 bits", text(x.shape())),
                "up to about 16000 along the shorter axis");
  }
}

// What lies in the other triangle is nobody's concern.
void check_triangle(Matrix a, const Tensor& x, bool upper, std::string_view operation) {
  a.t = upper ? triu(a.t) : tril(a.t);
  check_finite(a, x, operation);
}

// Ones on the diagonal.
Tensor identity(const Machine& machine, const Shape& shape, DType dtype) {
  const Tensor t = zeros(machine, shape, dtype);
  if (t.count() != 0) assign(diagonal(t), 1);
  return t;
}

struct Lu {
  Tensor factors;  // by columns
  std::vector<int32_t> pivots;
  Info info;
};
Lu lu_of(const Matrix& a) {
  Lu f{by_columns(a.t), std::vector<int32_t>(static_cast<size_t>(a.count * a.n)), {}};
  if (a.t.count() != 0)
    kernels::lu(a.t.machine(), a.t.dtype(), a.count, a.n, f.factors.raw(), f.pivots.data(), f.info);
  return f;
}

// a x = b of one type and batch; b (..., n, columns).
Tensor solved(const Matrix& a, const Tensor& given, const Tensor& b, std::string_view operation) {
  const Lu f = lu_of(a);
  check_info(f.info, a, given, operation, " is singular: pivot {} is 0",
             "lstsq() and pinv() take such matrices");
  const Tensor x = by_columns(b);
  check_sizes(b, a.n, b.size(-1), operation);
  if (x.count() != 0)
    kernels::lu_solve(x.machine(), x.dtype(), a.count, a.n, b.size(-1), f.factors.raw(), f.pivots.data(),
                      x.raw());
  return x.transpose(-1, -2);
}

// Whether the permutation of each matrix is odd, times the product of its diagonal's `values`.
Tensor signed_product(const Matrix& a, const Lu& f, const Tensor& values) {
  const Tensor signs(a.t.machine(), a.batch, real_type(a.t.dtype()));
  for (int64_t i = 0; i < a.count; ++i) {
    bool odd = false;
    for (int64_t k = 0; k < a.n; ++k) odd ^= f.pivots[static_cast<size_t>(i * a.n + k)] != k + 1;
    if (signs.dtype() == DType::kF32) {
      signs.data<float>()[i] = odd ? -1.0f : 1.0f;
    } else {
      signs.data<double>()[i] = odd ? -1.0 : 1.0;
    }
  }
  return multiply(signs, prod(values, -1));
}

}  // namespace

Tensor solve(const Tensor& given_a, const Tensor& given_b) {
  matrix_of(given_a, "solve", true);
  check_defined(given_b, "solve");
  const bool vector = given_b.rank() == 1;
  const auto refuse = [&](std::string_view hint) {
    throw Error(Code::kUsage, "solve",
                fmt::format("shapes {} and {}", text(given_a.shape()), text(given_b.shape())), hint);
  };
  if (given_b.rank() == 0 || is_bool(given_b.dtype()))
    refuse("the right side is a vector, or matrices, of numbers");
  const DType type = promote(promote(given_a.dtype(), given_b.dtype(), "solve"), Arg::Kind::kFloat);
  Matrix a = matrix_of(to(given_a, type), "solve", true);
  Tensor b = to(given_b, a.t.dtype());
  if (vector) b = b.unsqueeze(1);
  if (b.size(-2) != a.n)
    refuse(fmt::format("the matrices have {} rows, the right side has {}", a.n, b.size(-2)));
  a.batch = broadcast(a.batch, Shape(std::span(b.shape().begin(), b.rank() - 2)), "solve");
  a.count = count(a.batch);
  a.t = a.t.expand(a.shape({a.n, a.n}));
  const Tensor x = to(solved(a, given_a, b.expand(a.shape({a.n, b.size(-1)})), "solve"), a.result);
  return vector ? x.select(-1, 0) : x;
}

Tensor inv(const Tensor& x) {
  const Matrix a = matrix_of(x, "inv", true);
  return to(solved(a, x, identity(x.machine(), a.t.shape(), a.t.dtype()), "inv"), a.result);
}

Tensor det(const Tensor& x) {
  const Matrix a = matrix_of(x, "det", true);
  const Lu f = lu_of(a);
  return to(signed_product(a, f, diagonal(f.factors)), a.result);
}

SignLogDet slogdet(const Tensor& x) {
  const Matrix a = matrix_of(x, "slogdet", true);
  const Lu f = lu_of(a);
  const Tensor d = diagonal(f.factors);
  return {to(signed_product(a, f, sign(d)), a.result), to(sum(log(abs(d)), -1), real_type(a.result))};
}

Tensor cholesky(const Tensor& x, bool upper) {
  const Matrix a = matrix_of(x, "cholesky", true);
  check_triangle(a, x, upper, "cholesky");
  const Tensor f = by_columns(a.t);
  Info info;
  if (f.count() != 0) kernels::cholesky(x.machine(), f.dtype(), a.count, a.n, upper, f.raw(), info);
  check_info(info, a, x, "cholesky", " is not positive definite: its leading minor of order {} is not",
             "add a little to its diagonal, or use eigh()");
  return to(f.transpose(-1, -2), a.result);
}

QR qr(const Tensor& x, bool complete) {
  const Matrix a = matrix_of(x, "qr", false);
  const int64_t columns = complete ? a.m : std::min(a.m, a.n);
  check_sizes(x, a.m, columns, "qr");
  if (a.t.count() == 0)
    return {identity(x.machine(), a.shape({a.m, columns}), a.result),
            zeros(x.machine(), a.shape({columns, a.n}), a.result)};
  const Tensor work = by_columns(a.t), q(x.machine(), a.shape({columns, a.m}), a.t.dtype()),
               r(x.machine(), a.shape({columns, a.n}), a.t.dtype());
  kernels::qr(x.machine(), a.t.dtype(), a.count, a.m, a.n, columns, work.raw(), q.raw(), r.raw());
  return {to(q.transpose(-1, -2), a.result), to(r, a.result)};
}

SVD svd(const Tensor& x, bool full_matrices) {
  const Matrix a = matrix_of(x, "svd", false);
  check_finite(a, x, "svd");
  check_scratch(a, x, "svd");
  const int64_t less = std::min(a.m, a.n), u_cols = full_matrices ? a.m : less,
                v_rows = full_matrices ? a.n : less;
  const DType real = real_type(a.result);
  if (full_matrices) check_sizes(x, std::max(a.m, a.n), std::max(a.m, a.n), "svd");
  if (a.t.count() == 0) {
    const Machine& machine = x.machine();
    return {identity(machine, a.shape({a.m, u_cols}), a.result), zeros(machine, a.shape({less}), real),
            identity(machine, a.shape({v_rows, a.n}), a.result)};
  }
  const Tensor work = by_columns(a.t), u(x.machine(), a.shape({u_cols, a.m}), a.t.dtype()),
               s(x.machine(), a.shape({less}), real_type(a.t.dtype())),
               vh(x.machine(), a.shape({a.n, v_rows}), a.t.dtype());
  Info info;
  kernels::svd(x.machine(), a.t.dtype(), a.count, a.m, a.n, full_matrices ? 'A' : 'S', work.raw(), s.raw(),
               u.raw(), vh.raw(), info);
  check_decomposed(info, a, x, "svd");
  return {to(u.transpose(-1, -2), a.result), to(s, real), to(vh.transpose(-1, -2), a.result)};
}

Tensor svdvals(const Tensor& x) {
  const Matrix a = matrix_of(x, "svdvals", false);
  check_finite(a, x, "svdvals");
  check_scratch(a, x, "svdvals");
  const Tensor s(x.machine(), a.shape({std::min(a.m, a.n)}), real_type(a.t.dtype()));
  if (a.t.count() != 0) {
    const Tensor work = by_columns(a.t);
    Info info;
    kernels::svd(x.machine(), a.t.dtype(), a.count, a.m, a.n, 'N', work.raw(), s.raw(), nullptr, nullptr,
                 info);
    check_decomposed(info, a, x, "svdvals");
  }
  return to(s, real_type(a.result));
}

namespace {

Eigh eigen(const Tensor& x, bool vectors, std::string_view operation) {
  const Matrix a = matrix_of(x, operation, true);
  check_triangle(a, x, false, operation);
  check_scratch(a, x, operation);
  const Tensor v = by_columns(a.t), w(x.machine(), a.shape({a.n}), real_type(a.t.dtype()));
  Info info;
  if (v.count() != 0) kernels::eigh(x.machine(), a.t.dtype(), a.count, a.n, vectors, v.raw(), w.raw(), info);
  check_decomposed(info, a, x, operation);
  return {to(w, real_type(a.result)), to(v.transpose(-1, -2), a.result)};
}

Eigh eigen_of_any(const Tensor& x, bool vectors, std::string_view operation) {
  const Matrix a = matrix_of(x, operation, true);
  check_finite(a, x, operation);
  check_scratch(a, x, operation);
  const DType type = a.t.dtype() == DType::kF64 || a.t.dtype() == DType::kC128 ? DType::kC128 : DType::kC64;
  const Tensor work = by_columns(a.t), w(x.machine(), a.shape({a.n}), type),
               v(x.machine(), vectors ? a.shape({a.n, a.n}) : Shape{0}, type);
  Info info;
  if (work.count() != 0)
    kernels::eig(x.machine(), a.t.dtype(), a.count, a.n, vectors, work.raw(), w.raw(), v.raw(), info);
  check_decomposed(info, a, x, operation);
  return {w, vectors ? v.transpose(-1, -2) : v};
}

}  // namespace

Eigh eig(const Tensor& x) { return eigen_of_any(x, true, "eig"); }
Tensor eigvals(const Tensor& x) { return eigen_of_any(x, false, "eigvals").eigenvalues; }
Eigh eigh(const Tensor& x) { return eigen(x, true, "eigh"); }
Tensor eigvalsh(const Tensor& x) { return eigen(x, false, "eigvalsh").eigenvalues; }

LeastSquares lstsq(const Tensor& given_a, const Tensor& given_b, std::optional<double> rcond) {
  matrix_of(given_a, "lstsq", false);
  check_defined(given_b, "lstsq");
  const bool vector = given_b.rank() == 1;
  const auto refuse = [&](std::string_view hint) {
    throw Error(Code::kUsage, "lstsq",
                fmt::format("shapes {} and {}", text(given_a.shape()), text(given_b.shape())), hint);
  };
  if (given_b.rank() == 0 || is_bool(given_b.dtype()))
    refuse("the right side is a vector, or matrices, of numbers");
  const DType type = promote(promote(given_a.dtype(), given_b.dtype(), "lstsq"), Arg::Kind::kFloat);
  Matrix a = matrix_of(to(given_a, type), "lstsq", false);
  Tensor b = to(given_b, a.t.dtype());
  if (vector) b = b.unsqueeze(1);
  if (b.size(-2) != a.m)
    refuse(fmt::format("the matrices have {} rows, the right side has {}", a.m, b.size(-2)));
  const int64_t columns = b.size(-1), less = std::min(a.m, a.n), more = std::max(a.m, a.n);
  a.batch = broadcast(a.batch, Shape(std::span(b.shape().begin(), b.rank() - 2)), "lstsq");
  a.count = count(a.batch);
  a.t = a.t.expand(a.shape({a.m, a.n}));
  b = b.expand(a.shape({a.m, columns}));
  check_finite(a, given_a, "lstsq");
  Matrix right = a;
  right.t = b;
  check_finite(right, given_b, "lstsq");
  check_scratch(a, given_a, "lstsq");
  check_sizes(given_b, more, columns, "lstsq");
  const Machine& machine = given_a.machine();
  const Tensor s = zeros(machine, a.shape({less}), real_type(a.t.dtype())),
               rank = zeros(machine, a.batch, DType::kI64);
  Tensor x = zeros(machine, a.shape({columns, more}), a.t.dtype());
  if (a.t.count() != 0) {
    // Right sides of nothing leave the rank and the singular values to be found.
    Tensor padded = columns == 0 ? zeros(machine, a.shape({1, more}), a.t.dtype()) : x;
    if (columns != 0) assign(padded.narrow(-1, 0, a.m), b.transpose(-1, -2));
    const Tensor work = by_columns(a.t);
    Info info;
    kernels::least_squares(machine, a.t.dtype(), a.count, a.m, a.n, std::max<int64_t>(columns, 1),
                           rcond.value_or(epsilon(a.result) * static_cast<double>(more)), work.raw(),
                           padded.raw(), s.raw(), rank.data<int64_t>(), info);
    check_decomposed(info, a, given_a, "lstsq");
  }
  x = x.narrow(-1, 0, a.n).transpose(-1, -2);
  Tensor residuals = sum(square(abs(subtract(b, matmul(a.t, x)))), -2);
  x = to(x, a.result);
  return {vector ? x.select(-1, 0) : x, to(vector ? residuals.select(-1, 0) : residuals, real_type(a.result)),
          rank, to(s, real_type(a.result))};
}

}  // namespace viva
