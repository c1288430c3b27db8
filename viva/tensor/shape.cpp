#include "viva/tensor/shape.h"

#include <fmt/format.h>

namespace viva {

int64_t count(const Shape& shape) {
  int64_t n = 1;
  bool overflow = false, none = false;
  for (const int64_t d : shape) {
    if (d < 0) throw Error(Code::kUsage, "shape", fmt::format("{} has a negative size", text(shape)));
    none |= d == 0;
    overflow |= __builtin_mul_overflow(n, d == 0 ? 1 : d, &n);
  }
  // Bytes and strides of them are counted in 63 bits too; a size of 0 excuses nothing, so that any part of a shape has a count.
  if (overflow || n > INT64_MAX / 16) throw Error(Code::kUsage, "shape", fmt::format("{} has too many values", text(shape)));
  return none ? 0 : n;
}

std::string text(const Dims& d) {
  std::string s = "(";
  for (size_t i = 0; i < d.size(); ++i) s += fmt::format("{}{}", i == 0 ? "" : ", ", d[i]);
  return s + (d.size() == 1 ? ",)" : ")");
}

Strides row_major(const Shape& shape) noexcept {
  Strides s = shape;
  uint64_t n = 1;  // may wrap around: whoever keeps the shape counts it too
  for (size_t i = shape.size(); i-- > 0;) {
    s[i] = static_cast<int64_t>(n);
    n *= static_cast<uint64_t>(std::max<int64_t>(1, shape[i]));
  }
  return s;
}

Shape broadcast(const Shape& a, const Shape& b, std::string_view operation) {
  Shape out = a.size() >= b.size() ? a : b;
  const Shape& small = a.size() >= b.size() ? b : a;
  const size_t skip = out.size() - small.size();
  for (size_t i = 0; i < small.size(); ++i) {
    int64_t& d = out[skip + i];
    if (d == small[i] || small[i] == 1) continue;
    if (d != 1) {
      throw Error(Code::kUsage, operation, fmt::format("shapes {} and {} do not broadcast", text(a), text(b)),
                  "sizes must be equal or 1, counted from the last axis");
    }
    d = small[i];
  }
  return out;
}

size_t axis_of(int64_t axis, size_t rank, std::string_view operation) {
  const int64_t n = static_cast<int64_t>(rank);
  if (axis < -n || axis >= n) {
    throw Error(Code::kUsage, operation, fmt::format("axis {} of a tensor with {} axes", axis, rank),
                n == 0 ? "it is a single value" : fmt::format("{} to {}", -n, n - 1));
  }
  return static_cast<size_t>(axis < 0 ? axis + n : axis);
}

}  // namespace viva
