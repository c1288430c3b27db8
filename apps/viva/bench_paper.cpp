#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "apps/viva/bench.h"
#include "apps/viva/bench_table.h"
#include "apps/viva/noise.h"
#include "viva/base/error.h"
#include "viva/compress/recipe.h"
#include "viva/io/bitsandbytes.h"

namespace viva::bench {
namespace {

// The claims, from "viva_tensor: Memory Multiplication Through Mathematics" (G. Maia, 2026), section 4.1
// "Compression Benchmarks": file SCIENTIFIC_PAPER.md of the repository gabrielmaialva33/viva_tensor at commit
// 4ea372f. Its shape is "1M x 512 tensor". Errors are "mean"; for FP32 no time is claimed, and neither is one
// for FP16.
struct Claim {
  std::string_view name, format;
  double compression;
  std::optional<double> error, seconds;
};
constexpr Claim kClaims[] = {
    {"FP32", "f32", 1.0, 0.0, std::nullopt},  {"FP16", "f16", 2.0, 0.001, std::nullopt},
    {"INT8", "int8", 4.0, 0.002, 0.045},      {"NVFP4", "nvfp4", 4.0, 0.013, 0.089},
    {"Q4", "q4_0", 8.0, 0.015, 0.067},        {"NF4", "nf4", 7.5, 0.038, 0.300},
    {"NF4+DQ", "nf4-dq", 7.75, 0.039, 0.320},
};

// Multiple of every strip, so that strip numbers go on from batch to batch.
constexpr size_t kBatchBytes = 64 << 20;

struct Line {
  const Claim* claim;
  std::unique_ptr<Coder> coder;
  kernels::ErrorSums errors;
  Observed seen;
  double encode_seconds = 0, decode_seconds = 0;
};

class Run {
 public:
  Run(const Machine& machine, const PaperOptions& options, const Watcher& watcher)
      : machine_(machine), options_(options), watcher_(watcher) {
    const Table probe(machine, nullptr, 1, options.cols);
    batch_rows_ =
        std::max<size_t>(1, kBatchBytes / sizeof(float) / options.cols / probe.strip_rows) * probe.strip_rows;
    for (const Claim& c : kClaims) {
      const Format* f = find_format(c.format);
      if (f == nullptr) continue;
      const Coding coding{.encoder = options.encoder};
      lines_.push_back({&c, std::make_unique<Coder>(machine, *f, coding, row_in_file(*f, coding)), {}, {}});
    }
    size_t widest = 0;
    for (const Line& l : lines_) {
      widest = std::max(widest, l.coder->row_bytes * options.cols / l.coder->cols + 1);
      shared_ = shared_ || l.coder->format.share != nullptr;
    }
    at_.total = options.rows * options.cols * sizeof(float) * (shared_ ? 4 : 2);
    x_ = Array<float>(batch_rows_ * options.cols);
    packed_ = Array<uint8_t>(batch_rows_ * widest);
    decoded_ = Array<float>(batch_rows_ * options.cols);
    std::memset(packed_.data(), 0, packed_.size());
    std::memset(decoded_.data(), 0, decoded_.size() * sizeof(float));
  }

  PaperReport run() {
    PaperReport report{.rows = options_.rows,
                       .cols = options_.cols,
                       .threads = machine_.threads(),
                       .target = machine_.target(),
                       .encoder = options_.encoder};
    const Neighbours neighbours;
    const double start = now();
    for (size_t i = 0; i < lines_.size(); ++i) {
      const Claim& c = *lines_[i].claim;
      PaperRow row{.name = std::string(c.name),
                   .format = std::string(c.format),
                   .claimed_compression = c.compression,
                   .claimed_error = c.error,
                   .claimed_seconds = c.seconds};
      const Coder& coder = *lines_[i].coder;
      row.bytes = coder.row_bytes * (options_.rows * options_.cols / coder.cols);
      row.compression = static_cast<double>(coder.cols * sizeof(float)) / static_cast<double>(coder.row_bytes);
      report.lines.push_back(row);
    }
    distribution(false, &PaperRow::gaussian, report);
    distribution(true, &PaperRow::uniform, report);
    report.seconds = now() - start;
    report.peak_ram = peak_own_memory();
    report.neighbours = neighbours.share();
    return report;
  }

 private:
  // Values of one packed row in a file of this format: bitsandbytes takes a matrix as one run, in which 256 blocks of nf4-dq
  // share a number, whatever the matrix' own rows are.
  size_t row_in_file(const Format& f, const Coding& coding) const {
    const Choice choice{.format = &f, .coding = coding, .text = std::string(f.name)};
    if (layout_for(choice, false) != Layout::kBitsandbytes) return options_.cols;
    const std::vector<uint64_t> shape = {options_.rows, options_.cols};
    const uint64_t run = io::bitsandbytes_placement("paper.weight", shape, DType::kF32, f, coding).view.cols;
    // Every batch, the last one too, must be whole runs.
    const bool fits = run != 0 && options_.rows * options_.cols % run == 0 && batch_rows_ * options_.cols % run == 0;
    return fits ? run : options_.cols;
  }
  static Table in_rows_of(const Table& t, size_t cols) { return {t.machine, t.x, t.rows * t.cols / cols, cols}; }

  template <class F>
  void each_batch(bool uniform, F f) {
    size_t strips_before = 0;
    for (uint64_t first = 0; first < options_.rows; first += batch_rows_) {
      const Table t(machine_, x_.data(),
                    static_cast<size_t>(std::min<uint64_t>(batch_rows_, options_.rows - first)),
                    options_.cols);
      t.each_strip([&](size_t s, size_t r, size_t n) {
        if (uniform) {
          fill_uniform(t.row(r), n * t.cols, options_.seed, strips_before + s);
        } else {
          fill_gaussian(t.row(r), n * t.cols, 1.0f, options_.seed, strips_before + s);
        }
      });
      strips_before += t.strips();
      f(t);
      at_.done += t.rows * t.cols * sizeof(float);
      watcher_.check();
      if (watcher_.progress) watcher_.progress(at_);
    }
  }

  void distribution(bool uniform, PaperFigures PaperRow::*figures, PaperReport& report) {
    for (Line& l : lines_) {
      l.errors = {};
      l.seen = {};
      l.encode_seconds = l.decode_seconds = 0;
    }
    if (shared_) {  // some scales belong to the whole table: a pass of their own finds them, and counts as
                    // encoding
      each_batch(uniform, [&](const Table& t) {
        for (Line& l : lines_) {
          if (l.coder->format.share == nullptr) continue;
          const double start = now();
          l.coder->observe(in_rows_of(t, l.coder->cols), l.seen);
          l.encode_seconds += now() - start;
        }
      });
      for (Line& l : lines_) {
        if (l.coder->format.share != nullptr) l.coder->share(l.seen);
      }
    }
    each_batch(uniform, [&](const Table& t) {
      for (Line& l : lines_) {
        const double start = now();
        const Table rows = in_rows_of(t, l.coder->cols);
        l.coder->encode(rows, packed_.data());
        const double encoded = now();
        l.coder->decode(rows, packed_.data(), decoded_.data());
        l.decode_seconds += now() - encoded;
        l.encode_seconds += encoded - start;
        l.errors.merge(errors_of(t, decoded_.data()));
      }
    });
    for (size_t i = 0; i < lines_.size(); ++i) {
      const Line& l = lines_[i];
      report.lines[i].*
          figures = {.mean_error = l.errors.mean_error(),
                     .relative_rms = l.errors.signal > 0 ? std::sqrt(l.errors.noise / l.errors.signal) : 0,
                     .sqnr_db = l.errors.sqnr_db(),
                     .encode_seconds = l.encode_seconds,
                     .decode_seconds = l.decode_seconds};
    }
  }

  const Machine& machine_;
  const PaperOptions& options_;
  const Watcher& watcher_;
  std::vector<Line> lines_;
  size_t batch_rows_ = 0;
  Array<float> x_;
  Array<uint8_t> packed_;
  Array<float> decoded_;
  bool shared_ = false;  // some format needs a pass of its own
  Progress at_{.what = "paper"};
};

}  // namespace

PaperReport measure_paper(const Machine& machine, const PaperOptions& options, const Watcher& watcher) {
  if (options.rows == 0 || options.cols == 0)
    throw Error(Code::kUsage, "bench paper", "an empty table has no error");
  return Run(machine, options, watcher).run();
}

}  // namespace viva::bench
