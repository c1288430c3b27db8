#include "viva/ops/fft.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "viva/kernels/fft.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

// What a transform takes and gives.
struct Way {
  std::string_view operation;
  bool inverse = false;
  bool half_in = false;   // half of a Hermitian row
  bool half_out = false;  // n / 2 + 1 values
  bool real_in = false, real_out = false;
};

double scale_of(FourierNorm norm, bool inverse, int64_t n) {
  if (norm == FourierNorm::kOrtho) return 1 / std::sqrt(static_cast<double>(n));
  return (norm == FourierNorm::kBackward) == inverse ? 1 / static_cast<double>(n) : 1;
}

void check_type(const Tensor& x, const Way& way) {
  check_defined(x, way.operation);
  if (is_bool(x.dtype()) || (way.real_in && is_complex(x.dtype()))) {
    throw Error(Code::kUsage, way.operation, fmt::format("it is not defined on {}", name(x.dtype())),
                way.real_in ? "real numbers, or fft()" : "to(dtype) converts");
  }
}

int64_t length_of(const Tensor& x, size_t axis, MaybeLength n, const Way& way) {
  const int64_t have = x.shape()[axis];
  // 2 (2^62 - 1) fits; what has more values is no tensor in memory.
  const int64_t length = n ? *n : !way.half_in ? have : have > INT64_MAX / 4 ? INT64_MAX / 2 : 2 * (have - 1);
  if (length < 1) {
    throw Error(Code::kUsage, way.operation, fmt::format("{} values along axis {} of shape {}", length, axis, text(x.shape())),
                "n of 1 or more");
  }
  return length;
}

Tensor along(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm, const Way& way) {
  check_type(x, way);
  const size_t a = axis_of(axis, x.rank(), way.operation);
  kernels::Fourier f{.n = length_of(x, a, n, way), .inverse = way.inverse, .half = way.half_in};
  f.scale = scale_of(norm, way.inverse, f.n);
  const bool wide = x.dtype() == DType::kF64 || x.dtype() == DType::kC128;
  const DType real = wide ? DType::kF64 : DType::kF32, whole = wide ? DType::kC128 : DType::kC64;
  // The axis goes last and comes back; the result is made first, so that what is too much is refused before anything is copied.
  Dims order, back;
  for (size_t i = 0; i < x.rank(); ++i) {
    if (i != a) order.push_back(static_cast<int64_t>(i));
  }
  back = order;
  order.push_back(static_cast<int64_t>(a));
  for (size_t i = 0; i < back.size(); ++i) back[i] = static_cast<int64_t>(i);
  back.insert(a, static_cast<int64_t>(x.rank()) - 1);
  const Tensor turned = x.permute(order);
  Shape shape = turned.shape();
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  shape[shape.size() - 1] = way.half_out ? f.n / 2 + 1 : f.n;
  const Tensor out(x.machine(), shape, way.real_out ? real : whole);
  if (out.count() != 0) {
    const Tensor in = contiguous(to(turned, is_complex(x.dtype()) ? whole : real));
    kernels::fourier(x.machine(), reshape(in, {rows, x.shape()[a]}), f, reshape(out, {rows, shape.back()}));
  }
  return out.permute(back);
}

// The axes of a transform of several, and the length of each.
struct Several {
  Dims axes;
  std::vector<MaybeLength> lengths;
};
Several several(const Tensor& x, const MaybeDims& lengths, const MaybeDims& axes, const Way& way) {
  check_type(x, way);
  Several s;
  const int64_t rank = static_cast<int64_t>(x.rank());
  const int64_t count = axes ? static_cast<int64_t>(axes->size()) : lengths ? static_cast<int64_t>(lengths->size()) : rank;
  if (lengths && static_cast<int64_t>(lengths->size()) != count) {
    throw Error(Code::kUsage, way.operation, fmt::format("{} lengths for {} axes", lengths->size(), count), "one for each");
  }
  if (count > rank || (count == 0 && (way.half_in || way.half_out))) {
    throw Error(Code::kUsage, way.operation, fmt::format("{} axes of shape {}", count, text(x.shape())));
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t axis = static_cast<int64_t>(axis_of(axes ? (*axes)[static_cast<size_t>(i)] : rank - count + i, x.rank(), way.operation));
    if (std::find(s.axes.begin(), s.axes.end(), axis) != s.axes.end()) {
      throw Error(Code::kUsage, way.operation, fmt::format("axis {} is named twice", axis));
    }
    s.axes.push_back(axis);
    s.lengths.push_back(lengths ? MaybeLength((*lengths)[static_cast<size_t>(i)]) : std::nullopt);
  }
  return s;
}

// f along all but the last `kept` of the axes, the last first.
Tensor along_most(Tensor x, const Several& s, size_t kept, FourierNorm norm, const Way& way) {
  for (size_t i = s.axes.size() - kept; i-- > 0;) x = along(x, s.lengths[i], s.axes[i], norm, way);
  return x;
}

// Where there was no axis.
Tensor complex_of(const Tensor& x) { return is_complex(x.dtype()) ? x : to(x, x.dtype() == DType::kF64 ? DType::kC128 : DType::kC64); }

Tensor shifted(const Tensor& x, const MaybeDims& axes, bool back, std::string_view operation) {
  check_defined(x, operation);
  Dims all, shifts;
  for (size_t i = 0; i < x.rank(); ++i) all.push_back(static_cast<int64_t>(i));
  const Dims& over = axes ? *axes : all;
  for (const int64_t axis : over) {
    const int64_t half = x.shape()[axis_of(axis, x.rank(), operation)] / 2;
    shifts.push_back(back ? -half : half);
  }
  return over.empty() ? clone(x) : roll(x, shifts, over);
}

// k / (n step) of the k from `first` on.
Tensor frequencies(const Machine& machine, int64_t n, double step, DType dtype, bool half, std::string_view operation) {
  if (n < 1) throw Error(Code::kUsage, operation, fmt::format("{} values", n), "1 or more");
  if (!is_real_float(dtype)) {
    throw Error(Code::kUsage, operation, fmt::format("frequencies are no {}", name(dtype)), "a real floating-point type");
  }
  const auto part = [&](int64_t first, int64_t last) { return arange(machine, static_cast<double>(first), static_cast<double>(last), 1, DType::kF64); };
  const Tensor k = half ? part(0, n / 2 + 1) : concat({part(0, (n + 1) / 2), part(-(n / 2), 0)});
  return to(divide(k, static_cast<double>(n) * step), dtype);
}

constexpr Way kFft{.operation = "fft"}, kIfft{.operation = "ifft", .inverse = true}, kFftn{.operation = "fftn"}, kIfftn{.operation = "ifftn", .inverse = true};
constexpr Way kRfft{.operation = "rfft", .half_out = true, .real_in = true}, kIrfft{.operation = "irfft", .inverse = true, .half_in = true, .real_out = true};
constexpr Way kRfftn{.operation = "rfftn", .half_out = true, .real_in = true}, kIrfftn{.operation = "irfftn", .inverse = true, .half_in = true, .real_out = true};
constexpr Way kHfft{.operation = "hfft", .half_in = true, .real_out = true}, kIhfft{.operation = "ihfft", .inverse = true, .half_out = true, .real_in = true};

}  // namespace

Tensor fft(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm) { return along(x, n, axis, norm, kFft); }
Tensor ifft(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm) { return along(x, n, axis, norm, kIfft); }
Tensor rfft(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm) { return along(x, n, axis, norm, kRfft); }
Tensor irfft(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm) { return along(x, n, axis, norm, kIrfft); }
Tensor hfft(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm) { return along(x, n, axis, norm, kHfft); }
Tensor ihfft(const Tensor& x, MaybeLength n, int64_t axis, FourierNorm norm) { return along(x, n, axis, norm, kIhfft); }

Tensor fftn(const Tensor& x, const MaybeDims& lengths, const MaybeDims& axes, FourierNorm norm) {
  return complex_of(along_most(x, several(x, lengths, axes, kFftn), 0, norm, kFftn));
}
Tensor ifftn(const Tensor& x, const MaybeDims& lengths, const MaybeDims& axes, FourierNorm norm) {
  return complex_of(along_most(x, several(x, lengths, axes, kIfftn), 0, norm, kIfftn));
}
Tensor rfftn(const Tensor& x, const MaybeDims& lengths, const MaybeDims& axes, FourierNorm norm) {
  const Several s = several(x, lengths, axes, kRfftn);
  return along_most(along(x, s.lengths.back(), s.axes.back(), norm, kRfftn), s, 1, norm, kFftn);
}
Tensor irfftn(const Tensor& x, const MaybeDims& lengths, const MaybeDims& axes, FourierNorm norm) {
  const Several s = several(x, lengths, axes, kIrfftn);
  return along(along_most(x, s, 1, norm, kIfftn), s.lengths.back(), s.axes.back(), norm, kIrfftn);
}

Tensor fftfreq(const Machine& machine, int64_t n, double step, DType dtype) { return frequencies(machine, n, step, dtype, false, "fftfreq"); }
Tensor rfftfreq(const Machine& machine, int64_t n, double step, DType dtype) { return frequencies(machine, n, step, dtype, true, "rfftfreq"); }
Tensor fftshift(const Tensor& x, const MaybeDims& axes) { return shifted(x, axes, false, "fftshift"); }
Tensor ifftshift(const Tensor& x, const MaybeDims& axes) { return shifted(x, axes, true, "ifftshift"); }

}  // namespace viva
