#include <algorithm>

#include "fuzz/fuzz.h"
#include "viva/io/checkpoint.h"
#include "viva/io/gguf_to_hf.h"

// A GGUF file as a model: the header, the weights that it becomes, and bytes of each of them, and the files of a
// Hugging Face directory.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace viva;
  if (size < 4 || std::string_view(reinterpret_cast<const char*>(data), 4) != "GGUF") return 0;
  return fuzz::run(data, size, [&](const std::filesystem::path& path) {
    const io::Checkpoint model = io::Checkpoint::open(path);
    std::vector<uint8_t> out, work;
    for (const io::Weight& w : model.weights()) {
      fuzz::check(model.find(w.name) == &w && w.stored.size() == w.placement.tensors.size());
      for (const io::StoredIn& s : w.stored) fuzz::check(s.tensor.offset <= size && s.tensor.bytes <= size - s.tensor.offset);
      if (w.placement.format != nullptr) {
        const auto chunks = io::chunks_of(w.placement, 1024);
        if (chunks.empty() || w.cols() == 0) continue;
        out.resize(chunks.back().rows * w.placement.format->row_bytes(chunks.back().cols, w.placement.coding));
        model.read_packed(w, chunks.back(), out, work);
      } else if (w.decodable && w.count() != 0) {
        out.resize(std::min<uint64_t>(w.count(), 512) * bytes(w.dtype));
        model.read_plain(w, w.count() - out.size() / bytes(w.dtype), out);
      }
    }
    fuzz::check(!io::make_hf_files(model, DType::kBF16).texts.empty());
  });
}
