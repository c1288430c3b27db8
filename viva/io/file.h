#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "viva/base/error.h"

namespace viva::io {

// A file open for reading at any offset. Reads copy (pread): a file that shrinks or vanishes under a running job is an
// error with a name and an offset, where a mapping would be a signal.
class InputFile {
 public:
  // Throws kBadInput when it cannot be opened or is not a regular file.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(InputFile&&) noexcept;
  InputFile& operator=(InputFile&&) noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  uint64_t size() const noexcept { return size_; }
  // Changes whenever the file's content may have: device, inode, size and time of change.
  std::string identity() const;

  // Fills `out` from `offset`; throws kBadInput naming file and offset when there are fewer bytes.
  void read(uint64_t offset, std::span<uint8_t> out) const;
  // Tells the kernel that pages [offset, offset + n) will not be needed again.
  void forget(uint64_t offset, uint64_t n) const noexcept;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// A whole small file (configuration, index). Throws kBadInput over `limit` bytes.
std::string read_text(const std::filesystem::path& path, uint64_t limit = 64 << 20);

// A file open for writing at any offset.
class OutputFile {
 public:
  enum class Mode { kCreate, kReopen };
  // kCreate truncates; kReopen keeps what is there. Throws kResource.
  OutputFile(const std::filesystem::path& path, Mode mode);
  ~OutputFile();
  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  void write(uint64_t offset, std::span<const uint8_t> bytes);
  void read(uint64_t offset, std::span<uint8_t> out) const;
  // Makes the file `size` bytes long, with its blocks reserved where the file system can: a full disk shows here.
  void allocate(uint64_t size);
  // Starts writing [offset, offset + n) to the disk without waiting, so that sync() finds little left to do.
  void write_behind(uint64_t offset, uint64_t n) noexcept;
  void sync();  // waits until the disk has everything

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// Writes `text` under a temporary name beside `path`, syncs it and renames it.
void write_text_atomically(const std::filesystem::path& path, std::string_view text);
void sync_directory(const std::filesystem::path& path);

}  // namespace viva::io
