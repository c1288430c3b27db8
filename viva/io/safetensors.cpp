#include "viva/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "viva/base/checked.h"
#include "viva/io/quote.h"

namespace viva::io {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kMaxDims = 64;
constexpr int kMaxDepth = 16;

[[noreturn]] void bad(const std::filesystem::path& path, std::string_view message,
                      std::string_view hint = {}) {
  throw Error(Code::kBadInput, "safetensors", fmt::format("{}: {}", path.string(), message), hint);
}

// Takes the header's JSON as it is parsed: no tree is built, and what is not known is skipped at once. The
// states are those of the three levels that matter: the header, one entry, and the lists inside an entry.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::filesystem::path& path, SafetensorsHeader& result) : path_(path), result_(result) {}

  bool null() override { return scalar("null"); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(int64_t value) override { return scalar(std::to_string(value)); }
  bool number_float(double, const std::string& text) override { return scalar(text); }
  bool binary(binary_t&) override { return scalar("bytes"); }

  bool number_unsigned(uint64_t value) override {
    if (skipped_ != 0) return true;
    if (state_ == State::kShape) {
      if (tensor_.shape.size() == kMaxDims) bad_entry(fmt::format("more than {} dimensions", kMaxDims));
      tensor_.shape.push_back(value);
      return true;
    }
    if (state_ == State::kRange) {
      if (range_count_ < 2) range_[range_count_] = value;
      ++range_count_;
      return true;
    }
    return scalar(std::to_string(value));
  }

  bool string(std::string& value) override {
    if (skipped_ != 0) return true;
    if (state_ == State::kMetadata) {
      if (!result_.metadata.emplace(key_, value).second)
        bad(path_, fmt::format("__metadata__ has {} twice", quote(key_)));
      return true;
    }
    if (state_ == State::kEntry && field_ == Field::kDtype) {
      const auto known = dtype_from_name(value);
      if (!known) bad_entry(fmt::format("unknown dtype {}", quote(value)));
      tensor_.dtype = *known;
      return true;
    }
    return scalar(quote(value));
  }

  bool start_object(size_t) override {
    if (skip_nested()) return true;
    switch (state_) {
      case State::kStart:
        state_ = State::kHeader;
        return true;
      case State::kHeader:
        if (key_ == "__metadata__") {
          if (has_metadata_) bad(path_, "the header has __metadata__ twice");
          has_metadata_ = true;
          state_ = State::kMetadata;
        } else {
          tensor_ = {};
          tensor_.name = std::move(key_);
          seen_ = 0;
          range_count_ = 0;
          state_ = State::kEntry;
        }
        return true;
      default:
        return scalar("an object");
    }
  }

  bool key(std::string& value) override {
    if (skipped_ != 0) return true;
    if (state_ != State::kEntry) {
      key_ = std::move(value);
      return true;
    }
    field_ = value == "dtype"          ? Field::kDtype
             : value == "shape"        ? Field::kShape
             : value == "data_offsets" ? Field::kRange
                                       : Field::kOther;
    if (field_ != Field::kOther) {
      const unsigned bit = 1u << static_cast<unsigned>(field_);
      if (seen_ & bit) bad_entry(fmt::format("{} occurs twice", value));
      seen_ |= bit;
    }
    return true;
  }

  bool end_object() override {
    if (leave_nested()) return true;
    if (state_ == State::kEntry) finish_entry();
    state_ = state_ == State::kHeader ? State::kEnd : State::kHeader;
    return true;
  }

  bool start_array(size_t) override {
    if (skip_nested()) return true;
    if (state_ == State::kEntry && field_ == Field::kShape) {
      state_ = State::kShape;
      return true;
    }
    if (state_ == State::kEntry && field_ == Field::kRange) {
      state_ = State::kRange;
      return true;
    }
    return scalar("a list");
  }

  bool end_array() override {
    if (!leave_nested()) state_ = State::kEntry;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    bad(path_, fmt::format("the header is not JSON at byte {}: {}", 8 + position, quote(e.what(), 200)));
  }

 private:
  enum class State { kStart, kHeader, kMetadata, kEntry, kShape, kRange, kEnd };
  enum class Field { kDtype, kShape, kRange, kOther };

  // Fields that this reader does not know may hold anything, of bounded depth.
  bool skip_nested() {
    if (skipped_ == 0 && !(state_ == State::kEntry && field_ == Field::kOther)) return false;
    if (++skipped_ > kMaxDepth) bad(path_, "the header is nested too deeply");
    return true;
  }
  bool leave_nested() {
    if (skipped_ == 0) return false;
    --skipped_;
    return true;
  }

  // A value where it can only be ignored or wrong.
  bool scalar(std::string_view found) {
    if (skipped_ != 0) return true;
    switch (state_) {
      case State::kHeader:
        bad(path_, fmt::format("{} is {}, an object was expected", quote(key_), found));
      case State::kMetadata:
        bad(path_, fmt::format("__metadata__ {} is {}, a string was expected", quote(key_), found));
      case State::kShape:
        bad_entry(fmt::format("{} in the shape is not a size", found));
      case State::kRange:
        bad_entry(fmt::format("{} in data_offsets is not an offset", found));
      case State::kEntry:
        if (field_ == Field::kOther) return true;
        if (field_ == Field::kDtype) bad_entry(fmt::format("the dtype is {}, a string was expected", found));
        bad_entry(fmt::format("{} is {}, a list was expected",
                              field_ == Field::kShape ? "the shape" : "data_offsets", found));
      default:
        bad(path_, fmt::format("the header at byte 8 is {}, an object was expected", found));
    }
  }

  [[noreturn]] void bad_entry(std::string_view message) const {
    bad(path_, fmt::format("tensor {}: {}", quote(tensor_.name), message));
  }

  void finish_entry() {
    if (seen_ != 7) bad_entry("dtype, shape and data_offsets were expected");
    if (range_count_ != 2)
      bad_entry(fmt::format("data_offsets has {} numbers, 2 were expected", range_count_));
    const auto shape = fmt::format("{} [{}]", viva::name(tensor_.dtype), fmt::join(tensor_.shape, ", "));
    const auto count = checked_product(tensor_.shape);
    const auto bits = count ? checked_mul(*count, info(tensor_.dtype).bits) : std::nullopt;
    if (!bits) bad_entry(fmt::format("{} is larger than any file", shape));
    if (*bits % 8 != 0) bad_entry(fmt::format("{} is not a whole number of bytes", shape));
    const auto [begin, end] = range_;
    if (end < begin || end - begin != *bits / 8) {
      bad_entry(
          fmt::format("{} takes {} bytes, but data_offsets are [{}, {}]", shape, *bits / 8, begin, end));
    }
    tensor_.offset = begin;
    tensor_.bytes = end - begin;
    result_.tensors.push_back(std::move(tensor_));
  }

  const std::filesystem::path& path_;
  SafetensorsHeader& result_;
  State state_ = State::kStart;
  Field field_ = Field::kOther;
  int skipped_ = 0;  // depth inside a field that is not known
  bool has_metadata_ = false;
  std::string key_;
  StoredTensor tensor_;
  unsigned seen_ = 0;
  size_t range_count_ = 0;
  std::array<uint64_t, 2> range_{};
};

std::string read_header_text(const InputFile& file) {
  if (file.size() < 8)
    bad(file.path(), fmt::format("{} bytes are too few for a safetensors file", file.size()));
  uint8_t prefix[8];
  file.read(0, prefix);
  uint64_t n = 0;
  for (int i = 7; i >= 0; --i) n = n << 8 | prefix[i];
  if (n > kMaxHeader || n > file.size() - 8) {
    bad(file.path(),
        fmt::format("byte 0 gives a header of {} bytes; the file has {}, and {} are the most allowed", n,
                    file.size() - 8, kMaxHeader),
        "is this a safetensors file, and whole?");
  }
  std::string text(n, '\0');
  file.read(8, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  if (text.empty() || text[0] != '{')
    bad(file.path(), "the header at byte 8 does not begin with '{'", "is this a safetensors file?");
  // The JSON library would take a zero byte for the end of the text.
  if (const size_t zero = text.find('\0'); zero != text.npos)
    bad(file.path(), fmt::format("a zero byte in the header at byte {}", 8 + zero));
  return text;
}

void check_names(const InputFile& file, const std::vector<StoredTensor>& tensors) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const StoredTensor& t : tensors) names.push_back(t.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) bad(file.path(), fmt::format("the header names {} twice", quote(*twice)));
}

}  // namespace

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  SafetensorsHeader result;
  {
    const std::string text = read_header_text(file);
    result.data_start = 8 + text.size();
    HeaderReader reader(file.path(), result);
    json::sax_parse(text.data(), text.data() + text.size(), &reader);
  }
  check_names(file, result.tensors);
  std::stable_sort(result.tensors.begin(), result.tensors.end(),
                   [](const StoredTensor& a, const StoredTensor& b) {
                     return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
                   });
  uint64_t at = 0;
  for (StoredTensor& t : result.tensors) {
    if (t.offset != at) {
      bad(file.path(),
          fmt::format("tensor {} begins at data byte {}, expected {}", quote(t.name), t.offset, at),
          "tensors overlap or leave a hole");
    }
    at += t.bytes;  // cannot wrap: begin = at, and begin + bytes = end
    t.offset += result.data_start;
  }
  const uint64_t held = file.size() - result.data_start;
  if (at != held) {
    bad(file.path(),
        fmt::format("the tensors take {} bytes from byte {}, the file has {}", at, result.data_start, held),
        at > held ? "the file is truncated" : "bytes are left over at the end");
  }
  return result;
}

std::string make_safetensors_header(std::vector<StoredTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata) {
  const auto json_string = [](const std::string& text) {
    try {
      return json(text).dump();
    } catch (const json::exception&) {
      throw Error(Code::kUsage, "safetensors", fmt::format("the name {} is not UTF-8", quote(text)));
    }
  };
  std::string bytes(8, '\0');  // the length, filled in below
  bytes += '{';
  if (!metadata.empty()) {
    bytes += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata)
      bytes += fmt::format("{}:{},", json_string(key), json_string(value));
    bytes.back() = '}';
    bytes += ',';
  }
  uint64_t at = 0;
  for (const StoredTensor& t : tensors) {
    const auto count = checked_product(t.shape);
    const auto bits = count ? checked_mul(*count, info(t.dtype).bits) : std::nullopt;
    if (!bits || *bits % 8 != 0 || *bits / 8 != t.bytes || t.name == "__metadata__" || static_cast<size_t>(t.dtype) >= kFileDTypes) {
      throw Error(Code::kUsage, "safetensors",
                  fmt::format("tensor {}: {} [{}] cannot be written as {} bytes", quote(t.name),
                              viva::name(t.dtype), fmt::join(t.shape, ", "), t.bytes));
    }
    fmt::format_to(std::back_inserter(bytes),
                   "{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},", json_string(t.name),
                   viva::name(t.dtype), fmt::join(t.shape, ","), at, at + t.bytes);
    at += t.bytes;
  }
  if (bytes.back() == ',') bytes.pop_back();
  bytes += '}';
  bytes.resize(round_up(bytes.size(), 8), ' ');
  const uint64_t n = bytes.size() - 8;
  if (n > kMaxHeader)
    throw Error(Code::kUsage, "safetensors",
                fmt::format("a header of {} bytes is over the format's limit of {}", n, kMaxHeader));
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(n >> (8 * i));
  uint64_t offset = bytes.size();
  for (StoredTensor& t : tensors) {
    t.offset = offset;
    offset += t.bytes;
  }
  return bytes;
}

}  // namespace viva::io
