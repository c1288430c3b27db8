#pragma once

#include <cstddef>

#include "viva/machine/machine.h"
#include "viva/tensor/tensor.h"

// Rows that are scaled by what is found in them: softmax and the norms of layers. A row is read from memory once, its
// statistics by the reductions' code in the cache.
namespace viva::kernels {

// Passes over n values of one type.
struct NormalizeCode {
  void (*exp)(const void* x, size_t n, double center, void* y) noexcept;                                    // e^(x - center)
  void (*scale)(const void* x, size_t n, double center, double by, double plus, void* y) noexcept;          // (x - center) * by + plus
  void (*weigh)(const void* x, size_t n, double center, double by, const void* weight, const void* bias, void* y) noexcept;  // null: 1 and 0
};
const NormalizeCode& normalize_code(DType compute, Target target) noexcept;  // f32 or f64

enum class Normalize { kSoftmax, kLogSoftmax, kLayer, kRms };
struct NormalizeOptions {
  Normalize kind = Normalize::kSoftmax;
  double epsilon = 0;
  const void* weight = nullptr;  // of the computed type: `weights` of them, or null
  const void* bias = nullptr;
  int64_t weights = 0;  // n: one for each value of a row; less: row r takes groups of n / (weights / groups) values
  int64_t groups = 1;   // rows after which the weights begin anew
};
// out = x row by row, both contiguous of shape (rows, n) and the same real float type; f16 and bf16 are computed in f32.
void normalize(const Machine& machine, const Tensor& x, int64_t rows, int64_t n, const NormalizeOptions& options, const Tensor& out);

}  // namespace viva::kernels
