#include <nanobind/stl/string_view.h>

#include <cmath>
#include <limits>

#include "python.h"

namespace viva::python {

State& state() {
  static State* const s = new State;  // never destroyed: arrays may outlive the module
  return *s;
}

nb::object dtype_object(DType t) { return nb::borrow(state().dtypes[static_cast<size_t>(t)]); }

nb::tuple tuple_of(std::vector<Tensor>&& all) {
  nb::object t = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(all.size())));
  for (size_t i = 0; i < all.size(); ++i) PyTuple_SET_ITEM(t.ptr(), static_cast<Py_ssize_t>(i), wrap(std::move(all[i])).release().ptr());
  return nb::borrow<nb::tuple>(t);
}

std::vector<Tensor> arrays_of(const nb::args& all, const char* what) {
  std::vector<Tensor> list;
  for (const nb::handle h : all) {
    if (!is_array(h.ptr())) throw nb::type_error((std::string(what) + ": an array is needed, not " + Py_TYPE(h.ptr())->tp_name).c_str());
    list.push_back(tensor(h));
  }
  return list;
}

void check_device(const std::optional<std::string>& device) {
  if (device && *device != "cpu") throw Error(Code::kUsage, "device", "\"" + *device + "\" is not here", "\"cpu\" is the only one");
}

namespace {

PyObject* exception_for(const Error& e) {
  switch (e.code()) {
    case Code::kResource: return PyExc_MemoryError;
    case Code::kInternal: return PyExc_SystemError;
    case Code::kBadInput: return e.operation() == "pack" ? PyExc_ValueError : state().linalg_error;
    case Code::kUsage:
      if (e.operation() == "index" || e.operation() == "select" || e.operation() == "take" || e.operation() == "expand_dims") return PyExc_IndexError;
      return PyExc_ValueError;
    default: return PyExc_RuntimeError;
  }
}

void translate(const std::exception_ptr& p, void*) {
  try {
    std::rethrow_exception(p);
  } catch (const Error& e) {
    PyErr_SetString(exception_for(e), e.what());
  }
}

[[noreturn]] void raise_elementwise(const Error& e, const Tensor* a, const Tensor* b) {
  if (e.code() != Code::kUsage) throw e;
  bool shapes = false;
  if (a != nullptr && b != nullptr) {
    try {
      broadcast(a->shape(), b->shape(), "");
    } catch (const Error&) {
      shapes = true;
    }
  }
  if (shapes) throw e;
  throw nb::type_error(e.what());
}

using Kind = std::variant<const DTypeObject*, std::string, std::vector<std::variant<const DTypeObject*, std::string>>>;

bool is_kind(DType t, const std::string& kind) {
  if (kind == "bool") return is_bool(t);
  if (kind == "signed integer") return is_signed_int(t);
  if (kind == "unsigned integer") return is_unsigned_int(t);
  if (kind == "integral") return is_int(t);
  if (kind == "real floating") return is_real_float(t);
  if (kind == "complex floating") return is_complex(t);
  if (kind == "numeric") return is_int(t) || is_real_float(t) || is_complex(t);
  throw Error(Code::kUsage, "isdtype", "\"" + kind + "\" is no kind of types",
              "bool, signed integer, unsigned integer, integral, real floating, complex floating, numeric");
}

using Typed = std::variant<const DTypeObject*, const Tensor*>;
DType type_of(const Typed& v) {
  if (v.index() == 0 && std::get<0>(v) != nullptr) return std::get<0>(v)->type;
  if (v.index() == 1 && std::get<1>(v) != nullptr) return std::get<1>(v)->dtype();
  throw nb::type_error("a dtype or an array is needed, not None");
}

bool can_cast(DType from, DType to) {
  try {
    return promote(from, to) == to;
  } catch (const Error&) {
    return false;
  }
}

// The standard's result_type: dtypes and arrays first, numbers give way to them.
DType result_type(const nb::args& all) {
  std::optional<DType> type;
  std::vector<Arg> numbers;
  for (const nb::handle h : all) {
    const DTypeObject* t = nullptr;
    if (nb::try_cast(h, t) && t != nullptr) {
      type = type ? promote(*type, t->type, "result_type") : t->type;
    } else if (const auto a = operand(h.ptr()); a && a->tensor() != nullptr) {
      type = type ? promote(*type, a->tensor()->dtype(), "result_type") : a->tensor()->dtype();
    } else if (a) {
      numbers.push_back(*a);
    } else {
      throw nb::type_error("result_type: only arrays, dtypes and numbers have a type");
    }
  }
  if (!type) throw Error(Code::kUsage, "result_type", "no array and no dtype is given");
  for (const Arg& n : numbers) type = promote(*type, n.kind());
  return *type;
}

struct FInfo {
  DType dtype;
  int bits;
  double eps, max, min, smallest_normal;
};
FInfo finfo(const Typed& of) {
  const DType t = type_of(of);
  const DType real = t == DType::kC64 ? DType::kF32 : t == DType::kC128 ? DType::kF64 : t;
  // Digits of the significand (with the hidden one) and the largest exponent.
  int digits = 0, exponent = 0;
  switch (real) {
    case DType::kF16: digits = 11, exponent = 15; break;
    case DType::kBF16: digits = 8, exponent = 127; break;
    case DType::kF32: digits = 24, exponent = 127; break;
    case DType::kF64: digits = 53, exponent = 1023; break;
    default: throw nb::type_error(("finfo: " + std::string(python_name(t)) + " is no floating-point type").c_str());
  }
  const double max = std::ldexp(2 - std::ldexp(1.0, 1 - digits), exponent);
  return {real, static_cast<int>(info(real).bits), std::ldexp(1.0, 1 - digits), max, -max, std::ldexp(1.0, 1 - exponent)};
}

struct IInfo {
  DType dtype;
  int bits;
  uint64_t max;
  int64_t min;
};
IInfo iinfo(const Typed& of) {
  const DType t = type_of(of);
  if (!is_int(t)) throw nb::type_error(("iinfo: " + std::string(python_name(t)) + " is no integer type").c_str());
  const int bits = static_cast<int>(info(t).bits), digits = is_signed_int(t) ? bits - 1 : bits;
  return {t, bits, UINT64_MAX >> (64 - digits), is_signed_int(t) ? INT64_MIN >> (64 - bits) : 0};
}

}  // namespace

void raise_current() noexcept {
  try {
    throw;
  } catch (nb::python_error& e) {
    e.restore();
  } catch (nb::builtin_exception& e) {
    PyErr_SetString(e.type() == nb::exception_type::type_error    ? PyExc_TypeError
                    : e.type() == nb::exception_type::index_error ? PyExc_IndexError
                                                                  : PyExc_ValueError,
                    e.what());
  } catch (const Error& e) {
    PyErr_SetString(exception_for(e), e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

// numpy.float32(2) and its like: one value to share, and no length.
bool is_foreign_number(PyObject* o) {
  const PyTypeObject* t = Py_TYPE(o);
  return PyObject_CheckBuffer(o) && (t->tp_as_sequence == nullptr || t->tp_as_sequence->sq_length == nullptr) &&
         (t->tp_as_mapping == nullptr || t->tp_as_mapping->mp_length == nullptr);
}
std::optional<Arg> foreign_number(PyObject* o) {
  const Tensor x = as_tensor(o, std::nullopt, std::nullopt);
  if (x.rank() != 0) return std::nullopt;
  if (is_bool(x.dtype())) return Arg(x.item<bool>());
  if (x.dtype() == DType::kU64) return Arg(x.item<uint64_t>());
  if (is_int(x.dtype())) return Arg(x.item<int64_t>());
  return is_complex(x.dtype()) ? Arg(x.item<std::complex<double>>()) : Arg(x.item<double>());
}

std::optional<Arg> operand(PyObject* o) {
  if (is_array(o)) return Arg(tensor(o));
  if (PyBool_Check(o)) return Arg(o == Py_True);
  if (PyFloat_Check(o)) return Arg(PyFloat_AS_DOUBLE(o));
  if (PyLong_Check(o)) {
    int overflow = 0;
    const long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow == 0) return Arg(static_cast<int64_t>(v));
    if (overflow > 0) {
      const unsigned long long u = PyLong_AsUnsignedLongLong(o);
      if (!PyErr_Occurred()) return Arg(static_cast<uint64_t>(u));
    } else {
      PyErr_SetString(PyExc_OverflowError, "the number does not fit in 64 bits");
    }
    throw nb::python_error();
  }
  if (PyComplex_Check(o)) return Arg(std::complex<double>(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)));
  return is_foreign_number(o) ? foreign_number(o) : std::nullopt;
}

nb::object call(Tensor (*verb)(const Tensor&), const Tensor& x) {
  try {
    return wrap(computed(x.count(), [&] { return verb(x); }));
  } catch (const Error& e) {
    raise_elementwise(e, nullptr, nullptr);
  }
}

nb::object call(Tensor (*verb)(const Arg&, const Arg&), const Arg& a, const Arg& b) {
  try {
    return wrap(computed(std::max(values_of(a), values_of(b)), [&] { return verb(a, b); }));
  } catch (const Error& e) {
    for (const Arg* x : {&a, &b}) {
      const Tensor* other = x == &a ? b.tensor() : a.tensor();
      if (x->tensor() == nullptr && other != nullptr && !x->fits(promote(other->dtype(), x->kind()))) {
        PyErr_SetString(PyExc_OverflowError, e.what());
        throw nb::python_error();
      }
    }
    raise_elementwise(e, a.tensor(), b.tensor());
  }
}

void bind_errors() { nb::register_exception_translator(translate); }

void bind_dtypes(nb::module_& m) {
  nb::class_<DTypeObject>(m, "dtype", nb::is_final(), "The type of an array's values.")
      .def("__repr__", [](const DTypeObject& t) { return "viva." + std::string(python_name(t.type)); })
      .def("__str__", [](const DTypeObject& t) { return python_name(t.type); })
      .def("__reduce__", [](const DTypeObject& t) { return python_name(t.type); })
      .def_prop_ro("name", [](const DTypeObject& t) { return python_name(t.type); })
      .def_prop_ro("itemsize", [](const DTypeObject& t) { return bytes(t.type); }, "bytes of one value");
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    const DType t = static_cast<DType>(i);
    if (!is_element(t)) continue;
    nb::object o = nb::cast(DTypeObject{t});
    m.attr(std::string(python_name(t)).c_str()) = o;
    state().dtypes[i] = o.release().ptr();
  }

  nb::class_<FInfo>(m, "finfo_object", "Limits of a floating-point type.")
      .def_prop_ro("dtype", [](const FInfo& f) { return dtype_object(f.dtype); })
      .def_ro("bits", &FInfo::bits)
      .def_ro("eps", &FInfo::eps, "the step from 1 to the next number")
      .def_ro("max", &FInfo::max)
      .def_ro("min", &FInfo::min)
      .def_ro("smallest_normal", &FInfo::smallest_normal);
  nb::class_<IInfo>(m, "iinfo_object", "Limits of an integer type.")
      .def_prop_ro("dtype", [](const IInfo& f) { return dtype_object(f.dtype); })
      .def_ro("bits", &IInfo::bits)
      .def_ro("max", &IInfo::max)
      .def_ro("min", &IInfo::min);

  m.def("finfo", &finfo, nb::arg("type"), "Limits of the floating-point type of an array or dtype.");
  m.def("iinfo", &iinfo, nb::arg("type"), "Limits of the integer type of an array or dtype.");
  m.def("can_cast", [](const Typed& from, const DTypeObject& to) { return can_cast(type_of(from), to.type); }, nb::arg("from_"), nb::arg("to"),
        "Whether promotion turns the one into the other.");
  m.def("isdtype", [](const DTypeObject& t, const Kind& kind) {
        const auto is = [&](const auto& k) {
          if constexpr (std::is_same_v<std::decay_t<decltype(k)>, std::string>) {
            return is_kind(t.type, k);
          } else {
            return k != nullptr && k->type == t.type;
          }
        };
        if (kind.index() == 0) return is(std::get<0>(kind));
        if (kind.index() == 1) return is(std::get<1>(kind));
        bool any = false;
        for (const auto& k : std::get<2>(kind)) any |= std::visit(is, k);
        return any;
      }, nb::arg("dtype"), nb::arg("kind"), "Whether a dtype is of a kind, as \"real floating\", or of one of several.");
  m.def("result_type", [](const nb::args& all) { return dtype_object(result_type(all)); }, "The type that values of all are computed in.");
}

}  // namespace viva::python

NB_MODULE(_core, m) {
  using namespace viva::python;
  m.doc() = "The compiled part of viva.";
  bind_errors();
  nanobind::set_leak_warnings(false);  // the types of values live as long as the process
  bind_array(m);
  bind_dtypes(m);
  bind_functions(m);
  bind_numbers(m);
  bind_linalg(m);
  bind_packed(m);
  bind_conv(m);
  bind_random(m);
  bind_fft(m);
  bind_signatures(m);
  const double pi = std::acos(-1.0);
  m.attr("e") = std::exp(1.0);
  m.attr("pi") = pi;
  m.attr("inf") = std::numeric_limits<double>::infinity();
  m.attr("nan") = std::numeric_limits<double>::quiet_NaN();
  m.attr("newaxis") = nb::none();
}
