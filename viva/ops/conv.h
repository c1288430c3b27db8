#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

#include "viva/tensor/tensor.h"

// Convolutions and pooling, with the meaning and the layouts that PyTorch gives them: x is (batch, channels, height, width), of
// 1d (batch, channels, width); without the batch's axis so is the result. Floats only; f16 and bf16 are computed in f32 and
// rounded once. Bits do not depend on the number of threads; those of f32 follow from the oneDNN of the processor. An empty
// batch is fine, a window larger than the padded input is an error.
namespace viva {

// A number for each direction, or one for both; of 1d the width counts.
struct Two {
  int64_t height, width;
  constexpr Two(std::integral auto both) : height(static_cast<int64_t>(both)), width(height) {}
  constexpr Two(std::integral auto h, std::integral auto w) : height(static_cast<int64_t>(h)), width(static_cast<int64_t>(w)) {}
};
// Zeros around x: all sides alike, by direction, or each side.
struct Padding {
  int64_t top, bottom, left, right;
  constexpr Padding(std::integral auto all) : Padding(Two(all)) {}
  constexpr Padding(std::integral auto h, std::integral auto w) : Padding(Two(h, w)) {}
  constexpr Padding(Two each) : top(each.height), bottom(each.height), left(each.width), right(each.width) {}
  constexpr Padding(Two before, Two after) : top(before.height), bottom(after.height), left(before.width), right(after.width) {}
};
// Padding that keeps the size where the stride is 1; an odd value goes behind.
Padding same_padding(Two kernel, Two dilation = 1);

struct ConvOptions {
  Two stride = 1;
  Padding padding = 0;
  Two dilation = 1;
  int64_t groups = 1;
};
// weights (out, in / groups, height, width), bias (out): y = sum of x * weights under the window (not turned around), plus bias.
Tensor conv2d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias = {}, const ConvOptions& options = {});
Tensor conv1d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias = {}, const ConvOptions& options = {});

struct ConvTransposeOptions {
  Two stride = 1;
  Padding padding = 0;     // cut off the result
  Two output_padding = 0;  // added at its end; below stride or dilation
  Two dilation = 1;
  int64_t groups = 1;
};
// The gradients of conv2d and conv1d: each value spreads weights (in, out / groups, height, width).
Tensor conv_transpose2d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias = {}, const ConvTransposeOptions& options = {});
Tensor conv_transpose1d(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias = {}, const ConvTransposeOptions& options = {});

struct PoolOptions {
  Two stride = 0;                 // 0: the kernel's size
  Two padding = 0;                // at most half of the kernel
  Two dilation = 1;               // of max_pool only
  bool count_include_pad = true;  // of avg_pool: zeros of the padding count as values
  bool ceil_mode = false;         // also a last window that is partly outside, where it begins over x or the padding before it
};
Tensor max_pool2d(const Tensor& x, Two kernel, const PoolOptions& options = {});  // NaN where one is
Tensor max_pool1d(const Tensor& x, Two kernel, const PoolOptions& options = {});
// Also where each value is in its plane, row * width + column; of equal ones the first, of NaNs the last.
struct MaxPool {
  Tensor values, indices;  // i64
};
MaxPool max_pool2d_with_indices(const Tensor& x, Two kernel, const PoolOptions& options = {});
MaxPool max_pool1d_with_indices(const Tensor& x, Two kernel, const PoolOptions& options = {});
Tensor avg_pool2d(const Tensor& x, Two kernel, const PoolOptions& options = {});
Tensor avg_pool1d(const Tensor& x, Two kernel, const PoolOptions& options = {});
Tensor adaptive_max_pool2d(const Tensor& x, Two size);  // to (..., height, width), windows as equal as can be
Tensor adaptive_avg_pool2d(const Tensor& x, Two size);
Tensor global_avg_pool(const Tensor& x);  // the mean of each channel: (batch, channels, ...) -> (batch, channels, 1, ...)

}  // namespace viva
