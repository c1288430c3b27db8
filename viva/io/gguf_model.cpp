#include "viva/io/gguf_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "viva/io/gguf_json.h"
#include "viva/io/gguf_names.h"
#include "viva/io/quote.h"
#include "viva/io/gguf_tokenizer.h"

namespace viva::io {
namespace {

using detail::bool_member;
using detail::member;
using detail::text_member;
using nlohmann::json;

[[noreturn]] void bad(std::string_view message, std::string_view hint = {}) {
  throw Error(Code::kBadInput, "gguf", message, hint);
}

// Hugging Face's class or model_type, and its name in GGUF.
constexpr std::pair<std::string_view, std::string_view> kKnown[] = {
    {"LlamaForCausalLM", "llama"},
    {"MistralForCausalLM", "llama"},
    {"Qwen2ForCausalLM", "qwen2"},
    {"Qwen3ForCausalLM", "qwen3"},
    {"llama", "llama"},
    {"mistral", "llama"},
    {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},
};

std::string architecture_of(const json& config) {
  const json& list = member(config, "architectures");
  std::string name = text_member(config, "model_type").value_or("");
  if (list.is_array() && !list.empty() && list[0].is_string()) name = list[0].get<std::string>();
  for (const auto& [hf, gguf] : kKnown) {
    if (hf == name) return std::string(gguf);
  }
  bad(fmt::format("config.json: viva cannot write the architecture {} as GGUF",
                  name.empty() ? "(none is named)" : fmt::format("'{}'", name)),
      "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM can be written; the "
      "Hugging Face layouts take every model");
}

// A whole number from config.json, within [least, most].
uint64_t count(const json& config, const char* key, uint64_t least, uint64_t most,
               std::optional<uint64_t> otherwise = {}) {
  const json& v = member(config, key);
  if (v.is_null() && otherwise) return *otherwise;
  if (!v.is_number_unsigned() || v.get<uint64_t>() < least || v.get<uint64_t>() > most) {
    bad(fmt::format("config.json: {} is {}, a whole number from {} to {} expected", key,
                    v.dump().substr(0, 40), least, most));
  }
  return v.get<uint64_t>();
}

double number(const json& object, const char* key, std::optional<double> otherwise = {}) {
  const json& v = member(object, key);
  if (v.is_null() && otherwise) return *otherwise;
  if (!v.is_number() || !std::isfinite(v.get<double>()) || v.get<double>() <= 0) {
    bad(fmt::format("config.json: {} is {}, a number above zero expected", key, v.dump().substr(0, 40)));
  }
  return v.get<double>();
}

class Builder {
 public:
  Builder(const GgufSource& source, std::string_view base)
      : source_(source), config_(detail::parse_object(source.config, "config.json")) {
    if (config_.is_null()) bad("config.json is empty");
    file_type_ = gguf_file_type(base);
  }

  GgufModel build() {
    model_.architecture = architecture_of(config_);
    shapes();
    set(model_.metadata, "general.architecture", model_.architecture);
    set(model_.metadata, "general.type", std::string("model"));
    if (!source_.name.empty()) set(model_.metadata, "general.name", source_.name);
    if (file_type_) set(model_.metadata, "general.file_type", *file_type_);
    set(model_.metadata, "general.quantization_version", uint32_t{2});
    put_count("context_length", context_);
    put_count("embedding_length", model_.hidden);
    put_count("block_count", model_.layers);
    put_count("feed_forward_length", model_.feed_forward);
    put_count("attention.head_count", model_.heads);
    put_count("attention.head_count_kv", model_.kv_heads);
    put_count("attention.key_length", model_.head_dim);
    put_count("attention.value_length", model_.head_dim);
    put("attention.layer_norm_rms_epsilon", static_cast<float>(number(config_, "rms_norm_eps", 1e-6)));
    put_count("rope.dimension_count", model_.head_dim);
    put_count("vocab_size", model_.vocabulary);
    rotary();
    refuse_unsupported();
    add_tokenizer(source_, model_);
    return std::move(model_);
  }

 private:
  void put(std::string_view key, GgufValue value) {
    set(model_.metadata, fmt::format("{}.{}", model_.architecture, key), std::move(value));
  }
  // GGUF counts are u32; a second name, as a float would prefer an overload for integers.
  void put_count(std::string_view key, uint64_t value) { put(key, static_cast<uint32_t>(value)); }

  void shapes() {
    constexpr uint64_t kMost = 1 << 24;
    GgufModel& m = model_;
    m.layers = count(config_, "num_hidden_layers", 1, 512);  // llama.cpp's own limit
    m.hidden = count(config_, "hidden_size", 1, kMost);
    m.feed_forward = count(config_, "intermediate_size", 1, kMost);
    m.heads = count(config_, "num_attention_heads", 1, 1 << 16);
    m.kv_heads = count(config_, "num_key_value_heads", 1, m.heads, m.heads);
    m.vocabulary = count(config_, "vocab_size", 1, kMost);
    context_ = count(config_, "max_position_embeddings", 1, 0xffffffff, 2048);
    if (m.heads % m.kv_heads != 0)
      bad(fmt::format("config.json: {} attention heads cannot share {} key-value heads", m.heads,
                      m.kv_heads));
    const bool given = !member(config_, "head_dim").is_null();
    if (!given && m.hidden % m.heads != 0)
      bad(fmt::format("config.json: hidden_size {} is no multiple of {} heads", m.hidden, m.heads));
    // Qwen 3 has 128 where nothing is said.
    m.head_dim = count(config_, "head_dim", 2, 1 << 16, m.architecture == "qwen3" ? 128 : m.hidden / m.heads);
    if (m.head_dim % 2 != 0)
      bad(fmt::format("config.json: heads of {} values cannot be rotated in pairs", m.head_dim));
    if (m.architecture == "qwen2" && m.head_dim * m.heads != m.hidden) {
      bad(fmt::format("config.json: qwen2 with {} heads of {} and hidden_size {} cannot be said in GGUF",
                      m.heads, m.head_dim, m.hidden));
    }
    m.tied = bool_member(config_, "tie_word_embeddings").value_or(false);
  }

  void refuse_unsupported() {
    const std::string act = text_member(config_, "hidden_act").value_or("silu");
    if (act != "silu")
      bad(fmt::format("config.json: hidden_act '{}': llama.cpp runs {} with silu", act, model_.architecture));
    const bool mistral = text_member(config_, "model_type") == "mistral";
    const bool sliding = mistral || bool_member(config_, "use_sliding_window").value_or(false);
    if (const json& w = member(config_, "sliding_window");
        sliding && w.is_number_unsigned() && w.get<uint64_t>() < context_) {
      model_.warnings.push_back(fmt::format(
          "llama.cpp does not limit attention to the last {} tokens as this model does; up to there "
          "both are the same",
          w.get<uint64_t>()));
    }
  }

  // Both spellings: rope_theta with rope_scaling, and rope_parameters.
  void rotary() {
    const json& nested = member(config_, "rope_parameters");
    const json& old = member(config_, "rope_scaling");
    const json& rope = nested.is_object() ? nested : old;
    const double theta = number(rope, "rope_theta", number(config_, "rope_theta", 10000.0));
    const double partial =
        number(rope, "partial_rotary_factor", number(config_, "partial_rotary_factor", 1.0));
    if (partial != 1.0)
      bad(fmt::format("config.json: partial_rotary_factor {} cannot be said in GGUF for {}", partial,
                      model_.architecture));
    const std::string type =
        text_member(rope, "rope_type").value_or(text_member(rope, "type").value_or("default"));
    put("rope.freq_base", static_cast<float>(theta));
    const auto original = [&] {
      const json& outside = member(config_, "original_max_position_embeddings");
      return outside.is_null() ? count(rope, "original_max_position_embeddings", 1, 0xffffffff, context_)
                               : count(config_, "original_max_position_embeddings", 1, 0xffffffff);
    };
    if (type == "default" || type == "none") return;
    if (type == "linear") {
      put("rope.scaling.type", std::string("linear"));
      put("rope.scaling.factor", static_cast<float>(number(rope, "factor")));
    } else if (type == "dynamic") {
      model_.warnings.push_back(
          fmt::format("llama.cpp has no dynamic rotary scaling: past {} tokens results differ", context_));
    } else if (type == "yarn") {
      yarn(rope, original());
    } else if (type == "llama3" && model_.architecture == "llama") {
      llama3(rope, theta, original());
    } else if ((type == "longrope" || type == "su") && model_.architecture == "llama") {
      longrope(rope, original());
    } else {
      bad(fmt::format("config.json: rotary scaling '{}' cannot be said in GGUF for {}", type,
                      model_.architecture));
    }
  }

  void yarn(const json& rope, uint64_t original) {
    const double factor =
        number(rope, "factor", static_cast<double>(context_) / static_cast<double>(original));
    put("rope.scaling.type", std::string("yarn"));
    put("rope.scaling.factor", static_cast<float>(factor));
    put_count("rope.scaling.original_context_length", original);
    const auto scale = [&](double m) { return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
    const double m = number(rope, "mscale", 1.0), all = number(rope, "mscale_all_dim", 1.0);
    const bool both = !member(rope, "mscale").is_null() && !member(rope, "mscale_all_dim").is_null();
    const double attention = number(rope, "attention_factor", both ? scale(m) / scale(all) : scale(1.0));
    // llama.cpp multiplies by 0.1 ln(factor) + 1 itself.
    if (attention != scale(1.0)) put("rope.scaling.attn_factor", static_cast<float>(attention / scale(1.0)));
    if (number(rope, "beta_fast", 32.0) != 32.0 || number(rope, "beta_slow", 1.0) != 1.0 ||
        !bool_member(rope, "truncate").value_or(true)) {
      put("rope.scaling.yarn_beta_fast", static_cast<float>(number(rope, "beta_fast", 32.0)));
      put("rope.scaling.yarn_beta_slow", static_cast<float>(number(rope, "beta_slow", 1.0)));
      model_.warnings.push_back(
          "llama.cpp takes beta_fast 32, beta_slow 1 and whole limits for yarn; this model has others");
    }
  }

  // One factor for each pair of a head, by its wavelength; frequencies in f32 as transformers computes them.
  void llama3(const json& rope, double theta, uint64_t original) {
    const double factor = number(rope, "factor", 8.0), low = number(rope, "low_freq_factor", 1.0),
                 high = number(rope, "high_freq_factor", 4.0);
    const auto context = static_cast<double>(original);
    if (high <= low)
      bad(fmt::format("config.json: high_freq_factor {} is not above low_freq_factor {}", high, low));
    GgufExtraTensor t{"rope_freqs.weight", {}};
    for (uint64_t i = 0; i < model_.head_dim / 2; ++i) {
      const double wavelength =
          2 * M_PI * std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(model_.head_dim));
      double f = 1;
      if (wavelength > context / low) {
        f = factor;
      } else if (wavelength >= context / high) {
        const double smooth = (context / wavelength - low) / (high - low);
        f = 1 / ((1 - smooth) / factor + smooth);
      }
      t.values.push_back(static_cast<float>(f));
    }
    model_.extra.push_back(std::move(t));
  }

  void longrope(const json& rope, uint64_t original) {
    const double ratio = static_cast<double>(context_) / static_cast<double>(original);
    const double factor = number(rope, "factor", ratio);
    const double usual =
        factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original)));
    put("rope.scaling.type", std::string("longrope"));
    put_count("rope.scaling.original_context_length", original);
    put("rope.scaling.attn_factor", static_cast<float>(number(rope, "attention_factor", usual)));
    for (const auto& [key, name] : {std::pair{"long_factor", "rope_factors_long.weight"},
                                    std::pair{"short_factor", "rope_factors_short.weight"}}) {
      const json& list = member(rope, key);
      if (!list.is_array() || list.size() != model_.head_dim / 2)
        bad(fmt::format("config.json: {} is not a list of {} numbers", key, model_.head_dim / 2));
      GgufExtraTensor t{name, {}};
      for (const json& v : list) {
        if (!v.is_number()) bad(fmt::format("config.json: {} holds {}", key, v.dump().substr(0, 40)));
        t.values.push_back(v.get<float>());
      }
      model_.extra.push_back(std::move(t));
    }
  }

  const GgufSource& source_;
  json config_;
  GgufModel model_;
  std::optional<uint32_t> file_type_;
  uint64_t context_ = 0;
};

// Places of the file: embedding, layers, the last norm, output; within a layer in the order of a forward
// pass.
std::pair<uint64_t, uint64_t> rank(std::string_view gguf) {
  constexpr std::string_view kParts[] = {"attn_norm",   "attn_q", "attn_q_norm", "attn_k",
                                         "attn_k_norm", "attn_v", "attn_output", "ffn_norm",
                                         "ffn_gate",    "ffn_up", "ffn_down"};
  if (gguf.starts_with("token_embd.")) return {0, 0};
  if (gguf.starts_with("output_norm.")) return {1 << 20, 0};
  if (gguf.starts_with("output.")) return {1 << 20, 1};
  const std::string_view module = gguf.substr(0, gguf.rfind('.'));
  const std::string_view part = module.substr(module.rfind('.') + 1);
  const uint64_t layer = std::stoull(std::string(gguf.substr(4, 4)));
  const auto at = std::find(std::begin(kParts), std::end(kParts), part) - std::begin(kParts);
  return {layer + 1, 2 * static_cast<uint64_t>(at) + gguf.ends_with(".bias")};
}

}  // namespace

GgufSource read_gguf_source(const std::filesystem::path& directory) {
  GgufSource s;
  const auto text = [&](const char* name, std::string& out) {
    if (std::filesystem::exists(directory / name)) out = read_text(directory / name, 256 << 20);
  };
  const auto clean = std::filesystem::weakly_canonical(directory);
  s.name = clean.filename().string();
  s.config = read_text(directory / "config.json");
  text("generation_config.json", s.generation_config);
  text("tokenizer.json", s.tokenizer);
  text("tokenizer_config.json", s.tokenizer_config);
  text("special_tokens_map.json", s.special_tokens_map);
  text("added_tokens.json", s.added_tokens);
  text("tokenizer.model", s.sentencepiece);
  text("chat_template.jinja", s.chat_template);
  return s;
}

GgufModel make_gguf_model(const GgufSource& source, std::string_view base) {
  return Builder(source, base).build();
}

std::vector<uint64_t> gguf_tensor_shape(const GgufModel& m, std::string_view gguf) {
  const std::string_view module = gguf.substr(0, gguf.rfind('.'));
  const std::string_view part = module.substr(module.rfind('.') + 1);
  const uint64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  uint64_t out = m.hidden, in = 0;  // in 0: a vector of `out`
  if (part == "token_embd" || part == "output") out = m.vocabulary, in = m.hidden;
  if (part == "attn_q") out = q, in = m.hidden;
  if (part == "attn_k" || part == "attn_v") out = kv, in = m.hidden;
  if (part == "attn_output") in = q;
  if (part == "attn_q_norm" || part == "attn_k_norm") out = m.head_dim;
  if (part == "ffn_gate" || part == "ffn_up") out = m.feed_forward, in = m.hidden;
  if (part == "ffn_down") in = m.feed_forward;
  if (in == 0 || gguf.ends_with(".bias")) return {out};
  return {out, in};
}

std::vector<std::string> gguf_tensor_names(const GgufModel& m) {
  std::vector<std::string> names = {"token_embd.weight", "output_norm.weight"};
  if (!m.tied) names.push_back("output.weight");
  for (uint64_t i = 0; i < m.layers; ++i) {
    for (const char* part : {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate",
                             "ffn_up", "ffn_down"}) {
      names.push_back(fmt::format("blk.{}.{}.weight", i, part));
    }
    if (m.architecture == "qwen3") {
      names.push_back(fmt::format("blk.{}.attn_q_norm.weight", i));
      names.push_back(fmt::format("blk.{}.attn_k_norm.weight", i));
    }
  }
  return names;
}

GgufPlan plan_gguf_tensors(GgufModel& model, std::span<const NamedShape> tensors) {
  GgufPlan plan;
  std::unordered_set<std::string> seen;
  const bool has_head = std::any_of(tensors.begin(), tensors.end(),
                                    [](const NamedShape& t) { return t.name == "lm_head.weight"; });
  if (!has_head) model.tied = true;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::string_view hf = tensors[i].name;
    if (is_derived_tensor(hf)) {
      plan.skipped.emplace_back(i, "a rotary table, computed by every loader");
      continue;
    }
    const auto name = gguf_name(model.architecture, hf);
    if (!name) {
      bad(fmt::format("tensor {}: the architecture {} has no such tensor in GGUF", quote(hf), model.architecture),
          "the Hugging Face layouts take every model");
    }
    if (*name == "output.weight" && model.tied) {
      plan.skipped.emplace_back(i, "the same as the embedding (tie_word_embeddings)");
      continue;
    }
    if (!seen.insert(*name).second) bad(fmt::format("tensor {}: another tensor is {} too", quote(hf), *name));
    GgufPlace p{i, *name, {tensors[i].shape.begin(), tensors[i].shape.end()}, 0};
    if (name->starts_with("blk.") && rank(*name).first > model.layers)
      bad(fmt::format("tensor {}: config.json says {} layers", quote(hf), model.layers));
    const auto expected = gguf_tensor_shape(model, *name);
    if (p.shape != expected) {
      bad(fmt::format("tensor {} is [{}], config.json says [{}]", quote(hf), fmt::join(p.shape, ", "),
                      fmt::join(expected, ", ")));
    }
    if (has_permuted_rows(model.architecture, *name)) p.head_dim = model.head_dim;
    plan.tensors.push_back(std::move(p));
  }
  for (const std::string& name : gguf_tensor_names(model)) {
    if (seen.count(name) == 0)
      bad(fmt::format("tensor '{}' is missing", hf_name(model.architecture, name).value_or(name)));
  }
  std::stable_sort(plan.tensors.begin(), plan.tensors.end(),
                   [](const GgufPlace& a, const GgufPlace& b) { return rank(a.name) < rank(b.name); });
  return plan;
}

}  // namespace viva::io
