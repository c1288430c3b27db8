#pragma once

#include <string_view>

#include "viva/tensor/tensor.h"

// What convolutions and pooling share; not for users.
namespace viva {

// Windows along one direction.
struct Axis {
  int64_t kernel, stride, dilation, before, after;
  int64_t reach() const noexcept;  // values from the first to the last of a window
};
// Throws kUsage, naming `operation` and `shapes`, where a number is absurd.
void check_axis(const Axis& a, std::string_view operation, std::string_view shapes);
// How many windows there are over `size` values; throws kUsage where there is none.
int64_t windows(const Axis& a, int64_t size, std::string_view operation, std::string_view shapes);
// The type that x is computed in; throws kUsage where it is not of floats.
DType window_type(const Tensor& x, std::string_view operation);
// x as (batch, channels, height, width), from so many directions; throws kUsage.
Tensor planes(const Tensor& x, size_t directions, std::string_view operation, std::string_view shapes);
// The result with the axes that x has.
Tensor unplaned(const Tensor& y, const Tensor& x, size_t directions);

}  // namespace viva
