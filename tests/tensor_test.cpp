#include "viva/tensor/tensor.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "viva/base/attempt.h"
#include "viva/ops/ops.h"

namespace viva {
namespace {

const Machine& machine() {
  static const Machine m({.threads = 2});
  return m;
}

Tensor counting(const Shape& shape) {
  std::vector<int32_t> v(static_cast<size_t>(count(shape)));
  std::iota(v.begin(), v.end(), 0);
  return Tensor::from(machine(), shape, std::span<const int32_t>(v));
}

std::string message(const std::function<void()>& f) {
  const auto r = attempt([&] {
    f();
    return 0;
  });
  return r ? "" : r.error().what();
}

// The slow twin of a view: its shape and, in order, which value of the source each of its values is.
struct Twin {
  Shape shape;
  std::vector<int32_t> from;

  int32_t at(const Dims& index) const {
    int64_t i = 0;
    for (size_t a = 0; a < shape.size(); ++a) i = i * shape[a] + index[a];
    return from[static_cast<size_t>(i)];
  }
  // The twin of shape `to` whose value at an index is this one's at map(index).
  template <class Map>
  Twin mapped(const Shape& to, Map map) const {
    Twin t{to, {}};
    if (count(to) == 0) return t;
    Dims index(to.size(), 0);
    for (;;) {
      t.from.push_back(at(map(index)));
      size_t a = to.size();
      while (a-- > 0) {
        if (++index[a] < to[a]) break;
        index[a] = 0;
      }
      if (a == SIZE_MAX) return t;
    }
  }
};

// Small cases too come from the whole range.
template <class T>
T pick(T low, T high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<T>(low, high));
}

RC_GTEST_PROP(Views, ChainsOfThemAreWhatASlowTwinSays, ()) {
  Shape shape;
  const int rank = pick<int>(0, 5);
  for (int i = 0; i < rank; ++i) shape.push_back(*rc::gen::weightedElement<int64_t>({{1, 0}, {3, 1}, {5, 2}, {5, 3}, {5, 5}, {2, 7}}));
  Tensor t = counting(shape);
  const uint8_t* buffer = t.buffer()->data();
  Twin twin{shape, t.values<int32_t>()};
  for (int step = pick<int>(1, 6); step > 0; --step) {
    const int64_t r = static_cast<int64_t>(t.rank());
    const auto axis = [&] { return pick<int64_t>(0, r); };
    const int what = pick<int>(0, 11);
    Dims order;
    if (what == 0 && r > 0) {  // slice
      const int64_t a = axis(), n = t.shape()[static_cast<size_t>(a)];
      const int64_t start = pick<int64_t>(-n - 2, n + 3), stop = pick<int64_t>(-n - 2, n + 3);
      const int64_t pace = *rc::gen::element<int64_t>(1, 2, 3, -1, -2, INT64_MIN, INT64_MAX);
      // What Python does, index by index.
      std::vector<int64_t> picked;
      const auto cut = [&](int64_t v) { return v < 0 ? std::max<int64_t>(v + n, pace > 0 ? 0 : -1) : std::min(v, pace > 0 ? n : n - 1); };
      for (__int128 i = cut(start); pace > 0 ? i < cut(stop) : i > cut(stop); i += pace) picked.push_back(static_cast<int64_t>(i));
      t = t.slice(a, start, stop, pace);
      Shape s = twin.shape;
      s[static_cast<size_t>(a)] = static_cast<int64_t>(picked.size());
      twin = twin.mapped(s, [&](Dims i) {
        i[static_cast<size_t>(a)] = picked[static_cast<size_t>(i[static_cast<size_t>(a)])];
        return i;
      });
    } else if (what == 1 && r > 0 && t.count() > 0) {  // select
      const size_t a = static_cast<size_t>(axis());
      const int64_t n = t.shape()[a], k = pick<int64_t>(-n, n);
      t = t.select(static_cast<int64_t>(a), k);
      Shape s = twin.shape;
      s.erase(a);
      twin = twin.mapped(s, [&](Dims i) {
        i.insert(a, k < 0 ? k + n : k);
        return i;
      });
    } else if (what == 2 && r > 0) {  // permute
      std::vector<int64_t> p(static_cast<size_t>(r));
      std::iota(p.begin(), p.end(), 0);
      for (size_t i = p.size(); i-- > 1;) std::swap(p[i], p[static_cast<size_t>(pick<int>(0, static_cast<int>(i) + 1))]);
      t = t.permute(Dims(std::span<const int64_t>(p)));
      Shape s = twin.shape;
      for (size_t i = 0; i < p.size(); ++i) s[i] = twin.shape[static_cast<size_t>(p[i])];
      twin = twin.mapped(s, [&](const Dims& i) {
        Dims j = i;
        for (size_t k = 0; k < p.size(); ++k) j[static_cast<size_t>(p[k])] = i[k];
        return j;
      });
    } else if (what == 3 && r > 1) {  // transpose
      const size_t a = static_cast<size_t>(axis()), b = static_cast<size_t>(axis());
      t = t.transpose(static_cast<int64_t>(a), static_cast<int64_t>(b) - r);
      Shape s = twin.shape;
      std::swap(s[a], s[b]);
      twin = twin.mapped(s, [&](Dims i) {
        std::swap(i[a], i[b]);
        return i;
      });
    } else if (what == 4 && r > 0) {  // flip
      const size_t a = static_cast<size_t>(axis());
      t = t.flip({static_cast<int64_t>(a)});
      twin = twin.mapped(twin.shape, [&](Dims i) {
        i[a] = twin.shape[a] - 1 - i[a];
        return i;
      });
    } else if (what == 5 && r < 6) {  // unsqueeze, then expand it
      const size_t a = static_cast<size_t>(pick<int64_t>(0, r + 1));
      const int64_t n = pick<int64_t>(0, 4);
      Shape s = twin.shape;
      s.insert(a, n);
      t = t.unsqueeze(static_cast<int64_t>(a)).expand(s);
      twin = twin.mapped(s, [&](Dims i) {
        i.erase(a);
        return i;
      });
    } else if (what == 6) {  // squeeze
      t = t.squeeze();
      Shape s;
      for (const int64_t d : twin.shape) {
        if (d != 1) s.push_back(d);
      }
      twin.shape = s;
    } else if (what == 7 && r > 1) {  // diagonal
      const size_t a = static_cast<size_t>(axis()), b = (a + 1) % static_cast<size_t>(r);
      const int64_t k = pick<int64_t>(-4, 5);
      t = t.diagonal(k, static_cast<int64_t>(a), static_cast<int64_t>(b));
      Shape s = twin.shape;
      const int64_t down = std::max<int64_t>(-k, 0), right = std::max<int64_t>(k, 0);
      const int64_t n = std::max<int64_t>(0, std::min(s[a] - down, s[b] - right));
      s.erase(std::max(a, b));
      s.erase(std::min(a, b));
      s.push_back(n);
      twin = twin.mapped(s, [&](Dims i) {
        const int64_t d = i.back();
        i.erase(i.size() - 1);
        i.insert(std::min(a, b), 0);
        i.insert(std::max(a, b), 0);
        i[a] = d + down;
        i[b] = d + right;
        return i;
      });
    } else if (what == 8 && r > 0) {  // unfold
      const size_t a = static_cast<size_t>(axis());
      const int64_t size = pick<int64_t>(0, t.shape()[a] + 1), pace = pick<int64_t>(1, 4);
      t = t.unfold(static_cast<int64_t>(a), size, pace);
      Shape s = twin.shape;
      s[a] = (s[a] - size) / pace + 1;
      s.push_back(size);
      twin = twin.mapped(s, [&](Dims i) {
        const int64_t within = i.back();
        i.erase(i.size() - 1);
        i[a] = i[a] * pace + within;
        return i;
      });
    } else if (what == 9) {  // reshape, where strides can say it
      const auto view = t.reshape_view({-1, 1});
      if (view && t.count() > 0) {
        t = *view;
        twin.shape = {static_cast<int64_t>(twin.from.size()), 1};
      }
    } else if (what == 10 && t.count() > 0) {  // reshape to itself with its axes split
      Shape s;
      for (const int64_t d : t.shape()) {
        if (d == 6 || d == 4 || d == 2) s.push_back(2), s.push_back(d / 2);
        else s.push_back(d);
      }
      if (s.size() > 8) continue;
      const auto view = t.reshape_view(s);
      RC_ASSERT(view.has_value());  // splitting never needs a copy
      t = *view;
      twin.shape = s;
    }
    RC_ASSERT(t.shape() == twin.shape);
    RC_ASSERT(t.values<int32_t>() == twin.from);
    RC_ASSERT(t.buffer()->data() == buffer);
    RC_ASSERT(t.contiguous() == (t.count() == 0 || t.strides() == row_major(t.shape()) || [&] {
      // Strides of axes of size 1 do not matter.
      Strides s = row_major(t.shape());
      for (size_t i = 0; i < s.size(); ++i) {
        if (t.shape()[i] != 1 && s[i] != t.strides()[i]) return false;
      }
      return true;
    }()));
    if (t.count() > 2000) break;
  }
  // What is computed from a view is what is computed from its values in order.
  RC_ASSERT(clone(t).values<int32_t>() == twin.from);
  RC_ASSERT(reshape(t, {t.count()}).values<int32_t>() == twin.from);
}

TEST(Views, CopyNothingHoweverLarge) {
  // A terabyte of values that take four bytes: whoever copied them would fail.
  const Tensor one = Tensor::of<float>(machine(), {3.0f});
  const Tensor huge = one.expand({1 << 20, 1 << 10, 256});
  EXPECT_EQ(huge.bytes(), 1ull << 40);
  for (const Tensor& v : {huge.slice(0, {}, {}, -7), huge.narrow(1, 5, 100), huge.select(2, 9), huge.transpose(0, 2), huge.permute({2, 0, 1}),
                          huge.unsqueeze(1), huge.flip({0, 1, 2}), huge.diagonal(3), huge.unfold(0, 1000, 10), *huge.reshape_view({-1, 512}),
                          huge.unsqueeze(0).squeeze(0), huge.unsqueeze(0).squeeze(), huge.expand({2, 1 << 20, 1 << 10, 256})}) {
    EXPECT_EQ(v.raw(), one.raw());
    EXPECT_EQ(v.buffer(), one.buffer());
  }
  EXPECT_EQ(huge.at<float>({1000000, -1, 3}), 3.0f);
  EXPECT_EQ(one.buffer().views(), 2u);  // `huge` and itself
}

TEST(Views, ErrorsNameTheOperationTheShapeAndWhatToDo) {
  const Tensor t = counting({2, 3});
  EXPECT_EQ(message([&] { t.select(0, 2); }), "select: index 2 along axis 0 of shape (2, 3)");
  EXPECT_EQ(message([&] { t.select(2, 0); }), "select: axis 2 of a tensor with 2 axes (-2 to 1)");
  EXPECT_EQ(message([&] { t.expand({3, 3}); }),
            "expand: shape (2, 3) cannot be stretched to (3, 3) (only axes of size 1 stretch, and new ones come in front)");
  EXPECT_EQ(message([&] { t.permute({0, 0}); }), "permute: (0, 0) does not name every axis of shape (2, 3) once");
  EXPECT_EQ(message([&] { reshape(t, {4, -1}); }), "reshape: 6 values of shape (2, 3) do not make shape (4, -1) (one size may be -1: what is left)");
  EXPECT_EQ(message([&] { t.slice(0, {}, {}, 0); }), "slice: a step of 0");
  EXPECT_EQ(message([&] { t.data<float>(); }), "data: the values are I32, not F32 (to(dtype) converts)");
  EXPECT_EQ(message([&] { t.item<int>(); }), "item: shape (2, 3) has not one value (select() it first)");
  EXPECT_EQ(message([&] { Tensor().select(0, 0); }), "select: there is no tensor (this one was made by Tensor() and never assigned)");
  EXPECT_EQ(message([&] { t.flip({0, -2}); }), "flip: axis -2 is named twice");
  EXPECT_NE(message([&] { t.narrow(1, 2, INT64_MAX); }), "");
  EXPECT_NE(message([&] { t.unfold(1, 4); }), "");
  EXPECT_NE(message([&] { t.diagonal(0, 1, -1); }), "");
  EXPECT_NE(message([&] { t.squeeze(0); }), "");
  EXPECT_EQ(t.diagonal(INT64_MIN).count(), 0);
  EXPECT_EQ(t.diagonal(INT64_MAX).count(), 0);
}

TEST(Memory, WhatCannotBeIsRefusedBeforeItIsTaken) {
  EXPECT_NE(message([] { zeros(machine(), {INT64_MAX, 2}); }).find("too many values"), std::string::npos);
  EXPECT_NE(message([] { zeros(machine(), {INT64_MAX / 8, 4, 0}); }).find("too many values"), std::string::npos);
  EXPECT_NE(message([] { zeros(machine(), {-1}); }).find("negative size"), std::string::npos);
  EXPECT_NE(message([] { zeros(machine(), {1ll << 45}); }).find("bytes are wanted"), std::string::npos);
  EXPECT_EQ(zeros(machine(), {1ll << 58, 0}).count(), 0);
  const Machine small({.threads = 1, .ram = 8 << 20});
  const auto r = attempt([&] { return zeros(small, {4 << 20}); });
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), Code::kResource);
  EXPECT_EQ(zeros(small, {1 << 20}).count(), 1 << 20);
}

TEST(Memory, BlocksComeBackAndAreUsedAgain) {
  const Machine m({.threads = 1});
  const uint8_t* first = Tensor(m, {1 << 20}, DType::kF32).raw();
  const Tensor again(m, {(1 << 20) - 100}, DType::kF32);
  EXPECT_EQ(again.raw(), first);
  const Tensor other(m, {1 << 20}, DType::kF32);
  EXPECT_NE(other.raw(), first);
  EXPECT_EQ(m.release_kept_blocks(), 0u);
  { const Tensor gone = other.narrow(0, 0, 1); }
  EXPECT_EQ(m.release_kept_blocks(), 0u);
  { const Tensor third(m, {1 << 22}, DType::kU8); }
  EXPECT_GT(m.release_kept_blocks(), 0u);
}

TEST(Memory, SomebodyElsesIsGivenBackWithTheLastView) {
  std::vector<float> mine = {1, 2, 3, 4};
  bool released = false;
  {
    Tensor t(BufferPtr::wrap(machine(), mine.data(), 16, [&] { released = true; }), reinterpret_cast<uint8_t*>(mine.data()), DType::kF32, {2, 2}, {2, 1});
    const Tensor column = t.select(1, 1);
    t = Tensor();
    EXPECT_FALSE(released);
    EXPECT_EQ(column.values<float>(), (std::vector<float>{2, 4}));
    assign(column, 7);
  }
  EXPECT_TRUE(released);
  EXPECT_EQ(mine, (std::vector<float>{1, 7, 3, 7}));
}

TEST(Memory, ATensorOutlivesItsMachine) {
  Tensor t;
  {
    const Machine m({.threads = 2});
    t = ones(m, {1 << 19});
  }
  EXPECT_EQ((t + t).at<float>({12345}), 2.0f);
}

TEST(Dims, GrowsPastWhatLiesInTheObjectAndBack) {
  for (size_t n = 0; n <= kMaxRank; ++n) {
    Dims d;
    for (size_t i = 0; i < n; ++i) d.push_back(static_cast<int64_t>(i));
    const Dims copy = d;
    Dims moved = std::move(d), assigned(9, 7);
    assigned = moved;
    EXPECT_EQ(copy, moved);
    EXPECT_EQ(copy, assigned);
    ASSERT_EQ(copy.size(), n);
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(assigned[i], static_cast<int64_t>(i));
    if (n == 0) continue;
    moved.erase(0);
    moved.insert(0, 0);
    EXPECT_EQ(moved, copy);
    assigned = Dims{5};
    EXPECT_EQ(assigned, Dims{5});
    d = std::move(moved);
    EXPECT_EQ(d, copy);
  }
  Dims full(kMaxRank, 1);
  EXPECT_THROW(full.push_back(1), Error);
  EXPECT_EQ(full, Dims(kMaxRank, 1));
  EXPECT_THROW(Dims(kMaxRank + 1, 1), Error);
}

// Sizes on both sides of what is kept: what one tensor held must not be seen by another that lives.
TEST(Pieces, AreNobodyElsesWhileATensorLives) {
  const Machine machine;
  std::vector<Tensor> live;
  for (int round = 0; round < 3; ++round) {
    for (const int64_t n : {1, 200, 256, 1000, 2000, 4000, 8000, 20000}) {
      for (int64_t k = 0; k < 12; ++k) {
        live.push_back(Tensor(machine, {n}, DType::kF32));
        std::fill_n(live.back().data<float>(), n, static_cast<float>(live.size()));
      }
    }
    for (size_t i = 0; i < live.size(); ++i) {
      const float* p = live[i].data<float>();
      EXPECT_TRUE(std::all_of(p, p + live[i].count(), [&](float v) { return v == static_cast<float>(i + 1); }));
    }
    live.clear();
  }
}

// Threads that make tensors, hand views of them to each other and drop them, the last one wherever it is: each
// finds the values that were written, and no memory is given back twice or too early.
TEST(Pieces, MayBeMadeSharedAndDroppedByManyThreads) {
  struct Slot {
    std::mutex mutex;
    Tensor held;
    int64_t value = 0;
  };
  constexpr size_t kThreads = 6;
  std::vector<Slot> slots(3);
  std::atomic<int64_t> wrong = 0;
  {
    const Machine machine({.threads = 2});
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const auto check = [&](const Tensor& x, int64_t value) {
          const int64_t* p = x.data<int64_t>();
          if (!std::all_of(p, p + x.count(), [&](int64_t v) { return v == value; })) ++wrong;
        };
        uint64_t random = t + 1;
        for (int64_t round = 0; round < 1500; ++round) {
          random = random * 6364136223846793005u + 1442695040888963407u;
          // 8 bytes to 40 KiB, on both sides of what is kept; some with more axes than lie in the object.
          const int64_t n = 1ll << (random >> 33) % 13, value = round * static_cast<int64_t>(kThreads) + static_cast<int64_t>(t);
          Tensor x(machine, {n}, DType::kI64);
          std::fill_n(x.data<int64_t>(), n, value);
          if (round % 3 == 0) x = reshape(x, {1, 1, n, 1, 1, 1, 1});
          if (round % 5 == 0) check(x + 1, value + 1);
          Slot& slot = slots[(random >> 50) % slots.size()];
          Tensor other;
          int64_t others = 0;
          {
            const std::lock_guard lock(slot.mutex);
            other = slot.held, others = slot.value;
            if (round % 2 == 0) slot.held = x, slot.value = value;
          }
          if (other.defined()) check(other, others);
          x = Tensor();
          other = Tensor();
          if (round % 100 == 0) machine.release_kept_blocks();
        }
      });
    }
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(wrong, 0);
  for (const Slot& s : slots) EXPECT_TRUE(s.held.defined());  // and outlives the machine
}

// One tensor dropped by many threads at once: what they read lies before what its memory is written with next.
TEST(Pieces, AreWrittenAnewOnlyAfterTheLastHolderHasRead) {
  const Machine machine({.threads = 1});
  std::atomic<int> wrong = 0;
  for (int round = 0; round < 100; ++round) {
    std::vector<std::thread> threads;
    Tensor shared(machine, {512}, DType::kI32);
    std::fill_n(shared.data<int32_t>(), 512, round);
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&machine, &wrong, round, mine = shared]() mutable {
        const int32_t* p = mine.data<int32_t>();
        if (std::count(p, p + 512, round) != 512) ++wrong;
        mine = Tensor();
        const Tensor next(machine, {512}, DType::kI32);  // perhaps the same memory
        std::fill_n(next.data<int32_t>(), 512, -1);
      });
    }
    shared = Tensor();
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace viva
