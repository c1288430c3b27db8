#include "viva/io/gguf_json.h"

#include <fmt/format.h>

#include "viva/base/error.h"

namespace viva::io::detail {

using nlohmann::json;

json parse_object(const std::string& text, std::string_view name) {
  if (text.empty()) return nullptr;
  bool deep = false;
  json value;
  try {
    value = json::parse(text, [&](int depth, json::parse_event_t, json&) {
      deep |= depth > 64;
      return !deep;
    });
  } catch (const json::exception& e) {
    throw Error(Code::kBadInput, "gguf", fmt::format("{} is not JSON: {}", name, e.what()));
  }
  if (deep) throw Error(Code::kBadInput, "gguf", fmt::format("{} is nested too deeply", name));
  if (!value.is_object()) throw Error(Code::kBadInput, "gguf", fmt::format("{} is not a JSON object", name));
  return value;
}

const json& member(const json& object, const char* key) {
  static const json none;
  if (!object.is_object()) return none;
  const auto it = object.find(key);
  return it == object.end() ? none : *it;
}

std::optional<std::string> text_member(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_string() ? std::optional(v.get<std::string>()) : std::nullopt;
}

std::optional<bool> bool_member(const json& object, const char* key) {
  const json& v = member(object, key);
  return v.is_boolean() ? std::optional(v.get<bool>()) : std::nullopt;
}

}  // namespace viva::io::detail
