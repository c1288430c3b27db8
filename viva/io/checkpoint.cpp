#include "viva/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "viva/base/checked.h"
#include "viva/io/bitsandbytes.h"
#include "viva/io/compressed_tensors.h"
#include "viva/io/foreign.h"
#include "viva/io/json.h"

namespace viva::io {

namespace fs = std::filesystem;
using nlohmann::json;

std::string_view name(Kind kind) noexcept {
  switch (kind) {
    case Kind::kHuggingFace: return "huggingface";
    case Kind::kSafetensors: return "safetensors";
    case Kind::kGguf: return "gguf";
    case Kind::kNpy: return "npy";
    case Kind::kNpz: return "npz";
  }
  return "";
}

uint64_t Weight::count() const { return checked_product(shape).value_or(0); }
uint64_t Weight::rows() const { return shape.empty() ? 1 : checked_product(std::span(shape).first(shape.size() - 1)).value_or(0); }
uint64_t Weight::bytes() const {
  uint64_t n = 0;
  for (const StoredIn& s : stored) n += s.tensor.bytes;
  return n;
}

const Weight* Checkpoint::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &weights_[found->second];
}
uint64_t Checkpoint::parameters() const {
  uint64_t n = 0;
  for (const Weight& w : weights_) n += w.count();
  return n;
}
uint64_t Checkpoint::file_bytes() const {
  uint64_t n = 0;
  for (const InputFile& f : files_) n += f.size();
  return n;
}

// Opens each kind; the only one who fills a Checkpoint.
class CheckpointReader {
 public:
  explicit CheckpointReader(const fs::path& path) { c_.path_ = path; }

  Checkpoint read() {
    std::error_code ignored;
    if (!fs::exists(c_.path_, ignored)) {
      throw Error(Code::kBadInput, "open", fmt::format("{} does not exist", c_.path_.string()));
    }
    if (fs::is_directory(c_.path_)) {
      directory();
    } else if (c_.path_.extension() == ".safetensors") {
      c_.kind_ = Kind::kSafetensors;
      add_safetensors(c_.path_);
    } else {
      throw Error(Code::kBadInput, "open", fmt::format("{} is none of the kinds that viva reads", c_.path_.string()),
                  "a model directory, .safetensors, .gguf, .npy or .npz");
    }
    make_weights();
    for (size_t i = 0; i < c_.weights_.size(); ++i) {
      if (!c_.by_name_.emplace(c_.weights_[i].name, i).second) {
        throw Error(Code::kBadInput, "open", fmt::format("{}: '{}' is stored twice", c_.path_.string(), c_.weights_[i].name));
      }
    }
    return std::move(c_);
  }

 private:
  void directory() {
    c_.kind_ = Kind::kHuggingFace;
    const fs::path config = c_.path_ / "config.json";
    if (fs::exists(config)) {
      c_.config_ = read_text(config);
      const json parsed = parse_json(c_.config_, "open", config.string());
      if (!parsed.is_object()) throw Error(Code::kBadInput, "open", fmt::format("{} is not a JSON object", config.string()));
      if (parsed.contains("architectures") && parsed["architectures"].is_array() && !parsed["architectures"].empty() &&
          parsed["architectures"][0].is_string()) {
        c_.architecture_ = parsed["architectures"][0].get<std::string>();
      } else if (parsed.contains("model_type") && parsed["model_type"].is_string()) {
        c_.architecture_ = parsed["model_type"].get<std::string>();
      }
    }
    const fs::path index = c_.path_ / "model.safetensors.index.json", single = c_.path_ / "model.safetensors";
    if (fs::exists(index)) {
      shards(index);
    } else if (fs::exists(single)) {
      add_safetensors(single);
    } else {
      lone_file();
    }
    for (const auto& entry : fs::directory_iterator(c_.path_)) {
      const std::string file = entry.path().filename().string();
      if (entry.is_regular_file() && is_side_file(file)) c_.side_files_.push_back(file);
    }
    std::sort(c_.side_files_.begin(), c_.side_files_.end());
  }

  // A folder with one .safetensors of another name is a model too.
  void lone_file() {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(c_.path_)) {
      if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
    }
    if (found.size() != 1) {
      throw Error(Code::kBadInput, "open",
                  fmt::format("{} has {} .safetensors files and no model.safetensors or index", c_.path_.string(), found.size()));
    }
    add_safetensors(found[0]);
  }

  void shards(const fs::path& index) {
    const json parsed = parse_json(read_text(index), "open", index.string());
    if (!parsed.is_object() || !parsed.contains("weight_map") || !parsed["weight_map"].is_object()) {
      throw Error(Code::kBadInput, "open", fmt::format("{}: no weight_map object", index.string()));
    }
    std::map<std::string, std::string> where;
    std::vector<std::string> names;
    for (const auto& [tensor, file] : parsed["weight_map"].items()) {
      if (!file.is_string()) throw Error(Code::kBadInput, "open", fmt::format("{}: '{}' names no file", index.string(), tensor));
      const std::string shard = file.get<std::string>();
      if (shard.empty() || shard.find('/') != std::string::npos || shard == "..") {
        throw Error(Code::kBadInput, "open", fmt::format("{}: shard name '{}' leaves the folder", index.string(), shard));
      }
      where[tensor] = shard;
      names.push_back(shard);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    for (const std::string& shard : names) {
      const size_t before = stored_.size();
      add_safetensors(c_.path_ / shard);
      for (size_t i = before; i < stored_.size(); ++i) {
        const auto found = where.find(stored_[i].tensor.name);
        if (found == where.end() || found->second != shard) {
          throw Error(Code::kBadInput, "open",
                      fmt::format("{}: '{}' lies in {}, the index says {}", index.string(), stored_[i].tensor.name, shard,
                                  found == where.end() ? "nothing of it" : found->second));
        }
        where.erase(found);
      }
    }
    if (!where.empty()) {
      throw Error(Code::kBadInput, "open",
                  fmt::format("{}: '{}' is not in {}", index.string(), where.begin()->first, where.begin()->second));
    }
  }

  static bool is_side_file(const std::string& file) {
    if (file.starts_with(".") || file == "config.json" || file == "viva.json" || file.ends_with(".index.json")) return false;
    for (std::string_view weights : {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".part"}) {
      if (file.ends_with(weights)) return false;
    }
    return true;
  }

  void add_safetensors(const fs::path& path) {
    c_.files_.emplace_back(path);
    SafetensorsHeader header = read_safetensors_header(c_.files_.back());
    for (auto& [key, value] : header.metadata) c_.metadata_.emplace_back(key, value);
    for (StoredTensor& t : header.tensors) stored_.push_back({std::move(t), c_.files_.size() - 1});
  }

  void make_weights() {
    const auto add = [&](std::vector<Weight> found) {
      for (Weight& w : found) c_.weights_.push_back(std::move(w));
    };
    add(recognize_bitsandbytes(stored_, c_.files_));
    add(recognize_foreign(stored_, c_.files_, c_.config_));
    add(recognize_compressed_tensors(stored_, c_.files_, c_.config_));
    for (StoredIn& s : stored_) {
      Weight w;
      w.name = s.tensor.name;
      w.shape = s.tensor.shape;
      w.dtype = s.tensor.dtype;
      w.decodable = bytes(w.dtype) != 0 && w.dtype != DType::kC64;
      w.placement.tensors = {s.tensor};
      w.stored = {std::move(s)};
      c_.weights_.push_back(std::move(w));
    }
    mark_unknown(c_.weights_, c_.config_);
    // In the order of the files, so that reading all of them is one sweep.
    std::stable_sort(c_.weights_.begin(), c_.weights_.end(), [](const Weight& a, const Weight& b) {
      const StoredIn &x = a.stored[0], &y = b.stored[0];
      return x.file != y.file ? x.file < y.file : x.tensor.offset < y.tensor.offset;
    });
  }

  Checkpoint c_;
  std::vector<StoredIn> stored_;
};

Checkpoint Checkpoint::open(const fs::path& path) { return CheckpointReader(path).read(); }

void Checkpoint::read_stored(const Weight& w, size_t part, uint64_t offset, std::span<uint8_t> out) const {
  const StoredIn& s = w.stored[part];
  files_[s.file].read(s.tensor.offset + offset, out);
}

void Checkpoint::read_packed(const Weight& w, const Chunk& chunk, std::span<uint8_t> packed, std::vector<uint8_t>& work) const {
  gather(w.placement, chunk, packed, work,
         [&](size_t tensor, uint64_t offset, std::span<uint8_t> out) { read_stored(w, tensor, offset, out); });
}

}  // namespace viva::io
