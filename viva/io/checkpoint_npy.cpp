#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "viva/io/checkpoint_parts.h"
#include "viva/io/quote.h"

// .npy and .npz files as a checkpoint.
namespace viva::io {
namespace {

constexpr size_t kStep = 256 * 1024;  // a whole number of elements of any type

// A file that nobody else sees and that is gone with its descriptor.
int nameless_file() {
  for (const char* folder : {"/var/tmp", "/tmp"}) {
    const int fd = ::open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
  }
  for (const char* pattern : {"/var/tmp/viva-XXXXXX", "/tmp/viva-XXXXXX"}) {
    std::string name = pattern;
    const int fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) continue;
    ::unlink(name.c_str());
    return fd;
  }
  throw Error(Code::kResource, "unpack", fmt::format("no temporary file can be made in /var/tmp or /tmp: {}", std::strerror(errno)));
}

}  // namespace

UnpackedArray::~UnpackedArray() {
  if (fd_ >= 0) ::close(fd_);
}

void UnpackedArray::unpack() {
  const StoredTensor& t = source_->arrays()[index_].tensor;
  const int fd = nameless_file();
  try {
    ArrayReader reader = source_->reader(index_);
    std::vector<uint8_t> buffer(static_cast<size_t>(std::min<uint64_t>(kStep, t.bytes)));
    for (uint64_t at = 0; at < t.bytes; at += buffer.size()) {
      const size_t n = static_cast<size_t>(std::min<uint64_t>(buffer.size(), t.bytes - at));
      reader.read(at, {buffer.data(), n});
      for (size_t done = 0; done < n;) {
        const ssize_t wrote = ::pwrite(fd, buffer.data() + done, n - done, static_cast<off_t>(at + done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) {
          throw Error(Code::kResource, "unpack",
                      fmt::format("{}: {} takes {} bytes in a temporary file: {}", source_->file().path().string(), quote(t.name), t.bytes,
                                  std::strerror(wrote < 0 ? errno : EIO)),
                      "free some space in /var/tmp, or save the array uncompressed and little-endian");
        }
        done += static_cast<size_t>(wrote);
      }
    }
  } catch (...) {
    ::close(fd);
    throw;
  }
  fd_ = fd;
}

void UnpackedArray::read(uint64_t offset, std::span<uint8_t> out) {
  std::call_once(once_, [&] { unpack(); });
  for (size_t done = 0; done < out.size();) {
    const ssize_t n = ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      throw Error(Code::kBadInput, "read",
                  fmt::format("{}: {} has no byte {}", source_->file().path().string(),
                              quote(source_->arrays()[index_].tensor.name), offset + done));
    }
    done += static_cast<size_t>(n);
  }
}

ArrayContents read_array_weights(const std::filesystem::path& path) {
  const auto source = std::make_shared<const ArrayFile>(path);
  ArrayContents c{InputFile(path), false, {}, {}, {}};
  uint8_t first = 0;
  c.file.read(0, {&first, 1});
  c.single = first == 0x93;
  for (size_t i = 0; i < source->arrays().size(); ++i) {
    const StoredArray& a = source->arrays()[i];
    Weight w;
    w.name = a.tensor.name;
    w.shape = a.tensor.shape;
    w.dtype = a.tensor.dtype;
    w.decodable = w.dtype != DType::kC64;
    StoredIn s{a.tensor, 0};
    if (a.fortran_order) {
      std::reverse(s.tensor.shape.begin(), s.tensor.shape.end());
      w.transposed = w.shape.size() == 2;
      if (!w.transposed) {
        w.decodable = false;
        w.format = fmt::format("{} in Fortran order, {} dimensions", viva::name(w.dtype), w.shape.size());
      }
    }
    if (!a.in_place()) {
      s.unpacked = static_cast<int>(c.unpacked.size());
      c.unpacked.push_back(std::make_shared<UnpackedArray>(source, i));
    }
    w.placement.tensors = {s.tensor};
    w.stored = {std::move(s)};
    c.weights.push_back(std::move(w));
  }
  for (const SkippedMember& m : source->skipped()) c.warnings.push_back(fmt::format("{} is left out: {}", quote(m.name), m.reason));
  return c;
}

}  // namespace viva::io
