#pragma once

#include "viva/kernels/matmul.h"

// Products of matrices from panels: both operands are packed once, in the order in which a tile of the result that stays in
// registers reads them (Goto and van de Geijn, 2008). How a sum is made follows from k alone.
namespace viva::kernels {

// An operand as lines (rows of a, columns of b) of terms; strides in elements, any sign, 0 too.
struct Lines {
  const uint8_t* data;
  DType dtype;
  int64_t line_stride, term_stride;
};

struct PanelCode {
  int64_t rows, cols;  // of a tile: lines of a panel of a, of b
  int64_t step;        // columns that a tile at the edge is a multiple of
  int64_t depth;       // terms that go together: packed panels are filled up with zeros to a multiple of it
  int64_t inner;       // terms of a panel
  int64_t width;       // bytes of a packed value
  int64_t most_rows;   // of a: as many as the second-level cache keeps
  DType value, sum;    // types of a packed value and of the result
  // `lines` lines from `first` on, terms [from, from + terms), as panels one behind the other, aligned to 64 bytes; lines that fill
  // up the last one are anything. `scratch` takes kPackScratch bytes.
  using Pack = void (*)(const Lines& x, int64_t first, int64_t lines, int64_t from, int64_t terms, uint8_t* to, uint8_t* scratch, Target target) noexcept;
  Pack pack_a, pack_b;
  // c (m, n) = or += a times packed panels of b. `line` 0: a is packed panels; else whole panels of lines of values side by side,
  // `line` values apart, and the terms are a multiple of `depth`.
  void (*multiply)(int64_t m, int64_t n, int64_t terms, const uint8_t* a, int64_t line, const uint8_t* b, bool accumulate, void* c, int64_t ldc) noexcept;
};
inline constexpr int64_t kPackScratch = 2 * 48 * 1024;

const PanelCode* float_panels(DType compute, Target target) noexcept;  // FMA of f32 or f64; null where the target has none
const PanelCode* bf16_tiles(Target target) noexcept;                   // AMX; null where processor, system or target have none
// What products of this type are made with; null where the libraries do.
const PanelCode* panel_code(DType dtype, Target target) noexcept;
// Whether it pays for products of this size.
bool panels_pay(const PanelCode& code, int64_t products, int64_t m, int64_t n, int64_t k) noexcept;

// As matmul(), of a type that has panels.
void multiply_panels(const Machine& machine, const PanelCode& code, DType dtype, const Shape& batch, int64_t m, int64_t n, int64_t k, const Matrices& a,
                     const Matrices& b, uint8_t* out);
// As Gemm does, of operands of type `dtype`, on the calling thread; false where there is no memory for the panels.
bool multiply_blocks(const PanelCode& code, DType dtype, Target target, int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                     int64_t ldc) noexcept;

}  // namespace viva::kernels
