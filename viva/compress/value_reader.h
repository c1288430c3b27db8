#pragma once

#include <span>
#include <vector>

#include "viva/base/target.h"
#include "viva/io/checkpoint.h"

namespace viva {

// Values of any decodable weight in f32, chunk by chunk: the one way to look at numbers. Keeps buffers for one thread.
class ValueReader {
 public:
  ValueReader(const io::Checkpoint& checkpoint, Target target) : checkpoint_(checkpoint), target_(target) {}
  // Values [first, first + out.size()) in row-major order, rows in the order of Hugging Face files. For packed weights the range must be a chunk of
  // chunks_of(w.placement) or lie within it. Throws kBadInput for a weight that is not decodable.
  void read(const io::Weight& w, uint64_t first, std::span<float> out);
  // The same in the order of the file, for weights with a format.
  void unpack(const io::Weight& w, uint64_t first, std::span<float> out);

 private:
  const io::Checkpoint& checkpoint_;
  Target target_;
  std::vector<uint8_t> raw_, packed_;
  std::vector<float> values_;
};

}  // namespace viva
