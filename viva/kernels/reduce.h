#pragma once

#include <array>
#include <string_view>

#include "viva/kernels/loops.h"
#include "viva/tensor/tensor.h"

// Reductions over any axes of strided tensors. Values are taken in blocks of a fixed number; a block is folded in a fixed
// number of lanes, blocks of one chunk in order, chunks in a fixed tree: the bits depend neither on threads nor on the target.
namespace viva::kernels {

enum class ReduceResult : uint8_t { Same, Value, Sum, Mean, Index, Count, Bool };

enum class ReduceId : uint8_t {
#define VIVA_REDUCTION_PART(NAME, TYPES, RESULT, DOC) NAME,
#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) NAME,
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
};

struct ReductionInfo {
  std::string_view name;
  LoopTypes types;
  ReduceResult result;
  std::string_view doc;
};
inline constexpr ReductionInfo kReductions[] = {
#define VIVA_REDUCTION_PART(NAME, TYPES, RESULT, DOC) {#NAME, LoopTypes::TYPES, ReduceResult::RESULT, DOC},
#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) {#NAME, LoopTypes::TYPES, ReduceResult::RESULT, DOC},
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
};
inline constexpr size_t kReductionCount = std::size(kReductions);
constexpr const ReductionInfo& info(ReduceId id) { return kReductions[static_cast<size_t>(id)]; }

inline constexpr int64_t kReduceBytes = 32 * 1024;
// Values of a row that are folded at once, by the width of their type in bytes.
constexpr int64_t reduce_block(size_t width) { return kReduceBytes / static_cast<int64_t>(width < 4 ? 4 : width); }
inline constexpr int64_t kReduceConverted = reduce_block(16);  // where the values come in another type
inline constexpr int64_t kReduceRows = 64;      // rows that are folded at once where the columns are kept
inline constexpr int64_t kReduceChunk = 16;     // blocks that one thread folds in order
inline constexpr int64_t kReduceColumns = 2048; // columns that are folded at once, at most

// The code of one reduction of one type. `acc` is an array of acc_bytes each; where `have` is 0 it is not yet set. What is
// folded are the values `at`, `at` + 1 ... of the reduced ones; `have` of them are in acc.
struct ReduceCode {
  size_t acc_bytes;
  DType result;  // what finish writes
  // acc[r] takes in the n values (reduce_block at most) of row r; `stride` bytes between rows.
  void (*rows)(const void* x, ptrdiff_t stride, size_t rows, size_t n, uint64_t at, uint64_t have, double param, void* acc) noexcept;
  // acc[c] takes in column c of n rows (kReduceRows at most) of kReduceColumns at most.
  void (*columns)(const void* const* rows, size_t n, size_t cols, uint64_t at, uint64_t have, double param, void* acc) noexcept;
  // a[i], of na values, takes in b[i], of the nb values that follow.
  void (*join)(void* a, uint64_t na, const void* b, uint64_t nb, size_t n) noexcept;
  void (*finish)(const void* acc, size_t n, uint64_t count, double param, void* out) noexcept;
};
using ReduceRow = std::array<const ReduceCode*, kReductionCount>;

// Null where there is no code for values of `compute`.
const ReduceCode* find_reduction(ReduceId id, DType compute, Target target) noexcept;

// The type that a reduction computes values of `t` in: one that find_reduction knows.
DType reduce_compute_type(ReduceId id, DType t) noexcept;

// Reduces the axes whose bit is set, converting the values to `compute` first and the results to `result` at the end. With
// `ordered` the reduced values are numbered in order: one axis, or a contiguous tensor. The result is dense, its axes in the
// order of x's memory.
Tensor reduce(const Tensor& x, uint32_t axes, bool keepdims, const ReduceCode& code, double param, DType compute, DType result);

}  // namespace viva::kernels
