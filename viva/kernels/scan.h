#pragma once

#include "viva/machine/machine.h"
#include "viva/tensor/tensor.h"

namespace viva::kernels {

// out[o][i][c] = x[o][0][c] + ... + x[o][i][c] (or the product) for contiguous x of shape (outer, n, inner) and an out of the
// same type, whose rows of one o are n + skip apart and begin at the first that is not skipped. F32 is added up in f64. The
// stretches that long rows are cut into are fixed, so the bits do not depend on threads.
void cumulate(const Machine& machine, const Tensor& x, int64_t outer, int64_t n, int64_t inner, bool product, const Tensor& out, int64_t skip);

}  // namespace viva::kernels
