#include "viva/compress/recipe.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <regex>

#include "viva/base/checked.h"
#include "viva/base/nearest.h"
#include "viva/io/bitsandbytes.h"
#include "viva/io/compressed_tensors.h"
#include "viva/io/json.h"
#include "viva/io/quote.h"

namespace viva {

std::string_view name(Layout layout) noexcept {
  switch (layout) {
    case Layout::kPlain: return "safetensors";
    case Layout::kBitsandbytes: return "bitsandbytes";
    case Layout::kCompressedTensors: return "compressed-tensors";
    case Layout::kGguf: return "gguf";
  }
  return "";
}

std::vector<Layout> layouts_of(const Format& format) {
  std::vector<Layout> list;
  for (std::string_view n : {"f16", "bf16", "f32"}) {
    if (format.name == n) list.push_back(Layout::kPlain);
  }
  for (std::string_view n : {"nf4", "nf4-dq", "fp4", "int8"}) {
    if (format.name == n) list.push_back(Layout::kBitsandbytes);
  }
  for (std::string_view n : {"int4", "int4-asym", "w8a8", "fp8", "fp8-block", "nvfp4", "mxfp4"}) {
    if (format.name == n) list.push_back(Layout::kCompressedTensors);
  }
  if (format.gguf_type >= 0) list.push_back(Layout::kGguf);
  return list;
}

Choice parse_choice(std::string_view text, bool gguf) {
  Choice choice;
  choice.text = text;
  if (text == "keep") return choice;
  // A format that both worlds have carries other bytes in GGUF and is a format of its own there.
  auto parsed = gguf ? parse_format(std::string(text) + "-gguf") : std::nullopt;
  if (!parsed) parsed = parse_format(text);
  if (!parsed) {
    std::string known;
    std::string_view near;
    for (const Format* f : formats()) {
      known += fmt::format("{}{}", known.empty() ? "" : ", ", f->name);
      if (near.empty() || edit_distance(text, f->name) < edit_distance(text, near)) near = f->name;
    }
    throw Error(Code::kUsage, "format", fmt::format("there is no format '{}'", text), fmt::format("did you mean {}? formats: {}", near, known));
  }
  const Format* format = parsed->format;
  choice.format = format;
  choice.coding = parsed->coding;
  const auto layouts = layouts_of(*format);
  const bool fits = gguf ? format->gguf_type >= 0 : std::any_of(layouts.begin(), layouts.end(), [](Layout l) { return l != Layout::kGguf; });
  if (!fits && gguf) {
    throw Error(Code::kUsage, "format", fmt::format("a GGUF file cannot hold {}", text), "give a directory as destination, or a GGUF format such as q4_0");
  }
  if (!fits) throw Error(Code::kUsage, "format", fmt::format("{} is a GGUF format", text), "let the destination end in .gguf");
  return choice;
}

Layout layout_for(const Choice& choice, bool gguf) {
  if (gguf) return Layout::kGguf;
  return choice.format == nullptr ? Layout::kPlain : layouts_of(*choice.format).front();
}

bool Rule::matches(std::string_view name) const {
  if (pattern.starts_with("re:")) return std::regex_search(std::string(name), std::regex(pattern.substr(3)));
  return ::fnmatch(pattern.c_str(), std::string(name).c_str(), 0) == 0;
}

Rule parse_rule(std::string_view text) {
  const size_t cut = text.rfind('=');
  if (cut == std::string_view::npos || cut == 0 || cut + 1 == text.size()) {
    throw Error(Code::kUsage, "rule", fmt::format("'{}' is not PATTERN=FORMAT", text), "for example '*.down_proj.weight=int8'");
  }
  Rule rule{std::string(text.substr(0, cut)), std::string(text.substr(cut + 1))};
  if (rule.pattern.starts_with("re:")) {
    try {
      std::regex check(rule.pattern.substr(3));
    } catch (const std::regex_error& e) {
      throw Error(Code::kUsage, "rule", fmt::format("'{}' is not a regular expression: {}", rule.pattern.substr(3), e.what()));
    }
  }
  return rule;
}

namespace {

bool has_word(std::string_view name, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return name.find(w) != std::string_view::npos; });
}

bool is_embedding(std::string_view name) {
  return has_word(name, {"embed", "wte.", "wpe.", "shared.weight", "relative_attention_bias", "position_ids", "tok_emb", "token_embd"});
}
bool is_head(std::string_view name) {
  return name == "lm_head.weight" || name.ends_with(".lm_head.weight") || name == "output.weight" || name == "cls.predictions.decoder.weight";
}
// A router of a mixture of experts: small, and loaders keep it in full.
bool is_router(std::string_view name) {
  return name.ends_with(".gate.weight") || name.ends_with(".router.weight") || name.ends_with(".gate.wg.weight") ||
         name.ends_with("shared_expert_gate.weight") || name.ends_with("ffn_gate_inp.weight");
}

// Does the file name its weights as modules (X.weight), or is every matrix a weight of its own?
bool names_modules(const io::Checkpoint& model) {
  if (model.kind() == io::Kind::kNpy || model.kind() == io::Kind::kNpz) return false;
  return std::any_of(model.weights().begin(), model.weights().end(),
                     [](const io::Weight& w) { return w.shape.size() == 2 && w.name.ends_with(".weight"); });
}

// Why a weight is not touched by the main format; empty: it is quantized. `packed`: whether packed weights may be.
std::string keep_reason(const io::Weight& w, bool modules, bool packed = false) {
  if (!w.decodable) return fmt::format("{} is not decoded", w.format.empty() ? name(w.dtype) : w.format);
  if (w.placement.format != nullptr && !packed) return fmt::format("already {}", w.format);
  if (!info(w.dtype).floating) return "not floating point";
  if (w.count() == 0) return "empty";
  if (w.shape.size() < 2) return "one-dimensional";
  if (!modules) return {};
  if (is_embedding(w.name)) return "embedding";
  if (is_head(w.name)) return "output head";
  if (is_router(w.name)) return "expert router";
  if (w.shape.size() > 2) return w.name.find("expert") != std::string::npos ? "stacked experts, which this layout cannot say" : "not a matrix";
  if (!w.name.ends_with(".weight")) return w.name.ends_with(".bias") ? "bias" : "not a linear layer's weight";
  if (has_word(w.name, {"norm.", "layernorm", "ln_"})) return "norm";
  return {};
}

// GPT-2 and its relatives: their linear layers are Conv1D, stored as (in, out).
bool has_conv1d(const io::Checkpoint& model) {
  if (model.kind() == io::Kind::kGguf) return false;
  if (!model.config().empty()) {
    const std::string type = io::text_at(io::parse_json(model.config(), "open", "config.json"), "model_type").value_or("");
    constexpr std::string_view kTypes[] = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"};
    return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes);
  }
  // Without a config: the fused projection is three times as wide as the state, and which side it is on tells.
  return std::any_of(model.weights().begin(), model.weights().end(), [](const io::Weight& w) {
    return w.name.ends_with(".c_attn.weight") && w.shape.size() == 2 && w.shape[1] == 3 * w.shape[0];
  });
}
bool is_conv1d(const io::Weight& w) {
  constexpr std::string_view kModules[] = {".c_attn.weight", ".q_attn.weight", ".c_proj.weight", ".c_fc.weight"};
  return w.shape.size() == 2 && std::any_of(std::begin(kModules), std::end(kModules), [&](std::string_view m) { return w.name.ends_with(m); });
}

std::string refusal(Layout layout, const io::Weight& w, const Choice& choice, bool conv1d) {
  if (layout == Layout::kBitsandbytes && w.name.find(".experts.") != std::string::npos) {
    return "an expert: transformers fuses them while loading, which bitsandbytes cannot follow";
  }
  if (layout == Layout::kCompressedTensors && conv1d) return "Conv1D, which compressed-tensors loads as it is";
  switch (layout) {
    case Layout::kBitsandbytes: return io::bitsandbytes_refuses(w.shape, *choice.format);
    case Layout::kCompressedTensors: return io::compressed_tensors_refuses(w.shape, *choice.format, choice.coding);
    default: return {};
  }
}

}  // namespace

std::vector<Decision> decide(const io::Checkpoint& model, const Choice& main, Layout layout, const std::vector<Rule>& rules) {
  const bool modules = names_modules(model), conv1d_model = has_conv1d(model);
  std::vector<Choice> choices;
  for (const Rule& r : rules) choices.push_back(parse_choice(r.format, layout == Layout::kGguf));
  std::vector<size_t> hits(rules.size());
  std::vector<Decision> decisions;
  for (const io::Weight& w : model.weights()) {
    Decision d;
    d.reason = keep_reason(w, modules);
    if (d.reason.empty()) d.choice = main;
    bool ruled = false;
    for (size_t i = 0; i < rules.size(); ++i) {
      // GGUF files are known by the names in them too.
      const bool stored_name = model.kind() == io::Kind::kGguf && !w.stored.empty() && rules[i].matches(w.stored[0].tensor.name);
      if (!rules[i].matches(w.name) && !stored_name) continue;
      ++hits[i];
      if (ruled) continue;
      ruled = true;
      const bool possible = w.decodable && w.placement.format == nullptr && info(w.dtype).floating && w.shape.size() >= 2 && w.count() != 0;
      if (choices[i].format == nullptr) {
        d = {choices[i], fmt::format("rule {}", rules[i].pattern), false, true};
      } else if (possible) {
        if (layout_for(choices[i], layout == Layout::kGguf) != layout) {
          throw Error(Code::kUsage, "rule", fmt::format("{} and {} do not go into one {} destination", rules[i].format, main.text, name(layout)));
        }
        d = {choices[i], fmt::format("rule {}", rules[i].pattern), false, true};
      }
    }
    if (d.choice.format != nullptr) {
      const bool conv1d = conv1d_model && is_conv1d(w);
      const std::string refused = refusal(layout, w, d.choice, conv1d);
      d.transposed = conv1d && layout == Layout::kBitsandbytes;
      if (!refused.empty()) d = Decision{Choice{}, refused};
    }
    decisions.push_back(std::move(d));
  }
  for (size_t i = 0; i < rules.size(); ++i) {
    if (hits[i] != 0) continue;
    std::vector<std::pair<size_t, std::string>> near;
    for (const io::Weight& w : model.weights()) near.emplace_back(edit_distance(rules[i].pattern, w.name), w.name);
    std::sort(near.begin(), near.end());
    std::string hint;
    for (size_t k = 0; k < std::min<size_t>(3, near.size()); ++k) hint += fmt::format("{}{}", k == 0 ? "near names: " : ", ", near[k].second);
    throw Error(Code::kUsage, "rule", fmt::format("'{}' matches no tensor", rules[i].pattern), hint);
  }
  return decisions;
}

namespace {

// The format of the other world that has the same codes and can say the same scales.
std::string_view counterpart(std::string_view format, bool gguf) {
  struct Pair {
    std::string_view here, in_gguf;
  };
  constexpr Pair kPairs[] = {{"int4", "q4_0"}, {"mxfp4", "mxfp4-gguf"}};
  for (const Pair& p : kPairs) {
    if (gguf && format == p.here) return p.in_gguf;
    if (!gguf && format == p.in_gguf) return p.here == "int4" ? "int4-g32" : p.here;
  }
  return !gguf && format == "nvfp4-gguf" ? "nvfp4" : "";  // a tensor's f32 scale does not go into GGUF's blocks
}

// A block of every ggml type that has a counterpart.
constexpr uint64_t kGgufBlock = 32;

Choice plain_choice(DType t, bool gguf) { return parse_choice(t == DType::kF16 ? "f16" : t == DType::kBF16 ? "bf16" : "f32", gguf); }

bool is_plain(const io::Weight& w) { return w.placement.format == nullptr; }

}  // namespace

Conversion decide_conversion(const io::Checkpoint& model, bool gguf, std::string_view to) {
  Conversion c;
  const bool modules = names_modules(model), conv1d_model = has_conv1d(model), from_gguf = model.kind() == io::Kind::kGguf;
  if (!to.empty()) {
    c.main = parse_choice(to, gguf);
    if (c.main.format == nullptr) throw Error(Code::kUsage, "convert", "'keep' is not a format to convert to");
    c.layout = layout_for(c.main, gguf);
  } else if (gguf == from_gguf) {
    // The same world: other files, the same tensors.
    c.main.text = "keep";
    c.layout = gguf ? Layout::kGguf : Layout::kPlain;
    c.decisions.assign(model.weights().size(), {Choice{}, "as it is"});
    return c;
  } else {
    c.layout = gguf ? Layout::kGguf : Layout::kCompressedTensors;
  }
  std::map<std::string, std::pair<Choice, uint64_t>> values;
  for (const io::Weight& w : model.weights()) {
    if (!w.decodable) {
      throw Error(Code::kBadInput, "convert", fmt::format("{} is {}, which viva does not decode yet", io::quote(w.name), w.stored_as()));
    }
    Decision d;
    d.fixed = true;
    const bool floating = !is_plain(w) || (info(w.dtype).floating && w.dtype != DType::kF64);
    const bool conv1d = conv1d_model && is_conv1d(w);
    const std::string reason = keep_reason(w, modules, true);
    const auto fits = [&](const Choice& choice) {
      return gguf ? w.cols() % kGgufBlock == 0 : reason.empty() && refusal(layout_for(choice, false), w, choice, conv1d).empty();
    };
    if (!floating && gguf && !from_gguf) {
      throw Error(Code::kBadInput, "convert", fmt::format("{} is {}, which a model's GGUF file does not hold", io::quote(w.name), w.stored_as()));
    }
    if (!floating) {
      d.reason = fmt::format("{}, carried over as it is", w.stored_as());
    } else if (c.layout == Layout::kPlain) {
      d.choice = c.main;
    } else if (!to.empty() && (gguf ? w.shape.size() >= 2 : reason.empty() && fits(c.main))) {
      d.choice = c.main;
      d.fixed = false;
    } else if (is_plain(w)) {
      if (gguf) d.choice = plain_choice(w.dtype, true);
      d.reason = to.empty() || reason.empty() ? "as it is" : reason;
    } else {
      const std::string_view same = to.empty() ? counterpart(w.placement.format->name, gguf) : "";
      if (!same.empty()) d.choice = parse_choice(same, gguf);
      if (same.empty() || !fits(d.choice)) {
        d.choice = plain_choice(DType::kF32, gguf);
        d.reason = same.empty() || reason.empty() ? "f32 says its values" : reason;
      }
    }
    // Only bitsandbytes has a Conv1D as (out, in).
    d.transposed = conv1d && d.choice.format != nullptr && !is_plain(w) != (layout_for(d.choice, gguf) == Layout::kBitsandbytes);
    if (d.choice.format != nullptr && w.shape.size() >= 2) {
      auto& entry = values[d.choice.text];
      entry.first = d.choice;
      entry.second += w.count();
    }
    c.decisions.push_back(std::move(d));
  }
  if (to.empty()) {
    uint64_t most = 0;
    bool packed = false;
    for (const auto& [text, entry] : values) {
      packed |= layouts_of(*entry.first.format).front() != Layout::kPlain;
      if (entry.second > most) most = entry.second, c.main = entry.first;
    }
    if (!gguf && !packed) c.layout = Layout::kPlain;
    if (c.main.format == nullptr) c.main.text = "keep";
  }
  return c;
}

}  // namespace viva
