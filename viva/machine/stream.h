#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

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

// copy() of any bytes to anywhere: lines that are not written whole go through the cache.
inline void stream_run(const StreamCode& code, uint8_t* to, const uint8_t* from, size_t bytes) noexcept {
  constexpr size_t kLine = 64;
  const size_t head = std::min(bytes, -reinterpret_cast<uintptr_t>(to) % kLine), body = (bytes - head) / kLine * kLine;
  std::memcpy(to, from, head);
  if (body != 0) code.copy(to + head, from + head, body);
  std::memcpy(to + head + body, from + head + body, bytes - head - body);
}
// Asks for the lines of [p, p + bytes), whatever is there. gcc leaves a function out that does no more, unless it is inlined at once.
__attribute__((always_inline)) inline void fetch_run(const uint8_t* p, size_t bytes) noexcept {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}
inline constexpr uint64_t kStreamBytes = 16ull << 20;  // results from here on are written past the cache

}  // namespace viva
