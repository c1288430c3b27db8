#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "viva/base/dtype.h"
#include "viva/io/file.h"

namespace viva::io {

// One tensor as a file stores it. `offset` counts from the start of the file.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// The header of a .safetensors file: https://huggingface.co/docs/safetensors. Tensors in order of offset.
struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_start = 0;
};

// Reads and checks the header: every rule of the reference reader (offsets without holes or overlap that end where the
// file does, products that do not overflow, known dtypes), and names that occur twice. Throws kBadInput with file and offset.
SafetensorsHeader read_safetensors_header(const InputFile& file);

// The bytes of a header for `tensors` (name, dtype, shape and bytes count; offsets are filled in, from the start of the
// file). Tensors are laid out in the order given; the header is padded so that the data is 8-byte aligned.
std::string make_safetensors_header(std::vector<StoredTensor>& tensors, const std::map<std::string, std::string>& metadata);

}  // namespace viva::io
