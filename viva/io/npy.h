#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "viva/io/safetensors.h"

namespace viva::io {

// One array of a .npy or .npz file.
struct StoredArray {
  // `tensor.offset` counts from the start of the file where in_place(), and is 0 otherwise. `bytes` is the
  // decoded size.
  StoredTensor tensor;
  // The bytes are those of the array with its shape reversed, in C order: of the transpose, for a matrix.
  // False where it makes no difference.
  bool fortran_order = false;
  bool big_endian = false;  // in the file; ArrayReader gives little-endian bytes
  bool deflated = false;

  // True where the file holds the array's little-endian bytes as they are, at tensor.offset.
  bool in_place() const noexcept { return !big_endian && !deflated; }
};

// What a .npz holds beside arrays of numbers: texts, Python objects, structures, other files.
struct SkippedMember {
  std::string name;
  std::string reason;
};

// Reads one array, in bounded memory. Forward reading is cheap; where the array is deflated, going back
// begins again. A .npz member that was read from begin to end has had its checksum compared. One reader
// serves one thread.
class ArrayReader {
 public:
  ~ArrayReader();
  ArrayReader(ArrayReader&&) noexcept;
  ArrayReader& operator=(ArrayReader&&) noexcept;

  // Fills `out` with the array's bytes from `offset`, little-endian; both count whole elements. Throws
  // kBadInput.
  void read(uint64_t offset, std::span<uint8_t> out);

 private:
  friend class ArrayFile;
  struct State;
  explicit ArrayReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The arrays of a .npy or .npz file (told apart by content), after the NumPy format specification, versions 1
// to 3: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Only headers are read on
// opening. The array of a .npy is named as the file, those of a .npz as their members, both without ".npy".
// Throws kBadInput with file and byte; a .npy that holds anything but numbers is refused, a member of a .npz
// is listed in skipped().
class ArrayFile {
 public:
  explicit ArrayFile(const std::filesystem::path& path);

  const InputFile& file() const noexcept { return *file_; }
  const std::vector<StoredArray>& arrays() const noexcept { return arrays_; }
  const std::vector<SkippedMember>& skipped() const noexcept { return skipped_; }
  // A reader of arrays()[index]; it may outlive this object.
  ArrayReader reader(size_t index) const;

 private:
  struct Source;
  std::shared_ptr<const InputFile> file_;
  std::vector<StoredArray> arrays_;
  std::vector<SkippedMember> skipped_;
  std::shared_ptr<const std::vector<Source>> sources_;  // where each array's bytes come from
};

// The bytes before the data of a .npy file: what numpy.save writes. Throws kUsage for types that NumPy does
// not have.
std::string make_npy_header(DType dtype, std::span<const uint64_t> shape, bool fortran_order = false);

}  // namespace viva::io
