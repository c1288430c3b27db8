#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "viva/formats/format.h"
#include "viva/io/checkpoint.h"

// Small models written for a test, and the values of a weight by the plainest way through the library.
namespace viva::test {

// A folder that is gone when the test ends.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "viva-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct TestTensor {
  std::string name;
  DType dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.good()) << path;
}

inline void write_safetensors(const std::filesystem::path& path, const std::vector<TestTensor>& tensors) {
  std::vector<io::StoredTensor> stored;
  std::string data;
  for (const TestTensor& t : tensors) {
    stored.push_back({t.name, t.dtype, t.shape, 0, t.bytes.size()});
    data += t.bytes;
  }
  write_file(path, io::make_safetensors_header(stored, {{"format", "pt"}}) + data);
}

// A model directory with one file; no config.json where `config` is empty.
inline void write_model(const std::filesystem::path& folder, const std::vector<TestTensor>& tensors,
                        const std::string& config) {
  write_safetensors(folder / "model.safetensors", tensors);
  if (!config.empty()) write_file(folder / "config.json", config);
}

// The packed rows of a whole weight, chunk by chunk.
inline std::vector<std::vector<uint8_t>> packed_chunks(const io::Checkpoint& c, const io::Weight& w,
                                                       uint64_t values) {
  std::vector<std::vector<uint8_t>> list;
  std::vector<uint8_t> work;
  for (const io::Chunk& chunk : chunks_of(w.placement, values)) {
    std::vector<uint8_t> packed(chunk.rows * w.placement.format->row_bytes(chunk.cols, w.placement.coding));
    c.read_packed(w, chunk, packed, work);
    list.push_back(std::move(packed));
  }
  return list;
}

// All values of a packed weight, by the scalar twin.
inline std::vector<float> decoded(const io::Checkpoint& c, const io::Weight& w,
                                  uint64_t values = 128 * 1024) {
  const io::Placement& p = w.placement;
  const FormatCode& code = *p.format->code[static_cast<size_t>(Target::kScalar)];
  std::vector<float> out;
  const auto chunks = chunks_of(p, values);
  const auto packed = packed_chunks(c, w, values);
  for (size_t i = 0; i < chunks.size(); ++i) {
    const size_t n = chunks[i].rows * chunks[i].cols;
    std::vector<float> space(code.scratch(chunks[i].cols, p.coding) + 32), x(n);
    float* work = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(space.data()) + 63) / 64 * 64);
    code.decode(packed[i].data(), chunks[i].rows, chunks[i].cols, p.coding, x.data(), work);
    out.insert(out.end(), x.begin(), x.end());
  }
  return out;
}

}  // namespace viva::test
