#include "viva/compress/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>

#include "viva/base/checked.h"

namespace viva {
namespace {

uint64_t stored_bytes(const io::Placement& p) {
  uint64_t n = 0;
  for (const io::StoredTensor& t : p.tensors) n += t.bytes;
  return n;
}

}  // namespace

Hash hash_of(std::span<const uint8_t> bytes) {
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return {h.high64, h.low64};
}

std::string combined(const std::vector<Hash>& parts) {
  const auto [high, low] =
      hash_of({reinterpret_cast<const uint8_t*>(parts.data()), parts.size() * sizeof(Hash)});
  return fmt::format("{:016x}{:016x}", high, low);
}

void add(Hash& part, const Hash& range) noexcept {
  part.first ^= range.first;
  part.second ^= range.second;
}

size_t part_count(const io::Placement& p, const std::vector<io::Chunk>& chunks) {
  return p.format != nullptr ? chunks.size() : ceil_div(stored_bytes(p), kCopy);
}

void each_range(const io::Placement& p, size_t part,
                const std::function<void(size_t tensor, uint64_t offset, uint64_t bytes)>& f) {
  const uint64_t at = part * kCopy, end = std::min(at + kCopy, stored_bytes(p));
  uint64_t start = 0;
  for (size_t k = 0; k < p.tensors.size(); ++k) {
    const uint64_t from = std::max(at, start), to = std::min(end, start + p.tensors[k].bytes);
    if (from < to) f(k, from - start, to - from);
    start += p.tensors[k].bytes;
  }
}

Hash hash_of_part(const io::Placement& p, const std::vector<io::Chunk>& chunks, size_t part,
                  const io::ReadBytes& read, std::vector<uint8_t>& packed, std::vector<uint8_t>& work) {
  if (p.format == nullptr) {
    Hash h{};
    each_range(p, part, [&](size_t tensor, uint64_t offset, uint64_t n) {
      packed.resize(std::max<size_t>(packed.size(), n));
      read(tensor, offset, {packed.data(), n});
      add(h, hash_of({packed.data(), n}));
    });
    return h;
  }
  const io::Chunk& c = chunks[part];
  const size_t n = c.rows * p.format->row_bytes(c.cols, p.coding);
  packed.resize(std::max(packed.size(), n));
  io::gather(p, c, {packed.data(), n}, work, read);
  return hash_of({packed.data(), n});
}

void add_constants(const io::Placement& p, const std::function<std::string(size_t tensor)>& content,
                   std::vector<Hash>& parts) {
  if (p.format == nullptr) return;
  for (size_t k = 0; k < p.tensors.size(); ++k) {
    if (std::any_of(p.pieces.begin(), p.pieces.end(),
                    [&](const io::Placement::Target& t) { return t.tensor == k; }))
      continue;
    const std::string text = content(k);
    parts.push_back(hash_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  }
}

}  // namespace viva
