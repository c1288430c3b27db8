#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "viva/ops/ops.h"

// What the parts of the module share. An array of Python is a viva::Tensor inside an object of the final class `array`.
namespace viva::python {

namespace nb = nanobind;

// One for each type of values; `x.dtype is viva.float32` holds.
struct DTypeObject {
  DType type;
};

// What lives as long as the interpreter does.
struct State {
  Machine machine;
  PyTypeObject* array = nullptr;
  PyObject* linalg_error = nullptr;
  PyObject* dtypes[kDTypes.size()] = {};
};
State& state();
inline const Machine& machine() { return state().machine; }

inline std::string_view python_name(DType t) { return plain_name(t); }
nb::object dtype_object(DType t);
inline DType dtype_or(const DTypeObject* t, DType otherwise) { return t == nullptr ? otherwise : t->type; }
inline std::optional<DType> maybe(const DTypeObject* t) { return t == nullptr ? std::nullopt : std::optional(t->type); }
// Throws where it is neither None nor "cpu".
void check_device(const std::optional<std::string>& device);

inline bool is_array(PyObject* o) noexcept { return Py_TYPE(o) == state().array; }
// Throws where __new__ alone made the object: there is no tensor in it.
inline Tensor& tensor(nb::handle o) {
  if (!nb::inst_ready(o)) throw nb::type_error("array: made by __new__ alone, it has no values");
  return *nb::inst_ptr<Tensor>(o);
}
// The array around a tensor, without nanobind's search for an existing one.
inline nb::object wrap(Tensor&& t) {
  nb::object o = nb::inst_alloc(reinterpret_cast<PyObject*>(state().array));
  new (nb::inst_ptr<Tensor>(o)) Tensor(std::move(t));
  nb::inst_mark_ready(o);
  return o;
}

// An array, or a number of Python or NumPy (it has no type of its own then), as an operand; empty for anything else. Throws
// OverflowError past 64 bits.
std::optional<Arg> operand(PyObject* o);

// From fewer values on than a change of threads costs, the interpreter's lock is kept.
inline constexpr int64_t kLockedValues = 2048;
template <class F>
auto computed(int64_t values, F f) {
  if (values <= kLockedValues) return f();
  nb::gil_scoped_release free;
  return f();
}
inline int64_t values_of(const Arg& a) { return a.tensor() == nullptr ? 1 : a.tensor()->count(); }

// A call of an elementwise verb: what is wrong with it is either the shapes (ValueError) or the types (TypeError).
nb::object call(Tensor (*verb)(const Tensor&), const Tensor& x);
nb::object call(Tensor (*verb)(const Arg&, const Arg&), const Arg& a, const Arg& b);

// The number of a diagonal: an int, of which what is past every matrix is cut.
struct Diagonal {
  int64_t k = 0;
};

// int or a sequence of them.
using Ints = std::variant<int64_t, std::vector<int64_t>>;
inline Dims dims(const Ints& v) {
  return v.index() == 0 ? Dims{std::get<0>(v)} : Dims(std::span<const int64_t>(std::get<1>(v)));
}

using AxisOrAxes = std::optional<Ints>;

// Around a function of C++ alone: other threads of Python may run.
using Released = nb::call_guard<nb::gil_scoped_release>;
template <class F>
auto released(F f) {
  nb::gil_scoped_release free;
  return f();
}
nb::tuple tuple_of(std::vector<Tensor>&& all);
std::vector<Tensor> arrays_of(const nb::args& all, const char* what);  // TypeError where one is none
inline Axes axes_of(const AxisOrAxes& axis) { return axis ? Axes(dims(*axis)) : Axes(); }

// A result with names: collections.namedtuple.
class Named {
 public:
  Named(nb::module_& m, const char* name, const char* fields)
      : type_(nb::module_::import_("collections").attr("namedtuple")(name, fields, nb::arg("module") = "viva")) {
    m.attr(name) = type_;
  }
  nb::object operator()(std::vector<Tensor>&& all) const { return type_(*tuple_of(std::move(all))); }

 private:
  nb::object type_;
};

// exchange.cpp
bool is_foreign_array(PyObject* o) noexcept;  // of another library: it has values to share
Tensor as_tensor(nb::handle object, std::optional<DType> dtype, std::optional<bool> copy);
Tensor from_dlpack(nb::handle object, std::optional<bool> copy);
nb::object to_dlpack(const Tensor& t, bool versioned, bool copied);
int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept;
void release_buffer(PyObject* self, Py_buffer* view) noexcept;

// index.cpp
PyObject* subscript(PyObject* self, PyObject* key) noexcept;
int assign_subscript(PyObject* self, PyObject* key, PyObject* value) noexcept;

// The parts of the module.
void bind_errors();
void bind_array(nb::module_& m);
void bind_functions(nb::module_& m);
void bind_numbers(nb::module_& m);
void bind_linalg(nb::module_& m);
void bind_packed(nb::module_& m);
void bind_conv(nb::module_& m);
void bind_random(nb::module_& m);
void bind_fft(nb::module_& m);
void bind_dtypes(nb::module_& m);
void bind_signatures(nb::module_& m);

// Sets the Python exception for the C++ one that is being handled.
void raise_current() noexcept;
// Runs f; what it throws becomes a Python exception and `failed` is returned.
template <class R, class F>
R guarded(R failed, F f) noexcept {
  try {
    return f();
  } catch (...) {
    raise_current();
    return failed;
  }
}

}  // namespace viva::python

template <>
struct nanobind::detail::type_caster<viva::python::Diagonal> {
  NB_TYPE_CASTER(viva::python::Diagonal, const_name("int"))
  bool from_python(handle src, uint8_t, cleanup_list*) noexcept {
    constexpr int64_t kMost = int64_t{1} << 61;
    const object whole = steal(PyNumber_Index(src.ptr()));
    int overflow = 0;
    const int64_t v = whole.is_valid() ? PyLong_AsLongLongAndOverflow(whole.ptr(), &overflow) : 0;
    PyErr_Clear();
    value.k = overflow != 0 ? overflow * kMost : std::clamp(v, -kMost, kMost);
    return whole.is_valid();
  }
};
