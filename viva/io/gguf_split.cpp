#include <fmt/format.h>

#include <charconv>
#include <map>

#include "viva/io/gguf.h"
#include "viva/io/quote.h"

namespace viva::io {
namespace {

struct SplitName {
  std::string stem;     // the name before "-00001-of-00003.gguf"
  uint32_t number = 0;  // from 1
  uint32_t count = 0;
};

std::optional<uint32_t> five_digits(std::string_view text) {
  uint32_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.size() != 5 || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::optional<SplitName> split_name(const std::string& file) {
  constexpr size_t kTail = sizeof("-00001-of-00003.gguf") - 1;
  if (file.size() <= kTail) return std::nullopt;
  const std::string_view tail = std::string_view(file).substr(file.size() - kTail);
  const auto number = five_digits(tail.substr(1, 5));
  const auto count = five_digits(tail.substr(10, 5));
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || !number || !count)
    return std::nullopt;
  return SplitName{file.substr(0, file.size() - kTail), *number, *count};
}

[[noreturn]] void bad(const std::filesystem::path& path, std::string_view message,
                      std::string_view hint = {}) {
  throw Error(Code::kBadInput, "gguf", fmt::format("{}: {}", path.string(), message), hint);
}

}  // namespace

std::vector<GgufPart> open_gguf(const std::filesystem::path& path) {
  std::vector<GgufPart> parts;
  {
    InputFile file(path);
    GgufHeader header = read_gguf_header(file);
    parts.push_back({std::move(file), std::move(header)});
  }
  const uint64_t count = as_unsigned(find(parts[0].header.metadata, "split.count")).value_or(1);
  if (count <= 1) return parts;

  const auto name = split_name(path.filename().string());
  if (!name || name->count != count) {
    bad(path,
        fmt::format("split.count is {}, but the name does not end in -NNNNN-of-{:05}.gguf", count, count),
        "the parts of a split model are found by their names");
  }
  parts.clear();
  uint64_t tensors = 0;
  std::map<std::string, uint64_t> owner;
  for (uint64_t i = 0; i < count; ++i) {
    const auto part = path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", name->stem, i + 1, count);
    if (!std::filesystem::exists(part)) bad(part, fmt::format("part {} of {} is missing", i + 1, count));
    InputFile file(part);
    GgufHeader header = read_gguf_header(file);
    const auto number = as_unsigned(find(header.metadata, "split.no"));
    const auto of = as_unsigned(find(header.metadata, "split.count"));
    if (number != i || of != count) {
      bad(part, fmt::format("split.no {} of split.count {} expected, found {} of {}", i, count,
                            number ? fmt::to_string(*number) : "none", of ? fmt::to_string(*of) : "none"));
    }
    for (const GgufTensor& t : header.tensors) {
      const auto [it, is_new] = owner.emplace(t.name, i + 1);
      if (!is_new) bad(part, fmt::format("tensor {} is in part {} too", quote(t.name), it->second));
    }
    tensors += header.tensors.size();
    parts.push_back({std::move(file), std::move(header)});
  }
  const auto all = as_unsigned(find(parts[0].header.metadata, "split.tensors.count"));
  if (all && *all != tensors)
    bad(path, fmt::format("split.tensors.count is {}, the parts hold {}", *all, tensors));
  return parts;
}

}  // namespace viva::io
