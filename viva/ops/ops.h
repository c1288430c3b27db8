#pragma once

#include <optional>
#include <vector>

#include "viva/ops/arg.h"
#include "viva/ops/arrange.h"  // IWYU pragma: export
#include "viva/ops/conv.h"      // IWYU pragma: export
#include "viva/ops/fft.h"      // IWYU pragma: export
#include "viva/ops/linalg.h"   // IWYU pragma: export
#include "viva/ops/metrics.h"  // IWYU pragma: export
#include "viva/ops/packed.h"   // IWYU pragma: export
#include "viva/ops/print.h"    // IWYU pragma: export
#include "viva/ops/random.h"   // IWYU pragma: export
#include "viva/ops/reduce.h"   // IWYU pragma: export

// Every verb, a line each. They leave their operands as they are and run on the threads of the first tensor's Machine.
// Shapes broadcast as NumPy's do, types are promoted as the array API standard says (promote()); f16 and bf16 are computed
// in f32. All throw viva::Error with the operation's name and both shapes.
namespace viva {

// ---- making ----
Tensor zeros(const Machine& machine, const Shape& shape, DType dtype = kDefaultFloat);
Tensor ones(const Machine& machine, const Shape& shape, DType dtype = kDefaultFloat);
Tensor full(const Machine& machine, const Shape& shape, const Arg& value, std::optional<DType> dtype = {});
Tensor arange(const Machine& machine, double start, double stop, double step = 1, std::optional<DType> dtype = {});  // [start, stop)
Tensor linspace(const Machine& machine, double start, double stop, int64_t count, DType dtype = kDefaultFloat, bool endpoint = true);
Tensor eye(const Machine& machine, int64_t rows, std::optional<int64_t> cols = {}, int64_t diagonal = 0, DType dtype = kDefaultFloat);

// ---- copying and joining (views are methods of Tensor) ----
Tensor to(const Tensor& x, DType dtype);                       // itself where it has the type already
Tensor clone(const Tensor& x);                                 // row-major
Tensor contiguous(const Tensor& x);                            // itself where it is row-major already
Tensor reshape(const Tensor& x, const Shape& shape);           // a view where the strides can say it; -1: what is left
void assign(const Tensor& place, const Arg& values);           // writes into the buffer of `place`; all views of it see that
Tensor concat(const std::vector<Tensor>& parts, int64_t axis = 0);
Tensor stack(const std::vector<Tensor>& parts, int64_t axis = 0);
Tensor where(const Tensor& condition, const Arg& a, const Arg& b);  // a where it is true, else b
Tensor clamp(const Tensor& x, const Arg& low, const Arg& high);     // NaN stays NaN

// ---- one value at a time ----
Tensor abs(const Tensor& x);                              // |x|
Tensor negative(const Tensor& x);                         // -x
Tensor positive(const Tensor& x);                         // x
Tensor square(const Tensor& x);                           // x * x
Tensor sign(const Tensor& x);                             // -1, 0 or 1; x / |x| of complex
Tensor floor(const Tensor& x);                            // largest integer that is not greater
Tensor ceil(const Tensor& x);                             // smallest integer that is not less
Tensor trunc(const Tensor& x);                            // nearest integer towards zero
Tensor round(const Tensor& x);                            // nearest integer, ties to even
Tensor reciprocal(const Tensor& x);                       // 1 / x
Tensor sqrt(const Tensor& x);                             // square root
Tensor rsqrt(const Tensor& x);                            // 1 / sqrt(x)
Tensor exp(const Tensor& x);                              // e^x
Tensor expm1(const Tensor& x);                            // e^x - 1, exact near 0
Tensor log(const Tensor& x);                              // natural logarithm
Tensor log1p(const Tensor& x);                            // log(1 + x), exact near 0
Tensor log2(const Tensor& x);                             // logarithm to base 2
Tensor log10(const Tensor& x);                            // logarithm to base 10
Tensor sin(const Tensor& x);                              // sine of radians
Tensor cos(const Tensor& x);                              // cosine of radians
Tensor tan(const Tensor& x);                              // tangent of radians
Tensor asin(const Tensor& x);                             // inverse sine
Tensor acos(const Tensor& x);                             // inverse cosine
Tensor atan(const Tensor& x);                             // inverse tangent
Tensor sinh(const Tensor& x);                             // hyperbolic sine
Tensor cosh(const Tensor& x);                             // hyperbolic cosine
Tensor tanh(const Tensor& x);                             // hyperbolic tangent
Tensor asinh(const Tensor& x);                            // inverse hyperbolic sine
Tensor acosh(const Tensor& x);                            // inverse hyperbolic cosine
Tensor atanh(const Tensor& x);                            // inverse hyperbolic tangent
Tensor erf(const Tensor& x);                              // error function
Tensor sigmoid(const Tensor& x);                          // 1 / (1 + e^-x)
Tensor relu(const Tensor& x);                             // max(x, 0)
Tensor gelu(const Tensor& x);                             // x Phi(x), by erf
Tensor gelu_tanh(const Tensor& x);                        // x Phi(x), by tanh
Tensor silu(const Tensor& x);                             // x sigmoid(x)
Tensor softplus(const Tensor& x);                         // log(1 + e^x)
Tensor isnan(const Tensor& x);                            // whether it is NaN
Tensor isinf(const Tensor& x);                            // whether it is infinite
Tensor isfinite(const Tensor& x);                         // whether it is neither NaN nor infinite
Tensor signbit(const Tensor& x);                          // whether the sign bit is set, of -0.0 and NaN too
Tensor logical_not(const Tensor& x);                      // not x
Tensor bitwise_invert(const Tensor& x);                   // every bit the other way
Tensor real(const Tensor& x);                             // real part
Tensor imag(const Tensor& x);                             // imaginary part
Tensor conj(const Tensor& x);                             // complex conjugate
Tensor add(const Arg& a, const Arg& b);                   // a + b
Tensor subtract(const Arg& a, const Arg& b);              // a - b
Tensor multiply(const Arg& a, const Arg& b);              // a * b
Tensor divide(const Arg& a, const Arg& b);                // a / b
Tensor floor_divide(const Arg& a, const Arg& b);          // floor(a / b); an integer by 0 is 0
Tensor remainder(const Arg& a, const Arg& b);             // a - b * floor(a / b), with the sign of b; of an integer by 0 it is 0
Tensor pow(const Arg& a, const Arg& b);                   // a^b; an integer to a negative power is 0, but that of 1 and -1
Tensor maximum(const Arg& a, const Arg& b);               // the larger; NaN where one is
Tensor minimum(const Arg& a, const Arg& b);               // the smaller; NaN where one is
Tensor atan2(const Arg& a, const Arg& b);                 // angle of the point (b, a)
Tensor hypot(const Arg& a, const Arg& b);                 // sqrt(a^2 + b^2) without overflow
Tensor copysign(const Arg& a, const Arg& b);              // a with the sign of b
Tensor nextafter(const Arg& a, const Arg& b);             // the next value from a towards b
Tensor logaddexp(const Arg& a, const Arg& b);             // log(e^a + e^b)
Tensor leaky_relu(const Arg& a, const Arg& b);            // a where it is positive, else a * b
Tensor elu(const Arg& a, const Arg& b);                   // a where it is positive, else b (e^a - 1)
Tensor equal(const Arg& a, const Arg& b);                 // a = b
Tensor not_equal(const Arg& a, const Arg& b);             // a and b differ
Tensor less(const Arg& a, const Arg& b);                  // a < b
Tensor less_equal(const Arg& a, const Arg& b);            // a <= b
Tensor greater(const Arg& a, const Arg& b);               // a > b
Tensor greater_equal(const Arg& a, const Arg& b);         // a >= b
Tensor logical_and(const Arg& a, const Arg& b);           // a and b
Tensor logical_or(const Arg& a, const Arg& b);            // a or b
Tensor logical_xor(const Arg& a, const Arg& b);           // one of a and b
Tensor bitwise_and(const Arg& a, const Arg& b);           // bits of both
Tensor bitwise_or(const Arg& a, const Arg& b);            // bits of either
Tensor bitwise_xor(const Arg& a, const Arg& b);           // bits of one
Tensor bitwise_left_shift(const Arg& a, const Arg& b);    // a 2^b; 0 where b is the width or more
Tensor bitwise_right_shift(const Arg& a, const Arg& b);   // floor(a / 2^b)

inline Tensor operator+(const Tensor& a, const Arg& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Arg& b) { return subtract(a, b); }
inline Tensor operator*(const Tensor& a, const Arg& b) { return multiply(a, b); }
inline Tensor operator/(const Tensor& a, const Arg& b) { return divide(a, b); }
inline Tensor operator-(const Tensor& x) { return negative(x); }
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator+(T a, const Tensor& b) { return add(a, b); }
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator-(T a, const Tensor& b) { return subtract(a, b); }
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator*(T a, const Tensor& b) { return multiply(a, b); }
template <class T>
  requires std::is_arithmetic_v<T>
Tensor operator/(T a, const Tensor& b) { return divide(a, b); }

}  // namespace viva
