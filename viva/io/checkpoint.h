#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "viva/base/dtype.h"
#include "viva/io/layout.h"

// A model on disk, whatever wrote it: the weights by name, what they are made of, and their values row by row.
namespace viva::io {

enum class Kind : uint8_t { kHuggingFace, kSafetensors, kGguf, kNpy, kNpz };
std::string_view name(Kind kind) noexcept;

// Where a stored tensor lies.
struct StoredIn {
  StoredTensor tensor;
  size_t file = 0;  // index in Checkpoint::files()
};

// One logical weight. Its name is the model's own (Hugging Face style where the file's architecture allows that).
struct Weight {
  std::string name;
  std::vector<uint64_t> shape;
  DType dtype = DType::kF32;     // what the values are, or what they become when decoded
  std::string format;            // as `viva formats` names it, or the stored type where viva does not decode it
  Placement placement;           // format null: plain values of `dtype`, or not decodable
  std::vector<StoredIn> stored;  // one per tensor of the placement, in its order
  Shared shared;
  bool decodable = true;
  uint64_t permuted_heads = 0;   // GGUF llama q/k: rows are stored interleaved per head

  uint64_t count() const;   // values
  uint64_t bytes() const;   // stored, everything included
  // The weight as rows: all dimensions but the last.
  uint64_t rows() const;
  uint64_t cols() const { return shape.empty() ? 1 : shape.back(); }
};

class Checkpoint {
 public:
  // A Hugging Face directory, .safetensors, .gguf (first part of a split one), .npy or .npz. Reads headers only.
  static Checkpoint open(const std::filesystem::path& path);

  Kind kind() const noexcept { return kind_; }
  const std::filesystem::path& path() const noexcept { return path_; }
  const std::string& architecture() const noexcept { return architecture_; }  // empty where it is not known
  // config.json (text; empty where there is none), metadata of the file for people.
  const std::string& config() const noexcept { return config_; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const noexcept { return metadata_; }
  const std::vector<InputFile>& files() const noexcept { return files_; }
  const std::vector<Weight>& weights() const noexcept { return weights_; }
  const Weight* find(std::string_view name) const noexcept;
  uint64_t parameters() const;
  uint64_t file_bytes() const;
  // Files beside the weights that belong to the model: tokenizer, generation config and so on (file names).
  const std::vector<std::string>& side_files() const noexcept { return side_files_; }

  // Bytes of stored tensor `part` of `w`, from `offset`.
  void read_stored(const Weight& w, size_t part, uint64_t offset, std::span<uint8_t> out) const;
  // Packed rows of a chunk of `w.placement`.
  void read_packed(const Weight& w, const Chunk& chunk, std::span<uint8_t> packed, std::vector<uint8_t>& work) const;

 private:
  friend class CheckpointReader;
  Kind kind_ = Kind::kSafetensors;
  std::filesystem::path path_;
  std::string architecture_, config_;
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::vector<InputFile> files_;
  std::vector<Weight> weights_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::vector<std::string> side_files_;
};

}  // namespace viva::io
