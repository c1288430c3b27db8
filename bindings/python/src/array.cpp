#include <nanobind/stl/pair.h>

#include <cmath>
#include <cstring>

#include "python.h"

namespace viva::python {

namespace {

using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Arg&, const Arg&);

template <Unary kVerb>
PyObject* unary(PyObject* x) noexcept {
  return guarded<PyObject*>(nullptr, [&] { return call(kVerb, tensor(x)).release().ptr(); });
}

// f(a, b) with arrays of other libraries, on either side, taken as arrays of ours. NotImplemented would have them answer, and
// `x += numpy_array` make x NumPy's.
PyObject* mixed(PyObject* (*f)(PyObject*, PyObject*) noexcept, PyObject* a, PyObject* b) {
  if (!is_foreign_array(a) && !is_foreign_array(b)) return Py_NewRef(Py_NotImplemented);
  const auto taken = [](PyObject* o) { return is_foreign_array(o) ? wrap(as_tensor(o, std::nullopt, std::nullopt)) : nb::borrow(o); };
  const nb::object x = taken(a), y = taken(b);
  return f(x.ptr(), y.ptr());
}

template <Binary kVerb>
PyObject* binary(PyObject* a, PyObject* b) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const auto x = operand(a), y = operand(b);
    if (!x || !y) return mixed(&binary<kVerb>, a, b);
    return call(kVerb, *x, *y).release().ptr();
  });
}

// The result is written over the values of `a`, which all views of it see.
template <Binary kVerb>
PyObject* in_place(PyObject* a, PyObject* b) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const auto y = operand(b);
    if (!y) return mixed(&in_place<kVerb>, a, b);
    const Tensor& x = tensor(a);
    const nb::object result = call(kVerb, Arg(x), *y);
    const Tensor& r = tensor(result);
    if (r.dtype() != x.dtype()) {
      throw nb::type_error(("in place: values of " + std::string(python_name(r.dtype())) + " do not go into an array of " +
                            std::string(python_name(x.dtype()))).c_str());
    }
    computed(x.count(), [&] { assign(x, r); });
    return Py_NewRef(a);
  });
}

template <Binary kVerb>
PyObject* power(PyObject* a, PyObject* b, PyObject* modulus) noexcept {
  return modulus == Py_None ? binary<kVerb>(a, b) : Py_NewRef(Py_NotImplemented);
}
template <Binary kVerb>
PyObject* power_in_place(PyObject* a, PyObject* b, PyObject*) noexcept {
  return in_place<kVerb>(a, b);
}

PyObject* product(PyObject* a, PyObject* b) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    if (!is_array(a) || !is_array(b)) return mixed(&product, a, b);
    const Tensor &x = tensor(a), &y = tensor(b);
    return wrap(computed(std::max(x.count(), y.count()), [&] { return matmul(x, y); })).release().ptr();
  });
}
PyObject* product_in_place(PyObject* a, PyObject* b) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    if (!is_array(b)) return mixed(&product_in_place, a, b);
    const Tensor &x = tensor(a), &y = tensor(b);
    released([&] { assign(x, matmul(x, y)); });
    return Py_NewRef(a);
  });
}

// & | ^ ~ of bool are those of logic; the verbs take both.
PyObject* compare(PyObject* a, PyObject* b, int op) noexcept {
  switch (op) {
    case Py_LT: return binary<&less>(a, b);
    case Py_LE: return binary<&less_equal>(a, b);
    case Py_EQ: return binary<&equal>(a, b);
    case Py_NE: return binary<&not_equal>(a, b);
    case Py_GT: return binary<&greater>(a, b);
    default: return binary<&greater_equal>(a, b);
  }
}

const Tensor& single(PyObject* self, const char* what) {
  const Tensor& x = tensor(self);
  if (x.count() != 1) {
    throw nb::type_error((std::string(what) + ": an array of shape " + text(x.shape()) + " has not one value").c_str());
  }
  return x;
}

// A value in memory as a number of Python; null where there is no memory for it.
template <class T>
PyObject* number(const uint8_t* at) {
  const T v = *reinterpret_cast<const T*>(at);
  if constexpr (std::is_same_v<T, bool>) {
    return PyBool_FromLong(v);
  } else if constexpr (std::is_integral_v<T>) {
    return std::is_signed_v<T> ? PyLong_FromLongLong(static_cast<long long>(v)) : PyLong_FromUnsignedLongLong(static_cast<unsigned long long>(v));
  } else if constexpr (std::is_same_v<T, std::complex<float>> || std::is_same_v<T, std::complex<double>>) {
    return PyComplex_FromDoubles(static_cast<double>(v.real()), static_cast<double>(v.imag()));
  } else {
    return PyFloat_FromDouble(element_cast<T, double>(v));
  }
}

// The only value of x.
nb::object scalar(const Tensor& x) {
  PyObject* out = nullptr;
  with_element(x.dtype(), [&](auto zero) { out = number<decltype(zero)>(x.raw()); });
  if (out == nullptr) throw nb::python_error();
  return nb::steal(out);
}

int truth(PyObject* self) noexcept {
  return guarded(-1, [&] {
    const Tensor& x = tensor(self);
    if (x.count() != 1) {
      throw nb::value_error(("bool: the truth of an array of shape " + text(x.shape()) + " is ambiguous (use any() or all())").c_str());
    }
    return PyObject_IsTrue(scalar(x).ptr());
  });
}

PyObject* as_int(PyObject* self) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const nb::object v = scalar(single(self, "int"));
    if (PyComplex_Check(v.ptr())) throw nb::type_error("int: a complex number is none");
    return PyNumber_Long(v.ptr());
  });
}
PyObject* as_float(PyObject* self) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const nb::object v = scalar(single(self, "float"));
    if (PyComplex_Check(v.ptr())) throw nb::type_error("float: a complex number is none");
    return PyNumber_Float(v.ptr());
  });
}
PyObject* as_index(PyObject* self) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const Tensor& x = tensor(self);
    if (x.rank() != 0 || !is_int(x.dtype())) throw nb::type_error("index: only an integer array without axes is an index");
    return scalar(x).release().ptr();
  });
}
nb::object as_complex(nb::handle self) {
  const Tensor& x = single(self.ptr(), "complex");
  const auto v = x.item<std::complex<double>>();
  return nb::steal(PyComplex_FromDoubles(v.real(), v.imag()));
}

int contains(PyObject* self, PyObject* value) noexcept {
  return guarded(-1, [&] {
    const auto v = operand(value);
    const Tensor& x = tensor(self);
    if (!v || (v->tensor() == nullptr && !v->fits(promote(x.dtype(), v->kind())))) return 0;
    const nb::object same = call(&equal, Arg(x), *v);
    return any(tensor(same)).item<bool>() ? 1 : 0;
  });
}

// As the number where it has no axes; otherwise only as str() does.
nb::object formatted(nb::handle self, const nb::str& spec) {
  const Tensor& x = tensor(self);
  if (nb::len(spec) == 0) return nb::str(self);
  if (x.rank() != 0) throw nb::type_error(("format: an array of shape " + text(x.shape()) + " has not one value").c_str());
  PyObject* out = PyObject_Format(scalar(x).ptr(), spec.ptr());
  if (out == nullptr) throw nb::python_error();
  return nb::steal(out);
}

// NumPy asks for it where the buffer protocol has no such type: bfloat16 goes to the type that it wants.
nb::object as_numpy(nb::handle self, nb::handle dtype, nb::handle copy) {
  const Tensor& x = tensor(self);
  const bool foreign = x.dtype() == DType::kBF16;
  if (foreign && dtype.is_none()) throw nb::type_error("__array__: NumPy has no bfloat16 (astype(x, viva.float32), or a dtype)");
  if (foreign && copy.ptr() == Py_False) throw nb::value_error("__array__: NumPy has no bfloat16, the values must be copied (copy=None)");
  const nb::object values = foreign ? wrap(to(x, DType::kF32)) : nb::borrow(self);
  const nb::object view = nb::steal(PyMemoryView_FromObject(values.ptr()));
  if (!view.is_valid()) throw nb::python_error();
  nb::dict how;
  if (!copy.is_none()) how["copy"] = copy;
  return nb::module_::import_("numpy").attr(copy.is_none() ? "asarray" : "array")(view, nb::arg("dtype") = dtype, **how);
}

Py_ssize_t length(PyObject* self) noexcept {
  return guarded<Py_ssize_t>(-1, [&] {
    const Tensor& x = tensor(self);
    if (x.rank() == 0) throw nb::type_error("len: an array without axes has no length");
    return static_cast<Py_ssize_t>(x.shape()[0]);
  });
}
PyObject* item(PyObject* self, Py_ssize_t i) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    const Tensor& x = tensor(self);
    if (i < 0 || i >= x.size(0)) throw nb::index_error("index: outside of the array");
    return wrap(x.select(0, i)).release().ptr();
  });
}
PyObject* iterate(PyObject* self) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    if (tensor(self).rank() == 0) throw nb::type_error("iter: an array without axes has nothing to go through");
    return PySeqIter_New(self);
  });
}

template <class T>
PyObject* list_from(const Tensor& x, size_t axis, const uint8_t* at) {
  if (axis == x.rank()) return number<T>(at);
  const int64_t n = x.shape()[axis], step = x.strides()[axis] * static_cast<int64_t>(sizeof(T));
  PyObject* list = PyList_New(n);
  if (list == nullptr) return nullptr;
  for (int64_t i = 0; i < n; ++i, at += step) {
    PyObject* item = list_from<T>(x, axis + 1, at);
    if (item == nullptr) {
      Py_DECREF(list);
      return nullptr;
    }
    PyList_SET_ITEM(list, i, item);
  }
  return list;
}

nb::object list_of(const Tensor& x) {
  PyObject* out = nullptr;
  with_element(x.dtype(), [&](auto zero) { out = list_from<decltype(zero)>(x, 0, x.raw()); });
  if (out == nullptr) throw nb::python_error();
  return nb::steal(out);
}

PyObject* tuple_of(const Dims& d) {
  nb::object t = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(d.size())));
  if (!t.is_valid()) return nullptr;
  for (size_t i = 0; i < d.size(); ++i) {
    PyObject* n = PyLong_FromLongLong(d[i]);
    if (n == nullptr) return nullptr;
    PyTuple_SET_ITEM(t.ptr(), static_cast<Py_ssize_t>(i), n);
  }
  return t.release().ptr();
}

PyObject* matrix_transpose(const Tensor& x) {
  if (x.rank() != 2) throw Error(Code::kUsage, "T", "shape " + text(x.shape()) + " is no matrix", "mT, or permute_dims()");
  return wrap(x.transpose(0, 1)).release().ptr();
}
PyObject* last_two(const Tensor& x) {
  if (x.rank() < 2) throw Error(Code::kUsage, "mT", "shape " + text(x.shape()) + " has no two axes");
  return wrap(x.transpose(-2, -1)).release().ptr();
}

// Attributes are read by the interpreter itself, without a call through nanobind; what type checkers read of them is in
// stub.pat.
template <PyObject* (*kRead)(const Tensor&)>
PyObject* attribute(PyObject* self, void*) noexcept {
  return guarded<PyObject*>(nullptr, [&] { return kRead(tensor(self)); });
}
PyGetSetDef kAttributes[] = {
    {"dtype", attribute<[](const Tensor& x) { return dtype_object(x.dtype()).release().ptr(); }>, nullptr, "type of the values", nullptr},
    {"device", attribute<[](const Tensor&) { return PyUnicode_FromString("cpu"); }>, nullptr, "where the values are: \"cpu\"", nullptr},
    {"shape", attribute<[](const Tensor& x) { return tuple_of(x.shape()); }>, nullptr, "sizes, outermost axis first", nullptr},
    {"strides", attribute<[](const Tensor& x) { return tuple_of(x.strides()); }>, nullptr, "steps along the axes, in values", nullptr},
    {"ndim", attribute<[](const Tensor& x) { return PyLong_FromSize_t(x.rank()); }>, nullptr, "number of axes", nullptr},
    {"size", attribute<[](const Tensor& x) { return PyLong_FromLongLong(x.count()); }>, nullptr, "number of values", nullptr},
    {"nbytes", attribute<[](const Tensor& x) { return PyLong_FromUnsignedLongLong(x.bytes()); }>, nullptr, "bytes of all values", nullptr},
    {"T", attribute<&matrix_transpose>, nullptr, "the transpose of a matrix, a view", nullptr},
    {"mT", attribute<&last_two>, nullptr, "the last two axes exchanged, a view", nullptr},
    {}};

template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

}  // namespace

void bind_array(nb::module_& m) {
  static PyType_Slot slots[] = {
      {Py_nb_add, slot(binary<&add>)},
      {Py_nb_subtract, slot(binary<&subtract>)},
      {Py_nb_multiply, slot(binary<&multiply>)},
      {Py_nb_true_divide, slot(binary<&divide>)},
      {Py_nb_floor_divide, slot(binary<&floor_divide>)},
      {Py_nb_remainder, slot(binary<&remainder>)},
      {Py_nb_power, slot(power<&pow>)},
      {Py_nb_and, slot(binary<&bitwise_and>)},
      {Py_nb_or, slot(binary<&bitwise_or>)},
      {Py_nb_xor, slot(binary<&bitwise_xor>)},
      {Py_nb_lshift, slot(binary<&bitwise_left_shift>)},
      {Py_nb_rshift, slot(binary<&bitwise_right_shift>)},
      {Py_nb_inplace_add, slot(in_place<&add>)},
      {Py_nb_inplace_subtract, slot(in_place<&subtract>)},
      {Py_nb_inplace_multiply, slot(in_place<&multiply>)},
      {Py_nb_inplace_true_divide, slot(in_place<&divide>)},
      {Py_nb_inplace_floor_divide, slot(in_place<&floor_divide>)},
      {Py_nb_inplace_remainder, slot(in_place<&remainder>)},
      {Py_nb_inplace_power, slot(power_in_place<&pow>)},
      {Py_nb_inplace_and, slot(in_place<&bitwise_and>)},
      {Py_nb_inplace_or, slot(in_place<&bitwise_or>)},
      {Py_nb_inplace_xor, slot(in_place<&bitwise_xor>)},
      {Py_nb_inplace_lshift, slot(in_place<&bitwise_left_shift>)},
      {Py_nb_inplace_rshift, slot(in_place<&bitwise_right_shift>)},
      {Py_nb_matrix_multiply, slot(product)},
      {Py_nb_inplace_matrix_multiply, slot(product_in_place)},
      {Py_nb_negative, slot(unary<&negative>)},
      {Py_nb_positive, slot(unary<&positive>)},
      {Py_nb_absolute, slot(unary<&viva::abs>)},
      {Py_nb_invert, slot(unary<&bitwise_invert>)},
      {Py_nb_bool, slot(truth)},
      {Py_nb_int, slot(as_int)},
      {Py_nb_float, slot(as_float)},
      {Py_nb_index, slot(as_index)},
      {Py_mp_length, slot(length)},
      {Py_sq_length, slot(length)},
      {Py_mp_subscript, slot(subscript)},
      {Py_mp_ass_subscript, slot(assign_subscript)},
      {Py_sq_item, slot(item)},
      {Py_sq_contains, slot(contains)},
      {Py_tp_iter, slot(iterate)},
      {Py_tp_richcompare, slot(compare)},
      {Py_tp_hash, slot(PyObject_HashNotImplemented)},
      {Py_tp_getset, kAttributes},
      {Py_bf_getbuffer, slot(get_buffer)},
      {Py_bf_releasebuffer, slot(release_buffer)},
      {0, nullptr}};

  nb::class_<Tensor> array(m, "array", nb::is_final(), nb::pooled(256), nb::type_slots(slots),
                           "Values of one type with any number of axes. Slices, transposes and reshapes share the values.");
  state().array = reinterpret_cast<PyTypeObject*>(array.ptr());
  array
      .def("__init__", [](Tensor* self, nb::handle values, const DTypeObject* dtype) { new (self) Tensor(as_tensor(values, maybe(dtype), true)); },
           nb::arg("values"), nb::arg("dtype") = nb::none())
      .def("__complex__", &as_complex)
      .def("__array__", &as_numpy, nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none())
      .def("__format__", &formatted)
      .def("__repr__", [](const Tensor& x) { return repr(x); })
      .def("__str__", [](const Tensor& x) { return print(x); })
      .def("item", [](nb::handle self) { return scalar(single(self.ptr(), "item")); }, "The only value, as a number of Python.")
      .def("tolist", [](const Tensor& x) { return list_of(x); }, "The values as nested lists.")
      .def("to_device", [](nb::object self, const std::string& device, nb::handle) {
             check_device(device);
             return self;
           }, nb::arg("device"), nb::kw_only(), nb::arg("stream") = nb::none(), "The array itself: there is one device.")
      .def("__array_namespace__", [](nb::handle, const std::optional<std::string>& version) {
             if (version && *version != "2024.12" && *version != "2023.12" && *version != "2022.12" && *version != "2021.12") {
               throw Error(Code::kUsage, "__array_namespace__", "version " + *version + " of the standard is not here", "2024.12");
             }
             return nb::module_::import_("viva");
           }, nb::kw_only(), nb::arg("api_version") = nb::none())
      .def("__dlpack_device__", [](const Tensor&) { return std::pair(1, 0); })
      .def("__dlpack__", [](const Tensor& x, nb::handle, std::optional<std::pair<int, int>> version, std::optional<std::pair<int, int>> device,
                            std::optional<bool> copy) {
             if (device && device->first != 1) {
               PyErr_SetString(PyExc_BufferError, "__dlpack__: the values are on the CPU");
               throw nb::python_error();
             }
             return to_dlpack(copy.value_or(false) ? clone(x) : x, version && version->first >= 1, copy.value_or(false));
           }, nb::kw_only(), nb::arg("stream") = nb::none(), nb::arg("max_version") = nb::none(), nb::arg("dl_device") = nb::none(),
           nb::arg("copy") = nb::none())
      .def("__reduce__", [](nb::handle self) {
             const Tensor x = contiguous(tensor(self));
             return nb::make_tuple(nb::module_::import_("viva").attr("_rebuild"),
                                   nb::make_tuple(nb::bytes(x.raw(), x.bytes()), dtype_object(x.dtype()), nb::steal(tuple_of(x.shape()))));
           })
      .def("__copy__", [](const Tensor& x) { return clone(x); })
      .def("__deepcopy__", [](const Tensor& x, nb::handle) { return clone(x); });
  array.attr("__array_priority__") = 1000.0;  // numpy_array + x is asked of x, as x + numpy_array is
  m.def("_from_bytes", [](const nb::bytes& values, const DTypeObject& dtype, const std::vector<int64_t>& shape) {
          const Tensor x(machine(), Shape(std::span<const int64_t>(shape)), dtype.type);
          if (values.size() != x.bytes()) throw nb::value_error("array: the bytes of a pickle do not fit its shape");
          std::memcpy(x.raw(), values.c_str(), values.size());
          return x;
        });
}

}  // namespace viva::python
