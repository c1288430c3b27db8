#include "viva/tensor/shape.h"

#include <fmt/format.h>

namespace viva {

void Dims::refuse() {
  throw Error(Code::kUsage, "shape", "more than 32 axes", "join some of them with reshape");
}

void Dims::grow(size_t rank) {
  if (rank > kMaxRank) refuse();
  int64_t* far = new int64_t[kMaxRank];
  copy(near_, rank_, far);
  v_ = far;
}

namespace {

template <class F>
int64_t counted(const Shape& shape, F each) {
  int64_t n = 1;
  bool bad = false, none = false;
  for (size_t i = shape.size(); i-- > 0;) {
    const int64_t d = shape[i];
    each(i, n);
    none |= d == 0;
    bad |= (d < 0) | __builtin_mul_overflow(n, d == 0 ? 1 : d, &n);
  }
  // Bytes and strides of them are counted in 63 bits too; a size of 0 excuses nothing, so that any part of a
  // shape has a count.
  if (bad || n > INT64_MAX / 16) {
    const bool negative = std::any_of(shape.begin(), shape.end(), [](int64_t d) { return d < 0; });
    throw Error(Code::kUsage, "shape",
                fmt::format("{} has {}", text(shape), negative ? "a negative size" : "too many values"));
  }
  return none ? 0 : n;
}

}  // namespace

int64_t count(const Shape& shape) {
  return counted(shape, [](size_t, int64_t) {});
}
int64_t count(const Shape& shape, Strides& row_major) {
  row_major = shape;
  return counted(shape, [&](size_t i, int64_t n) { row_major[i] = n; });
}

std::string text(const Dims& d) {
  std::string s = "(";
  for (size_t i = 0; i < d.size(); ++i) s += fmt::format("{}{}", i == 0 ? "" : ", ", d[i]);
  return s + (d.size() == 1 ? ",)" : ")");
}

Strides row_major(const Shape& shape) {
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
