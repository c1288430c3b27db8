#include "viva/tensor/axes.h"

#include <fmt/format.h>

namespace viva::axes {

void refuse_shape(const Shape& shape, const Shape* sizes, const std::string& names) {
  throw Error(Code::kUsage, "Named", fmt::format("shape {} for the axes ({}){}", text(shape), names, sizes == nullptr ? "" : " of sizes " + text(*sizes)),
              sizes == nullptr ? "one for each" : "-1 stands for any size");
}

void refuse_sizes(std::string_view operation, std::string_view axis, const Shape& a, const Shape& b) {
  throw Error(Code::kUsage, operation, fmt::format("axis {} has different sizes in shapes {} and {}", axis, text(a), text(b)), "they must be equal");
}

}  // namespace viva::axes
