#pragma once

#include <string>
#include <string_view>

#include "viva/tensor/tensor.h"

namespace viva {

// The name that NumPy and PyTorch use: "float32".
std::string_view plain_name(DType t) noexcept;

// The values as text, laid out as NumPy's: str() and repr() of an array, the same characters. Large ones are shortened.
std::string print(const Tensor& x);
std::string repr(const Tensor& x);

}  // namespace viva
