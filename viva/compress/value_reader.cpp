#include "viva/compress/value_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "viva/base/checked.h"
#include "viva/io/gguf_names.h"
#include "viva/io/quote.h"
#include "viva/kernels/values.h"

namespace viva {

void ValueReader::read(const io::Weight& w, uint64_t first, std::span<float> out) {
  if (!w.decodable) {
    throw Error(Code::kBadInput, "read", fmt::format("{} is {}, which viva does not decode yet", io::quote(w.name), w.stored_as()));
  }
  if (w.placement.format == nullptr) {
    const size_t size = bytes(w.dtype);
    raw_.resize(std::max(raw_.size(), out.size() * size));
    checkpoint_.read_plain(w, first, {raw_.data(), out.size() * size});
    kernels::widen(w.dtype, raw_.data(), out.size(), out.data(), target_);
    return;
  }
  if (w.permuted_head_dim == 0) {
    unpack(w, first, out);
    return;
  }
  const uint64_t cols = w.cols();
  for (size_t done = 0; done < out.size();) {
    const uint64_t row = (first + done) / cols, skip = (first + done) % cols;
    const size_t n = std::min<uint64_t>(out.size() - done, cols - skip);
    unpack(w, io::gguf_row(row, w.permuted_head_dim) * cols + skip, out.subspan(done, n));
    done += n;
  }
}

void ValueReader::unpack(const io::Weight& w, uint64_t first, std::span<float> out) {
  const io::Placement& p = w.placement;
  const Format& f = *p.format;
  const uint64_t body = p.view.rows * p.view.cols;
  // Rows of a format with one piece stand alone.
  const uint64_t align = f.row_panel == 1 && p.pieces.size() == 1 ? 1 : std::max<uint64_t>(8, f.row_panel);
  size_t done = 0;
  while (done < out.size()) {
    const uint64_t at = first + done;
    io::Chunk chunk;
    if (at >= body) {
      chunk = {p.view.rows, 1, p.view.tail, body};
    } else {
      const uint64_t row = at / p.view.cols / align * align;
      const uint64_t last = std::min(body, first + out.size());
      const uint64_t end = std::min<uint64_t>(p.view.rows, ceil_div(last, p.view.cols));
      chunk = {row, end - row, p.view.cols, row * p.view.cols};
    }
    packed_.resize(chunk.rows * f.row_bytes(chunk.cols, p.coding));
    checkpoint_.read_packed(w, chunk, packed_, raw_);
    const FormatCode& code = f.on(target_);
    const size_t work = code.scratch(chunk.cols, p.coding);
    values_.resize(chunk.rows * chunk.cols + work + 16);
    float* aligned = reinterpret_cast<float*>(round_up(reinterpret_cast<uintptr_t>(values_.data()), 64));
    code.decode(packed_.data(), chunk.rows, chunk.cols, p.coding, aligned + work, aligned);
    const uint64_t skip = at - chunk.first_value;
    const size_t n = std::min<uint64_t>(out.size() - done, chunk.rows * chunk.cols - skip);
    std::memcpy(out.data() + done, aligned + work + skip, 4 * n);
    done += n;
  }
}

}  // namespace viva
