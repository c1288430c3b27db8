#include <algorithm>

#include "python.h"

// The standard's extension `fft`.
namespace viva::python {

namespace {

FourierNorm norm_of(const std::string& word, const char* operation) {
  if (word == "backward") return FourierNorm::kBackward;
  if (word == "ortho") return FourierNorm::kOrtho;
  if (word == "forward") return FourierNorm::kForward;
  throw Error(Code::kUsage, operation, "norm \"" + word + "\"", "\"backward\", \"ortho\" or \"forward\"");
}

using Many = std::optional<std::vector<int64_t>>;
MaybeDims dims_of(const Many& v) { return v ? MaybeDims(Dims(std::span<const int64_t>(*v))) : std::nullopt; }
MaybeDims dims_of(const AxisOrAxes& v) { return v ? MaybeDims(dims(*v)) : std::nullopt; }

using Along = Tensor (*)(const Tensor&, MaybeLength, int64_t, FourierNorm);
void def_along(nb::module_& m, const char* name, Along verb, const char* doc) {
  m.def(name, [=](const Tensor& x, std::optional<int64_t> n, int64_t axis, const std::string& norm) {
          const FourierNorm how = norm_of(norm, name);
          return computed(std::max(x.count(), n.value_or(0)), [&] { return verb(x, n, axis, how); });
        }, nb::arg("x"), nb::kw_only(), nb::arg("n") = nb::none(), nb::arg("axis") = -1, nb::arg("norm") = "backward", doc);
}

using Several = Tensor (*)(const Tensor&, const MaybeDims&, const MaybeDims&, FourierNorm);
void def_several(nb::module_& m, const char* name, Several verb, const char* doc) {
  m.def(name, [=](const Tensor& x, const Many& s, const Many& axes, const std::string& norm) {
          const FourierNorm how = norm_of(norm, name);
          return released([&] { return verb(x, dims_of(s), dims_of(axes), how); });
        }, nb::arg("x"), nb::kw_only(), nb::arg("s") = nb::none(), nb::arg("axes") = nb::none(), nb::arg("norm") = "backward", doc);
}

using Frequencies = Tensor (*)(const Machine&, int64_t, double, DType);
void def_frequencies(nb::module_& m, const char* name, Frequencies verb, const char* doc) {
  m.def(name, [=](int64_t n, double d, const DTypeObject* dtype, const std::optional<std::string>& device) {
          check_device(device);
          return released([&] { return verb(machine(), n, d, dtype_or(dtype, kDefaultFloat)); });
        }, nb::arg("n"), nb::kw_only(), nb::arg("d") = 1.0, nb::arg("dtype") = nb::none(), nb::arg("device") = nb::none(), doc);
}

}  // namespace

void bind_fft(nb::module_& m) {
  nb::module_ fft = m.def_submodule("fft", "Discrete Fourier transforms. A row is cut to n values or filled up with 0.");
  def_along(fft, "fft", &viva::fft, "The sums of x[j] exp(-2 pi i j k / n) along an axis.");
  def_along(fft, "ifft", &ifft, "The way back from fft.");
  def_along(fft, "rfft", &rfft, "The first n // 2 + 1 values of the fft of real numbers; the others are their conjugates.");
  def_along(fft, "irfft", &irfft, "The way back from rfft, by default to 2 (size - 1) values.");
  def_along(fft, "hfft", &hfft, "The fft, which is real, of a row of which x is the first half and the other its conjugate.");
  def_along(fft, "ihfft", &ihfft, "The way back from hfft: n // 2 + 1 values.");
  def_several(fft, "fftn", &fftn, "The fft along several axes, or all.");
  def_several(fft, "ifftn", &ifftn, "The way back from fftn.");
  def_several(fft, "rfftn", &rfftn, "The fftn of real numbers, the last of the axes in half.");
  def_several(fft, "irfftn", &irfftn, "The way back from rfftn.");
  def_frequencies(fft, "fftfreq", &fftfreq, "The frequencies that the values of fft are of, at steps of d: 0, 1, ..., -1 over n d.");
  def_frequencies(fft, "rfftfreq", &rfftfreq, "Those of rfft: 0, 1, ..., n // 2 over n d.");
  const auto def_shift = [&](const char* name, auto verb, const char* doc) {
    fft.def(name, [verb](const Tensor& x, const AxisOrAxes& axes) { return verb(x, dims_of(axes)); }, nb::arg("x"), nb::kw_only(),
            nb::arg("axes") = nb::none(), Released(), doc);
  };
  def_shift("fftshift", &fftshift, "The value of frequency 0 moved to the middle of axes, or all.");
  def_shift("ifftshift", &ifftshift, "The way back from fftshift.");
}

}  // namespace viva::python
