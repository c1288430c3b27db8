#include "viva/machine/stream.h"

#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/machine/stream.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

static uint64_t stream_read(const uint8_t* bytes_in, size_t bytes) noexcept {
  const hn::ScalableTag<uint64_t> d;
  const size_t lanes = hn::Lanes(d), n = bytes / 8;
  const auto* p = reinterpret_cast<const uint64_t*>(bytes_in);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (size_t i = 0; i < n; i += 8 * lanes) {
    a = hn::Xor(a, hn::Load(d, p + i));
    b = hn::Xor(b, hn::Load(d, p + i + lanes));
    c = hn::Xor(c, hn::Load(d, p + i + 2 * lanes));
    e = hn::Xor(e, hn::Load(d, p + i + 3 * lanes));
    a = hn::Xor(a, hn::Load(d, p + i + 4 * lanes));
    b = hn::Xor(b, hn::Load(d, p + i + 5 * lanes));
    c = hn::Xor(c, hn::Load(d, p + i + 6 * lanes));
    e = hn::Xor(e, hn::Load(d, p + i + 7 * lanes));
  }
  alignas(64) uint64_t out[hn::MaxLanes(hn::ScalableTag<uint64_t>())];
  hn::Store(hn::Xor(hn::Xor(a, b), hn::Xor(c, e)), d, out);
  uint64_t x = 0;
  for (size_t i = 0; i < lanes; ++i) x ^= out[i];
  return x;
}

static void stream_write(uint8_t* p, size_t bytes, uint8_t value) noexcept {
  const hn::ScalableTag<uint8_t> d;
  const auto v = hn::Set(d, value);
  for (size_t i = 0; i < bytes; i += hn::Lanes(d)) hn::Stream(v, d, p + i);
  hwy::FlushStream();
}

static void stream_copy(uint8_t* to, const uint8_t* from, size_t bytes) noexcept {
  const hn::ScalableTag<uint8_t> d;
  for (size_t i = 0; i < bytes; i += hn::Lanes(d)) hn::Stream(hn::LoadU(d, from + i), d, to + i);
}

static constexpr StreamCode kStream = {&stream_read, &stream_write, &stream_copy};

}  // namespace viva::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva {
namespace {

uint64_t plain_read(const uint8_t* p, size_t bytes) noexcept {
  uint64_t x = 0;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t v;
    std::memcpy(&v, p + i, 8);
    x ^= v;
  }
  return x;
}
void plain_write(uint8_t* p, size_t bytes, uint8_t value) noexcept { std::memset(p, value, bytes); }
void plain_copy(uint8_t* to, const uint8_t* from, size_t bytes) noexcept { std::memcpy(to, from, bytes); }

constexpr StreamCode kPlain = {&plain_read, &plain_write, &plain_copy};

}  // namespace

void end_streams() noexcept { hwy::FlushStream(); }

const StreamCode& stream_code(Target target) noexcept {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case Target::kAvx3:
      return N_AVX3::kStream;
#endif
#if HWY_TARGETS & HWY_AVX2
    case Target::kAvx2:
      return N_AVX2::kStream;
#endif
#if HWY_TARGETS & HWY_SSE4
    case Target::kSse4:
      return N_SSE4::kStream;
#endif
    default:
      return kPlain;
  }
}

}  // namespace viva
#endif
