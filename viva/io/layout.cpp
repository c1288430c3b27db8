#include "viva/io/layout.h"

#include <algorithm>
#include <cstring>

#include "viva/base/checked.h"

namespace viva::io {
namespace {

// Where the bytes of one piece of a chunk lie in its stored tensor.
struct Range {
  uint64_t offset;
  uint64_t bytes;
};

Range range_of(const Placement& p, size_t k, const Chunk& chunk, const std::vector<Piece>& here, const std::vector<Piece>& full) {
  const uint64_t row = full.empty() ? 0 : full[k].bytes;
  switch (p.pieces[k].packing) {
    case Packing::kRows:
      return {chunk.first_row * row, chunk.rows * here[k].bytes};
    case Packing::kPanels:
      return {chunk.first_row / p.format->row_panel * row, ceil_div(chunk.rows, p.format->row_panel) * here[k].bytes};
    case Packing::kZeroColumns:
      return {chunk.first_row / 8 * here[k].count * 4, ceil_div(chunk.rows, 8) * here[k].count * 4};
  }
  return {};
}

}  // namespace

std::vector<Chunk> chunks_of(const Placement& placement, uint64_t values) {
  std::vector<Chunk> list;
  const MatrixView& v = placement.view;
  const uint64_t step = std::max<uint64_t>(8, placement.format != nullptr ? placement.format->row_panel : 1);
  const uint64_t rows = v.cols == 0 ? v.rows : std::max<uint64_t>(step, values / v.cols / step * step);
  // Long rows that do not share anything with their neighbours are taken fewer than eight at a time.
  const bool single = placement.format == nullptr || placement.format->row_panel == 1;
  const bool zeros = std::any_of(placement.pieces.begin(), placement.pieces.end(),
                                 [](const Placement::Target& t) { return t.packing == Packing::kZeroColumns; });
  const uint64_t take = single && !zeros && v.cols > values / 8 ? std::max<uint64_t>(1, values / v.cols) : rows;
  for (uint64_t r = 0; r < v.rows; r += take) {
    list.push_back({r, std::min(take, v.rows - r), v.cols, r * v.cols});
  }
  if (v.tail != 0) list.push_back({v.rows, 1, v.tail, v.rows * v.cols});
  return list;
}

void scatter(const Placement& p, const Chunk& chunk, std::span<const uint8_t> packed, std::vector<uint8_t>& work,
             const WriteBytes& write) {
  const auto here = p.format->pieces(chunk.cols, p.coding);
  const auto full = chunk.cols == p.view.cols ? here : p.format->pieces(p.view.cols, p.coding);
  const size_t row_bytes = packed.size() / std::max<uint64_t>(1, chunk.rows);
  for (size_t k = 0; k < here.size(); ++k) {
    const Range range = range_of(p, k, chunk, here, full);
    if (range.bytes == 0) continue;
    const uint8_t* from = packed.data() + here[k].offset;
    if (here.size() == 1) {
      write(p.pieces[k].tensor, range.offset, packed);
      continue;
    }
    work.resize(std::max<size_t>(work.size(), range.bytes));
    const size_t n = here[k].bytes;
    switch (p.pieces[k].packing) {
      case Packing::kRows:
        for (uint64_t r = 0; r < chunk.rows; ++r) std::memcpy(work.data() + r * n, from + r * row_bytes, n);
        break;
      case Packing::kPanels:
        for (uint64_t r = 0, i = 0; r < chunk.rows; r += p.format->row_panel, ++i) {
          std::memcpy(work.data() + i * n, from + r * row_bytes, n);
        }
        break;
      case Packing::kZeroColumns:
        std::memset(work.data(), 0, range.bytes);
        for (uint64_t r = 0; r < chunk.rows; ++r) {
          for (size_t g = 0; g < here[k].count; ++g) {
            uint32_t word;
            uint8_t* at = work.data() + 4 * (r / 8 * here[k].count + g);
            std::memcpy(&word, at, 4);
            word |= (from[r * row_bytes + g] & 15u) << (4 * (r % 8));
            std::memcpy(at, &word, 4);
          }
        }
        break;
    }
    write(p.pieces[k].tensor, range.offset, {work.data(), range.bytes});
  }
}

void gather(const Placement& p, const Chunk& chunk, std::span<uint8_t> packed, std::vector<uint8_t>& work, const ReadBytes& read) {
  const auto here = p.format->pieces(chunk.cols, p.coding);
  const auto full = chunk.cols == p.view.cols ? here : p.format->pieces(p.view.cols, p.coding);
  const size_t row_bytes = packed.size() / std::max<uint64_t>(1, chunk.rows);
  for (size_t k = 0; k < here.size(); ++k) {
    const Range range = range_of(p, k, chunk, here, full);
    if (range.bytes == 0) continue;
    uint8_t* to = packed.data() + here[k].offset;
    if (here.size() == 1) {
      read(p.pieces[k].tensor, range.offset, packed);
      continue;
    }
    work.resize(std::max<size_t>(work.size(), range.bytes));
    read(p.pieces[k].tensor, range.offset, {work.data(), range.bytes});
    const size_t n = here[k].bytes;
    for (uint64_t r = 0; r < chunk.rows; ++r) {
      switch (p.pieces[k].packing) {
        case Packing::kRows:
          std::memcpy(to + r * row_bytes, work.data() + r * n, n);
          break;
        case Packing::kPanels:
          std::memcpy(to + r * row_bytes, work.data() + r / p.format->row_panel * n, n);
          break;
        case Packing::kZeroColumns:
          for (size_t g = 0; g < here[k].count; ++g) {
            uint32_t word;
            std::memcpy(&word, work.data() + 4 * (r / 8 * here[k].count + g), 4);
            to[r * row_bytes + g] = static_cast<uint8_t>((word >> (4 * (r % 8))) & 15u);
          }
          break;
      }
    }
  }
}

}  // namespace viva::io
