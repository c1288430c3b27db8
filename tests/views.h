#pragma once

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <functional>
#include <string>
#include <vector>

#include "viva/ops/ops.h"

// What the tests of verbs that move values share: random views of i64 values, compared with a twin place by place.
namespace viva::test {

using Index = std::vector<int64_t>;

inline const Machine& machine() {
  static const Machine m(Machine::Options{2, {}, 0});
  return m;
}

inline int64_t at(const Tensor& t, const Index& index) {
  int64_t offset = 0;
  for (size_t i = 0; i < index.size(); ++i) offset += index[i] * t.strides()[i];
  return t.data<int64_t>()[offset];
}

inline void each(const Shape& shape, const std::function<void(const Index&)>& f) {
  if (count(shape) == 0) return;
  Index index(shape.size(), 0);
  for (;;) {
    f(index);
    size_t k = shape.size();
    while (k-- > 0) {
      if (++index[k] < shape[k]) break;
      index[k] = 0;
    }
    if (k == SIZE_MAX) return;
  }
}

inline void expect(const Tensor& t, const Shape& shape, const std::function<int64_t(const Index&)>& twin) {
  RC_ASSERT(t.shape() == shape);
  each(shape, [&](const Index& i) { RC_ASSERT(at(t, i) == twin(i)); });
}

inline int64_t pick(int64_t low, int64_t high) { return *rc::gen::inRange(low, high); }

// Distinct values in a shape with axes in any order and steps, some flipped.
inline Tensor any_tensor(size_t least = 0) {
  const size_t rank = static_cast<size_t>(pick(static_cast<int64_t>(least), 4));
  Shape shape;
  Dims order;
  for (size_t i = 0; i < rank; ++i) {
    shape.push_back(pick(least > 0 ? 1 : 0, 6));
    order.push_back(static_cast<int64_t>(i));
  }
  Tensor t = reshape(arange(machine(), 0, static_cast<double>(count(shape)), 1, DType::kI64), shape);
  for (size_t i = rank; i-- > 1;) std::swap(order[i], order[static_cast<size_t>(pick(0, static_cast<int64_t>(i) + 1))]);
  t = t.permute(order);
  for (size_t i = 0; i < rank; ++i) {
    if (pick(0, 3) == 0) t = t.slice(static_cast<int64_t>(i), {}, {}, pick(0, 2) == 0 ? -1 : 2);
  }
  return t;
}

inline Tensor places(const Shape& shape, int64_t size, DType type = DType::kI64) {
  const Tensor t(machine(), shape, DType::kI64);
  for (int64_t i = 0; i < t.count(); ++i) t.data<int64_t>()[i] = pick(-size, size);
  return to(t, type);
}

inline int64_t wrapped(int64_t k, int64_t n) { return k < 0 ? k + n : k; }

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kUsage);
    return e.what();
  }
  return "";
}

}  // namespace viva::test
