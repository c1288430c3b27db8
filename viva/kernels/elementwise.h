#pragma once

#include <span>

#include "viva/kernels/loops.h"
#include "viva/machine/machine.h"
#include "viva/tensor/tensor.h"

// One pass over strided operands that are stretched to one shape.
namespace viva::kernels {

struct Operand {
  uint8_t* data;
  DType dtype;
  Strides strides;  // of the common shape, in elements; 0 along stretched axes
  DType compute;    // what the loop takes or gives; values of other types are converted in strips
};

// The operand `t` of a pass over `shape`, to which it broadcasts.
Operand operand(const Tensor& t, const Shape& shape, DType compute);

// out = loop(in...), in strips that stay in the first-level cache, on all threads; `out` may be the same view as an operand
// but must not overlap one otherwise, and no two of its values may share a place.
void run_elementwise(const Machine& machine, const Shape& shape, const Operand& out, std::span<const Operand> in, Loop loop);

// out = in, converted where the types differ.
void copy(const Machine& machine, const Shape& shape, const Operand& out, const Operand& in);

// Loop of three operands: a where the first (bool) is true, else b; for values of `bytes` bytes.
Loop select_loop(size_t bytes) noexcept;

}  // namespace viva::kernels
