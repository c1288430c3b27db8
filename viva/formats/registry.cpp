#include "viva/formats/format.h"

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

const Format* find_format(std::string_view name) noexcept {
  for (const Format* f : formats()) {
    if (f->name == name) return f;
  }
  return nullptr;
}

}  // namespace viva
