#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "viva/base/element.h"
#include "viva/base/target.h"

// Elementwise functions over contiguous runs: one loop for each line of loops.inc, type and SIMD target.
namespace viva::kernels {

// n results from n values of each operand; an operand whose bit of `scalars` is set is one value for all. `out` may be one
// of the operands, but must not overlap any other way.
using Loop = void (*)(const void* const* in, uint32_t scalars, void* out, size_t n) noexcept;

enum class LoopTypes : uint8_t { All, Numeric, Real, Float, RealFloat, Integer, BoolInt, Bool };
enum class LoopResult : uint8_t { Same, Real, Bool };

enum class LoopId : uint8_t {
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) NAME,
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
};

struct LoopInfo {
  std::string_view name;
  uint32_t operands;
  LoopTypes types;
  LoopResult result;
  std::string_view doc;
};
inline constexpr LoopInfo kLoops[] = {
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) {#NAME, OPERANDS, LoopTypes::TYPES, LoopResult::RESULT, DOC},
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
};
inline constexpr size_t kLoopCount = std::size(kLoops);
constexpr const LoopInfo& info(LoopId id) { return kLoops[static_cast<size_t>(id)]; }

constexpr bool allows(LoopTypes types, DType t) {
  switch (types) {
    case LoopTypes::All: return is_element(t);
    case LoopTypes::Numeric: return is_int(t) || is_real_float(t) || is_complex(t);
    case LoopTypes::Real: return is_int(t) || is_real_float(t);
    case LoopTypes::Float: return is_real_float(t) || is_complex(t);
    case LoopTypes::RealFloat: return is_real_float(t);
    case LoopTypes::Integer: return is_int(t);
    case LoopTypes::BoolInt: return is_bool(t) || is_int(t);
    case LoopTypes::Bool: return is_bool(t);
  }
  return false;
}
constexpr DType result_type(LoopResult r, DType t) {
  if (r == LoopResult::Bool) return DType::kBool;
  if (r == LoopResult::Real && is_complex(t)) return t == DType::kC64 ? DType::kF32 : DType::kF64;
  return t;
}

// f16 and bf16 are computed as f32.
constexpr DType compute_type(DType t) { return t == DType::kF16 || t == DType::kBF16 ? DType::kF32 : t; }

// The loop for values of `compute` (not f16, bf16); null where the function is not defined on them.
Loop find_loop(LoopId id, DType compute, Target target) noexcept;

// n values of one element type -> another; as element_cast does each. `from` and `to` do not overlap.
using Convert = void (*)(const void* from, void* to, size_t n) noexcept;
Convert find_convert(DType from, DType to, Target target) noexcept;

using LoopRow = std::array<Loop, kLoopCount>;

}  // namespace viva::kernels
