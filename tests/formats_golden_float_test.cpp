// Table and float formats against the golden files of their own packages: the reference encoder gives the
// same bytes, on every SIMD target and in the scalar twin.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "golden.h"
#include "targets.h"
#include "viva/formats/format.h"

namespace viva {
namespace {

using test::Aligned;
using test::targets_of;

using test::Golden;

std::vector<uint8_t> encode(const Format& f, const FormatCode& code, const std::vector<float>& x, size_t rows,
                            size_t cols, const Coding& c) {
  std::vector<uint8_t> out(rows * f.row_bytes(cols, c));
  Aligned work(code.scratch(cols, c));
  code.encode(x.data(), rows, cols, c, out.data(), work.data);
  return out;
}
std::vector<float> decode(const FormatCode& code, const std::vector<uint8_t>& packed, size_t rows,
                          size_t cols, const Coding& c) {
  std::vector<float> out(rows * cols);
  Aligned work(code.scratch(cols, c));
  code.decode(packed.data(), rows, cols, c, out.data(), work.data);
  return out;
}

// Piece number `k` of every row, one after the other: what io writes as one tensor.
std::vector<uint8_t> piece(const Format& f, const std::vector<uint8_t>& packed, size_t rows, size_t cols,
                           const Coding& c, size_t k) {
  const Piece p = f.pieces(cols, c)[k];
  const size_t stride = f.row_bytes(cols, c);
  std::vector<uint8_t> out;
  for (size_t r = 0; r < rows; ++r) {
    const auto* from = packed.data() + r * stride + p.offset;
    out.insert(out.end(), from, from + p.bytes);
  }
  return out;
}

// How many bytes differ outside of row `skip`, with the first place, for a short message.
std::string difference(const std::vector<uint8_t>& got, const std::vector<uint8_t>& want, size_t rows,
                       size_t skip = SIZE_MAX) {
  if (got.size() != want.size()) return fmt::format("{} bytes, want {}", got.size(), want.size());
  size_t n = 0, first = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i] || (rows != 0 && i / (got.size() / rows) == skip)) continue;
    if (n++ == 0) first = i;
  }
  if (n == 0) return "";
  return fmt::format("{} of {} bytes differ, the first at {} (row {}): {:02x}, want {:02x}", n, got.size(),
                     first, rows == 0 ? 0 : first / (got.size() / rows), got[first], want[first]);
}

DType dtype_of(const std::string& input) {
  return input.ends_with(".bf16") ? DType::kBF16 : input.ends_with(".f16") ? DType::kF16 : DType::kF32;
}

// The f32 value of level times scale as torch's cast to the weight's dtype leaves it.
float cast(DType t, float v) {
  return t == DType::kBF16 ? bf16_to_f32(f32_to_bf16(v)) : t == DType::kF16 ? f16_to_f32(f32_to_f16(v)) : v;
}

void expect_values(const std::vector<float>& got, const std::vector<float>& want, DType t,
                   const std::string& where) {
  size_t n = 0;
  for (size_t i = 0; i < want.size(); ++i) n += cast(t, got[i]) != want[i];
  EXPECT_EQ(n, 0u) << where;
}

void bitsandbytes(const std::string& file, const char* format, uint32_t group) {
  const Golden in("inputs.safetensors"), want("bitsandbytes/" + file + ".safetensors");
  const Format& f = *find_format(format);
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/weight")) continue;
    const std::string name = t.name.substr(0, t.name.size() - 7);
    const auto x = in.floats(name);
    for (const auto& [target, code] : targets_of(f)) {
      const Coding c{.group = group, .encoder = Encoder::kReference};
      const auto got = encode(f, *code, x, 1, x.size(), c);
      EXPECT_EQ(difference(piece(f, got, 1, x.size(), c, 0), want.bytes(t.name), 0), "")
          << name << " " << target;
      EXPECT_EQ(difference(piece(f, got, 1, x.size(), c, 1), want.bytes(t.name + ".absmax"), 0), "")
          << name << " " << target;
      if (name == "edge.bf16") continue;  // the package flushes bf16 subnormals there
      expect_values(decode(*code, got, 1, x.size(), c), want.floats(name + "/dequantized"), dtype_of(name),
                    name + " " + target);
    }
  }
}

TEST(FormatsGoldenFloat, Nf4DoubleQuantized) {
  SKIP_WITHOUT_GOLDEN();
  const Golden in("inputs.safetensors"), want("bitsandbytes/nf4_b64_double.safetensors");
  const Format& f = *find_format("nf4-dq");
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/weight")) continue;
    const std::string name = t.name.substr(0, t.name.size() - 7);
    const auto x = in.floats(name);
    const auto state = want.bytes(t.name + ".quant_state.bitsandbytes__nf4");
    const float offset = nlohmann::json::parse(state.begin(), state.end()).at("nested_offset").get<double>();
    for (const auto& [target, code] : targets_of(f)) {
      Coding c{.encoder = Encoder::kReference};
      Observed seen;
      code->observe(x.data(), 1, x.size(), c, seen);
      EXPECT_NEAR(f.share(seen, c).offset, offset, 1e-6 * offset)
          << name << " " << target;  // torch sums in its own order
      c.shared.offset = offset;
      const auto got = encode(f, *code, x, 1, x.size(), c);
      EXPECT_EQ(difference(piece(f, got, 1, x.size(), c, 0), want.bytes(t.name), 0), "")
          << name << " " << target;
      EXPECT_EQ(difference(piece(f, got, 1, x.size(), c, 1), want.bytes(t.name + ".absmax"), 0), "")
          << name << " " << target;
      EXPECT_EQ(difference(piece(f, got, 1, x.size(), c, 2), want.bytes(t.name + ".nested_absmax"), 0), "")
          << name << " " << target;
      expect_values(decode(*code, got, 1, x.size(), c), want.floats(name + "/dequantized"), dtype_of(name),
                    name + " " + target);
    }
  }
}

TEST(FormatsGoldenFloat, Nf4Block64) {
  SKIP_WITHOUT_GOLDEN();
  bitsandbytes("nf4_b64", "nf4", 64);
}
TEST(FormatsGoldenFloat, Nf4Block128) {
  SKIP_WITHOUT_GOLDEN();
  bitsandbytes("nf4_b128", "nf4", 128);
}
TEST(FormatsGoldenFloat, Fp4Block64) {
  SKIP_WITHOUT_GOLDEN();
  bitsandbytes("fp4_b64", "fp4", 64);
}

void ggml(const std::string& file, const char* format) {
  const Golden in("inputs.safetensors"), want("gguf/" + file + ".safetensors");
  const Format& f = *find_format(format);
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/bytes")) continue;
    const std::string name = t.name.substr(0, t.name.size() - 6);
    const auto x = in.floats(name);
    const size_t cols = in.info(name).shape[1], rows = t.shape[0];
    // Row 6 holds f32 subnormals, where ggml's exponent wraps around.
    const size_t skip = name.starts_with("edge") ? 6 : SIZE_MAX;
    const Coding c{.encoder = Encoder::kReference};
    for (const auto& [target, code] : targets_of(f)) {
      const auto got = encode(f, *code, x, rows, cols, c);
      EXPECT_EQ(difference(got, want.bytes(t.name), rows, skip), "") << name << " " << target;
      if (!want.has(name + "/dequantized")) continue;
      auto values = want.floats(name + "/dequantized");
      auto decoded = decode(*code, want.bytes(t.name), rows, cols, c);
      decoded.resize(values.size());
      expect_values(decoded, values, DType::kF32, name + " " + target);
    }
  }
}

TEST(FormatsGoldenFloat, GgmlMxfp4) {
  SKIP_WITHOUT_GOLDEN();
  ggml("MXFP4", "mxfp4-gguf");
}
TEST(FormatsGoldenFloat, GgmlNvfp4) {
  SKIP_WITHOUT_GOLDEN();
  ggml("NVFP4", "nvfp4-gguf");
}

void compressed_tensors(const std::string& file, const char* format, const std::string& codes_name) {
  const Golden in("inputs.safetensors"), want("compressed_tensors/" + file + ".safetensors");
  const Format& f = *find_format(format);
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/" + codes_name)) continue;
    const std::string name = t.name.substr(0, t.name.size() - codes_name.size() - 1);
    const auto x = in.floats(name);
    const size_t rows = in.info(name).shape[0], cols = in.info(name).shape[1];
    const auto& scale = want.info(name + "/weight_scale");
    Coding c{.arithmetic = dtype_of(name), .encoder = Encoder::kReference};
    c.scale = bytes(scale.dtype) > 1 ? scale.dtype : DType::kF32;
    for (const auto& [target, code] : targets_of(f)) {
      if (f.share != nullptr) {
        Observed seen;
        code->observe(x.data(), rows, cols, c, seen);
        c.shared = f.share(seen, c);
        EXPECT_EQ(c.shared.scale, want.floats(name + "/weight_global_scale")[0]) << name << " " << target;
      }
      const auto got = encode(f, *code, x, rows, cols, c);
      EXPECT_EQ(difference(piece(f, got, rows, cols, c, 0), want.bytes(t.name), rows), "")
          << name << " " << target;
      auto scales = piece(f, got, rows, cols, c, 1);
      // Rows of a panel hold equal copies of its scales: io writes one.
      if (f.row_panel > 1) {
        const size_t row = f.pieces(cols, c)[1].bytes;
        for (size_t r = 1; r < rows; ++r) {
          EXPECT_EQ(
              std::memcmp(scales.data() + r * row, scales.data() + r / f.row_panel * f.row_panel * row, row),
              0);
        }
        std::vector<uint8_t> once;
        for (size_t r = 0; r < rows; r += f.row_panel)
          once.insert(once.end(), scales.begin() + r * row, scales.begin() + (r + 1) * row);
        scales = once;
      }
      EXPECT_EQ(difference(scales, want.bytes(name + "/weight_scale"), scale.shape[0]), "")
          << name << " " << target;
      if (!want.has(name + "/dequantized")) continue;
      auto values = want.floats(name + "/dequantized");
      auto decoded = decode(*code, got, rows, cols, c);
      decoded.resize(values.size());
      const DType as = want.info(name + "/dequantized").dtype;
      if (f.row_panel > 1 || as == DType::kF32) expect_values(decoded, values, as, name + " " + target);
    }
  }
}

TEST(FormatsGoldenFloat, Nvfp4) {
  SKIP_WITHOUT_GOLDEN();
  compressed_tensors("nvfp4a16", "nvfp4", "weight_packed");
}
TEST(FormatsGoldenFloat, Mxfp4) {
  SKIP_WITHOUT_GOLDEN();
  compressed_tensors("mxfp4a16", "mxfp4", "weight_packed");
}
TEST(FormatsGoldenFloat, Fp8Channel) {
  SKIP_WITHOUT_GOLDEN();
  compressed_tensors("fp8_channel", "fp8", "weight");
}
TEST(FormatsGoldenFloat, Fp8Block) {
  SKIP_WITHOUT_GOLDEN();
  compressed_tensors("fp8_block128", "fp8-block", "weight");
}

}  // namespace
}  // namespace viva
