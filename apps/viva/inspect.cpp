#include <fmt/format.h>

#include "viva/io/checkpoint.h"
#include "word.h"

namespace viva::app {

Word word_inspect() {
  return {"inspect",
          "show what a model file holds",
          {"viva inspect data/demo-model", "viva inspect data/demo-model --tensors"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            struct Arguments {
              std::string path;
              bool tensors = false;
            };
            auto a = std::make_shared<Arguments>();
            app.add_option("PATH", a->path, "a model directory, .safetensors, .gguf, .npy or .npz")->required();
            app.add_flag("--tensors", a->tensors, "one line per tensor");
            return [a, &common]() -> int {
              const io::Checkpoint model = io::Checkpoint::open(a->path);
              uint64_t bytes = 0;
              for (const io::Weight& w : model.weights()) bytes += w.bytes();
              fmt::print("{} {} parameters {} bytes\n", model.architecture(), model.parameters(), model.file_bytes());
              if (a->tensors) {
                for (const io::Weight& w : model.weights()) fmt::print("{} {} [{}]\n", w.name, w.format.empty() ? name(w.dtype) : w.format, fmt::join(w.shape, ", "));
              }
              return 0;
            };
          }};
}

}  // namespace viva::app
