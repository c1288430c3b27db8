// Carrying models between safetensors and GGUF: what is said to be lossless is compared value by value.
#include "viva/compress/convert.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "golden.h"
#include "model_files.h"
#include "viva/compress/quality.h"
#include "viva/compress/recipe.h"
#include "viva/compress/verify.h"

namespace viva {
namespace {

namespace fs = std::filesystem;
using test::Folder;

const fs::path kDemo = fs::path(VIVA_SOURCE) / "data/demo-model";

class Convert : public testing::Test {
 protected:
  fs::path at(const std::string& name) const { return folder_.path() / name; }
  fs::path compressed(const std::string& name, const std::string& format) {
    CompressOptions o;
    o.format = format;
    compress(machine_, kDemo, at(name), o);
    return at(name);
  }
  ConvertReport run(const fs::path& from, const std::string& to, const std::string& format = "", bool requantize = false) {
    ConvertOptions o;
    o.to = format;
    o.requantize = requantize;
    return convert(machine_, from, at(to), o);
  }
  CompareReport compared(const fs::path& a, const fs::path& b) {
    return compare(machine_, io::Checkpoint::open(a), io::Checkpoint::open(b), {});
  }
  // Formats of the quantized weights and how many there are.
  static std::map<std::string, size_t> formats_in(const fs::path& path) {
    std::map<std::string, size_t> count;
    const io::Checkpoint model = io::Checkpoint::open(path);
    for (const io::Weight& w : model.weights()) ++count[w.stored_as()];
    return count;
  }
  bool traces() const {
    for (const auto& e : fs::directory_iterator(folder_.path())) {
      if (e.path().filename().string().starts_with(".")) return true;
    }
    return false;
  }

  Folder folder_;
  Machine machine_;
};

TEST_F(Convert, APlainModelGoesToGgufAndBack) {
  const ConvertReport there = run(kDemo, "a.gguf");
  EXPECT_TRUE(there.lossless);
  EXPECT_TRUE(compared(kDemo, at("a.gguf")).identical);
  const ConvertReport back = run(at("a.gguf"), "back");
  EXPECT_TRUE(back.lossless);
  const CompareReport same = compared(kDemo, at("back"));
  EXPECT_TRUE(same.identical) << same.missing.size() << " missing, " << same.extra.size() << " extra";
  EXPECT_TRUE(fs::exists(at("back") / "config.json"));
  EXPECT_TRUE(fs::exists(at("back") / "tokenizer.json"));
  EXPECT_FALSE(traces());
}

// Every format that a directory can hold: as GGUF and back as a directory the values stay.
TEST_F(Convert, EveryDirectoryFormatKeepsItsValues) {
  const std::map<std::string, std::string> expected = {{"int4-g32", "q4_0"}, {"int4-g128", "q4_0"}, {"mxfp4", "mxfp4-gguf"}};
  for (const std::string format : {"nf4", "nf4-dq", "fp4", "int8", "int4-g32", "int4-g128", "int4-g128-asym", "fp8", "fp8-block", "nvfp4", "mxfp4"}) {
    SCOPED_TRACE(format);
    const fs::path source = compressed(format, format);
    const ConvertReport r = run(source, format + ".gguf");
    EXPECT_TRUE(r.lossless);
    EXPECT_TRUE(compared(source, at(format + ".gguf")).identical);
    const auto found = expected.find(format);
    const std::string packed = found == expected.end() ? "f32" : found->second;
    for (const CompressedTensor& t : r.tensors) EXPECT_EQ(t.format == "mxfp4" ? "mxfp4-gguf" : t.format, packed) << t.name;
    EXPECT_GT(formats_in(at(format + ".gguf"))[packed], 0u);
    const ConvertReport back = run(at(format + ".gguf"), format + "-back");
    EXPECT_TRUE(back.lossless);
    EXPECT_TRUE(compared(source, at(format + "-back")).identical);
  }
}

TEST_F(Convert, EveryGgufFormatKeepsItsValues) {
  const std::map<std::string, std::string> expected = {{"q4_0", "int4-g32"}, {"mxfp4", "mxfp4"}, {"nvfp4", "nvfp4"}};
  for (const std::string format : {"f16", "bf16", "f32", "q8_0", "q4_0", "q4_1", "mxfp4", "nvfp4"}) {
    SCOPED_TRACE(format);
    const fs::path source = compressed(format + ".gguf", format);
    const ConvertReport r = run(source, format);
    EXPECT_TRUE(r.lossless);
    EXPECT_TRUE(compared(source, at(format)).identical);
    const auto found = expected.find(format);
    if (found != expected.end()) {
      EXPECT_GT(formats_in(at(format))[found->second], 0u);
    }
    // One file without config, in f32.
    EXPECT_TRUE(run(source, format + ".safetensors", "f32").lossless);
    EXPECT_TRUE(compared(source, at(format + ".safetensors")).identical);
  }
}

TEST_F(Convert, RefusesToChangeValuesUnlessAsked) {
  const fs::path source = compressed("nf4", "nf4");
  try {
    run(source, "out.gguf", "q4_0");
    FAIL() << "converted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kRefused);
    EXPECT_NE(std::string(e.what()).find("model."), std::string::npos) << e.what();
    EXPECT_NE(e.hint().find("--requantize"), std::string::npos);
  }
  EXPECT_FALSE(fs::exists(at("out.gguf")));
  EXPECT_FALSE(traces());
  const ConvertReport r = run(source, "out.gguf", "q4_0", true);
  EXPECT_FALSE(r.lossless);
  const CompareReport seen = compared(source, at("out.gguf"));
  EXPECT_FALSE(seen.identical);
  std::map<std::string, const ComparedTensor*> by_name;
  for (const ComparedTensor& t : seen.tensors) by_name[t.name_b] = &t;
  size_t checked = 0;
  for (const CompressedTensor& t : r.tensors) {
    const io::Checkpoint result = io::Checkpoint::open(at("out.gguf"));
    const auto found = by_name.find(result.find_stored(t.name)->name);
    ASSERT_NE(found, by_name.end()) << t.name;
    EXPECT_NEAR(t.sqnr_db, found->second->sqnr_db, 1e-6) << t.name;
    EXPECT_NEAR(t.max_error, found->second->max_abs, 1e-12) << t.name;
    ++checked;
  }
  EXPECT_GT(checked, 0u);
}

TEST_F(Convert, TheSameWorldIsCarriedOverAsItIs) {
  const fs::path nf4 = compressed("nf4", "nf4");
  EXPECT_TRUE(run(nf4, "copy").lossless);
  EXPECT_TRUE(compared(nf4, at("copy")).identical);
  EXPECT_EQ(formats_in(nf4), formats_in(at("copy")));
  EXPECT_EQ(io::read_text(nf4 / "config.json"), io::read_text(at("copy") / "config.json"));
  const fs::path gguf = compressed("q4_0.gguf", "q4_0");
  EXPECT_TRUE(run(gguf, "copy.gguf").lossless);
  EXPECT_EQ(formats_in(gguf), formats_in(at("copy.gguf")));
  EXPECT_TRUE(compared(gguf, at("copy.gguf")).identical);
}

TEST_F(Convert, DecodesToThePlainDtypesWhenAsked) {
  const fs::path source = compressed("mxfp4", "mxfp4");
  // E2M1 codes and powers of two are f16 values here; the embedding and the norms are f16 already.
  EXPECT_TRUE(run(source, "f32", "f32").lossless);
  EXPECT_TRUE(compared(source, at("f32")).identical);
  EXPECT_EQ(formats_in(at("f32")).size(), 1u);
  EXPECT_EQ(io::Checkpoint::open(at("f32")).config().find("quantization_config"), std::string::npos);
  EXPECT_FALSE(run(compressed("nf4", "nf4"), "f16", "f16", true).lossless);
  EXPECT_EQ(formats_in(at("f16")).size(), 1u);
  EXPECT_GT(compared(at("nf4"), at("f16")).sqnr_db, 60);
}

// GPT-2 stores its linear layers as (in, out), bitsandbytes holds them as (out, in).
TEST_F(Convert, AConv1dGetsItsOrientationBack) {
  fs::create_directory(at("gpt2"));
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  test::TestTensor t{"transformer.h.0.attn.c_attn.weight", DType::kF32, {64, 192}, {}};
  for (size_t i = 0; i < 64 * 192; ++i) {
    const float x = normal(random);
    t.bytes.append(reinterpret_cast<const char*>(&x), 4);
  }
  test::write_model(at("gpt2"), {t}, R"({"model_type": "gpt2"})");
  CompressOptions o;
  o.format = "nf4";
  compress(machine_, at("gpt2"), at("nf4"), o);
  EXPECT_TRUE(run(at("nf4"), "f32", "f32").lossless);
  const CompareReport there = compared(at("gpt2"), at("f32"));
  EXPECT_TRUE(there.missing.empty() && there.extra.empty() && there.mismatches.empty());
  EXPECT_GT(there.sqnr_db, 20);
  EXPECT_TRUE(run(at("f32"), "again", "nf4").lossless);  // the values lie on the grid already
  EXPECT_TRUE(compared(at("nf4"), at("again")).identical);
}

// Values are compared as f32, which could not tell what an f64 loses.
TEST_F(Convert, RefusesWhatItCouldNotCompare) {
  fs::create_directory(at("f64"));
  test::write_model(at("f64"), {{"model.layers.0.mlp.up_proj.weight", DType::kF64, {2, 32}, std::string(512, '\0')}}, R"({"model_type": "llama"})");
  try {
    run(at("f64"), "out.gguf");
    FAIL() << "converted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_NE(std::string(e.what()).find("f64"), std::string::npos) << e.what();
  }
  EXPECT_FALSE(fs::exists(at("out.gguf")));
}

TEST_F(Convert, AResultCanBeVerifiedAgainstItsSource) {
  const fs::path source = compressed("int4-g128", "int4-g128");
  run(source, "out.gguf");
  VerifyOptions o;
  o.source = source;
  const VerifyReport r = verify(machine_, at("out.gguf"), o);
  for (const auto& d : r.differences) ADD_FAILURE() << d.name << ": " << d.reason;
  EXPECT_EQ(r.recoded, r.tensors);
}

TEST_F(Convert, GoldenCheckpointsOfTheRealTools) {
  SKIP_WITHOUT_GOLDEN();
  for (const char* name : {"bnb-nf4", "bnb-nf4-double", "bnb-int8", "ct-w4a16", "ct-w4a16-asym", "ct-w8a8", "ct-fp8-dynamic", "ct-nvfp4a16", "ct-mxfp4a16"}) {
    SCOPED_TRACE(name);
    const fs::path source = fs::path(VIVA_SHARED) / "golden/checkpoints" / name;
    EXPECT_TRUE(run(source, std::string(name) + ".safetensors", "f32").lossless);
    EXPECT_TRUE(compared(source, at(std::string(name) + ".safetensors")).identical);
    EXPECT_TRUE(run(source, std::string(name) + ".gguf").lossless);
    EXPECT_TRUE(compared(source, at(std::string(name) + ".gguf")).identical);
  }
}

}  // namespace
}  // namespace viva
