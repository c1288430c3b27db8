#include "viva/kernels/panels.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "viva/base/element.h"
#include "viva/kernels/loops.h"
#include "viva/kernels/tile.h"
#include "viva/machine/buffer.h"

namespace viva::kernels {

namespace {

constexpr int64_t kShared = int64_t{1} << 25;  // bytes of b that are packed at a time
constexpr int64_t kOwnRows = 128;              // rows of a up to which each task packs its own part of b
constexpr int64_t kOwnCols = 512;              // columns of such a part
constexpr int64_t kOwnBytes = 1 << 20;         // of b, up to which as much is packed by each task
constexpr int64_t kLeastCols = 64;             // of such a part
constexpr double kTask = 1 << 18;              // multiplications that are worth a task
constexpr double kFew = 1 << 27;               // a thread, up to which equal shares beat many tasks
constexpr int64_t kWholeA = 1 << 20;           // bytes of packed rows that are kept
constexpr int64_t kSums = 1 << 18;             // bytes of sums that stay in the second-level cache
constexpr int64_t kNearSums = 1 << 16;         // of those that are narrowed afterwards
constexpr int64_t kLongest = 1 << 20;          // terms of a column that is packed whole
constexpr int64_t kDirectCols = 1024;          // of the result
constexpr int64_t kPage = 4096;
constexpr int64_t kLine = 64;                  // alignment of what is packed

int64_t ceil_of(int64_t a, int64_t b) { return a / b + (a % b != 0); }
int64_t up_to(int64_t a, int64_t b) { return ceil_of(a, b) * b; }

// Where one product finds its operands.
struct Operands {
  Lines a, b;
};

// Room for what a thread packs, in one piece of memory.
struct Room {
  int64_t a, b, sums;  // bytes of each
  int64_t bytes() const { return a + b + sums + kPackScratch; }
};
struct Packed {
  uint8_t *a, *b, *sums, *scratch;
  Packed(uint8_t* memory, const Room& room) : a(memory), b(a + room.a), sums(b + room.b), scratch(sums + room.sums) {}
};

// Rows [row, row + rows) and columns [col, col + cols) of a product, up to `most` rows packed at a time.
struct Part {
  int64_t row, rows, col, cols, terms, most;
  bool direct;  // rows of a are multiplied where they lie
};
// Columns of b that are packed already: those of a run of terms `stride` bytes behind those of the one before.
struct Ready {
  const uint8_t* panels = nullptr;
  int64_t first = 0, stride = 0;  // columns before those of the part
};

int64_t inner_of(const PanelCode& code, int64_t terms) { return std::min(code.inner, up_to(terms, code.depth)); }
int64_t panel_bytes(const PanelCode& code, int64_t lines, int64_t panel, int64_t inner) { return up_to(up_to(lines, panel) * inner * code.width, kLine); }
bool in_lines(const PanelCode& code, const Lines& x) { return x.dtype == code.value && x.term_stride == 1 && x.line_stride != 0; }

// Rows are packed run by run into one place; or behind each other, to be kept; or are there already.
enum class PackA { kEach, kAll, kNone };

// c = or += the part of the product, its columns of b packed on the way where they are not ready.
void multiply_part(const PanelCode& code, Target target, const Operands& x, const Part& p, const Packed& to, const Ready& ready, PackA pack, bool accumulate,
                   uint8_t* c, int64_t ldc) noexcept {
  const int64_t inner = inner_of(code, p.terms), width = static_cast<int64_t>(bytes(code.sum));
  uint8_t* room_a = to.a;
  for (int64_t t = 0; t < p.terms; t += inner) {
    const int64_t terms = std::min(inner, p.terms - t);
    const uint8_t* panels = to.b;
    if (ready.panels == nullptr) {
      code.pack_b(x.b, p.col, p.cols, t, terms, to.b, to.scratch, target);
    } else {
      panels = ready.panels + t / inner * ready.stride + ready.first * up_to(terms, code.depth) * code.width;
    }
    int64_t r = 0;
    if (p.direct && terms % code.depth == 0) {
      r = p.rows / code.rows * code.rows;
      const uint8_t* a = x.a.data + (p.row * x.a.line_stride + t) * code.width;
      if (r != 0) code.multiply(r, p.cols, terms, a, x.a.line_stride, panels, accumulate || t != 0, c, ldc);
    }
    for (; r < p.rows; r += p.most) {
      const int64_t rows = std::min(p.most, p.rows - r);
      if (pack != PackA::kNone) code.pack_a(x.a, p.row + r, rows, t, terms, room_a, to.scratch, target);
      code.multiply(rows, p.cols, terms, room_a, 0, panels, accumulate || t != 0, c + r * ldc * width, ldc);
    }
    if (pack != PackA::kEach) room_a += panel_bytes(code, p.most, code.rows, inner);
  }
}

class Products {
 public:
  Products(const Machine& machine, const PanelCode& code, DType dtype, const Shape& batch, int64_t m, int64_t n, int64_t k, const Matrices& a,
           const Matrices& b, uint8_t* out)
      : machine_(machine), code_(code), batch_(batch), m_(m), n_(n), k_(k), inner_(inner_of(code, k)), a_(a), b_(b), dtype_(dtype), out_(out),
        width_(static_cast<int64_t>(bytes(dtype))), sum_width_(static_cast<int64_t>(bytes(code.sum))) {
    for (const int64_t d : batch) products_ *= d;
    if (dtype != code.sum) narrow_ = find_convert(code.sum, dtype, machine.target());
    // How the work is cut changes no bits: it may follow the number of threads.
    const double work = static_cast<double>(products_) * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    const int64_t threads = static_cast<int64_t>(machine.threads());
    parts_ = work >= kFew * static_cast<double>(threads) ? 4 * threads : std::clamp(static_cast<int64_t>(work / kTask), int64_t{1}, threads);
  }

  void run() {
    if (m_ <= code_.cols && n_ >= 8 * m_ && in_lines(code_, operands(0).b)) return run_thin();
    if (m_ <= kOwnRows || products_ >= parts_ || up_to(n_, code_.cols) * k_ * code_.width <= kOwnBytes) return run_alone();
    for (int64_t p = 0; p < products_; ++p) run_shared(p);
  }

 private:
  Operands operands(int64_t product) const {
    int64_t at_a = 0, at_b = 0;
    for (size_t i = batch_.size(); i-- > 0;) {
      at_a += product % batch_[i] * a_.batch[i];
      at_b += product % batch_[i] * b_.batch[i];
      product /= batch_[i];
    }
    return {{a_.data + at_a * width_, dtype_, a_.row_stride, a_.col_stride}, {b_.data + at_b * width_, dtype_, b_.col_stride, b_.row_stride}};
  }
  Room room(int64_t rows, int64_t cols, int64_t sums) const {
    return {panel_bytes(code_, rows, code_.rows, inner_), panel_bytes(code_, cols, code_.cols, inner_), narrow_ == nullptr ? 0 : up_to(sums * sum_width_, kLine)};
  }
  template <class F>
  void each(int64_t tasks, F f) const {
    if (tasks == 1) return f(0);
    machine_.parallel_for(static_cast<size_t>(tasks), [&](size_t i) { f(static_cast<int64_t>(i)); });
  }

  uint8_t* place(int64_t product, int64_t row, int64_t col) const { return out_ + (product * m_ * n_ + row * n_ + col) * width_; }
  void part(int64_t product, const Operands& x, const Part& p, const Packed& to, const Ready& ready, PackA pack) const noexcept {
    uint8_t* const out = place(product, p.row, p.col);
    multiply_part(code_, machine_.target(), x, p, to, ready, pack, false, narrow_ == nullptr ? out : to.sums, narrow_ == nullptr ? n_ : p.cols);
    if (narrow_ == nullptr) return;
    const int64_t runs = p.cols == n_ ? 1 : p.rows, run = p.rows * p.cols / runs;
    for (int64_t r = 0; r < runs; ++r) narrow_(to.sums + r * run * sum_width_, out + r * n_ * width_, static_cast<size_t>(run));
  }
  // Few columns: rows are read where they are, unless they fall on each other in the cache.
  bool direct(const Lines& a, int64_t cols) const { return cols <= kDirectCols && in_lines(code_, a) && a.line_stride * code_.width % kPage != 0; }

  // Few rows: they become the columns of the turned product, so that b is read once and where it lies.
  void run_thin() const {
    const int64_t strips = ceil_of(parts_, products_), panels = ceil_of(n_, code_.rows);
    const int64_t lines = std::clamp(ceil_of(panels, strips), int64_t{1}, std::max<int64_t>(1, 1024 / code_.rows)) * code_.rows, count = ceil_of(n_, lines);
    each(products_ * count, [&](int64_t task) {
      const int64_t product = task / count, first = task % count * lines, some = std::min(lines, n_ - first), panel = code_.rows;
      const Operands x = operands(product);
      const Room need{panel_bytes(code_, panel, code_.rows, inner_), panel_bytes(code_, m_, code_.cols, inner_), up_to(some * m_ * (sum_width_ + width_), kLine)};
      const BufferPtr memory = BufferPtr::allocate(machine_, static_cast<uint64_t>(need.bytes()));
      const Packed to(memory->data(), need);
      multiply_part(code_, machine_.target(), {x.b, x.a}, {first, some, 0, m_, k_, panel, true}, to, {}, PackA::kEach, false, to.sums, m_);
      const uint8_t* sums = to.sums;
      if (narrow_ != nullptr) {
        narrow_(to.sums, to.sums + some * m_ * sum_width_, static_cast<size_t>(some * m_));
        sums += some * m_ * sum_width_;
      }
      for (int64_t r = 0; r < m_; ++r) gather(static_cast<size_t>(width_), sums + r * width_, {1, some, 0, m_ * width_}, 0, place(product, r, first));
    });
  }

  // Every task packs what it multiplies: few rows, or many products.
  void run_alone() const {
    // What is longer is cut; the other operand is then packed by each task anew.
    const int64_t parts = ceil_of(parts_, products_), steps = ceil_of(n_, code_.step), least = std::min(steps, kLeastCols / code_.step);
    const int64_t cols = std::clamp(ceil_of(steps, m_ > n_ ? 1 : parts), least, std::max(least, kOwnCols / code_.step)) * code_.step, strips = ceil_of(n_, cols);
    const int64_t height = up_to(ceil_of(m_, std::max<int64_t>(1, parts / strips)), code_.rows);
    // Sums that are narrowed afterwards are few, so that they stay near.
    const int64_t few = std::max(code_.rows, kNearSums / (std::min(cols, n_) * sum_width_) / code_.rows * code_.rows);
    const int64_t most = std::min({m_, height, code_.most_rows}), rows = std::min({m_, height, narrow_ == nullptr ? m_ : few}), row_parts = ceil_of(m_, rows);
    const int64_t units = products_ * strips * row_parts, together = std::max<int64_t>(1, units / (4 * parts_));
    each(ceil_of(units, together), [&](int64_t task) {
      const Room need = room(most, std::min(cols, n_), rows * std::min(cols, n_));
      const BufferPtr memory = BufferPtr::allocate(machine_, static_cast<uint64_t>(need.bytes()));
      const Packed to(memory->data(), need);
      int64_t packed = -1;  // whose columns of b are packed
      for (int64_t u = task * together; u < std::min(units, (task + 1) * together); ++u) {
        const int64_t row = u % row_parts * rows, strip = u / row_parts, col = strip % strips * cols;
        const Operands x = operands(strip / strips);
        part(strip / strips, x, {row, std::min(rows, m_ - row), col, std::min(cols, n_ - col), k_, most, direct(x.a, n_)}, to,
             {packed == strip ? to.b : nullptr, 0, 0}, PackA::kEach);
        if (k_ <= inner_) packed = strip;
      }
    });
  }

  // All of b is packed by all threads, then multiplied by all.
  void run_shared(int64_t product) const {
    const Operands x = operands(product);
    // Panels of rows go to the tasks in equal parts.
    const int64_t panels_a = ceil_of(m_, code_.rows), threads = static_cast<int64_t>(machine_.threads());
    const int64_t tasks = std::min(panels_a, std::max(parts_, up_to(ceil_of(m_, code_.most_rows), threads)));
    const auto first_row = [&](int64_t i) { return std::min(m_, panels_a * i / tasks * code_.rows); };
    const int64_t runs = ceil_of(k_, inner_), line = runs * inner_ * code_.width;  // bytes of a column
    const int64_t cols = std::clamp(kShared / line / code_.cols * code_.cols, code_.cols, up_to(n_, code_.cols)), stride = cols * inner_ * code_.width;
    const BufferPtr ready = BufferPtr::allocate(machine_, static_cast<uint64_t>(cols * line));
    for (int64_t col = 0; col < n_; col += cols) {
      const int64_t wide = std::min(cols, n_ - col), panels = ceil_of(wide, code_.cols);
      const int64_t together = std::max<int64_t>(1, panels * runs / parts_), groups = ceil_of(panels, together);
      each(groups * runs, [&](int64_t i) {
        const int64_t first = i % groups * together * code_.cols, t = i / groups * inner_, terms = std::min(inner_, k_ - t);
        const BufferPtr scratch = BufferPtr::allocate(machine_, static_cast<uint64_t>(kPackScratch));
        code_.pack_b(x.b, col + first, std::min(together * code_.cols, wide - first), t, terms,
                     ready->data() + t / inner_ * stride + first * up_to(terms, code_.depth) * code_.width, scratch->data(), machine_.target());
      });
      each(tasks, [&](int64_t i) {
        // Where all of these rows can be kept packed, their sums stay in the cache until they are done.
        const int64_t row = first_row(i), rows = first_row(i + 1) - row, all = panel_bytes(code_, rows, code_.rows, inner_) * runs;
        const bool whole = all <= kWholeA;
        const int64_t some = whole ? std::min(wide, up_to(std::max<int64_t>(1, kSums / (rows * sum_width_)), code_.cols)) : wide;
        Room need = room(rows, 0, rows * some);
        if (whole) need.a = all;
        const BufferPtr memory = BufferPtr::allocate(machine_, static_cast<uint64_t>(need.bytes()));
        const Packed to(memory->data(), need);
        for (int64_t done = 0; done < wide; done += some) {
          part(product, x, {row, rows, col + done, std::min(some, wide - done), k_, rows, direct(x.a, n_)}, to, {ready->data(), done, stride},
               !whole ? PackA::kEach : done == 0 ? PackA::kAll : PackA::kNone);
        }
      });
    }
  }

  const Machine& machine_;
  const PanelCode& code_;
  const Shape& batch_;
  int64_t m_, n_, k_, inner_, products_ = 1, parts_;
  const Matrices &a_, &b_;
  DType dtype_;
  uint8_t* out_;
  int64_t width_, sum_width_;
  Convert narrow_ = nullptr;
};

}  // namespace

const PanelCode* panel_code(DType dtype, Target target) noexcept {
  if (!is_real_float(dtype)) return nullptr;
  const PanelCode* tiles = dtype == DType::kBF16 ? bf16_tiles(target) : nullptr;
  return tiles != nullptr ? tiles : float_panels(compute_type(dtype), target);
}

bool panels_pay(const PanelCode& code, int64_t products, int64_t m, int64_t n, int64_t k) noexcept {
  // Long sums of small results are cut instead: matmul.cpp does that.
  if ((k >= 8192 && m * n <= (1 << 16) && products < 16) || k > kLongest) return false;
  return m >= 4 && n >= code.cols / 2 && k >= 16 && m * n >= (1 << 15) / k;
}

void multiply_panels(const Machine& machine, const PanelCode& code, DType dtype, const Shape& batch, int64_t m, int64_t n, int64_t k, const Matrices& a,
                     const Matrices& b, uint8_t* out) {
  Products(machine, code, dtype, batch, m, n, k, a, b, out).run();
}

bool multiply_blocks(const PanelCode& code, DType dtype, Target target, int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                     int64_t ldc) noexcept {
  const int64_t cols = std::min(n, kOwnCols), most = std::min(m, code.most_rows), inner = inner_of(code, k);
  const Room need{panel_bytes(code, most, code.rows, inner), panel_bytes(code, cols, code.cols, inner), 0};
  const std::unique_ptr<uint8_t, decltype(&std::free)> memory(
      static_cast<uint8_t*>(std::aligned_alloc(kLine, static_cast<size_t>(up_to(need.bytes(), kLine)))), &std::free);
  if (!memory) return false;
  const auto lines = [&](Block x, bool by_rows) {
    return Lines{static_cast<const uint8_t*>(x.data), dtype, by_rows ? x.ld : 1, by_rows ? 1 : x.ld};
  };
  const Operands x{lines(a, a.trans == 'N'), lines(b, b.trans == 'T')};
  for (int64_t col = 0; col < n; col += cols) {
    multiply_part(code, target, x, {0, m, col, std::min(cols, n - col), k, most, false}, Packed(memory.get(), need), {}, PackA::kEach, accumulate,
                  static_cast<uint8_t*>(c) + col * static_cast<int64_t>(bytes(code.sum)), ldc);
  }
  return true;
}

}  // namespace viva::kernels
