#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// How the tensors of a Hugging Face language model are called, ordered and typed in GGUF.
namespace viva::io {

// The GGUF architectures that viva writes: "llama" (Llama and Mistral), "qwen2", "qwen3".
std::span<const std::string_view> gguf_architectures() noexcept;

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". Base models without the leading "model."
// are understood. Empty for a name that the architecture's loader does not know.
std::optional<std::string> gguf_name(std::string_view architecture, std::string_view hf);
// The way back: "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight".
std::optional<std::string> hf_name(std::string_view architecture, std::string_view gguf);

// A tensor that holds no learned weight of its own and is left out: old rotary buffers.
bool is_derived_tensor(std::string_view hf) noexcept;

// Whether the rows of this tensor (weight or bias) are stored in another order than in Hugging Face files.
// GGUF's "llama" rotates neighbouring rows of a head, transformers rows that are half a head apart. Qwen's
// architectures agree.
bool has_permuted_rows(std::string_view architecture, std::string_view gguf);
// The Hugging Face row that is row `row` in GGUF, and the way back; heads are `head_dim` rows high, an even
// number.
constexpr uint64_t hf_row(uint64_t row, uint64_t head_dim) noexcept {
  const uint64_t r = row % head_dim;
  return row - r + (r % 2) * (head_dim / 2) + r / 2;
}
constexpr uint64_t gguf_row(uint64_t row, uint64_t head_dim) noexcept {
  const uint64_t r = row % head_dim;
  return row - r + 2 * (r % (head_dim / 2)) + r / (head_dim / 2);
}

// The type of one tensor, a name of ggml_types(), and why it is not the type that was asked for.
struct GgufTensorFormat {
  std::string_view format;
  std::string reason;  // empty where it is `base`
};

// The rule that llama.cpp's own quantizer follows, as far as viva's encoders go. `base` is a name of
// ggml_types(), `tied` says that the output layer is the embedding. Vectors, norms and tensors that are no
// weight are f32; the output layer is q8_0 (llama.cpp would take q6_k); where rows are no whole number of
// blocks, f16.
GgufTensorFormat gguf_tensor_format(std::string_view gguf, std::span<const uint64_t> shape,
                                    std::string_view base, bool tied);

// general.file_type of a file whose weights are mostly `base`; empty where GGUF has no number for it.
std::optional<uint32_t> gguf_file_type(std::string_view base) noexcept;

// The tensor that holds the F32 factor {1} of an NVFP4 weight: "blk.0.attn_q.weight" -> "blk.0.attn_q.scale".
// Empty for tensors that have none: llama.cpp applies the factor to the result of a product, so the embedding
// cannot have one.
std::optional<std::string> gguf_scale_name(std::string_view gguf);

}  // namespace viva::io
