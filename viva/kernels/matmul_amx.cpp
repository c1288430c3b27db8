// Products of bf16 by the matrix unit of x86 (AMX): tiles of 16 lines of 16 pairs of terms, two by two, sums in f32.
#include <hwy/base.h>

#include "viva/kernels/panels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16")
namespace viva::kernels {

namespace {

constexpr int64_t kAhead = 256;  // terms that are fetched ahead of a line
constexpr int64_t kLines = 32, kTerms = 32, kTileBytes = 1024, kStepBytes = 2 * kTileBytes;

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// 16 lines of 16 pairs -> 16 pairs of 16 lines.
inline void transpose(__m512i* v) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

inline __m512i widened(__mmask16 some, const uint16_t* from) { return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, from)); }

// One tile of `lines` <= 16 lines and `terms` <= 32 terms, zeros around it; kPairs: as pairs of lines.
template <bool kPairs>
void pack_tile(const uint16_t* from, int64_t line, int64_t term, int64_t lines, int64_t terms, uint8_t* to) {
  __m512i v[16];
  bool by_pairs = false;
  if (lines <= 0) {
    for (auto& x : v) x = _mm512_setzero_si512();
  } else if (term == 1) {
    const __mmask32 some = static_cast<__mmask32>(terms == 32 ? ~0u : (1u << terms) - 1);
    for (int i = 0; i < 16; ++i) {
      v[i] = i < lines ? _mm512_maskz_loadu_epi16(some, from + i * line) : _mm512_setzero_si512();
      _mm_prefetch(reinterpret_cast<const char*>(from + i * line + kAhead), _MM_HINT_T0);
    }
  } else if (line == 1) {
    const __mmask16 some = static_cast<__mmask16>((1u << lines) - 1);
    by_pairs = true;
    for (int i = 0; i < 16; ++i) {
      const int64_t t = 2 * i;
      const __m512i even = widened(t < terms ? some : 0, from + t * term), odd = widened(t + 1 < terms ? some : 0, from + (t + 1) * term);
      v[i] = _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
    }
  } else {
    alignas(64) uint16_t dense[16][32] = {};
    for (int64_t l = 0; l < lines; ++l) {
      for (int64_t t = 0; t < terms; ++t) dense[l][t] = from[l * line + t * term];
    }
    for (int i = 0; i < 16; ++i) v[i] = _mm512_load_si512(dense[i]);
  }
  if (by_pairs != kPairs) transpose(v);
  for (int i = 0; i < 16; ++i) _mm512_store_si512(to + 64 * i, v[i]);
}

// Both tiles of 32 lines that lie side by side, as pairs of terms.
void pack_rows(const uint16_t* from, int64_t term, int64_t terms, uint8_t* to) {
  alignas(64) static constexpr uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(kLow), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t t = 0; t < kTerms; t += 2, to += 64) {
    const __m512i even = t < terms ? _mm512_loadu_si512(from + t * term) : _mm512_setzero_si512();
    const __m512i odd = t + 1 < terms ? _mm512_loadu_si512(from + (t + 1) * term) : _mm512_setzero_si512();
    _mm_prefetch(reinterpret_cast<const char*>(from + (t + kTerms) * term), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(from + (t + 1 + kTerms) * term), _MM_HINT_T0);
    _mm512_store_si512(to, _mm512_permutex2var_epi16(even, low, odd));
    _mm512_store_si512(to + kTileBytes, _mm512_permutex2var_epi16(even, high, odd));
  }
}

template <bool kPairs>
void pack(const Lines& x, int64_t first, int64_t lines, int64_t from, int64_t terms, uint8_t* to, uint8_t*, Target) noexcept {
  const auto* data = reinterpret_cast<const uint16_t*>(x.data);
  int64_t i = 0;
  if (kPairs && x.line_stride == 1) {  // row by row: as memory likes to be read
    const int64_t panel = (terms + kTerms - 1) / kTerms * kStepBytes;
    i = lines / kLines * kLines;
    for (int64_t t = 0; t < terms; t += kTerms) {
      for (int64_t l = 0; l < i; l += kLines) {
        pack_rows(data + first + l + (from + t) * x.term_stride, x.term_stride, terms - t, to + l / kLines * panel + t / kTerms * kStepBytes);
      }
    }
    to += i / kLines * panel;
  }
  for (; i < lines; i += kLines) {
    for (int64_t t = 0; t < terms; t += kTerms, to += kStepBytes) {
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t l = i + 16 * half;
        const uint16_t* at = data + (l < lines ? (first + l) * x.line_stride + (from + t) * x.term_stride : 0);
        pack_tile<kPairs>(at, x.line_stride, x.term_stride, std::min<int64_t>(16, lines - l), std::min(kTerms, terms - t), to + half * kTileBytes);
      }
    }
  }
}

// The tiles of a: where they are, bytes from the upper to the lower one, to those of the next terms, and between lines.
struct Left {
  const uint8_t* at;
  int64_t lower, next, line;
};

// kRows x kCols tiles of the result (1 or 2 each).
template <int kRows, int kCols>
void tiles(int64_t steps, Left a, const uint8_t* b, bool accumulate, float* c, int64_t ldc) {
  const size_t row = static_cast<size_t>(ldc) * 4;
  float* const low = c + 16 * ldc;
  if (accumulate) {
    _tile_loadd(0, c, row);
    if constexpr (kCols == 2) _tile_loadd(1, c + 16, row);
    if constexpr (kRows == 2) _tile_loadd(2, low, row);
    if constexpr (kRows == 2 && kCols == 2) _tile_loadd(3, low + 16, row);
  } else {
    _tile_zero(0);
    if constexpr (kCols == 2) _tile_zero(1);
    if constexpr (kRows == 2) _tile_zero(2);
    if constexpr (kRows == 2 && kCols == 2) _tile_zero(3);
  }
  for (int64_t s = 0; s < steps; ++s, a.at += a.next, b += kStepBytes) {
    _tile_loadd(4, a.at, static_cast<size_t>(a.line));
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kCols == 2) {
      _tile_loadd(7, b + kTileBytes, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kRows == 2) {
      _tile_loadd(5, a.at + a.lower, static_cast<size_t>(a.line));
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kCols == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, row);
  if constexpr (kCols == 2) _tile_stored(1, c + 16, row);
  if constexpr (kRows == 2) _tile_stored(2, low, row);
  if constexpr (kRows == 2 && kCols == 2) _tile_stored(3, low + 16, row);
}

void multiply(int64_t m, int64_t n, int64_t terms, const uint8_t* a, int64_t line, const uint8_t* b, bool accumulate, void* out, int64_t ldc) noexcept {
  float* const c = static_cast<float*>(out);
  static constexpr TileConfig kConfig;
  asm volatile("ldtilecfg %0" ::"m"(kConfig));  // gcc 12 thinks that the intrinsic reads 8 of the 64 bytes
  const int64_t steps = (terms + kTerms - 1) / kTerms, panel = steps * kStepBytes;
  for (int64_t j = 0; j < n; j += kLines, b += panel) {
    const int64_t cols = std::min(kLines, n - j);
    Left x{a, kTileBytes, kStepBytes, 64};
    if (line != 0) x = {a, 32 * line, 64, 2 * line};
    for (int64_t i = 0; i < m; i += kLines, x.at += line == 0 ? panel : 64 * line) {
      const int64_t rows = std::min(kLines, m - i);
      float* to = c + i * ldc + j;
      if (rows == kLines && cols == kLines) {
        tiles<2, 2>(steps, x, b, accumulate, to, ldc);
        continue;
      }
      alignas(64) float edge[kLines * kLines];
      if (accumulate) {
        for (int64_t r = 0; r < rows; ++r) std::memcpy(edge + r * kLines, to + r * ldc, static_cast<size_t>(cols) * 4);
      }
      rows > 16 ? cols > 16 ? tiles<2, 2>(steps, x, b, accumulate, edge, kLines) : tiles<2, 1>(steps, x, b, accumulate, edge, kLines)
      : cols > 16 ? tiles<1, 2>(steps, x, b, accumulate, edge, kLines)
                  : tiles<1, 1>(steps, x, b, accumulate, edge, kLines);
      for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * ldc, edge + r * kLines, static_cast<size_t>(cols) * 4);
    }
  }
  _tile_release();
}

constexpr PanelCode kCode = {kLines, kLines, 16, kTerms, 512, 2, 256, DType::kBF16, DType::kF32, &pack<false>, &pack<true>, &multiply};

}  // namespace

}  // namespace viva::kernels
HWY_POP_ATTRIBUTES

namespace viva::kernels {

namespace {

// The system must allow it too: the tiles' registers make a thread's state larger.
bool tiles_allowed() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return (d & kBf16) != 0 && (d & kTile) != 0 && ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

}  // namespace

const PanelCode* bf16_tiles(Target target) noexcept {
  static const bool allowed = tiles_allowed();
  return target == Target::kAvx3 && allowed ? &kCode : nullptr;
}

}  // namespace viva::kernels

#else

namespace viva::kernels {
const PanelCode* bf16_tiles(Target) noexcept { return nullptr; }
}  // namespace viva::kernels

#endif
