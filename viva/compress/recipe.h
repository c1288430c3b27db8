#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "viva/formats/format.h"
#include "viva/io/checkpoint.h"

// Which weight gets which format, and why.
namespace viva {

// The families of files that viva writes.
enum class Layout : uint8_t { kPlain, kBitsandbytes, kCompressedTensors, kGguf };
std::string_view name(Layout layout) noexcept;

// A format as the user names it, for one layout.
struct Choice {
  const Format* format = nullptr;  // null: keep
  Coding coding;
  std::string text;  // as the user would write it
};

// The layouts that can hold a format, GGUF last.
std::vector<Layout> layouts_of(const Format& format);
// "nf4", "int4-g128", "keep", ... for a destination of that layout. Throws kUsage that names what would be valid.
Choice parse_choice(std::string_view text, bool gguf);
// The layout that `choice` implies for a destination that is, or is not, a .gguf file.
Layout layout_for(const Choice& choice, bool gguf);

// One --rule 'PATTERN=FORMAT'. PATTERN is a glob over the whole name, or "re:" and a regular expression.
struct Rule {
  std::string pattern;
  std::string format;
  bool matches(std::string_view name) const;
};
// Throws kUsage.
Rule parse_rule(std::string_view text);

// What will be done with one weight.
struct Decision {
  Choice choice;       // format null: kept as it is
  std::string reason;  // why it is kept, or why it has this format
  bool transposed = false;  // rows and columns change places: a Conv1D is stored as (in, out), bitsandbytes has (out, in)
  bool fixed = false;       // a rule or a conversion says so: llama.cpp's own rule is not asked
};

// The reason of weights that --nonfinite keep leaves alone.
inline constexpr std::string_view kNonfinite = "holds NaN or infinity";

// Decides for every weight of `model`, in order. Throws kUsage where a rule matches nothing (naming near ones).
std::vector<Decision> decide(const io::Checkpoint& model, const Choice& main, Layout layout, const std::vector<Rule>& rules);


// What `viva convert` does with every weight.
struct Conversion {
  Choice main;  // what most values become; format null: all tensors are carried over as they are
  Layout layout = Layout::kPlain;
  std::vector<Decision> decisions;
};
// `to` is a format, or empty: then packed weights become what says the same values in the destination's world, or f32.
// Throws kUsage, and kBadInput for a weight that viva does not decode.
Conversion decide_conversion(const io::Checkpoint& model, bool gguf, std::string_view to);

}  // namespace viva
