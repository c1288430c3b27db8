#include "viva/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

namespace viva::io {
namespace {

[[noreturn]] void fail(Code code, const char* verb, const std::filesystem::path& path, int error,
                       std::string_view hint = {}) {
  throw Error(code, verb, fmt::format("{}: {}", path.string(), std::strerror(error)), hint);
}

std::string_view hint_for(int error) {
  if (error == ENOSPC || error == EDQUOT)
    return "free some disk space and run the same command again; finished work is kept";
  if (error == EACCES || error == EPERM || error == EROFS)
    return "choose a destination that you may write to";
  return {};
}

constexpr uint64_t kMaxOffset = std::numeric_limits<off_t>::max();

void read_exactly(int fd, const std::filesystem::path& path, uint64_t offset, std::span<uint8_t> out) {
  if (offset > kMaxOffset || out.size() > kMaxOffset - offset) {
    throw Error(Code::kBadInput, "read",
                fmt::format("{}: no file has {} bytes at byte {}", path.string(), out.size(), offset));
  }
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw Error(Code::kBadInput, "read",
                  fmt::format("{}: byte {}: {}", path.string(), offset + done, std::strerror(errno)));
    }
    if (n == 0) {
      throw Error(Code::kBadInput, "read",
                  fmt::format("{}: ends at byte {}, {} more expected", path.string(), offset + done,
                              out.size() - done),
                  "the file is truncated or changed while it was read");
    }
    done += static_cast<size_t>(n);
  }
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe without a writer must not block
  if (fd_ < 0) fail(Code::kBadInput, "open", path, errno);
  struct stat st;
  if (::fstat(fd_, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(std::exchange(fd_, -1));
    throw Error(Code::kBadInput, "open", fmt::format("{} is not a regular file", path.string()));
  }
  size_ = static_cast<uint64_t>(st.st_size);
}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}
InputFile::InputFile(InputFile&& o) noexcept
    : path_(std::move(o.path_)), fd_(std::exchange(o.fd_, -1)), size_(std::exchange(o.size_, 0)) {}
InputFile& InputFile::operator=(InputFile&& o) noexcept {
  std::swap(path_, o.path_);
  std::swap(fd_, o.fd_);
  std::swap(size_, o.size_);
  return *this;
}

std::string InputFile::identity() const {
  struct stat st {};
  if (::fstat(fd_, &st) != 0) fail(Code::kBadInput, "stat", path_, errno);
  return fmt::format("{:x}.{:x}.{:x}.{:x}.{:x}", st.st_dev, st.st_ino, st.st_size, st.st_mtim.tv_sec,
                     st.st_mtim.tv_nsec);
}

void InputFile::read(uint64_t offset, std::span<uint8_t> out) const { read_exactly(fd_, path_, offset, out); }

void InputFile::forget(uint64_t offset, uint64_t n) const noexcept {
  ::posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(n), POSIX_FADV_DONTNEED);
}

std::string read_text(const std::filesystem::path& path, uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit) {
    throw Error(Code::kBadInput, "read",
                fmt::format("{}: {} bytes, at most {} expected", path.string(), file.size(), limit));
  }
  std::string text(file.size(), '\0');
  file.read(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

OutputFile::OutputFile(const std::filesystem::path& path, Mode mode) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (mode == Mode::kCreate ? O_TRUNC : 0), 0666);
  if (fd_ < 0) fail(Code::kResource, "create", path, errno, hint_for(errno));
}
OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}
OutputFile::OutputFile(OutputFile&& o) noexcept : path_(std::move(o.path_)), fd_(std::exchange(o.fd_, -1)) {}
OutputFile& OutputFile::operator=(OutputFile&& o) noexcept {
  std::swap(path_, o.path_);
  std::swap(fd_, o.fd_);
  return *this;
}

void OutputFile::write(uint64_t offset, std::span<const uint8_t> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(Code::kResource, "write", path_, n < 0 ? errno : EIO, hint_for(errno));
    done += static_cast<size_t>(n);
  }
}

void OutputFile::read(uint64_t offset, std::span<uint8_t> out) const {
  read_exactly(fd_, path_, offset, out);
}

void OutputFile::allocate(uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0)
    fail(Code::kResource, "resize", path_, errno, hint_for(errno));
  if (size == 0) return;
  int result;
  do {
    result = ::fallocate(fd_, 0, 0, static_cast<off_t>(size));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
    fail(Code::kResource, "reserve", path_, errno, hint_for(errno));
}

void OutputFile::write_behind(uint64_t offset, uint64_t n) noexcept {
  ::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(n), SYNC_FILE_RANGE_WRITE);
}

void OutputFile::sync() {
  if (::fsync(fd_) != 0) fail(Code::kResource, "sync", path_, errno, hint_for(errno));
}

void sync_directory(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(Code::kResource, "open", path, errno);
  ::fsync(fd);  // some file systems cannot sync directories: the rename is still atomic there
  ::close(fd);
}

void write_text_atomically(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::path temporary = path;
  temporary += ".part";
  try {
    OutputFile file(temporary, OutputFile::Mode::kCreate);
    file.write(0, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    file.sync();
    if (::rename(temporary.c_str(), path.c_str()) != 0)
      fail(Code::kResource, "rename", path, errno, hint_for(errno));
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace viva::io
