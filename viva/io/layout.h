#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "viva/formats/format.h"
#include "viva/io/safetensors.h"

// How packed rows lie in the tensors of an outside layout (bitsandbytes, compressed-tensors, GGUF, plain), in both
// directions: exact repacking, never arithmetic.
namespace viva::io {

// A weight as the rows that are coded one by one: `rows` of `cols` values and, where the whole tensor is one run
// (bitsandbytes), a last shorter one of `tail`.
struct MatrixView {
  uint64_t rows = 0, cols = 0, tail = 0;
};

// What happens to one piece of the packed rows on its way to a stored tensor.
enum class Packing : uint8_t {
  kRows,        // the rows' bytes, one after the other
  kPanels,      // stored once per row_panel rows (fp8-block scales)
  kZeroColumns  // eight rows' zeros, 0..15, in an I32 word (compressed-tensors)
};

// Where one weight goes (or comes from).
struct Placement {
  struct Target {
    size_t tensor;  // index in `tensors`
    Packing packing = Packing::kRows;
  };
  struct Constant {
    size_t tensor;
    std::function<std::string(const Shared&)> content;  // its size does not depend on the argument
  };

  const Format* format = nullptr;
  Coding coding;
  MatrixView view;
  std::vector<StoredTensor> tensors;
  std::vector<Target> pieces;  // one per piece of the format, in order
  std::vector<Constant> constants;
};

// A run of whole rows of a view; the tail is a chunk of its own.
struct Chunk {
  uint64_t first_row = 0;
  uint64_t rows = 0;
  uint64_t cols = 0;
  uint64_t first_value = 0;  // its first value in the flat tensor
};

// The chunks of a placement: each about `values` values and a whole number of row panels (and of 8 rows), always the
// same for the same placement.
std::vector<Chunk> chunks_of(const Placement& placement, uint64_t values = 128 * 1024);

using WriteBytes = std::function<void(size_t tensor, uint64_t offset, std::span<const uint8_t>)>;
using ReadBytes = std::function<void(size_t tensor, uint64_t offset, std::span<uint8_t>)>;

// Packed rows of a chunk -> ranges of the stored tensors, and back. `work` grows to what is needed and can be used again.
void scatter(const Placement& placement, const Chunk& chunk, std::span<const uint8_t> packed, std::vector<uint8_t>& work,
             const WriteBytes& write);
void gather(const Placement& placement, const Chunk& chunk, std::span<uint8_t> packed, std::vector<uint8_t>& work,
            const ReadBytes& read);

}  // namespace viva::io
