#include "viva/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "viva/base/checked.h"

namespace viva::io {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;

[[noreturn]] void bad(const InputFile& file, std::string_view message, std::string_view hint = {}) {
  throw Error(Code::kBadInput, "safetensors", fmt::format("{}: {}", file.path().string(), message), hint);
}

// nlohmann's callback sees every key: names that occur twice are refused, and so is deep nesting.
json parse_header(const InputFile& file, const std::string& text) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  bool deep = false;
  const auto callback = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > 8) deep = true;
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.empty() && !keys.back().insert(value.get<std::string>()).second &&
        duplicate.empty()) {
      duplicate = value.get<std::string>();
    }
    return !deep;
  };
  json header;
  try {
    header = json::parse(text, callback);
  } catch (const json::exception& e) {
    bad(file, fmt::format("the header at byte 8 is not JSON: {}", e.what()));
  }
  if (deep) bad(file, "the header at byte 8 is nested too deeply");
  if (!duplicate.empty()) bad(file, fmt::format("the header names '{}' twice", duplicate));
  if (!header.is_object()) bad(file, "the header at byte 8 is not a JSON object");
  return header;
}

uint64_t unsigned_of(const InputFile& file, const std::string& name, const json& value) {
  if (!value.is_number_unsigned()) {
    bad(file, fmt::format("tensor '{}': {} is not a size", name, value.dump().substr(0, 40)));
  }
  return value.get<uint64_t>();
}

StoredTensor parse_tensor(const InputFile& file, const std::string& name, const json& entry) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) {
    bad(file, fmt::format("tensor '{}': dtype, shape and data_offsets expected", name));
  }
  StoredTensor t;
  t.name = name;
  const json& dtype = entry["dtype"];
  const auto known = dtype.is_string() ? dtype_from_name(dtype.get<std::string>()) : std::nullopt;
  if (!known) bad(file, fmt::format("tensor '{}': unknown dtype {}", name, dtype.dump().substr(0, 40)));
  t.dtype = *known;
  if (!entry["shape"].is_array()) bad(file, fmt::format("tensor '{}': the shape is not a list", name));
  for (const json& d : entry["shape"]) t.shape.push_back(unsigned_of(file, name, d));
  const json& range = entry["data_offsets"];
  if (!range.is_array() || range.size() != 2) bad(file, fmt::format("tensor '{}': data_offsets is not a pair", name));
  const uint64_t begin = unsigned_of(file, name, range[0]);
  const uint64_t end = unsigned_of(file, name, range[1]);
  const auto count = checked_product(t.shape);
  const auto bits = count ? checked_mul(*count, info(t.dtype).bits) : std::nullopt;
  if (!bits || *bits % 8 != 0) bad(file, fmt::format("tensor '{}': shape [{}] is not a whole number of bytes", name, fmt::join(t.shape, ", ")));
  if (end < begin || end - begin != *bits / 8) {
    bad(file, fmt::format("tensor '{}': {} [{}] takes {} bytes, data_offsets [{}, {}] say {}", name, viva::name(t.dtype),
                          fmt::join(t.shape, ", "), *bits / 8, begin, end, static_cast<int64_t>(end - begin)));
  }
  t.offset = begin;
  t.bytes = end - begin;
  return t;
}

}  // namespace

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  uint8_t prefix[8];
  if (file.size() < 8) bad(file, fmt::format("{} bytes are too few for a safetensors file", file.size()));
  file.read(0, prefix);
  uint64_t n = 0;
  std::memcpy(&n, prefix, 8);
  if (n > kMaxHeader || n > file.size() - 8) {
    bad(file, fmt::format("byte 0 gives a header of {} bytes, the file has {}", n, file.size()), "is this a safetensors file?");
  }
  std::string text(n, '\0');
  file.read(8, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  const json header = parse_header(file, text);

  SafetensorsHeader result;
  result.data_start = 8 + n;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) bad(file, "__metadata__ is not an object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) bad(file, fmt::format("__metadata__ '{}' is not a string", key));
        result.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    result.tensors.push_back(parse_tensor(file, name, entry));
  }
  std::stable_sort(result.tensors.begin(), result.tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  uint64_t at = 0;
  for (StoredTensor& t : result.tensors) {
    if (t.offset != at) {
      bad(file, fmt::format("tensor '{}' begins at data byte {}, expected {}", t.name, t.offset, at), "tensors overlap or leave a hole");
    }
    at += t.bytes;  // cannot wrap: begin = at, and begin + bytes = end
    t.offset += result.data_start;
  }
  if (at != file.size() - result.data_start) {
    bad(file, fmt::format("the tensors end at byte {}, the file at byte {}", result.data_start + at, file.size()),
        at > file.size() - result.data_start ? "the file is truncated" : "bytes are left over at the end");
  }
  return result;
}

std::string make_safetensors_header(std::vector<StoredTensor>& tensors, const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += fmt::format("\"__metadata__\":{}{}", json(metadata).dump(), tensors.empty() ? "" : ",");
  uint64_t at = 0;
  for (const StoredTensor& t : tensors) {
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", &t == &tensors.front() ? "" : ",",
                        json(t.name).dump(), viva::name(t.dtype), fmt::join(t.shape, ","), at, at + t.bytes);
    at += t.bytes;
  }
  text += "}";
  text.resize(round_up(text.size(), 8), ' ');
  uint64_t n = text.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  bytes += text;
  uint64_t offset = bytes.size();
  for (StoredTensor& t : tensors) {
    t.offset = offset;
    offset += t.bytes;
  }
  return bytes;
}

}  // namespace viva::io
