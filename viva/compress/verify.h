#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "viva/base/progress.h"
#include "viva/io/checkpoint.h"
#include "viva/machine/machine.h"

// Is a result what its manifest says, and is it what this encoder makes of its source?
namespace viva {

// What a result of viva says about itself: viva.json of a directory, metadata "viva" of a .safetensors file,
// "viva.manifest" of a GGUF file.
struct Manifest {
  struct Tensor {
    std::string name, format, source, checksum;
  };
  std::string version, format, encoder;
  std::optional<std::string> convert;  // made by convert(): what it was asked for
  std::vector<Tensor> tensors;
};
// Empty where there is none. Throws kBadInput for one that cannot be read.
std::optional<Manifest> read_manifest(const io::Checkpoint& model);

struct VerifyOptions {
  std::filesystem::path source;  // empty: only what the result says itself
  Watcher watcher;
};

struct VerifyReport {
  struct Difference {
    std::string name, reason;
  };
  std::string path, source;
  bool manifest = false;  // false: the structure alone was checked
  std::string version, format, encoder;
  size_t tensors = 0;  // weights of the file
  size_t checked = 0;  // whose checksum was right
  size_t recoded = 0;  // that are what the encoder gives for the source
  uint64_t bytes = 0;  // read for checksums
  std::vector<Difference> differences;
};

// Opens the result (every check of headers, offsets, shards and index), hashes every tensor and compares with
// the manifest; with a source, codes it again and compares. What differs is in the report; throws kBadInput
// for input that cannot be read.
VerifyReport verify(const Machine& machine, const std::filesystem::path& path, const VerifyOptions& options);

}  // namespace viva
