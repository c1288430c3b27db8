#pragma once

#include <optional>

#include "viva/ops/arg.h"

// Discrete Fourier transforms, by the array API standard's names: what ops.h says of all verbs holds. f64 and c128 are transformed
// in their precision, all other types to f32 and c64 (the sums are of f64 always). A length of any kind is fast, primes too.
namespace viva {

// What has the factor 1 / n: the way back, the way there, or each way its square root.
enum class FourierNorm : uint8_t { kBackward, kOrtho, kForward };
using MaybeLength = std::optional<int64_t>;  // of the row that is transformed: x is cut or filled up with 0; empty: as x has it

// ---- along one axis ----
Tensor fft(const Tensor& x, MaybeLength n = {}, int64_t axis = -1, FourierNorm norm = FourierNorm::kBackward);    // sum of x[j] exp(-2 pi i j k / n)
Tensor ifft(const Tensor& x, MaybeLength n = {}, int64_t axis = -1, FourierNorm norm = FourierNorm::kBackward);   // the way back
Tensor rfft(const Tensor& x, MaybeLength n = {}, int64_t axis = -1, FourierNorm norm = FourierNorm::kBackward);   // the first n / 2 + 1 of real x's
Tensor irfft(const Tensor& x, MaybeLength n = {}, int64_t axis = -1, FourierNorm norm = FourierNorm::kBackward);  // the way back; no n: 2 (size - 1)
Tensor hfft(const Tensor& x, MaybeLength n = {}, int64_t axis = -1, FourierNorm norm = FourierNorm::kBackward);   // fft of half a Hermitian row, real
Tensor ihfft(const Tensor& x, MaybeLength n = {}, int64_t axis = -1, FourierNorm norm = FourierNorm::kBackward);  // the way back: n / 2 + 1

// ---- along several: the last ones where only lengths are given, all where neither is; rfftn's half axis is the last of them ----
using MaybeDims = std::optional<Dims>;
Tensor fftn(const Tensor& x, const MaybeDims& lengths = {}, const MaybeDims& axes = {}, FourierNorm norm = FourierNorm::kBackward);
Tensor ifftn(const Tensor& x, const MaybeDims& lengths = {}, const MaybeDims& axes = {}, FourierNorm norm = FourierNorm::kBackward);
Tensor rfftn(const Tensor& x, const MaybeDims& lengths = {}, const MaybeDims& axes = {}, FourierNorm norm = FourierNorm::kBackward);
Tensor irfftn(const Tensor& x, const MaybeDims& lengths = {}, const MaybeDims& axes = {}, FourierNorm norm = FourierNorm::kBackward);

// ---- what stands where ----
Tensor fftfreq(const Machine& machine, int64_t n, double step = 1, DType dtype = kDefaultFloat);   // k / (n step): 0, 1 .. (n - 1) / 2, -(n / 2) .. -1
Tensor rfftfreq(const Machine& machine, int64_t n, double step = 1, DType dtype = kDefaultFloat);  // 0 .. n / 2
Tensor fftshift(const Tensor& x, const MaybeDims& axes = {});                                      // the 0 of each axis goes to its middle
Tensor ifftshift(const Tensor& x, const MaybeDims& axes = {});                                     // the way back

}  // namespace viva
