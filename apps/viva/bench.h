#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "viva/base/progress.h"
#include "viva/formats/format.h"
#include "viva/machine/machine.h"
#include "viva/machine/profile.h"
#include "viva/machine/rates.h"

// What `viva bench` measures. Each measure_* call returns figures and prints nothing; text_of and json_of
// show them.
namespace viva::bench {

// ---- bench machine ----
struct MachineReport {
  Profile profile;
  Target target;  // that the memory figures were measured with
  MemoryRates memory;
  std::optional<DiskRates> disk;
  double neighbours = 0;  // share of the processors that others took meanwhile
};
// `folder` empty: no disk figures.
MachineReport measure_machine(const Machine& machine, const std::filesystem::path& folder,
                              const Watcher& watcher = {});

// ---- bench encode, bench decode ----
struct CodingOptions {
  std::vector<std::string> formats;  // empty: all
  bool reference = true, best = true;
  uint64_t bytes = 256'000'000;  // of f32
  size_t cols = 4096;
  size_t repeat = 5;
  float std = 0.02f;
  uint64_t seed = 1;
};
struct CodingRow {
  std::string format;
  Encoder encoder;
  double bits_per_weight;
  Rate rate;           // GB/s of f32
  double share;        // of the memory's median rate
  double share_alone;  // the same by processor time, for a computer that others use too
  double sqnr_db;
};
struct CodingReport {
  bool decode = false;
  size_t rows = 0, cols = 0, threads = 0;
  Target target;
  Rate memory;  // encode: read, decode: write; all threads, measured between the rows
  std::vector<CodingRow> lines;
  double neighbours = 0;
};
// Encodes Gaussian rows that are larger than the caches, in strips on all threads. The time of a format whose
// rows share something (NVFP4's tensor scale) includes the pass that finds it.
CodingReport measure_encode(const Machine& machine, const CodingOptions& options,
                            const Watcher& watcher = {});
CodingReport measure_decode(const Machine& machine, const CodingOptions& options,
                            const Watcher& watcher = {});

// ---- bench paper ----
struct PaperOptions {
  uint64_t rows = 1'000'000;
  size_t cols = 512;
  Encoder encoder = Encoder::kBest;
  uint64_t seed = 1;
};
struct PaperFigures {
  double mean_error = 0;    // mean |e| / max |x|
  double relative_rms = 0;  // sqrt(sum e^2 / sum x^2)
  double sqnr_db = 0;       // infinite where there is no error
  double encode_seconds = 0, decode_seconds = 0;
};
struct PaperRow {
  std::string name;    // the paper's
  std::string format;  // viva's
  double claimed_compression;
  std::optional<double> claimed_error;  // 0.013 is 1.3 %
  std::optional<double> claimed_seconds;
  uint64_t bytes = 0;  // of the packed table, scales included
  double compression = 0;
  PaperFigures gaussian, uniform;
};
struct PaperReport {
  uint64_t rows = 0;
  size_t cols = 0, threads = 0;
  Target target;
  Encoder encoder;
  std::vector<PaperRow> lines;
  double seconds = 0;
  uint64_t peak_ram = 0;
  double neighbours = 0;
};
// The table never exists as a whole: batches of 64 MiB are made from counters, encoded, decoded and compared.
PaperReport measure_paper(const Machine& machine, const PaperOptions& options, const Watcher& watcher = {});

nlohmann::ordered_json json_of(const MachineReport& report);
nlohmann::ordered_json json_of(const CodingReport& report);
nlohmann::ordered_json json_of(const PaperReport& report);
std::string text_of(const MachineReport& report);
std::string text_of(const CodingReport& report);
std::string text_of(const PaperReport& report);

}  // namespace viva::bench
