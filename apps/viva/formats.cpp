#include <fmt/format.h>

#include <numeric>

#include "viva/compress/recipe.h"
#include "word.h"

namespace viva::app {
namespace {

// What loads the files of a layout.
std::string_view tools(Layout layout) {
  switch (layout) {
    case Layout::kPlain: return "transformers and all that read safetensors";
    case Layout::kBitsandbytes: return "transformers with bitsandbytes";
    case Layout::kCompressedTensors: return "transformers with compressed-tensors";
    case Layout::kGguf: return "llama.cpp and what is built on it";
  }
  return "";
}

// Bits per weight of long rows, exactly: "4.5", or as a fraction where it has no short decimals.
std::string exact_bits(uint64_t bits, uint64_t values) {
  const uint64_t common = std::gcd(bits, values);
  const uint64_t n = bits / common, d = values / common;
  return 1000000 % d == 0 ? fmt::format("{}", static_cast<double>(n) / static_cast<double>(d)) : fmt::format("{}/{}", n, d);
}

}  // namespace

Word word_formats() {
  return {"formats",
          "list the formats: exact size, group, which files carry them, which tools load them",
          {"viva formats", "viva formats --json"},
          [](CLI::App&, const Common& common) -> std::function<int()> {
            return [&common]() -> int {
              // A row of this length is whole in every format; a scale of the row itself adds its own bits.
              constexpr uint64_t kColumns = 4096;
              nlohmann::ordered_json list = nlohmann::ordered_json::array();
              if (!common.json) fmt::print("{:<12} {:>9} {:>6}  {:<19} {:<44} {}\n", "format", "bits", "group", "files", "loaded by", "what");
              for (const Format* f : formats()) {
                // What rows share is stored once for them.
                uint64_t bits = 0;
                for (const Piece& p : f->pieces(kColumns, {})) bits += 8 * p.bytes * (p.role == Role::kCodes || p.role == Role::kBlock ? f->row_panel : 1);
                std::vector<std::string> files, loaders;
                for (Layout l : layouts_of(*f)) {
                  files.emplace_back(name(l));
                  loaders.emplace_back(tools(l));
                }
                if (common.json) {
                  list.push_back({{"name", f->name},
                                  {"bits_per_weight", static_cast<double>(bits) / static_cast<double>(kColumns * f->row_panel)},
                                  {"group", f->group},
                                  {"groups", f->groups.empty() ? std::vector<uint32_t>{f->group} : std::vector<uint32_t>(f->groups.begin(), f->groups.end())},
                                  {"files", files},
                                  {"tools", loaders},
                                  {"summary", f->summary}});
                } else {
                  fmt::print("{:<12} {:>9} {:>6}  {:<19} {:<44} {}\n", f->name, exact_bits(bits, kColumns * f->row_panel), f->group == 0 ? "row" : std::to_string(f->group), fmt::format("{}", fmt::join(files, ", ")), loaders.front(), f->summary);
                }
              }
              if (common.json) {
                print_json({{"formats", list}});
              } else {
                fmt::print("\nBits are those of rows of {} values, scales included. Names may carry another group: nf4-g128, int4-g32.\n"
                           "A name that ends in -gguf is the GGUF form; write it without the ending where DST is a .gguf file.\n", kColumns);
              }
              return 0;
            };
          }};
}

}  // namespace viva::app
