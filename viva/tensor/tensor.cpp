#include "viva/tensor/tensor.h"

#include <fmt/format.h>

namespace viva {

void refuse_undefined(std::string_view operation) {
  throw Error(Code::kUsage, operation, "there is no tensor", "this one was made by Tensor() and never assigned");
}

Tensor::Tensor(const Machine& machine, const Shape& shape, DType dtype) : dtype_(dtype), shape_(shape) {
  if (!is_element(dtype)) throw Error(Code::kUsage, "tensor", fmt::format("{} is no type of single values", name(dtype)));
  buffer_ = BufferPtr::allocate(machine, static_cast<uint64_t>(viva::count(shape, strides_)) * viva::bytes(dtype));
  data_ = buffer_->data();
}

Tensor::Tensor(BufferPtr buffer, uint8_t* data, DType dtype, const Shape& shape, const Strides& strides)
    : buffer_(std::move(buffer)), data_(data), dtype_(dtype), shape_(shape), strides_(strides) {}

void Tensor::check_count(const Shape& shape, size_t values) {
  if (static_cast<uint64_t>(viva::count(shape)) == values) return;
  throw Error(Code::kUsage, "tensor", fmt::format("shape {} holds {} values, not {}", text(shape), viva::count(shape), values));
}

void Tensor::check_dtype(DType t) const {
  check_defined(*this, "data");
  if (t != dtype_) throw Error(Code::kUsage, "data", fmt::format("the values are {}, not {}", name(dtype_), name(t)), "to(dtype) converts");
}

int64_t Tensor::offset_of(std::span<const int64_t> index) const {
  if (index.size() != rank()) {
    throw Error(Code::kUsage, "at", fmt::format("{} numbers for shape {}", index.size(), text(shape_)));
  }
  int64_t at = 0;
  for (size_t i = 0; i < rank(); ++i) {
    const int64_t k = index[i] < 0 ? index[i] + shape_[i] : index[i];
    if (k < 0 || k >= shape_[i]) throw Error(Code::kUsage, "at", fmt::format("{} is outside of shape {}", text(Dims(index)), text(shape_)));
    at += k * strides_[i];
  }
  return at;
}

Tensor Tensor::slice(int64_t axis, std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step) const {
  check_defined(*this, "slice");
  const size_t a = axis_of(axis, rank(), "slice");
  if (step == 0) throw Error(Code::kUsage, "slice", "a step of 0");
  const int64_t n = shape_[a];
  // Python's rule: cut to the ends, which for negative steps lie one further down.
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto place = [&](std::optional<int64_t> v, int64_t absent) {
    if (!v) return absent;
    const int64_t k = *v < 0 ? (*v < -n ? -1 : *v + n) : *v;  // what lies before the start, without overflow
    return std::clamp(k, low, high);
  };
  const int64_t first = place(start, step > 0 ? low : high), end = place(stop, step > 0 ? high : low);
  // 2^63 has no negative.
  const int64_t stride = std::max(step, -INT64_MAX);
  const int64_t span = step > 0 ? end - first : first - end, pace = stride > 0 ? stride : -stride;
  const int64_t length = span <= 0 ? 0 : (span - 1) / pace + 1;
  Shape shape = shape_;
  Strides strides = strides_;
  shape[a] = length;
  strides[a] = length <= 1 ? strides_[a] : strides_[a] * stride;
  return view(length == 0 ? 0 : first * strides_[a], shape, strides);
}

Tensor Tensor::narrow(int64_t axis, int64_t start, int64_t length) const {
  check_defined(*this, "narrow");
  const size_t a = axis_of(axis, rank(), "narrow");
  if (start < 0 || length < 0 || start > shape_[a] || length > shape_[a] - start) {
    throw Error(Code::kUsage, "narrow", fmt::format("{} values from {} along axis {} of shape {}", length, start, axis, text(shape_)));
  }
  return slice(axis, start, start + length);
}

Tensor Tensor::select(int64_t axis, int64_t index) const {
  check_defined(*this, "select");
  const size_t a = axis_of(axis, rank(), "select");
  const int64_t k = index < 0 ? index + shape_[a] : index;
  if (k < 0 || k >= shape_[a]) {
    throw Error(Code::kUsage, "select", fmt::format("index {} along axis {} of shape {}", index, axis, text(shape_)));
  }
  Shape shape = shape_;
  Strides strides = strides_;
  shape.erase(a);
  strides.erase(a);
  return view(k * strides_[a], shape, strides);
}

Tensor Tensor::transpose(int64_t a, int64_t b) const {
  check_defined(*this, "transpose");
  const size_t i = axis_of(a, rank(), "transpose"), j = axis_of(b, rank(), "transpose");
  Shape shape = shape_;
  Strides strides = strides_;
  std::swap(shape[i], shape[j]);
  std::swap(strides[i], strides[j]);
  return view(0, shape, strides);
}

Tensor Tensor::permute(const Dims& axes) const {
  check_defined(*this, "permute");
  uint32_t seen = 0;
  Shape shape;
  Strides strides;
  for (const int64_t axis : axes) {
    const size_t a = axis_of(axis, rank(), "permute");
    seen |= 1u << a;
    shape.push_back(shape_[a]);
    strides.push_back(strides_[a]);
  }
  if (axes.size() != rank() || seen != static_cast<uint32_t>((uint64_t{1} << rank()) - 1)) {
    throw Error(Code::kUsage, "permute", fmt::format("{} does not name every axis of shape {} once", text(axes), text(shape_)));
  }
  return view(0, shape, strides);
}

Tensor Tensor::expand(const Shape& shape) const {
  check_defined(*this, "expand");
  viva::count(shape);
  const auto refuse = [&] {
    throw Error(Code::kUsage, "expand", fmt::format("shape {} cannot be stretched to {}", text(shape_), text(shape)),
                "only axes of size 1 stretch, and new ones come in front");
  };
  if (shape.size() < rank()) refuse();
  const size_t added = shape.size() - rank();
  Strides strides(shape.size(), 0);
  for (size_t i = 0; i < rank(); ++i) {
    if (shape_[i] == shape[added + i]) {
      strides[added + i] = strides_[i];
    } else if (shape_[i] != 1) {
      refuse();
    }
  }
  return view(0, shape, strides);
}

Shape resolve_shape(const Shape& wanted, int64_t count, const Shape& from, std::string_view operation) {
  Shape shape = wanted;
  int64_t known = 1, open = -1;
  bool bad = false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && open < 0) {
      open = static_cast<int64_t>(i);
    } else {
      bad |= shape[i] < 0 || __builtin_mul_overflow(known, shape[i], &known);
    }
  }
  if (!bad && open >= 0) {
    bad = known == 0 || count % known != 0;
    if (!bad) shape[static_cast<size_t>(open)] = count / known;
  } else {
    bad = bad || known != count;
  }
  if (bad) {
    throw Error(Code::kUsage, operation, fmt::format("{} values of shape {} do not make shape {}", count, text(from), text(wanted)),
                "one size may be -1: what is left");
  }
  return shape;
}

std::optional<Tensor> Tensor::reshape_view(const Shape& wanted) const {
  check_defined(*this, "reshape");
  const Shape shape = resolve_shape(wanted, count(), shape_, "reshape");
  if (count() == 0) return view(0, shape, row_major(shape));
  // Runs of axes that are one axis in memory, each split into some of the new ones.
  Strides strides(shape.size(), 0);
  size_t i = 0, j = 0;
  while (i < rank() || j < shape.size()) {
    if (i < rank() && shape_[i] == 1) {
      ++i;
      continue;
    }
    if (j < shape.size() && shape[j] == 1) {
      strides[j++] = 1;
      continue;
    }
    if (i == rank() || j == shape.size()) break;
    size_t i_end = i + 1, j_end = j + 1;
    int64_t old_count = shape_[i], new_count = shape[j];
    while (old_count != new_count) {
      if (old_count < new_count) {
        old_count *= shape_[i_end++];
      } else {
        new_count *= shape[j_end++];
      }
    }
    size_t last = i;
    for (size_t k = i + 1; k < i_end; ++k) {
      if (shape_[k] == 1) continue;
      if (strides_[last] != strides_[k] * shape_[k]) return std::nullopt;
      last = k;
    }
    int64_t stride = strides_[last];
    for (size_t k = j_end; k-- > j;) {
      strides[k] = stride;
      stride *= shape[k];
    }
    i = i_end;
    j = j_end;
  }
  return view(0, shape, strides);
}

Tensor Tensor::squeeze(int64_t axis) const {
  check_defined(*this, "squeeze");
  const size_t a = axis_of(axis, rank(), "squeeze");
  if (shape_[a] != 1) throw Error(Code::kUsage, "squeeze", fmt::format("axis {} of shape {} is not of size 1", axis, text(shape_)));
  return select(axis, 0);
}

Tensor Tensor::squeeze() const {
  check_defined(*this, "squeeze");
  Shape shape;
  Strides strides;
  for (size_t i = 0; i < rank(); ++i) {
    if (shape_[i] == 1) continue;
    shape.push_back(shape_[i]);
    strides.push_back(strides_[i]);
  }
  return view(0, shape, strides);
}

Tensor Tensor::unsqueeze(int64_t axis) const {
  check_defined(*this, "unsqueeze");
  const size_t a = axis_of(axis, rank() + 1, "unsqueeze");
  Shape shape = shape_;
  Strides strides = strides_;
  shape.insert(a, 1);
  strides.insert(a, 1);
  return view(0, shape, strides);
}

Tensor Tensor::flip(const Dims& axes) const {
  check_defined(*this, "flip");
  Strides strides = strides_;
  int64_t offset = 0;
  uint32_t seen = 0;
  for (const int64_t axis : axes) {
    const size_t a = axis_of(axis, rank(), "flip");
    if ((seen >> a & 1) != 0) throw Error(Code::kUsage, "flip", fmt::format("axis {} is named twice", axis));
    seen |= 1u << a;
    if (shape_[a] > 0) offset += (shape_[a] - 1) * strides_[a];
    strides[a] = -strides_[a];
  }
  return view(count() == 0 ? 0 : offset, shape_, strides);
}

Tensor Tensor::diagonal(int64_t offset, int64_t axis1, int64_t axis2) const {
  check_defined(*this, "diagonal");
  const size_t a = axis_of(axis1, rank(), "diagonal"), b = axis_of(axis2, rank(), "diagonal");
  if (a == b) throw Error(Code::kUsage, "diagonal", "twice the same axis");
  const int64_t rows = shape_[a], cols = shape_[b];
  const int64_t down = offset < 0 ? (offset < -rows ? rows : -offset) : 0, right = std::min(std::max<int64_t>(offset, 0), cols);
  const int64_t n = std::min(rows - down, cols - right);
  Shape shape = shape_;
  Strides strides = strides_;
  for (const size_t k : {std::max(a, b), std::min(a, b)}) {
    shape.erase(k);
    strides.erase(k);
  }
  shape.push_back(n);
  strides.push_back(strides_[a] + strides_[b]);
  return view(n == 0 ? 0 : down * strides_[a] + right * strides_[b], shape, strides);
}

Tensor Tensor::unfold(int64_t axis, int64_t size, int64_t step) const {
  check_defined(*this, "unfold");
  const size_t a = axis_of(axis, rank(), "unfold");
  if (size < 0 || step <= 0 || size > shape_[a]) {
    throw Error(Code::kUsage, "unfold", fmt::format("windows of {} in steps of {} along axis {} of shape {}", size, step, axis, text(shape_)),
                "a window must fit, a step is at least 1");
  }
  Shape shape = shape_;
  Strides strides = strides_;
  shape[a] = (shape_[a] - size) / step + 1;
  strides[a] = shape[a] == 1 ? strides_[a] : strides_[a] * step;
  shape.push_back(size);
  strides.push_back(strides_[a]);
  return view(0, shape, strides);
}

}  // namespace viva
