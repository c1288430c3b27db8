#pragma once

#include "viva/base/dtype.h"
#include "viva/machine/machine.h"

// Convolutions and pooling over planes: x (n, c, h, w) -> y (n, o, oh, ow), row-major.
namespace viva::kernels {

struct ConvShape {
  int64_t n = 0, c = 0, h = 0, w = 0, o = 0, oh = 0, ow = 0;
  int64_t kh = 1, kw = 1, groups = 1;
  int64_t sh = 1, sw = 1, dh = 1, dw = 1;                // stride, dilation
  int64_t top = 0, bottom = 0, left = 0, right = 0;      // padding
  int64_t in() const noexcept { return c / groups; }     // channels of a group
  int64_t out() const noexcept { return o / groups; }
  int64_t taps() const noexcept { return kh * kw; }
};

// y = x * weights (o, c / groups, kh, kw) + bias (o, or null), all f32 or all f64, nothing overlaps. How the work is cut
// follows from the shape alone. Throws kResource.
void conv(const Machine& machine, DType dtype, const ConvShape& s, const void* x, const void* weights, const void* bias, void* y);
// The transposed map; weights (c, o / groups, kh, kw).
void conv_transpose(const Machine& machine, DType dtype, const ConvShape& s, const void* x, const void* weights, const void* bias, void* y);
// The same by oneDNN, f32; false where it has nothing that is faster than matrix products.
bool conv_onednn(const Machine& machine, const ConvShape& s, const float* x, const float* weights, const float* bias, float* y,
                 bool transpose);

enum class Pool { kMax, kAverage, kAverageInside };  // the last divides by the values that are not padding
// f32 or f64; c == o. With `places` (n, o, oh, ow), of kMax: where in its plane each value is.
void pool(const Machine& machine, DType dtype, Pool kind, const ConvShape& s, const void* x, void* y, int64_t* places = nullptr);
// Windows from floor(i h / oh) to ceil((i + 1) h / oh).
void adaptive_pool(const Machine& machine, DType dtype, bool max, const ConvShape& s, const void* x, void* y);

// Loops over one plane, for a type and SIMD target.
struct PlaneCode {
  // y (oh, ow) = bias + x (h, w) * weights (kh, kw).
  void (*depthwise)(const ConvShape& s, const void* x, const void* weights, const void* bias, void* y) noexcept;
  // `line`: room for w values.
  void (*pool)(Pool kind, const ConvShape& s, const void* x, void* line, void* y) noexcept;
  void (*max_places)(const ConvShape& s, const void* x, void* y, int64_t* places) noexcept;
  void (*adaptive)(bool max, const ConvShape& s, const void* x, void* line, void* y) noexcept;
};
const PlaneCode& plane_code(DType dtype, Target target) noexcept;  // f32 or f64

}  // namespace viva::kernels
