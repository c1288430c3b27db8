#include "apps/viva/bench.h"

#include <fmt/format.h>

#include "word.h"

namespace viva::app {
namespace {

struct Options {
  std::string what, encoder = "both", folder = ".";
  bool no_disk = false;
  bench::CodingOptions coding;
  bench::PaperOptions paper;
  uint64_t megabytes = 256;
};

template <class Report>
int show(const Report& report, const Common& common) {
  if (common.json) {
    print_json(bench::json_of(report));
  } else {
    fmt::print("{}", bench::text_of(report));
  }
  return 0;
}

int run(Options o, const Common& common) {
  const Machine machine(common.machine());
  const Watcher watcher = common.watcher();
  if (o.what == "machine")
    return show(bench::measure_machine(machine, o.no_disk ? "" : o.folder, watcher), common);
  if (o.what == "paper") {
    o.paper.encoder = o.encoder == "reference" ? Encoder::kReference : Encoder::kBest;
    return show(bench::measure_paper(machine, o.paper, watcher), common);
  }
  o.coding.bytes = o.megabytes * 1'000'000;
  o.coding.reference = o.encoder != "best";
  o.coding.best = o.encoder != "reference";
  return show(o.what == "encode" ? bench::measure_encode(machine, o.coding, watcher)
                                 : bench::measure_decode(machine, o.coding, watcher),
              common);
}

}  // namespace

Word word_bench() {
  return {"bench",
          "measure this computer, the encoders and decoders, and the paper's table",
          {"viva bench encode --format nf4 --format q4_0 --repeat 5", "viva bench machine --json"},
          [](CLI::App& app, const Common& common) -> std::function<int()> {
            auto o = std::make_shared<Options>();
            app.add_option("what", o->what,
                           "machine: memory and disk; encode, decode: GB/s of every format; paper: claimed "
                           "beside measured")
                ->required()
                ->check(CLI::IsMember({"machine", "encode", "decode", "paper"}));
            app.add_option("--format", o->coding.formats, "encode, decode: this format only; repeatable")
                ->allow_extra_args(false);
            app.add_option("--encoder", o->encoder, "reference, best or both; paper: best unless reference")
                ->check(CLI::IsMember({"reference", "best", "both"}));
            app.add_option("--mb", o->megabytes, "encode, decode: megabytes of f32 input (default 256)")
                ->check(CLI::Range(4, 1 << 20));
            app.add_option("--repeat", o->coding.repeat, "encode, decode: runs of each (default 5)")
                ->check(CLI::Range(1, 1000));
            app.add_option("--rows", o->paper.rows, "paper: rows of 512 values (default 1000000)")
                ->check(CLI::Range(1, 1 << 30));
            app.add_option("--dir", o->folder,
                           "machine: measure the disk of this folder (default: the current one)");
            app.add_flag("--no-disk", o->no_disk, "machine: leave the disk out");
            return [o, &common] { return run(*o, common); };
          }};
}

}  // namespace viva::app
