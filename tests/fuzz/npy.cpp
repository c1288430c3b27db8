#include "fuzz/arrays.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return viva::fuzz::run(data, size,
                         [](const std::filesystem::path& path) { viva::fuzz::read_arrays(path); });
}
