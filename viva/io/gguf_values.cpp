#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

#include "viva/io/gguf.h"
#include "viva/io/gguf_wire.h"

namespace viva::io {
namespace {

template <class T>
std::string text_of(const T& v) {
  if constexpr (std::is_same_v<T, std::string>) {
    return fmt::format("\"{}\"", v);
  } else {
    return fmt::format("{}", v);
  }
}

}  // namespace

// Names from a file, safe to print.
std::string detail::shown(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 80)) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      out += fmt::format("\\x{:02x}", u);
    } else {
      out += c;
    }
  }
  return out + (text.size() > 80 ? "...'" : "'");
}

const GgufValue* find(const GgufMetadata& metadata, std::string_view key) noexcept {
  const auto it =
      std::find_if(metadata.begin(), metadata.end(), [&](const GgufEntry& e) { return e.key == key; });
  return it == metadata.end() ? nullptr : &it->value;
}

void set(GgufMetadata& metadata, std::string_view key, GgufValue value) {
  const auto it =
      std::find_if(metadata.begin(), metadata.end(), [&](const GgufEntry& e) { return e.key == key; });
  if (it != metadata.end()) {
    it->value = std::move(value);
  } else {
    metadata.push_back({std::string(key), std::move(value)});
  }
}

std::optional<uint64_t> as_unsigned(const GgufValue* value) noexcept {
  if (value == nullptr) return std::nullopt;
  return std::visit(
      []<class T>(const T& v) -> std::optional<uint64_t> {
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (v >= 0) return static_cast<uint64_t>(v);
        }
        return std::nullopt;
      },
      *value);
}

std::optional<double> as_number(const GgufValue* value) noexcept {
  if (value == nullptr) return std::nullopt;
  return std::visit(
      []<class T>(const T& v) -> std::optional<double> {
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) return static_cast<double>(v);
        return std::nullopt;
      },
      *value);
}

std::optional<std::string_view> as_string(const GgufValue* value) noexcept {
  const auto* s = value == nullptr ? nullptr : std::get_if<std::string>(value);
  return s == nullptr ? std::nullopt : std::optional<std::string_view>(*s);
}

std::string describe(const GgufValue& value, size_t items) {
  return std::visit(
      [&]<class T>(const T& v) {
        if constexpr (requires { typename T::value_type; } && !std::is_same_v<T, std::string>) {
          std::string out = "[";
          for (size_t i = 0; i < v.size() && i < items; ++i) {
            const typename T::value_type e = v[i];
            if (i > 0) out += ", ";
            out += text_of(e);
          }
          return out + (v.size() > items ? fmt::format(", ... {} in all]", v.size()) : "]");
        } else {
          return text_of(v);
        }
      },
      value);
}

}  // namespace viva::io
