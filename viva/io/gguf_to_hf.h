#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "viva/base/dtype.h"
#include "viva/io/checkpoint.h"
#include "viva/io/gguf.h"
#include "viva/io/gguf_model.h"

// The way back from make_gguf_model: from what a GGUF file says about a model to the files of a Hugging Face
// directory.
namespace viva::io {

struct HfFiles {
  // Name and content: config.json always; generation_config.json, tokenizer.json and tokenizer_config.json
  // where the file knows enough.
  std::vector<std::pair<std::string, std::string>> texts;
  // Indices of `weights` that have no place among the weights of the directory: config.json says what they
  // say.
  std::vector<size_t> left_out;
  std::vector<std::string> warnings;  // one sentence each
};

// Whether a tensor of a GGUF file holds rotary factors; make_hf_files wants their values.
bool is_rotary_factor(std::string_view gguf) noexcept;

// `weights` are all tensors of the file with the names and shapes (out, in) that Checkpoint gives them,
// `torch_dtype` (f32, f16 or bf16) is what unquantized weights will be, `factors` the values of every rotary
// factor tensor. Throws kBadInput, naming the metadata key or the tensor, for an architecture other than
// gguf_architectures(), for what its class in transformers cannot say, and for weights that are missing,
// unknown or of another shape than the metadata says. A tokenizer that cannot be rebuilt is a warning: the
// directory is then without one.
HfFiles make_hf_files(const GgufMetadata& metadata, std::span<const NamedShape> weights, DType torch_dtype,
                      std::span<const GgufExtraTensor> factors = {});

// The same for an open GGUF file: reads the factors, and `left_out` are indices of model.weights().
HfFiles make_hf_files(const Checkpoint& model, DType torch_dtype);

}  // namespace viva::io
