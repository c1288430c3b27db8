#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

// JSON of files that nobody vouches for: bounded nesting, and members asked for with the type that they must
// have.
namespace viva::io {

// Throws kBadInput naming `where` (a file, or a tensor of one) for text that is not JSON or is nested too
// deeply.
nlohmann::json parse_json(std::string_view text, std::string_view operation, std::string_view where);

// Member `key` of `value`; null where `value` is no object or has no such member.
const nlohmann::json* member(const nlohmann::json& value, std::string_view key) noexcept;
// The same with a type; empty where the member is absent or of another type.
std::optional<std::string> text_at(const nlohmann::json& value, std::string_view key);
std::optional<uint64_t> size_at(const nlohmann::json& value, std::string_view key) noexcept;
std::optional<bool> flag_at(const nlohmann::json& value, std::string_view key) noexcept;
// Finite as f32.
std::optional<float> float_at(const nlohmann::json& value, std::string_view key) noexcept;

}  // namespace viva::io
