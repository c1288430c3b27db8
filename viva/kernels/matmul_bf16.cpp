// Products of bf16 matrices by the instructions that some processors have for them: AMX, or through oneDNN.
#include <oneapi/dnnl/dnnl.hpp>

#include "viva/base/element.h"
#include "viva/kernels/onednn.h"
#include "viva/kernels/panels.h"

namespace viva::kernels {

namespace {

using dnnl::memory;

memory::desc layout(int64_t rows, int64_t cols, Block x) {
  return {
      {rows, cols}, memory::data_type::bf16, x.trans == 'N' ? memory::dims{x.ld, 1} : memory::dims{1, x.ld}};
}

// Version 2 of the library has a description of its own in between.
template <class Matmul>
auto described(const dnnl::engine& engine, const memory::desc& a, const memory::desc& b,
               const memory::desc& c, const dnnl::primitive_attr& attr) {
  if constexpr (requires { typename Matmul::desc; }) {
    return typename Matmul::primitive_desc(typename Matmul::desc(a, b, c), attr, engine);
  } else {
    return typename Matmul::primitive_desc(engine, a, b, c, attr);
  }
}

// What is left where oneDNN refuses, as for want of memory.
void plain(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, float* c,
           int64_t ldc) noexcept {
  const BF16 *x = static_cast<const BF16*>(a.data), *y = static_cast<const BF16*>(b.data);
  const int64_t ar = a.trans == 'N' ? a.ld : 1, ac = a.trans == 'N' ? 1 : a.ld,
                br = b.trans == 'N' ? b.ld : 1, bc = b.trans == 'N' ? 1 : b.ld;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      float s = accumulate ? c[i * ldc + j] : 0;
      for (int64_t p = 0; p < k; ++p)
        s += static_cast<float>(x[i * ar + p * ac]) * static_cast<float>(y[p * br + j * bc]);
      c[i * ldc + j] = s;
    }
  }
}

}  // namespace

void bf16_product(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c,
                  int64_t ldc) noexcept {
  const PanelCode* tiles = bf16_tiles(Target::kAvx3);
  if (tiles != nullptr && multiply_blocks(*tiles, DType::kBF16, Target::kAvx3, m, n, k, a, b, accumulate, c, ldc)) return;
  try {
    const DnnlCall call;
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::primitive_attr attr;
    if (accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attr.set_post_ops(sum);
    }
    const memory::desc da = layout(m, k, a), db = layout(k, n, b),
                       dc({m, n}, memory::data_type::f32, memory::dims{ldc, 1});
    const dnnl::matmul product(
        described<dnnl::matmul>(engine, da, db, dc, attr));  // oneDNN keeps what it made for a shape
    dnnl::stream stream(engine);
    product.execute(stream, {{DNNL_ARG_SRC, memory(da, engine, const_cast<void*>(a.data))},
                             {DNNL_ARG_WEIGHTS, memory(db, engine, const_cast<void*>(b.data))},
                             {DNNL_ARG_DST, memory(dc, engine, c)}});
    stream.wait();
  } catch (...) {
    plain(m, n, k, a, b, accumulate, static_cast<float*>(c), ldc);
  }
}

// By a rule, not by a measurement, so that the same machine always gives the same bits: a processor that
// multiplies pairs of bf16 (all that have AMX do) is at least twice as fast so as in f32; all others must
// widen them, which OpenBLAS does best.
bool bf16_product_is_fast(Target target) noexcept {
#if defined(__x86_64__)
  return target == Target::kAvx3 && __builtin_cpu_supports("avx512bf16");
#else
  return static_cast<void>(target), false;
#endif
}

}  // namespace viva::kernels
