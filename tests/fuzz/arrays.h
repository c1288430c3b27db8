#pragma once

#include <algorithm>

#include "fuzz/fuzz.h"
#include "viva/io/npy.h"

namespace viva::fuzz {

// Opens the file and reads its arrays, up to a bound that keeps one run short.
inline void read_arrays(const std::filesystem::path& path) {
  const io::ArrayFile file(path);
  std::vector<uint8_t> out(4096);
  uint64_t budget = 1 << 20;
  for (size_t i = 0; i < file.arrays().size(); ++i) {
    const io::StoredArray& a = file.arrays()[i];
    const uint64_t total = a.tensor.bytes;
    if (a.in_place())
      check(a.tensor.offset <= file.file().size() && total <= file.file().size() - a.tensor.offset);
    io::ArrayReader reader = file.reader(i);
    for (uint64_t at = 0; at < total && budget >= out.size(); at += out.size(), budget -= out.size()) {
      reader.read(at, {out.data(), static_cast<size_t>(std::min<uint64_t>(out.size(), total - at))});
    }
    reader.read(0, {out.data(), static_cast<size_t>(std::min<uint64_t>(out.size(), total))});  // and backward
  }
}

}  // namespace viva::fuzz
