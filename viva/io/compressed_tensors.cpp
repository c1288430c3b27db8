#include "viva/io/compressed_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "viva/base/checked.h"
#include "viva/io/recognize.h"

namespace viva::io {
namespace {

using nlohmann::ordered_json;

constexpr uint64_t kBlock = 128;  // rows and columns of an fp8 block, the only one that engines run

// How the layout says one format.
struct Scheme {
  std::string_view format, layout;
  int bits;
  bool floating, symmetric;
  std::string_view strategy;
  uint32_t multiple;  // of the row length; 0: any
  std::string_view
      activation;  // strategy of activations, quantized at run time; empty: they stay as they are
};

constexpr Scheme kKinds[] = {
    {"int4", "pack-quantized", 4, false, true, "group", 0, {}},
    {"int4-asym", "pack-quantized", 4, false, false, "group", 0, {}},
    {"w8a8", "int-quantized", 8, false, true, "channel", 0, "token"},
    {"fp8", "float-quantized", 8, true, true, "channel", 0, "token"},
    {"fp8-block", "float-quantized", 8, true, true, "block", 0, "group"},
    {"nvfp4", "nvfp4-pack-quantized", 4, true, true, "tensor_group", 16, {}},
    {"mxfp4", "mxfp4-pack-quantized", 4, true, true, "group", 32, {}},
};

const Scheme* kind_of(std::string_view format) {
  const auto found =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Scheme& k) { return k.format == format; });
  return found == std::end(kKinds) ? nullptr : found;
}

uint32_t group_of(const Format& format, const Coding& coding) {
  return coding.group != 0 ? coding.group : format.group;
}

// A 1-element or 2-element constant as its bytes.
template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

std::string module_name(std::string_view weight) {
  const std::string_view module = module_of(weight, "weight");
  return std::string(module.empty() ? weight : module);
}

}  // namespace

std::string compressed_tensors_refuses(const std::vector<uint64_t>& shape, const Format& format,
                                       const Coding& coding) {
  const Scheme* kind = kind_of(format.name);
  if (kind == nullptr) return fmt::format("compressed-tensors has no {}", format.name);
  if (shape.size() != 2) return "compressed-tensors holds matrices only";
  if (shape[0] == 0 || shape[1] == 0) return "it is empty";
  const uint64_t in = shape[1], group = group_of(format, coding);
  if (kind->multiple != 0 && in % kind->multiple != 0) {
    return fmt::format("rows of {} values are not a multiple of the group of {}", in, kind->multiple);
  }
  // A row shorter than a group is one group.
  if (kind->multiple == 0 && kind->strategy == "group" && in > group && in % group != 0) {
    return fmt::format("rows of {} values are not a multiple of the group of {}", in, group);
  }
  return {};
}

Placement compressed_tensors_placement(const std::string& name, const std::vector<uint64_t>& shape,
                                       const Format& format, const Coding& coding) {
  const Scheme& kind = *kind_of(format.name);
  const uint64_t out = shape[0], in = shape[1];
  const std::string prefix = module_name(name) + ".weight";
  Placement p;
  p.format = &format;
  p.coding = coding;
  p.view = {out, in, 0};
  const bool integers = kind.bits == 4 && !kind.floating;
  if (integers) {
    p.tensors.push_back(make_stored(prefix + "_packed", DType::kI32, {out, ceil_div(in, 8)}));
  } else if (kind.bits == 4) {
    p.tensors.push_back(make_stored(prefix + "_packed", DType::kU8, {out, in / 2}));
  } else {
    p.tensors.push_back(make_stored(prefix, kind.floating ? DType::kF8E4M3 : DType::kI8, {out, in}));
  }
  for (const Piece& piece : format.pieces(in, coding)) {
    switch (piece.role) {
      case Role::kCodes:
        p.pieces.push_back({0});
        break;
      case Role::kZero:
        p.pieces.push_back({p.tensors.size(), Packing::kZeroColumns});
        p.tensors.push_back(
            make_stored(prefix + "_zero_point", DType::kI32, {ceil_div(out, 8), piece.count}));
        break;
      default: {
        const bool panels = format.row_panel > 1;
        p.pieces.push_back({p.tensors.size(), panels ? Packing::kPanels : Packing::kRows});
        p.tensors.push_back(make_stored(prefix + "_scale", piece.dtype,
                                        {panels ? ceil_div(out, format.row_panel) : out, piece.count}));
      }
    }
  }
  if (integers) {
    p.constants.push_back({p.tensors.size(), [out, in](const Shared&) {
                             return bytes_of<uint64_t>({out, in});
                           }});
    p.tensors.push_back(make_stored(prefix + "_shape", DType::kI64, {2}));
  }
  if (kind.strategy == "tensor_group") {
    p.constants.push_back(
        {p.tensors.size(), [](const Shared& shared) { return bytes_of<float>({shared.scale}); }});
    p.tensors.push_back(make_stored(prefix + "_global_scale", DType::kF32, {1}));
  }
  return p;
}

// ---- config ----

namespace {

// Every version of the package refuses keys that it does not know, so only those that all of them know.
ordered_json numbers(int bits, bool floating, bool symmetric, std::string_view strategy, uint32_t group,
                     bool dynamic) {
  ordered_json args = {{"num_bits", bits},       {"type", floating ? "float" : "int"},
                       {"symmetric", symmetric}, {"strategy", strategy},
                       {"group_size", nullptr},  {"dynamic", dynamic}};
  if (group != 0) args["group_size"] = group;
  return args;
}

ordered_json scheme_of(const CompressedGroup& group, const Scheme& kind) {
  const bool groups = kind.strategy == "group" || kind.strategy == "tensor_group";
  ordered_json weights = numbers(kind.bits, kind.floating, kind.symmetric, kind.strategy,
                                 groups ? group_of(*group.format, group.coding) : 0, false);
  if (kind.strategy == "block") weights["block_structure"] = {kBlock, kBlock};
  ordered_json activations = nullptr;
  if (!kind.activation.empty()) {
    activations = numbers(kind.bits, kind.floating, true, kind.activation,
                          kind.activation == "group" ? kBlock : 0, true);
  }
  return {{"weights", weights}, {"input_activations", activations}, {"output_activations", nullptr}};
}

}  // namespace

bool decodes_to_bf16(const Format& format) {
  const Scheme* kind = kind_of(format.name);
  return kind != nullptr && kind->floating && kind->bits == 4;
}

ordered_json compressed_tensors_config(const std::vector<CompressedGroup>& groups,
                                       const std::vector<std::string>& kept, bool head_quantized) {
  ordered_json config_groups = ordered_json::object();
  std::string_view layout;
  bool mixed = false;
  for (const CompressedGroup& g : groups) {
    const Scheme& kind = *kind_of(g.format->name);
    mixed = mixed || (!layout.empty() && layout != kind.layout);
    layout = kind.layout;
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    const CompressedGroup& g = groups[i];
    const Scheme& kind = *kind_of(g.format->name);
    ordered_json group = ordered_json::object();
    // Names go before classes in newer loaders and are merged with them in older ones: several groups all
    // name theirs.
    group["targets"] = groups.size() == 1 ? ordered_json::array({"Linear"}) : ordered_json(g.modules);
    group.update(scheme_of(g, kind));
    if (mixed) group["format"] = kind.layout;
    config_groups[fmt::format("group_{}", i)] = std::move(group);
  }
  ordered_json ignore = ordered_json::array();
  if (!head_quantized) ignore.push_back("lm_head");
  for (const std::string& name : kept) {
    if (name != "lm_head") ignore.push_back(name);
  }
  return {{"quant_method", "compressed-tensors"}, {"format", mixed ? "mixed-precision" : layout},
          {"quantization_status", "compressed"},  {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},           {"ignore", ignore},
          {"config_groups", config_groups}};
}

std::string fused_set(std::string_view name) {
  const std::string_view module = module_of(name, "weight");
  const size_t dot = module.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view leaf = module.substr(dot + 1);
  constexpr std::pair<std::string_view, std::string_view> kSets[] = {
      {"q_proj", "qkv"},
      {"k_proj", "qkv"},
      {"v_proj", "qkv"},
      {"query", "qkv"},
      {"key", "qkv"},
      {"value", "qkv"},
      {"gate_proj", "gate_up"},
      {"up_proj", "gate_up"},
      {"w1", "w13"},
      {"w3", "w13"},
      {"q_a_proj", "qkv_a"},
      {"kv_a_proj_with_mqa", "qkv_a"},
      {"in_proj_qkv", "in_qkvz"},
      {"in_proj_z", "in_qkvz"},
      {"in_proj_b", "in_ba"},
      {"in_proj_a", "in_ba"},
  };
  for (const auto& [part, set] : kSets) {
    if (leaf == part) return fmt::format("{}.{}", module.substr(0, dot), set);
  }
  return {};
}

}  // namespace viva::io
