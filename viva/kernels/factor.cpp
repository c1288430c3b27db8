#include "viva/kernels/factor.h"

#include <fmt/format.h>

#include <algorithm>
#include <complex>
#include <cstring>

#include "viva/base/element.h"
#include "viva/base/error.h"
#include "viva/kernels/lapack.h"
#include "viva/machine/buffer.h"

namespace viva::kernels {

namespace {

template <class T>
struct RealOf {
  using Type = T;
};
template <class T>
struct RealOf<std::complex<T>> {
  using Type = T;
};
template <class T>
using Real = typename RealOf<T>::Type;
template <class T>
constexpr bool kComplex = !std::is_same_v<T, Real<T>>;

// The routine of the type: VIVA_ROUTINE(T, getrf) is sgetrf_ for f32. Where real and complex ones have other
// names or arguments the caller branches.
#define VIVA_ROUTINE(T, NAME)                                  \
  [] {                                                         \
    if constexpr (std::is_same_v<T, float>)                    \
      return &s##NAME##_;                                      \
    else if constexpr (std::is_same_v<T, double>)              \
      return &d##NAME##_;                                      \
    else if constexpr (std::is_same_v<T, std::complex<float>>) \
      return &c##NAME##_;                                      \
    else                                                       \
      return &z##NAME##_;                                      \
  }()
#define VIVA_REAL_ROUTINE(T, NAME)          \
  [] {                                      \
    if constexpr (std::is_same_v<T, float>) \
      return &s##NAME##_;                   \
    else                                    \
      return &d##NAME##_;                   \
  }()
#define VIVA_COMPLEX_ROUTINE(T, NAME)                     \
  [] {                                                    \
    if constexpr (std::is_same_v<T, std::complex<float>>) \
      return &c##NAME##_;                                 \
    else                                                  \
      return &z##NAME##_;                                 \
  }()

template <class F>
void with_float(DType t, F f) {
  switch (t) {
    case DType::kF32:
      return f(float{});
    case DType::kF64:
      return f(double{});
    case DType::kC64:
      return f(std::complex<float>{});
    default:
      return f(std::complex<double>{});
  }
}

// Calls f(i, scratch) for each matrix, on all threads where there are several; `bytes` of scratch for each
// thread's stretch.
template <class F>
void for_each(const Machine& machine, int64_t count, double work, uint64_t bytes, F f) {
  const double together = std::clamp(1e5 / std::max(work, 1.0), 1.0, static_cast<double>(count));
  const int64_t stretch = static_cast<int64_t>(together), tasks = (count + stretch - 1) / stretch;
  const auto task = [&](size_t k) {
    BufferPtr scratch;
    if (bytes != 0) scratch = BufferPtr::allocate(machine, bytes);
    const int64_t first = static_cast<int64_t>(k) * stretch, end = std::min(count, first + stretch);
    for (int64_t i = first; i < end; ++i) {
      const BlasCall call;
      f(i, scratch ? scratch->data() : nullptr);
    }
  };
  if (tasks == 1) {
    task(0);
  } else {
    machine.parallel_for(static_cast<size_t>(tasks), task);
  }
}

// The answer of a query: its unit is a float, which may have rounded down.
template <class T>
int work_size(T answer, std::string_view operation) {
  const double n = std::ceil(static_cast<double>(std::real(answer)) * (1 + 0x1p-22)) + 1;
  if (!(n > 0 && n < static_cast<double>(INT32_MAX))) {
    throw Error(Code::kUsage, operation, "the matrices are too large for LAPACK with integers of 32 bits");
  }
  return static_cast<int>(n);
}

double cube(int64_t n) { return static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n); }

// Pieces of one block of scratch, each on a boundary of 64 bytes.
struct Pieces {
  uint64_t bytes = 0;
  template <class T>
  uint64_t add(int64_t n) {
    const uint64_t at = bytes;
    bytes += (static_cast<uint64_t>(n) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
};

}  // namespace

void lu(const Machine& machine, DType dtype, int64_t count, int64_t n, void* a, int32_t* pivots, Info& info) {
  info.assign(static_cast<size_t>(count), 0);
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each(machine, count, cube(n), 0, [&](int64_t i, uint8_t*) {
      const int size = static_cast<int>(n);
      VIVA_ROUTINE(T, getrf)
      (&size, &size, static_cast<T*>(a) + i * n * n, &size, pivots + i * n, &info[static_cast<size_t>(i)]);
    });
  });
}

void lu_solve(const Machine& machine, DType dtype, int64_t count, int64_t n, int64_t columns, const void* a,
              const int32_t* pivots, void* b) {
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each(machine, count, static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(columns),
             0, [&](int64_t i, uint8_t*) {
               const int size = static_cast<int>(n), right = static_cast<int>(columns);
               int unused = 0;
               VIVA_ROUTINE(T, getrs)
               ("N", &size, &right, static_cast<const T*>(a) + i * n * n, &size, pivots + i * n,
                static_cast<T*>(b) + i * n * columns, &size, &unused, 1);
             });
  });
}

void cholesky(const Machine& machine, DType dtype, int64_t count, int64_t n, bool upper, void* a,
              Info& info) {
  info.assign(static_cast<size_t>(count), 0);
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each(machine, count, cube(n), 0, [&](int64_t i, uint8_t*) {
      const int size = static_cast<int>(n);
      T* x = static_cast<T*>(a) + i * n * n;
      VIVA_ROUTINE(T, potrf)(upper ? "U" : "L", &size, x, &size, &info[static_cast<size_t>(i)], 1);
      for (int64_t c = 0; c < n; ++c) {
        upper ? std::fill(x + c * n + c + 1, x + (c + 1) * n, T(0))
              : std::fill(x + c * n, x + c * n + c, T(0));
      }
    });
  });
}

void qr(const Machine& machine, DType dtype, int64_t count, int64_t m, int64_t n, int64_t columns, void* a,
        void* q, void* r) {
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    const int rows = static_cast<int>(m), cols = static_cast<int>(n), wide = static_cast<int>(columns),
              least = std::min(rows, cols), ask = -1;
    const auto make_q = [] {
      if constexpr (kComplex<T>)
        return VIVA_COMPLEX_ROUTINE(T, ungqr);
      else
        return VIVA_REAL_ROUTINE(T, orgqr);
    }();
    T answer[2] = {}, none{};
    int unused = 0;
    VIVA_ROUTINE(T, geqrf)(&rows, &cols, &none, &rows, &none, &answer[0], &ask, &unused);
    make_q(&rows, &wide, &least, &none, &rows, &none, &answer[1], &ask, &unused);
    const int lwork = std::max(work_size(answer[0], "qr"), work_size(answer[1], "qr"));
    Pieces pieces;
    const uint64_t at_work = pieces.add<T>(lwork), at_tau = pieces.add<T>(least);
    for_each(machine, count, static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(columns),
             pieces.bytes, [&](int64_t i, uint8_t* scratch) {
               T *work = reinterpret_cast<T*>(scratch + at_work),
                 *tau = reinterpret_cast<T*>(scratch + at_tau);
               T *x = static_cast<T*>(a) + i * m * n, *y = static_cast<T*>(q) + i * m * columns,
                 *z = static_cast<T*>(r) + i * columns * n;
               int failed = 0;
               VIVA_ROUTINE(T, geqrf)(&rows, &cols, x, &rows, tau, work, &lwork, &failed);
               for (int64_t row = 0; row < columns; ++row) {
                 for (int64_t c = 0; c < n; ++c) z[row * n + c] = row <= c ? x[c * m + row] : T(0);
               }
               std::copy_n(x, m * std::min<int64_t>(least, columns), y);
               if (columns > least) std::fill(y + m * least, y + m * columns, T(0));
               make_q(&rows, &wide, &least, y, &rows, tau, work, &lwork, &failed);
             });
  });
}

void svd(const Machine& machine, DType dtype, int64_t count, int64_t m, int64_t n, char vectors, void* a,
         void* s, void* u, void* vh, Info& info) {
  info.assign(static_cast<size_t>(count), 0);
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    using R = Real<T>;
    const int64_t less = std::min(m, n), more = std::max(m, n);
    const int64_t u_cols = vectors == 'A' ? m : less, v_rows = vectors == 'A' ? n : less;
    const int rows = static_cast<int>(m), cols = static_cast<int>(n), ldv = static_cast<int>(v_rows),
              ask = -1;
    const auto call = [&](T* x, R* values, T* y, T* z, T* work, const int* lwork, R* rwork, int* iwork,
                          int* failed) {
      if constexpr (kComplex<T>) {
        VIVA_COMPLEX_ROUTINE(T, gesdd)
        (&vectors, &rows, &cols, x, &rows, values, y, &rows, z, &ldv, work, lwork, rwork, iwork, failed, 1);
      } else {
        (void)rwork;
        VIVA_REAL_ROUTINE(T, gesdd)
        (&vectors, &rows, &cols, x, &rows, values, y, &rows, z, &ldv, work, lwork, iwork, failed, 1);
      }
    };
    T answer{}, none{};
    R real{};
    int whole[8] = {}, unused = 0;
    call(&none, &real, &none, &none, &answer, &ask, &real, whole, &unused);
    const int lwork = work_size(answer, "svd");
    Pieces pieces;
    const int64_t reals =
        !kComplex<T>     ? 0
        : vectors == 'N' ? 7 * less
                         : std::max(5 * less * less + 5 * less, 2 * more * less + 2 * less * less + less);
    const uint64_t at_work = pieces.add<T>(lwork), at_reals = pieces.add<R>(reals),
                   at_ints = pieces.add<int>(8 * less);
    for_each(machine, count,
             10 * static_cast<double>(more) * static_cast<double>(less) * static_cast<double>(less),
             pieces.bytes, [&](int64_t i, uint8_t* scratch) {
               call(static_cast<T*>(a) + i * m * n, static_cast<R*>(s) + i * less,
                    u == nullptr ? nullptr : static_cast<T*>(u) + i * m * u_cols,
                    vh == nullptr ? nullptr : static_cast<T*>(vh) + i * v_rows * n,
                    reinterpret_cast<T*>(scratch + at_work), &lwork, reinterpret_cast<R*>(scratch + at_reals),
                    reinterpret_cast<int*>(scratch + at_ints), &info[static_cast<size_t>(i)]);
             });
  });
}

void eigh(const Machine& machine, DType dtype, int64_t count, int64_t n, bool vectors, void* a, void* w,
          Info& info) {
  info.assign(static_cast<size_t>(count), 0);
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    using R = Real<T>;
    const int size = static_cast<int>(n), ask = -1;
    const char job = vectors ? 'V' : 'N';
    const auto call = [&](T* x, R* values, T* work, const int* lwork, R* rwork, const int* lrwork, int* iwork,
                          const int* liwork, int* failed) {
      if constexpr (kComplex<T>) {
        VIVA_COMPLEX_ROUTINE(T, heevd)
        (&job, "L", &size, x, &size, values, work, lwork, rwork, lrwork, iwork, liwork, failed, 1, 1);
      } else {
        (void)rwork, (void)lrwork;
        VIVA_REAL_ROUTINE(T, syevd)
        (&job, "L", &size, x, &size, values, work, lwork, iwork, liwork, failed, 1, 1);
      }
    };
    T answer{}, none{};
    R reals{}, real{};
    int whole = 0, unused = 0;
    call(&none, &real, &answer, &ask, &reals, &ask, &whole, &ask, &unused);
    const int lwork = work_size(answer, "eigh"), lrwork = kComplex<T> ? work_size(reals, "eigh") : 0,
              liwork = std::max(1, whole);
    Pieces pieces;
    const uint64_t at_work = pieces.add<T>(lwork), at_reals = pieces.add<R>(lrwork),
                   at_ints = pieces.add<int>(liwork);
    for_each(machine, count, 8 * cube(n), pieces.bytes, [&](int64_t i, uint8_t* scratch) {
      call(static_cast<T*>(a) + i * n * n, static_cast<R*>(w) + i * n,
           reinterpret_cast<T*>(scratch + at_work), &lwork, reinterpret_cast<R*>(scratch + at_reals), &lrwork,
           reinterpret_cast<int*>(scratch + at_ints), &liwork, &info[static_cast<size_t>(i)]);
    });
  });
}

void eig(const Machine& machine, DType dtype, int64_t count, int64_t n, bool vectors, void* a, void* w, void* v,
         Info& info) {
  info.assign(static_cast<size_t>(count), 0);
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    using R = Real<T>;
    const int size = static_cast<int>(n), ask = -1, one = 1;
    const char job = vectors ? 'V' : 'N';
    // Real matrices: the parts of the eigenvalues go to `reals`, n and n of them; complex ones: scratch is there.
    const auto call = [&](T* x, T* values, T* right, T* work, const int* lwork, R* reals, int* failed) {
      if constexpr (kComplex<T>) {
        VIVA_COMPLEX_ROUTINE(T, geev)
        ("N", &job, &size, x, &size, values, nullptr, &one, right, &size, work, lwork, reals, failed, 1, 1);
      } else {
        (void)values;
        VIVA_REAL_ROUTINE(T, geev)
        ("N", &job, &size, x, &size, reals, reals + n, nullptr, &one, right, &size, work, lwork, failed, 1, 1);
      }
    };
    T answer{}, none{};
    int unused = 0;
    R real{};
    if constexpr (kComplex<T>) {
      call(&none, &none, &none, &answer, &ask, &real, &unused);
    } else {
      VIVA_REAL_ROUTINE(T, geev)
      ("N", &job, &size, &none, &size, &real, &real, nullptr, &one, &none, &size, &answer, &ask, &unused, 1, 1);
    }
    const int lwork = work_size(answer, "eig");
    Pieces pieces;
    const uint64_t at_work = pieces.add<T>(lwork), at_reals = pieces.add<R>(2 * n),
                   at_right = pieces.add<T>(kComplex<T> || !vectors ? 0 : n * n);
    for_each(machine, count, 25 * cube(n), pieces.bytes, [&](int64_t i, uint8_t* scratch) {
      using C = std::complex<R>;
      C *values = static_cast<C*>(w) + i * n, *columns = vectors ? static_cast<C*>(v) + i * n * n : nullptr;
      T* x = static_cast<T*>(a) + i * n * n;
      R* reals = reinterpret_cast<R*>(scratch + at_reals);
      T* work = reinterpret_cast<T*>(scratch + at_work);
      int* failed = &info[static_cast<size_t>(i)];
      if constexpr (kComplex<T>) {
        call(x, values, columns, work, &lwork, reals, failed);
      } else {
        T* right = reinterpret_cast<T*>(scratch + at_right);
        call(x, nullptr, right, work, &lwork, reals, failed);
        for (int64_t j = 0; j < n; ++j) values[j] = C(reals[j], reals[n + j]);
        // Of a conjugate pair the first column has the real parts, the second the imaginary ones.
        for (int64_t j = 0; vectors && j < n; ++j) {
          const bool pair = reals[n + j] != 0 && j + 1 < n;
          const T *re = right + j * n, *im = re + n;
          for (int64_t k = 0; k < n; ++k) {
            columns[j * n + k] = C(re[k], pair ? im[k] : R(0));
            if (pair) columns[(j + 1) * n + k] = C(re[k], -im[k]);
          }
          j += pair;
        }
      }
    });
  });
}

void least_squares(const Machine& machine, DType dtype, int64_t count, int64_t m, int64_t n, int64_t columns,
                   double rcond, void* a, void* b, void* s, int64_t* rank, Info& info) {
  info.assign(static_cast<size_t>(count), 0);
  with_float(dtype, [&](auto zero) {
    using T = decltype(zero);
    using R = Real<T>;
    const int rows = static_cast<int>(m), cols = static_cast<int>(n), right = static_cast<int>(columns),
              ldb = std::max(rows, cols), ask = -1;
    const R cut = static_cast<R>(rcond);
    const auto call = [&](T* x, T* y, R* values, int* found, T* work, const int* lwork, R* rwork, int* iwork,
                          int* failed) {
      if constexpr (kComplex<T>) {
        VIVA_COMPLEX_ROUTINE(T, gelsd)
        (&rows, &cols, &right, x, &rows, y, &ldb, values, &cut, found, work, lwork, rwork, iwork, failed);
      } else {
        (void)rwork;
        VIVA_REAL_ROUTINE(T, gelsd)
        (&rows, &cols, &right, x, &rows, y, &ldb, values, &cut, found, work, lwork, iwork, failed);
      }
    };
    T answer{}, none{};
    R reals{}, real{};
    int whole = 0, found = 0, unused = 0;
    call(&none, &none, &real, &found, &answer, &ask, &reals, &whole, &unused);
    const int lwork = work_size(answer, "lstsq"), lrwork = kComplex<T> ? work_size(reals, "lstsq") : 0,
              liwork = std::max(1, whole);
    const int64_t less = std::min(m, n), more = std::max(m, n);
    Pieces pieces;
    const uint64_t at_work = pieces.add<T>(lwork), at_reals = pieces.add<R>(lrwork),
                   at_ints = pieces.add<int>(liwork);
    for_each(machine, count,
             10 * static_cast<double>(more) * static_cast<double>(less) * static_cast<double>(less),
             pieces.bytes, [&](int64_t i, uint8_t* scratch) {
               int of_this = 0;
               call(static_cast<T*>(a) + i * m * n, static_cast<T*>(b) + i * more * columns,
                    static_cast<R*>(s) + i * less, &of_this, reinterpret_cast<T*>(scratch + at_work), &lwork,
                    reinterpret_cast<R*>(scratch + at_reals), reinterpret_cast<int*>(scratch + at_ints),
                    &info[static_cast<size_t>(i)]);
               rank[i] = of_this;
             });
  });
}

}  // namespace viva::kernels
