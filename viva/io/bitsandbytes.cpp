#include "viva/io/bitsandbytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "viva/base/checked.h"
#include "viva/base/float16.h"

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

constexpr float kNf4Map[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
constexpr float kFp4Map[16] = {0.0f,  0.0625f / 12, 8.0f / 12,  1.0f,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
                               0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12};

// The signed 8-bit map of bitsandbytes' create_dynamic_map, bit for bit what the package stores.
std::array<float, 256> dynamic_map() {
  std::array<float, 256> map{};
  size_t at = 128;
  for (int i = 0; i <= 6; ++i) {
    const int m = (1 << i) + 1;
    const float step = (1.0f - 0.1f) / static_cast<float>(m - 1);
    const float power = static_cast<float>(std::pow(10.0, i - 6));
    const auto point = [&](int k) {
      return k < m / 2 ? std::fmaf(step, static_cast<float>(k), 0.1f) : std::fmaf(-step, static_cast<float>(m - 1 - k), 1.0f);
    };
    for (int k = 0; k + 1 < m; ++k) map[at++] = (point(k) + point(k + 1)) / 2 * power;
  }
  map[255] = 1.0f;
  map[127] = 0.0f;
  for (int j = 0; j < 127; ++j) map[126 - j] = -map[128 + j];
  return map;
}

std::string bytes_of(const float* values, size_t n) { return {reinterpret_cast<const char*>(values), 4 * n}; }

std::string torch_name(DType t) { return t == DType::kBF16 ? "bfloat16" : t == DType::kF16 ? "float16" : "float32"; }

StoredTensor stored(const std::string& name, DType dtype, std::vector<uint64_t> shape) {
  StoredTensor t{name, dtype, std::move(shape), 0, 0};
  t.bytes = *checked_product(t.shape) * bytes(dtype);
  return t;
}

// The JSON of a weight's quant state; the offset is printed in a fixed width, so that sizes are known beforehand.
std::string quant_state(std::string_view type, uint32_t block, DType dtype, const std::vector<uint64_t>& shape, bool nested, float offset) {
  std::string text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "{}", "shape": [{}])", type, block,
                                 torch_name(dtype), fmt::join(shape, ", "));
  if (nested) {
    text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", "nested_offset": {:.16e})", kNestedBlock,
                        static_cast<double>(offset));
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

Placement bitsandbytes_placement(const std::string& name, const std::vector<uint64_t>& shape, DType dtype, const Format& format,
                                 const Coding& coding) {
  const Which kind = *which(format.name);
  const uint64_t out = shape[0], in = shape[1], n = out * in;
  Placement p;
  p.format = &format;
  p.coding = coding;
  if (kind == Which::kInt8) {
    const std::string module = name.substr(0, name.size() - 7);
    p.view = {out, in, 0};
    p.tensors = {stored(name, DType::kI8, {out, in}), stored(module + ".SCB", DType::kF32, {out}),
                 stored(module + ".weight_format", DType::kU8, {})};
    p.pieces = {{0}, {1}};
    p.constants = {{2, [](const Shared&) { return std::string(1, '\0'); }}};
    return p;
  }
  const uint32_t block = coding.group != 0 ? coding.group : format.group;
  const bool nested = kind == Which::kNf4Double;
  const uint64_t blocks = ceil_div(n, 64 * (nested ? 1 : 0) + (nested ? 0 : block));
  // Blocks run over the flat matrix: rows of the view are whole blocks (of blocks), the last one may be shorter.
  const uint64_t run = nested ? uint64_t{64} * kNestedBlock : round_up(4096, block);
  p.view = {n / run, run, n % run};
  if (!nested && in % block == 0) p.view = {out, in, 0};
  const std::string_view type = kind == Which::kFp4 ? "fp4" : "nf4";
  const std::string state = quant_state(type, nested ? 64 : block, dtype, shape, nested, 0);
  p.tensors = {stored(name, DType::kU8, {ceil_div(n, 2), 1}), stored(name + ".absmax", nested ? DType::kU8 : DType::kF32, {blocks})};
  p.pieces = {{0}, {1}};
  if (nested) {
    p.tensors.push_back(stored(name + ".nested_absmax", DType::kF32, {ceil_div(blocks, kNestedBlock)}));
    p.pieces.push_back({2});
    p.tensors.push_back(stored(name + ".nested_quant_map", DType::kF32, {256}));
    p.constants.push_back({3, [](const Shared&) { return bytes_of(dynamic_map().data(), 256); }});
  }
  p.constants.push_back({p.tensors.size(), [kind](const Shared&) { return bytes_of(kind == Which::kFp4 ? kFp4Map : kNf4Map, 16); }});
  p.tensors.push_back(stored(name + ".quant_map", DType::kF32, {16}));
  p.constants.push_back({p.tensors.size(), [=, text = std::string(type)](const Shared& shared) {
                           return quant_state(text, nested ? 64 : block, dtype, shape, nested, shared.offset);
                         }});
  p.tensors.push_back(stored(fmt::format("{}.quant_state.bitsandbytes__{}", name, type), DType::kU8, {state.size()}));
  return p;
}

ordered_json bitsandbytes_config(const Format& format, DType dtype, const std::vector<std::string>& kept, bool head_quantized) {
  const Which kind = *which(format.name);
  ordered_json skip = nullptr;
  // A list replaces the loader's own default (the output head), so the head has to stand in it again.
  if (!kept.empty() || head_quantized) {
    skip = ordered_json::array();
    for (const std::string& name : kept) skip.push_back(name);
    if (!head_quantized && std::find(kept.begin(), kept.end(), "lm_head") == kept.end()) skip.push_back("lm_head");
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

std::string text_of(const StoredIn& s, const std::vector<InputFile>& files) {
  std::string text(std::min<uint64_t>(s.tensor.bytes, 4096), '\0');
  files[s.file].read(s.tensor.offset, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

[[noreturn]] void bad(const StoredIn& s, const std::vector<InputFile>& files, std::string_view message) {
  throw Error(Code::kBadInput, "bitsandbytes",
              fmt::format("{}: tensor '{}' at byte {}: {}", files[s.file].path().string(), s.tensor.name, s.tensor.offset, message));
}

DType dtype_of(const std::string& torch) {
  return torch == "bfloat16" ? DType::kBF16 : torch == "float16" ? DType::kF16 : DType::kF32;
}

}  // namespace

std::vector<Weight> recognize_bitsandbytes(std::vector<StoredIn>& stored, const std::vector<InputFile>& files) {
  std::unordered_map<std::string, size_t> at;
  for (size_t i = 0; i < stored.size(); ++i) at[stored[i].tensor.name] = i;
  std::vector<bool> taken(stored.size());
  std::vector<Weight> weights;

  const auto claim = [&](Weight& w, const StoredIn& cause) {
    for (const StoredTensor& want : w.placement.tensors) {
      const auto found = at.find(want.name);
      if (found == at.end()) bad(cause, files, fmt::format("'{}' is missing", want.name));
      const StoredIn& have = stored[found->second];
      const bool text = want.name.find(".quant_state.") != std::string::npos;
      if (have.tensor.dtype != want.dtype || (!text && have.tensor.bytes != want.bytes)) {
        bad(have, files, fmt::format("{} of {} bytes, expected {} of {} bytes", viva::name(have.tensor.dtype), have.tensor.bytes,
                                     viva::name(want.dtype), want.bytes));
      }
      taken[found->second] = true;
      w.stored.push_back(have);
    }
    w.decodable = true;
    weights.push_back(std::move(w));
  };

  for (const StoredIn& s : stored) {
    const std::string& name = s.tensor.name;
    const size_t cut = name.find(".quant_state.bitsandbytes__");
    if (cut != std::string::npos) {
      const std::string weight = name.substr(0, cut);
      const json state = json::parse(text_of(s, files), nullptr, false);
      if (!state.is_object() || !state.contains("shape") || !state.contains("blocksize") || !state.contains("quant_type") ||
          !state["blocksize"].is_number_unsigned() || !state["quant_type"].is_string()) {
        bad(s, files, "the quant state is not the JSON object that bitsandbytes writes");
      }
      std::vector<uint64_t> shape;
      if (state["shape"].is_array()) {
        for (const json& d : state["shape"]) shape.push_back(d.is_number_unsigned() ? d.get<uint64_t>() : UINT64_MAX);
      }
      const auto count = checked_product(shape);
      if (shape.size() != 2 || !count || *count == 0) bad(s, files, fmt::format("shape {} is not a matrix", state["shape"].dump()));
      const bool nested = state.contains("nested_offset");
      const std::string type = state["quant_type"].get<std::string>();
      Weight w;
      w.name = weight;
      w.shape = shape;
      w.dtype = dtype_of(state.value("dtype", std::string("float32")));
      w.format = type == "nf4" && nested ? "nf4-dq" : type;
      const Format* format = find_format(w.format);
      Coding coding;
      coding.group = state["blocksize"].get<uint32_t>();
      const bool legal = format != nullptr && which(w.format) && *which(w.format) != Which::kInt8 &&
                         (nested ? coding.group == 64 && state.value("nested_blocksize", 0) == kNestedBlock
                                 : std::find(format->groups.begin(), format->groups.end(), coding.group) != format->groups.end());
      if (!legal) bad(s, files, fmt::format("blocks of {} in {}{}", state["blocksize"].dump(), type, nested ? ", nested" : ""));
      if (nested) {
        if (!state["nested_offset"].is_number()) bad(s, files, "nested_offset is not a number");
        coding.group = 0;
        coding.shared.offset = state["nested_offset"].get<float>();
      }
      w.shared = coding.shared;
      w.placement = bitsandbytes_placement(weight, shape, w.dtype, *format, coding);
      claim(w, s);
    } else if (name.ends_with(".SCB")) {
      const std::string weight = name.substr(0, name.size() - 4) + ".weight";
      const auto codes = at.find(weight);
      const Format* format = find_format("int8");
      if (codes == at.end() || format == nullptr || stored[codes->second].tensor.shape.size() != 2) continue;
      Weight w;
      w.name = weight;
      w.shape = stored[codes->second].tensor.shape;
      w.dtype = DType::kF16;
      w.format = "int8";
      w.placement = bitsandbytes_placement(weight, w.shape, w.dtype, *format, {});
      // Older files lack the tensor that names the tile order; only row order is read.
      const auto order = at.find(w.placement.tensors[2].name);
      if (order == at.end()) {
        w.placement.tensors.pop_back();
        w.placement.constants.clear();
      } else if (text_of(stored[order->second], files) != std::string(1, '\0')) {
        bad(stored[order->second], files, "only row order is known; newer bitsandbytes reads no other either");
      }
      claim(w, s);
    }
  }
  std::vector<StoredIn> rest;
  for (size_t i = 0; i < stored.size(); ++i) {
    if (!taken[i]) rest.push_back(std::move(stored[i]));
  }
  stored = std::move(rest);
  return weights;
}

}  // namespace viva::io
