#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <unordered_set>

#include "viva/base/checked.h"
#include "viva/io/gguf.h"
#include "viva/io/gguf_wire.h"

namespace viva::io {
namespace {

using namespace detail;

template <class T>
struct IsList : std::false_type {};
template <class T>
struct IsList<std::vector<T>> : std::true_type {};

void put(std::string& out, const void* data, size_t n) { out.append(static_cast<const char*>(data), n); }

template <class T>
void put(std::string& out, const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    put(out, uint64_t{value.size()});
    out += value;
  } else if constexpr (std::is_same_v<T, bool>) {
    out += static_cast<char>(value);
  } else {
    put(out, &value, sizeof value);
  }
}

void put_value(std::string& out, const GgufValue& value) {
  std::visit(
      [&]<class T>(const T& v) {
        if constexpr (IsList<T>::value) {
          using E = typename T::value_type;
          put(out, kTypeArray);
          put(out, type_id<E>());
          put(out, uint64_t{v.size()});
          for (const auto& e : v) put<E>(out, e);
        } else {
          put(out, type_id<T>());
          put<T>(out, v);
        }
      },
      value);
}

[[noreturn]] void unwritable(std::string_view message) { throw Error(Code::kUsage, "gguf", message); }

}  // namespace

GgufLayout make_gguf_header(std::vector<GgufTensor>& tensors, const GgufMetadata& metadata,
                            uint32_t alignment) {
  if (!std::has_single_bit(alignment))
    unwritable(fmt::format("the alignment {} is no power of two", alignment));
  GgufMetadata extended;
  const GgufMetadata* entries = &metadata;
  const auto* recorded = find(metadata, "general.alignment");
  if (recorded != nullptr ? as_unsigned(recorded) != alignment : alignment != 32) {
    extended = metadata;
    set(extended, "general.alignment", alignment);
    entries = &extended;
  }

  GgufLayout out;
  put(out.header, kMagic);
  put(out.header, uint32_t{3});
  put(out.header, uint64_t{tensors.size()});
  put(out.header, uint64_t{entries->size()});
  std::unordered_set<std::string_view> seen;
  for (const GgufEntry& e : *entries) {
    if (e.key.empty() || e.key.size() >= kMaxName)
      unwritable(fmt::format("key {} is empty or too long", shown(e.key)));
    if (!seen.insert(e.key).second) unwritable(fmt::format("key {} occurs twice", shown(e.key)));
    put(out.header, e.key);
    put_value(out.header, e.value);
  }
  seen.clear();
  uint64_t at = 0;
  for (GgufTensor& t : tensors) {
    if (t.name.empty() || t.name.size() >= 64)
      unwritable(fmt::format("tensor {}: names have 1 to 63 bytes", shown(t.name)));
    if (!seen.insert(t.name).second) unwritable(fmt::format("tensor {} occurs twice", shown(t.name)));
    const auto bytes = gguf_bytes(t.type, t.shape);
    if (t.shape.empty() || t.shape.size() > 4 || !bytes) {
      unwritable(fmt::format("tensor {}: shape [{}] cannot be stored as {}", shown(t.name),
                             fmt::join(t.shape, ", "), t.type.name));
    }
    put(out.header, t.name);
    put(out.header, static_cast<uint32_t>(t.shape.size()));
    for (size_t i = t.shape.size(); i-- > 0;) put(out.header, t.shape[i]);
    put(out.header, t.type.id);
    put(out.header, at);
    t.bytes = *bytes;
    t.offset = at;
    at += round_up(t.bytes, alignment);
  }
  out.header.resize(round_up(out.header.size(), alignment), '\0');
  for (GgufTensor& t : tensors) t.offset += out.header.size();
  out.file_bytes = out.header.size() + at;
  return out;
}

}  // namespace viva::io
