// e^x that the compiler can make vectors of; included inside a namespace of each SIMD target. Cody and Waite's reduction to
// |r| <= ln(2) / 2, a polynomial, and two multiplications by powers of two, so that small results lose no bits before they
// must. F32 is within 1.1 ulp, f64 within 1 ulp (tests/reduce_test.cpp).

// 2^n for n inside of the exponent's range.
VIVA_F float power_of_two(int32_t n) { return std::bit_cast<float>((n + 127) << 23); }
VIVA_F double power_of_two(int64_t n) { return std::bit_cast<double>((n + 1023) << 52); }

VIVA_F float exp_of(float x) {
  // Beyond these the result is infinite or 0 in any case; NaN passes both comparisons.
  const float y = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
  const float n = std::nearbyint(y * 1.44269504088896341f);
  const float r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;  // Cephes' coefficients (Moshier)
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // Of NaN any power will do.
  const int32_t k = static_cast<int32_t>(y == y ? n : 0.0f), half = k >> 1;
  return p * power_of_two(half) * power_of_two(k - half);
}

VIVA_F double exp_of(double x) { return std::exp(x); }
