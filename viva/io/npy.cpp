#include "viva/io/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "viva/base/checked.h"
#include "viva/io/quote.h"
#include "viva/io/zip.h"

namespace viva::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 65536;
constexpr size_t kMaxDims = 64;

// Where a header comes from: a whole file, or a member of a .npz.
struct Origin {
  const InputFile& file;
  std::string member;  // empty for a whole file
  uint64_t bytes;      // of the file or the (decompressed) member
  std::function<void(uint64_t, std::span<uint8_t>)> read;

  [[noreturn]] void bad(uint64_t at, std::string_view message, std::string_view hint = {}) const {
    const std::string where = member.empty() ? "" : fmt::format("member {}: ", quote(member));
    throw Error(Code::kBadInput, "npy",
                fmt::format("{}: {}byte {}: {}", file.path().string(), where, at, message), hint);
  }
};

struct ElementType {
  DType dtype = DType::kF32;
  bool big_endian = false;
};

struct Header {
  std::optional<ElementType> type;
  std::string unsupported;  // why there is no type
  bool fortran_order = false;
  std::vector<uint64_t> shape;
  uint64_t data_start = 0;
  uint64_t bytes = 0;
};

struct NumpyName {
  std::string_view name;
  DType dtype;
};
constexpr std::array<NumpyName, 14> kNumpyNames = {{
    {"b1", DType::kBool},
    {"i1", DType::kI8},
    {"u1", DType::kU8},
    {"i2", DType::kI16},
    {"u2", DType::kU16},
    {"i4", DType::kI32},
    {"u4", DType::kU32},
    {"i8", DType::kI64},
    {"u8", DType::kU64},
    {"f2", DType::kF16},
    {"f4", DType::kF32},
    {"f8", DType::kF64},
    {"c8", DType::kC64},
    {"bfloat16", DType::kBF16},
}};

// Why an array of this kind cannot be read; empty for a kind that NumPy does not have.
std::string_view why_not(std::string_view kind_and_size) {
  if (kind_and_size == "c16")
    return "complex128, which no other file here can hold; save its real and imaginary parts";
  switch (kind_and_size.empty() ? '\0' : kind_and_size[0]) {
    case 'f':
      return "a float of this machine's own kind (long double); save it as float64";
    case 'c':
      return "a complex number of this machine's own kind; save its real and imaginary parts";
    case 'O':
      return "Python objects (pickle)";
    case 'U':
    case 'S':
    case 'a':
    case 'T':
      return "text";
    case 'M':
    case 'm':
      return "dates or times";
    case 'V':
      return "bytes without a type (NumPy writes bfloat16 and float8 so and forgets which it was); save it "
             "as float32, or as "
             "safetensors";
    default:
      return {};
  }
}

// The header is a Python dict literal. This parser takes exactly the three keys, two kinds of strings, True,
// False and a tuple of numbers: there is nothing to nest, and nothing is evaluated.
class HeaderParser {
 public:
  HeaderParser(const Origin& origin, std::string_view text, uint64_t at)
      : origin_(origin), text_(text), start_(at) {}

  Header parse() {
    Header h;
    unsigned seen = 0;
    expect('{');
    while (!accept('}')) {
      const uint64_t key_at = at_;
      const std::string_view key = string();
      const unsigned bit = key == "descr" ? 1 : key == "fortran_order" ? 2 : key == "shape" ? 4 : 0;
      if (bit == 0) fail(fmt::format("unknown key {}", quote(key, 40)), key_at);
      if (seen & bit) fail(fmt::format("{} occurs twice", key), key_at);
      seen |= bit;
      expect(':');
      if (bit == 1 && !type(h)) return h;
      if (bit == 2) h.fortran_order = boolean();
      if (bit == 4) h.shape = shape();
      if (accept(',')) continue;
      expect('}');
      break;
    }
    skip_space();
    if (at_ != text_.size()) fail("something follows the dict", at_);
    if (seen != 7) fail("descr, fortran_order and shape were expected", 0);
    return h;
  }

 private:
  [[noreturn]] void fail(std::string_view message, size_t at) const {
    origin_.bad(start_ + at, message, "this is not a header that NumPy writes");
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("'{}' was expected", c), at_);
  }

  std::string_view string() {
    skip_space();
    const char mark = at_ < text_.size() ? text_[at_] : '\0';
    if (mark != '\'' && mark != '"') fail("a string was expected", at_);
    const size_t begin = ++at_;
    while (at_ < text_.size() && text_[at_] != mark) {
      if (text_[at_] < 0x20 || text_[at_] > 0x7e || text_[at_] == '\\')
        fail("an odd character in a string", at_);
      ++at_;
    }
    if (at_ == text_.size()) fail("a string without end", begin);
    return text_.substr(begin, at_++ - begin);
  }

  bool boolean() {
    skip_space();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    }
    fail("True or False was expected", at_);
  }

  uint64_t number() {
    skip_space();
    const size_t begin = at_;
    uint64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const auto tens = checked_mul(value, 10);
      const auto next = tens ? checked_add(*tens, static_cast<uint64_t>(text_[at_] - '0')) : std::nullopt;
      if (!next) fail("a size that does not fit in 64 bits", begin);
      value = *next;
    }
    if (at_ == begin) fail("a size was expected", at_);
    if (at_ - begin > 1 && text_[begin] == '0') fail("a size with leading zeros", begin);
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2
    return value;
  }

  std::vector<uint64_t> shape() {
    std::vector<uint64_t> dims;
    expect('(');
    const size_t begin = at_;
    while (!accept(')')) {
      if (dims.size() == kMaxDims) fail(fmt::format("more than {} dimensions", kMaxDims), at_);
      dims.push_back(number());
      if (accept(',')) continue;
      expect(')');
      if (dims.size() == 1) fail("a shape is a tuple: (N,)", begin);
      break;
    }
    return dims;
  }

  // False where the type has no place here; the rest of the header is then not read.
  bool type(Header& h) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[') {
      h.unsupported = "structures of several fields";
      return false;
    }
    const size_t begin = at_;
    const std::string_view descr = string();
    std::string_view name = descr;
    char order = '=';
    if (!name.empty() && std::string_view("<>=|").find(name[0]) != std::string_view::npos) {
      order = name[0];
      name.remove_prefix(1);
    }
    for (const NumpyName& known : kNumpyNames) {
      if (known.name != name) continue;
      h.type = ElementType{known.dtype, order == '>' && bytes(known.dtype) > 1};
      return true;
    }
    h.unsupported = why_not(name);
    if (h.unsupported.empty()) fail(fmt::format("unknown type {}", quote(descr, 40)), begin);
    h.unsupported = fmt::format("{}: {}", quote(descr, 40), h.unsupported);
    return false;
  }

  const Origin& origin_;
  std::string_view text_;
  uint64_t start_;
  size_t at_ = 0;
};

Header read_header(const Origin& origin) {
  uint8_t prefix[12] = {};
  const size_t have = static_cast<size_t>(std::min<uint64_t>(origin.bytes, sizeof prefix));
  origin.read(0, {prefix, have});
  if (have < 10 || std::string_view(reinterpret_cast<const char*>(prefix), kMagic.size()) != kMagic) {
    origin.bad(0, "not a .npy array");
  }
  const int major = prefix[6];
  if (major < 1 || major > 3 || prefix[7] != 0)
    origin.bad(6, fmt::format("version {}.{}, 1.0 to 3.0 are known", major, prefix[7]));
  const size_t start = major == 1 ? 10 : 12;
  if (have < start) origin.bad(8, "the file ends within the header's length");
  uint64_t n = prefix[8] | uint64_t{prefix[9]} << 8;
  if (major > 1) n |= uint64_t{prefix[10]} << 16 | uint64_t{prefix[11]} << 24;
  if (n > origin.bytes - start || n > kMaxHeader) {
    origin.bad(8, fmt::format("a header of {} bytes; {} are there, {} are the most allowed", n,
                              origin.bytes - start, kMaxHeader));
  }
  std::string text(n, '\0');
  origin.read(start, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  Header h = HeaderParser(origin, text, start).parse();
  h.data_start = start + n;
  if (!h.type) return h;
  const auto count = checked_product(h.shape);
  const auto size = count ? checked_mul(*count, bytes(h.type->dtype)) : std::nullopt;
  if (!size) origin.bad(start, fmt::format("shape ({}) is larger than any file", fmt::join(h.shape, ", ")));
  const uint64_t held = origin.bytes - h.data_start;
  if (*size != held) {
    origin.bad(h.data_start,
               fmt::format("{} ({}) takes {} bytes, {} are there", name(h.type->dtype),
                           fmt::join(h.shape, ", "), *size, held),
               held < *size ? "the file is truncated" : "several arrays in one .npy file? save them as .npz");
  }
  h.bytes = *size;
  // With one dimension longer than 1 at most, both orders are the same.
  if (std::count_if(h.shape.begin(), h.shape.end(), [](uint64_t d) { return d != 1; }) <= 1)
    h.fortran_order = false;
  return h;
}

bool utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<uint8_t>(text[i]);
    const size_t n = c < 0x80                ? 1
                     : c >= 0xc2 && c < 0xe0 ? 2
                     : c >= 0xe0 && c < 0xf0 ? 3
                     : c >= 0xf0 && c < 0xf5 ? 4
                                             : 0;
    if (c == 0 || n == 0 || n > text.size() - i) return false;
    uint32_t code = n == 1 ? c : c & (0xff >> (n + 1));
    for (size_t k = 1; k < n; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    const uint32_t least = n == 3 ? 0x800 : n == 4 ? 0x10000 : 0;
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += n;
  }
  return true;
}

StoredArray describe(std::string name, const Header& h) {
  StoredArray a;
  a.tensor = {
      .name = std::move(name), .dtype = h.type->dtype, .shape = h.shape, .offset = 0, .bytes = h.bytes};
  a.fortran_order = h.fortran_order;
  a.big_endian = h.type->big_endian;
  return a;
}

// Complex numbers are pairs of which each half is swapped alone.
size_t swap_unit(DType t) { return t == DType::kC64 ? 4 : bytes(t); }

}  // namespace

struct ArrayFile::Source {
  ZipMember member;  // of a whole .npy: nameless
  uint64_t data_start = 0;
};

struct ArrayReader::State {
  std::shared_ptr<const InputFile> file;
  StoredArray array;
  uint64_t data_start = 0;
  std::optional<ZipReader> zip;
};

ArrayReader::ArrayReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArrayReader::~ArrayReader() = default;
ArrayReader::ArrayReader(ArrayReader&&) noexcept = default;
ArrayReader& ArrayReader::operator=(ArrayReader&&) noexcept = default;

void ArrayReader::read(uint64_t offset, std::span<uint8_t> out) {
  State& s = *state_;
  const StoredTensor& t = s.array.tensor;
  const size_t element = bytes(t.dtype);
  if (offset > t.bytes || out.size() > t.bytes - offset || offset % element != 0 ||
      out.size() % element != 0) {
    throw Error(Code::kUsage, "npy",
                fmt::format("{}: array {} has {} bytes in elements of {}, not {} from byte {}",
                            s.file->path().string(), quote(t.name), t.bytes, element, out.size(), offset));
  }
  if (s.zip) {
    s.zip->read(s.data_start + offset, out);
  } else {
    s.file->read(s.data_start + offset, out);
  }
  if (!s.array.big_endian) return;
  const size_t unit = swap_unit(t.dtype);
  for (size_t i = 0; i < out.size(); i += unit) std::reverse(out.begin() + i, out.begin() + i + unit);
}

ArrayFile::ArrayFile(const std::filesystem::path& path) : file_(std::make_shared<const InputFile>(path)) {
  const InputFile& file = *file_;
  uint8_t magic[6] = {};
  file.read(0, {magic, static_cast<size_t>(std::min<uint64_t>(file.size(), sizeof magic))});
  auto sources = std::make_shared<std::vector<Source>>();
  if (magic[0] == 0x93) {
    const Origin origin{file, "", file.size(),
                        [&](uint64_t at, std::span<uint8_t> out) { file.read(at, out); }};
    const Header h = read_header(origin);
    if (!h.type) origin.bad(10, fmt::format("the array holds {}", h.unsupported));
    const std::string stem = path.stem().string();
    arrays_.push_back(describe(utf8(stem) ? stem : "array", h));
    if (arrays_[0].in_place()) arrays_[0].tensor.offset = h.data_start;
    sources->push_back({{}, h.data_start});
  } else if (magic[0] == 'P' && magic[1] == 'K') {
    for (ZipMember& member : read_zip_directory(file)) {
      constexpr std::string_view kSuffix = ".npy";
      const std::string& name = member.name;
      if (name.ends_with("data.pkl")) {
        throw Error(Code::kBadInput, "npy",
                    fmt::format("{}: a PyTorch checkpoint (pickle), not a .npz", path.string()),
                    "pickles can run code and are not read; save it as safetensors");
      }
      if (!utf8(name))
        throw Error(Code::kBadInput, "npy",
                    fmt::format("{}: the name of member {} is not UTF-8", path.string(), quote(name)));
      if (!name.ends_with(kSuffix)) {
        skipped_.push_back({name, "not a .npy array"});
        continue;
      }
      ZipReader zip(file_, member);
      const Origin origin{file, name, member.bytes,
                          [&](uint64_t at, std::span<uint8_t> out) { zip.read(at, out); }};
      const Header h = read_header(origin);
      if (!h.type) {
        skipped_.push_back({name, h.unsupported});
        continue;
      }
      StoredArray a = describe(name.substr(0, name.size() - kSuffix.size()), h);
      a.deflated = member.deflated;
      if (a.in_place()) a.tensor.offset = member.offset + h.data_start;
      arrays_.push_back(std::move(a));
      sources->push_back({std::move(member), h.data_start});
    }
  } else {
    throw Error(Code::kBadInput, "npy",
                fmt::format("{}: byte 0: neither a .npy nor a .npz file", path.string()));
  }
  sources_ = std::move(sources);
}

ArrayReader ArrayFile::reader(size_t index) const {
  auto state = std::make_unique<ArrayReader::State>();
  const Source& source = sources_->at(index);
  state->file = file_;
  state->array = arrays_.at(index);
  state->data_start = source.data_start;
  if (!source.member.name.empty()) state->zip.emplace(file_, source.member);
  return ArrayReader(std::move(state));
}

std::string make_npy_header(DType dtype, std::span<const uint64_t> shape, bool fortran_order) {
  const auto known = std::find_if(kNumpyNames.begin(), kNumpyNames.end(),
                                  [&](const NumpyName& n) { return n.dtype == dtype; });
  if (known == kNumpyNames.end() || dtype == DType::kBF16) {
    throw Error(Code::kUsage, "npy", fmt::format("NumPy has no type {}", name(dtype)),
                "convert to F32 or write safetensors");
  }
  std::string text = fmt::format("{{'descr': '{}{}', 'fortran_order': {}, 'shape': ({}{}), }}",
                                 bytes(dtype) == 1 ? '|' : '<', known->name, fortran_order ? "True" : "False",
                                 fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  // As NumPy does: room for the growing dimension to take 21 digits, then to a multiple of 64 with a newline.
  if (!shape.empty())
    text.append(21 - std::to_string(fortran_order ? shape.back() : shape.front()).size(), ' ');
  text.resize(round_up(10 + text.size() + 1, 64) - 11, ' ');
  text += '\n';
  if (text.size() > 0xffff)
    throw Error(Code::kUsage, "npy", fmt::format("a shape of {} dimensions", shape.size()));
  std::string out(kMagic);
  out += {'\1', '\0', static_cast<char>(text.size()), static_cast<char>(text.size() >> 8)};
  return out + text;
}

}  // namespace viva::io
