// Packed rows <-> stored tensors of the outside layouts, over random shapes; what a layout refuses; its
// configuration.
#include "viva/io/layout.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "viva/io/bitsandbytes.h"
#include "viva/io/compressed_tensors.h"

namespace viva {
namespace {

using io::Chunk;
using io::Packing;
using io::Placement;
using nlohmann::json;

Coding coding_of(const Format& f, uint32_t group, DType scale) {
  Coding c;
  if (std::find(f.groups.begin(), f.groups.end(), group) != f.groups.end()) c.group = group;
  c.scale = scale;
  return c;
}

// Rows that an encoder could have made: panels repeat their scales, zeros fit four bits.
std::vector<uint8_t> random_rows(const Placement& p, const Chunk& chunk, uint64_t seed) {
  const Format& f = *p.format;
  const size_t row_bytes = f.row_bytes(chunk.cols, p.coding);
  std::vector<uint8_t> packed(chunk.rows * row_bytes);
  for (uint8_t& b : packed) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    b = static_cast<uint8_t>(seed >> 56);
  }
  const auto pieces = f.pieces(chunk.cols, p.coding);
  for (size_t k = 0; k < pieces.size(); ++k) {
    for (uint64_t r = 0; r < chunk.rows; ++r) {
      uint8_t* at = packed.data() + r * row_bytes + pieces[k].offset;
      if (p.pieces[k].packing == Packing::kPanels && r % f.row_panel != 0)
        std::memcpy(at, at - row_bytes, pieces[k].bytes);
      if (p.pieces[k].packing == Packing::kZeroColumns) {
        for (size_t i = 0; i < pieces[k].bytes; ++i) at[i] &= 15;
      }
    }
  }
  return packed;
}

// Every stored byte is written exactly once, and the rows come back, by the same chunks and by others.
void check_placement(const Placement& p, uint64_t seed, uint64_t values, uint64_t other_values) {
  std::vector<std::string> stored;
  std::vector<std::vector<int>> written;
  for (const io::StoredTensor& t : p.tensors) {
    stored.emplace_back(t.bytes, '\0');
    written.emplace_back(t.bytes, 0);
  }
  std::vector<uint8_t> work, all, again;
  uint64_t next = 0;
  for (const Chunk& chunk : chunks_of(p, values)) {
    RC_ASSERT(chunk.first_value == next);
    next += chunk.rows * chunk.cols;
    const auto packed = random_rows(p, chunk, seed + chunk.first_row);
    all.insert(all.end(), packed.begin(), packed.end());
    scatter(p, chunk, packed, work, [&](size_t t, uint64_t offset, std::span<const uint8_t> bytes) {
      RC_ASSERT(offset + bytes.size() <= stored[t].size());
      std::memcpy(stored[t].data() + offset, bytes.data(), bytes.size());
      for (size_t i = 0; i < bytes.size(); ++i) ++written[t][offset + i];
    });
  }
  RC_ASSERT(next == p.view.rows * p.view.cols + p.view.tail);
  for (const auto& constant : p.constants) {
    const std::string content = constant.content({});
    RC_ASSERT(content.size() == stored[constant.tensor].size());
    for (int& n : written[constant.tensor]) ++n;
  }
  for (const auto& counts : written) {
    for (int n : counts) RC_ASSERT(n == 1);
  }
  for (const Chunk& chunk : chunks_of(p, other_values)) {
    std::vector<uint8_t> packed(chunk.rows * p.format->row_bytes(chunk.cols, p.coding));
    gather(p, chunk, packed, work, [&](size_t t, uint64_t offset, std::span<uint8_t> bytes) {
      RC_ASSERT(offset + bytes.size() <= stored[t].size());
      std::memcpy(bytes.data(), stored[t].data() + offset, bytes.size());
    });
    again.insert(again.end(), packed.begin(), packed.end());
  }
  RC_ASSERT(all == again);
}

const Format* format_of(std::initializer_list<const char*> names) {
  const std::string name = *rc::gen::elementOf(std::vector<std::string>(names.begin(), names.end()));
  const Format* f = find_format(name);
  RC_ASSERT(f != nullptr);
  return f;
}

RC_GTEST_PROP(LayoutProperty, CompressedTensors, ()) {
  const Format* f = format_of({"int4", "int4-asym", "w8a8", "fp8", "fp8-block", "nvfp4", "mxfp4"});
  const auto group = *rc::gen::element<uint32_t>(32, 128);
  const auto scale = *rc::gen::element(DType::kF32, DType::kBF16, DType::kF16);
  const Coding c = coding_of(*f, group, scale);
  const uint64_t out = *rc::gen::inRange<uint64_t>(1, 300);
  const uint64_t in =
      *rc::gen::oneOf(rc::gen::inRange<uint64_t>(1, 300),
                      rc::gen::map(rc::gen::inRange<uint64_t>(1, 20), [](uint64_t g) { return 32 * g; }));
  const std::vector<uint64_t> shape = {out, in};
  RC_PRE(io::compressed_tensors_refuses(shape, *f, c).empty());
  const Placement p = io::compressed_tensors_placement("model.layers.0.mlp.up_proj.weight", shape, *f, c);
  check_placement(p, out * 1000 + in, *rc::gen::inRange<uint64_t>(1, 40000),
                  *rc::gen::inRange<uint64_t>(1, 40000));
}

RC_GTEST_PROP(LayoutProperty, Bitsandbytes, ()) {
  const Format* f = format_of({"nf4", "fp4", "nf4-dq", "int8"});
  const auto group = *rc::gen::element<uint32_t>(32, 64, 128, 512, 4096);
  const Coding c = coding_of(*f, group, DType::kF32);
  const std::vector<uint64_t> shape = {*rc::gen::inRange<uint64_t>(1, 200),
                                       *rc::gen::inRange<uint64_t>(1, 300)};
  RC_ASSERT(io::bitsandbytes_refuses(shape, *f).empty());
  const Placement p = io::bitsandbytes_placement("a.weight", shape, DType::kBF16, *f, c);
  check_placement(p, shape[0] * 1000 + shape[1], *rc::gen::inRange<uint64_t>(1, 40000),
                  *rc::gen::inRange<uint64_t>(1, 40000));
}

TEST(CompressedTensors, ZerosOfEightRowsInAWord) {
  const Format& f = *find_format("int4-asym");
  Coding c;
  c.group = 32;
  c.scale = DType::kBF16;
  const Placement p = io::compressed_tensors_placement("a.weight", {10, 64}, f, c);
  const auto pieces = f.pieces(64, c);
  const size_t row = f.row_bytes(64, c);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[2].role, Role::kZero);
  std::vector<uint8_t> packed(10 * row), work;
  for (size_t r = 0; r < 10; ++r) {
    packed[r * row + pieces[2].offset] = static_cast<uint8_t>(r);
    packed[r * row + pieces[2].offset + 1] = static_cast<uint8_t>(15 - r);
  }
  std::string zeros(16, '\x7f');
  scatter(p, {0, 10, 64, 0}, packed, work, [&](size_t t, uint64_t offset, std::span<const uint8_t> bytes) {
    if (p.tensors[t].name == "a.weight_zero_point")
      std::memcpy(zeros.data() + offset, bytes.data(), bytes.size());
  });
  uint32_t words[4];
  std::memcpy(words, zeros.data(), 16);
  EXPECT_EQ(words[0], 0x76543210u);  // rows 0..7 of group 0, the first row lowest
  EXPECT_EQ(words[1], 0x89abcdefu);
  EXPECT_EQ(words[2], 0x00000098u);  // rows 8, 9; the rest is empty
  EXPECT_EQ(words[3], 0x00000067u);
}

TEST(CompressedTensors, Tensors) {
  Coding c;
  c.group = 128;
  c.scale = DType::kBF16;
  const auto shown = [](const Placement& p) {
    std::string text;
    for (const auto& t : p.tensors)
      text += fmt::format("{} {} [{}]\n", t.name, name(t.dtype), fmt::join(t.shape, ", "));
    return text;
  };
  EXPECT_EQ(
      shown(io::compressed_tensors_placement("m.q_proj.weight", {12, 256}, *find_format("int4-asym"), c)),
      "m.q_proj.weight_packed I32 [12, 32]\nm.q_proj.weight_scale BF16 [12, 2]\nm.q_proj.weight_zero_point "
      "I32 [2, 2]\n"
      "m.q_proj.weight_shape I64 [2]\n");
  c.group = 0;
  EXPECT_EQ(
      shown(io::compressed_tensors_placement("m.q_proj.weight", {200, 160}, *find_format("fp8-block"), c)),
      "m.q_proj.weight F8_E4M3 [200, 160]\nm.q_proj.weight_scale BF16 [2, 2]\n");
  const Placement nv = io::compressed_tensors_placement("m.q_proj.weight", {3, 32}, *find_format("nvfp4"), c);
  EXPECT_EQ(shown(nv),
            "m.q_proj.weight_packed U8 [3, 16]\nm.q_proj.weight_scale F8_E4M3 [3, "
            "2]\nm.q_proj.weight_global_scale F32 [1]\n");
  float global = 0;
  std::memcpy(&global, nv.constants[0].content({.scale = 123.5f}).data(), 4);
  EXPECT_EQ(global, 123.5f);
}

TEST(CompressedTensors, Refuses) {
  const auto refuses = [](const char* format, std::vector<uint64_t> shape, uint32_t group = 0) {
    Coding c;
    c.group = group;
    return io::compressed_tensors_refuses(shape, *find_format(format), c);
  };
  EXPECT_EQ(refuses("int4", {4, 256}), "");
  EXPECT_EQ(refuses("int4", {4, 64}), "");  // shorter than the group: one group
  EXPECT_EQ(refuses("int4", {4, 160}), "rows of 160 values are not a multiple of the group of 128");
  EXPECT_EQ(refuses("int4", {4, 160}, 32), "");
  EXPECT_EQ(refuses("nvfp4", {4, 24}), "rows of 24 values are not a multiple of the group of 16");
  EXPECT_EQ(refuses("mxfp4", {4, 16}), "rows of 16 values are not a multiple of the group of 32");
  EXPECT_EQ(refuses("w8a8", {4, 7}), "");
  EXPECT_EQ(refuses("fp8-block", {4, 7}), "");
  EXPECT_EQ(refuses("q4_0", {4, 32}), "compressed-tensors has no q4_0");
  EXPECT_EQ(refuses("int4", {2, 4, 128}), "compressed-tensors holds matrices only");
  EXPECT_EQ(refuses("w8a8", {0, 7}), "it is empty");
}

TEST(CompressedTensors, ConfigOfOneFormat) {
  Coding c;
  c.group = 32;
  const json config =
      io::compressed_tensors_config({{find_format("int4"), c, {}}}, {"model.layers.0.mlp.down_proj"}, false);
  EXPECT_EQ(config["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["format"], "pack-quantized");
  EXPECT_EQ(config["quantization_status"], "compressed");
  EXPECT_EQ(config["ignore"], json({"lm_head", "model.layers.0.mlp.down_proj"}));
  const json& group = config["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], json({"Linear"}));
  EXPECT_FALSE(group.contains("format"));
  EXPECT_EQ(group["weights"]["group_size"], 32);
  EXPECT_EQ(group["weights"]["symmetric"], true);
  EXPECT_TRUE(group["input_activations"].is_null());
  const json head = io::compressed_tensors_config({{find_format("w8a8"), {}, {}}}, {}, true);
  EXPECT_EQ(head["ignore"], json::array());
  EXPECT_EQ(head["config_groups"]["group_0"]["input_activations"]["strategy"], "token");
  EXPECT_EQ(head["config_groups"]["group_0"]["input_activations"]["dynamic"], true);
}

TEST(CompressedTensors, ConfigOfSeveralFormats) {
  const json config = io::compressed_tensors_config(
      {{find_format("nvfp4"), {}, {"a.x", "a.y"}}, {find_format("fp8-block"), {}, {"b"}}}, {}, false);
  EXPECT_EQ(config["format"], "mixed-precision");
  const json &first = config["config_groups"]["group_0"], &second = config["config_groups"]["group_1"];
  EXPECT_EQ(first["targets"], json({"a.x", "a.y"}));
  EXPECT_EQ(first["format"], "nvfp4-pack-quantized");
  EXPECT_EQ(first["weights"]["strategy"], "tensor_group");
  EXPECT_EQ(second["format"], "float-quantized");
  EXPECT_EQ(second["weights"]["block_structure"], json({128, 128}));
  EXPECT_EQ(second["input_activations"]["group_size"], 128);
  // Two groups of one format: the top level still names it.
  Coding small;
  small.group = 32;
  const json same = io::compressed_tensors_config(
      {{find_format("int4"), {}, {"a"}}, {find_format("int4-asym"), small, {"b"}}}, {}, false);
  EXPECT_EQ(same["format"], "pack-quantized");
}

TEST(CompressedTensors, FusedSets) {
  EXPECT_EQ(io::fused_set("model.layers.3.self_attn.q_proj.weight"), "model.layers.3.self_attn.qkv");
  EXPECT_EQ(io::fused_set("model.layers.3.self_attn.v_proj.weight"), "model.layers.3.self_attn.qkv");
  EXPECT_EQ(io::fused_set("model.layers.3.self_attn.o_proj.weight"), "");
  EXPECT_EQ(io::fused_set("model.layers.3.mlp.gate_proj.weight"),
            io::fused_set("model.layers.3.mlp.up_proj.weight"));
  EXPECT_NE(io::fused_set("model.layers.3.mlp.gate_proj.weight"),
            io::fused_set("model.layers.4.mlp.up_proj.weight"));
  EXPECT_EQ(io::fused_set("model.layers.0.block_sparse_moe.experts.7.w1.weight"),
            io::fused_set("model.layers.0.block_sparse_moe.experts.7.w3.weight"));
  EXPECT_EQ(io::fused_set("model.layers.0.block_sparse_moe.experts.7.w2.weight"), "");
  EXPECT_EQ(io::fused_set("model.layers.0.self_attn.q_a_proj.weight"),
            io::fused_set("model.layers.0.self_attn.kv_a_proj_with_mqa.weight"));
  EXPECT_EQ(io::fused_set("model.layers.0.self_attn.kv_b_proj.weight"), "");
  EXPECT_EQ(io::fused_set("bert.encoder.layer.0.attention.self.query.weight"),
            "bert.encoder.layer.0.attention.self.qkv");
  EXPECT_EQ(io::fused_set("q_proj.weight"), "");
  EXPECT_EQ(io::fused_set("lm_head.weight"), "");
  EXPECT_EQ(io::fused_set("model.layers.3.self_attn.q_proj.bias"), "");
}

}  // namespace
}  // namespace viva
