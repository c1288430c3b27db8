#include "viva/kernels/normalize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "viva/kernels/reduce.h"
#include "viva/machine/stream.h"

namespace viva::kernels {

namespace {

constexpr int64_t kTask = 64 * 1024;
constexpr size_t kNear = 256 * 1024;  // bytes

class Rows {
 public:
  Rows(const Machine& machine, const Tensor& x, int64_t n, const NormalizeOptions& options, const Tensor& out)
      : o_(options), n_(static_cast<size_t>(n)), x_(x.raw()), out_(out.raw()), width_(bytes(x.dtype())),
        stream_(stream_code(machine.target())) {
    const DType compute = compute_type(x.dtype());
    const Target target = machine.target();
    compute_width_ = bytes(compute);
    wide_ = compute == DType::kF64;
    // A row of softmax is written twice, the first time where it is near.
    past_cache_ = out.bytes() >= kStreamBytes && (options.kind != Normalize::kSoftmax || n_ * compute_width_ <= kNear);
    code_ = &normalize_code(compute, target);
    constexpr ReduceId kFold[] = {ReduceId::sum, ReduceId::logsumexp, ReduceId::var, ReduceId::norm_2};  // by Normalize
    fold_ = find_reduction(kFold[static_cast<size_t>(o_.kind)], compute, target);
    if (o_.kind == Normalize::kSoftmax) max_ = find_reduction(ReduceId::max, compute, target);
    if (compute != x.dtype()) {
      widen_ = find_convert(x.dtype(), compute, target);
      narrow_ = find_convert(compute, x.dtype(), target);
    }
  }

  void run(int64_t begin, int64_t end) const {
    Scratch s;
    if (widen_ != nullptr) s.x.resize(n_ * compute_width_);
    if (o_.kind == Normalize::kSoftmax && !direct()) s.exps.resize(n_ * compute_width_);
    for (int64_t r = begin; r < end; ++r) {
      const uint8_t* x = x_ + static_cast<size_t>(r) * n_ * width_;
      if (widen_ != nullptr) {
        widen_(x, s.x.data(), n_);
        x = s.x.data();
      }
      row(x, out_ + static_cast<size_t>(r) * n_ * width_, r, s);
    }
    if (past_cache_) end_streams();
  }

 private:
  static constexpr size_t kPiece = 512;  // values that are computed and written at a time
  struct Scratch {
    std::vector<uint8_t> x, exps;
    alignas(64) uint8_t piece[kPiece * sizeof(double)], narrow[kPiece * sizeof(double)];
  };
  // Whether results are made where they stay.
  bool direct() const { return narrow_ == nullptr && !past_cache_; }

  // Folds a row block by block.
  void fold(const ReduceCode& code, const void* x, void* acc) const {
    const size_t block = static_cast<size_t>(reduce_block(compute_width_));
    for (size_t at = 0; at < n_; at += block) {
      const size_t n = std::min(block, n_ - at);
      code.rows(static_cast<const uint8_t*>(x) + at * compute_width_, 0, 1, n, at, at, 0, acc);
    }
  }
  double extreme(const uint8_t* x) const {
    alignas(16) uint8_t acc[16];
    fold(*max_, x, acc);
    return wide_ ? *reinterpret_cast<const double*>(acc) : static_cast<double>(*reinterpret_cast<const float*>(acc));
  }

  void row(const uint8_t* x, uint8_t* y, int64_t r, Scratch& s) const {
    double acc[2] = {};
    switch (o_.kind) {
      case Normalize::kSoftmax: {
        uint8_t* e = direct() ? y : s.exps.data();
        const double high = extreme(x);
        for (size_t i = 0; i < n_; i += kPiece) {
          const size_t m = std::min(kPiece, n_ - i);
          fetch_run(x + (n_ + i) * compute_width_, m * compute_width_);
          code_->exp(x + i * compute_width_, m, high, e + i * compute_width_);
        }
        fold(*fold_, e, acc);
        return put(e, 0, 1 / acc[0], 0, y, s);
      }
      case Normalize::kLogSoftmax: {
        fold(*fold_, x, acc);  // the largest, and the sum of e^(x - it)
        return put(x, acc[0], 1, -std::log(acc[1]), y, s);
      }
      case Normalize::kLayer: {
        fold(*fold_, x, acc);  // mean and squared distances
        return weigh(x, y, r, acc[0], 1 / std::sqrt(acc[1] / static_cast<double>(n_) + o_.epsilon), s);
      }
      case Normalize::kRms: {
        fold(*fold_, x, acc);
        return weigh(x, y, r, 0, 1 / std::sqrt(acc[0] / static_cast<double>(n_) + o_.epsilon), s);
      }
    }
  }

  // f(first, n, to) makes some of `n` results; they are written to y.
  template <class F>
  void write(size_t n, uint8_t* y, Scratch& s, F f) const {
    if (direct()) return f(0, n, y);
    for (size_t i = 0; i < n; i += kPiece) {
      const size_t m = std::min(kPiece, n - i);
      f(i, m, s.piece);
      const uint8_t* made = s.piece;
      if (narrow_ != nullptr) {
        narrow_(s.piece, s.narrow, m);
        made = s.narrow;
      }
      past_cache_ ? stream_run(stream_, y + i * width_, made, m * width_) : static_cast<void>(std::memcpy(y + i * width_, made, m * width_));
    }
  }
  // y = (x - center) * by + plus
  void put(const uint8_t* x, double center, double by, double plus, uint8_t* y, Scratch& s) const { put(x, n_, center, by, plus, y, s); }
  void put(const uint8_t* x, size_t n, double center, double by, double plus, uint8_t* y, Scratch& s) const {
    write(n, y, s, [&](size_t i, size_t m, uint8_t* to) {
      fetch_run(x + (n_ + i) * compute_width_, m * compute_width_);  // the next row comes while this one is computed
      code_->scale(x + i * compute_width_, m, center, by, plus, to);
    });
  }

  void weigh(const uint8_t* x, uint8_t* y, int64_t r, double center, double by, Scratch& s) const {
    const auto* weight = static_cast<const uint8_t*>(o_.weight);
    const auto* bias = static_cast<const uint8_t*>(o_.bias);
    const auto from = [&](const uint8_t* p, size_t i) { return p == nullptr ? nullptr : p + i * compute_width_; };
    if (weight == nullptr && bias == nullptr) return put(x, center, by, 0, y, s);
    if (o_.weights == static_cast<int64_t>(n_) && o_.groups == 1) {
      return write(n_, y, s, [&](size_t i, size_t m, uint8_t* to) {
        fetch_run(x + (n_ + i) * compute_width_, m * compute_width_);
        code_->weigh(x + i * compute_width_, m, center, by, from(weight, i), from(bias, i), to);
      });
    }
    // A weight for each of some runs of equal length.
    const auto at = [&](const uint8_t* p, int64_t i, double absent) {
      return p == nullptr ? absent : wide_ ? reinterpret_cast<const double*>(p)[i] : static_cast<double>(reinterpret_cast<const float*>(p)[i]);
    };
    const int64_t each = o_.weights / o_.groups, first = r % o_.groups * each;
    const size_t run = n_ / static_cast<size_t>(each);
    for (int64_t k = 0; k < each; ++k) {
      const size_t i = static_cast<size_t>(k) * run;
      put(x + i * compute_width_, run, center, by * at(weight, first + k, 1), at(bias, first + k, 0), y + i * width_, s);
    }
  }

  const NormalizeOptions& o_;
  size_t n_;
  const uint8_t* x_;
  uint8_t* out_;
  size_t width_, compute_width_;
  bool wide_, past_cache_;
  const StreamCode& stream_;
  const NormalizeCode* code_;
  const ReduceCode *fold_, *max_ = nullptr;
  Convert widen_ = nullptr, narrow_ = nullptr;
};

}  // namespace

void normalize(const Machine& machine, const Tensor& x, int64_t rows, int64_t n, const NormalizeOptions& options, const Tensor& out) {
  if (rows == 0 || n == 0) return;
  const Rows pass(machine, x, n, options, out);
  const int64_t tasks = std::min<int64_t>(std::max<int64_t>(1, rows / std::max<int64_t>(1, kTask / n)), 8 * static_cast<int64_t>(machine.threads()));
  if (tasks == 1) return pass.run(0, rows);
  machine.parallel_for(static_cast<size_t>(tasks), [&](size_t i) {
    const auto at = [&](size_t k) { return static_cast<int64_t>(static_cast<__int128>(rows) * static_cast<int64_t>(k) / tasks); };
    pass.run(at(i), at(i + 1));
  });
}

}  // namespace viva::kernels
