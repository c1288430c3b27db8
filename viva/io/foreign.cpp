#include "viva/io/foreign.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "viva/base/checked.h"
#include "viva/io/json.h"
#include "viva/io/recognize.h"

namespace viva::io {
namespace {

using nlohmann::json;

std::string shown(const std::vector<uint64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

class Reader {
 public:
  Reader(std::vector<StoredIn>& stored, const std::vector<InputFile>& files, const std::string& config)
      : r_("open", stored, files), settings_(quantization_of(config)) {}

  std::vector<Weight> read() {
    const bool modelopt = settings_.method == "modelopt";
    for (const StoredIn& s : r_.stored()) {
      if (r_.taken(s)) continue;
      const std::string& name = s.tensor.name;
      if (const auto m = module_of(name, "qweight"); !m.empty()) integers(std::string(m), s);
      if (const auto m = module_of(name, "weight_scale_2"); !m.empty()) modelopt_fp4(std::string(m), s);
      if (const auto m = module_of(name, "weight_scale_inv"); !m.empty()) fp8_blocks(std::string(m), s);
      if (const auto m = module_of(name, "weight_scale"); modelopt && !m.empty())
        modelopt_other(std::string(m), s);
      if (name.ends_with("_blocks")) experts(name.substr(0, name.size() - 7), s);
    }
    return r_.finish();
  }

 private:
  static bool matrix(const StoredIn* s, DType t) {
    return s != nullptr && s->tensor.dtype == t && s->tensor.shape.size() == 2;
  }

  // GPTQ packs along the rows of a transposed matrix, AWQ along its columns.
  void integers(const std::string& module, const StoredIn& codes) {
    const StoredIn *scales = r_.find(module + ".scales"), *zeros = r_.find(module + ".qzeros"),
                   *order = r_.find(module + ".g_idx");
    if (!matrix(&codes, DType::kI32) || scales == nullptr || scales->tensor.shape.size() != 2) {
      r_.claim_unread(codes.tensor.name, codes.tensor.shape, settings_.dtype,
                      "quantized integers of an unknown layout", {&codes, scales, zeros, order});
      return;
    }
    const auto& c = codes.tensor.shape;
    const uint64_t groups = scales->tensor.shape[0], out = scales->tensor.shape[1];
    const bool awq =
        settings_.method == "awq" || (settings_.method.empty() && order == nullptr && c[1] != out);
    uint64_t bits = size_at(settings_.body, "bits").value_or(size_at(settings_.body, "w_bit").value_or(0));
    if (bits == 0 && matrix(zeros, DType::kI32) && out != 0)
      bits = checked_mul(zeros->tensor.shape[1], 32).value_or(0) / out;
    if (bits == 0 || bits > 32) bits = 4;
    const uint64_t in = awq ? c[0] : checked_mul(c[0], 32).value_or(0) / bits;
    const uint64_t width = awq ? checked_mul(c[1], 32).value_or(0) / bits : c[1];
    if (in == 0 || groups == 0 || width != out) {
      r_.bad(codes,
             fmt::format("{} codes of {} bits with scales {}", shown(c), bits, shown(scales->tensor.shape)));
    }
    const std::string tool = settings_.method.empty() ? (awq ? "awq" : "gptq") : settings_.method;
    const uint64_t group = ceil_div(in, groups);
    std::string what =
        fmt::format("{} {}-bit {}", tool, bits, groups == 1 ? "rows" : fmt::format("g{}", group));
    if (flag_at(settings_.body, "desc_act").value_or(false)) what += ", columns reordered";
    r_.claim_unread(module + ".weight", {out, in}, settings_.dtype, what, {&codes, scales, zeros, order});
  }

  void modelopt_fp4(const std::string& module, const StoredIn& tensor_scale) {
    const StoredIn *codes = r_.find(module + ".weight"), *scale = r_.find(module + ".weight_scale");
    if (codes == nullptr || scale == nullptr || codes->tensor.shape.empty() ||
        viva::bytes(codes->tensor.dtype) != 1)
      return;
    std::vector<uint64_t> shape = codes->tensor.shape;
    if (codes->tensor.dtype == DType::kU8) shape.back() = checked_mul(shape.back(), 2).value_or(0);
    const uint64_t groups = scale->tensor.shape.empty() ? 1 : scale->tensor.shape.back();
    const std::string what =
        fmt::format("{} g{}, modelopt", codes->tensor.dtype == DType::kU8 ? "nvfp4" : "fp8",
                    groups == 0 ? 0 : shape.back() / groups);
    r_.claim_unread(module + ".weight", shape, settings_.dtype, what,
                    {codes, scale, &tensor_scale, r_.find(module + ".input_scale")});
  }

  void modelopt_other(const std::string& module, const StoredIn& scale) {
    const StoredIn* codes = r_.find(module + ".weight");
    if (codes == nullptr || viva::bytes(codes->tensor.dtype) != 1 ||
        r_.find(module + ".weight_scale_2") != nullptr)
      return;
    const std::string algorithm =
        text_at(settings_.body, "quant_algo").value_or(std::string(viva::name(codes->tensor.dtype)));
    std::vector<uint64_t> shape = codes->tensor.shape;
    if (codes->tensor.dtype == DType::kU8 && !shape.empty())
      shape.back() = checked_mul(shape.back(), 2).value_or(0);
    r_.claim_unread(module + ".weight", shape, settings_.dtype, algorithm.substr(0, 40) + ", modelopt",
                    {codes, &scale, r_.find(module + ".input_scale")});
  }

  // FP8 in blocks of 128x128 with the scale that multiplies (DeepSeek, Qwen): the bytes of fp8-block under
  // another name.
  void fp8_blocks(const std::string& module, const StoredIn& scale) {
    const StoredIn* codes = r_.find(module + ".weight");
    if (codes == nullptr || codes->tensor.dtype != DType::kF8E4M3) return;
    const auto& shape = codes->tensor.shape;
    const auto& scales = scale.tensor.shape;
    const json* block = member(settings_.body, "weight_block_size");
    const bool usual = block == nullptr || *block == json::array({128, 128});
    const DType t = scale.tensor.dtype;
    const Format* format = find_format("fp8-block");
    const bool known = format != nullptr && usual && shape.size() == 2 && scales.size() == 2 &&
                       shape[0] != 0 && shape[1] != 0 && scales[0] == ceil_div(shape[0], 128) &&
                       scales[1] == ceil_div(shape[1], 128) &&
                       (t == DType::kF32 || t == DType::kBF16 || t == DType::kF16);
    if (!known) {
      const std::string what = fmt::format("fp8 with scales {}", shown(scales));
      r_.claim_unread(module + ".weight", shape, settings_.dtype, what, {codes, &scale});
      return;
    }
    Weight w;
    w.name = module + ".weight";
    w.shape = shape;
    w.dtype = settings_.dtype;
    w.format = format->name;
    w.placement.format = format;
    w.placement.coding.scale = t;
    w.placement.view = {shape[0], shape[1], 0};
    w.placement.tensors = {codes->tensor, scale.tensor};
    w.placement.pieces = {{0}, {1, Packing::kPanels}};
    r_.claim(std::move(w), *codes);
  }

  // MXFP4 of gpt-oss: (experts, out, in / 32, 16) bytes and (experts, out, in / 32) exponents; the weight is
  // X.
  void experts(const std::string& name, const StoredIn& codes) {
    const StoredIn* scale = r_.find(name + "_scales");
    const auto& c = codes.tensor.shape;
    if (scale == nullptr || codes.tensor.dtype != DType::kU8 || scale->tensor.dtype != DType::kU8 ||
        c.size() < 3 || c.back() != 16)
      return;
    std::vector<uint64_t> shape(c.begin(), c.end() - 1);
    if (scale->tensor.shape != shape)
      r_.bad(*scale, fmt::format("exponents {} for codes {}", shown(scale->tensor.shape), shown(c)));
    const auto in = checked_mul(shape.back(), 32);
    if (!in) r_.bad(codes, "rows too long");
    shape.back() = *in;
    const auto count = checked_product(shape);
    const Format* format = find_format("mxfp4");
    if (format == nullptr || !count || *count == 0) {
      r_.claim_unread(name, shape, settings_.dtype, "mxfp4", {&codes, scale});
      return;
    }
    Weight w;
    w.name = name;
    w.dtype = settings_.dtype;
    w.format = format->name;
    w.placement.format = format;
    w.placement.view = {*count / *in, *in, 0};
    w.placement.tensors = {codes.tensor, scale->tensor};
    w.placement.pieces = {{0}, {1}};
    w.shape = std::move(shape);
    r_.claim(std::move(w), codes);
  }

  Recognizer r_;
  Quantization settings_;
};

}  // namespace

std::vector<Weight> recognize_foreign(std::vector<StoredIn>& stored, const std::vector<InputFile>& files,
                                      const std::string& config) {
  return Reader(stored, files, config).read();
}

void mark_unknown(std::vector<Weight>& weights, const std::string& config) {
  const Quantization settings = quantization_of(config);
  if (settings.method.empty()) return;
  for (Weight& w : weights) {
    if (w.placement.format != nullptr || !w.decodable || w.shape.size() < 2) continue;
    const bool codes = viva::bytes(w.dtype) == 1 || w.dtype == DType::kI32 || w.dtype == DType::kI16;
    if (!codes || w.dtype == DType::kBool) continue;
    w.decodable = false;
    w.format = fmt::format("{} codes, {}", viva::name(w.dtype), settings.method.substr(0, 40));
  }
}

}  // namespace viva::io
