#pragma once

#include "viva/machine/machine.h"
#include "viva/tensor/tensor.h"

namespace viva::kernels {

// How a row becomes its discrete Fourier transform: out[k] = scale * sum over j of row[j] exp(-2 pi i j k / n), + where inverse.
struct Fourier {
  int64_t n = 0;         // values of the row: what x has more is cut, what it has fewer is 0
  bool inverse = false;
  bool half = false;     // x holds the first n / 2 + 1 values of a row with row[n - j] = conj(row[j])
  double scale = 1;
};

// Of contiguous x (rows, any), out (rows, at most n): of f32, f64, c64 or c128, both of one precision; a real out has the real
// parts. Computed in f64, each row by one thread: the bits depend on neither threads nor SIMD target.
void fourier(const Machine& machine, const Tensor& x, const Fourier& f, const Tensor& out);

}  // namespace viva::kernels
