#include "viva/kernels/elementwise.h"

#include <algorithm>
#include <cstring>

#include "viva/kernels/tile.h"
#include "viva/machine/stream.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

namespace viva::kernels {

namespace {

constexpr size_t kStripBytes = 16 * 1024;       // of each operand at a time
constexpr size_t kPieceBytes = 1024;            // of it: so little that reading, computing and writing run side by side
constexpr int64_t kMadePieces = 4;              // at once where what is made on the way stays in the cache
constexpr int64_t kPiecesAhead = 3;             // of what is read, which are fetched meanwhile
constexpr size_t kRoomBytes = 20 * 1024;        // of a strip that has the columns before it too
constexpr int64_t kTile = 64;                   // columns of a tile, where an operand runs across the others
constexpr int64_t kLine = 64;                   // bytes
constexpr int64_t kTileAhead = 16;              // columns that are fetched ahead
constexpr int64_t kPanel = 8;                   // tiles of a panel, which goes along the columns: both sides reuse their pages
constexpr int64_t kTask = 64 * 1024;            // values that are worth a task of their own
constexpr size_t kMost = 4;                     // operands, the result included

// Axes of size 1 left out, the result's in order of memory, neighbours that are one run for all operands joined.
struct Plan {
  size_t rank = 0, operands = 0;  // the result is operand 0
  int64_t shape[kMaxRank];
  int64_t stride[kMost][kMaxRank];  // bytes
  size_t across = 0;                    // the axis of a block's rows; the columns are the last axis
  int64_t rows = 1, cols = 1;           // of a block
  int64_t blocks[kMaxRank];         // along each axis
  int64_t block_count = 1;
  bool tiled = false;  // an operand runs across the others
  int64_t before = 0;  // columns that such a block may begin earlier, so that each of its rows begins a line of the cache
};

Plan plan(const Shape& shape, const Operand* const* op, size_t operands) {
  Plan p;
  p.operands = operands;
  size_t axes[kMaxRank], n = 0;
  for (size_t a = 0; a < shape.size(); ++a) {
    if (shape[a] != 1) axes[n++] = a;
  }
  // Ties (a result that is written in no order) fall to the first operand.
  const auto further = [&](size_t a, size_t b) {
    for (size_t k = 0; k < operands; ++k) {
      const int64_t x = std::abs(op[k]->strides[a]), y = std::abs(op[k]->strides[b]);
      if (x != y && x != 0 && y != 0) return x > y;
    }
    return false;
  };
  for (size_t i = 1; i < n; ++i) {  // few axes, often in order already
    for (size_t j = i; j > 0 && further(axes[j], axes[j - 1]); --j) std::swap(axes[j], axes[j - 1]);
  }
  size_t width[kMost];
  for (size_t k = 0; k < operands; ++k) width[k] = bytes(op[k]->dtype);
  for (size_t i = 0; i < n; ++i) {
    const size_t a = axes[i];
    bool joins = p.rank != 0;
    for (size_t k = 0; joins && k < operands; ++k) {
      joins = p.stride[k][p.rank - 1] == op[k]->strides[a] * static_cast<int64_t>(width[k]) * shape[a];
    }
    if (!joins) p.shape[p.rank++] = 1;
    p.shape[p.rank - 1] *= shape[a];
    for (size_t k = 0; k < operands; ++k) p.stride[k][p.rank - 1] = op[k]->strides[a] * static_cast<int64_t>(width[k]);
  }
  if (p.rank == 0) {
    p.rank = 1;
    p.shape[0] = 1;
    for (size_t k = 0; k < operands; ++k) p.stride[k][0] = 0;
  }
  size_t widest = 1;
  for (size_t k = 0; k < operands; ++k) widest = std::max({widest, width[k], bytes(op[k]->compute)});
  const int64_t strip = static_cast<int64_t>(kStripBytes / widest);

  const size_t last = p.rank - 1;
  p.across = last;
  p.cols = std::min(p.shape[last], strip);
  if (last > 0) {
    p.across = last - 1;
    for (size_t k = 0; k < operands; ++k) {
      const int64_t unit = static_cast<int64_t>(width[k]);
      if (p.stride[k][last] == 0 || p.stride[k][last] == unit) continue;
      for (size_t a = 0; a < last; ++a) {
        if (std::abs(p.stride[k][a]) != unit) continue;
        p.across = a;
        p.cols = std::min(p.shape[last], kTile);
        p.tiled = true;
      }
    }
    // Short rows are taken together: a call for a few values costs more than they do.
    const int64_t unit = static_cast<int64_t>(width[0]);
    const int64_t most = p.tiled ? static_cast<int64_t>(kRoomBytes / widest) / (kTile + kLine / unit) : strip / p.cols;
    if (p.cols == p.shape[last] || p.tiled) p.rows = std::clamp<int64_t>(most, 1, p.shape[p.across]);
    if (p.across + 1 == last && p.cols >= 4 * kTile) p.rows = 1;
    if (p.tiled && p.stride[0][last] == unit) {
      uint64_t bytes_out = width[0];
      for (size_t a = 0; a < p.rank; ++a) bytes_out *= static_cast<uint64_t>(p.shape[a]);
      bool apart = true;  // from what is read, which is read once more
      for (size_t k = 1; k < operands; ++k) apart &= op[k]->data != op[0]->data;
      if (apart && bytes_out >= kStreamBytes) p.before = kLine / unit - 1;
    }
  }
  for (size_t a = 0; a < p.rank; ++a) {
    const int64_t step = a == last ? p.cols : a == p.across ? p.rows : 1;
    p.blocks[a] = (p.shape[a] + step - 1) / step;
    p.block_count *= p.blocks[a];
  }
  return p;
}

// What one thread needs for a strip of each operand, and what lies in it.
struct Strips {
  alignas(64) uint8_t value[kMost][kRoomBytes];  // of the computed type
  alignas(64) uint8_t raw[kRoomBytes];
  const uint8_t* from[kMost] = {};  // what value[k] was made from
  int64_t rows[kMost], cols[kMost];
};

// Values of an operand `step` bytes apart, which are gathered where they are not side by side and converted where `convert`
// is; a step of 0: one value for all.
struct Source {
  const uint8_t* at;
  int64_t step;
  bool gathered;
  Convert convert;
};

class Pass {
 public:
  Pass(const Machine& machine, const Plan& plan, const Operand* const* op, Loop loop, bool moves)
      : p_(plan), loop_(loop), moves_(moves), stream_(stream_code(machine.target())) {
    int64_t widest = 1;
    for (size_t k = 0; k < p_.operands; ++k) {
      data_[k] = op[k]->data;
      width_[k] = static_cast<int64_t>(bytes(op[k]->dtype));
      compute_width_[k] = static_cast<int64_t>(bytes(op[k]->compute));
      widest = std::max({widest, width_[k], compute_width_[k]});
      if (op[k]->dtype == op[k]->compute) continue;
      convert_[k] = k == 0 ? find_convert(op[k]->compute, op[k]->dtype, machine.target())
                           : find_convert(op[k]->dtype, op[k]->compute, machine.target());
    }
    piece_ = static_cast<int64_t>(kPieceBytes) / widest;
    int64_t values = 1;
    for (size_t a = 0; a < p_.rank; ++a) values *= p_.shape[a];
    past_cache_ = static_cast<uint64_t>(values * width_[0]) >= kStreamBytes;
    // What is read is what is written: a strip is only good for the block that it was made for.
    for (size_t k = 1; k < p_.operands; ++k) in_place_ |= data_[k] == data_[0];
  }

  void run(int64_t first, int64_t end) const {
    Strips strips;
    int64_t index[kMaxRank];
    place(first, index);
    for (int64_t b = first; b < end;) {
      block(index, strips);
      if (++b == end) break;
      if (p_.tiled) {
        place(b, index);
        continue;
      }
      for (size_t a = p_.rank; a-- > 0;) {
        if (++index[a] < p_.blocks[a]) break;
        index[a] = 0;
      }
    }
    if (past_cache_) end_streams();
  }

 private:
  // Which block the b-th is.
  void place(int64_t b, int64_t* index) const {
    const size_t last = p_.rank - 1;
    const int64_t rows = p_.blocks[p_.across], cols = p_.blocks[last], inside = b % (rows * cols);
    if (p_.tiled) {
      const int64_t first = inside / (kPanel * cols) * kPanel, height = std::min(kPanel, rows - first), at = inside - first * cols;
      index[p_.across] = first + at % height;
      index[last] = at / height;
      b /= rows * cols;
    }
    for (size_t a = p_.rank; a-- > 0;) {
      if (p_.tiled && (a == last || a == p_.across)) continue;
      index[a] = b % p_.blocks[a];
      b /= p_.blocks[a];
    }
  }
  void block(const int64_t* index, Strips& s) const {
    const size_t last = p_.rank - 1;
    const int64_t left = std::min(index[last] * p_.cols, p_.before), c0 = index[last] * p_.cols - left;
    const int64_t r0 = p_.across == last ? 0 : index[p_.across] * p_.rows;
    const int64_t rows = p_.across == last ? 1 : std::min(p_.rows, p_.shape[p_.across] - r0);
    const int64_t cols = std::min(p_.cols + left, p_.shape[last] - c0), n = rows * cols;
    Source in[kMost - 1];
    uint32_t scalars = 0;
    uint8_t* out = nullptr;
    bool made = convert_[0] != nullptr;  // on the way
    for (size_t k = 0; k < p_.operands; ++k) {
      uint8_t* at = data_[k];
      for (size_t a = 0; a < p_.rank; ++a) {
        const int64_t i = a == last ? c0 : a == p_.across ? r0 : index[a];
        at += i * p_.stride[k][a];
      }
      if (k == 0) {
        out = at;
      } else {
        in[k - 1] = source(k, at, rows, cols, scalars, s);
        made |= in[k - 1].gathered || in[k - 1].convert != nullptr;
      }
    }
    const int64_t row_stride = p_.stride[0][p_.across], col_stride = p_.stride[0][last];
    const bool flat = (cols == 1 || col_stride == width_[0]) && (rows == 1 || row_stride == cols * width_[0]);
    if (flat) {
      const int64_t piece = past_cache_ ? piece_ : made ? kMadePieces * piece_ : n;
      for (int64_t i = 0; i < n; i += piece) {
        const int64_t m = std::min(piece, n - i);
        uint8_t* to = out + i * width_[0];
        const bool direct = convert_[0] == nullptr && !past_cache_;
        // Writing past the cache holds up the processor's own fetching.
        for (size_t k = 0; past_cache_ && k + 1 < p_.operands; ++k) {
          if (!in[k].gathered && in[k].step > 0) fetch_run(in[k].at + (i + kPiecesAhead * piece_) * in[k].step, static_cast<size_t>(piece_ * in[k].step));
        }
        const uint8_t* result = values(in, scalars, i, m, direct ? to : s.value[0], s);
        if (result != to) write_run(result, to, static_cast<size_t>(m * width_[0]));
      }
      return;
    }
    const uint8_t* result = values(in, scalars, 0, n, s.value[0], s);
    if (col_stride == width_[0]) {
      // A row's part of a line at the end is left to the next block.
      const bool ends = p_.before == 0 || c0 + cols == p_.shape[last];
      for (int64_t r = 0; r < rows; ++r) {
        uint8_t* const to = out + r * row_stride;
        const auto over = [&](int64_t col) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(to + col * width_[0]) % kLine) / width_[0]; };
        const int64_t begin = left == 0 ? 0 : left - over(left), end = ends ? cols : cols - over(cols);
        write_run(result + (r * cols + begin) * width_[0], to + begin * width_[0], static_cast<size_t>((end - begin) * width_[0]));
      }
    } else {
      scatter(static_cast<size_t>(width_[0]), result, {rows, cols, row_stride, col_stride}, out);
    }
  }

  // Results [i, i + n) of a block, in the type of the result: in `to`, or where they were already.
  const uint8_t* values(const Source* from, uint32_t scalars, int64_t i, int64_t n, uint8_t* to, Strips& s) const {
    const void* in[kMost - 1];
    for (size_t k = 1; k < p_.operands; ++k) {
      const Source& x = from[k - 1];
      const uint8_t* at = x.at + i * x.step;
      if (x.gathered) {
        uint8_t* side_by_side = x.convert == nullptr ? s.value[k] : s.raw;
        gather(static_cast<size_t>(width_[k]), at, {1, n, 0, x.step}, 0, side_by_side);
        at = side_by_side;
      }
      if (x.convert != nullptr) {
        uint8_t* const converted = moves_ && scalars == 0 ? to : s.value[k];
        x.convert(at, converted, static_cast<size_t>(n));
        at = converted;
      }
      in[k - 1] = at;
    }
    if (moves_ && scalars == 0) return static_cast<const uint8_t*>(in[0]);
    loop_(in, scalars, to, static_cast<size_t>(n));
    if (convert_[0] == nullptr) return to;
    convert_[0](to, s.raw, static_cast<size_t>(n));
    return s.raw;
  }

  void write_run(const uint8_t* from, uint8_t* to, size_t n) const {
    past_cache_ ? stream_run(stream_, to, from, n) : static_cast<void>(std::memcpy(to, from, n));
  }

  // Operand k of a block; where it is one value for all, its bit in `scalars`.
  Source source(size_t k, const uint8_t* at, int64_t rows, int64_t cols, uint32_t& scalars, Strips& s) const {
    const int64_t row_stride = p_.across == p_.rank - 1 ? 0 : p_.stride[k][p_.across], col_stride = p_.stride[k][p_.rank - 1];
    const bool one = (cols == 1 || col_stride == 0) && (rows == 1 || row_stride == 0);
    const bool flat = (cols == 1 || col_stride == width_[k]) && (rows == 1 || row_stride == cols * width_[k]);
    if (one && rows * cols != 1) scalars |= 1u << (k - 1);
    if (one && convert_[k] == nullptr) return {at, 0, false, nullptr};
    if (flat && !one) return {at, width_[k], false, convert_[k]};
    if (rows == 1 && !one) return {at, col_stride, true, convert_[k]};
    if (one) rows = cols = 1;
    const Source made{s.value[k], one ? 0 : compute_width_[k], false, nullptr};
    if (s.from[k] == at && s.rows[k] == rows && s.cols[k] == cols && !in_place_) return made;
    s.from[k] = at;
    s.rows[k] = rows;
    s.cols[k] = cols;
    const uint8_t* raw = at;
    if (!one) {
      uint8_t* to = convert_[k] == nullptr ? s.value[k] : s.raw;
      const int64_t ahead = col_stride == width_[k] ? rows * row_stride : kTileAhead * col_stride;
      gather(static_cast<size_t>(width_[k]), at, {rows, cols, row_stride, col_stride}, p_.tiled ? ahead : 0, to);
      raw = to;
    }
    if (convert_[k] != nullptr) convert_[k](raw, s.value[k], static_cast<size_t>(rows * cols));
    return made;
  }

  const Plan& p_;
  Loop loop_;
  bool moves_;  // the loop only copies
  const StreamCode& stream_;
  uint8_t* data_[kMost];
  int64_t width_[kMost], compute_width_[kMost], piece_;
  Convert convert_[kMost] = {};
  bool past_cache_ = false, in_place_ = false;
};

template <class T>
void select(const void* const* in, uint32_t scalars, void* out, size_t n) noexcept {
  const auto* mask = static_cast<const uint8_t*>(in[0]);
  const T *a = static_cast<const T*>(in[1]), *b = static_cast<const T*>(in[2]);
  T* y = static_cast<T*>(out);
  const size_t m1 = scalars & 1 ? 0 : 1, a1 = scalars & 2 ? 0 : 1, b1 = scalars & 4 ? 0 : 1;
  if (scalars == 0) {
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) {
      const T p = a[i], q = b[i];  // both are read: then there is nothing to jump over
      y[i] = mask[i] ? p : q;
    }
    return;
  }
  for (size_t i = 0; i < n; ++i) y[i] = mask[i * m1] ? a[i * a1] : b[i * b1];
}

template <class T>
void same(const void* const* in, uint32_t scalars, void* out, size_t n) noexcept {
  const T* x = static_cast<const T*>(in[0]);
  if (scalars != 0) {
    std::fill_n(static_cast<T*>(out), n, *x);
  } else if (in[0] != out) {
    std::memcpy(out, in[0], n * sizeof(T));
  }
}

void run(const Machine& machine, const Shape& shape, const Operand& out, std::span<const Operand> in, Loop loop, bool moves) {
  const Operand* op[kMost] = {&out};
  for (size_t k = 0; k < in.size(); ++k) op[k + 1] = &in[k];
  int64_t values = 1;
  for (const int64_t d : shape) values *= d;
  if (values == 0) return;
  const Plan p = plan(shape, op, in.size() + 1);
  const Pass pass(machine, p, op, loop, moves);
  const int64_t tasks = std::clamp<int64_t>(values / kTask, 1, p.block_count);
  if (tasks == 1) {
    pass.run(0, p.block_count);
    return;
  }
  // About eight tasks a thread: enough to even out, each a stretch of neighbouring memory.
  const int64_t count = std::min<int64_t>(tasks, 8 * static_cast<int64_t>(machine.threads()));
  machine.parallel_for(static_cast<size_t>(count), [&](size_t i) {
    const auto begin = [&](int64_t k) { return static_cast<int64_t>(static_cast<__int128>(p.block_count) * k / count); };
    pass.run(begin(static_cast<int64_t>(i)), begin(static_cast<int64_t>(i) + 1));
  });
}

}  // namespace

Operand operand(const Tensor& t, const Shape& shape, DType compute) {
  Operand o{t.raw(), t.dtype(), Strides(shape.size(), 0), compute};
  const size_t added = shape.size() - t.rank();
  for (size_t i = 0; i < t.rank(); ++i) o.strides[added + i] = t.shape()[i] == 1 ? 0 : t.strides()[i];
  return o;
}

void run_elementwise(const Machine& machine, const Shape& shape, const Operand& out, std::span<const Operand> in, Loop loop) {
  run(machine, shape, out, in, loop, false);
}

void copy(const Machine& machine, const Shape& shape, const Operand& out, const Operand& in) {
  Operand from = in, to = out;
  from.compute = to.compute = out.dtype;
  Loop loop = nullptr;
  with_width(bytes(out.dtype), [&](auto w) { loop = &same<decltype(w)>; });
  run(machine, shape, to, {&from, 1}, loop, true);
}

Loop select_loop(size_t width) noexcept {
  Loop loop = nullptr;
  with_width(width, [&](auto w) { loop = &select<decltype(w)>; });
  return loop;
}

}  // namespace viva::kernels
