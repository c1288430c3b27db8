#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "viva/base/element.h"
#include "viva/machine/buffer.h"
#include "viva/tensor/shape.h"

namespace viva {

// An n-dimensional array: a view of a buffer. Copies and all views below share the buffer and cost O(1), however large it
// is; the verbs of viva/ops compute new tensors and leave their operands as they are. assign() alone writes.
class Tensor {
 public:
  Tensor() noexcept {}  // no tensor: defined() is false
  // Values of nothing in particular, row-major. Throws kUsage (shape) or kResource (memory).
  Tensor(const Machine& machine, const Shape& shape, DType dtype);
  // Strides of the caller's choice, over every value of `buffer` that they reach from `data`.
  Tensor(BufferPtr buffer, uint8_t* data, DType dtype, const Shape& shape, const Strides& strides);

  // The values, in order: Tensor::of(machine, {{1, 2}, {3, 4}}) has shape (2, 2).
  template <class T>
  static Tensor of(const Machine& machine, std::initializer_list<T> values) {
    return from(machine, {static_cast<int64_t>(values.size())}, std::span<const T>(values.begin(), values.size()));
  }
  template <class T>
  static Tensor of(const Machine& machine, std::initializer_list<std::initializer_list<T>> rows) {
    std::vector<T> all;
    for (const auto& r : rows) {
      if (r.size() != rows.begin()->size()) throw Error(Code::kUsage, "Tensor::of", "rows of unequal length");
      all.insert(all.end(), r.begin(), r.end());
    }
    const int64_t n = static_cast<int64_t>(rows.size());
    return from(machine, {n, n == 0 ? 0 : static_cast<int64_t>(rows.begin()->size())}, std::span<const T>(all));
  }
  template <class T>
  static Tensor from(const Machine& machine, const Shape& shape, std::span<const T> values) {
    check_count(shape, values.size());
    Tensor t(machine, shape, dtype_of<T>);
    std::copy(values.begin(), values.end(), reinterpret_cast<T*>(t.data_));
    return t;
  }

  bool defined() const noexcept { return static_cast<bool>(buffer_); }
  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  const Strides& strides() const noexcept { return strides_; }
  size_t rank() const noexcept { return shape_.size(); }
  int64_t size(int64_t axis) const { return shape_[axis_of(axis, rank(), "size")]; }
  int64_t count() const noexcept { return known_count(shape_); }
  uint64_t bytes() const noexcept { return static_cast<uint64_t>(count()) * viva::bytes(dtype_); }
  const Machine& machine() const { return buffer_->machine(); }
  const BufferPtr& buffer() const noexcept { return buffer_; }
  // Whether the values lie in row-major order without gaps.
  bool contiguous() const noexcept {
    int64_t n = 1;
    for (size_t i = rank(); i-- > 0;) {
      if (shape_[i] != 1 && strides_[i] != n) return count() == 0;
      n *= shape_[i];
    }
    return true;
  }

  // The first value; the others lie at strides() from it.
  uint8_t* raw() const noexcept { return data_; }
  // Throws kUsage where T is not the element type.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>);
    return reinterpret_cast<T*>(data_);
  }
  // One value; throws kUsage where the index is not in the shape.
  template <class T>
  T at(std::initializer_list<int64_t> index) const {
    return data<T>()[offset_of(std::span(index.begin(), index.size()))];
  }
  // The only value of a tensor that has one, as T.
  template <class T>
  T item() const;
  // All values in order.
  template <class T>
  std::vector<T> values() const;

  // ---- views: nothing is copied ----

  // [start, stop) in steps along an axis, as Python's slices: negative numbers count from the end, what lies outside is cut.
  Tensor slice(int64_t axis, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step = 1) const;
  Tensor narrow(int64_t axis, int64_t start, int64_t length) const;  // exactly so many
  Tensor select(int64_t axis, int64_t index) const;                  // one, without the axis
  Tensor transpose(int64_t a, int64_t b) const;
  Tensor permute(const Dims& axes) const;
  Tensor expand(const Shape& shape) const;                 // axes of size 1 stretched, new ones in front
  std::optional<Tensor> reshape_view(const Shape& shape) const;  // empty where the strides cannot say it; -1: what is left
  Tensor squeeze(int64_t axis) const;
  Tensor squeeze() const;  // all axes of size 1
  Tensor unsqueeze(int64_t axis) const;
  Tensor flip(const Dims& axes) const;
  Tensor diagonal(int64_t offset = 0, int64_t axis1 = 0, int64_t axis2 = 1) const;  // its axis comes last
  Tensor unfold(int64_t axis, int64_t size, int64_t step = 1) const;  // sliding windows; their axis comes last

 private:
  static void check_count(const Shape& shape, size_t values);
  void check_dtype(DType t) const;
  int64_t offset_of(std::span<const int64_t> index) const;
  Tensor view(int64_t offset, const Shape& shape, const Strides& strides) const {
    return {buffer_, data_ + offset * static_cast<int64_t>(viva::bytes(dtype_)), dtype_, shape, strides};
  }

  BufferPtr buffer_;
  uint8_t* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_;
  Strides strides_;
};

// Throws kUsage, naming `operation`, where there is no tensor.
[[noreturn]] void refuse_undefined(std::string_view operation);
inline void check_defined(const Tensor& t, std::string_view operation) {
  if (!t.defined()) refuse_undefined(operation);
}

// The shape that a wanted one with at most one -1 stands for; throws kUsage where it does not hold `count` values.
Shape resolve_shape(const Shape& wanted, int64_t count, const Shape& from, std::string_view operation);

template <class From, class To>
To element_cast(From v) {
  if constexpr (std::is_same_v<From, To>) {
    return v;
  } else if constexpr (std::is_same_v<From, F16> || std::is_same_v<From, BF16>) {
    return element_cast<float, To>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, std::complex<float>> || std::is_same_v<To, std::complex<double>>) {
    using R = typename To::value_type;
    if constexpr (std::is_same_v<From, std::complex<float>> || std::is_same_v<From, std::complex<double>>) {
      return To(static_cast<R>(v.real()), static_cast<R>(v.imag()));
    } else {
      return To(static_cast<R>(v));
    }
  } else if constexpr (std::is_same_v<To, bool>) {
    return v != From(0);
  } else if constexpr (std::is_same_v<From, std::complex<float>> || std::is_same_v<From, std::complex<double>>) {
    return element_cast<typename From::value_type, To>(v.real());
  } else if constexpr (std::is_same_v<To, F16> || std::is_same_v<To, BF16>) {
    return To(static_cast<float>(v));
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // Outside of the range C++ promises nothing: cut to it, NaN becomes 0.
    constexpr int kBits = std::is_signed_v<To> ? 8 * static_cast<int>(sizeof(To)) - 1 : 8 * static_cast<int>(sizeof(To));
    const From end = std::is_same_v<From, float> ? static_cast<From>(std::ldexp(1.0f, kBits)) : static_cast<From>(std::ldexp(1.0, kBits));
    if (!(v == v)) return 0;
    if (v >= end) return std::numeric_limits<To>::max();
    if (v <= (std::is_signed_v<To> ? -end : From(-1))) return std::numeric_limits<To>::min();
    return static_cast<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

// ---- templates ----

template <class T>
T Tensor::item() const {
  check_defined(*this, "item");
  if (count() != 1) throw Error(Code::kUsage, "item", "shape " + text(shape_) + " has not one value", "select() it first");
  T out{};
  with_element(dtype_, [&](auto zero) {
    using From = decltype(zero);
    out = element_cast<From, T>(*reinterpret_cast<const From*>(data_));
  });
  return out;
}

// Calls f(element offset) for every index in order.
template <class F>
void for_each_offset(const Shape& shape, const Strides& strides, F f) {
  const size_t rank = shape.size();
  for (const int64_t d : shape) {
    if (d == 0) return;
  }
  Dims index(rank, 0);
  int64_t at = 0;
  for (;;) {
    f(at);
    size_t k = rank;
    while (k-- > 0) {
      at += strides[k];
      if (++index[k] < shape[k]) break;
      at -= strides[k] * shape[k];
      index[k] = 0;
    }
    if (k == SIZE_MAX) return;
  }
}

template <class T>
std::vector<T> Tensor::values() const {
  std::vector<T> out;
  out.reserve(static_cast<size_t>(count()));
  with_element(dtype_, [&](auto zero) {
    using From = decltype(zero);
    const From* from = reinterpret_cast<const From*>(data_);
    for_each_offset(shape_, strides_, [&](int64_t at) { out.push_back(element_cast<From, T>(from[at])); });
  });
  return out;
}

}  // namespace viva
