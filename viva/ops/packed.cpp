#include "viva/ops/packed.h"

#include <fmt/format.h>

#include <algorithm>

#include "viva/kernels/matmul.h"
#include "viva/kernels/values.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

constexpr int64_t kPanelValues = 64 * 1024;  // that are taken together: they stay in the nearer caches

// f(first, rows, values, work) for runs of whole rows on all threads, with room for the rows as f32 and for the format's work.
template <class F>
void each_panel(const Packed& p, F f) {
  if (p.rows() == 0) return;
  const int64_t unit = p.format().row_panel, wanted = std::max<int64_t>(1, kPanelValues / std::max<int64_t>(1, p.cols()));
  const int64_t rows = (wanted + unit - 1) / unit * unit, panels = (p.rows() + rows - 1) / rows;
  const FormatCode& code = p.format().on(p.machine().target());
  const int64_t scratch = static_cast<int64_t>(code.scratch(static_cast<size_t>(p.cols()), p.coding()));
  p.machine().parallel_for(static_cast<size_t>(panels), [&](size_t i) {
    const int64_t first = static_cast<int64_t>(i) * rows, n = std::min(rows, p.rows() - first);
    const Tensor values(p.machine(), {n, p.cols()}, DType::kF32), work(p.machine(), {scratch}, DType::kF32);
    f(first, n, values.data<float>(), work.data<float>());
  });
}

}  // namespace

Packed pack(const Tensor& x, std::string_view format, Encoder encoder) {
  check_defined(x, "pack");
  std::optional<FormatChoice> choice = parse_format(format);
  if (!choice) throw Error(Code::kUsage, "pack", fmt::format("no format is called \"{}\"", format), "`viva formats` lists them");
  if (x.rank() != 2 || !is_real_float(x.dtype())) {
    throw Error(Code::kUsage, "pack", fmt::format("{} values of shape {}", name(x.dtype()), text(x.shape())), "a matrix of floats");
  }
  choice->coding.encoder = encoder;
  choice->coding.arithmetic = x.dtype() == DType::kF64 ? DType::kF32 : x.dtype();
  const Tensor in = contiguous(x);
  Packed out(x.machine(), *choice, x.shape()[0], x.shape()[1]);
  const FormatCode& code = out.format().on(x.machine().target());
  const size_t cols = static_cast<size_t>(out.cols()), width = bytes(x.dtype());
  const auto widened = [&](int64_t first, int64_t rows, float* values) {
    const size_t n = static_cast<size_t>(rows) * cols, at = static_cast<size_t>(first) * cols;
    kernels::widen(in.dtype(), in.raw() + at * width, n, values, x.machine().target());
    const size_t odd = kernels::first_nonfinite(values, n, x.machine().target());
    if (odd != n) {
      throw Error(Code::kBadInput, "pack", fmt::format("the value at ({}, {}) is {}", (at + odd) / cols, (at + odd) % cols, values[odd]), "finite values");
    }
  };
  if (out.format().share != nullptr) {
    const int64_t rows = std::max<int64_t>(1, kPanelValues / std::max<int64_t>(1, out.cols()));
    std::vector<Observed> seen(static_cast<size_t>((out.rows() + rows - 1) / rows));
    x.machine().parallel_for(seen.size(), [&](size_t i) {
      const int64_t first = static_cast<int64_t>(i) * rows, n = std::min(rows, out.rows() - first);
      const Tensor values(x.machine(), {n, out.cols()}, DType::kF32);
      widened(first, n, values.data<float>());
      code.observe(values.data<float>(), static_cast<size_t>(n), cols, out.coding(), seen[i]);
    });
    Observed all;
    for (const Observed& o : seen) all.merge(o);
    out = out.with(out.format().share(all, out.coding()));
  }
  each_panel(out, [&](int64_t first, int64_t rows, float* values, float* work) {
    widened(first, rows, values);
    code.encode(values, static_cast<size_t>(rows), cols, out.coding(), out.row(first), work);
  });
  return out;
}

Tensor unpack(const Packed& p, DType dtype) {
  if (!p.defined()) throw Error(Code::kUsage, "unpack", "nothing is packed here");
  const Tensor out(p.machine(), {p.rows(), p.cols()}, DType::kF32);
  const FormatCode& code = p.format().on(p.machine().target());
  each_panel(p, [&](int64_t first, int64_t rows, float*, float* work) {
    code.decode(p.row(first), static_cast<size_t>(rows), static_cast<size_t>(p.cols()), p.coding(), out.data<float>() + first * p.cols(), work);
  });
  return to(out, dtype);
}

Tensor linear(const Tensor& x, const Packed& w) {
  check_defined(x, "linear");
  if (!w.defined()) throw Error(Code::kUsage, "linear", "nothing is packed here");
  if (x.rank() == 0 || x.shape().back() != w.cols() || !is_real_float(x.dtype())) {
    throw Error(Code::kUsage, "linear", fmt::format("{} values of shape {} with packed ({}, {})", name(x.dtype()), text(x.shape()), w.rows(), w.cols()),
                "floats whose last axis is as long as the rows");
  }
  const Tensor in = contiguous(to(x, DType::kF32));
  Shape shape = x.shape();
  shape[shape.size() - 1] = w.rows();
  const Tensor out(x.machine(), shape, DType::kF32);
  const int64_t k = w.cols(), m = k == 0 ? 0 : in.count() / k;
  if (k == 0) return zeros(x.machine(), shape, x.dtype());
  const FormatCode& code = w.format().on(w.machine().target());
  const kernels::Gemm gemm = kernels::float_product(DType::kF32, w.machine().target()).gemm;
  each_panel(w, [&](int64_t first, int64_t rows, float* values, float* work) {
    if (m == 0) return;
    code.decode(w.row(first), static_cast<size_t>(rows), static_cast<size_t>(k), w.coding(), values, work);
    gemm(m, rows, k, {in.raw(), 'N', k}, {values, 'T', k}, false, out.data<float>() + first, w.rows());
  });
  return to(out, x.dtype());
}

}  // namespace viva
