#include "viva/ops/random.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "viva/kernels/random.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

using kernels::Draw;

constexpr uint64_t kSplitKey = 0x73706c69742d2d3e;  // children and numbers come from different keys

Tensor draw(const Machine& machine, Generator& g, const Shape& shape, const Draw& d, DType dtype) {
  const Tensor out(machine, shape, dtype);
  const uint64_t n = static_cast<uint64_t>(out.count()), each = kernels::values_of_block(d, dtype);
  kernels::fill_random(machine, {g.seed, g.stream, g.counter}, d, out);
  g.counter += n / each + (n % each != 0 ? 1 : 0);
  return out;
}

void check_float(DType dtype, std::string_view operation, std::string_view hint = "a float type") {
  if (!is_real_float(dtype)) throw Error(Code::kUsage, operation, fmt::format("it is not defined on {}", name(dtype)), hint);
}

double as_type(double v, DType t) { return t == DType::kF64 ? v : static_cast<double>(static_cast<float>(v)); }

double highest(DType t) {
  switch (t) {
    case DType::kF16: return 65504;
    case DType::kBF16: return 0x1.fep127;
    case DType::kF32: return std::numeric_limits<float>::max();
    default: return std::numeric_limits<double>::max();
  }
}

// The largest value of the type that is less than `high` and not less than `low`.
double below(double high, double low, DType t) {
  double v = low;
  with_element(t, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_same_v<T, double>) {
      v = std::nextafter(high, -std::numeric_limits<double>::infinity());
    } else if constexpr (std::is_same_v<T, float>) {
      const float f = static_cast<float>(high);
      v = static_cast<double>(f) < high ? f : std::nextafter(f, -std::numeric_limits<float>::infinity());
    } else if constexpr (std::is_same_v<T, F16> || std::is_same_v<T, BF16>) {
      T s(static_cast<float>(high));
      if (static_cast<double>(static_cast<float>(s)) >= high) {
        // One step down: towards 0 from above it, away from it below.
        if (s.bits == 0 || s.bits == 0x8000) {
          s.bits = 0x8001;
        } else {
          s.bits = static_cast<uint16_t>((s.bits & 0x8000) != 0 ? s.bits + 1 : s.bits - 1);
        }
      }
      v = static_cast<float>(s);
    }
  });
  return std::max(v, low);
}

struct Fans {
  double in = 0, out = 0;
};
Fans fans_of(const Shape& shape, std::string_view operation) {
  count(shape);
  if (shape.size() < 2) throw Error(Code::kUsage, operation, fmt::format("shape {} has no fans", text(shape)), "(out, in) or (out, in, ...)");
  double places = 1;
  for (size_t i = 2; i < shape.size(); ++i) places *= static_cast<double>(shape[i]);
  return {static_cast<double>(shape[1]) * places, static_cast<double>(shape[0]) * places};
}

// Values of this variance; of an empty shape there are none, whatever it is.
Tensor scaled(const Machine& machine, Generator& g, const Shape& shape, double gain, double fan, bool flat, DType dtype, std::string_view operation) {
  check_float(dtype, operation);
  if (!(gain >= 0) || !std::isfinite(gain)) throw Error(Code::kUsage, operation, fmt::format("a gain of {}", gain), "finite and not negative");
  const double deviation = fan == 0 ? 0 : gain / std::sqrt(fan), bound = deviation * std::sqrt(3.0);
  return flat ? uniform(machine, g, shape, -bound, bound, dtype) : normal(machine, g, shape, 0, deviation, dtype);
}

// Rows made orthogonal to each other and of length 1: Gram and Schmidt's procedure, modified, twice (once leaves an error in
// proportion to the condition). In panels: a row that follows meets all of a panel while this lies in the cache. Sums run in
// eight lanes, whatever the vectors of the machine.
constexpr int64_t kLanes = 8;
double dot(const double* a, const double* b, int64_t n) noexcept {
  double lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t k = 0; k < kLanes; ++k) lane[k] += a[i + k] * b[i + k];
  }
  for (; i < n; ++i) lane[i % kLanes] += a[i] * b[i];
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}
void subtract_part(double* row, const double* unit, int64_t n) noexcept {
  const double part = dot(row, unit, n);
  for (int64_t i = 0; i < n; ++i) row[i] -= part * unit[i];
}
void orthogonalize(const Machine& machine, double* rows, int64_t n, int64_t cols) {
  constexpr int64_t kPanel = 32;
  for (int64_t first = 0; first < n; first += kPanel) {
    const int64_t end = std::min(n, first + kPanel);
    for (int64_t k = first; k < end; ++k) {
      double* row = rows + k * cols;
      for (int64_t j = first; j < k; ++j) subtract_part(row, rows + j * cols, cols);
      const double length = std::sqrt(dot(row, row, cols));
      if (length > 0) {
        for (int64_t i = 0; i < cols; ++i) row[i] /= length;
      } else {
        row[k % cols] = 1;  // drawn with no probability worth the name
      }
    }
    const int64_t rest = n - end, tasks = std::min<int64_t>(rest, 64);
    machine.parallel_for(static_cast<size_t>(tasks), [&](size_t task) {
      for (int64_t r = end + static_cast<int64_t>(task); r < n; r += tasks) {
        for (int64_t j = first; j < end; ++j) subtract_part(rows + r * cols, rows + j * cols, cols);
      }
    });
  }
}

// A permutation after Rao and Sandelius: each number goes to one of some parts by random bits, each part is shuffled; all n! orders
// are equally likely, and a part lies in the cache.
constexpr int64_t kWholePart = 32 * 1024;
constexpr int64_t kStripBlocks = 512;

// f(i, word i) for i in [begin, end), begin a multiple of 4.
template <class F>
void each_word(kernels::RandomPlace place, Target target, int64_t begin, int64_t end, F f) {
  uint32_t w[4 * kStripBlocks];
  place.block += static_cast<uint64_t>(begin) / 4;
  for (int64_t i = begin; i < end; place.block += kStripBlocks) {
    kernels::random_words(place, static_cast<size_t>(std::min(kStripBlocks, (end - i + 3) / 4)), w, target);
    for (int64_t k = 0; k < 4 * kStripBlocks && i < end; ++k, ++i) f(i, w[k]);
  }
}

// Where the parts start, and the end.
std::vector<int64_t> scatter_to_parts(const Machine& machine, kernels::RandomPlace place, int64_t n, int64_t* to) {
  uint32_t bits = 0;
  while (bits < 10 && n >> bits > kWholePart) ++bits;
  if (bits == 0) {
    for (int64_t i = 0; i < n; ++i) to[i] = i;
    return {0, n};
  }
  const size_t parts = size_t{1} << bits;
  const int64_t run = std::max<int64_t>(64 * 1024, (n / 512 + 4) / 4 * 4), runs = (n + run - 1) / run;
  std::vector<int64_t> at(static_cast<size_t>(runs) * parts);  // of each run: how many, then where its next goes
  machine.parallel_for(static_cast<size_t>(runs), [&](size_t r) {
    const int64_t begin = static_cast<int64_t>(r) * run;
    int64_t* counts = at.data() + r * parts;
    each_word(place, machine.target(), begin, std::min(n, begin + run), [&](int64_t, uint32_t w) { ++counts[w >> (32 - bits)]; });
  });
  std::vector<int64_t> starts;
  int64_t all = 0;
  for (size_t k = 0; k < parts; ++k) {
    starts.push_back(all);
    for (size_t r = 0; r < static_cast<size_t>(runs); ++r) all += std::exchange(at[r * parts + k], all);
  }
  starts.push_back(all);
  machine.parallel_for(static_cast<size_t>(runs), [&](size_t r) {
    const int64_t begin = static_cast<int64_t>(r) * run;
    int64_t* next = at.data() + r * parts;
    each_word(place, machine.target(), begin, std::min(n, begin + run), [&](int64_t i, uint32_t w) { to[next[w >> (32 - bits)]++] = i; });
  });
  return starts;
}

// Fisher and Yates's, of [begin, end); value i takes words 2 i and 2 i + 1.
void shuffle(kernels::RandomPlace place, Target target, int64_t* values, int64_t begin, int64_t end) {
  uint32_t low = 0;
  each_word(place, target, 2 * begin / 4 * 4, 2 * end, [&](int64_t k, uint32_t w) {
    const int64_t i = k / 2;
    if (k % 2 == 0) {
      low = w;
    } else if (i >= begin) {
      const uint64_t random = low | uint64_t{w} << 32;
      const int64_t j = static_cast<int64_t>((static_cast<unsigned __int128>(random) * static_cast<uint64_t>(end - i)) >> 64);
      std::swap(values[i], values[i + j]);
    }
  });
}

}  // namespace

Generator Generator::split(uint64_t i) const noexcept {
  const uint64_t key = seed ^ kSplitKey;
  const auto w = kernels::philox({static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                                 {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)});
  return {w[0] | uint64_t{w[1]} << 32, 0, w[2] | uint64_t{w[3]} << 32};
}

Tensor uniform(const Machine& machine, Generator& g, const Shape& shape, double low, double high, DType dtype) {
  check_float(dtype, "uniform", "a float type; integers() draws whole numbers");
  const double most = highest(dtype);
  if (!(low <= high) || !(low >= -most) || !(high <= most) || !(high - low <= highest(dtype == DType::kF64 ? dtype : DType::kF32))) {
    throw Error(Code::kUsage, "uniform", fmt::format("from {} to {}", low, high), fmt::format("low <= high, both and their distance finite in {}", name(dtype)));
  }
  Draw d;
  d.a = as_type(low, dtype);
  d.b = as_type(high, dtype) - d.a;
  d.top = below(high, low, dtype);
  return draw(machine, g, shape, d, dtype);
}

Tensor normal(const Machine& machine, Generator& g, const Shape& shape, double mean, double deviation, DType dtype) {
  check_float(dtype, "normal");
  if (!std::isfinite(mean) || !std::isfinite(deviation) || deviation < 0) {
    throw Error(Code::kUsage, "normal", fmt::format("mean {} and deviation {}", mean, deviation), "finite, the deviation not negative");
  }
  Draw d;
  d.kind = Draw::Kind::kNormal;
  d.a = mean;
  d.b = deviation;
  return draw(machine, g, shape, d, dtype);
}

Tensor integers(const Machine& machine, Generator& g, const Shape& shape, int64_t low, int64_t high, DType dtype) {
  if (!is_int(dtype)) throw Error(Code::kUsage, "integers", fmt::format("it is not defined on {}", name(dtype)), "an integer type");
  if (low >= high || !Arg(low).fits(dtype) || !Arg(high - 1).fits(dtype)) {
    throw Error(Code::kUsage, "integers", fmt::format("from {} to {} as {}", low, high, name(dtype)), "low < high, both within the type");
  }
  Draw d;
  d.kind = Draw::Kind::kIntegers;
  d.low = low;
  d.last = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) - 1;
  return draw(machine, g, shape, d, dtype);
}

Tensor bernoulli(const Machine& machine, Generator& g, const Shape& shape, double p) {
  if (!(p >= 0 && p <= 1)) throw Error(Code::kUsage, "bernoulli", fmt::format("a probability of {}", p), "0 to 1");
  Draw d;
  d.kind = Draw::Kind::kBernoulli;
  d.threshold = static_cast<uint64_t>(p * 0x1p32 + 0.5);
  return draw(machine, g, shape, d, DType::kBool);
}

Tensor permutation(const Machine& machine, Generator& g, int64_t n) {
  if (n < 0) throw Error(Code::kUsage, "permutation", fmt::format("{} values", n), "0 or more");
  const Tensor out(machine, {n}, DType::kI64);
  int64_t* const to = out.data<int64_t>();
  kernels::RandomPlace place{g.seed, g.stream, g.counter};
  const std::vector<int64_t> starts = scatter_to_parts(machine, place, n, to);
  if (starts.size() > 2) place.block += static_cast<uint64_t>(n) / 4 + 1;
  machine.parallel_for(starts.size() - 1, [&](size_t k) { shuffle(place, machine.target(), to, starts[k], starts[k + 1]); });
  g.counter = place.block + static_cast<uint64_t>(n) / 2 + 1;
  return out;
}

Tensor xavier_uniform(const Machine& machine, Generator& g, const Shape& shape, double gain, DType dtype) {
  const Fans f = fans_of(shape, "xavier_uniform");
  return scaled(machine, g, shape, gain, (f.in + f.out) / 2, true, dtype, "xavier_uniform");
}
Tensor xavier_normal(const Machine& machine, Generator& g, const Shape& shape, double gain, DType dtype) {
  const Fans f = fans_of(shape, "xavier_normal");
  return scaled(machine, g, shape, gain, (f.in + f.out) / 2, false, dtype, "xavier_normal");
}
Tensor he_uniform(const Machine& machine, Generator& g, const Shape& shape, double gain, Fan fan, DType dtype) {
  const Fans f = fans_of(shape, "he_uniform");
  return scaled(machine, g, shape, gain, fan == Fan::kIn ? f.in : f.out, true, dtype, "he_uniform");
}
Tensor he_normal(const Machine& machine, Generator& g, const Shape& shape, double gain, Fan fan, DType dtype) {
  const Fans f = fans_of(shape, "he_normal");
  return scaled(machine, g, shape, gain, fan == Fan::kIn ? f.in : f.out, false, dtype, "he_normal");
}

Tensor orthogonal(const Machine& machine, Generator& g, const Shape& shape, double gain, DType dtype) {
  check_float(dtype, "orthogonal");
  fans_of(shape, "orthogonal");
  if (!std::isfinite(gain)) throw Error(Code::kUsage, "orthogonal", fmt::format("a gain of {}", gain), "a finite one");
  const int64_t rows = shape[0], cols = rows == 0 ? 0 : count(shape) / rows;
  const Tensor m = normal(machine, g, {std::min(rows, cols), std::max(rows, cols)}, 0, 1, DType::kF64);
  for (int pass = 0; pass < 2; ++pass) orthogonalize(machine, m.data<double>(), m.size(0), m.size(1));
  return reshape(to(multiply(rows <= cols ? m : m.transpose(0, 1), gain), dtype), shape);
}

}  // namespace viva
