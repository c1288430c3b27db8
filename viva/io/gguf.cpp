#include "viva/io/gguf.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "viva/base/checked.h"
#include "viva/io/gguf_wire.h"

namespace viva::io {
namespace {

using namespace detail;

constexpr uint64_t kMaxListItems = 1 << 25;  // strings in one list; the largest vocabularies have 2^18

constexpr GgmlType kTypes[] = {
    {0, "f32", 1, 4},         {1, "f16", 1, 2},         {2, "q4_0", 32, 18},      {3, "q4_1", 32, 20},
    {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},      {8, "q8_0", 32, 34},      {9, "q8_1", 32, 36},
    {10, "q2_k", 256, 84},    {11, "q3_k", 256, 110},   {12, "q4_k", 256, 144},   {13, "q5_k", 256, 176},
    {14, "q6_k", 256, 210},   {15, "q8_k", 256, 292},   {16, "iq2_xxs", 256, 66}, {17, "iq2_xs", 256, 74},
    {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},   {20, "iq4_nl", 32, 18},   {21, "iq3_s", 256, 110},
    {22, "iq2_s", 256, 82},   {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},         {25, "i16", 1, 2},
    {26, "i32", 1, 4},        {27, "i64", 1, 8},        {28, "f64", 1, 8},        {29, "iq1_m", 256, 56},
    {30, "bf16", 1, 2},       {34, "tq1_0", 256, 54},   {35, "tq2_0", 256, 66},   {39, "mxfp4", 32, 17},
    {40, "nvfp4", 64, 36},    {41, "q1_0", 128, 18},    {42, "q2_0", 64, 18},
};

// Calls f with a value of the C++ type of a GGUF scalar type; false where the type is unknown.
template <class F>
bool with_scalar_type(uint32_t id, F&& f) {
  return [&]<size_t... I>(std::index_sequence<I...>) {
    return (
        (I == id && I != kTypeArray && (f(std::type_identity<std::tuple_element_t<I, Scalars>>{}), true)) ||
        ...);
  }
  (std::make_index_sequence<std::tuple_size_v<Scalars>>{});
}

[[noreturn]] void bad(const InputFile& file, uint64_t offset, std::string_view message,
                      std::string_view hint = {}) {
  throw Error(Code::kBadInput, "gguf", fmt::format("{}: byte {}: {}", file.path().string(), offset, message),
              hint);
}

// Reads a header in chunks: one system call per chunk and never more memory than a chunk and the values
// themselves.
class Reader {
 public:
  explicit Reader(const InputFile& file) : file_(file) {}

  uint64_t at() const noexcept { return begin_ + used_; }
  uint64_t left() const noexcept { return file_.size() - at(); }

  void copy(void* out, size_t n, std::string_view what) {
    if (n > left()) {
      bad(file_, at(), fmt::format("{} needs {} bytes, the file ends after {}", what, n, left()),
          "the file is truncated");
    }
    auto* to = static_cast<uint8_t*>(out);
    while (n > 0) {
      if (used_ == chunk_.size()) refill();
      const size_t take = std::min(n, chunk_.size() - used_);
      std::memcpy(to, chunk_.data() + used_, take);
      used_ += take;
      to += take;
      n -= take;
    }
  }

  template <class T>
  T value(std::string_view what) {
    if constexpr (std::is_same_v<T, std::string>) {
      return text(what, file_.size());
    } else if constexpr (std::is_same_v<T, bool>) {
      const uint64_t from = at();
      const auto b = value<uint8_t>(what);
      if (b > 1) bad(file_, from, fmt::format("{}: {} is neither true nor false", what, b));
      return b != 0;
    } else {
      T v;
      copy(&v, sizeof v, what);
      return v;
    }
  }

  std::string text(std::string_view what, uint64_t limit) {
    const uint64_t from = at();
    const auto n = value<uint64_t>(what);
    if (n > left() || n > limit) {
      bad(file_, from,
          fmt::format("{} is said to be {} bytes long, {} are left and {} are allowed", what, n, left(),
                      limit));
    }
    std::string s(n, '\0');
    copy(s.data(), n, what);
    return s;
  }

  template <class T>
  std::vector<T> list(std::string_view what, uint64_t count) {
    constexpr bool kText = std::is_same_v<T, std::string>;
    constexpr uint64_t kLeast = kText ? 8 : std::is_same_v<T, bool> ? 1 : sizeof(T);
    if (count > left() / kLeast || (kText && count > kMaxListItems)) {
      bad(file_, at(),
          fmt::format("{}: a list of {} elements does not fit in the {} bytes that are left", what, count,
                      left()));
    }
    std::vector<T> out;
    if constexpr (kText || std::is_same_v<T, bool>) {
      out.reserve(std::min<uint64_t>(count, 1 << 16));
      for (uint64_t i = 0; i < count; ++i) out.push_back(value<T>(what));
    } else {
      out.resize(count);
      copy(out.data(), count * sizeof(T), what);
    }
    return out;
  }

 private:
  void refill() {
    begin_ += chunk_.size();
    used_ = 0;
    chunk_.resize(std::min<uint64_t>(kChunk, file_.size() - begin_));
    file_.read(begin_, chunk_);
  }

  static constexpr uint64_t kChunk = 256 << 10;
  const InputFile& file_;
  std::vector<uint8_t> chunk_;
  uint64_t begin_ = 0;
  size_t used_ = 0;
};

GgufValue read_value(const InputFile& file, Reader& in, std::string_view key) {
  uint64_t from = in.at();
  auto type = in.value<uint32_t>("a value type");
  const std::string what = fmt::format("key {}", shown(key));
  GgufValue value;
  bool known;
  if (type != kTypeArray) {
    known = with_scalar_type(type, [&]<class T>(std::type_identity<T>) {
      if constexpr (!std::is_same_v<T, void*>) value.emplace<T>(in.value<T>(what));
    });
  } else {
    from = in.at();
    type = in.value<uint32_t>("an element type");
    if (type == kTypeArray) bad(file, from, fmt::format("{}: a list of lists", what));
    const auto count = in.value<uint64_t>(what);
    known = with_scalar_type(type, [&]<class T>(std::type_identity<T>) {
      if constexpr (!std::is_same_v<T, void*>) value.emplace<std::vector<T>>(in.list<T>(what, count));
    });
  }
  if (!known) bad(file, from, fmt::format("{}: unknown value type {}", what, type));
  return value;
}

GgufTensor read_tensor(const InputFile& file, Reader& in) {
  GgufTensor t;
  const uint64_t start = in.at();
  t.name = in.text("a tensor name", kMaxName);
  if (t.name.empty()) bad(file, start, "a tensor without a name");
  uint64_t from = in.at();
  const auto dims = in.value<uint32_t>("a number of dimensions");
  if (dims > 4)
    bad(file, from, fmt::format("tensor {}: {} dimensions, at most 4 are possible", shown(t.name), dims));
  t.shape.resize(dims);
  from = in.at();
  for (uint64_t& d : t.shape) d = in.value<uint64_t>("a dimension");
  std::reverse(t.shape.begin(), t.shape.end());
  const uint64_t type_at = in.at();
  const auto id = in.value<uint32_t>("a tensor type");
  const GgmlType* type = find_ggml_type(id);
  if (type == nullptr) {
    bad(file, type_at, fmt::format("tensor {}: unknown ggml type {}", shown(t.name), id),
        "the file may need a newer version");
  }
  t.type = *type;
  const auto size = gguf_bytes(*type, t.shape);
  if (!size) {
    bad(file, from,
        fmt::format("tensor {}: shape [{}] is no whole number of {} blocks of {} in each row", shown(t.name),
                    fmt::join(t.shape, ", "), type->name, type->block));
  }
  t.bytes = *size;
  t.offset = in.value<uint64_t>("a tensor offset");
  return t;
}

// Offsets from the start of the data become offsets from the start of the file.
void place_tensors(const InputFile& file, GgufHeader& h) {
  for (GgufTensor& t : h.tensors) {
    if (t.offset % h.alignment != 0) {
      bad(file, h.data_start,
          fmt::format("tensor {} begins at data byte {}, no multiple of the alignment {}", shown(t.name),
                      t.offset, h.alignment));
    }
    const auto begin = checked_add(h.data_start, t.offset);
    const auto end = begin ? checked_add(*begin, t.bytes) : std::nullopt;
    if (!end || *end > file.size()) {
      bad(file, h.data_start,
          fmt::format("tensor {} takes {} bytes from data byte {}, the file ends at byte {}", shown(t.name),
                      t.bytes, t.offset, file.size()),
          "the file is truncated");
    }
    t.offset = *begin;
  }
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& t : h.tensors) {
    if (t.bytes > 0) order.push_back(&t);
  }
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes) {
      bad(file, order[i]->offset,
          fmt::format("tensors {} and {} overlap", shown(order[i - 1]->name), shown(order[i]->name)));
    }
  }
}

// The fixed fields before the metadata.
uint32_t read_version(const InputFile& file, Reader& in) {
  if (file.size() < 24) bad(file, 0, fmt::format("{} bytes are too few for a GGUF file", file.size()));
  const auto magic = in.value<uint32_t>("the magic");
  if (magic != kMagic)
    bad(file, 0, fmt::format("the file does not begin with \"GGUF\" (found {:08x})", magic),
        "is this a GGUF file?");
  const auto version = in.value<uint32_t>("the version");
  if (version != 0 && (version & 0xffff) == 0) {
    bad(file, 4, "this is a big-endian GGUF file; only little-endian files can be read",
        "gguf-convert-endian of the gguf package turns it round");
  }
  if (version != 2 && version != 3)
    bad(file, 4, fmt::format("GGUF version {}; versions 2 and 3 can be read", version));
  return version;
}

}  // namespace

std::span<const GgmlType> ggml_types() noexcept { return kTypes; }

const GgmlType* find_ggml_type(uint32_t id) noexcept {
  for (const GgmlType& t : kTypes) {
    if (t.id == id) return &t;
  }
  return nullptr;
}

const GgmlType* find_ggml_type(std::string_view name) noexcept {
  for (const GgmlType& t : kTypes) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

std::optional<uint64_t> gguf_bytes(const GgmlType& type, std::span<const uint64_t> shape) noexcept {
  const auto count = checked_product(shape);
  const uint64_t row = shape.empty() ? 1 : shape.back();
  if (!count || row % type.block != 0) return std::nullopt;
  const auto bytes = checked_mul(*count / type.block, type.bytes);
  return bytes && *bytes >> 63 == 0 ? bytes : std::nullopt;
}

GgufHeader read_gguf_header(const InputFile& file) {
  Reader in(file);
  GgufHeader h;
  h.version = read_version(file, in);
  const auto tensors = in.value<uint64_t>("the number of tensors");
  const auto keys = in.value<uint64_t>("the number of keys");
  // The least that an entry takes: key length, one byte, type, one byte; name length, one byte, dims, type,
  // offset.
  if (keys > in.left() / 14)
    bad(file, 16, fmt::format("{} keys do not fit in a file of {} bytes", keys, file.size()));
  if (tensors > in.left() / 25)
    bad(file, 8, fmt::format("{} tensors do not fit in a file of {} bytes", tensors, file.size()));

  std::unordered_set<std::string> seen;
  for (uint64_t i = 0; i < keys; ++i) {
    const uint64_t from = in.at();
    std::string key = in.text("a key", kMaxName);
    if (key.empty()) bad(file, from, "an empty key");
    if (!seen.insert(key).second) bad(file, from, fmt::format("key {} occurs twice", shown(key)));
    const uint64_t value_at = in.at();
    GgufValue value = read_value(file, in, key);
    if (key == "general.alignment") {
      const auto* a = std::get_if<uint32_t>(&value);
      if (a == nullptr || !std::has_single_bit(*a)) {
        bad(file, value_at,
            fmt::format("general.alignment is {}, a power of two (u32) expected", describe(value)));
      }
      h.alignment = *a;
    }
    h.metadata.push_back({std::move(key), std::move(value)});
  }
  seen.clear();
  for (uint64_t i = 0; i < tensors; ++i) {
    const uint64_t from = in.at();
    h.tensors.push_back(read_tensor(file, in));
    if (!seen.insert(h.tensors.back().name).second) {
      bad(file, from, fmt::format("tensor {} occurs twice", shown(h.tensors.back().name)));
    }
  }
  h.data_start = round_up(in.at(), h.alignment);
  place_tensors(file, h);
  return h;
}

}  // namespace viva::io
