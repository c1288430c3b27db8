#pragma once

#include <cstddef>
#include <cstdint>

// Copies between strided and dense blocks of values of 1, 2, 4, 8 or 16 bytes. Strides are in bytes.
namespace viva::kernels {

struct TileShape {
  int64_t rows, cols, row_stride, col_stride;
};

// `to` becomes dense, rows of `cols` values. `ahead`: bytes from here to the block that comes next, which is fetched
// meanwhile; 0 where there is none.
void gather(size_t width, const uint8_t* from, const TileShape& s, int64_t ahead, uint8_t* to) noexcept;
void scatter(size_t width, const uint8_t* from, const TileShape& s, uint8_t* to) noexcept;

// Calls f with an unsigned type of `width` bytes.
struct Wide16 {
  uint64_t a, b;
};
template <class F>
void with_width(size_t width, F f) {
  switch (width) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    case 8: return f(uint64_t{});
    default: return f(Wide16{});
  }
}

}  // namespace viva::kernels
