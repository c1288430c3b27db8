#pragma once

#include <cstddef>
#include <cstdint>

#include "viva/base/target.h"

namespace viva {

// The plainest passes over memory that a SIMD target can make. Pointers are aligned to 64 bytes and `bytes` is a multiple of
// 512; for copy of 64, and what it reads lies anywhere.
struct StreamCode {
  uint64_t (*read)(const uint8_t* p, size_t bytes) noexcept;        // returns a value that needs every byte
  void (*write)(uint8_t* p, size_t bytes, uint8_t value) noexcept;  // past the caches where the target can
  // Likewise; seen by other threads after this one's end_streams(), which would cost as much as a short copy.
  void (*copy)(uint8_t* to, const uint8_t* from, size_t bytes) noexcept;
};
void end_streams() noexcept;

const StreamCode& stream_code(Target target) noexcept;

}  // namespace viva
