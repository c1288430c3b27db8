#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "viva/base/progress.h"
#include "viva/formats/format.h"
#include "viva/machine/machine.h"

namespace viva {

struct CompressOptions {
  std::string format;                 // as `viva formats` names it
  Encoder encoder = Encoder::kBest;
  std::vector<std::string> rules;     // PATTERN=FORMAT, the first match wins
  uint64_t shard = 5'000'000'000;     // largest file of a directory
  uint64_t disk = 0;                  // cap of the bytes that the destination takes while it is written; 0: none
  bool keep_nonfinite = false;        // a tensor with NaN or infinity stays as it was instead of stopping the run
  bool dry_run = false;
  bool force = false;                 // replace an existing destination
  bool fresh = false;                 // ignore work that an earlier run left
  Watcher watcher;
};

struct CompressedTensor {
  std::string name, source_format, format, reason;
  uint64_t source_bytes = 0, bytes = 0, values = 0;
  double sqnr_db = 0, mean_error = 0, max_error = 0;
};
struct KeptTensor {
  std::string name, reason;
  uint64_t bytes = 0;
};

struct CompressReport {
  std::string source, destination, format, layout;
  Encoder encoder = Encoder::kBest;
  double seconds = 0;             // measured; of a dry run: forecast
  uint64_t bytes_in = 0, bytes_out = 0;
  double ratio_file = 0;          // all bytes before / after
  double ratio_weights = 0;       // the same of the quantized weights alone
  double bits_per_weight = 0;     // of the quantized weights, scales included
  uint64_t peak_ram = 0;
  size_t threads = 0;
  uint64_t reused_bytes = 0;      // bytes of the result that an earlier run had made
  std::vector<CompressedTensor> tensors;
  std::vector<KeptTensor> kept;
  std::vector<std::string> warnings;
};

// Compresses the model at `source` into `destination` (a directory, .safetensors or .gguf), which appears whole or not at
// all; work of an interrupted call with the same arguments is continued. Shapes, formats and files: docs/tour.md.
// Throws Error: kUsage, kBadInput (file and tensor named), kResource (disk, memory, lock), kCancelled.
CompressReport compress(const Machine& machine, const std::filesystem::path& source, const std::filesystem::path& destination,
                        const CompressOptions& options);

}  // namespace viva
