#include <fmt/format.h>

#include <algorithm>

#include "viva/ops/ops.h"

namespace viva {

namespace {

// A view takes more memory than a value, and an axis that was expanded has as many as one likes.
void check_views(int64_t n, const Tensor& x, std::string_view operation) {
  constexpr int64_t kMost = int64_t{1} << 22;
  if (n > kMost) throw Error(Code::kUsage, operation, fmt::format("{} views of shape {}", n, text(x.shape())), fmt::format("at most {}", kMost));
}

}  // namespace

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis) {
  check_defined(x, "split");
  const size_t a = axis_of(axis, x.rank(), "split");
  int64_t all = 0;
  bool bad = false;
  for (const int64_t n : sizes) bad |= n < 0 || __builtin_add_overflow(all, n, &all);
  if (bad || all != x.shape()[a]) {
    throw Error(Code::kUsage, "split", fmt::format("sizes {} along axis {} of shape {}", fmt::join(sizes, ", "), a, text(x.shape())), "they must add up to its size");
  }
  std::vector<Tensor> out;
  int64_t at = 0;
  for (const int64_t n : sizes) {
    out.push_back(x.narrow(axis, at, n));
    at += n;
  }
  return out;
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis) {
  check_defined(x, "split");
  const size_t a = axis_of(axis, x.rank(), "split");
  const int64_t n = x.shape()[a];
  if (size <= 0) throw Error(Code::kUsage, "split", fmt::format("parts of size {} along axis {} of shape {}", size, a, text(x.shape())), "1 or more");
  check_views(n / size, x, "split");
  std::vector<Tensor> out;
  for (int64_t at = 0; at < n || out.empty(); at += std::min(size, n - at)) {
    out.push_back(x.narrow(axis, at, std::min(size, n - at)));
    if (n == 0) break;
  }
  return out;
}

std::vector<Tensor> unstack(const Tensor& x, int64_t axis) {
  check_defined(x, "unstack");
  const int64_t a = static_cast<int64_t>(axis_of(axis, x.rank(), "unstack"));
  check_views(x.size(a), x, "unstack");
  std::vector<Tensor> out;
  for (int64_t i = 0; i < x.size(a); ++i) out.push_back(x.select(a, i));
  return out;
}

std::vector<Tensor> chunk(const Tensor& x, int64_t parts, int64_t axis) {
  check_defined(x, "chunk");
  const int64_t n = x.shape()[axis_of(axis, x.rank(), "chunk")];
  if (parts <= 0) throw Error(Code::kUsage, "chunk", fmt::format("{} parts", parts), "1 or more");
  return split(x, std::max<int64_t>(1, n / parts + (n % parts != 0 ? 1 : 0)), axis);
}

namespace {

// Fills [0, before) and [end, all) of the axis from [before, end), outwards in runs as long as the rule allows.
void fill_edges(const Tensor& out, int64_t axis, int64_t before, int64_t n, PadMode mode) {
  const int64_t all = out.size(axis);
  int64_t first = before, end = before + n;
  const bool single = mode == PadMode::kReplicate || n == 1;
  const auto edge = [&](int64_t to, int64_t count, int64_t from) {
    Shape shape = out.shape();
    shape[static_cast<size_t>(axis)] = count;
    if (count > 0) assign(out.narrow(axis, to, count), out.narrow(axis, from, 1).expand(shape));
  };
  if (single) {
    edge(0, first, first);
    edge(end, all - end, end - 1);
    return;
  }
  const bool reflect = mode == PadMode::kReflect;
  const int64_t period = reflect ? n - 1 : n;
  const auto run = [&](int64_t to, int64_t from, int64_t count) {
    const Tensor part = out.narrow(axis, from, count);
    assign(out.narrow(axis, to, count), reflect ? part.flip({axis}) : part);
  };
  while (first > 0) {
    const int64_t w = std::min(first, period);
    run(first - w, reflect ? first + 1 : first + n - w, w);
    first -= w;
  }
  while (end < all) {
    const int64_t w = std::min(all - end, period);
    run(end, reflect ? end - 1 - w : end - n, w);
    end += w;
  }
}

}  // namespace

Tensor pad(const Tensor& x, const std::vector<std::pair<int64_t, int64_t>>& sizes, PadMode mode, const Arg& value) {
  check_defined(x, "pad");
  if (sizes.size() > x.rank()) {
    throw Error(Code::kUsage, "pad", fmt::format("{} pairs of sizes for shape {}", sizes.size(), text(x.shape())), "at most one for each axis");
  }
  const size_t untouched = x.rank() - sizes.size();
  Shape shape = x.shape();
  bool any = false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int64_t before = sizes[i].first, after = sizes[i].second;
    int64_t& n = shape[untouched + i];
    const auto refuse = [&](std::string_view hint) {
      throw Error(Code::kUsage, "pad", fmt::format("{} before and {} after axis {} of shape {}", before, after, untouched + i, text(x.shape())), hint);
    };
    if (before < 0 || after < 0) refuse("0 or more; slice() cuts");
    if (mode != PadMode::kConstant && n == 0 && (before > 0 || after > 0)) refuse("there is nothing to continue");
    if (__builtin_add_overflow(n, before, &n) || __builtin_add_overflow(n, after, &n)) refuse("the result has too many values");
    any |= before > 0 || after > 0;
  }
  if (mode == PadMode::kConstant) {
    if (value.tensor() != nullptr && value.tensor()->rank() != 0) throw Error(Code::kUsage, "pad", "the value has axes", "one number");
    if (!value.fits(x.dtype())) throw Error(Code::kUsage, "pad", fmt::format("the value is not in the range of {}", name(x.dtype())));
  }
  if (!any) return clone(x);
  const Tensor out(x.machine(), shape, x.dtype());
  Tensor middle = out;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const int64_t axis = static_cast<int64_t>(untouched + i);
    const Tensor inner = middle.narrow(axis, sizes[i].first, x.size(axis));
    if (mode == PadMode::kConstant && middle.count() != 0) {
      // Only the edges: what is inside of all of them is written once.
      assign(middle.narrow(axis, 0, sizes[i].first), value);
      assign(middle.narrow(axis, sizes[i].first + x.size(axis), sizes[i].second), value);
    }
    middle = inner;
  }
  assign(middle, x);
  if (mode == PadMode::kConstant) return out;
  // The last axis first: each continues what the ones before it have made whole.
  for (size_t i = sizes.size(); i-- > 0;) {
    const int64_t axis = static_cast<int64_t>(untouched + i);
    Tensor whole = out;
    for (size_t k = 0; k < i; ++k) whole = whole.narrow(static_cast<int64_t>(untouched + k), sizes[k].first, x.size(static_cast<int64_t>(untouched + k)));
    fill_edges(whole, axis, sizes[i].first, x.size(axis), mode);
  }
  return out;
}

}  // namespace viva
