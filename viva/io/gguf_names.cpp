#include "viva/io/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "viva/base/error.h"
#include "viva/io/gguf.h"

namespace viva::io {
namespace {

enum : unsigned { kLlama = 1, kQwen2 = 2, kQwen3 = 4, kAll = 7 };

constexpr std::string_view kArchitectures[] = {"llama", "qwen2", "qwen3"};

// One module, and the architectures whose loader takes its weight and its bias.
struct Module {
  std::string_view hf, gguf;
  unsigned weight, bias;
};

constexpr Module kGlobal[] = {
    {"model.embed_tokens", "token_embd", kAll, 0},
    {"model.norm", "output_norm", kAll, 0},
    {"lm_head", "output", kAll, 0},
};

constexpr Module kLayer[] = {
    {"input_layernorm", "attn_norm", kAll, 0},
    {"self_attn.q_proj", "attn_q", kAll, kLlama | kQwen2},
    {"self_attn.k_proj", "attn_k", kAll, kLlama | kQwen2},
    {"self_attn.v_proj", "attn_v", kAll, kLlama | kQwen2},
    {"self_attn.o_proj", "attn_output", kAll, kLlama},
    {"self_attn.q_norm", "attn_q_norm", kQwen3, 0},
    {"self_attn.k_norm", "attn_k_norm", kQwen3, 0},
    {"post_attention_layernorm", "ffn_norm", kAll, 0},
    {"mlp.gate_proj", "ffn_gate", kAll, kLlama},
    {"mlp.up_proj", "ffn_up", kAll, kLlama},
    {"mlp.down_proj", "ffn_down", kAll, kLlama},
};

unsigned bit_of(std::string_view architecture) noexcept {
  const auto it = std::find(std::begin(kArchitectures), std::end(kArchitectures), architecture);
  return it == std::end(kArchitectures) ? 0u : 1u << (it - std::begin(kArchitectures));
}

// "REST.weight" -> {"REST", "weight"}; both empty where there is no dot.
std::array<std::string_view, 2> split_last(std::string_view name) noexcept {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

struct Layer {
  std::string_view number, rest;
};

// "PREFIX12.REST" -> {"12", "REST"}, where 12 has no leading zero.
std::optional<Layer> split_layer(std::string_view name, std::string_view prefix) noexcept {
  if (name.substr(0, prefix.size()) != prefix) return std::nullopt;
  name.remove_prefix(prefix.size());
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos || dot == 0 || dot > 4 || (dot > 1 && name[0] == '0'))
    return std::nullopt;
  const std::string_view number = name.substr(0, dot);
  if (!std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  return Layer{number, name.substr(dot + 1)};
}

bool takes(const Module& m, std::string_view leaf, unsigned bit) noexcept {
  return (leaf == "weight" && (m.weight & bit)) || (leaf == "bias" && (m.bias & bit));
}

bool ends_with(std::string_view text, std::string_view tail) noexcept {
  return text.size() >= tail.size() && text.substr(text.size() - tail.size()) == tail;
}

}  // namespace

std::span<const std::string_view> gguf_architectures() noexcept { return kArchitectures; }

std::optional<std::string> gguf_name(std::string_view architecture, std::string_view hf) {
  const unsigned bit = bit_of(architecture);
  const auto [module, leaf] = split_last(hf);
  for (const Module& m : kGlobal) {
    const bool base = m.hf.starts_with("model.") && module == m.hf.substr(6);
    if ((module == m.hf || base) && takes(m, leaf, bit)) return fmt::format("{}.{}", m.gguf, leaf);
  }
  auto layer = split_layer(module, "model.layers.");
  if (!layer) layer = split_layer(module, "layers.");
  if (!layer) return std::nullopt;
  for (const Module& m : kLayer) {
    if (layer->rest == m.hf && takes(m, leaf, bit))
      return fmt::format("blk.{}.{}.{}", layer->number, m.gguf, leaf);
  }
  return std::nullopt;
}

std::optional<std::string> hf_name(std::string_view architecture, std::string_view gguf) {
  const unsigned bit = bit_of(architecture);
  const auto [module, leaf] = split_last(gguf);
  for (const Module& m : kGlobal) {
    if (module == m.gguf && takes(m, leaf, bit)) return fmt::format("{}.{}", m.hf, leaf);
  }
  const auto layer = split_layer(module, "blk.");
  if (!layer) return std::nullopt;
  for (const Module& m : kLayer) {
    if (layer->rest == m.gguf && takes(m, leaf, bit)) {
      return fmt::format("model.layers.{}.{}.{}", layer->number, m.hf, leaf);
    }
  }
  return std::nullopt;
}

bool is_derived_tensor(std::string_view hf) noexcept { return ends_with(hf, "rotary_emb.inv_freq"); }

bool has_permuted_rows(std::string_view architecture, std::string_view gguf) {
  if (architecture != "llama") return false;
  const auto layer = split_layer(split_last(gguf)[0], "blk.");
  return layer && (layer->rest == "attn_q" || layer->rest == "attn_k");
}

GgufTensorFormat gguf_tensor_format(std::string_view gguf, std::span<const uint64_t> shape,
                                    std::string_view base, bool tied) {
  const GgmlType* type = find_ggml_type(base);
  if (type == nullptr) throw Error(Code::kUsage, "gguf", fmt::format("'{}' is no ggml type", base));
  if (shape.size() < 2) return {"f32", base == "f32" ? "" : "a vector"};
  if (!ends_with(gguf, ".weight")) return {"f32", base == "f32" ? "" : "not a weight"};
  if (ends_with(gguf, "_norm.weight")) return {"f32", base == "f32" ? "" : "a norm"};
  if (type->block == 1) return {type->name, ""};

  const auto fits = [&](const GgmlType& t) { return shape.back() % t.block == 0; };
  const auto fallback = [&](const GgmlType& t) -> GgufTensorFormat {
    return {"f16",
            fmt::format("rows of {} are no whole number of {} blocks of {}", shape.back(), t.name, t.block)};
  };
  const GgmlType& q8 = *find_ggml_type("q8_0");
  const bool embedding = gguf == "token_embd.weight";
  std::string reason;
  if (gguf == "output.weight" || (embedding && tied)) {
    reason = embedding ? "the embedding is the output layer too" : "the output layer";
    reason += ": kept at 8 bits (llama.cpp would take q6_k)";
  } else if (embedding && base == "nvfp4") {
    reason = "llama.cpp applies nvfp4's tensor scale to products, not to looked-up rows: 8 bits";
  }
  if (!reason.empty() && base != "q8_0") return fits(q8) ? GgufTensorFormat{"q8_0", reason} : fallback(q8);
  return fits(*type) ? GgufTensorFormat{type->name, ""} : fallback(*type);
}

std::optional<uint32_t> gguf_file_type(std::string_view base) noexcept {
  constexpr std::pair<std::string_view, uint32_t> kNumbers[] = {
      {"f32", 0},   {"f16", 1},   {"q4_0", 2},    {"q4_1", 3},    {"q8_0", 7},  {"q5_0", 8},   {"q5_1", 9},
      {"q2_k", 10}, {"q6_k", 18}, {"iq4_nl", 25}, {"iq4_xs", 30}, {"bf16", 32}, {"mxfp4", 38}, {"nvfp4", 39},
  };
  for (const auto& [name, number] : kNumbers) {
    if (name == base) return number;
  }
  return std::nullopt;
}

std::optional<std::string> gguf_scale_name(std::string_view gguf) {
  const auto [module, leaf] = split_last(gguf);
  const auto layer = split_layer(module, "blk.");
  const bool product = module == "output" || (layer && !ends_with(layer->rest, "_norm"));
  if (leaf != "weight" || !product) return std::nullopt;
  return fmt::format("{}.scale", module);
}

}  // namespace viva::io
