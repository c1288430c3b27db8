#include "viva/kernels/matmul.h"

#include <algorithm>
#include <cstring>

#include "viva/base/element.h"
#include "viva/kernels/loops.h"
#include "viva/kernels/panels.h"
#include "viva/kernels/tile.h"
#include "viva/machine/buffer.h"

namespace viva::kernels {

namespace {

constexpr int64_t kPanel = 512;        // inner values of a packed panel
constexpr int64_t kInt32 = INT32_MAX;  // what OpenBLAS counts to
constexpr double kTask = 1 << 18;      // multiplications that are worth a task
constexpr int64_t kEnough = 16;        // tiles that keep threads busy
constexpr int64_t kFewTiles = 4, kTiles = 8;  // of one product of matrices: each packs its operands anew
constexpr int64_t kLongest = 1 << 16;  // inner values of a stretch of a sum that is cut

// One operand as the tiles read it.
struct Side {
  const uint8_t* data;
  int64_t row_stride, col_stride, width;
  Strides batch;
  char trans = 0;  // 0: no block that the library takes, it is packed
  int64_t ld = 0;
  Convert convert = nullptr;
};

// `as_it_is`: the kernel converts.
Side side(const Matrices& x, int64_t rows, int64_t cols, DType dtype, DType compute, Target target,
          bool as_it_is) {
  Side s{x.data, x.row_stride, x.col_stride, static_cast<int64_t>(bytes(dtype)), x.batch};
  if (dtype != compute) s.convert = find_convert(dtype, compute, target);
  const bool by_rows = (cols == 1 || x.col_stride == 1) && (rows == 1 || x.row_stride >= cols);
  const bool by_cols = (rows == 1 || x.row_stride == 1) && (cols == 1 || x.col_stride >= rows);
  const int64_t ld = by_rows   ? (rows == 1 ? cols : x.row_stride)
                     : by_cols ? (cols == 1 ? rows : x.col_stride)
                               : 0;
  if (ld >= 1 && ld <= kInt32 && (s.convert == nullptr || as_it_is)) {
    s.trans = by_rows ? 'N' : 'T';
    s.ld = ld;
  }
  return s;
}

// Sizes of tiles and stretches, from the shape alone.
struct Cut {
  int64_t rows, cols;  // of a tile of the result
  int64_t inner;       // of a call
  int64_t stretch;     // of a sum: k, or less where the result is small and the sums are long
  int64_t row_tiles, col_tiles, stretches;
};

int64_t ceil_of(int64_t a, int64_t b) { return a / b + (a % b != 0); }

const ProductCode& code_of(DType dtype, Target target) {
  return is_int(dtype) ? int_product(dtype, target) : float_product(compute_type(dtype), target);
}

// What multiplies matrices of this size without a library; null where that is slower.
SmallProduct small_product(const ProductCode& code, DType dtype, Target target, int64_t m, int64_t n, int64_t k) {
  const bool tiles = dtype == DType::kBF16 && m * n * k >= (1 << 15) && bf16_tiles(target) != nullptr;
  if (std::max({m, n, k}) <= kSmallEdge && is_real_float(dtype) && !tiles) return small_real_product(dtype, target);
  if (compute_type(dtype) != dtype) return nullptr;
  return m <= code.small_work && n <= code.small_work && k <= code.small_work && m * n * k <= code.small_work ? code.small : nullptr;
}

// `along`: the values of the result lie as those of the matrix that is multiplied by a vector.
Cut cut(int64_t batch, int64_t m, int64_t n, int64_t k, bool packed, bool along) {
  Cut c{};
  const bool vector = m == 1 || n == 1;
  const double inner = static_cast<double>(k);
  const double least = vector ? 1 << 18 : 1 << 20;
  c.rows = std::min<int64_t>(m, 256);
  c.cols = std::min<int64_t>(n, 1024);
  if (along) {  // whole lines of the matrix, as long as they are: what is cut is the sum
    c.rows = std::min<int64_t>(m, 1 << 16);
    c.cols = std::min<int64_t>(n, 1 << 16);
  }
  const auto work = [&] { return static_cast<double>(c.rows) * static_cast<double>(c.cols) * inner; };
  while (c.rows < m && work() < least) c.rows = std::min(m, 2 * c.rows);
  while (c.cols < n && work() < least) c.cols = std::min(n, 2 * c.cols);
  const int64_t smallest = vector ? 256 : 64;
  const auto divides = [&] {
    const int64_t tiles = batch * ceil_of(m, c.rows) * ceil_of(n, c.cols);
    if (vector) return tiles < kEnough && work() > 1 << 19;
    return (tiles < kFewTiles && work() > 1 << 22) || (tiles < kTiles && work() > 1 << 25);
  };
  while (!along && batch < kEnough && divides()) {
    int64_t& longer = c.cols >= 2 * c.rows ? c.cols : c.rows;
    if (longer < 2 * smallest) break;
    longer = (longer / 2 + smallest - 1) / smallest * smallest;
  }
  c.row_tiles = ceil_of(m, c.rows);
  c.col_tiles = ceil_of(n, c.cols);
  c.stretch = k;
  c.stretches = 1;
  const int64_t tiles = batch < kEnough ? batch * c.row_tiles * c.col_tiles : kEnough;
  if (tiles < kEnough && m <= (1 << 16) / n && k >= (along ? 64 : 2 * 4096) && work() >= least) {
    c.stretch = along ? std::clamp<int64_t>(ceil_of(k, kEnough), ceil_of(1 << 17, std::max(m, n)), kLongest)
                      : std::clamp<int64_t>((ceil_of(k, kEnough) + 63) / 64 * 64, 4096, kLongest);
    c.stretches = ceil_of(k, c.stretch);
  }
  c.inner = std::min<int64_t>(c.stretch, packed ? kPanel : 1 << 24);
  return c;
}

class Product {
 public:
  Product(const Machine& machine, DType dtype, const Shape& batch, int64_t m, int64_t n, int64_t k,
          const Matrices& a, const Matrices& b, uint8_t* out)
      : machine_(machine), batch_(batch), m_(m), n_(n), k_(k), out_(out) {
    const DType compute = compute_type(dtype);
    code_ = &code_of(dtype, machine.target());
    const bool bf16 = dtype == DType::kBF16, vector = m == 1 || n == 1;
    // Kernels that take bf16 as it is: of a vector the matrix only, else both.
    const bool pairs = bf16 && !vector && std::min({m, n, k}) >= 16 && m * n >= (1 << 20) / k &&
                       bf16_product_is_fast(machine.target());
    a_ = side(a, m, k, dtype, compute, machine.target(), pairs || (bf16 && n == 1));
    b_ = side(b, k, n, dtype, compute, machine.target(), pairs || (bf16 && vector && n != 1));
    gemm_ = code_->gemm;
    if (pairs) {
      if (a_.trans != 0 && b_.trans != 0) {
        gemm_ = &bf16_product;
      } else {  // one is packed, and thereby widened: so must be the other
        a_.trans = b_.trans = 0;
      }
    } else if (bf16 && vector && (n == 1 ? a_ : b_).trans != 0) {
      gemm_ = matrix_times_vector(dtype, machine.target());
    }
    width_ = static_cast<int64_t>(bytes(dtype));
    wide_ = static_cast<int64_t>(bytes(compute));
    if (dtype != compute) narrow_ = find_convert(compute, dtype, machine.target());
    products_ = 1;
    for (const int64_t d : batch) products_ *= d;
    const bool along = n == 1 ? std::abs(a.row_stride) < std::abs(a.col_stride)
                              : m == 1 && std::abs(b.col_stride) < std::abs(b.row_stride);
    cut_ = cut(products_, m, n, k, gemm_ == code_->gemm && (a_.trans == 0 || b_.trans == 0), along);
    if (cut_.row_tiles * cut_.col_tiles == 1) small_ = small_product(*code_, dtype, machine.target(), m, n, k);
    // Values of scratch: a panel of each operand (twice where it is gathered, then converted), a tile of the
    // result.
    room_a_ = a_.trans == 0 ? cut_.rows * cut_.inner * wide_ : 0;
    room_b_ = b_.trans == 0 ? cut_.inner * cut_.cols * wide_ : 0;
    room_raw_ = std::max(a_.convert != nullptr ? room_a_ : 0, b_.convert != nullptr ? room_b_ : 0);
    room_c_ = narrow_ != nullptr ? cut_.rows * cut_.cols * wide_ : 0;
  }

  void run() {
    BufferPtr partial;
    if (cut_.stretches > 1) {
      partial =
          BufferPtr::allocate(machine_, static_cast<uint64_t>(cut_.stretches * products_ * m_ * n_ * wide_));
      partial_ = partial->data();
    }
    const int64_t tiles = cut_.row_tiles * cut_.col_tiles, units = products_ * tiles * cut_.stretches;
    const double work =
        static_cast<double>(cut_.rows) * static_cast<double>(cut_.cols) * static_cast<double>(cut_.stretch);
    const int64_t together = std::clamp(static_cast<int64_t>(kTask / work), int64_t{1}, units),
                  tasks = ceil_of(units, together);
    const auto task = [&](size_t i) {
      const int64_t first = static_cast<int64_t>(i) * together, end = std::min(units, first + together);
      BufferPtr scratch;
      if (room_a_ + room_b_ + room_raw_ + room_c_ != 0) {
        scratch =
            BufferPtr::allocate(machine_, static_cast<uint64_t>(room_a_ + room_b_ + room_raw_ + room_c_));
      }
      for (int64_t u = first; u < end; ++u) unit(u, scratch ? scratch->data() : nullptr);
    };
    if (tasks == 1) {
      task(0);
    } else {
      machine_.parallel_for(static_cast<size_t>(tasks), task);
    }
    if (partial_ == nullptr) return;
    const int64_t values = products_ * m_ * n_;
    for (int64_t s = 1; s < cut_.stretches; ++s) code_->add(partial_ + s * values * wide_, partial_, values);
    if (narrow_ != nullptr) {
      narrow_(partial_, out_, static_cast<size_t>(values));
    } else {
      std::memcpy(out_, partial_, static_cast<size_t>(values * width_));
    }
  }

 private:
  // The values of a part of an operand as a block: in place, or packed into `room`.
  Block block(const Side& s, int64_t at, int64_t row, int64_t rows, int64_t col, int64_t cols, uint8_t* room,
              uint8_t* raw) const noexcept {
    const uint8_t* from = s.data + (at + row * s.row_stride + col * s.col_stride) * s.width;
    if (s.trans != 0) return {from, s.trans, s.ld};
    // In the order of its memory, so that it is read in runs: the library takes either.
    const bool turn = rows > 1 && (cols == 1 || std::abs(s.row_stride) < std::abs(s.col_stride));
    const int64_t lines = turn ? cols : rows, length = turn ? rows : cols;
    const int64_t far = turn ? s.col_stride : s.row_stride, near = turn ? s.row_stride : s.col_stride;
    if (s.convert != nullptr && (near == 1 || length == 1)) {
      for (int64_t i = 0; i < lines; ++i)
        s.convert(from + i * far * s.width, room + i * length * wide_, static_cast<size_t>(length));
    } else {
      uint8_t* to = s.convert == nullptr ? room : raw;
      gather(static_cast<size_t>(s.width), from, {lines, length, far * s.width, near * s.width}, 0, to);
      if (s.convert != nullptr) s.convert(raw, room, static_cast<size_t>(lines * length));
    }
    return {room, turn ? 'T' : 'N', length};
  }

  void unit(int64_t u, uint8_t* scratch) const noexcept {
    const int64_t tiles = cut_.row_tiles * cut_.col_tiles;
    const int64_t stretch = u / (tiles * products_), in_stretch = u % (tiles * products_),
                  product = in_stretch / tiles, tile = in_stretch % tiles;
    int64_t at_a = 0, at_b = 0;
    for (size_t i = batch_.size(), rest = static_cast<size_t>(product); i-- > 0;) {
      const size_t d = static_cast<size_t>(batch_[i]);
      at_a += static_cast<int64_t>(rest % d) * a_.batch[i];
      at_b += static_cast<int64_t>(rest % d) * b_.batch[i];
      rest /= d;
    }
    if (small_ != nullptr && partial_ == nullptr) {
      small_(m_, n_, k_, {a_.data + at_a * a_.width, a_.row_stride, a_.col_stride, {}},
                   {b_.data + at_b * b_.width, b_.row_stride, b_.col_stride, {}},
                   out_ + product * m_ * n_ * width_);
      return;
    }
    const int64_t row = tile / cut_.col_tiles * cut_.rows, col = tile % cut_.col_tiles * cut_.cols;
    const int64_t rows = std::min(cut_.rows, m_ - row), cols = std::min(cut_.cols, n_ - col);
    uint8_t *room_a = scratch, *room_b = room_a + room_a_, *raw = room_b + room_b_, *room_c = raw + room_raw_;
    const int64_t place = product * m_ * n_ + row * n_ + col;
    uint8_t* c = partial_ != nullptr  ? partial_ + (stretch * products_ * m_ * n_ + place) * wide_
                 : narrow_ != nullptr ? room_c
                                      : out_ + place * width_;
    const int64_t ldc = partial_ == nullptr && narrow_ != nullptr ? cols : n_;
    const int64_t k0 = stretch * cut_.stretch, k1 = std::min(k_, k0 + cut_.stretch);
    for (int64_t p = k0; p < k1; p += cut_.inner) {
      const int64_t inner = std::min(cut_.inner, k1 - p);
      const Block a = block(a_, at_a, row, rows, p, inner, room_a, raw),
                  b = block(b_, at_b, p, inner, col, cols, room_b, raw);
      gemm_(rows, cols, inner, a, b, p != k0, c, ldc);
    }
    if (partial_ != nullptr || narrow_ == nullptr) return;
    for (int64_t i = 0; i < rows; ++i)
      narrow_(c + i * cols * wide_, out_ + (place + i * n_) * width_, static_cast<size_t>(cols));
  }

  const Machine& machine_;
  const Shape& batch_;
  int64_t m_, n_, k_, products_, width_, wide_;
  uint8_t *out_, *partial_ = nullptr;
  const ProductCode* code_;
  Gemm gemm_;
  Side a_, b_;
  Convert narrow_ = nullptr;
  Cut cut_;
  SmallProduct small_ = nullptr;
  int64_t room_a_, room_b_, room_raw_, room_c_;
};

}  // namespace

void matmul(const Machine& machine, DType dtype, const Shape& batch, int64_t m, int64_t n, int64_t k,
            const Matrices& a, const Matrices& b, uint8_t* out) {
  int64_t values = m * n;
  for (const int64_t d : batch) values *= d;
  if (values == 0) return;
  if (k == 0) {
    std::memset(out, 0, static_cast<size_t>(values) * bytes(dtype));
    return;
  }
  const SmallProduct small = small_product(code_of(dtype, machine.target()), dtype, machine.target(), m, n, k);
  if (small != nullptr && batch.empty()) return small(m, n, k, a, b, out);
  const PanelCode* panels = small != nullptr ? nullptr : panel_code(dtype, machine.target());
  if (panels != nullptr && panels_pay(*panels, values / (m * n), m, n, k)) return multiply_panels(machine, *panels, dtype, batch, m, n, k, a, b, out);
  Product(machine, dtype, batch, m, n, k, a, b, out).run();
}

}  // namespace viva::kernels
