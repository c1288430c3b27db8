#include "viva/io/gguf_to_hf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_set>

#include "viva/base/error.h"
#include "viva/io/gguf_names.h"
#include "viva/io/gguf_to_hf_parts.h"
#include "viva/io/quote.h"

namespace viva::io {
namespace detail {

void bad_gguf(std::string_view message, std::string_view hint) {
  throw Error(Code::kBadInput, "gguf", message, hint);
}

std::string told(const GgufValue& value) {
  if (const auto text = as_string(&value)) return quote(*text, 60);
  // Numbers are harmless; a list of texts is not.
  return std::holds_alternative<std::vector<std::string>>(value) ? quote(describe(value, 2), 60)
                                                                 : describe(value, 3);
}

std::string missing_or(const GgufValue* value) {
  return value == nullptr ? "is missing" : fmt::format("is {}", told(*value));
}

double tidy(float value) noexcept {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double out = value;
  std::from_chars(text, end, out);
  return out;
}

GgufFacts::GgufFacts(const GgufMetadata& metadata) : metadata_(metadata) {
  const auto name = as_string(find(metadata, "general.architecture"));
  if (!name) bad_gguf("general.architecture is missing, or is no text");
  architecture_ = *name;
  const auto known = gguf_architectures();
  if (std::find(known.begin(), known.end(), architecture_) == known.end()) {
    bad_gguf(fmt::format("general.architecture {}: viva cannot write this model as a Hugging Face directory",
                         quote(architecture_)),
             fmt::format("it can for {}", fmt::join(known, ", ")));
  }
}

uint64_t GgufFacts::count(std::string_view rest, uint64_t least, uint64_t most,
                          std::optional<uint64_t> otherwise) const {
  const GgufValue* v = value(rest);
  if (v == nullptr && otherwise) return *otherwise;
  const auto n = as_unsigned(v);
  if (!n || *n < least || *n > most) {
    bad_gguf(
        fmt::format("{} {}, a whole number from {} to {} expected", key(rest), missing_or(v), least, most));
  }
  return *n;
}

double GgufFacts::number(std::string_view rest, std::optional<double> otherwise) const {
  const GgufValue* v = value(rest);
  if (v == nullptr && otherwise) return *otherwise;
  const auto n = as_number(v);
  if (!n || !std::isfinite(*n) || *n <= 0) {
    bad_gguf(fmt::format("{} {}, a number above zero expected", key(rest), missing_or(v)));
  }
  const float* f = std::get_if<float>(v);
  return f != nullptr ? tidy(*f) : *n;
}

std::string GgufFacts::text(std::string_view rest, std::string_view otherwise) const {
  const GgufValue* v = value(rest);
  if (v == nullptr) return std::string(otherwise);
  const auto t = as_string(v);
  if (!t) bad_gguf(fmt::format("{} is {}, a text expected", key(rest), told(*v)));
  return std::string(*t);
}

std::optional<uint64_t> SpecialTokens::find(std::string_view name) const noexcept {
  for (const auto& [n, id] : ids) {
    if (n == name) return id;
  }
  return std::nullopt;
}

SpecialTokens read_special_tokens(const GgufMetadata& metadata, uint64_t vocabulary,
                                  std::vector<std::string>& warnings) {
  // llama.cpp takes 1, 2 and 0 for a SentencePiece vocabulary that says nothing.
  const bool spm = as_string(io::find(metadata, "tokenizer.ggml.model")) == "llama";
  struct Row {
    std::string_view name, key;
    std::optional<uint64_t> spm;
  };
  constexpr Row kRows[] = {{"bos", "bos", 1},      {"eos", "eos", 2},        {"unk", "unknown", 0},
                           {"pad", "padding", {}}, {"sep", "seperator", {}}, {"cls", "cls", {}},
                           {"mask", "mask", {}},   {"eot", "eot", {}},       {"eom", "eom", {}}};
  SpecialTokens out;
  for (const Row& row : kRows) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", row.key);
    const GgufValue* v = io::find(metadata, key);
    auto id = v == nullptr && spm ? row.spm : as_unsigned(v);
    if (v != nullptr && (!id || *id >= vocabulary)) {
      warnings.push_back(fmt::format("{} is {}, not one of {} tokens: left out", key, told(*v), vocabulary));
    }
    if (id && *id < vocabulary) out.ids.emplace_back(row.name, *id);
  }
  return out;
}

}  // namespace detail

namespace {

using detail::bad_gguf;
using json = nlohmann::ordered_json;

std::string_view torch_name(DType t) {
  if (t == DType::kF32) return "float32";
  if (t == DType::kF16) return "float16";
  if (t == DType::kBF16) return "bfloat16";
  throw Error(Code::kUsage, "gguf", fmt::format("{} is no dtype of a model: f32, f16 or bf16", name(t)));
}

class HfBuilder {
 public:
  HfBuilder(const GgufMetadata& metadata, std::span<const NamedShape> weights, DType torch_dtype,
            std::span<const GgufExtraTensor> factors)
      : facts_(metadata), weights_(weights), torch_dtype_(torch_name(torch_dtype)), factors_(factors) {}

  HfFiles build() {
    refuse_unsupported();
    read_shapes();
    check_weights();
    const detail::SpecialTokens special =
        detail::read_special_tokens(facts_.all(), model_.vocabulary, out_.warnings);
    out_.texts.emplace_back("config.json", config(special).dump(2) + "\n");
    if (const json g = generation_config(special); !g.empty())
      out_.texts.emplace_back("generation_config.json", g.dump(2) + "\n");
    detail::add_hf_tokenizer(facts_, special, context_, out_);
    return std::move(out_);
  }

 private:
  // What a reader of GGUF obeys and no class of transformers for this architecture can be told.
  void refuse_unsupported() const {
    const auto type = as_string(find(facts_.all(), "general.type"));
    if (type && *type != "model")
      bad_gguf(fmt::format("general.type is {}: this file is no model of its own", quote(*type, 40)));
    if (const uint64_t n = facts_.count("expert_count", 0, UINT32_MAX, 0); n > 0)
      bad_gguf(fmt::format("{} is {}: viva cannot write a mixture of experts as a Hugging Face directory",
                           facts_.key("expert_count"), n));
    if (const GgufValue* v = facts_.value("attention.causal");
        v != nullptr && std::get_if<bool>(v) != nullptr && !std::get<bool>(*v)) {
      bad_gguf(fmt::format("{} is false: this is no causal language model", facts_.key("attention.causal")));
    }
    if (const GgufValue* v = facts_.value("attention.scale"); v != nullptr && as_number(v) != 0.0)
      bad_gguf(fmt::format("{} cannot be said in a config.json of {}", facts_.key("attention.scale"),
                           facts_.architecture()));
  }

  void read_shapes() {
    constexpr uint64_t kMost = 1 << 24;
    GgufModel& m = model_;
    m.architecture = facts_.architecture();
    m.layers = facts_.count("block_count", 1, 512);
    m.hidden = facts_.count("embedding_length", 1, kMost);
    m.feed_forward = facts_.count("feed_forward_length", 1, kMost);
    m.heads = facts_.count("attention.head_count", 1, 1 << 16);
    m.kv_heads = facts_.count("attention.head_count_kv", 1, m.heads, m.heads);
    context_ = facts_.count("context_length", 1, UINT32_MAX);
    if (m.heads % m.kv_heads != 0) {
      bad_gguf(fmt::format("{}: {} attention heads cannot share {} key-value heads",
                           facts_.key("attention.head_count_kv"), m.heads, m.kv_heads));
    }
    if (facts_.value("attention.key_length") == nullptr && m.hidden % m.heads != 0) {
      bad_gguf(
          fmt::format("{} {} is no multiple of {} heads", facts_.key("embedding_length"), m.hidden, m.heads));
    }
    m.head_dim = facts_.count("attention.key_length", 2, 1 << 16, m.hidden / m.heads);
    for (const char* same : {"attention.value_length", "rope.dimension_count"}) {
      const uint64_t n = facts_.count(same, 0, UINT32_MAX, m.head_dim);
      if (n != m.head_dim) {
        bad_gguf(fmt::format("{} is {} where heads have {} values: a config.json of {} cannot say that",
                             facts_.key(same), n, m.head_dim, m.architecture));
      }
    }
    if (m.head_dim % 2 != 0) {
      bad_gguf(fmt::format("{}: heads of {} values cannot be rotated in pairs",
                           facts_.key("attention.key_length"), m.head_dim));
    }
    window_ = facts_.count("attention.sliding_window", 0, UINT32_MAX, 0);
    // A llama with a window is what Mistral's class says; without one the two are the same.
    mistral_ = m.architecture == "llama" && window_ > 0;
    if (!mistral_ && window_ > 0) {
      out_.warnings.push_back(
          fmt::format("{} {} is left out: llama.cpp does not limit the attention of {} either",
                      facts_.key("attention.sliding_window"), window_, m.architecture));
    }
  }

  std::string class_name() const {
    if (model_.architecture == "qwen2") return "Qwen2ForCausalLM";
    if (model_.architecture == "qwen3") return "Qwen3ForCausalLM";
    return mistral_ ? "MistralForCausalLM" : "LlamaForCausalLM";
  }

  void check_weights() {
    std::unordered_set<std::string> seen;
    std::vector<std::pair<std::string, size_t>> names;
    model_.tied = true;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const std::string_view hf = weights_[i].name;
      if (is_rotary_factor(hf) || is_derived_tensor(hf)) {
        out_.left_out.push_back(i);
        if (is_rotary_factor(hf)) check_factor(weights_[i]);
        continue;
      }
      const auto gguf = gguf_name(model_.architecture, hf);
      if (!gguf || hf_name(model_.architecture, *gguf) != hf)
        bad_gguf(fmt::format("tensor {}: {} has no such tensor", quote(hf, 80), class_name()));
      if (!seen.insert(*gguf).second) bad_gguf(fmt::format("tensor {} is there twice", quote(hf, 80)));
      if (*gguf == "token_embd.weight") {
        const auto shape = weights_[i].shape;
        if (shape.size() != 2 || shape[0] < 1 || shape[0] > 1 << 24)
          bad_gguf(fmt::format("tensor {} is [{}], [vocabulary, {}] expected", hf, fmt::join(shape, ", "),
                               model_.hidden));
        model_.vocabulary = shape[0];
      }
      if (*gguf == "output.weight") model_.tied = false;
      names.emplace_back(*gguf, i);
    }
    for (const auto& [gguf, i] : names) {
      const auto expected = gguf_tensor_shape(model_, gguf);
      if (!std::equal(weights_[i].shape.begin(), weights_[i].shape.end(), expected.begin(), expected.end())) {
        bad_gguf(fmt::format("tensor {} is [{}], the metadata says [{}]", quote(weights_[i].name, 80),
                             fmt::join(weights_[i].shape, ", "), fmt::join(expected, ", ")));
      }
    }
    check_complete(seen);
  }

  void check_factor(const NamedShape& weight) const {
    const auto known = std::find_if(factors_.begin(), factors_.end(),
                                    [&](const GgufExtraTensor& t) { return t.name == weight.name; });
    const auto n = weight.shape.size() == 1 ? weight.shape[0] : 0;
    if (known == factors_.end() || known->values.size() != n) {
      throw Error(Code::kUsage, "gguf",
                  fmt::format("make_hf_files needs the values of {}", quote(weight.name, 80)));
    }
  }

  void check_complete(const std::unordered_set<std::string>& seen) {
    std::vector<std::string> needed = gguf_tensor_names(model_);
    const auto any = [&](std::initializer_list<const char*> parts) {
      for (uint64_t i = 0; i < model_.layers; ++i) {
        for (const char* part : parts) {
          if (seen.count(fmt::format("blk.{}.{}.bias", i, part)) != 0) return true;
        }
      }
      return false;
    };
    const auto need = [&](std::initializer_list<const char*> parts) {
      for (uint64_t i = 0; i < model_.layers; ++i) {
        for (const char* part : parts) needed.push_back(fmt::format("blk.{}.{}.bias", i, part));
      }
    };
    // Biases are everywhere or nowhere: config.json has one flag for them, and Qwen 2 no flag at all.
    if (model_.architecture == "qwen2") need({"attn_q", "attn_k", "attn_v"});
    if (model_.architecture == "llama") {
      attention_bias_ = any({"attn_q", "attn_k", "attn_v", "attn_output"});
      mlp_bias_ = any({"ffn_gate", "ffn_up", "ffn_down"});
      if (attention_bias_) need({"attn_q", "attn_k", "attn_v", "attn_output"});
      if (mlp_bias_) need({"ffn_gate", "ffn_up", "ffn_down"});
      if (mistral_ && (attention_bias_ || mlp_bias_)) {
        bad_gguf(fmt::format("{}: transformers has no model with a window of attention and these biases",
                             facts_.key("attention.sliding_window")));
      }
    }
    for (const std::string& gguf : needed) {
      if (seen.count(gguf) != 0) continue;
      bad_gguf(
          fmt::format("tensor '{}' ({}) is missing", gguf, hf_name(model_.architecture, gguf).value_or("")),
          gguf.ends_with(".bias") ? fmt::format("{} has such biases in all layers or in none", class_name())
                                  : "");
    }
    for (const std::string& gguf : seen) {
      if (gguf.starts_with("blk.") && std::stoull(gguf.substr(4, 4)) >= model_.layers)
        bad_gguf(fmt::format("tensor '{}': {} is {}", gguf, facts_.key("block_count"), model_.layers));
    }
  }

  json config(const detail::SpecialTokens& special) const {
    const auto id = [&](std::string_view name) -> json {
      const auto found = special.find(name);
      return found ? json(*found) : json(nullptr);
    };
    const double theta = facts_.number("rope.freq_base", 10000.0);
    json rope = detail::make_rope_scaling(facts_, theta, context_, model_.head_dim, factors_);
    json c;
    c["architectures"] = json::array({class_name()});
    if (model_.architecture == "llama" && !mistral_) c["attention_bias"] = attention_bias_;
    if (model_.architecture == "qwen3") c["attention_bias"] = false;
    c["attention_dropout"] = 0.0;
    c["bos_token_id"] = id("bos");
    c["eos_token_id"] = id("eos");
    c["head_dim"] = model_.head_dim;
    c["hidden_act"] = "silu";
    c["hidden_size"] = model_.hidden;
    c["initializer_range"] = 0.02;
    c["intermediate_size"] = model_.feed_forward;
    c["max_position_embeddings"] = context_;
    if (model_.architecture == "llama" && !mistral_) c["mlp_bias"] = mlp_bias_;
    c["model_type"] = mistral_ ? "mistral" : model_.architecture;
    c["num_attention_heads"] = model_.heads;
    c["num_hidden_layers"] = model_.layers;
    c["num_key_value_heads"] = model_.kv_heads;
    // Where versions of transformers look for it that do not look into rope_scaling.
    if (rope.is_object() && rope.value("rope_type", "") == "longrope")
      c["original_max_position_embeddings"] = rope["original_max_position_embeddings"];
    c["pad_token_id"] = id("pad");
    c["rms_norm_eps"] = facts_.number("attention.layer_norm_rms_epsilon");
    c["rope_scaling"] = std::move(rope);
    c["rope_theta"] = theta;
    if (mistral_) c["sliding_window"] = window_;
    c["tie_word_embeddings"] = model_.tied;
    c["torch_dtype"] = torch_dtype_;
    c["use_cache"] = true;
    if (model_.architecture != "llama") c["use_sliding_window"] = false;
    c["vocab_size"] = model_.vocabulary;
    return c;
  }

  static json generation_config(const detail::SpecialTokens& special) {
    json g = json::object(), ends = json::array();
    for (const char* name : {"eos", "eot", "eom"}) {
      const auto id = special.find(name);
      if (id && std::find(ends.begin(), ends.end(), json(*id)) == ends.end()) ends.push_back(*id);
    }
    if (const auto bos = special.find("bos")) g["bos_token_id"] = *bos;
    if (!ends.empty()) g["eos_token_id"] = ends.size() == 1 ? ends[0] : ends;
    if (const auto pad = special.find("pad")) g["pad_token_id"] = *pad;
    return g;
  }

  detail::GgufFacts facts_;
  std::span<const NamedShape> weights_;
  std::string_view torch_dtype_;
  std::span<const GgufExtraTensor> factors_;
  GgufModel model_;
  uint64_t context_ = 0, window_ = 0;
  bool mistral_ = false, attention_bias_ = false, mlp_bias_ = false;
  HfFiles out_;
};

}  // namespace

bool is_rotary_factor(std::string_view gguf) noexcept {
  return gguf == "rope_freqs.weight" || gguf == "rope_factors_long.weight" ||
         gguf == "rope_factors_short.weight";
}

HfFiles make_hf_files(const GgufMetadata& metadata, std::span<const NamedShape> weights, DType torch_dtype,
                      std::span<const GgufExtraTensor> factors) {
  return HfBuilder(metadata, weights, torch_dtype, factors).build();
}

HfFiles make_hf_files(const Checkpoint& model, DType torch_dtype) {
  std::vector<NamedShape> names;
  std::vector<GgufExtraTensor> factors;
  for (const Weight& w : model.weights()) {
    names.push_back({w.name, w.shape});
    if (!is_rotary_factor(w.name)) continue;
    if (w.dtype != DType::kF32 || w.placement.format != nullptr || !w.decodable || w.count() > 1 << 16)
      bad_gguf(fmt::format("tensor {} is no list of f32 numbers", quote(w.name, 80)));
    factors.push_back({w.name, std::vector<float>(w.count())});
    std::vector<float>& values = factors.back().values;
    model.read_plain(w, 0, {reinterpret_cast<uint8_t*>(values.data()), values.size() * sizeof(float)});
  }
  return make_hf_files(model.gguf_metadata(), names, torch_dtype, factors);
}

}  // namespace viva::io
