#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>

#include "views.h"

// Each verb against a twin that goes through the result value by value with Tensor::at's rule of places.
namespace viva {
namespace {

using namespace test;

TEST(Arrange, IndexByOneTensor) {
  rc::check([] {
    const Tensor x = any_tensor(1);
    const int64_t axis = pick(0, static_cast<int64_t>(x.rank())), n = x.size(axis);
    Shape met;
    for (int64_t i = pick(0, 3); i > 0; --i) met.push_back(pick(0, 5));
    const Tensor p = places(met, n, pick(0, 2) == 0 ? DType::kI8 : DType::kI64), wide = to(p, DType::kI64);
    Shape shape;
    for (int64_t a = 0; a < static_cast<int64_t>(x.rank()); ++a) {
      if (a != axis) shape.push_back(x.size(a));
      if (a == axis) {
        for (const int64_t d : met) shape.push_back(d);
      }
    }
    expect(take(x, p, axis), shape, [&](const Index& i) {
      Index from(i.begin(), i.begin() + axis), which(i.begin() + axis, i.begin() + axis + static_cast<int64_t>(met.size()));
      from.push_back(wrapped(at(wide, which), n));
      from.insert(from.end(), i.begin() + axis + static_cast<int64_t>(met.size()), i.end());
      return at(x, from);
    });
  });
}

TEST(Arrange, IndexByTwoTensors) {
  rc::check([] {
    Tensor x = any_tensor(3);
    const bool neighbours = pick(0, 2) == 0;
    const int64_t a = 0, b = neighbours ? 1 : 2;
    const Shape met = {pick(1, 4), pick(0, 4)};
    const Tensor p = places({met[0], 1}, x.size(a)), q = places({met[1]}, x.size(b));
    const Tensor pe = p.expand(met), qe = q.expand(met);
    Shape shape = met;
    for (int64_t k = 0; k < static_cast<int64_t>(x.rank()); ++k) {
      if (k != a && k != b) shape.push_back(x.size(k));
    }
    const auto from = [&](const Index& i) {
      Index at_x;
      size_t rest = 2;
      for (int64_t k = 0; k < static_cast<int64_t>(x.rank()); ++k) {
        at_x.push_back(k == a   ? wrapped(at(pe, {i[0], i[1]}), x.size(a))
                       : k == b ? wrapped(at(qe, {i[0], i[1]}), x.size(b))
                                : i[rest++]);
      }
      return at_x;
    };
    expect(index(x, {a, b}, {p, q}), shape, [&](const Index& i) { return at(x, from(i)); });
    // Written, the same places hold what was written last, and no other place changed.
    const Tensor place = clone(x), before = clone(x);
    const Tensor values = negative(add(reshape(arange(machine(), 0, static_cast<double>(count(shape)), 1, DType::kI64), shape), 1));
    index_assign(place, {a, b}, {p, q}, values);
    const Tensor twin = before;
    each(shape, [&](const Index& i) {
      const Index f = from(i);
      int64_t offset = 0;
      for (size_t k = 0; k < f.size(); ++k) offset += f[k] * twin.strides()[k];
      twin.data<int64_t>()[offset] = at(values, i);
    });
    expect(place, place.shape(), [&](const Index& i) { return at(twin, i); });
  });
}

TEST(Arrange, TheAxesOfPlacesStandInFrontWhereTheyAreNoNeighbours) {
  const Tensor x = zeros(machine(), {2, 3, 4, 5}, DType::kI64);
  const Tensor p = zeros(machine(), {7}, DType::kI64);
  EXPECT_EQ(index(x, {1, 2}, {p, p}).shape(), (Shape{2, 7, 5}));
  EXPECT_EQ(index(x, {1, 3}, {p, p}).shape(), (Shape{7, 2, 4}));
}

TEST(Arrange, TakeAlongAxis) {
  rc::check([] {
    const Tensor x = any_tensor(1);
    const int64_t axis = pick(0, static_cast<int64_t>(x.rank()));
    Shape shape = x.shape();
    shape[static_cast<size_t>(axis)] = pick(0, 5);
    const Tensor p = places(shape, x.size(axis));
    expect(take_along_axis(x, p, axis), shape, [&](const Index& i) {
      Index from = i;
      from[static_cast<size_t>(axis)] = wrapped(at(p, i), x.size(axis));
      return at(x, from);
    });
  });
}

TEST(Arrange, NonzeroFindsWhatIsTrueInOrder) {
  rc::check([] {
    Tensor x = any_tensor(1);
    x = remainder(x, 3);
    std::vector<Index> found;
    each(x.shape(), [&](const Index& i) {
      if (at(x, i) != 0) found.push_back(i);
    });
    const std::vector<Tensor> got = nonzero(x);
    RC_ASSERT(got.size() == x.rank());
    for (size_t a = 0; a < got.size(); ++a) {
      RC_ASSERT(got[a].shape() == Shape{static_cast<int64_t>(found.size())});
      for (size_t k = 0; k < found.size(); ++k) RC_ASSERT(got[a].data<int64_t>()[k] == found[k][a]);
    }
  });
  EXPECT_NE(error_of([] { nonzero(full(machine(), {}, 1)); }), "");
}

TEST(Arrange, SearchsortedIsTheStandardLibrarys) {
  rc::check([](std::vector<int> line, const std::vector<int>& wanted, bool right) {
    std::vector<double> sorted(line.begin(), line.end()), w(wanted.begin(), wanted.end());
    std::sort(sorted.begin(), sorted.end());
    const Tensor x = Tensor::from<double>(machine(), {static_cast<int64_t>(sorted.size())}, sorted);
    const Tensor y = Tensor::from<double>(machine(), {static_cast<int64_t>(w.size())}, w);
    const Tensor got = searchsorted(x, y, right);
    for (size_t i = 0; i < w.size(); ++i) {
      const auto it = right ? std::upper_bound(sorted.begin(), sorted.end(), w[i]) : std::lower_bound(sorted.begin(), sorted.end(), w[i]);
      RC_ASSERT(got.data<int64_t>()[i] == it - sorted.begin());
    }
  });
  const Tensor x = Tensor::of(machine(), {3.0f, 1.0f, 2.0f});
  const Tensor sorter = Tensor::of(machine(), {int64_t{1}, int64_t{2}, int64_t{0}});
  EXPECT_EQ(searchsorted(x, Tensor::of(machine(), {2.5f, NAN}), false, sorter).values<int64_t>(), (std::vector<int64_t>{2, 3}));
}

TEST(Arrange, RepeatTileRoll) {
  rc::check([] {
    const Tensor x = any_tensor(1);
    const int64_t axis = pick(0, static_cast<int64_t>(x.rank())), times = pick(0, 4);
    const size_t a = static_cast<size_t>(axis);
    Shape shape = x.shape();
    shape[a] *= times;
    expect(repeat(x, times, axis), shape, [&](const Index& i) {
      Index from = i;
      from[a] /= times;
      return at(x, from);
    });
    const Tensor each_times = Tensor(machine(), {x.size(axis)}, DType::kI64);
    Index which;
    for (int64_t k = 0; k < x.size(axis); ++k) {
      const int64_t t = pick(0, 3);
      each_times.data<int64_t>()[k] = t;
      which.insert(which.end(), static_cast<size_t>(t), k);
    }
    shape[a] = static_cast<int64_t>(which.size());
    expect(repeat(x, each_times, axis), shape, [&](const Index& i) {
      Index from = i;
      from[a] = which[static_cast<size_t>(i[a])];
      return at(x, from);
    });
    Dims tiles;
    for (int64_t k = pick(0, 5); k > 0; --k) tiles.push_back(pick(0, 3));
    const size_t rank = std::max(tiles.size(), x.rank());
    Shape tiled(rank, 1);
    for (size_t k = 0; k < x.rank(); ++k) tiled[rank - x.rank() + k] = x.shape()[k];
    for (size_t k = 0; k < tiles.size(); ++k) tiled[rank - tiles.size() + k] *= tiles[k];
    expect(tile(x, tiles), tiled, [&](const Index& i) {
      Index from(i.end() - static_cast<int64_t>(x.rank()), i.end());
      for (size_t k = 0; k < from.size(); ++k) from[k] %= x.shape()[k];
      return at(x, from);
    });
    const int64_t by = pick(-9, 10);
    expect(roll(x, {by}, {axis}), x.shape(), [&](const Index& i) {
      Index from = i;
      const int64_t n = x.size(axis);
      from[a] = ((i[a] - by) % n + n) % n;
      return at(x, from);
    });
    const Tensor flat = reshape(x, {-1}), rolled = reshape(roll(x, {by}, {}), {-1});
    const int64_t n = flat.count();
    expect(rolled, {n}, [&](const Index& i) { return at(flat, {((i[0] - by) % n + n) % n}); });
  });
}

TEST(Arrange, Triangles) {
  rc::check([] {
    const Tensor x = add(any_tensor(2), 1);
    const int64_t k = pick(0, 10) == 0 ? INT64_MIN : pick(-7, 8);
    const auto place = [&](const Index& i) { return i[i.size() - 1] - i[i.size() - 2]; };
    expect(tril(x, k), x.shape(), [&](const Index& i) { return place(i) <= k ? at(x, i) : 0; });
    expect(triu(x, k), x.shape(), [&](const Index& i) { return place(i) >= k ? at(x, i) : 0; });
  });
}

TEST(Arrange, MovedAxesAndGridsAreViews) {
  const Tensor x = reshape(arange(machine(), 0, 24, 1, DType::kI64), {2, 3, 4});
  const Tensor moved = moveaxis(x, {0, -1}, {-1, 0});
  EXPECT_EQ(moved.shape(), (Shape{4, 3, 2}));
  EXPECT_EQ(at(moved, {3, 1, 0}), at(x, {0, 1, 3}));
  EXPECT_TRUE(moved.buffer() == x.buffer());
  const Tensor a = arange(machine(), 0, 3, 1, DType::kI64), b = arange(machine(), 0, 2, 1, DType::kI64);
  const auto xy = meshgrid({a, b}), ij = meshgrid({a, b}, true);
  EXPECT_EQ(xy[0].shape(), (Shape{2, 3}));
  EXPECT_EQ(ij[0].shape(), (Shape{3, 2}));
  EXPECT_EQ(at(xy[0], {1, 2}), 2);
  EXPECT_EQ(at(xy[1], {1, 2}), 1);
  EXPECT_EQ(at(ij[0], {2, 1}), 2);
  EXPECT_TRUE(xy[0].buffer() == a.buffer());
  const auto parts = unstack(x, 1);
  EXPECT_EQ(parts.size(), 3u);
  EXPECT_TRUE(parts[2].buffer() == x.buffer());
  EXPECT_EQ(at(parts[2], {1, 3}), 23);
  EXPECT_EQ(broadcast_arrays({a, b.unsqueeze(1)})[1].shape(), (Shape{2, 3}));
}

TEST(Arrange, Diff) {
  const Tensor x = Tensor::of(machine(), {int64_t{1}, int64_t{4}, int64_t{9}, int64_t{16}});
  EXPECT_EQ(diff(x).values<int64_t>(), (std::vector<int64_t>{3, 5, 7}));
  EXPECT_EQ(diff(x, 0, 2).values<int64_t>(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(diff(x, 0, 9).count(), 0);
}

TEST(Arrange, ErrorsNameTheOperationAndTheShapes) {
  const Tensor x = zeros(machine(), {2, 3}), p = Tensor::of(machine(), {int64_t{0}, int64_t{3}});
  EXPECT_NE(error_of([&] { take(x, p, 1); }).find("index 3 along axis 1 of shape (2, 3)"), std::string::npos);
  EXPECT_NE(error_of([&] { take(x, to(p, DType::kF32), 1); }).find("no integers"), std::string::npos);
  EXPECT_NE(error_of([&] { take(x, p, 2); }).find("take: axis 2"), std::string::npos);
  EXPECT_NE(error_of([&] { index_assign(zeros(machine(), {1}).expand({4}), {0}, {p}, 1); }).find("one in memory"), std::string::npos);
  EXPECT_NE(error_of([&] { index_assign(x, {1}, {zeros(machine(), {2}, DType::kI64)}, zeros(machine(), {3})); }), "");
  EXPECT_NE(error_of([&] { repeat(x, -1); }), "");
  EXPECT_NE(error_of([&] { repeat(x, INT64_MAX); }), "");
  EXPECT_NE(error_of([&] { tile(x, {INT64_MAX, 2}); }), "");
  EXPECT_NE(error_of([&] { moveaxis(x, {0, 0}, {0, 1}); }), "");
  EXPECT_NE(error_of([&] { tril(p); }), "");
  EXPECT_NE(error_of([&] { meshgrid({x}); }), "");
  EXPECT_NE(error_of([&] { take(Tensor(), p, 0); }), "");
}

TEST(Print, AsNumPyWrites) {
  EXPECT_EQ(repr(Tensor::of(machine(), {{1.0f, 2.5f}, {-3.0f, 4.0f}})), "array([[ 1. ,  2.5],\n       [-3. ,  4. ]], dtype=float32)");
  EXPECT_EQ(repr(Tensor::of(machine(), {0.1, 1e-5, double{NAN}, -double{INFINITY}})), "array([1.e-01, 1.e-05,    nan,   -inf])");
  EXPECT_EQ(repr(Tensor::of(machine(), {true, false})), "array([ True, False])");
  EXPECT_EQ(repr(zeros(machine(), {0, 3})), "array([], shape=(0, 3), dtype=float32)");
  EXPECT_EQ(repr(to(Tensor::of(machine(), {0.1f, 12.0f}), DType::kF16)), "array([ 0.1, 12. ], dtype=float16)");
  EXPECT_EQ(repr(arange(machine(), 0, 2000)), "array([   0,    1,    2, ..., 1997, 1998, 1999], shape=(2000,))");
  EXPECT_EQ(print(full(machine(), {}, 2.0)), "2.0");
  const std::vector<std::complex<double>> complexes = {{1, -2}, {0, 0.5}};
  EXPECT_EQ(print(Tensor::from<std::complex<double>>(machine(), {2}, complexes)), "[1.-2.j  0.+0.5j]");
}

}  // namespace
}  // namespace viva
