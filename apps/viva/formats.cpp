#include <fmt/format.h>

#include "viva/compress/recipe.h"
#include "word.h"

namespace viva::app {

Word word_formats() {
  return {"formats",
          "list the formats: exact size, group, which files carry them, which tools load them",
          {"viva formats", "viva formats --json"},
          [](CLI::App&, const Common& common) -> std::function<int()> {
            return [&common]() -> int {
              nlohmann::ordered_json list = nlohmann::ordered_json::array();
              if (!common.json) fmt::print("{:<12} {:>7} {:>6}  {:<28} {}\n", "format", "bits", "group", "files", "what");
              for (const Format* f : formats()) {
                // Exact for rows of 4096 values.
                const double bits = 8.0 * static_cast<double>(f->row_bytes(4096, {})) / 4096;
                std::string files;
                for (Layout l : layouts_of(*f)) files += fmt::format("{}{}", files.empty() ? "" : ", ", name(l));
                if (common.json) {
                  list.push_back({{"name", f->name}, {"bits_per_weight", bits}, {"group", f->group}, {"files", files}, {"summary", f->summary}});
                } else {
                  fmt::print("{:<12} {:>7.3f} {:>6}  {:<28} {}\n", f->name, bits, f->group == 0 ? "row" : std::to_string(f->group), files, f->summary);
                }
              }
              if (common.json) print_json({{"formats", list}});
              return 0;
            };
          }};
}

}  // namespace viva::app
