#include "viva/io/safetensors.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <sys/stat.h>

#include <random>
#include <set>

#include "files.h"
#include "golden.h"
#include "viva/base/attempt.h"
#include "viva/base/checked.h"

namespace viva::io {
namespace {

using test::little;
using test::MemoryFile;

std::string file_of(const std::string& header, size_t data_bytes) {
  return little(header.size(), 8) + header + std::string(data_bytes, 'x');
}

SafetensorsHeader read_bytes(const std::string& bytes) {
  const MemoryFile memory(bytes);
  return read_safetensors_header(InputFile(memory.path()));
}

SafetensorsHeader read(const std::string& header, size_t data_bytes) {
  return read_bytes(file_of(header, data_bytes));
}

// The file must be refused, and the message must say why.
void expect_refused(const std::string& bytes, const std::string& why) {
  try {
    read_bytes(bytes);
    ADD_FAILURE() << "accepted, but expected: " << why;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what() << "\n  does not say: " << why;
    EXPECT_NE(std::string(e.what()).find("/proc/self/fd/"), std::string::npos) << "no file in: " << e.what();
    EXPECT_LT(std::string(e.what()).size(), 1000u);
  }
}
void expect_refused(const std::string& header, size_t data_bytes, const std::string& why) {
  SCOPED_TRACE(header.substr(0, 200));
  expect_refused(file_of(header, data_bytes), why);
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, uint64_t begin,
                  uint64_t end) {
  return std::string("\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST(SafetensorsRead, Accepts) {
  const auto h = read(R"({"__metadata__":{"format":"pt","k":""},)" + entry("b", "F32", "[2,3]", 4, 28) + "," +
                          entry("a", "BF16", "[2]", 0, 4) + "}   ",
                      28);
  ASSERT_EQ(h.tensors.size(), 2u);
  EXPECT_EQ(h.tensors[0].name, "a");  // in order of offset
  EXPECT_EQ(h.tensors[0].dtype, DType::kBF16);
  EXPECT_EQ(h.tensors[1].name, "b");
  EXPECT_EQ(h.tensors[1].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(h.tensors[1].bytes, 24u);
  EXPECT_EQ(h.tensors[1].offset, h.data_start + 4);
  EXPECT_EQ(h.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"k", ""}}));
}

TEST(SafetensorsRead, AcceptsEmptyFilesScalarsAndZeroSizes) {
  EXPECT_TRUE(read("{}", 0).tensors.empty());
  EXPECT_TRUE(read(R"({"__metadata__":{}})", 0).tensors.empty());
  const auto scalar = read(std::string("{") + entry("s", "I64", "[]", 0, 8) + "}", 8);
  EXPECT_TRUE(scalar.tensors.at(0).shape.empty());
  EXPECT_EQ(scalar.tensors.at(0).bytes, 8u);
  // Empty tensors may lie anywhere, several at one place, and before the tensor that begins there.
  const auto empty =
      read(std::string("{") + entry("w", "F32", "[1]", 0, 4) + "," + entry("e", "F32", "[0,7]", 0, 0) + "," +
               entry("f", "U8", "[0]", 4, 4) + "," + entry("g", "F64", "[3,0]", 4, 4) + "}",
           4);
  EXPECT_EQ(empty.tensors.size(), 4u);
  expect_refused(
      std::string("{") + entry("w", "F32", "[1]", 0, 4) + "," + entry("e", "F32", "[0]", 2, 2) + "}", 4,
      "begins at data byte");
}

TEST(SafetensorsRead, EveryDtypeAndItsSize) {
  for (const DTypeInfo& t : std::span(kDTypes).first(kFileDTypes)) {
    const size_t bytes = 8 * t.bits / 8;
    const auto h = read(std::string("{") + entry("t", std::string(t.name), "[2,4]", 0, bytes) + "}", bytes);
    EXPECT_EQ(name(h.tensors.at(0).dtype), t.name);
    EXPECT_EQ(h.tensors.at(0).bytes, bytes);
    expect_refused(std::string("{") + entry("t", std::string(t.name), "[2,4]", 0, bytes + 1) + "}", bytes + 1,
                   "takes");
  }
  expect_refused(std::string("{") + entry("t", "F4", "[3]", 0, 2) + "}", 2, "not a whole number of bytes");
  expect_refused(std::string("{") + entry("t", "F6_E2M3", "[3,2]", 0, 5) + "}", 5,
                 "not a whole number of bytes");
  EXPECT_EQ(read(std::string("{") + entry("t", "F6_E3M2", "[4]", 0, 3) + "}", 3).tensors.at(0).bytes, 3u);
  for (const char* unknown : {"f32", "F128", "", "F3", "BF16 "}) {
    expect_refused(std::string("{") + entry("t", unknown, "[1]", 0, 4) + "}", 4, "unknown dtype");
  }
}

TEST(SafetensorsRead, UnknownFieldsOfAnEntryAreIgnored) {
  const auto h =
      read(R"({"t":{"x":[1,{"shape":[9]},[[null]]],"dtype":"U8","y":{"dtype":"F32","z":{}},"shape":[2],)"
           R"("n":-1.5e3,"data_offsets":[0,2],"b":true}})",
           2);
  EXPECT_EQ(h.tensors.at(0).dtype, DType::kU8);
  EXPECT_EQ(h.tensors.at(0).shape, std::vector<uint64_t>{2});
}

TEST(SafetensorsRead, RefusesLengthsThatLie) {
  for (size_t n = 0; n < 8; ++n) expect_refused(std::string(n, '\0'), "too few");
  expect_refused(std::string(8, '\0'), "does not begin with '{'");
  expect_refused(little(3, 8) + "{}", "the file has 2");
  expect_refused(little(~0ull, 8) + "{}", "18446744073709551615");
  expect_refused(little(1ull << 63, 8) + "{}", "the file has 2");
  expect_refused(little(100'000'001, 8) + "{}", "the most allowed");
  expect_refused(little(1, 8) + "{}", "not JSON");
}

TEST(SafetensorsRead, RefusesHolesOverlapAndRest) {
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 1, 3) + "}", 3,
                 "begins at data byte 1, expected 0");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 0, 2) + "," + entry("b", "U8", "[2]", 3, 5) + "}",
                 5, "begins at data byte 3, expected 2");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 0, 2) + "," + entry("b", "U8", "[2]", 1, 3) + "}",
                 3, "begins at data byte 1, expected 2");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 0, 2) + "," + entry("b", "U8", "[2]", 0, 2) + "}",
                 2, "overlap");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 0, 2) + "}", 3, "left over");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 0, 2) + "}", 1, "truncated");
  expect_refused("{}", 1, "left over");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 2, 0) + "}", 2, "takes 2 bytes");
  expect_refused(std::string("{") + entry("a", "U8", "[2]", 18446744073709551614ull, 0) + "}", 2,
                 "takes 2 bytes");
}

TEST(SafetensorsRead, RefusesProductsThatOverflow) {
  for (const char* shape : {"[4294967296,4294967296]", "[18446744073709551615,2]", "[9223372036854775808]",
                            "[4611686018427387904]", "[9223372036854775808,2,0]"}) {
    expect_refused(std::string("{") + entry("a", "F32", shape, 0, 0) + "}", 0, "larger than any file");
  }
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  expect_refused(std::string("{") + entry("a", "U8", many + "]", 0, 1) + "}", 1, "more than 64 dimensions");
}

TEST(SafetensorsRead, RefusesNamesThatOccurTwice) {
  const std::string a = entry("a", "U8", "[2]", 0, 2);
  expect_refused(std::string("{") + a + "," + a + "}", 2, "twice");
  expect_refused(std::string("{") + a + R"(,"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})", 2,
                 "twice");
  expect_refused(R"({"a":{"dtype":"U8","dtype":"I8","shape":[2],"data_offsets":[0,2]}})", 2,
                 "dtype occurs twice");
  expect_refused(R"({"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}})", 2,
                 "shape occurs twice");
  expect_refused(R"({"__metadata__":{"k":"1","k":"1"}})", 0, "twice");
  expect_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "twice");
}

TEST(SafetensorsRead, RefusesBadJson) {
  for (const char* header : {"{", "{]", "{\"a\"}", "{\"a\":}", "{,}", "{} x", "{}{}", "{'a':1}", "{\"a\":{}",
                             "{\"\xff\":{}}", "{/**/}", "{\"a\nb\":{}}", "{\"\\ud800\":{}}", "{\"a\":NaN}",
                             "{\"a\":01}", "{\"a\":+1}", "{\"a\":{},}"}) {
    SCOPED_TRACE(header);
    expect_refused(header, 0, "");
  }
  expect_refused("{\"a\":\x01}", 0, "not JSON at byte");
  expect_refused(std::string("{}\0{}", 5), 0, "zero byte in the header at byte 10");
  expect_refused(" {}", 0, "does not begin with '{'");
  expect_refused("\xef\xbb\xbf{}", 0, "does not begin with '{'");
  expect_refused("[]", 0, "does not begin with '{'");
}

TEST(SafetensorsRead, RefusesWrongTypes) {
  for (const char* value : {"1", "null", "\"x\"", "[]", "true", "-1", "1.5"}) {
    expect_refused("{\"a\":" + std::string(value) + "}", 0, "an object was expected");
    expect_refused("{\"__metadata__\":" + std::string(value) + "}", 0, "an object was expected");
  }
  for (const char* value : {"1", "null", "{}", "[]", "false", "-1", "1.5"}) {
    expect_refused("{\"__metadata__\":{\"k\":" + std::string(value) + "}}", 0, "a string was expected");
    expect_refused("{\"a\":{\"dtype\":" + std::string(value) + ",\"shape\":[],\"data_offsets\":[0,0]}}", 0,
                   "a string was expected");
  }
  for (const char* value : {"1", "null", "{}", "\"x\"", "true", "-1", "1.5"}) {
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":" + std::string(value) + ",\"data_offsets\":[0,0]}}",
                   0, "a list was expected");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":" + std::string(value) + "}}", 0,
                   "a list was expected");
  }
  for (const char* value :
       {"-1", "-0", "1.0", "1e0", "null", "\"1\"", "[1]", "{}", "18446744073709551616", "true"}) {
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[" + std::string(value) + "],\"data_offsets\":[0,1]}}",
                   1, "is not a size");
    expect_refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0," + std::string(value) + "]}}",
                   1, "is not an offset");
  }
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "data_offsets has 1 numbers");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1,
                 "data_offsets has 3 numbers");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1]}})", 1, "were expected");
  expect_refused(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "were expected");
  expect_refused(R"({"a":{}})", 0, "were expected");
}

TEST(SafetensorsRead, RefusesDeepNesting) {
  for (const char open : {'[', '{'}) {
    std::string deep;
    for (int i = 0; i < 1'000'000; ++i) deep += open == '[' ? "[" : "{\"a\":";
    expect_refused(std::string("{") + deep, 0, "");
    expect_refused(R"({"a":{"x":)" + deep, 0, "nested too deeply");
  }
}

TEST(SafetensorsRead, MessagesCarryNoControlCharacters) {
  try {
    read("{\"\\u001b[31m\\u202e\xc2\x9b\":{}}", 0);
    FAIL();
  } catch (const Error& e) {
    for (const char c : std::string_view(e.what())) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << int(c);
  }
  expect_refused("{\"" + std::string(1 << 20, 'n') + "\":{}}", 0, "...");
}

TEST(SafetensorsRead, ManyTensors) {
  std::string header = "{";
  for (int i = 0; i < 20'000; ++i) header += entry("layer." + std::to_string(i), "U8", "[1]", i, i + 1) + ",";
  header.back() = '}';
  EXPECT_EQ(read(header, 20'000).tensors.size(), 20'000u);
}

TEST(SafetensorsWrite, HeaderIsReadBack) {
  std::vector<StoredTensor> tensors;
  uint64_t data = 0;
  for (const DTypeInfo& t : std::span(kDTypes).first(kFileDTypes)) {
    StoredTensor s;
    s.name = "name \"" + std::string(t.name) + "\" \\ \n \xc3\xa9";
    s.dtype = *dtype_from_name(t.name);
    s.shape = {4, 2};
    s.bytes = 8 * t.bits / 8;
    data += s.bytes;
    tensors.push_back(s);
  }
  tensors.push_back({.name = "empty", .dtype = DType::kF32, .shape = {0}, .offset = 0, .bytes = 0});
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"quote\"", "\t"}};
  const std::string header = make_safetensors_header(tensors, metadata);
  EXPECT_EQ(header.size() % 8, 0u);
  EXPECT_EQ(header[8], '{');
  const auto back = read_bytes(header + std::string(data, '\0'));
  EXPECT_EQ(back.data_start, header.size());
  EXPECT_EQ(back.metadata, metadata);
  ASSERT_EQ(back.tensors.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(back.tensors[i].name, tensors[i].name);
    EXPECT_EQ(back.tensors[i].dtype, tensors[i].dtype);
    EXPECT_EQ(back.tensors[i].shape, tensors[i].shape);
    EXPECT_EQ(back.tensors[i].offset, tensors[i].offset);
    EXPECT_EQ(back.tensors[i].bytes, tensors[i].bytes);
  }
}

TEST(SafetensorsWrite, ExactBytes) {
  std::vector<StoredTensor> tensors = {
      {.name = "a", .dtype = DType::kF32, .shape = {2}, .offset = 0, .bytes = 8}};
  const std::string text =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(make_safetensors_header(tensors, {{"format", "pt"}}),
            little(88, 8) + text + std::string(88 - text.size(), ' '));
  tensors.clear();
  EXPECT_EQ(make_safetensors_header(tensors, {}), little(8, 8) + "{}      ");
}

TEST(SafetensorsWrite, RefusesWhatNoReaderTakes) {
  const auto make = [](StoredTensor t) {
    std::vector<StoredTensor> list = {std::move(t)};
    return make_safetensors_header(list, {});
  };
  EXPECT_THROW(make({.name = "a", .dtype = DType::kF32, .shape = {2}, .offset = 0, .bytes = 7}), Error);
  EXPECT_THROW(make({.name = "a", .dtype = DType::kF4, .shape = {3}, .offset = 0, .bytes = 1}), Error);
  EXPECT_THROW(make({.name = "a\xff", .dtype = DType::kU8, .shape = {1}, .offset = 0, .bytes = 1}), Error);
  EXPECT_THROW(make({.name = "__metadata__", .dtype = DType::kU8, .shape = {1}, .offset = 0, .bytes = 1}),
               Error);
  EXPECT_THROW(make({.name = std::string(100'000'000, 'a'),
                     .dtype = DType::kU8,
                     .shape = {1},
                     .offset = 0,
                     .bytes = 1}),
               Error);
}

RC_GTEST_PROP(SafetensorsWrite, AnyListComesBack,
              (const std::vector<std::pair<std::string, std::vector<uint8_t>>>& list)) {
  std::vector<StoredTensor> tensors;
  std::set<std::string> names;
  uint64_t data = 0;
  for (const auto& [name, dims] : list) {
    StoredTensor t;
    for (const char c : name) t.name += static_cast<char>(c & 0x7f);
    if (!names.insert(t.name).second) continue;
    t.dtype = static_cast<DType>((name.size() + dims.size()) % kFileDTypes);
    for (const uint8_t d : dims) {
      if (t.shape.size() < 3) t.shape.push_back(d % 8 * 8);
    }
    if (t.shape.empty() && info(t.dtype).bits < 8) t.shape = {8};
    t.bytes = *checked_product(t.shape) * info(t.dtype).bits / 8;
    data += t.bytes;
    tensors.push_back(t);
  }
  const std::string header = make_safetensors_header(tensors, {});
  const auto back = read_bytes(header + std::string(data, '\0'));
  RC_ASSERT(back.tensors.size() == tensors.size());
  std::map<std::string, const StoredTensor*> by_name;
  for (const auto& t : back.tensors) by_name[t.name] = &t;
  for (const auto& t : tensors) {
    const StoredTensor& b = *by_name.at(t.name);
    RC_ASSERT(b.dtype == t.dtype && b.shape == t.shape && b.offset == t.offset && b.bytes == t.bytes);
  }
}

// Whatever happens to the bytes, the answer is a header that fits the file, or viva::Error.
RC_GTEST_PROP(SafetensorsRead, MutatedBytesGiveAHeaderThatFitsOrAnError, (uint32_t seed)) {
  static const std::string kPieces[] = {"{",           "}",
                                        "[",           "]",
                                        ",",           "\"",
                                        ":",           "0",
                                        "-",           "18446744073709551615",
                                        "null",        "\"shape\"",
                                        "\\u0000",     "1e9",
                                        "F4",          std::string(1, '\0'),
                                        "\xff",        "[0,0]",
                                        "__metadata__"};
  std::mt19937 random(seed);
  std::string bytes =
      file_of(R"({"__metadata__":{"format":"pt"},)" + entry("a", "F32", "[2,3]", 0, 24) + "," +
                  entry("b", "F4", "[6]", 24, 27) + "," + entry("c", "U8", "[0]", 27, 27) + "}",
              27);
  const int edits = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < edits; ++i) {
    const size_t at = random() % (bytes.size() + 1);
    const std::string& piece = kPieces[random() % std::size(kPieces)];
    switch (random() % 5) {
      case 0:
        bytes.insert(at, piece);
        break;
      case 1:
        bytes.replace(at, piece.size(), piece);
        break;
      case 2:
        bytes.erase(at, random() % 8);
        break;
      case 3:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
        break;
      default:  // an edit of the header whose length stays right
        if (at >= 8) bytes.insert(at, piece);
        if (at >= 8)
          bytes.replace(0, 8, little(std::min<uint64_t>(bytes.size() - 8, bytes.size() - 8 - 27), 8));
        break;
    }
  }
  try {
    const auto h = read_bytes(bytes);
    uint64_t at = h.data_start;
    for (const auto& t : h.tensors) {
      RC_ASSERT(t.offset == at);
      at += t.bytes;
    }
    RC_ASSERT(at == bytes.size());
  } catch (const Error& e) {
    RC_ASSERT(e.code() == Code::kBadInput);
  }
}

TEST(SafetensorsRead, EveryGoldenFile) {
  SKIP_WITHOUT_GOLDEN();
  size_t files = 0;
  for (const auto& item : std::filesystem::recursive_directory_iterator(test::Golden::path(""))) {
    if (item.path().extension() != ".safetensors") continue;
    const auto h = read_safetensors_header(InputFile(item.path()));
    EXPECT_FALSE(h.tensors.empty()) << item.path();
    ++files;
  }
  EXPECT_GT(files, 20u);
}

TEST(Files, NeverBlockAndNameWhatIsWrong) {
  const auto folder = std::filesystem::temp_directory_path() / ("viva-files-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const auto pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THROW(InputFile{pipe}, Error);
  EXPECT_THROW(InputFile{folder}, Error);
  EXPECT_THROW(InputFile{folder / "absent"}, Error);
  write_text_atomically(folder / "text", "hello");
  EXPECT_EQ(read_text(folder / "text"), "hello");
  EXPECT_THROW(read_text(folder / "text", 4), Error);
  const InputFile file(folder / "text");
  std::vector<uint8_t> out(4);
  EXPECT_THROW(file.read(2, out), Error);
  EXPECT_THROW(file.read(~0ull, out), Error);
  EXPECT_THROW(file.read(~0ull - 3, out), Error);
  file.read(1, out);
  EXPECT_EQ(std::string(out.begin(), out.end()), "ello");
  // A name that cannot be replaced: an error of ours, and nothing left behind.
  EXPECT_THROW(write_text_atomically(folder / "absent" / "text", "x"), Error);
  std::filesystem::create_directories(folder / "taken" / "inside");
  EXPECT_THROW(write_text_atomically(folder / "taken", "x"), Error);
  EXPECT_FALSE(std::filesystem::exists(folder / "taken.part"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace viva::io
