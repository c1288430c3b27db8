#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "viva/ops/ops.h"

// The slow twin of a tensor of i64.
namespace viva::fuzz {

using Index = std::vector<int64_t>;
inline constexpr int64_t kMost = 4096;  // values of one tensor; a twin of more has a shape alone

// Views share `values`; at[i] is the place of value i in order.
struct Twin {
  std::shared_ptr<std::vector<int64_t>> values;
  Index shape;
  std::vector<size_t> at;
  int64_t operator[](size_t i) const { return (*values)[at[i]]; }
  size_t rank() const { return shape.size(); }
};
struct Pair {
  Tensor tensor;
  Twin twin;
};

inline int64_t product(const Index& shape) { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }
template <class F>
void each(const Index& shape, F f) {
  if (product(shape) == 0) return;
  Index i(shape.size(), 0);
  for (;;) {
    f(i);
    size_t k = shape.size();
    while (k-- > 0) {
      if (++i[k] < shape[k]) break;
      i[k] = 0;
    }
    if (k == SIZE_MAX) return;
  }
}
inline size_t number(const Index& shape, const Index& i) {
  size_t n = 0;
  for (size_t a = 0; a < shape.size(); ++a) n = n * static_cast<size_t>(shape[a]) + static_cast<size_t>(i[a]);
  return n;
}
// The view of x whose value at i is x's at f(i).
template <class F>
Twin view(const Twin& x, const Index& shape, F f) {
  Twin t{x.values, shape, {}};
  if (product(shape) > kMost) return t;
  each(shape, [&](const Index& i) { t.at.push_back(x.at[number(x.shape, f(i))]); });
  return t;
}
template <class F>
Twin fresh(const Index& shape, F f) {
  Twin t{std::make_shared<std::vector<int64_t>>(), shape, {}};
  if (product(shape) > kMost) return t;
  each(shape, [&](const Index& i) {
    t.at.push_back(t.values->size());
    t.values->push_back(f(i));
  });
  return t;
}
inline std::optional<Index> stretched(const Index& a, const Index& b) {
  Index out(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) return {};
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}
inline int64_t read(const Twin& x, const Index& i) {  // as if stretched
  Index own(x.rank());
  for (size_t a = 0; a < x.rank(); ++a) own[a] = x.shape[a] == 1 ? 0 : i[i.size() - x.rank() + a];
  return x[number(x.shape, own)];
}
inline int64_t plus(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
inline int64_t times(int64_t a, int64_t b) { return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)); }

}  // namespace viva::fuzz
