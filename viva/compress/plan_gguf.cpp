#include <fmt/format.h>

#include <algorithm>

#include "viva/compress/plan.h"
#include "viva/io/gguf.h"
#include "viva/io/gguf_names.h"
#include "viva/io/quote.h"

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
  return p;
}

// llama.cpp keeps routers of experts in f32.
bool is_router(const io::Weight& w) { return w.stored[0].tensor.name.find("ffn_gate_inp") != std::string::npos; }

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
  for (const auto& [i, reason] : places.skipped) warnings.push_back(fmt::format("{} is left out: {}", io::quote(names[i].name), reason));
  const bool plain = main.format->name == "f32" || main.format->name == "f16" || main.format->name == "bf16";
  for (const io::GgufPlace& place : places.tensors) {
    const io::Weight& w = model.weights()[place.source];
    const Decision& decision = decisions[place.source];
    if (!w.decodable || (w.placement.format != nullptr && !convert)) {
      throw Error(Code::kBadInput, "compress", fmt::format("{} is {} already", io::quote(w.name), w.format), "viva convert changes the container of quantized models");
    }
    Item item;
    item.weight = place.source;
    item.name = place.name;
    item.permuted_head_dim = place.head_dim;
    const bool storable = w.dtype == DType::kF16 || w.dtype == DType::kBF16 || w.dtype == DType::kF32;
    if (decision.reason == kNonfinite && storable) {
      item.kept = true;
      item.reason = decision.reason;
      item.placement.tensors = {{place.name, w.dtype, place.shape, 0, w.bytes()}};
      items.push_back(std::move(item));
      continue;
    }
    if (decision.fixed && place.shape.size() >= 2) {
      item.choice = decision.choice.format != nullptr ? decision.choice : parse_choice(plain_of(w.dtype), true);
      item.reason = decision.reason;
    } else {
      const io::GgufTensorFormat chosen = io::gguf_tensor_format(place.name, place.shape, base, gguf.tied);
      item.choice = chosen.format == base ? main : parse_choice(chosen.format, true);
      item.reason = chosen.reason;
    }
    place_in_block(item, w, place.shape, plain);
    // The values of a bias change places one by one.
    if (item.permuted_head_dim != 0 && place.shape.size() == 1) item.placement.view = {place.shape[0], 1, 0};
    items.push_back(std::move(item));
  }
}

void Plan::place_in_block(Item& item, const io::Weight& w, const std::vector<uint64_t>& shape, bool plain) const {
  const uint64_t block = io::find_ggml_type(ggml_name(*item.choice.format))->block;
  if (!shape.empty() && shape.back() % block != 0) {
    throw Error(Code::kBadInput, "compress", fmt::format("{} has rows of {} values, {} needs a multiple of {}", io::quote(w.name), shape.back(), item.choice.text, block),
                fmt::format("--rule '{}=f16'", w.name));
  }
  const std::string_view name = item.choice.format->name;
  const bool to_plain = name == "f32" || name == "f16" || name == "bf16";
  item.kept = to_plain && (convert ? says_all(*item.choice.format, w) : !plain);
  if (item.kept) item.reason = fmt::format("{} ({})", item.reason.empty() ? "as it is" : item.reason, name);
  Coding coding = item.choice.coding;
  coding.encoder = encoder_;
  item.placement = gguf_placement(item.name, shape, *item.choice.format, coding);
}

// The names, order and metadata of a GGUF file stay; its plain weights get the types that llama.cpp's own quantizer would
// give them, as far as viva's encoders go.
void Plan::place_gguf_in_gguf(const std::vector<Decision>& decisions) {
  for (const io::GgufEntry& e : model.gguf_metadata()) {
    if (!e.key.starts_with("split.") && e.key != "general.alignment" && e.key != "viva.manifest") metadata_.push_back(e);
  }
  const std::string base(main.format == nullptr ? "" : ggml_name(*main.format));
  if (const auto type = io::gguf_file_type(base)) io::set(metadata_, "general.file_type", *type);
  if (main.format != nullptr) io::set(metadata_, "general.quantization_version", uint32_t{2});
  const bool tied = model.find_stored("output.weight") == nullptr;
  const bool plain = base == "f32" || base == "f16" || base == "bf16";
  for (size_t i = 0; i < decisions.size(); ++i) {
    const io::Weight& w = model.weights()[i];
    const Decision& decision = decisions[i];
    Item item;
    item.weight = i;
    item.name = w.stored[0].tensor.name;
    item.stored_order = true;
    const bool ruled = decision.fixed, coded = (w.placement.format != nullptr && !convert) || !w.decodable;
    if (main.format == nullptr || coded || !info(w.dtype).floating || w.dtype == DType::kF64 || decision.reason == kNonfinite || (ruled && decision.choice.format == nullptr)) {
      item.kept = true;
      item.reason = main.format == nullptr    ? decision.reason
                    : coded                   ? fmt::format("already {}", w.format)
                    : !info(w.dtype).floating  ? "not floating point"
                    : w.dtype == DType::kF64   ? "f64"
                                               : decision.reason;
      for (const io::StoredIn& s : w.stored) item.placement.tensors.push_back(s.tensor);
      items.push_back(std::move(item));
      continue;
    }
    if (ruled) {
      item.choice = decision.choice;
      item.reason = decision.reason;
    } else {
      const io::GgufTensorFormat chosen =
          is_router(w) ? io::GgufTensorFormat{"f32", "expert router"} : io::gguf_tensor_format(item.name, w.shape, base, tied);
      item.choice = chosen.format == base ? main : parse_choice(chosen.format, true);
      item.reason = chosen.reason;
    }
    place_in_block(item, w, w.shape, plain);
    items.push_back(std::move(item));
  }
}

uint32_t Plan::ggml_type(const Item& item, size_t tensor) const {
  if (item.placement.format == nullptr) {
    const io::Weight& w = model.weights()[item.weight];
    const int type = w.stored[tensor].ggml_type;
    return type >= 0 ? static_cast<uint32_t>(type) : io::find_ggml_type(plain_of(w.dtype))->id;
  }
  return tensor == 0 ? static_cast<uint32_t>(item.placement.format->gguf_type) : 0;  // a scale is f32
}

std::string Plan::gguf_header(const std::vector<ItemHashes>& hashes, std::vector<uint64_t>* offsets) const {
  std::vector<io::GgufTensor> list;
  for (const Item& item : items) {
    for (size_t k = 0; k < item.placement.tensors.size(); ++k) {
      const io::StoredTensor& t = item.placement.tensors[k];
      list.push_back({t.name, *io::find_ggml_type(ggml_type(item, k)), t.shape});
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
