#include "viva/io/safetensors.h"

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace viva;
  return fuzz::run(data, size, [&](const std::filesystem::path& path) {
    io::SafetensorsHeader h = io::read_safetensors_header(io::InputFile(path));
    uint64_t at = h.data_start;
    for (const auto& t : h.tensors) {
      fuzz::check(t.offset == at);
      at += t.bytes;
    }
    fuzz::check(at == size);
    // What was read can be written, and is then read the same.
    const std::string again = io::make_safetensors_header(h.tensors, h.metadata);
    const test::MemoryFile copy(again + std::string(size - h.data_start, '\0'));
    const io::SafetensorsHeader back = io::read_safetensors_header(io::InputFile(copy.path()));
    fuzz::check(back.metadata == h.metadata && back.tensors.size() == h.tensors.size());
  });
}
