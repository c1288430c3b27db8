#include <fmt/format.h>

#include "viva/ops/arg.h"

namespace viva {

Tensor Arg::as(const Machine& machine, DType dtype) const {
  Tensor t(machine, {}, dtype);
  write(t.raw(), dtype);
  return t;
}

void Arg::write(void* to, DType dtype) const noexcept {
  with_element(dtype, [&](auto zero) {
    using T = decltype(zero);
    T& out = *static_cast<T*>(to);
    if (kind_ == Kind::kFloat) {
      out = element_cast<double, T>(value_.real());
    } else if (kind_ == Kind::kComplex) {
      out = element_cast<std::complex<double>, T>(value_);
    } else if (unsigned_) {
      out = element_cast<uint64_t, T>(static_cast<uint64_t>(int_));
    } else {
      out = element_cast<int64_t, T>(int_);
    }
  });
}

bool Arg::fits(DType dtype) const noexcept {
  if (kind_ != Kind::kInt || !is_int(dtype)) return true;
  const uint32_t bits = info(dtype).bits;
  if (unsigned_ && int_ < 0) return dtype == DType::kU64;  // 2^63 and more
  if (is_unsigned_int(dtype)) return int_ >= 0 && (bits == 64 || int_ >> bits == 0);
  return bits == 64 || (int_ >> (bits - 1)) == (int_ < 0 ? -1 : 0);
}

DType promote(DType a, DType b, std::string_view operation) {
  if (a == b || is_bool(b)) return a;
  if (is_bool(a)) return b;
  if (is_complex(a) || is_complex(b)) {
    const auto wide = [](DType t) { return t == DType::kC128 || t == DType::kF64; };
    return wide(a) || wide(b) ? DType::kC128 : DType::kC64;
  }
  if (is_real_float(a) && is_real_float(b)) {
    if (info(a).bits == info(b).bits) return DType::kF32;  // f16 and bf16
    return info(a).bits > info(b).bits ? a : b;
  }
  if (is_real_float(a)) return a;
  if (is_real_float(b)) return b;
  if (is_signed_int(a) == is_signed_int(b)) return info(a).bits > info(b).bits ? a : b;
  const DType s = is_signed_int(a) ? a : b, u = is_signed_int(a) ? b : a;
  if (info(s).bits > info(u).bits) return s;
  switch (u) {
    case DType::kU8: return DType::kI16;
    case DType::kU16: return DType::kI32;
    case DType::kU32: return DType::kI64;
    default:
      throw Error(Code::kUsage, operation, fmt::format("no integer type holds the values of both {} and {}", name(a), name(b)),
                  "convert one of them with to(dtype)");
  }
}

DType promote(DType a, Arg::Kind number) noexcept {
  switch (number) {
    case Arg::Kind::kInt: return is_bool(a) ? kDefaultInt : a;
    case Arg::Kind::kFloat: return is_real_float(a) || is_complex(a) ? a : kDefaultFloat;
    case Arg::Kind::kComplex:
      return is_complex(a) ? a : a == DType::kF64 ? DType::kC128 : DType::kC64;
    default: return a;
  }
}

void check_ordered(const Tensor& x, std::string_view operation) {
  check_defined(x, operation);
  if (is_complex(x.dtype())) throw Error(Code::kUsage, operation, fmt::format("{} values have no order", name(x.dtype())), "sort by abs() or real()");
}

}  // namespace viva
