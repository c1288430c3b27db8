#include <mutex>

#include "python.h"

// The submodule `random`: viva/ops/random.h with a generator that threads may share.
namespace viva::python {

namespace {

// Each call takes its numbers whole.
class Source {
 public:
  explicit Source(Generator g) : g_(g) {}
  Generator get() const {
    const std::lock_guard lock(mutex_);
    return g_;
  }
  template <class F>
  Tensor draw(F f) {
    nb::gil_scoped_release free;
    const std::lock_guard lock(mutex_);
    return f(g_);
  }

 private:
  mutable std::mutex mutex_;
  Generator g_;
};

std::string repr(const Source& s) {
  const Generator g = s.get();
  return "viva.random.Generator(" + std::to_string(g.seed) + ", counter=" + std::to_string(g.counter) + ", stream=" + std::to_string(g.stream) + ")";
}

using Two = Tensor (*)(const Machine&, Generator&, const Shape&, double, double, DType);
void def_two(nb::module_& m, const char* name, Two verb, const char* first, double a, const char* second, double b, const char* doc) {
  m.def(name, [verb](Source& generator, const Ints& shape, double x, double y, const DTypeObject* dtype) {
          return generator.draw([&](Generator& g) { return verb(machine(), g, dims(shape), x, y, dtype_or(dtype, kDefaultFloat)); });
        }, nb::arg("generator"), nb::arg("shape"), nb::arg(first) = a, nb::arg(second) = b, nb::kw_only(), nb::arg("dtype") = nb::none(), doc);
}

using Weights = Tensor (*)(const Machine&, Generator&, const Shape&, double, DType);
void def_weights(nb::module_& m, const char* name, Weights verb, const char* doc) {
  m.def(name, [verb](Source& generator, const Ints& shape, double gain, const DTypeObject* dtype) {
          return generator.draw([&](Generator& g) { return verb(machine(), g, dims(shape), gain, dtype_or(dtype, kDefaultFloat)); });
        }, nb::arg("generator"), nb::arg("shape"), nb::kw_only(), nb::arg("gain") = 1.0, nb::arg("dtype") = nb::none(), doc);
}

using He = Tensor (*)(const Machine&, Generator&, const Shape&, double, Fan, DType);
void def_he(nb::module_& m, const char* name, He verb, const char* doc) {
  m.def(name, [verb, name](Source& generator, const Ints& shape, double gain, const std::string& fan, const DTypeObject* dtype) {
          if (fan != "in" && fan != "out") throw Error(Code::kUsage, name, "fan \"" + fan + "\"", "\"in\" or \"out\"");
          return generator.draw([&](Generator& g) { return verb(machine(), g, dims(shape), gain, fan == "in" ? Fan::kIn : Fan::kOut, dtype_or(dtype, kDefaultFloat)); });
        }, nb::arg("generator"), nb::arg("shape"), nb::kw_only(), nb::arg("gain") = kReluGain, nb::arg("fan") = "in", nb::arg("dtype") = nb::none(), doc);
}

}  // namespace

void bind_random(nb::module_& m) {
  nb::module_ random = m.def_submodule("random", "Random arrays: the same seed gives the same numbers on every processor and number of threads.");
  nb::class_<Source>(random, "Generator", nb::is_final(),
                     "Random numbers as a function of (seed, stream, counter) alone, by Philox4x32-10; each call moves the counter on. Threads may share one.")
      .def("__init__", [](Source* s, uint64_t seed, uint64_t counter, uint64_t stream) { new (s) Source({seed, counter, stream}); }, nb::arg("seed") = 0,
           nb::kw_only(), nb::arg("counter") = 0, nb::arg("stream") = 0)
      .def("__repr__", &repr)
      .def_prop_ro("seed", [](const Source& s) { return s.get().seed; })
      .def_prop_ro("counter", [](const Source& s) { return s.get().counter; }, "blocks of four 32-bit words that were used")
      .def_prop_ro("stream", [](const Source& s) { return s.get().stream; })
      .def("split", [](const Source& s, uint64_t i) { return new Source(s.get().split(i)); }, nb::arg("i"), nb::rv_policy::take_ownership,
           "Number i of generators that are independent of this one and of each other.");
  def_two(random, "uniform", &uniform, "low", 0, "high", 1, "Values in [low, high), all equally likely.");
  def_two(random, "normal", &normal, "mean", 0, "deviation", 1, "Normally distributed values.");
  random.def("integers", [](Source& generator, const Ints& shape, int64_t low, int64_t high, const DTypeObject* dtype) {
               return generator.draw([&](Generator& g) { return integers(machine(), g, dims(shape), low, high, dtype_or(dtype, kDefaultInt)); });
             }, nb::arg("generator"), nb::arg("shape"), nb::arg("low"), nb::arg("high"), nb::kw_only(), nb::arg("dtype") = nb::none(), "Whole numbers in [low, high).");
  random.def("bernoulli", [](Source& generator, const Ints& shape, double p) {
               return generator.draw([&](Generator& g) { return bernoulli(machine(), g, dims(shape), p); });
             }, nb::arg("generator"), nb::arg("shape"), nb::arg("p") = 0.5, "True with probability p.");
  random.def("permutation", [](Source& generator, int64_t n) { return generator.draw([&](Generator& g) { return permutation(machine(), g, n); }); },
             nb::arg("generator"), nb::arg("n"), "0 to n - 1 in random order.");
  def_weights(random, "xavier_uniform", &xavier_uniform, "Weights (out, in, ...) of variance gain^2 2 / (fan_in + fan_out), after Glorot and Bengio 2010.");
  def_weights(random, "xavier_normal", &xavier_normal, "The same, normally distributed.");
  def_he(random, "he_uniform", &he_uniform, "Weights (out, in, ...) of variance gain^2 / fan, after He et al. 2015.");
  def_he(random, "he_normal", &he_normal, "The same, normally distributed.");
  def_weights(random, "orthogonal", &orthogonal, "Weights (out, in, ...) whose rows, or where these are more columns, are orthogonal and of length gain.");
}

}  // namespace viva::python
