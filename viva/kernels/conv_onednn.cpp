// Convolutions of f32 by oneDNN: tasks of some images or some channels, each in its cache and on its thread, in the layout
// that the library likes.
#include <algorithm>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>
#include <vector>

#include "viva/kernels/conv.h"
#include "viva/kernels/onednn.h"
#include "viva/machine/buffer.h"

namespace viva::kernels {

namespace {

using dnnl::memory;

constexpr double kTask = 1 << 22;     // products that are worth a task
constexpr int64_t kFewImages = 4;     // fewer: channels are cut too
constexpr int64_t kParts = 8;         // into so many parts
constexpr int64_t kPartChannels = 32;  // of a multiple of this, with which its loops are at their best
constexpr int64_t kLargest = 1 << 30;  // values that the library's kernels count in 32 bits

int64_t ceil_of(int64_t a, int64_t b) { return a / b + (a % b != 0); }

memory::desc plain(const memory::dims& dims, const memory::dims& strides) { return {dims, memory::data_type::f32, strides}; }
memory::desc any(const memory::dims& dims) { return {dims, memory::data_type::f32, memory::format_tag::any}; }

// Version 2 of the library has a description of its own in between.
template <class Conv, class... A>
typename Conv::primitive_desc described(const dnnl::engine& engine, const dnnl::primitive_attr& attr, const A&... a) {
  if constexpr (requires { typename Conv::desc; }) {
    return typename Conv::primitive_desc(typename Conv::desc(dnnl::prop_kind::forward_inference, a...), attr, engine);
  } else {
    return typename Conv::primitive_desc(engine, dnnl::prop_kind::forward_inference, a..., attr);
  }
}

// One size of task.
struct Plan {
  memory::desc x, w, y;            // as they lie with the caller
  memory::desc lib_x, lib_w, lib_y, bias, scratch;
  dnnl::primitive primitive;
  BufferPtr weights;  // in the library's layout
};

class Conv {
 public:
  Conv(const Machine& machine, const ConvShape& s, const float* x, const float* weights, const float* bias, float* y, bool transpose)
      : machine_(machine), s_(s), x_(x), w_(weights), b_(bias), y_(y), transpose_(transpose), engine_(dnnl::engine::kind::cpu, 0) {}

  bool run() {
    const double image = static_cast<double>(s_.o) * static_cast<double>(transpose_ ? s_.h * s_.w : s_.oh * s_.ow) *
                         static_cast<double>(s_.in() * s_.taps());
    const DnnlCall call;
    images_ = std::clamp<int64_t>(static_cast<int64_t>(kTask / image), 1, s_.n);
    channels_ = s_.o;
    if (s_.n < kFewImages && image > 2 * kTask) {  // whole groups, or channels of the only one
      const int64_t unit = s_.groups > 1 ? s_.out() : kPartChannels;
      channels_ = std::min(s_.o, ceil_of(ceil_of(s_.o, kParts), unit) * unit);
    }
    if (images_ * std::max(s_.c * s_.h * s_.w, s_.o * s_.oh * s_.ow) > kLargest || s_.o * s_.in() * s_.taps() > kLargest) return false;
    const int64_t blocks = ceil_of(s_.n, images_), parts = ceil_of(s_.o, channels_);
    // Of all sizes but the last, and of the last; of blocks or parts, since only one of both is more than one.
    const int64_t rest_images = s_.n - (blocks - 1) * images_, rest_channels = s_.o - (parts - 1) * channels_;
    if (!plan(full_, images_, channels_)) return false;
    const bool rest = rest_images != images_ || rest_channels != channels_;
    if (rest && !plan(rest_, rest_images, rest_channels)) return false;
    if (parts == 1) {
      full_.weights = weights(full_, 0);
      if (rest) rest_.weights = rest_.lib_w == full_.lib_w ? full_.weights : weights(rest_, 0);
    }
    machine_.parallel_for(static_cast<size_t>(blocks * parts), [&](size_t i) {
      const int64_t block = static_cast<int64_t>(i) / parts, part = static_cast<int64_t>(i) % parts;
      const DnnlCall here;
      task(rest && (blocks > 1 ? block + 1 == blocks : part + 1 == parts) ? rest_ : full_, block * images_, part * channels_);
    });
    return true;
  }

 private:
  bool plan(Plan& p, int64_t n, int64_t o) {
    const int64_t groups = s_.groups == 1 ? 1 : o / s_.out(), in = s_.in(), out = o / groups, c = groups * in, taps = s_.taps();
    const memory::dims dx{n, c, s_.h, s_.w}, dy{n, o, s_.oh, s_.ow};
    memory::dims dw{out, in, s_.kh, s_.kw}, sw{in * taps, taps, s_.kw, 1};
    if (transpose_) sw = {taps, s_.out() * taps, s_.kw, 1};
    if (groups > 1) {
      dw.insert(dw.begin(), groups);
      sw.insert(sw.begin(), s_.out() * in * taps);
    }
    p.x = plain(dx, {s_.c * s_.h * s_.w, s_.h * s_.w, s_.w, 1});
    p.w = plain(dw, sw);
    p.y = plain(dy, {s_.o * s_.oh * s_.ow, s_.oh * s_.ow, s_.ow, 1});
    const memory::desc bias = b_ == nullptr ? memory::desc() : memory::desc({o}, memory::data_type::f32, memory::format_tag::x);
    p.bias = bias;
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // the library's own is the thread's that made the primitive
    const memory::dims strides{s_.sh, s_.sw}, dilates{s_.dh - 1, s_.dw - 1}, before{s_.top, s_.left}, after{s_.bottom, s_.right};
    const auto keep = [&](const auto& d) {
      const std::string_view by = d.impl_info_str();
      if (by.find("gemm") != by.npos || by.starts_with("ref")) return false;
      p.lib_x = d.src_desc(), p.lib_w = d.weights_desc(), p.lib_y = d.dst_desc(), p.scratch = d.scratchpad_desc();
      return true;
    };
    
    if (transpose_) {
      const auto d = described<dnnl::deconvolution_forward>(engine_, attr, dnnl::algorithm::deconvolution_direct, any(dx), any(dw), bias,
                                                            any(dy), strides, dilates, before, after);
      p.primitive = dnnl::deconvolution_forward(d);
      return keep(d);
    }
    const auto d = described<dnnl::convolution_forward>(engine_, attr, dnnl::algorithm::convolution_direct, any(dx), any(dw), bias, any(dy),
                                                        strides, dilates, before, after);
    p.primitive = dnnl::convolution_forward(d);
    return keep(d);
  }

  memory at(const memory::desc& d, const void* p) const { return memory(d, engine_, const_cast<void*>(p)); }

  BufferPtr weights(const Plan& p, int64_t first) {
    BufferPtr to;
    const int64_t each = transpose_ ? s_.taps() * (s_.groups > 1 ? s_.in() : 1) : s_.in() * s_.taps();  // of an output channel
    const float* from = w_ + first * each;
    if (p.lib_w == p.w) return BufferPtr::wrap(machine_, const_cast<float*>(from), p.w.get_size(), {});
    to = BufferPtr::allocate(machine_, p.lib_w.get_size());
    dnnl::stream stream(engine_);
    memory a = at(p.w, from), b = at(p.lib_w, to->data());
    dnnl::reorder(a, b).execute(stream, a, b);
    stream.wait();
    return to;
  }

  void task(const Plan& p, int64_t image, int64_t channel) {
    const int64_t plane = s_.oh * s_.ow;
    const float* x = x_ + (image * s_.c + (s_.groups > 1 ? channel / s_.out() * s_.in() : 0)) * s_.h * s_.w;
    float* y = y_ + (image * s_.o + channel) * plane;
    const BufferPtr w = p.weights ? p.weights : weights(p, channel);
    const auto round = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    const size_t bytes_x = p.lib_x == p.x ? 0 : round(p.lib_x.get_size()), bytes_y = p.lib_y == p.y ? 0 : round(p.lib_y.get_size());
    const BufferPtr room = BufferPtr::allocate(machine_, bytes_x + bytes_y + p.scratch.get_size() + 64);
    dnnl::stream stream(engine_);
    memory mx = at(p.x, x), my = at(p.y, y), lx = mx, ly = my;
    if (bytes_x != 0) {
      lx = at(p.lib_x, room->data());
      dnnl::reorder(mx, lx).execute(stream, mx, lx);
    }
    if (bytes_y != 0) ly = at(p.lib_y, room->data() + bytes_x);
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, lx},
                                              {DNNL_ARG_WEIGHTS, at(p.lib_w, w->data())},
                                              {DNNL_ARG_DST, ly},
                                              {DNNL_ARG_SCRATCHPAD, at(p.scratch, room->data() + bytes_x + bytes_y)}};
    if (b_ != nullptr) arguments.emplace(DNNL_ARG_BIAS, at(p.bias, b_ + channel));
    p.primitive.execute(stream, arguments);
    if (bytes_y != 0) dnnl::reorder(ly, my).execute(stream, ly, my);
    stream.wait();
  }

  const Machine& machine_;
  const ConvShape& s_;
  const float *x_, *w_, *b_;
  float* y_;
  bool transpose_;
  dnnl::engine engine_;
  int64_t images_ = 1, channels_ = 1;
  Plan full_, rest_;
};

}  // namespace

bool conv_onednn(const Machine& machine, const ConvShape& s, const float* x, const float* weights, const float* bias, float* y,
                 bool transpose) {
  try {
    return Conv(machine, s, x, weights, bias, y, transpose).run();
  } catch (const dnnl::error&) {  // what it does not know; or no memory, of which the other way needs less
    return false;
  }
}

}  // namespace viva::kernels
