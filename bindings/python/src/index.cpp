#include "python.h"

// x[key] and x[key] = value: slices, None, ... and numbers make views; arrays of places and masks go through index().
namespace viva::python {

namespace {

struct Selected {
  Tensor view;
  Dims axes;  // of the view that `places` name
  std::vector<Tensor> places;
};

// An item that is an array, or what becomes one: lists, arrays of other libraries.
bool is_array_like(PyObject* o) {
  return is_array(o) || PyList_Check(o) || (PyObject_CheckBuffer(o) && !PyBytes_Check(o)) || PyObject_HasAttrString(o, "__dlpack__");
}

bool is_mask(PyObject* o) { return PyBool_Check(o) || (is_array(o) && tensor(o).dtype() == DType::kBool); }

int64_t whole(PyObject* o) {
  const Py_ssize_t v = PyNumber_AsSsize_t(o, PyExc_IndexError);
  if (v == -1 && PyErr_Occurred()) throw nb::python_error();
  return v;
}

std::optional<int64_t> bound(PyObject* o) {
  if (o == Py_None) return std::nullopt;
  if (!PyIndex_Check(o)) throw nb::type_error("index: slices take integers or None");
  const Py_ssize_t v = PyNumber_AsSsize_t(o, nullptr);  // what is too large is cut
  if (v == -1 && PyErr_Occurred()) throw nb::python_error();
  return v;
}

Tensor sliced(const Tensor& x, int64_t axis, PyObject* item) {
  const auto* s = reinterpret_cast<PySliceObject*>(item);
  const int64_t step = bound(s->step).value_or(1);
  return x.slice(axis, bound(s->start), bound(s->stop), step);
}

Selected select(const Tensor& x, PyObject* key) {
  nb::object single;
  if (!PyTuple_Check(key)) {
    single = nb::steal(PyTuple_Pack(1, key));
    key = single.ptr();
  }
  const Py_ssize_t n = PyTuple_GET_SIZE(key);
  std::vector<nb::object> items;
  size_t used = 0, ellipses = 0;
  bool arrays = false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    nb::object o = nb::borrow(PyTuple_GET_ITEM(key, i));
    // Arrays of other libraries are indices too (__index__), of which only those without axes mean it.
    if (!is_array(o.ptr()) && !PyLong_Check(o.ptr()) && !PySlice_Check(o.ptr()) && o.ptr() != Py_None && o.ptr() != Py_Ellipsis &&
        is_array_like(o.ptr())) {
      Tensor t = as_tensor(o, std::nullopt, std::nullopt);
      o = wrap(t.count() == 0 && PyList_Check(o.ptr()) ? to(t, kDefaultInt) : std::move(t));
    }
    if (o.ptr() == Py_Ellipsis) {
      ++ellipses;
    } else if (is_mask(o.ptr())) {
      used += PyBool_Check(o.ptr()) ? 0 : tensor(o).rank();
      arrays = true;
    } else if (o.ptr() != Py_None) {
      if (is_array(o.ptr())) {
        if (!is_int(tensor(o).dtype())) throw nb::index_error("index: arrays of places are integers or bool");
        arrays |= tensor(o).rank() > 0;
      } else if (!PySlice_Check(o.ptr()) && !PyIndex_Check(o.ptr())) {
        throw nb::index_error("index: only integers, slices, ..., None and arrays of integers or bool name places");
      }
      ++used;
    }
    items.push_back(std::move(o));
  }
  if (ellipses > 1) throw nb::index_error("index: one ... is enough");
  if (used > x.rank()) {
    throw Error(Code::kUsage, "index", "more places than shape " + text(x.shape()) + " has axes");
  }
  Selected out{x, {}, {}};
  int64_t axis = 0;
  for (const nb::object& item : items) {
    PyObject* o = item.ptr();
    if (o == Py_Ellipsis) {
      axis += static_cast<int64_t>(x.rank() - used);
    } else if (o == Py_None) {
      out.view = out.view.unsqueeze(axis++);
    } else if (is_mask(o)) {
      Tensor mask = PyBool_Check(o) ? Arg(o == Py_True).as(machine(), DType::kBool) : tensor(o);
      if (mask.rank() == 0) {
        mask = mask.unsqueeze(0);
        out.view = out.view.unsqueeze(axis);
      }
      for (size_t i = 0; i < mask.rank(); ++i) {
        const int64_t have = out.view.size(axis + static_cast<int64_t>(i));
        if (mask.shape()[i] != have && mask.shape()[i] != 0) {
          throw Error(Code::kUsage, "index", "a mask of shape " + text(mask.shape()) + " for shape " + text(x.shape()), "the axes that it stands for must be equal, or its own 0");
        }
      }
      for (Tensor& t : nonzero(mask)) {
        out.axes.push_back(axis++);
        out.places.push_back(std::move(t));
      }
    } else if (PySlice_Check(o)) {
      out.view = sliced(out.view, axis++, o);
    } else if (arrays) {
      out.axes.push_back(axis++);
      out.places.push_back(is_array(o) ? tensor(o) : Arg(whole(o)).as(machine(), kDefaultInt));
    } else {
      out.view = out.view.select(axis, whole(o));
    }
  }
  return out;
}

// A key of numbers, slices, None and ... alone, in one pass; empty for any other.
std::optional<Tensor> simple_view(const Tensor& x, PyObject* key) {
  PyObject* const* items = PyTuple_Check(key) ? &PyTuple_GET_ITEM(key, 0) : &key;
  const Py_ssize_t n = PyTuple_Check(key) ? PyTuple_GET_SIZE(key) : 1;
  size_t used = 0;
  bool dots = false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = items[i];
    if (o == Py_Ellipsis) {
      if (dots) return std::nullopt;
      dots = true;
    } else if (PyLong_CheckExact(o) || PySlice_Check(o)) {
      ++used;
    } else if (o != Py_None) {
      return std::nullopt;
    }
  }
  if (used > x.rank()) return std::nullopt;  // the long way says so
  Shape shape;
  Strides strides;
  int64_t offset = 0;
  bool none = false;  // of the values
  size_t axis = 0;
  const auto keep = [&](size_t until) {
    for (; axis < until; ++axis) shape.push_back(x.shape()[axis]), strides.push_back(x.strides()[axis]);
  };
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = items[i];
    if (o == Py_Ellipsis) {
      keep(axis + x.rank() - used);
    } else if (o == Py_None) {
      shape.push_back(1), strides.push_back(1);
    } else if (PySlice_Check(o)) {
      Py_ssize_t start, stop, step;
      if (PySlice_Unpack(o, &start, &stop, &step) != 0) throw nb::python_error();
      const Py_ssize_t length = PySlice_AdjustIndices(x.shape()[axis], &start, &stop, step);
      shape.push_back(length);
      strides.push_back(length <= 1 ? x.strides()[axis] : x.strides()[axis] * step);
      none |= length == 0;
      if (length != 0) offset += start * x.strides()[axis];
      ++axis;
    } else {
      const int64_t size = x.shape()[axis], wanted = whole(o), k = wanted < 0 ? wanted + size : wanted;
      if (k < 0 || k >= size) return std::nullopt;
      offset += k * x.strides()[axis++];
    }
  }
  keep(x.rank());
  return Tensor(x.buffer(), x.raw() + (none ? 0 : offset * static_cast<int64_t>(bytes(x.dtype()))), x.dtype(), shape, strides);
}

// The value that a key of numbers alone names; null for any other key.
uint8_t* value_at(const Tensor& x, PyObject* key) {
  PyObject* const* items = PyTuple_Check(key) ? &PyTuple_GET_ITEM(key, 0) : &key;
  const Py_ssize_t n = PyTuple_Check(key) ? PyTuple_GET_SIZE(key) : 1;
  if (static_cast<size_t>(n) != x.rank()) return nullptr;
  int64_t offset = 0;
  for (size_t i = 0; i < x.rank(); ++i) {
    if (!PyLong_CheckExact(items[i])) return nullptr;
    const int64_t size = x.shape()[i], wanted = whole(items[i]), k = wanted < 0 ? wanted + size : wanted;
    if (k < 0 || k >= size) return nullptr;  // the long way says so
    offset += k * x.strides()[i];
  }
  return x.raw() + offset * static_cast<int64_t>(bytes(x.dtype()));
}

}  // namespace

PyObject* subscript(PyObject* self, PyObject* key) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const Tensor& x = tensor(self);
    if (uint8_t* at = value_at(x, key)) return wrap(Tensor(x.buffer(), at, x.dtype(), Shape(), Strides())).release().ptr();
    if (auto view = simple_view(x, key)) return wrap(std::move(*view)).release().ptr();
    if (is_array(key) && tensor(key).dtype() == DType::kBool && x.rank() != 0 && tensor(key).shape() == x.shape()) {
      const Tensor& mask = tensor(key);
      return wrap(released([&] { return masked_select(x, mask); })).release().ptr();
    }
    Selected s = select(x, key);
    if (s.places.empty()) return wrap(std::move(s.view)).release().ptr();
    Tensor out;
    {
      nb::gil_scoped_release free;
      out = index(s.view, s.axes, s.places);
    }
    return wrap(std::move(out)).release().ptr();
  });
}

int assign_subscript(PyObject* self, PyObject* key, PyObject* value) noexcept {
  return guarded(-1, [&] {
    if (value == nullptr) throw nb::type_error("index: an array's values cannot be deleted");
    const Tensor& x = tensor(self);
    std::optional<Arg> v = operand(value);
    if (v && v->tensor() == nullptr && v->fits(x.dtype()) && v->kind() != Arg::Kind::kComplex) {
      if (uint8_t* at = value_at(x, key)) {
        v->write(at, x.dtype());
        return 0;
      }
    }
    auto view = simple_view(x, key);
    const Selected s = view ? Selected{std::move(*view), {}, {}} : select(x, key);
    Tensor converted;
    if (!v) {
      converted = as_tensor(value, std::nullopt, std::nullopt);
      v = Arg(converted);
    }
    if (!is_complex(s.view.dtype()) && (v->kind() == Arg::Kind::kComplex || (v->tensor() != nullptr && is_complex(v->tensor()->dtype())))) {
      throw nb::type_error(("index: complex values do not go into an array of " + std::string(python_name(s.view.dtype()))).c_str());
    }
    if (!v->fits(s.view.dtype())) {
      PyErr_SetString(PyExc_OverflowError, ("index: the number does not fit in " + std::string(python_name(s.view.dtype()))).c_str());
      throw nb::python_error();
    }
    computed(s.places.empty() ? s.view.count() : x.count(), [&] {
      s.places.empty() ? assign(s.view, *v) : index_assign(s.view, s.axes, s.places, *v);
    });
    return 0;
  });
}

}  // namespace viva::python
