#include "python.h"

// Convolutions and pooling, by PyTorch's names and layouts.
namespace viva::python {

namespace {

using MaybeInts = std::optional<Ints>;

Two two(const Ints& v, const char* operation) {
  const Dims d = dims(v);
  if (d.size() == 0 || d.size() > 2)
    throw Error(Code::kUsage, operation, "\"" + text(d) + "\" for the directions", "one number for all directions, or (height, width)");
  return {d[0], d.back()};
}
Two two_or(const MaybeInts& v, Two otherwise, const char* operation) { return v ? two(*v, operation) : otherwise; }

// As two(), or "same", or a pair (before, after) for each direction.
using Pads = std::variant<int64_t, std::string, std::vector<int64_t>, std::vector<std::vector<int64_t>>>;
Padding padding(const Pads& v, const Tensor& weights, size_t directions, Two stride, Two dilation, const char* operation) {
  if (v.index() == 0) return Padding(std::get<0>(v));
  if (v.index() == 2) return Padding(two(Ints(std::get<2>(v)), operation));
  if (v.index() == 1) {
    const std::string& word = std::get<1>(v);
    if (word == "valid") return Padding(0);
    if (word != "same") throw Error(Code::kUsage, operation, "padding \"" + word + "\"", "\"same\", \"valid\" or numbers");
    if (stride.width != 1 || (directions == 2 && stride.height != 1)) throw Error(Code::kUsage, operation, "padding \"same\" with a stride", "stride 1");
    if (weights.rank() != directions + 2) return Padding(0);  // the verb tells what is wrong
    return same_padding({directions == 2 ? weights.size(-2) : 1, weights.size(-1)}, {directions == 2 ? dilation.height : 1, dilation.width});
  }
  const auto& pairs = std::get<3>(v);
  for (const auto& p : pairs) {
    if (p.size() != 2 || pairs.size() != directions) throw Error(Code::kUsage, operation, "padding of another form", "a pair (before, after) for each direction");
  }
  if (pairs.empty()) throw Error(Code::kUsage, operation, "no padding", "0 for none");
  return Padding(Two(pairs.front()[0], pairs.back()[0]), Two(pairs.front()[1], pairs.back()[1]));
}

using Conv = Tensor (*)(const Tensor&, const Tensor&, const std::optional<Tensor>&, const ConvOptions&);
void bind_conv_verb(nb::module_& m, const char* name, Conv verb, size_t directions, const char* doc) {
  m.def(name, [=](const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const Ints& stride, const Pads& pads, const Ints& dilation,
                  int64_t groups) {
          const Two step = two(stride, name), apart = two(dilation, name);
          const ConvOptions o{.stride = step, .padding = padding(pads, weights, directions, step, apart, name), .dilation = apart, .groups = groups};
          return released([&] { return verb(x, weights, bias, o); });
        }, nb::arg("x"), nb::arg("weights"), nb::arg("bias") = nb::none(), nb::kw_only(), nb::arg("stride") = 1, nb::arg("padding") = 0,
        nb::arg("dilation") = 1, nb::arg("groups") = 1, doc);
}

using ConvTranspose = Tensor (*)(const Tensor&, const Tensor&, const std::optional<Tensor>&, const ConvTransposeOptions&);
void bind_conv_transpose(nb::module_& m, const char* name, ConvTranspose verb, const char* doc) {
  m.def(name, [=](const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, const Ints& stride, const Ints& pads,
                  const Ints& output_padding, const Ints& dilation, int64_t groups) {
          const ConvTransposeOptions o{.stride = two(stride, name), .padding = two(pads, name), .output_padding = two(output_padding, name),
                                       .dilation = two(dilation, name), .groups = groups};
          return released([&] { return verb(x, weights, bias, o); });
        }, nb::arg("x"), nb::arg("weights"), nb::arg("bias") = nb::none(), nb::kw_only(), nb::arg("stride") = 1, nb::arg("padding") = 0,
        nb::arg("output_padding") = 0, nb::arg("dilation") = 1, nb::arg("groups") = 1, doc);
}

using PoolVerb = Tensor (*)(const Tensor&, Two, const PoolOptions&);
void bind_max_pool(nb::module_& m, const char* name, PoolVerb verb) {
  m.def(name, [=](const Tensor& x, const Ints& kernel, const MaybeInts& stride, const Ints& pads, const Ints& dilation, bool ceil_mode) {
          const PoolOptions o{.stride = two_or(stride, 0, name), .padding = two(pads, name), .dilation = two(dilation, name), .ceil_mode = ceil_mode};
          const Two size = two(kernel, name);
          return released([&] { return verb(x, size, o); });
        }, nb::arg("x"), nb::arg("kernel_size"), nb::kw_only(), nb::arg("stride") = nb::none(), nb::arg("padding") = 0, nb::arg("dilation") = 1,
        nb::arg("ceil_mode") = false, "The greatest value of each window; NaN where one is.");
}
void bind_max_pool_with_indices(nb::module_& m, const char* name, MaxPool (*verb)(const Tensor&, Two, const PoolOptions&), const Named& named) {
  m.def(name, [=](const Tensor& x, const Ints& kernel, const MaybeInts& stride, const Ints& pads, const Ints& dilation, bool ceil_mode) {
          const PoolOptions o{.stride = two_or(stride, 0, name), .padding = two(pads, name), .dilation = two(dilation, name), .ceil_mode = ceil_mode};
          const Two size = two(kernel, name);
          MaxPool p = released([&] { return verb(x, size, o); });
          return named({std::move(p.values), std::move(p.indices)});
        }, nb::arg("x"), nb::arg("kernel_size"), nb::kw_only(), nb::arg("stride") = nb::none(), nb::arg("padding") = 0, nb::arg("dilation") = 1,
        nb::arg("ceil_mode") = false, "The greatest value of each window, and where it is in its plane: row * width + column.");
}
void bind_avg_pool(nb::module_& m, const char* name, PoolVerb verb) {
  m.def(name, [=](const Tensor& x, const Ints& kernel, const MaybeInts& stride, const Ints& pads, bool count_include_pad, bool ceil_mode) {
          const PoolOptions o{.stride = two_or(stride, 0, name), .padding = two(pads, name), .count_include_pad = count_include_pad, .ceil_mode = ceil_mode};
          const Two size = two(kernel, name);
          return released([&] { return verb(x, size, o); });
        }, nb::arg("x"), nb::arg("kernel_size"), nb::kw_only(), nb::arg("stride") = nb::none(), nb::arg("padding") = 0,
        nb::arg("count_include_pad") = true, nb::arg("ceil_mode") = false, "The mean of each window.");
}
void bind_adaptive_pool(nb::module_& m, const char* name, Tensor (*verb)(const Tensor&, Two), const char* doc) {
  m.def(name, [=](const Tensor& x, const Ints& size) {
          const Two to = two(size, name);
          return released([&] { return verb(x, to); });
        }, nb::arg("x"), nb::arg("output_size"), doc);
}

}  // namespace

void bind_conv(nb::module_& m) {
  bind_conv_verb(m, "conv1d", &conv1d, 1, "x (batch, channels, width) under weights (out, channels / groups, width); padding: a number, a pair or \"same\".");
  bind_conv_verb(m, "conv2d", &conv2d, 2,
                 "x (batch, channels, height, width) under weights (out, channels / groups, height, width); padding: a number, (height, width), "
                 "pairs (before, after) or \"same\".");
  bind_conv_transpose(m, "conv_transpose1d", &conv_transpose1d, "The gradient of conv1d: each value of x spreads weights (channels, out / groups, width).");
  bind_conv_transpose(m, "conv_transpose2d", &conv_transpose2d,
                      "The gradient of conv2d: each value of x spreads weights (channels, out / groups, height, width).");
  bind_max_pool(m, "max_pool1d", &max_pool1d);
  bind_max_pool(m, "max_pool2d", &max_pool2d);
  const Named with_indices(m, "max_pool_result", "values indices");
  bind_max_pool_with_indices(m, "max_pool1d_with_indices", &max_pool1d_with_indices, with_indices);
  bind_max_pool_with_indices(m, "max_pool2d_with_indices", &max_pool2d_with_indices, with_indices);
  bind_avg_pool(m, "avg_pool1d", &avg_pool1d);
  bind_avg_pool(m, "avg_pool2d", &avg_pool2d);
  bind_adaptive_pool(m, "adaptive_avg_pool2d", &adaptive_avg_pool2d, "Means of windows as equal as can be, to (..., height, width).");
  bind_adaptive_pool(m, "adaptive_max_pool2d", &adaptive_max_pool2d, "Greatest values of windows as equal as can be, to (..., height, width).");
  m.def("global_avg_pool", &global_avg_pool, nb::arg("x"), Released(), "The mean of each channel: (batch, channels, ...) to (batch, channels, 1, ...).");
}

}  // namespace viva::python
