#include <fmt/format.h>

#include <cstring>

#include "viva/io/gguf_tokenizer.h"

namespace viva::io {
namespace {

// The wire format of Protocol Buffers: https://protobuf.dev/programming-guides/encoding.
class Message {
 public:
  Message(std::string_view bytes, size_t base) : bytes_(bytes), base_(base) {}

  struct Field {
    uint32_t number = 0;
    uint32_t wire = 0;       // 0 varint, 1 eight bytes, 2 bytes, 5 four bytes
    uint64_t value = 0;      // of a varint or fixed number
    std::string_view bytes;  // of wire type 2
    size_t offset = 0;       // of `bytes` in the file
  };

  bool next(Field& f) {
    if (at_ == bytes_.size()) return false;
    const uint64_t key = varint();
    f = Field{static_cast<uint32_t>(key >> 3), static_cast<uint32_t>(key & 7), 0, {}, 0};
    if (f.number == 0) bad("a field number 0");
    if (f.wire == 0) {
      f.value = varint();
    } else if (f.wire == 1 || f.wire == 5) {
      const auto raw = take(f.wire == 1 ? 8 : 4);
      std::memcpy(&f.value, raw.data(), raw.size());
    } else if (f.wire == 2) {
      const uint64_t n = varint();
      f.offset = base_ + at_;
      f.bytes = take(n);
    } else {
      bad("an unknown wire type");
    }
    return true;
  }

 private:
  [[noreturn]] void bad(std::string_view what) const {
    throw Error(Code::kBadInput, "gguf", fmt::format("tokenizer.model: byte {}: {}", base_ + at_, what),
                "is this a SentencePiece model?");
  }
  std::string_view take(uint64_t n) {
    if (n > bytes_.size() - at_) bad(fmt::format("{} bytes announced, {} are left", n, bytes_.size() - at_));
    const auto part = bytes_.substr(at_, n);
    at_ += n;
    return part;
  }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      const auto b = static_cast<uint8_t>(take(1)[0]);
      if (shift == 63 && b > 1) break;
      v |= uint64_t{b & 0x7fu} << shift;
      if (b < 0x80) return v;
    }
    bad("a number of more than 64 bits");
  }

  std::string_view bytes_;
  size_t base_, at_ = 0;
};

Piece parse_piece(const Message::Field& field) {
  Piece p;
  Message m(field.bytes, field.offset);
  for (Message::Field f; m.next(f);) {
    if (f.number == 1 && f.wire == 2) p.text = f.bytes;
    if (f.number == 2 && f.wire == 5) {
      const auto bits = static_cast<uint32_t>(f.value);
      std::memcpy(&p.score, &bits, 4);
    }
    if (f.number == 3 && f.wire == 0 && f.value >= 1 && f.value <= 6) p.type = static_cast<int32_t>(f.value);
  }
  return p;
}

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view bytes) {
  SentencePieceModel model;
  Message m(bytes, 0);
  for (Message::Field f; m.next(f);) {
    if (f.wire != 2) continue;
    if (f.number == 1) model.pieces.push_back(parse_piece(f));
    if (f.number != 2 && f.number != 3) continue;
    Message part(f.bytes, f.offset);
    for (Message::Field g; part.next(g);) {
      if (f.number == 2 && g.number == 3 && g.wire == 0) model.kind = static_cast<int32_t>(g.value);
      if (f.number == 3 && g.number == 1 && g.wire == 2) model.normalizer = g.bytes;
      if (f.number == 3 && g.number == 3 && g.wire == 0) model.add_dummy_prefix = g.value != 0;
      if (f.number == 3 && g.number == 4 && g.wire == 0) model.remove_extra_whitespaces = g.value != 0;
    }
  }
  if (model.pieces.empty()) throw Error(Code::kBadInput, "gguf", "tokenizer.model holds no pieces");
  return model;
}

}  // namespace viva::io
