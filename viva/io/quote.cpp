#include "viva/io/quote.h"

#include <nlohmann/json.hpp>

namespace viva::io {

std::string quote(std::string_view text, size_t longest) {
  using nlohmann::json;
  const bool cut = text.size() > longest;
  // Non-ASCII is escaped: an escape sequence or a change of direction never reaches a terminal.
  return json(text.substr(0, longest)).dump(-1, ' ', true, json::error_handler_t::replace) +
         (cut ? "..." : "");
}

}  // namespace viva::io
