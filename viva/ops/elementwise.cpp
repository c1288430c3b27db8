#include <fmt/format.h>

#include <algorithm>

#include "viva/kernels/elementwise.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

using kernels::LoopId;

constexpr int64_t kSmall = 4096;  // values that are computed at once, without a plan

// Whether a loop takes t as it lies: n values in order, or one for all.
bool direct(const Tensor& t, DType compute, int64_t n) {
  return t.dtype() == compute && t.contiguous() && (t.count() == n || t.count() == 1);
}

// Strides for a new result: dense, its axes in the order of the operand's memory, so that both are walked in one run.
Strides strides_like(const Tensor& t, const Shape& shape) {
  if (t.contiguous() || t.shape() != shape) return row_major(shape);
  Dims order;
  for (size_t i = 0; i < shape.size(); ++i) order.push_back(static_cast<int64_t>(i));
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return std::abs(t.strides()[static_cast<size_t>(a)]) > std::abs(t.strides()[static_cast<size_t>(b)]);
  });
  Strides s(shape.size(), 0);
  int64_t n = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    s[static_cast<size_t>(order[i])] = n;
    n *= std::max<int64_t>(1, shape[static_cast<size_t>(order[i])]);
  }
  return s;
}

Tensor result_like(const Tensor& t, const Shape& shape, DType dtype) {
  Tensor flat(t.machine(), shape, dtype);
  if (t.contiguous()) return flat;
  return {flat.buffer(), flat.raw(), dtype, shape, strides_like(t, shape)};
}

// The type that a function computes values of `t` in, or an error in its name.
DType accepted(LoopId id, DType t) {
  const kernels::LoopInfo& f = kernels::info(id);
  if (kernels::allows(f.types, t)) return t;
  const bool whole = is_int(t) || is_bool(t);
  if (whole && (f.types == kernels::LoopTypes::Float || f.types == kernels::LoopTypes::RealFloat)) return kDefaultFloat;
  throw Error(Code::kUsage, f.name, fmt::format("it is not defined on {}", name(t)), "to(dtype) converts");
}

Tensor run(LoopId id, const Tensor& x) {
  const kernels::LoopInfo& f = kernels::info(id);
  check_defined(x, f.name);
  const DType type = accepted(id, x.dtype()), compute = kernels::compute_type(type);
  const DType result = kernels::result_type(f.result, type), raw = kernels::result_type(f.result, compute);
  const Machine& machine = x.machine();
  const kernels::Loop loop = kernels::find_loop(id, compute, machine.target());
  Tensor out = result_like(x, x.shape(), result);
  if (x.dtype() == compute && result == raw && x.contiguous() && x.count() <= kSmall) {
    const void* in[] = {x.raw()};
    loop(in, 0, out.raw(), static_cast<size_t>(x.count()));
    return out;
  }
  const kernels::Operand in = kernels::operand(x, x.shape(), compute);
  kernels::run_elementwise(machine, x.shape(), kernels::operand(out, x.shape(), raw), {&in, 1}, loop);
  return out;
}

// The type of the result of arithmetic on both, where numbers take the type of the tensors.
DType common_type(const Arg& a, const Arg& b, std::string_view operation) {
  if (a.tensor() != nullptr && b.tensor() != nullptr) return promote(a.tensor()->dtype(), b.tensor()->dtype(), operation);
  const Arg& number = a.tensor() == nullptr ? a : b;
  const Tensor* t = a.tensor() != nullptr ? a.tensor() : b.tensor();
  if (t == nullptr) throw Error(Code::kUsage, operation, "two plain numbers", "one operand must be a tensor");
  const DType type = promote(t->dtype(), number.kind());
  if (!number.fits(type)) {
    throw Error(Code::kUsage, operation, fmt::format("the number does not fit in {}", name(type)), "convert the tensor with to(dtype)");
  }
  return type;
}

Tensor run(LoopId id, const Arg& a, const Arg& b) {
  const kernels::LoopInfo& f = kernels::info(id);
  for (const Arg* x : {&a, &b}) {
    if (x->tensor() != nullptr) check_defined(*x->tensor(), f.name);
  }
  const DType type = accepted(id, common_type(a, b, f.name)), compute = kernels::compute_type(type);
  const DType result = kernels::result_type(f.result, type), raw = kernels::result_type(f.result, compute);
  const Machine& machine = (a.tensor() != nullptr ? a : b).tensor()->machine();
  const kernels::Loop loop = kernels::find_loop(id, compute, machine.target());
  const bool alike = a.tensor() == nullptr || b.tensor() == nullptr || a.tensor()->shape() == b.tensor()->shape();
  Shape stretched;
  if (!alike) stretched = broadcast(a.tensor()->shape(), b.tensor()->shape(), f.name);
  const Shape& shape = !alike ? stretched : (a.tensor() != nullptr ? a : b).tensor()->shape();
  const int64_t n = known_count(shape);
  if (n <= kSmall && result == raw && (a.tensor() == nullptr || direct(*a.tensor(), compute, n)) && (b.tensor() == nullptr || direct(*b.tensor(), compute, n))) {
    alignas(16) uint8_t number[16];
    const void* in[2];
    uint32_t scalars = 0;
    for (size_t k = 0; k < 2; ++k) {
      const Arg& x = k == 0 ? a : b;
      in[k] = x.tensor() == nullptr ? number : x.tensor()->raw();
      if (x.tensor() == nullptr) x.write(number, compute);
      if (n != 1 && (x.tensor() == nullptr || x.tensor()->count() == 1)) scalars |= 1u << k;
    }
    Tensor out(machine, shape, result);
    loop(in, scalars, out.raw(), static_cast<size_t>(n));
    return out;
  }
  const Tensor number = a.tensor() == nullptr ? a.as(machine, compute) : b.tensor() == nullptr ? b.as(machine, compute) : Tensor();
  const Tensor &x = a.tensor() == nullptr ? number : *a.tensor(), &y = b.tensor() == nullptr ? number : *b.tensor();
  Tensor out = result_like(x.shape() == shape ? x : y, shape, result);
  const kernels::Operand in[] = {kernels::operand(x, shape, compute), kernels::operand(y, shape, compute)};
  kernels::run_elementwise(machine, shape, kernels::operand(out, shape, raw), in, loop);
  return out;
}

// Whether two views may share bytes.
bool overlap(const Tensor& a, const Tensor& b) {
  const auto reach = [](const Tensor& t) {
    int64_t low = 0, high = static_cast<int64_t>(bytes(t.dtype()));
    for (size_t i = 0; i < t.rank(); ++i) {
      const int64_t d = (t.shape()[i] - 1) * t.strides()[i] * static_cast<int64_t>(bytes(t.dtype()));
      (d < 0 ? low : high) += d;
    }
    return std::pair(t.raw() + low, t.raw() + high);
  };
  if (a.count() == 0 || b.count() == 0) return false;
  const auto [a0, a1] = reach(a);
  const auto [b0, b1] = reach(b);
  return a0 < b1 && b0 < a1;
}

}  // namespace

#define VIVA_VERB_1(NAME) \
  Tensor NAME(const Tensor& x) { return run(LoopId::NAME, x); }
#define VIVA_VERB_2(NAME) \
  Tensor NAME(const Arg& a, const Arg& b) { return run(LoopId::NAME, a, b); }
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) VIVA_VERB_##OPERANDS(NAME)
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP

Tensor to(const Tensor& x, DType dtype) {
  check_defined(x, "to");
  if (x.dtype() == dtype) return x;
  if (!is_element(dtype)) throw Error(Code::kUsage, "to", fmt::format("{} is no type of single values", name(dtype)));
  Tensor out = result_like(x, x.shape(), dtype);
  if (x.contiguous() && x.count() <= kSmall) {
    kernels::find_convert(x.dtype(), dtype, x.machine().target())(x.raw(), out.raw(), static_cast<size_t>(x.count()));
    return out;
  }
  kernels::copy(x.machine(), x.shape(), kernels::operand(out, x.shape(), dtype), kernels::operand(x, x.shape(), dtype));
  return out;
}

Tensor clone(const Tensor& x) {
  check_defined(x, "clone");
  const Tensor out(x.machine(), x.shape(), x.dtype());
  assign(out, x);
  return out;
}

Tensor contiguous(const Tensor& x) { return x.contiguous() ? x : clone(x); }

Tensor reshape(const Tensor& x, const Shape& shape) {
  const auto view = x.reshape_view(shape);
  return view ? *view : *clone(x).reshape_view(shape);
}

void assign(const Tensor& place, const Arg& values) {
  check_defined(place, "assign");
  Tensor from = values.tensor() != nullptr ? *values.tensor() : values.as(place.machine(), place.dtype());
  check_defined(from, "assign");
  if (broadcast(from.shape(), place.shape(), "assign") != place.shape()) {
    throw Error(Code::kUsage, "assign", fmt::format("values of shape {} do not fit in shape {}", text(from.shape()), text(place.shape())));
  }
  for (size_t i = 0; i < place.rank(); ++i) {
    if (place.strides()[i] == 0 && place.shape()[i] > 1) {
      throw Error(Code::kUsage, "assign", "several values of the place are one in memory", "clone() what was expanded before");
    }
  }
  if (from.buffer() == place.buffer() && overlap(from, place)) from = clone(from);
  kernels::copy(place.machine(), place.shape(), kernels::operand(place, place.shape(), place.dtype()),
                kernels::operand(from, place.shape(), place.dtype()));
}

Tensor where(const Tensor& condition, const Arg& a, const Arg& b) {
  check_defined(condition, "where");
  if (condition.dtype() != DType::kBool) {
    throw Error(Code::kUsage, "where", fmt::format("the condition is {}, not BOOL", name(condition.dtype())), "compare it with something");
  }
  const DType type = a.tensor() == nullptr && b.tensor() == nullptr
                         ? (a.kind() == Arg::Kind::kComplex || b.kind() == Arg::Kind::kComplex ? DType::kC64
                            : a.kind() == Arg::Kind::kFloat || b.kind() == Arg::Kind::kFloat   ? kDefaultFloat
                            : a.kind() == Arg::Kind::kInt || b.kind() == Arg::Kind::kInt       ? kDefaultInt
                                                                                               : DType::kBool)
                         : common_type(a, b, "where");
  const Machine& machine = condition.machine();
  const Tensor first = a.tensor() == nullptr ? a.as(machine, type) : Tensor(), second = b.tensor() == nullptr ? b.as(machine, type) : Tensor();
  const Tensor &x = a.tensor() == nullptr ? first : *a.tensor(), &y = b.tensor() == nullptr ? second : *b.tensor();
  check_defined(x, "where");
  check_defined(y, "where");
  const Shape shape = broadcast(broadcast(x.shape(), y.shape(), "where"), condition.shape(), "where");
  const kernels::Loop loop = kernels::select_loop(bytes(type));
  const int64_t n = known_count(shape);
  if (n <= kSmall && direct(condition, DType::kBool, n) && direct(x, type, n) && direct(y, type, n)) {
    Tensor out(machine, shape, type);
    const void* in[] = {condition.raw(), x.raw(), y.raw()};
    const auto one = [&](const Tensor& t) { return static_cast<uint32_t>(n != 1 && t.count() == 1); };
    loop(in, one(condition) | one(x) << 1 | one(y) << 2, out.raw(), static_cast<size_t>(n));
    return out;
  }
  const Tensor& like = x.shape() == shape ? x : y.shape() == shape ? y : condition;
  Tensor out = result_like(like, shape, type);
  const kernels::Operand in[] = {kernels::operand(condition, shape, DType::kBool), kernels::operand(x, shape, type),
                                 kernels::operand(y, shape, type)};
  kernels::run_elementwise(machine, shape, kernels::operand(out, shape, type), in, loop);
  return out;
}

Tensor clamp(const Tensor& x, const Arg& low, const Arg& high) { return minimum(maximum(x, low), high); }

}  // namespace viva
