#include "viva/compress/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "viva/compress/checksum.h"
#include "viva/compress/compress.h"
#include "viva/compress/job.h"
#include "viva/compress/plan.h"
#include "viva/compress/sweep.h"
#include "viva/io/quote.h"

namespace viva {

namespace fs = std::filesystem;

namespace {

std::optional<Encoder> encoder_of(std::string_view text) {
  for (const Encoder e : {Encoder::kReference, Encoder::kBest, Encoder::kExact}) {
    if (text == name(e)) return e;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Manifest> read_manifest(const io::Checkpoint& model) {
  std::string text;
  fs::path where = model.path();
  for (const auto& [key, value] : model.metadata()) {
    if (key == "viva" || key == "viva.manifest") text = value;
  }
  std::error_code ignored;
  if (text.empty() && fs::is_directory(model.path(), ignored) &&
      fs::exists(model.path() / "viva.json", ignored)) {
    where = model.path() / "viva.json";
    text = io::read_text(where, 1 << 30);
  }
  if (text.empty()) return std::nullopt;
  const auto bad = [&](std::string_view what) {
    return Error(Code::kBadInput, "verify", fmt::format("{}: the manifest {}", where.string(), what));
  };
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) throw bad("is no JSON object");
  const auto string = [&](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string())
      throw bad(fmt::format("has no text '{}' where one must be", key));
    return found->get<std::string>();
  };
  Manifest m{string(json, "viva"), string(json, "format"), string(json, "encoder"), std::nullopt, {}};
  if (json.contains("convert")) m.convert = string(json, "convert");
  if (!encoder_of(m.encoder))
    throw bad(fmt::format("names an unknown encoder {}", io::quote(m.encoder)));
  const auto tensors = json.find("tensors");
  if (tensors == json.end() || !tensors->is_array()) throw bad("has no list of tensors");
  for (const auto& t : *tensors) {
    if (!t.is_object()) throw bad("has a tensor that is no object");
    m.tensors.push_back({string(t, "name"), string(t, "format"), string(t, "source"), string(t, "checksum")});
  }
  return m;
}

namespace {

// Tensors of a GGUF file that no weight of the source gives.
bool is_extra(const io::Checkpoint& model, std::string_view name) {
  return model.kind() == io::Kind::kGguf &&
         (name.starts_with("rope_freqs") || name.starts_with("rope_factors"));
}

// A tensor to be hashed.
struct Checked {
  const Manifest::Tensor* entry;
  const io::Weight* weight;
  io::Placement placement;
  std::vector<io::Chunk> chunks;
  std::vector<Hash> hashes;
  std::string checksum;  // found
};

// How the rows of a weight were hashed: as they are packed, or as stored where it was kept. A reason where
// the file holds another format than the manifest says.
std::string place(const io::Weight& w, const std::string& format, bool gguf, io::Placement& placement) {
  if (format == "keep") {
    for (const io::StoredIn& s : w.stored) placement.tensors.push_back(s.tensor);
    return {};
  }
  Choice choice;
  try {
    choice = parse_choice(format, gguf);
  } catch (const Error& e) {
    return fmt::format("the manifest names a format that this version does not know: {}", format);
  }
  if (w.placement.format != nullptr) {
    placement = w.placement;
    return placement.format == choice.format ? ""
                                             : fmt::format("is {}, the manifest says {}", w.format, format);
  }
  if (choice.format->name != "f16" && choice.format->name != "bf16" && choice.format->name != "f32") {
    return fmt::format("is {}, the manifest says {}", w.format.empty() ? name(w.dtype) : w.format, format);
  }
  placement.format = choice.format;
  placement.coding = choice.coding;
  placement.view = {w.rows(), w.cols(), 0};
  for (const io::StoredIn& s : w.stored) placement.tensors.push_back(s.tensor);
  placement.pieces = {{0}};
  if (choice.format->row_bytes(w.cols(), choice.coding) * w.rows() != w.bytes()) {
    return fmt::format("has {} bytes, which are not {}", w.bytes(), format);
  }
  return {};
}

void check_sums(const Machine& machine, const io::Checkpoint& model, std::vector<Checked>& list,
                VerifyReport& report, const Watcher& watcher) {
  Sweep plan;
  plan.tensors = list.size();
  plan.unit = 1;
  uint64_t each = 2 * kCopy;
  const auto part_bytes = [&](const Checked& c, size_t part) -> uint64_t {
    if (c.placement.format == nullptr) return std::min(kCopy, c.weight->bytes() - part * kCopy);
    return c.chunks[part].rows * c.placement.format->row_bytes(c.chunks[part].cols, c.placement.coding);
  };
  for (Checked& c : list) {
    if (c.placement.format != nullptr) c.chunks = io::chunks_of(c.placement);
    for (size_t p = 0; p < part_count(c.placement, c.chunks); ++p) {
      const uint64_t n = part_bytes(c, p);
      plan.total += n;
      each = std::max(each, 2 * n);
    }
  }
  const size_t workers = workers_under_cap(machine, each, "verify");
  std::vector<std::vector<uint8_t>> packed(workers), work(workers);
  std::vector<Hash> parts(kSweepBatch);
  const auto reader_of = [&](const Checked& c) -> io::ReadBytes {
    return [&](size_t tensor, uint64_t offset, std::span<uint8_t> out) {
      model.read_stored(*c.weight, tensor, offset, out);
    };
  };
  plan.runs = [&](size_t t) {
    std::vector<Run> runs;
    for (size_t p = 0; p < part_count(list[t].placement, list[t].chunks); ++p)
      runs.push_back({t, p, part_bytes(list[t], p)});
    return runs;
  };
  plan.work = [&](size_t worker, size_t i, const Run& run) {
    const Checked& c = list[run.tensor];
    parts[i] = hash_of_part(c.placement, c.chunks, run.first, reader_of(c), packed[worker], work[worker]);
  };
  plan.merge = [&](size_t i, const Run& run) { list[run.tensor].hashes.push_back(parts[i]); };
  sweep(machine, workers, "checking checksums", plan, watcher);
  report.bytes = plan.total;
  for (Checked& c : list) {
    add_constants(
        c.placement,
        [&](size_t k) {
          std::string text(c.weight->stored[k].tensor.bytes, 0);
          reader_of(c)(k, 0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
          return text;
        },
        c.hashes);
    c.checksum = combined(c.hashes);
    if (c.checksum == c.entry->checksum) {
      ++report.checked;
    } else {
      report.differences.push_back({c.weight->name, fmt::format("checksum is {}, the manifest says {}",
                                                                c.checksum, c.entry->checksum)});
    }
  }
}

std::string glob_escaped(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string text_of(const Item& item) { return item.choice.format == nullptr ? "keep" : item.choice.text; }

void check_source(const Machine& machine, const Manifest& manifest, const std::vector<Checked>& list,
                  const fs::path& path, VerifyReport& report, const VerifyOptions& options) {
  const io::Checkpoint source = io::Checkpoint::open(options.source);
  std::map<std::string, const Checked*> found;
  std::map<std::string, const Manifest::Tensor*> entries;
  for (const Checked& c : list) found[c.entry->name] = &c;
  for (const Manifest::Tensor& t : manifest.tensors) entries[t.name] = &t;
  PlanOptions how{CompressOptions()};
  how.convert = manifest.convert.has_value();
  how.format = manifest.convert.value_or(manifest.format);
  how.encoder = *encoder_of(manifest.encoder);
  if (!how.convert) {
    // Rules are not in the manifest; what they did is.
    const Plan plain(source, path, how);
    for (const Item& item : plain.items) {
      const auto entry = entries.find(item.name);
      if (entry == entries.end() || entry->second->format == text_of(item)) continue;
      how.rules.push_back(
          fmt::format("{}={}", glob_escaped(source.weights()[item.weight].name), entry->second->format));
    }
  }
  const Plan plan(source, path, how);
  const size_t workers = workers_under_cap(machine, worker_bytes(plan, machine.target()), "verify");
  Job job(machine, plan, workers, options.watcher);
  job.replay();
  std::set<std::string> seen;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    const Item& item = plan.items[i];
    const auto entry = entries.find(item.name);
    if (entry == entries.end()) {
      report.differences.push_back({item.name, "is in the source, not in the result"});
      continue;
    }
    seen.insert(item.name);
    const auto checked = found.find(item.name);
    if (checked == found.end()) continue;  // reported before
    const ItemHashes& made = job.outcomes()[i].hashes;
    if (made.checksum == checked->second->checksum) {
      ++report.recoded;
    } else if (made.source != entry->second->source) {
      report.differences.push_back({item.name, "was made from other values than the source has"});
    } else if (text_of(item) != entry->second->format) {
      report.differences.push_back({item.name, fmt::format("is {}, this version would make {}",
                                                           entry->second->format, text_of(item))});
    } else {
      report.differences.push_back({item.name, fmt::format("is not what the {} encoder gives for {}",
                                                           manifest.encoder, text_of(item))});
    }
  }
  for (const Manifest::Tensor& t : manifest.tensors) {
    if (!seen.count(t.name)) report.differences.push_back({t.name, "is in the result, not in the source"});
  }
}

}  // namespace

VerifyReport verify(const Machine& machine, const fs::path& path, const VerifyOptions& options) {
  const io::Checkpoint model = io::Checkpoint::open(path);
  VerifyReport report;
  report.path = path.string();
  report.source = options.source.string();
  report.tensors = model.weights().size();
  const std::optional<Manifest> manifest = read_manifest(model);
  if (!manifest) {
    if (!options.source.empty()) {
      throw Error(Code::kBadInput, "verify",
                  fmt::format("{} has no manifest: nothing says how it was made", path.string()),
                  "only what 'viva compress' or 'viva convert' wrote can be compared with a source; 'viva compare' tells how "
                  "far the values are");
    }
    return report;
  }
  report.manifest = true;
  report.version = manifest->version;
  report.format = manifest->format;
  report.encoder = manifest->encoder;
  const bool gguf = model.kind() == io::Kind::kGguf;
  // GGUF goes by the names that the file has.
  std::map<std::string_view, const io::Weight*> by_name;
  for (const io::Weight& w : model.weights())
    by_name[gguf && !w.stored.empty() ? w.stored[0].tensor.name : w.name] = &w;
  std::vector<Checked> list;
  std::set<std::string_view> listed;
  for (const Manifest::Tensor& t : manifest->tensors) {
    if (!listed.insert(t.name).second)
      throw Error(Code::kBadInput, "verify",
                  fmt::format("{}: the manifest lists {} twice", path.string(), io::quote(t.name)));
    const auto found = by_name.find(t.name);
    if (found == by_name.end()) {
      report.differences.push_back({t.name, "is in the manifest, not in the file"});
      continue;
    }
    Checked c{&t, found->second, {}, {}, {}, {}};
    if (const std::string wrong = place(*found->second, t.format, gguf, c.placement); !wrong.empty()) {
      report.differences.push_back({t.name, wrong});
      continue;
    }
    list.push_back(std::move(c));
  }
  for (const auto& [name, w] : by_name) {
    if (!listed.count(name) && !is_extra(model, name))
      report.differences.push_back({std::string(name), "is in the file, not in the manifest"});
  }
  check_sums(machine, model, list, report, options.watcher);
  if (!options.source.empty()) check_source(machine, *manifest, list, path, report, options);
  return report;
}

}  // namespace viva
