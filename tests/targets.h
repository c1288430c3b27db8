#pragma once

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "viva/formats/format.h"
#include "viva/machine/machine.h"

// What the tests of formats share.
namespace viva::test {

// The code of a format for every target that this processor runs, scalar first.
inline std::vector<std::pair<std::string, const FormatCode*>> targets_of(const Format& f) {
  std::vector<std::pair<std::string, const FormatCode*>> list;
  for (const Target t : {Target::kScalar, Target::kSse4, Target::kAvx2, Target::kAvx3}) {
    const FormatCode* code = f.code[static_cast<size_t>(t)];
    if (code != nullptr && runs(t)) list.emplace_back(name(t), code);
  }
  return list;
}

// n floats on a 64-byte boundary.
struct Aligned {
  explicit Aligned(size_t n) : data(static_cast<float*>(std::aligned_alloc(64, (n * 4 + 64) / 64 * 64))) {}
  ~Aligned() { std::free(data); }
  float* data;
};

}  // namespace viva::test
