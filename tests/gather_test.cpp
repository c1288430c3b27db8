// gather, scatter, masked_select, split, chunk and pad against twins that go place by place.
#include <cstring>
#include <map>
#include <numeric>

#include "views.h"

namespace viva {
namespace {

using namespace test;

std::vector<int64_t> flat(const Tensor& t) { return t.values<int64_t>(); }

// Places for gather: the shape of x but along the axis, and less along the others.
Tensor some_places(const Tensor& x, int64_t axis, int64_t length, DType type) {
  Shape shape = x.shape();
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = static_cast<int64_t>(i) == axis ? length : pick(0, shape[i] + 1);
  Tensor p = places(shape, x.size(axis), type);
  if (is_unsigned_int(type)) {
    p = to(abs(places(shape, x.size(axis))) , type);
    p = where(equal(p, x.size(axis)), 0, p);
  }
  return p;
}
DType some_type() { return std::vector<DType>{DType::kI64, DType::kI32, DType::kI8, DType::kU16, DType::kU64}[static_cast<size_t>(pick(0, 5))]; }

Tensor stepped(const Tensor& t) {  // the same values, apart in memory
  if (t.rank() == 0) return t;
  Shape wide = t.shape();
  wide[t.rank() - 1] *= 2;
  const Tensor all = zeros(t.machine(), wide, t.dtype());
  const Tensor view = all.slice(-1, {}, {}, 2);
  assign(view, t);
  return view;
}

TEST(Gather, Twin) {
  rc::check([] {
    const Tensor x = any_tensor(1);
    const int64_t axis = pick(0, static_cast<int64_t>(x.rank()));
    Tensor p = some_places(x, axis, pick(0, 9), some_type());
    if (pick(0, 2) == 0) p = stepped(p);
    const Tensor wide = to(p, DType::kI64);
    expect(gather(x, p, axis), p.shape(), [&](const Index& i) {
      Index from = i;
      from[static_cast<size_t>(axis)] = wrapped(at(wide, i), x.size(axis));
      return at(x, from);
    });
  });
}

TEST(Gather, EveryTypeAndLarge) {
  Generator g{1};
  for (const int64_t axis : {0, 1}) {
    const Tensor p = integers(machine(), g, {700, 300}, 0, axis == 0 ? 700 : 300), q = integers(machine(), g, {700, 300}, 0, 1000);
    for (const DType t : {DType::kBool, DType::kU8, DType::kF16, DType::kI16, DType::kF32, DType::kI64, DType::kF64, DType::kC64, DType::kC128}) {
      const Tensor x = to(remainder(q, 2000), t);
      const std::vector<double> got = gather(x, p, axis).values<double>(), from = x.values<double>();
      const std::vector<int64_t> place = flat(p);
      for (int64_t i = 0; i < 700; ++i) {
        for (int64_t j = 0; j < 300; ++j) {
          const size_t k = static_cast<size_t>(i * 300 + j);
          ASSERT_EQ(got[k], from[static_cast<size_t>(axis == 0 ? place[k] * 300 + j : i * 300 + place[k])]) << name(t);
        }
      }
    }
  }
  const Tensor line = arange(machine(), 0, 1e6), p = permutation(machine(), g, 1000000);
  EXPECT_EQ(flat(gather(line, p, 0)), flat(p));
}

TEST(Gather, ScatterTwin) {
  rc::check([] {
    const Tensor x = any_tensor(1);
    const int64_t axis = pick(0, static_cast<int64_t>(x.rank()));
    const Tensor p = some_places(x, axis, pick(0, 9), some_type()), wide = to(p, DType::kI64);
    const Tensor v = stepped(reshape(arange(machine(), 1000, 1000 + static_cast<double>(p.count()), 1, DType::kI32), p.shape())), values = to(v, DType::kI64);
    std::map<Index, int64_t> last, sum;
    each(p.shape(), [&](const Index& i) {
      Index to = i;
      to[static_cast<size_t>(axis)] = wrapped(at(wide, i), x.size(axis));
      last[to] = at(values, i);
      sum[to] += at(values, i);
    });
    const std::vector<int64_t> before = flat(x);
    expect(scatter(x, p, v, axis), x.shape(), [&](const Index& i) { return last.contains(i) ? last[i] : at(x, i); });
    expect(scatter_add(x, p, v, axis), x.shape(), [&](const Index& i) { return at(x, i) + sum[i]; });
    RC_ASSERT(flat(x) == before);
  });
}

TEST(Gather, ScatterOfManyInOrderOnAnyNumberOfThreads) {
  for (const int64_t axis : {0, 1, 2}) {
    std::vector<Tensor> got;
    for (const size_t threads : {1, 2, 5}) {
      const Machine m(Machine::Options{threads, {}, 0});
      Generator g{4};
      const Tensor x = normal(m, g, {40, 50, 60}), p = integers(m, g, {40, 50, 60}, 0, 7), v = normal(m, g, {40, 50, 60}, 0, 1e3);
      const Tensor sum = scatter_add(x, p, v, axis), last = scatter(x, p, v, axis);
      if (threads == 1) {
        // The twin, in f32 and in order.
        std::vector<float> twin = x.values<float>(), put = twin;
        const std::vector<float> from = v.values<float>();
        const std::vector<int64_t> place = flat(p);
        for (int64_t i = 0, k = 0; i < 40; ++i) {
          for (int64_t j = 0; j < 50; ++j) {
            for (int64_t l = 0; l < 60; ++l, ++k) {
              const int64_t a = place[static_cast<size_t>(k)];
              const size_t to = static_cast<size_t>(((axis == 0 ? a : i) * 50 + (axis == 1 ? a : j)) * 60 + (axis == 2 ? a : l));
              twin[to] += from[static_cast<size_t>(k)];
              put[to] = from[static_cast<size_t>(k)];
            }
          }
        }
        EXPECT_EQ(sum.values<float>(), twin) << axis;
        EXPECT_EQ(last.values<float>(), put) << axis;
      }
      got.push_back(sum);
      got.push_back(last);
    }
    for (size_t i = 2; i < got.size(); ++i) EXPECT_EQ(std::memcmp(got[i].raw(), got[i % 2].raw(), got[i].bytes()), 0);
  }
}

TEST(Gather, ScatterTypes) {
  const Machine& m = machine();
  const Tensor p = Tensor::of<int64_t>(m, {0, 0, 1});
  // 256 + 1 + 1 is 256 in bf16 where each step is rounded.
  const Tensor b = scatter_add(to(Tensor::of(m, {256.0f, 0.0f}), DType::kBF16), p, 1.0, 0);
  EXPECT_EQ(b.dtype(), DType::kBF16);
  EXPECT_EQ(b.values<float>(), (std::vector<float>{258, 1}));
  EXPECT_EQ(flat(scatter_add(Tensor::of<uint8_t>(m, {255, 0}), p, 2, 0)), (std::vector<int64_t>{3, 2}));
  const Tensor c = scatter_add(zeros(m, {2}, DType::kC64), p, std::complex<float>(1, 2), 0);
  EXPECT_EQ(imag(c).values<float>(), (std::vector<float>{4, 2}));
  EXPECT_EQ(flat(scatter(Tensor::of<bool>(m, {false, false}), p, Tensor::of<bool>(m, {true, true, true}), 0)), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(flat(index_select(arange(m, 0, 5), Tensor::of<int64_t>(m, {4, -5}), 0)), (std::vector<int64_t>{4, 0}));
}

TEST(Gather, Errors) {
  const Machine& m = machine();
  const Tensor x = reshape(arange(m, 0, 6), {2, 3}), p = Tensor::of<int64_t>(m, {{0, 1, 2}, {0, 3, -4}});
  EXPECT_NE(error_of([&] { gather(x, p, 1); }).find("gather: index 3 along axis 1 of shape (2, 3) (-3 to 2)"), std::string::npos);
  EXPECT_NE(error_of([&] { scatter(x, p, 0, -1); }).find("scatter: index 3 along axis 1 of shape (2, 3)"), std::string::npos);
  EXPECT_NE(error_of([&] { scatter_add(x, Tensor::of<int64_t>(m, {{-3}}), 0, 0); }).find("scatter_add: index -3 along axis 0 of shape (2, 3) (-2 to 1)"), std::string::npos);
  EXPECT_NE(error_of([&] { scatter(x, Tensor::of<uint64_t>(m, {{UINT64_MAX}}), 0, 0); }).find("scatter: index 18446744073709551615"), std::string::npos);
  EXPECT_NE(error_of([&] { gather(x, Tensor::of<uint64_t>(m, {{UINT64_MAX}}), 0); }).find("gather: index 18446744073709551615"), std::string::npos);
  EXPECT_NE(error_of([&] { gather(x, Tensor::of<int64_t>(m, {0}), 0); }).find("places of shape (1,) for shape (2, 3)"), std::string::npos);
  EXPECT_NE(error_of([&] { gather(x, zeros(m, {3, 1}, DType::kI64), 1); }).find("no more along any but axis 1"), std::string::npos);
  EXPECT_NE(error_of([&] { gather(x, zeros(m, {2, 3}), 1); }).find("no integers"), std::string::npos);
  EXPECT_NE(error_of([&] { gather(x, p, 2); }).find("gather"), std::string::npos);
  EXPECT_NE(error_of([&] { gather(zeros(m, {2, 0}), zeros(m, {2, 1}, DType::kI64), 1); }).find("there is nothing along it"), std::string::npos);
  EXPECT_NE(error_of([&] { scatter(x, zeros(m, {2, 2}, DType::kI64), zeros(m, {3}, DType::kI64), 1); }).find("(3,)"), std::string::npos);
  EXPECT_NE(error_of([&] { scatter_add(zeros(m, {2}, DType::kBool), zeros(m, {2}, DType::kI64), true, 0); }).find("BOOL"), std::string::npos);
  EXPECT_NE(error_of([&] { masked_select(x, x); }).find("mask is I64"), std::string::npos);
  EXPECT_NE(error_of([&] { masked_select(x, zeros(m, {4}, DType::kBool)); }).find("masked_select"), std::string::npos);
}

TEST(Gather, MaskedSelect) {
  rc::check([] {
    const Tensor x = any_tensor(0);
    Shape shape = x.shape();
    for (int64_t& d : shape) d = pick(0, 2) == 0 ? 1 : d;
    const Tensor mask = equal(remainder(places(shape, 7), 2), 0);
    const Tensor wide = to(mask.expand(x.shape()), DType::kI64);
    std::vector<int64_t> twin;
    each(x.shape(), [&](const Index& i) {
      if (at(wide, i) != 0) twin.push_back(at(x, i));
    });
    const Tensor got = masked_select(x, mask);
    RC_ASSERT(got.rank() == 1u);
    RC_ASSERT(flat(got) == twin);
  });
  Generator g{3};
  const Tensor x = normal(machine(), g, {300001}), mask = greater(x, 0.5);
  std::vector<float> twin = x.values<float>();
  std::erase_if(twin, [](float v) { return !(v > 0.5f); });
  EXPECT_EQ(masked_select(x, mask).values<float>(), twin);
}

TEST(Gather, SplitAndChunkAreViews) {
  rc::check([] {
    const Tensor x = any_tensor(1);
    const int64_t axis = pick(0, static_cast<int64_t>(x.rank())), n = x.size(axis), size = pick(1, 5);
    std::vector<int64_t> sizes = {0};
    for (int64_t left = n; left > 0;) sizes.push_back(pick(1, left + 1)), left -= sizes.back();
    for (const auto& parts : {split(x, size, axis), split(x, sizes, axis - static_cast<int64_t>(x.rank())), chunk(x, size, axis)}) {
      int64_t at_axis = 0;
      for (const Tensor& t : parts) {
        RC_ASSERT(t.buffer() == x.buffer());
        expect(t, t.shape(), [&](Index i) {
          i[static_cast<size_t>(axis)] += at_axis;
          return at(x, i);
        });
        at_axis += t.size(axis);
      }
      RC_ASSERT(at_axis == n);
    }
    RC_ASSERT(static_cast<int64_t>(chunk(x, size, axis).size()) <= size);
    RC_ASSERT(split(x, size, axis)[0].size(axis) == std::min(size, n));
  });
  const Tensor x = zeros(machine(), {2, 7});
  EXPECT_EQ(chunk(x, 3, 1)[0].shape(), (Shape{2, 3}));
  EXPECT_EQ(chunk(x, 3, 1)[2].shape(), (Shape{2, 1}));
  EXPECT_NE(error_of([&] { split(x, {3, 3}, 1); }).find("sizes 3, 3 along axis 1 of shape (2, 7)"), std::string::npos);
  EXPECT_NE(error_of([&] { split(x, {-1, 8}, 1); }).find("sizes -1, 8"), std::string::npos);
  EXPECT_NE(error_of([&] { split(x, 0, 1); }).find("parts of size 0"), std::string::npos);
  EXPECT_NE(error_of([&] { chunk(x, 0, 1); }).find("0 parts"), std::string::npos);
  EXPECT_NE(error_of([&] { chunk(x, 2, 2); }).find("chunk"), std::string::npos);
}

// Where place i of the padded axis comes from; -1: nowhere.
int64_t source(int64_t i, int64_t n, PadMode mode) {
  if (i >= 0 && i < n) return i;
  switch (mode) {
    case PadMode::kConstant: return -1;
    case PadMode::kReplicate: return i < 0 ? 0 : n - 1;
    case PadMode::kCircular: return ((i % n) + n) % n;
    case PadMode::kReflect: {
      if (n == 1) return 0;
      const int64_t k = ((i % (2 * n - 2)) + 2 * n - 2) % (2 * n - 2);
      return k < n ? k : 2 * n - 2 - k;
    }
  }
  return -1;
}

TEST(Gather, PadTwin) {
  rc::check([] {
    const PadMode mode = static_cast<PadMode>(pick(0, 4));
    const Tensor x = any_tensor(mode == PadMode::kConstant ? 0 : 1);
    const size_t axes = static_cast<size_t>(pick(0, static_cast<int64_t>(x.rank()) + 1)), first = x.rank() - axes;
    std::vector<std::pair<int64_t, int64_t>> sizes;
    Shape shape = x.shape();
    for (size_t i = 0; i < axes; ++i) {
      sizes.emplace_back(pick(0, 9), pick(0, 9));
      shape[first + i] += sizes[i].first + sizes[i].second;
    }
    expect(pad(x, sizes, mode, 77), shape, [&](Index i) {
      for (size_t k = 0; k < axes; ++k) {
        i[first + k] = source(i[first + k] - sizes[k].first, x.shape()[first + k], mode);
        if (i[first + k] < 0) return int64_t{77};
      }
      return at(x, i);
    });
  });
}

TEST(Gather, PadTypesAndErrors) {
  const Machine& m = machine();
  const Tensor x = to(Tensor::of(m, {1.5f, 2.5f}), DType::kF16);
  EXPECT_EQ(pad(x, {{1, 2}}, PadMode::kConstant, -1.0).values<float>(), (std::vector<float>{-1, 1.5, 2.5, -1, -1}));
  EXPECT_EQ(pad(x, {{1, 0}}, PadMode::kReflect).dtype(), DType::kF16);
  const Tensor y = zeros(m, {2, 0});
  EXPECT_EQ(pad(y, {{1, 1}}).shape(), (Shape{2, 2}));
  EXPECT_EQ(pad(y, {{1, 1}, {0, 0}}, PadMode::kReplicate).shape(), (Shape{4, 0}));
  EXPECT_NE(error_of([&] { pad(y, {{1, 1}}, PadMode::kReplicate); }).find("1 before and 1 after axis 1 of shape (2, 0)"), std::string::npos);
  EXPECT_NE(error_of([&] { pad(y, {{-1, 1}}); }).find("-1 before"), std::string::npos);
  EXPECT_NE(error_of([&] { pad(y, {{0, 0}, {0, 0}, {0, 0}}); }).find("3 pairs"), std::string::npos);
  EXPECT_NE(error_of([&] { pad(zeros(m, {3}), {{INT64_MAX, 1}}); }).find("too many values"), std::string::npos);
  EXPECT_NE(error_of([&] { pad(Tensor::of<int8_t>(m, {1}), {{1, 1}}, PadMode::kConstant, 300); }).find("range of I8"), std::string::npos);
  EXPECT_NE(pad(x, {{0, 0}}).buffer(), x.buffer());
}

}  // namespace
}  // namespace viva
