#include <fmt/format.h>

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

// Turns nested steps into one line of text each; a step that llama.cpp has no counterpart for becomes "?".
void flatten(const json& step, std::string& out, int depth = 0) {
  const std::string type = text_member(step, "type").value_or("");
  if (type == "Sequence" && depth < 8 && member(step, "pretokenizers").is_array()) {
    for (const json& s : member(step, "pretokenizers")) flatten(s, out, depth + 1);
  } else if (type == "ByteLevel") {
    out +=
        bool_member(step, "use_regex").value_or(true) ? fmt::format("split {}\nbytes\n", kGpt2) : "bytes\n";
  } else if (type == "Digits") {
    out += bool_member(step, "individual_digits").value_or(false) ? "digit\n" : "digits\n";
  } else if (type == "Split") {
    // "Removed" with the match inverted keeps the matches, as "Isolated" does.
    const std::string behavior = text_member(step, "behavior").value_or("");
    const bool invert = bool_member(step, "invert").value_or(false);
    const auto pattern = text_member(member(step, "pattern"), "Regex");
    const bool same = (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
    out += same && pattern ? fmt::format("split {}\n", *pattern) : "?\n";
  } else {
    out += "?\n";
  }
}

}  // namespace

std::optional<std::string_view> find_pre_tokenizer(std::string_view pre_tokenizer_json, bool ignore_merges) {
  const json step = detail::parse_object(std::string(pre_tokenizer_json), "tokenizer.json: pre_tokenizer");
  std::string steps;
  flatten(step, steps);
  const auto is = [&](std::string_view expected) { return steps == expected; };
  const auto is_split = [&](std::string_view pattern) {
    return is(fmt::format("split {}\nbytes\n", pattern));
  };
  if (is_split(kGpt2)) return "gpt-2";
  // "llama-bpe" looks whole words up before it merges, "smaug-bpe" has the same expression and does not.
  if (is_split(kLlama3)) return ignore_merges ? "llama-bpe" : "smaug-bpe";
  if (is_split(kQwen2)) return "qwen2";
  if (is_split(kTekken)) return "tekken";
  if (is_split(kGpt4o)) return "gpt-4o";
  if (is(fmt::format("digit\nsplit {}\nbytes\n", kGpt2))) return "smollm";
  if (is("split [\r\n]\nsplit \\s?\\p{L}+\nsplit \\s?\\p{P}+\nsplit "
         "[一-龥ࠀ-一가-퟿]+\ndigit\nbytes\n"))
    return "deepseek-coder";
  if (is(fmt::format("split \\p{{N}}{{1,3}}\nsplit [一-龥぀-ゟ゠-ヿ]+\nsplit {}\nbytes\n", kDeepseek3)))
    return "deepseek-v3";
  return std::nullopt;
}

}  // namespace viva::io
