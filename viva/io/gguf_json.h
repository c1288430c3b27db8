#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace viva::io::detail {

// Parses the JSON object in `text`, from the file `name` of a model directory; null where the text is empty.
// Throws kBadInput for anything that is no object, or is nested more than 64 deep.
nlohmann::json parse_object(const std::string& text, std::string_view name);

// The member `key` of an object; null where it is absent or `object` is no object.
const nlohmann::json& member(const nlohmann::json& object, const char* key);
// Its text or truth, where it is that.
std::optional<std::string> text_member(const nlohmann::json& object, const char* key);
std::optional<bool> bool_member(const nlohmann::json& object, const char* key);

}  // namespace viva::io::detail
