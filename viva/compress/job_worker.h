#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "viva/base/checked.h"
#include "viva/compress/job.h"
#include "viva/compress/value_reader.h"

// What the files of Job share and nobody else needs.
namespace viva {

// Values that are widened, coded and compared at a time: source, result and scratch stay in the second-level cache.
inline constexpr size_t kStrip = 16 * 1024;
inline size_t strip_rows(const io::Placement& p, const io::Chunk& chunk) {
  const size_t step = p.format->row_panel;
  return std::max<size_t>(step, kStrip / std::max<uint64_t>(1, chunk.cols) / step * step);
}

// What the values of a weight are read as: packed ones are decoded.
inline DType value_dtype(const io::Weight& w) { return w.placement.format == nullptr ? w.dtype : DType::kF32; }

template <class T>
T* grow(std::vector<T>& v, size_t n) {
  if (v.size() < n) v.resize(n);
  return v.data();
}

// Buffers of one thread; they grow to what the largest chunk needs and no further.
struct Job::Worker {
  Worker(const io::Checkpoint& model, Target target) : reader(model, target) {}

  ValueReader reader;
  std::vector<uint8_t> raw, packed, pieces;
  std::vector<float> floats;

  // x, y: a strip of values; work: the format's scratch, aligned.
  struct Floats {
    float *x, *y, *work;
  };
  Floats strip(size_t values, size_t scratch) {
    const size_t n = round_up(values, 16);
    float* base = grow(floats, 2 * n + scratch + 16);
    base = reinterpret_cast<float*>(round_up(reinterpret_cast<uintptr_t>(base), 64));
    return {base, base + n, base + 2 * n};
  }
};

// An earlier result: where the tensors of an item lie in it, and what it was made from.
struct Job::Old {
  struct Place {
    const io::Weight* weight;
    size_t part;
  };
  const io::Checkpoint* checkpoint;
  std::vector<std::vector<Place>> places;  // per item, per tensor
  std::vector<ItemHashes> expected;        // per item
};

}  // namespace viva
