#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "viva/io/checkpoint.h"

// The tensors that compressed-tensors (llm-compressor, vLLM, transformers) stores for a quantized Linear:
// int4, int4-asym, w8a8, fp8, fp8-block, nvfp4, mxfp4.
namespace viva::io {

// Why this layout cannot hold a weight of that shape in that format; empty where it can.
std::string compressed_tensors_refuses(const std::vector<uint64_t>& shape, const Format& format,
                                       const Coding& coding);

// Where weight `name` ("X.weight", (out, in)) goes. `coding.scale` is the dtype of the scales: the model's
// own.
Placement compressed_tensors_placement(const std::string& name, const std::vector<uint64_t>& shape,
                                       const Format& format, const Coding& coding);

// Takes the tensors that belong to compressed-tensors weights out of `stored` and returns those weights.
// `config` is the text of config.json, or empty: then the tensors alone decide. What viva does not decode is
// returned by name.
std::vector<Weight> recognize_compressed_tensors(std::vector<StoredIn>& stored,
                                                 const std::vector<InputFile>& files,
                                                 const std::string& config);

// The modules that have one format.
struct CompressedGroup {
  const Format* format = nullptr;
  Coding coding;
  std::vector<std::string> modules;  // names without ".weight"; needed where there is more than one group
};

// quantization_config for config.json. `kept`: module names of linear layers that stay as they are;
// `head_quantized`: whether the output head is in a group (otherwise it joins the kept ones).
nlohmann::ordered_json compressed_tensors_config(const std::vector<CompressedGroup>& groups,
                                                 const std::vector<std::string>& kept, bool head_quantized);

// Whether the package decodes this format to bfloat16, whatever the model's dtype (E2M1 in compressed-tensors 0.20): then only
// a model that is loaded as bfloat16 runs.
bool decodes_to_bf16(const Format& format);

// The weights that engines put into one matrix must share NVFP4's tensor scale: q, k, v of an attention, gate
// and up of an MLP, w1 and w3 of an expert, the two down-projections of latent attention. The name of the set
// that weight `name` belongs to ("model.layers.3.self_attn.qkv"), empty where it stands alone.
std::string fused_set(std::string_view name);

}  // namespace viva::io
