// What the table and float formats promise besides their golden bytes: best is never worse than reference on
// any group, values of a format's own grid are reproduced, scales keep their sign when they must, all targets
// give one result.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>

#include "targets.h"
#include "viva/formats/format.h"

namespace viva {
namespace {

using test::Aligned;
using test::targets_of;

constexpr const char* kFormats[] = {"nf4",   "nf4-dq",     "fp4", "nvfp4",    "nvfp4-gguf",
                                    "mxfp4", "mxfp4-gguf", "fp8", "fp8-block"};

struct Matrix {
  size_t rows, cols;
  std::vector<float> x;
};

std::vector<uint8_t> encode(const Format& f, const FormatCode& code, const Matrix& m, const Coding& c) {
  std::vector<uint8_t> out(m.rows * f.row_bytes(m.cols, c));
  Aligned work(code.scratch(m.cols, c));
  code.encode(m.x.data(), m.rows, m.cols, c, out.data(), work.data);
  return out;
}
Matrix decode(const Format& f, const FormatCode& code, const std::vector<uint8_t>& packed, const Matrix& like,
              const Coding& c) {
  Matrix out{like.rows, like.cols, std::vector<float>(like.x.size())};
  EXPECT_EQ(packed.size(), like.rows * f.row_bytes(like.cols, c));
  Aligned work(code.scratch(like.cols, c));
  code.decode(packed.data(), like.rows, like.cols, c, out.x.data(), work.data);
  return out;
}
Shared share(const Format& f, const FormatCode& code, const Matrix& m, const Coding& c) {
  if (f.share == nullptr) return {};
  Observed seen;
  code.observe(m.x.data(), m.rows, m.cols, c, seen);
  return f.share(seen, c);
}

// Values of many kinds, a kind for each run of 64 or of a whole matrix.
float draw(std::mt19937& rng, int kind, size_t i) {
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::student_t_distribution<float> heavy(2.0f);
  switch (kind) {
    case 0:
      return normal(rng);
    case 1:
      return 0.02f * heavy(rng);
    case 2:
      return i % 64 == 17 ? 9.5f : normal(rng);  // one huge value
    case 3:
      return i % 3 == 0 ? 0.25f : -0.25f;  // constant magnitudes
    case 4:
      return 0.015625f;
    case 5:
      return i % 2 == 0 ? -0.0f : 0.0f;
    case 6:
      return static_cast<float>(static_cast<int>(rng() % 25) - 12) / 16.0f;  // ties
    case 7:
      return std::ldexp(normal(rng), -130);  // subnormals
    case 8:
      return std::ldexp(normal(rng), 60);
    case 9:
      return std::ldexp(normal(rng), -45);  // squares vanish in f32
    case 10:
      return i % 64 == 3 ? -0.7f : 0.0f;  // a single value
    default:
      return std::fabs(normal(rng)) + 1.0f;  // one-signed, far from zero
  }
}
constexpr int kKinds = 12;

Matrix random_matrix(std::mt19937& rng, size_t rows, size_t cols, int kind) {
  Matrix m{rows, cols, std::vector<float>(rows * cols)};
  for (size_t i = 0; i < m.x.size(); ++i)
    m.x[i] = draw(rng, kind < kKinds ? kind : static_cast<int>(i / 64 * 7 % kKinds), i);
  return m;
}

// Squared errors in f64 of every group that has a scale of its own.
std::vector<double> errors(const Format& f, const Matrix& x, const Matrix& y) {
  const size_t width = f.group != 0 ? f.group : x.cols;
  const size_t across = (x.cols + width - 1) / width;
  std::vector<double> e((x.rows + f.row_panel - 1) / f.row_panel * across);
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t c = 0; c < x.cols; ++c) {
      const double d = static_cast<double>(x.x[r * x.cols + c]) - y.x[r * x.cols + c];
      e[r / f.row_panel * across + c / width] += d * d;
    }
  }
  return e;
}

class FloatFormat : public testing::TestWithParam<const char*> {
 protected:
  const Format& f = *find_format(GetParam());
  const FormatCode& fast = *targets_of(f).back().second;
};

TEST_P(FloatFormat, BestIsNeverWorseThanReferenceOnAnyGroup) {
  std::mt19937 rng(11);
  for (int kind = 0; kind <= kKinds; ++kind) {
    for (const auto& [rows, cols] : {std::pair<size_t, size_t>{3, 1000}, {130, 200}, {1, 17000}, {2, 1}}) {
      const Matrix m = random_matrix(rng, rows, cols, kind);
      for (const DType t : {DType::kF32, DType::kBF16}) {
        Coding c{.scale = t, .arithmetic = t};
        c.shared = share(f, fast, m, c);
        const Matrix best = decode(f, fast, encode(f, fast, m, c), m, c);
        c.encoder = Encoder::kReference;
        const Matrix reference = decode(f, fast, encode(f, fast, m, c), m, c);
        const auto b = errors(f, m, best), r = errors(f, m, reference);
        for (size_t g = 0; g < b.size(); ++g) {
          ASSERT_LE(b[g], r[g]) << f.name << " kind " << kind << " " << rows << "x" << cols << " group " << g;
        }
      }
    }
  }
}

TEST_P(FloatFormat, DecodedValuesAreReproduced) {
  std::mt19937 rng(12);
  for (int kind = 0; kind < kKinds; ++kind) {
    // bitsandbytes does not scale values below 1e-38 to its levels, and best leaves its codes alone there.
    if (kind == 7 && (f.name.starts_with("nf4") || f.name == "fp4")) continue;
    for (const auto& [rows, cols] : {std::pair<size_t, size_t>{4, 1000}, {129, 200}, {1, 40000}}) {
      const Matrix m = random_matrix(rng, rows, cols, kind);
      Coding c;
      c.shared = share(f, fast, m, c);
      const Matrix once = decode(f, fast, encode(f, fast, m, c), m, c);
      const Matrix twice = decode(f, fast, encode(f, fast, once, c), m, c);
      size_t wrong = 0;
      for (size_t i = 0; i < m.x.size(); ++i) wrong += once.x[i] != twice.x[i];
      EXPECT_EQ(wrong, 0u) << f.name << " kind " << kind << " " << rows << "x" << cols;
    }
  }
}

TEST_P(FloatFormat, AllTargetsGiveTheSameBytesAndValues) {
  std::mt19937 rng(13);
  for (const auto& [rows, cols] :
       {std::pair<size_t, size_t>{5, 333}, {131, 145}, {1, 16384 + 64 * 3 + 5}, {9, 64}}) {
    const Matrix m = random_matrix(rng, rows, cols, kKinds);
    for (const Encoder e : {Encoder::kReference, Encoder::kBest}) {
      for (const DType t : {DType::kF32, DType::kBF16, DType::kF16}) {
        Coding c{.scale = t, .arithmetic = t, .encoder = e};
        const FormatCode& scalar = *f.code[static_cast<size_t>(Target::kScalar)];
        c.shared = share(f, scalar, m, c);
        const auto want = encode(f, scalar, m, c);
        const Matrix values = decode(f, scalar, want, m, c);
        for (const auto& [target, code] : targets_of(f)) {
          const Shared s = share(f, *code, m, c);
          EXPECT_EQ(s.scale, c.shared.scale) << target;
          EXPECT_EQ(s.offset, c.shared.offset) << target;
          EXPECT_TRUE(encode(f, *code, m, c) == want)
              << f.name << " " << target << " " << rows << "x" << cols;
          EXPECT_EQ(std::memcmp(decode(f, *code, want, m, c).x.data(), values.x.data(), values.x.size() * 4),
                    0)
              << f.name << " " << target;
        }
      }
    }
  }
}

// Signal to noise on Gaussian weights; the dense search of the same scales reaches at most 0.04 dB more.
TEST_P(FloatFormat, BestReachesItsSignalToNoiseRatio) {
  const std::map<std::string, double> floor = {
      {"nf4", 21.60},   {"nf4-dq", 21.37},     {"fp4", 18.93}, {"nvfp4", 21.77},    {"nvfp4-gguf", 20.90},
      {"mxfp4", 19.02}, {"mxfp4-gguf", 19.02}, {"fp8", 31.88}, {"fp8-block", 31.58}};
  std::mt19937 rng(14);
  const Matrix m = random_matrix(rng, 128, 1024, 0);
  Coding c;
  c.shared = share(f, fast, m, c);
  const Matrix y = decode(f, fast, encode(f, fast, m, c), m, c);
  double signal = 0, noise = 0;
  for (size_t i = 0; i < m.x.size(); ++i) {
    signal += static_cast<double>(m.x[i]) * m.x[i];
    noise += std::pow(static_cast<double>(m.x[i]) - y.x[i], 2);
  }
  EXPECT_GE(10 * std::log10(signal / noise), floor.at(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, FloatFormat, testing::ValuesIn(kFormats), [](const auto& info) {
  std::string name = info.param;
  for (char& ch : name) ch = ch == '-' ? '_' : ch;
  return name;
});

// The absmax of every block of an nf4 row.
std::vector<float> scales(const Format& f, const std::vector<uint8_t>& packed, size_t cols, const Coding& c) {
  const Piece p = f.pieces(cols, c)[1];
  std::vector<float> out(p.count);
  std::memcpy(out.data(), packed.data() + p.offset, p.bytes);
  return out;
}

TEST(Nf4, ScalesAreNegativeOnlyWhereAllowed) {
  std::mt19937 rng(15);
  const Format& f = *find_format("nf4");
  const FormatCode& code = *targets_of(f).back().second;
  const Matrix m = random_matrix(rng, 1, 1 << 14, 0);
  size_t negative[2] = {0, 0};
  for (const bool allowed : {false, true}) {
    const Coding c{.signed_scale = allowed};
    for (const float s : scales(f, encode(f, code, m, c), m.cols, c)) negative[allowed] += std::signbit(s);
  }
  EXPECT_EQ(negative[0], 0u);
  EXPECT_GT(negative[1], 64u);  // of 256: the sign is free, so about half of the blocks use it
}

TEST(Nf4Dq, OffsetIsTheMeanOfBlockMaximaWhereverTheRowsAreCut) {
  std::mt19937 rng(16);
  const Format& f = *find_format("nf4-dq");
  const FormatCode& code = *targets_of(f).back().second;
  const Matrix m = random_matrix(rng, 64, 640, 1);
  const Coding c;
  Observed whole, parts;
  code.observe(m.x.data(), 64, 640, c, whole);
  for (size_t r = 0; r < 64; r += 16) {
    Observed part;
    code.observe(m.x.data() + r * 640, 16, 640, c, part);
    parts.merge(part);
  }
  EXPECT_EQ(whole.count, 640u);
  EXPECT_EQ(f.share(whole, c).offset, f.share(parts, c).offset);
  double sum = 0;
  for (size_t b = 0; b < 640; ++b) {
    float largest = 0;
    for (size_t i = 0; i < 64; ++i) largest = std::max(largest, std::fabs(m.x[b * 64 + i]));
    sum += largest;
  }
  EXPECT_FLOAT_EQ(f.share(whole, c).offset, static_cast<float>(sum / 640));
}

// Rows of few and of many blocks whose largest magnitudes spread widely, hardly at all, or reach down to the mean.
Matrix spread_matrix(std::mt19937& rng, size_t rows, size_t cols, int kind) {
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::student_t_distribution<float> heavy(kind == 0 ? 4.0f : 1.2f);
  Matrix m{rows, cols, std::vector<float>(rows * cols)};
  float scale = 1.0f;
  for (size_t i = 0; i < m.x.size(); ++i) {
    if (i % 64 == 0) scale = std::exp(100.0f * normal(rng));
    switch (kind) {
      case 0:
      case 1:
        m.x[i] = 0.02f * heavy(rng);
        break;
      case 2:
        m.x[i] = scale * normal(rng);  // every block at its own height
        break;
      case 3:
        m.x[i] = rng() % 50 != 0 ? 0.0f : normal(rng);
        break;
      case 4:
        m.x[i] = normal(rng) + (i % 64 == 9 ? 1.0f : 0.0f);
        break;
      default:
        m.x[i] = i % 4096 == 17 ? 9.5f : normal(rng);
    }
  }
  return m;
}
constexpr int kSpreads = 6;
constexpr std::pair<size_t, size_t> kSpreadShapes[] = {{800, 128}, {1000, 256}, {800, 330}, {100, 1000}, {5, 40000}};

TEST(Nf4Dq, BestIsNeverWorseOnAnyBlockWhateverTheSpread) {
  std::mt19937 rng(18);
  const Format& f = *find_format("nf4-dq");
  const FormatCode& code = *targets_of(f).back().second;
  for (int kind = 0; kind < kSpreads; ++kind) {
    for (const auto& [rows, cols] : kSpreadShapes) {
      const Matrix m = spread_matrix(rng, rows, cols, kind);
      Coding c;
      c.shared = share(f, code, m, c);
      const Matrix best = decode(f, code, encode(f, code, m, c), m, c);
      c.encoder = Encoder::kReference;
      const Matrix reference = decode(f, code, encode(f, code, m, c), m, c);
      const auto b = errors(f, m, best), r = errors(f, m, reference);
      size_t worse = 0;
      for (size_t g = 0; g < b.size(); ++g) worse += b[g] > r[g];
      EXPECT_EQ(worse, 0u) << "kind " << kind << " " << rows << "x" << cols;
    }
  }
}

TEST(Nf4Dq, DecodedValuesAreFoundAgainWhateverTheSpread) {
  std::mt19937 rng(19);
  const Format& f = *find_format("nf4-dq");
  const FormatCode& code = *targets_of(f).back().second;
  for (int kind = 0; kind < kSpreads; ++kind) {
    for (const auto& [rows, cols] : kSpreadShapes) {
      const Matrix m = spread_matrix(rng, rows, cols, kind);
      for (const Encoder e : {Encoder::kBest, Encoder::kReference}) {
        // The reference may store a negative scale, whose sign a block with a single value does not tell.
        if (e == Encoder::kReference && kind == 3) continue;
        Coding c{.encoder = e};
        c.shared = share(f, code, m, c);
        const Matrix once = decode(f, code, encode(f, code, m, c), m, c);
        c.encoder = Encoder::kBest;
        const Matrix twice = decode(f, code, encode(f, code, once, c), m, c);
        size_t moved = 0;
        for (size_t r = 0; r < rows; ++r) {
          size_t wrong = 0;
          for (size_t i = r * cols; i < (r + 1) * cols; ++i) wrong += once.x[i] != twice.x[i];
          moved += wrong != 0;
        }
        EXPECT_EQ(moved, 0u) << "kind " << kind << " " << rows << "x" << cols << " " << name(e);
      }
    }
  }
}

TEST(Nvfp4, TensorScaleIsThePackages) {
  const Format& f = *find_format("nvfp4");
  EXPECT_EQ(f.share({.absmax = 2688.0f}, {}).scale, 1.0f);
  EXPECT_EQ(f.share({.absmax = 0.0f}, {}).scale, 2688.0f / 0x1p-126f > 3.4e38f ? 1.0f : 2688.0f / 0x1p-126f);
  EXPECT_EQ(f.share({.absmax = 0.3f}, {.arithmetic = DType::kBF16}).scale, 8960.0f);
  EXPECT_EQ(find_format("nvfp4-gguf")->share, nullptr);
}

TEST(Fp8Block, RowsStandAlone) {
  std::mt19937 rng(17);
  const Format& f = *find_format("fp8-block");
  const FormatCode& code = *targets_of(f).back().second;
  const Matrix m = random_matrix(rng, 140, 300, kKinds);
  const Coding c;
  const auto packed = encode(f, code, m, c);
  const Matrix all = decode(f, code, packed, m, c);
  const size_t stride = f.row_bytes(300, c);
  for (size_t r = 0; r < 140; r += 23) {
    std::vector<float> one(300);
    code.decode(packed.data() + r * stride, 1, 300, c, one.data(), nullptr);
    EXPECT_EQ(std::memcmp(one.data(), all.x.data() + r * 300, 1200), 0) << r;
  }
}

}  // namespace
}  // namespace viva
