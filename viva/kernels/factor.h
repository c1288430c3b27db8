#pragma once

#include <cstdint>
#include <vector>

#include "viva/base/dtype.h"
#include "viva/machine/machine.h"

// LAPACK on stacks of `count` matrices of f32, f64, c64 or c128, each dense and by columns. `info` gets what
// LAPACK says of each matrix: 0 is well. Sizes fit in 32 bits and none is 0; the callers see to that. All
// throw kResource.
namespace viva::kernels {

using Info = std::vector<int>;

// a (m, n) -> L (unit diagonal) and U in its place; info: the column (from 1) whose pivot is 0.
void lu(const Machine& machine, DType dtype, int64_t count, int64_t n, void* a, int32_t* pivots, Info& info);
// b (n, columns) -> the solution.
void lu_solve(const Machine& machine, DType dtype, int64_t count, int64_t n, int64_t columns, const void* a,
              const int32_t* pivots, void* b);
// One triangle of a -> its factor, the other 0; info: the order of the leading minor that is not positive.
void cholesky(const Machine& machine, DType dtype, int64_t count, int64_t n, bool upper, void* a, Info& info);
// a (m, n) -> q (m, columns); r is row-major (rows, n), rows = columns of q; `columns` is m or min(m, n).
void qr(const Machine& machine, DType dtype, int64_t count, int64_t m, int64_t n, int64_t columns, void* a,
        void* q, void* r);
// a (m, n) is lost; s: min(m, n) real values, falling; u (m, m or min) and vh (n or min, n) where `vectors`
// is 'A' or 'S'; 'N': none.
void svd(const Machine& machine, DType dtype, int64_t count, int64_t m, int64_t n, char vectors, void* a,
         void* s, void* u, void* vh, Info& info);
// The lower triangle of a -> eigenvectors as columns, or nothing of use; w: real eigenvalues, rising.
void eigh(const Machine& machine, DType dtype, int64_t count, int64_t n, bool vectors, void* a, void* w,
          Info& info);
// a is lost; w: eigenvalues, v: eigenvectors as columns where `vectors`, both complex.
void eig(const Machine& machine, DType dtype, int64_t count, int64_t n, bool vectors, void* a, void* w, void* v,
         Info& info);
// b (max(m, n), columns) -> the solution of least squares in its first n rows, residuals below; s: singular
// values.
void least_squares(const Machine& machine, DType dtype, int64_t count, int64_t m, int64_t n, int64_t columns,
                   double rcond, void* a, void* b, void* s, int64_t* rank, Info& info);

}  // namespace viva::kernels
