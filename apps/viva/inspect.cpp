#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "viva/compress/quality.h"
#include "viva/io/checkpoint.h"
#include "word.h"

namespace viva::app {
namespace {

using nlohmann::ordered_json;


// GGUF tensors go by the names that the file has.
const std::string& shown_name(const io::Checkpoint& model, const io::Weight& w) {
  return model.kind() == io::Kind::kGguf && !w.stored.empty() ? w.stored[0].tensor.name : w.name;
}

struct Bin {
  std::string format;
  uint64_t count = 0, parameters = 0, bytes = 0;
};

double bits(uint64_t bytes, uint64_t parameters) {
  return parameters == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters);
}

// By falling size.
std::vector<Bin> histogram(const io::Checkpoint& model) {
  std::map<std::string, Bin> bins;
  for (const io::Weight& w : model.weights()) {
    Bin& b = bins[w.stored_as()];
    b.format = w.stored_as();
    ++b.count;
    b.parameters += w.count();
    b.bytes += w.bytes();
  }
  std::vector<Bin> list;
  for (auto& [key, b] : bins) list.push_back(b);
  std::stable_sort(list.begin(), list.end(), [](const Bin& a, const Bin& b) { return a.bytes > b.bytes; });
  return list;
}

using Stats = std::vector<std::optional<TensorStats>>;

ordered_json to_json(const io::Checkpoint& model, uint64_t weight_bytes, const Stats& stats) {
  ordered_json tensors = ordered_json::array(), bins = ordered_json::array(),
               metadata = ordered_json::object();
  for (const Bin& b : histogram(model)) {
    bins.push_back({{"format", b.format},
                    {"count", b.count},
                    {"parameters", b.parameters},
                    {"bytes", b.bytes},
                    {"bits_per_weight", bits(b.bytes, b.parameters)}});
  }
  const auto file = [&](size_t i) { return model.files()[i].path().filename().string(); };
  for (size_t i = 0; i < model.weights().size(); ++i) {
    const io::Weight& w = model.weights()[i];
    ordered_json entry = {{"name", shown_name(model, w)},
                          {"dtype", name(w.dtype)},
                          {"format", w.stored_as()},
                          {"shape", w.shape},
                          {"bytes", w.bytes()}};
    if (!w.stored.empty()) {
      entry["file"] = file(w.stored[0].file);
      entry["offset"] = w.stored[0].tensor.offset;
    }
    if (w.stored.size() > 1) {
      for (const io::StoredIn& s : w.stored) {
        entry["stored"].push_back({{"name", s.tensor.name},
                                   {"dtype", name(s.tensor.dtype)},
                                   {"shape", s.tensor.shape},
                                   {"bytes", s.tensor.bytes},
                                   {"file", file(s.file)},
                                   {"offset", s.tensor.offset}});
      }
    }
    if (i < stats.size() && stats[i]) {
      const TensorStats& s = *stats[i];
      entry["stats"] = {{"min", number(s.min)}, {"max", number(s.max)},
                        {"rms", number(s.rms)}, {"outlier_share", s.outlier_share},
                        {"nan", s.nan},         {"inf", s.infinite}};
    }
    tensors.push_back(entry);
  }
  for (const auto& [key, value] : model.metadata()) metadata[key] = value;
  return {{"kind", name(model.kind())},
          {"architecture", model.architecture()},
          {"parameters", model.parameters()},
          {"bytes", model.file_bytes()},
          {"bits_per_weight", bits(weight_bytes, model.parameters())},
          {"formats", bins},
          {"tensors", tensors},
          {"metadata", metadata}};
}

void print_table(const io::Checkpoint& model, uint64_t weight_bytes, const Stats& stats, bool tensors,
                 bool verbose) {
  fmt::print("{}: {}{}{}\n\n", model.path().string(), name(model.kind()),
             model.architecture().empty() ? "" : ", ", model.architecture());
  fmt::print("  parameters  {}\n", model.parameters());
  fmt::print("  files       {} in {} ({} bytes)\n", human_bytes(static_cast<double>(model.file_bytes())),
             model.files().size(), model.file_bytes());
  fmt::print("  weights     {:.3f} bits each, scales included\n\n", bits(weight_bytes, model.parameters()));
  fmt::print("  {:<20} {:>8} {:>15} {:>12} {:>10}\n", "format", "tensors", "parameters", "bytes", "bits");
  for (const Bin& b : histogram(model)) {
    fmt::print("  {:<20} {:>8} {:>15} {:>12} {:>10.3f}\n", b.format, b.count, b.parameters,
               human_bytes(static_cast<double>(b.bytes)), bits(b.bytes, b.parameters));
  }
  for (const auto& [key, value] : model.metadata()) {
    if (key == "viva" || key == "viva.manifest") {
      fmt::print("\n  made by viva; 'viva verify' checks it\n");
    } else if (verbose || model.kind() != io::Kind::kGguf) {
      fmt::print("  {}: {}\n", key, value.size() > 100 ? value.substr(0, 100) + "..." : value);
    }
  }
  if (tensors) {
    fmt::print("\n  {:<52} {:<14} {:<20} {:>12}  {}\n", "tensor", "format", "shape", "bytes", "file, offset");
    for (const io::Weight& w : model.weights()) {
      fmt::print("  {:<52} {:<14} {:<20} {:>12}  {}, {}\n", shown_name(model, w), w.stored_as(),
                 fmt::format("({})", fmt::join(w.shape, ", ")), w.bytes(),
                 w.stored.empty() ? "" : model.files()[w.stored[0].file].path().filename().string(),
                 w.stored.empty() ? 0 : w.stored[0].tensor.offset);
    }
  }
  if (stats.empty()) return;
  fmt::print("\n  {:<52} {:>12} {:>12} {:>12} {:>12} {:>8} {:>8}\n", "tensor", "min", "max", "rms", "> 6 rms",
             "NaN", "inf");
  for (size_t i = 0; i < stats.size(); ++i) {
    const std::string& n = shown_name(model, model.weights()[i]);
    if (!stats[i]) {
      fmt::print("  {:<52} not decoded\n", n);
      continue;
    }
    const TensorStats& s = *stats[i];
    fmt::print("  {:<52} {:>12.5g} {:>12.5g} {:>12.5g} {:>11.4f}% {:>8} {:>8}\n", n, s.min, s.max, s.rms,
               100 * s.outlier_share, s.nan, s.infinite);
  }
}

}  // namespace

Word word_inspect() {
  return {
      "inspect",
      "show what a model file holds",
      {"viva inspect data/demo-model", "viva inspect data/demo-model --stats"},
      [](CLI::App& app, const Common& common) -> std::function<int()> {
        struct Arguments {
          std::string path;
          bool tensors = false, stats = false;
        };
        auto a = std::make_shared<Arguments>();
        app.add_option("PATH", a->path, "a model directory, .safetensors, .gguf, .npy or .npz")->required();
        app.add_flag("--tensors", a->tensors, "one line per tensor: format, shape, bytes, file and offset");
        app.add_flag("--stats", a->stats,
                     "read all values: min, max, rms, share of |x| > 6 rms, NaN and infinities");
        return [a, &common]() -> int {
          const io::Checkpoint model = io::Checkpoint::open(a->path);
          Stats stats;
          if (a->stats) {
            const Machine machine(common.machine());
            stats = tensor_stats(machine, model, common.watcher());
          }
          uint64_t bytes = 0;
          for (const io::Weight& w : model.weights()) bytes += w.bytes();
          if (common.json) {
            print_json(to_json(model, bytes, stats));
          } else {
            print_table(model, bytes, stats, a->tensors, common.verbose);
          }
          return 0;
        };
      }};
}

}  // namespace viva::app
