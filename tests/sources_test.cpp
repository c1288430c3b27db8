// GGUF, npy and npz files as checkpoints, and as sources of compress().
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "model_files.h"
#include "viva/base/float16.h"
#include "viva/compress/compress.h"
#include "viva/compress/value_reader.h"
#include "viva/io/gguf_names.h"
#include "viva/io/npy.h"

namespace viva {
namespace {

using io::Checkpoint;
using io::Weight;
using test::Folder;
using test::TestTensor;
using test::write_file;

const std::filesystem::path kArrays = std::filesystem::path(VIVA_SOURCE) / "tests/data/npy";

std::vector<float> values(const Checkpoint& c, const Weight& w) {
  ValueReader reader(c, Target::kScalar);
  std::vector<float> out(w.count());
  reader.read(w, 0, out);
  return out;
}

template <class T>
std::string bytes_of(const std::vector<T>& v) {
  return {reinterpret_cast<const char*>(v.data()), v.size() * sizeof(T)};
}

// A value that says where it belongs, exact in f16.
float mark(uint64_t i) { return static_cast<float>(static_cast<int>(i * 37 % 2003) - 1000) / 64.0f; }

std::vector<float> marks(uint64_t n, uint64_t seed) {
  std::vector<float> out;
  for (uint64_t i = 0; i < n; ++i) out.push_back(mark(i + seed));
  return out;
}

std::string halves(const std::vector<float>& x) {
  std::vector<uint16_t> out;
  for (float v : x) out.push_back(f32_to_f16(v));
  return bytes_of(out);
}

struct Part {
  std::string name, type;
  std::vector<uint64_t> shape;
  std::string bytes;
};

void write_gguf(const std::filesystem::path& path, const std::vector<Part>& parts, const io::GgufMetadata& metadata) {
  std::vector<io::GgufTensor> list;
  for (const Part& p : parts) list.push_back({p.name, *io::find_ggml_type(p.type), p.shape});
  const io::GgufLayout layout = io::make_gguf_header(list, metadata);
  std::string file = layout.header;
  file.resize(layout.file_bytes);
  for (size_t i = 0; i < parts.size(); ++i) {
    ASSERT_EQ(parts[i].bytes.size(), list[i].bytes) << parts[i].name;
    std::copy(parts[i].bytes.begin(), parts[i].bytes.end(), file.begin() + static_cast<ptrdiff_t>(list[i].offset));
  }
  write_file(path, file);
}

io::GgufMetadata llama_metadata() {
  io::GgufMetadata m;
  io::set(m, "general.architecture", std::string("llama"));
  io::set(m, "general.file_type", uint32_t{1});
  io::set(m, "llama.embedding_length", uint32_t{64});
  io::set(m, "llama.attention.head_count", uint32_t{4});
  io::set(m, "tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  io::set(m, "viva.manifest", std::string("{\"viva\":\"x\"}"));
  return m;
}

// Rows of `x` in GGUF's order of heads of 16.
std::vector<float> interleaved(const std::vector<float>& x, uint64_t cols) {
  std::vector<float> out(x.size());
  for (uint64_t r = 0; r < x.size() / cols; ++r) {
    std::copy_n(x.begin() + static_cast<ptrdiff_t>(io::hf_row(r, 16) * cols), cols, out.begin() + static_cast<ptrdiff_t>(r * cols));
  }
  return out;
}

class Gguf : public testing::Test {
 protected:
  void SetUp() override {
    q_ = marks(64 * 64, 1);
    bias_ = marks(64, 5000);
    embedding_ = marks(32 * 64, 9);
    norm_ = marks(64, 77);
    std::string scaled;
    for (int block = 0; block < 4; ++block) scaled += std::string(4, '\x38') + std::string(32, static_cast<char>(0x21 + block));
    parts_ = {{"token_embd.weight", "f16", {32, 64}, halves(embedding_)},
              {"blk.0.attn_q.weight", "f16", {64, 64}, halves(interleaved(q_, 64))},
              {"blk.0.attn_q.bias", "f32", {64}, bytes_of(interleaved(bias_, 1))},
              {"blk.0.attn_norm.weight", "f32", {64}, bytes_of(norm_)},
              {"blk.0.attn_k.weight", "q4_0", {32, 32}, ""},
              {"blk.0.ffn_up.weight", "nvfp4", {4, 64}, scaled},
              {"blk.0.ffn_up.scale", "f32", {1}, bytes_of(std::vector<float>{0.25f})},
              {"blk.0.ffn_down.weight", "iq2_xxs", {1, 256}, std::string(66, 'x')},
              {"blk.0.odd", "i32", {3}, bytes_of(std::vector<int32_t>{1, -2, 3})}};
    // 32 rows of one block each; the code byte tells the row.
    std::string rows;
    for (int r = 0; r < 32; ++r) rows += halves({0.5f}) + std::string(16, static_cast<char>((r % 16) * 17));
    parts_[4].bytes = rows;
    write_gguf(folder_.path() / "m.gguf", parts_, llama_metadata());
  }

  Folder folder_;
  std::vector<float> q_, bias_, embedding_, norm_;
  std::vector<Part> parts_;
};

TEST_F(Gguf, WeightsWithTheirOwnNamesAndRows) {
  const Checkpoint c = Checkpoint::open(folder_.path() / "m.gguf");
  EXPECT_EQ(c.kind(), io::Kind::kGguf);
  EXPECT_EQ(c.architecture(), "llama");
  ASSERT_EQ(c.weights().size(), 8u);  // the scale belongs to its weight
  const auto get = [&](const char* name) -> const Weight& {
    const Weight* w = c.find(name);
    if (w == nullptr) throw std::runtime_error(name);
    return *w;
  };
  const Weight& q = get("model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(q.permuted_head_dim, 16u);
  EXPECT_EQ(q.stored[0].tensor.name, "blk.0.attn_q.weight");
  EXPECT_EQ(c.find_stored("blk.0.attn_q.weight"), &q);
  EXPECT_EQ(values(c, q), q_);
  EXPECT_EQ(values(c, get("model.layers.0.self_attn.q_proj.bias")), bias_);
  EXPECT_EQ(values(c, get("model.layers.0.input_layernorm.weight")), norm_);
  EXPECT_EQ(values(c, get("model.embed_tokens.weight")), embedding_);
  EXPECT_EQ(get("blk.0.odd").dtype, DType::kI32);
  // Ranges that begin and end within rows.
  ValueReader reader(c, Target::kScalar);
  std::vector<float> some(1000);
  reader.read(q, 777, some);
  EXPECT_EQ(some, std::vector<float>(q_.begin() + 777, q_.begin() + 1777));

  const Weight& k = get("model.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(k.format, "q4_0");
  const auto kv = values(c, k);
  for (uint64_t r = 0; r < 32; ++r) {
    const auto code = static_cast<float>(io::gguf_row(r, 16) % 16);
    for (uint64_t i = 0; i < 32; ++i) ASSERT_EQ(kv[r * 32 + i], 0.5f * (code - 8)) << r << " " << i;
  }

  const Weight& up = get("model.layers.0.mlp.up_proj.weight");
  EXPECT_EQ(up.stored.size(), 2u);
  EXPECT_EQ(up.shared.scale, 0.25f);
  // 0x38 is 1.0; codes 1 and 2 are 0.5 and 1.
  EXPECT_EQ(values(c, up)[0], 0.5f * 0.25f);
  EXPECT_EQ(values(c, up)[8], 1.0f * 0.25f);

  const Weight& down = get("model.layers.0.mlp.down_proj.weight");
  EXPECT_FALSE(down.decodable);
  EXPECT_EQ(down.format, "iq2_xxs");
  EXPECT_THROW(values(c, down), Error);

  const auto text = std::find_if(c.metadata().begin(), c.metadata().end(), [](const auto& e) { return e.first == "viva"; });
  ASSERT_NE(text, c.metadata().end());
  EXPECT_EQ(text->second, "{\"viva\":\"x\"}");
  EXPECT_NE(io::find(c.gguf_metadata(), "tokenizer.ggml.tokens"), nullptr);
}

TEST_F(Gguf, WithoutAHeadSizeNamesStay) {
  io::GgufMetadata m;
  io::set(m, "general.architecture", std::string("llama"));
  write_gguf(folder_.path() / "n.gguf", parts_, m);
  const Checkpoint c = Checkpoint::open(folder_.path() / "n.gguf");
  const Weight* q = c.find("blk.0.attn_q.weight");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(values(c, *q), interleaved(q_, 64));
  EXPECT_NE(c.find("model.embed_tokens.weight"), nullptr);
}

TEST_F(Gguf, SplitModelsAreOne) {
  for (int i = 0; i < 2; ++i) {
    io::GgufMetadata m = i == 0 ? llama_metadata() : io::GgufMetadata();
    io::set(m, "split.no", static_cast<uint16_t>(i));
    io::set(m, "split.count", uint16_t{2});
    io::set(m, "split.tensors.count", static_cast<int32_t>(parts_.size()));
    const std::vector<Part> part = i == 0 ? std::vector<Part>(parts_.begin(), parts_.begin() + 6) : std::vector<Part>(parts_.begin() + 6, parts_.end());
    write_gguf(folder_.path() / (i == 0 ? "s-00001-of-00002.gguf" : "s-00002-of-00002.gguf"), part, m);
  }
  const Checkpoint one = Checkpoint::open(folder_.path() / "m.gguf"), two = Checkpoint::open(folder_.path() / "s-00001-of-00002.gguf");
  EXPECT_EQ(two.files().size(), 2u);
  ASSERT_EQ(two.weights().size(), one.weights().size());
  for (const Weight& w : one.weights()) {
    const Weight* v = two.find(w.name);
    ASSERT_NE(v, nullptr) << w.name;
    if (w.decodable) {
      EXPECT_EQ(values(one, w), values(two, *v)) << w.name;  // the scale of ffn_up lies in the other part
    }
  }
}

TEST_F(Gguf, CompressedAgainKeepsMetadataNamesAndRows) {
  const Machine machine(Machine::Options{.threads = 2});
  CompressOptions options;
  options.format = "q8_0";
  options.encoder = Encoder::kReference;
  const auto report = compress(machine, folder_.path() / "m.gguf", folder_.path() / "out.gguf", options);
  EXPECT_FALSE(report.tensors.empty());
  const Checkpoint a = Checkpoint::open(folder_.path() / "m.gguf"), b = Checkpoint::open(folder_.path() / "out.gguf");
  ASSERT_EQ(a.weights().size(), b.weights().size());
  EXPECT_EQ(io::as_unsigned(io::find(b.gguf_metadata(), "general.file_type")), 7u);
  EXPECT_EQ(*io::find(b.gguf_metadata(), "tokenizer.ggml.tokens"), *io::find(a.gguf_metadata(), "tokenizer.ggml.tokens"));
  for (size_t i = 0; i < a.weights().size(); ++i) {
    const Weight &x = a.weights()[i], &y = b.weights()[i];
    EXPECT_EQ(x.name, y.name);
    EXPECT_EQ(x.shape, y.shape);
    EXPECT_EQ(x.stored.size(), y.stored.size());
    if (!x.decodable) continue;
    const auto u = values(a, x), v = values(b, y);
    const bool coded = x.name.ends_with("q_proj.weight") || x.name.ends_with("embed_tokens.weight");
    EXPECT_EQ(y.format, coded ? "q8_0" : x.format) << x.name;
    for (size_t k = 0; k < u.size(); ++k) ASSERT_NEAR(u[k], v[k], coded ? 0.07 : 0.0) << x.name << " " << k;
  }
}

TEST_F(Gguf, ToSafetensorsInHuggingFaceOrder) {
  const Machine machine(Machine::Options{.threads = 2});
  CompressOptions options;
  options.format = "int8";
  EXPECT_THROW(compress(machine, folder_.path() / "m.gguf", folder_.path() / "out.safetensors", options), Error);  // q4_0 in it
  const std::vector<Part> plain(parts_.begin(), parts_.begin() + 4);
  write_gguf(folder_.path() / "p.gguf", plain, llama_metadata());
  EXPECT_THROW(compress(machine, folder_.path() / "p.gguf", folder_.path() / "dir", options), Error);  // no config
  compress(machine, folder_.path() / "p.gguf", folder_.path() / "out.safetensors", options);
  const Checkpoint b = Checkpoint::open(folder_.path() / "out.safetensors");
  ASSERT_EQ(b.weights().size(), 4u);
  const auto v = values(b, *b.find("model.layers.0.self_attn.q_proj.weight"));
  for (size_t k = 0; k < v.size(); ++k) ASSERT_NEAR(v[k], q_[k], 0.08) << k;
  EXPECT_EQ(values(b, *b.find("model.layers.0.self_attn.q_proj.bias")), bias_);
  EXPECT_EQ(values(b, *b.find("model.embed_tokens.weight")), embedding_);
}

// ---- npy and npz ----

TEST(Arrays, EveryFixtureReadsAsTheNpyReaderDoes) {
  size_t seen = 0, skipped = 0, unpacked = 0, transposed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kArrays)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".npy") && !name.ends_with(".npz")) continue;
    std::unique_ptr<io::ArrayFile> file;
    try {
      file = std::make_unique<io::ArrayFile>(entry.path());
    } catch (const Error&) {
      EXPECT_THROW(Checkpoint::open(entry.path()), Error) << name;
      continue;
    }
    const Checkpoint c = Checkpoint::open(entry.path());
    EXPECT_EQ(c.warnings().size(), file->skipped().size()) << name;
    skipped += c.warnings().size();
    ASSERT_EQ(c.weights().size(), file->arrays().size()) << name;
    for (size_t i = 0; i < file->arrays().size(); ++i) {
      const io::StoredArray& a = file->arrays()[i];
      const Weight& w = c.weights()[i];
      EXPECT_EQ(w.name, a.tensor.name);
      std::string have(a.tensor.bytes, '\0'), want = have;
      c.read_stored(w, 0, 0, {reinterpret_cast<uint8_t*>(have.data()), have.size()});
      file->reader(i).read(0, {reinterpret_cast<uint8_t*>(want.data()), want.size()});
      EXPECT_TRUE(have == want) << name << " " << w.name;
      unpacked += !a.in_place();
      ++seen;
      if (!a.fortran_order) continue;
      EXPECT_EQ(w.decodable, w.shape.size() == 2) << name;
      if (!w.transposed) continue;
      ++transposed;
      const size_t size = bytes(w.dtype);
      std::string rows(want.size(), '\0');
      c.read_plain(w, 0, {reinterpret_cast<uint8_t*>(rows.data()), rows.size()});
      for (uint64_t r = 0; r < w.rows(); ++r) {
        for (uint64_t k = 0; k < w.cols(); ++k) {
          EXPECT_EQ(rows.substr((r * w.cols() + k) * size, size), want.substr((k * w.rows() + r) * size, size)) << name;
        }
      }
    }
  }
  EXPECT_GT(seen, 20u);
  EXPECT_GT(skipped, 0u);
  EXPECT_GT(unpacked, 2u);
  EXPECT_GT(transposed, 0u);
}

TEST(Arrays, ThreadsShareOneUnpackedArray) {
  const Checkpoint c = Checkpoint::open(kArrays / "deflated.npz");
  const Weight* w = nullptr;
  for (const Weight& candidate : c.weights()) {
    if (w == nullptr || candidate.bytes() > w->bytes()) w = &candidate;
  }
  ASSERT_NE(w, nullptr);
  std::vector<std::string> seen(4, std::string(w->bytes(), '\0'));
  std::vector<std::thread> threads;
  for (std::string& s : seen) {
    threads.emplace_back([&c, &s, w] { c.read_stored(*w, 0, 0, {reinterpret_cast<uint8_t*>(s.data()), s.size()}); });
  }
  for (std::thread& t : threads) t.join();
  for (const std::string& s : seen) EXPECT_TRUE(s == seen[0]);
}

TEST(Arrays, TransposedRangesOfAnyKind) {
  // (7, 5) stored as (5, 7).
  std::vector<float> stored;
  for (int i = 0; i < 35; ++i) stored.push_back(static_cast<float>(i));
  for (uint64_t first = 0; first < 35; ++first) {
    for (uint64_t n = 0; n <= 35 - first; ++n) {
      std::vector<float> out(n);
      io::read_transposed(7, 5, 4, first, {reinterpret_cast<uint8_t*>(out.data()), 4 * n}, [&](uint64_t at, std::span<uint8_t> to) {
        ASSERT_LE(4 * at + to.size(), 4 * stored.size());
        std::memcpy(to.data(), stored.data() + at, to.size());
      });
      for (uint64_t i = 0; i < n; ++i) ASSERT_EQ(out[i], stored[(first + i) % 5 * 7 + (first + i) / 5]) << first << " " << n;
    }
  }
}

void write_npy(const std::filesystem::path& path, const std::vector<float>& x, std::vector<uint64_t> shape, bool fortran) {
  write_file(path, io::make_npy_header(DType::kF32, shape, fortran) + bytes_of(x));
}

TEST(Arrays, FortranOrderCompressesAsItsCopyInCOrder) {
  Folder folder;
  const uint64_t rows = 48, cols = 96;
  const auto x = marks(rows * cols, 3);
  std::vector<float> t(x.size());
  for (uint64_t r = 0; r < rows; ++r) {
    for (uint64_t k = 0; k < cols; ++k) t[k * rows + r] = x[r * cols + k];
  }
  std::filesystem::create_directories(folder.path() / "c");
  std::filesystem::create_directories(folder.path() / "f");
  write_npy(folder.path() / "c/x.npy", x, {rows, cols}, false);
  write_npy(folder.path() / "f/x.npy", t, {rows, cols}, true);
  const Machine machine(Machine::Options{.threads = 2});
  for (const char* format : {"nf4", "nf4-dq", "int8", "int4-g32", "f16"}) {
    CompressOptions options;
    options.format = format;
    options.force = true;
    std::string result[2];
    for (int i = 0; i < 2; ++i) {
      const auto from = folder.path() / (i == 0 ? "c/x.npy" : "f/x.npy"), to = folder.path() / "out.safetensors";
      std::filesystem::remove(to);
      const auto report = compress(machine, from, to, options);
      EXPECT_EQ(report.tensors.size(), 1u);
      const Checkpoint c = Checkpoint::open(to);
      ASSERT_EQ(c.weights().size(), 1u) << format;
      const Weight* w = c.find("x");
      ASSERT_NE(w, nullptr) << format;
      const auto y = values(c, *w);
      ASSERT_EQ(y.size(), x.size()) << format;
      result[i] = bytes_of(y);
      double signal = 0, noise = 0;
      for (size_t k = 0; k < y.size(); ++k) {
        signal += x[k] * x[k];
        noise += (x[k] - y[k]) * (x[k] - y[k]);
      }
      EXPECT_GT(signal, 50 * noise) << format;
    }
    EXPECT_TRUE(result[0] == result[1]) << format;
  }
}

TEST(Arrays, WhatCannotBeSaidIsNamed) {
  Folder folder;
  const Machine machine(Machine::Options{.threads = 1});
  CompressOptions options;
  options.format = "nf4";
  write_npy(folder.path() / "three.npy", marks(4 * 8 * 64, 1), {4, 8, 64}, true);
  EXPECT_FALSE(Checkpoint::open(folder.path() / "three.npy").weights()[0].decodable);
  try {
    compress(machine, folder.path() / "three.npy", folder.path() / "out.safetensors", options);
    FAIL() << "three dimensions in Fortran order";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("Fortran"), std::string::npos) << e.what();
  }
}

// ---- what compress() keeps ----

TEST(Nonfinite, KeptWhenAsked) {
  Folder folder;
  auto odd = marks(64 * 64, 1);
  odd[777] = NAN;
  test::write_model(folder.path(), {{"model.layers.0.a.weight", DType::kF32, {64, 64}, bytes_of(odd)},
                                    {"model.layers.0.b.weight", DType::kF32, {64, 64}, bytes_of(marks(64 * 64, 2))}},
                    "{\"model_type\": \"llama\"}");
  const Machine machine(Machine::Options{.threads = 2});
  CompressOptions options;
  options.format = "nf4";
  EXPECT_THROW(compress(machine, folder.path(), folder.path() / "out", options), Error);
  options.keep_nonfinite = true;
  const auto report = compress(machine, folder.path(), folder.path() / "out", options);
  ASSERT_EQ(report.kept.size(), 1u);
  EXPECT_EQ(report.kept[0].name, "model.layers.0.a.weight");
  EXPECT_NE(report.kept[0].reason.find("NaN"), std::string::npos);
  const Checkpoint c = Checkpoint::open(folder.path() / "out");
  const auto y = values(c, *c.find("model.layers.0.a.weight"));
  for (size_t k = 0; k < y.size(); ++k) ASSERT_TRUE(y[k] == odd[k] || (std::isnan(y[k]) && k == 777));
}

TEST(Conv1D, QuantizedTransposedForBitsandbytesKeptForCompressedTensors) {
  Folder folder;
  const auto x = marks(64 * 192, 4);
  test::write_model(folder.path(), {{"h.0.attn.c_attn.weight", DType::kF32, {64, 192}, bytes_of(x)},
                                    {"lin.weight", DType::kF32, {64, 64}, bytes_of(marks(64 * 64, 2))}},
                    "{\"model_type\": \"gpt2\"}");
  const Machine machine(Machine::Options{.threads = 2});
  for (const char* format : {"nf4", "nf4-dq", "int8"}) {
    CompressOptions options;
    options.format = format;
    options.force = true;
    compress(machine, folder.path(), folder.path() / "out", options);
    const Checkpoint c = Checkpoint::open(folder.path() / "out");
    const Weight* w = c.find("h.0.attn.c_attn.weight");
    ASSERT_NE(w, nullptr);
    EXPECT_EQ(w->shape, (std::vector<uint64_t>{192, 64})) << format;
    const auto y = values(c, *w);
    double signal = 0, noise = 0;
    for (uint64_t r = 0; r < 192; ++r) {
      for (uint64_t k = 0; k < 64; ++k) {
        const double v = x[k * 192 + r], e = v - y[r * 64 + k];
        signal += v * v;
        noise += e * e;
      }
    }
    EXPECT_GT(signal, 50 * noise) << format;
  }
  CompressOptions options;
  options.format = "int4-g32";
  options.force = true;
  const auto report = compress(machine, folder.path(), folder.path() / "out", options);
  ASSERT_EQ(report.kept.size(), 1u);
  EXPECT_NE(report.kept[0].reason.find("Conv1D"), std::string::npos);
}

}  // namespace
}  // namespace viva
