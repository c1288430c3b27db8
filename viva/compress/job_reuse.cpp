#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>

#include "viva/base/attempt.h"
#include "viva/compress/job_worker.h"

// Tensors of an earlier result whose source bytes, format, encoder and version are the same are copied instead of made.
namespace viva {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// The manifest of a finished result, or null.
json manifest_of(const io::Checkpoint& old) {
  std::string text;
  for (const auto& [key, value] : old.metadata()) {
    if (key == "viva" || key == "viva.manifest") text = value;
  }
  const fs::path beside = old.path() / "viva.json";
  std::error_code ignored;
  if (text.empty() && fs::exists(beside, ignored)) {
    if (auto read = attempt([&] { return io::read_text(beside, 1 << 30); })) text = std::move(*read);
  }
  return json::parse(text, nullptr, false);
}

// What the tensors of a finished result were made from and are, by the names of the plan's items.
std::unordered_map<std::string, ItemHashes> promised_by(const io::Checkpoint& old, const Plan& plan) {
  std::unordered_map<std::string, ItemHashes> promised;
  const json theirs = manifest_of(old);
  const json mine = json::parse(plan.manifest(std::vector<ItemHashes>(plan.items.size())));
  if (!theirs.is_object() || theirs.value("viva", json()) != mine["viva"] || theirs.value("encoder", json()) != mine["encoder"] ||
      !theirs.contains("tensors") || !theirs["tensors"].is_array()) {
    return promised;
  }
  std::unordered_map<std::string, std::string> formats;
  for (const Item& item : plan.items) formats[item.name] = item.choice.text;
  const auto text = [](const json& t, const char* key) -> std::optional<std::string> {
    if (!t.is_object() || !t.contains(key) || !t[key].is_string()) return std::nullopt;
    return t[key].get<std::string>();
  };
  for (const json& t : theirs["tensors"]) {
    const auto name = text(t, "name"), format = text(t, "format"), source = text(t, "source"), checksum = text(t, "checksum");
    if (!name || !format || !source || !checksum) continue;
    const auto mine_is = formats.find(*name);
    if (mine_is != formats.end() && mine_is->second == *format) promised[*name] = {*source, *checksum};
  }
  return promised;
}

}  // namespace

// `complete`: `old` was finished, and its manifest says what it holds; otherwise the journal does.
void Job::take_over(Staging& staging, const io::Checkpoint& old, bool complete) {
  std::unordered_map<std::string, ItemHashes> promised;
  if (complete) {
    promised = promised_by(old, plan_);
  } else {
    for (size_t i = 0; i < plan_.items.size(); ++i) {
      const auto found = staging.finished().find(key(i));
      if (found != staging.finished().end()) promised[plan_.items[i].name] = found->second.hashes;
    }
    // A run that was stopped when only the renaming was left has no journal any more.
    if (promised.empty()) promised = promised_by(old, plan_);
  }
  std::unordered_map<std::string, Old::Place> stored;
  for (const io::Weight& w : old.weights()) {
    for (size_t k = 0; k < w.stored.size(); ++k) stored[w.stored[k].tensor.name] = {&w, k};
  }
  Old from{&old, {}, std::vector<ItemHashes>(plan_.items.size())};
  from.places.resize(plan_.items.size());
  std::vector<size_t> candidates;
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const Item& item = plan_.items[i];
    const auto promise = promised.find(item.name);
    if (outcomes_[i].done || item.placement.format == nullptr || promise == promised.end()) continue;
    bool same = true;
    for (const io::StoredTensor& t : item.placement.tensors) {
      const auto place = stored.find(t.name);
      same = same && place != stored.end() && place->second.weight->stored[place->second.part].tensor.bytes == t.bytes;
      if (same) from.places[i].push_back(place->second);
    }
    // What the tensor shares with others, and its shape, stand in the constants.
    for (const io::Placement::Constant& c : item.placement.constants) {
      if (!same) break;
      const std::string want = c.content(outcomes_[i].shared);
      std::string have(want.size(), '\0');
      const Old::Place& place = from.places[i][c.tensor];
      const auto read = attempt([&] {
        old.read_stored(*place.weight, place.part, 0, {reinterpret_cast<uint8_t*>(have.data()), have.size()});
        return true;
      });
      same = read && have == want;
    }
    if (!same) continue;
    from.expected[i] = promise->second;
    candidates.push_back(i);
  }
  if (!candidates.empty()) encode(&staging, candidates, &from);
}

}  // namespace viva
