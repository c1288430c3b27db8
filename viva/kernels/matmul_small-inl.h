// The small products of one arithmetic, as loops that the compiler makes vectors of.

template <class T>
VIVA_SMALL_INLINE T product_of(T a, T b) noexcept {
  if constexpr (std::is_integral_v<T> && sizeof(T) < 4) {
    return static_cast<T>(static_cast<uint32_t>(a) * b);
  } else if constexpr (std::is_arithmetic_v<T>) {
    return a * b;
  } else {  // without the detour of std::complex where both parts are NaN
    return T(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
  }
}

// kCols columns of the result from their first on, in registers.
template <int kCols, bool kRun, class T>
VIVA_SMALL_INLINE void small_columns(int64_t m, int64_t n, int64_t k, const Matrices& a, const T* b,
                                     const Matrices& of_b, T* out) noexcept {
  const int64_t next = kRun ? 1 : of_b.col_stride;
  for (int64_t i = 0; i < m; ++i, out += n) {
    const T* v = reinterpret_cast<const T*>(a.data) + i * a.row_stride;
    const T* from = b;
    T sum[kCols] = {};
    for (int64_t p = 0; p < k; ++p, v += a.col_stride, from += of_b.row_stride) {
      for (int j = 0; j < kCols; ++j) sum[j] = static_cast<T>(sum[j] + product_of(*v, from[j * next]));
    }
    for (int j = 0; j < kCols; ++j) out[j] = sum[j];
  }
}

template <bool kRun, class T>
void small_of(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* c) noexcept {
  const T* y = reinterpret_cast<const T*>(b.data);
  T* out = static_cast<T*>(c);
  int64_t j = 0;
  for (; j + 8 <= n; j += 8) small_columns<8, kRun>(m, n, k, a, y + j * b.col_stride, b, out + j);
  if (j + 4 <= n) {
    small_columns<4, kRun>(m, n, k, a, y + j * b.col_stride, b, out + j);
    j += 4;
  }
  for (; j < n; ++j) small_columns<1, kRun>(m, n, k, a, y + j * b.col_stride, b, out + j);
}

template <class T>
void small_product(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* c) noexcept {
  b.col_stride == 1 ? small_of<true, T>(m, n, k, a, b, c) : small_of<false, T>(m, n, k, a, b, c);
}

template <class T>
void add_to(const void* from, void* to, int64_t n) noexcept {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(y[i] + x[i]);
}
