// What a GGUF file says about a Hugging Face model: metadata, places of tensors, tokenizers. That llama.cpp
// runs such files and cuts text into the same tokens is tried with the real program, outside these tests.
#include "viva/io/gguf_model.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "viva/io/gguf_names.h"
#include "viva/io/gguf_tokenizer.h"

namespace viva::io {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

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

json small_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 300},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5}};
}

GgufModel model_of(const json& config, const std::function<void(GgufSource&)>& more = {}) {
  GgufSource s;
  s.name = "tiny";
  s.config = config.dump();
  if (more) more(s);
  return make_gguf_model(s, "q4_0");
}

template <class T>
T value(const GgufModel& m, std::string_view key) {
  const GgufValue* v = find(m.metadata, key);
  EXPECT_NE(v, nullptr) << key;
  const T* t = v == nullptr ? nullptr : std::get_if<T>(v);
  EXPECT_NE(t, nullptr) << key << " has another type";
  return t == nullptr ? T{} : *t;
}

TEST(GgufModel, MetadataOfConfigWithExactTypes) {
  json c = small_config();
  c["rope_theta"] = 500000.0;
  const GgufModel m = model_of(c);
  EXPECT_EQ(value<std::string>(m, "general.architecture"), "llama");
  EXPECT_EQ(value<std::string>(m, "general.name"), "tiny");
  EXPECT_EQ(value<uint32_t>(m, "general.file_type"), 2u);
  EXPECT_EQ(value<uint32_t>(m, "general.quantization_version"), 2u);
  EXPECT_EQ(value<uint32_t>(m, "llama.context_length"), 512u);
  EXPECT_EQ(value<uint32_t>(m, "llama.embedding_length"), 64u);
  EXPECT_EQ(value<uint32_t>(m, "llama.block_count"), 2u);
  EXPECT_EQ(value<uint32_t>(m, "llama.feed_forward_length"), 96u);
  EXPECT_EQ(value<uint32_t>(m, "llama.attention.head_count"), 4u);
  EXPECT_EQ(value<uint32_t>(m, "llama.attention.head_count_kv"), 2u);
  EXPECT_EQ(value<uint32_t>(m, "llama.rope.dimension_count"), 16u);
  EXPECT_EQ(value<float>(m, "llama.attention.layer_norm_rms_epsilon"), 1e-5f);
  EXPECT_EQ(value<float>(m, "llama.rope.freq_base"), 500000.0f);
  EXPECT_EQ(value<uint32_t>(m, "llama.vocab_size"), 300u);
  EXPECT_EQ(value<std::string>(m, "tokenizer.ggml.model"), "none");
  EXPECT_EQ(m.warnings.size(), 1u);

  json three = small_config();
  three["architectures"] = {"Qwen3ForCausalLM"};
  three.erase("num_key_value_heads");
  const GgufModel q = model_of(three);
  EXPECT_EQ(q.architecture, "qwen3");
  EXPECT_EQ(value<uint32_t>(q, "qwen3.attention.head_count_kv"), 4u);
  EXPECT_EQ(value<uint32_t>(q, "qwen3.attention.key_length"), 128u);
}

TEST(GgufModel, RotaryScalingInBothSpellings) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 128}};
  json old = small_config(), current = small_config();
  old["rope_theta"] = 10000.0;
  old["rope_scaling"] = llama3;
  current["rope_parameters"] = llama3;
  current["rope_parameters"]["rope_theta"] = 10000.0;
  const GgufModel a = model_of(old), b = model_of(current);
  ASSERT_EQ(a.extra.size(), 1u);
  EXPECT_EQ(a.extra[0].name, "rope_freqs.weight");
  ASSERT_EQ(a.extra[0].values.size(), 8u);
  EXPECT_EQ(a.extra[0].values, b.extra[0].values);
  for (size_t i = 0; i < 8; ++i) {
    const double wave = 2 * M_PI * std::pow(10000.0, 2.0 * i / 16);
    const double s = (128 / wave - 1) / 3;
    const double want = wave < 32 ? 1 : wave > 128 ? 8 : 1 / ((1 - s) / 8 + s);
    EXPECT_FLOAT_EQ(a.extra[0].values[i], static_cast<float>(want)) << i;
  }
  EXPECT_EQ(find(a.metadata, "llama.rope.scaling.type"), nullptr);

  json yarn = small_config();
  yarn["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}};
  const GgufModel y = model_of(yarn);
  EXPECT_EQ(value<std::string>(y, "llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(value<float>(y, "llama.rope.scaling.factor"), 4.0f);
  EXPECT_EQ(value<uint32_t>(y, "llama.rope.scaling.original_context_length"), 128u);
  EXPECT_EQ(find(y.metadata, "llama.rope.scaling.attn_factor"), nullptr);
  yarn["rope_scaling"]["attention_factor"] = 1.3;
  EXPECT_FLOAT_EQ(value<float>(model_of(yarn), "llama.rope.scaling.attn_factor"),
                  static_cast<float>(1.3 / (1 + 0.1 * std::log(4.0))));
  json linear = small_config();
  linear["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  EXPECT_EQ(value<float>(model_of(linear), "llama.rope.scaling.factor"), 2.0f);
}

TEST(GgufModel, RefusesWhatGgufCannotSay) {
  const auto says = [](const char* key, const json& v, const char* word,
                       const char* arch = "LlamaForCausalLM") {
    json c = small_config();
    c["architectures"] = {arch};
    c[key] = v;
    const std::string text = refusal([&] { model_of(c); });
    EXPECT_NE(text.find(word), std::string::npos) << key << ": " << text;
  };
  for (const char* a : {"MixtralForCausalLM", "Qwen2MoeForCausalLM", "GPT2LMHeadModel", "BertModel"})
    says("x", 0, a, a);
  says("hidden_act", "gelu", "gelu");
  says("hidden_size", -1, "hidden_size");
  says("hidden_size", "64", "hidden_size");
  says("num_hidden_layers", 0, "num_hidden_layers");
  says("num_hidden_layers", 100000, "num_hidden_layers");
  says("vocab_size", 1e18, "vocab_size");
  says("num_key_value_heads", 3, "share");
  says("num_attention_heads", 6, "no multiple");
  says("head_dim", 15, "pairs");
  says("head_dim", 32, "cannot be said", "Qwen2ForCausalLM");
  says("rms_norm_eps", 0, "rms_norm_eps");
  says("partial_rotary_factor", 0.5, "partial_rotary_factor");
  says("rope_scaling", {{"rope_type", "mrope"}}, "mrope");
  says("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}, "llama3", "Qwen3ForCausalLM");
  GgufSource s;
  for (const char* text : {"", "{", "[]", "null", "{\"architectures\": 3}"}) {
    s.config = text;
    EXPECT_NE(refusal([&] { make_gguf_model(s, "f16"); }), "") << text;
  }
  s.config = std::string(100000, '[');
  EXPECT_NE(refusal([&] { make_gguf_model(s, "f16"); }), "");
}

struct Named {
  std::string name;
  std::vector<uint64_t> shape;
};

std::vector<Named> small_tensors() {
  std::vector<Named> t = {
      {"lm_head.weight", {300, 64}}, {"model.norm.weight", {64}}, {"model.embed_tokens.weight", {300, 64}}};
  for (int i : {1, 0}) {
    const std::string p = fmt::format("model.layers.{}.", i);
    for (const Named& n : std::vector<Named>{{"input_layernorm.weight", {64}},
                                             {"mlp.down_proj.weight", {64, 96}},
                                             {"mlp.gate_proj.weight", {96, 64}},
                                             {"mlp.up_proj.weight", {96, 64}},
                                             {"post_attention_layernorm.weight", {64}},
                                             {"self_attn.k_proj.weight", {32, 64}},
                                             {"self_attn.o_proj.weight", {64, 64}},
                                             {"self_attn.q_proj.weight", {64, 64}},
                                             {"self_attn.v_proj.weight", {32, 64}},
                                             {"self_attn.rotary_emb.inv_freq", {8}}}) {
      t.push_back({p + n.name, n.shape});
    }
  }
  return t;
}

GgufPlan plan_of(GgufModel& m, const std::vector<Named>& tensors) {
  std::vector<NamedShape> shapes;
  for (const Named& t : tensors) shapes.push_back({t.name, t.shape});
  return plan_gguf_tensors(m, shapes);
}

TEST(GgufModel, PlanPlacesEveryTensorOrRefuses) {
  GgufModel m = model_of(small_config());
  const GgufPlan plan = plan_of(m, small_tensors());
  EXPECT_EQ(plan.tensors.size(), 21u);
  EXPECT_EQ(plan.skipped.size(), 2u);
  EXPECT_EQ(plan.tensors.front().name, "token_embd.weight");
  EXPECT_EQ(plan.tensors[1].name, "blk.0.attn_norm.weight");
  EXPECT_EQ(plan.tensors.back().name, "output.weight");
  for (const GgufPlace& p : plan.tensors) {
    const bool permuted =
        p.name.find("attn_q.") != std::string::npos || p.name.find("attn_k.") != std::string::npos;
    EXPECT_EQ(p.head_dim, permuted ? 16u : 0u) << p.name;
    EXPECT_EQ(gguf_name("llama", small_tensors()[p.source].name), p.name);
  }
  const auto says = [&](const std::function<void(std::vector<Named>&)>& change, const char* word) {
    auto t = small_tensors();
    change(t);
    GgufModel fresh = model_of(small_config());
    const std::string text = refusal([&] { plan_of(fresh, t); });
    EXPECT_NE(text.find(word), std::string::npos) << text;
  };
  says([](auto& t) { t.push_back({"model.layers.0.self_attn.q_norm.weight", {16}}); }, "q_norm");
  says([](auto& t) { t.erase(t.begin() + 1); }, "'model.norm.weight' is missing");
  says([](auto& t) { t[2].shape = {299, 64}; }, "config.json says [300, 64]");
  says([](auto& t) { t.push_back({"model.layers.2.input_layernorm.weight", {64}}); }, "2 layers");
  says([](auto& t) { t.push_back({"embed_tokens.weight", {300, 64}}); }, "too");

  auto headless = small_tensors();
  headless.erase(headless.begin());
  GgufModel tied = model_of(small_config());
  EXPECT_EQ(plan_of(tied, headless).tensors.size(), 20u);
  EXPECT_TRUE(tied.tied);
}

// A byte-level tokenizer with both spellings of merges, a token past the vocabulary and one that only looks
// special.
json byte_level_tokenizer(bool pairs) {
  json t = {{"added_tokens",
             {{{"id", 5}, {"content", "<s>"}, {"special", true}},
              {{"id", 6}, {"content", "<|tool|>"}, {"special", false}},
              {{"id", 7}, {"content", "<call>"}, {"special", false}},
              {{"id", 400}, {"content", "<far>"}, {"special", true}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"post_processor",
             {{"type", "TemplateProcessing"},
              {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}}}},
            {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {"Ġ", 3}, {"Ġa", 4}}}}}};
  t["model"]["merges"] =
      pairs ? json::array({json::array({"a", "b"}), json::array({"Ġ", "a"})}) : json::array({"a b", "Ġ a"});
  return t;
}

TEST(GgufTokenizer, ByteLevelBpe) {
  for (const bool pairs : {false, true}) {
    const GgufModel m = model_of(small_config(), [&](GgufSource& s) {
      s.tokenizer = byte_level_tokenizer(pairs).dump();
      s.tokenizer_config = json{{"bos_token", {{"content", "<s>"}}}, {"chat_template", "{{x}}"}}.dump();
      s.generation_config = json{{"eos_token_id", json::array({7, 6})}}.dump();
    });
    EXPECT_EQ(value<std::string>(m, "tokenizer.ggml.model"), "gpt2");
    EXPECT_EQ(value<std::string>(m, "tokenizer.ggml.pre"), "gpt-2");
    const auto tokens = value<std::vector<std::string>>(m, "tokenizer.ggml.tokens");
    const auto types = value<std::vector<int32_t>>(m, "tokenizer.ggml.token_type");
    ASSERT_EQ(tokens.size(), 300u);
    EXPECT_EQ(tokens[4], "Ġa");
    EXPECT_EQ(tokens[8], "[PAD8]");
    EXPECT_EQ((std::vector<int32_t>(types.begin(), types.begin() + 10)),
              (std::vector<int32_t>{1, 1, 1, 1, 1, 3, 3, 4, 5, 5}));
    EXPECT_EQ(value<std::vector<std::string>>(m, "tokenizer.ggml.merges"),
              (std::vector<std::string>{"a b", "Ġ a"}));
    EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.bos_token_id"), 5u);
    EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.eos_token_id"), 7u);
    EXPECT_TRUE(value<bool>(m, "tokenizer.ggml.add_bos_token"));
    EXPECT_FALSE(value<bool>(m, "tokenizer.ggml.add_eos_token"));
    EXPECT_EQ(value<std::string>(m, "tokenizer.chat_template"), "{{x}}");
    ASSERT_EQ(m.warnings.size(), 1u);  // the token past the end
    EXPECT_NE(m.warnings[0].find("past the vocabulary"), std::string::npos);
  }
}

json split(const char* regex, const char* behavior = "Isolated") {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", behavior}, {"invert", false}};
}
std::string steps(const json& first) {
  return json{
      {"type", "Sequence"},
      {"pretokenizers", {first, {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}
      .dump();
}

TEST(GgufTokenizer, PreTokenizerNames) {
  const char* llama3 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const char* qwen2 =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  EXPECT_EQ(find_pre_tokenizer(steps(split(llama3)), true), "llama-bpe");
  EXPECT_EQ(find_pre_tokenizer(steps(split(llama3)), false), "smaug-bpe");
  EXPECT_EQ(find_pre_tokenizer(steps(split(qwen2)), false), "qwen2");
  EXPECT_FALSE(find_pre_tokenizer(steps(split(qwen2, "MergedWithPrevious")), false));
  EXPECT_FALSE(find_pre_tokenizer(steps(split("x+")), false));
  EXPECT_EQ(find_pre_tokenizer(R"({"type":"ByteLevel"})", false), "gpt-2");
  EXPECT_EQ(
      find_pre_tokenizer(
          R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel"}]})",
          false),
      "smollm");
  EXPECT_FALSE(find_pre_tokenizer("{}", false));
  json t = byte_level_tokenizer(true);
  t["pre_tokenizer"] = json::parse(steps(split("x+")));
  const GgufModel m = model_of(small_config(), [&](GgufSource& s) { s.tokenizer = t.dump(); });
  EXPECT_EQ(value<std::string>(m, "tokenizer.ggml.pre"), "default");
  EXPECT_NE(m.warnings[0].find("default"), std::string::npos);
}

TEST(GgufTokenizer, CharacterBpeWithBytes) {
  json t = {{"added_tokens",
             {{{"id", 0}, {"content", "<unk>"}, {"special", true}},
              {{"id", 1}, {"content", "<s>"}, {"special", true}},
              {{"id", 9}, {"content", "\u2581x"}, {"special", false}}}},
            {"normalizer",
             {{"type", "Sequence"},
              {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, {{"type", "Replace"}}}}}},
            {"model",
             {{"type", "BPE"},
              {"byte_fallback", true},
              {"unk_token", "<unk>"},
              {"merges", {"a b", "ab c", "b c"}},
              {"vocab",
               {{"<unk>", 0},
                {"<s>", 1},
                {"<0x0A>", 2},
                {"a", 3},
                {"b", 4},
                {"c", 5},
                {"ab", 6},
                {"abc", 7},
                {"bc", 8}}}}}};
  const auto build = [&] {
    return model_of(small_config(), [&](GgufSource& s) {
      s.tokenizer = t.dump();
      s.tokenizer_config =
          R"({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "unk_token": "<unk>"})";
    });
  };
  const GgufModel m = build();
  EXPECT_EQ(value<std::string>(m, "tokenizer.ggml.model"), "llama");
  const auto types = value<std::vector<int32_t>>(m, "tokenizer.ggml.token_type");
  EXPECT_EQ((std::vector<int32_t>(types.begin(), types.begin() + 11)),
            (std::vector<int32_t>{2, 3, 6, 1, 1, 1, 1, 1, 1, 4, 5}));
  const auto scores = value<std::vector<float>>(m, "tokenizer.ggml.scores");
  EXPECT_GT(scores[6], scores[7]);
  EXPECT_GT(scores[7], scores[8]);
  EXPECT_GT(scores[8], scores[3]);
  EXPECT_EQ(value<std::vector<std::string>>(m, "tokenizer.ggml.tokens")[9], " x");
  EXPECT_TRUE(value<bool>(m, "tokenizer.ggml.add_space_prefix"));
  EXPECT_TRUE(value<bool>(m, "tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.unknown_token_id"), 0u);
  ASSERT_EQ(m.warnings.size(), 1u);  // "a" + "bc" makes a token too, and no merge says so
  EXPECT_NE(m.warnings[0].find("forbids 1 such"), std::string::npos);
  t["model"]["merges"].push_back("a bc");
  EXPECT_TRUE(build().warnings.empty());
  for (const char* kind : {"Unigram", "WordPiece"}) {
    t["model"]["type"] = kind;
    EXPECT_NE(refusal(build).find(kind), std::string::npos);
  }
}

std::string varint(uint64_t v) {
  std::string s;
  for (; v >= 128; v >>= 7) s += static_cast<char>(v | 128);
  return s + static_cast<char>(v);
}
std::string field(uint32_t number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string field(uint32_t number, uint64_t v) { return varint(number << 3) + varint(v); }
std::string piece(const std::string& text, float score, uint64_t kind) {
  std::string s(4, '\0');
  std::memcpy(s.data(), &score, 4);
  return field(1, field(1, text) + varint(2 << 3 | 5) + s + field(3, kind));
}

TEST(GgufTokenizer, SentencePieceFile) {
  const auto bytes = [](uint64_t kind) {
    return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x41>", 0, 6) +
           piece("▁a", -0.5f, 1) + field(2, field(3, kind) + field(40, 0)) +
           field(3, field(1, "identity") + field(3, 0) + field(4, 0));
  };
  const auto build = [&](const std::string& spm) {
    return model_of(small_config(), [&](GgufSource& s) {
      s.sentencepiece = spm;
      s.added_tokens = R"({"<new>": 5})";
      s.special_tokens_map = R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})";
    });
  };
  const GgufModel m = build(bytes(2));
  const auto types = value<std::vector<int32_t>>(m, "tokenizer.ggml.token_type");
  EXPECT_EQ((std::vector<int32_t>(types.begin(), types.begin() + 7)),
            (std::vector<int32_t>{2, 3, 3, 6, 1, 4, 5}));
  EXPECT_EQ(value<std::vector<float>>(m, "tokenizer.ggml.scores")[4], -0.5f);
  EXPECT_EQ(value<std::vector<std::string>>(m, "tokenizer.ggml.tokens")[5], "<new>");
  EXPECT_FALSE(value<bool>(m, "tokenizer.ggml.add_space_prefix"));
  EXPECT_TRUE(value<bool>(m, "tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.bos_token_id"), 1u);
  EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.eos_token_id"), 2u);
  EXPECT_TRUE(m.warnings.empty());
  EXPECT_NE(refusal([&] { build(bytes(1)); }).find("BPE"), std::string::npos);
  const std::string whole = bytes(2);
  rc::check([&] {
    std::string b = whole;
    const auto edits = *rc::gen::container<std::vector<std::pair<uint16_t, uint8_t>>>(
        rc::gen::arbitrary<std::pair<uint16_t, uint8_t>>());
    for (const auto& [at, v] : edits) b[at % b.size()] = static_cast<char>(v);
    b.resize(*rc::gen::inRange<size_t>(0, b.size() + 1));
    try {
      parse_sentencepiece(b);
    } catch (const Error& e) {
      RC_ASSERT(e.code() == Code::kBadInput);
    }
  });
}

// Texts that llama.cpp would stop at: twice the same, or empty.
TEST(GgufTokenizer, TextsAreUniqueAndNotEmpty) {
  json t = byte_level_tokenizer(true);
  t["model"]["vocab"]["[PAD9]"] = 8;
  t["model"]["vocab"][""] = 10;
  t["added_tokens"].push_back({{"id", 11}, {"content", "ab"}, {"special", false}});
  const GgufModel m = model_of(small_config(), [&](GgufSource& s) { s.tokenizer = t.dump(); });
  auto tokens = value<std::vector<std::string>>(m, "tokenizer.ggml.tokens");
  std::sort(tokens.begin(), tokens.end());
  EXPECT_EQ(std::unique(tokens.begin(), tokens.end()), tokens.end());
  EXPECT_FALSE(tokens.front().empty());
}

TEST(GgufModel, GoldenMetadataOfTheSmallModel) {
  const fs::path dir = fs::path(VIVA_SHARED) / "models/tiny-llama-shakespeare";
  if (!fs::exists(dir)) GTEST_SKIP() << "no model at " << dir;
  const GgufModel m = make_gguf_model(read_gguf_source(dir), "q4_0");
  EXPECT_TRUE(m.warnings.empty());
  EXPECT_EQ(value<std::string>(m, "general.name"), "tiny-llama-shakespeare");
  EXPECT_EQ(value<std::string>(m, "tokenizer.ggml.pre"), "gpt-2");
  const json t = json::parse(read_text(dir / "tokenizer.json"));
  const auto tokens = value<std::vector<std::string>>(m, "tokenizer.ggml.tokens");
  const auto types = value<std::vector<int32_t>>(m, "tokenizer.ggml.token_type");
  ASSERT_EQ(tokens.size(), 2048u);
  for (const auto& [text, id] : t["model"]["vocab"].items()) EXPECT_EQ(tokens[id.get<size_t>()], text);
  for (size_t i = 0; i < types.size(); ++i) EXPECT_EQ(types[i], i < 3 ? 3 : 1);
  const auto merges = value<std::vector<std::string>>(m, "tokenizer.ggml.merges");
  ASSERT_EQ(merges.size(), t["model"]["merges"].size());
  EXPECT_EQ(merges[0], "Ġ t");
  EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.bos_token_id"), 0u);
  EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.eos_token_id"), 1u);
  EXPECT_EQ(value<uint32_t>(m, "tokenizer.ggml.padding_token_id"), 2u);
  EXPECT_TRUE(value<bool>(m, "tokenizer.ggml.add_bos_token"));
}

}  // namespace
}  // namespace viva::io
