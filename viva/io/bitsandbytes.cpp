#include "viva/io/bitsandbytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "viva/base/checked.h"
#include "viva/base/float16.h"
#include "viva/formats/dynamic_map.h"
#include "viva/formats/nf4_levels.h"
#include "viva/io/json.h"
#include "viva/io/quote.h"
#include "viva/io/recognize.h"

namespace viva::io {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

enum class Which { kNf4, kNf4Double, kFp4, kInt8 };

std::optional<Which> which(std::string_view format) {
  if (format == "nf4") return Which::kNf4;
  if (format == "nf4-dq") return Which::kNf4Double;
  if (format == "fp4") return Which::kFp4;
  if (format == "int8") return Which::kInt8;
  return std::nullopt;
}

constexpr uint32_t kNestedBlock = 256;
constexpr uint64_t kBlocks[] = {32, 64, 128, 256, 512, 1024, 2048, 4096};

constexpr float kFp4Map[16] = {0.0f,       0.0625f / 12, 8.0f / 12,  1.0f,          4.0f / 12,  6.0f / 12,
                               2.0f / 12,  3.0f / 12,    0.0f,       -0.0625f / 12, -8.0f / 12, -1.0f,
                               -4.0f / 12, -6.0f / 12,   -2.0f / 12, -3.0f / 12};

std::string bytes_of(const float* values, size_t n) { return {reinterpret_cast<const char*>(values), 4 * n}; }

std::string torch_name(DType t) {
  return t == DType::kBF16 ? "bfloat16" : t == DType::kF16 ? "float16" : "float32";
}

// The JSON of a weight's quant state; the offset is printed in a fixed width, so that sizes are known
// beforehand.
std::string quant_state(std::string_view type, uint32_t block, DType dtype,
                        const std::vector<uint64_t>& shape, bool nested, float offset) {
  std::string text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}])",
                                 type, block, torch_name(dtype), fmt::join(shape, ", "));
  if (nested) {
    text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {:.16e})",
                        kNestedBlock, static_cast<double>(offset));
  }
  return text + "}";
}

}  // namespace

std::string bitsandbytes_refuses(const std::vector<uint64_t>& shape, const Format& format) {
  if (!which(format.name)) return fmt::format("bitsandbytes has no {}", format.name);
  if (shape.size() != 2) return "bitsandbytes holds matrices only";
  if (shape[0] == 0 || shape[1] == 0) return "it is empty";
  return {};
}

Placement bitsandbytes_placement(const std::string& name, const std::vector<uint64_t>& shape, DType dtype,
                                 const Format& format, const Coding& coding) {
  const Which kind = *which(format.name);
  const uint64_t out = shape[0], in = shape[1], n = out * in;
  Placement p;
  p.format = &format;
  p.coding = coding;
  if (kind == Which::kInt8) {
    const std::string module = name.substr(0, name.size() - 7);
    p.view = {out, in, 0};
    p.tensors = {make_stored(name, DType::kI8, {out, in}), make_stored(module + ".SCB", DType::kF32, {out}),
                 make_stored(module + ".weight_format", DType::kU8, {})};
    p.pieces = {{0}, {1}};
    p.constants = {{2, [](const Shared&) { return std::string(1, '\0'); }}};
    return p;
  }
  const uint32_t block = coding.group != 0 ? coding.group : format.group;
  const bool nested = kind == Which::kNf4Double;
  const uint64_t blocks = ceil_div(n, block);
  // Blocks run over the flat matrix: rows of the view are whole blocks (of blocks), the last one may be
  // shorter.
  const uint64_t run = nested ? uint64_t{block} * kNestedBlock : round_up(4096, block);
  p.view = {n / run, run, n % run};
  if (!nested && in % block == 0) p.view = {out, in, 0};
  const std::string_view type = kind == Which::kFp4 ? "fp4" : "nf4";
  const std::string state = quant_state(type, block, dtype, shape, nested, 0);
  p.tensors = {make_stored(name, DType::kU8, {ceil_div(n, 2), 1}),
               make_stored(name + ".absmax", nested ? DType::kU8 : DType::kF32, {blocks})};
  p.pieces = {{0}, {1}};
  if (nested) {
    p.tensors.push_back(make_stored(name + ".nested_absmax", DType::kF32, {ceil_div(blocks, kNestedBlock)}));
    p.pieces.push_back({2});
    p.tensors.push_back(make_stored(name + ".nested_quant_map", DType::kF32, {256}));
    p.constants.push_back({3, [](const Shared&) { return bytes_of(kDynamicMap.data(), 256); }});
  }
  p.constants.push_back({p.tensors.size(), [kind](const Shared&) {
                           return bytes_of(kind == Which::kFp4 ? kFp4Map : kNf4Levels.data(), 16);
                         }});
  p.tensors.push_back(make_stored(name + ".quant_map", DType::kF32, {16}));
  p.constants.push_back({p.tensors.size(), [=, text = std::string(type)](const Shared& shared) {
                           return quant_state(text, block, dtype, shape, nested, shared.offset);
                         }});
  p.tensors.push_back(
      make_stored(fmt::format("{}.quant_state.bitsandbytes__{}", name, type), DType::kU8, {state.size()}));
  return p;
}

ordered_json bitsandbytes_config(const Format& format, DType dtype, const std::vector<std::string>& kept,
                                 bool head_quantized) {
  const Which kind = *which(format.name);
  ordered_json skip = nullptr;
  // A list replaces the loader's own default (the output head), so the head has to stand in it again.
  if (!kept.empty() || head_quantized) {
    skip = ordered_json::array();
    for (const std::string& name : kept) skip.push_back(name);
    if (!head_quantized && std::find(kept.begin(), kept.end(), "lm_head") == kept.end())
      skip.push_back("lm_head");
  }
  const bool int8 = kind == Which::kInt8;
  return {{"quant_method", "bitsandbytes"},
          {"load_in_8bit", int8},
          {"load_in_4bit", !int8},
          {"llm_int8_threshold", 6.0},
          {"llm_int8_skip_modules", skip},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"bnb_4bit_compute_dtype", int8 ? "float32" : torch_name(dtype)},
          {"bnb_4bit_quant_type", kind == Which::kNf4 || kind == Which::kNf4Double ? "nf4" : "fp4"},
          {"bnb_4bit_use_double_quant", kind == Which::kNf4Double},
          {"bnb_4bit_quant_storage", "uint8"}};
}

// ---- reading ----

namespace {

std::optional<DType> dtype_of(std::string_view torch) {
  if (torch.starts_with("torch.")) torch.remove_prefix(6);
  if (torch == "bfloat16") return DType::kBF16;
  if (torch == "float16") return DType::kF16;
  if (torch == "float32") return DType::kF32;
  return std::nullopt;
}

void read_4bit(Recognizer& r, const StoredIn& s, const std::string& weight) {
  const json state = parse_json(r.content(s, 4096), "bitsandbytes", r.where(s));
  const auto type = text_at(state, "quant_type");
  const auto block = size_at(state, "blocksize");
  const json* dims = member(state, "shape");
  if (!type || !block || dims == nullptr || !dims->is_array()) {
    r.bad(s, "the quant state is not the JSON object that bitsandbytes writes");
  }
  std::vector<uint64_t> shape;
  for (const json& d : *dims) shape.push_back(d.is_number_unsigned() ? d.get<uint64_t>() : UINT64_MAX);
  const auto count = checked_product(shape);
  if (shape.size() != 2 || !count || *count == 0)
    r.bad(s, fmt::format("shape {} is not a matrix", dims->dump().substr(0, 80)));
  const auto dtype =
      dtype_of(text_at(state, "dtype").value_or(member(state, "dtype") == nullptr ? "float32" : ""));
  if (!dtype) r.bad(s, "dtype is not bfloat16, float16 or float32");
  const bool nested = member(state, "nested_offset") != nullptr;
  Weight w;
  w.name = weight;
  w.shape = shape;
  w.dtype = *dtype;
  w.format = *type == "nf4" && nested ? "nf4-dq" : *type;
  const auto kind = which(w.format);
  const Format* format = find_format(w.format);
  const bool known = std::find(std::begin(kBlocks), std::end(kBlocks), *block) != std::end(kBlocks);
  const bool legal = known && kind && *kind != Which::kInt8 && nested == (*kind == Which::kNf4Double) &&
                     (!nested || size_at(state, "nested_blocksize") == kNestedBlock);
  if (!legal)
    r.bad(s, fmt::format("blocks of {} in {}{}", *block, quote(*type, 40), nested ? ", nested" : ""));
  if (format == nullptr) {
    r.claim_unread(weight, shape, w.dtype, fmt::format("{} b{}, bitsandbytes", w.format, *block),
                   {r.find(weight), &s, r.find(weight + ".absmax"), r.find(weight + ".quant_map"),
                    r.find(weight + ".nested_absmax"), r.find(weight + ".nested_quant_map")});
    return;
  }
  Coding coding;
  coding.group = static_cast<uint32_t>(*block);
  if (nested) {
    const auto offset = float_at(state, "nested_offset");
    if (!offset) r.bad(s, "nested_offset is not a number");
    coding.shared.offset = *offset;
  }
  w.format = format_text(*format, coding);
  w.shared = coding.shared;
  w.placement = bitsandbytes_placement(weight, shape, w.dtype, *format, coding);
  for (StoredTensor& want : w.placement.tensors) {
    const StoredIn* have = r.find(want.name);
    if (have == nullptr) continue;
    // The state's JSON may be spaced in another way; codes may be stored under any dtype
    // (bnb_4bit_quant_storage).
    if (want.name == s.tensor.name && have->tensor.dtype == DType::kU8) want = have->tensor;
    if (want.name == weight && have->tensor.bytes == want.bytes) want = have->tensor;
    if (have->tensor.bytes == want.bytes && have->tensor.dtype == want.dtype) want.shape = have->tensor.shape;
  }
  r.claim(std::move(w), s);
}

void read_8bit(Recognizer& r, const StoredIn& scale, const std::string& module) {
  const StoredIn* codes = r.find(module + ".weight");
  if (codes == nullptr || codes->tensor.dtype != DType::kI8 || codes->tensor.shape.size() != 2) {
    r.bad(scale, fmt::format("{}, an I8 matrix, is missing", quote(module + ".weight")));
  }
  const StoredIn* order = r.find(module + ".weight_format");
  // Older files lack the tensor that names the tile order; only row order is read.
  if (order != nullptr && r.content(*order, 1) != std::string(1, '\0')) {
    r.bad(*order, "only row order is known; newer bitsandbytes reads no other either");
  }
  const Format* format = find_format("int8");
  const bool empty = codes->tensor.shape[0] == 0 || codes->tensor.shape[1] == 0;
  if (format == nullptr || empty) {
    r.claim_unread(module + ".weight", codes->tensor.shape, DType::kF16, "int8, bitsandbytes",
                   {codes, &scale, order});
    return;
  }
  Weight w;
  w.name = module + ".weight";
  w.shape = codes->tensor.shape;
  w.dtype = DType::kF16;
  w.format = "int8";
  w.placement = bitsandbytes_placement(w.name, w.shape, w.dtype, *format, {});
  if (order == nullptr) {
    w.placement.tensors.pop_back();
    w.placement.constants.clear();
  } else {
    w.placement.tensors[2].shape = order->tensor.shape;
  }
  r.claim(std::move(w), scale);
}

}  // namespace

std::vector<Weight> recognize_bitsandbytes(std::vector<StoredIn>& stored,
                                           const std::vector<InputFile>& files) {
  Recognizer r("bitsandbytes", stored, files);
  for (const StoredIn& s : r.stored()) {
    if (r.taken(s)) continue;
    const std::string& name = s.tensor.name;
    const size_t cut = name.find(".quant_state.bitsandbytes__");
    if (cut != std::string::npos) {
      read_4bit(r, s, name.substr(0, cut));
    } else if (const auto module = module_of(name, "SCB"); !module.empty()) {
      read_8bit(r, s, std::string(module));
    }
  }
  return r.finish();
}

}  // namespace viva::io
