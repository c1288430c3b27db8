#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viva/io/gguf_to_hf_parts.h"
#include "viva/io/quote.h"

// How rotary frequencies are scaled, in the words of config.json.
namespace viva::io::detail {
namespace {

using json = nlohmann::ordered_json;

struct Llama3 {
  double factor = 8, low = 1, high = 4, context = 8192;
};

double wavelength(size_t pair, double theta, uint64_t head_dim) {
  return 2 * M_PI * std::pow(theta, 2.0 * static_cast<double>(pair) / static_cast<double>(head_dim));
}

// Whether the "llama3" rule of transformers gives these factors, as far as f32 arithmetic lets one see.
bool gives(const Llama3& p, const std::vector<float>& factors, double theta) {
  for (size_t i = 0; i < factors.size(); ++i) {
    const double w = wavelength(i, theta, 2 * factors.size());
    double f = 1;
    if (w > p.context / p.low) {
      f = p.factor;
    } else if (w >= p.context / p.high) {
      const double smooth = (p.context / w - p.low) / (p.high - p.low);
      f = 1 / ((1 - smooth) / p.factor + smooth);
    }
    if (!(std::fabs(f - factors[i]) <= 2e-5 * f)) return false;
  }
  return true;
}

// The settings behind the factors: the usual ones, else those that a line through the blended factors says.
// Only context / low and context / high matter, so low is 1.
std::optional<Llama3> find_llama3(const std::vector<float>& factors, double theta) {
  Llama3 p;
  p.factor = tidy(*std::max_element(factors.begin(), factors.end()));
  if (gives(p, factors, theta)) return p;
  for (p.context = 64; p.context <= 1 << 24; p.context *= 2) {
    if (gives(p, factors, theta)) return p;
  }
  // smooth = context / (high - low) / wavelength - low / (high - low), by least squares.
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < factors.size(); ++i) {
    const double f = factors[i];
    if (f <= 1 + 1e-4 || f >= p.factor * (1 - 1e-4)) continue;
    const double x = 1 / wavelength(i, theta, 2 * factors.size());
    const double y = (1 / f - 1 / p.factor) / (1 - 1 / p.factor);
    n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  const double slope = (n * sxy - sx * sy) / (n * sxx - sx * sx), offset = (sy - slope * sx) / n;
  const double high = std::round((1 - 1 / offset) * 64) / 64, context = std::round(-slope / offset);
  if (n < 2 || !std::isfinite(context) || !(high > 1) || !(context >= 1 && context <= UINT32_MAX))
    return std::nullopt;
  p.high = high, p.context = context;
  return gives(p, factors, theta) ? std::optional(p) : std::nullopt;
}

json list_of(const std::vector<float>& values) {
  json list = json::array();
  for (const float v : values) list.push_back(tidy(v));
  return list;
}

json longrope(const std::vector<float>& longer, const std::vector<float>& shorter, double attention,
              uint64_t original, uint64_t context) {
  return {{"rope_type", "longrope"},
          {"type", "longrope"},
          {"factor", static_cast<double>(context) / static_cast<double>(original)},
          {"attention_factor", attention},
          {"original_max_position_embeddings", original},
          {"long_factor", list_of(longer)},
          {"short_factor", list_of(shorter)}};
}

const std::vector<float>* find_factors(std::span<const GgufExtraTensor> factors, std::string_view name,
                                       const GgufFacts& facts, uint64_t head_dim) {
  for (const GgufExtraTensor& t : factors) {
    if (t.name != name) continue;
    if (facts.architecture() != "llama")
      bad_gguf(fmt::format("tensor '{}': llama.cpp has none for {}", name, facts.architecture()));
    const bool fine =
        std::all_of(t.values.begin(), t.values.end(), [](float f) { return std::isfinite(f) && f > 0; });
    if (t.values.size() != head_dim / 2 || !fine)
      bad_gguf(fmt::format("tensor '{}' is not a list of {} numbers above zero", name, head_dim / 2));
    return &t.values;
  }
  return nullptr;
}

}  // namespace

json make_rope_scaling(const GgufFacts& facts, double theta, uint64_t context, uint64_t head_dim,
                       std::span<const GgufExtraTensor> factors) {
  const std::string type = facts.text("rope.scaling.type", "linear");
  const uint64_t original = facts.count("rope.scaling.original_context_length", 1, UINT32_MAX, context);
  const double attention = facts.number("rope.scaling.attn_factor", 1.0);
  // A factor of 0 says that there is none; old files have another name for it.
  double factor = 1;
  for (const char* key : {"rope.scale_linear", "rope.scaling.factor"}) {
    const GgufValue* v = facts.value(key);
    if (v != nullptr && as_number(v) != 0.0) factor = facts.number(key);
  }
  const auto* freqs = find_factors(factors, "rope_freqs.weight", facts, head_dim);
  const auto* longer = find_factors(factors, "rope_factors_long.weight", facts, head_dim);
  const auto* shorter = find_factors(factors, "rope_factors_short.weight", facts, head_dim);

  if (type != "none" && type != "linear" && type != "yarn" && type != "longrope") {
    bad_gguf(fmt::format("{} is {}, which a config.json cannot say", facts.key("rope.scaling.type"),
                         quote(type, 40)));
  }
  const bool scaled = type == "yarn" || type == "longrope" || (type == "linear" && factor != 1);
  if (freqs != nullptr && scaled) {
    bad_gguf(fmt::format("{} {} together with the tensor 'rope_freqs.weight': a config.json cannot say both",
                         facts.key("rope.scaling.type"), type));
  }
  if (type != "yarn" && type != "longrope" && attention != 1)
    bad_gguf(fmt::format("{} without yarn or longrope: a config.json cannot say that",
                         facts.key("rope.scaling.attn_factor")));

  if (type == "longrope") {
    if (longer == nullptr || shorter == nullptr)
      bad_gguf(fmt::format("{} is longrope, and the tensors with its factors are not there",
                           facts.key("rope.scaling.type")));
    return longrope(*longer, *shorter, attention, original, context);
  }
  if (type == "yarn") {
    json y = {{"rope_type", "yarn"},
              {"type", "yarn"},
              {"factor", factor},
              {"original_max_position_embeddings", original}};
    // llama.cpp multiplies by 0.1 ln(factor) + 1 itself, and transformers only where nothing is said.
    if (attention != 1)
      y["attention_factor"] =
          tidy(static_cast<float>(attention * (factor <= 1 ? 1 : 0.1 * std::log(factor) + 1)));
    for (const char* beta : {"beta_fast", "beta_slow"}) {
      const std::string key = fmt::format("rope.scaling.yarn_{}", beta);
      if (facts.value(key) != nullptr) y[beta] = facts.number(key);
    }
    return y;
  }
  if (freqs != nullptr) {
    if (std::all_of(freqs->begin(), freqs->end(), [](float f) { return f == 1; })) return nullptr;
    if (const auto p = find_llama3(*freqs, theta)) {
      return {{"rope_type", "llama3"},
              {"type", "llama3"},
              {"factor", p->factor},
              {"low_freq_factor", p->low},
              {"high_freq_factor", p->high},
              {"original_max_position_embeddings", static_cast<uint64_t>(p->context)}};
    }
    // Any other factors, word for word: the same for short and long texts.
    return longrope(*freqs, *freqs, 1, context, context);
  }
  if (scaled) return {{"rope_type", "linear"}, {"type", "linear"}, {"factor", factor}};
  return nullptr;
}

}  // namespace viva::io::detail
