#include "viva/io/npy.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <zlib.h>

#include <cstring>
#include <map>
#include <random>

#include "files.h"
#include "viva/base/float16.h"
#include "viva/io/zip.h"

namespace viva::io {
namespace {

using test::little;
using test::MemoryFile;

const std::filesystem::path kData = std::filesystem::path(VIVA_SOURCE) / "tests/data/npy";

std::string file_bytes(const std::filesystem::path& path) { return read_text(path); }

std::vector<uint8_t> all_bytes(const ArrayFile& file, size_t index) {
  std::vector<uint8_t> out(file.arrays().at(index).tensor.bytes);
  file.reader(index).read(0, out);
  return out;
}

double element(DType t, const uint8_t* p) {
  const auto as = [p](auto v) {
    std::memcpy(&v, p, sizeof v);
    return v;
  };
  switch (t) {
    case DType::kBool:
    case DType::kU8:
      return as(uint8_t{});
    case DType::kI8:
      return as(int8_t{});
    case DType::kI16:
      return as(int16_t{});
    case DType::kU16:
      return as(uint16_t{});
    case DType::kI32:
      return as(int32_t{});
    case DType::kU32:
      return as(uint32_t{});
    case DType::kI64:
      return static_cast<double>(as(int64_t{}));
    case DType::kU64:
      return static_cast<double>(static_cast<int64_t>(as(uint64_t{})));
    case DType::kF16:
      return f16_to_f32(as(uint16_t{}));
    case DType::kF32:
    case DType::kC64:
      return as(float{});
    case DType::kF64:
      return as(double{});
    default:
      throw std::logic_error("no such fixture");
  }
}

// The fixtures hold i - 3, as NumPy casts it.
double expected(DType t, int64_t i) {
  switch (t) {
    case DType::kU8:
      return static_cast<uint8_t>(i - 3);
    case DType::kU16:
      return static_cast<uint16_t>(i - 3);
    case DType::kU32:
      return static_cast<uint32_t>(i - 3);
    default:
      return static_cast<double>(i - 3);
  }
}

void expect_ramp(const ArrayFile& file, size_t index) {
  const StoredTensor& t = file.arrays().at(index).tensor;
  const auto raw = all_bytes(file, index);
  for (size_t i = 0; i < raw.size() / bytes(t.dtype); ++i) {
    ASSERT_EQ(element(t.dtype, raw.data() + i * bytes(t.dtype)), expected(t.dtype, static_cast<int64_t>(i)))
        << t.name << " element " << i;
    if (t.dtype == DType::kC64) {
      ASSERT_EQ(element(DType::kF32, raw.data() + i * 8 + 4), 2.0);
    }
  }
}

// ---- .npy
// ----------------------------------------------------------------------------------------------------------

TEST(Npy, EveryTypeInBothByteOrders) {
  const std::map<std::string, DType> kFiles = {
      {"le_f2", DType::kF16}, {"le_f4", DType::kF32}, {"le_f8", DType::kF64}, {"be_f2", DType::kF16},
      {"be_f4", DType::kF32}, {"be_f8", DType::kF64}, {"i1", DType::kI8},     {"le_i2", DType::kI16},
      {"le_i4", DType::kI32}, {"le_i8", DType::kI64}, {"be_i2", DType::kI16}, {"be_i4", DType::kI32},
      {"be_i8", DType::kI64}, {"u1", DType::kU8},     {"le_u2", DType::kU16}, {"le_u4", DType::kU32},
      {"le_u8", DType::kU64}, {"be_u4", DType::kU32}, {"le_c8", DType::kC64}, {"be_c8", DType::kC64}};
  for (const auto& [name, dtype] : kFiles) {
    SCOPED_TRACE(name);
    const ArrayFile file(kData / (name + ".npy"));
    ASSERT_EQ(file.arrays().size(), 1u);
    const StoredArray& a = file.arrays()[0];
    EXPECT_EQ(a.tensor.name, name);
    EXPECT_EQ(a.tensor.dtype, dtype);
    EXPECT_EQ(a.tensor.shape, (std::vector<uint64_t>{3, 4}));
    EXPECT_EQ(a.tensor.bytes, 12 * bytes(dtype));
    EXPECT_EQ(a.big_endian, name.starts_with("be_"));
    EXPECT_EQ(a.in_place(), !a.big_endian);
    EXPECT_FALSE(a.fortran_order);
    expect_ramp(file, 0);
    if (!a.in_place()) continue;
    std::vector<uint8_t> raw(a.tensor.bytes);
    file.file().read(a.tensor.offset, raw);
    EXPECT_EQ(raw, all_bytes(file, 0));
  }
}

TEST(Npy, Shapes) {
  const ArrayFile boolean(kData / "bool.npy");
  EXPECT_EQ(boolean.arrays()[0].tensor.dtype, DType::kBool);
  EXPECT_EQ(all_bytes(boolean, 0), (std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}));
  const ArrayFile scalar(kData / "scalar.npy");
  EXPECT_TRUE(scalar.arrays()[0].tensor.shape.empty());
  expect_ramp(scalar, 0);
  const ArrayFile empty(kData / "empty.npy");
  EXPECT_EQ(empty.arrays()[0].tensor.shape, (std::vector<uint64_t>{0, 7}));
  EXPECT_TRUE(all_bytes(empty, 0).empty());
  const ArrayFile five(kData / "dims5.npy");
  EXPECT_EQ(five.arrays()[0].tensor.shape, (std::vector<uint64_t>{1, 2, 1, 3, 2}));
  expect_ramp(five, 0);
  for (const char* version : {"version1", "version2", "version3"})
    expect_ramp(ArrayFile(kData / (std::string(version) + ".npy")), 0);
}

TEST(Npy, FortranOrderIsTold) {
  const ArrayFile file(kData / "fortran.npy");
  EXPECT_TRUE(file.arrays()[0].fortran_order);
  EXPECT_EQ(file.arrays()[0].tensor.shape, (std::vector<uint64_t>{3, 4}));
  const auto raw = all_bytes(file, 0);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 4; ++j) EXPECT_EQ(element(DType::kF32, &raw[4 * (j * 3 + i)]), i * 4 + j - 3);
  }
  EXPECT_FALSE(ArrayFile(kData / "fortran_vector.npy").arrays()[0].fortran_order);
}

TEST(Npy, ReadsPartsOfWholeElements) {
  const ArrayFile file(kData / "be_i4.npy");
  ArrayReader reader = file.reader(0);
  std::vector<uint8_t> out(8);
  reader.read(16, out);
  EXPECT_EQ(element(DType::kI32, &out[0]), 1);
  EXPECT_EQ(element(DType::kI32, &out[4]), 2);
  reader.read(48, {});
  EXPECT_THROW(reader.read(2, out), Error);
  EXPECT_THROW(reader.read(44, out), Error);
  EXPECT_THROW(reader.read(~0ull - 3, out), Error);
  EXPECT_THROW(reader.read(0, {out.data(), 3}), Error);
}

void expect_refused(const std::filesystem::path& path, const std::string& why) {
  try {
    const ArrayFile file(path);
    ADD_FAILURE() << "accepted, but expected: " << why;
  } catch (const Error& e) {
    const std::string what = e.what();
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_NE(what.find(why), std::string::npos) << what << "\n  does not say: " << why;
    EXPECT_NE(what.find(path.string()), std::string::npos) << "no file in: " << what;
    EXPECT_LT(what.size(), 1000u);
  }
}
void expect_bytes_refused(const std::string& bytes, const std::string& why) {
  const MemoryFile memory(bytes);
  expect_refused(memory.path(), why);
}

TEST(Npy, RefusesWhatIsNotNumbers) {
  expect_refused(kData / "refused_c16.npy", "complex128");
  expect_refused(kData / "refused_text.npy", "text");
  expect_refused(kData / "refused_objects.npy", "pickle");
  expect_refused(kData / "refused_struct.npy", "several fields");
  expect_refused(kData / "refused_bfloat16.npy", "bfloat16");
  expect_refused(kData / "refused_longdouble.npy", "long double");
}

std::string npy(const std::string& header, size_t data, char version = 1) {
  return std::string("\x93NUMPY") + version + '\0' + little(header.size(), version == 1 ? 2 : 4) + header +
         std::string(data, '\0');
}

TEST(Npy, HeadersThatAreAccepted) {
  for (const char* header : {"{'descr':'<f4','fortran_order':False,'shape':(2,)}",
                             "{ \"shape\" : ( 2 , ) , 'descr': \"f4\", 'fortran_order': True }\n",
                             "{'descr': '=f4', 'fortran_order': False, 'shape': (2L,), }",
                             "{'descr': '|f4', 'fortran_order': False, 'shape': (1, 2), }",
                             "{'descr': 'bfloat16', 'fortran_order': False, 'shape': (2, 2), }"}) {
    SCOPED_TRACE(header);
    for (const char version : {1, 2, 3}) {
      const MemoryFile memory(npy(header, 8, version));
      EXPECT_EQ(ArrayFile(memory.path()).arrays().at(0).tensor.bytes, 8u);
    }
  }
}

TEST(Npy, HeadersThatAreRefused) {
  const std::pair<const char*, const char*> kHeaders[] = {
      {"", "'{' was expected"},
      {"{", "a string was expected"},
      {"{}", "were expected"},
      {"{'descr': '<f4', 'shape': (2,)}", "were expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "unknown key"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "twice"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "follows"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}}", "follows"},
      {"{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", "'}' was expected"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", "True or False"},
      {"{'descr': '<f4', 'fortran_order': false, 'shape': (2,)}", "True or False"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2)}", "tuple"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': [2]}", "'(' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': 2}", "'(' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "a size was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (02,)}", "leading zeros"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,)}", "')' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2*1,)}", "')' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': ((2,),)}", "a size was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", "a size was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616,)}", "64 bits"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "larger than any file"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}", "larger than any file"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "truncated"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "several arrays"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "'}' was expected"},
      {"{'descr': '<f4, 'fortran_order': False, 'shape': (2,)}", ""},
      {"{'descr': '<f4", "without end"},
      {"{'descr': '<f\\x34', 'fortran_order': False, 'shape': (2,)}", "odd character"},
      {"{'descr': '<f3', 'fortran_order': False, 'shape': (2,)}", "long double"},
      {"{'descr': '<q4', 'fortran_order': False, 'shape': (2,)}", "unknown type"},
      {"{'descr': '', 'fortran_order': False, 'shape': (2,)}", "unknown type"},
      {"{'descr': '<<f4', 'fortran_order': False, 'shape': (2,)}", "unknown type"},
      {"{'descr': __import__('os'), 'fortran_order': False, 'shape': (2,)}", "a string was expected"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "several fields"},
      {"{'descr': '<V2', 'fortran_order': False, 'shape': (4,)}", "bfloat16"},
  };
  for (const auto& [header, why] : kHeaders) {
    SCOPED_TRACE(header);
    expect_bytes_refused(npy(header, 8), why);
  }
  std::string deep = "{'descr': '<f4', 'fortran_order': False, 'shape': ";
  expect_bytes_refused(npy(deep + std::string(60'000, '('), 8), "a size was expected");
  deep += "(";
  for (int i = 0; i < 65; ++i) deep += "1,";
  expect_bytes_refused(npy(deep + ")}", 8), "more than 64 dimensions");
}

TEST(Npy, LengthsAndVersionsThatLie) {
  const std::string good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8);
  for (size_t n = 0; n < good.size(); ++n) expect_bytes_refused(good.substr(0, n), "");
  expect_bytes_refused(npy("{}", 8, 4), "version 4.0");
  expect_bytes_refused(npy("{}", 8, 0), "version 0.0");
  expect_bytes_refused(std::string("\x93NUMPY\1\0\xff\xff", 10), "a header of 65535 bytes; 0 are there");
  expect_bytes_refused(std::string("\x93NUMPY\2\0\xff\xff\xff\xff", 12), "a header of 4294967295 bytes");
  expect_bytes_refused(std::string("\x93NUMPY\2\0", 8) + little(65537, 4) + std::string(70'000, ' '),
                       "the most allowed");
  expect_bytes_refused("not an array", "neither");
  expect_bytes_refused("", "neither");
}

TEST(Npy, HeadersAreWrittenAsNumpyWritesThem) {
  for (const char* name :
       {"le_f2", "le_f4", "le_f8", "i1", "le_i2", "le_i4", "le_i8", "u1", "le_u2", "le_u4", "le_u8", "le_c8",
        "bool", "fortran", "fortran_vector", "scalar", "empty", "dims5"}) {
    const auto path = kData / (std::string(name) + ".npy");
    const ArrayFile file(path);
    const StoredArray& a = file.arrays()[0];
    const std::string bytes = file_bytes(path);
    EXPECT_EQ(make_npy_header(a.tensor.dtype, a.tensor.shape, a.fortran_order),
              bytes.substr(0, a.tensor.offset))
        << name;
  }
  for (const DType none : {DType::kBF16, DType::kF4, DType::kF8E4M3})
    EXPECT_THROW(make_npy_header(none, {}), Error);
}

// ---- .npz
// ----------------------------------------------------------------------------------------------------------

std::map<std::string, size_t> by_name(const ArrayFile& file) {
  std::map<std::string, size_t> out;
  for (size_t i = 0; i < file.arrays().size(); ++i) out[file.arrays()[i].tensor.name] = i;
  return out;
}

TEST(Npz, StoredAndDeflatedByNumpy) {
  for (const char* name : {"stored.npz", "deflated.npz", "zip64.npz"}) {
    SCOPED_TRACE(name);
    const ArrayFile file(kData / name);
    const auto index = by_name(file);
    ASSERT_EQ(index.size(), std::string(name) == "deflated.npz" ? 5u : 4u);
    ASSERT_EQ(file.skipped().size(), 1u);
    EXPECT_EQ(file.skipped()[0].name, "text.npy");
    EXPECT_NE(file.skipped()[0].reason.find("text"), std::string::npos);
    expect_ramp(file, index.at("w"));
    expect_ramp(file, index.at("layer/be"));
    EXPECT_TRUE(all_bytes(file, index.at("empty")).empty());
    EXPECT_TRUE(file.arrays()[index.at("f")].fortran_order);
    const StoredArray& w = file.arrays()[index.at("w")];
    EXPECT_EQ(w.in_place(), std::string(name) != "deflated.npz");
    if (!w.in_place()) continue;
    std::vector<uint8_t> raw(w.tensor.bytes);
    file.file().read(w.tensor.offset, raw);
    EXPECT_EQ(raw, all_bytes(file, index.at("w")));
  }
}

TEST(Npz, OtherMembersFoldersCommentsAndDescriptors) {
  const ArrayFile mixed(kData / "mixed.npz");
  ASSERT_EQ(mixed.arrays().size(), 1u);
  EXPECT_EQ(mixed.arrays()[0].tensor.name, "folder/w");
  expect_ramp(mixed, 0);
  ASSERT_EQ(mixed.skipped().size(), 1u);
  EXPECT_EQ(mixed.skipped()[0].name, "notes.txt");
  EXPECT_TRUE(ArrayFile(kData / "no_arrays.npz").arrays().empty());
  const ArrayFile descriptors(kData / "descriptors.npz");
  ASSERT_EQ(descriptors.arrays().size(), 2u);
  expect_ramp(descriptors, 0);
  expect_ramp(descriptors, 1);
  expect_refused(kData / "refused_bzip2.npz", "bzip2");
  expect_refused(kData / "refused_lzma.npz", "LZMA");
}

// A zip file as simple as it gets, of which tests bend single fields.
struct Zip {
  std::string bytes, directory;
  uint16_t count = 0;
  uint16_t flags = 0;

  static std::string deflate(const std::string& text) {
    z_stream z{};
    ::deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    std::string out(::deflateBound(&z, text.size()), '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    ::deflate(&z, Z_FINISH);
    out.resize(z.total_out);
    ::deflateEnd(&z);
    return out;
  }
  static uint32_t crc(const std::string& text) {
    return static_cast<uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size())));
  }

  void raw(const std::string& name, const std::string& stored, uint32_t sum, uint64_t size, uint16_t method) {
    const std::string sizes =
        little(sum, 4) + little(stored.size(), 4) + little(size, 4) + little(name.size(), 2) + little(0, 2);
    const uint64_t at = bytes.size();
    bytes += little(0x04034b50, 4) + little(20, 2) + little(flags, 2) + little(method, 2) + little(0, 4) +
             sizes + name + stored;
    directory += little(0x02014b50, 4) + little(20, 2) + little(20, 2) + little(flags, 2) +
                 little(method, 2) + little(0, 4) + sizes + little(0, 2) + little(0, 2) + little(0, 2) +
                 little(0, 4) + little(at, 4) + name;
    ++count;
  }
  void add(const std::string& name, const std::string& text, bool deflated) {
    raw(name, deflated ? deflate(text) : text, crc(text), text.size(), deflated ? 8 : 0);
  }
  std::string done() const {
    return bytes + directory + little(0x06054b50, 4) + little(0, 4) + little(count, 2) + little(count, 2) +
           little(directory.size(), 4) + little(bytes.size(), 4) + little(0, 2);
  }
};

std::string array_of(size_t n, uint32_t seed) {
  const std::vector<uint64_t> shape = {n};
  std::string out = make_npy_header(DType::kU16, shape);
  std::mt19937 random(seed);
  for (size_t i = 0; i < n; ++i) out += little(random() % 64 + i % 1000, 2);
  return out;
}

TEST(Npz, ReadsForwardBackwardAndInParts) {
  const size_t n = 300'000;
  const std::string text = array_of(n, 1);
  const std::string data = text.substr(text.size() - 2 * n);
  for (const bool deflated : {false, true}) {
    Zip zip;
    zip.add("a.npy", text, deflated);
    const MemoryFile memory(zip.done());
    const ArrayFile file(memory.path());
    ArrayReader reader = file.reader(0);
    std::mt19937 random(2);
    for (int i = 0; i < 60; ++i) {
      const size_t at = random() % n * 2;
      const size_t bytes =
          i % 3 == 0 ? data.size() - at : std::min<size_t>(random() % 3000 * 2, data.size() - at);
      std::vector<uint8_t> out(bytes);
      reader.read(at, out);
      ASSERT_EQ(std::memcmp(out.data(), data.data() + at, bytes), 0) << at << " + " << bytes;
    }
  }
}

TEST(Npz, DamageIsFound) {
  const size_t n = 100'000;
  const std::string text = array_of(n, 3);
  for (const bool deflated : {false, true}) {
    SCOPED_TRACE(deflated);
    Zip zip;
    zip.add("a.npy", text, deflated);
    std::string bytes = zip.done();
    bytes[bytes.size() / 2] ^= 0x10;
    const MemoryFile memory(bytes);
    const ArrayFile file(memory.path());
    std::vector<uint8_t> out(2000);
    const auto read_in_parts = [&](ArrayReader reader) {
      for (uint64_t at = 0; at < 2 * n; at += out.size()) reader.read(at, out);
    };
    EXPECT_THROW(read_in_parts(file.reader(0)), Error);
    EXPECT_THROW(all_bytes(file, 0), Error);
    ArrayReader again = file.reader(0);  // an error does not make the second attempt succeed
    std::vector<uint8_t> whole(2 * n);
    EXPECT_THROW(again.read(0, whole), Error);
    EXPECT_THROW(again.read(0, whole), Error);
    again.read(0, out);
  }
}

// Reads everything that the file holds.
void read_all(const std::string& bytes) {
  const MemoryFile memory(bytes);
  const ArrayFile file(memory.path());
  std::vector<uint8_t> out(4096);
  for (size_t i = 0; i < file.arrays().size(); ++i) {
    ArrayReader reader = file.reader(i);
    const uint64_t total = file.arrays()[i].tensor.bytes;
    for (uint64_t at = 0; at < total; at += out.size())
      reader.read(at, {out.data(), static_cast<size_t>(std::min<uint64_t>(out.size(), total - at))});
  }
}

void expect_damage(const Zip& zip, const std::string& why) {
  try {
    read_all(zip.done());
    ADD_FAILURE() << "accepted, but expected: " << why;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::kBadInput);
    EXPECT_NE(std::string(e.what()).find(why), std::string::npos) << e.what() << "\n  does not say: " << why;
  }
}

TEST(Npz, MembersThatLie) {
  const std::string text = array_of(1000, 4);
  const std::string packed = Zip::deflate(text);
  const uint32_t sum = Zip::crc(text);
  const auto one = [&](const std::string& stored, uint32_t crc, uint64_t size, uint16_t method,
                       uint16_t flags = 0) {
    Zip zip;
    zip.flags = flags;
    zip.raw("a.npy", stored, crc, size, method);
    return zip;
  };
  EXPECT_NO_THROW(read_all(one(packed, sum, text.size(), 8).done()));
  EXPECT_NO_THROW(read_all(one(packed, sum, text.size(), 8, 0x0808).done()));
  expect_damage(one(packed, sum ^ 1, text.size(), 8), "checksum");
  expect_damage(one(text, sum ^ 1, text.size(), 0), "checksum");
  expect_damage(one(packed, sum, text.size() + 2, 8), "are there");
  expect_damage(one(packed, sum, text.size() - 2, 8), "are there");
  expect_damage(one(packed.substr(0, packed.size() - 9), sum, text.size(), 8), "end within the data");
  expect_damage(one(packed + "x", sum, text.size(), 8), "does not end with the member");
  expect_damage(one(Zip::deflate(text + "x"), sum, text.size(), 8), "holds more than");
  expect_damage(one(Zip::deflate(text.substr(0, text.size() - 1)), sum, text.size(), 8), "it ends after");
  expect_damage(one(packed, sum, uint64_t{1} << 31, 8), "cannot hold");
  expect_damage(one(text, sum, text.size() + 1, 0), "its sizes are");
  expect_damage(one(packed, sum, text.size(), 8, 1), "encrypted");
  expect_damage(one(packed, sum, text.size(), 93), "Zstandard");
  expect_damage(one("junk that is no deflate stream", sum, 30, 8), "member");
}

TEST(Npz, DirectoriesThatLie) {
  Zip good;
  good.add("a.npy", array_of(10, 5), false);
  good.add("b.npy", array_of(10, 6), true);
  const std::string whole = good.done();
  ASSERT_NO_THROW(read_all(whole));
  for (size_t n = 0; n < whole.size(); ++n) expect_bytes_refused(whole.substr(0, n), "");
  expect_bytes_refused("PK\3\4 put before it" + whole, "does not end here");

  Zip twice;
  twice.add("a.npy", array_of(10, 5), false);
  twice.add("a.npy", array_of(10, 5), false);
  expect_damage(twice, "twice");

  Zip overlap = good;  // the second entry points at the first member
  overlap.directory.replace(overlap.directory.size() / 2 + 42, 4, little(0, 4));
  expect_damage(overlap, "contradicts");
  Zip same;
  same.add("a.npy", array_of(10, 5), false);
  const std::string entry = same.directory;
  same.directory += entry;
  same.directory[entry.size() + 46] = 'b';
  ++same.count;
  expect_damage(same, "overlap");

  Zip count = good;
  count.count = 3;
  expect_damage(count, "3 entries");
  count.count = 1;
  expect_damage(count, "left over in the directory");
  count.count = 60000;
  expect_damage(count, "60000 entries");

  Zip utf;
  utf.add("a\xff.npy", array_of(10, 5), false);
  expect_damage(utf, "UTF-8");
  Zip torch;
  torch.add("archive/data.pkl", "\x80\2", false);
  expect_damage(torch, "PyTorch");
}

TEST(Npz, EndlessMembersAreReadInLittleMemory) {
  // 32 MB of zeros in 32 KB: reading goes chunk by chunk, and the listing reads nothing but the header.
  const uint64_t n = 32 << 20;
  const std::vector<uint64_t> shape = {n};
  Zip zip;
  zip.add("z.npy", make_npy_header(DType::kU8, shape) + std::string(n, '\0'), true);
  EXPECT_LT(zip.bytes.size(), 40'000u);
  const MemoryFile memory(zip.done());
  const ArrayFile file(memory.path());
  EXPECT_EQ(file.arrays()[0].tensor.bytes, n);
  std::vector<uint8_t> out(100, 1);
  file.reader(0).read(1 << 20, out);
  EXPECT_EQ(out, std::vector<uint8_t>(100, 0));
}

// ---- mutated bytes
// -------------------------------------------------------------------------------------------------

std::string mutated(std::string bytes, uint32_t seed) {
  static const std::string kPieces[] = {"{",
                                        "}",
                                        "(",
                                        ")",
                                        ",",
                                        "'",
                                        "0",
                                        "-",
                                        "18446744073709551615",
                                        "<f8",
                                        "PK\5\6",
                                        "PK\1\2",
                                        "PK\6\7",
                                        "PK\6\6",
                                        "\xff\xff\xff\xff",
                                        std::string(4, '\0'),
                                        "\xff",
                                        "\x93NUMPY"};
  std::mt19937 random(seed);
  const int edits = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < edits && !bytes.empty(); ++i) {
    const size_t at = random() % bytes.size();
    const std::string& piece = kPieces[random() % std::size(kPieces)];
    switch (random() % 5) {
      case 0:
        bytes.insert(at, piece);
        break;
      case 1:
        bytes.replace(at, piece.size(), piece);
        break;
      case 2:
        bytes.erase(at, 1 + random() % 8);
        break;
      case 3:
        bytes[at] = static_cast<char>(random());
        break;
      default:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
        break;
    }
  }
  return bytes;
}

RC_GTEST_PROP(Npy, MutatedBytesGiveAnArrayOrAnError, (uint32_t seed)) {
  static const std::vector<std::string> kSeeds = [] {
    std::vector<std::string> out;
    for (const char* name : {"le_f4.npy", "be_c8.npy", "version2.npy", "dims5.npy", "stored.npz",
                             "deflated.npz", "mixed.npz", "zip64.npz", "descriptors.npz"}) {
      out.push_back(file_bytes(kData / name));
    }
    return out;
  }();
  for (const std::string& bytes : kSeeds) {
    try {
      read_all(mutated(bytes, seed * 0x9e3779b1u));
    } catch (const Error& e) {
      RC_ASSERT(e.code() == Code::kBadInput);
    }
  }
}

}  // namespace
}  // namespace viva::io
