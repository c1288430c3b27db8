#pragma once

#include <filesystem>
#include <string>

#include "viva/compress/compress.h"

namespace viva {

struct ConvertOptions {
  std::string to;           // a format for the weights; empty: what says the same values where the destination has it, else f32
  bool requantize = false;  // values may change
  uint64_t shard = CompressOptions().shard;
  uint64_t disk = 0;
  bool dry_run = false;
  bool force = false;
  bool fresh = false;
  Watcher watcher;
};

struct ConvertReport : CompressReport {
  bool lossless = false;  // every value of the result was decoded again and is the source's; false for a dry run
};

// Carries a model between the worlds of safetensors and GGUF, quantized or not: `source` is anything that viva decodes,
// `destination` a directory, .safetensors or .gguf, which appears whole or not at all; interrupted work is continued.
// Throws what compress() throws, and kRefused at the first value that the destination cannot say, unless values may change.
ConvertReport convert(const Machine& machine, const std::filesystem::path& source, const std::filesystem::path& destination,
                      const ConvertOptions& options);

}  // namespace viva
