#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "viva/ops/arg.h"

// Products and linear algebra. Matrices are the last two axes, the others are a batch and broadcast. f16 and
// bf16 are computed in f32; what is decomposed must be floats (ints become f32). Bits do not depend on the
// number of threads; those of the decompositions and of products of floats are of the processor's OpenBLAS.
namespace viva {

// ---- products ----
Tensor matmul(const Tensor& a, const Tensor& b);  // (..., m, k) (..., k, n) -> (..., m, n); (k): a row on the
                                                  // left, a column on the right; ints wrap around

}  // namespace viva
