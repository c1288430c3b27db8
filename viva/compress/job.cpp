#include "viva/compress/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>

#include "viva/base/attempt.h"
#include "viva/compress/job_worker.h"
#include "viva/compress/sweep.h"
#include "viva/io/gguf_names.h"
#include "viva/io/quote.h"

namespace viva {

namespace fs = std::filesystem;

uint64_t worker_bytes(const Plan& plan, Target target) {
  uint64_t most = kCopy;
  for (const Item& item : plan.items) {
    if (item.placement.format == nullptr || item.chunks.empty()) continue;
    const io::Weight& w = plan.model.weights()[item.weight];
    for (size_t c : {size_t{0}, item.chunks.size() - 1}) {
      const io::Chunk& chunk = item.chunks[c];
      const uint64_t values = chunk.rows * chunk.cols, size = std::max<uint64_t>(1, bytes(value_dtype(w)));
      const uint64_t packed = chunk.rows * item.placement.format->row_bytes(chunk.cols, item.placement.coding);
      const uint64_t strip = std::min<uint64_t>(values, strip_rows(item.placement, chunk) * chunk.cols);
      const uint64_t band = item.transposed || w.transposed ? values * size : 0;
      const uint64_t decoding = w.placement.format == nullptr ? 0 : reading_bytes(w) + 4 * values;
      most = std::max(most, decoding + values * size + band + 2 * packed + 8 * strip +
                                4 * item.placement.format->on(target).scratch(chunk.cols, item.placement.coding) + 1024);
    }
  }
  return most;
}

uint64_t run_bytes(const Plan& plan, size_t workers) {
  // Each worker may be in another item, and one more is being closed.
  std::vector<uint64_t> parts;
  for (const Item& item : plan.items) {
    parts.push_back(part_count(item.placement, item.chunks));
  }
  std::sort(parts.rbegin(), parts.rend());
  uint64_t n = 0;
  for (size_t i = 0; i < std::min(parts.size(), workers + 1); ++i) n += parts[i] * 160;
  // The manifest with its hashes, the header that holds it, and what builds them.
  uint64_t header = 0;
  for (const PlannedFile& f : plan.files) header = std::max<uint64_t>(header, f.header.size());
  return n + 4 * header + plan.items.size() * 2048;
}

Job::Job(const Machine& machine, const Plan& plan, size_t workers, const Watcher& watcher)
    : machine_(machine), plan_(plan), watcher_(watcher), outcomes_(plan.items.size()) {
  for (size_t i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Worker>(plan.model, machine.target()));
  for (const io::InputFile& f : plan.model.files()) identities_.push_back(f.identity());
}
Job::~Job() = default;

Job::Task Job::Tasks::operator[](size_t i) const {
  const size_t k = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), i) - ends.begin());
  return {items[k], i - (k == 0 ? 0 : ends[k - 1])};
}

size_t Job::chunk_count(size_t i) const { return part_count(plan_.items[i].placement, plan_.items[i].chunks); }

uint64_t Job::source_bytes(const Task& t) const {
  const Item& item = plan_.items[t.item];
  if (item.placement.format == nullptr) return std::min(kCopy, item.bytes() - t.chunk * kCopy);
  const io::Chunk& c = item.chunks[t.chunk];
  return c.rows * c.cols * bytes(value_dtype(plan_.model.weights()[item.weight]));
}

Job::Tasks Job::tasks_of(const std::vector<size_t>& items) const {
  Tasks t;
  for (size_t i : items) {
    const size_t n = chunk_count(i);
    if (n == 0) continue;
    t.items.push_back(i);
    t.ends.push_back(t.size() + n);
    for (size_t c = 0; c < n; ++c) t.bytes += source_bytes({i, c});
  }
  return t;
}

// The files that hold the item's source bytes, as they were before the first was read.
std::string Job::identity(size_t i) const {
  std::set<size_t> files;
  for (const io::StoredIn& s : plan_.model.weights()[plan_.items[i].weight].stored) files.insert(s.file);
  std::string text;
  for (size_t f : files) text += identities_[f] + ";";
  return text;
}

// The same bytes may be values of another type.
std::string Job::key(size_t i) const {
  return fmt::format("{}|{}", plan_.items[i].key(), name(value_dtype(plan_.model.weights()[plan_.items[i].weight])));
}

void Job::look_at_memory() { peak_ = std::max(peak_, own_memory()); }

// Chunks in order, each taken by the next free worker; what they learn is kept until their item is whole. The first error
// stops all.
void Job::each_chunk(std::string_view what, const std::vector<size_t>& items, const Work& work, const Done& done) {
  struct Open {
    std::vector<Part> parts;
    size_t left = 0;
  };
  const Tasks tasks = tasks_of(items);
  std::map<size_t, Open> open;
  std::mutex opening, reporting;
  std::atomic<size_t> next = 0;
  std::atomic<uint64_t> bytes_done = 0;
  std::atomic<bool> failed = false;
  uint64_t last = 0;
  using Clock = std::chrono::steady_clock;
  auto reported = Clock::now(), looked = reported;

  const auto report = [&] {
    const std::unique_lock lock(reporting, std::try_to_lock);
    if (!lock.owns_lock() || failed) return;
    const auto now = Clock::now();
    if (now - looked >= std::chrono::milliseconds(10)) {
      looked = now;
      look_at_memory();
    }
    if (now - reported < std::chrono::milliseconds(100) || !watcher_.progress) return;
    reported = now;
    last = bytes_done;
    watcher_.progress({what, last, tasks.bytes});
  };
  machine_.parallel_for(workers_.size(), [&](size_t w) {
    try {
      for (size_t i = next++; i < tasks.size() && !failed; i = next++) {
        watcher_.check();
        const Task task = tasks[i];
        Part* part = nullptr;
        Open* item = nullptr;
        {
          const std::lock_guard lock(opening);
          item = &open[task.item];
          if (item->parts.empty()) item->parts.resize(item->left = chunk_count(task.item));
          part = &item->parts[task.chunk];
        }
        work(*workers_[w], task, *part);
        bool whole = false;
        {
          const std::lock_guard lock(opening);
          whole = --item->left == 0;
        }
        if (whole) {
          done(task.item, item->parts);
          const std::lock_guard lock(opening);
          open.erase(task.item);
        }
        bytes_done += source_bytes(task);
        report();
      }
    } catch (...) {
      const std::lock_guard lock(reporting);  // no report follows an error
      failed = true;
      throw;
    }
  });
  for (size_t i : items) {
    if (chunk_count(i) == 0) done(i, {});
  }
  look_at_memory();
  if (watcher_.progress && tasks.bytes != last) watcher_.progress({what, tasks.bytes, tasks.bytes});
}

namespace {

// Reads the source's values of a chunk, as value_dtype, in the order of the result.
void read_source(ValueReader& reader, const io::Checkpoint& model, const io::Weight& w, const Item& item, const io::Chunk& c, uint8_t* raw) {
  const size_t size = bytes(value_dtype(w));
  if (w.placement.format != nullptr && item.stored_order) {
    reader.unpack(w, c.first_value, {reinterpret_cast<float*>(raw), c.rows * c.cols});
    return;
  }
  const auto read = [&](uint64_t first, std::span<uint8_t> out) {
    if (w.placement.format == nullptr) return model.read_plain(w, first, out);
    reader.read(w, first, {reinterpret_cast<float*>(out.data()), out.size() / sizeof(float)});
  };
  if (item.permuted_head_dim != 0) {
    for (uint64_t r = 0; r < c.rows; ++r) {
      const uint64_t from = io::hf_row(c.first_row + r, item.permuted_head_dim);
      read(from * c.cols, {raw + r * c.cols * size, c.cols * size});
    }
  } else if (item.transposed) {
    io::read_transposed(w.cols(), w.rows(), size, c.first_value, {raw, c.rows * c.cols * size}, read);
  } else if (item.stored_order) {
    model.read_stored(w, 0, c.first_value * size, {raw, c.rows * c.cols * size});
  } else {
    read(c.first_value, {raw, c.rows * c.cols * size});
  }
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

// `index` counts the values of the result.
[[noreturn]] void refuse_nonfinite(const io::Weight& w, const Item& item, const io::Checkpoint& model, uint64_t index, float value) {
  const uint64_t cols = std::max<uint64_t>(1, item.placement.view.cols);
  uint64_t rest = item.transposed               ? index % w.rows() * w.cols() + index / w.rows()
                  : item.permuted_head_dim != 0 ? io::hf_row(index / cols, item.permuted_head_dim) * cols + index % cols
                                                : index;
  std::string at;
  for (size_t d = w.shape.size(); d-- > 0;) {
    at = fmt::format("{}{}{}", rest % w.shape[d], at.empty() ? "" : ", ", at);
    rest /= w.shape[d];
  }
  throw Error(Code::kBadInput, "compress",
              fmt::format("{}: tensor {} has {} at [{}]", model.files()[w.stored[0].file].path().string(), io::quote(w.name),
                          std::isnan(value) ? "NaN" : "infinity", at),
              "viva compress --nonfinite keep leaves such tensors as they are");
}

[[noreturn]] void refuse_inexact(const io::Weight& w, const Item& item, double error) {
  throw Error(Code::kRefused, "convert",
              fmt::format("{} is {}: as {} its values would change (by {:.3g}); nothing was written", io::quote(w.name),
                          w.stored_as(), item.choice.text, error),
              "--to f32 says every value; --requantize lets them change and reports by how much");
}

// What a tensor of a placement holds that no rows lie in.
std::string constant(const io::Placement& p, size_t tensor, const Shared& shared) {
  for (const io::Placement::Constant& c : p.constants) {
    if (c.tensor == tensor) return c.content(shared);
  }
  return {};
}

}  // namespace

void Job::observe_chunk(Worker& worker, const Task& t, Part& part) {
  const Item& item = plan_.items[t.item];
  const io::Weight& w = plan_.model.weights()[item.weight];
  const io::Chunk& c = item.chunks[t.chunk];
  const DType dtype = value_dtype(w);
  const size_t size = bytes(dtype), rows = strip_rows(item.placement, c);
  uint8_t* raw = grow(worker.raw, c.rows * c.cols * size);
  read_source(worker.reader, plan_.model, w, item, c, raw);
  const auto buffer = worker.strip(std::min<size_t>(rows, c.rows) * c.cols, 0);
  for (uint64_t r = 0; r < c.rows; r += rows) {
    const size_t n = std::min<uint64_t>(rows, c.rows - r);
    kernels::widen(dtype, raw + r * c.cols * size, n * c.cols, buffer.x, machine_.target());
    const size_t odd = kernels::first_nonfinite(buffer.x, n * c.cols, machine_.target());
    if (odd != n * c.cols) refuse_nonfinite(w, item, plan_.model, c.first_value + r * c.cols + odd, buffer.x[odd]);
    Observed seen;
    item.placement.format->on(machine_.target()).observe(buffer.x, n, c.cols, item.placement.coding, seen);
    part.seen.merge(seen);
  }
}

// First pass over weights whose format shares something over the whole tensor, or over a fused set of tensors.
void Job::observe() {
  std::map<std::string, std::vector<size_t>> sets;
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const Item& item = plan_.items[i];
    if (item.placement.format == nullptr || item.placement.format->share == nullptr) continue;
    if (item.shared) {
      outcomes_[i].shared = *item.shared;
      continue;
    }
    sets[item.fused_set.empty() ? "=" + item.name : fmt::format("{}|{}", item.fused_set, item.choice.text)].push_back(i);
  }
  std::vector<size_t> items;
  for (auto it = sets.begin(); it != sets.end();) {
    const bool needed = std::any_of(it->second.begin(), it->second.end(), [&](size_t i) { return !outcomes_[i].done; });
    if (needed) items.insert(items.end(), it->second.begin(), it->second.end());
    it = needed ? std::next(it) : sets.erase(it);
  }
  std::sort(items.begin(), items.end());
  std::vector<Observed> seen(plan_.items.size());
  each_chunk(
      "looking at the values", items, [&](Worker& w, const Task& t, Part& p) { observe_chunk(w, t, p); },
      [&](size_t i, const std::vector<Part>& parts) {
        for (const Part& p : parts) seen[i].merge(p.seen);
      });
  for (const auto& [name, members] : sets) {
    Observed all;
    for (size_t i : members) all.merge(seen[i]);
    for (size_t i : members) {
      const Shared shared = plan_.items[i].placement.format->share(all, plan_.items[i].placement.coding);
      Outcome& o = outcomes_[i];
      // Finished work of a set whose other members changed was coded with what they shared then.
      if (o.done && (o.shared.scale != shared.scale || o.shared.offset != shared.offset)) o = {};
      o.shared = shared;
    }
  }
}

void Job::code_chunk(Worker& worker, const Task& t, Part& part, const Old* old, bool keep) {
  const Item& item = plan_.items[t.item];
  const io::Weight& w = plan_.model.weights()[item.weight];
  const auto write = [&](size_t tensor, uint64_t offset, std::span<const uint8_t> bytes) {
    if (!keep) return;
    const Spot& spot = item.spots[tensor];
    files_[spot.file].write(spot.offset + offset, bytes);
    // The disk starts on every finished mebibyte, so that the last sync is short.
    const uint64_t first = (spot.offset + offset) >> 20, end = (spot.offset + offset + bytes.size()) >> 20;
    if (end != first) files_[spot.file].write_behind(first << 20, (end - first) << 20);
  };
  if (item.placement.format == nullptr) {
    each_range(item.placement, t.chunk, [&](size_t k, uint64_t offset, uint64_t n) {
      uint8_t* raw = grow(worker.raw, n);
      read_kept(plan_.model, w, item, k, offset, {raw, n});
      write(k, offset, {raw, n});
      add(part.source, hash_of({raw, n}));
    });
    part.checksum = part.source;
    return;
  }
  const io::Chunk& c = item.chunks[t.chunk];
  Coding coding = item.placement.coding;
  coding.shared = outcomes_[t.item].shared;
  const Format& format = *item.placement.format;
  const FormatCode& code = format.on(machine_.target());
  const size_t row_bytes = format.row_bytes(c.cols, coding);
  uint8_t* packed = grow(worker.packed, c.rows * row_bytes);
  if (old != nullptr) {
    // What cannot be read of an older result is made again.
    const auto read = attempt([&] {
      io::gather(item.placement, c, {packed, c.rows * row_bytes}, worker.pieces, [&](size_t k, uint64_t at, std::span<uint8_t> out) {
        const Old::Place& place = old->places[t.item][k];
        old->checkpoint->read_stored(*place.weight, place.part, at, out);
      });
      return true;
    });
    part.broken = !read;
    if (part.broken) return;
  }
  const DType dtype = value_dtype(w);
  const size_t size = bytes(dtype), rows = strip_rows(item.placement, c);
  uint8_t* raw = grow(worker.raw, c.rows * c.cols * size);
  read_source(worker.reader, plan_.model, w, item, c, raw);
  part.source = hash_of({raw, c.rows * c.cols * size});
  const auto buffer = worker.strip(std::min<size_t>(rows, c.rows) * c.cols, code.scratch(c.cols, coding));
  for (uint64_t r = 0; r < c.rows; r += rows) {
    const size_t n = std::min<uint64_t>(rows, c.rows - r), values = n * c.cols;
    kernels::widen(dtype, raw + r * c.cols * size, values, buffer.x, machine_.target());
    const size_t odd = kernels::first_nonfinite(buffer.x, values, machine_.target());
    if (odd != values) refuse_nonfinite(w, item, plan_.model, c.first_value + r * c.cols + odd, buffer.x[odd]);
    if (old == nullptr) code.encode(buffer.x, n, c.cols, coding, packed + r * row_bytes, buffer.work);
    code.decode(packed + r * row_bytes, n, c.cols, coding, buffer.y, buffer.work);
    const kernels::ErrorSums sums = kernels::error_sums(buffer.x, buffer.y, values, machine_.target());
    if (plan_.exact && sums.max_error != 0) refuse_inexact(w, item, sums.max_error);
    part.sums.merge(sums);
  }
  part.checksum = hash_of({packed, c.rows * row_bytes});
  io::scatter(item.placement, c, {packed, c.rows * row_bytes}, worker.pieces, write);
}

ItemHashes Job::hashes_of(size_t i, const std::vector<Part>& parts, const std::function<std::string(size_t)>& content) const {
  std::vector<Hash> source, checksum;
  for (const Part& p : parts) {
    source.push_back(p.source);
    checksum.push_back(p.checksum);
  }
  add_constants(plan_.items[i].placement, content, checksum);
  return {combined(source), combined(checksum)};
}

// With `old`, packed rows are copied from it where its source was the same; items that turn out to differ stay open.
void Job::encode(Staging* staging, const std::vector<size_t>& items, const Old* old) {
  std::mutex journal;
  each_chunk(
      old == nullptr ? "compressing" : "taking over finished tensors", items,
      [&](Worker& w, const Task& t, Part& p) { code_chunk(w, t, p, old, staging != nullptr); },
      [&](size_t i, const std::vector<Part>& parts) {
        Outcome& o = outcomes_[i];
        const io::Placement& placement = plan_.items[i].placement;
        const ItemHashes hashes = hashes_of(i, parts, [&](size_t k) { return constant(placement, k, o.shared); });
        if (old != nullptr) {
          const bool broken = std::any_of(parts.begin(), parts.end(), [](const Part& p) { return p.broken; });
          const ItemHashes& expected = old->expected[i];
          if (broken || hashes.source != expected.source || hashes.checksum != expected.checksum) return;
          o.reused = true;
        }
        o.hashes = hashes;
        for (const Part& p : parts) o.sums.merge(p.sums);
        o.done = true;
        if (staging == nullptr) return;
        for (const io::Placement::Constant& c : placement.constants) {
          const std::string content = c.content(o.shared);
          const Spot& spot = plan_.items[i].spots[c.tensor];
          files_[spot.file].write(spot.offset, {reinterpret_cast<const uint8_t*>(content.data()), content.size()});
        }
        const std::lock_guard lock(journal);
        staging->record({key(i), identity(i), o.hashes, o.shared, o.sums});
      });
}

// Reads the tensors of an item of the result that grows.
io::ReadBytes Job::result(size_t i) const {
  return [this, &item = plan_.items[i]](size_t tensor, uint64_t offset, std::span<uint8_t> out) {
    files_[item.spots[tensor].file].read(item.spots[tensor].offset + offset, out);
  };
}

// Codes everything and writes nothing.
void Job::replay() {
  observe();
  std::vector<size_t> all(plan_.items.size());
  std::iota(all.begin(), all.end(), size_t{0});
  encode(nullptr, all, nullptr);
}

// What an interrupted run of the same plan left in the files. After a power failure the journal may know of bytes that the
// disk lost, so they are read and hashed; where the source's file is not the same any more, so is the source.
void Job::resume(Staging& staging) {
  std::vector<size_t> claimed;
  std::vector<ItemHashes> expected(plan_.items.size());
  std::vector<bool> touched(plan_.items.size());
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const auto found = staging.finished().find(key(i));
    if (found == staging.finished().end() || found->second.identity.empty()) continue;
    touched[i] = found->second.identity != identity(i);
    expected[i] = found->second.hashes;
    outcomes_[i].shared = found->second.shared;
    outcomes_[i].sums = found->second.sums;
    claimed.push_back(i);
  }
  each_chunk(
      "checking finished work", claimed,
      [&](Worker& w, const Task& t, Part& p) {
        const Item& item = plan_.items[t.item];
        const io::Weight& weight = plan_.model.weights()[item.weight];
        if (touched[t.item] && item.placement.format == nullptr) {
          each_range(item.placement, t.chunk, [&](size_t k, uint64_t offset, uint64_t n) {
            uint8_t* raw = grow(w.raw, n);
            read_kept(plan_.model, weight, item, k, offset, {raw, n});
            add(p.source, hash_of({raw, n}));
          });
        } else if (touched[t.item]) {
          const io::Chunk& c = item.chunks[t.chunk];
          const size_t n = c.rows * c.cols * bytes(value_dtype(weight));
          uint8_t* raw = grow(w.raw, n);
          read_source(w.reader, plan_.model, weight, item, c, raw);
          p.source = hash_of({raw, n});
        }
        p.checksum = hash_of_part(item.placement, item.chunks, t.chunk, result(t.item), w.packed, w.pieces);
      },
      [&](size_t i, const std::vector<Part>& parts) {
        const ItemHashes hashes = hashes_of(i, parts, [&](size_t k) {
          std::string text(plan_.items[i].placement.tensors[k].bytes, 0);
          result(i)(k, 0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
          return text;
        });
        Outcome& o = outcomes_[i];
        const bool changed = plan_.exact && o.sums.max_error != 0;  // an earlier run was allowed to
        if (changed || hashes.checksum != expected[i].checksum || (touched[i] && hashes.source != expected[i].source)) {
          o = {};
          return;
        }
        o.hashes = expected[i];
        o.done = o.reused = true;
      });
}

void Job::run(Staging& staging, const io::Checkpoint* old) {
  const fs::path root = staging.path();
  look_at_memory();
  if (plan_.directory) fs::create_directories(root);
  for (const auto& [name, text] : plan_.texts) io::write_text_atomically(root / name, text);
  for (const PlannedFile& f : plan_.files) {
    const fs::path path = f.name.empty() ? root : root / f.name;
    files_.emplace_back(path, io::OutputFile::Mode::kReopen);
    files_.back().allocate(f.bytes);
    files_.back().write(0, {reinterpret_cast<const uint8_t*>(f.header.data()), f.header.size()});
  }
  resume(staging);
  observe();
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
  check_source();
  write_rest(staging);
}

// A result made from two states of a file is the result of neither.
void Job::check_source() const {
  for (size_t f = 0; f < identities_.size(); ++f) {
    const io::InputFile& file = plan_.model.files()[f];
    if (file.identity() == identities_[f]) continue;
    throw Error(Code::kBadInput, "compress", fmt::format("{} changed while it was read", file.path().string()),
                "run the same command again when it is whole");
  }
}

// Side files, manifest and the last sync.
void Job::write_rest(Staging& staging) {
  const fs::path root = staging.path();
  std::set<std::string> mine = {"viva.json"};
  for (const std::string& name : plan_.side_files) {
    mine.insert(name);
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
    // A side file that the source had when an earlier run stopped, and has no more.
    for (const auto& [name, text] : plan_.texts) mine.insert(name);
    for (const PlannedFile& f : plan_.files) mine.insert(f.name);
    std::vector<fs::path> strange;
    for (const auto& entry : fs::directory_iterator(root)) {
      if (mine.count(entry.path().filename().string()) == 0) strange.push_back(entry.path());
    }
    for (const fs::path& path : strange) fs::remove_all(path);
  } else {
    const std::string header = plan_.header(0, hashes);
    look_at_memory();
    files_[0].write(0, {reinterpret_cast<const uint8_t*>(header.data()), header.size()});
  }
  for (io::OutputFile& f : files_) f.sync();
  files_.clear();
  if (plan_.directory) io::sync_directory(root);
  look_at_memory();
}

}  // namespace viva
