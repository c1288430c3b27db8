// Quantized checkpoints of other tools: read by name, decoded value for value, and written back to the same
// bytes.
#include "viva/io/checkpoint.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "golden.h"
#include "model_files.h"

namespace viva {
namespace {

using io::Checkpoint;
using io::Weight;
using nlohmann::json;
using test::Folder;
using test::Golden;
using test::TestTensor;

std::string stored_bytes(const Checkpoint& c, const Weight& w, size_t part) {
  std::string bytes(w.stored[part].tensor.bytes, '\0');
  c.read_stored(w, part, 0, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
  return bytes;
}

float cast(DType t, float v) {
  return t == DType::kBF16 ? bf16_to_f32(f32_to_bf16(v)) : t == DType::kF16 ? f16_to_f32(f32_to_f16(v)) : v;
}

// Gathers all rows, scatters them again and compares every stored byte; so do the constants, JSON by its
// meaning.
void expect_written_again(const Checkpoint& c, const Weight& w) {
  const io::Placement& p = w.placement;
  ASSERT_EQ(p.tensors.size(), w.stored.size());
  std::vector<std::string> copy;
  for (const io::StoredTensor& t : p.tensors) copy.emplace_back(t.bytes, '\x5a');
  std::vector<uint8_t> work;
  const auto chunks = chunks_of(p, 1000);
  const auto packed = test::packed_chunks(c, w, 1000);
  for (size_t i = 0; i < chunks.size(); ++i) {
    scatter(p, chunks[i], packed[i], work, [&](size_t t, uint64_t offset, std::span<const uint8_t> bytes) {
      ASSERT_LE(offset + bytes.size(), copy[t].size());
      std::memcpy(copy[t].data() + offset, bytes.data(), bytes.size());
    });
  }
  for (const auto& constant : p.constants) copy[constant.tensor] = constant.content(w.shared);
  for (size_t t = 0; t < copy.size(); ++t) {
    const std::string have = stored_bytes(c, w, t);
    const std::string& name = p.tensors[t].name;
    if (name.find(".quant_state.") != std::string::npos) {
      EXPECT_EQ(json::parse(copy[t]), json::parse(have)) << name;
    } else {
      EXPECT_TRUE(copy[t] == have) << name;
    }
  }
}

// ---- whole checkpoints ----

struct Expected {
  const char *folder, *format,
      *other;  // other: of the tensors whose rows are shorter or that differ; null: none
};

class Checkpoints : public testing::TestWithParam<Expected> {};

TEST_P(Checkpoints, WeightsByTheirOwnNames) {
  SKIP_WITHOUT_GOLDEN();
  const Checkpoint source = Checkpoint::open(Golden::path("checkpoints/source"));
  const Checkpoint c = Checkpoint::open(Golden::path(std::string("checkpoints/") + GetParam().folder));
  EXPECT_EQ(c.kind(), io::Kind::kHuggingFace);
  EXPECT_EQ(c.architecture(), "LlamaForCausalLM");
  EXPECT_EQ(c.parameters(), source.parameters());
  EXPECT_EQ(c.weights().size(), source.weights().size());
  for (const Weight& s : source.weights()) {
    const Weight* w = c.find(s.name);
    ASSERT_NE(w, nullptr) << s.name;
    EXPECT_EQ(w->shape, s.shape) << s.name;
    const bool quantized = s.name.find("_proj.") != std::string::npos;
    EXPECT_EQ(w->placement.format != nullptr, quantized) << s.name;
    if (!quantized) {
      EXPECT_TRUE(w->format.empty()) << s.name << " " << w->format;
      EXPECT_EQ(stored_bytes(c, *w, 0), stored_bytes(source, s, 0)) << s.name;
      continue;
    }
    EXPECT_EQ(w->format, GetParam().format) << s.name;
    ASSERT_TRUE(w->decodable) << s.name;
    expect_written_again(c, *w);
    // Four bits of this heavy-tailed model keep 12 dB and more.
    const auto x = test::decoded(c, *w), y = test::decoded(c, *w, 777);
    EXPECT_EQ(x, y) << s.name << ": chunks change values";
    const std::string raw = stored_bytes(source, s, 0);
    ASSERT_EQ(x.size() * 2, raw.size());
    double signal = 0, noise = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      uint16_t h;
      std::memcpy(&h, raw.data() + 2 * i, 2);
      const double v = bf16_to_f32(h);
      signal += v * v;
      noise += (v - x[i]) * (v - x[i]);
    }
    EXPECT_GT(signal, 16 * noise) << s.name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Checkpoints,
    testing::Values(Expected{"bnb-nf4", "nf4", nullptr}, Expected{"bnb-nf4-double", "nf4-dq", nullptr},
                    Expected{"bnb-int8", "int8", nullptr}, Expected{"ct-w4a16", "int4-g128", nullptr},
                    Expected{"ct-w4a16-asym", "int4-g128-asym", nullptr},
                    Expected{"ct-w8a8", "w8a8", nullptr}, Expected{"ct-fp8-dynamic", "fp8", nullptr},
                    Expected{"ct-nvfp4a16", "nvfp4", nullptr}, Expected{"ct-mxfp4a16", "mxfp4", nullptr}),
    [](const auto& info) {
      std::string name = info.param.folder;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

class Foreign : public testing::TestWithParam<Expected> {};

TEST_P(Foreign, NamedNotDecoded) {
  SKIP_WITHOUT_GOLDEN();
  const Checkpoint source = Checkpoint::open(Golden::path("checkpoints/source"));
  const Checkpoint c = Checkpoint::open(Golden::path(std::string("checkpoints/") + GetParam().folder));
  EXPECT_EQ(c.weights().size(), source.weights().size());
  EXPECT_EQ(c.parameters(), source.parameters());
  size_t quantized = 0;
  for (const Weight& s : source.weights()) {
    const Weight* w = c.find(s.name);
    ASSERT_NE(w, nullptr) << s.name;
    EXPECT_EQ(w->shape, s.shape) << s.name;
    if (s.name.find("_proj.") == std::string::npos) {
      EXPECT_TRUE(w->decodable) << s.name;
      continue;
    }
    ++quantized;
    EXPECT_FALSE(w->decodable) << s.name;
    EXPECT_EQ(w->format, GetParam().format) << s.name;
    EXPECT_GE(w->stored.size(), 3u) << s.name;
  }
  EXPECT_EQ(quantized, 14u);
  uint64_t stored = 0;
  for (const Weight& w : c.weights()) stored += w.bytes();
  EXPECT_GT(stored, c.file_bytes() * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(All, Foreign,
                         testing::Values(Expected{"gptq-w4-g32", "gptq 4-bit g32", nullptr},
                                         Expected{"gptq-w4-g32-desc", "gptq 4-bit g32, columns reordered",
                                                  nullptr},
                                         Expected{"awq-w4-g32", "awq 4-bit g32", nullptr},
                                         Expected{"modelopt-nvfp4", "nvfp4 g16, modelopt", nullptr}),
                         [](const auto& info) {
                           std::string name = info.param.folder;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// ---- golden tensors of the packages ----

// One golden file as a model: `INPUT/TENSOR` becomes module `INPUT` (its dots are underscores then).
std::vector<TestTensor> as_model(const Golden& golden) {
  std::vector<TestTensor> tensors;
  for (const auto& t : golden.tensors()) {
    const size_t cut = t.name.find('/');
    std::string module = t.name.substr(0, cut);
    const std::string part = t.name.substr(cut + 1);
    if (part == "dequantized") continue;
    std::replace(module.begin(), module.end(), '.', '_');
    const auto bytes = golden.bytes(t.name);
    tensors.push_back({module + "." + part, t.dtype, t.shape, std::string(bytes.begin(), bytes.end())});
  }
  return tensors;
}

struct GoldenFile {
  const char *file, *format;
  bool decodable;
};
class GoldenTensors : public testing::TestWithParam<GoldenFile> {};

TEST_P(GoldenTensors, DecodedAndWrittenAgain) {
  SKIP_WITHOUT_GOLDEN();
  const Golden golden(std::string(GetParam().file) + ".safetensors");
  const Golden inputs("inputs.safetensors");
  std::string config;
  if (std::string_view(GetParam().file).starts_with("compressed")) {
    const json made = json::parse(golden.metadata().at("made_by"));
    config = json{{"quantization_config",
                   {{"quant_method", "compressed-tensors"},
                    {"format", made["format"]},
                    {"config_groups", {{"group_0", made["scheme"]}}}}}}
                 .dump();
  }
  // With the configuration, and by the tensors alone.
  for (const std::string& text : {config, std::string()}) {
    const Folder folder;
    test::write_model(folder.path(), as_model(golden), text);
    const Checkpoint c = Checkpoint::open(folder.path());
    size_t inputs_seen = 0, values = 0;
    for (const auto& t : inputs.tensors()) {
      std::string module = t.name;
      std::replace(module.begin(), module.end(), '.', '_');
      const Weight* w = c.find(module + ".weight");
      if (w == nullptr) continue;
      ++inputs_seen;
      EXPECT_EQ(w->shape, t.shape) << t.name;
      EXPECT_EQ(w->format, GetParam().format) << t.name;
      ASSERT_EQ(w->decodable, GetParam().decodable) << t.name;
      if (!w->decodable) continue;
      expect_written_again(c, *w);
      if (!golden.has(t.name + "/dequantized")) continue;
      const auto want = golden.floats(t.name + "/dequantized");
      const DType as = golden.info(t.name + "/dequantized").dtype;
      const auto got = test::decoded(c, *w);
      ASSERT_GE(got.size(), want.size());
      size_t wrong = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        const float v = cast(as, got[i]);
        // bf16 subnormals were flushed to zero on the machine that made the files.
        const bool flushed = as == DType::kBF16 && want[i] == 0 && std::fabs(v) < 0x1p-126f;
        wrong += v != want[i] && !flushed;
      }
      EXPECT_EQ(wrong, 0u) << t.name << " of " << want.size();
      values += want.size();
    }
    EXPECT_GE(inputs_seen, 3u);
    if (GetParam().decodable) {
      EXPECT_GT(values, 4000u);
    }
    EXPECT_EQ(c.weights().size(), inputs_seen);  // nothing is left over
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenTensors,
    testing::Values(
        GoldenFile{"bitsandbytes/nf4_b64", "nf4", true},
        GoldenFile{"bitsandbytes/nf4_b128", "nf4-g128", true},
        GoldenFile{"bitsandbytes/nf4_b64_double", "nf4-dq", true},
        GoldenFile{"bitsandbytes/fp4_b64", "fp4", true},
        GoldenFile{"compressed_tensors/pack_int4_g128_sym", "int4-g128", true},
        GoldenFile{"compressed_tensors/pack_int4_g32_sym", "int4-g32", true},
        GoldenFile{"compressed_tensors/pack_int4_g128_asym", "int4-g128-asym", true},
        GoldenFile{"compressed_tensors/pack_int4_g32_asym", "int4-g32-asym", true},
        GoldenFile{"compressed_tensors/int8_channel", "w8a8", true},
        GoldenFile{"compressed_tensors/fp8_channel", "fp8", true},
        GoldenFile{"compressed_tensors/fp8_block128", "fp8-block", true},
        GoldenFile{"compressed_tensors/nvfp4a16", "nvfp4", true},
        GoldenFile{"compressed_tensors/mxfp4a16", "mxfp4", true},
        GoldenFile{"compressed_tensors/pack_int3_g32_sym", "int3 packed in groups of 32, compressed-tensors",
                   false},
        GoldenFile{"compressed_tensors/pack_int8_g128_sym",
                   "int8 packed in groups of 128, compressed-tensors", false},
        GoldenFile{"compressed_tensors/pack_int4_channel_sym",
                   "int4 packed, a scale per row, compressed-tensors", false},
        GoldenFile{"compressed_tensors/fp8_tensor", "fp8, a scale per tensor, compressed-tensors", false},
        GoldenFile{"compressed_tensors/mxfp8a16", "mxfp8 in groups of 32, compressed-tensors", false}),
    [](const auto& info) {
      std::string name = info.param.file;
      std::replace(name.begin(), name.end(), '/', '_');
      return name;
    });

}  // namespace
}  // namespace viva
