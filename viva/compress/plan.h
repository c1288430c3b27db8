#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "viva/compress/compress.h"
#include "viva/compress/recipe.h"
#include "viva/io/checkpoint.h"
#include "viva/io/gguf_model.h"

// What a run will write, to the byte, before anything is written.
namespace viva {

// Where one stored tensor of the result lies.
struct Spot {
  size_t file = 0;
  uint64_t offset = 0;
};

// One weight on its way.
struct Item {
  size_t weight = 0;         // index in the source
  std::string name;          // in the result
  Choice choice;             // what the user would call its format; format null: kept
  std::string reason;
  io::Placement placement;   // in the result; format null: the source's bytes are copied
  std::vector<Spot> spots;   // one per tensor of the placement
  std::vector<io::Chunk> chunks;
  std::string fused_set;     // weights of one set share their second-level scale; empty: alone
  std::optional<Shared> shared;  // of a conversion: what the source's values share already
  bool kept = false;            // not what the run is about: copied, or only cast
  uint64_t permuted_head_dim = 0;  // rows are interleaved within heads of this height on their way (GGUF llama q, k)
  bool transposed = false;      // the result is (out, in), the source (in, out): GPT-2's Conv1D for bitsandbytes
  bool stored_order = false;    // rows stay in the order of the source's file (GGUF to GGUF)

  uint64_t bytes() const;
  // Names every byte that comes out for given source bytes: the key of finished work.
  std::string key() const;
};

// One file of the result.
struct PlannedFile {
  std::string name;                    // relative to the destination; empty: the destination itself
  std::string header;                  // its first bytes, checksums of the manifest still zero
  uint64_t bytes = 0;
  std::vector<std::pair<size_t, size_t>> tensors;  // (item, tensor of its placement), in order
};

// A checksum and a source hash per item: what `viva verify` checks, and what a later run may take over.
struct ItemHashes {
  std::string source = std::string(32, '0');
  std::string checksum = std::string(32, '0');
};

// What a plan is made from.
struct PlanOptions : CompressOptions {
  PlanOptions(const CompressOptions& o) : CompressOptions(o) {}
  // `viva convert`: packed sources are decoded; `format` may be empty. See decide_conversion.
  bool convert = false;
  bool exact = false;  // a value that would change stops the run
};

class Plan {
 public:
  // `nonfinite` (empty, or one for each weight): weights with NaN or infinity, which stay as they are.
  Plan(const io::Checkpoint& model, const std::filesystem::path& destination, const PlanOptions& options,
       const std::vector<bool>& nonfinite = {});

  const io::Checkpoint& model;
  bool directory = true;
  Layout layout = Layout::kPlain;
  Choice main;  // format null: a conversion that changes no tensor
  bool convert = false, exact = false;  // of the options
  std::vector<Item> items;
  std::vector<PlannedFile> files;                            // weights
  std::vector<std::pair<std::string, std::string>> texts;    // small files of the result: name, content
  std::vector<std::string> side_files;                       // copied from the source
  std::vector<std::string> warnings;
  std::vector<io::GgufExtraTensor> extra;                    // GGUF tensors that no weight gives, behind the items
  std::vector<Spot> extra_spots;

  // All bytes of the result.
  uint64_t total_bytes() const;
  // The manifest of the finished result; its size does not depend on the hashes. A text of `texts` for directories, part of
  // the header for single files.
  std::string manifest(const std::vector<ItemHashes>& hashes) const;
  std::string header(size_t file, const std::vector<ItemHashes>& hashes) const;
  // Two plans with the same fingerprint write the same files at the same offsets.
  std::string fingerprint() const;

 private:
  void plan_huggingface(const PlanOptions& options);
  void plan_gguf();
  void place_in_directory(std::vector<Decision>& decisions);
  void place_in_gguf(const std::vector<Decision>& decisions);
  void place_gguf_in_gguf(const std::vector<Decision>& decisions);
  void place_in_block(Item& item, const io::Weight& w, const std::vector<uint64_t>& shape, bool plain) const;
  void make_texts();
  void make_config_of_gguf();
  std::string safetensors_header(size_t file, const std::vector<ItemHashes>& hashes) const;
  uint32_t ggml_type(const Item& item, size_t tensor) const;
  std::string gguf_header(const std::vector<ItemHashes>& hashes, std::vector<uint64_t>* offsets) const;

  Encoder encoder_;
  std::string to_;      // of a conversion, as it was asked for
  std::set<size_t> left_out_;  // weights of a GGUF file that the config says
  std::string config_;  // config.json as the source has it, or as its GGUF metadata says it
  io::GgufMetadata metadata_;  // GGUF
  uint64_t side_bytes_ = 0;
};

// Plain values that `format`, a plain one, says as they are whatever they are.
bool says_all(const Format& format, const io::Weight& w);

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace viva
