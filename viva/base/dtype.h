#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace viva {

// Element types of files and tensors: those of the safetensors specification in its order, then what only tensors have.
enum class DType : uint8_t {
  kBool, kF4, kF6E2M3, kF6E3M2, kU8, kI8, kF8E5M2, kF8E4M3, kF8E8M0, kF8E4M3FNUZ, kF8E5M2FNUZ,
  kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kC64, kF64, kI64, kU64,
  kC128,
};

struct DTypeInfo {
  std::string_view name;  // as safetensors writes it
  uint32_t bits;
  bool floating;
};

inline constexpr std::array<DTypeInfo, 23> kDTypes = {{
    {"BOOL", 8, false},    {"F4", 4, true},       {"F6_E2M3", 6, true},     {"F6_E3M2", 6, true},
    {"U8", 8, false},      {"I8", 8, false},      {"F8_E5M2", 8, true},     {"F8_E4M3", 8, true},
    {"F8_E8M0", 8, true},  {"F8_E4M3FNUZ", 8, true}, {"F8_E5M2FNUZ", 8, true}, {"I16", 16, false},
    {"U16", 16, false},    {"F16", 16, true},     {"BF16", 16, true},       {"I32", 32, false},
    {"U32", 32, false},    {"F32", 32, true},     {"C64", 64, false},       {"F64", 64, true},
    {"I64", 64, false},    {"U64", 64, false},
    {"C128", 128, false},
}};

constexpr const DTypeInfo& info(DType t) noexcept { return kDTypes[static_cast<size_t>(t)]; }
constexpr std::string_view name(DType t) noexcept { return info(t).name; }
// Bytes of one element; 0 for the types that are narrower than a byte.
constexpr size_t bytes(DType t) noexcept { return info(t).bits / 8; }

// Those that safetensors files have.
inline constexpr size_t kFileDTypes = 22;
constexpr std::optional<DType> dtype_from_name(std::string_view text) noexcept {
  for (size_t i = 0; i < kFileDTypes; ++i) {
    if (kDTypes[i].name == text) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace viva
