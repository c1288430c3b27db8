#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "apps/viva/bench.h"
#include "apps/viva/bench_table.h"
#include "apps/viva/noise.h"
#include "viva/base/error.h"

namespace viva::bench {
namespace {

struct Case {
  std::unique_ptr<Coder> coder;
  std::vector<Speed> rates;
  double sqnr_db = 0;
};

std::vector<Case> cases_of(const Machine& machine, const CodingOptions& options, bool decode) {
  std::vector<Case> cases;
  std::vector<FormatChoice> chosen;
  for (const std::string& name : options.formats) {
    const std::optional<FormatChoice> c = parse_format(name);
    if (!c)
      throw Error(Code::kUsage, "bench", fmt::format("no format is called {}", name),
                  "`viva formats` lists them");
    chosen.push_back(*c);
  }
  if (chosen.empty()) {
    for (const Format* f : formats()) chosen.push_back({f, {}});
  }
  for (FormatChoice& c : chosen) {
    for (const Encoder e : {Encoder::kReference, Encoder::kBest}) {
      if (!(e == Encoder::kReference ? options.reference : options.best)) continue;
      c.coding.encoder = e;
      cases.push_back({std::make_unique<Coder>(machine, *c.format, c.coding, options.cols), {}, 0});
      if (decode) break;  // reading does not depend on how the codes were chosen
    }
  }
  return cases;
}

CodingReport measure(const Machine& machine, const CodingOptions& options, bool decode,
                     const Watcher& watcher) {
  if (options.cols == 0 || options.repeat == 0 ||
      options.bytes / sizeof(float) / options.cols < Table::kPanel) {
    throw Error(Code::kUsage, "bench", fmt::format("{} bytes are too few for a benchmark", options.bytes),
                "give at least a few MB");
  }
  const size_t rows = options.bytes / sizeof(float) / options.cols / Table::kPanel * Table::kPanel;
  std::vector<Case> cases = cases_of(machine, options, decode);

  const Neighbours neighbours;
  const Array<float> x(rows * options.cols);
  const Table table(machine, x.data(), rows, options.cols);
  table.each_strip([&](size_t s, size_t first, size_t n) {
    fill_gaussian(table.row(first), n * table.cols, options.std, options.seed, s);
  });
  Array<float> decoded(rows * options.cols);
  size_t widest = 0;
  for (const Case& c : cases) widest = std::max(widest, c.coder->row_bytes);
  Array<uint8_t> packed(rows * widest);
  std::memset(packed.data(), 0, packed.size());
  MemoryMeter meter(machine);

  const uint64_t bytes = rows * options.cols * sizeof(float);
  std::vector<Speed> memory;
  Progress at{.what = decode ? "decode" : "encode", .total = bytes * cases.size() * (options.repeat + 1)};
  // Round 0 warms up and finds the errors; the memory is measured between the formats, so that all see the
  // same noise.
  for (size_t round = 0; round <= options.repeat; ++round) {
    for (Case& c : cases) {
      watcher.check();
      if (watcher.progress) watcher.progress(at);
      Coder& coder = *c.coder;
      const Speed memory_now = decode ? meter.write(true) : meter.read(true);
      Stopwatch encoding;
      if (coder.format.share != nullptr) {
        Observed seen;
        coder.observe(table, seen);
        coder.share(seen);
      }
      coder.encode(table, packed.data());
      Speed speed = encoding.speed(static_cast<double>(bytes), machine.threads());
      if (decode || round == 0) {
        Stopwatch decoding;
        coder.decode(table, packed.data(), decoded.data());
        if (decode) speed = decoding.speed(static_cast<double>(bytes), machine.threads());
      }
      at.done += bytes;
      if (round == 0) {
        c.sqnr_db = errors_of(table, decoded.data()).sqnr_db();
      } else {
        c.rates.push_back(speed);
        memory.push_back(memory_now);
      }
    }
  }
  if (watcher.progress) watcher.progress(at);

  CodingReport report{.decode = decode,
                      .rows = rows,
                      .cols = options.cols,
                      .threads = machine.threads(),
                      .target = machine.target()};
  report.memory = rate_of(memory);
  for (Case& c : cases) {
    CodingRow row{.format = format_text(c.coder->format, c.coder->coding),
                  .encoder = c.coder->coding.encoder};
    row.bits_per_weight = 8.0 * static_cast<double>(c.coder->row_bytes) / static_cast<double>(options.cols);
    row.rate = rate_of(c.rates);
    row.share = row.rate.median / report.memory.median;
    row.share_alone = row.rate.alone / report.memory.alone;
    row.sqnr_db = c.sqnr_db;
    report.lines.push_back(row);
  }
  report.neighbours = neighbours.share();
  return report;
}

}  // namespace

MachineReport measure_machine(const Machine& machine, const std::filesystem::path& folder,
                              const Watcher& watcher) {
  MachineReport report{.profile = profile(), .target = machine.target()};
  const Neighbours neighbours;
  watcher.check();
  report.memory = measure_memory(machine);
  if (!folder.empty()) {
    watcher.check();
    report.disk = measure_disk(folder);
  }
  report.neighbours = neighbours.share();
  return report;
}

CodingReport measure_encode(const Machine& machine, const CodingOptions& options, const Watcher& watcher) {
  return measure(machine, options, false, watcher);
}
CodingReport measure_decode(const Machine& machine, const CodingOptions& options, const Watcher& watcher) {
  return measure(machine, options, true, watcher);
}

}  // namespace viva::bench
