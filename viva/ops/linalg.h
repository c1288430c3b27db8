#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "viva/ops/arg.h"
#include "viva/ops/reduce.h"

// Products and linear algebra. Matrices are the last two axes, those before are a batch, whose matrices are taken on all threads.
// f16 and bf16 are computed in f32; what is factored are floats (ints become f32). Bits do not depend on the number of threads;
// those of floats follow from the OpenBLAS of the processor. A matrix that is singular, not positive definite or, where it is
// decomposed, not finite is an error of code kBadInput that says which of the batch it is.
namespace viva {

// ---- products ----
// (..., m, k) (..., k, n) -> (..., m, n); (k) is a row on the left, a column on the right. Ints wrap around; bool: whether any.
Tensor matmul(const Tensor& a, const Tensor& b);
Tensor dot(const Tensor& a, const Tensor& b);                       // of two vectors (n), nothing conjugated
Tensor vecdot(const Tensor& a, const Tensor& b, int64_t axis = -1);  // sum(conj(a) * b) along an axis; the others broadcast
Tensor outer(const Tensor& a, const Tensor& b);                     // (m) (n) -> (m, n)
Tensor tensordot(const Tensor& a, const Tensor& b, int64_t axes = 2);  // the last axes of a with the first of b
Tensor tensordot(const Tensor& a, const Tensor& b, const Dims& axes_a, const Dims& axes_b);
// NumPy's notation: einsum("...ij,...jk->...ik", {a, b}); repeated letters are diagonals, without "->" the letters that occur
// once stay, in the order of the alphabet. Pairs are contracted by matmul, those with the smallest result first.
Tensor einsum(std::string_view formula, const std::vector<Tensor>& operands);
Tensor kron(const Tensor& a, const Tensor& b);                        // blocks: each value of a times b
Tensor cross(const Tensor& a, const Tensor& b, int64_t axis = -1);    // of vectors of three values along an axis
Tensor matrix_power(const Tensor& x, int64_t n);                      // negative: of the inverse

// ---- views and diagonals ----
Tensor matrix_transpose(const Tensor& x);                             // (..., m, n) -> (..., n, m), a view
Tensor diagonal(const Tensor& x, int64_t offset = 0);                 // of each matrix, a view
Tensor trace(const Tensor& x, int64_t offset = 0, std::optional<DType> dtype = {});  // the sum of that

// ---- equations ----
Tensor solve(const Tensor& a, const Tensor& b);  // a x = b; b: (n), or (..., n, columns)
Tensor inv(const Tensor& x);
Tensor det(const Tensor& x);
struct SignLogDet {
  Tensor sign, logabsdet;  // det = sign * e^logabsdet; 0 and -infinity where it is singular
};
SignLogDet slogdet(const Tensor& x);
struct LeastSquares {
  Tensor solution, residuals, rank, singular_values;  // residuals: sums of |b - a x|^2
};
// The x of least |b - a x|, of several the smallest. Singular values up to rcond times the largest count as 0 (default: the
// type's precision times the larger of m and n).
LeastSquares lstsq(const Tensor& a, const Tensor& b, std::optional<double> rcond = {});
Tensor pinv(const Tensor& x, std::optional<double> rtol = {});         // Moore-Penrose
Tensor matrix_rank(const Tensor& x, std::optional<double> rtol = {});  // i64

// ---- decompositions ----
Tensor cholesky(const Tensor& x, bool upper = false);  // x = L L^H, or U^H U; reads that triangle only
struct QR {
  Tensor q, r;
};
QR qr(const Tensor& x, bool complete = false);  // q (m, min(m, n)), or complete: (m, m)
struct SVD {
  Tensor u, s, vh;  // x = u diag(s) vh, s falling
};
SVD svd(const Tensor& x, bool full_matrices = true);
Tensor svdvals(const Tensor& x);
struct Eigh {
  Tensor eigenvalues, eigenvectors;  // rising; columns
};
Eigh eigh(const Tensor& x);  // of symmetric or Hermitian matrices: reads the lower triangle only
Tensor eigvalsh(const Tensor& x);
Eigh eig(const Tensor& x);  // of any square matrices: complex and in no order; columns of length 1
Tensor eigvals(const Tensor& x);

// ---- norms ----
Tensor matrix_norm(const Tensor& x, std::string_view ord = "fro", bool keepdims = false);  // "fro" or "nuc"
Tensor matrix_norm(const Tensor& x, double ord, bool keepdims = false);                    // 1, 2, infinity and their negatives
Tensor vector_norm(const Tensor& x, double ord = 2, const Axes& axes = {}, bool keepdims = false);  // norm()

}  // namespace viva
