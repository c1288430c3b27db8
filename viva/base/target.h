#pragma once

#include <cstddef>
#include <cstdint>

namespace viva {

// SIMD targets by falling power; scalar is the twin without any.
enum class Target : uint8_t { kAvx3, kAvx2, kSse4, kScalar };
inline constexpr size_t kTargets = 4;

}  // namespace viva
