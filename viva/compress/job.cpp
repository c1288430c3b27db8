#include "viva/compress/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>

#include "viva/base/attempt.h"
#include "viva/base/checked.h"
#include "viva/compress/checksum.h"
#include "viva/io/gguf_names.h"

namespace viva {

namespace fs = std::filesystem;

namespace {

// Values that are widened, coded and compared at a time: source, result and scratch stay in the second-level cache.
constexpr size_t kStrip = 16 * 1024;

// What a tensor of a placement holds that no rows lie in.
std::string constant(const io::Placement& p, size_t tensor, const Shared& shared) {
  for (const io::Placement::Constant& c : p.constants) {
    if (c.tensor == tensor) return c.content(shared);
  }
  return {};
}

size_t strip_rows(const io::Placement& p, const io::Chunk& chunk) {
  const size_t step = p.format->row_panel;
  return std::max<size_t>(step, kStrip / std::max<uint64_t>(1, chunk.cols) / step * step);
}

template <class T>
T* grow(std::vector<T>& v, size_t n) {
  if (v.size() < n) v.resize(n);
  return v.data();
}

}  // namespace

// Buffers of one thread; they grow to what the largest chunk needs and no further.
struct Job::Worker {
  std::vector<uint8_t> raw, packed, pieces;
  std::vector<float> floats;

  // x, y: a strip of values; work: the format's scratch, aligned.
  struct Floats {
    float *x, *y, *work;
  };
  Floats strip(size_t values, size_t scratch) {
    const size_t n = round_up(values, 16);
    float* base = grow(floats, 2 * n + scratch + 16);
    base = reinterpret_cast<float*>(round_up(reinterpret_cast<uintptr_t>(base), 64));
    return {base, base + n, base + 2 * n};
  }
};

uint64_t worker_bytes(const Plan& plan, Target target) {
  uint64_t most = kCopy;
  for (const Item& item : plan.items) {
    if (item.placement.format == nullptr) continue;
    const io::Weight& w = plan.model.weights()[item.weight];
    for (size_t c : {size_t{0}, item.chunks.size() - 1}) {
      if (item.chunks.empty()) break;
      const io::Chunk& chunk = item.chunks[c];
      const uint64_t values = chunk.rows * chunk.cols;
      const uint64_t packed = chunk.rows * item.placement.format->row_bytes(chunk.cols, item.placement.coding);
      const uint64_t strip = std::min<uint64_t>(values, strip_rows(item.placement, chunk) * chunk.cols);
      most = std::max(most, values * std::max<uint64_t>(1, bytes(w.dtype)) + 2 * packed + 8 * strip +
                                4 * item.placement.format->on(target).scratch(chunk.cols, item.placement.coding) + 1024);
    }
  }
  return most;
}

Job::Job(const Machine& machine, const Plan& plan, size_t workers, const Watcher& watcher)
    : machine_(machine), plan_(plan), watcher_(watcher), outcomes_(plan.items.size()) {
  for (size_t i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Worker>());
}
Job::~Job() = default;

size_t Job::chunk_count(size_t i) const {
  return part_count(plan_.items[i].placement, plan_.items[i].chunks);
}

uint64_t Job::source_bytes(const Task& t) const {
  const Item& item = plan_.items[t.item];
  if (item.placement.format == nullptr) return std::min(kCopy, item.bytes() - t.chunk * kCopy);
  const io::Chunk& c = item.chunks[t.chunk];
  return c.rows * c.cols * bytes(plan_.model.weights()[item.weight].dtype);
}

std::vector<Job::Task> Job::tasks_of(const std::vector<size_t>& items) const {
  std::vector<Task> tasks;
  for (size_t i : items) {
    for (size_t c = 0; c < chunk_count(i); ++c) tasks.push_back({i, c});
  }
  return tasks;
}

// Tasks in order, each taken by the next free worker; the first error stops all.
void Job::each_task(std::string_view what, const std::vector<Task>& tasks, const std::function<void(Worker&, const Task&)>& f) {
  uint64_t total = 0;
  for (const Task& t : tasks) total += source_bytes(t);
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> done = 0;
  std::atomic<bool> failed = false;
  std::mutex reporting;
  auto reported = std::chrono::steady_clock::now();
  machine_.parallel_for(workers_.size(), [&](size_t w) {
    try {
      for (size_t i = next++; i < tasks.size() && !failed; i = next++) {
        watcher_.check();
        f(*workers_[w], tasks[i]);
        const uint64_t now_done = done += source_bytes(tasks[i]);
        const std::unique_lock lock(reporting, std::try_to_lock);
        if (!lock.owns_lock()) continue;
        const auto now = std::chrono::steady_clock::now();
        if (now - reported < std::chrono::milliseconds(100) && now_done != total) continue;
        reported = now;
        peak_ = std::max(peak_, own_memory());
        if (watcher_.progress) watcher_.progress({what, now_done, total});
      }
    } catch (...) {
      failed = true;
      throw;
    }
  });
}

namespace {

// Reads the source bytes of a chunk in the order of the result.
void read_source(const io::Checkpoint& model, const io::Weight& w, const Item& item, const io::Chunk& c, uint8_t* raw) {
  const size_t size = bytes(w.dtype);
  if (item.permuted_head_dim != 0) {
    for (uint64_t r = 0; r < c.rows; ++r) {
      const uint64_t from = io::hf_row(c.first_row + r, item.permuted_head_dim);
      model.read_plain(w, from * c.cols, {raw + r * c.cols * size, c.cols * size});
    }
  } else if (item.transposed) {
    io::read_transposed(w.cols(), w.rows(), size, c.first_value, {raw, c.rows * c.cols * size},
                        [&](uint64_t first, std::span<uint8_t> out) { model.read_plain(w, first, out); });
  } else if (item.stored_order) {
    model.read_stored(w, 0, c.first_value * size, {raw, c.rows * c.cols * size});
  } else {
    model.read_plain(w, c.first_value, {raw, c.rows * c.cols * size});
  }
}

// The weight of an earlier result that an item became.
const io::Weight* earlier(const io::Checkpoint& old, const Item& item) {
  return old.kind() == io::Kind::kGguf ? old.find_stored(item.name) : old.find(item.name);
}

// The bytes of a kept weight, tensor `part`: as they are, or in the order that its new name stands for.
void read_kept(const io::Checkpoint& model, const io::Weight& w, const Item& item, size_t part, uint64_t offset, std::span<uint8_t> out) {
  if (item.permuted_head_dim != 0) {
    const uint64_t row_bytes = (w.shape.size() == 1 ? 1 : w.cols()) * bytes(w.dtype);
    for (size_t done = 0; done < out.size();) {
      const uint64_t row = (offset + done) / row_bytes, skip = (offset + done) % row_bytes;
      const size_t n = std::min<uint64_t>(out.size() - done, row_bytes - skip);
      model.read_stored(w, 0, io::hf_row(row, item.permuted_head_dim) * row_bytes + skip, out.subspan(done, n));
      done += n;
    }
  } else if (!item.stored_order && (w.transposed || w.permuted_head_dim != 0)) {
    model.read_plain(w, offset / bytes(w.dtype), out);
  } else {
    model.read_stored(w, part, offset, out);
  }
}

[[noreturn]] void refuse_nonfinite(const io::Weight& w, const Item& item, const io::Checkpoint& model, uint64_t index, float value) {
  std::string at;
  uint64_t rest = item.transposed ? index % w.rows() * w.cols() + index / w.rows() : index;
  for (size_t d = w.shape.size(); d-- > 0;) {
    at = fmt::format("{}{}{}", rest % w.shape[d], at.empty() ? "" : ", ", at);
    rest /= w.shape[d];
  }
  throw Error(Code::kBadInput, "compress",
              fmt::format("{}: tensor '{}' has {} at [{}]", model.files()[w.stored[0].file].path().string(), w.name,
                          std::isnan(value) ? "NaN" : "infinity", at),
              "--nonfinite keep leaves such tensors as they are");
}

}  // namespace

void Job::resume(Staging& staging) {
  std::vector<size_t> claimed;
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const auto found = staging.finished().find(plan_.items[i].key());
    if (found == staging.finished().end()) continue;
    const io::Weight& w = plan_.model.weights()[plan_.items[i].weight];
    // The same file, unchanged since its bytes were read: no need to read them again.
    if (found->second.identity != plan_.model.files()[w.stored[0].file].identity()) continue;
    outcomes_[i].hashes = found->second.hashes;
    outcomes_[i].shared = found->second.shared;
    outcomes_[i].sums = found->second.sums;
    claimed.push_back(i);
  }
  const auto reader_of = [&](const Item& item) -> io::ReadBytes {
    return [this, &item](size_t tensor, uint64_t offset, std::span<uint8_t> out) {
      files_[item.spots[tensor].file].read(item.spots[tensor].offset + offset, out);
    };
  };
  // After a power failure the journal may know of bytes that the disk lost: they are read and hashed.
  std::vector<std::vector<Hash>> sums(plan_.items.size());
  for (size_t i : claimed) sums[i].resize(chunk_count(i));
  each_task("checking finished work", tasks_of(claimed), [&](Worker& w, const Task& t) {
    const Item& item = plan_.items[t.item];
    sums[t.item][t.chunk] = hash_of_part(item.placement, item.chunks, t.chunk, reader_of(item), w.packed, w.pieces);
  });
  for (size_t i : claimed) {
    const Item& item = plan_.items[i];
    add_constants(item.placement, [&](size_t k) {
      std::string text(item.placement.tensors[k].bytes, 0);
      reader_of(item)(k, 0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
      return text;
    }, sums[i]);
    const bool whole = combined(sums[i]) == outcomes_[i].hashes.checksum;
    outcomes_[i].done = outcomes_[i].reused = whole;
  }
}

// Codes everything and writes nothing: the outcomes tell what the bytes would be.
void Job::replay() {
  observe(std::vector<bool>(plan_.items.size(), true));
  std::vector<size_t> all(plan_.items.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  encode(nullptr, all, nullptr);
}

// First pass over weights whose format shares something over the whole tensor, or over a fused set of tensors.
void Job::observe(const std::vector<bool>& wanted) {
  std::map<std::string, std::vector<size_t>> sets;
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const Item& item = plan_.items[i];
    if (item.placement.format == nullptr || item.placement.format->share == nullptr) continue;
    sets[item.fused_set.empty() ? "=" + item.name : fmt::format("{}|{}", item.fused_set, item.choice.text)].push_back(i);
  }
  std::vector<size_t> items;
  for (auto it = sets.begin(); it != sets.end();) {
    const bool needed = std::any_of(it->second.begin(), it->second.end(), [&](size_t i) { return wanted[i]; });
    if (needed) items.insert(items.end(), it->second.begin(), it->second.end());
    it = needed ? std::next(it) : sets.erase(it);
  }
  std::sort(items.begin(), items.end());
  std::vector<std::vector<Observed>> seen(plan_.items.size());
  for (size_t i : items) seen[i].resize(chunk_count(i));
  each_task("looking at the values", tasks_of(items), [&](Worker& worker, const Task& t) {
    const Item& item = plan_.items[t.item];
    const io::Weight& w = plan_.model.weights()[item.weight];
    const io::Chunk& c = item.chunks[t.chunk];
    const size_t size = bytes(w.dtype), rows = strip_rows(item.placement, c);
    uint8_t* raw = grow(worker.raw, c.rows * c.cols * size);
    read_source(plan_.model, w, item, c, raw);
    const auto buffer = worker.strip(std::min<size_t>(rows, c.rows) * c.cols, 0);
    for (uint64_t r = 0; r < c.rows; r += rows) {
      const size_t n = std::min<uint64_t>(rows, c.rows - r);
      kernels::widen(w.dtype, raw + r * c.cols * size, n * c.cols, buffer.x, machine_.target());
      const size_t odd = kernels::first_nonfinite(buffer.x, n * c.cols, machine_.target());
      if (odd != n * c.cols) refuse_nonfinite(w, item, plan_.model, c.first_value + r * c.cols + odd, buffer.x[odd]);
      Observed part;
      item.placement.format->on(machine_.target()).observe(buffer.x, n, c.cols, item.placement.coding, part);
      seen[t.item][t.chunk].merge(part);
    }
  });
  for (const auto& [name, members] : sets) {
    Observed all;
    for (size_t i : members) {
      for (const Observed& o : seen[i]) all.merge(o);
    }
    for (size_t i : members) {
      outcomes_[i].shared = plan_.items[i].placement.format->share(all, plan_.items[i].placement.coding);
    }
  }
}

void Job::encode(Staging* staging, const std::vector<size_t>& items, const io::Checkpoint* old) {
  struct Parts {
    std::vector<Hash> source, checksum;
    std::vector<kernels::ErrorSums> sums;
    std::atomic<size_t> left = 0;
  };
  std::vector<std::unique_ptr<Parts>> parts(plan_.items.size());
  std::vector<size_t> empty;
  for (size_t i : items) {
    parts[i] = std::make_unique<Parts>();
    const size_t n = chunk_count(i);
    parts[i]->source.resize(n);
    parts[i]->checksum.resize(n);
    parts[i]->sums.resize(n);
    parts[i]->left = n;
    if (n == 0) empty.push_back(i);
  }
  std::mutex journal;
  const auto complete = [&](size_t i) {
    Outcome& o = outcomes_[i];
    Parts& p = *parts[i];
    o.hashes.source = combined(p.source);
    for (const kernels::ErrorSums& s : p.sums) o.sums.merge(s);
    const io::Placement& placement = plan_.items[i].placement;
    add_constants(placement, [&](size_t k) { return constant(placement, k, o.shared); }, p.checksum);
    o.hashes.checksum = combined(p.checksum);
    o.done = true;
    if (staging == nullptr) return;
    const std::lock_guard lock(journal);
    finish(*staging, i);
  };
  each_task(old == nullptr ? "compressing" : "taking over finished tensors", tasks_of(items), [&](Worker& worker, const Task& t) {
    const Item& item = plan_.items[t.item];
    const io::Weight& w = plan_.model.weights()[item.weight];
    Parts& p = *parts[t.item];
    const auto write = [&](size_t tensor, uint64_t offset, std::span<const uint8_t> bytes) {
      if (staging == nullptr) return;
      const Spot& spot = item.spots[tensor];
      files_[spot.file].write(spot.offset + offset, bytes);
      // The disk starts on every finished mebibyte, so that the last sync is short.
      const uint64_t end = spot.offset + offset + bytes.size();
      if ((end >> 20) != ((spot.offset + offset) >> 20)) files_[spot.file].write_behind(((end >> 20) - 1) << 20, 1 << 20);
    };
    if (item.placement.format == nullptr) {
      each_range(item.placement, t.chunk, [&](size_t k, uint64_t offset, uint64_t n) {
        uint8_t* raw = grow(worker.raw, n);
        read_kept(plan_.model, w, item, k, offset, {raw, n});
        write(k, offset, {raw, n});
        add(p.source[t.chunk], hash_of({raw, n}));
      });
      p.checksum[t.chunk] = p.source[t.chunk];
    } else {
      const io::Chunk& c = item.chunks[t.chunk];
      Coding coding = item.placement.coding;
      coding.shared = outcomes_[t.item].shared;
      const Format& format = *item.placement.format;
      const FormatCode& code = format.on(machine_.target());
      const size_t row_bytes = format.row_bytes(c.cols, coding);
      uint8_t* packed = grow(worker.packed, c.rows * row_bytes);
      if (old != nullptr) old->read_packed(*earlier(*old, item), c, {packed, c.rows * row_bytes}, worker.pieces);
      const size_t size = bytes(w.dtype), rows = strip_rows(item.placement, c);
      uint8_t* raw = grow(worker.raw, c.rows * c.cols * size);
      read_source(plan_.model, w, item, c, raw);
      p.source[t.chunk] = hash_of({raw, c.rows * c.cols * size});
      const auto buffer = worker.strip(std::min<size_t>(rows, c.rows) * c.cols, code.scratch(c.cols, coding));
      for (uint64_t r = 0; r < c.rows; r += rows) {
        const size_t n = std::min<uint64_t>(rows, c.rows - r), values = n * c.cols;
        kernels::widen(w.dtype, raw + r * c.cols * size, values, buffer.x, machine_.target());
        const size_t odd = kernels::first_nonfinite(buffer.x, values, machine_.target());
        if (odd != values) refuse_nonfinite(w, item, plan_.model, c.first_value + r * c.cols + odd, buffer.x[odd]);
        if (old == nullptr) code.encode(buffer.x, n, c.cols, coding, packed + r * row_bytes, buffer.work);
        code.decode(packed + r * row_bytes, n, c.cols, coding, buffer.y, buffer.work);
        p.sums[t.chunk].merge(kernels::error_sums(buffer.x, buffer.y, values, machine_.target()));
      }
      p.checksum[t.chunk] = hash_of({packed, c.rows * row_bytes});
      io::scatter(item.placement, c, {packed, c.rows * row_bytes}, worker.pieces, write);
    }
    if (--p.left == 0) complete(t.item);
  });
  for (size_t i : empty) complete(i);
}

// Constants of the item, then its line in the journal.
void Job::finish(Staging& staging, size_t i) {
  const Item& item = plan_.items[i];
  for (const io::Placement::Constant& c : item.placement.constants) {
    const std::string content = c.content(outcomes_[i].shared);
    files_[item.spots[c.tensor].file].write(item.spots[c.tensor].offset, {reinterpret_cast<const uint8_t*>(content.data()), content.size()});
  }
  const io::Weight& w = plan_.model.weights()[item.weight];
  staging.record({item.key(), plan_.model.files()[w.stored[0].file].identity(), outcomes_[i].hashes, outcomes_[i].shared, outcomes_[i].sums});
}

// Tensors of an earlier result whose source bytes, format, encoder and version are the same are copied instead of made.
void Job::take_over(Staging& staging, const io::Checkpoint& old, bool complete) {
  std::map<std::string, std::string> source_of;  // item name -> source hash that its old bytes were made from
  if (complete) {
    std::string text;
    for (const auto& [key, value] : old.metadata()) {
      if (key == "viva") text = value;
    }
    std::error_code ignored;
    if (text.empty() && fs::exists(old.path() / "viva.json", ignored)) text = io::read_text(old.path() / "viva.json", 1 << 30);
    const auto manifest = nlohmann::json::parse(text, nullptr, false);
    const auto mine = nlohmann::json::parse(plan_.manifest(std::vector<ItemHashes>(plan_.items.size())));
    if (!manifest.is_object() || manifest.value("viva", nlohmann::json()) != mine["viva"] ||
        manifest.value("encoder", nlohmann::json()) != mine["encoder"] || !manifest.contains("tensors") || !manifest["tensors"].is_array()) {
      return;
    }
    std::map<std::string, std::string> formats;
    for (const Item& item : plan_.items) formats[item.name] = item.choice.text;
    for (const auto& t : manifest["tensors"]) {
      if (!t.is_object() || !t.contains("name") || !t.contains("format") || !t.contains("source") || !t["name"].is_string() || !t["source"].is_string()) continue;
      if (formats[t["name"].get<std::string>()] == t["format"]) source_of[t["name"].get<std::string>()] = t["source"].get<std::string>();
    }
  } else {
    for (const Item& item : plan_.items) {
      const auto found = staging.finished().find(item.key());
      if (found == staging.finished().end()) continue;
      source_of[item.name] = found->second.hashes.source;
    }
  }
  std::vector<size_t> candidates;
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const Item& item = plan_.items[i];
    if (outcomes_[i].done || item.placement.format == nullptr || !source_of.count(item.name)) continue;
    const io::Weight* w = earlier(old, item);
    if (w == nullptr || w->placement.format != item.placement.format || w->placement.tensors.size() != item.placement.tensors.size()) continue;
    bool same = w->shared.scale == outcomes_[i].shared.scale && w->shared.offset == outcomes_[i].shared.offset;
    for (size_t k = 0; k < w->placement.tensors.size(); ++k) {
      const io::StoredTensor &a = w->placement.tensors[k], &b = item.placement.tensors[k];
      same = same && a.name == b.name && a.dtype == b.dtype && a.bytes == b.bytes;
    }
    if (same) candidates.push_back(i);
  }
  std::vector<std::vector<Hash>> source(plan_.items.size());
  for (size_t i : candidates) source[i].resize(chunk_count(i));
  each_task("comparing the source with earlier work", tasks_of(candidates), [&](Worker& worker, const Task& t) {
    const Item& item = plan_.items[t.item];
    const io::Weight& w = plan_.model.weights()[item.weight];
    const io::Chunk& c = item.chunks[t.chunk];
    const size_t n = c.rows * c.cols * bytes(w.dtype);
    uint8_t* raw = grow(worker.raw, n);
    read_source(plan_.model, w, item, c, raw);
    source[t.item][t.chunk] = hash_of({raw, n});
  });
  std::vector<size_t> same;
  for (size_t i : candidates) {
    const std::string hash = combined(source[i]);
    if (hash != source_of[plan_.items[i].name]) continue;
    outcomes_[i].reused = true;
    same.push_back(i);
  }
  encode(&staging, same, &old);
}

void Job::run(Staging& staging, const io::Checkpoint* old) {
  const fs::path root = staging.path();
  if (plan_.directory) fs::create_directories(root);
  for (const auto& [name, text] : plan_.texts) io::write_text_atomically(root / name, text);
  for (const PlannedFile& f : plan_.files) {
    const fs::path path = f.name.empty() ? root : root / f.name;
    files_.emplace_back(path, io::OutputFile::Mode::kReopen);
    files_.back().allocate(f.bytes);
    files_.back().write(0, {reinterpret_cast<const uint8_t*>(f.header.data()), f.header.size()});
  }
  resume(staging);
  std::vector<bool> open(plan_.items.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = !outcomes_[i].done;
  observe(open);
  if (old != nullptr) take_over(staging, *old, true);
  if (fs::exists(staging.previous())) {
    // What an interrupted run with other rules left; if it cannot be read, its work is simply done again.
    const auto before = attempt([&] { return io::Checkpoint::open(staging.previous()); });
    if (before) take_over(staging, *before, false);
  }
  std::vector<size_t> rest;
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    if (!outcomes_[i].done) rest.push_back(i);
  }
  encode(&staging, rest, nullptr);
  write_rest(staging);
}

// Side files, manifest and the last sync.
void Job::write_rest(Staging& staging) {
  const fs::path root = staging.path();
  for (const std::string& name : plan_.side_files) {
    const io::InputFile from(plan_.model.path() / name);
    io::OutputFile to(root / name, io::OutputFile::Mode::kCreate);
    uint8_t* buffer = grow(workers_[0]->raw, kCopy);
    for (uint64_t at = 0; at < from.size(); at += kCopy) {
      const uint64_t n = std::min(kCopy, from.size() - at);
      from.read(at, {buffer, n});
      to.write(at, {buffer, n});
    }
    to.sync();
  }
  for (size_t k = 0; k < plan_.extra.size(); ++k) {
    const std::vector<float>& values = plan_.extra[k].values;
    files_[0].write(plan_.extra_spots[k].offset, {reinterpret_cast<const uint8_t*>(values.data()), 4 * values.size()});
  }
  std::vector<ItemHashes> hashes;
  for (const Outcome& o : outcomes_) hashes.push_back(o.hashes);
  if (plan_.directory) {
    io::write_text_atomically(root / "viva.json", plan_.manifest(hashes));
  } else {
    const std::string header = plan_.header(0, hashes);
    files_[0].write(0, {reinterpret_cast<const uint8_t*>(header.data()), header.size()});
  }
  for (io::OutputFile& f : files_) f.sync();
  files_.clear();
  if (plan_.directory) io::sync_directory(root);
  peak_ = std::max(peak_, own_memory());
}

double Job::forecast_seconds() { return 0; }

}  // namespace viva
