// Products of floats on one thread: panels, OpenBLAS where there are none, and loops for what is too small for either.
#include <algorithm>
#include <complex>
#include <type_traits>

#include "viva/base/element.h"
#include "viva/kernels/lapack.h"
#include "viva/kernels/panels.h"

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

namespace viva::kernels {

namespace {

#define VIVA_SMALL_INLINE inline
#include "viva/kernels/matmul_small-inl.h"

#define VIVA_BLAS(P, T)                                                                                    \
  void call_gemm(const char* ta, const char* tb, const int* m, const int* n, const int* k, const T* alpha, \
                 const T* a, const int* lda, const T* b, const int* ldb, const T* beta, T* c,              \
                 const int* ldc) noexcept {                                                                \
    P##gemm_(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, 1, 1);                                  \
  }                                                                                                        \
  void call_gemv(const char* t, const int* m, const int* n, const T* alpha, const T* a, const int* lda,    \
                 const T* x, const int* incx, const T* beta, T* y, const int* incy) noexcept {             \
    P##gemv_(t, m, n, alpha, a, lda, x, incx, beta, y, incy, 1);                                           \
  }
VIVA_BLAS(s, float)
VIVA_BLAS(d, double)
VIVA_BLAS(c, std::complex<float>)
VIVA_BLAS(z, std::complex<double>)
#undef VIVA_BLAS

// y (rows) = the matrix (rows, cols) times x. BLAS sees the matrix by columns: what lies by rows is its
// transpose.
template <class T>
void times_vector(int rows, int cols, Block matrix, const T* x, int incx, bool accumulate, T* y,
                  int incy) noexcept {
  const T one = 1, beta = accumulate ? T(1) : T(0);
  const int ld = static_cast<int>(matrix.ld);
  const char trans = matrix.trans == 'N' ? 'T' : 'N';
  const int m = trans == 'T' ? cols : rows, n = trans == 'T' ? rows : cols;
  call_gemv(&trans, &m, &n, &one, static_cast<const T*>(matrix.data), &ld, x, &incx, &beta, y, &incy);
}

// By the loops of viva where they can, whose bits are the same everywhere.
template <class T>
bool by_vector(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c, int64_t ldc, Target target) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    const bool dense = n == 1 ? b.ld == 1 : m == 1 && (a.ld == 1 || a.trans == 'N');
    if (dense) matrix_times_vector(dtype_of<T>, target)(m, n, k, a, b, accumulate, c, ldc);
    return dense;
  }
  return false;
}

template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c, int64_t ldc) noexcept {
  if (by_vector<T>(m, n, k, a, b, accumulate, c, ldc, Target::kScalar)) return;
  const int im = static_cast<int>(m), in = static_cast<int>(n), ik = static_cast<int>(k),
            lda = static_cast<int>(a.ld), ldb = static_cast<int>(b.ld);
  T* out = static_cast<T*>(c);
  const BlasCall call;
  if (n == 1) {
    times_vector<T>(im, ik, a, static_cast<const T*>(b.data), b.trans == 'N' ? ldb : 1, accumulate, out,
                    static_cast<int>(ldc));
  } else if (m == 1) {
    const Block turned{b.data, b.trans == 'N' ? 'T' : 'N', b.ld};
    times_vector<T>(in, ik, turned, static_cast<const T*>(a.data), a.trans == 'N' ? 1 : lda, accumulate, out,
                    1);
  } else {
    const T one = 1, beta = accumulate ? T(1) : T(0);
    const int ld = static_cast<int>(ldc);
    call_gemm(&b.trans, &a.trans, &in, &im, &ik, &one, static_cast<const T*>(b.data), &ldb,
              static_cast<const T*>(a.data), &lda, &beta, out, &ld);
  }
}

// By panels, where the target has FMA.
template <class T, Target kTarget>
void gemm_of_panels(int64_t m, int64_t n, int64_t k, Block a, Block b, bool accumulate, void* c, int64_t ldc) noexcept {
  constexpr DType kType = dtype_of<T>;
  if (n == 1 || m == 1) {
    if (by_vector<T>(m, n, k, a, b, accumulate, c, ldc, kTarget)) return;
  } else if (multiply_blocks(*float_panels(kType, kTarget), kType, kTarget, m, n, k, a, b, accumulate, c, ldc)) {
    return;
  }
  gemm<T>(m, n, k, a, b, accumulate, c, ldc);
}

template <class T>
constexpr ProductCode kCode = {&gemm<T>, &small_product<T>, &add_to<T>, 512};
template <class T, Target kTarget>
constexpr ProductCode kPanelCode = {&gemm_of_panels<T, kTarget>, &small_product<T>, &add_to<T>, 512};

template <class T>
const ProductCode& real_product(Target target) noexcept {
  if (float_panels(dtype_of<T>, target) == nullptr) return kCode<T>;
  return target == Target::kAvx3 ? kPanelCode<T, Target::kAvx3> : kPanelCode<T, Target::kAvx2>;
}

}  // namespace

const ProductCode& float_product(DType compute, Target target) noexcept {
  switch (compute) {
    case DType::kF64:
      return real_product<double>(target);
    case DType::kC64:
      return kCode<std::complex<float>>;
    case DType::kC128:
      return kCode<std::complex<double>>;
    default:
      return real_product<float>(target);
  }
}

}  // namespace viva::kernels
