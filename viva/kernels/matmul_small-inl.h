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

template <class T>
void small_product(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* c) noexcept {
  const T* x = reinterpret_cast<const T*>(a.data);
  const T* y = reinterpret_cast<const T*>(b.data);
  T* out = static_cast<T*>(c);
  for (int64_t i = 0; i < m; ++i, out += n) {
    const T* row = x + i * a.row_stride;
    if (n == 1) {
      T s = 0;
      for (int64_t p = 0; p < k; ++p)
        s = static_cast<T>(s + product_of(row[p * a.col_stride], y[p * b.row_stride]));
      out[0] = s;
      continue;
    }
    std::fill_n(out, n, T(0));
    for (int64_t p = 0; p < k; ++p) {
      const T v = row[p * a.col_stride];
      const T* from = y + p * b.row_stride;
      if (b.col_stride == 1) {
#pragma GCC ivdep
        for (int64_t j = 0; j < n; ++j) out[j] = static_cast<T>(out[j] + product_of(v, from[j]));
      } else {
        for (int64_t j = 0; j < n; ++j)
          out[j] = static_cast<T>(out[j] + product_of(v, from[j * b.col_stride]));
      }
    }
  }
}

template <class T>
void add_to(const void* from, void* to, int64_t n) noexcept {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(y[i] + x[i]);
}
