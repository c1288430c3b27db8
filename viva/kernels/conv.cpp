#include "viva/kernels/conv.h"

#include <algorithm>
#include <type_traits>

#include "viva/kernels/matmul.h"
#include "viva/machine/buffer.h"

namespace viva::kernels {

namespace {

constexpr int64_t kTask = 1 << 18;   // products, or values read, that are worth a task
constexpr int64_t kRoom = 1 << 17;   // values of the gathered windows of a task
constexpr int64_t kChannels = 256;   // of a task

int64_t ceil_of(int64_t a, int64_t b) { return a / b + (a % b != 0); }

// f(first, end) over `units` pieces of about `work` each.
template <class F>
void in_tasks(const Machine& machine, int64_t units, double work, const F& f) {
  const int64_t each = std::clamp(static_cast<int64_t>(std::min(1e18, kTask / std::max(1.0, work))), int64_t{1}, std::max<int64_t>(1, units));
  const auto task = [&](size_t i) {
    const int64_t first = static_cast<int64_t>(i) * each;
    f(first, std::min(units, first + each));
  };
  const size_t tasks = static_cast<size_t>(ceil_of(units, each));
  if (tasks == 1) {
    task(0);
  } else {
    machine.parallel_for(tasks, task);
  }
}

// What the window of each of [first, end) of the results reads: to (in * kh * kw, end - first). Results are counted along rows.
template <class T>
void gather_windows(const ConvShape& s, const T* x, int64_t first, int64_t end, T* to) noexcept {
  for (int64_t c = 0; c < s.in(); ++c) {
    for (int64_t i = 0; i < s.kh; ++i) {
      for (int64_t j = 0; j < s.kw; ++j) {
        for (int64_t p = first; p < end;) {
          const int64_t r = p / s.ow, k0 = p % s.ow, n = std::min(s.ow - k0, end - p);
          const int64_t row = r * s.sh + i * s.dh - s.top, at = j * s.dw - s.left;
          if (row < 0 || row >= s.h) {
            std::fill_n(to, n, T(0));
          } else {
            const T* from = x + (c * s.h + row) * s.w;
            const int64_t begin = std::clamp<int64_t>(at >= 0 ? 0 : (-at + s.sw - 1) / s.sw, k0, k0 + n),
                          stop = std::clamp<int64_t>(at >= s.w ? 0 : (s.w - 1 - at) / s.sw + 1, begin, k0 + n);
            std::fill_n(to, begin - k0, T(0));
            T* inner = to + (begin - k0);
            if (s.sw == 1) {
              std::copy_n(from + begin + at, stop - begin, inner);
            } else {
              for (int64_t k = begin; k < stop; ++k) inner[k - begin] = from[k * s.sw + at];
            }
            std::fill_n(to + (stop - k0), k0 + n - stop, T(0));
          }
          to += n;
          p += n;
        }
      }
    }
  }
}

// y += what the products of [first, end) of the inputs, (channels * kh * kw, end - first), spread.
template <class T>
void spread_windows(const ConvShape& s, const T* from, int64_t channels, int64_t first, int64_t end, T* y) noexcept {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < s.kh; ++i) {
      for (int64_t j = 0; j < s.kw; ++j) {
        for (int64_t p = first; p < end;) {
          const int64_t r = p / s.w, k0 = p % s.w, n = std::min(s.w - k0, end - p);
          const int64_t row = r * s.sh + i * s.dh - s.top, at = j * s.dw - s.left;
          if (row >= 0 && row < s.oh) {
            T* to = y + (c * s.oh + row) * s.ow;
            const int64_t begin = std::clamp<int64_t>(at >= 0 ? 0 : (-at + s.sw - 1) / s.sw, k0, k0 + n),
                          stop = std::clamp<int64_t>(at >= s.ow ? 0 : (s.ow - 1 - at) / s.sw + 1, begin, k0 + n);
            for (int64_t k = begin; k < stop; ++k) to[k * s.sw + at] += from[k - k0];
          }
          from += n;
          p += n;
        }
      }
    }
  }
}

template <class T>
void fill_bias(const T* bias, int64_t channels, int64_t plane, T* y) noexcept {
  for (int64_t c = 0; c < channels; ++c) std::fill_n(y + c * plane, plane, bias == nullptr ? T(0) : bias[c]);
}

// Products of the weights with gathered windows, in tiles of results.
template <class T>
void conv_by_products(const Machine& machine, const ConvShape& s, const T* x, const T* weights, const T* bias, T* y) {
  constexpr DType kType = std::is_same_v<T, double> ? DType::kF64 : DType::kF32;
  const Gemm gemm = float_product(kType, machine.target()).gemm;
  const int64_t plane = s.oh * s.ow, k = s.in() * s.taps();
  // The input is the matrix of windows itself where a window is one value.
  const bool as_it_is = s.taps() == 1 && s.sh == 1 && s.sw == 1 && s.oh == s.h && s.ow == s.w;
  const int64_t width = std::min(plane, as_it_is ? int64_t{1024} : std::max<int64_t>(64, kRoom / std::max<int64_t>(1, k) / 16 * 16)),
                tiles = ceil_of(plane, width);
  const int64_t units = s.n * s.groups * tiles;
  const double work = static_cast<double>(s.out()) * static_cast<double>(k) * static_cast<double>(width);
  // Few tiles: the channels are cut as well.
  const int64_t channels = units >= 16 || work < 2.0 * kTask ? s.out() : std::min(s.out(), kChannels), parts = ceil_of(s.out(), channels);
  in_tasks(machine, units * parts, work / static_cast<double>(parts), [&](int64_t begin, int64_t end) {
    const BufferPtr room = BufferPtr::allocate(machine, as_it_is ? 0 : static_cast<uint64_t>(k * width) * sizeof(T));
    T* windows = reinterpret_cast<T*>(room->data());
    for (int64_t u = begin; u < end; ++u) {
      const int64_t part = u % parts, tile = u / parts % tiles, group = u / parts / tiles % s.groups, n = u / parts / tiles / s.groups;
      const int64_t first = tile * width, count = std::min(width, plane - first), o = part * channels,
                    rows = std::min(channels, s.out() - o), to = group * s.out() + o;
      const T* from = x + (n * s.c + group * s.in()) * s.h * s.w;
      T* out = y + (n * s.o + to) * plane + first;
      for (int64_t r = 0; r < rows; ++r) std::fill_n(out + r * plane, count, bias == nullptr ? T(0) : bias[to + r]);
      if (k == 0) continue;
      Block b{windows, 'N', count};
      if (as_it_is) {
        b = {from + first, 'N', plane};
      } else {
        gather_windows(s, from, first, first + count, windows);
      }
      gemm(rows, count, k, {weights + to * k, 'N', k}, b, true, out, plane);
    }
  });
}

template <class T>
void transpose_by_products(const Machine& machine, const ConvShape& s, const T* x, const T* weights, const T* bias, T* y) {
  constexpr DType kType = std::is_same_v<T, double> ? DType::kF64 : DType::kF32;
  const Gemm gemm = float_product(kType, machine.target()).gemm;
  const int64_t plane = s.h * s.w, place = s.oh * s.ow, taps = s.taps(), in = s.in();
  // A task has whole channels of the result, so that nobody else adds to them.
  const int64_t channels = std::clamp<int64_t>(ceil_of(64, taps), 1, s.out()), parts = ceil_of(s.out(), channels),
                width = std::min(plane, std::max<int64_t>(64, kRoom / (channels * taps)));
  const double work = static_cast<double>(channels) * static_cast<double>(taps) * static_cast<double>(in) * static_cast<double>(plane);
  in_tasks(machine, s.n * s.groups * parts, work, [&](int64_t begin, int64_t end) {
    const BufferPtr room = BufferPtr::allocate(machine, static_cast<uint64_t>(channels * taps * width) * sizeof(T));
    T* products = reinterpret_cast<T*>(room->data());
    for (int64_t u = begin; u < end; ++u) {
      const int64_t part = u % parts, group = u / parts % s.groups, n = u / parts / s.groups, o = part * channels,
                    rows = std::min(channels, s.out() - o), to = group * s.out() + o;
      T* out = y + (n * s.o + to) * place;
      fill_bias(bias == nullptr ? nullptr : bias + to, rows, place, out);
      if (in == 0) continue;
      const T* w = weights + group * in * s.out() * taps + o * taps;  // (in, out * taps): its columns are read
      const T* from = x + (n * s.c + group * in) * plane;
      for (int64_t first = 0; first < plane; first += width) {
        const int64_t count = std::min(width, plane - first);
        gemm(rows * taps, count, in, {w, 'T', s.out() * taps}, {from + first, 'N', plane}, false, products, count);
        spread_windows(s, products, rows, first, first + count, out);
      }
    }
  });
}

template <class T>
void depthwise(const Machine& machine, const ConvShape& s, const T* x, const T* weights, const T* bias, T* y) {
  const PlaneCode& code = plane_code(std::is_same_v<T, double> ? DType::kF64 : DType::kF32, machine.target());
  const int64_t place = s.oh * s.ow;
  in_tasks(machine, s.n * s.o, 8.0 * static_cast<double>(place), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t o = u % s.o, n = u / s.o;
      code.depthwise(s, x + (n * s.c + o / s.out()) * s.h * s.w, weights + o * s.taps(), bias == nullptr ? nullptr : bias + o,
                     y + u * place);
    }
  });
}

template <class T>
void conv_of(const Machine& machine, const ConvShape& s, const void* x, const void* weights, const void* bias, void* y, bool transpose) {
  if (s.n == 0 || s.o == 0 || s.oh == 0 || s.ow == 0) return;
  const T *px = static_cast<const T*>(x), *pw = static_cast<const T*>(weights), *pb = static_cast<const T*>(bias);
  T* py = static_cast<T*>(y);
  if (s.in() == 1 && s.groups > 1 && !transpose) return depthwise(machine, s, px, pw, pb, py);
  if constexpr (std::is_same_v<T, float>) {
    const double work = static_cast<double>(s.n) * static_cast<double>(s.o) * static_cast<double>(transpose ? s.h * s.w : s.oh * s.ow) *
                        static_cast<double>(s.in() * s.taps());
    if (work > 1 << 16 && conv_onednn(machine, s, px, pw, pb, py, transpose)) return;
  }
  if (transpose) {
    transpose_by_products(machine, s, px, pw, pb, py);
  } else {
    conv_by_products(machine, s, px, pw, pb, py);
  }
}

// f(code, plane of x, room for a line, plane of y) for all planes.
template <class F>
void over_planes(const Machine& machine, DType dtype, const ConvShape& s, const void* x, void* y, const F& f) {
  if (s.n == 0 || s.c == 0 || s.oh == 0 || s.ow == 0) return;
  const PlaneCode& code = plane_code(dtype, machine.target());
  const int64_t width = static_cast<int64_t>(bytes(dtype)), in = s.h * s.w * width, out = s.oh * s.ow * width;
  in_tasks(machine, s.n * s.c, 4.0 * static_cast<double>(s.h * s.w + s.oh * s.ow), [&](int64_t begin, int64_t end) {
    const BufferPtr line = BufferPtr::allocate(machine, static_cast<uint64_t>(s.w * width));
    for (int64_t u = begin; u < end; ++u)
      f(code, static_cast<const uint8_t*>(x) + u * in, line->data(), static_cast<uint8_t*>(y) + u * out);
  });
}

}  // namespace

void conv(const Machine& machine, DType dtype, const ConvShape& s, const void* x, const void* weights, const void* bias, void* y) {
  (dtype == DType::kF64 ? &conv_of<double> : &conv_of<float>)(machine, s, x, weights, bias, y, false);
}
void conv_transpose(const Machine& machine, DType dtype, const ConvShape& s, const void* x, const void* weights, const void* bias, void* y) {
  (dtype == DType::kF64 ? &conv_of<double> : &conv_of<float>)(machine, s, x, weights, bias, y, true);
}

void pool(const Machine& machine, DType dtype, Pool kind, const ConvShape& s, const void* x, void* y, int64_t* places) {
  over_planes(machine, dtype, s, x, y, [&](const PlaneCode& code, const void* from, void* line, void* to) {
    if (places == nullptr) return code.pool(kind, s, from, line, to);
    code.max_places(s, from, to, places + (static_cast<uint8_t*>(to) - static_cast<uint8_t*>(y)) / static_cast<ptrdiff_t>(bytes(dtype)));
  });
}
void adaptive_pool(const Machine& machine, DType dtype, bool max, const ConvShape& s, const void* x, void* y) {
  over_planes(machine, dtype, s, x, y,
              [&](const PlaneCode& code, const void* from, void* line, void* to) { code.adaptive(max, s, from, line, to); });
}

}  // namespace viva::kernels
