#include "viva/compress/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "word.h"

namespace viva::app {
namespace {

using nlohmann::ordered_json;

ordered_json to_json(const ConvertReport& r, bool dry_run) {
  ordered_json tensors = ordered_json::array(), kept = ordered_json::array();
  for (const CompressedTensor& t : r.tensors) {
    ordered_json entry = {{"name", t.name}, {"from", t.source_format}, {"format", t.format}, {"reason", t.reason}, {"bytes", t.bytes}};
    if (!dry_run) {
      entry["sqnr_db"] = number(t.sqnr_db);
      entry["mean_error"] = number(t.mean_error);
      entry["max_abs"] = number(t.max_error);
    }
    tensors.push_back(entry);
  }
  for (const KeptTensor& t : r.kept) kept.push_back({{"name", t.name}, {"reason", t.reason}, {"bytes", t.bytes}});
  return {{"source", r.source},       {"destination", r.destination}, {"format", r.format},     {"layout", r.layout},
          {"dry_run", dry_run},       {"lossless", r.lossless},       {"seconds", r.seconds},   {"bytes_in", r.bytes_in},
          {"bytes_out", r.bytes_out}, {"peak_ram", r.peak_ram},       {"threads", r.threads},   {"reused_bytes", r.reused_bytes},
          {"warnings", r.warnings},   {"tensors", tensors},           {"kept", kept}};
}

void print_table(const ConvertReport& r, bool dry_run) {
  fmt::print("{} -> {} ({})\n\n", r.source, r.destination, r.layout);
  std::map<std::string, std::pair<size_t, uint64_t>> rows;
  const auto count = [&](const std::string& what, uint64_t bytes) {
    ++rows[what].first;
    rows[what].second += bytes;
  };
  for (const CompressedTensor& t : r.tensors) count(fmt::format("{} -> {}", t.source_format, t.format), t.bytes);
  for (const KeptTensor& t : r.kept) count("kept: " + t.reason, t.bytes);
  fmt::print("  {:<34} {:>8} {:>12}\n", "what", "tensors", "bytes");
  for (const auto& [what, n] : rows) fmt::print("  {:<34} {:>8} {:>12}\n", what, n.first, human_bytes(static_cast<double>(n.second)));
  fmt::print("\n  file       {} -> {}\n", human_bytes(static_cast<double>(r.bytes_in)), human_bytes(static_cast<double>(r.bytes_out)));
  if (dry_run) {
    fmt::print("  size       {} bytes exactly; nothing was written\n  time       about {:.1f} s\n", r.bytes_out, r.seconds);
    return;
  }
  fmt::print("  time       {:.2f} s, {} threads\n  peak RAM   {}\n", r.seconds, r.threads, human_bytes(static_cast<double>(r.peak_ram)));
  if (r.reused_bytes != 0) fmt::print("  reused     {} of an earlier run\n", human_bytes(static_cast<double>(r.reused_bytes)));
  if (r.lossless) {
    fmt::print("  lossless   every value was decoded again and is the source's\n");
    return;
  }
  std::vector<const CompressedTensor*> changed;
  for (const CompressedTensor& t : r.tensors) {
    if (t.max_error != 0) changed.push_back(&t);
  }
  std::stable_sort(changed.begin(), changed.end(), [](auto* a, auto* b) { return a->sqnr_db < b->sqnr_db; });
  constexpr size_t kShown = 5;
  fmt::print("  changed    {} of {} tensors; the worst:\n", changed.size(), r.tensors.size() + r.kept.size());
  for (size_t i = 0; i < std::min(kShown, changed.size()); ++i) {
    const CompressedTensor& t = *changed[i];
    fmt::print("    {:<50} {:<8} -> {:<8} {:>7.2f} dB  max |e| {:.3g}\n", t.name, t.source_format, t.format, t.sqnr_db, t.max_error);
  }
}

}  // namespace

Word word_convert() {
  return {"convert",
          "carry a model, quantized or not, between safetensors and GGUF",
          {"viva convert data/demo-model build/demo-f16.gguf",
           "viva convert build/demo-nf4 build/demo-nf4-as-q8_0.gguf --to q8_0 --requantize"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            struct Arguments {
              std::string source, destination, shard;
              ConvertOptions options;
            };
            auto a = std::make_shared<Arguments>();
            app.add_option("SRC", a->source, "a model directory, .safetensors, .gguf, .npy or .npz, quantized or not")->required();
            app.add_option("DST", a->destination, "a directory, or a name ending in .gguf or .safetensors")->required();
            app.add_option("--to", a->options.to, "a format for the weights (default: what says the same values there, else f32)");
            app.add_flag("--requantize", a->options.requantize, "values may change; the added error is reported");
            app.add_option("--shard", a->shard, "largest file of a directory (default 5G)");
            app.add_flag("--dry-run", a->options.dry_run, "print plan, sizes and time, write nothing");
            app.add_flag("--force", a->options.force, "replace an existing DST; what has not changed is taken over");
            app.add_flag("--fresh", a->options.fresh, "ignore what an interrupted run left");
            return [a, &common]() -> int {
              if (!a->shard.empty()) a->options.shard = parse_size(a->shard, 0);
              a->options.disk = common.disk_bytes();
              a->options.watcher = common.watcher();
              const Machine machine(common.machine());
              const ConvertReport report = convert(machine, a->source, a->destination, a->options);
              if (common.json) {
                print_json(to_json(report, a->options.dry_run));
              } else {
                print_table(report, a->options.dry_run);
                for (const std::string& w : report.warnings) fmt::print(stderr, "warning: {}\n", w);
              }
              return 0;
            };
          }};
}

}  // namespace viva::app
