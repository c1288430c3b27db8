// From GGUF metadata to the files of a Hugging Face directory. That transformers reads them, and cuts texts
// into the same tokens, is tried with the real package, outside these tests.
#include "viva/io/gguf_to_hf.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "model_files.h"
#include "viva/base/error.h"
#include "viva/compress/compress.h"
#include "viva/io/checkpoint.h"
#include "viva/io/gguf_names.h"
#include "viva/io/gguf_tokenizer.h"

namespace viva::io {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// The files that were made, parsed.
struct Made {
  std::map<std::string, json> files;
  std::vector<std::string> warnings;
  std::vector<size_t> left_out;
  const json& config() const { return files.at("config.json"); }
  const json& tokenizer() const { return files.at("tokenizer.json"); }
  const json& settings() const { return files.at("tokenizer_config.json"); }
};

Made parsed(const HfFiles& made) {
  Made m;
  for (const auto& [name, text] : made.texts) m.files[name] = json::parse(text);
  m.warnings = made.warnings;
  m.left_out = made.left_out;
  return m;
}

// A small model: metadata, and the tensors that it asks for.
struct Small {
  GgufMetadata metadata;
  std::vector<std::pair<std::string, std::vector<uint64_t>>> tensors;
  std::vector<GgufExtraTensor> factors;
  std::string arch;

  explicit Small(std::string architecture = "llama") : arch(std::move(architecture)) {
    put("general.architecture", arch);
    number("block_count", 2);
    number("context_length", 512);
    number("embedding_length", 64);
    number("feed_forward_length", 96);
    number("attention.head_count", 4);
    number("attention.head_count_kv", 2);
    of("attention.layer_norm_rms_epsilon", 1e-5f);
    GgufModel m;
    m.architecture = arch;
    m.layers = 2, m.hidden = 64, m.feed_forward = 96, m.heads = 4, m.kv_heads = 2, m.head_dim = 16,
    m.vocabulary = 300;
    std::vector<std::string> names = gguf_tensor_names(m);
    if (arch == "qwen2") add_biases(names, {"attn_q", "attn_k", "attn_v"});
    for (const std::string& gguf : names)
      tensors.emplace_back(*hf_name(arch, gguf), gguf_tensor_shape(m, gguf));
  }

  static void add_biases(std::vector<std::string>& names, std::initializer_list<const char*> parts) {
    for (int i = 0; i < 2; ++i) {
      for (const char* part : parts) names.push_back(fmt::format("blk.{}.{}.bias", i, part));
    }
  }
  void put(const std::string& key, GgufValue v) { set(metadata, key, std::move(v)); }
  void of(const std::string& key, GgufValue v) { put(arch + "." + key, std::move(v)); }
  void number(const std::string& key, uint32_t v) { of(key, v); }
  void drop(const std::string& key) {
    std::erase_if(metadata, [&](const GgufEntry& e) { return e.key == key; });
  }
  void factor(const std::string& name, std::vector<float> values) {
    tensors.emplace_back(name, std::vector<uint64_t>{values.size()});
    factors.push_back({name, std::move(values)});
  }
  HfFiles files() const {
    std::vector<NamedShape> shapes;
    for (const auto& [name, shape] : tensors) shapes.push_back({name, shape});
    return make_hf_files(metadata, shapes, DType::kBF16, factors);
  }
  Made make() const { return parsed(files()); }
};

std::string refusal(const Small& s, Code code = Code::kBadInput) {
  try {
    s.files();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  return "";
}

// [["a", "b"]] for both spellings of merges.
std::vector<std::pair<std::string, std::string>> merges(const json& tokenizer) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const json& m : tokenizer["model"]["merges"]) {
    if (m.is_array()) {
      out.emplace_back(m[0], m[1]);
    } else {
      const std::string line = m;
      const size_t space = line.find(' ', 1);
      out.emplace_back(line.substr(0, space), line.substr(space + 1));
    }
  }
  return out;
}

// Every token by number, wherever a tokenizer.json lists it.
std::map<uint64_t, std::string> tokens_of(const json& tokenizer) {
  std::map<uint64_t, std::string> out;
  for (const auto& [text, id] : tokenizer["model"]["vocab"].items()) out[id] = text;
  for (const json& t : tokenizer["added_tokens"]) out[t["id"]] = t["content"];
  return out;
}

TEST(GgufToHf, TheDemoModelComesBack) {
  const fs::path source = fs::path(VIVA_SOURCE) / "data/demo-model";
  const test::Folder folder;
  CompressOptions options;
  options.format = "f16";
  compress(Machine({.threads = 1}), source, folder.path() / "demo.gguf", options);
  const Checkpoint gguf = Checkpoint::open(folder.path() / "demo.gguf");
  const Made m = parsed(make_hf_files(gguf, DType::kF16));
  EXPECT_TRUE(m.warnings.empty());
  EXPECT_TRUE(m.left_out.empty());

  json config = json::parse(read_text(source / "config.json"));
  // What GGUF does not know and nothing depends on, and what the file really holds.
  for (const char* key : {"pretraining_tp", "transformers_version"}) config.erase(key);
  config["torch_dtype"] = "float16";
  EXPECT_EQ(m.config(), config);
  json generation = json::parse(read_text(source / "generation_config.json"));
  for (const char* key : {"do_sample", "transformers_version"}) generation.erase(key);
  EXPECT_EQ(m.files.at("generation_config.json"), generation);

  const json original = json::parse(read_text(source / "tokenizer.json"));
  EXPECT_EQ(m.tokenizer()["model"]["vocab"], original["model"]["vocab"]);
  EXPECT_EQ(merges(m.tokenizer()), merges(original));
  for (const char* key : {"added_tokens", "normalizer", "pre_tokenizer", "decoder"})
    EXPECT_EQ(m.tokenizer()[key], original[key]) << key;
  for (const char* key : {"byte_fallback", "fuse_unk", "ignore_merges", "unk_token", "type"})
    EXPECT_EQ(m.tokenizer()["model"][key], original["model"][key]) << key;
  EXPECT_EQ(m.tokenizer()["post_processor"]["processors"][1]["single"],
            original["post_processor"]["processors"][1]["single"]);
  json settings = json::parse(read_text(source / "tokenizer_config.json"));
  for (const auto& [key, value] : settings.items()) EXPECT_EQ(m.settings()[key], value) << key;

  // Written as GGUF once more, they say what the file said.
  GgufSource again;
  again.config = m.config().dump();
  again.tokenizer = m.tokenizer().dump();
  again.tokenizer_config = m.settings().dump();
  const GgufMetadata second = make_gguf_model(again, "f16").metadata;
  size_t compared = 0;
  for (const GgufEntry& e : gguf.gguf_metadata()) {
    if (!e.key.starts_with("llama.") && !e.key.starts_with("tokenizer.")) continue;
    const GgufValue* v = find(second, e.key);
    ASSERT_NE(v, nullptr) << e.key;
    EXPECT_TRUE(*v == e.value) << e.key;
    ++compared;
  }
  EXPECT_GE(compared, 20u);
}

// The two calls say the same; q and k have their names only where the metadata is right, so this is the order
// of things for a real file.
TEST(GgufToHf, AFileAndItsPartsSayTheSame) {
  for (const char* arch : {"llama", "qwen2", "qwen3"}) {
    Small s(arch);
    if (s.arch == "llama") s.factor("rope_freqs.weight", {1, 1, 1.5f, 3, 8, 8, 8, 8});
    std::vector<GgufTensor> list;
    for (const auto& [name, shape] : s.tensors)
      list.push_back({gguf_name(arch, name).value_or(name), *find_ggml_type("f32"), shape});
    const GgufLayout layout = make_gguf_header(list, s.metadata);
    std::string bytes = layout.header;
    bytes.resize(layout.file_bytes);
    if (!s.factors.empty())
      std::memcpy(&bytes[list.back().offset], s.factors[0].values.data(), list.back().bytes);
    const test::Folder folder;
    test::write_file(folder.path() / "x.gguf", bytes);
    const HfFiles whole = make_hf_files(Checkpoint::open(folder.path() / "x.gguf"), DType::kBF16),
                  parts = s.files();
    EXPECT_EQ(whole.texts, parts.texts);
    EXPECT_EQ(whole.left_out, parts.left_out);
    EXPECT_EQ(whole.left_out.size(), s.factors.size());
    EXPECT_EQ(whole.warnings, parts.warnings);
  }
}

TEST(GgufToHf, ConfigOfEachArchitecture) {
  Small llama;
  llama.of("rope.freq_base", 500000.0f);
  const json l = llama.make().config();
  EXPECT_EQ(l["architectures"], json::array({"LlamaForCausalLM"}));
  EXPECT_EQ(l["model_type"], "llama");
  EXPECT_EQ(l["hidden_size"], 64);
  EXPECT_EQ(l["intermediate_size"], 96);
  EXPECT_EQ(l["num_hidden_layers"], 2);
  EXPECT_EQ(l["num_attention_heads"], 4);
  EXPECT_EQ(l["num_key_value_heads"], 2);
  EXPECT_EQ(l["head_dim"], 16);
  EXPECT_EQ(l["vocab_size"], 300);
  EXPECT_EQ(l["max_position_embeddings"], 512);
  EXPECT_EQ(l["rms_norm_eps"], 1e-5);  // not 9.99999974e-06
  EXPECT_EQ(l["rope_theta"], 500000.0);
  EXPECT_EQ(l["rope_scaling"], nullptr);
  EXPECT_EQ(l["torch_dtype"], "bfloat16");
  EXPECT_EQ(l["tie_word_embeddings"], false);
  EXPECT_EQ(l["attention_bias"], false);
  EXPECT_EQ(l["bos_token_id"], nullptr);
  EXPECT_EQ(llama.make().files.size(), 1u);  // no tokenizer, and nothing to say about how texts end

  Small mistral;
  mistral.number("attention.sliding_window", 128);
  const json mc = mistral.make().config();
  EXPECT_EQ(mc["architectures"], json::array({"MistralForCausalLM"}));
  EXPECT_EQ(mc["model_type"], "mistral");
  EXPECT_EQ(mc["sliding_window"], 128);

  Small two("qwen2");
  std::erase_if(two.tensors, [](const auto& t) { return t.first == "lm_head.weight"; });
  const json t = two.make().config();
  EXPECT_EQ(t["architectures"], json::array({"Qwen2ForCausalLM"}));
  EXPECT_EQ(t["tie_word_embeddings"], true);
  EXPECT_EQ(t["use_sliding_window"], false);

  Small three("qwen3");
  three.number("attention.key_length", 16);
  three.number("attention.value_length", 16);
  three.number("rope.dimension_count", 16);
  EXPECT_EQ(three.make().config()["model_type"], "qwen3");
  // 8-bit and signed counts are counts too.
  three.of("block_count", uint8_t{2});
  three.of("attention.head_count", int64_t{4});
  EXPECT_EQ(three.make().config()["num_hidden_layers"], 2);
}

TEST(GgufToHf, BiasesAreEverywhereOrNowhere) {
  const auto with = [](std::initializer_list<const char*> parts, const char* arch = "llama") {
    Small s(arch);
    for (const char* part : parts) {
      for (int i = 0; i < 2; ++i) {
        const std::string p = part;
        const uint64_t out = p == "k_proj" || p == "v_proj"       ? 32
                             : p == "gate_proj" || p == "up_proj" ? 96
                                                                  : 64;
        const char* block = p == "gate_proj" || p == "up_proj" || p == "down_proj" ? "mlp" : "self_attn";
        s.tensors.push_back({fmt::format("model.layers.{}.{}.{}.bias", i, block, part), {out}});
      }
    }
    return s;
  };
  const json both =
      with({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}).make().config();
  EXPECT_EQ(both["attention_bias"], true);
  EXPECT_EQ(both["mlp_bias"], true);
  EXPECT_NE(refusal(with({"q_proj", "k_proj", "v_proj"})).find("attn_output.bias"), std::string::npos);
  EXPECT_NE(refusal(with({"gate_proj"})).find("ffn_up.bias"), std::string::npos);
  EXPECT_NE(refusal(with({"gate_proj"}, "qwen3")).find("no such tensor"), std::string::npos);
  Small window = with({"q_proj", "k_proj", "v_proj", "o_proj"});
  window.number("attention.sliding_window", 64);
  EXPECT_NE(refusal(window).find("llama.attention.sliding_window"), std::string::npos);
  Small bare("qwen2");
  std::erase_if(bare.tensors,
                [](const auto& t) { return t.first.ends_with("layers.1.self_attn.k_proj.bias"); });
  EXPECT_NE(refusal(bare).find("blk.1.attn_k.bias"), std::string::npos);
}

// make_gguf_model and back, for every rotary scaling that GGUF can say.
TEST(GgufToHf, RotaryScalingComesBack) {
  const auto round = [](const json& rope, uint64_t context = 512) {
    json c = {{"architectures", {"LlamaForCausalLM"}},
              {"hidden_size", 256},  // heads of 64, so that llama3's blend has several members
              {"intermediate_size", 96},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"vocab_size", 300},
              {"max_position_embeddings", context},
              {"rope_theta", 500000.0},
              {"rope_scaling", rope}};
    GgufSource source;
    source.config = c.dump();
    const GgufModel m = make_gguf_model(source, "f16");
    Small s;
    s.metadata = m.metadata;
    s.tensors.clear();
    for (const std::string& gguf : gguf_tensor_names(m))
      s.tensors.emplace_back(*hf_name("llama", gguf), gguf_tensor_shape(m, gguf));
    for (const GgufExtraTensor& t : m.extra) s.factor(t.name, t.values);
    const Made made = s.make();
    EXPECT_EQ(made.left_out.size(), m.extra.size());
    json back = made.config()["rope_scaling"];
    if (back.is_object()) back.erase("type");  // the old name of rope_type, for old readers
    return back;
  };
  EXPECT_EQ(round(nullptr), nullptr);
  for (const json& rope :
       std::vector<json>{{{"rope_type", "linear"}, {"factor", 4.0}},
                         {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}},
                         {{"rope_type", "yarn"},
                          {"factor", 4.0},
                          {"original_max_position_embeddings", 128},
                          {"attention_factor", 1.3}},
                         {{"rope_type", "yarn"},
                          {"factor", 4.0},
                          {"original_max_position_embeddings", 128},
                          {"beta_fast", 16.0},
                          {"beta_slow", 2.0}}}) {
    EXPECT_EQ(round(rope), rope);
  }
  for (const auto& [context, factor, high] : std::vector<std::tuple<uint64_t, double, double>>{
           {8192, 8, 4}, {8192, 32, 4}, {256, 8, 4}, {6000, 5, 3}}) {
    const json llama3 = {{"rope_type", "llama3"},
                         {"factor", factor},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", high},
                         {"original_max_position_embeddings", context}};
    EXPECT_EQ(round(llama3, 131072), llama3);
  }
  // Only the ratios are in the factors: the answer has another spelling and the same frequencies.
  const json other = round({{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 2.0},
                            {"high_freq_factor", 8.0},
                            {"original_max_position_embeddings", 8192}});
  EXPECT_EQ(other["original_max_position_embeddings"], 4096);
  EXPECT_EQ(other["high_freq_factor"], 4.0);

  std::vector<double> longer, shorter;
  for (int i = 0; i < 32; ++i) longer.push_back(1 + i * 0.25), shorter.push_back(1 + i * 0.125);
  const json longrope = round({{"rope_type", "longrope"},
                               {"original_max_position_embeddings", 128},
                               {"long_factor", longer},
                               {"short_factor", shorter}});
  EXPECT_EQ(longrope["long_factor"], longer);
  EXPECT_EQ(longrope["short_factor"], shorter);
  EXPECT_EQ(longrope["factor"], 4.0);
  EXPECT_NEAR(longrope["attention_factor"], std::sqrt(1 + std::log(4.0) / std::log(128.0)), 1e-6);
}

TEST(GgufToHf, RotaryFactorsThatNoRuleGives) {
  Small s;
  s.factor("rope_freqs.weight", {1, 3, 2, 5, 1, 1, 7, 8});
  const json rope = s.make().config()["rope_scaling"];
  EXPECT_EQ(rope["rope_type"], "longrope");
  EXPECT_EQ(rope["attention_factor"], 1.0);
  EXPECT_EQ(rope["short_factor"], json::array({1, 3, 2, 5, 1, 1, 7, 8}));
  EXPECT_EQ(rope["long_factor"], rope["short_factor"]);
  Small ones;
  ones.factor("rope_freqs.weight", std::vector<float>(8, 1.0f));
  EXPECT_EQ(ones.make().config()["rope_scaling"], nullptr);

  const auto says = [](const std::vector<float>& factors, const char* word, const char* type = "",
                       const char* arch = "llama") {
    Small bad(arch);
    bad.factor("rope_freqs.weight", factors);
    if (*type != 0) bad.of("rope.scaling.type", std::string(type)), bad.of("rope.scaling.factor", 2.0f);
    const std::string text = refusal(bad);
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  const std::vector<float> fine(8, 2.0f);
  says({1, 2}, "8 numbers");
  says({1, 2, 3, 4, 5, 6, 7, 0}, "8 numbers");
  says({1, 2, 3, 4, 5, 6, 7, NAN}, "8 numbers");
  says(fine, "both", "linear");
  says(fine, "both", "yarn");
  says(fine, "both", "longrope");
  says(fine, "qwen2", "", "qwen2");
  Small unread;
  unread.factor("rope_freqs.weight", fine);
  unread.factors.clear();
  EXPECT_NE(refusal(unread, Code::kUsage).find("rope_freqs"), std::string::npos);
}

TEST(GgufToHf, RefusesWhatAConfigCannotSay) {
  const auto says = [](const std::string& key, GgufValue v, const char* word) {
    Small s;
    s.put(key, std::move(v));
    const std::string text = refusal(s);
    EXPECT_NE(text.find(word), std::string::npos) << key << ": " << text;
    EXPECT_NE(text.find(key), std::string::npos) << text;
  };
  for (const char* a : {"mamba", "llama4", "gemma3", "", "\x1b[31m"})
    says("general.architecture", std::string(a), "general");
  says("general.architecture", uint32_t{3}, "missing");
  says("general.type", std::string("adapter"), "adapter");
  says("llama.expert_count", uint32_t{8}, "experts");
  says("llama.attention.causal", false, "causal");
  says("llama.attention.scale", 0.5f, "cannot");
  says("llama.attention.value_length", uint32_t{8}, "8 where heads have 16");
  says("llama.rope.dimension_count", uint32_t{8}, "8 where heads have 16");
  says("llama.rope.scaling.type", std::string("ntk"), "ntk");
  says("llama.rope.scaling.type", uint32_t{1}, "text");
  says("llama.rope.scaling.type", std::string("longrope"), "longrope");
  says("llama.rope.scaling.attn_factor", 1.5f, "without yarn");
  says("llama.rope.freq_base", -1.0f, "above zero");
  says("llama.rope.freq_base", std::string("10000"), "above zero");
  says("llama.rope.scaling.factor", NAN, "above zero");
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"}) {
    const std::string full = fmt::format("llama.{}", key);
    says(full, uint32_t{0}, "whole number");
    says(full, uint64_t{1} << 40, "whole number");
    says(full, int32_t{-1}, "-1");
    says(full, 2.0f, "whole number");
    says(full, std::vector<uint32_t>{4, 4}, "[4, 4]");
    Small s;
    s.drop(full);
    EXPECT_NE(refusal(s).find(full + " is missing"), std::string::npos);
  }
  says("llama.attention.head_count_kv", uint32_t{3}, "share");
  says("llama.attention.key_length", uint32_t{15}, "in pairs");
  says("llama.attention.layer_norm_rms_epsilon", 0.0f, "above zero");

  const auto tensors = [](const std::function<void(Small&)>& change, const char* word) {
    Small s;
    change(s);
    const std::string text = refusal(s);
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  tensors([](Small& s) { s.tensors.pop_back(); }, "missing");
  tensors([](Small& s) { s.tensors.clear(); }, "token_embd.weight");
  tensors([](Small& s) { s.tensors.push_back(s.tensors[0]); }, "twice");
  tensors([](Small& s) { s.tensors.push_back({"blk.0.ffn_gate_exps.weight", {4, 4}}); }, "ffn_gate_exps");
  tensors([](Small& s) { s.tensors.push_back({"layers.0.input_layernorm.weight", {64}}); }, "no such tensor");
  tensors([](Small& s) { s.tensors[0].second = {300}; }, "vocabulary");
  tensors([](Small& s) { s.tensors[0].second = {300, 32}; }, "[300, 32], the metadata says [300, 64]");
  tensors([](Small& s) { s.number("block_count", 1); }, "block_count is 1");
  tensors([](Small& s) { s.number("block_count", 3); }, "blk.2.attn_norm.weight");
}

// A vocabulary with all 256 bytes as byte-level BPE spells them is not needed for what is tested here.
Small with_bpe(const char* arch, const char* pre) {
  Small s(arch);
  s.put("tokenizer.ggml.model", std::string("gpt2"));
  s.put("tokenizer.ggml.pre", std::string(pre));
  std::vector<std::string> tokens = {"a",     "b",      "ab",     "Ġ",       "Ġa",    "<|end|>",
                                     "  two", "[PAD7]", "[PAD8]", "[PAD7]x", "\"\\\n"};
  s.put("tokenizer.ggml.tokens", tokens);
  s.put("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 1, 4, 5, 4, 5, 1});
  s.put("tokenizer.ggml.merges", std::vector<std::string>{"a b", "Ġ a"});
  s.put("tokenizer.ggml.eos_token_id", uint32_t{5});
  s.put("tokenizer.chat_template", std::string("{{x}} \"y\""));
  return s;
}

TEST(GgufToHf, ByteLevelTokenizer) {
  const Made m = with_bpe("qwen2", "qwen2").make();
  EXPECT_TRUE(m.warnings.empty());
  const json& t = m.tokenizer();
  // The fillers of the vocabulary are left out, other unused tokens stay.
  EXPECT_EQ(tokens_of(t), (std::map<uint64_t, std::string>{{0, "a"},
                                                           {1, "b"},
                                                           {2, "ab"},
                                                           {3, "Ġ"},
                                                           {4, "Ġa"},
                                                           {5, "<|end|>"},
                                                           {6, "  two"},
                                                           {9, "[PAD7]x"},
                                                           {10, "\"\\\n"}}));
  EXPECT_EQ(merges(t), (std::vector<std::pair<std::string, std::string>>{{"a", "b"}, {"Ġ", "a"}}));
  ASSERT_EQ(t["added_tokens"].size(), 2u);
  EXPECT_EQ(t["added_tokens"][0]["content"], "<|end|>");  // by its use, though its type is normal
  EXPECT_EQ(t["added_tokens"][0]["special"], true);
  EXPECT_EQ(t["added_tokens"][1]["special"], false);
  EXPECT_EQ(t["normalizer"]["type"], "NFC");
  EXPECT_EQ(t["post_processor"]["type"], "ByteLevel");
  EXPECT_EQ(find_pre_tokenizer(t["pre_tokenizer"].dump(), false), "qwen2");
  EXPECT_EQ(m.settings()["eos_token"], "<|end|>");
  EXPECT_EQ(m.settings()["bos_token"], nullptr);
  EXPECT_EQ(m.settings()["chat_template"], "{{x}} \"y\"");
  EXPECT_EQ(m.settings()["added_tokens_decoder"]["6"]["content"], "  two");
  EXPECT_EQ(m.config()["eos_token_id"], 5);
  EXPECT_EQ(m.files.at("generation_config.json"), json({{"eos_token_id", 5}}));
}

TEST(GgufToHf, PreTokenizersComeBack) {
  for (const char* name : {"gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "tekken", "gpt-4o", "smollm",
                           "deepseek-coder", "deepseek-v3"}) {
    const auto pre = make_pre_tokenizer(name);
    ASSERT_TRUE(pre) << name;
    EXPECT_EQ(find_pre_tokenizer(pre->json, pre->ignore_merges), name);
  }
  EXPECT_FALSE(make_pre_tokenizer("default"));
  EXPECT_FALSE(make_pre_tokenizer(""));
  EXPECT_EQ(make_pre_tokenizer("llama3"), make_pre_tokenizer("llama-bpe"));

  // "llama-bpe" means <s> before a text unless the file says otherwise.
  Small s = with_bpe("llama", "llama-bpe");
  s.put("tokenizer.ggml.bos_token_id", uint32_t{6});
  s.put("tokenizer.ggml.eot_token_id", uint32_t{2});
  const Made m = s.make();
  EXPECT_EQ(m.tokenizer()["model"]["ignore_merges"], true);
  EXPECT_EQ(m.settings()["add_bos_token"], true);
  EXPECT_EQ(m.tokenizer()["post_processor"]["processors"][1]["single"][0]["SpecialToken"]["id"], "  two");
  EXPECT_EQ(m.files.at("generation_config.json")["eos_token_id"], json::array({5, 2}));
  s.put("tokenizer.ggml.add_bos_token", false);
  s.put("tokenizer.ggml.add_eos_token", true);
  const json single = s.make().tokenizer()["post_processor"]["processors"][1]["single"];
  EXPECT_EQ(single[0]["Sequence"]["id"], "A");
  EXPECT_EQ(single[1]["SpecialToken"]["id"], "<|end|>");
  EXPECT_EQ(with_bpe("qwen2", "gpt-2").make().warnings.size(), 1u);
}

Small with_spm() {
  Small s;
  s.put("tokenizer.ggml.model", std::string("llama"));
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int b = 0; b < 256; ++b)
    tokens.push_back(fmt::format("<0x{:02X}>", b)), types.push_back(6), scores.push_back(0);
  int rank = 0;  // 259: ▁a, 260: ab, 261: ▁ab, 262: aaa, 263: aa; then the characters
  for (const char* piece : {"▁a", "ab", "▁ab", "aaa", "aa", "▁", "a", "b", "<", "s>", "<s"})
    tokens.push_back(piece), types.push_back(1), scores.push_back(static_cast<float>(-rank++));
  tokens.push_back(" tool "), types.push_back(4), scores.push_back(-1000);
  s.put("tokenizer.ggml.tokens", tokens);
  s.put("tokenizer.ggml.token_type", types);
  s.put("tokenizer.ggml.scores", scores);
  return s;
}

TEST(GgufToHf, SentencePieceTokenizer) {
  Small s = with_spm();
  const Made m = s.make();
  EXPECT_TRUE(m.warnings.empty());
  const json& t = m.tokenizer();
  EXPECT_EQ(tokens_of(t).size(), 271u);
  // All cuts of a piece into two, best pieces first; no way to make the control token <s> of its letters.
  EXPECT_EQ(merges(t),
            (std::vector<std::pair<std::string, std::string>>{
                {"▁", "a"}, {"a", "b"}, {"▁a", "b"}, {"▁", "ab"}, {"aa", "a"}, {"a", "aa"}, {"a", "a"}}));
  EXPECT_EQ(t["model"]["byte_fallback"], true);
  EXPECT_EQ(t["model"]["unk_token"], "<unk>");
  EXPECT_EQ(t["model"]["fuse_unk"], true);
  EXPECT_EQ(t["pre_tokenizer"], nullptr);
  EXPECT_EQ(t["normalizer"]["normalizers"][0]["prepend"], "▁");
  EXPECT_EQ(t["normalizer"]["normalizers"][1]["pattern"]["String"], " ");
  EXPECT_EQ(t["decoder"]["decoders"].size(), 4u);
  EXPECT_EQ(t["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");  // llama.cpp's defaults
  EXPECT_EQ(t["added_tokens"].size(), 4u);
  EXPECT_EQ(t["added_tokens"][3]["content"], " tool ");
  EXPECT_EQ(m.settings()["eos_token"], "</s>");
  EXPECT_EQ(m.config()["bos_token_id"], 1);

  s.put("tokenizer.ggml.add_space_prefix", false);
  s.put("tokenizer.ggml.add_bos_token", false);
  const json plain = s.make().tokenizer();
  EXPECT_EQ(plain["normalizer"]["normalizers"].size(), 1u);
  EXPECT_EQ(plain["decoder"]["decoders"].size(), 3u);
  EXPECT_EQ(plain["post_processor"]["single"].size(), 1u);

  auto tokens = std::get<std::vector<std::string>>(*find(s.metadata, "tokenizer.ggml.tokens"));
  tokens[3] = "not a byte";
  tokens.back() = std::string(1000, 'a');
  s.put("tokenizer.ggml.tokens", tokens);
  EXPECT_EQ(s.make().tokenizer()["model"]["byte_fallback"], false);
}

// No tokenizer, and a sentence why, where a file is damaged; never an error and never a file that readers
// stop at.
TEST(GgufToHf, TokenizersThatCannotBeRebuilt) {
  const auto refused = [](Small s, const std::string& key, GgufValue v, const char* word) {
    s.put(key, std::move(v));
    const Made m = s.make();
    EXPECT_EQ(m.files.count("tokenizer.json") + m.files.count("tokenizer_config.json"), 0u) << key;
    ASSERT_EQ(m.warnings.size(), 1u) << key;
    EXPECT_NE(m.warnings[0].find(word), std::string::npos) << m.warnings[0];
  };
  const Small bpe = with_bpe("llama", "gpt-2"), spm = with_spm();
  const std::string p = "tokenizer.ggml.";
  refused(bpe, p + "model", std::string("t5"), "t5");
  refused(bpe, p + "model", uint32_t{1}, "model is 1");
  refused(bpe, p + "pre", std::string("default"), "\"default\"");
  refused(bpe, p + "pre", uint32_t{1}, "pre is 1");
  refused(bpe, p + "tokens", std::vector<std::string>{}, "tokens");
  refused(bpe, p + "tokens", std::vector<uint32_t>{1, 2}, "tokens");
  refused(bpe, p + "tokens", std::vector<std::string>(11, "\xff"), "UTF-8");
  refused(bpe, p + "token_type", std::vector<int32_t>{1}, "token_type");
  refused(bpe, p + "token_type", std::vector<float>(11, 1.0f), "token_type");
  refused(bpe, p + "merges", std::string("a b"), "merges");
  refused(bpe, p + "add_bos_token", uint32_t{1}, "add_bos_token");
  refused(spm, p + "scores", std::vector<float>{1}, "scores");
  refused(spm, p + "scores", std::vector<float>(271, NAN), "scores");
  refused(spm, p + "add_space_prefix", std::string("yes"), "add_space_prefix");
  Small old = bpe;
  old.drop(p + "pre");
  EXPECT_NE(old.make().warnings.at(0).find("pre is missing"), std::string::npos);

  // Single mistakes are left out.
  Small odd = bpe;
  odd.put(p + "merges", std::vector<std::string>{"a b", "", " ", "ab", "a zz", "a b b", "b a", "a\xff b"});
  odd.put(p + "bos_token_id", uint32_t{4000000});
  odd.put("tokenizer.chat_template", uint32_t{1});
  odd.put("tokenizer.chat_templates", std::vector<std::string>{"tools", "none", "bad"});
  odd.put("tokenizer.chat_template.tools", std::string("T"));
  odd.put("tokenizer.chat_template.bad", std::string("\xff"));
  const Made m = odd.make();
  EXPECT_EQ(merges(m.tokenizer()).size(), 1u);
  EXPECT_EQ(m.warnings.size(), 4u);
  EXPECT_EQ(m.config()["bos_token_id"], nullptr);
  EXPECT_EQ(m.settings()["chat_template"], json::array({{{"name", "tools"}, {"template", "T"}}}));

  Small twice = bpe;
  auto tokens = std::get<std::vector<std::string>>(*find(bpe.metadata, p + "tokens"));
  tokens[4] = "a";
  twice.put(p + "tokens", tokens);
  EXPECT_EQ(tokens_of(twice.make().tokenizer()).count(4), 0u);
  EXPECT_EQ(twice.make().warnings.size(), 2u);  // the token, and the merge that made it
}

// A small file cannot ask for a large result: pieces a, aa, aaa, ... have n^2 / 2 cuts of n letters.
TEST(GgufToHf, MergesAreBounded) {
  Small s = with_spm();
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  for (size_t n = 1; n <= 2000; ++n) tokens.push_back(std::string(n, 'a'));
  s.put("tokenizer.ggml.tokens", tokens);
  s.put("tokenizer.ggml.token_type", std::vector<int32_t>(tokens.size(), 1));
  s.put("tokenizer.ggml.scores", std::vector<float>(tokens.size(), 1.0f));
  const Made m = s.make();
  ASSERT_EQ(m.warnings.size(), 1u);
  EXPECT_NE(m.warnings[0].find("1488 tokens of more than 512 bytes"), std::string::npos) << m.warnings[0];
  EXPECT_EQ(merges(m.tokenizer()).size(), 511u * 512 / 2);

  for (size_t n = tokens.size(); n <= 1 << 17; ++n) tokens.push_back(fmt::format("<{}>", n));
  s.put("tokenizer.ggml.tokens", tokens);
  s.put("tokenizer.ggml.token_type", std::vector<int32_t>(tokens.size(), 3));
  s.put("tokenizer.ggml.scores", std::vector<float>(tokens.size(), 1.0f));
  EXPECT_EQ(s.make().files.count("tokenizer.json"), 0u);
}

// Whatever a file says: files that parse, or one error about the input.
TEST(GgufToHf, DamagedMetadata) {
  const Small bases[] = {with_bpe("llama", "llama-bpe"), with_bpe("qwen2", "qwen2"), with_spm()};
  rc::check([&] {
    Small s = *rc::gen::elementOf(std::vector<Small>(std::begin(bases), std::end(bases)));
    const int edits = *rc::gen::inRange(1, 4);
    for (int i = 0; i < edits; ++i) {
      GgufEntry& e = s.metadata[*rc::gen::inRange<size_t>(0, s.metadata.size())];
      const auto number = *rc::gen::arbitrary<int64_t>();
      const auto text = *rc::gen::arbitrary<std::string>();
      switch (*rc::gen::inRange(0, 9)) {
        case 0:
          e.value = number;
          break;
        case 1:
          e.value = static_cast<uint32_t>(number & 7);
          break;
        case 2:
          e.value = static_cast<float>(number);
          break;
        case 3:
          e.value = text;
          break;
        case 4:
          e.value = (number & 1) != 0;
          break;
        case 5:
          e.value = *rc::gen::arbitrary<std::vector<std::string>>();
          break;
        case 6:
          e.value = *rc::gen::arbitrary<std::vector<int32_t>>();
          break;
        case 7:
          e.value = *rc::gen::arbitrary<std::vector<float>>();
          break;
        default:
          e.key += "x";
      }
    }
    try {
      const Made m = s.make();
      RC_ASSERT(m.files.count("config.json") == 1);
      RC_ASSERT(m.files.count("tokenizer.json") == m.files.count("tokenizer_config.json"));
      if (m.files.count("tokenizer.json") == 1) {
        // Readers stop at a merge of tokens that are not there.
        const json& vocab = m.tokenizer()["model"]["vocab"];
        for (const auto& [a, b] : merges(m.tokenizer()))
          RC_ASSERT(vocab.contains(a) && vocab.contains(b) && vocab.contains(a + b));
      }
    } catch (const Error& e) {
      RC_ASSERT(e.code() == Code::kBadInput);
    }
  });
}

}  // namespace
}  // namespace viva::io
