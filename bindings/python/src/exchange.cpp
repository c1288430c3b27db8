#include <cstring>

#include "python.h"

// Arrays from and to other libraries: the buffer protocol and DLPack share memory, numbers and lists are copied.
namespace viva::python {

namespace {

// ---- DLPack's structures (dmlc/dlpack, version 1) ----

struct DLDevice {
  int32_t type, id;
};
struct DLType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};
struct DLManagedTensorVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  uint64_t flags;
  DLTensor tensor;
};
constexpr uint64_t kReadOnly = 1, kCopied = 2;
constexpr int32_t kCpu = 1, kCudaHost = 3;
constexpr char kOld[] = "dltensor", kOldUsed[] = "used_dltensor", kNew[] = "dltensor_versioned", kNewUsed[] = "used_dltensor_versioned";

struct DLCode {
  DType type;
  uint8_t code;
};
constexpr DLCode kCodes[] = {
    {DType::kI8, 0},  {DType::kI16, 0}, {DType::kI32, 0}, {DType::kI64, 0}, {DType::kU8, 1},  {DType::kU16, 1}, {DType::kU32, 1}, {DType::kU64, 1},
    {DType::kF16, 2}, {DType::kF32, 2}, {DType::kF64, 2}, {DType::kBF16, 4}, {DType::kC64, 5}, {DType::kC128, 5}, {DType::kBool, 6},
};

// What a capsule owns.
template <class Managed>
struct Exported {
  Managed managed;
  Tensor tensor;
  int64_t shape[kMaxRank], strides[kMaxRank];
};

template <class Managed>
Managed* exported(const Tensor& t) {
  auto* e = new Exported<Managed>{{}, t, {}, {}};
  for (size_t i = 0; i < t.rank(); ++i) e->shape[i] = t.shape()[i], e->strides[i] = t.strides()[i];
  uint8_t code = 0;
  for (const DLCode& c : kCodes) {
    if (c.type == t.dtype()) code = c.code;
  }
  e->managed.tensor = {t.raw(), {kCpu, 0}, static_cast<int32_t>(t.rank()), {code, static_cast<uint8_t>(info(t.dtype()).bits), 1}, e->shape, e->strides, 0};
  e->managed.context = e;
  e->managed.deleter = [](Managed* m) { delete static_cast<Exported<Managed>*>(m->context); };
  return &e->managed;
}

template <class Managed>
void destroy_capsule(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;  // it was used
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  if (m->deleter != nullptr) m->deleter(m);
}

// Values at any byte strides, copied into an array of their own.
Tensor copied(const uint8_t* data, DType type, const Shape& shape, const Strides& byte_strides) {
  const Tensor out(machine(), shape, type);
  uint8_t* to = out.raw();
  const size_t width = bytes(type);
  for_each_offset(shape, byte_strides, [&](int64_t at) {
    std::memcpy(to, data + at, width);
    to += width;
  });
  return out;
}

// The duty to give somebody's memory back, once, whatever happens on the way.
class Lease {
 public:
  explicit Lease(std::function<void()> release) : release_(std::move(release)) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (release_) release_();
  }
  // From now on the last view has it.
  BufferPtr keep(uint8_t* data, int64_t bytes) {
    BufferPtr buffer = BufferPtr::wrap(machine(), data, static_cast<uint64_t>(bytes), release_);
    release_ = nullptr;
    return buffer;
  }

 private:
  std::function<void()> release_;
};

// Somebody's values as an array that shares them where it may and can.
Tensor shared(uint8_t* data, DType type, const Shape& shape, const Strides& byte_strides, bool read_only, std::optional<bool> copy,
              Lease& lease) {
  const int64_t width = static_cast<int64_t>(bytes(type));
  count(shape);
  const size_t align = static_cast<size_t>(is_complex(type) ? width / 2 : width);
  Strides strides = byte_strides;
  bool odd = reinterpret_cast<uintptr_t>(data) % align != 0, empty = false;
  int64_t span = width;
  for (size_t i = 0; i < shape.size(); ++i) {
    empty |= shape[i] == 0;
    if (shape[i] <= 1) strides[i] = width;
    odd |= strides[i] % width != 0;
    strides[i] /= width;
  }
  for (size_t i = 0; i < shape.size() && !empty; ++i) span += (shape[i] - 1) * std::abs(strides[i]) * width;
  if (empty) return {machine(), shape, type};
  if (copy.value_or(false) || odd || read_only) {
    if (!copy.value_or(true)) {
      PyErr_SetString(PyExc_ValueError, odd ? "asarray: the values are not aligned and cannot be shared (copy=None copies them)"
                                            : "asarray: the values are read-only and cannot be shared (copy=None copies them)");
      throw nb::python_error();
    }
    return copied(data, type, shape, byte_strides);
  }
  return {lease.keep(data, span), data, type, shape, strides};
}

template <class Managed>
Tensor imported(Managed* m, bool read_only, std::optional<bool> copy) {
  Lease lease([m] {
    if (m->deleter == nullptr || !Py_IsInitialized()) return;
    const nb::gil_scoped_acquire lock;  // the producer's deleter may touch Python objects
    m->deleter(m);
  });
  const DLTensor& t = m->tensor;
  if (t.device.type != kCpu && t.device.type != kCudaHost) {
    PyErr_SetString(PyExc_BufferError, "from_dlpack: the values are not on the CPU");
    throw nb::python_error();
  }
  std::optional<DType> type;
  for (const DLCode& c : kCodes) {
    if (c.code == t.dtype.code && info(c.type).bits == t.dtype.bits && t.dtype.lanes == 1) type = c.type;
  }
  if (!type) {
    PyErr_SetString(PyExc_BufferError, "from_dlpack: there is no such type of values here");
    throw nb::python_error();
  }
  const size_t rank = static_cast<size_t>(t.ndim);
  const Shape shape(std::span<const int64_t>(t.shape, rank));
  Strides strides = t.strides == nullptr ? row_major(shape) : Strides(std::span<const int64_t>(t.strides, rank));
  for (int64_t& s : strides) s *= static_cast<int64_t>(bytes(*type));
  return shared(static_cast<uint8_t*>(t.data) + t.byte_offset, *type, shape, strides, read_only, copy, lease);
}

// ---- the buffer protocol ----

struct Format {
  DType type;
  const char* text;
};
constexpr Format kFormats[] = {
    {DType::kBool, "?"}, {DType::kI8, "b"},  {DType::kU8, "B"},  {DType::kI16, "h"}, {DType::kU16, "H"}, {DType::kI32, "i"},  {DType::kU32, "I"},
    {DType::kI64, "q"},  {DType::kU64, "Q"}, {DType::kF16, "e"}, {DType::kF32, "f"}, {DType::kF64, "d"}, {DType::kC64, "Zf"}, {DType::kC128, "Zd"},
};

// What a view of the buffer protocol holds.
struct Held {
  Tensor tensor;
  Py_ssize_t shape[kMaxRank], strides[kMaxRank];
};

std::optional<DType> type_of_format(const char* text, Py_ssize_t width) {
  std::string_view f = text == nullptr ? "B" : text;
  if (!f.empty() && (f[0] == '@' || f[0] == '=' || f[0] == '<')) f.remove_prefix(1);
  if (f == "l" || f == "n") f = width == 8 ? "q" : "i";
  if (f == "L" || f == "N") f = width == 8 ? "Q" : "I";
  if (f == "c") f = "B";
  for (const Format& k : kFormats) {
    if (f == k.text && width == static_cast<Py_ssize_t>(bytes(k.type))) return k.type;
  }
  return std::nullopt;
}

Tensor from_buffer(PyObject* object, std::optional<bool> copy) {
  auto held = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(object, held.get(), PyBUF_FULL_RO) != 0) throw nb::python_error();
  const Py_buffer* view = held.get();
  // A plain pointer, which a std::function holds without the heap.
  Lease lease([view = held.release()] {
    if (!Py_IsInitialized()) return;
    const nb::gil_scoped_acquire lock;
    PyBuffer_Release(view);
    delete view;
  });
  const auto type = type_of_format(view->format, view->itemsize);
  if (!type) {
    const std::string format = view->format == nullptr ? "" : view->format;
    throw nb::type_error(("asarray: no array holds values of the format \"" + format + "\"").c_str());
  }
  const size_t rank = static_cast<size_t>(view->ndim);
  Shape shape(rank, 0);
  Strides strides(rank, 0);
  for (size_t i = 0; i < rank; ++i) shape[i] = view->shape[i], strides[i] = view->strides[i];
  return shared(static_cast<uint8_t*>(view->buf), *type, shape, strides, view->readonly != 0, copy, lease);
}

// ---- numbers and nested sequences ----

bool is_number(PyObject* o) { return PyBool_Check(o) || PyLong_Check(o) || PyFloat_Check(o) || PyComplex_Check(o); }
// A number of another library keeps its type, even where it is also one of Python (numpy.float64).
bool is_plain_number(PyObject* o) { return is_number(o) && !PyObject_CheckBuffer(o); }
bool is_sequence(PyObject* o) { return PyList_Check(o) || PyTuple_Check(o) || PyRange_Check(o); }

struct Nested {
  Shape shape;
  std::vector<Arg> numbers;
  bool arrays = false;
};

// Collects the numbers of nested sequences of equal lengths; stops where there is something else (arrays = true).
void collect(nb::handle object, size_t depth, Nested& out) {
  if (is_number(object.ptr())) {
    if (depth != out.shape.size()) throw Error(Code::kUsage, "asarray", "sequences of unequal depth");
    out.numbers.push_back(*operand(object.ptr()));
    return;
  }
  if (!is_sequence(object.ptr())) {
    out.arrays = true;
    return;
  }
  const nb::object items = nb::steal(PySequence_Fast(object.ptr(), "asarray: a sequence is needed"));
  if (!items.is_valid()) throw nb::python_error();
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(items.ptr());
  if (depth == out.shape.size() && out.numbers.empty()) {
    out.shape.push_back(n);
  } else if (depth >= out.shape.size() || out.shape[depth] != n) {
    throw Error(Code::kUsage, "asarray", "sequences of unequal lengths");
  }
  for (Py_ssize_t i = 0; i < n && !out.arrays; ++i) collect(PySequence_Fast_GET_ITEM(items.ptr(), i), depth + 1, out);
}

DType type_of_numbers(const std::vector<Arg>& numbers) {
  Arg::Kind most = Arg::Kind::kBool;
  bool large = false, negative = false;
  for (const Arg& a : numbers) {
    most = std::max(most, a.kind());
    large |= !a.fits(DType::kI64);
    negative |= !a.fits(DType::kU64);
  }
  if (numbers.empty() || most == Arg::Kind::kFloat) return kDefaultFloat;
  if (most == Arg::Kind::kComplex) return DType::kC64;
  if (most == Arg::Kind::kBool) return DType::kBool;
  if (large && negative) {
    PyErr_SetString(PyExc_OverflowError, "asarray: no integer type holds all the numbers");
    throw nb::python_error();
  }
  return large ? DType::kU64 : kDefaultInt;
}

Tensor from_sequence(nb::handle object, std::optional<DType> dtype) {
  Nested all;
  collect(object, 0, all);
  if (all.arrays) {  // arrays among them: each item for itself
    if (!is_sequence(object.ptr())) {
      throw nb::type_error(("asarray: an array cannot be made of " + std::string(Py_TYPE(object.ptr())->tp_name)).c_str());
    }
    std::vector<Tensor> parts;
    for (const nb::handle h : nb::borrow(object)) parts.push_back(as_tensor(h, dtype, std::nullopt));
    return stack(parts);
  }
  const DType type = dtype.value_or(type_of_numbers(all.numbers));
  Tensor out(machine(), all.shape, type);
  uint8_t* to = out.raw();
  for (const Arg& a : all.numbers) {
    if (!a.fits(type)) {
      PyErr_SetString(PyExc_OverflowError, ("asarray: a number does not fit in " + std::string(python_name(type))).c_str());
      throw nb::python_error();
    }
    a.write(to, type);
    to += bytes(type);
  }
  return out;
}

}  // namespace

nb::object to_dlpack(const Tensor& t, bool versioned, bool copied) {
  PyObject* capsule;
  if (versioned) {
    auto* m = exported<DLManagedTensorVersioned>(t);
    m->major = 1, m->minor = 0, m->flags = copied ? kCopied : 0;
    capsule = PyCapsule_New(m, kNew, [](PyObject* c) { destroy_capsule<DLManagedTensorVersioned>(c, kNew); });
  } else {
    capsule = PyCapsule_New(exported<DLManagedTensor>(t), kOld, [](PyObject* c) { destroy_capsule<DLManagedTensor>(c, kOld); });
  }
  if (capsule == nullptr) throw nb::python_error();
  return nb::steal(capsule);
}

Tensor from_dlpack(nb::handle object, std::optional<bool> copy) {
  if (is_array(object.ptr())) return copy.value_or(false) ? clone(tensor(object)) : tensor(object);
  nb::object capsule;
  if (PyCapsule_CheckExact(object.ptr())) {
    capsule = nb::borrow(object);
  } else {
    if (!nb::hasattr(object, "__dlpack__")) throw nb::type_error("from_dlpack: the object has no __dlpack__");
    const nb::object device = object.attr("__dlpack_device__")();
    const int type = nb::cast<int>(nb::int_(device[0]));
    if (type != kCpu && type != kCudaHost) {
      PyErr_SetString(PyExc_BufferError, "from_dlpack: the values are not on the CPU");
      throw nb::python_error();
    }
    try {
      capsule = object.attr("__dlpack__")(nb::arg("max_version") = nb::make_tuple(1, 0));
    } catch (nb::python_error& e) {
      if (!e.matches(PyExc_TypeError)) throw;
      capsule = object.attr("__dlpack__")();  // of before version 1
    }
  }
  if (PyCapsule_IsValid(capsule.ptr(), kNew)) {
    auto* m = static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), kNew));
    if (m->major != 1) {
      PyErr_SetString(PyExc_BufferError, "from_dlpack: an unknown version of DLPack");
      throw nb::python_error();
    }
    PyCapsule_SetName(capsule.ptr(), kNewUsed);
    return imported(m, (m->flags & kReadOnly) != 0, copy);
  }
  if (!PyCapsule_IsValid(capsule.ptr(), kOld)) throw nb::value_error("from_dlpack: a capsule without a tensor, or one that was taken before");
  auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kOld));
  PyCapsule_SetName(capsule.ptr(), kOldUsed);
  return imported(m, false, copy);
}

bool is_foreign_array(PyObject* o) noexcept {
  return !is_array(o) && ((PyObject_CheckBuffer(o) && !PyBytes_Check(o)) || PyObject_HasAttrString(o, "__dlpack__"));
}

Tensor as_tensor(nb::handle object, std::optional<DType> dtype, std::optional<bool> copy) {
  PyObject* o = object.ptr();
  std::optional<Tensor> t;
  bool fresh = false;
  if (is_array(o)) {
    t = tensor(object);
  } else if (is_plain_number(o) || is_sequence(o)) {
    if (!copy.value_or(true)) throw Error(Code::kUsage, "asarray", "numbers of Python are copied", "copy=None, or copy=True");
    return from_sequence(object, dtype);
  } else if (PyObject_CheckBuffer(o)) {
    t = from_buffer(o, copy), fresh = copy.value_or(false);
  } else if (nb::hasattr(object, "__dlpack__")) {
    t = from_dlpack(object, copy), fresh = copy.value_or(false);
  } else {
    return from_sequence(object, dtype);  // says what is wrong
  }
  if (dtype && *dtype != t->dtype()) {
    if (!copy.value_or(true)) throw Error(Code::kUsage, "asarray", "values of another type are copied", "copy=None, or copy=True");
    return computed(t->count(), [&] { return to(*t, *dtype); });
  }
  if (copy.value_or(false) && !fresh) return computed(t->count(), [&] { return clone(*t); });
  return std::move(*t);
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept {
  *view = {};
  return guarded(-1, [&] {
    const Tensor& t = tensor(self);
    const char* format = nullptr;
    for (const Format& k : kFormats) {
      if (k.type == t.dtype()) format = k.text;
    }
    const bool strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
    const bool rows = t.contiguous();
    const auto asks = [&](int what) { return (flags & what) == what; };
    const auto columns = [&] {
      Dims turned;
      for (size_t i = t.rank(); i-- > 0;) turned.push_back(static_cast<int64_t>(i));
      return t.permute(turned).contiguous();
    };
    if (format == nullptr || (!rows && (!strided || asks(PyBUF_C_CONTIGUOUS))) || (asks(PyBUF_F_CONTIGUOUS) && !columns()) ||
        (asks(PyBUF_ANY_CONTIGUOUS) && !rows && !columns())) {
      PyErr_SetString(PyExc_BufferError, format == nullptr ? "buffer: bfloat16 has no format there (astype(), or DLPack)"
                                                           : "buffer: the values do not lie in order");
      return -1;
    }
    auto* held = new Held{t, {}, {}};
    for (size_t i = 0; i < t.rank(); ++i) {
      held->shape[i] = t.shape()[i];
      held->strides[i] = t.strides()[i] * static_cast<Py_ssize_t>(bytes(t.dtype()));
    }
    view->buf = t.raw();
    view->obj = Py_NewRef(self);
    view->len = static_cast<Py_ssize_t>(t.bytes());
    view->itemsize = static_cast<Py_ssize_t>(bytes(t.dtype()));
    view->ndim = static_cast<int>(t.rank());
    view->format = (flags & PyBUF_FORMAT) != 0 ? const_cast<char*>(format) : nullptr;
    view->shape = (flags & PyBUF_ND) != 0 ? held->shape : nullptr;
    view->strides = strided ? held->strides : nullptr;
    view->internal = held;
    if ((flags & PyBUF_ND) == 0) view->ndim = 1;
    view->readonly = 0;
    view->suboffsets = nullptr;
    return 0;
  });
}

void release_buffer(PyObject*, Py_buffer* view) noexcept {
  delete static_cast<Held*>(view->internal);
  view->internal = nullptr;
}

}  // namespace viva::python
