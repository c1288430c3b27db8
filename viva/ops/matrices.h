#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "viva/tensor/tensor.h"

// What the verbs of linear algebra share; not for users.
namespace viva {

struct Matrix {
  Tensor t;      // of the type that LAPACK computes in
  DType result;  // what the caller gets
  int64_t m = 0, n = 0, count = 1;
  Shape batch;
  Shape shape(std::initializer_list<int64_t> last) const;  // behind the batch
};
// Throws kUsage where x has no matrices of numbers, or too large ones.
Matrix matrix_of(const Tensor& x, std::string_view operation, bool square);
void check_sizes(const Tensor& x, int64_t m, int64_t n, std::string_view operation);
// Throws kBadInput, naming the matrix.
void check_finite(const Matrix& a, const Tensor& x, std::string_view operation);
std::string which(const Shape& batch, size_t i, const Tensor& x);

// The distance from 1 to the next value.
constexpr double epsilon(DType t) noexcept {
  switch (t) {
    case DType::kF16:
      return 0x1p-10;
    case DType::kBF16:
      return 0x1p-7;
    case DType::kF32:
    case DType::kC64:
      return 0x1p-23;
    default:
      return 0x1p-52;
  }
}

}  // namespace viva
