#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>

// BLAS and LAPACK of OpenBLAS (integers of 32 bits, matrices by columns), as the Fortran compiler names them:
// only the routines that viva calls. The sizes at the end are the lengths of the texts.
extern "C" {
int openblas_get_parallel(void);
void openblas_set_num_threads(int threads);

#define VIVA_BLAS(P, T)                                                                                      \
  void P##gemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,            \
                const T* alpha, const T* a, const int* lda, const T* b, const int* ldb, const T* beta, T* c, \
                const int* ldc, size_t, size_t);                                                             \
  void P##gemv_(const char* trans, const int* m, const int* n, const T* alpha, const T* a, const int* lda,   \
                const T* x, const int* incx, const T* beta, T* y, const int* incy, size_t);                  \
  void P##getrf_(const int* m, const int* n, T* a, const int* lda, int* pivots, int* info);                  \
  void P##getrs_(const char* trans, const int* n, const int* nrhs, const T* a, const int* lda,               \
                 const int* pivots, T* b, const int* ldb, int* info, size_t);                                \
  void P##potrf_(const char* uplo, const int* n, T* a, const int* lda, int* info, size_t);                   \
  void P##geqrf_(const int* m, const int* n, T* a, const int* lda, T* tau, T* work, const int* lwork,        \
                 int* info);
VIVA_BLAS(s, float)
VIVA_BLAS(d, double)
VIVA_BLAS(c, std::complex<float>)
VIVA_BLAS(z, std::complex<double>)
#undef VIVA_BLAS

#define VIVA_LAPACK_REAL(P, T)                                                                             \
  void P##orgqr_(const int* m, const int* n, const int* k, T* a, const int* lda, const T* tau, T* work,    \
                 const int* lwork, int* info);                                                             \
  void P##gesdd_(const char* jobz, const int* m, const int* n, T* a, const int* lda, T* s, T* u,           \
                 const int* ldu, T* vt, const int* ldvt, T* work, const int* lwork, int* iwork, int* info, \
                 size_t);                                                                                  \
  void P##syevd_(const char* jobz, const char* uplo, const int* n, T* a, const int* lda, T* w, T* work,    \
                 const int* lwork, int* iwork, const int* liwork, int* info, size_t, size_t);              \
  void P##geev_(const char* jobvl, const char* jobvr, const int* n, T* a, const int* lda, T* wr, T* wi,    \
                T* vl, const int* ldvl, T* vr, const int* ldvr, T* work, const int* lwork, int* info,      \
                size_t, size_t);                                                                           \
  void P##gelsd_(const int* m, const int* n, const int* nrhs, T* a, const int* lda, T* b, const int* ldb,  \
                 T* s, const T* rcond, int* rank, T* work, const int* lwork, int* iwork, int* info);
VIVA_LAPACK_REAL(s, float)
VIVA_LAPACK_REAL(d, double)
#undef VIVA_LAPACK_REAL

#define VIVA_LAPACK_COMPLEX(P, R, T)                                                                      \
  void P##ungqr_(const int* m, const int* n, const int* k, T* a, const int* lda, const T* tau, T* work,   \
                 const int* lwork, int* info);                                                            \
  void P##gesdd_(const char* jobz, const int* m, const int* n, T* a, const int* lda, R* s, T* u,          \
                 const int* ldu, T* vt, const int* ldvt, T* work, const int* lwork, R* rwork, int* iwork, \
                 int* info, size_t);                                                                      \
  void P##heevd_(const char* jobz, const char* uplo, const int* n, T* a, const int* lda, R* w, T* work,   \
                 const int* lwork, R* rwork, const int* lrwork, int* iwork, const int* liwork, int* info, \
                 size_t, size_t);                                                                         \
  void P##geev_(const char* jobvl, const char* jobvr, const int* n, T* a, const int* lda, T* w, T* vl,    \
                const int* ldvl, T* vr, const int* ldvr, T* work, const int* lwork, R* rwork, int* info,  \
                size_t, size_t);                                                                          \
  void P##gelsd_(const int* m, const int* n, const int* nrhs, T* a, const int* lda, T* b, const int* ldb, \
                 R* s, const R* rcond, int* rank, T* work, const int* lwork, R* rwork, int* iwork,        \
                 int* info);
VIVA_LAPACK_COMPLEX(c, float, std::complex<float>)
VIVA_LAPACK_COMPLEX(z, double, std::complex<double>)
#undef VIVA_LAPACK_COMPLEX
}

namespace viva::kernels {

// Held by a thread while it calls OpenBLAS, which then computes on this thread alone: the pool of the Machine
// is the parallelism. Not held across anything that may run other tasks.
class BlasCall {
 public:
  BlasCall() noexcept;
  ~BlasCall();
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;

 private:
  bool turn_;
};

}  // namespace viva::kernels
