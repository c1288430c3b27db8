#include "python.h"

// Products and linear algebra: the standard's extension `linalg`, and what of it stands in the main namespace too.
namespace viva::python {

namespace {

// f(x, tolerance), which is a number, or None for the default; an array has one for each matrix of the batch.
template <class F>
Tensor with_tolerance(const Tensor& x, nb::handle h, const char* what, F f) {
  if (h.is_none()) return released([&] { return f(x, std::nullopt); });
  if (!is_array(h.ptr())) {
    const double v = PyFloat_AsDouble(h.ptr());
    if (v == -1 && PyErr_Occurred()) throw nb::python_error();
    return released([&] { return f(x, v); });
  }
  const Tensor& t = tensor(h);
  if (t.count() == 1) return released([&] { return f(x, t.item<double>()); });
  if (x.rank() < 2) throw Error(Code::kUsage, what, "shape " + text(x.shape()) + " is no matrix");
  Shape batch(std::span<const int64_t>(x.shape().begin(), x.rank() - 2));
  const std::vector<double> all = t.expand(batch).values<double>();
  return released([&] {
    const Tensor flat = reshape(x, {static_cast<int64_t>(all.size()), x.size(-2), x.size(-1)});
    if (all.empty()) return f(x, std::nullopt);
    std::vector<Tensor> parts;
    for (size_t i = 0; i < all.size(); ++i) parts.push_back(f(flat.select(0, static_cast<int64_t>(i)), all[i]));
    Shape shape = batch;
    for (const int64_t d : parts[0].shape()) shape.push_back(d);
    return reshape(stack(parts), shape);
  });
}

void bind_products(nb::module_& m, nb::module_& linalg) {
  m.def("matmul", [](const Tensor& a, const Tensor& b) { return matmul(a, b); }, nb::arg("x1"), nb::arg("x2"), Released(),
        "The product of matrices, the last two axes; those before broadcast.");
  m.def("tensordot", [](const Tensor& a, const Tensor& b, const std::variant<int64_t, std::vector<std::vector<int64_t>>>& axes) {
          if (axes.index() == 0) return released([&] { return tensordot(a, b, std::get<0>(axes)); });
          const auto& both = std::get<1>(axes);
          if (both.size() != 2) throw Error(Code::kUsage, "tensordot", "axes of " + std::to_string(both.size()) + " tensors", "two sequences of axes");
          return released([&] { return tensordot(a, b, Dims(std::span<const int64_t>(both[0])), Dims(std::span<const int64_t>(both[1]))); });
        }, nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("axes") = 2, "Sums of products over some axes of both.");
  m.def("vecdot", &vecdot, nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("axis") = -1, Released(), "sum(conj(x1) * x2) along an axis.");
  m.def("einsum", [](const std::string& formula, const nb::args& operands) {
          const std::vector<Tensor> all = arrays_of(operands, "einsum");
          return released([&] { return einsum(formula, all); });
        }, nb::arg("formula"), nb::arg("operands"), "Einstein's sums in NumPy's notation: einsum(\"bij,bjk->bik\", x, y).");
  m.def("kron", &kron, nb::arg("x1"), nb::arg("x2"), Released(), "Blocks: each value of x1 times x2.");
  for (const char* name : {"matmul", "tensordot", "vecdot"}) linalg.attr(name) = m.attr(name);
  linalg.def("outer", &outer, nb::arg("x1"), nb::arg("x2"), Released(), "All products of the values of two vectors.");
  linalg.def("cross", &cross, nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("axis") = -1, Released(), "The cross product of vectors of three values.");
  linalg.def("matrix_power", &matrix_power, nb::arg("x"), nb::arg("n"), Released(), "x times itself n times; the inverse's where n is negative.");
}

void bind_views(nb::module_& m, nb::module_& linalg) {
  linalg.attr("matrix_transpose") = m.attr("matrix_transpose");
  linalg.def("diagonal", &diagonal, nb::arg("x"), nb::kw_only(), nb::arg("offset") = 0, "A view of a diagonal of the last two axes.");
  linalg.def("trace", [](const Tensor& x, int64_t offset, const DTypeObject* dtype) { return trace(x, offset, maybe(dtype)); }, nb::arg("x"),
             nb::kw_only(), nb::arg("offset") = 0, nb::arg("dtype") = nb::none(), Released(), "The sum of a diagonal of the last two axes.");
}

void bind_equations(nb::module_& linalg) {
  linalg.def("solve", &solve, nb::arg("x1"), nb::arg("x2"), Released(), "The x of x1 x = x2.");
  linalg.def("inv", &inv, nb::arg("x"), Released(), "The inverse.");
  linalg.def("det", &det, nb::arg("x"), Released(), "The determinant.");
  linalg.def("slogdet", [named = Named(linalg, "slogdet_result", "sign logabsdet")](const Tensor& x) {
               SignLogDet d = released([&] { return slogdet(x); });
               return named({std::move(d.sign), std::move(d.logabsdet)});
             }, nb::arg("x"), "Sign and logarithm of the size of the determinant.");
  linalg.def("lstsq", [named = Named(linalg, "lstsq_result", "solution residuals rank singular_values")](const Tensor& a, const Tensor& b, std::optional<double> rcond) {
               LeastSquares l = released([&] { return lstsq(a, b, rcond); });
               return named({std::move(l.solution), std::move(l.residuals), std::move(l.rank), std::move(l.singular_values)});
             }, nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("rcond") = nb::none(), "The x of least |x2 - x1 x|.");
  linalg.def("pinv", [](const Tensor& x, nb::handle rtol) {
               return with_tolerance(x, rtol, "pinv", [](const Tensor& t, std::optional<double> r) { return pinv(t, r); });
             }, nb::arg("x"), nb::kw_only(), nb::arg("rtol") = nb::none(), "The pseudo-inverse of Moore and Penrose.");
  linalg.def("matrix_rank", [](const Tensor& x, nb::handle rtol) {
               return with_tolerance(x, rtol, "matrix_rank", [](const Tensor& t, std::optional<double> r) { return matrix_rank(t, r); });
             }, nb::arg("x"), nb::kw_only(), nb::arg("rtol") = nb::none(), "How many singular values are above rtol times the largest.");
}

void bind_decompositions(nb::module_& linalg) {
  linalg.def("cholesky", &cholesky, nb::arg("x"), nb::kw_only(), nb::arg("upper") = false, Released(), "x = L L^H, or U^H U.");
  linalg.def("qr", [named = Named(linalg, "qr_result", "Q R")](const Tensor& x, const std::string& mode) {
               if (mode != "reduced" && mode != "complete") throw Error(Code::kUsage, "qr", "mode \"" + mode + "\"", "\"reduced\" or \"complete\"");
               QR r = released([&] { return qr(x, mode == "complete"); });
               return named({std::move(r.q), std::move(r.r)});
             }, nb::arg("x"), nb::kw_only(), nb::arg("mode") = "reduced", "x = Q R, Q unitary, R triangular.");
  linalg.def("svd", [named = Named(linalg, "svd_result", "U S Vh")](const Tensor& x, bool full_matrices) {
               SVD r = released([&] { return svd(x, full_matrices); });
               return named({std::move(r.u), std::move(r.s), std::move(r.vh)});
             }, nb::arg("x"), nb::kw_only(), nb::arg("full_matrices") = true, "x = U diag(S) Vh, S falling.");
  linalg.def("svdvals", &svdvals, nb::arg("x"), Released(), "The singular values, falling.");
  linalg.def("eigh", [named = Named(linalg, "eigh_result", "eigenvalues eigenvectors")](const Tensor& x) {
               Eigh r = released([&] { return eigh(x); });
               return named({std::move(r.eigenvalues), std::move(r.eigenvectors)});
             }, nb::arg("x"), "Eigenvalues, rising, and eigenvectors of a symmetric or Hermitian matrix.");
  linalg.def("eig", [named = Named(linalg, "eig_result", "eigenvalues eigenvectors")](const Tensor& x) {
               Eigh r = released([&] { return eig(x); });
               return named({std::move(r.eigenvalues), std::move(r.eigenvectors)});
             }, nb::arg("x"), "Eigenvalues, in no order, and eigenvectors of any square matrix; complex both.");
  linalg.def("eigvals", &eigvals, nb::arg("x"), Released(), "The eigenvalues of any square matrix, complex and in no order.");
  linalg.def("eigvalsh", &eigvalsh, nb::arg("x"), Released(), "The eigenvalues of a symmetric or Hermitian matrix, rising.");
}

void bind_norms(nb::module_& linalg) {
  linalg.def("vector_norm", [](const Tensor& x, const AxisOrAxes& axis, bool keepdims, double ord) { return vector_norm(x, ord, axes_of(axis), keepdims); },
             nb::arg("x"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, nb::arg("ord") = 2.0, Released(),
             "The norm along axes: sum(|x|^ord)^(1/ord).");
  linalg.def("matrix_norm", [](const Tensor& x, bool keepdims, const std::variant<double, std::string>& ord) {
               return ord.index() == 0 ? matrix_norm(x, std::get<0>(ord), keepdims) : matrix_norm(x, std::get<1>(ord), keepdims);
             }, nb::arg("x"), nb::kw_only(), nb::arg("keepdims") = false, nb::arg("ord") = "fro", Released(),
             "The norm of matrices: \"fro\", \"nuc\", 1, 2, inf and the negatives of these.");
}

}  // namespace

void bind_linalg(nb::module_& m) {
  nb::module_ linalg = m.def_submodule("linalg", "Linear algebra: the last two axes are matrices, those before a batch.");
  state().linalg_error = PyErr_NewExceptionWithDoc("viva.linalg.LinAlgError", "A matrix is singular, not positive definite or not finite.",
                                                   PyExc_ValueError, nullptr);
  linalg.attr("LinAlgError") = nb::handle(state().linalg_error);
  bind_products(m, linalg);
  bind_views(m, linalg);
  bind_equations(linalg);
  bind_decompositions(linalg);
  bind_norms(linalg);
}

}  // namespace viva::python
