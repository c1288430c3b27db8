// What every format of THE LIST must hold, on every SIMD target of this processor. Needs floors 0 and 1 only, so that
// toy_format_test.py can run it on a format of its own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "viva/formats/format.h"
#include "viva/machine/machine.h"

namespace viva {

void PrintTo(const Format* f, std::ostream* os) { *os << f->name; }

namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;

struct Free {
  void operator()(void* p) const { std::free(p); }
};

class Conformance : public testing::TestWithParam<const Format*> {
 protected:
  const Format& f = *GetParam();
  std::vector<Target> targets() const {
    std::vector<Target> list;
    for (Target t : {Target::kAvx3, Target::kAvx2, Target::kSse4, Target::kScalar}) {
      if (runs(t)) list.push_back(t);
    }
    return list;
  }
  std::unique_ptr<float, Free> work(const FormatCode& code, size_t cols, const Coding& c) const {
    const size_t bytes = (4 * code.scratch(cols, c) + 64) / 64 * 64;
    return std::unique_ptr<float, Free>(static_cast<float*>(std::aligned_alloc(64, bytes)));
  }
  Bytes encode(const Floats& x, size_t rows, const Coding& c, Target t = Target::kScalar) const {
    const size_t cols = x.size() / rows;
    Bytes packed(rows * f.row_bytes(cols, c));
    f.on(t).encode(x.data(), rows, cols, c, packed.data(), work(f.on(t), cols, c).get());
    return packed;
  }
  Floats decode(const Bytes& packed, size_t rows, size_t cols, const Coding& c, Target t = Target::kScalar) const {
    Floats x(rows * cols);
    f.on(t).decode(packed.data(), rows, cols, c, x.data(), work(f.on(t), cols, c).get());
    return x;
  }
  // Weights with heavy tails, some zero groups and some zeros; `shared` is what the format derives from them.
  Floats weights(size_t rows, size_t cols, Coding& c, uint32_t seed = 1) const {
    std::mt19937 random(seed);
    std::student_t_distribution<float> tails(3.0f);
    Floats x(rows * cols);
    for (size_t i = 0; i < x.size(); ++i) x[i] = random() % 16 == 0 || i / 64 % 7 == 3 ? 0.0f : 0.02f * tails(random);
    if (f.share != nullptr) {
      Observed seen;
      f.on(Target::kScalar).observe(x.data(), rows, cols, c, seen);
      c.shared = f.share(seen, c);
    }
    return x;
  }
  static double error(const float* a, const float* b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    return sum;
  }
  static constexpr size_t kCols[] = {1, 15, 32, 64, 100, 256, 321};
};

TEST_P(Conformance, EveryTargetGivesTheSameBytesAndValues) {
  for (size_t cols : kCols) {
    for (Encoder e : {Encoder::kReference, Encoder::kBest}) {
      Coding c{.encoder = e};
      const size_t rows = f.row_panel == 1 ? 9 : f.row_panel;
      const Floats x = weights(rows, cols, c);
      const Bytes want = encode(x, rows, c);
      const Floats values = decode(want, rows, cols, c);
      for (Target t : targets()) {
        EXPECT_EQ(encode(x, rows, c, t), want) << name(t) << " cols " << cols;
        const Floats got = decode(want, rows, cols, c, t);
        EXPECT_EQ(std::memcmp(got.data(), values.data(), 4 * values.size()), 0) << name(t) << " cols " << cols;
      }
    }
  }
}

TEST_P(Conformance, RowsStandAlone) {
  if (f.row_panel != 1) GTEST_SKIP() << "rows share a scale";
  for (size_t cols : kCols) {
    Coding c;
    const Floats x = weights(5, cols, c);
    const Bytes all = encode(x, 5, c);
    for (size_t r = 0; r < 5; ++r) {
      const size_t n = all.size() / 5;
      const Bytes one = encode(Floats(x.begin() + r * cols, x.begin() + (r + 1) * cols), 1, c);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + r * n, all.begin() + (r + 1) * n)) << "row " << r;
    }
  }
}

TEST_P(Conformance, BestIsNeverWorseOnAnyGroup) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    Coding best, plain{.encoder = Encoder::kReference};
    const size_t cols = f.group != 0 ? f.group : 128, rows = f.row_panel == 1 ? 64 : f.row_panel;
    const Floats x = weights(rows, cols, best, seed);
    plain.shared = best.shared;
    const Floats a = decode(encode(x, rows, best), rows, cols, best);
    const Floats b = decode(encode(x, rows, plain), rows, cols, plain);
    const size_t unit = f.row_panel * cols;
    for (size_t at = 0; at < x.size(); at += unit) {
      const double reference = error(&x[at], &b[at], unit);
      EXPECT_LE(error(&x[at], &a[at], unit), reference * (1 + 1e-5)) << "group " << at / unit << " seed " << seed;
    }
  }
}

TEST_P(Conformance, WhatWasDecodedStaysAsItIs) {
  for (size_t cols : kCols) {
    Coding c;
    const size_t rows = f.row_panel == 1 ? 9 : f.row_panel;
    const Floats x = weights(rows, cols, c);
    const Floats once = decode(encode(x, rows, c), rows, cols, c);
    EXPECT_EQ(decode(encode(once, rows, c), rows, cols, c), once) << "cols " << cols;
  }
}

TEST_P(Conformance, ZeroStaysZero) {
  for (Encoder e : {Encoder::kReference, Encoder::kBest}) {
    const Coding c{.encoder = e};
    const Floats zero(f.row_panel * 100, 0.0f);
    EXPECT_EQ(decode(encode(zero, f.row_panel, c), f.row_panel, 100, c), zero);
  }
}

INSTANTIATE_TEST_SUITE_P(List, Conformance, testing::ValuesIn(formats().begin(), formats().end()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace viva
