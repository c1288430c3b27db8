#pragma once

#include <string>
#include <vector>

#include "viva/io/checkpoint.h"

// Quantized checkpoints of other tools: GPTQ, AWQ, ModelOpt, the FP8 blocks and MXFP4 experts of
// transformers, and whatever else config.json names. They are shown as what they are; most are not decoded.
namespace viva::io {

// Takes their tensors out of `stored`, each weight's into one Weight. `config` is the text of config.json, or
// empty.
std::vector<Weight> recognize_foreign(std::vector<StoredIn>& stored, const std::vector<InputFile>& files,
                                      const std::string& config);

// Marks what is left of a checkpoint whose quantization is not known: codes must never pass for values.
void mark_unknown(std::vector<Weight>& weights, const std::string& config);

}  // namespace viva::io
