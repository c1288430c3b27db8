#pragma once

#include "viva/base/dtype.h"
#include "viva/machine/machine.h"
#include "viva/tensor/shape.h"

namespace viva::kernels {

// A stack of matrices: strides in elements, any sign, 0 where one is stretched.
struct Matrices {
  const uint8_t* data;
  int64_t row_stride, col_stride;
  Strides batch;
};

// out (batch..., m, n), row-major = a (batch..., m, k) times b (batch..., k, n), all of one type: a number
// type of VIVA_ELEMENTS. f16 and bf16 are added up in f32, integers wrap around. How a sum is made follows from
// the shapes and strides alone, so that the bits do not depend on the number of threads. Throws kResource.
void matmul(const Machine& machine, DType dtype, const Shape& batch, int64_t m, int64_t n, int64_t k,
            const Matrices& a, const Matrices& b, uint8_t* out);

// The products of one type on dense blocks: c (m, n) with rows `ldc` apart. An operand lies by rows (trans
// 'N') or by columns ('T'), which are `ld` elements apart.
struct Block {
  const void* data;
  char trans;
  int64_t ld;
};
using Gemm = void (*)(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                      int64_t ldc) noexcept;
// What small products are made with: any strides, no call of a library.
using SmallProduct = void (*)(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b,
                              void* c) noexcept;
using AddTo = void (*)(const void* from, void* to, int64_t n) noexcept;
struct ProductCode {
  Gemm gemm;
  SmallProduct small;
  AddTo add;
  int64_t small_work;  // multiplications up to which the small product is the faster one
};
// For f32, f64 and complex; for integers.
const ProductCode& float_product(DType compute, Target target) noexcept;
const ProductCode& int_product(DType dtype, Target target) noexcept;
// Of real floats, with at most kSmallEdge rows, columns and terms; null for other types.
inline constexpr int64_t kSmallEdge = 48;
SmallProduct small_real_product(DType dtype, Target target) noexcept;
// A matrix of bf16, f32 or f64 and a dense vector of f32, f32 or f64 (m or n is 1).
Gemm matrix_times_vector(DType dtype, Target target) noexcept;
// bf16 matrices -> f32, and whether this is faster here than to widen them.
void bf16_product(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                  int64_t ldc) noexcept;
bool bf16_product_is_fast(Target target) noexcept;

}  // namespace viva::kernels
