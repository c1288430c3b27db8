#include "viva/ops/arrange.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "viva/kernels/tile.h"
#include "viva/ops/ops.h"

namespace viva {

namespace {

constexpr int64_t kTaskBytes = 256 * 1024;  // what is worth a task of its own

// Byte offsets of all values of a view, in order.
Tensor offsets(const Machine& machine, const Shape& shape, const Strides& strides, size_t width) {
  const Tensor out(machine, {count(shape)}, DType::kI64);
  int64_t* to = out.data<int64_t>();
  for_each_offset(shape, strides, [&](int64_t at) { *to++ = at * static_cast<int64_t>(width); });
  return out;
}

// x seen as [outer axes][places][inner axes].
struct Places {
  Shape outer, inner, met;              // met: the shape of the places
  Strides outer_strides, inner_strides;  // elements
  Tensor at;                             // bytes of each place, from the first value of x
  Shape result() const {
    Shape s = outer;
    for (const int64_t d : met) s.push_back(d);
    for (const int64_t d : inner) s.push_back(d);
    return s;
  }
};

Places meet(const Tensor& x, const Dims& axes, const std::vector<Tensor>& places, std::string_view operation) {
  check_defined(x, operation);
  if (axes.size() != places.size() || axes.empty()) {
    throw Error(Code::kUsage, operation, fmt::format("{} tensors of places for {} axes", places.size(), axes.size()), "one for each");
  }
  Places p;
  bool neighbours = true;
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t a = axis_of(axes[i], x.rank(), operation);
    if (i > 0 && static_cast<int64_t>(a) <= axes[i - 1]) throw Error(Code::kUsage, operation, fmt::format("axes {} do not ascend", text(axes)));
    neighbours &= i == 0 || static_cast<int64_t>(a) == axes[i - 1] + 1;
    check_defined(places[i], operation);
    if (!is_int(places[i].dtype())) {
      throw Error(Code::kUsage, operation, fmt::format("places are {}, no integers", name(places[i].dtype())));
    }
    p.met = i == 0 ? places[i].shape() : broadcast(p.met, places[i].shape(), operation);
  }
  const size_t width = bytes(x.dtype());
  p.at = zeros(x.machine(), {count(p.met)}, DType::kI64);
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t a = static_cast<size_t>(axes[i]);
    const int64_t size = x.shape()[a], step = x.strides()[a] * static_cast<int64_t>(width);
    const Tensor all = places[i].expand(p.met);
    std::optional<int64_t> bad;
    with_element(all.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
        const T* from = reinterpret_cast<const T*>(all.raw());
        int64_t* to = p.at.data<int64_t>();
        for_each_offset(all.shape(), all.strides(), [&](int64_t at) {
          int64_t v = static_cast<int64_t>(from[at]);
          if (std::is_signed_v<T> && v < 0) v += size;
          if (v < 0 || v >= size) bad = static_cast<int64_t>(from[at]), v = 0;
          *to++ += v * step;
        });
      }
    });
    if (bad) {
      throw Error(Code::kUsage, operation, fmt::format("index {} along axis {} of shape {}", *bad, a, text(x.shape())), fmt::format("{} to {}", -size, size - 1));
    }
  }
  for (size_t a = 0, i = 0; a < x.rank(); ++a) {
    if (i < axes.size() && static_cast<int64_t>(a) == axes[i]) {
      ++i;
      continue;
    }
    const bool before = neighbours && i == 0;
    (before ? p.outer : p.inner).push_back(x.shape()[a]);
    (before ? p.outer_strides : p.inner_strides).push_back(x.strides()[a]);
  }
  count(p.result());  // may not fit
  return p;
}

// Moves rows [begin, end) of the flattened [outer][places] between x and `flat`, row-major.
template <class T, bool kOut>
void move_rows(const Tensor& x, const Places& p, std::span<const int64_t> inner, bool run, uint8_t* flat, int64_t begin, int64_t end) noexcept {
  const int64_t places = p.at.count(), row = static_cast<int64_t>(inner.size());
  for (int64_t i = begin; i < end;) {
    int64_t rest = i / places, offset = 0;
    for (size_t a = p.outer.size(); a-- > 0;) {
      offset += rest % p.outer[a] * p.outer_strides[a];
      rest /= p.outer[a];
    }
    uint8_t* base = x.raw() + offset * static_cast<int64_t>(sizeof(T));
    const int64_t stop = std::min(end, (i / places + 1) * places);
    T* f = reinterpret_cast<T*>(flat) + i * row;
    const int64_t* at = p.at.data<int64_t>() + i % places;
    for (; i < stop; ++i, ++at, f += row) {
      uint8_t* place = base + *at;
      if (row == 1) {
        T& v = *reinterpret_cast<T*>(place);
        if constexpr (kOut) v = *f; else *f = v;
      } else if (run) {
        if constexpr (kOut) {
          std::memcpy(place, f, static_cast<size_t>(row) * sizeof(T));
        } else {
          std::memcpy(f, place, static_cast<size_t>(row) * sizeof(T));
        }
      } else {
        for (int64_t k = 0; k < row; ++k) {
          T& v = *reinterpret_cast<T*>(place + inner[static_cast<size_t>(k)]);
          if constexpr (kOut) v = f[k]; else f[k] = v;
        }
      }
    }
  }
}

// The axes 0 to n - 1 of a line of `size` places that lies along axis `a`.
Tensor line_along(const Tensor& line, size_t a, size_t rank) {
  Shape s(rank, 1);
  s[a] = line.count();
  return reshape(line, s);
}

Tensor count_up(const Machine& machine, int64_t n) { return arange(machine, 0, static_cast<double>(n), 1, DType::kI64); }

Tensor triangle(const Tensor& x, int64_t diagonal, bool lower) {
  const std::string_view operation = lower ? "tril" : "triu";
  check_defined(x, operation);
  if (x.rank() < 2) throw Error(Code::kUsage, operation, fmt::format("shape {} is no matrix", text(x.shape())), "at least two axes");
  const int64_t rows = x.size(-2), cols = x.size(-1);
  const int64_t k = std::clamp(diagonal, -rows - 1, cols + 1);
  const Tensor row = add(count_up(x.machine(), rows).unsqueeze(1), k), col = count_up(x.machine(), cols);
  const Tensor keep = lower ? less_equal(col, row) : greater_equal(col, row);
  return where(keep, x, full(x.machine(), {}, 0, x.dtype()));
}

}  // namespace

Tensor index(const Tensor& x, const Dims& axes, const std::vector<Tensor>& places) {
  const Places p = meet(x, axes, places, "index");
  const Tensor out(x.machine(), p.result(), x.dtype());
  if (out.count() == 0) return out;
  const size_t width = bytes(x.dtype());
  const Tensor every = offsets(x.machine(), p.inner, p.inner_strides, width);
  const std::span<const int64_t> inner(every.data<int64_t>(), static_cast<size_t>(every.count()));
  const bool run = Tensor(x.buffer(), x.raw(), x.dtype(), p.inner, p.inner_strides).contiguous();
  const int64_t rows = out.count() / static_cast<int64_t>(inner.size());
  const int64_t tasks = std::clamp<int64_t>(static_cast<int64_t>(out.bytes()) / kTaskBytes, 1, std::min<int64_t>(rows, 8 * static_cast<int64_t>(x.machine().threads())));
  kernels::with_width(width, [&](auto w) {
    const auto part = [&](size_t i) {
      const auto begin = [&](size_t k) { return static_cast<int64_t>(static_cast<__int128>(rows) * static_cast<int64_t>(k) / tasks); };
      move_rows<decltype(w), false>(x, p, inner, run, out.raw(), begin(i), begin(i + 1));
    };
    if (tasks == 1) {
      part(0);
    } else {
      x.machine().parallel_for(static_cast<size_t>(tasks), part);
    }
  });
  return out;
}

void index_assign(const Tensor& x, const Dims& axes, const std::vector<Tensor>& places, const Arg& values) {
  const Places p = meet(x, axes, places, "index");
  const Shape shape = p.result();
  for (size_t i = 0; i < x.rank(); ++i) {
    if (x.strides()[i] == 0 && x.shape()[i] > 1) {
      throw Error(Code::kUsage, "index", "several values of the place are one in memory", "clone() what was expanded before");
    }
  }
  const Tensor flat(x.machine(), shape, x.dtype());
  assign(flat, values);
  if (flat.count() == 0) return;
  const Tensor every = offsets(x.machine(), p.inner, p.inner_strides, bytes(x.dtype()));
  const std::span<const int64_t> inner(every.data<int64_t>(), static_cast<size_t>(every.count()));
  const bool run = Tensor(x.buffer(), x.raw(), x.dtype(), p.inner, p.inner_strides).contiguous();
  // On one thread: the last of two values for one place stays.
  kernels::with_width(bytes(x.dtype()), [&](auto w) {
    move_rows<decltype(w), true>(x, p, inner, run, flat.raw(), 0, flat.count() / static_cast<int64_t>(inner.size()));
  });
}

Tensor take(const Tensor& x, const Tensor& places, int64_t axis) {
  check_defined(x, "take");
  return index(x, {static_cast<int64_t>(axis_of(axis, x.rank(), "take"))}, {places});
}

Tensor take_along_axis(const Tensor& x, const Tensor& places, int64_t axis) {
  check_defined(x, "take_along_axis");
  check_defined(places, "take_along_axis");
  const size_t a = axis_of(axis, x.rank(), "take_along_axis");
  if (places.rank() != x.rank()) {
    throw Error(Code::kUsage, "take_along_axis", fmt::format("places of shape {} for shape {}", text(places.shape()), text(x.shape())),
                "as many axes");
  }
  Shape from = x.shape(), to = places.shape();
  from[a] = to[a] = 1;
  const Shape all = broadcast(from, to, "take_along_axis");
  Shape wide = all, of_places = all;
  wide[a] = x.shape()[a];
  of_places[a] = places.shape()[a];
  std::vector<Tensor> at;
  Dims axes;
  for (size_t i = 0; i < x.rank(); ++i) {
    axes.push_back(static_cast<int64_t>(i));
    at.push_back(i == a ? places.expand(of_places) : line_along(count_up(x.machine(), all[i]), i, x.rank()));
  }
  return index(x.expand(wide), axes, at);
}

std::vector<Tensor> nonzero(const Tensor& x) {
  check_defined(x, "nonzero");
  if (x.rank() == 0) throw Error(Code::kUsage, "nonzero", "a single value has no places", "reshape it to (1,)");
  const Tensor truth = contiguous(to(x, DType::kBool));
  const uint8_t* t = truth.raw();
  const int64_t values = truth.count();
  int64_t n = 0;
  for (int64_t i = 0; i < values; ++i) n += t[i];
  std::vector<Tensor> out;
  std::vector<int64_t*> to;
  for (size_t a = 0; a < x.rank(); ++a) {
    out.emplace_back(x.machine(), Shape{n}, DType::kI64);
    to.push_back(out.back().data<int64_t>());
  }
  const size_t last = x.rank() - 1;
  const int64_t cols = x.shape()[last];
  Dims at(x.rank(), 0);
  for (int64_t i = 0, k = 0; k < n; i += cols) {
    for (int64_t c = 0; c < cols; ++c) {
      if (t[i + c] == 0) continue;
      for (size_t a = 0; a < last; ++a) to[a][k] = at[a];
      to[last][k++] = c;
    }
    for (size_t a = last; a-- > 0;) {
      if (++at[a] < x.shape()[a]) break;
      at[a] = 0;
    }
  }
  return out;
}

Tensor searchsorted(const Tensor& x1, const Tensor& x2, bool right, const Tensor& sorter) {
  return searchsorted(take(x1, sorter, 0), x2, right);
}

Tensor repeat(const Tensor& x, const Tensor& times, std::optional<int64_t> axis) {
  check_defined(x, "repeat");
  check_defined(times, "repeat");
  if (!axis) return repeat(reshape(x, {-1}), times, 0);
  const size_t a = axis_of(*axis, x.rank(), "repeat");
  if (!is_int(times.dtype())) throw Error(Code::kUsage, "repeat", fmt::format("numbers of times are {}, no integers", name(times.dtype())));
  if (times.rank() > 1 || (times.count() != 1 && times.count() != x.shape()[a])) {
    throw Error(Code::kUsage, "repeat", fmt::format("{} numbers of times along axis {} of shape {}", text(times.shape()), *axis, text(x.shape())),
                "one, or one for each");
  }
  if (times.count() == 1) return repeat(x, times.item<int64_t>(), axis);
  const Tensor each = contiguous(to(times, DType::kI64));
  const std::span<const int64_t> all(each.data<int64_t>(), static_cast<size_t>(each.count()));
  int64_t n = 0;
  for (const int64_t k : all) {
    if (k < 0 || __builtin_add_overflow(n, k, &n)) throw Error(Code::kUsage, "repeat", fmt::format("{} times", k));
  }
  const Tensor at(x.machine(), {n}, DType::kI64);
  int64_t* to = at.data<int64_t>();
  for (size_t i = 0; i < all.size(); ++i) to = std::fill_n(to, all[i], static_cast<int64_t>(i));
  return take(x, at, static_cast<int64_t>(a));
}

Tensor repeat(const Tensor& x, int64_t times, std::optional<int64_t> axis) {
  check_defined(x, "repeat");
  if (!axis) return repeat(reshape(x, {-1}), times, 0);
  const size_t a = axis_of(*axis, x.rank(), "repeat");
  Shape joined = x.shape();
  if (times < 0 || __builtin_mul_overflow(joined[a], times, &joined[a])) {
    throw Error(Code::kUsage, "repeat", fmt::format("{} times along axis {} of shape {}", times, a, text(x.shape())), "0 or more");
  }
  if (x.rank() == kMaxRank) {  // no room for one more
    int64_t before = 1, after = 1;
    for (size_t i = 0; i < x.rank(); ++i) (i < a ? before : after) *= i == a ? 1 : x.shape()[i];
    return reshape(repeat(reshape(x, {before, x.shape()[a], after}), times, 1), joined);
  }
  Shape wide = x.shape();
  wide.insert(a + 1, times);
  return reshape(clone(x.unsqueeze(static_cast<int64_t>(a) + 1).expand(wide)), joined);
}

Tensor tile(const Tensor& x, const Dims& times) {
  check_defined(x, "tile");
  const size_t rank = std::max(x.rank(), times.size());
  if (2 * rank > kMaxRank) throw Error(Code::kUsage, "tile", fmt::format("shape {} {} times", text(x.shape()), text(times)), "at most 16 axes");
  Shape apart, wide, joined;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t d = i + x.rank() < rank ? 1 : x.shape()[i + x.rank() - rank], t = i + times.size() < rank ? 1 : times[i + times.size() - rank];
    int64_t all = 0;
    if (t < 0 || __builtin_mul_overflow(d, t, &all)) throw Error(Code::kUsage, "tile", fmt::format("shape {} {} times", text(x.shape()), text(times)));
    apart.push_back(1), apart.push_back(d);
    wide.push_back(t), wide.push_back(d);
    joined.push_back(all);
  }
  count(joined);
  return reshape(clone(reshape(x, apart).expand(wide)), joined);
}

Tensor roll(const Tensor& x, const Dims& shifts, const Dims& axes) {
  check_defined(x, "roll");
  if (axes.empty()) {
    if (shifts.size() != 1) throw Error(Code::kUsage, "roll", fmt::format("shifts {} without axes", text(shifts)), "one, or an axis for each");
    return reshape(roll(reshape(x, {-1}), shifts, {0}), x.shape());
  }
  if (shifts.size() != axes.size() && shifts.size() != 1) {
    throw Error(Code::kUsage, "roll", fmt::format("shifts {} along axes {}", text(shifts), text(axes)), "one for each axis");
  }
  Tensor out = x;
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = static_cast<int64_t>(axis_of(axes[i], x.rank(), "roll")), n = x.size(axis);
    const int64_t by = n == 0 ? 0 : ((shifts.size() == 1 ? shifts[0] : shifts[i]) % n + n) % n;
    if (by != 0) out = concat({out.narrow(axis, n - by, by), out.narrow(axis, 0, n - by)}, axis);
  }
  return out.buffer() == x.buffer() ? clone(x) : out;
}

Tensor tril(const Tensor& x, int64_t diagonal) { return triangle(x, diagonal, true); }
Tensor triu(const Tensor& x, int64_t diagonal) { return triangle(x, diagonal, false); }

Tensor diff(const Tensor& x, int64_t axis, int64_t times) {
  check_defined(x, "diff");
  const int64_t a = static_cast<int64_t>(axis_of(axis, x.rank(), "diff"));
  if (times < 0) throw Error(Code::kUsage, "diff", fmt::format("{} times", times));
  Tensor out = x;
  for (int64_t i = 0; i < times && out.size(a) > 0; ++i) {
    const int64_t n = out.size(a) - 1;
    const Tensor high = out.narrow(a, 1, n), low = out.narrow(a, 0, n);
    out = is_bool(x.dtype()) ? not_equal(high, low) : subtract(high, low);
  }
  return out;
}

Tensor moveaxis(const Tensor& x, const Dims& from, const Dims& to) {
  check_defined(x, "moveaxis");
  const auto refuse = [&] {
    throw Error(Code::kUsage, "moveaxis", fmt::format("axes {} to {} of shape {}", text(from), text(to), text(x.shape())),
                "as many places as axes, each once");
  };
  if (from.size() != to.size()) refuse();
  Dims order(x.rank(), -1);
  uint32_t moved = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const size_t f = axis_of(from[i], x.rank(), "moveaxis"), t = axis_of(to[i], x.rank(), "moveaxis");
    if ((moved >> f & 1) != 0 || order[t] >= 0) refuse();
    moved |= 1u << f;
    order[t] = static_cast<int64_t>(f);
  }
  size_t next = 0;
  for (int64_t& place : order) {
    if (place >= 0) continue;
    while ((moved >> next & 1) != 0) ++next;
    place = static_cast<int64_t>(next++);
  }
  return x.permute(order);
}

std::vector<Tensor> broadcast_arrays(const std::vector<Tensor>& all) {
  Shape shape;
  for (const Tensor& t : all) {
    check_defined(t, "broadcast_arrays");
    shape = broadcast(shape, t.shape(), "broadcast_arrays");
  }
  std::vector<Tensor> out;
  for (const Tensor& t : all) out.push_back(t.expand(shape));
  return out;
}

std::vector<Tensor> meshgrid(const std::vector<Tensor>& lines, bool matrix_order) {
  Shape shape;
  for (const Tensor& t : lines) {
    check_defined(t, "meshgrid");
    if (t.rank() > 1) throw Error(Code::kUsage, "meshgrid", fmt::format("shape {} is no line", text(t.shape())), "one axis each");
    shape.push_back(t.count());
  }
  std::vector<Tensor> out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Tensor grid = line_along(lines[i], i, lines.size()).expand(shape);
    out.push_back(matrix_order || lines.size() < 2 ? grid : grid.transpose(0, 1));
  }
  return out;
}

}  // namespace viva
