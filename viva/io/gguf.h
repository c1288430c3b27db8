#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "viva/io/file.h"

// The GGUF container (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3,
// little-endian.
namespace viva::io {

// One ggml tensor type: rows are cut into blocks of `block` elements that take `bytes` bytes each.
struct GgmlType {
  uint32_t id;
  std::string_view name;  // as ggml spells it, in lower case: "q4_0", "bf16", "iq2_xxs"
  uint32_t block;
  uint32_t bytes;
};

// Every ggml type that a file can hold, in order of id, whether viva decodes it or not.
std::span<const GgmlType> ggml_types() noexcept;
const GgmlType* find_ggml_type(uint32_t id) noexcept;
const GgmlType* find_ggml_type(std::string_view name) noexcept;

// A metadata value with its exact type: readers of GGUF insist on it (a count must be u32, an epsilon f32).
using GgufValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t,
                 int64_t, double, std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
                 std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>,
                 std::vector<bool>, std::vector<std::string>, std::vector<uint64_t>, std::vector<int64_t>,
                 std::vector<double>>;

struct GgufEntry {
  std::string key;
  GgufValue value;
};

using GgufMetadata = std::vector<GgufEntry>;

// The value of `key`, or null.
const GgufValue* find(const GgufMetadata& metadata, std::string_view key) noexcept;
// Sets `key`, in its place where it is there already.
void set(GgufMetadata& metadata, std::string_view key, GgufValue value);
// Any whole number that is not negative; any number; a string. Empty for other types.
std::optional<uint64_t> as_unsigned(const GgufValue* value) noexcept;
std::optional<double> as_number(const GgufValue* value) noexcept;
std::optional<std::string_view> as_string(const GgufValue* value) noexcept;
// A short text for people: lists are cut after `items` elements.
std::string describe(const GgufValue& value, size_t items = 8);

// One tensor. `shape` is outermost first, as (out, in): the reverse of the order in the file. `offset` counts
// from the start of the file.
struct GgufTensor {
  std::string name;
  GgmlType type{};
  std::vector<uint64_t> shape;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct GgufHeader {
  uint32_t version = 3;
  uint32_t alignment = 32;
  GgufMetadata metadata;            // in the order of the file
  std::vector<GgufTensor> tensors;  // in the order of the file
  uint64_t data_start = 0;
};

// Reads and checks the header, without reading tensor data. Refused with kBadInput (file and byte offset):
// other versions and big-endian files, counts and lengths that the file cannot hold, keys or tensor names
// that occur twice or are empty, lists of lists, unknown types, more than 4 dimensions, rows that are no
// whole number of blocks, an alignment that is no power of two, tensors that are misaligned, overlap or reach
// past the end of the file.
GgufHeader read_gguf_header(const InputFile& file);

// The bytes that `shape` takes in `type`; empty where a row is no whole number of blocks or the size does not
// fit.
std::optional<uint64_t> gguf_bytes(const GgmlType& type, std::span<const uint64_t> shape) noexcept;

struct GgufLayout {
  std::string header;       // written at offset 0, padded to the alignment
  uint64_t file_bytes = 0;  // with the padding after the last tensor
};

// The header of a version 3 file with these tensors (name, type and shape are taken; offset and bytes are
// filled in, in the order given). Throws kUsage for what a reader would refuse: names of 64 bytes or more,
// names that occur twice, more than 4 dimensions, rows that are no whole number of blocks. An alignment other
// than 32 is recorded in the metadata.
GgufLayout make_gguf_header(std::vector<GgufTensor>& tensors, const GgufMetadata& metadata,
                            uint32_t alignment = 32);

// One file of a model that may be split (NAME-00001-of-0000N.gguf).
struct GgufPart {
  InputFile file;
  GgufHeader header;
};

// Opens a model and, where `path` is one part of a split model, all its parts, in order. Checks that every
// part is there and is the one that its name says, that the tensors add up, and that no tensor is in two
// parts. The model's metadata is that of the first part. Throws kBadInput.
std::vector<GgufPart> open_gguf(const std::filesystem::path& path);

}  // namespace viva::io
