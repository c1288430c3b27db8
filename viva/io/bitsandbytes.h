#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "viva/io/checkpoint.h"

// The tensors that bitsandbytes and transformers store for a quantized Linear: LLM.int8, NF4, FP4, double quantization.
namespace viva::io {

// Why this layout cannot hold a weight of that shape in that format; empty where it can.
std::string bitsandbytes_refuses(const std::vector<uint64_t>& shape, const Format& format);

// Where weight `name` (ends in ".weight", (out, in), values of `dtype`) goes.
Placement bitsandbytes_placement(const std::string& name, const std::vector<uint64_t>& shape, DType dtype, const Format& format,
                                 const Coding& coding);

// Takes the tensors that belong to bitsandbytes weights out of `stored` and returns those weights.
std::vector<Weight> recognize_bitsandbytes(std::vector<StoredIn>& stored, const std::vector<InputFile>& files);

// quantization_config for config.json. `kept`: module names of linear layers that stay as they are; `head_kept`: whether the
// output head is among them, as transformers assumes by default.
nlohmann::ordered_json bitsandbytes_config(const Format& format, DType dtype, const std::vector<std::string>& kept, bool head_quantized);

}  // namespace viva::io
