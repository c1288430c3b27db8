#include "viva/formats/format.h"

#include <algorithm>
#include <charconv>

namespace viva {

#define VIVA_FORMAT(id) extern const Format format_##id;
#include "viva/formats/formats.inc"
#undef VIVA_FORMAT

std::span<const Format* const> formats() noexcept {
#define VIVA_FORMAT(id) &format_##id,
  static const Format* const list[] = {
#include "viva/formats/formats.inc"
  };
#undef VIVA_FORMAT
  return list;
}

std::string_view name(Encoder encoder) noexcept {
  switch (encoder) {
    case Encoder::kReference: return "reference";
    case Encoder::kBest: return "best";
    case Encoder::kExact: return "exact";
  }
  return "";
}

const Format* find_format(std::string_view name) noexcept {
  for (const Format* f : formats()) {
    if (f->name == name) return f;
  }
  return nullptr;
}

std::optional<FormatChoice> parse_format(std::string_view text) {
  if (const Format* f = find_format(text)) return FormatChoice{f, {}};
  const size_t at = text.find("-g");
  if (at == text.npos) return std::nullopt;
  const size_t end = std::min(text.find('-', at + 1), text.size());
  const std::string_view digits = text.substr(at + 2, end - at - 2);
  uint32_t group = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), group);
  if (digits.starts_with('0') || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return std::nullopt;
  const Format* f = find_format(std::string(text.substr(0, at)) + std::string(text.substr(end)));
  if (f == nullptr || (group != f->group && std::ranges::find(f->groups, group) == f->groups.end())) return std::nullopt;
  Coding coding;
  coding.group = group;
  return FormatChoice{f, coding};
}

std::string format_text(const Format& format, const Coding& coding) {
  const uint32_t group = coding.group != 0 ? coding.group : format.group;
  std::string text(format.name);
  if (group == format.group && !format.group_in_name) return text;
  return text.insert(std::min(text.find('-'), text.size()), "-g" + std::to_string(group));
}

}  // namespace viva
