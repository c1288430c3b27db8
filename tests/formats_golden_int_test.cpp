// The reference encoders of the integer formats against the bytes of the peer packages (../shared/golden),
// and the decoders against what the packages decode.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "golden.h"
#include "viva/formats/format.h"
#include "viva/machine/machine.h"

namespace viva {
namespace {

using test::Golden;

struct Encoded {
  const Format& format;
  Coding coding;
  size_t rows, cols;
  std::vector<uint8_t> packed;
  const FormatCode& code;

  Encoded(const Format& f, const Coding& c, const std::vector<float>& x, size_t r, size_t k, Target target)
      : format(f), coding(c), rows(r), cols(k), packed(r * f.row_bytes(k, c)), code(f.on(target)) {
    coding.encoder = Encoder::kReference;
    auto work = scratch();
    code.encode(x.data(), rows, cols, coding, packed.data(), work.get());
  }
  std::unique_ptr<float, decltype(&std::free)> scratch() const {
    const size_t bytes = (code.scratch(cols, coding) * 4 / 64 + 1) * 64;
    return {static_cast<float*>(std::aligned_alloc(64, bytes)), &std::free};
  }
  // The part of every row with this role, as one tensor.
  std::vector<uint8_t> part(Role role) const {
    const size_t row_bytes = format.row_bytes(cols, coding);
    std::vector<uint8_t> out;
    for (size_t r = 0; r < rows; ++r) {
      for (const Piece& p : format.pieces(cols, coding)) {
        const uint8_t* from = packed.data() + r * row_bytes + p.offset;
        if (p.role == role) out.insert(out.end(), from, from + p.bytes);
      }
    }
    return out;
  }
  std::vector<float> decoded() const {
    std::vector<float> x(rows * cols);
    auto work = scratch();
    code.decode(packed.data(), rows, cols, coding, x.data(), work.get());
    return x;
  }
};

std::vector<Target> targets() {
  std::vector<Target> list;
  for (Target t : {Target::kAvx3, Target::kAvx2, Target::kSse4, Target::kScalar}) {
    if (runs(t)) list.push_back(t);
  }
  return list;
}

// The f32 values as the golden file's dtype holds them.
void expect_decoded(const Golden& want, const std::string& name, const std::vector<float>& got) {
  if (!want.has(name)) return;
  const auto expected = want.floats(name);
  ASSERT_LE(expected.size(), got.size());
  const DType t = want.info(name).dtype;
  size_t wrong = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    float v = got[i];
    if (t == DType::kBF16) v = bf16_to_f32(f32_to_bf16(v));
    if (t == DType::kF16) v = f16_to_f32(f32_to_f16(v));
    wrong += v != expected[i];
  }
  EXPECT_EQ(wrong, 0u) << name;
}

class Gguf : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Gguf, ReferenceGivesTheBytesOfGgml) {
  SKIP_WITHOUT_GOLDEN();
  const auto [name, file] = GetParam();
  const Golden in("inputs.safetensors"), want(std::string("gguf/") + file);
  size_t compared = 0;
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/bytes")) continue;
    const std::string input = t.name.substr(0, t.name.size() - 6);
    for (Target target : targets()) {
      const Encoded e(*find_format(name), {}, in.floats(input), t.shape[0], in.info(input).shape[1], target);
      const auto bytes = want.bytes(t.name);
      ASSERT_EQ(e.packed.size(), bytes.size());
      for (size_t r = 0; r < t.shape[0]; ++r) {
        // Block maxima whose reciprocal is infinite: ggml's own result is not defined there.
        if (input.starts_with("edge") && r == 6) continue;
        EXPECT_EQ(std::memcmp(e.packed.data() + r * t.shape[1], bytes.data() + r * t.shape[1], t.shape[1]), 0)
            << t.name << " row " << r << " on " << viva::name(target);
        ++compared;
      }
      if (!input.starts_with("edge")) expect_decoded(want, input + "/dequantized", e.decoded());
    }
  }
  EXPECT_GT(compared, 300u);
}

INSTANTIATE_TEST_SUITE_P(All, Gguf,
                         testing::Values(std::pair{"q4_0", "Q4_0.safetensors"},
                                         std::pair{"q4_1", "Q4_1.safetensors"},
                                         std::pair{"q8_0", "Q8_0.safetensors"}));

struct Ct {
  const char* format;
  uint32_t group;
  const char* file;
};
class CompressedTensors : public testing::TestWithParam<Ct> {};

// zero points (one byte each, [rows, groups]) packed along the rows, eight to a word.
std::vector<uint8_t> pack_zeros(const std::vector<uint8_t>& zeros, size_t rows, size_t groups) {
  std::vector<uint8_t> out((rows + 7) / 8 * groups * 4);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t g = 0; g < groups; ++g) {
      out[(r / 8 * groups + g) * 4 + r % 8 / 2] |= static_cast<uint8_t>(zeros[r * groups + g] << (r % 2 * 4));
    }
  }
  return out;
}

TEST_P(CompressedTensors, ReferenceGivesTheBytesOfThePackage) {
  SKIP_WITHOUT_GOLDEN();
  const Ct p = GetParam();
  const Golden in("inputs.safetensors"), want(std::string("compressed_tensors/") + p.file);
  size_t compared = 0;
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/weight_scale")) continue;
    const std::string input = t.name.substr(0, t.name.size() - 13);
    const auto& shape = in.info(input).shape;
    Coding coding;
    coding.group = p.group;
    coding.scale = t.dtype;
    coding.arithmetic = in.info(input).dtype;
    for (Target target : targets()) {
      const Encoded e(*find_format(p.format), coding, in.floats(input), shape[0], shape[1], target);
      const std::string codes = input + (want.has(input + "/weight_packed") ? "/weight_packed" : "/weight");
      EXPECT_EQ(e.part(Role::kCodes), want.bytes(codes)) << codes << " on " << name(target);
      EXPECT_EQ(e.part(Role::kScale), want.bytes(t.name)) << t.name << " on " << name(target);
      if (want.has(input + "/weight_zero_point")) {
        EXPECT_EQ(pack_zeros(e.part(Role::kZero), shape[0], shape[1] / p.group),
                  want.bytes(input + "/weight_zero_point"))
            << input << " on " << name(target);
      }
      expect_decoded(want, input + "/dequantized", e.decoded());
      ++compared;
    }
  }
  EXPECT_GE(compared, 4u);
}

INSTANTIATE_TEST_SUITE_P(All, CompressedTensors,
                         testing::Values(Ct{"int4", 32, "pack_int4_g32_sym.safetensors"},
                                         Ct{"int4", 128, "pack_int4_g128_sym.safetensors"},
                                         Ct{"int4-asym", 32, "pack_int4_g32_asym.safetensors"},
                                         Ct{"int4-asym", 128, "pack_int4_g128_asym.safetensors"},
                                         Ct{"w8a8", 0, "int8_channel.safetensors"}));

TEST(Bitsandbytes, ReferenceGivesItsInt8Rows) {
  SKIP_WITHOUT_GOLDEN();
  const Golden in("inputs.safetensors"), want("bitsandbytes/int8_weight.safetensors");
  for (const auto& t : want.tensors()) {
    if (!t.name.ends_with("/SCB")) continue;
    const std::string input = t.name.substr(0, t.name.size() - 4);
    const auto& shape = in.info(input).shape;
    for (Target target : targets()) {
      const Encoded e(*find_format("int8"), {}, in.floats(input), shape[0], shape[1], target);
      EXPECT_EQ(e.part(Role::kCodes), want.bytes(input + "/weight")) << input << " on " << name(target);
      EXPECT_EQ(e.part(Role::kScale), want.bytes(t.name)) << input << " on " << name(target);
      expect_decoded(want, input + "/dequantized", e.decoded());
    }
  }
}

// The casts are those of float16.h, which are compared with torch's.
TEST(Floats, AreTheScalarCasts) {
  std::vector<float> x = {0.0f,   -0.0f,    1.0f,     -2.5f, 65504.0f, 65519.0f, 1e-8f,
                          -6e-8f, 0x1p-24f, 0x1p-25f, 3e38f, 1e-40f,   0.1f};
  for (uint32_t i = 0; i < 1000; ++i) x.push_back(std::bit_cast<float>(i * 4294967u % 0x7f7fffffu));
  for (Target target : targets()) {
    for (const auto& [name, cast, back] :
         {std::tuple{"f16", &f32_to_f16, &f16_to_f32}, {"bf16", &f32_to_bf16, &bf16_to_f32}}) {
      const Encoded e(*find_format(name), {}, x, 1, x.size(), target);
      const auto values = e.decoded();
      for (size_t i = 0; i < x.size(); ++i) {
        uint16_t h;
        std::memcpy(&h, e.packed.data() + 2 * i, 2);
        ASSERT_EQ(h, cast(x[i])) << name << " " << x[i];
        ASSERT_EQ(values[i], back(h)) << name << " " << x[i];
      }
    }
    const Encoded e(*find_format("f32"), {}, x, 1, x.size(), target);
    EXPECT_EQ(std::memcmp(e.packed.data(), x.data(), 4 * x.size()), 0);
    EXPECT_EQ(e.decoded(), x);
  }
}

TEST(FormatNames, SayTheGroup) {
  const auto parsed = [](std::string_view text) {
    const auto c = parse_format(text);
    return c ? std::string(c->format->name) + ":" + std::to_string(c->coding.group) : "none";
  };
  EXPECT_EQ(parsed("int4-g128"), "int4:128");
  EXPECT_EQ(parsed("int4-g32"), "int4:32");
  EXPECT_EQ(parsed("int4-g128-asym"), "int4-asym:128");
  EXPECT_EQ(parsed("int4-asym"), "int4-asym:0");
  EXPECT_EQ(parsed("nf4"), "nf4:0");
  EXPECT_EQ(parsed("nf4-g128"), "nf4:128");
  EXPECT_EQ(parsed("q8_0-g32"), "q8_0:32");
  for (const char* wrong : {"", "-g", "int4-g", "int4-g0", "int4-g64", "int4-g032", "int4-g32x",
                            "int4-g99999999999", "nf4-g-1", "INT4", "int4-g32-"}) {
    EXPECT_EQ(parsed(wrong), "none") << wrong;
  }
  for (const Format* f : formats()) {
    std::vector<uint32_t> groups(f->groups.begin(), f->groups.end());
    groups.push_back(0);
    for (uint32_t g : groups) {
      Coding c;
      c.group = g;
      const std::string text = format_text(*f, c);
      const auto back = parse_format(text);
      ASSERT_TRUE(back) << text;
      EXPECT_EQ(back->format, f) << text;
      EXPECT_EQ(format_text(*back->format, back->coding), text);
    }
  }
  EXPECT_EQ(format_text(*find_format("int4"), {}), "int4-g128");
  EXPECT_EQ(format_text(*find_format("nf4"), {}), "nf4");
}

}  // namespace
}  // namespace viva
