// Loops over the rows of one plane, for every SIMD target: depthwise convolution and pooling.
#include <algorithm>
#include <limits>

#include "viva/kernels/conv.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "viva/kernels/conv_planes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#pragma GCC diagnostic ignored "-Wunknown-pragmas"  // clang does not know ivdep

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

// The places i of [0, n) for which 0 <= i * step + at < size.
struct Range {
  int64_t begin, end;
};
inline Range inside(int64_t n, int64_t step, int64_t at, int64_t size) {
  const auto over = [step](int64_t v) { return step == 1 ? v : v / step; };  // a division takes as long as several taps
  const int64_t begin = at >= 0 ? 0 : over(-at + step - 1), end = at >= size ? 0 : over(size - 1 - at) + 1;
  return {std::min(begin, n), std::clamp(end, std::min(begin, n), n)};
}

template <class T, int64_t kStep>
void add_tap(const T* x, int64_t step, T w, T* y, int64_t n) {
  const int64_t s = kStep == 0 ? step : kStep;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] += w * x[i * s];
}
// Three neighbours in one pass.
template <class T, int64_t kStep>
void add_three(const T* x, int64_t step, int64_t apart, const T* w, T* y, int64_t n) {
  const int64_t s = kStep == 0 ? step : kStep;
  const T a = w[0], b = w[1], c = w[2];
  const T *p = x + apart, *q = p + apart;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) y[i] = y[i] + a * x[i * s] + b * p[i * s] + c * q[i * s];
}

// All of a window of 3 x 3 in one pass.
template <class T, int64_t kStep>
void nine_taps(const T* x, int64_t step, int64_t below, int64_t apart, const T* w, T bias, T* y, int64_t n) {
  const int64_t s = kStep == 0 ? step : kStep;
  const T *a = x, *b = x + below, *c = b + below;
  const T *a1 = a + apart, *b1 = b + apart, *c1 = c + apart, *a2 = a1 + apart, *b2 = b1 + apart, *c2 = c1 + apart;
  const T w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7], w8 = w[8];
  const auto some = [=](int64_t from, int64_t count) __attribute__((always_inline)) {
#pragma GCC ivdep
    for (int64_t i = from; i < from + count; ++i) {
      const T first = bias + w0 * a[i * s] + w1 * a1[i * s] + w2 * a2[i * s], second = w3 * b[i * s] + w4 * b1[i * s] + w5 * b2[i * s],
              third = w6 * c[i * s] + w7 * c1[i * s] + w8 * c2[i * s];
      y[i] = first + second + third;
    }
  };
  // The last whole vectors once more, rather than what is left value by value.
  constexpr int64_t kWhole = 64 / sizeof(T);
  if (n < kWhole) return some(0, n);
  for (int64_t i = 0; i + kWhole <= n; i += kWhole) some(i, kWhole);
  if (n % kWhole != 0) some(n - kWhole, kWhole);
}

// One value, of a window that is partly outside.
template <class T>
T edge(const ConvShape& s, const T* x, const T* weights, T v, int64_t row, int64_t col) {
  const Range down = inside(s.kh, s.dh, row, s.h), along = inside(s.kw, s.dw, col, s.w);
  for (int64_t i = down.begin; i < down.end; ++i) {
    const T *w = weights + i * s.kw, *line = x + (row + i * s.dh) * s.w + col;
    for (int64_t j = along.begin; j < along.end; ++j) v += w[j] * line[j * s.dw];
  }
  return v;
}

template <class T, int64_t kStep>
void depthwise_rows(const ConvShape& s, const T* x, const T* weights, T bias, T* y) {
  // Results whose windows are between the left and the right side.
  const Range first = inside(s.ow, s.sw, -s.left, s.w), last = inside(s.ow, s.sw, (s.kw - 1) * s.dw - s.left, s.w);
  const int64_t begin = std::min(std::max(first.begin, last.begin), s.ow), end = std::max(begin, std::min(first.end, last.end));
  for (int64_t r = 0; r < s.oh; ++r, y += s.ow) {
    const int64_t row = r * s.sh - s.top, from = begin * s.sw - s.left;
    for (int64_t k = 0; k < begin; ++k) y[k] = edge(s, x, weights, bias, row, k * s.sw - s.left);
    for (int64_t k = end; k < s.ow; ++k) y[k] = edge(s, x, weights, bias, row, k * s.sw - s.left);
    if (begin >= end) continue;
    T* to = y + begin;
    const int64_t n = end - begin;
    if (s.kh == 3 && s.kw == 3 && row >= 0 && row + 2 * s.dh < s.h) {
      nine_taps<T, kStep>(x + row * s.w + from, s.sw, s.dh * s.w, s.dw, weights, bias, to, n);
      continue;
    }
    std::fill_n(to, n, bias);
    for (int64_t i = 0; i < s.kh; ++i) {
      const int64_t at = row + i * s.dh;
      if (at < 0 || at >= s.h) continue;
      const T *line = x + at * s.w + from, *w = weights + i * s.kw;
      int64_t j = 0;
      for (; j + 2 < s.kw; j += 3) add_three<T, kStep>(line + j * s.dw, s.sw, s.dw, w + j, to, n);
      for (; j < s.kw; ++j) add_tap<T, kStep>(line + j * s.dw, s.sw, w[j], to, n);
    }
  }
}

template <class T>
void depthwise(const ConvShape& s, const void* x, const void* weights, const void* bias, void* y) noexcept {
  const T b = bias == nullptr ? T(0) : *static_cast<const T*>(bias);
  const auto rows = s.sw == 1 ? &depthwise_rows<T, 1> : s.sw == 2 ? &depthwise_rows<T, 2> : &depthwise_rows<T, 0>;
  rows(s, static_cast<const T*>(x), static_cast<const T*>(weights), b, static_cast<T*>(y));
}

// NaN is the greatest, as everywhere.
template <class T>
inline T greater(T a, T b) {
  return (b > a) | (b != b) ? b : a;
}
template <class T, bool kMax>
inline T join(T a, T b) {
  return kMax ? greater(a, b) : a + b;
}
template <class T, bool kMax>
constexpr T none() {
  return kMax ? -std::numeric_limits<T>::infinity() : T(0);
}

// line = the rows [begin, end) in steps, value by value.
template <class T, bool kMax>
void join_rows(const T* x, int64_t width, int64_t begin, int64_t end, int64_t step, T* line) {
  if (begin >= end) return static_cast<void>(std::fill_n(line, width, none<T, kMax>()));
  std::copy_n(x + begin * width, width, line);
  for (int64_t r = begin + step; r < end; r += step) {
    const T* from = x + r * width;
#pragma GCC ivdep
    for (int64_t i = 0; i < width; ++i) line[i] = join<T, kMax>(line[i], from[i]);
  }
}

template <class T, bool kMax, int64_t kStep>
void slide(const ConvShape& s, const T* line, T* y) {
  const int64_t step = kStep == 0 ? s.sw : kStep;
  // Where the whole window is inside in vectors.
  const Range first = inside(s.ow, step, -s.left, s.w), last = inside(s.ow, step, (s.kw - 1) * s.dw - s.left, s.w);
  const int64_t begin = std::max(first.begin, last.begin), end = std::max(begin, std::min(first.end, last.end));
  const auto one = [&](int64_t k) {
    T v = none<T, kMax>();
    const int64_t at = k * step - s.left;
    for (int64_t j = 0; j < s.kw; ++j) {
      const int64_t i = at + j * s.dw;
      if (i >= 0 && i < s.w) v = join<T, kMax>(v, line[i]);
    }
    y[k] = v;
  };
  for (int64_t k = 0; k < begin; ++k) one(k);
  for (int64_t k = end; k < s.ow; ++k) one(k);
  const T* from = line + begin * step - s.left;
  T* to = y + begin;
  const int64_t n = end - begin;
  if (n <= 0) return;
  if (s.kw == 2) {
    const T* p = from + s.dw;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) to[i] = join<T, kMax>(from[i * step], p[i * step]);
  } else if (s.kw == 3) {
    const T *p = from + s.dw, *q = p + s.dw;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) to[i] = join<T, kMax>(join<T, kMax>(from[i * step], p[i * step]), q[i * step]);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
    for (int64_t j = 1; j < s.kw; ++j) {
      const T* p = from + j * s.dw;
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) to[i] = join<T, kMax>(to[i], p[i * step]);
    }
  }
}

template <class T, bool kMax>
void pool_rows(Pool kind, const ConvShape& s, const T* x, T* line, T* y) {
  const auto along = s.sw == 1 ? &slide<T, kMax, 1> : s.sw == 2 ? &slide<T, kMax, 2> : &slide<T, kMax, 0>;
  for (int64_t r = 0; r < s.oh; ++r, y += s.ow) {
    const int64_t at = r * s.sh - s.top;
    const int64_t skipped = at >= 0 ? 0 : (-at + s.dh - 1) / s.dh;
    const int64_t begin = at + skipped * s.dh, end = std::min(s.h, at + (s.kh - 1) * s.dh + 1);
    join_rows<T, kMax>(x, s.w, begin, end, s.dh, line);
    along(s, line, y);
    if (kMax) continue;
    // What counts lies in x, or in x with its padding, of which a last window may be partly outside.
    const bool padded = kind == Pool::kAverage;
    const auto counted = [padded](int64_t start, int64_t kernel, int64_t size, int64_t before, int64_t after) {
      return std::min(start + kernel, size + (padded ? after : 0)) - std::max(start, padded ? -before : 0);
    };
    const int64_t rows = counted(at, s.kh, s.h, s.top, s.bottom), room = s.w + s.left + s.right - s.kw;
    const int64_t whole = !padded || room < 0 ? 0 : std::min(s.ow, room / s.sw + 1);
    const T by = static_cast<T>(rows * s.kw);
#pragma GCC ivdep
    for (int64_t i = 0; i < whole; ++i) y[i] /= by;
    for (int64_t i = whole; i < s.ow; ++i) y[i] /= static_cast<T>(rows * counted(i * s.sw - s.left, s.kw, s.w, s.left, s.right));
  }
}

template <class T>
void pool(Pool kind, const ConvShape& s, const void* x, void* line, void* y) noexcept {
  const auto rows = kind == Pool::kMax ? &pool_rows<T, true> : &pool_rows<T, false>;
  rows(kind, s, static_cast<const T*>(x), static_cast<T*>(line), static_cast<T*>(y));
}

// Also where they are: of equal ones the first, of NaNs the last.
template <class T>
void max_places(const ConvShape& s, const void* x_, void* y_, int64_t* places) noexcept {
  const T* x = static_cast<const T*>(x_);
  T* y = static_cast<T*>(y_);
  const auto first = [](int64_t start, int64_t step) { return start >= 0 ? start : start + (-start + step - 1) / step * step; };
  for (int64_t r = 0; r < s.oh; ++r) {
    const int64_t top = r * s.sh - s.top, bottom = std::min(s.h, top + (s.kh - 1) * s.dh + 1);
    for (int64_t k = 0; k < s.ow; ++k) {
      const int64_t left = k * s.sw - s.left, right = std::min(s.w, left + (s.kw - 1) * s.dw + 1), from = first(left, s.dw);
      T best = none<T, true>();
      int64_t place = first(top, s.dh) * s.w + from;
      for (int64_t i = first(top, s.dh); i < bottom; i += s.dh) {
        for (int64_t j = from; j < right; j += s.dw) {
          const T v = x[i * s.w + j];
          if ((v > best) | (v != v)) best = v, place = i * s.w + j;
        }
      }
      *y++ = best;
      *places++ = place;
    }
  }
}

template <class T, bool kMax>
void adaptive_rows(const ConvShape& s, const T* x, T* line, T* y) {
  // floor(i size / n) and ceil((i + 1) size / n) of n below 2^31, without overflow.
  const auto start = [](int64_t i, int64_t size, int64_t n) { return size / n * i + size % n * i / n; };
  const auto stop = [](int64_t i, int64_t size, int64_t n) { return size / n * (i + 1) + (size % n * (i + 1) + n - 1) / n; };
  for (int64_t r = 0; r < s.oh; ++r) {
    const int64_t top = start(r, s.h, s.oh), bottom = stop(r, s.h, s.oh);
    join_rows<T, kMax>(x, s.w, top, bottom, 1, line);
    for (int64_t k = 0; k < s.ow; ++k) {
      const int64_t left = start(k, s.w, s.ow), right = stop(k, s.w, s.ow);
      T v = line[left];
      for (int64_t i = left + 1; i < right; ++i) v = join<T, kMax>(v, line[i]);
      *y++ = kMax ? v : v / static_cast<T>((bottom - top) * (right - left));
    }
  }
}

template <class T>
void adaptive(bool max, const ConvShape& s, const void* x, void* line, void* y) noexcept {
  const auto rows = max ? &adaptive_rows<T, true> : &adaptive_rows<T, false>;
  rows(s, static_cast<const T*>(x), static_cast<T*>(line), static_cast<T*>(y));
}

template <class T>
constexpr PlaneCode kCode = {&depthwise<T>, &pool<T>, &max_places<T>, &adaptive<T>};

}  // namespace

static const PlaneCode& code_for(bool wide) noexcept { return wide ? kCode<double> : kCode<float>; }

}  // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "viva/kernels/choose-inl.h"
namespace viva::kernels {
const PlaneCode& plane_code(DType dtype, Target target) noexcept { return VIVA_CHOOSE(target, code_for)(dtype == DType::kF64); }
}  // namespace viva::kernels
#endif
