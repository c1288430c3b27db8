#pragma once

#include <optional>

#include "viva/ops/arg.h"

// Verbs that fold values along axes. Ints of 32 bits and less are added up in 64, f16 and bf16 in f32; sums are pairwise over
// blocks of fixed size, so that their bits depend neither on the number of threads nor on the processor.
namespace viva {

// Which axes: none named stands for all; Axes(Dims()) for none at all. Negative ones count from the end.
class Axes {
 public:
  Axes() noexcept {}
  Axes(std::integral auto axis)
    requires(!std::same_as<decltype(axis), bool>)
      : all_(false), axes_{static_cast<int64_t>(axis)} {}
  Axes(std::initializer_list<int64_t> axes) : all_(false), axes_(axes) {}
  Axes(const Dims& axes) : all_(false), axes_(axes) {}
  // A bit for each axis of a tensor of `rank`. Throws kUsage, naming `operation`, for one outside or named twice.
  uint32_t bits(size_t rank, std::string_view operation) const;

 private:
  bool all_ = true;
  Dims axes_;
};

// With `keepdims` the axes stay, of size 1. Ints and bool: sum and prod give 64-bit ints, mean and the like f32.
Tensor sum(const Tensor& x, const Axes& axes = {}, bool keepdims = false, std::optional<DType> dtype = {});
Tensor prod(const Tensor& x, const Axes& axes = {}, bool keepdims = false, std::optional<DType> dtype = {});
Tensor mean(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
Tensor var(const Tensor& x, const Axes& axes = {}, double correction = 0, bool keepdims = false);  // divided by count - correction
Tensor std(const Tensor& x, const Axes& axes = {}, double correction = 0, bool keepdims = false);
Tensor min(const Tensor& x, const Axes& axes = {}, bool keepdims = false);   // NaN where one is; no values: an error
Tensor max(const Tensor& x, const Axes& axes = {}, bool keepdims = false);
Tensor argmin(const Tensor& x, std::optional<int64_t> axis = {}, bool keepdims = false);  // the first of several; of all: the place in order
Tensor argmax(const Tensor& x, std::optional<int64_t> axis = {}, bool keepdims = false);
Tensor any(const Tensor& x, const Axes& axes = {}, bool keepdims = false);            // whether one is not 0
Tensor all(const Tensor& x, const Axes& axes = {}, bool keepdims = false);            // whether none is 0
Tensor count_nonzero(const Tensor& x, const Axes& axes = {}, bool keepdims = false);  // NaN is not 0
Tensor logsumexp(const Tensor& x, const Axes& axes = {}, bool keepdims = false);      // log(sum(e^x)) without overflow
Tensor norm(const Tensor& x, double ord = 2, const Axes& axes = {}, bool keepdims = false);  // sum(|x|^ord)^(1/ord); 0, inf too

// Along an axis, which may be left out where there is only one. With `include_initial` the sum of none (the product: 1) comes first.
Tensor cumulative_sum(const Tensor& x, std::optional<int64_t> axis = {}, std::optional<DType> dtype = {}, bool include_initial = false);
Tensor cumulative_prod(const Tensor& x, std::optional<int64_t> axis = {}, std::optional<DType> dtype = {}, bool include_initial = false);

// ---- order; NaN comes last, whichever way; equal values keep their order ----
Tensor sort(const Tensor& x, int64_t axis = -1, bool descending = false);
Tensor argsort(const Tensor& x, int64_t axis = -1, bool descending = false);
struct TopK {
  Tensor values, indices;  // i64
};
TopK topk(const Tensor& x, int64_t k, int64_t axis = -1, bool largest = true);  // the best first; of equal ones the first
struct Unique {
  Tensor values, indices, inverse, counts;  // sorted, complex ones by real part first; where each is first; which of them each value of x is; how many it is
};
Unique unique(const Tensor& x);         // every NaN is one of its own
Tensor unique_values(const Tensor& x);  // its values alone
Tensor isin(const Tensor& x, const Tensor& of, bool invert = false);  // whether each value of x is among the others; invert: is not
Tensor searchsorted(const Tensor& sorted, const Tensor& values, bool right = false);  // how many of (n) sorted ones are smaller; right: not larger
struct Histogram {
  Tensor counts, edges;
};
// How many values lie in each of `bins` parts of [low, high], the last with its end; without limits: of the smallest and the largest.
Histogram histogram(const Tensor& x, int64_t bins = 10, std::optional<std::pair<double, double>> limits = {});

// ---- values scaled by what is around them; ints become f32 ----
Tensor softmax(const Tensor& x, int64_t axis = -1);      // e^x / sum(e^x)
Tensor log_softmax(const Tensor& x, int64_t axis = -1);  // x - log(sum(e^x))
// (x - mean) / sqrt(var + epsilon) * weight + bias over the last `axes` axes, whose shape weight and bias have.
Tensor layer_norm(const Tensor& x, const std::optional<Tensor>& weight = {}, const std::optional<Tensor>& bias = {}, int64_t axes = 1, double epsilon = 1e-5);
// x / sqrt(mean(x^2) + epsilon) * weight, likewise.
Tensor rms_norm(const Tensor& x, const std::optional<Tensor>& weight = {}, int64_t axes = 1, double epsilon = 1e-6);
// The same on x of shape (batch, channels, ...): within groups of channels; by given mean and variance of each channel.
Tensor group_norm(const Tensor& x, int64_t groups, const std::optional<Tensor>& weight = {}, const std::optional<Tensor>& bias = {}, double epsilon = 1e-5);
Tensor batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const std::optional<Tensor>& weight = {}, const std::optional<Tensor>& bias = {},
                  double epsilon = 1e-5);

}  // namespace viva
