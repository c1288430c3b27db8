#include "word.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>

namespace viva::app {

std::atomic<bool> interrupted = false;

namespace {

uint64_t physical_memory() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE));
}

}  // namespace

uint64_t parse_size(const std::string& text, uint64_t whole) {
  static const std::map<std::string, double> kUnits = {{"", 1},      {"B", 1},       {"K", 1e3},     {"M", 1e6},     {"G", 1e9},     {"T", 1e12},
                                                       {"KB", 1e3},  {"MB", 1e6},    {"GB", 1e9},    {"TB", 1e12},   {"KIB", 1024.}, {"MIB", 1048576.},
                                                       {"GIB", 1073741824.}, {"TIB", 1099511627776.}};
  size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  std::string unit = text.substr(std::min(used, text.size()));
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto bad = [&] { return Error(Code::kUsage, "size", fmt::format("'{}' is not a size", text), "for example 800M, 2G, 1.5GiB or 80%"); };
  if (!(value > 0) || !std::isfinite(value)) throw bad();
  if (unit == "%") {
    if (whole == 0 || value > 100) throw bad();
    return static_cast<uint64_t>(value / 100 * static_cast<double>(whole));
  }
  const auto found = kUnits.find(unit);
  if (found == kUnits.end() || value * found->second > 9e18) throw bad();
  return static_cast<uint64_t>(value * found->second);
}

std::string human_bytes(double n) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int u = 0;
  while (std::fabs(n) >= 1000 && u < 5) n /= 1000, ++u;
  return u == 0 ? fmt::format("{:.0f} B", n) : fmt::format("{:.{}f} {}", n, n < 10 ? 2 : n < 100 ? 1 : 0, units[u]);
}

nlohmann::ordered_json number(double v) {
  if (std::isfinite(v)) return v;
  return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
}

void print_json(const nlohmann::ordered_json& object) {
  const std::string text = object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void say(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

bool colour(int fd) { return ::isatty(fd) && std::getenv("NO_COLOR") == nullptr; }

Machine::Options Common::machine() const {
  Machine::Options o;
  o.threads = threads;
  if (!simd.empty()) {
    o.target = target_from_name(simd);
    if (!o.target) throw Error(Code::kUsage, "--simd", fmt::format("there is no target '{}'", simd), "avx3, avx2, sse4 or scalar");
  }
  if (!ram.empty()) o.ram = parse_size(ram, physical_memory());
  return o;
}

uint64_t Common::disk_bytes() const { return disk.empty() ? 0 : parse_size(disk, 0); }

Watcher Common::watcher() const {
  Watcher w;
  w.cancel = &interrupted;
  const bool terminal = ::isatty(2);
  const std::string mode = progress == "auto" ? (quiet ? "none" : terminal ? "bar" : "lines") : progress;
  if (mode == "none") return w;
  struct State {
    std::string what;
    std::chrono::steady_clock::time_point start, last;
  };
  auto state = std::make_shared<State>();
  w.progress = [mode, state](const Progress& p) {
    const auto now = std::chrono::steady_clock::now();
    const bool fresh = state->what != p.what;
    if (fresh) *state = {std::string(p.what), now, now};
    const double seconds = std::chrono::duration<double>(now - state->start).count();
    const double rate = seconds > 0 ? static_cast<double>(p.done) / seconds : 0;
    const double left = rate > 0 ? static_cast<double>(p.total - p.done) / rate : 0;
    const bool end = p.done == p.total;
    if (mode == "json") {
      const nlohmann::ordered_json line = {{"step", p.what}, {"done", p.done}, {"total", p.total}, {"bytes_per_second", rate}, {"seconds_left", left}};
      say(line.dump() + "\n");
      return;
    }
    const std::string text = fmt::format("{}: {} of {}, {}/s, {:.0f} s left", p.what, human_bytes(static_cast<double>(p.done)),
                                         human_bytes(static_cast<double>(p.total)), human_bytes(rate), left);
    if (mode == "lines") {
      // One line every ten seconds is enough for a log; short steps need none.
      constexpr auto kPause = std::chrono::seconds(10);
      if (now - state->start < kPause || (!end && now - state->last < kPause)) return;
      state->last = now;
      say(text + "\n");
      return;
    }
    winsize size{};
    const size_t width = ::ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
    const size_t bar = width > text.size() + 8 ? std::min<size_t>(40, width - text.size() - 5) : 0;
    const size_t full = p.total == 0 ? bar : static_cast<size_t>(static_cast<double>(bar) * static_cast<double>(p.done) / static_cast<double>(p.total));
    std::string line = bar == 0 ? text.substr(0, width - 1) : fmt::format("[{}{}] {}", std::string(full, '#'), std::string(bar - full, '.'), text);
    say(fmt::format("\r\x1b[K{}{}", line, end ? "\r\x1b[K" : ""));
  };
  return w;
}

}  // namespace viva::app
