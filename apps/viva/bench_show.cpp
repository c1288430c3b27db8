#include <fmt/format.h>

#include <cmath>

#include "apps/viva/bench.h"
#include "apps/viva/word.h"

namespace viva::bench {
namespace {

using app::number;
using nlohmann::ordered_json;

std::string_view text_of(Encoder e) { return e == Encoder::kBest ? "best" : "reference"; }

ordered_json json_of(const Rate& r) {
  ordered_json j = {{"median", r.median}, {"min", r.lowest}, {"max", r.best}, {"runs", r.runs}};
  if (r.alone > 0) j["by_processor_time"] = r.alone;
  return j;
}
template <class T>
ordered_json json_of(const std::optional<T>& x) {
  return x ? ordered_json(*x) : ordered_json(nullptr);
}

std::string size_text(uint64_t bytes) {
  if (bytes >= (1u << 30)) return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1u << 30));
  if (bytes >= (1u << 20)) return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / (1u << 20));
  return fmt::format("{:.0f} KiB", static_cast<double>(bytes) / 1024);
}
std::string rate_text(const Rate& r) {
  return fmt::format("{:7.2f}  ({:.2f} to {:.2f}, {} runs{})", r.median, r.lowest, r.best, r.runs,
                     r.alone > 1.1 * r.median ? fmt::format("; {:.2f} by processor time", r.alone) : "");
}
std::string db_text(double db) { return std::isfinite(db) ? fmt::format("{:.2f}", db) : "exact"; }

// A measurement made beside other work says so.
std::string neighbours_text(double share) {
  return share < 0.02 ? ""
                      : fmt::format(
                            "Other processes took {:.0f} % of the processors meanwhile: figures by the clock "
                            "are low.\n"
                            "By processor time says what these threads would reach alone, as long as the "
                            "memory does not limit them.\n",
                            100 * share);
}

}  // namespace

ordered_json json_of(const MachineReport& r) {
  ordered_json caches = ordered_json::array();
  for (const Cache& c : r.profile.caches) {
    caches.push_back({{"level", c.level}, {"kind", c.kind}, {"bytes", c.bytes}, {"count", c.count}});
  }
  ordered_json j = {
      {"cpu", r.profile.cpu},
      {"kernel", r.profile.kernel},
      {"packages", r.profile.packages},
      {"cores", r.profile.cores},
      {"hardware_threads", r.profile.hardware_threads},
      {"cores_usable", r.profile.cores_usable},
      {"numa_nodes", r.profile.numa_nodes},
      {"caches", caches},
      {"simd_best", name(r.profile.target)},
      {"simd", name(r.target)},
      {"ram_total", r.profile.ram_total},
      {"ram_available", r.profile.ram_available},
      {"ram_limit", r.profile.ram_limit == 0 ? ordered_json(nullptr) : ordered_json(r.profile.ram_limit)}};
  const MemoryRates& m = r.memory;
  j["memory"] = {{"unit", "GB/s"},
                 {"array_bytes", m.bytes},
                 {"threads", m.threads},
                 {"read_one_thread", json_of(m.read_one)},
                 {"write_one_thread", json_of(m.write_one)},
                 {"copy_one_thread", json_of(m.copy_one)},
                 {"read", json_of(m.read_all)},
                 {"write", json_of(m.write_all)},
                 {"copy", json_of(m.copy_all)}};
  if (r.disk) {
    j["disk"] = {{"unit", "GB/s"},
                 {"folder", r.disk->folder.string()},
                 {"file_bytes", r.disk->bytes},
                 {"direct", r.disk->direct},
                 {"in_memory", r.disk->in_memory},
                 {"write_and_sync", json_of(r.disk->write)},
                 {"read", json_of(r.disk->read)},
                 {"read_eight_in_flight", json_of(r.disk->read_many)}};
  }
  j["other_processes"] = r.neighbours;
  return j;
}

ordered_json json_of(const CodingReport& r) {
  ordered_json rows = ordered_json::array();
  for (const CodingRow& row : r.lines) {
    ordered_json j = {{"format", row.format}};
    if (!r.decode) j["encoder"] = text_of(row.encoder);
    j.update({{"bits_per_weight", row.bits_per_weight},
              {"gb_per_s", json_of(row.rate)},
              {"memory_share", row.share},
              {"memory_share_by_processor_time", row.share_alone}});
    if (!r.decode) j["sqnr_db"] = number(row.sqnr_db);
    rows.push_back(j);
  }
  return {{"what", r.decode ? "decode" : "encode"},
          {"rows", r.rows},
          {"cols", r.cols},
          {"threads", r.threads},
          {"simd", name(r.target)},
          {r.decode ? "memory_write_gb_per_s" : "memory_read_gb_per_s", json_of(r.memory)},
          {"formats", rows},
          {"other_processes", r.neighbours}};
}

ordered_json json_of(const PaperReport& r) {
  const auto figures = [](const PaperFigures& f) {
    return ordered_json{{"mean_error", f.mean_error},
                        {"relative_rms", f.relative_rms},
                        {"sqnr_db", number(f.sqnr_db)},
                        {"encode_seconds", f.encode_seconds},
                        {"decode_seconds", f.decode_seconds}};
  };
  ordered_json rows = ordered_json::array();
  for (const PaperRow& row : r.lines) {
    rows.push_back({{"name", row.name},
                    {"format", row.format},
                    {"bytes", row.bytes},
                    {"compression", {{"claimed", row.claimed_compression}, {"measured", row.compression}}},
                    {"claimed_error", json_of(row.claimed_error)},
                    {"claimed_seconds", json_of(row.claimed_seconds)},
                    {"gaussian", figures(row.gaussian)},
                    {"uniform", figures(row.uniform)}});
  }
  return {{"what", "paper"},
          {"rows", r.rows},
          {"cols", r.cols},
          {"bytes_f32", r.rows * r.cols * sizeof(float)},
          {"encoder", text_of(r.encoder)},
          {"threads", r.threads},
          {"simd", name(r.target)},
          {"formats", rows},
          {"seconds", r.seconds},
          {"peak_ram", r.peak_ram},
          {"other_processes", r.neighbours}};
}

std::string text_of(const MachineReport& r) {
  const Profile& p = r.profile;
  std::string s = fmt::format("{}\n{}\n\n", p.cpu, p.kernel);
  s += fmt::format("{} socket{}, {} cores, {} hardware threads, {} NUMA node{}; {} usable here\n", p.packages,
                   p.packages == 1 ? "" : "s", p.cores, p.hardware_threads, p.numa_nodes,
                   p.numa_nodes == 1 ? "" : "s", p.cores_usable);
  for (const Cache& c : p.caches)
    s += fmt::format("L{} {:<12} {:>9} x {}\n", c.level, c.kind, size_text(c.bytes), c.count);
  s += fmt::format("SIMD {}; RAM {}, {} free{}\n\n", name(p.target), size_text(p.ram_total),
                   size_text(p.ram_available),
                   p.ram_limit == 0 ? "" : ", cgroup limit " + size_text(p.ram_limit));
  const MemoryRates& m = r.memory;
  s += fmt::format("Memory, GB/s, median (range); arrays of {}, {}\n", size_text(m.bytes), name(r.target));
  s += fmt::format("  read   1 thread  {}\n  write  1 thread  {}\n  copy   1 thread  {}   read + written\n",
                   rate_text(m.read_one), rate_text(m.write_one), rate_text(m.copy_one));
  s += fmt::format(
      "  read  {:2} threads {}\n  write {:2} threads {}\n  copy  {:2} threads {}   read + written\n",
      m.threads, rate_text(m.read_all), m.threads, rate_text(m.write_all), m.threads, rate_text(m.copy_all));
  if (r.disk) {
    const DiskRates& d = *r.disk;
    s += fmt::format(
        "\nDisk at {}, GB/s, median (range); a file of {}, {}\n", d.folder.string(), size_text(d.bytes),
        d.in_memory ? "kept in memory: there is no disk behind this folder"
        : d.direct  ? "past the page cache (O_DIRECT)"
                    : "through the page cache: this file system refuses O_DIRECT, reads may be too good");
    s += fmt::format("  write and sync   {}\n  read             {}\n  read, 8 at once  {}\n",
                     rate_text(d.write), rate_text(d.read), rate_text(d.read_many));
  }
  return s + neighbours_text(r.neighbours);
}

std::string text_of(const CodingReport& r) {
  std::string s =
      fmt::format("{} of {} x {} f32 ({}), {} threads, {}\n", r.decode ? "Decoding" : "Encoding", r.rows,
                  r.cols, size_text(r.rows * r.cols * sizeof(float)), r.threads, name(r.target));
  s += fmt::format("Memory {} by the same threads, between the rows: {} GB/s\n\n",
                   r.decode ? "write" : "read", rate_text(r.memory));
  const bool noisy = r.neighbours > 0.05;
  s += fmt::format("{:<14} {:<10} {:>7} {:>9} {:>17} {:>7}{}{}\n", "format", r.decode ? "" : "encoder",
                   "bits", "GB/s f32", "min to max", "share", noisy ? "   by processor time" : "",
                   r.decode ? "" : "   SQNR dB");
  for (const CodingRow& row : r.lines) {
    s += fmt::format("{:<14} {:<10} {:>7.3f} {:>9.2f} {:>17} {:>6.0f}%", row.format,
                     r.decode ? "" : text_of(row.encoder), row.bits_per_weight, row.rate.median,
                     fmt::format("{:.2f} to {:.2f}", row.rate.lowest, row.rate.best), 100 * row.share);
    if (noisy) s += fmt::format("      {:>7.2f} {:>5.0f}%", row.rate.alone, 100 * row.share_alone);
    s += r.decode ? "\n" : fmt::format(" {:>9}\n", db_text(row.sqnr_db));
  }
  return s + neighbours_text(r.neighbours);
}

std::string text_of(const PaperReport& r) {
  const auto percent = [](double x) { return fmt::format("{:.3f}%", 100 * x); };
  const auto claimed_percent = [](const std::optional<double>& x) {
    return x ? fmt::format("{:.1f}%", 100 * *x) : "-";
  };
  const auto claimed_ms = [](const std::optional<double>& x) {
    return x ? fmt::format("{:.0f} ms", 1e3 * *x) : "-";
  };
  const auto ms = [](double x) { return fmt::format("{:.0f} ms", 1e3 * x); };

  std::string s = fmt::format(
      "The paper's table, {} x {} f32 ({:.2f} GB), beside what {} threads measured here ({}, encoder {})\n",
      r.rows, r.cols, static_cast<double>(r.rows * r.cols * sizeof(float)) * 1e-9, r.threads, name(r.target),
      text_of(r.encoder));
  s += "error = mean|e| / max|x|; G: Gaussian values, U: uniform values; time: encoding the whole table\n\n";
  constexpr std::string_view kRow =
      "{:<7} {:<7} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>8} {:>8} {:>8} {:>8}\n";
  s += fmt::format(kRow, "", "", "compr.", "compr.", "bytes", "error", "error G", "error U", "rms G", "dB G",
                   "dB U", "time", "time G", "time U", "decode G");
  s += fmt::format(kRow, "paper", "viva", "claimed", "real", "(MB)", "claimed", "real", "real", "e/x", "SQNR",
                   "SQNR", "claimed", "real", "real", "real");
  for (const PaperRow& row : r.lines) {
    s += fmt::format(
        kRow, row.name, row.format, fmt::format("{:.2f}x", row.claimed_compression),
        fmt::format("{:.3f}x", row.compression), fmt::format("{:.1f}", static_cast<double>(row.bytes) * 1e-6),
        claimed_percent(row.claimed_error), percent(row.gaussian.mean_error), percent(row.uniform.mean_error),
        percent(row.gaussian.relative_rms), db_text(row.gaussian.sqnr_db), db_text(row.uniform.sqnr_db),
        claimed_ms(row.claimed_seconds), ms(row.gaussian.encode_seconds), ms(row.uniform.encode_seconds),
        ms(row.gaussian.decode_seconds));
  }
  s += fmt::format("\n{:.0f} s in all, peak of own memory {}. The paper names no machine for its times.\n",
                   r.seconds, size_text(r.peak_ram));
  return s + neighbours_text(r.neighbours);
}

}  // namespace viva::bench
