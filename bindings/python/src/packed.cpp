#include "python.h"

// Compressed matrices: viva.pack(x, "nf4"), viva.linear(x, packed).
namespace viva::python {

void bind_packed(nb::module_& m) {
  nb::class_<Packed>(m, "packed", nb::is_final(), "A matrix (rows, cols) written in a format of compressed weights.")
      .def("__repr__", [](const Packed& p) {
        return "<viva.packed " + p.name() + " (" + std::to_string(p.rows()) + ", " + std::to_string(p.cols()) + "), " + std::to_string(p.bytes()) + " bytes>";
      })
      .def_prop_ro("format", &Packed::name, "its name, as \"nf4\" or \"int4-g128\"")
      .def_prop_ro("shape", [](const Packed& p) { return nb::make_tuple(p.rows(), p.cols()); }, "(rows, cols)")
      .def_prop_ro("nbytes", &Packed::bytes, "bytes of codes and scales")
      .def_prop_ro("bits_per_value", &Packed::bits_per_value)
      .def("narrow", &Packed::narrow, nb::arg("first"), nb::arg("rows"), "Some of the rows, in the same bytes.");
  m.def("pack", [](const Tensor& x, const std::string& format, const std::string& encoder) {
          if (encoder != "best" && encoder != "reference") throw Error(Code::kUsage, "pack", "encoder \"" + encoder + "\"", "\"best\" or \"reference\"");
          return released([&] { return pack(x, format, encoder == "best" ? Encoder::kBest : Encoder::kReference); });
        }, nb::arg("x"), nb::arg("format"), nb::kw_only(), nb::arg("encoder") = "best", "A matrix of floats in a format of compressed weights.");
  m.def("unpack", [](const Packed& p, const DTypeObject* dtype) {
          return released([&] { return unpack(p, dtype_or(dtype, kDefaultFloat)); });
        }, nb::arg("packed"), nb::kw_only(), nb::arg("dtype") = nb::none(), "The values that it stands for.");
  m.def("linear", [](const Tensor& x, const Packed& w) { return linear(x, w); }, nb::arg("x"), nb::arg("weight"), Released(),
        "x (..., cols) times the transpose of a packed (rows, cols), decoded panel by panel.");
  m.def("formats", [] {
          nb::list names;
          for (const Format* f : formats()) names.append(std::string(f->name));
          return names;
        }, "What pack() can write.");
}

}  // namespace viva::python
