#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "viva/io/file.h"

namespace viva::io {

// One file inside a zip file. `offset` is where its (perhaps compressed) bytes begin, from the start of the
// zip file.
struct ZipMember {
  std::string name;
  bool deflated = false;
  uint32_t crc = 0;
  uint64_t stored_bytes = 0;  // in the zip file
  uint64_t bytes = 0;         // after decompression
  uint64_t offset = 0;
};

// Reads the central directory (ZIP64 too), after APPNOTE.TXT of PKWARE: stored and deflated members. Sizes
// come from the directory alone, and every member's place is checked: inside the file, before the directory,
// no two overlapping. Folders are left out. Throws kBadInput naming file and byte; also for encryption, other
// methods and several disks.
std::vector<ZipMember> read_zip_directory(const InputFile& file);

// Reads one member in bounded memory (about 200 KB). Stored members are read in place. Deflated ones are
// decompressed on the way: reading forward is cheap, reading backward begins again. The checksum is compared
// whenever reading went from the first byte to the last.
class ZipReader {
 public:
  // `member` must come from read_zip_directory(*file).
  ZipReader(std::shared_ptr<const InputFile> file, ZipMember member);
  ~ZipReader();
  ZipReader(ZipReader&&) noexcept;
  ZipReader& operator=(ZipReader&&) noexcept;

  // Fills `out` with the member's bytes from `offset`. Throws kBadInput when the data is damaged.
  void read(uint64_t offset, std::span<uint8_t> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace viva::io
