#include "viva/tensor/packed.h"

#include <fmt/format.h>

namespace viva {

Packed::Packed(const Machine& machine, const FormatChoice& choice, int64_t rows, int64_t cols) : choice_(choice), rows_(rows), cols_(cols) {
  count({rows, cols});  // may be negative, or not fit
  row_bytes_ = static_cast<int64_t>(choice.format->row_bytes(static_cast<size_t>(cols), choice.coding));
  buffer_ = BufferPtr::allocate(machine, static_cast<uint64_t>(count({rows, row_bytes_})));
  data_ = buffer_->data();
}

Packed Packed::narrow(int64_t first, int64_t rows) const {
  const int64_t panel = format().row_panel;
  if (first < 0 || rows < 0 || first > rows_ - rows || first % panel != 0 || (rows % panel != 0 && first + rows != rows_)) {
    throw Error(Code::kUsage, "narrow", fmt::format("rows {} to {} of {} packed ones", first, first + rows, rows_),
                panel == 1 ? "inside of them" : fmt::format("in {} the rows of a panel of {} share a scale", name(), panel));
  }
  Packed p = *this;
  p.data_ = row(first);
  p.rows_ = rows;
  return p;
}

Packed Packed::with(const Shared& shared) const {
  Packed p = *this;
  p.choice_.coding.shared = shared;
  return p;
}

}  // namespace viva
