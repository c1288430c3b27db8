#include "viva/ops/reduce.h"

#include <fmt/format.h>

#include <cmath>

#include "viva/kernels/reduce.h"
#include "viva/kernels/scan.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

using kernels::ReduceId;
using kernels::ReduceResult;

DType result_of(ReduceId id, DType t) {
  const bool whole = is_int(t) || is_bool(t);
  switch (kernels::info(id).result) {
    case ReduceResult::Bool: return DType::kBool;
    case ReduceResult::Index:
    case ReduceResult::Count: return DType::kI64;
    case ReduceResult::Mean: return whole ? kDefaultFloat : t;
    case ReduceResult::Sum: return !whole ? t : is_unsigned_int(t) ? DType::kU64 : DType::kI64;
    default: return t;
  }
}

void check_type(ReduceId id, DType t, std::string_view operation) {
  if (!kernels::allows(kernels::info(id).types, t)) {
    throw Error(Code::kUsage, operation, fmt::format("it is not defined on {}", name(t)), "to(dtype) converts");
  }
}

// `dtype`: what is computed and given.
Tensor run(ReduceId id, const Tensor& x, uint32_t axes, bool keepdims, double param = 0, std::optional<DType> dtype = {}) {
  const DType result = dtype.value_or(result_of(id, x.dtype()));
  DType compute = kernels::reduce_compute_type(id, dtype.value_or(x.dtype()));
  ReduceId code = id;
  if (id == ReduceId::sum && is_bool(x.dtype()) && is_int(result)) code = ReduceId::count_nonzero, compute = DType::kBool;
  return kernels::reduce(x, axes, keepdims, *kernels::find_reduction(code, compute, x.machine().target()), param, compute, result);
}

Tensor summed(ReduceId id, const Tensor& x, const Axes& axes, bool keepdims, std::optional<DType> dtype) {
  const std::string_view operation = kernels::info(id).name;
  check_defined(x, operation);
  check_type(id, x.dtype(), operation);
  if (dtype) {
    if (!is_element(*dtype) || is_bool(*dtype)) throw Error(Code::kUsage, operation, fmt::format("a result of type {}", name(*dtype)), "a number type");
    if (is_complex(x.dtype()) && !is_complex(*dtype)) {
      throw Error(Code::kUsage, operation, fmt::format("{} of {} values", name(*dtype), name(x.dtype())), "real() and imag() are the parts");
    }
  }
  return run(id, x, axes.bits(x.rank(), operation), keepdims, 0, dtype);
}

// Throws where a result would be of no values.
void check_values(const Tensor& x, uint32_t axes, std::string_view operation) {
  bool none = false, results = true;
  for (size_t a = 0; a < x.rank(); ++a) {
    if (x.shape()[a] == 0) ((axes >> a & 1) != 0 ? none = true : results = false);
  }
  if (none && results) throw Error(Code::kUsage, operation, fmt::format("no values along an axis of shape {}", text(x.shape())));
}

Tensor folded(ReduceId id, const Tensor& x, const Axes& axes, bool keepdims, double param = 0) {
  const std::string_view operation = kernels::info(id).name;
  check_defined(x, operation);
  check_type(id, x.dtype(), operation);
  const uint32_t bits = axes.bits(x.rank(), operation);
  if (kernels::info(id).result == ReduceResult::Value) check_values(x, bits, operation);
  return run(id, x, bits, keepdims, param);
}

Tensor place_of(ReduceId id, const Tensor& x, std::optional<int64_t> axis, bool keepdims) {
  const std::string_view operation = kernels::info(id).name;
  check_defined(x, operation);
  check_type(id, x.dtype(), operation);
  const uint32_t bits = (axis ? Axes(*axis) : Axes()).bits(x.rank(), operation);
  check_values(x, bits, operation);
  return run(id, axis ? x : contiguous(x), bits, keepdims);  // places of all values are counted in order
}

}  // namespace

uint32_t Axes::bits(size_t rank, std::string_view operation) const {
  if (all_) return static_cast<uint32_t>((uint64_t{1} << rank) - 1);
  uint32_t bits = 0;
  for (const int64_t axis : axes_) {
    const uint32_t bit = uint32_t{1} << axis_of(axis, rank, operation);
    if ((bits & bit) != 0) throw Error(Code::kUsage, operation, fmt::format("axis {} is named twice in {}", axis, text(axes_)));
    bits |= bit;
  }
  return bits;
}

#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) \
  Tensor NAME(const Tensor& x, const Axes& axes, bool keepdims) { return folded(ReduceId::NAME, x, axes, keepdims); }
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION

Tensor sum(const Tensor& x, const Axes& axes, bool keepdims, std::optional<DType> dtype) { return summed(ReduceId::sum, x, axes, keepdims, dtype); }
Tensor prod(const Tensor& x, const Axes& axes, bool keepdims, std::optional<DType> dtype) { return summed(ReduceId::prod, x, axes, keepdims, dtype); }
Tensor var(const Tensor& x, const Axes& axes, double correction, bool keepdims) { return folded(ReduceId::var, x, axes, keepdims, correction); }
Tensor std(const Tensor& x, const Axes& axes, double correction, bool keepdims) { return folded(ReduceId::std, x, axes, keepdims, correction); }
Tensor argmin(const Tensor& x, std::optional<int64_t> axis, bool keepdims) { return place_of(ReduceId::argmin, x, axis, keepdims); }
Tensor argmax(const Tensor& x, std::optional<int64_t> axis, bool keepdims) { return place_of(ReduceId::argmax, x, axis, keepdims); }

Tensor norm(const Tensor& x, double ord, const Axes& axes, bool keepdims) {
  check_defined(x, "norm");
  if (is_complex(x.dtype())) return norm(abs(x), ord, axes, keepdims);
  if (!is_real_float(x.dtype())) return norm(to(x, kDefaultFloat), ord, axes, keepdims);
  if (std::isnan(ord)) throw Error(Code::kUsage, "norm", "the order is NaN");
  const uint32_t bits = axes.bits(x.rank(), "norm");
  const double infinity = std::numeric_limits<double>::infinity();
  if (ord == 0) {
    const DType compute = DType::kBool;
    return kernels::reduce(x, bits, keepdims, *kernels::find_reduction(ReduceId::count_nonzero, compute, x.machine().target()), 0, compute, x.dtype());
  }
  if (ord == -infinity) check_values(x, bits, "norm");
  const ReduceId id = ord == 1           ? ReduceId::norm_1
                      : ord == 2         ? ReduceId::norm_2
                      : ord == infinity  ? ReduceId::norm_max
                      : ord == -infinity ? ReduceId::norm_min
                                         : ReduceId::norm_p;
  return run(id, x, bits, keepdims, ord);
}

namespace {

Tensor cumulated(ReduceId id, const Tensor& x, std::optional<int64_t> axis, std::optional<DType> dtype, bool include_initial) {
  const std::string operation = fmt::format("cumulative_{}", kernels::info(id).name);
  check_defined(x, operation);
  if (!axis && x.rank() != 1) throw Error(Code::kUsage, operation, fmt::format("no axis is named for shape {}", text(x.shape())));
  const size_t a = axis_of(axis.value_or(0), x.rank(), operation);
  const DType result = dtype.value_or(result_of(id, x.dtype()));
  if (!is_element(result) || is_bool(result) || (is_complex(x.dtype()) && !is_complex(result))) {
    throw Error(Code::kUsage, operation, fmt::format("a result of type {} of {} values", name(result), name(x.dtype())));
  }
  const DType compute = kernels::reduce_compute_type(id, result);
  const Tensor in = contiguous(to(x, compute));
  Shape shape = x.shape();
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; i < x.rank(); ++i) {
    if (i < a) outer *= shape[i];
    if (i > a) inner *= shape[i];
  }
  const int64_t n = shape[a], skip = include_initial ? 1 : 0;
  if (__builtin_add_overflow(n, skip, &shape[a])) throw Error(Code::kUsage, operation, "the result has too many values");
  const Tensor out(x.machine(), shape, compute);
  if (include_initial) assign(out.narrow(static_cast<int64_t>(a), 0, 1), id == ReduceId::sum ? 0 : 1);
  kernels::cumulate(x.machine(), in, outer, n, inner, id == ReduceId::prod, out, skip);
  return to(out, result);
}

}  // namespace

Tensor cumulative_sum(const Tensor& x, std::optional<int64_t> axis, std::optional<DType> dtype, bool include_initial) {
  return cumulated(ReduceId::sum, x, axis, dtype, include_initial);
}
Tensor cumulative_prod(const Tensor& x, std::optional<int64_t> axis, std::optional<DType> dtype, bool include_initial) {
  return cumulated(ReduceId::prod, x, axis, dtype, include_initial);
}

}  // namespace viva
