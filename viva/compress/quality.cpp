#include "viva/compress/quality.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "viva/compress/sweep.h"
#include "viva/compress/value_reader.h"
#include "viva/kernels/values.h"

namespace viva {
namespace {

std::string_view plain_name(std::string_view name) {
  return name.starts_with("model.") ? name.substr(6) : name;
}

// Counterparts by name; a tied head that one side leaves out is its embedding.
class Names {
 public:
  explicit Names(const io::Checkpoint& c) {
    for (size_t i = 0; i < c.weights().size(); ++i) at_.emplace(plain_name(c.weights()[i].name), i);
  }
  std::optional<size_t> find(std::string_view name) const {
    for (size_t i = 0; i < 2; ++i) {
      if (const auto found = at_.find(plain_name(name)); found != at_.end()) return found->second;
      if (plain_name(name) != "lm_head.weight") break;
      name = "embed_tokens.weight";
    }
    return std::nullopt;
  }

 private:
  std::map<std::string_view, size_t> at_;
};

struct Pair {
  const io::Weight *a, *b;
  kernels::ErrorSums sums;
};

struct Buffers {
  std::vector<float> x, y;
};

// A NaN or infinity that both sides have is no difference, and no signal.
void settle_nonfinite(std::vector<float>& x, std::vector<float>& y, size_t n, Target target) {
  for (size_t at = kernels::first_nonfinite(x.data(), n, target); at < n; ++at) {
    if (!std::isfinite(x[at]) && std::bit_cast<uint32_t>(x[at]) == std::bit_cast<uint32_t>(y[at]))
      x[at] = y[at] = 0;
  }
}

ComparedTensor figures(const Pair& p) {
  ComparedTensor t;
  t.name = p.a->name;
  t.name_b = p.b->name;
  t.format_a = p.a->stored_as();
  t.format_b = p.b->stored_as();
  t.values = p.a->count();
  t.sqnr_db = p.sums.sqnr_db();
  t.mean_error = p.sums.mean_error();
  t.rmse = p.sums.rmse();
  t.cosine = p.sums.cosine();
  t.max_abs = p.sums.max_error;
  return t;
}

// NaN counts as worst.
double rank(double sqnr) { return std::isnan(sqnr) ? -INFINITY : sqnr; }

bool same_stored_bytes(const io::Checkpoint& ca, const io::Weight& a, const io::Checkpoint& cb,
                       const io::Weight& b) {
  if (a.stored.size() != b.stored.size()) return false;
  std::vector<uint8_t> x(1 << 18), y(1 << 18);
  for (size_t k = 0; k < a.stored.size(); ++k) {
    const io::StoredTensor &s = a.stored[k].tensor, &t = b.stored[k].tensor;
    if (s.dtype != t.dtype || s.shape != t.shape || s.bytes != t.bytes) return false;
    for (uint64_t at = 0; at < s.bytes; at += x.size()) {
      const size_t n = std::min<uint64_t>(x.size(), s.bytes - at);
      ca.read_stored(a, k, at, {x.data(), n});
      cb.read_stored(b, k, at, {y.data(), n});
      if (!std::equal(x.begin(), x.begin() + static_cast<ptrdiff_t>(n), y.begin())) return false;
    }
  }
  return true;
}

}  // namespace

CompareReport compare(const Machine& machine, const io::Checkpoint& a, const io::Checkpoint& b,
                      const CompareOptions& options) {
  CompareReport report;
  report.a = a.path().string();
  report.b = b.path().string();
  const Names in_a(a), in_b(b);
  std::vector<Pair> pairs;
  for (const io::Weight& w : a.weights()) {
    const auto found = in_b.find(w.name);
    if (!found) {
      report.missing.push_back(w.name);
      continue;
    }
    const io::Weight& v = b.weights()[*found];
    if (w.shape != v.shape) {
      report.mismatches.push_back(
          {w.name, fmt::format("shape ({}) and ({})", fmt::join(w.shape, ", "), fmt::join(v.shape, ", "))});
    } else if (!w.decodable || !v.decodable) {
      if (!same_stored_bytes(a, w, b, v))
        report.mismatches.push_back(
            {w.name, fmt::format("{} and {} cannot be compared as values", w.stored_as(), v.stored_as())});
    } else {
      pairs.push_back({&w, &v, {}});
    }
  }
  for (const io::Weight& w : b.weights()) {
    if (!in_a.find(w.name)) report.extra.push_back(w.name);
  }

  Sweep plan;
  plan.tensors = pairs.size();
  uint64_t each = 0;
  for (const Pair& p : pairs) {
    plan.total += p.a->count();
    each = std::max(each, reading_bytes(*p.a) + reading_bytes(*p.b));
  }
  const size_t workers = workers_under_cap(machine, each, "compare");
  std::vector<ValueReader> readers_a, readers_b;
  std::vector<Buffers> buffers(workers);
  for (size_t w = 0; w < workers; ++w) {
    readers_a.emplace_back(a, machine.target());
    readers_b.emplace_back(b, machine.target());
  }
  std::vector<kernels::ErrorSums> parts(kSweepBatch);
  plan.runs = [&](size_t t) { return runs_of(t, *pairs[t].a, pairs[t].b); };
  plan.work = [&](size_t worker, size_t i, const Run& run) {
    Buffers& buffer = buffers[worker];
    buffer.x.resize(std::max<size_t>(buffer.x.size(), run.count));
    buffer.y.resize(std::max<size_t>(buffer.y.size(), run.count));
    readers_a[worker].read(*pairs[run.tensor].a, run.first, {buffer.x.data(), run.count});
    readers_b[worker].read(*pairs[run.tensor].b, run.first, {buffer.y.data(), run.count});
    settle_nonfinite(buffer.x, buffer.y, run.count, machine.target());
    parts[i] = kernels::error_sums(buffer.x.data(), buffer.y.data(), run.count, machine.target());
  };
  plan.merge = [&](size_t i, const Run& run) { pairs[run.tensor].sums.merge(parts[i]); };
  sweep(machine, workers, "comparing", plan, options.watcher);

  kernels::ErrorSums all;
  report.identical = report.missing.empty() && report.extra.empty() && report.mismatches.empty();
  const bool test = options.min_sqnr || options.max_error;
  for (const Pair& p : pairs) {
    ComparedTensor t = figures(p);
    // Written so that NaN is over every limit.
    t.violates = (options.min_sqnr && !(t.sqnr_db >= *options.min_sqnr)) ||
                 (options.max_error && !(t.mean_error <= *options.max_error));
    report.violations += t.violates;
    report.values += t.values;
    report.identical = report.identical && t.max_abs == 0 && p.sums.noise == 0;
    all.merge(p.sums);
    report.tensors.push_back(std::move(t));
  }
  if (test) report.violations += report.missing.size() + report.extra.size() + report.mismatches.size();
  std::stable_sort(
      report.tensors.begin(), report.tensors.end(),
      [](const ComparedTensor& x, const ComparedTensor& y) { return rank(x.sqnr_db) < rank(y.sqnr_db); });
  report.sqnr_db = all.sqnr_db();
  report.mean_error = all.mean_error();
  report.rmse = all.rmse();
  report.cosine = all.cosine();
  report.max_abs = all.max_error;
  return report;
}

namespace {

// First pass: everything but outliers, whose limit is known only after it.
struct Moments {
  double min = INFINITY, max = -INFINITY, squares = 0;
  uint64_t nan = 0, infinite = 0, finite = 0, outliers = 0;
};

void add(Moments& m, std::span<const float> x) {
  double squares = 0;
  for (const float v : x) {
    if (std::isfinite(v)) {
      m.min = std::min<double>(m.min, v);
      m.max = std::max<double>(m.max, v);
      squares += static_cast<double>(v) * v;
      ++m.finite;
    } else {
      ++(std::isnan(v) ? m.nan : m.infinite);
    }
  }
  m.squares += squares;
}

}  // namespace

std::vector<std::optional<TensorStats>> tensor_stats(const Machine& machine, const io::Checkpoint& model,
                                                     const Watcher& watcher) {
  std::vector<const io::Weight*> list;
  std::vector<size_t> index;
  uint64_t each = 0;
  Sweep plan;
  for (size_t i = 0; i < model.weights().size(); ++i) {
    const io::Weight& w = model.weights()[i];
    if (!w.decodable) continue;
    list.push_back(&w);
    index.push_back(i);
    each = std::max(each, reading_bytes(w));
    plan.total += w.count();
  }
  const size_t workers = workers_under_cap(machine, each, "inspect");
  std::vector<ValueReader> readers;
  for (size_t w = 0; w < workers; ++w) readers.emplace_back(model, machine.target());
  std::vector<std::vector<float>> buffers(workers);
  std::vector<Moments> parts(kSweepBatch), sums(list.size());
  const auto values = [&](size_t worker, const Run& run) {
    std::vector<float>& x = buffers[worker];
    x.resize(std::max<size_t>(x.size(), run.count));
    readers[worker].read(*list[run.tensor], run.first, {x.data(), run.count});
    return std::span<const float>(x.data(), run.count);
  };
  plan.tensors = list.size();
  plan.runs = [&](size_t t) { return runs_of(t, *list[t], nullptr); };
  plan.work = [&](size_t worker, size_t i, const Run& run) {
    parts[i] = Moments();
    add(parts[i], values(worker, run));
  };
  plan.merge = [&](size_t i, const Run& run) {
    Moments &m = sums[run.tensor], &p = parts[i];
    m.min = std::min(m.min, p.min);
    m.max = std::max(m.max, p.max);
    m.squares += p.squares;
    m.nan += p.nan;
    m.infinite += p.infinite;
    m.finite += p.finite;
  };
  sweep(machine, workers, "looking at the values", plan, watcher);
  const auto rms = [&](size_t t) {
    return sums[t].finite == 0 ? 0.0 : std::sqrt(sums[t].squares / static_cast<double>(sums[t].finite));
  };
  plan.work = [&](size_t worker, size_t i, const Run& run) {
    const double limit = 6 * rms(run.tensor);
    uint64_t n = 0;
    for (const float v : values(worker, run)) n += std::isfinite(v) && std::fabs(v) > limit;
    parts[i].outliers = n;
  };
  plan.merge = [&](size_t i, const Run& run) { sums[run.tensor].outliers += parts[i].outliers; };
  sweep(machine, workers, "counting outliers", plan, watcher);

  std::vector<std::optional<TensorStats>> stats(model.weights().size());
  for (size_t t = 0; t < list.size(); ++t) {
    const Moments& m = sums[t];
    TensorStats s;
    s.values = list[t]->count();
    s.nan = m.nan;
    s.infinite = m.infinite;
    if (m.finite != 0) {
      s.min = m.min;
      s.max = m.max;
      s.rms = rms(t);
      s.outlier_share = static_cast<double>(m.outliers) / static_cast<double>(m.finite);
    }
    stats[index[t]] = s;
  }
  return stats;
}

}  // namespace viva
