#include <fmt/format.h>

#include <algorithm>

#include "viva/compress/plan.h"
#include "viva/io/gguf.h"
#include "viva/io/gguf_names.h"

// The part of a plan that is about GGUF: names, order and types of llama.cpp, metadata and tokenizer.
namespace viva {

namespace {

// The type of ggml that a format is, as ggml spells it.
std::string_view ggml_name(const Format& format) {
  const io::GgmlType* type = io::find_ggml_type(static_cast<uint32_t>(format.gguf_type));
  return type == nullptr ? std::string_view() : type->name;
}

// A weight that keeps its values: the plain type that holds them exactly.
std::string_view plain_of(DType t) {
  return t == DType::kF16 ? "f16" : t == DType::kBF16 ? "bf16" : "f32";
}

io::Placement gguf_placement(const std::string& name, const std::vector<uint64_t>& shape, const Format& format, const Coding& coding) {
  io::Placement p;
  p.format = &format;
  p.coding = coding;
  p.view = {1, shape.empty() ? 1 : shape.back(), 0};
  for (size_t d = 0; d + 1 < shape.size(); ++d) p.view.rows *= shape[d];
  p.tensors = {{name, DType::kU8, shape, 0, p.view.rows * format.row_bytes(p.view.cols, coding)}};
  p.pieces = {{0}};
  // The reference encoder of ggml knows no second-level scale.
  if (const auto scale = io::gguf_scale_name(name); format.share != nullptr && scale && coding.encoder == Encoder::kBest) {
    p.tensors.push_back({*scale, DType::kF32, {1}, 0, 4});
    p.constants.push_back({1, [](const Shared& shared) { return std::string(reinterpret_cast<const char*>(&shared.scale), 4); }});
  }
  return p;
}

}  // namespace

void Plan::place_in_gguf(const std::vector<Decision>& decisions) {
  if (model.kind() != io::Kind::kHuggingFace || model.config().empty()) {
    throw Error(Code::kBadInput, "compress", fmt::format("{} has no config.json, which a GGUF file is made from", model.path().string()),
                "give the model's directory");
  }
  const std::string base(ggml_name(*main.format));
  io::GgufModel gguf = io::make_gguf_model(io::read_gguf_source(model.path()), base);
  std::vector<io::NamedShape> names;
  for (const io::Weight& w : model.weights()) names.push_back({w.name, w.shape});
  const io::GgufPlan places = io::plan_gguf_tensors(gguf, names);
  warnings = gguf.warnings;
  metadata_ = std::move(gguf.metadata);
  extra = std::move(gguf.extra);
  for (const auto& [i, reason] : places.skipped) warnings.push_back(fmt::format("'{}' is left out: {}", names[i].name, reason));
  const bool plain = main.format->name == "f32" || main.format->name == "f16" || main.format->name == "bf16";
  for (const io::GgufPlace& place : places.tensors) {
    const io::Weight& w = model.weights()[place.source];
    const Decision& decision = decisions[place.source];
    if (!w.decodable || w.placement.format != nullptr) {
      throw Error(Code::kBadInput, "compress", fmt::format("'{}' is {} already", w.name, w.format), "viva convert changes the container of quantized models");
    }
    Item item;
    item.weight = place.source;
    item.name = place.name;
    item.permuted_head_dim = place.head_dim;
    const bool ruled = decision.reason.starts_with("rule ");
    if (ruled && place.shape.size() >= 2) {
      item.choice = decision.choice.format != nullptr ? decision.choice : parse_choice(plain_of(w.dtype), true);
      item.reason = decision.reason;
    } else {
      const io::GgufTensorFormat chosen = io::gguf_tensor_format(place.name, place.shape, base, gguf.tied);
      item.choice = chosen.format == base ? main : parse_choice(chosen.format, true);
      item.reason = chosen.reason;
    }
    const uint64_t block = io::find_ggml_type(ggml_name(*item.choice.format))->block;
    if (!place.shape.empty() && place.shape.back() % block != 0) {
      throw Error(Code::kBadInput, "compress", fmt::format("'{}' has rows of {} values, {} needs a multiple of {}", w.name, place.shape.back(), item.choice.text, block),
                  fmt::format("--rule '{}=f16'", w.name));
    }
    const std::string_view name = item.choice.format->name;
    item.kept = !plain && (name == "f32" || name == "f16" || name == "bf16");
    if (item.kept) item.reason = fmt::format("{} ({})", item.reason, name);
    Coding coding = item.choice.coding;
    coding.encoder = encoder_;
    item.placement = gguf_placement(item.name, place.shape, *item.choice.format, coding);
    // The values of a bias change places one by one.
    if (item.permuted_head_dim != 0 && place.shape.size() == 1) item.placement.view = {place.shape[0], 1, 0};
    items.push_back(std::move(item));
  }
}

std::string Plan::gguf_header(const std::vector<ItemHashes>& hashes, std::vector<uint64_t>* offsets) const {
  std::vector<io::GgufTensor> list;
  for (const Item& item : items) {
    for (size_t k = 0; k < item.placement.tensors.size(); ++k) {
      const io::StoredTensor& t = item.placement.tensors[k];
      list.push_back({t.name, *io::find_ggml_type(k == 0 ? ggml_name(*item.placement.format) : "f32"), t.shape});
    }
  }
  for (const io::GgufExtraTensor& t : extra) list.push_back({t.name, *io::find_ggml_type("f32"), {t.values.size()}});
  io::GgufMetadata metadata = metadata_;
  io::set(metadata, "viva.manifest", manifest(hashes));
  const io::GgufLayout made = io::make_gguf_header(list, metadata);
  if (offsets != nullptr) {
    for (const io::GgufTensor& t : list) offsets->push_back(t.offset);
    offsets->push_back(made.file_bytes);
  }
  return made.header;
}

void Plan::plan_gguf() {
  std::vector<uint64_t> offsets;
  PlannedFile file;
  file.header = gguf_header(std::vector<ItemHashes>(items.size()), &offsets);
  size_t at = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t k = 0; k < items[i].placement.tensors.size(); ++k) {
      items[i].spots.push_back({0, offsets[at++]});
      file.tensors.emplace_back(i, k);
    }
  }
  for (size_t k = 0; k < extra.size(); ++k) extra_spots.push_back({0, offsets[at++]});
  file.bytes = offsets[at];
  files.push_back(std::move(file));
}

}  // namespace viva
