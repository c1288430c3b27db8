#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "viva/io/gguf_json.h"
#include "viva/io/gguf_tokenizer.h"

namespace viva::io {
namespace {

using detail::bool_member;
using detail::member;
using detail::text_member;
using nlohmann::json;

// The regular expressions of published tokenizers, as their tokenizer.json spells them.
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseek3 = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
                                        "\r\n"
                                        R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
                                        "\r\n"
                                        R"(]*|\s*[)"
                                        "\r\n"
                                        R"(]+|\s+(?!\S)|\s+)";

// One step of cutting a text into words.
struct Step {
  enum Kind : uint8_t { kSplit, kDigit, kDigits, kBytes, kOther } kind;
  std::string_view pattern = {};  // of kSplit
};
struct OwnedStep {
  Step::Kind kind;
  std::string pattern;
  bool operator==(const Step& other) const { return kind == other.kind && pattern == other.pattern; }
};

constexpr Step kBytes{Step::kBytes}, kDigit{Step::kDigit};

struct Known {
  std::string_view name;
  bool ignore_merges, add_bos, nfc;
  std::array<Step, 6> steps;
  size_t count;
};

// Of two entries with equal steps the one with the right ignore_merges is taken, else the first.
constexpr Known kKnown[] = {
    {"gpt-2", false, false, false, {{{Step::kSplit, kGpt2}, kBytes}}, 2},
    {"llama-bpe", true, true, false, {{{Step::kSplit, kLlama3}, kBytes}}, 2},
    {"smaug-bpe", false, false, false, {{{Step::kSplit, kLlama3}, kBytes}}, 2},
    {"qwen2", false, false, true, {{{Step::kSplit, kQwen2}, kBytes}}, 2},
    {"tekken", true, true, false, {{{Step::kSplit, kTekken}, kBytes}}, 2},
    {"gpt-4o", false, false, false, {{{Step::kSplit, kGpt4o}, kBytes}}, 2},
    {"smollm", false, false, false, {{kDigit, {Step::kSplit, kGpt2}, kBytes}}, 3},
    {"deepseek-coder",
     false,
     false,
     false,
     {{{Step::kSplit, "[\r\n]"},
       {Step::kSplit, "\\s?\\p{L}+"},
       {Step::kSplit, "\\s?\\p{P}+"},
       {Step::kSplit, "[一-龥ࠀ-一가-퟿]+"},
       kDigit,
       kBytes}},
     6},
    {"deepseek-v3",
     false,
     false,
     false,
     {{{Step::kSplit, "\\p{N}{1,3}"},
       {Step::kSplit, "[一-龥぀-ゟ゠-ヿ]+"},
       {Step::kSplit, kDeepseek3},
       kBytes}},
     4},
};

// Other names that llama.cpp gives the same expressions to.
constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"llama3", "llama-bpe"}, {"llama-v3", "llama-bpe"},     {"dbrx", "smaug-bpe"}, {"phi-2", "gpt-2"},
    {"mellum", "gpt-2"},     {"deepseek-r1-qwen", "qwen2"}, {"megrez", "qwen2"},   {"starcoder", "smollm"},
    {"refact", "smollm"},    {"llama4", "gpt-4o"},
};

// Turns nested steps into a list; one that llama.cpp has no counterpart for becomes kOther.
void flatten(const json& step, std::vector<OwnedStep>& out, int depth = 0) {
  const std::string type = text_member(step, "type").value_or("");
  if (type == "Sequence" && depth < 8 && member(step, "pretokenizers").is_array()) {
    for (const json& s : member(step, "pretokenizers")) flatten(s, out, depth + 1);
  } else if (type == "ByteLevel") {
    if (bool_member(step, "use_regex").value_or(true)) out.push_back({Step::kSplit, std::string(kGpt2)});
    out.push_back({Step::kBytes, ""});
  } else if (type == "Digits") {
    out.push_back(
        {bool_member(step, "individual_digits").value_or(false) ? Step::kDigit : Step::kDigits, ""});
  } else if (type == "Split") {
    // "Removed" with the match inverted keeps the matches, as "Isolated" does.
    const std::string behavior = text_member(step, "behavior").value_or("");
    const bool invert = bool_member(step, "invert").value_or(false);
    const auto pattern = text_member(member(step, "pattern"), "Regex");
    const bool same = (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
    out.push_back(same && pattern ? OwnedStep{Step::kSplit, *pattern} : OwnedStep{Step::kOther, ""});
  } else {
    out.push_back({Step::kOther, ""});
  }
}

}  // namespace

std::optional<std::string_view> find_pre_tokenizer(std::string_view pre_tokenizer_json, bool ignore_merges) {
  const json step = detail::parse_object(std::string(pre_tokenizer_json), "tokenizer.json: pre_tokenizer");
  std::vector<OwnedStep> steps;
  flatten(step, steps);
  std::optional<std::string_view> found;
  for (const Known& k : kKnown) {
    if (!std::equal(steps.begin(), steps.end(), k.steps.begin(), k.steps.begin() + k.count)) continue;
    if (!found || k.ignore_merges == ignore_merges) found = k.name;
  }
  return found;
}

std::optional<PreTokenizer> make_pre_tokenizer(std::string_view name) {
  for (const auto& [alias, same] : kAliases) {
    if (alias == name) name = same;
  }
  const auto known =
      std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) { return k.name == name; });
  if (known == std::end(kKnown)) return std::nullopt;
  json list = json::array();
  for (size_t i = 0; i < known->count; ++i) {
    const Step& s = known->steps[i];
    const bool gpt2 = s.pattern == kGpt2;  // ByteLevel brings this expression along
    if (s.kind == Step::kSplit && !gpt2) {
      list.push_back({{"type", "Split"},
                      {"pattern", {{"Regex", s.pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}});
    } else if (s.kind == Step::kDigit) {
      list.push_back({{"type", "Digits"}, {"individual_digits", true}});
    } else if (s.kind == Step::kBytes) {
      const bool regex = i > 0 && known->steps[i - 1].pattern == kGpt2;
      list.push_back(
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", regex}});
    }
  }
  PreTokenizer out{{}, known->ignore_merges, known->add_bos, known->nfc};
  out.json = list.size() == 1 ? list[0].dump() : json{{"type", "Sequence"}, {"pretokenizers", list}}.dump();
  return out;
}

}  // namespace viva::io
