#include "viva/io/recognize.h"

#include <fmt/format.h>

#include <algorithm>

#include "viva/base/checked.h"
#include "viva/io/json.h"
#include "viva/io/quote.h"

namespace viva::io {

Recognizer::Recognizer(std::string_view layout, std::vector<StoredIn>& stored,
                       const std::vector<InputFile>& files)
    : layout_(layout), stored_(stored), files_(files), taken_(stored.size()) {
  at_.reserve(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) at_.emplace(stored[i].tensor.name, i);
}

const StoredIn* Recognizer::find(const std::string& name) const noexcept {
  const auto found = at_.find(name);
  return found == at_.end() || taken_[found->second] ? nullptr : &stored_[found->second];
}

std::string Recognizer::content(const StoredIn& s, uint64_t limit) const {
  std::string text(std::min(s.tensor.bytes, limit), '\0');
  files_[s.file].read(s.tensor.offset, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

std::string Recognizer::where(const StoredIn& s) const {
  return fmt::format("{}: tensor {} at byte {}", files_[s.file].path().string(), quote(s.tensor.name),
                     s.tensor.offset);
}

void Recognizer::bad(const StoredIn& s, std::string_view message) const {
  throw Error(Code::kBadInput, layout_, fmt::format("{}: {}", where(s), message));
}

void Recognizer::claim(Weight w, const StoredIn& cause) {
  w.stored.clear();
  for (const StoredTensor& want : w.placement.tensors) {
    const StoredIn* have = find(want.name);
    if (have == nullptr) bad(cause, fmt::format("{}, which belongs to it, is missing", quote(want.name)));
    if (have->tensor.dtype != want.dtype || have->tensor.shape != want.shape ||
        have->tensor.bytes != want.bytes) {
      bad(*have, fmt::format("{} [{}], expected {} [{}]", viva::name(have->tensor.dtype),
                             fmt::join(have->tensor.shape, ", "), viva::name(want.dtype),
                             fmt::join(want.shape, ", ")));
    }
    w.stored.push_back(*have);
  }
  for (const StoredIn& s : w.stored) taken_[at_.at(s.tensor.name)] = true;
  w.decodable = true;
  weights_.push_back(std::move(w));
}

void Recognizer::claim_unread(std::string name, std::vector<uint64_t> shape, DType dtype, std::string format,
                              std::initializer_list<const StoredIn*> parts) {
  Weight w;
  w.name = std::move(name);
  w.shape = std::move(shape);
  w.dtype = dtype;
  w.format = std::move(format);
  w.decodable = false;
  for (const StoredIn* part : parts) {
    if (part == nullptr) continue;
    w.placement.tensors.push_back(part->tensor);
    w.stored.push_back(*part);
    drop(*part);
  }
  weights_.push_back(std::move(w));
}

std::vector<Weight> Recognizer::finish() {
  std::vector<StoredIn> rest;
  for (size_t i = 0; i < stored_.size(); ++i) {
    if (!taken_[i]) rest.push_back(std::move(stored_[i]));
  }
  stored_ = std::move(rest);
  return std::move(weights_);
}

Quantization quantization_of(const std::string& config) {
  Quantization q{{}, nullptr, DType::kBF16};
  if (config.empty()) return q;
  const nlohmann::json root = parse_json(config, "open", "config.json");
  // A model with several parts keeps the settings of its language model in an object of their own.
  const nlohmann::json* const text = member(root, "text_config");
  for (const nlohmann::json* holder : {&root, text}) {
    if (holder == nullptr) continue;
    for (std::string_view key : {"quantization_config", "compression_config"}) {
      const nlohmann::json* found = member(*holder, key);
      if (!q.body.is_null() || found == nullptr || !found->is_object()) continue;
      q.body = *found;
      q.method =
          text_at(q.body, "quant_method").value_or(key == "compression_config" ? "compressed-tensors" : "");
    }
  }
  for (const nlohmann::json* holder : {text, &root}) {
    if (holder == nullptr) continue;
    for (std::string_view key : {"torch_dtype", "dtype"}) {
      const std::string name = text_at(*holder, key).value_or("");
      if (name.ends_with("bfloat16")) q.dtype = DType::kBF16;
      if (name == "float16" || name == "torch.float16") q.dtype = DType::kF16;
      if (name.ends_with("float32")) q.dtype = DType::kF32;
    }
  }
  return q;
}

std::string_view module_of(std::string_view name, std::string_view suffix) noexcept {
  if (name.size() <= suffix.size() + 1 || !name.ends_with(suffix) ||
      name[name.size() - suffix.size() - 1] != '.')
    return {};
  return name.substr(0, name.size() - suffix.size() - 1);
}

StoredTensor make_stored(std::string name, DType dtype, std::vector<uint64_t> shape) {
  StoredTensor t{std::move(name), dtype, std::move(shape), 0, 0};
  const auto count = checked_product(t.shape);
  const auto size = count ? checked_mul(*count, viva::bytes(dtype)) : std::nullopt;
  if (!size)
    throw Error(Code::kBadInput, "layout",
                fmt::format("{} [{}] is too large to store", quote(t.name), fmt::join(t.shape, ", ")));
  t.bytes = *size;
  return t;
}

}  // namespace viva::io
