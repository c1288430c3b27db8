#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "viva/compress/compress.h"
#include "viva/compress/value_reader.h"
#include "viva/io/checkpoint.h"
#include "viva/kernels/values.h"
#include "word.h"

namespace viva::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Result {
  std::string format, file;  // file: relative to the results' folder
  CompressReport report;
  kernels::ErrorSums sums;  // of the quantized tensors, read back from the finished file
  double sqnr_db = 0;       // mean over them, each weighing as many values as it has
  size_t checked = 0;       // tensors that were read back
};

// Reads every weight of the finished file again, beside the source, and holds it against what the report says.
void check(const Machine& machine, const io::Checkpoint& source, Result& result, const fs::path& path, const Watcher& watcher) {
  const io::Checkpoint made = io::Checkpoint::open(path);
  std::map<std::string, double, std::less<>> reported;
  for (const CompressedTensor& t : result.report.tensors) reported[t.name] = t.sqnr_db;
  std::vector<kernels::ErrorSums> sums(source.weights().size());
  std::vector<char> quantized(sums.size());
  machine.parallel_for(sums.size(), [&](size_t i) {
    watcher.check();
    const io::Weight& before = source.weights()[i];
    const io::Weight* after = made.find(before.name);
    if (after == nullptr || after->shape != before.shape) {
      throw Error(Code::kBadInput, "demo", fmt::format("{}: '{}' is missing or has another shape", path.string(), before.name));
    }
    ValueReader first(source, machine.target()), second(made, machine.target());
    std::vector<float> x, y;
    const auto add = [&](uint64_t at, uint64_t n) {
      x.resize(n);
      y.resize(n);
      first.read(before, at, x);
      second.read(*after, at, y);
      sums[i].merge(kernels::error_sums(x.data(), y.data(), n, machine.target()));
    };
    if (after->placement.format != nullptr) {
      for (const io::Chunk& c : io::chunks_of(after->placement)) add(c.first_value, c.rows * c.cols);
    } else {
      constexpr uint64_t kStep = 128 * 1024;
      for (uint64_t at = 0; at < before.count(); at += kStep) add(at, std::min(kStep, before.count() - at));
    }
    // The report has the names of the result, which in GGUF are not the model's own.
    const auto expected = reported.find(after->stored.front().tensor.name);
    quantized[i] = expected != reported.end();
    const double sqnr = sums[i].sqnr_db();
    const bool same = expected == reported.end() ? std::isinf(sqnr) : std::fabs(sqnr - expected->second) < 1e-6;
    if (!same) {
      throw Error(Code::kInternal, "demo",
                  fmt::format("{}: '{}' has {:.6f} dB when read back; the report said {}", path.string(), before.name, sqnr,
                              expected == reported.end() ? "kept" : fmt::format("{:.6f} dB", expected->second)));
    }
  });
  double weighted = 0, values = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    ++result.checked;
    if (!quantized[i]) continue;
    result.sums.merge(sums[i]);
    weighted += sums[i].sqnr_db() * static_cast<double>(sums[i].count);
    values += static_cast<double>(sums[i].count);
  }
  result.sqnr_db = values == 0 ? INFINITY : weighted / values;
}

Result make(const Machine& machine, const io::Checkpoint& source, const fs::path& model, const fs::path& folder, const std::string& format,
            Encoder encoder, const Watcher& watcher) {
  Result r;
  r.format = format;
  r.file = format + (encoder == Encoder::kBest ? "" : "-reference") + (format == "q4_0" ? ".gguf" : "");
  CompressOptions options;
  options.format = format;
  options.encoder = encoder;
  options.force = options.fresh = true;  // the time of a whole run is shown
  options.watcher = watcher;
  r.report = compress(machine, model, folder / r.file, options);
  check(machine, source, r, folder / r.file, watcher);
  return r;
}

ordered_json to_json(const Result& r, const fs::path& folder) {
  const CompressReport& c = r.report;
  return {{"path", (folder / r.file).string()},
          {"format", r.format},
          {"encoder", c.encoder == Encoder::kBest ? "best" : "reference"},
          {"bytes_in", c.bytes_in},
          {"bytes_out", c.bytes_out},
          {"ratio_file", c.ratio_file},
          {"ratio_weights", c.ratio_weights},
          {"bits_per_weight", c.bits_per_weight},
          {"sqnr_db", number(r.sqnr_db)},
          {"mean_error", number(r.sums.mean_error())},
          {"seconds", c.seconds},
          {"tensors_checked", r.checked}};
}

void print_table(const std::vector<Result>& results, const std::string& model, const fs::path& folder) {
  fmt::print("{} compressed; every tensor of every result was read back and compared with it\n\n", model);
  fmt::print("  {:<22} {:<10} {:>10} {:>10} {:>7} {:>7} {:>12} {:>9}\n", "file", "encoder", "before", "after", "ratio", "bits/w", "SQNR", "time");
  for (const Result& r : results) {
    const CompressReport& c = r.report;
    fmt::print("  {:<22} {:<10} {:>10} {:>10} {:>6.2f}x {:>7.3f} {:>9.2f} dB {:>7.2f} s\n", r.file, c.encoder == Encoder::kBest ? "best" : "reference",
               human_bytes(static_cast<double>(c.bytes_in)), human_bytes(static_cast<double>(c.bytes_out)), c.ratio_file, c.bits_per_weight, r.sqnr_db, c.seconds);
  }
  fmt::print("\nratio: the whole file, with what stays as it was; bits/w: of the quantized weights, scales included.\n");
  fmt::print("reference: the bytes of the format's own tool; best: the lowest error that the same file can say.\n");
  fmt::print("The results are in {}; load them with the tools that you have, or: viva inspect {}\n", folder.string(), (folder / results.back().file).string());
}

}  // namespace

Word word_demo() {
  return {"demo",
          "compress the bundled model to NF4 and to a Q4_0 GGUF, read both back, and show what it gained and cost",
          {"viva demo", "viva demo --out results --json"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            struct Arguments {
              std::string model = "data/demo-model", out = "build/demo";
            };
            auto a = std::make_shared<Arguments>();
            app.add_option("--model", a->model, "the model directory (default data/demo-model)")->type_name("DIR");
            app.add_option("--out", a->out, "folder of the results (default build/demo)")->type_name("DIR");
            return [a, &common]() -> int {
              const fs::path model = a->model, folder = a->out;
              std::error_code failed;
              if (!fs::exists(model, failed)) {
                throw Error(Code::kBadInput, "demo", fmt::format("there is no {} here", a->model), "run it where viva was built, or give --model DIR");
              }
              const io::Checkpoint source = io::Checkpoint::open(model);
              fs::create_directories(folder, failed);
              if (failed) throw Error(Code::kResource, "demo", fmt::format("{}: {}", a->out, failed.message()), "give a folder with --out");
              const Machine machine(common.machine());
              const Watcher watcher = common.watcher();
              std::vector<Result> results;
              for (const char* format : {"nf4", "q4_0"}) {
                for (const Encoder e : {Encoder::kReference, Encoder::kBest}) results.push_back(make(machine, source, model, folder, format, e, watcher));
              }
              if (!common.json) {
                print_table(results, a->model, folder);
                return 0;
              }
              ordered_json list = ordered_json::array();
              for (const Result& r : results) list.push_back(to_json(r, folder));
              print_json({{"model", a->model}, {"results", list}});
              return 0;
            };
          }};
}

}  // namespace viva::app
