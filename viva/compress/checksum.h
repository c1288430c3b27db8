#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "viva/io/layout.h"

// The checksum of one tensor of a result: what `viva compress` writes into the manifest and `viva verify`
// checks.
//
// A packed tensor is hashed chunk by chunk as packed rows (XXH3, 128 bits), a kept one in runs of kCopy bytes
// over its stored tensors laid end to end; the hash over the parts' hashes, in order, is the checksum.
// Tensors of the layout that hold no rows (second-level scales, state of bitsandbytes) are parts of their own
// behind the chunks.
namespace viva {

using Hash = std::pair<uint64_t, uint64_t>;

// Kept tensors are copied, and hashed, in pieces of this many bytes.
inline constexpr uint64_t kCopy = 256 * 1024;

Hash hash_of(std::span<const uint8_t> bytes);
std::string combined(const std::vector<Hash>& parts);

// The parts of a placement before its constants. `chunks` are chunks_of(placement); unused where it is kept
// (format null).
size_t part_count(const io::Placement& placement, const std::vector<io::Chunk>& chunks);
// Bytes [part * kCopy, ...) of a kept placement, as ranges of its stored tensors.
void each_range(const io::Placement& placement, size_t part,
                const std::function<void(size_t tensor, uint64_t offset, uint64_t bytes)>& f);
// Ranges of one part are combined without order.
void add(Hash& part, const Hash& range) noexcept;

// The hash of one part as it is stored. `packed` and `work` grow to what is needed.
Hash hash_of_part(const io::Placement& placement, const std::vector<io::Chunk>& chunks, size_t part,
                  const io::ReadBytes& read, std::vector<uint8_t>& packed, std::vector<uint8_t>& work);
// Appends the hashes of the tensors of a packed placement that no piece of the rows lies in.
void add_constants(const io::Placement& placement, const std::function<std::string(size_t tensor)>& content,
                   std::vector<Hash>& parts);

}  // namespace viva
