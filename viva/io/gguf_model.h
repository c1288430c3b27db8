#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "viva/io/gguf.h"

// From the files of a Hugging Face model to what a GGUF file says about it, so that llama.cpp runs it.
namespace viva::io {

// The texts of a model directory; empty where the file is absent. Only `config` is needed.
struct GgufSource {
  std::string name;                // general.name: the directory's
  std::string config;              // config.json
  std::string generation_config;   // generation_config.json
  std::string tokenizer;           // tokenizer.json
  std::string tokenizer_config;    // tokenizer_config.json
  std::string special_tokens_map;  // special_tokens_map.json
  std::string added_tokens;        // added_tokens.json
  std::string sentencepiece;       // tokenizer.model, a SentencePiece model
  std::string chat_template;       // chat_template.jinja
};

// Reads the files that are there. Throws kBadInput where config.json is missing or a file is unreasonably
// large.
GgufSource read_gguf_source(const std::filesystem::path& directory);

// A tensor that has no counterpart among the weights: rotary factors. F32, one dimension.
struct GgufExtraTensor {
  std::string name;
  std::vector<float> values;
};

struct GgufModel {
  std::string architecture;  // one of gguf_architectures()
  GgufMetadata metadata;     // complete
  std::vector<GgufExtraTensor> extra;
  uint64_t layers = 0, hidden = 0, feed_forward = 0, heads = 0, kv_heads = 0, head_dim = 0, vocabulary = 0;
  bool tied = false;                  // the embedding is the output layer
  std::vector<std::string> warnings;  // what a reader of the file should know, one sentence each
};

// Builds the metadata. `base` (a name of ggml_types()) is the type of most weights. Throws kBadInput, naming
// the file and the setting, for an architecture, rotary scaling or tokenizer that GGUF cannot name: never a
// file that runs wrongly. A source without tokenizer gives tokenizer.ggml.model "none": llama.cpp then works
// on token numbers only.
GgufModel make_gguf_model(const GgufSource& source, std::string_view base);

// The shape that a tensor of such a model has; the tensors that it cannot lack. Names are GGUF's.
std::vector<uint64_t> gguf_tensor_shape(const GgufModel& model, std::string_view gguf);
std::vector<std::string> gguf_tensor_names(const GgufModel& model);

// Where one tensor of the source goes.
struct GgufPlace {
  size_t source = 0;            // its index in the list given
  std::string name;             // in GGUF
  std::vector<uint64_t> shape;  // (out, in)
  uint64_t head_dim = 0;        // rows are permuted within heads of this height (hf_row); 0: they stay
};

struct GgufPlan {
  std::vector<GgufPlace> tensors;  // in the order of the file: embedding, layers, norm, output
  std::vector<std::pair<size_t, std::string>> skipped;  // index and reason
};

struct NamedShape {
  std::string_view name;  // as Hugging Face names it
  std::span<const uint64_t> shape;
};

// Maps every tensor of the source, or throws kBadInput: a tensor that the architecture's loader does not
// know, one that is missing, or a shape that config.json contradicts. Where lm_head is missing the model
// becomes tied.
GgufPlan plan_gguf_tensors(GgufModel& model, std::span<const NamedShape> tensors);

}  // namespace viva::io
