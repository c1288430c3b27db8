#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "viva/io/gguf_model.h"

// The tokenizer of a Hugging Face model as GGUF metadata; used by make_gguf_model.
namespace viva::io {

// One entry of a SentencePiece model.
struct Piece {
  std::string text;
  float score = 0;
  int32_t type = 1;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte: GGUF's numbers too
};

struct SentencePieceModel {
  std::vector<Piece> pieces;
  int32_t kind = 1;  // 1 unigram, 2 BPE, 3 word, 4 char
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  std::string normalizer;
};

// Parses a tokenizer.model (a Protocol Buffers message). Throws kBadInput with the byte offset.
SentencePieceModel parse_sentencepiece(std::string_view bytes);

// llama.cpp's name for the pre-tokenizer of a tokenizer.json (text of its "pre_tokenizer" value), found by
// comparing the regular expressions; empty where none is the same.
std::optional<std::string_view> find_pre_tokenizer(std::string_view pre_tokenizer_json, bool ignore_merges);

// The way back: what a name of llama.cpp means.
struct PreTokenizer {
  std::string json;            // the "pre_tokenizer" value of a tokenizer.json
  bool ignore_merges = false;  // whole words are looked up before anything is merged
  bool add_bos = false;        // where the file does not say whether to put <s> before a text
  bool nfc = false;            // texts are normalized first
  bool operator==(const PreTokenizer&) const = default;
};
// Empty for a name whose expressions are not known.
std::optional<PreTokenizer> make_pre_tokenizer(std::string_view name);

// Appends the tokenizer.* keys to model.metadata, and to model.warnings what does not carry over exactly.
void add_tokenizer(const GgufSource& source, GgufModel& model);

}  // namespace viva::io
