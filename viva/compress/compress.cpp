#include "viva/compress/compress.h"

#include "viva/compress/convert.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>

#include "viva/base/attempt.h"
#include "viva/compress/job.h"
#include "viva/compress/plan.h"
#include "viva/compress/staging.h"
#include "viva/compress/value_reader.h"
#include "viva/kernels/values.h"

namespace viva {

namespace fs = std::filesystem;

namespace {

// What the program holds besides the workers' buffers: code, the plan, the allocator's slack.
constexpr uint64_t kSlack = 4 << 20;
constexpr uint64_t kThread = 512 << 10;
// What the journal, directories and the file system's own blocks take beside the result.
constexpr uint64_t kBeside = 256 << 10;

std::string human(uint64_t n) { return n < 10'000'000 ? fmt::format("{:.1f} MB", static_cast<double>(n) / 1e6) : fmt::format("{:.0f} MB", static_cast<double>(n) / 1e6); }

// How many workers fit under the cap; refuses before any work when not even one does.
size_t workers_under_cap(const Machine& machine, const Plan& plan) {
  if (machine.ram() == 0) return machine.threads();
  // A thread brings its stack and the allocator's pools.
  const uint64_t each = worker_bytes(plan, machine.target()) + kThread;
  const uint64_t base = own_memory() + kSlack + run_bytes(plan, machine.threads());
  if (base + each > machine.ram()) {
    throw Error(Code::kResource, "compress", fmt::format("a cap of {} of memory is too small", human(machine.ram())),
                fmt::format("the smallest that would do is --ram {}M", (base + each) / 1'000'000 + 1));
  }
  return std::min<uint64_t>(machine.threads(), (machine.ram() - base) / each);
}

// Bytes that an earlier run's files hold on the disk, holes not counted.
uint64_t held_by(const fs::path& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return 0;
  if (!S_ISDIR(st.st_mode)) return std::min<uint64_t>(static_cast<uint64_t>(st.st_blocks) * 512, static_cast<uint64_t>(st.st_size));
  uint64_t n = 0;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(path, ignored)) n += held_by(e.path());
  return n;
}

void check_disk(const Plan& plan, const fs::path& parent, const Staging* staging, uint64_t cap) {
  const uint64_t size = plan.total_bytes();
  if (cap != 0 && size > cap) {
    throw Error(Code::kResource, "compress", fmt::format("the result takes {} bytes, --disk allows {}", size, cap),
                fmt::format("{} bytes more are needed", size - cap));
  }
  const uint64_t need = size + kBeside + 512 * plan.items.size();
  const uint64_t there = staging != nullptr ? held_by(staging->path()) : 0;
  std::error_code ignored;
  const fs::space_info space = fs::space(parent, ignored);
  if (!ignored && need > there + space.available) {
    throw Error(Code::kResource, "compress", fmt::format("{} has {} bytes free, the result needs {} more", parent.string(), space.available, need - there),
                fmt::format("free {} bytes more and run the same command again", need - there - space.available));
  }
}

// Which weights hold NaN or infinity: one pass over all plain values.
std::vector<bool> find_nonfinite(const Machine& machine, const io::Checkpoint& model, const Watcher& watcher) {
  constexpr uint64_t kStep = 32 * 1024;
  struct Task {
    size_t weight;
    uint64_t first, count;
  };
  std::vector<Task> tasks;
  for (size_t i = 0; i < model.weights().size(); ++i) {
    const io::Weight& w = model.weights()[i];
    if (!w.decodable || w.placement.format != nullptr || !info(w.dtype).floating) continue;
    const uint64_t n = w.count();
    // Whole rows where a matrix is stored by columns.
    const uint64_t step = w.transposed ? std::max<uint64_t>(1, kStep / std::max<uint64_t>(1, w.cols())) * w.cols() : kStep;
    for (uint64_t at = 0; at < n; at += step) tasks.push_back({i, at, std::min(step, n - at)});
  }
  std::atomic<size_t> next = 0;
  std::vector<std::atomic<bool>> odd(model.weights().size());
  machine.parallel_for(machine.threads(), [&](size_t) {
    ValueReader reader(model, machine.target());
    std::vector<float> values;
    for (size_t i = next++; i < tasks.size(); i = next++) {
      watcher.check();
      const Task& t = tasks[i];
      if (odd[t.weight]) continue;
      values.resize(t.count);
      reader.read(model.weights()[t.weight], t.first, values);
      if (kernels::first_nonfinite(values.data(), values.size(), machine.target()) != values.size()) odd[t.weight] = true;
    }
  });
  return {odd.begin(), odd.end()};
}

CompressReport report_of(const Machine& machine, const Plan& plan, const PlanOptions& options, const std::vector<Outcome>& outcomes) {
  CompressReport r;
  r.source = plan.model.path().string();
  r.format = plan.main.text;
  r.layout = name(plan.layout);
  r.encoder = options.encoder;
  r.threads = machine.threads();
  r.warnings = plan.warnings;
  r.bytes_out = plan.total_bytes();
  r.bytes_in = plan.model.file_bytes();
  uint64_t before = 0, after = 0, values = 0;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    const Item& item = plan.items[i];
    const io::Weight& w = plan.model.weights()[item.weight];
    if (outcomes[i].reused) r.reused_bytes += item.bytes();
    if (item.kept) {
      r.kept.push_back({item.name, item.reason, item.bytes()});
      continue;
    }
    const kernels::ErrorSums& sums = outcomes[i].sums;
    r.tensors.push_back({item.name, w.stored_as(), item.choice.text, item.reason, w.bytes(), item.bytes(), w.count(), sums.sqnr_db(), sums.mean_error(), sums.max_error});
    before += w.bytes();
    after += item.bytes();
    values += w.count();
  }
  r.ratio_file = r.bytes_out == 0 ? 0 : static_cast<double>(r.bytes_in) / static_cast<double>(r.bytes_out);
  r.ratio_weights = after == 0 ? 0 : static_cast<double>(before) / static_cast<double>(after);
  r.bits_per_weight = values == 0 ? 0 : 8.0 * static_cast<double>(after) / static_cast<double>(values);
  return r;
}

// Whether `inner` is `outer` or lies in it.
bool within(const fs::path& inner, const fs::path& outer) {
  std::error_code ignored;
  const fs::path in = fs::weakly_canonical(inner, ignored), out = fs::weakly_canonical(outer, ignored);
  return std::mismatch(out.begin(), out.end(), in.begin(), in.end()).first == out.end();
}

CompressReport run(const Machine& machine, const fs::path& source, const fs::path& target, const fs::path& parent, const PlanOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  const io::Checkpoint model = io::Checkpoint::open(source);
  const Plan plan(model, target, options,
                  options.keep_nonfinite ? find_nonfinite(machine, model, options.watcher) : std::vector<bool>());
  const size_t workers = workers_under_cap(machine, plan);
  Job job(machine, plan, workers, options.watcher);

  if (!fs::is_directory(parent)) {
    throw Error(Code::kResource, "compress", fmt::format("{} is not a folder", parent.string()), "create it, or choose another destination");
  }
  if (options.dry_run) {
    check_disk(plan, parent, nullptr, options.disk);
    CompressReport report = report_of(machine, plan, options, job.outcomes());
    report.destination = target.string();
    report.threads = workers;
    const double planning = seconds();
    report.seconds = planning + job.forecast_seconds(parent);
    report.peak_ram = std::max(job.peak_ram(), own_memory());
    return report;
  }
  const auto refuse_existing = [&] {
    if (!fs::exists(target)) return false;
    if (!options.force) {
      throw Error(Code::kUsage, "compress", fmt::format("{} exists", target.string()), "--force replaces it, and takes over what has not changed");
    }
    if (within(source, target)) {
      throw Error(Code::kUsage, "compress", fmt::format("{} would replace its own source", target.string()), "choose another destination");
    }
    return true;
  };
  refuse_existing();
  Staging staging(target, plan.fingerprint(), options.fresh);
  const bool exists = refuse_existing();  // the run that held the lock until now may have made it
  check_disk(plan, parent, &staging, options.disk);
  std::optional<io::Checkpoint> old;
  if (exists && !options.fresh) {
    // What cannot be read of an older result is made again.
    if (auto opened = attempt([&] { return io::Checkpoint::open(target); })) old = std::move(*opened);
  }
  try {
    job.run(staging, old ? &*old : nullptr);
  } catch (const Error& e) {
    // A disk that filled up meanwhile: say how much is missing now.
    if (e.code() == Code::kResource) check_disk(plan, parent, &staging, options.disk);
    if (e.code() == Code::kRefused) staging.discard();
    throw;
  }
  options.watcher.check();
  staging.publish(options.force);

  CompressReport report = report_of(machine, plan, options, job.outcomes());
  report.destination = target.string();
  report.seconds = seconds();
  report.threads = workers;
  report.peak_ram = std::max(job.peak_ram(), own_memory());
  return report;
}

CompressReport run(const Machine& machine, const fs::path& source, const fs::path& destination, const PlanOptions& options) {
  fs::path target = destination.lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  if (target.empty() || target.filename() == "." || target.filename() == "..") {
    throw Error(Code::kUsage, "compress", fmt::format("'{}' is no name for a result", destination.string()));
  }
  try {
    return run(machine, source, target, target.has_parent_path() ? target.parent_path() : fs::path("."), options);
  } catch (const fs::filesystem_error& e) {
    throw Error(Code::kResource, "compress",
                fmt::format("{}: {}", e.path1().empty() ? target.string() : e.path1().string(), e.code().message()));
  }
}

}  // namespace

CompressReport compress(const Machine& machine, const fs::path& source, const fs::path& destination, const CompressOptions& options) {
  return run(machine, source, destination, options);
}

ConvertReport convert(const Machine& machine, const fs::path& source, const fs::path& destination, const ConvertOptions& options) {
  CompressOptions o;
  o.format = options.to;
  o.encoder = Encoder::kExact;
  o.shard = options.shard;
  o.disk = options.disk;
  o.dry_run = options.dry_run;
  o.force = options.force;
  o.fresh = options.fresh;
  o.watcher = options.watcher;
  PlanOptions plan(o);
  plan.convert = true;
  plan.exact = !options.requantize;
  ConvertReport report;
  try {
    static_cast<CompressReport&>(report) = run(machine, source, destination, plan);
  } catch (const Error& e) {  // the same job under its own name
    throw Error(e.code(), e.operation() == "compress" ? "convert" : e.operation(), e.message(), e.hint());
  }
  report.lossless = !options.dry_run && std::all_of(report.tensors.begin(), report.tensors.end(), [](const CompressedTensor& t) { return t.max_error == 0; });
  return report;
}

}  // namespace viva
