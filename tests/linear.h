#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "viva/ops/ops.h"

// What the tests of products and of linear algebra share.
namespace viva::test {

using Wide = std::complex<double>;

inline double precision(DType t) {
  switch (t) {
    case DType::kF16:
      return 0x1p-11;
    case DType::kBF16:
      return 0x1p-8;
    case DType::kF32:
    case DType::kC64:
      return 0x1p-24;
    default:
      return 0x1p-53;
  }
}

inline Tensor random_tensor(const Machine& machine, const Shape& shape, DType type, uint64_t seed) {
  const Tensor t(machine, shape, type);
  std::mt19937_64 random(seed);
  const auto part = [&] { return static_cast<double>(random() % 2001) / 1000 - 1; };
  with_element(type, [&](auto zero) {
    using T = decltype(zero);
    T* p = reinterpret_cast<T*>(t.raw());
    for (int64_t i = 0; i < t.count(); ++i) {
      if constexpr (std::is_same_v<T, bool>) {
        p[i] = random() % 3 == 0;
      } else if constexpr (std::is_integral_v<T>) {
        p[i] = static_cast<T>(random());  // all of its bits: products must wrap around
      } else {
        const double re = part();
        p[i] = element_cast<Wide, T>(Wide(re, is_complex(type) ? part() : 0));
      }
    }
  });
  return t;
}

// The same values with other strides: turned, with gaps, backwards.
inline Tensor other_strides(const Tensor& t, std::mt19937_64& random) {
  const size_t kind = random() % 5;
  if (kind == 0 || t.rank() == 0) return t;
  Dims order;
  for (size_t i = 0; i < t.rank(); ++i) order.push_back(static_cast<int64_t>(i));
  if (kind == 1 && t.rank() >= 2) std::swap(order[t.rank() - 1], order[t.rank() - 2]);
  if (kind == 2) std::shuffle(order.begin(), order.end(), random);
  Dims back(t.rank(), 0);
  for (size_t i = 0; i < t.rank(); ++i) back[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
  Shape room;
  for (const int64_t a : order) room.push_back(t.shape()[static_cast<size_t>(a)]);
  if (kind == 3) {  // every third of more
    room[room.size() - 1] *= 3;
    const Tensor wide = zeros(t.machine(), room, t.dtype());
    const Tensor view = wide.slice(-1, 1, {}, 3);
    assign(view, t);
    return view;
  }
  Tensor view = Tensor(t.machine(), room, t.dtype()).permute(back);
  if (kind == 4) view = view.flip({-1});
  assign(view, t);
  return view;
}

// The values of a stack of matrices, wide.
struct Stack {
  Shape batch;
  int64_t rows = 0, cols = 0, count = 1;
  std::vector<Wide> v;
  explicit Stack(const Tensor& t) : v(t.values<Wide>()) {
    for (size_t i = 0; i + 2 < t.rank(); ++i) batch.push_back(t.shape()[i]);
    rows = t.size(-2);
    cols = t.size(-1);
    for (const int64_t d : batch) count *= d;
  }
  Wide at(int64_t matrix, int64_t i, int64_t j) const {
    return v[static_cast<size_t>((matrix * rows + i) * cols + j)];
  }
};

// Calls f, expects a viva::Error of this code whose text has every one of the words.
template <class F>
void expect_error(Code code, const std::vector<std::string>& words, F f) {
  try {
    f();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << e.what();
    for (const std::string& w : words)
      EXPECT_NE(std::string(e.what()).find(w), std::string::npos) << e.what();
    EXPECT_FALSE(e.operation().empty());
  }
}

}  // namespace viva::test
