#include "viva/kernels/reduce.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "viva/kernels/tile.h"
#include "viva/machine/machine.h"
#include "viva/machine/stream.h"

namespace viva::kernels {

const ReduceRow* reduce_f32(DType t, Target target) noexcept;
const ReduceRow* reduce_f64(DType t, Target target) noexcept;
const ReduceRow* reduce_int(DType t, Target target) noexcept;
const ReduceRow* reduce_complex(DType t, Target target) noexcept;

const ReduceCode* find_reduction(ReduceId id, DType compute, Target target) noexcept {
  const bool whole = id == ReduceId::sum || id == ReduceId::prod;
  if (compute == DType::kBool) compute = DType::kU8;                   // byte by byte
  if (whole && compute == DType::kI64) compute = DType::kU64;          // the same bits
  const auto group = compute == DType::kF32 ? &reduce_f32 : compute == DType::kF64 ? &reduce_f64 : is_complex(compute) ? &reduce_complex : &reduce_int;
  const ReduceRow* row = group(compute, target);
  return row == nullptr ? nullptr : (*row)[static_cast<size_t>(id)];
}

DType reduce_compute_type(ReduceId id, DType t) noexcept {
  switch (info(id).result) {
    case ReduceResult::Bool:
    case ReduceResult::Count: return DType::kBool;
    case ReduceResult::Mean: return is_int(t) || is_bool(t) ? DType::kF64 : compute_type(t);
    case ReduceResult::Sum: return is_unsigned_int(t) ? DType::kU64 : is_int(t) || is_bool(t) ? DType::kI64 : compute_type(t);
    default: return compute_type(t);
  }
}

namespace {

constexpr int64_t kTask = 64 * 1024;     // values that are worth a task of their own

struct Axis {
  int64_t size, stride;  // bytes
};

// x as axes that are kept and axes that are reduced, each in order of memory, neighbours joined.
struct Plan {
  const uint8_t* data;
  size_t kept = 0, reduced = 0;
  Axis k[kMaxRank], r[kMaxRank];
  int64_t results = 1, values = 1;  // kept and reduced
  bool columns = false;             // the last kept axis is the one along memory
  int64_t block = 1, chunks = 1;    // values of each; of columns: rows
  size_t order[kMaxRank];  // the kept axes of x, outermost first
  size_t orders = 0;
};

void join_neighbours(Axis* a, size_t& n) {
  size_t w = 0;
  for (size_t i = 0; i < n; ++i) {
    if (a[i].size == 1) continue;
    if (w != 0 && a[w - 1].stride == a[i].stride * a[i].size) {
      a[w - 1] = {a[w - 1].size * a[i].size, a[i].stride};
    } else {
      a[w++] = a[i];
    }
  }
  n = w;
}

Plan make_plan(const Tensor& x, uint32_t axes, DType compute) {
  Plan p;
  p.data = x.raw();
  const int64_t unit = static_cast<int64_t>(bytes(x.dtype()));
  for (size_t a = 0; a < x.rank(); ++a) {
    const int64_t n = x.shape()[a], s = x.strides()[a] * unit;
    if ((axes >> a & 1) != 0) {
      p.values *= n;
      size_t i = p.reduced++;
      for (; i > 0 && std::abs(p.r[i - 1].stride) < std::abs(s); --i) p.r[i] = p.r[i - 1];
      p.r[i] = {n, s};
    } else {
      p.results *= n;
      // A stretched axis stays where it is.
      size_t i = p.orders++;
      const auto before = [&](size_t b) {
        const int64_t t = std::abs(x.strides()[b] * unit);
        return n != 1 && x.shape()[b] != 1 && s != 0 && t != 0 && t < std::abs(s);
      };
      for (; i > 0 && before(p.order[i - 1]); --i) p.order[i] = p.order[i - 1];
      p.order[i] = a;
    }
  }
  if (p.results == 0) return p;
  if (p.values == 0) {
    p.reduced = 0;
    p.chunks = 1;
    return p;
  }
  p.kept = p.orders;
  for (size_t i = 0; i < p.kept; ++i) p.k[i] = {x.shape()[p.order[i]], x.strides()[p.order[i]] * unit};
  join_neighbours(p.k, p.kept);
  join_neighbours(p.r, p.reduced);
  if (p.kept != 0 && p.reduced != 0) {
    const int64_t ks = std::abs(p.k[p.kept - 1].stride), rs = std::abs(p.r[p.reduced - 1].stride), n = p.k[p.kept - 1].size;
    p.columns = ks != 0 && n >= 8 && (rs == 0 || ks < rs || (ks == rs && p.values < 64));
  }
  p.block = p.columns ? kReduceRows : x.dtype() == compute ? reduce_block(bytes(compute)) : kReduceConverted;
  p.chunks = (p.values + kReduceChunk * p.block - 1) / (kReduceChunk * p.block);
  return p;
}

// A place in the space of some axes that are counted through.
class Place {
 public:
  Place(const Axis* axes, size_t n, int64_t at) : axes_(axes), n_(n) {
    for (size_t a = n; a-- > 0;) {
      index_[a] = at % axes[a].size;
      at /= axes[a].size;
      offset_ += index_[a] * axes[a].stride;
    }
  }
  int64_t offset() const { return offset_; }
  // Values that follow along the last axis, this one too.
  int64_t run() const { return n_ == 0 ? 1 : axes_[n_ - 1].size - index_[n_ - 1]; }
  // By no more than run().
  void advance(int64_t by) {
    if (n_ == 0) return;
    index_[n_ - 1] += by;
    offset_ += by * axes_[n_ - 1].stride;
    for (size_t a = n_; a-- > 0;) {
      if (index_[a] < axes_[a].size) return;
      offset_ -= index_[a] * axes_[a].stride;
      index_[a] = 0;
      if (a == 0) return;
      ++index_[a - 1];
      offset_ += axes_[a - 1].stride;
    }
  }

 private:
  const Axis* axes_;
  size_t n_;
  int64_t index_[kMaxRank], offset_ = 0;
};

class Pass {
 public:
  Pass(const Machine& machine, const Plan& plan, const ReduceCode& code, double param, DType from, DType compute, const Tensor& out)
      : machine_(machine), p_(plan), code_(code), param_(param), width_(static_cast<int64_t>(bytes(from))), out_(out.raw()),
        out_width_(static_cast<int64_t>(bytes(out.dtype()))) {
    if (from != compute) convert_ = find_convert(from, compute, machine.target());
    // Sums of signed and unsigned integers are the same bits.
    const bool same = code.result == out.dtype() || (code.result == DType::kU64 && out.dtype() == DType::kI64);
    if (!same) finish_convert_ = find_convert(code.result, out.dtype(), machine.target());
    compute_width_ = static_cast<int64_t>(bytes(compute));
  }

  void run() {
    const int64_t accs = p_.results * p_.chunks;
    if (p_.chunks > 1) {
      Tensor acc(machine_, {accs * static_cast<int64_t>(code_.acc_bytes)}, DType::kU8);
      acc_ = acc.raw();
      p_.columns ? run_columns() : run_rows();
      split(p_.results, std::max<int64_t>(1, kTask / p_.chunks), [&](int64_t begin, int64_t end) { join_chunks(begin, end); });
    } else {
      p_.columns ? run_columns() : run_rows();
    }
  }

 private:
  struct alignas(64) Strips {
    uint8_t raw[kReduceBytes], value[kReduceBytes];
    uint8_t acc[kReduceColumns * 16];
  };

  // f(begin, end) over [0, n), `least` at a time, on the threads; how it is split changes no bits.
  template <class F>
  void split(int64_t n, int64_t least, F f) const {
    const int64_t tasks = std::min<int64_t>(n / std::max<int64_t>(1, least), 8 * static_cast<int64_t>(machine_.threads()));
    if (tasks <= 1 || machine_.threads() == 1) return f(0, n);
    machine_.parallel_for(static_cast<size_t>(tasks), [&](size_t i) {
      const auto at = [&](size_t k) { return static_cast<int64_t>(static_cast<__int128>(n) * static_cast<int64_t>(k) / tasks); };
      f(at(i), at(i + 1));
    });
  }

  // n accs of one chunk -> results, or into the table of all chunks.
  void put(int64_t result, int64_t chunk, int64_t n, const uint8_t* acc, Strips& s) const {
    if (p_.chunks > 1) {
      std::memcpy(acc_ + static_cast<size_t>(chunk * p_.results + result) * code_.acc_bytes, acc, static_cast<size_t>(n) * code_.acc_bytes);
    } else {
      finish(result, n, acc, s.raw);
    }
  }
  // `scratch` takes kReduceColumns results.
  void finish(int64_t result, int64_t n, const uint8_t* acc, uint8_t* scratch) const {
    uint8_t* to = out_ + result * out_width_;
    const uint64_t count = static_cast<uint64_t>(p_.values);
    if (finish_convert_ == nullptr) {
      code_.finish(acc, static_cast<size_t>(n), count, param_, to);
    } else {
      code_.finish(acc, static_cast<size_t>(n), count, param_, scratch);
      finish_convert_(scratch, to, static_cast<size_t>(n));
    }
  }

  void run_rows() const {
    if (p_.values <= p_.block) {
      split(p_.results, std::max<int64_t>(1, kTask / std::max<int64_t>(1, p_.values)), [&](int64_t begin, int64_t end) { short_rows(begin, end); });
    } else {
      const int64_t items = p_.results * p_.chunks, each = std::min<int64_t>(p_.values, kReduceChunk * p_.block);
      split(items, std::max<int64_t>(1, kTask / each), [&](int64_t begin, int64_t end) {
        Strips s;
        for (int64_t i = begin; i < end; ++i) long_row(i % p_.results, i / p_.results, s);
      });
    }
  }

  // Results of one block each, several at a time.
  void short_rows(int64_t begin, int64_t end) const {
    Strips s;
    const int64_t n = p_.values;
    const bool run = p_.reduced == 0 || (p_.reduced == 1 && (p_.r[0].stride == width_ || n == 1));
    const bool direct = run && convert_ == nullptr;
    const int64_t most = direct ? kReduceColumns : std::clamp<int64_t>(p_.block / std::max<int64_t>(1, n), 1, kReduceColumns);
    Place place(p_.k, p_.kept, n == 0 ? 0 : begin);
    for (int64_t i = begin; i < end;) {
      int64_t rows = std::min(end - i, most);
      const uint8_t* from = p_.data + place.offset();
      const uint8_t* at = from;
      int64_t stride = n * compute_width_;
      if (n == 0) {
      } else if (direct) {
        rows = std::min(rows, place.run());
        stride = p_.kept == 0 ? 0 : p_.k[p_.kept - 1].stride;
        place.advance(rows);
      } else {
        for (int64_t r = 0; r < rows; ++r, place.advance(1)) load(p_.data + place.offset(), 0, n, s.raw + r * n * width_);
        at = s.raw;
        if (convert_ != nullptr) {
          convert_(s.raw, s.value, static_cast<size_t>(rows * n));
          at = s.value;
        }
      }
      code_.rows(at, stride, static_cast<size_t>(rows), static_cast<size_t>(n), 0, 0, param_, s.acc);
      finish(i, rows, s.acc, s.raw);
      i += rows;
    }
  }

  // Reduced values [begin, begin + n) of the result at `from`, side by side.
  void load(const uint8_t* from, int64_t begin, int64_t n, uint8_t* to) const {
    Place place(p_.r, p_.reduced, begin);
    while (n > 0) {
      const int64_t m = std::min(n, place.run());
      gather(static_cast<size_t>(width_), from + place.offset(), {1, m, 0, p_.reduced == 0 ? 0 : p_.r[p_.reduced - 1].stride}, 0, to);
      place.advance(m);
      to += m * width_;
      n -= m;
    }
  }

  // One chunk of one result, block by block.
  void long_row(int64_t result, int64_t chunk, Strips& s) const {
    const uint8_t* from = p_.data + Place(p_.k, p_.kept, result).offset();
    const int64_t begin = chunk * kReduceChunk * p_.block, end = std::min(p_.values, begin + kReduceChunk * p_.block);
    const bool unit = p_.r[p_.reduced - 1].stride == width_;
    for (int64_t at = begin; at < end; at += p_.block) {
      const int64_t n = std::min(p_.block, end - at);
      const Place place(p_.r, p_.reduced, at);
      const uint8_t* block = from + place.offset();
      if (!unit || place.run() < n) {
        load(from, at, n, s.raw);
        block = s.raw;
      }
      if (convert_ != nullptr) {
        if (block != s.raw) fetch_run(block + n * width_, static_cast<size_t>(n * width_));  // what comes next, meanwhile
        convert_(block, s.value, static_cast<size_t>(n));
        block = s.value;
      }
      code_.rows(block, 0, 1, static_cast<size_t>(n), static_cast<uint64_t>(at), static_cast<uint64_t>(at - begin), param_, s.acc);
    }
    put(result, chunk, 1, s.acc, s);
  }

  void run_columns() const {
    const int64_t n = p_.k[p_.kept - 1].size, outer = p_.results / n;
    const bool direct = convert_ == nullptr && p_.k[p_.kept - 1].stride == width_;
    // Columns do not see each other: how wide a strip is changes no bits. Those that are copied first must fit in the strips.
    int64_t width = kReduceColumns;
    if (outer * p_.chunks < 8 * static_cast<int64_t>(machine_.threads())) {
      width = std::clamp<int64_t>((n / (4 * static_cast<int64_t>(machine_.threads())) + 63) / 64 * 64, 256, kReduceColumns);
    }
    const int64_t rows = std::min(kReduceRows, p_.values);
    if (!direct) {
      const int64_t fits = static_cast<int64_t>(kCopiedBytes) / (rows * std::max(width_, compute_width_));
      width = std::min(width, std::max<int64_t>(16, fits));
    }
    const int64_t strips = (n + width - 1) / width, items = outer * p_.chunks * strips;
    const int64_t each = std::min<int64_t>(p_.values, kReduceChunk * kReduceRows) * std::min(n, width);
    split(items, std::max<int64_t>(1, kTask / each), [&](int64_t begin, int64_t end) {
      Strips s;
      std::vector<uint8_t> copied(direct ? 0 : 2 * kCopiedBytes);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t strip = i % strips, chunk = i / strips % p_.chunks, o = i / strips / p_.chunks;
        column_strip(o, chunk, strip * width, std::min(width, n - strip * width), s, copied.data());
      }
    });
  }

  void column_strip(int64_t outer, int64_t chunk, int64_t first, int64_t cols, Strips& s, uint8_t* copied) const {
    const Axis along = p_.k[p_.kept - 1];
    const uint8_t* from = p_.data + Place(p_.k, p_.kept - 1, outer).offset() + first * along.stride;
    const int64_t begin = chunk * kReduceChunk * kReduceRows, end = std::min(p_.values, begin + kReduceChunk * kReduceRows);
    const void* rows[kReduceRows];
    Place place(p_.r, p_.reduced, begin);
    for (int64_t at = begin; at < end; at += kReduceRows) {
      const int64_t n = std::min(kReduceRows, end - at);
      for (int64_t r = 0; r < n; ++r, place.advance(1)) {
        const uint8_t* row = from + place.offset();
        if (along.stride != width_) {
          uint8_t* to = copied + r * cols * width_;
          gather(static_cast<size_t>(width_), row, {1, cols, 0, along.stride}, 0, to);
          row = to;
        }
        if (convert_ != nullptr) {
          uint8_t* to = copied + kCopiedBytes + r * cols * compute_width_;
          convert_(row, to, static_cast<size_t>(cols));
          row = to;
        }
        rows[r] = row;
      }
      code_.columns(rows, static_cast<size_t>(n), static_cast<size_t>(cols), static_cast<uint64_t>(at), static_cast<uint64_t>(at - begin), param_, s.acc);
    }
    put(outer * along.size + first, chunk, cols, s.acc, s);
  }

  // The chunks of results [begin, end), in a binary tree.
  void join_chunks(int64_t begin, int64_t end) const {
    const int64_t chunk = kReduceChunk * p_.block;
    const auto acc = [&](int64_t c) { return acc_ + static_cast<size_t>(c * p_.results + begin) * code_.acc_bytes; };
    const auto values = [&](int64_t c0, int64_t c1) { return static_cast<uint64_t>(std::min(p_.values, c1 * chunk) - c0 * chunk); };
    for (int64_t step = 1; step < p_.chunks; step *= 2) {
      for (int64_t c = 0; c + step < p_.chunks; c += 2 * step) {
        code_.join(acc(c), values(c, c + step), acc(c + step), values(c + step, c + 2 * step), static_cast<size_t>(end - begin));
      }
    }
    alignas(64) uint8_t scratch[kReduceColumns * 16];
    for (int64_t i = begin; i < end; i += kReduceColumns) {
      finish(i, std::min(kReduceColumns, end - i), acc(0) + static_cast<size_t>(i - begin) * code_.acc_bytes, scratch);
    }
  }

  static constexpr size_t kCopiedBytes = 128 * 1024;

  const Machine& machine_;
  const Plan& p_;
  const ReduceCode& code_;
  double param_;
  int64_t width_, compute_width_;
  uint8_t* out_;
  int64_t out_width_;
  Convert convert_ = nullptr, finish_convert_ = nullptr;
  uint8_t* acc_ = nullptr;
};

}  // namespace

namespace {

// The last axes of a small contiguous tensor, without a plan; no tensor where it is none.
Tensor reduce_small(const Tensor& x, uint32_t axes, bool keepdims, const ReduceCode& code, double param, DType result) {
  constexpr int64_t kMost = 256, kSmall = 4096;
  alignas(64) uint8_t acc[kMost * 16];
  Shape shape;
  int64_t rows = 1, n = 1;
  bool inside = false;
  for (size_t a = 0; a < x.rank(); ++a) {
    const int64_t d = x.shape()[a];
    if ((axes >> a & 1) != 0) {
      inside = true;
      n *= d;
      if (keepdims) shape.push_back(1);
    } else {
      if (inside) return {};
      rows *= d;
      shape.push_back(d);
    }
  }
  if (n > reduce_block(bytes(x.dtype())) || n == 0 || rows > kMost || rows * n > kSmall || !x.contiguous()) return {};
  Tensor out(x.machine(), shape, result);
  code.rows(x.raw(), static_cast<ptrdiff_t>(n) * static_cast<ptrdiff_t>(bytes(x.dtype())), static_cast<size_t>(rows), static_cast<size_t>(n), 0, 0, param, acc);
  code.finish(acc, static_cast<size_t>(rows), static_cast<uint64_t>(n), param, out.raw());
  return out;
}

}  // namespace

Tensor reduce(const Tensor& x, uint32_t axes, bool keepdims, const ReduceCode& code, double param, DType compute, DType result) {
  if (x.dtype() == compute && (code.result == result || (code.result == DType::kU64 && result == DType::kI64))) {
    Tensor out = reduce_small(x, axes, keepdims, code, param, result);
    if (out.defined()) return out;
  }
  Plan p = make_plan(x, axes, compute);
  // The result lies in the order that the kept axes have in memory.
  Shape shape;
  Strides strides(x.rank(), 0), kept;
  int64_t n = 1;
  for (size_t i = p.orders; i-- > 0;) {
    strides[p.order[i]] = n;
    n *= std::max<int64_t>(1, x.shape()[p.order[i]]);
  }
  for (size_t a = 0; a < x.rank(); ++a) {
    const bool gone = (axes >> a & 1) != 0;
    if (gone && !keepdims) continue;
    shape.push_back(gone ? 1 : x.shape()[a]);
    kept.push_back(gone ? 1 : strides[a]);
  }
  const Tensor flat(x.machine(), shape, result), out(flat.buffer(), flat.raw(), result, shape, kept);
  if (p.results != 0) Pass(x.machine(), p, code, param, x.dtype(), compute, out).run();
  return out;
}

}  // namespace viva::kernels
