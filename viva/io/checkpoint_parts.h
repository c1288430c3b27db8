#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "viva/io/checkpoint.h"
#include "viva/io/npy.h"

// The kinds of files that Checkpoint::open puts together, one function each. Only checkpoint.cpp includes this.
namespace viva::io {

struct GgufContents {
  std::vector<InputFile> files;
  std::vector<Weight> weights;
  std::string architecture;
  GgufMetadata metadata;
  std::vector<std::pair<std::string, std::string>> texts;  // the metadata for people; the manifest in full
};
// A model, split or not. Weights have their Hugging Face names where the architecture is known.
GgufContents read_gguf_weights(const std::filesystem::path& path);

struct ArrayContents {
  InputFile file;
  bool single = false;  // .npy
  std::vector<Weight> weights;
  std::vector<std::shared_ptr<UnpackedArray>> unpacked;
  std::vector<std::string> warnings;
};
ArrayContents read_array_weights(const std::filesystem::path& path);

// An array whose bytes the file does not hold as they are. The first read unpacks it, in bounded memory, into a file without
// a name in /var/tmp (or /tmp); then it is read as any other. Threads may share it.
class UnpackedArray {
 public:
  UnpackedArray(std::shared_ptr<const ArrayFile> source, size_t index) : source_(std::move(source)), index_(index) {}
  ~UnpackedArray();
  UnpackedArray(const UnpackedArray&) = delete;
  UnpackedArray& operator=(const UnpackedArray&) = delete;

  // Throws kBadInput for damaged data, kResource where there is no room.
  void read(uint64_t offset, std::span<uint8_t> out);

 private:
  void unpack();

  std::shared_ptr<const ArrayFile> source_;
  size_t index_;
  std::once_flag once_;
  int fd_ = -1;
};

}  // namespace viva::io
