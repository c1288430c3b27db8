#include "viva/compress/compress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "word.h"

namespace viva::app {
namespace {

using nlohmann::ordered_json;

ordered_json to_json(const CompressReport& r, bool dry_run) {
  ordered_json tensors = ordered_json::array(), kept = ordered_json::array();
  for (const CompressedTensor& t : r.tensors) {
    ordered_json entry = {{"name", t.name}, {"format", t.format}, {"reason", t.reason}, {"bytes", t.bytes}};
    if (!dry_run) {
      entry["sqnr_db"] = number(t.sqnr_db);
      entry["mean_error"] = number(t.mean_error);
    }
    tensors.push_back(entry);
  }
  for (const KeptTensor& t : r.kept) kept.push_back({{"name", t.name}, {"reason", t.reason}, {"bytes", t.bytes}});
  ordered_json j = {{"source", r.source},
                    {"destination", r.destination},
                    {"format", r.format},
                    {"layout", r.layout},
                    {"encoder", name(r.encoder)},
                    {"dry_run", dry_run},
                    {"seconds", r.seconds},
                    {"bytes_in", r.bytes_in},
                    {"bytes_out", r.bytes_out},
                    {"ratio_file", r.ratio_file},
                    {"ratio_weights", r.ratio_weights},
                    {"bits_per_weight", r.bits_per_weight},
                    {"peak_ram", r.peak_ram},
                    {"threads", r.threads},
                    {"reused_bytes", r.reused_bytes},
                    {"warnings", r.warnings},
                    {"tensors", tensors},
                    {"kept", kept}};
  return j;
}

// Mean over the tensors, each weighing as many values as it has.
double mean_sqnr(const CompressReport& r) {
  double sum = 0, count = 0;
  for (const CompressedTensor& t : r.tensors) {
    if (!std::isfinite(t.sqnr_db)) continue;
    sum += t.sqnr_db * static_cast<double>(t.values);
    count += static_cast<double>(t.values);
  }
  return count == 0 ? INFINITY : sum / count;
}

void print_table(const CompressReport& r, bool dry_run, bool all) {
  fmt::print("{} -> {} ({}, {}, {} encoder)\n\n", r.source, r.destination, r.format, r.layout, name(r.encoder));
  std::map<std::string, std::pair<size_t, uint64_t>> formats, reasons;
  for (const CompressedTensor& t : r.tensors) {
    auto& f = formats[t.format];
    ++f.first;
    f.second += t.bytes;
  }
  for (const KeptTensor& t : r.kept) {
    auto& f = reasons[t.reason];
    ++f.first;
    f.second += t.bytes;
  }
  fmt::print("  {:<34} {:>8} {:>12}\n", "what", "tensors", "bytes");
  for (const auto& [name, n] : formats) fmt::print("  {:<34} {:>8} {:>12}\n", name, n.first, human_bytes(static_cast<double>(n.second)));
  for (const auto& [name, n] : reasons) fmt::print("  {:<34} {:>8} {:>12}\n", "kept: " + name, n.first, human_bytes(static_cast<double>(n.second)));
  fmt::print("\n  file       {} -> {}   {:.2f}x smaller\n", human_bytes(static_cast<double>(r.bytes_in)), human_bytes(static_cast<double>(r.bytes_out)), r.ratio_file);
  fmt::print("  weights    {:.2f}x smaller, {:.3f} bits per weight\n", r.ratio_weights, r.bits_per_weight);
  if (dry_run) {
    fmt::print("  size       {} bytes exactly; nothing was written\n", r.bytes_out);
    fmt::print("  time       about {:.1f} s\n", r.seconds);
  } else {
    std::vector<const CompressedTensor*> order;
    for (const CompressedTensor& t : r.tensors) order.push_back(&t);
    std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->sqnr_db < b->sqnr_db; });
    fmt::print("  SQNR       {:.2f} dB mean\n", mean_sqnr(r));
    fmt::print("  worst\n");
    for (size_t i = 0; i < std::min<size_t>(5, order.size()); ++i) fmt::print("    {:<50} {:>7.2f} dB\n", order[i]->name, order[i]->sqnr_db);
    fmt::print("  time       {:.2f} s, {:.2f} GB/s of source, {} threads\n", r.seconds, static_cast<double>(r.bytes_in) / 1e9 / r.seconds, r.threads);
    fmt::print("  peak RAM   {}\n", human_bytes(static_cast<double>(r.peak_ram)));
    if (r.reused_bytes != 0) fmt::print("  reused     {} of an earlier run\n", human_bytes(static_cast<double>(r.reused_bytes)));
  }
  if (all) {
    fmt::print("\n");
    for (const CompressedTensor& t : r.tensors) fmt::print("  {:<60} {:<12} {:>12} {:>7.2f} dB\n", t.name, t.format, t.bytes, t.sqnr_db);
    for (const KeptTensor& t : r.kept) fmt::print("  {:<60} kept: {}\n", t.name, t.reason);
  }
  for (const std::string& w : r.warnings) fmt::print(stderr, "warning: {}\n", w);
}

}  // namespace

Word word_compress() {
  return {"compress",
          "write a smaller file of a model that its own tools load",
          {"viva compress data/demo-model build/demo-nf4 --format nf4",
           "viva compress data/demo-model build/demo-mixed --format nf4 --rule '*.down_proj.weight=keep' --dry-run"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            struct Arguments {
              std::string source, destination, encoder = "best", shard, nonfinite = "refuse";
              CompressOptions options;
            };
            auto a = std::make_shared<Arguments>();
            app.add_option("SRC", a->source, "a model directory, .safetensors, .gguf, .npy or .npz")->required();
            app.add_option("DST", a->destination, "a directory, or a name ending in .gguf or .safetensors")->required();
            app.add_option("--format", a->options.format, "a name from 'viva formats'; it implies the layout of the result")->required();
            app.add_option("--encoder", a->encoder, "best: the lowest error that the file can say; reference: the bytes of the format's own tool")
                ->check(CLI::IsMember({"best", "reference"}));
            app.add_option("--rule", a->options.rules, "PATTERN=FORMAT for single tensors, glob or re:, FORMAT may be keep; repeatable, the first match wins")
                ->allow_extra_args(false);
            app.add_option("--shard", a->shard, "largest file of a directory (default 5G)");
            app.add_option("--nonfinite", a->nonfinite, "refuse: stop at NaN or infinity; keep: leave such tensors as they are")
                ->check(CLI::IsMember({"refuse", "keep"}));
            app.add_flag("--dry-run", a->options.dry_run, "print plan, sizes and time, write nothing");
            app.add_flag("--force", a->options.force, "replace an existing DST; what has not changed is taken over");
            app.add_flag("--fresh", a->options.fresh, "ignore what an interrupted run left");
            return [a, &common]() -> int {
              CompressOptions& o = a->options;
              o.encoder = a->encoder == "best" ? Encoder::kBest : Encoder::kReference;
              if (!a->shard.empty()) o.shard = parse_size(a->shard, 0);
              o.disk = common.disk_bytes();
              o.keep_nonfinite = a->nonfinite == "keep";
              o.watcher = common.watcher();
              const Machine machine(common.machine());
              const CompressReport report = compress(machine, a->source, a->destination, o);
              if (common.json) {
                print_json(to_json(report, o.dry_run));
              } else {
                print_table(report, o.dry_run, common.verbose);
              }
              return 0;
            };
          }};
}

}  // namespace viva::app
