#include "viva/kernels/matmul.h"

#include <fmt/format.h>

#include "viva/ops/ops.h"

namespace viva {

namespace {

kernels::Matrices matrices(const Tensor& t, const Shape& batch) {
  const size_t r = t.rank(), own = r - 2, added = batch.size() - own;
  kernels::Matrices x{t.raw(), t.strides()[r - 2], t.strides()[r - 1], Strides(batch.size(), 0)};
  for (size_t i = 0; i < own; ++i) x.batch[added + i] = t.shape()[i] == 1 ? 0 : t.strides()[i];
  return x;
}

[[noreturn]] void refuse(const Tensor& a, const Tensor& b, std::string_view hint) {
  throw Error(Code::kUsage, "matmul", fmt::format("shapes {} and {}", text(a.shape()), text(b.shape())),
              hint);
}

// Both of one type, with two axes or more.
Tensor product(const Tensor& a, const Tensor& b, const Tensor& given_a, const Tensor& given_b) {
  const size_t ra = a.rank(), rb = b.rank();
  const int64_t m = a.shape()[ra - 2], k = a.shape()[ra - 1], n = b.shape()[rb - 1];
  if (b.shape()[rb - 2] != k)
    refuse(given_a, given_b, fmt::format("{} values of a row meet {} of a column", k, b.shape()[rb - 2]));
  const Machine& machine = a.machine();
  if (ra == 2 && rb == 2) {
    const Tensor out(machine, {m, n}, a.dtype());
    kernels::matmul(machine, a.dtype(), {}, m, n, k, {a.raw(), a.strides()[0], a.strides()[1], {}},
                    {b.raw(), b.strides()[0], b.strides()[1], {}}, out.raw());
    return out;
  }
  Shape batch(std::max(ra, rb) - 2, 1);
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto size = [&](const Tensor& t) { return i < t.rank() - 2 ? t.shape()[t.rank() - 3 - i] : 1; };
    const int64_t x = size(a), y = size(b);
    if (x != y && x != 1 && y != 1)
      refuse(given_a, given_b, "the axes before the last two must broadcast: equal sizes, or 1");
    batch[batch.size() - 1 - i] = x == 1 ? y : x;
  }
  Shape out_shape = batch;
  out_shape.push_back(m);
  out_shape.push_back(n);
  const Tensor out(machine, out_shape, a.dtype());
  if (rb == 2 && out.count() != 0 && k != 0) {  // one matrix on the right: the batch is more rows
    if (const auto rows = a.reshape_view({-1, k})) {
      kernels::matmul(machine, a.dtype(), {}, rows->shape()[0], n, k,
                      {rows->raw(), rows->strides()[0], rows->strides()[1], {}},
                      {b.raw(), b.strides()[0], b.strides()[1], {}}, out.raw());
      return out;
    }
  }
  kernels::matmul(machine, a.dtype(), batch, m, n, k, matrices(a, batch), matrices(b, batch), out.raw());
  return out;
}

}  // namespace

Tensor matmul(const Tensor& given_a, const Tensor& given_b) {
  check_defined(given_a, "matmul");
  check_defined(given_b, "matmul");
  if (given_a.rank() == 0 || given_b.rank() == 0)
    refuse(given_a, given_b, "values without axes are multiplied by multiply()");
  const DType type = promote(given_a.dtype(), given_b.dtype(), "matmul");
  if (is_bool(type)) {  // whether a row and a column have a true value in the same place
    return not_equal(matmul(to(given_a, DType::kF32), to(given_b, DType::kF32)), 0);
  }
  if (given_a.rank() == 2 && given_b.rank() == 2 && given_a.dtype() == type && given_b.dtype() == type) {
    return product(given_a, given_b, given_a, given_b);
  }
  Tensor a = to(given_a, type), b = to(given_b, type);
  if (a.rank() == 1) a = a.unsqueeze(0);
  if (b.rank() == 1) b = b.unsqueeze(1);
  Tensor out = product(a, b, given_a, given_b);
  if (given_b.rank() == 1) out = out.select(-1, 0);
  if (given_a.rank() == 1) out = out.select(given_b.rank() == 1 ? -1 : -2, 0);
  return out;
}

}  // namespace viva
