#include "python.h"

// inspect.signature() of the module's functions: __signature__, made by viva/_signature.py when somebody asks for it.
namespace viva::python {

namespace {

template <bool kBound>
PyObject* signature(PyObject* self, void*) noexcept {
  return guarded<PyObject*>(nullptr, [&] {
    return nb::module_::import_("viva._signature").attr(kBound ? "of_bound" : "of")(nb::handle(self)).release().ptr();
  });
}

PyGetSetDef kFunction = {"__signature__", signature<false>, nullptr, "what inspect.signature() tells", nullptr};
PyGetSetDef kMethod = {"__signature__", signature<true>, nullptr, "what inspect.signature() tells", nullptr};

// nanobind's types take no attributes from Python; one in their dict costs a call nothing, as calls look nothing up there.
void add(PyTypeObject* type, PyGetSetDef* attribute) {
  const nb::object descriptor = nb::steal(PyDescr_NewGetSet(type, attribute));
  if (!descriptor.is_valid() || PyDict_SetItemString(type->tp_dict, attribute->name, descriptor.ptr()) != 0) throw nb::python_error();
  PyType_Modified(type);
}

}  // namespace

void bind_signatures(nb::module_& m) {
  add(Py_TYPE(m.attr("sum").ptr()), &kFunction);
  const nb::object method = m.attr("array").attr("item");
  add(Py_TYPE(method.ptr()), &kFunction);
  add(Py_TYPE(m.attr("float32").attr("__repr__").ptr()), &kMethod);
}

}  // namespace viva::python
