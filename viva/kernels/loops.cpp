#include "viva/kernels/loops.h"

namespace viva::kernels {

const LoopRow* loops_f32(DType t, Target target) noexcept;
const LoopRow* loops_f64(DType t, Target target) noexcept;
const LoopRow* loops_small(DType t, Target target) noexcept;
const LoopRow* loops_wide(DType t, Target target) noexcept;
const LoopRow* loops_complex(DType t, Target target) noexcept;

Loop find_loop(LoopId id, DType compute, Target target) noexcept {
  const auto group = compute == DType::kF32              ? &loops_f32
                     : compute == DType::kF64            ? &loops_f64
                     : is_complex(compute)               ? &loops_complex
                     : is_bool(compute) || info(compute).bits <= 16 ? &loops_small
                                                         : &loops_wide;
  const LoopRow* row = group(compute, target);
  return row == nullptr ? nullptr : (*row)[static_cast<size_t>(id)];
}

}  // namespace viva::kernels
