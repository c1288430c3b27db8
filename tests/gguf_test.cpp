// The GGUF container, and the GGUF view of Hugging Face models. That llama.cpp runs these files is tried from
// outside (docs/numbers.md); here: round trips, damage, and the exact metadata.
#include "viva/io/gguf.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <unistd.h>

#include <filesystem>

#include "viva/io/gguf_names.h"

namespace viva::io {
namespace {

namespace fs = std::filesystem;

// A folder of this process that goes when the test ends.
class Scratch {
 public:
  Scratch() : path_(fs::temp_directory_path() / fmt::format("viva_gguf_{}_{}", ::getpid(), ++counter_)) {
    fs::create_directories(path_);
  }
  ~Scratch() { fs::remove_all(path_); }
  fs::path write(const std::string& name, std::string_view bytes) const {
    OutputFile file(path_ / name, OutputFile::Mode::kCreate);
    file.write(0, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    return path_ / name;
  }
  const fs::path& path() const { return path_; }

 private:
  static inline int counter_ = 0;
  fs::path path_;
};

GgufHeader read_bytes(const Scratch& scratch, std::string_view bytes) {
  return read_gguf_header(InputFile(scratch.write("x.gguf", bytes)));
}

// The error's text, or "" where nothing is thrown; any other exception fails the test.
template <class F>
std::string refusal(F&& f, Code code = Code::kBadInput) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  return "";
}

const GgmlType& type(std::string_view name) { return *find_ggml_type(name); }

GgufMetadata every_type() {
  return {{"general.architecture", std::string("llama")},
          {"u8", uint8_t{200}},
          {"i8", int8_t{-3}},
          {"u16", uint16_t{60000}},
          {"i16", int16_t{-300}},
          {"u32", uint32_t{4000000000}},
          {"i32", int32_t{-5}},
          {"f32", 1.5f},
          {"yes", true},
          {"no", false},
          {"text", std::string("a\0b", 3)},
          {"u64", uint64_t{1} << 60},
          {"i64", int64_t{-1} << 60},
          {"f64", 0.1},
          {"bytes", std::vector<uint8_t>{1, 2, 255}},
          {"i8s", std::vector<int8_t>{-1}},
          {"u16s", std::vector<uint16_t>{1, 2}},
          {"i16s", std::vector<int16_t>{-1, 2}},
          {"u32s", std::vector<uint32_t>{7}},
          {"i32s", std::vector<int32_t>{-7}},
          {"f32s", std::vector<float>{1, -0.5f}},
          {"bools", std::vector<bool>{true, false, true}},
          {"strings", std::vector<std::string>{"", "x", std::string(1000, 'y')}},
          {"u64s", std::vector<uint64_t>{~uint64_t{0}}},
          {"i64s", std::vector<int64_t>{-1}},
          {"f64s", std::vector<double>{}}};
}

std::vector<GgufTensor> some_tensors() {
  return {{"a.weight", type("q4_0"), {3, 64}},
          {"b", type("f32"), {5}},
          {"c", type("nvfp4"), {2, 3, 64}},
          {"empty", type("f16"), {0, 8}}};
}

// A whole small file: the header and zeros for the tensors.
std::string small_file(const GgufMetadata& metadata, std::vector<GgufTensor> tensors,
                       uint32_t alignment = 32) {
  const GgufLayout layout = make_gguf_header(tensors, metadata, alignment);
  std::string bytes = layout.header;
  bytes.resize(layout.file_bytes, '\0');
  return bytes;
}

// Little-endian pieces for hand-made files.
struct Raw {
  std::string bytes;
  template <class T>
  Raw& number(T v) {
    bytes.append(reinterpret_cast<const char*>(&v), sizeof v);
    return *this;
  }
  Raw& text(std::string_view s) {
    number<uint64_t>(s.size());
    bytes += s;
    return *this;
  }
  static Raw head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    Raw r;
    r.bytes = "GGUF";
    return r.number(version).number(tensors).number(keys);
  }
  std::string padded(size_t n = 4096) const {
    std::string b = bytes;
    if (b.size() < n) b.resize(n, '\0');
    return b;
  }
};

TEST(Gguf, RoundTripKeepsTypesOrderAndOffsets) {
  Scratch scratch;
  for (const uint32_t alignment : {32u, 8u, 4096u}) {
    auto tensors = some_tensors();
    const GgufLayout layout = make_gguf_header(tensors, every_type(), alignment);
    const GgufHeader h = read_bytes(scratch, small_file(every_type(), some_tensors(), alignment));
    EXPECT_EQ(h.version, 3u);
    EXPECT_EQ(h.alignment, alignment);
    EXPECT_EQ(h.data_start, layout.header.size());
    const GgufMetadata want = every_type();
    ASSERT_EQ(h.metadata.size(), want.size() + (alignment != 32));
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(h.metadata[i].key, want[i].key);
      EXPECT_EQ(h.metadata[i].value, want[i].value) << want[i].key;
    }
    ASSERT_EQ(h.tensors.size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(h.tensors[i].name, tensors[i].name);
      EXPECT_EQ(h.tensors[i].type.id, tensors[i].type.id);
      EXPECT_EQ(h.tensors[i].shape, tensors[i].shape);
      EXPECT_EQ(h.tensors[i].offset, tensors[i].offset);
      EXPECT_EQ(h.tensors[i].bytes, tensors[i].bytes);
      EXPECT_EQ(h.tensors[i].offset % alignment, 0u);
    }
    EXPECT_EQ(tensors[0].bytes, 3u * 2 * 18);
    EXPECT_EQ(tensors[2].bytes, 6u * 36);
    EXPECT_EQ(layout.file_bytes % alignment, 0u);
  }
}

// Written by hand after the description of the container, not by the writer.
TEST(Gguf, ReadsAFileMadeByHandInVersion2And3) {
  Scratch scratch;
  for (const uint32_t version : {2u, 3u}) {
    Raw r = Raw::head(2, 2, version);
    r.text("general.architecture").number<uint32_t>(8).text("llama");
    r.text("list")
        .number<uint32_t>(9)
        .number<uint32_t>(5)
        .number<uint64_t>(2)
        .number<int32_t>(-1)
        .number<int32_t>(2);
    r.text("w")
        .number<uint32_t>(2)
        .number<uint64_t>(32)
        .number<uint64_t>(3)
        .number<uint32_t>(2)
        .number<uint64_t>(0);
    r.text("b").number<uint32_t>(1).number<uint64_t>(3).number<uint32_t>(0).number<uint64_t>(64);
    const GgufHeader h = read_bytes(scratch, r.padded());
    EXPECT_EQ(h.data_start, (r.bytes.size() + 31) / 32 * 32);
    EXPECT_EQ(h.tensors[0].shape, (std::vector<uint64_t>{3, 32}));
    EXPECT_EQ(h.tensors[0].bytes, 54u);
    EXPECT_EQ(h.tensors[1].offset, h.data_start + 64);
    EXPECT_EQ(std::get<std::vector<int32_t>>(*find(h.metadata, "list")), (std::vector<int32_t>{-1, 2}));
  }
}

TEST(Gguf, EveryTypeOfTheTableIsSized) {
  EXPECT_EQ(ggml_types().size(), 35u);
  for (const GgmlType& t : ggml_types()) {
    EXPECT_EQ(find_ggml_type(t.id), &t);
    EXPECT_EQ(find_ggml_type(t.name), &t);
    const uint64_t shape[] = {3, 2 * t.block}, odd[] = {2, t.block + 1};
    EXPECT_EQ(gguf_bytes(t, shape), 6u * t.bytes);
    EXPECT_EQ(gguf_bytes(t, odd).has_value(), t.block == 1);
  }
  const uint64_t huge[] = {uint64_t{1} << 40, uint64_t{1} << 40};
  EXPECT_FALSE(gguf_bytes(type("f32"), huge));
}

TEST(Gguf, RefusesWhatItMustAndNamesTheByte) {
  Scratch scratch;
  const auto says = [&](const std::string& bytes, std::initializer_list<const char*> words) {
    const std::string text = refusal([&] { read_bytes(scratch, bytes); });
    for (const char* w : words) EXPECT_NE(text.find(w), std::string::npos) << "'" << w << "' in: " << text;
    EXPECT_NE(text.find("x.gguf"), std::string::npos) << text;
  };
  const auto tensor = [](uint32_t dims, std::vector<uint64_t> ne, uint32_t id, uint64_t offset,
                         const char* name = "w") {
    Raw r;
    r.text(name).number(dims);
    for (uint64_t d : ne) r.number(d);
    return r.number(id).number(offset).bytes;
  };
  const auto with = [](uint64_t tensors, uint64_t keys, const std::string& rest) {
    return Raw{Raw::head(tensors, keys).bytes + rest}.padded();
  };

  says("GGUF", {"too few"});
  says(Raw{"GGML" + std::string(60, '\0')}.bytes, {"byte 0", "GGUF"});
  says(Raw::head(0, 0, 1).padded(), {"byte 4", "version 1"});
  says(Raw::head(0, 0, 0x03000000).padded(), {"byte 4", "big-endian"});
  says(Raw::head(0, ~uint64_t{0}).padded(), {"byte 16", "keys"});
  says(Raw::head(uint64_t{1} << 40, 0).padded(), {"byte 8", "tensors"});
  says(with(0, 1, Raw{}.text("").number<uint32_t>(0).number<uint8_t>(1).bytes), {"byte 24", "empty key"});
  const std::string key = Raw{}.text("k").number<uint32_t>(0).number<uint8_t>(1).bytes;
  says(with(0, 2, key + key), {"byte 38", "'k' occurs twice"});
  says(with(0, 1, Raw{}.text("k").number<uint32_t>(13).bytes), {"'k'", "value type 13"});
  says(with(0, 1, Raw{}.text("k").number<uint32_t>(9).number<uint32_t>(9).number<uint64_t>(1).bytes),
       {"list of lists"});
  says(
      with(0, 1,
           Raw{}.text("k").number<uint32_t>(9).number<uint32_t>(4).number<uint64_t>(uint64_t{1} << 62).bytes),
      {"does not fit"});
  says(
      with(0, 1,
           Raw{}.text("k").number<uint32_t>(9).number<uint32_t>(8).number<uint64_t>(uint64_t{1} << 61).bytes),
      {"does not fit"});
  says(with(0, 1, Raw{}.text("k").number<uint32_t>(8).number<uint64_t>(uint64_t{1} << 50).bytes),
       {"byte 37", "bytes long"});
  says(with(0, 1, Raw{}.text("k").number<uint32_t>(7).number<uint8_t>(2).bytes), {"neither true nor false"});
  says(with(0, 1, Raw{}.text("general.alignment").number<uint32_t>(4).number<uint32_t>(24).bytes),
       {"power of two"});
  says(with(0, 1, Raw{}.text("general.alignment").number<uint32_t>(4).number<uint32_t>(0).bytes),
       {"power of two"});
  says(with(0, 1, Raw{}.text("general.alignment").number<uint32_t>(10).number<uint64_t>(32).bytes),
       {"power of two"});
  says(with(1, 0, tensor(5, {1, 1, 1, 1, 1}, 0, 0)), {"'w'", "5 dimensions"});
  says(with(1, 0, tensor(2, {32, 2}, 4, 0)), {"'w'", "unknown ggml type 4"});
  says(with(1, 0, tensor(2, {33, 2}, 2, 0)), {"'w'", "blocks of 32"});
  says(with(1, 0, tensor(2, {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0)), {"'w'"});
  says(with(1, 0, tensor(1, {4}, 0, 16)), {"'w'", "alignment 32"});
  says(with(1, 0, tensor(1, {4096}, 0, 0)), {"'w'", "truncated"});
  says(with(1, 0, tensor(1, {4}, 0, ~uint64_t{31})), {"'w'"});
  says(with(1, 0, tensor(1, {4}, 0, 0, "")), {"without a name"});
  says(with(2, 0, tensor(1, {4}, 0, 0) + tensor(1, {4}, 0, 32)), {"'w' occurs twice"});
  says(with(2, 0, tensor(1, {64}, 0, 0) + tensor(1, {4}, 0, 32, "v")), {"'w'", "'v'", "overlap"});
}

TEST(Gguf, EveryTruncationIsRefused) {
  Scratch scratch;
  std::vector<GgufTensor> tensors = some_tensors();
  const std::string whole = small_file(every_type(), tensors);
  make_gguf_header(tensors, every_type());
  const size_t needed = tensors[3].offset;  // the last tensor is empty
  for (size_t n = 0; n < needed; n += n < 64 || n > needed - 8 ? 1 : 37) {
    EXPECT_NE(refusal([&] { read_bytes(scratch, whole.substr(0, n)); }), "") << n;
  }
  EXPECT_EQ(refusal([&] { read_bytes(scratch, whole.substr(0, needed)); }), "");
}

// Whatever bytes change: an answer or a refusal, and what is accepted lies inside the file.
TEST(Gguf, DamagedBytesNeverMisread) {
  Scratch scratch;
  const std::string whole = small_file(every_type(), some_tensors());
  rc::check([&] {
    std::string bytes = whole;
    const auto edits = *rc::gen::container<std::vector<std::pair<uint32_t, uint8_t>>>(
        rc::gen::arbitrary<std::pair<uint32_t, uint8_t>>());
    for (const auto& [at, value] : edits) bytes[at % bytes.size()] = static_cast<char>(value);
    try {
      const GgufHeader h = read_bytes(scratch, bytes);
      for (const GgufTensor& t : h.tensors) {
        RC_ASSERT(t.offset >= h.data_start);
        RC_ASSERT(t.bytes <= bytes.size() && t.offset <= bytes.size() - t.bytes);
        RC_ASSERT(t.offset % h.alignment == 0u);
      }
    } catch (const Error& e) {
      RC_ASSERT(e.code() == Code::kBadInput);
    }
  });
}

TEST(Gguf, WriterRefusesWhatReadersRefuse) {
  const auto says = [](std::vector<GgufTensor> tensors, GgufMetadata metadata, uint32_t alignment,
                       const char* word) {
    const std::string text = refusal([&] { make_gguf_header(tensors, metadata, alignment); }, Code::kUsage);
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  says({}, {}, 24, "power of two");
  says({{std::string(64, 'n'), type("f32"), {1}}}, {}, 32, "63 bytes");
  says({{"w", type("f32"), {1}}, {"w", type("f32"), {1}}}, {}, 32, "occurs twice");
  says({{"w", type("q4_0"), {2, 31}}}, {}, 32, "cannot be stored");
  says({{"w", type("f32"), {1, 1, 1, 1, 1}}}, {}, 32, "cannot be stored");
  says({}, {{"k", true}, {"k", false}}, 32, "occurs twice");
}

TEST(Gguf, SplitModels) {
  Scratch scratch;
  const auto part = [&](uint16_t number, const char* tensor, int32_t all = 2) {
    GgufMetadata m = {{"split.no", number}, {"split.count", uint16_t{2}}, {"split.tensors.count", all}};
    return small_file(m, {{tensor, type("f32"), {4}}});
  };
  scratch.write("m-00001-of-00002.gguf", part(0, "a"));
  EXPECT_NE(
      refusal([&] { open_gguf(scratch.path() / "m-00001-of-00002.gguf"); }).find("part 2 of 2 is missing"),
      std::string::npos);
  const auto second = scratch.write("m-00002-of-00002.gguf", part(1, "b"));
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const auto parts = open_gguf(scratch.path() / name);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(parts[0].header.tensors[0].name, "a");
    EXPECT_EQ(parts[1].header.tensors[0].name, "b");
    EXPECT_EQ(parts[1].file.path(), second);
  }
  const auto refused = [&] { return refusal([&] { open_gguf(scratch.path() / "m-00001-of-00002.gguf"); }); };
  scratch.write("m-00002-of-00002.gguf", part(1, "a"));
  EXPECT_NE(refused().find("is in part 1 too"), std::string::npos);
  scratch.write("m-00002-of-00002.gguf", part(0, "b"));
  EXPECT_NE(refused().find("split.no 1"), std::string::npos);
  scratch.write("m-00002-of-00002.gguf", part(1, "b"));
  scratch.write("m-00001-of-00002.gguf", part(0, "a", 3));
  EXPECT_NE(refused().find("the parts hold 2"), std::string::npos);
  EXPECT_NE(refusal([&] { open_gguf(scratch.write("odd.gguf", part(0, "a"))); }).find("-of-00002.gguf"),
            std::string::npos);
  EXPECT_EQ(open_gguf(scratch.write("one.gguf", small_file({}, {}))).size(), 1u);
}

TEST(GgufNames, BothWays) {
  EXPECT_EQ(gguf_name("llama", "model.layers.12.self_attn.q_proj.weight"), "blk.12.attn_q.weight");
  EXPECT_EQ(gguf_name("llama", "layers.0.mlp.down_proj.bias"), "blk.0.ffn_down.bias");
  EXPECT_EQ(gguf_name("qwen2", "embed_tokens.weight"), "token_embd.weight");
  for (const char* name :
       {"model.layers.1.self_attn.q_norm.weight", "model.layers.1.block_sparse_moe.gate.weight",
        "lm_head.bias", "model.layers.01.input_layernorm.weight", "model.layers.x.input_layernorm.weight",
        "weight", "", "model.layers."}) {
    EXPECT_FALSE(gguf_name("llama", name)) << name;
  }
  EXPECT_FALSE(gguf_name("qwen2", "model.layers.0.self_attn.o_proj.bias"));
  EXPECT_FALSE(gguf_name("mixtral", "lm_head.weight"));
  int names = 0;
  for (const std::string_view a : gguf_architectures()) {
    for (const char* leaf : {"weight", "bias"}) {
      for (const char* module :
           {"model.embed_tokens", "model.norm", "lm_head", "model.layers.7.input_layernorm",
            "model.layers.7.self_attn.q_proj", "model.layers.7.self_attn.k_proj",
            "model.layers.7.self_attn.v_proj", "model.layers.7.self_attn.o_proj",
            "model.layers.7.self_attn.q_norm", "model.layers.7.self_attn.k_norm",
            "model.layers.7.post_attention_layernorm", "model.layers.7.mlp.gate_proj",
            "model.layers.7.mlp.up_proj", "model.layers.7.mlp.down_proj"}) {
        const std::string hf = fmt::format("{}.{}", module, leaf);
        if (const auto g = gguf_name(a, hf)) {
          ++names;
          EXPECT_EQ(hf_name(a, *g), hf);
        }
      }
    }
  }
  EXPECT_EQ(names, 19 + 15 + 14);
}

// Against the formula of the format's description: new row h·hd + 2i + j is old row h·hd + j·hd/2 + i.
TEST(GgufNames, RowPermutation) {
  for (const uint64_t hd : {2u, 32u, 48u, 128u}) {
    for (uint64_t h = 0; h < 3; ++h) {
      for (uint64_t i = 0; i < hd / 2; ++i) {
        for (uint64_t j = 0; j < 2; ++j) {
          EXPECT_EQ(hf_row(h * hd + 2 * i + j, hd), h * hd + j * hd / 2 + i);
          EXPECT_EQ(gguf_row(h * hd + j * hd / 2 + i, hd), h * hd + 2 * i + j);
        }
      }
    }
  }
  EXPECT_TRUE(has_permuted_rows("llama", "blk.3.attn_q.weight"));
  EXPECT_TRUE(has_permuted_rows("llama", "blk.3.attn_k.bias"));
  EXPECT_FALSE(has_permuted_rows("llama", "blk.3.attn_v.weight"));
  EXPECT_FALSE(has_permuted_rows("llama", "blk.3.attn_q_norm.weight"));
  EXPECT_FALSE(has_permuted_rows("qwen2", "blk.3.attn_q.weight"));
}

TEST(GgufNames, TensorFormats) {
  const uint64_t m[] = {8, 64}, odd[] = {8, 48}, v[] = {64};
  const auto f = [&](const char* name, std::span<const uint64_t> shape, const char* base, bool tied = false) {
    const auto r = gguf_tensor_format(name, shape, base, tied);
    EXPECT_EQ(r.reason.empty(), r.format == base) << name << base;
    return r.format;
  };
  EXPECT_EQ(f("blk.0.attn_q.weight", m, "q4_0"), "q4_0");
  EXPECT_EQ(f("blk.0.attn_q.bias", v, "q4_0"), "f32");
  EXPECT_EQ(f("blk.0.attn_norm.weight", v, "bf16"), "f32");
  EXPECT_EQ(f("blk.0.attn_q.weight", odd, "q4_1"), "f16");
  EXPECT_EQ(f("blk.0.attn_q.weight", odd, "bf16"), "bf16");
  EXPECT_EQ(f("output.weight", m, "q4_0"), "q8_0");
  EXPECT_EQ(f("output.weight", odd, "q4_0"), "f16");
  EXPECT_EQ(f("output.weight", m, "f16"), "f16");
  EXPECT_EQ(f("token_embd.weight", m, "q4_0"), "q4_0");
  EXPECT_EQ(f("token_embd.weight", m, "q4_0", true), "q8_0");
  EXPECT_EQ(f("token_embd.weight", m, "nvfp4"), "q8_0");
  EXPECT_EQ(f("token_embd.weight", m, "mxfp4"), "mxfp4");
  EXPECT_EQ(f("token_embd.weight", m, "q8_0", true), "q8_0");
  EXPECT_NE(refusal([&] { gguf_tensor_format("w", m, "q9", false); }, Code::kUsage), "");
  EXPECT_EQ(gguf_scale_name("blk.0.ffn_up.weight"), "blk.0.ffn_up.scale");
  EXPECT_EQ(gguf_scale_name("output.weight"), "output.scale");
  EXPECT_FALSE(gguf_scale_name("token_embd.weight"));
  EXPECT_FALSE(gguf_scale_name("blk.0.attn_norm.weight"));
  EXPECT_EQ(gguf_file_type("nvfp4"), 39u);
}

}  // namespace
}  // namespace viva::io
