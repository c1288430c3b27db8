#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "viva/base/dtype.h"
#include "viva/io/gguf.h"
#include "viva/io/layout.h"

// A model on disk, whatever wrote it: the weights by name, what they are made of, and their values row by row.
namespace viva::io {

enum class Kind : uint8_t { kHuggingFace, kSafetensors, kGguf, kNpy, kNpz };
std::string_view name(Kind kind) noexcept;

// Where a stored tensor lies.
struct StoredIn {
  StoredTensor tensor;
  size_t file = 0;       // index in Checkpoint::files()
  int ggml_type = -1;    // of a GGUF file
  int unpacked = -1;     // index of the array, where the file does not hold its bytes as they are (deflated, big-endian)
};

class UnpackedArray;

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
  // GGUF llama q/k, weight or bias: rows are stored interleaved within heads of this height (gguf_row); 0: they are not.
  uint64_t permuted_head_dim = 0;
  bool transposed = false;       // stored as (cols, rows): NumPy's Fortran order

  std::string stored_as() const;  // its format, or its plain dtype in small letters
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
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }  // what a user should hear about the file
  const GgufMetadata& gguf_metadata() const noexcept { return gguf_metadata_; }    // GGUF only
  // By name. An array "x" and the weight "x.weight" that it became find each other.
  const Weight* find(std::string_view name) const;
  // By the name of its first stored tensor.
  const Weight* find_stored(std::string_view name) const noexcept;
  uint64_t parameters() const;
  uint64_t file_bytes() const;
  // Files beside the weights that belong to the model: tokenizer, generation config and so on (file names).
  const std::vector<std::string>& side_files() const noexcept { return side_files_; }

  // Bytes of stored tensor `part` of `w`, from `offset`.
  void read_stored(const Weight& w, size_t part, uint64_t offset, std::span<uint8_t> out) const;
  // Elements of a weight without a format (they are whole bytes), in row-major order of its shape and in the order of rows
  // that Hugging Face files have, whatever the file's own order is.
  void read_plain(const Weight& w, uint64_t first_value, std::span<uint8_t> out) const;
  // Packed rows of a chunk of `w.placement`, in the order of the file.
  void read_packed(const Weight& w, const Chunk& chunk, std::span<uint8_t> packed, std::vector<uint8_t>& work) const;

 private:
  friend class CheckpointReader;
  Kind kind_ = Kind::kSafetensors;
  std::filesystem::path path_;
  std::string architecture_, config_;
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::vector<std::string> warnings_;
  GgufMetadata gguf_metadata_;
  std::vector<InputFile> files_;
  std::vector<std::shared_ptr<UnpackedArray>> unpacked_;
  std::vector<Weight> weights_;
  std::map<std::string, size_t, std::less<>> by_name_, by_stored_;
  std::vector<std::string> side_files_;
};

// Values [first, first + out) of a (rows, cols) matrix, row by row, from a store that has it as (cols, rows): `read` gives the
// elements of `size` bytes from a place in that order. One read per column.
using ReadElements = std::function<void(uint64_t first, std::span<uint8_t> out)>;
void read_transposed(uint64_t rows, uint64_t cols, size_t size, uint64_t first, std::span<uint8_t> out, const ReadElements& read);

}  // namespace viva::io
