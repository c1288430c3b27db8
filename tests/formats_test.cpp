// The conformance suite: every format of THE LIST, in every coding it allows and on every SIMD target that
// this processor runs, against the scalar twin, against itself and against float64.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>

#include "viva/formats/format.h"
#include "viva/machine/machine.h"

namespace viva {
namespace {

struct Matrix {
  size_t rows, cols;
  std::vector<float> x;
};

std::unique_ptr<float, decltype(&std::free)> scratch(const FormatCode& code, size_t cols, const Coding& c) {
  return {static_cast<float*>(std::aligned_alloc(64, (code.scratch(cols, c) * 4 / 64 + 1) * 64)), &std::free};
}

// The same coding with what the tensor shares, chosen as a caller would.
Coding shared_coding(const Format& f, const Matrix& m, Coding c, Target target = Target::kScalar) {
  if (f.share == nullptr) return c;
  Observed seen;
  f.on(target).observe(m.x.data(), m.rows, m.cols, c, seen);
  c.shared = f.share(seen, c);
  return c;
}

std::vector<uint8_t> encode(const Format& f, const Matrix& m, const Coding& c, Target target) {
  std::vector<uint8_t> out(m.rows * f.row_bytes(m.cols, c), 0xa5);
  const auto work = scratch(f.on(target), m.cols, c);
  f.on(target).encode(m.x.data(), m.rows, m.cols, c, out.data(), work.get());
  return out;
}
std::vector<float> decode(const Format& f, const std::vector<uint8_t>& packed, size_t rows, size_t cols,
                          const Coding& c, Target target = Target::kScalar) {
  std::vector<float> x(rows * cols);
  const auto work = scratch(f.on(target), cols, c);
  f.on(target).decode(packed.data(), rows, cols, c, x.data(), work.get());
  return x;
}
std::vector<float> round_trip(const Format& f, const Matrix& m, const Coding& c) {
  const Target target = best_target();
  return decode(f, encode(f, m, c, target), m.rows, m.cols, c, target);
}

std::vector<Target> vector_targets() {
  std::vector<Target> list;
  for (Target t : {Target::kAvx3, Target::kAvx2, Target::kSse4}) {
    if (runs(t)) list.push_back(t);
  }
  return list;
}

// Every group that the format allows up to 256, and the other dtypes of scales where they change the row.
std::vector<Coding> codings(const Format& f) {
  std::vector<Coding> list = {{}};
  for (uint32_t g : f.groups) {
    if (g == f.group || g > 256) continue;
    Coding c;
    c.group = g;
    list.push_back(c);
  }
  for (DType t : {DType::kBF16, DType::kF16}) {
    Coding c;
    c.scale = c.arithmetic = t;
    if (f.row_bytes(256, c) != f.row_bytes(256, {})) list.push_back(c);
  }
  return list;
}
std::string text(const Format& f, const Coding& c) {
  return fmt::format("{} scale {} {}", format_text(f, c), name(c.scale),
                     c.encoder == Encoder::kBest ? "best" : "reference");
}

enum Kind {
  kGauss,
  kHeavy,
  kZeros,
  kMinusZeros,
  kHuge,
  kSubnormal,
  kTies,
  kConstant,
  kTiny,
  kOneSigned,
  kSparse,
  kKinds
};

// One row of a kind each in turn, so that lanes of one vector hold all kinds of groups.
Matrix mixed(size_t rows, size_t cols, uint32_t seed) {
  Matrix m{rows, cols, std::vector<float>(rows * cols)};
  std::mt19937 gen(seed);
  std::normal_distribution<float> gauss(0.0f, 0.02f);
  for (size_t r = 0; r < rows; ++r) {
    float* x = m.x.data() + r * cols;
    const auto kind = static_cast<Kind>((r + seed) % kKinds);
    const float level = gauss(gen);
    for (size_t k = 0; k < cols; ++k) {
      const float g = gauss(gen);
      switch (kind) {
        case kGauss:
          x[k] = g;
          break;
        case kHeavy:
          x[k] = g / std::max(std::fabs(gauss(gen)), 1e-3f);
          break;
        case kZeros:
          x[k] = 0.0f;
          break;
        case kMinusZeros:
          x[k] = gen() % 2 ? -0.0f : 0.0f;
          break;
        case kHuge:
          x[k] = k == cols / 2 ? (r % 2 ? -3e4f : 3e4f) : g;
          break;
        case kSubnormal:
          x[k] = std::bit_cast<float>(static_cast<uint32_t>(gen() % 0x7fffff | gen() % 2 << 31));
          break;
        case kTies:
          x[k] = static_cast<float>(static_cast<int>(gen() % 33) - 16) / 16.0f;
          break;
        case kConstant:
          x[k] = level;
          break;
        case kTiny:
          x[k] = g * 1e-12f;
          break;
        case kOneSigned:
          x[k] = std::fabs(g) + 0.01f;
          break;
        case kSparse:
          x[k] = gen() % 50 ? 0.0f : g;
          break;
        case kKinds:
          break;
      }
    }
  }
  return m;
}
Matrix gaussian(size_t rows, size_t cols, uint32_t seed) {
  Matrix m{rows, cols, std::vector<float>(rows * cols)};
  std::mt19937 gen(seed);
  std::normal_distribution<float> gauss(0.0f, 0.02f);
  for (float& v : m.x) v = gauss(gen);
  return m;
}

// Calls f(values of one group of `was`, of the same group of `now`) with indices into the matrix.
template <class Call>
void for_groups(const Format& f, const Coding& c, const Matrix& m, Call call) {
  size_t group = c.group != 0 ? c.group : f.group;
  // Where a second-level scale inside the row ties groups together, only the row as a whole can be promised.
  for (const Piece& p : f.pieces(m.cols, c)) {
    if (p.role == Role::kNested) group = 0;
  }
  if (group <= 1) group = std::max<size_t>(m.cols, 1);
  for (size_t top = 0; top < m.rows; top += f.row_panel) {
    for (size_t left = 0; left < m.cols; left += group) {
      std::vector<size_t> index;
      for (size_t r = top; r < std::min<size_t>(m.rows, top + f.row_panel); ++r) {
        for (size_t k = left; k < std::min(m.cols, left + group); ++k) index.push_back(r * m.cols + k);
      }
      call(index);
    }
  }
}
double error_of(const std::vector<float>& x, const std::vector<float>& y, const std::vector<size_t>& index) {
  double sum = 0;
  for (size_t i : index) sum += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  return sum;
}
double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
  double signal = 0, noise = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    signal += double{x[i]} * x[i];
    noise += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
  }
  return 10 * std::log10(signal / noise);
}

class EveryFormat : public testing::TestWithParam<const Format*> {};
INSTANTIATE_TEST_SUITE_P(List, EveryFormat, testing::ValuesIn(formats().begin(), formats().end()),
                         [](const auto& i) {
                           std::string n(i.param->name);
                           std::replace(n.begin(), n.end(), '-', '_');
                           return n;
                         });

void check_twins(const Format& f, const Matrix& m, Coding c) {
  for (Encoder e : {Encoder::kReference, Encoder::kBest}) {
    c.encoder = e;
    const Coding s = shared_coding(f, m, c);
    const auto bytes = encode(f, m, s, Target::kScalar);
    const auto values = decode(f, bytes, m.rows, m.cols, s);
    for (Target t : vector_targets()) {
      const Coding again = shared_coding(f, m, c, t);
      RC_ASSERT(again.shared.scale == s.shared.scale && again.shared.offset == s.shared.offset);
      if (encode(f, m, s, t) != bytes)
        RC_FAIL(fmt::format("{}: {} rows of {} differ on {}", text(f, c), m.rows, m.cols, name(t)));
      const auto got = decode(f, bytes, m.rows, m.cols, s, t);
      RC_ASSERT((got.empty() || std::memcmp(got.data(), values.data(), 4 * got.size()) == 0));  // in two pairs, or || evaluates both
    }
  }
}

TEST_P(EveryFormat, SameBytesOnEveryTarget) {
  const Format& f = *GetParam();
  for (const Coding& c : codings(f)) {
    EXPECT_TRUE(rc::check(text(f, c), [&] {
      const auto rows = *rc::gen::inRange<size_t>(0, 24);
      const auto cols = *rc::gen::oneOf(rc::gen::inRange<size_t>(0, 300),
                                        rc::gen::element<size_t>(1, 31, 32, 33, 64, 127, 128, 129, 256, 509));
      check_twins(f, mixed(rows, cols, *rc::gen::inRange<uint32_t>(0, 1000)), c);
    }));
  }
}

// Empty tensors and rows write nothing and break nothing.
TEST_P(EveryFormat, EmptyShapes) {
  const Format& f = *GetParam();
  for (const auto& [rows, cols] : {std::pair<size_t, size_t>{0, 0}, {0, 64}, {3, 0}}) {
    const Matrix m{rows, cols, {}};
    const Coding c = shared_coding(f, m, {});
    for (Target t : vector_targets()) EXPECT_TRUE(decode(f, encode(f, m, c, t), rows, cols, c, t).empty());
  }
}

TEST_P(EveryFormat, RowsStandAlone) {
  const Format& f = *GetParam();
  if (f.row_panel != 1) GTEST_SKIP() << "rows share scales";
  for (Coding c : codings(f)) {
    for (Encoder e : {Encoder::kReference, Encoder::kBest}) {
      for (size_t cols : {1, 96, 131, 256}) {
        c.encoder = e;
        const Matrix m = mixed(kKinds + 2, cols, 7);
        c = shared_coding(f, m, c);
        const auto all = encode(f, m, c, best_target());
        std::vector<uint8_t> one_by_one;
        for (size_t r = 0; r < m.rows; ++r) {
          const Matrix row{1, cols, std::vector<float>(m.x.begin() + r * cols, m.x.begin() + (r + 1) * cols)};
          const auto bytes = encode(f, row, c, best_target());
          one_by_one.insert(one_by_one.end(), bytes.begin(), bytes.end());
        }
        EXPECT_EQ(all, one_by_one) << text(f, c) << " " << cols;
      }
    }
  }
}

TEST_P(EveryFormat, BestIsNeverWorseOnAnyGroup) {
  const Format& f = *GetParam();
  for (Coding c : codings(f)) {
    for (uint32_t seed = 0; seed < 6; ++seed) {
      const Matrix m = mixed(2 * kKinds, seed % 2 ? 300 : 256, seed);
      // With the same tensor-wide scale: which one to take is a choice about the tensor, not about a group.
      c.encoder = Encoder::kReference;
      c = shared_coding(f, m, c);
      const auto reference = round_trip(f, m, c);
      c.encoder = Encoder::kBest;
      const auto best = round_trip(f, m, c);
      for_groups(f, c, m, [&](const std::vector<size_t>& group) {
        const double was = error_of(m.x, reference, group), now = error_of(m.x, best, group);
        EXPECT_TRUE(now <= was * (1 + 1e-9)) << text(f, c) << " row " << group[0] / m.cols << " column "
                                             << group[0] % m.cols << ": " << now << " > " << was;
      });
    }
  }
}

// What a file already holds is written again without loss.
TEST_P(EveryFormat, BestKeepsItsOwnValues) {
  const Format& f = *GetParam();
  for (Coding c : codings(f)) {
    for (size_t cols : {128, 256, 1000}) {
      const Matrix m = gaussian(64, cols, static_cast<uint32_t>(cols));
      c = shared_coding(f, m, c);
      const Matrix once{m.rows, cols, round_trip(f, m, c)};
      const auto twice = round_trip(f, once, c);
      size_t moved = 0;
      for (size_t i = 0; i < twice.size(); ++i) moved += twice[i] != once.x[i];
      EXPECT_EQ(moved, 0u) << text(f, c) << " " << cols;
    }
  }
}

TEST_P(EveryFormat, ZerosStayZeros) {
  const Format& f = *GetParam();
  for (Coding c : codings(f)) {
    for (Encoder e : {Encoder::kReference, Encoder::kBest}) {
      c.encoder = e;
      const Matrix m{5, 200, std::vector<float>(1000, 0.0f)};
      const Coding s = shared_coding(f, m, c);
      for (float v : round_trip(f, m, s)) ASSERT_EQ(v, 0.0f) << text(f, s);
    }
  }
}

// SQNR in dB on 2^18 Gaussian values of std 0.02, rows of 1024: what each format must reach, and the largest
// error of a value as a share of its group's largest magnitude.
struct Quality {
  double reference, best, largest;
};
const std::map<std::string, Quality> kQuality = {
    {"f32", {1000, 1000, 0.0}},
    {"f16", {73.6, 73.6, 0x1p-11}},
    {"bf16", {55.6, 55.6, 0x1p-8}},
    {"int8", {42.02, 42.15, 0.02}},
    {"w8a8", {42.05, 42.18, 0.02}},
    {"q8_0", {45.41, 46.48, 0.015}},
    {"q4_0", {21.28, 21.80, 0.25}},
    {"q4_1", {22.10, 23.20, 0.25}},
    {"int4-g128", {19.04, 20.23, 0.3}},
    {"int4-g32", {20.42, 21.80, 0.25}},
    {"int4-g128-asym", {19.90, 20.40, 0.3}},
    {"int4-g32-asym", {21.80, 22.29, 0.25}},
    {"nf4", {20.70, 21.60, 0.25}},
    {"nf4-g128", {20.36, 21.05, 0.3}},
    {"nf4-dq", {20.70, 21.35, 0.3}},
    {"fp4", {18.25, 18.92, 0.3}},
    {"nvfp4", {20.40, 21.75, 0.3}},
    {"nvfp4-gguf", {19.70, 20.98, 0.5}},
    {"mxfp4", {18.96, 19.02, 0.3}},
    {"mxfp4-gguf", {18.80, 19.02, 0.4}},
    {"fp8", {31.52, 31.92, 0.07}},
    {"fp8-block", {31.52, 31.59, 0.07}},
};

TEST_P(EveryFormat, ReachesItsQuality) {
  const Format& f = *GetParam();
  if (f.name.starts_with("toy")) GTEST_SKIP() << "a toy";
  ASSERT_TRUE(kQuality.count(format_text(f, {}))) << "give " << f.name << " an entry in kQuality";
  const Matrix m = gaussian(256, 1024, 1);
  for (const auto& [name, want] : kQuality) {
    const auto choice = parse_format(name);
    if (!choice || choice->format != &f) continue;
    Coding c = choice->coding;
    c.encoder = Encoder::kReference;
    const auto reference = round_trip(f, m, shared_coding(f, m, c));
    c.encoder = Encoder::kBest;
    const auto best = round_trip(f, m, shared_coding(f, m, c));
    RecordProperty(name + " reference", fmt::format("{:.3f}", sqnr(m.x, reference)));
    RecordProperty(name + " best", fmt::format("{:.3f}", sqnr(m.x, best)));
    if (std::getenv("VIVA_PRINT_QUALITY"))
      fmt::print("{:16} {:.3f} {:.3f}\n", name, sqnr(m.x, reference), sqnr(m.x, best));
    EXPECT_GE(sqnr(m.x, reference), want.reference) << name;
    EXPECT_GE(sqnr(m.x, best), want.best) << name;
    for (const auto* decoded : {&reference, &best}) {
      double largest = 0;
      for_groups(f, c, m, [&](const std::vector<size_t>& group) {
        double absmax = 0, worst = 0;
        for (size_t i : group) {
          absmax = std::max<double>(absmax, std::fabs(m.x[i]));
          worst = std::max(worst, std::fabs(double{m.x[i]} - (*decoded)[i]));
        }
        largest = std::max(largest, worst / absmax);
      });
      EXPECT_LE(largest, want.largest) << name;
    }
  }
}

}  // namespace
}  // namespace viva
