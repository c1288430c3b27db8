#include <nanobind/stl/pair.h>

#include "python.h"

// Functions that fold, sort and scale values.
namespace viva::python {

namespace {

void bind_reductions(nb::module_& m) {
  struct Row {
    const char *name, *doc;
    Tensor (*verb)(const Tensor&, const Axes&, bool);
  };
  const Row rows[] = {
#define VIVA_REDUCTION(NAME, TYPES, RESULT, DOC) {#NAME, "Along axes: " DOC ".", &viva::NAME},
#include "viva/kernels/reductions.inc"
#undef VIVA_REDUCTION
  };
  for (const Row& row : rows) {
    m.def(row.name, [verb = row.verb](const Tensor& x, const AxisOrAxes& axis, bool keepdims) { return verb(x, axes_of(axis), keepdims); },
          nb::arg("x"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(), row.doc);
  }
  const auto def_sum = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [verb](const Tensor& x, const AxisOrAxes& axis, const DTypeObject* dtype, bool keepdims) {
            return verb(x, axes_of(axis), keepdims, maybe(dtype));
          }, nb::arg("x"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("dtype") = nb::none(), nb::arg("keepdims") = false, Released(), doc);
  };
  def_sum("sum", &viva::sum, "The sum along axes.");
  def_sum("prod", &viva::prod, "The product along axes.");
  const auto def_spread = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [verb](const Tensor& x, const AxisOrAxes& axis, double correction, bool keepdims) {
            return verb(x, axes_of(axis), correction, keepdims);
          }, nb::arg("x"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("correction") = 0.0, nb::arg("keepdims") = false, Released(), doc);
  };
  def_spread("var", &viva::var, "Mean square of the distance from the mean along axes.");
  def_spread("std", &viva::std, "Square root of var.");
  const auto def_place = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [verb](const Tensor& x, std::optional<int64_t> axis, bool keepdims) { return verb(x, axis, keepdims); }, nb::arg("x"),
          nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(), doc);
  };
  def_place("argmin", &viva::argmin, "Where the smallest is; the first of several.");
  def_place("argmax", &viva::argmax, "Where the largest is; the first of several.");
}

void bind_scans(nb::module_& m) {
  const auto def = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [verb](const Tensor& x, std::optional<int64_t> axis, const DTypeObject* dtype, bool include_initial) {
            return verb(x, axis, maybe(dtype), include_initial);
          }, nb::arg("x"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("dtype") = nb::none(), nb::arg("include_initial") = false, Released(), doc);
  };
  def("cumulative_sum", &cumulative_sum, "The sum of what is up to each place along an axis.");
  def("cumulative_prod", &cumulative_prod, "The product of what is up to each place along an axis.");
}

void bind_order(nb::module_& m) {
  const auto def_sort = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [verb](const Tensor& x, int64_t axis, bool descending, bool) { return verb(x, axis, descending); }, nb::arg("x"), nb::kw_only(),
          nb::arg("axis") = -1, nb::arg("descending") = false, nb::arg("stable") = true, Released(), doc);
  };
  def_sort("sort", &sort, "The values in order along an axis; NaN last, equal values as they were.");
  def_sort("argsort", &argsort, "The places of the values in order along an axis.");
  m.def("topk", [named = Named(m, "topk_result", "values indices")](const Tensor& x, int64_t k, int64_t axis, bool largest) {
          TopK t = released([&] { return topk(x, k, axis, largest); });
          return named({std::move(t.values), std::move(t.indices)});
        }, nb::arg("x"), nb::arg("k"), nb::kw_only(), nb::arg("axis") = -1, nb::arg("largest") = true, "The k largest (smallest) along an axis, the best first.");
  m.def("unique_all", [named = Named(m, "unique_all_result", "values indices inverse_indices counts")](const Tensor& x) {
          Unique u = released([&] { return unique(x); });
          return named({std::move(u.values), std::move(u.indices), std::move(u.inverse), std::move(u.counts)});
        }, nb::arg("x"), "The values there are, sorted; where each is first; which of them each value is; how many there are of each.");
  m.def("unique_counts", [named = Named(m, "unique_counts_result", "values counts")](const Tensor& x) {
          Unique u = released([&] { return unique(x); });
          return named({std::move(u.values), std::move(u.counts)});
        }, nb::arg("x"), "The values there are, sorted, and how many of each.");
  m.def("unique_inverse", [named = Named(m, "unique_inverse_result", "values inverse_indices")](const Tensor& x) {
          Unique u = released([&] { return unique(x); });
          return named({std::move(u.values), std::move(u.inverse)});
        }, nb::arg("x"), "The values there are, sorted, and which of them each value is.");
  m.def("unique_values", &unique_values, nb::arg("x"), Released(), "The values there are, sorted.");
  m.def("histogram", [named = Named(m, "histogram_result", "counts edges")](const Tensor& x, int64_t bins, std::optional<std::pair<double, double>> range) {
          Histogram h = released([&] { return histogram(x, bins, range); });
          return named({std::move(h.counts), std::move(h.edges)});
        }, nb::arg("x"), nb::arg("bins") = 10, nb::kw_only(), nb::arg("range") = nb::none(), "How many values lie in each of equal parts of a range.");
}

void bind_metrics(nb::module_& m) {
  const auto def = [&](const char* name, auto verb, const char* doc) {
    m.def(name, [verb](const Tensor& a, const Tensor& b, const AxisOrAxes& axis, bool keepdims) { return verb(a, b, axes_of(axis), keepdims); },
          nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(), doc);
  };
  def("mse", &mse, "The mean of (x1 - x2)^2.");
  def("rmse", &rmse, "The square root of mse.");
  def("mae", &mae, "The mean of |x1 - x2|.");
  def("snr_db", &snr_db, "10 log10 of the power of x1 over that of x1 - x2.");
  m.def("cosine", [](const Tensor& a, const Tensor& b, const AxisOrAxes& axis, bool keepdims) { return cosine(a, b, axis ? axes_of(axis) : Axes(-1), keepdims); },
        nb::arg("x1"), nb::arg("x2"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(),
        "The cosine of the angle between vectors along an axis, by default the last.");
  m.def("psnr", [](const Tensor& a, const Tensor& b, double peak, const AxisOrAxes& axis, bool keepdims) { return psnr(a, b, peak, axes_of(axis), keepdims); },
        nb::arg("x1"), nb::arg("x2"), nb::arg("peak") = 1.0, nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(),
        "10 log10(peak^2 / mse), peak being the largest value that there can be.");
  m.def("percentile", [](const Tensor& x, double q, const AxisOrAxes& axis, bool keepdims) { return percentile(x, q, axes_of(axis), keepdims); },
        nb::arg("x"), nb::arg("q"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(),
        "The value that q percent of the values are not above.");
  m.def("outlier_share", [](const Tensor& x, double times, const AxisOrAxes& axis, bool keepdims) { return outlier_share(x, times, axes_of(axis), keepdims); },
        nb::arg("x"), nb::arg("times") = 6.0, nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(),
        "The share of values with |x| > times * std(x).");
  m.def("share_above", [](const Tensor& x, double threshold, const AxisOrAxes& axis, bool keepdims) { return share_above(x, threshold, axes_of(axis), keepdims); },
        nb::arg("x"), nb::arg("threshold"), nb::kw_only(), nb::arg("axis") = nb::none(), nb::arg("keepdims") = false, Released(),
        "The share of values with |x| > threshold.");
}

void bind_normalization(nb::module_& m) {
  using Maybe = std::optional<Tensor>;
  m.def("softmax", &softmax, nb::arg("x"), nb::kw_only(), nb::arg("axis") = -1, Released(), "exp(x) / sum(exp(x)) along an axis.");
  m.def("log_softmax", &log_softmax, nb::arg("x"), nb::kw_only(), nb::arg("axis") = -1, Released(), "The logarithm of softmax.");
  m.def("layer_norm", [](const Tensor& x, const Maybe& weight, const Maybe& bias, int64_t axes, double eps) { return layer_norm(x, weight, bias, axes, eps); },
        nb::arg("x"), nb::arg("weight") = nb::none(), nb::arg("bias") = nb::none(), nb::kw_only(), nb::arg("axes") = 1, nb::arg("eps") = 1e-5, Released(),
        "(x - mean) / sqrt(var + eps) * weight + bias over the last axes.");
  m.def("rms_norm", [](const Tensor& x, const Maybe& weight, int64_t axes, double eps) { return rms_norm(x, weight, axes, eps); }, nb::arg("x"),
        nb::arg("weight") = nb::none(), nb::kw_only(), nb::arg("axes") = 1, nb::arg("eps") = 1e-6, Released(), "x / sqrt(mean(x^2) + eps) * weight over the last axes.");
  m.def("group_norm", [](const Tensor& x, int64_t groups, const Maybe& weight, const Maybe& bias, double eps) { return group_norm(x, groups, weight, bias, eps); },
        nb::arg("x"), nb::arg("groups"), nb::arg("weight") = nb::none(), nb::arg("bias") = nb::none(), nb::kw_only(), nb::arg("eps") = 1e-5, Released(),
        "layer_norm within groups of the channels, axis 1.");
  m.def("batch_norm", [](const Tensor& x, const Tensor& mean, const Tensor& var, const Maybe& weight, const Maybe& bias, double eps) {
          return batch_norm(x, mean, var, weight, bias, eps);
        }, nb::arg("x"), nb::arg("mean"), nb::arg("var"), nb::arg("weight") = nb::none(), nb::arg("bias") = nb::none(), nb::kw_only(), nb::arg("eps") = 1e-5,
        Released(), "(x - mean) / sqrt(var + eps) * weight + bias of each channel, axis 1.");
}

}  // namespace

void bind_numbers(nb::module_& m) {
  bind_reductions(m);
  bind_scans(m);
  bind_order(m);
  bind_metrics(m);
  bind_normalization(m);
}

}  // namespace viva::python
