#include "viva/io/json.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "viva/base/error.h"

namespace viva::io {

using nlohmann::json;

namespace {

constexpr size_t kMaxDepth = 64;

// How deep brackets are nested, without building anything.
size_t depth_of(std::string_view text) noexcept {
  size_t depth = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == ']' || c == '}') && depth != 0) {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

json parse_json(std::string_view text, std::string_view operation, std::string_view where) {
  if (depth_of(text) > kMaxDepth) {
    throw Error(Code::kBadInput, operation,
                fmt::format("{}: JSON nested more than {} deep", where, kMaxDepth));
  }
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) throw Error(Code::kBadInput, operation, fmt::format("{}: not JSON", where));
  return value;
}

const json* member(const json& value, std::string_view key) noexcept {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(key);
  return found == value.end() ? nullptr : &*found;
}

std::optional<std::string> text_at(const json& value, std::string_view key) {
  const json* m = member(value, key);
  if (m == nullptr || !m->is_string()) return std::nullopt;
  return m->get<std::string>();
}

std::optional<uint64_t> size_at(const json& value, std::string_view key) noexcept {
  const json* m = member(value, key);
  if (m == nullptr || !m->is_number_unsigned()) return std::nullopt;
  return m->get<uint64_t>();
}

std::optional<bool> flag_at(const json& value, std::string_view key) noexcept {
  const json* m = member(value, key);
  if (m == nullptr || !m->is_boolean()) return std::nullopt;
  return m->get<bool>();
}

std::optional<float> float_at(const json& value, std::string_view key) noexcept {
  const json* m = member(value, key);
  if (m == nullptr || !m->is_number()) return std::nullopt;
  const double d = m->get<double>();
  if (!(std::fabs(d) <= std::numeric_limits<float>::max())) return std::nullopt;
  return static_cast<float>(d);
}

}  // namespace viva::io
