#include "viva/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "viva/base/checked.h"
#include "viva/io/bitsandbytes.h"
#include "viva/io/checkpoint_parts.h"
#include "viva/io/compressed_tensors.h"
#include "viva/io/foreign.h"
#include "viva/io/gguf_names.h"
#include "viva/io/json.h"
#include "viva/io/quote.h"

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

std::string Weight::stored_as() const {
  if (!format.empty()) return format;
  std::string text(viva::name(dtype));
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

uint64_t Weight::count() const { return checked_product(shape).value_or(0); }
uint64_t Weight::rows() const { return shape.empty() ? 1 : checked_product(std::span(shape).first(shape.size() - 1)).value_or(0); }
uint64_t Weight::bytes() const {
  uint64_t n = 0;
  for (const StoredIn& s : stored) n += s.tensor.bytes;
  return n;
}

const Weight* Checkpoint::find(std::string_view name) const {
  auto found = by_name_.find(name);
  constexpr std::string_view kWeight = ".weight";
  if (found == by_name_.end()) {
    found = name.ends_with(kWeight) ? by_name_.find(name.substr(0, name.size() - kWeight.size()))
                                    : by_name_.find(std::string(name).append(kWeight));
  }
  return found == by_name_.end() ? nullptr : &weights_[found->second];
}
const Weight* Checkpoint::find_stored(std::string_view name) const noexcept {
  const auto found = by_stored_.find(name);
  return found == by_stored_.end() ? nullptr : &weights_[found->second];
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
    std::error_code error;
    const fs::file_status status = fs::status(c_.path_, error);
    if (!fs::exists(status)) {
      throw Error(Code::kBadInput, "open",
                  fmt::format("{} {}", c_.path_.string(),
                              status.type() == fs::file_type::not_found ? "does not exist" : "cannot be looked at: " + error.message()));
    }
    if (fs::is_directory(status)) {
      directory();
    } else {
      file();
    }
    for (size_t i = 0; i < c_.weights_.size(); ++i) {
      if (!c_.by_name_.emplace(c_.weights_[i].name, i).second) {
        throw Error(Code::kBadInput, "open", fmt::format("{}: {} is stored twice", c_.path_.string(), quote(c_.weights_[i].name)));
      }
      if (!c_.weights_[i].stored.empty()) c_.by_stored_.emplace(c_.weights_[i].stored[0].tensor.name, i);
    }
    return std::move(c_);
  }

 private:
  // By extension; a file with another one by its first bytes.
  void file() {
    const std::string extension = c_.path_.extension().string();
    std::string magic;
    if (extension != ".safetensors" && extension != ".gguf" && extension != ".npy" && extension != ".npz") {
      const InputFile f(c_.path_);
      magic.resize(std::min<uint64_t>(4, f.size()));
      f.read(0, {reinterpret_cast<uint8_t*>(magic.data()), magic.size()});
    }
    if (extension == ".safetensors") {
      c_.kind_ = Kind::kSafetensors;
      add_safetensors(c_.path_);
      make_weights();
    } else if (extension == ".gguf" || magic == "GGUF") {
      c_.kind_ = Kind::kGguf;
      GgufContents found = read_gguf_weights(c_.path_);
      c_.files_ = std::move(found.files);
      c_.weights_ = std::move(found.weights);
      c_.architecture_ = std::move(found.architecture);
      c_.metadata_ = std::move(found.texts);
      c_.gguf_metadata_ = std::move(found.metadata);
    } else if (extension == ".npy" || extension == ".npz" || magic == "\x93NUM" || magic.starts_with("PK")) {
      ArrayContents found = read_array_weights(c_.path_);
      c_.kind_ = found.single ? Kind::kNpy : Kind::kNpz;
      c_.files_.push_back(std::move(found.file));
      c_.weights_ = std::move(found.weights);
      c_.unpacked_ = std::move(found.unpacked);
      c_.warnings_ = std::move(found.warnings);
    } else {
      throw Error(Code::kBadInput, "open", fmt::format("{} is none of the kinds that viva reads", c_.path_.string()),
                  "a model directory, .safetensors, .gguf, .npy or .npz");
    }
  }

  // Names of what is in the folder: regular files, links to them included.
  std::vector<std::string> names() const {
    std::vector<std::string> list;
    std::error_code error;
    fs::directory_iterator it(c_.path_, error);
    for (const fs::directory_iterator end; !error && it != end; it.increment(error)) {
      std::error_code gone;
      if (it->is_regular_file(gone)) list.push_back(it->path().filename().string());
    }
    if (error) throw Error(Code::kBadInput, "open", fmt::format("{}: {}", c_.path_.string(), error.message()));
    std::sort(list.begin(), list.end());
    return list;
  }

  void directory() {
    c_.kind_ = Kind::kHuggingFace;
    const std::vector<std::string> all = names();
    const auto has = [&](const char* file) { return std::binary_search(all.begin(), all.end(), file); };
    const fs::path config = c_.path_ / "config.json";
    if (has("config.json")) {
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
    if (has("model.safetensors.index.json")) {
      shards(c_.path_ / "model.safetensors.index.json");
    } else if (has("model.safetensors")) {
      add_safetensors(c_.path_ / "model.safetensors");
    } else {
      lone_file(all);
    }
    for (const std::string& file : all) {
      if (is_side_file(file)) c_.side_files_.push_back(file);
    }
    make_weights();
  }

  // A folder with one .safetensors of another name is a model too.
  void lone_file(const std::vector<std::string>& all) {
    std::vector<fs::path> found;
    for (const std::string& file : all) {
      if (file.ends_with(".safetensors")) found.push_back(c_.path_ / file);
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
      if (!file.is_string()) throw Error(Code::kBadInput, "open", fmt::format("{}: {} names no file", index.string(), quote(tensor)));
      const std::string shard = file.get<std::string>();
      if (shard.empty() || shard.find('/') != std::string::npos || shard == "..") {
        throw Error(Code::kBadInput, "open", fmt::format("{}: shard name {} leaves the folder", index.string(), quote(shard)));
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
                      fmt::format("{}: {} lies in {}, the index says {}", index.string(), quote(stored_[i].tensor.name), quote(shard),
                                  found == where.end() ? "nothing of it" : quote(found->second)));
        }
        where.erase(found);
      }
    }
    if (!where.empty()) {
      throw Error(Code::kBadInput, "open",
                  fmt::format("{}: {} is not in {}", index.string(), quote(where.begin()->first), quote(where.begin()->second)));
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
  if (s.unpacked >= 0) {
    unpacked_[static_cast<size_t>(s.unpacked)]->read(offset, out);
  } else {
    files_[s.file].read(s.tensor.offset + offset, out);
  }
}

void Checkpoint::read_plain(const Weight& w, uint64_t first, std::span<uint8_t> out) const {
  const size_t size = viva::bytes(w.dtype);
  if (w.transposed) {
    read_transposed(w.rows(), w.cols(), size, first, out,
                    [&](uint64_t at, std::span<uint8_t> run) { read_stored(w, 0, at * size, run); });
    return;
  }
  if (w.permuted_head_dim == 0) {
    read_stored(w, 0, first * size, out);
    return;
  }
  // A bias is a column of rows of one value; its heads are read whole.
  const uint64_t width = w.shape.size() == 1 ? 1 : w.cols(), dim = w.permuted_head_dim;
  std::vector<uint8_t> head;
  uint64_t held = UINT64_MAX;
  for (size_t done = 0; done < out.size();) {
    const uint64_t value = first + done / size, row = value / width, skip = value % width;
    const size_t n = std::min<uint64_t>(out.size() - done, (width - skip) * size);
    const uint64_t from = gguf_row(row, dim);
    if (width == 1) {
      if (held != row / dim) {
        held = row / dim;
        head.resize(dim * size);
        read_stored(w, 0, held * dim * size, head);
      }
      std::memcpy(out.data() + done, head.data() + from % dim * size, size);
    } else {
      read_stored(w, 0, (from * width + skip) * size, out.subspan(done, n));
    }
    done += n;
  }
}

void read_transposed(uint64_t rows, uint64_t cols, size_t size, uint64_t first, std::span<uint8_t> out, const ReadElements& read) {
  std::vector<uint8_t> band;
  for (size_t done = 0; done < out.size();) {
    const uint64_t value = first + done / size, left = (out.size() - done) / size, row = value / cols, skip = value % cols;
    // A part of one row, or all whole rows that follow.
    const uint64_t width = std::min(cols - skip, left), count = skip != 0 || left < cols ? 1 : std::min(rows - row, left / cols);
    band.resize(count * size);
    for (uint64_t c = 0; c < width; ++c) {
      read((skip + c) * rows + row, band);
      for (uint64_t r = 0; r < count; ++r) std::memcpy(out.data() + done + (r * width + c) * size, band.data() + r * size, size);
    }
    done += count * width * size;
  }
}

void Checkpoint::read_packed(const Weight& w, const Chunk& chunk, std::span<uint8_t> packed, std::vector<uint8_t>& work) const {
  gather(w.placement, chunk, packed, work,
         [&](size_t tensor, uint64_t offset, std::span<uint8_t> out) { read_stored(w, tensor, offset, out); });
}

}  // namespace viva::io
