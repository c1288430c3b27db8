#include "viva/kernels/normalize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "viva/kernels/reduce.h"

namespace viva::kernels {

namespace {

constexpr int64_t kTask = 64 * 1024;

class Rows {
 public:
  Rows(const Machine& machine, const Tensor& x, int64_t n, const NormalizeOptions& options, const Tensor& out)
      : o_(options), n_(static_cast<size_t>(n)), x_(x.raw()), out_(out.raw()), width_(bytes(x.dtype())) {
    const DType compute = compute_type(x.dtype());
    const Target target = machine.target();
    compute_width_ = bytes(compute);
    wide_ = compute == DType::kF64;
    code_ = &normalize_code(compute, target);
    max_ = find_reduction(ReduceId::max, compute, target);
    sum_ = find_reduction(ReduceId::sum, compute, target);
    logsum_ = find_reduction(ReduceId::logsumexp, compute, target);
    var_ = find_reduction(ReduceId::var, compute, target);
    squares_ = find_reduction(ReduceId::norm_2, compute, target);
    if (compute != x.dtype()) {
      widen_ = find_convert(x.dtype(), compute, target);
      narrow_ = find_convert(compute, x.dtype(), target);
    }
  }

  void run(int64_t begin, int64_t end) const {
    std::vector<uint8_t> scratch(widen_ == nullptr ? 0 : 2 * n_ * compute_width_);
    for (int64_t r = begin; r < end; ++r) {
      const size_t at = static_cast<size_t>(r) * n_ * width_;
      if (widen_ == nullptr) {
        row(x_ + at, out_ + at, r);
        continue;
      }
      uint8_t* y = scratch.data() + n_ * compute_width_;
      widen_(x_ + at, scratch.data(), n_);
      row(scratch.data(), y, r);
      narrow_(y, out_ + at, n_);
    }
  }

 private:
  // Folds a row block by block.
  void fold(const ReduceCode& code, const void* x, void* acc) const {
    for (size_t at = 0; at < n_; at += kReduceBlock) {
      const size_t n = std::min<size_t>(kReduceBlock, n_ - at);
      code.rows(static_cast<const uint8_t*>(x) + at * compute_width_, 0, 1, n, at, at, 0, acc);
    }
  }
  double extreme(const uint8_t* x) const {
    alignas(16) uint8_t acc[16];
    fold(*max_, x, acc);
    return wide_ ? *reinterpret_cast<const double*>(acc) : static_cast<double>(*reinterpret_cast<const float*>(acc));
  }

  void row(const uint8_t* x, uint8_t* y, int64_t r) const {
    double acc[2] = {};
    switch (o_.kind) {
      case Normalize::kSoftmax: {
        code_->exp(x, n_, extreme(x), y);
        fold(*sum_, y, acc);
        code_->scale(y, n_, 0, 1 / acc[0], 0, y);
        return;
      }
      case Normalize::kLogSoftmax: {
        fold(*logsum_, x, acc);  // the largest, and the sum of e^(x - it)
        code_->scale(x, n_, acc[0], 1, -std::log(acc[1]), y);
        return;
      }
      case Normalize::kLayer: {
        fold(*var_, x, acc);  // mean and squared distances
        weigh(x, y, r, acc[0], 1 / std::sqrt(acc[1] / static_cast<double>(n_) + o_.epsilon));
        return;
      }
      case Normalize::kRms: {
        fold(*squares_, x, acc);
        weigh(x, y, r, 0, 1 / std::sqrt(acc[0] / static_cast<double>(n_) + o_.epsilon));
        return;
      }
    }
  }

  void weigh(const uint8_t* x, uint8_t* y, int64_t r, double center, double by) const {
    const auto* weight = static_cast<const uint8_t*>(o_.weight);
    const auto* bias = static_cast<const uint8_t*>(o_.bias);
    if (o_.weights == static_cast<int64_t>(n_) && o_.groups == 1) return code_->weigh(x, n_, center, by, weight, bias, y);
    if (weight == nullptr && bias == nullptr) return code_->scale(x, n_, center, by, 0, y);
    // A weight for each of some runs of equal length.
    const auto at = [&](const uint8_t* p, int64_t i, double absent) {
      return p == nullptr ? absent : wide_ ? reinterpret_cast<const double*>(p)[i] : static_cast<double>(reinterpret_cast<const float*>(p)[i]);
    };
    const int64_t each = o_.weights / o_.groups, first = r % o_.groups * each;
    const size_t run = n_ / static_cast<size_t>(each);
    for (int64_t k = 0; k < each; ++k) {
      const size_t offset = static_cast<size_t>(k) * run * compute_width_;
      code_->scale(x + offset, run, center, by * at(weight, first + k, 1), at(bias, first + k, 0), y + offset);
    }
  }

  const NormalizeOptions& o_;
  size_t n_;
  const uint8_t* x_;
  uint8_t* out_;
  size_t width_, compute_width_;
  bool wide_;
  const NormalizeCode* code_;
  const ReduceCode *max_, *sum_, *logsum_, *var_, *squares_;
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
