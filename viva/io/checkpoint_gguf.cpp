#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "viva/base/checked.h"
#include "viva/io/checkpoint_parts.h"
#include "viva/io/gguf_names.h"
#include "viva/io/quote.h"

// GGUF files as a checkpoint.
namespace viva::io {
namespace {

// The plain dtype that a ggml type is.
std::optional<DType> plain_dtype(std::string_view type) {
  constexpr std::pair<std::string_view, DType> kPlain[] = {
      {"f32", DType::kF32}, {"f16", DType::kF16}, {"bf16", DType::kBF16}, {"f64", DType::kF64},
      {"i8", DType::kI8},   {"i16", DType::kI16}, {"i32", DType::kI32},   {"i64", DType::kI64},
  };
  for (const auto& [name, dtype] : kPlain) {
    if (name == type) return dtype;
  }
  return std::nullopt;
}

const Format* format_of(uint32_t type) {
  for (const Format* f : formats()) {
    if (f->gguf_type == static_cast<int>(type)) return f;
  }
  return nullptr;
}

// Rows of one head of the query or key projection; 0 where the metadata does not say, or says what cannot be.
uint64_t head_dim(const GgufMetadata& metadata, const std::string& architecture, uint64_t rows) {
  const auto number = [&](std::string_view key) { return as_unsigned(find(metadata, fmt::format("{}.{}", architecture, key))).value_or(0); };
  uint64_t dim = number("attention.key_length");
  const uint64_t heads = number("attention.head_count");
  if (dim == 0 && heads != 0) dim = number("embedding_length") / heads;
  return dim != 0 && dim % 2 == 0 && rows % dim == 0 ? dim : 0;
}

struct Found {
  const GgufTensor* tensor;
  size_t file;
};

constexpr int kNvfp4 = 40;  // in ggml's numbers

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) {
    for (GgufPart& part : open_gguf(path)) {
      if (parts_.empty()) c_.metadata = part.header.metadata;
      parts_.push_back(std::move(part.header));
      c_.files.push_back(std::move(part.file));
    }
    c_.architecture = as_string(find(c_.metadata, "general.architecture")).value_or("");
    for (size_t f = 0; f < parts_.size(); ++f) {
      for (const GgufTensor& t : parts_[f].tensors) at_[t.name] = {&t, f};
    }
  }

  GgufContents read() {
    find_scales();
    for (size_t f = 0; f < parts_.size(); ++f) {
      for (const GgufTensor& t : parts_[f].tensors) {
        if (taken_.count(t.name) == 0) add(t, f);
      }
    }
    // Two tensors never get one name: then both keep their own.
    std::map<std::string, size_t> seen;
    for (const Weight& w : c_.weights) ++seen[w.name];
    for (Weight& w : c_.weights) {
      if (seen[w.name] == 1 || w.name == w.stored[0].tensor.name) continue;
      w.name = w.stored[0].tensor.name;
      w.permuted_head_dim = 0;
    }
    for (const GgufEntry& e : c_.metadata) {
      const auto text = as_string(&e.value);
      if (e.key == "viva.manifest" && text) {
        c_.texts.emplace_back("viva", std::string(*text));
      } else {
        c_.texts.emplace_back(e.key, describe(e.value));
      }
    }
    return std::move(c_);
  }

 private:
  // The second-level scales of NVFP4 weights are tensors of their own.
  void find_scales() {
    for (const auto& [name, found] : at_) {
      const auto scale = gguf_scale_name(name);
      if (!scale || found.tensor->type.name != "nvfp4") continue;
      const auto it = at_.find(*scale);
      if (it == at_.end()) continue;
      const GgufTensor& t = *it->second.tensor;
      if (t.type.name == "f32" && t.bytes == 4) taken_.insert(*scale);
    }
  }

  StoredIn stored(const GgufTensor& t, size_t file, DType dtype) const {
    return {{t.name, dtype, t.shape, t.offset, t.bytes}, file, static_cast<int>(t.type.id)};
  }

  void add(const GgufTensor& t, size_t file) {
    Weight w;
    w.name = t.name;
    w.shape = t.shape;
    const auto dtype = plain_dtype(t.type.name);
    const Format* format = dtype ? nullptr : format_of(t.type.id);
    w.dtype = dtype.value_or(DType::kF32);
    w.stored = {stored(t, file, dtype.value_or(DType::kU8))};
    if (format != nullptr) {
      packed(w, *format);
    } else if (!dtype) {
      w.format = t.type.name;
      w.decodable = false;
    }
    for (const StoredIn& s : w.stored) w.placement.tensors.push_back(s.tensor);
    rename(w, t);
    c_.weights.push_back(std::move(w));
  }

  void packed(Weight& w, const Format& format) {
    w.format = format.name;
    Placement& p = w.placement;
    p.format = &format;
    p.view = {w.rows(), w.cols(), 0};
    p.pieces = {{0}};
    const auto scale = gguf_scale_name(w.name);
    if (format.gguf_type != kNvfp4 || !scale || taken_.count(*scale) == 0) return;
    const Found& found = at_.at(*scale);
    w.stored.push_back(stored(*found.tensor, found.file, DType::kF32));
    uint8_t bytes[4];
    c_.files[found.file].read(found.tensor->offset, bytes);
    std::memcpy(&w.shared.scale, bytes, 4);
    p.coding.shared = w.shared;
    p.constants.push_back({1, [](const Shared& shared) { return std::string(reinterpret_cast<const char*>(&shared.scale), 4); }});
  }

  // Its Hugging Face name, if its rows can be given in the order that belongs to that name.
  void rename(Weight& w, const GgufTensor& t) {
    const auto name = hf_name(c_.architecture, t.name);
    if (!name) return;
    if (has_permuted_rows(c_.architecture, t.name)) {
      w.permuted_head_dim = t.shape.empty() || t.shape.size() > 2 ? 0 : head_dim(c_.metadata, c_.architecture, t.shape[0]);
      if (w.permuted_head_dim == 0) return;
    }
    w.name = *name;
  }

  GgufContents c_;
  std::vector<GgufHeader> parts_;
  std::map<std::string, Found> at_;
  std::set<std::string> taken_;  // tensors that belong to another one
};

}  // namespace

GgufContents read_gguf_weights(const std::filesystem::path& path) { return Reader(path).read(); }

}  // namespace viva::io
