#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "viva/io/gguf_to_hf.h"

// What the units of make_hf_files share; only they include this.
namespace viva::io::detail {

// Metadata asked for by key and kind. `key` is short, "rope.freq_base": the architecture's name is put before
// it.
class GgufFacts {
 public:
  explicit GgufFacts(const GgufMetadata& metadata);

  const std::string& architecture() const noexcept { return architecture_; }
  std::string key(std::string_view rest) const { return fmt::format("{}.{}", architecture_, rest); }
  const GgufValue* value(std::string_view rest) const noexcept { return find(metadata_, key(rest)); }
  const GgufMetadata& all() const noexcept { return metadata_; }

  // A whole number within [least, most]; one above zero. Throws kBadInput for anything else, and where
  // nothing is there and no default given.
  uint64_t count(std::string_view rest, uint64_t least, uint64_t most,
                 std::optional<uint64_t> otherwise = {}) const;
  double number(std::string_view rest, std::optional<double> otherwise = {}) const;
  // Throws for a value that is no text.
  std::string text(std::string_view rest, std::string_view otherwise) const;

 private:
  const GgufMetadata& metadata_;
  std::string architecture_;
};

[[noreturn]] void bad_gguf(std::string_view message, std::string_view hint = {});
// A value as a message may show it; "is missing" or "is VALUE".
std::string told(const GgufValue& value);
std::string missing_or(const GgufValue* value);
// The decimal number that a person meant: 1e-05, not 9.999999747378752e-06.
double tidy(float value) noexcept;

// "rope_scaling" of config.json, null where frequencies are not scaled.
nlohmann::ordered_json make_rope_scaling(const GgufFacts& facts, double theta, uint64_t context,
                                         uint64_t head_dim, std::span<const GgufExtraTensor> factors);

// Numbers of special tokens by their names in transformers: "bos", "eos", "unk", "pad", "sep", "cls", "mask";
// "eot" and "eom" end a text too.
struct SpecialTokens {
  std::vector<std::pair<std::string_view, uint64_t>> ids;
  std::optional<uint64_t> find(std::string_view name) const noexcept;
};
// Those below `vocabulary`; the others are warned of.
SpecialTokens read_special_tokens(const GgufMetadata& metadata, uint64_t vocabulary,
                                  std::vector<std::string>& warnings);

// Appends tokenizer.json and tokenizer_config.json, or says in a warning why not.
void add_hf_tokenizer(const GgufFacts& facts, const SpecialTokens& special, uint64_t context, HfFiles& out);

}  // namespace viva::io::detail
