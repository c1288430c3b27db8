#include "viva/io/checkpoint.h"

#include <unistd.h>

#include <fstream>

#include "fuzz/fuzz.h"

// A model folder: the input is config.json, the index and two shards, one after the other with a zero byte
// between.
namespace {

struct Folder {
  std::filesystem::path path;
  Folder() : path(std::filesystem::temp_directory_path() / ("viva-fuzz-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

// `text` is JSON that a shard's header is made of; the tensors' bytes are zeros, as many as the offsets ask
// for.
std::string shard_of(std::string_view text) {
  size_t data = 0;
  const size_t at = text.rfind("\"data_offsets\":[");
  if (at != std::string_view::npos) {
    const size_t comma = text.find(',', at + 16);
    for (size_t i = comma + 1;
         comma != std::string_view::npos && i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
      data = (data * 10 + static_cast<size_t>(text[i] - '0')) % 65536;
    }
  }
  return viva::test::little(text.size(), 8) + std::string(text) + std::string(data, '\0');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace viva;
  static const Folder folder;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const char* const kNames[] = {"config.json", "model.safetensors.index.json",
                                "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
  for (int i = 0; i < 4; ++i) {
    const std::string_view part = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    std::ofstream(folder.path / kNames[i], std::ios::binary) << (i < 2 ? std::string(part) : shard_of(part));
  }
  try {
    const io::Checkpoint model = io::Checkpoint::open(folder.path);
    for (const io::Weight& w : model.weights())
      fuzz::check(model.find(w.name) != nullptr && !w.stored.empty());
  } catch (const Error& e) {
    fuzz::check(e.code() == Code::kBadInput && !e.message().empty());
  }
  return 0;
}
