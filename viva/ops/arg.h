#pragma once

#include <complex>
#include <concepts>

#include "viva/tensor/tensor.h"

namespace viva {

// An operand: a tensor, or a number of C++, which takes the type of the tensors beside it where that can hold its kind.
class Arg {
 public:
  enum class Kind : uint8_t { kTensor, kBool, kInt, kFloat, kComplex };

  Arg(const Tensor& t) : tensor_(&t) {}
  Arg(std::same_as<bool> auto v) : kind_(Kind::kBool), int_(v) {}
  Arg(std::integral auto v)
    requires(!std::same_as<decltype(v), bool>)
      : kind_(Kind::kInt), unsigned_(std::is_unsigned_v<decltype(v)>), int_(static_cast<int64_t>(v)) {}
  Arg(std::floating_point auto v) : kind_(Kind::kFloat), value_(static_cast<double>(v)) {}
  template <class T>
  Arg(const std::complex<T>& v) : kind_(Kind::kComplex), value_(v) {}

  Kind kind() const noexcept { return kind_; }
  const Tensor* tensor() const noexcept { return tensor_; }
  // The number as a tensor without axes.
  Tensor as(const Machine& machine, DType dtype) const;
  void write(void* to, DType dtype) const noexcept;  // one value of this type
  bool fits(DType dtype) const noexcept;  // of integers

 private:
  Kind kind_ = Kind::kTensor;
  bool unsigned_ = false;
  const Tensor* tensor_ = nullptr;
  int64_t int_ = 0;
  std::complex<double> value_ = 0;
};

// The type that values of both are computed in: the array API standard's table, with bool below the integers and these below
// the floats. Throws kUsage, naming `operation`, for u64 with a signed type.
DType promote(DType a, DType b, std::string_view operation = "promote");
// A type beside a plain number.
DType promote(DType a, Arg::Kind number) noexcept;

// Throws where values have no order.
void check_ordered(const Tensor& x, std::string_view operation);

inline constexpr DType kDefaultFloat = DType::kF32;
inline constexpr DType kDefaultInt = DType::kI64;

}  // namespace viva
