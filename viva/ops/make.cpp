#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "viva/ops/ops.h"

namespace viva {

namespace {

DType type_of(const Arg& value) {
  switch (value.kind()) {
    case Arg::Kind::kTensor: return value.tensor()->dtype();
    case Arg::Kind::kBool: return DType::kBool;
    case Arg::Kind::kInt: return kDefaultInt;
    case Arg::Kind::kFloat: return kDefaultFloat;
    case Arg::Kind::kComplex: return DType::kC64;
  }
  return kDefaultFloat;
}

// t[i] = f(i) as its type.
template <class F>
Tensor fill(Tensor t, F f) {
  with_element(t.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* out = reinterpret_cast<T*>(t.raw());
    for (int64_t i = 0, n = t.count(); i < n; ++i) out[i] = f(zero, i);
  });
  return t;
}

}  // namespace

Tensor full(const Machine& machine, const Shape& shape, const Arg& value, std::optional<DType> dtype) {
  Tensor t(machine, shape, dtype.value_or(type_of(value)));
  constexpr int64_t kSmall = 4096;
  if (t.count() == 0 || t.count() > kSmall || value.tensor() != nullptr) {
    assign(t, value);
    return t;
  }
  value.write(t.raw(), t.dtype());
  const size_t width = bytes(t.dtype());
  if (std::all_of(t.raw(), t.raw() + width, [&](uint8_t byte) { return byte == *t.raw(); })) {
    std::memset(t.raw(), *t.raw(), static_cast<size_t>(t.bytes()));
    return t;
  }
  for (size_t done = width, all = static_cast<size_t>(t.bytes()); done < all; done *= 2) {
    std::memcpy(t.raw() + done, t.raw(), std::min(done, all - done));
  }
  return t;
}
Tensor zeros(const Machine& machine, const Shape& shape, DType dtype) { return full(machine, shape, 0, dtype); }
Tensor ones(const Machine& machine, const Shape& shape, DType dtype) { return full(machine, shape, 1, dtype); }

Tensor arange(const Machine& machine, double start, double stop, double step, std::optional<DType> dtype) {
  const auto whole = [](double v) { return v == std::trunc(v) && std::fabs(v) < 0x1p53; };
  if (step == 0 || !std::isfinite(start) || !std::isfinite(stop) || !std::isfinite(step)) {
    throw Error(Code::kUsage, "arange", fmt::format("from {} to {} in steps of {}", start, stop, step), "finite numbers and a step other than 0");
  }
  const DType type = dtype.value_or(whole(start) && whole(stop) && whole(step) ? kDefaultInt : kDefaultFloat);
  const double n = std::ceil((stop - start) / step);
  if (n >= 0x1p60) throw Error(Code::kUsage, "arange", fmt::format("{} values are too many", n));
  return fill(Tensor(machine, {n > 0 ? static_cast<int64_t>(n) : 0}, type), [&](auto zero, int64_t i) {
    return element_cast<double, decltype(zero)>(start + static_cast<double>(i) * step);
  });
}

Tensor linspace(const Machine& machine, double start, double stop, int64_t count, DType dtype, bool endpoint) {
  if (count < 0) throw Error(Code::kUsage, "linspace", fmt::format("{} values", count));
  const double parts = static_cast<double>(endpoint ? count - 1 : count), step = parts > 0 ? (stop - start) / parts : 0;
  return fill(Tensor(machine, {count}, dtype), [&](auto zero, int64_t i) {
    const bool last = endpoint && count > 1 && i == count - 1;
    return element_cast<double, decltype(zero)>(last ? stop : start + static_cast<double>(i) * step);
  });
}

Tensor eye(const Machine& machine, int64_t rows, std::optional<int64_t> cols, int64_t diagonal, DType dtype) {
  const Tensor t = zeros(machine, {rows, cols.value_or(rows)}, dtype);
  const Tensor d = t.diagonal(diagonal);
  if (d.count() != 0) assign(d, 1);
  return t;
}

Tensor concat(const std::vector<Tensor>& parts, int64_t axis) {
  if (parts.empty()) throw Error(Code::kUsage, "concat", "no tensors", "at least one");
  for (const Tensor& t : parts) check_defined(t, "concat");
  const size_t a = axis_of(axis, parts[0].rank(), "concat");
  Shape shape = parts[0].shape();
  shape[a] = 0;
  DType type = parts[0].dtype();
  for (const Tensor& t : parts) {
    Shape s = t.shape();
    const int64_t n = s.size() == shape.size() ? s[a] : 0;
    if (s.size() == shape.size()) s[a] = shape[a];
    if (s != shape || __builtin_add_overflow(shape[a], n, &shape[a])) {
      throw Error(Code::kUsage, "concat", fmt::format("shape {} beside {} along axis {}", text(t.shape()), text(parts[0].shape()), axis),
                  "all sizes but that of the axis must be equal");
    }
    type = promote(type, t.dtype(), "concat");
  }
  const Tensor out(parts[0].machine(), shape, type);
  int64_t at = 0;
  for (const Tensor& t : parts) {
    assign(out.narrow(axis, at, t.shape()[a]), t);
    at += t.shape()[a];
  }
  return out;
}

Tensor stack(const std::vector<Tensor>& parts, int64_t axis) {
  if (parts.empty()) throw Error(Code::kUsage, "stack", "no tensors", "at least one");
  std::vector<Tensor> with_axis;
  for (const Tensor& t : parts) {
    check_defined(t, "stack");
    if (t.shape() != parts[0].shape()) {
      throw Error(Code::kUsage, "stack", fmt::format("shape {} beside {}", text(t.shape()), text(parts[0].shape())), "all must be equal");
    }
    with_axis.push_back(t.unsqueeze(axis));
  }
  return concat(with_axis, axis);
}

}  // namespace viva
