#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>

// What the reader and the writer of GGUF share.
namespace viva::io::detail {

static_assert(std::endian::native == std::endian::little,
              "GGUF is read and written in the machine's own byte order");

inline constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
inline constexpr uint64_t kMaxName = 1 << 16;
inline constexpr uint32_t kTypeArray = 9;

// GGUF value types in order of id; the list of a type lies 12 places later in the variant.
using Scalars = std::tuple<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                           void*, uint64_t, int64_t, double>;

template <class T, size_t I = 0>
constexpr uint32_t type_id() {
  if constexpr (std::is_same_v<T, std::tuple_element_t<I, Scalars>>) {
    return I;
  } else {
    return type_id<T, I + 1>();
  }
}

// Names from a file, safe to print.
std::string shown(std::string_view text);

}  // namespace viva::io::detail
