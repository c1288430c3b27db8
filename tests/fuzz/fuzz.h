#pragma once

#include <cstdint>
#include <cstdlib>

#include "files.h"
#include "viva/base/error.h"

// A fuzz target is one file beside this one:
//
//   #include "fuzz/fuzz.h"
//   extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
//     return viva::fuzz::run(data, size, [](const std::filesystem::path& path) { ... read the file at path
//     ... });
//   }
//
// with seeds in corpus/NAME/ and, where it helps, the words of the format in NAME.dict.
namespace viva::fuzz {

// A promise that must hold for whatever was read.
inline void check(bool holds) {
  if (!holds) std::abort();
}

// Gives `read` the bytes as a file. It may succeed or throw viva::Error for bad input; all else is a finding.
template <class Read>
int run(const uint8_t* data, size_t size, Read read) {
  const test::MemoryFile file({reinterpret_cast<const char*>(data), size});
  try {
    read(file.path());
  } catch (const Error& e) {
    check(e.code() == Code::kBadInput && !e.message().empty() && e.message().size() < 4096);
  }
  return 0;
}

}  // namespace viva::fuzz
