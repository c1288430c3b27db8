#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "viva/kernels/tile.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

constexpr int64_t kTask = 32 * 1024;  // values

// Throws for the first place that is not along the axis.
void refuse_first(const Tensor& places, size_t axis, const Tensor& x, std::string_view operation) {
  const int64_t n = x.shape()[axis];
  const bool is_unsigned = is_unsigned_int(places.dtype());
  const Tensor all = contiguous(to(places, DType::kI64));
  for (const int64_t v : std::span<const int64_t>(all.data<int64_t>(), static_cast<size_t>(all.count()))) {
    if (v < n && v >= (is_unsigned ? 0 : -n)) continue;
    const std::string place = is_unsigned ? fmt::to_string(static_cast<uint64_t>(v)) : fmt::to_string(v);
    throw Error(Code::kUsage, operation, fmt::format("index {} along axis {} of shape {}", place, axis, text(x.shape())),
                n == 0 ? "there is nothing along it" : fmt::format("{} to {}", -n, n - 1));
  }
}

void check_range(const Tensor& places, size_t axis, const Tensor& x, std::string_view operation) {
  if (places.count() == 0) return;
  const int64_t n = x.shape()[axis];
  const bool high = is_unsigned_int(places.dtype()) ? max(places).item<uint64_t>() >= static_cast<uint64_t>(n) : max(places).item<int64_t>() >= n;
  if (high || (is_signed_int(places.dtype()) && min(places).item<int64_t>() < -n)) refuse_first(places, axis, x, operation);
}

size_t check_places(const Tensor& x, const Tensor& places, int64_t axis, std::string_view operation) {
  check_defined(x, operation);
  check_defined(places, operation);
  const size_t a = axis_of(axis, x.rank(), operation);
  if (!is_int(places.dtype())) throw Error(Code::kUsage, operation, fmt::format("places are {}, no integers", name(places.dtype())));
  bool fits = places.rank() == x.rank();
  for (size_t i = 0; fits && i < x.rank(); ++i) fits = i == a || places.shape()[i] <= x.shape()[i];
  if (!fits) {
    throw Error(Code::kUsage, operation, fmt::format("places of shape {} for shape {}", text(places.shape()), text(x.shape())),
                fmt::format("as many axes, and no more along any but axis {}", a));
  }
  if (places.count() != 0 && x.shape()[a] == 0) refuse_first(places, a, x, operation);
  return a;
}

// The places as rows along their last axis, and what one step along each axis is in the tensors beside them.
struct Walk {
  Shape rows;  // all axes but the last
  int64_t cols = 1;
  int64_t row_count = 1;
  explicit Walk(const Shape& shape) : rows(shape) {
    if (rows.empty()) return;
    cols = rows.back();
    rows.erase(rows.size() - 1);
    for (const int64_t d : rows) row_count *= d;
  }
  // Elements from the first value to row `r`; along `skip` nothing is added.
  int64_t offset(int64_t r, const Strides& strides, size_t skip = SIZE_MAX) const noexcept {
    int64_t at = 0;
    for (size_t a = rows.size(); a-- > 0; r /= rows[a]) {
      if (a != skip) at += r % rows[a] * strides[a];
    }
    return at;
  }
};

// out[j] = from[place * along + j * beside]; false where a place is outside of [-n, n).
template <class T, class I>
bool gather_row(const T* from, const I* place, int64_t place_step, int64_t n, int64_t along, int64_t beside, int64_t cols, T* out) noexcept {
  bool good = true;
  const auto go = [&](auto unit) {
    for (int64_t j = 0; j < cols; ++j) {
      int64_t k = static_cast<int64_t>(place[unit ? j : j * place_step]);
      k += k < 0 ? n : 0;
      if (static_cast<uint64_t>(k) >= static_cast<uint64_t>(n)) good = false, k = 0;
      out[j] = from[k * (unit ? 1 : along) + j * beside];
    }
  };
  place_step == 1 && along == 1 ? go(std::true_type{}) : go(std::false_type{});
  return good;
}

template <class T>
struct AddTo {
  void operator()(T& a, T b) const noexcept {
    if constexpr (std::is_integral_v<T>) {
      using U = std::make_unsigned_t<T>;
      a = static_cast<T>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));  // wraps around
    } else {
      a += b;
    }
  }
};
template <class T>
struct Put {
  void operator()(T& a, T b) const noexcept { a = b; }
};

// `places` i64, checked; `values` of the places' shape, `out` contiguous, both of T. Tasks share no value of `out`: a task has
// all places along the axis for some of the other ones.
template <class T, class F>
void scatter_as(const Tensor& out, const Tensor& places, const Tensor& values, size_t axis, F f) {
  const size_t last = places.rank() - 1;
  const int64_t n = out.shape()[axis], along = out.strides()[axis], beside = axis == last ? 0 : out.strides()[last];
  Shape others = places.shape();
  const int64_t depth = axis == last ? 1 : others[axis];
  if (axis != last) others[axis] = 1;
  const Walk walk(others);
  const int64_t line = walk.cols * depth, width = axis == last ? walk.cols : std::clamp<int64_t>(kTask / depth, 16, walk.cols);
  const int64_t strips = (walk.cols + width - 1) / width, group = std::max<int64_t>(1, kTask / std::max<int64_t>(1, line));
  const int64_t items = walk.row_count * strips;
  const int64_t* const place = places.data<int64_t>();
  const T* const from = reinterpret_cast<const T*>(values.raw());
  T* const to = reinterpret_cast<T*>(out.raw());
  const int64_t place_step = places.strides()[last], from_step = values.strides()[last];
  const auto task = [&](size_t i) {
    for (int64_t item = static_cast<int64_t>(i) * group, end = std::min(items, item + group); item < end; ++item) {
      const int64_t row = item / strips, first = item % strips * width, stop = std::min(walk.cols, first + width);
      const int64_t* p = place + walk.offset(row, places.strides());
      const T* v = from + walk.offset(row, values.strides());
      T* base = to + walk.offset(row, out.strides(), axis);
      for (int64_t k = 0; k < depth; ++k) {
        for (int64_t j = first; j < stop; ++j) {
          int64_t at = p[j * place_step];
          at += at < 0 ? n : 0;
          f(base[at * along + j * beside], v[j * from_step]);
        }
        if (axis == last) continue;
        p += places.strides()[axis];
        v += values.strides()[axis];
      }
    }
  };
  const int64_t tasks = (items + group - 1) / group;
  if (tasks == 1) {
    task(0);
  } else {
    out.machine().parallel_for(static_cast<size_t>(tasks), task);
  }
}

struct Scattered {
  Tensor x, places, values;
  size_t axis = 0;
};
// Everything checked and of the types that are computed with; before anything is written.
Scattered prepare(const Tensor& given, const Tensor& places, const Arg& values, int64_t axis, DType type, std::string_view operation) {
  Scattered s;
  s.axis = check_places(given, places, axis, operation);
  if (values.tensor() != nullptr) {
    check_defined(*values.tensor(), operation);
    const Shape& shape = values.tensor()->shape();
    if (shape.size() > places.rank() || broadcast(shape, places.shape(), operation) != places.shape()) {
      throw Error(Code::kUsage, operation, fmt::format("values of shape {} for places of shape {}", text(shape), text(places.shape())), "they must stretch to it");
    }
  }
  check_range(places, s.axis, given, operation);
  const Tensor v = values.tensor() != nullptr ? *values.tensor() : values.as(given.machine(), given.dtype());
  s.places = to(places, DType::kI64);
  s.values = to(to(v, given.dtype()), type).expand(places.shape());
  s.x = type == given.dtype() ? clone(given) : contiguous(to(given, type));
  return s;
}

}  // namespace

Tensor gather(const Tensor& x, const Tensor& given, int64_t axis) {
  check_defined(x, "gather");
  const size_t a = check_places(x, given, axis, "gather");
  if (given.dtype() == DType::kU64) check_range(given, a, x, "gather");  // as i64 the largest would be negative
  const bool narrow = given.dtype() == DType::kI32;
  const Tensor places = narrow ? given : to(given, DType::kI64);
  const Tensor out(x.machine(), given.shape(), x.dtype());
  if (out.count() == 0) return out;
  const size_t last = x.rank() - 1;
  const Walk walk(places.shape());
  const int64_t n = x.shape()[a], along = x.strides()[a], beside = a == last ? 0 : x.strides()[last], place_step = places.strides()[last];
  const int64_t width = std::min(walk.cols, kTask), strips = (walk.cols + width - 1) / width, group = std::max<int64_t>(1, kTask / walk.cols);
  const int64_t items = walk.row_count * strips, tasks = (items + group - 1) / group;
  std::atomic<bool> good = true;
  const auto run = [&](auto value, auto number) {
    using T = decltype(value);
    using I = decltype(number);
    const auto task = [&](size_t i) {
      for (int64_t item = static_cast<int64_t>(i) * group, end = std::min(items, item + group); item < end; ++item) {
        const int64_t row = item / strips, first = item % strips * width;
        const T* from = reinterpret_cast<const T*>(x.raw()) + walk.offset(row, x.strides(), a) + first * beside;
        const I* place = reinterpret_cast<const I*>(places.raw()) + walk.offset(row, places.strides()) + first * place_step;
        T* to = reinterpret_cast<T*>(out.raw()) + row * walk.cols + first;
        if (!gather_row(from, place, place_step, n, along, beside, std::min(width, walk.cols - first), to)) good.store(false, std::memory_order_relaxed);
      }
    };
    if (tasks == 1) {
      task(0);
    } else {
      x.machine().parallel_for(static_cast<size_t>(tasks), task);
    }
  };
  kernels::with_width(bytes(x.dtype()), [&](auto value) { narrow ? run(value, int32_t{}) : run(value, int64_t{}); });
  if (!good) refuse_first(given, a, x, "gather");
  return out;
}

Tensor scatter(const Tensor& x, const Tensor& places, const Arg& values, int64_t axis) {
  check_defined(x, "scatter");
  const Scattered s = prepare(x, places, values, axis, x.dtype(), "scatter");
  if (s.places.count() != 0) {
    kernels::with_width(bytes(x.dtype()), [&](auto w) { scatter_as<decltype(w)>(s.x, s.places, s.values, s.axis, Put<decltype(w)>{}); });
  }
  return s.x;
}

Tensor scatter_add(const Tensor& x, const Tensor& places, const Arg& values, int64_t axis) {
  check_defined(x, "scatter_add");
  if (is_bool(x.dtype())) throw Error(Code::kUsage, "scatter_add", "it is not defined on BOOL", "to(dtype) converts");
  const DType type = x.dtype() == DType::kF16 || x.dtype() == DType::kBF16 ? DType::kF32 : x.dtype();
  const Scattered s = prepare(x, places, values, axis, type, "scatter_add");
  if (s.places.count() != 0) {
    with_element(type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (!std::is_same_v<T, bool> && !std::is_same_v<T, F16> && !std::is_same_v<T, BF16>) {
        scatter_as<T>(s.x, s.places, s.values, s.axis, AddTo<T>{});
      }
    });
  }
  return to(s.x, x.dtype());
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  check_defined(x, "masked_select");
  check_defined(mask, "masked_select");
  if (!is_bool(mask.dtype())) throw Error(Code::kUsage, "masked_select", fmt::format("the mask is {}, not BOOL", name(mask.dtype())), "compare it with something");
  const Shape shape = broadcast(x.shape(), mask.shape(), "masked_select");
  const Tensor from = contiguous(x.expand(shape)), truth = contiguous(mask.expand(shape));
  const int64_t n = from.count(), tasks = (n + kTask - 1) / kTask;
  const uint8_t* t = truth.raw();
  std::vector<int64_t> at(static_cast<size_t>(tasks));
  x.machine().parallel_for(at.size(), [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kTask;
    at[i] = std::count_if(t + begin, t + std::min(n, begin + kTask), [](uint8_t v) { return v != 0; });
  });
  int64_t all = 0;
  for (int64_t& k : at) all += std::exchange(k, all);
  const Tensor out(x.machine(), {all}, x.dtype());
  kernels::with_width(bytes(x.dtype()), [&](auto w) {
    using T = decltype(w);
    const T* values = reinterpret_cast<const T*>(from.raw());
    x.machine().parallel_for(at.size(), [&](size_t i) {
      constexpr int64_t kStrip = 512;
      T some[kStrip];  // every value is written, few are kept: without a branch, and nothing behind the end
      T* to = reinterpret_cast<T*>(out.raw()) + at[i];
      for (int64_t k = static_cast<int64_t>(i) * kTask, end = std::min(n, k + kTask); k < end;) {
        int64_t kept = 0;
        for (const int64_t stop = std::min(end, k + kStrip); k < stop; ++k) {
          some[kept] = values[k];
          kept += t[k] != 0;
        }
        to = std::copy_n(some, kept, to);
      }
    });
  });
  return out;
}

}  // namespace viva
