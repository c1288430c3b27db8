#include <nanobind/stl/pair.h>

#include <algorithm>
#include <cmath>

#include "python.h"

// The functions of the standard's namespace: what they take from Python is sorted out here, the rest is viva/ops.
namespace viva::python {

namespace {

using Device = std::optional<std::string>;

Arg number_or_array(nb::handle o, const char* what) {
  const auto a = operand(o.ptr());
  if (!a) throw nb::type_error((std::string(what) + ": an array or a number is needed, not " + Py_TYPE(o.ptr())->tp_name).c_str());
  return *a;
}

// ---- elementwise: every line of the list ----

using Unary = Tensor (*)(const Tensor&);
using Binary = Tensor (*)(const Arg&, const Arg&);

struct Row1 {
  const char *name, *signature, *doc;
  Unary verb;
};
struct Row2 {
  const char *name, *signature, *doc;
  Binary verb;
};
#define VIVA_ROW_1_1(NAME, DOC) {#NAME, "def " #NAME "(x: array, /) -> array", DOC, &viva::NAME},
#define VIVA_ROW_2_1(NAME, DOC)
#define VIVA_ROW_1_2(NAME, DOC)
#define VIVA_ROW_2_2(NAME, DOC) {#NAME, "def " #NAME "(x1: array | complex, x2: array | complex, /) -> array", DOC, &viva::NAME},
const Row1 kRows1[] = {
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) VIVA_ROW_##OPERANDS##_1(NAME, DOC)
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
};
const Row2 kRows2[] = {
#define VIVA_LOOP(NAME, OPERANDS, TYPES, RESULT, DOC) VIVA_ROW_##OPERANDS##_2(NAME, DOC)
#include "viva/kernels/loops.inc"
#undef VIVA_LOOP
};

void bind_elementwise(nb::module_& m) {
  for (const Row1& row : kRows1) {
    m.def(row.name, [verb = row.verb](const Tensor& x) { return call(verb, x); }, nb::sig(row.signature), row.doc);
  }
  for (const Row2& row : kRows2) {
    m.def(row.name, [row = &row](nb::handle a, nb::handle b) {
            return call(row->verb, number_or_array(a, row->name), number_or_array(b, row->name));
          }, nb::sig(row.signature), row.doc);
  }
  m.def("clip", [](const Tensor& x, nb::handle min, nb::handle max) {
          std::optional<Arg> low, high;
          if (!min.is_none()) low = number_or_array(min, "clip");
          if (!max.is_none()) high = number_or_array(max, "clip");
          nb::object out = wrap(low || high ? Tensor(x) : clone(x));
          if (low) out = call(&maximum, Arg(tensor(out)), *low);
          if (high) out = call(&minimum, Arg(tensor(out)), *high);
          return out;
        }, nb::sig("def clip(x: array, /, min: array | float | None = None, max: array | float | None = None) -> array"),
        nb::arg(), nb::arg("min") = nb::none(), nb::arg("max") = nb::none(), "Values cut to a range; NaN stays NaN.");
  m.def("where", [](const Tensor& condition, nb::handle a, nb::handle b) {
          const Arg x = number_or_array(a, "where"), y = number_or_array(b, "where");
          return wrap(computed(std::max({condition.count(), values_of(x), values_of(y)}), [&] { return where(condition, x, y); }));
        }, nb::sig("def where(condition: array, x1: array | complex, x2: array | complex, /) -> array"), "x1 where the condition is true, else x2.");
}

// ---- creation ----

bool is_real(nb::handle o) { return PyFloat_Check(o.ptr()) || PyLong_Check(o.ptr()); }

Tensor arange_of(nb::handle start, nb::handle stop, nb::handle step, const DTypeObject* dtype) {
  nb::object first = nb::borrow(start), end = nb::borrow(stop);
  if (end.is_none()) {
    end = first;
    first = nb::int_(0);
  }
  bool whole = true;
  for (const nb::handle h : {nb::handle(first), nb::handle(end), step}) {
    if (!is_real(h)) throw nb::type_error("arange: start, stop and step are numbers");
    whole &= PyLong_Check(h.ptr()) != 0;
  }
  const DType type = dtype_or(dtype, whole ? kDefaultInt : kDefaultFloat);
  const auto as_double = [](nb::handle h) {
    const double v = PyFloat_AsDouble(h.ptr());
    if (v == -1 && PyErr_Occurred()) throw nb::python_error();
    return v;
  };
  const double a = as_double(first), b = as_double(end), s = as_double(step);
  const bool exact = std::fabs(a) < 0x1p53 && std::fabs(b) < 0x1p53 && std::fabs(s) < 0x1p53;
  if (exact || !whole || !is_int(type)) return arange(machine(), a, b, s, type);
  // Integers that f64 does not hold: counted from 0.
  int overflow = 0;
  const int64_t from = PyLong_AsLongLongAndOverflow(first.ptr(), &overflow), by = PyLong_AsLongLong(step.ptr());
  const nb::object n = nb::steal(PyObject_CallMethod(nb::module_::import_("builtins").attr("range")(first, end, step).ptr(), "__len__", nullptr));
  if (!n.is_valid() || overflow != 0 || (by == -1 && PyErr_Occurred())) {
    PyErr_Clear();
    PyErr_SetString(PyExc_OverflowError, "arange: the numbers do not fit in 64 bits");
    throw nb::python_error();
  }
  const Tensor up = arange(machine(), 0, nb::cast<double>(nb::float_(n)), 1, DType::kI64);
  return to(add(multiply(up, by), from), type);
}

Tensor linspace_of(nb::handle start, nb::handle stop, int64_t num, const DTypeObject* dtype, bool endpoint) {
  const auto value = [](nb::handle h) {
    const Py_complex c = PyComplex_AsCComplex(h.ptr());
    if (PyErr_Occurred()) throw nb::python_error();
    return std::complex<double>(c.real, c.imag);
  };
  const bool is_complex_number = PyComplex_Check(start.ptr()) || PyComplex_Check(stop.ptr());
  const std::complex<double> a = value(start), b = value(stop);
  const DType type = dtype_or(dtype, is_complex_number ? DType::kC64 : kDefaultFloat);
  if (!is_complex_number) return linspace(machine(), a.real(), b.real(), num, type, endpoint);
  const Tensor re = linspace(machine(), a.real(), b.real(), num, DType::kF64, endpoint);
  const Tensor im = linspace(machine(), a.imag(), b.imag(), num, DType::kF64, endpoint);
  return to(add(re, multiply(im, std::complex<double>(0, 1))), type);
}

Tensor full_of(const Shape& shape, nb::handle value, std::optional<DType> dtype) {
  const Arg v = number_or_array(value, "full");
  if (dtype && !v.fits(*dtype)) {
    PyErr_SetString(PyExc_OverflowError, ("full: the number does not fit in " + std::string(python_name(*dtype))).c_str());
    throw nb::python_error();
  }
  if (!dtype && v.kind() == Arg::Kind::kInt && !v.fits(DType::kI64)) dtype = DType::kU64;
  return released([&] { return full(machine(), shape, v, dtype); });
}

template <class F>
void def_making(nb::module_& m, const char* name, const char* like, const char* doc, const char* like_doc, F make) {
  m.def(name, [make](const Ints& shape, const DTypeObject* dtype, const Device& device) {
          check_device(device);
          const Shape s = dims(shape);
          return computed(count(s), [&] { return make(s, dtype_or(dtype, kDefaultFloat)); });
        }, nb::arg("shape"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(), doc);
  m.def(like, [make](const Tensor& x, const DTypeObject* dtype, const Device& device) {
          check_device(device);
          return computed(x.count(), [&] { return make(x.shape(), dtype_or(dtype, x.dtype())); });
        }, nb::arg("x"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(), like_doc);
}

void bind_creation(nb::module_& m) {
  m.def("asarray", [](nb::handle obj, const DTypeObject* dtype, const Device& device, std::optional<bool> copy) {
          check_device(device);
          return as_tensor(obj, maybe(dtype), copy);
        }, nb::arg("obj"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(), nb::arg("copy") = nb::none(),
        "An array of numbers, nested sequences, or of another library's array, whose memory is shared where that can be.");
  m.def("from_dlpack", [](nb::handle x, const Device& device, std::optional<bool> copy) {
          check_device(device);
          return from_dlpack(x, copy);
        }, nb::arg("x"), nb::kw_only(), nb::arg("device") = nb::none(), nb::arg("copy") = nb::none(),
        "An array that shares the memory of another library's array.");
  m.def("arange", [](nb::handle start, nb::handle stop, nb::handle step, const DTypeObject* dtype, const Device& device) {
          check_device(device);
          return arange_of(start, stop, step, dtype);
        }, nb::arg("start"), nb::arg("stop") = nb::none(), nb::arg("step") = 1, nb::kw_only(), nb::arg("dtype") = nb::none(),
        nb::arg("device") = nb::none(), "Evenly spaced values from start (0 where only one is given) up to stop, without it.");
  m.def("linspace", [](nb::handle start, nb::handle stop, int64_t num, const DTypeObject* dtype, const Device& device, bool endpoint) {
          check_device(device);
          return linspace_of(start, stop, num, dtype, endpoint);
        }, nb::arg("start"), nb::arg("stop"), nb::arg("num"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(),
        nb::arg("endpoint") = true, "num evenly spaced values from start to stop.");
  m.def("eye", [](int64_t rows, std::optional<int64_t> cols, Diagonal k, const DTypeObject* dtype, const Device& device) {
          check_device(device);
          return eye(machine(), rows, cols, k.k, dtype_or(dtype, kDefaultFloat));
        }, nb::arg("n_rows"), nb::arg("n_cols") = nb::none(), nb::kw_only(), nb::arg("k") = 0, nb::arg("dtype") = nb::none(),
        nb::arg("device") = nb::none(), Released(), "A matrix with 1 on the k-th diagonal.");
  def_making(m, "empty", "empty_like", "An array of values of nothing in particular.", "One of the shape and type of x.",
             [](const Shape& shape, DType t) { return Tensor(machine(), shape, t); });
  def_making(m, "zeros", "zeros_like", "An array of zeros.", "One of the shape and type of x.",
             [](const Shape& shape, DType t) { return zeros(machine(), shape, t); });
  def_making(m, "ones", "ones_like", "An array of ones.", "One of the shape and type of x.",
             [](const Shape& shape, DType t) { return ones(machine(), shape, t); });
  m.def("full", [](const Ints& shape, nb::handle value, const DTypeObject* dtype, const Device& device) {
          check_device(device);
          return full_of(dims(shape), value, maybe(dtype));
        }, nb::arg("shape"), nb::arg("fill_value"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(),
        "An array of one value.");
  m.def("full_like", [](const Tensor& x, nb::handle value, const DTypeObject* dtype, const Device& device) {
          check_device(device);
          return full_of(x.shape(), value, dtype_or(dtype, x.dtype()));
        }, nb::arg("x"), nb::arg("fill_value"), nb::kw_only(), nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(),
        "One of the shape and type of x.");
  m.def("tril", [](const Tensor& x, Diagonal k) { return tril(x, k.k); }, nb::arg("x"), nb::kw_only(), nb::arg("k") = 0, Released(), "Zeros above the k-th diagonal.");
  m.def("triu", [](const Tensor& x, Diagonal k) { return triu(x, k.k); }, nb::arg("x"), nb::kw_only(), nb::arg("k") = 0, Released(), "Zeros below the k-th diagonal.");
  m.def("meshgrid", [](const nb::args& arrays, const std::string& indexing) {
          if (indexing != "xy" && indexing != "ij") throw Error(Code::kUsage, "meshgrid", "indexing \"" + indexing + "\"", "\"xy\" or \"ij\"");
          return meshgrid(arrays_of(arrays, "meshgrid"), indexing == "ij");
        }, nb::arg("arrays"), nb::kw_only(), nb::arg("indexing") = "xy", "The coordinates of all points of a grid.");
  m.def("astype", [](const Tensor& x, const DTypeObject& dtype, bool copy, const Device& device) {
          check_device(device);
          return computed(x.count(), [&] { return x.dtype() != dtype.type ? to(x, dtype.type) : copy ? clone(x) : x; });
        }, nb::arg("x"), nb::arg("dtype"), nb::kw_only(), nb::arg("copy") = true, nb::arg("device") = nb::none(),
        "The values as another type.");
}

// ---- manipulation ----

void bind_manipulation(nb::module_& m) {
  m.def("broadcast_to", [](const Tensor& x, const Ints& shape) { return x.expand(dims(shape)); }, nb::arg("x"), nb::arg("shape"),
        "A view of the shape.");
  m.def("broadcast_arrays", [](const nb::args& arrays) {
          return broadcast_arrays(arrays_of(arrays, "broadcast_arrays"));
        }, "Views of the arrays, all of one shape.");
  m.def("broadcast_shapes", [](const nb::args& shapes) {
          Shape all;
          for (const nb::handle h : shapes) {
            std::vector<int64_t> sizes;
            if (!nb::try_cast(h, sizes)) throw nb::type_error((std::string("broadcast_shapes: a shape is a tuple of sizes, not ") + Py_TYPE(h.ptr())->tp_name).c_str());
            const Shape shape{std::span<const int64_t>(sizes)};
            count(shape);  // no size is negative
            all = broadcast(all, shape, "broadcast_shapes");
          }
          nb::list sizes;
          for (const int64_t d : all) sizes.append(d);
          return nb::tuple(sizes);
        }, nb::arg("shapes"), "The shape that arrays of these shapes are stretched to.");
  m.def("concat", [](const std::vector<Tensor>& arrays, std::optional<int64_t> axis) {
          if (axis) return concat(arrays, *axis);
          std::vector<Tensor> flat;
          for (const Tensor& t : arrays) flat.push_back(reshape(t, {-1}));
          return concat(flat, 0);
        }, nb::arg("arrays"), nb::kw_only(), nb::arg("axis").none() = 0, Released(), "The arrays one after another along an axis; None: as lines.");
  m.def("stack", &stack, nb::arg("arrays"), nb::kw_only(), nb::arg("axis") = 0, Released(), "The arrays along a new axis.");
  m.def("unstack", [](const Tensor& x, int64_t axis) { return tuple_of(unstack(x, axis)); }, nb::arg("x"), nb::kw_only(), nb::arg("axis") = 0,
        "Views of all places of an axis.");
  m.def("expand_dims", [](const Tensor& x, const Ints& axis) {
          const Dims axes = dims(axis);
          Tensor out = x;
          const size_t rank = x.rank() + axes.size();
          std::vector<size_t> places;
          for (const int64_t a : axes) places.push_back(axis_of(a, rank, "expand_dims"));
          std::sort(places.begin(), places.end());
          for (const size_t a : places) out = out.unsqueeze(static_cast<int64_t>(a));
          return out;
        }, nb::arg("x"), nb::arg("axis") = 0, "A view with new axes of size 1.");
  m.def("squeeze", [](const Tensor& x, const Ints& axis) {
          std::vector<size_t> places;
          for (const int64_t a : dims(axis)) places.push_back(axis_of(a, x.rank(), "squeeze"));
          std::sort(places.rbegin(), places.rend());
          Tensor out = x;
          for (const size_t a : places) out = out.squeeze(static_cast<int64_t>(a));
          return out;
        }, nb::arg("x"), nb::arg("axis"), "A view without axes of size 1.");
  m.def("flip", [](const Tensor& x, const AxisOrAxes& axis) {
          Dims axes;
          for (size_t i = 0; i < x.rank(); ++i) axes.push_back(static_cast<int64_t>(i));
          return x.flip(axis ? dims(*axis) : axes);
        }, nb::arg("x"), nb::kw_only(), nb::arg("axis") = nb::none(), "A view in the opposite order.");
  m.def("moveaxis", [](const Tensor& x, const Ints& source, const Ints& destination) { return moveaxis(x, dims(source), dims(destination)); },
        nb::arg("x"), nb::arg("source"), nb::arg("destination"), "A view with axes at other places.");
  m.def("permute_dims", [](const Tensor& x, const Ints& axes) { return x.permute(dims(axes)); }, nb::arg("x"), nb::arg("axes"),
        "A view with the axes in another order.");
  m.def("matrix_transpose", [](const Tensor& x) { return x.transpose(-2, -1); }, nb::arg("x"), "A view with the last two axes exchanged.");
  m.def("repeat", [](const Tensor& x, std::variant<int64_t, const Tensor*> repeats, std::optional<int64_t> axis) {
          if (repeats.index() == 0) return repeat(x, std::get<0>(repeats), axis);
          return repeat(x, *std::get<1>(repeats), axis);
        }, nb::arg("x"), nb::arg("repeats"), nb::kw_only(), nb::arg("axis") = nb::none(), Released(), "Each value several times.");
  m.def("reshape", [](const Tensor& x, const Ints& shape, std::optional<bool> copy) {
          const Shape wanted = dims(shape);
          if (copy && *copy) return reshape(clone(x), wanted);
          const auto view = x.reshape_view(wanted);
          if (!view && copy) throw Error(Code::kUsage, "reshape", "the strides cannot say shape " + text(wanted), "copy=None");
          return view ? *view : reshape(x, wanted);
        }, nb::arg("x"), nb::arg("shape"), nb::kw_only(), nb::arg("copy") = nb::none(), Released(), "The values in another shape: a view where it can be.");
  m.def("roll", [](const Tensor& x, const Ints& shift, const AxisOrAxes& axis) { return roll(x, dims(shift), axis ? dims(*axis) : Dims()); },
        nb::arg("x"), nb::arg("shift"), nb::kw_only(), nb::arg("axis") = nb::none(), Released(), "The values moved round along axes.");
  m.def("tile", [](const Tensor& x, const Ints& repetitions) { return tile(x, dims(repetitions)); }, nb::arg("x"), nb::arg("repetitions"),
        Released(), "The array several times along each axis.");
  using Pairs = std::vector<std::pair<int64_t, int64_t>>;
  m.def("pad", [](const Tensor& x, const Pairs& widths, const std::string& mode, nb::handle value) {
          const auto known = {std::pair("constant", PadMode::kConstant), {"reflect", PadMode::kReflect}, {"replicate", PadMode::kReplicate}, {"circular", PadMode::kCircular}};
          const auto* how = std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.first == mode; });
          if (how == known.end()) throw Error(Code::kUsage, "pad", "mode \"" + mode + "\"", "\"constant\", \"reflect\", \"replicate\" or \"circular\"");
          const Arg v = number_or_array(value, "pad");
          return released([&] { return pad(x, widths, how->second, v); });
        }, nb::arg("x"), nb::arg("widths"), nb::kw_only(), nb::arg("mode") = "constant", nb::arg("value") = 0,
        "More values around: (before, after) for each of the last axes. \"reflect\" mirrors without the edge, \"replicate\" repeats it, \"circular\" goes round.");
  m.def("split", [](const Tensor& x, const Ints& sizes, int64_t axis) {
          return tuple_of(sizes.index() == 0 ? split(x, std::get<0>(sizes), axis) : split(x, std::get<1>(sizes), axis));
        }, nb::arg("x"), nb::arg("sizes"), nb::kw_only(), nb::arg("axis") = 0, "Views of one size, the last of what is left, or of the given sizes.");
  m.def("chunk", [](const Tensor& x, int64_t parts, int64_t axis) { return tuple_of(chunk(x, parts, axis)); }, nb::arg("x"), nb::arg("parts"),
        nb::kw_only(), nb::arg("axis") = 0, "Views: at most so many, equal but for the last.");
  m.def("diff", [](const Tensor& x, int64_t axis, int64_t n, const Tensor* prepend, const Tensor* append) {
          std::vector<Tensor> parts;
          if (prepend != nullptr) parts.push_back(*prepend);
          parts.push_back(x);
          if (append != nullptr) parts.push_back(*append);
          return diff(parts.size() == 1 ? x : concat(parts, axis), axis, n);
        }, nb::arg("x"), nb::kw_only(), nb::arg("axis") = -1, nb::arg("n") = 1, nb::arg("prepend") = nb::none(), nb::arg("append") = nb::none(),
        Released(), "Differences of neighbours, n times.");
}

// ---- places ----

void bind_places(nb::module_& m) {
  m.def("take", [](const Tensor& x, const Tensor& indices, std::optional<int64_t> axis) {
          if (!axis && x.rank() != 1) throw Error(Code::kUsage, "take", "an axis is needed for shape " + text(x.shape()));
          return take(x, indices, axis.value_or(0));
        }, nb::arg("x"), nb::arg("indices"), nb::kw_only(), nb::arg("axis") = nb::none(), Released(), "Slices along an axis.");
  m.def("take_along_axis", &take_along_axis, nb::arg("x"), nb::arg("indices"), nb::kw_only(), nb::arg("axis") = -1, Released(),
        "A value along the axis for each of the places.");
  m.def("gather", &gather, nb::arg("x"), nb::arg("indices"), nb::kw_only(), nb::arg("axis"), Released(),
        "A value along the axis for each of the places, as torch's: they may be fewer than x has along the other axes.");
  const auto def_scatter = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [=](const Tensor& x, const Tensor& indices, nb::handle values, int64_t axis) {
            const Arg v = number_or_array(values, name);
            return released([&] { return verb(x, indices, v, axis); });
          }, nb::arg("x"), nb::arg("indices"), nb::arg("values"), nb::kw_only(), nb::arg("axis"), doc);
  };
  def_scatter("scatter", &scatter, "A copy of x with the values at the places along the axis, the way back from gather; of several for one the last stays.");
  def_scatter("scatter_add", &scatter_add, "A copy of x with the values added at the places along the axis, in order.");
  m.def("masked_select", &masked_select, nb::arg("x"), nb::arg("mask"), Released(), "The values where the mask is true, in order; both are stretched to one shape.");
  m.def("isin", [](nb::handle x1, nb::handle x2, bool invert) {
          const Arg a = number_or_array(x1, "isin"), b = number_or_array(x2, "isin");
          if (a.tensor() == nullptr && b.tensor() == nullptr) throw nb::type_error("isin: one of the two is an array");
          const auto array = [](const Arg& v, const Arg& other) {
            return v.tensor() != nullptr ? *v.tensor() : v.as(machine(), promote(other.tensor()->dtype(), v.kind()));
          };
          const Tensor x = array(a, b), of = array(b, a);
          return released([&] { return isin(x, of, invert); });
        }, nb::sig("def isin(x1: array | complex, x2: array | complex, /, *, invert: bool = False) -> array"), nb::arg(), nb::arg(), nb::kw_only(),
        nb::arg("invert") = false, "Whether each value of x1 is among those of x2.");
  m.def("nonzero", [](const Tensor& x) { return tuple_of(released([&] { return nonzero(x); })); }, nb::arg("x"),
        "The places of what is not 0: an array for each axis.");
  m.def("searchsorted", [](const Tensor& x1, nb::handle values, const std::string& side, const Tensor* sorter) {
          if (side != "left" && side != "right") throw Error(Code::kUsage, "searchsorted", "side \"" + side + "\"", "\"left\" or \"right\"");
          const Arg v = number_or_array(values, "searchsorted");
          const Tensor x2 = v.tensor() != nullptr ? *v.tensor() : v.as(machine(), promote(x1.dtype(), v.kind()));
          const nb::gil_scoped_release free;
          return sorter == nullptr ? searchsorted(x1, x2, side == "right") : searchsorted(x1, x2, side == "right", *sorter);
        }, nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("side") = "left", nb::arg("sorter") = nb::none(),
        "Where values go into the sorted x1.");
}

}  // namespace

void bind_functions(nb::module_& m) {
  bind_elementwise(m);
  bind_creation(m);
  bind_manipulation(m);
  bind_places(m);
}

}  // namespace viva::python
