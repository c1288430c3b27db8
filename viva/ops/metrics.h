#pragma once

#include "viva/ops/reduce.h"

// How alike or how far apart values are. Two tensors must have one shape: nothing is stretched. Over all axes where none is
// named, as reductions; computed in f32 (f64 of f64 values; ints, bool, f16 and bf16 in f32) and given in that type, with the
// pairwise sums of reductions. NaN where a NaN is among the values, but for share_above. Of no values: NaN.
namespace viva {

// sum(a b) / (|a| |b|) along the axes, from -1 to 1; 0 where one of them is 0 everywhere. Values are scaled first, so that
// nothing overflows; of infinite ones it is NaN.
Tensor cosine(const Tensor& a, const Tensor& b, const Axes& axes = -1, bool keepdims = false);
Tensor mse(const Tensor& a, const Tensor& b, const Axes& axes = {}, bool keepdims = false);   // mean((a - b)^2)
Tensor rmse(const Tensor& a, const Tensor& b, const Axes& axes = {}, bool keepdims = false);  // its root
Tensor mae(const Tensor& a, const Tensor& b, const Axes& axes = {}, bool keepdims = false);   // mean(|a - b|)
// 10 log10(sum(signal^2) / sum((signal - noisy)^2)); infinity where they are equal.
Tensor snr_db(const Tensor& signal, const Tensor& noisy, const Axes& axes = {}, bool keepdims = false);
// 10 log10(peak^2 / mse); infinity where they are equal. `peak`: the largest value that there can be.
Tensor psnr(const Tensor& signal, const Tensor& noisy, double peak = 1, const Axes& axes = {}, bool keepdims = false);

// The value that `q` percent of the values are not above; between two it is interpolated (NumPy's "linear").
Tensor percentile(const Tensor& x, double q, const Axes& axes = {}, bool keepdims = false);
// The share of values with |x| > times * std(x), the deviation being that of the same axes.
Tensor outlier_share(const Tensor& x, double times = 6, const Axes& axes = {}, bool keepdims = false);
// The share of values with |x| > threshold; NaN is not above any.
Tensor share_above(const Tensor& x, double threshold, const Axes& axes = {}, bool keepdims = false);

}  // namespace viva
