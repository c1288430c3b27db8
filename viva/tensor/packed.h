#pragma once

#include <string>

#include "viva/formats/format.h"
#include "viva/tensor/tensor.h"

namespace viva {

// A matrix (rows, cols) written in a format: rows of equal bytes that stand alone, in one buffer that slices share. Verbs:
// viva/ops/packed.h.
class Packed {
 public:
  Packed() = default;
  // Room for the bytes, which are nobody's yet. Throws kUsage where a size is negative or the bytes do not fit in 64 bits.
  Packed(const Machine& machine, const FormatChoice& choice, int64_t rows, int64_t cols);

  bool defined() const noexcept { return static_cast<bool>(buffer_); }
  const Format& format() const noexcept { return *choice_.format; }
  const Coding& coding() const noexcept { return choice_.coding; }
  std::string name() const { return format_text(*choice_.format, choice_.coding); }
  int64_t rows() const noexcept { return rows_; }
  int64_t cols() const noexcept { return cols_; }
  int64_t row_bytes() const noexcept { return row_bytes_; }
  uint64_t bytes() const noexcept { return static_cast<uint64_t>(rows_ * row_bytes_); }
  double bits_per_value() const noexcept { return cols_ == 0 ? 0 : 8.0 * static_cast<double>(row_bytes_) / static_cast<double>(cols_); }
  uint8_t* row(int64_t r) const noexcept { return data_ + r * row_bytes_; }
  const Machine& machine() const noexcept { return buffer_->machine(); }

  // Rows first, first + 1 ... of the same bytes. Formats whose rows share a scale are cut between panels of these rows only.
  Packed narrow(int64_t first, int64_t rows) const;
  // The same bytes, of a tensor that shares this.
  Packed with(const Shared& shared) const;

 private:
  BufferPtr buffer_;
  uint8_t* data_ = nullptr;
  FormatChoice choice_{};
  int64_t rows_ = 0, cols_ = 0, row_bytes_ = 0;
};

}  // namespace viva
