#include "viva/io/zip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "viva/base/checked.h"
#include "viva/io/quote.h"

namespace viva::io {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50, kEntrySignature = 0x02014b50, kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr size_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr uint64_t kMaxDirectory = 100'000'000;
constexpr uint64_t kMaxDeflateRatio = 1032;  // 258 bytes from two bits

[[noreturn]] void bad(const InputFile& file, std::string_view message, std::string_view hint = {}) {
  throw Error(Code::kBadInput, "zip", fmt::format("{}: {}", file.path().string(), message), hint);
}

uint64_t little(const uint8_t* p, int n) noexcept {
  uint64_t v = 0;
  for (int i = n - 1; i >= 0; --i) v = v << 8 | p[i];
  return v;
}
uint16_t u16(const uint8_t* p) noexcept { return static_cast<uint16_t>(little(p, 2)); }
uint32_t u32(const uint8_t* p) noexcept { return static_cast<uint32_t>(little(p, 4)); }
uint64_t u64(const uint8_t* p) noexcept { return little(p, 8); }

struct Directory {
  uint64_t offset = 0, bytes = 0, entries = 0;
};

Directory find_directory(const InputFile& file) {
  if (file.size() < kEndBytes) bad(file, fmt::format("{} bytes are too few for a zip file", file.size()));
  std::vector<uint8_t> tail(std::min<uint64_t>(file.size(), kEndBytes + 0xffff));
  const uint64_t tail_at = file.size() - tail.size();
  file.read(tail_at, tail);
  // The last record whose comment ends where the file does.
  size_t p = tail.size() - kEndBytes;
  while (u32(&tail[p]) != kEndSignature || p + kEndBytes + u16(&tail[p + 20]) != tail.size()) {
    if (p-- == 0) bad(file, "no end of a central directory", "the file is truncated or not a zip file");
  }
  uint64_t end = tail_at + p;
  const uint8_t* e = &tail[p];
  bool one_disk = u16(e + 4) == 0 && u16(e + 6) == 0 && u16(e + 8) == u16(e + 10);
  Directory d{u32(e + 16), u32(e + 12), u16(e + 10)};
  uint8_t locator[kLocator64Bytes];
  if (end >= kLocator64Bytes) file.read(end - kLocator64Bytes, locator);
  if (end >= kLocator64Bytes && u32(locator) == kLocator64Signature) {
    const uint64_t at = u64(locator + 8);
    if (at > end - kLocator64Bytes || end - kLocator64Bytes - at < kEnd64Bytes)
      bad(file, fmt::format("byte {}: the ZIP64 locator points to byte {}", end - kLocator64Bytes, at));
    uint8_t r[kEnd64Bytes];
    file.read(at, r);
    if (u32(r) != kEnd64Signature) bad(file, fmt::format("byte {}: no ZIP64 end of a central directory", at));
    one_disk = u32(r + 16) == 0 && u32(r + 20) == 0 && u64(r + 24) == u64(r + 32) && u32(locator + 16) <= 1;
    d = {u64(r + 48), u64(r + 40), u64(r + 32)};
    end = at;
  }
  if (!one_disk) bad(file, fmt::format("byte {}: a zip file of several disks", end));
  if (d.offset > end || d.bytes != end - d.offset) {
    bad(file,
        fmt::format("byte {}: a directory of {} bytes at byte {} does not end here", end, d.bytes, d.offset),
        "the file is truncated, or something was put before it");
  }
  if (d.bytes > kMaxDirectory)
    bad(file, fmt::format("a directory of {} bytes, at most {} are read", d.bytes, kMaxDirectory));
  if (d.entries > d.bytes / kEntryBytes)
    bad(file, fmt::format("byte {}: {} entries in {} bytes", end, d.entries, d.bytes));
  return d;
}

std::string_view method_name(uint16_t method) {
  switch (method) {
    case 1:
      return "shrink";
    case 6:
      return "implode";
    case 9:
      return "deflate64";
    case 12:
      return "bzip2";
    case 14:
      return "LZMA";
    case 93:
      return "Zstandard";
    case 95:
      return "XZ";
    case 99:
      return "encrypted";
    default:
      return "unknown";
  }
}

struct Entry {
  ZipMember member;
  uint64_t local = 0;  // where the local header begins
  uint16_t method = 0;
};

// Sizes that do not fit in 32 bits are in the extra field 1, in this order, only those that are needed.
void read_zip64(const InputFile& file, Entry& e, std::span<const uint8_t> extra, uint64_t at) {
  constexpr uint64_t kElsewhere = 0xffffffff;
  ZipMember& m = e.member;
  if (m.bytes != kElsewhere && m.stored_bytes != kElsewhere && e.local != kElsewhere) return;
  while (extra.size() >= 4) {
    const uint16_t id = u16(&extra[0]), n = u16(&extra[2]);
    if (n > extra.size() - 4) break;
    auto field = extra.subspan(4, n);
    extra = extra.subspan(4 + n);
    if (id != 1) continue;
    for (uint64_t* value : {&m.bytes, &m.stored_bytes, &e.local}) {
      if (*value != kElsewhere) continue;
      if (field.size() < 8)
        bad(file, fmt::format("byte {}: the ZIP64 sizes of {} are missing", at, quote(m.name)));
      *value = u64(field.data());
      field = field.subspan(8);
    }
    return;
  }
  // Without the field, a size of exactly 2^32 - 1 is what it says.
}

Entry read_entry(const InputFile& file, std::span<const uint8_t>& rest, uint64_t at) {
  if (rest.size() < kEntryBytes || u32(rest.data()) != kEntrySignature)
    bad(file, fmt::format("byte {}: no entry of a directory", at));
  const uint8_t* p = rest.data();
  const uint16_t flags = u16(p + 8), name_bytes = u16(p + 28), extra_bytes = u16(p + 30),
                 comment_bytes = u16(p + 32);
  const size_t total = kEntryBytes + name_bytes + extra_bytes + comment_bytes;
  if (total > rest.size())
    bad(file, fmt::format("byte {}: an entry of {} bytes, the directory has {}", at, total, rest.size()));
  Entry e;
  e.method = u16(p + 10);
  e.local = u32(p + 42);
  ZipMember& m = e.member;
  m.name.assign(reinterpret_cast<const char*>(p) + kEntryBytes, name_bytes);
  m.deflated = e.method == 8;
  m.crc = u32(p + 16);
  m.stored_bytes = u32(p + 20);
  m.bytes = u32(p + 24);
  read_zip64(file, e, rest.subspan(kEntryBytes + name_bytes, extra_bytes), at);
  const auto refuse = [&](std::string_view why) {
    bad(file, fmt::format("byte {}: member {} {}", at, quote(m.name), why));
  };
  if (flags & 0x2041) refuse("is encrypted");
  if (flags & 0x0020) refuse("is a patch");
  if (e.method != 0 && e.method != 8)
    refuse(fmt::format("is compressed by method {} ({}); stored and deflate are read", e.method,
                       method_name(e.method)));
  if (e.method == 0 && m.bytes != m.stored_bytes)
    refuse(fmt::format("is stored, but its sizes are {} and {}", m.stored_bytes, m.bytes));
  if (m.deflated && m.bytes / kMaxDeflateRatio > m.stored_bytes)
    refuse(fmt::format("cannot hold {} bytes in {}", m.bytes, m.stored_bytes));
  if (u16(p + 34) != 0 && u16(p + 34) != 0xffff) refuse("is on another disk");
  rest = rest.subspan(total);
  return e;
}

// The local header repeats what the directory says; only its own length is needed from it.
void find_data(const InputFile& file, Entry& e, uint64_t directory) {
  if (e.local > directory || directory - e.local < kLocalBytes)
    bad(file, fmt::format("member {} begins at byte {}, after the directory's begin", quote(e.member.name),
                          e.local));
  uint8_t p[kLocalBytes];
  file.read(e.local, p);
  if (u32(p) != kLocalSignature || u16(p + 8) != e.method || u16(p + 26) != e.member.name.size()) {
    bad(file, fmt::format("byte {}: the header of member {} contradicts the directory", e.local,
                          quote(e.member.name)));
  }
  const uint64_t header = kLocalBytes + u16(p + 26) + u16(p + 28);
  if (header > directory - e.local || e.member.stored_bytes > directory - e.local - header) {
    bad(file, fmt::format("member {} at byte {} takes {} bytes, which do not fit before byte {}",
                          quote(e.member.name), e.local, e.member.stored_bytes, directory));
  }
  e.member.offset = e.local + header;
}

}  // namespace

std::vector<ZipMember> read_zip_directory(const InputFile& file) {
  const Directory directory = find_directory(file);
  std::vector<uint8_t> bytes(directory.bytes);
  file.read(directory.offset, bytes);
  std::vector<Entry> entries;
  std::set<std::string_view> names;
  std::span<const uint8_t> rest = bytes;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    Entry e = read_entry(file, rest, directory.offset + bytes.size() - rest.size());
    find_data(file, e, directory.offset);
    entries.push_back(std::move(e));
  }
  if (!rest.empty())
    bad(file, fmt::format("byte {}: {} bytes are left over in the directory",
                          directory.offset + bytes.size() - rest.size(), rest.size()));
  std::vector<ZipMember> members;
  for (const Entry& e : entries) {
    if (!names.insert(e.member.name).second)
      bad(file, fmt::format("member {} occurs twice", quote(e.member.name)));
    if (e.member.bytes != 0 || !e.member.name.ends_with('/')) members.push_back(e.member);
  }
  names.clear();
  // Overlapping members are how a small file pretends to be endless.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.local < b.local; });
  for (size_t i = 1; i < entries.size(); ++i) {
    const ZipMember& before = entries[i - 1].member;
    if (before.offset + before.stored_bytes > entries[i].local)
      bad(file, fmt::format("byte {}: members {} and {} overlap", entries[i].local, quote(before.name),
                            quote(entries[i].member.name)));
  }
  return members;
}

struct ZipReader::State {
  static constexpr uint64_t kNowhere = std::numeric_limits<uint64_t>::max();
  static constexpr size_t kChunk = 64 << 10;

  State(std::shared_ptr<const InputFile> f, ZipMember m) : file(std::move(f)), member(std::move(m)) {
    if (!member.deflated) return;
    if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK)
      throw Error(Code::kResource, "zip", "zlib cannot begin: out of memory");
    input.resize(kChunk);
    begun = true;
  }
  ~State() {
    if (begun) ::inflateEnd(&stream);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  [[noreturn]] void damaged(std::string_view what) const {
    bad(*file, fmt::format("member {} at byte {}: {}", quote(member.name), member.offset, what),
        "the file is damaged");
  }

  void add_to_crc(std::span<const uint8_t> bytes) {
    if (bytes.empty()) return;  // zlib takes a null pointer for a wish to begin
    crc = static_cast<uint32_t>(::crc32_z(crc, bytes.data(), bytes.size()));
    position += bytes.size();
  }
  void check_crc() const {
    if (crc != member.crc)
      damaged(fmt::format("its checksum is {:08x}, {:08x} was expected", crc, member.crc));
  }

  // In place. `position` is how far the checksum got, `first` where the caller's bytes begin, after a header
  // that another reader saw.
  void read_stored(uint64_t offset, std::span<uint8_t> out) {
    if (offset <= first) position = crc = 0;
    if (position == 0 && offset <= kChunk) {
      std::vector<uint8_t> gap(first = offset);
      file->read(member.offset, gap);
      add_to_crc(gap);
    }
    file->read(member.offset + offset, out);
    if (offset != position) return;
    add_to_crc(out);
    if (position == member.bytes) check_crc();
  }

  void restart() {
    if (::inflateReset(&stream) != Z_OK) throw Error(Code::kInternal, "zip", "zlib cannot begin again");
    stream.avail_in = 0;
    taken = position = 0;
    crc = 0;
  }

  bool refill() {
    if (stream.avail_in != 0) return true;
    const size_t n = static_cast<size_t>(std::min<uint64_t>(kChunk, member.stored_bytes - taken));
    file->read(member.offset + taken, {input.data(), n});
    taken += n;
    stream.next_in = input.data();
    stream.avail_in = static_cast<uInt>(n);
    return n != 0;
  }

  void inflate_into(std::span<uint8_t> out) {
    const uint64_t from =
        std::exchange(position, kNowhere);  // what fails here is begun again by the next read
    size_t done = 0;
    while (done < out.size()) {
      const bool more = refill();
      const size_t room = std::min<size_t>(out.size() - done, 1 << 30);
      stream.next_out = out.data() + done;
      stream.avail_out = static_cast<uInt>(room);
      const int rc = ::inflate(&stream, Z_NO_FLUSH);
      done += room - stream.avail_out;
      if (rc == Z_STREAM_END && done < out.size())
        damaged(fmt::format("it ends after {} bytes, {} were expected", from + done, member.bytes));
      if (rc == Z_BUF_ERROR && !more)
        damaged(fmt::format("its {} bytes end within the data", member.stored_bytes));
      if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        damaged(stream.msg ? stream.msg : "not a deflate stream");
    }
    position = from;
    add_to_crc(out);
    if (position == member.bytes) finish();
  }

  void finish() {
    const uint64_t end = std::exchange(position, kNowhere);
    uint8_t extra = 0;
    int rc = Z_OK;
    while (rc == Z_OK) {
      const bool more = refill();
      stream.next_out = &extra;
      stream.avail_out = 1;
      rc = ::inflate(&stream, Z_NO_FLUSH);
      if (stream.avail_out == 0) damaged(fmt::format("it holds more than {} bytes", member.bytes));
      if (rc == Z_BUF_ERROR && more) rc = Z_OK;
    }
    if (rc != Z_STREAM_END || stream.avail_in != 0 || taken != member.stored_bytes)
      damaged("the deflate stream does not end with the member");
    check_crc();
    position = end;
  }

  void read_deflated(uint64_t offset, std::span<uint8_t> out) {
    if (offset < position || position == kNowhere) restart();
    if (offset > position) {
      std::vector<uint8_t> skipped(static_cast<size_t>(std::min<uint64_t>(kChunk, offset - position)));
      while (position < offset)
        inflate_into(
            {skipped.data(), static_cast<size_t>(std::min<uint64_t>(skipped.size(), offset - position))});
    }
    if (!out.empty()) inflate_into(out);
  }

  std::shared_ptr<const InputFile> file;
  ZipMember member;
  z_stream stream{};
  bool begun = false;
  std::vector<uint8_t> input;
  uint64_t taken = 0;     // compressed bytes read from the file
  uint64_t position = 0;  // bytes of the member that went by
  uint64_t first = 0;
  uint32_t crc = 0;
};

ZipReader::ZipReader(std::shared_ptr<const InputFile> file, ZipMember member)
    : state_(std::make_unique<State>(std::move(file), std::move(member))) {}
ZipReader::~ZipReader() = default;
ZipReader::ZipReader(ZipReader&&) noexcept = default;
ZipReader& ZipReader::operator=(ZipReader&&) noexcept = default;

void ZipReader::read(uint64_t offset, std::span<uint8_t> out) {
  State& s = *state_;
  if (offset > s.member.bytes || out.size() > s.member.bytes - offset) {
    throw Error(Code::kUsage, "zip",
                fmt::format("{}: member {} has {} bytes, not {} from byte {}", s.file->path().string(),
                            quote(s.member.name), s.member.bytes, out.size(), offset));
  }
  if (s.member.deflated) {
    s.read_deflated(offset, out);
  } else {
    s.read_stored(offset, out);
  }
}

}  // namespace viva::io
